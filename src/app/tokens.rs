//! Tokens whose files are replaced while Switchyard runs.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use secrecy::SecretString;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    config,
    http::{Access, Token},
    metrics::{Credential, Metrics},
    reconcile::Setup,
    world::Live,
};

/// How often the files are read. An old token is refused after this.
const LOOK: Duration = Duration::from_secs(1);

/// Their keys, in the order of [`TokenFiles`].
const KEYS: [&str; 4] = ["webhook.token_file", "api.token_file", "api.read_token_file", "gitlab.token_file"];

/// Where tokens come from; none for those from the environment.
#[derive(Debug, Default)]
pub(super) struct TokenFiles {
    pub(super) webhook: Option<PathBuf>,
    pub(super) actions: Option<PathBuf>,
    pub(super) reads: Option<PathBuf>,
    pub(super) gitlab: Option<PathBuf>,
}

pub(super) struct Watcher {
    pub(super) files: watch::Receiver<Arc<TokenFiles>>,
    pub(super) access: watch::Sender<Arc<Access>>,
    pub(super) setup: watch::Receiver<Arc<Setup<Live>>>,
    pub(super) metrics: Arc<Metrics>,
}

/// What a file says now, by the key that names it.
type Read = BTreeMap<&'static str, Result<SecretString, String>>;

fn read(files: &TokenFiles) -> Read {
    let paths = [&files.webhook, &files.actions, &files.reads, &files.gitlab];
    let named = KEYS.into_iter().zip(paths);
    named.filter_map(|(key, path)| Some((key, config::read_secret(path.as_ref()?)))).collect()
}

impl Watcher {
    pub(super) async fn run(self, shutdown: CancellationToken) -> &'static str {
        let mut told = BTreeMap::new();
        loop {
            let files = self.files.borrow().clone();
            let read = {
                let files = files.clone();
                tokio::task::spawn_blocking(move || read(&files)).await
            };
            if let Ok(read) = read {
                // A reload meanwhile has read the files itself; one that comes now waits, and has the last word.
                let now = self.files.borrow();
                if Arc::ptr_eq(&files, &now) {
                    self.take(&read, &mut told);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = shutdown.cancelled() => return "tokens",
            }
        }
    }

    fn take(&self, read: &Read, told: &mut BTreeMap<&'static str, String>) {
        let good = &self.metrics.credential_good;
        let label = |key: &str| Credential { credential: key.to_owned() };
        for (key, found) in read {
            let token = match found {
                Ok(token) => {
                    told.remove(key);
                    Token::Known(token.clone())
                }
                Err(wrong) => {
                    if told.insert(key, wrong.clone()).as_ref() != Some(wrong) {
                        let effect = match *key {
                            "gitlab.token_file" => "the token that was read before is used",
                            _ => "everybody is refused who needs it",
                        };
                        error!(key, wrong, effect, "a token cannot be read");
                    }
                    Token::Unreadable
                }
            };
            if self.replace(key, &token) {
                info!(key, "another token counts from now on");
            }
            good.get_or_create_owned(&label(key)).set(i64::from(found.is_ok()));
        }
        for key in KEYS.iter().filter(|key| !read.contains_key(*key)) {
            told.remove(key);
            good.remove(&label(key));
        }
    }

    /// Whether another token took its place.
    fn replace(&self, key: &str, token: &Token) -> bool {
        if key == "gitlab.token_file" {
            let Token::Known(token) = token else { return false };
            let setup = self.setup.borrow().clone();
            return setup.world.gitlab.set_token(token).unwrap_or_else(|error| {
                error!(key, %error, "a token cannot be used");
                false
            });
        }
        let changed = self.access.send_if_modified(|access| {
            let mut new = Access::clone(access);
            let place = match key {
                "webhook.token_file" => &mut new.webhook,
                "api.token_file" => &mut new.actions,
                _ => &mut new.reads,
            };
            if place.as_ref() == Some(token) {
                return false;
            }
            *place = Some(token.clone());
            *access = Arc::new(new);
            true
        });
        changed && matches!(token, Token::Known(_))
    }
}

//! Tokens whose files are replaced while Switchyard runs.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use secrecy::SecretString;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::poll::Alertmanagers;
use crate::{
    alertmanager, config,
    http::{Access, Token},
    metrics::{Credential, Metrics},
    reconcile::Setup,
    world::Live,
};

/// How often the files are read. An old token is refused after this.
const LOOK: Duration = Duration::from_secs(1);

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TokenKey {
    Webhook,
    Actions,
    Reads,
    Gitlab,
    Prometheus,
    Alertmanager,
}

impl TokenKey {
    const ALL: [Self; 6] =
        [Self::Webhook, Self::Actions, Self::Reads, Self::Gitlab, Self::Prometheus, Self::Alertmanager];

    /// The key of the configuration that names its file.
    fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook.token_file",
            Self::Actions => "api.token_file",
            Self::Reads => "api.read_token_file",
            Self::Gitlab => "gitlab.token_file",
            Self::Prometheus => "prometheus.token_file",
            Self::Alertmanager => "alertmanager.token_file",
        }
    }
}

/// Where tokens come from; those from the environment are missing.
#[derive(Debug, Default)]
pub(super) struct TokenFiles(BTreeMap<TokenKey, PathBuf>);

impl FromIterator<(TokenKey, Option<PathBuf>)> for TokenFiles {
    fn from_iter<T: IntoIterator<Item = (TokenKey, Option<PathBuf>)>>(files: T) -> Self {
        Self(files.into_iter().filter_map(|(key, file)| Some((key, file?))).collect())
    }
}

pub(super) struct Watcher {
    pub(super) files: watch::Receiver<Arc<TokenFiles>>,
    pub(super) access: watch::Sender<Arc<Access>>,
    pub(super) setup: watch::Receiver<Arc<Setup<Live>>>,
    pub(super) alertmanagers: watch::Receiver<Arc<Alertmanagers>>,
    pub(super) metrics: Arc<Metrics>,
}

/// What the files say now.
type Read = BTreeMap<TokenKey, Result<SecretString, String>>;

fn read(files: &TokenFiles) -> Read {
    files.0.iter().map(|(key, path)| (*key, config::read_secret(path))).collect()
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
                self.take_over(&files, &read, &mut told);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = shutdown.cancelled() => return "tokens",
            }
        }
    }

    /// Takes what was read of these files, unless they are no longer those that count.
    fn take_over(&self, files: &Arc<TokenFiles>, read: &Read, told: &mut BTreeMap<TokenKey, String>) {
        // A reload meanwhile has read the files itself; one that comes now waits, and has the last word.
        let now = self.files.borrow();
        if Arc::ptr_eq(files, &now) {
            self.take(read, told);
        }
    }

    fn take(&self, read: &Read, told: &mut BTreeMap<TokenKey, String>) {
        let good = &self.metrics.credential_good;
        let label = |key: TokenKey| Credential { credential: key.as_str().to_owned() };
        for (&key, found) in read {
            let token = match found {
                Ok(token) => {
                    told.remove(&key);
                    Token::Known(token.clone())
                }
                Err(wrong) => {
                    if told.insert(key, wrong.clone()).as_ref() != Some(wrong) {
                        let effect = match key {
                            TokenKey::Webhook | TokenKey::Actions | TokenKey::Reads => {
                                "everybody is refused who needs it"
                            }
                            _ => "the token that was read before is used",
                        };
                        error!(key = key.as_str(), wrong, effect, "a token cannot be read");
                    }
                    Token::Unreadable
                }
            };
            if self.replace(key, &token) {
                info!(key = key.as_str(), "another token counts from now on");
            }
            good.get_or_create_owned(&label(key)).set(i64::from(found.is_ok()));
        }
        for key in TokenKey::ALL.into_iter().filter(|key| !read.contains_key(key)) {
            told.remove(&key);
            good.remove(&label(key));
        }
    }

    /// Whether another token took its place.
    fn replace(&self, key: TokenKey, token: &Token) -> bool {
        match key {
            TokenKey::Webhook => self.admit(token, |access| &mut access.webhook),
            TokenKey::Actions => self.admit(token, |access| &mut access.actions),
            TokenKey::Reads => self.admit(token, |access| &mut access.reads),
            TokenKey::Gitlab | TokenKey::Prometheus | TokenKey::Alertmanager => self.show(key, token),
        }
    }

    /// What others are shown.
    fn show(&self, key: TokenKey, token: &Token) -> bool {
        let Token::Known(token) = token else { return false };
        let world = &self.setup.borrow().clone().world;
        let set = match key {
            TokenKey::Gitlab => world.gitlab.set_token(token).map_err(|e| e.to_string()),
            TokenKey::Prometheus => world.prometheus.set_token(token).map_err(|e| e.to_string()),
            _ => {
                let clients = &self.alertmanagers.borrow().clone().clients;
                let set = clients.iter().try_fold(false, |other, c| Ok(c.set_token(token)? || other));
                set.map_err(|e: alertmanager::Error| e.to_string())
            }
        };
        set.unwrap_or_else(|error| {
            error!(key = key.as_str(), %error, "a token cannot be used");
            false
        })
    }

    /// What others have to show.
    fn admit(&self, token: &Token, place: impl Fn(&mut Access) -> &mut Option<Token>) -> bool {
        let changed = self.access.send_if_modified(|access| {
            let mut new = Access::clone(access);
            if place(&mut new).as_ref() == Some(token) {
                return false;
            }
            *place(&mut new) = Some(token.clone());
            *access = Arc::new(new);
            true
        });
        changed && matches!(token, Token::Known(_))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::{
        app::setup::{self, Channels},
        status::Status,
        store::{Holder, Store},
    };

    const MINIMAL: &str = r#"
        gitlab = { url = "http://127.0.0.1:1", token_file = "gitlab" }
        prometheus = { urls = ["http://127.0.0.1:1"], token_file = "prometheus" }
        webhook = { token_file = "webhook" }
        [fleets.rnd]
        routing_tag = "rnd-runner"
        prefer = ["blue", "green"]
        pools = { blue = { home_tag = "a" }, green = { home_tag = "b" } }
    "#;

    fn write(dir: &Path, text: &str) {
        for name in ["gitlab", "prometheus", "webhook"] {
            fs::write(dir.join(name), text).unwrap();
        }
    }

    /// The watcher has read the files, then they are replaced and a reload reads them, and only then is what was read first
    /// taken: it is no longer what counts.
    #[tokio::test]
    async fn what_was_read_before_a_reload_does_not_undo_it() {
        let dir = tempfile::tempdir().unwrap();
        setup::install_crypto();
        fs::write(dir.path().join("switchyard.toml"), MINIMAL).unwrap();
        let now = Live::clock();
        let holder = Holder { listen: "test".to_owned(), now };
        let url = format!("sqlite://{}", dir.path().join("switchyard.db").display());
        let store = Store::open(&url, &holder, std::time::Duration::from_secs(15)).await.unwrap();
        let (_status, seen) = watch::channel(Arc::new(Status::default()));
        let metrics = Arc::new(Metrics::new(seen, store.clone(), now));
        let build = || {
            let config = config::load(&dir.path().join("switchyard.toml"), []).unwrap();
            setup::build(&config, &metrics).unwrap()
        };
        write(dir.path(), "old");
        let channels = Channels::new(build());
        let watcher = Watcher {
            files: channels.tokens.subscribe(),
            access: channels.access.clone(),
            setup: channels.setup.subscribe(),
            alertmanagers: channels.alertmanagers.subscribe(),
            metrics: metrics.clone(),
        };
        let counts = |token: &str| {
            let token = SecretString::from(token);
            let world = &watcher.setup.borrow().world;
            // Setting says whether it is another one.
            [
                watcher.access.borrow().webhook == Some(Token::Known(token.clone())),
                !world.gitlab.set_token(&token).unwrap(),
                !world.prometheus.set_token(&token).unwrap(),
            ]
        };
        let files = channels.tokens.borrow().clone();
        let before = read(&files);
        write(dir.path(), "new");
        channels.replace(build());
        watcher.take_over(&files, &before, &mut BTreeMap::new());
        assert_eq!(counts("new"), [true; 3]);

        // What is read of the files that count is taken.
        let files = channels.tokens.borrow().clone();
        write(dir.path(), "newer");
        watcher.take_over(&files, &read(&files), &mut BTreeMap::new());
        assert_eq!(counts("newer"), [true; 3]);
        write(dir.path(), "");
        watcher.take_over(&files, &read(&files), &mut BTreeMap::new());
        assert_eq!(counts("newer"), [false, true, true], "nobody is let in, and what is shown stays");
        assert!(watcher.access.borrow().webhook == Some(Token::Unreadable));
        store.close().await.unwrap();
    }
}

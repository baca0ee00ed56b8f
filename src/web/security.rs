//! The web file as it is in force, read again whenever it or a file that it names changes.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::{
    tls,
    users::{Login, Users},
};
use crate::{
    config::{self, Contents, Problem, Problems, WebFile},
    metrics::WebMetrics,
};

/// How often the files are looked at. A change is in force after this.
const LOOK: Duration = Duration::from_secs(1);

/// TLS, users and headers of the listener.
#[derive(Debug, Clone)]
pub struct Security {
    file: Option<PathBuf>,
    current: watch::Sender<Arc<Current>>,
    contents: Contents,
}

#[derive(Debug, Default)]
pub(super) struct Current {
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) http1_only: bool,
    pub(super) headers: HeaderMap,
    users: Option<Users>,
}

impl Security {
    /// Reads the web file; without one, there is clear text and everybody.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(file: Option<&Path>) -> Result<Self, Problems> {
        let Some(path) = file else {
            return Ok(Self { file: None, current: watch::Sender::default(), contents: Vec::new() });
        };
        let (current, contents) = read(path);
        let current = watch::Sender::new(Arc::new(current?));
        Ok(Self { file: Some(path.to_owned()), current, contents })
    }

    pub(super) fn current(&self) -> Arc<Current> {
        self.current.borrow().clone()
    }

    /// Whether the listener speaks TLS.
    pub fn tls(&self) -> bool {
        self.current.borrow().tls.is_some()
    }

    /// Whether there are users.
    pub fn has_users(&self) -> bool {
        self.current.borrow().users.is_some()
    }

    /// Judges user and password of a request; none when there are no users.
    pub async fn login(&self, headers: &HeaderMap) -> Option<Login> {
        let current = self.current();
        let users = current.users.as_ref()?;
        let sent = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        Some(users.login(sent).await)
    }

    /// Takes over what changes, until `shutdown`. What cannot be used is said, and the last good state stays.
    pub async fn watch(self, metrics: WebMetrics, shutdown: CancellationToken) -> &'static str {
        const NAME: &str = "web file";
        metrics.config_good.set(1);
        let Some(path) = self.file else {
            shutdown.cancelled().await;
            return NAME;
        };
        let mut contents = self.contents;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = shutdown.cancelled() => return NAME,
            }
            let before = contents.clone();
            let file = path.clone();
            let look = move || changed(&before).then(|| read(&file));
            let Ok(Some((loaded, now))) = tokio::task::spawn_blocking(look).await else { continue };
            contents = now;
            let loaded = loaded.and_then(|loaded| {
                let current = self.current.borrow();
                let wrong = if loaded.tls.is_some() != current.tls.is_some() {
                    ("tls_server_config", "came or went")
                } else if loaded.users.is_none() && current.users.is_some() {
                    // A file that is being written is empty for a moment: that must not let everybody in.
                    ("basic_auth_users", "went")
                } else {
                    return Ok(loaded);
                };
                Err(problem(&path, wrong.0, wrong.1, "restart Switchyard for that"))
            });
            metrics.config_good.set(i64::from(loaded.is_ok()));
            match loaded {
                Ok(loaded) => {
                    self.current.send_replace(Arc::new(loaded));
                    info!(file = %path.display(), "the web file and its certificates were taken over");
                }
                Err(problems) => {
                    error!(file = %path.display(), %problems, "the web file was refused; the old state stays");
                }
            }
        }
    }
}

fn changed(contents: &Contents) -> bool {
    contents.iter().any(|(path, content)| std::fs::read(path).ok() != *content)
}

fn problem(file: &Path, key: &str, wrong: impl Into<String>, mend: &str) -> Problems {
    let path = format!("{}: {key}", file.display());
    Problems(vec![Problem { path, wrong: wrong.into(), mend: mend.to_owned() }])
}

fn read(path: &Path) -> (Result<Current, Problems>, Contents) {
    let (file, contents) = config::load_web(path);
    let current = file.and_then(|file| {
        Current::new(file).map_err(|(key, wrong)| {
            problem(path, &format!("tls_server_config.{key}"), wrong, "see the key and its _file")
        })
    });
    (current, contents)
}

impl Current {
    fn new(file: WebFile) -> Result<Self, tls::Wrong> {
        let WebFile { tls, http2, headers, users } = file;
        let tls = tls.map(|tls| tls::server(&tls, http2).map(Arc::new)).transpose()?;
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
                map.insert(name, value);
            }
        }
        let users = Users::new(users).map_err(|why| ("users", why))?;
        Ok(Self { tls, http1_only: !http2, headers: map, users })
    }
}

//! Alertmanager's API: the alerts it has now.

use std::time::Duration;

use futures::StreamExt;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// The largest answer that is read, in bytes: some 100,000 alerts.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client cannot be made.
    #[error("the client cannot be made")]
    Client(#[source] reqwest::Error),
    /// No connection, no answer in time, or it was lost.
    #[error("not reachable")]
    Transport(#[source] reqwest::Error),
    /// The answer is larger than 64 MiB.
    #[error("the answer is larger than {MAX_BODY} bytes")]
    TooLarge,
    /// The answer says no.
    #[error("answered {0}")]
    Status(u16),
    /// The answer is not what Alertmanager says.
    #[error("did not answer as Alertmanager does")]
    NotAlertmanager(#[source] serde_json::Error),
}

impl Error {
    /// Whether the same request may be answered later without anybody mending anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport(_) => true,
            Self::Status(status) => *status >= 500 || *status == 429,
            Self::Client(_) | Self::TooLarge | Self::NotAlertmanager(_) => false,
        }
    }
}

/// One Alertmanager.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    url: Url,
    token: Option<SecretString>,
}

/// What an Alertmanager says of itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its peers.
    pub cluster: Cluster,
    /// Its build.
    pub version_info: Version,
}

/// The state of the cluster of Alertmanagers.
#[derive(Debug, Clone, Deserialize)]
pub struct Cluster {
    /// `ready`, `settling` or `disabled`.
    pub status: String,
}

/// A build.
#[derive(Debug, Clone, Deserialize)]
pub struct Version {
    /// The version.
    pub version: String,
}

impl Client {
    /// A client for the Alertmanager at `url`; `timeout` is for one request.
    ///
    /// # Errors
    /// When `ca` is not PEM.
    pub fn new(
        url: Url,
        timeout: Duration,
        token: Option<SecretString>,
        ca: Option<&str>,
    ) -> Result<Self, Error> {
        let mut http = reqwest::Client::builder()
            .timeout(timeout)
            .user_agent(concat!("switchyard/", env!("CARGO_PKG_VERSION")));
        if let Some(ca) = ca {
            for certificate in reqwest::Certificate::from_pem_bundle(ca.as_bytes()).map_err(Error::Client)? {
                http = http.add_root_certificate(certificate);
            }
        }
        Ok(Self { http: http.build().map_err(Error::Client)?, url, token })
    }

    /// Its address.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The alerts that it has now with a label `switchyard`, as it says them. Silenced and inhibited ones are left out:
    /// a person or a rule wants them unheard.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn alerts(&self) -> Result<Vec<u8>, Error> {
        let query = [
            ("active", "true"),
            ("silenced", "false"),
            ("inhibited", "false"),
            ("filter", "switchyard=~\".+\""),
        ];
        self.get("alerts", &query).await
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn status(&self) -> Result<Status, Error> {
        serde_json::from_slice(&self.get("status", &[]).await?).map_err(Error::NotAlertmanager)
    }

    async fn get(&self, what: &str, query: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/api/v2/{what}", url.path().trim_end_matches('/')));
        let mut request = self.http.get(url).query(query);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let response = request.send().await.map_err(Error::Transport)?;
        if !response.status().is_success() {
            return Err(Error::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk.map_err(Error::Transport)?);
            if body.len() > MAX_BODY {
                return Err(Error::TooLarge);
            }
        }
        Ok(body)
    }
}

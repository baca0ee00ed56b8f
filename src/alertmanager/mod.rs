//! Asks Alertmanager for what its webhook may have lost.
//!
//! An empty list of a peer that has just started or is still settling says nothing: [`Status::knows_all`] says how far to
//! trust a peer, and [`alert::stale`](crate::alert::stale()) what follows from what is missing.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use crate::transport::{self, Reply, Transport};

/// Larger than any list that a filter on one label leaves.
const LONGEST: usize = 16 << 20;

/// Why an Alertmanager's answer is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer.
    #[error(transparent)]
    Transport(#[from] transport::Error),
    /// An answer that is a refusal.
    #[error("HTTP {status}: {excerpt}")]
    Status {
        /// The status code.
        status: u16,
        /// The beginning of the body.
        excerpt: String,
    },
    /// An answer of another form.
    #[error("did not answer as Alertmanager does")]
    Form(#[source] serde_json::Error),
}

impl Error {
    /// Whether the same request may succeed later without anybody mending anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport(error) => error.is_transient(),
            Self::Status { status, .. } => *status >= 500 || *status == 429,
            Self::Form(_) => false,
        }
    }
}

/// One Alertmanager.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
}

/// What an Alertmanager says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its peers.
    pub cluster: Cluster,
    /// Its build.
    pub version_info: Version,
    /// Since when it runs. One that is younger than two resend delays of Prometheus (a minute each by default) may not
    /// have heard of every alert yet: it does not keep them over a restart.
    pub uptime: Timestamp,
    /// The time by its own clock when it answered, if it says so.
    #[serde(skip)]
    pub now: Option<Timestamp>,
}

/// The state of the cluster of Alertmanagers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Cluster {
    /// `ready`, `settling`, or `disabled` (it stands alone).
    pub status: String,
}

/// A build.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Version {
    /// The version.
    pub version: String,
}

impl Status {
    /// Whether it has been up for `age` and has settled, so that its list may be taken for complete. Its own clock counts;
    /// `now` is for one that does not tell it.
    pub fn knows_all(&self, now: Timestamp, age: SignedDuration) -> bool {
        let now = self.now.unwrap_or(now);
        self.cluster.status != "settling" && now.duration_since(self.uptime) >= age
    }
}

impl Client {
    /// `token` is sent as Bearer token; `ca` is PEM text of authorities to trust beside the system's.
    ///
    /// # Errors
    /// When token or certificates cannot be used.
    pub fn new(
        url: &Url,
        timeout: Duration,
        token: Option<&SecretString>,
        ca: Option<&str>,
    ) -> Result<Self, Error> {
        Ok(Self { transport: Transport::new(url, timeout, token, ca)? })
    }

    /// Uses another token from the next request on. Says whether it is another one.
    ///
    /// # Errors
    /// When it cannot stand in a header.
    pub fn set_token(&self, token: &SecretString) -> Result<bool, Error> {
        Ok(self.transport.set_token(token)?)
    }

    /// Its address.
    pub fn url(&self) -> &Url {
        self.transport.base()
    }

    /// The alerts that carry the label `switchyard`, as it says them, silenced and inhibited ones included: for
    /// [`alert::parse_poll`](crate::alert::parse_poll).
    ///
    /// # Errors
    /// When there is no usable answer.
    pub async fn alerts(&self) -> Result<Vec<u8>, Error> {
        let mut url = self.transport.url("api/v2/alerts");
        url.query_pairs_mut()
            .append_pair("active", "true")
            .append_pair("silenced", "true")
            .append_pair("inhibited", "true")
            .append_pair("unprocessed", "true")
            .append_pair("filter", "switchyard!=\"\"");
        Ok(self.get(url).await?.body)
    }

    /// How the Alertmanager itself is doing.
    ///
    /// # Errors
    /// When there is no usable answer.
    pub async fn status(&self) -> Result<Status, Error> {
        let reply = self.get(self.transport.url("api/v2/status")).await?;
        let status: Status = serde_json::from_slice(&reply.body).map_err(Error::Form)?;
        Ok(Status { now: reply.date, ..status })
    }

    async fn get(&self, url: Url) -> Result<Reply, Error> {
        let reply = self.transport.read(self.transport.client.get(url), LONGEST).await?;
        if reply.status != StatusCode::OK {
            let (status, excerpt) = (reply.status.as_u16(), transport::excerpt(&reply.body));
            return Err(Error::Status { status, excerpt });
        }
        Ok(reply)
    }
}

//! What the readers of Prometheus and Alertmanager share: one HTTP client for one server, and bodies with a limit.

use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client cannot be set up.
    #[error("the TLS settings cannot be used")]
    Tls(#[source] reqwest::Error),
    /// The token cannot stand in a header.
    #[error("the token holds characters that no token has")]
    Token,
    /// No connection.
    #[error("no connection")]
    Connect(#[source] reqwest::Error),
    /// No whole answer in time.
    #[error("no answer within {}", seconds(*.0))]
    Timeout(Duration),
    /// The connection broke.
    #[error("the connection broke")]
    Lost(#[source] reqwest::Error),
    /// The answer does not end.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

impl Error {
    /// Whether the same request may succeed later without anybody mending anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Timeout(_) | Self::Lost(_))
    }
}

pub(crate) fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// An error with all its causes, for people.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some libraries repeat what is below them.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// One server.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) client: reqwest::Client,
    base: Url,
    timeout: Duration,
}

impl Transport {
    /// `ca`: PEM text of authorities to trust beside the system's.
    pub(crate) fn new(
        base: &Url,
        timeout: Duration,
        token: Option<&SecretString>,
        ca: Option<&str>,
    ) -> Result<Self, Error> {
        let mut headers = header::HeaderMap::new();
        if let Some(token) = token {
            let mut value = header::HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
                .map_err(|_| Error::Token)?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        // reqwest is built without a provider; the first one installed serves the whole process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("switchyard/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .timeout(timeout)
            // A redirect could take the token to somebody else.
            .redirect(reqwest::redirect::Policy::none());
        if let Some(pem) = ca {
            let certificates = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(Error::Tls)?;
            builder = builder.tls_certs_merge(certificates);
        }
        Ok(Self { client: builder.build().map_err(Error::Tls)?, base: base.clone(), timeout })
    }

    /// The server's address as it is shown.
    pub(crate) fn name(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The server's address.
    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The address of a call, below whatever path the server has.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        url
    }

    /// Sends and reads the whole body.
    pub(crate) async fn read(
        &self,
        request: RequestBuilder,
        limit: usize,
    ) -> Result<(StatusCode, Vec<u8>), Error> {
        let mut response = request.send().await.map_err(|error| self.failed(error))?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(error))? {
            if body.len() + chunk.len() > limit {
                return Err(Error::TooLong(limit));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status(), body))
    }

    fn failed(&self, error: reqwest::Error) -> Error {
        // Whoever asks names the server already.
        let error = error.without_url();
        if error.is_timeout() {
            Error::Timeout(self.timeout)
        } else if error.is_connect() {
            Error::Connect(error)
        } else {
            Error::Lost(error)
        }
    }
}

/// The start of a body that is not what was expected, in one line.
pub(crate) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

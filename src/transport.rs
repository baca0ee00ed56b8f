//! What the readers of Prometheus and Alertmanager share: one HTTP client for one server, and bodies with a limit.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::{RequestBuilder, Response, StatusCode, header};
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

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
    /// The server's clock, in whole seconds, if it says so.
    pub(crate) date: Option<Timestamp>,
    /// How far this machine's clock is surely ahead of the server's, or behind it (negative), if the server says.
    pub(crate) clock_ahead: Option<SignedDuration>,
}

/// A time between `sent` and `received` by this machine's clock was `date` by the server's, which cuts off the fraction
/// of its second. Zero when both may show the same.
fn clock_ahead(sent: Timestamp, date: Timestamp, received: Timestamp) -> SignedDuration {
    let least = sent.duration_since(date) - SignedDuration::from_secs(1);
    let most = received.duration_since(date);
    SignedDuration::ZERO.clamp(least.min(most), most)
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
        if on_this_machine(base) {
            builder = builder.no_proxy();
        }
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
    pub(crate) async fn read(&self, request: RequestBuilder, limit: usize) -> Result<Reply, Error> {
        let sent = now();
        let response = self.begin(request).await?;
        let received = now();
        let date = response.headers().get(header::DATE).and_then(|value| value.to_str().ok());
        let date = date.and_then(|text| Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp()));
        let status = response.status();
        let body = self.body(response, limit).await?;
        let clock_ahead = date.map(|date| clock_ahead(sent, date, received));
        Ok(Reply { status, body, date, clock_ahead })
    }

    /// Sends and waits for the beginning of an answer.
    pub(crate) async fn begin(&self, request: RequestBuilder) -> Result<Response, Error> {
        request.send().await.map_err(|error| self.failed(error))
    }

    /// The rest of an answer, within the time that the request has.
    pub(crate) async fn body(&self, mut response: Response, limit: usize) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(error))? {
            if body.len() + chunk.len() > limit {
                return Err(Error::TooLong(limit));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
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

/// Whether a proxy, which the environment may name, could only reach another machine's server instead.
pub(crate) fn on_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "compared with the server's clock, right before and after the request"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

/// The start of a body that is not what was expected, in one line.
pub(crate) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_clock_is_told_from_a_slow_answer() {
        let ahead = |sent: i64, date: i64, received: i64| {
            let at = |ms| Timestamp::from_millisecond(ms).unwrap();
            clock_ahead(at(sent), at(date), at(received)).as_millis()
        };
        assert_eq!(ahead(10_200, 10_000, 10_300), 0, "the fraction of a second is cut off");
        assert_eq!(ahead(10_900, 11_000, 11_100), 0);
        assert_eq!(ahead(10_000, 40_000, 70_000), 0, "an answer that took a minute proves nothing");
        assert_eq!(ahead(250_000, 10_000, 250_100), 239_000);
        assert_eq!(ahead(10_000, 250_000, 10_100), -239_900);
        // The clock was set back while the answer was on its way.
        assert_eq!(ahead(250_000, 10_000, 10_100), 100);
    }
}

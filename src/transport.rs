//! What the readers of Prometheus and Alertmanager share: one HTTP client for one server, and bodies with a limit.

use std::{
    fmt,
    sync::{PoisonError, RwLock},
    time::Duration,
};

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

/// A token that cannot stand in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoToken;

/// The Bearer token that a server is shown, as it is now: its file may be replaced.
pub(crate) struct Bearer(RwLock<Credential>);

/// What goes with one request.
#[derive(Clone)]
pub(crate) struct Credential {
    token: SecretString,
    authorization: header::HeaderValue,
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer")
    }
}

impl Bearer {
    pub(crate) fn new(token: &SecretString) -> Result<Self, NoToken> {
        Ok(Self(RwLock::new(Credential::new(token)?)))
    }

    /// Another one counts from the next request on; whether it is another one.
    pub(crate) fn set(&self, token: &SecretString) -> Result<bool, NoToken> {
        let new = Credential::new(token)?;
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let other = current.token.expose_secret() != new.token.expose_secret();
        *current = new;
        Ok(other)
    }

    /// For one request and its answer.
    pub(crate) fn current(&self) -> Credential {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Credential {
    fn new(token: &SecretString) -> Result<Self, NoToken> {
        let text = format!("Bearer {}", token.expose_secret());
        let mut authorization = header::HeaderValue::from_str(&text).map_err(|_| NoToken)?;
        authorization.set_sensitive(true);
        Ok(Self { token: token.clone(), authorization })
    }

    /// The value of the header.
    pub(crate) fn authorization(&self) -> header::HeaderValue {
        self.authorization.clone()
    }

    /// Some proxies show the request in their error page: whatever is made of an answer, the token is not in it.
    pub(crate) fn scrub(&self, body: Vec<u8>) -> Vec<u8> {
        let token = self.token.expose_secret();
        if token.is_empty() {
            return body;
        }
        match String::from_utf8_lossy(&body) {
            text if text.contains(token) => text.replace(token, "[token]").into_bytes(),
            _ => body,
        }
    }
}

/// One server.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) client: reqwest::Client,
    base: Url,
    timeout: Duration,
    bearer: Option<Bearer>,
}

impl Transport {
    /// `ca`: PEM text of authorities to trust beside the system's.
    pub(crate) fn new(
        base: &Url,
        timeout: Duration,
        token: Option<&SecretString>,
        ca: Option<&str>,
    ) -> Result<Self, Error> {
        let bearer = token.map(Bearer::new).transpose().map_err(|_| Error::Token)?;
        // reqwest is built without a provider; the first one installed serves the whole process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("switchyard/", env!("CARGO_PKG_VERSION")))
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
        Ok(Self { client: builder.build().map_err(Error::Tls)?, base: base.clone(), timeout, bearer })
    }

    /// Uses another token from the next request on, if one is shown at all; whether it is another one.
    pub(crate) fn set_token(&self, token: &SecretString) -> Result<bool, Error> {
        self.bearer.as_ref().map_or(Ok(false), |bearer| bearer.set(token)).map_err(|_| Error::Token)
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

    /// Sends, with the token, and reads the whole body.
    pub(crate) async fn read(&self, request: RequestBuilder, limit: usize) -> Result<Reply, Error> {
        let credential = self.bearer.as_ref().map(Bearer::current);
        let request = match &credential {
            Some(credential) => request.header(header::AUTHORIZATION, credential.authorization()),
            None => request,
        };
        let sent = now();
        let response = self.begin(request).await?;
        let received = now();
        let date = response.headers().get(header::DATE).and_then(|value| value.to_str().ok());
        let date = date.and_then(|text| Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp()));
        let status = response.status();
        let mut body = self.body(response, limit).await?;
        if let Some(credential) = credential {
            body = credential.scrub(body);
        }
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
    fn an_answer_that_shows_the_request_does_not_show_its_token() {
        let bearer = Bearer::new(&"old".into()).unwrap();
        let sent = bearer.current();
        assert_eq!(bearer.set(&"s3cret".into()), Ok(true));
        assert_eq!(bearer.set(&"s3cret".into()), Ok(false));
        assert_eq!(bearer.set(&"two\nlines".into()), Err(NoToken));
        // By the token of its own request, whatever has been read since.
        assert_eq!(sent.scrub(b"Bearer old".to_vec()), b"Bearer [token]");
        let sent = bearer.current();
        assert_eq!(sent.scrub(b"s3cret, s3cret".to_vec()), b"[token], [token]");
        assert_eq!(sent.scrub(b"\xff s3cre".to_vec()), b"\xff s3cre");
        assert!(!format!("{bearer:?} {:?}", sent.authorization()).contains("s3cret"));
    }

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

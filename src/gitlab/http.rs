//! One request to GitLab: bounded in number, time and size, paced by what GitLab says about its limits.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use reqwest::{
    Method, Response, Url,
    header::{AUTHORIZATION, DATE, HeaderMap, LOCATION, RETRY_AFTER},
};
use secrecy::SecretString;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Semaphore;

use super::{Error, Observer, RequestEvent, Settings, error};
use crate::{
    clock::time_left,
    model::BootTime,
    transport::{Bearer, Credential, NoToken},
};

/// No answer that Switchyard asks for comes near this.
const BODY_LIMIT: usize = 16 * 1024 * 1024;
/// A request waits at most this long for the rate limit; a longer wait is the caller's business.
const PATIENCE: Duration = Duration::from_secs(5);
/// A `Retry-After` beyond this is not believed: nobody may blind Switchyard for longer with one header.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// After a 429 that names no time.
const SHORT_PAUSE: Duration = Duration::from_secs(1);
/// Shorter than what web servers keep an idle connection open for, so that a write does not meet a closing one.
const POOL_IDLE: Duration = Duration::from_secs(20);

pub(super) struct Http {
    client: reqwest::Client,
    base: Url,
    bearer: Bearer,
    permits: Semaphore,
    pause: Mutex<Option<Pause>>,
    timeout: Duration,
    observer: Observer,
}

/// Until when no request is wanted.
#[derive(Debug, Clone, Copy)]
struct Pause {
    until: Instant,
    /// GitLab refused a request; otherwise it only said that the budget is used up.
    refused: bool,
}

/// A success with its whole body.
#[derive(Debug)]
pub struct Reply {
    operation: &'static str,
    status: u16,
    pub(super) headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    /// What an answer comes to, once it is here.
    ///
    /// # Errors
    /// When GitLab refuses: in its own words, whatever their shape.
    pub fn new(
        operation: &'static str,
        status: u16,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<Self, Error> {
        match status {
            200..=299 => Ok(Self { operation, status, headers, body }),
            429 => {
                let retry_after = asked_wait(&headers);
                Err(Error::RateLimited { operation, retry_after, message: error::message(&body) })
            }
            _ => Err(Error::Status { operation, status, message: error::message(&body) }),
        }
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|source| match source.classify() {
            serde_json::error::Category::Data => Error::Shape { operation: self.operation, source },
            _ => Error::NotJson {
                operation: self.operation,
                status: self.status,
                excerpt: error::excerpt(&String::from_utf8_lossy(&self.body), 200),
            },
        })
    }

    pub(super) fn number(&self, header: &str) -> Option<u64> {
        number(&self.headers, header)
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Http {
    pub(super) fn new(settings: &Settings, observer: Observer) -> Result<Self, Error> {
        let base = Url::parse(&settings.url)
            .map_err(|error| Error::Setting(format!("{:?} is not a URL: {error}", settings.url)))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(Error::Setting(format!("{:?} is not an http or https URL", settings.url)));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(Error::Setting("the URL must not hold credentials".to_owned()));
        }
        if settings.concurrency == 0 {
            return Err(Error::Setting("concurrency must be at least 1".to_owned()));
        }
        let bearer = Bearer::new(&settings.token).map_err(no_token)?;

        // reqwest is built without a provider; the first one installed serves the whole process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("switchyard/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.request_timeout)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(settings.concurrency)
            // A redirect turns a PUT into a GET, or sends the token to somebody else.
            .redirect(reqwest::redirect::Policy::none());
        if let Some(pem) = &settings.ca_pem {
            let certificates = reqwest::Certificate::from_pem_bundle(pem).map_err(Error::Tls)?;
            if certificates.is_empty() {
                return Err(Error::Setting("the CA file holds no certificate".to_owned()));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        Ok(Self {
            client: builder.build().map_err(Error::Tls)?,
            base,
            bearer,
            permits: Semaphore::new(settings.concurrency),
            pause: Mutex::new(None),
            timeout: settings.request_timeout,
            observer,
        })
    }

    /// Uses another token from the next request on; whether it is another one.
    pub(super) fn set_token(&self, token: &SecretString) -> Result<bool, Error> {
        self.bearer.set(token).map_err(no_token)
    }

    /// The address of an API call; each segment is escaped.
    pub(super) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.set_query(None);
        url.set_fragment(None);
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("api").extend(segments);
        }
        url
    }

    pub(super) async fn get(
        &self,
        operation: &'static str,
        segments: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Reply, Error> {
        let mut url = self.url(segments);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(operation, self.client.request(Method::GET, url), None).await
    }

    pub(super) async fn send_json<T: Serialize>(
        &self,
        operation: &'static str,
        method: Method,
        segments: &[&str],
        body: &T,
        deadline: Option<BootTime>,
    ) -> Result<Reply, Error> {
        self.send(operation, self.client.request(method, self.url(segments)).json(body), deadline).await
    }

    async fn send(
        &self,
        operation: &'static str,
        request: reqwest::RequestBuilder,
        deadline: Option<BootTime>,
    ) -> Result<Reply, Error> {
        // The semaphore is never closed, so that there is always a permit to come.
        let _permit = self.permits.acquire().await;
        self.wait_for_limit(operation).await?;

        // The last moment: a process that was frozen until now must not send what it was about to, nor once a connection
        // is made. The client looks at this time before it goes on; only a machine that sleeps stops it.
        let left = deadline.map(time_left);
        if left == Some(Duration::ZERO) {
            return Err(Error::TooLate { operation });
        }
        let timeout = left.unwrap_or(self.timeout).min(self.timeout);
        let started = Instant::now();
        let credential = self.bearer.current();
        let request = request.header(AUTHORIZATION, credential.authorization()).timeout(timeout);
        let (result, code, remaining) = match request.send().await {
            Err(error) => {
                let error = failed_to_send(operation, error);
                (Err(error), None, None)
            }
            Ok(response) => {
                let status = response.status().as_u16();
                let remaining = number(response.headers(), "ratelimit-remaining");
                (self.receive(operation, &credential, response).await, Some(status), remaining)
            }
        };
        let code = match (&result, code) {
            (Err(Error::Connect { .. }), _) => "connect".to_owned(),
            (Err(Error::Timeout { .. }), _) => "timeout".to_owned(),
            (Err(Error::Lost { .. } | Error::Body { .. }), _) | (_, None) => "broken".to_owned(),
            (_, Some(status)) => status.to_string(),
        };
        (self.observer)(&RequestEvent {
            operation,
            code,
            duration: started.elapsed(),
            rate_limit_remaining: remaining,
        });
        result
    }

    async fn receive(
        &self,
        operation: &'static str,
        credential: &Credential,
        mut response: Response,
    ) -> Result<Reply, Error> {
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        self.note_limit(status.as_u16(), &headers);
        let body = read_body(operation, &mut response).await.map(|body| credential.scrub(body));
        if status.is_redirection() {
            let location = headers.get(LOCATION).and_then(|v| v.to_str().ok()).unwrap_or("somewhere else");
            let location = String::from_utf8_lossy(&credential.scrub(location.into())).into_owned();
            let message = format!("a redirect to {}; is the URL right?", error::excerpt(&location, 200));
            return Err(Error::Status { operation, status: status.as_u16(), message });
        }
        // A refusal stays one when its text cannot be read.
        let body = if status.is_success() { body? } else { body.unwrap_or_default() };
        Reply::new(operation, status.as_u16(), headers, body)
    }

    async fn wait_for_limit(&self, operation: &'static str) -> Result<(), Error> {
        let pause = *self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Pause { until, refused }) = pause else { return Ok(()) };
        let wait = until.saturating_duration_since(Instant::now());
        if wait > PATIENCE && refused {
            return Err(Error::RateLimited {
                operation,
                retry_after: Some(wait),
                message: "not sent, an earlier request was refused".to_owned(),
            });
        }
        tokio::time::sleep(wait.min(PATIENCE)).await;
        Ok(())
    }

    fn note_limit(&self, status: u16, headers: &HeaderMap) {
        let refused = status == 429;
        let used_up = number(headers, "ratelimit-remaining") == Some(0);
        if !refused && !used_up {
            return;
        }
        let wait = match asked_wait(headers) {
            Some(wait) => wait.min(LONGEST_PAUSE),
            None if refused => SHORT_PAUSE,
            None => return,
        };
        let next = Pause { until: Instant::now() + wait, refused };
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        if pause.is_none_or(|pause| pause.until < next.until) {
            *pause = Some(next);
        }
    }
}

fn failed_to_send(operation: &'static str, error: reqwest::Error) -> Error {
    let source = error.without_url();
    if source.is_connect() || source.is_builder() {
        Error::Connect { operation, source: source.into() }
    } else if source.is_timeout() {
        Error::Timeout { operation }
    } else {
        Error::Lost { operation, source: source.into() }
    }
}

async fn read_body(operation: &'static str, response: &mut Response) -> Result<Vec<u8>, Error> {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(body),
            Ok(Some(chunk)) if body.len() + chunk.len() > BODY_LIMIT => {
                return Err(Error::TooLarge { operation, limit: BODY_LIMIT });
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Err(error) if error.is_timeout() => return Err(Error::Timeout { operation }),
            Err(error) => return Err(Error::Body { operation, status, source: error.without_url() }),
        }
    }
}

fn no_token(_: NoToken) -> Error {
    Error::Setting("the access token holds characters that no token has".to_owned())
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// The moment of the answer on GitLab's own clock: limits are measured against it and not against ours.
pub(super) fn server_time(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(DATE)?.to_str().ok()?)
}

fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp())
}

/// How long GitLab asks to wait: `Retry-After` in seconds or as a date, else `RateLimit-Reset` (an absolute time).
fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    let until = |at: Timestamp| {
        let wait = at.duration_since(server_time(headers)?);
        Some(Duration::try_from(wait).unwrap_or(Duration::ZERO))
    };
    if let Some(text) = headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()) {
        let text = text.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        if let Some(wait) = http_date(text).and_then(until) {
            return Some(wait);
        }
    }
    let reset = i64::try_from(number(headers, "ratelimit-reset")?).ok()?;
    until(Timestamp::from_second(reset).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect()
    }

    #[test]
    fn the_wait_is_read_from_every_header_that_names_it() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!(asked_wait(&headers(&[("retry-after", "7")])), seconds(7));
        assert_eq!(
            asked_wait(&headers(&[date, ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")])),
            seconds(30)
        );
        assert_eq!(
            asked_wait(&headers(&[date, ("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")])),
            seconds(0)
        );
        // 784111777 is the date above: the reset is an absolute time, not a delta.
        assert_eq!(asked_wait(&headers(&[date, ("ratelimit-reset", "784111787")])), seconds(10));
        assert_eq!(asked_wait(&headers(&[("ratelimit-reset", "784111787")])), None);
        assert_eq!(asked_wait(&headers(&[date, ("retry-after", "soon")])), None);
        assert_eq!(asked_wait(&headers(&[])), None);
    }
}

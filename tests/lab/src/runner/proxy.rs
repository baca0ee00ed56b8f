//! What stands between the protocol library and GitLab: it counts, remembers `last_update`, and judges health.
//!
//! The library hides HTTP statuses and sends no `last_update`. So it talks to this local door, and the door talks to
//! GitLab the way gitlab-runner 19 does: up to five attempts inside one counted request while GitLab answers 5xx or
//! 429, `-1` when there is no answer, sleep after three 403s.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;

const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A result or a piece of log is kept and sent again: the library would lose it.
const KEEP_ATTEMPTS: u32 = 10;
const KEEP_PAUSE: Duration = Duration::from_secs(1);
const UNHEALTHY_LIMIT: u32 = 3;
const RESPONSE_LIMIT: Duration = Duration::from_secs(600);

/// The health table's row of a section.
#[derive(Debug)]
struct Health {
    failures: u32,
    last_good: Instant,
}

/// One section's, shared by its door, the poll loop and its jobs.
#[derive(Debug)]
pub(super) struct Gate {
    http: reqwest::Client,
    url: String,
    pub(super) metrics: Metrics,
    unhealthy_interval: Duration,
    health: Mutex<Health>,
    last_update: Mutex<Option<String>>,
    /// Why jobs failed, by job id, for those that did not fail by their script.
    reasons: Mutex<HashMap<String, &'static str>>,
    /// No more polls: a held one is given up.
    draining: CancellationToken,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

enum Outcome {
    Answer(reqwest::Response),
    None,
}

impl Gate {
    pub(super) fn new(
        url: &str,
        metrics: Metrics,
        unhealthy_interval: Duration,
        draining: CancellationToken,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self {
            // One connection per request: a reset is a reset of this request.
            http: reqwest::Client::builder()
                .pool_max_idle_per_host(0)
                .read_timeout(RESPONSE_LIMIT)
                .build()?,
            url: url.trim_end_matches('/').to_owned(),
            metrics,
            unhealthy_interval,
            health: Mutex::new(Health { failures: 0, last_good: Instant::now() }),
            last_update: Mutex::default(),
            reasons: Mutex::default(),
            draining,
        })
    }

    /// Whether the section may be polled. After the interval the count starts anew.
    pub(super) fn is_healthy(&self) -> bool {
        let mut health = lock(&self.health);
        if health.failures < UNHEALTHY_LIMIT {
            return true;
        }
        if health.last_good.elapsed() <= self.unhealthy_interval {
            return false;
        }
        *health = Health { failures: 0, last_good: Instant::now() };
        true
    }

    /// A configuration reload empties the health table.
    pub(super) fn wake(&self) {
        *lock(&self.health) = Health { failures: 0, last_good: Instant::now() };
    }

    pub(super) fn job_failed(&self, id: u64, reason: &'static str) {
        lock(&self.reasons).insert(id.to_string(), reason);
    }

    fn judge(&self, forbidden: bool) {
        let mut health = lock(&self.health);
        if !forbidden {
            *health = Health { failures: 0, last_good: Instant::now() };
            return;
        }
        health.failures += 1;
        self.metrics.unhealthy();
        self.metrics.process.error("error");
        tracing::error!(failures = health.failures, "checking for jobs: forbidden");
        if health.failures == UNHEALTHY_LIMIT {
            self.metrics.process.error("error");
            tracing::error!(interval = ?self.unhealthy_interval, "runner is unhealthy and will be disabled");
        }
    }

    async fn send(&self, method: &Method, path: &str, headers: &HeaderMap, body: &Bytes) -> Outcome {
        let mut attempts = Attempts { gate: self, method, path, count: 0 };
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            attempts.count = attempt;
            let request = self
                .http
                .request(method.clone(), format!("{}{path}", self.url))
                .headers(headers.clone())
                .body(body.clone());
            let answer = match request.send().await {
                Ok(answer) => answer,
                Err(error) => {
                    self.metrics.process.error("warning");
                    tracing::warn!(%method, path, %error, "no answer");
                    return Outcome::None;
                }
            };
            let status = answer.status();
            let again = matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504);
            if again {
                self.metrics.process.error("warning");
                tracing::warn!(%method, path, %status, attempt, "refused");
            }
            if !again || attempt == ATTEMPTS {
                return Outcome::Answer(answer);
            }
            let after = answer.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
            tokio::time::sleep(after.map_or(pause, Duration::from_secs)).await;
            pause *= 2;
        }
        Outcome::None
    }

    /// Time and again, with a growing pause, until GitLab says yes or no. The last outcome is the caller's to count,
    /// from when it began.
    async fn keep_sending(
        &self,
        endpoint: Option<&str>,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> (Outcome, Instant) {
        let mut pause = KEEP_PAUSE;
        for _ in 1..KEEP_ATTEMPTS {
            let started = Instant::now();
            match self.send(method, path, headers, body).await {
                Outcome::Answer(answer) if !answer.status().is_server_error() => {
                    return (Outcome::Answer(answer), started);
                }
                Outcome::Answer(answer) => {
                    let status = answer.status();
                    let took = started.elapsed();
                    self.metrics.request(
                        endpoint.unwrap_or_default(),
                        method.as_str(),
                        status.as_str(),
                        took,
                    );
                }
                Outcome::None => self.count_silence(endpoint, method, started.elapsed()),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        let started = Instant::now();
        (self.send(method, path, headers, body).await, started)
    }

    /// A gitlab-runner does not count pieces of log that nobody answered.
    fn count_silence(&self, endpoint: Option<&str>, method: &Method, took: Duration) {
        if let Some(endpoint) = endpoint.filter(|e| *e != "patch_trace") {
            self.metrics.request(endpoint, method.as_str(), "-1", took);
        }
    }
}

/// The attempts of one request, counted when it is over: also when it is given up.
struct Attempts<'a> {
    gate: &'a Gate,
    method: &'a Method,
    path: &'a str,
    count: u32,
}

impl Drop for Attempts<'_> {
    fn drop(&mut self) {
        let path: Vec<&str> = self.path.split('?').next().unwrap_or_default().split('/').collect();
        // One series for the traces of all jobs.
        let numbered = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let path: Vec<&str> =
            path.into_iter().map(|part| if numbered(&part) { ":id" } else { part }).collect();
        self.gate.metrics.process.attempts(&path.join("/"), self.method.as_str(), self.count);
    }
}

/// GitLab has this piece of log already: the answer to an earlier attempt was lost.
fn is_known_piece(status: StatusCode, sent: &HeaderMap, answered: &HeaderMap) -> bool {
    let end = |headers: &HeaderMap, name| -> Option<u64> {
        headers.get(name)?.to_str().ok()?.rsplit_once('-')?.1.parse().ok()
    };
    // `Content-Range` names the last byte, `Range` the length.
    let (last, length) = (end(sent, header::CONTENT_RANGE), end(answered, header::RANGE));
    status == StatusCode::RANGE_NOT_SATISFIABLE && last.is_some_and(|last| length == Some(last + 1))
}

pub(super) fn router(gate: Arc<Gate>) -> Router {
    Router::new().fallback(forward).with_state(gate)
}

/// What the counters call this request, and the job it is about.
fn endpoint(method: &Method, path: &str) -> (Option<&'static str>, String) {
    let segments: Vec<&str> = path.trim_start_matches("/api/v4/").split('/').collect();
    match (method.as_str(), segments.as_slice()) {
        ("POST", ["jobs", "request"]) => (Some("request_job"), String::new()),
        ("PATCH", ["jobs", id, "trace"]) => (Some("patch_trace"), (*id).to_owned()),
        ("PUT", ["jobs", id]) => (Some("update_job"), (*id).to_owned()),
        _ => (None, String::new()),
    }
}

/// The fields that gitlab-runner sends and the library does not.
fn complete(gate: &Gate, endpoint: Option<&str>, job: &str, body: Bytes) -> Bytes {
    let Some(Value::Object(mut map)) = endpoint.and_then(|_| serde_json::from_slice(&body).ok()) else {
        return body;
    };
    match endpoint {
        Some("request_job") => {
            if let Some(value) = lock(&gate.last_update).clone() {
                map.insert("last_update".into(), value.into());
            }
            if let Some(Value::Object(info)) = map.get_mut("info") {
                info.insert("executor".into(), "shell".into());
                info.insert("name".into(), "gitlab-runner".into());
            }
        }
        Some("update_job") if map.get("state").is_some_and(|s| s == "failed") => {
            let reason = lock(&gate.reasons).get(job).copied().unwrap_or("script_failure");
            map.insert("failure_reason".into(), reason.into());
        }
        _ => return body,
    }
    Bytes::from(Value::Object(map).to_string())
}

async fn forward(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else { return StatusCode::BAD_REQUEST.into_response() };
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let (endpoint, job) = endpoint(&parts.method, parts.uri.path());
    let body = complete(&gate, endpoint, &job, body);
    let mut headers = parts.headers;
    for hop in [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION] {
        headers.remove(hop);
    }
    let is_poll = endpoint == Some("request_job");
    let kept = matches!(endpoint, Some("patch_trace" | "update_job"));
    let begun = Instant::now();
    let (outcome, started) = tokio::select! {
        outcome = gate.send(&parts.method, path, &headers, &body), if !kept => (outcome, begun),
        outcome = gate.keep_sending(endpoint, &parts.method, path, &headers, &body), if kept => outcome,
        // A poll that still hangs a second after the drain began is a held one: nobody gave it a job.
        () = async { gate.draining.cancelled().await; tokio::time::sleep(Duration::from_secs(1)).await }, if is_poll => {
            return StatusCode::NO_CONTENT.into_response();
        }
    };
    let Outcome::Answer(answer) = outcome else {
        gate.count_silence(endpoint, &parts.method, started.elapsed());
        if is_poll {
            gate.judge(false);
        }
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let sent = headers;
    let (mut status, headers) = (answer.status(), answer.headers().clone());
    let content = answer.bytes().await;
    // A 201 whose body is broken is no usable answer.
    let usable = match (&content, status) {
        (Ok(content), StatusCode::CREATED) if is_poll => serde_json::from_slice::<Value>(content).is_ok(),
        (content, _) => content.is_ok(),
    };
    if let Some(endpoint) = endpoint {
        let label = if usable { status.as_str() } else { "-1" };
        gate.metrics.request(endpoint, parts.method.as_str(), label, started.elapsed());
    }
    if is_poll {
        gate.judge(status == StatusCode::FORBIDDEN);
        if let Some(value) = headers.get("x-gitlab-last-update").and_then(|v| v.to_str().ok()) {
            *lock(&gate.last_update) = Some(value.to_owned());
        }
    }
    let Ok(content) = content else { return StatusCode::BAD_GATEWAY.into_response() };
    if endpoint == Some("patch_trace") && is_known_piece(status, &sent, &headers) {
        status = StatusCode::ACCEPTED;
    }
    let mut response = Response::new(Body::from(content));
    *response.status_mut() = status;
    for name in ["content-type", "job-status", "x-gitlab-trace-update-interval", "range"] {
        if let Some(value) = headers.get(name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

//! Sockets, faults, rate limits and the request log: everything around the handlers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, request::Parts};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::access::Token;
use super::faults::{Hit, Kind, Outage, operation};
use super::model::Logged;
use super::reply::{Failure, Params, reply};
use super::state::{Lag, State};
use super::{RateLimit, RateLimitShape};

/// The state, shared by all requests.
#[derive(Clone)]
pub(crate) struct Shared {
    state: Arc<Mutex<State>>,
    pub(crate) schema: super::graphql::Schema,
    outage: watch::Sender<Outage>,
}

impl Shared {
    pub(crate) fn new(state: State) -> Self {
        Self {
            state: Arc::new(Mutex::new(state)),
            schema: super::graphql::schema(),
            outage: watch::channel(Outage::None).0,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_outage(&self, outage: Outage) {
        self.lock().outage = outage;
        self.outage.send_replace(outage);
    }
}

/// One request, body included.
pub(crate) struct Call {
    pub(crate) headers: HeaderMap,
    pub(crate) uri: Uri,
    pub(crate) body: Bytes,
    pub(crate) lag: Lag,
}

impl<S: Send + Sync> FromRequest<S> for Call {
    type Rejection = Infallible;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Self::Rejection> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
        let lag = parts.extensions.get::<Lag>().copied().unwrap_or_default();
        Ok(Self { headers: parts.headers, uri: parts.uri, body, lag })
    }
}

/// The access token's secret, wherever GitLab accepts it.
pub(crate) fn secret(headers: &HeaderMap, query: Option<&str>) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    text("private-token")
        .or_else(|| {
            text("authorization").and_then(|v| v.strip_prefix("Bearer ").or(v.strip_prefix("bearer ")))
        })
        .map(str::to_owned)
        .or_else(|| {
            form_urlencoded::parse(query.unwrap_or_default().as_bytes())
                .find(|(key, _)| key == "private_token" || key == "access_token")
                .map(|(_, value)| value.into_owned())
        })
}

impl Call {
    pub(crate) fn token<'a>(&self, state: &'a State) -> Result<&'a Token, Failure> {
        state.authenticate(secret(&self.headers, self.uri.query()).as_deref())
    }

    pub(crate) fn params(&self) -> Result<Params, Failure> {
        Params::parse(self.uri.query(), &self.headers, &self.body)
    }

    pub(crate) fn query(&self) -> Option<&str> {
        self.uri.query()
    }

    pub(crate) fn base(&self) -> String {
        let host = self.headers.get(header::HOST).and_then(|v| v.to_str().ok());
        format!("http://{}", host.or(self.uri.authority().map(|a| a.as_str())).unwrap_or_default())
    }

    pub(crate) fn url(&self) -> String {
        format!("{}{}", self.base(), self.uri.path())
    }
}

pub(crate) fn router(shared: &Shared) -> Router {
    Router::new()
        .merge(super::rest::router())
        .merge(super::runner_api::router())
        .merge(super::pipelines::router())
        .merge(super::incidents::router())
        .merge(super::files::router())
        .merge(super::variables::router())
        .merge(super::graphql::router())
        .merge(super::lab::router())
        .fallback(|| async { Failure::message(StatusCode::NOT_FOUND, "404 Not Found") })
        .layer(DefaultBodyLimit::disable())
        .with_state(shared.clone())
}

/// Hyper closes the connection without an answer when a service fails.
#[derive(Debug, thiserror::Error)]
#[error("connection cut by a fault")]
struct Cut;

/// Accepts until cancelled; listens again after an outage of kind [`Outage::Refuse`].
pub(crate) async fn serve(listener: TcpListener, shared: Shared, stop: CancellationToken) {
    let Ok(address) = listener.local_addr() else { return };
    let app = router(&shared);
    let mut outage = shared.outage.subscribe();
    let mut listener = Some(listener);
    let mut connections = stop.child_token();
    loop {
        let refused = *outage.borrow_and_update() == Outage::Refuse;
        if refused {
            listener = None;
            connections.cancel();
            connections = stop.child_token();
        } else if listener.is_none() {
            listener = rebind(address).await;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = outage.changed() => if changed.is_err() { return },
            accepted = accept(listener.as_ref()) => {
                if let Some(stream) = accepted {
                    tokio::spawn(connection(stream, app.clone(), shared.clone(), connections.clone()));
                }
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> Option<tokio::net::TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.ok().map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

async fn rebind(address: SocketAddr) -> Option<TcpListener> {
    for _ in 0..100 {
        match TcpListener::bind(address).await {
            Ok(listener) => return Some(listener),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    tracing::error!(%address, "cannot listen again after the outage");
    None
}

async fn connection(stream: tokio::net::TcpStream, app: Router, shared: Shared, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        handle(request.map(Body::new), app.clone(), shared.clone())
    });
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    tokio::select! {
        () = stop.cancelled() => {}
        _ = builder.serve_connection(TokioIo::new(stream), service) => {}
    }
}

async fn handle(request: Request, app: Router, shared: Shared) -> Result<Response, Cut> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.map_err(|_| Cut)?;
    let text = String::from_utf8_lossy(&body);
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let name = operation(&parts.method, &path, &text);
    if name == "lab" {
        return respond(app, parts, body).await;
    }
    let caller = secret(&parts.headers, parts.uri.query());
    let (hit, limited, mut entry) = {
        let mut state = shared.lock();
        let mut hit = state.fault_for(parts.method.as_str(), &path, &name, &text);
        if let Some(kind) = away(state.outage, &parts.method, &name) {
            // What stands before GitLab answers first.
            let kind = hit.kind.take_if(|_| state.outage == Outage::Maintenance).unwrap_or(kind);
            (hit.kind, hit.name) = (Some(kind), Some("outage".to_owned()));
        }
        let limit = state.config.graphql_timeout;
        if name.starts_with("graphql") && hit.latency > limit && hit.kind.is_none() {
            hit.latency = limit;
            hit.kind =
                Some(Kind::Status { status: 200, body: graphql_error("Timeout on validation of query") });
        }
        let token = caller.as_ref().and_then(|s| state.tokens.get(s)).map(|t| t.spec.name.clone());
        let entry = Logged {
            at: state.now(),
            method: parts.method.to_string(),
            path: path.clone(),
            operation: name,
            status: 0,
            token: token.unwrap_or_default(),
            fault: hit.name.clone(),
        };
        let limited = count_request(&mut state, caller.as_deref().unwrap_or_default());
        (hit, limited, entry)
    };
    // A request that is dropped half-way (the client went away, a hang) is logged too.
    let mut log = LogOnDrop { shared: shared.clone(), entry: Some(entry.clone()) };
    let result = answer(app, parts, body, hit, &shared, limited.as_ref()).await;
    entry.status = result.as_ref().map_or(0, |r| r.status().as_u16());
    log.entry = None;
    let mut state = shared.lock();
    let now = state.now();
    state.record(entry);
    drop(state);
    result.map(|mut response| {
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now);
        if let Some(value) = date.ok().and_then(|d| HeaderValue::from_str(&d).ok()) {
            response.headers_mut().insert(header::DATE, value);
        }
        response
    })
}

/// What the whole instance answers instead of the call, if anything.
fn away(outage: Outage, method: &Method, operation: &str) -> Option<Kind> {
    let text = "You cannot perform write operations on a read-only instance";
    match outage {
        Outage::BadGateway => Some(Kind::BadGateway),
        Outage::Maintenance if operation == "graphql_mutation" => {
            Some(Kind::Status { status: 200, body: graphql_error(text) })
        }
        Outage::Maintenance if method.is_safe() || operation == "graphql_query" => None,
        Outage::Maintenance => {
            Some(Kind::Status { status: 503, body: json!({ "message": text }).to_string() })
        }
        Outage::None | Outage::Refuse => None,
    }
}

fn graphql_error(text: &str) -> String {
    json!({ "errors": [{ "message": text }] }).to_string()
}

struct LogOnDrop {
    shared: Shared,
    entry: Option<Logged>,
}

impl Drop for LogOnDrop {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.shared.lock().record(entry);
        }
    }
}

async fn respond(app: Router, parts: Parts, body: Bytes) -> Result<Response, Cut> {
    match app.oneshot(Request::from_parts(parts, Body::from(body))).await {
        Ok(response) => Ok(response),
        Err(infallible) => match infallible {},
    }
}

async fn answer(
    app: Router,
    mut parts: Parts,
    body: Bytes,
    hit: Hit,
    shared: &Shared,
    limited: Result<&HeaderMap, &Response429>,
) -> Result<Response, Cut> {
    tokio::time::sleep(hit.latency).await;
    parts.extensions.insert(hit.lag);
    let html = |status: StatusCode, title: &str| {
        let page = format!(
            "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
             <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
        );
        (status, [(header::CONTENT_TYPE, "text/html")], page).into_response()
    };
    let mut response = match hit.kind {
        Some(Kind::Hang) => hang(shared).await,
        Some(Kind::ResetBefore) => return Err(Cut),
        Some(Kind::BadGateway) => return Ok(html(StatusCode::BAD_GATEWAY, "502 Bad Gateway")),
        Some(Kind::Unavailable) => {
            return Ok(html(StatusCode::SERVICE_UNAVAILABLE, "503 Service Temporarily Unavailable"));
        }
        Some(Kind::NonJson) => return Ok(html(StatusCode::OK, "Sign in")),
        Some(Kind::Forbidden) => return Ok(Failure::forbidden("").into_response()),
        Some(Kind::LostRace) => {
            let params = Params::parse(parts.uri.query(), &parts.headers, &body).unwrap_or_default();
            let branch = params.text("branch").unwrap_or_else(|| super::files::DEFAULT_BRANCH.to_owned());
            return Ok(super::files::lost_race(&branch));
        }
        Some(Kind::Status { status, body }) => {
            let json = serde_json::from_str::<serde_json::Value>(&body).is_ok();
            let kind = if json { "application/json" } else { "text/plain" };
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Ok((status, [(header::CONTENT_TYPE, kind)], body).into_response());
        }
        Some(Kind::RateLimitedText { retry_after }) => {
            return Ok(Response429 { shape: RateLimitShape::Text, retry_after, headers: None }.response());
        }
        Some(Kind::RateLimitedJson) => {
            return Ok(Response429 { shape: RateLimitShape::Json, retry_after: 0, headers: None }.response());
        }
        Some(Kind::RateLimitedJsonRetryAfter { retry_after }) => {
            let shape = RateLimitShape::JsonRetryAfter;
            return Ok(Response429 { shape, retry_after, headers: None }.response());
        }
        Some(Kind::ResetAfterCommit) => {
            respond(app, parts, body).await?;
            return Err(Cut);
        }
        Some(Kind::TimeoutAfterCommit) => {
            respond(app, parts, body).await?;
            hang(shared).await
        }
        Some(Kind::SlowBody { ms }) => slow(respond(app, parts, body).await?, ms).await,
        Some(Kind::TruncatedBody) => truncated(respond(app, parts, body).await?).await,
        None | Some(Kind::Latency { .. } | Kind::StaleReplica { .. }) => match limited {
            Err(refused) => return Ok(refused.response()),
            Ok(_) => respond(app, parts, body).await?,
        },
    };
    if let Ok(headers) = limited {
        response.headers_mut().extend(headers.clone());
    }
    Ok(response)
}

/// Waits until the client goes away.
async fn hang(shared: &Shared) -> Response {
    struct Held<'a>(&'a Shared);
    impl Drop for Held<'_> {
        fn drop(&mut self) {
            self.0.lock().held_requests -= 1;
        }
    }
    shared.lock().held_requests += 1;
    let _held = Held(shared);
    std::future::pending().await
}

async fn slow(response: Response, ms: u64) -> Response {
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let pieces: Vec<Bytes> = bytes.chunks(16).map(Bytes::copy_from_slice).collect();
    let stream = futures::stream::iter(pieces).then(move |piece| async move {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok::<_, Infallible>(piece)
    });
    Response::from_parts(parts, Body::from_stream(stream))
}

async fn truncated(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    if let Ok(length) = HeaderValue::from_str(&bytes.len().to_string()) {
        parts.headers.insert(header::CONTENT_LENGTH, length);
    }
    let half = bytes.slice(..bytes.len() / 2);
    // The cut waits until the head and the half are on the wire: else the client sees no answer at all.
    let cut = futures::stream::once(async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(Cut)
    });
    let stream = futures::stream::once(async { Ok(half) }).chain(cut);
    Response::from_parts(parts, Body::from_stream(stream))
}

/// One of the three shapes of `429`.
struct Response429 {
    shape: RateLimitShape,
    retry_after: u64,
    headers: Option<HeaderMap>,
}

impl Response429 {
    fn response(&self) -> Response {
        let text = "This endpoint has been requested too many times. Try again later.";
        let mut response = match self.shape {
            RateLimitShape::Text => {
                (StatusCode::TOO_MANY_REQUESTS, [(header::CONTENT_TYPE, "text/plain")], "Retry later\n")
                    .into_response()
            }
            RateLimitShape::Json | RateLimitShape::JsonRetryAfter => {
                reply(StatusCode::TOO_MANY_REQUESTS, &json!({ "message": { "error": text } }))
            }
        };
        if self.shape != RateLimitShape::Json {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after));
        }
        if self.shape == RateLimitShape::Text {
            match &self.headers {
                Some(headers) => response.headers_mut().extend(headers.clone()),
                None => response.headers_mut().extend(limit_headers(60, 61, wall_epoch() + self.retry_after)),
            }
        }
        response
    }
}

#[expect(clippy::disallowed_methods, reason = "RateLimit-Reset is an absolute time")]
fn wall_epoch() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default()
}

fn limit_headers(limit: u64, observed: u64, reset: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("ratelimit-name", HeaderValue::from_static("throttle_authenticated_api"));
    headers.insert("ratelimit-limit", HeaderValue::from(limit));
    headers.insert("ratelimit-observed", HeaderValue::from(observed));
    headers.insert("ratelimit-remaining", HeaderValue::from(limit.saturating_sub(observed)));
    headers.insert("ratelimit-reset", HeaderValue::from(reset));
    let at = i64::try_from(reset).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    let text =
        at.and_then(|at| jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).ok());
    if let Some(value) = text.and_then(|t| HeaderValue::from_str(&t).ok()) {
        headers.insert("ratelimit-resettime", value);
    }
    headers
}

/// A fixed window per secret. `Ok`: headers for the answer; `Err`: refused.
fn count_request(state: &mut State, secret: &str) -> Result<HeaderMap, Response429> {
    let Some(RateLimit { requests, window, shape }) = state.rate_limit.clone() else {
        return Ok(HeaderMap::new());
    };
    let now = state.now();
    let length = jiff::SignedDuration::try_from(window).unwrap_or_default();
    let slot = state.windows.entry(secret.to_owned()).or_insert((now, 0));
    if now.duration_since(slot.0) >= length {
        *slot = (now, 0);
    }
    slot.1 += 1;
    let reset = slot.0 + length;
    let left = reset.duration_since(now).as_secs().max(0);
    let headers = limit_headers(requests, slot.1, u64::try_from(reset.as_second() + 1).unwrap_or_default());
    if slot.1 > requests {
        let retry_after = u64::try_from(left).unwrap_or_default() + 1;
        return Err(Response429 { shape, retry_after, headers: Some(headers) });
    }
    // The limiters without headers in their 429 do not announce themselves either.
    Ok(if shape == RateLimitShape::Text { headers } else { HeaderMap::new() })
}

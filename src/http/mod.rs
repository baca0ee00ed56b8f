//! What Switchyard answers over HTTP: webhook, metrics, health, API.

mod access;
mod actions;
mod crowd;
mod docs;
mod problem;
mod reads;
mod webhook;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Version, header},
    middleware::Next,
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::{
    intake::Intake,
    metrics::{Metrics, Page},
    model::{Timestamp, Topology},
    status::Status,
    store::Store,
    web::Security,
};

pub use access::{Access, Token};
pub use problem::Problem;

/// A reload that somebody asked for, and where the answer goes: the problems of the file that was refused.
pub type Reload = oneshot::Sender<Result<(), String>>;

/// What the handlers stand on.
#[derive(Debug, Clone)]
pub struct Server {
    /// The way in for alerts.
    pub intake: Intake,
    /// The last pass.
    pub status: watch::Receiver<Arc<Status>>,
    /// What is configured.
    pub topology: watch::Receiver<Arc<Topology>>,
    /// History and people's requests.
    pub store: Store,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// Who may do what.
    pub access: watch::Receiver<Arc<Access>>,
    /// Users with passwords.
    pub security: Security,
    /// Wakes the loop.
    pub bell: Arc<Notify>,
    /// Asks for a reload.
    pub reload: mpsc::Sender<Reload>,
    /// The clock.
    pub now: fn() -> Timestamp,
}

impl Server {
    /// All routes. Serve it with connect info of [`SocketAddr`].
    pub fn router(self) -> Router {
        let reads = Router::new()
            .route("/api/v1/fleets", get(reads::fleets))
            .route("/api/v1/fleets/{fleet}", get(reads::fleet))
            .route("/api/v1/plan", get(reads::plan))
            .route("/api/v1/holders", get(reads::holders))
            .route("/api/v1/explain", get(reads::explain))
            .route("/api/v1/history", get(reads::history))
            .route("/api/v1/leader", get(reads::leader))
            .route("/api/v1/requests/{request}", get(reads::request))
            // Judged after the credential: the layer added last comes first.
            .route_layer(axum::middleware::from_fn_with_state(crowd::Places::new(&self), crowd::admit))
            .route_layer(axum::middleware::from_fn_with_state(self.clone(), access::reads));
        let actions = Router::new()
            .route("/api/v1/fleets/{fleet}/switch", post(actions::switch))
            .route("/api/v1/fleets/{fleet}/failback", post(actions::failback))
            .route("/api/v1/fleets/{fleet}/approve", post(actions::approve))
            .route("/api/v1/fleets/{fleet}/reject", post(actions::reject))
            .route("/api/v1/fleets/{fleet}/pause", post(actions::pause))
            .route("/api/v1/fleets/{fleet}/resume", post(actions::resume))
            .route("/api/v1/fleets/{fleet}/ack", post(actions::ack))
            .route("/api/v1/pause", post(actions::pause_all))
            .route("/api/v1/resume", post(actions::resume_all))
            // As above.
            .route_layer(axum::middleware::from_fn_with_state(self.clone(), access::leader))
            .route("/-/reload", post(reload).put(reload))
            .route_layer(axum::middleware::from_fn_with_state(self.clone(), access::actions));
        // What is added here asks for a user when there are users; webhook and actions ask for their tokens.
        let users = Router::new()
            .route("/", get(landing))
            .route("/metrics", get(metrics))
            .route("/-/healthy", get(|| async { "Switchyard is healthy.\n" }))
            .route("/-/ready", get(ready))
            .route("/-/leader", get(leader))
            .route("/docs/{page}", get(docs::page))
            .merge(reads)
            .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "There is nothing at this address.") })
            .layer(axum::middleware::from_fn_with_state(self.clone(), access::users));
        users
            .route("/api/v1/alerts", post(webhook::alerts).fallback(webhook::other_method))
            .merge(actions)
            .method_not_allowed_fallback(|| async {
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "This address takes other methods: see Allow.")
            })
            .layer(axum::middleware::from_fn(let_go))
            .with_state(self)
    }
}

/// Behind one address there may be several replicas: who is told to come again shall be able to reach another one.
async fn let_go(request: Request, next: Next) -> Response {
    let version = request.version();
    let mut response = next.run(request).await;
    if response.status() == StatusCode::SERVICE_UNAVAILABLE && version <= Version::HTTP_11 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The address of the other side, as axum's connect info.
pub type Peer = axum::extract::ConnectInfo<SocketAddr>;

async fn landing(State(server): State<Server>) -> Html<String> {
    let status = server.status.borrow().clone();
    let old = match status.at {
        Some(_) => status.old((server.now)()).map(|old| format!("Warning: {old}.")),
        None => Some(reads::unfinished(&status).detail),
    };
    let mut shown = String::new();
    if let Some(old) = old {
        // Whatever a cause contains is text.
        let old = old.replace('&', "&amp;").replace('<', "&lt;");
        shown = format!("<p><strong>{old}</strong></p>");
    }
    Html(format!(
        "<!doctype html><html lang=\"en\"><title>Switchyard</title><h1>Switchyard</h1>{shown}<ul>\
         <li><a href=\"/metrics\">Metrics</a><li><a href=\"/api/v1/fleets\">Fleets</a>\
         <li><a href=\"/api/v1/explain\">Gates</a><li><a href=\"/api/v1/plan\">Plan</a>\
         <li><a href=\"/api/v1/history\">History</a><li><a href=\"/docs/runbook.md\">Runbook</a><li><a href=\"/-/ready\">Ready</a></ul></html>",
    ))
}

async fn metrics(State(server): State<Server>, headers: HeaderMap) -> Response {
    show(server.metrics.page(), &headers).await
}

/// A page of metrics as the answer to a scrape, in the format that it accepts.
pub async fn show(page: &Page, headers: &HeaderMap) -> Response {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok());
    match page.show(accepts).await {
        Ok((kind, body)) => ([(header::CONTENT_TYPE, kind)], body).into_response(),
        Err(_) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "The metrics could not be written.")
            .into_response(),
    }
}

async fn ready(State(server): State<Server>) -> Response {
    if server.status.borrow().at.is_some() {
        "Switchyard is ready.\n".into_response()
    } else {
        reads::unfinished(&server.status.borrow()).into_response()
    }
}

/// For load balancers that shall send webhooks and actions to the leader.
async fn leader(State(server): State<Server>) -> Response {
    match access::leads(&server) {
        Ok(()) => "This process leads.\n".into_response(),
        Err(problem) => problem.into_response(),
    }
}

async fn reload(State(server): State<Server>) -> Response {
    let (answer, answered) = oneshot::channel();
    let gone =
        || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Switchyard is shutting down.").into_response();
    if server.reload.send(answer).await.is_err() {
        return gone();
    }
    match answered.await {
        Ok(Ok(())) => "The configuration was taken over.\n".into_response(),
        Ok(Err(problems)) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, problems).into_response(),
        Err(_) => gone(),
    }
}

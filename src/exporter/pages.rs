//! What the exporter answers over HTTP.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};

use super::Cluster;
use crate::metrics::Page;

#[derive(Debug, Clone)]
struct Shown {
    clusters: Arc<[Arc<Cluster>]>,
    page: Page,
}

pub(super) fn router(clusters: Vec<Arc<Cluster>>, page: Page) -> Router {
    Router::new()
        .route("/", get(landing))
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(|| async { "The exporter is healthy.\n" }))
        .route("/-/ready", get(ready))
        .with_state(Shown { clusters: clusters.into(), page })
}

async fn landing() -> Html<&'static str> {
    Html(
        "<!doctype html><html lang=\"en\"><title>Switchyard exporter</title><h1>Switchyard exporter</h1><ul>\
         <li><a href=\"/metrics\">Metrics</a><li><a href=\"/-/ready\">Ready</a></ul></html>",
    )
}

async fn metrics(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    match shown.page.show(accept).await {
        Ok((kind, body)) => ([(header::CONTENT_TYPE, kind)], body).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "The metrics could not be written.\n").into_response(),
    }
}

/// Ready means: everything was asked for once. A cluster that does not answer must not keep the others from sight.
async fn ready(State(shown): State<Shown>) -> Response {
    let waiting = shown.clusters.iter().filter(|cluster| !cluster.asked());
    let waiting: Vec<&str> = waiting.map(|cluster| cluster.name.as_str()).collect();
    if waiting.is_empty() {
        "The exporter is ready.\n".into_response()
    } else {
        let text = format!("The first look at {} is not finished.\n", waiting.join(", "));
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

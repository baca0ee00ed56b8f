//! The Alertmanager webhook.
//!
//! | what comes                                  | answer | what Alertmanager does                     |
//! |---------------------------------------------|--------|--------------------------------------------|
//! | a version 4 message                         | 200    | nothing more; the signals are durable      |
//! | alerts that are not for us                  | 200    | nothing more; they are counted by reason   |
//! | another process leads                       | 503    | retries within the flush                   |
//! | the store cannot take it now                | 503    | retries within the flush                   |
//! | the token's file is missing or empty        | 503    | retries within the flush                   |
//! | slower than ten seconds, or breaks off      | 503    | retries within the flush                   |
//! | credential missing or wrong                 | 401    | sends it again at the next group interval  |
//! | not from loopback, no credential configured | 403    | sends it again at the next group interval  |
//! | not JSON, or another version                | 400    | sends it again at the next group interval  |
//! | larger than `webhook.max_body`              | 413    | sends it again at the next group interval  |
//! | another method than POST                    | 405    | is not Alertmanager                        |

use axum::{
    Json,
    body::{Body, to_bytes},
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use tracing::{debug, warn};

use super::{Peer, Problem, Server, access};
use crate::{intake::Taken, metrics::Code};

/// How long a body may take. Alertmanager sends at once.
const BODY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

pub(super) async fn alerts(
    State(server): State<Server>,
    axum::extract::ConnectInfo(peer): Peer,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let started = tokio::time::Instant::now();
    let response = match take(&server, peer.ip(), &headers, body).await {
        Ok(taken) => Json(taken).into_response(),
        Err(problem) => {
            let (status, detail) = (problem.status.as_u16(), &problem.detail);
            if status == 503 && !server.intake.leadership().leads() {
                debug!(%peer, status, detail, "webhook not taken");
            } else {
                warn!(%peer, status, detail, "webhook not taken");
            }
            problem.into_response()
        }
    };
    let code = response.status().as_u16().to_string();
    server.metrics.webhook_requests.get_or_create(&Code { code }).inc();
    server.metrics.webhook_duration.observe(started.elapsed().as_secs_f64());
    response
}

/// A sender that is set up wrongly is counted, too.
pub(super) async fn other_method(State(server): State<Server>) -> Problem {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    server.metrics.webhook_requests.get_or_create(&Code { code: status.as_u16().to_string() }).inc();
    Problem::new(status, "Webhooks are sent by POST.")
}

async fn take(
    server: &Server,
    peer: std::net::IpAddr,
    headers: &HeaderMap,
    body: Body,
) -> Result<Taken, Problem> {
    access::webhook(server, headers, peer).await?;
    access::leads(server)?;
    let limit = server.access.borrow().max_body;
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("The body is larger than webhook.max_body, {limit} bytes."),
        )
    };
    let declared =
        headers.get(axum::http::header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let slow = |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "The body did not come in time.");
    let body =
        tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, limit)).await.map_err(slow)?.map_err(|error| {
            // The limit is the only error of ours; the others are the connection's, and no fault of the message.
            if std::error::Error::source(&error).is_some_and(|s| s.is::<http_body_util::LengthLimitError>()) {
                too_large()
            } else {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "The body ended early; try again.")
            }
        })?;
    let parsed = server
        .intake
        .parse(&body, (server.now)())
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    // In a task of its own: a caller that hangs up now must not keep the bell from ringing.
    let intake = server.intake.clone();
    let taken = tokio::spawn(async move { intake.take(parsed).await }).await;
    let lost = |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "The alerts were not taken; try again.");
    Ok(taken.map_err(lost)??)
}

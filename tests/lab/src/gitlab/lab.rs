//! `/-/lab`: [`Admin`] over HTTP.
//!
//! | call | body or answer |
//! |---|---|
//! | `GET /-/lab/state`, `/audit`, `/requests` | JSON; `requests` has `counts` and `log` |
//! | `POST /-/lab/faults` | a [`Fault`](super::Fault) or a list: `{"match": {"operation": "update_runner"}, "kind": "reset_after_commit", "count": 1}` |
//! | `DELETE /-/lab/faults` | ends them all |
//! | `POST /-/lab/outage` | `{"mode": "none" \| "bad_gateway" \| "refuse" \| "maintenance", "seconds": 30}`; `refuse` needs `seconds` |
//! | `POST /-/lab/graphql` | `{"status": 404}`, `{}` switches it on |
//! | `POST /-/lab/rate_limit` | `{"requests": 10, "seconds": 60, "shape": "text"}`, `{}` ends it |
//! | `POST /-/lab/clock` | `{"advance_seconds": 7200}` |
//! | `POST /-/lab/tokens` | a [`TokenSpec`](super::TokenSpec); answers `{"token": …}` |
//! | `POST /-/lab/runners` | a [`RunnerSpec`](super::RunnerSpec); answers `{"id": …, "token": …}` |
//! | `PUT /-/lab/runners/:id/tags` | `["a", "b"]`, as by somebody else |
//! | `GET /-/lab/virtual_runners/:id` | how one is that polls inside the simulator; `/metrics` behind it shows its series |
//! | `PUT /-/lab/virtual_runners/:id` | a [`Condition`](super::Condition): `{"condition": "slow", "ms": 2000}`, `{"condition": "dead"}`, … |
//! | `POST /-/lab/virtual_runners/:id/reload` | its configuration is loaded again, which ends a sleep |
//! | `POST /-/lab/jobs` | a [`JobTemplate`](super::JobTemplate); answers `{"id": …}` |
//! | `PUT /-/lab/projects/:id/ci` | a list of job templates |
//! | `POST /-/lab/jobs/drop_stuck` | what the stuck-job worker does |

use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State as AxumState};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::reply::{Answer, Failure, ok, reply};
use super::server::{Call, Shared};
use super::{Admin, Fault, GraphqlMode, Outage, RateLimit, RateLimitShape};

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route(
            "/-/lab/state",
            get(|AxumState(s): AxumState<Shared>| async move { ok(&Admin::new(s).state()) }),
        )
        .route(
            "/-/lab/audit",
            get(|AxumState(s): AxumState<Shared>| async move { ok(&json!(Admin::new(s).audit())) }),
        )
        .route("/-/lab/requests", get(requests))
        .route("/-/lab/faults", post(fault).delete(clear_faults))
        .route("/-/lab/outage", post(outage))
        .route("/-/lab/graphql", post(graphql))
        .route("/-/lab/rate_limit", post(rate_limit))
        .route("/-/lab/clock", post(clock))
        .route("/-/lab/tokens", post(token))
        .route("/-/lab/runners", post(runner))
        .route("/-/lab/runners/{id}/tags", put(tags))
        .route("/-/lab/virtual_runners/{id}", get(virtual_runner).put(meet))
        .route("/-/lab/virtual_runners/{id}/metrics", get(metrics))
        .route("/-/lab/virtual_runners/{id}/reload", post(reload))
        .route("/-/lab/jobs", post(job))
        .route("/-/lab/jobs/drop_stuck", post(drop_stuck))
        .route("/-/lab/projects/{id}/ci", put(ci))
}

fn body<T: DeserializeOwned>(call: &Call) -> Result<T, Failure> {
    serde_json::from_slice(&call.body).map_err(|e| Failure::grape(&e.to_string()))
}

async fn requests(AxumState(shared): AxumState<Shared>) -> Answer {
    let admin = Admin::new(shared);
    ok(&json!({ "counts": admin.counts(), "log": admin.requests() }))
}

async fn fault(AxumState(shared): AxumState<Shared>, call: Call) -> Answer {
    let value: Value = body(&call)?;
    let one = |v| serde_json::from_value(v).map_err(|e| Failure::grape(&e.to_string()));
    let faults: Vec<Fault> = match value {
        Value::Array(values) => values.into_iter().map(one).collect::<Result<_, _>>()?,
        value => vec![one(value)?],
    };
    let admin = Admin::new(shared);
    for fault in faults {
        admin.try_fault(fault).map_err(|e| Failure::grape(&e.to_string()))?;
    }
    ok(&json!({}))
}

async fn clear_faults(AxumState(shared): AxumState<Shared>) -> Answer {
    Admin::new(shared).clear_faults();
    ok(&json!({}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutageBody {
    mode: Outage,
    seconds: Option<u64>,
}

async fn outage(AxumState(shared): AxumState<Shared>, call: Call) -> Answer {
    let OutageBody { mode, seconds } = body(&call)?;
    if mode == Outage::Refuse && seconds.is_none() {
        return Err(Failure::grape("seconds is missing: nothing could end this outage"));
    }
    let admin = Admin::new(shared);
    // The answer has to leave before the connections are cut.
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        admin.outage(mode);
        if let Some(seconds) = seconds {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            admin.outage(Outage::None);
        }
    });
    ok(&json!({}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GraphqlBody {
    status: Option<u16>,
}

async fn graphql(AxumState(shared): AxumState<Shared>, call: Call) -> Answer {
    let GraphqlBody { status } = body(&call)?;
    Admin::new(shared).graphql(status.map_or(GraphqlMode::On, GraphqlMode::Off));
    ok(&json!({}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RateLimitBody {
    requests: Option<u64>,
    #[serde(default)]
    seconds: u64,
    #[serde(default)]
    shape: RateLimitShape,
}

async fn rate_limit(AxumState(shared): AxumState<Shared>, call: Call) -> Answer {
    let RateLimitBody { requests, seconds, shape } = body(&call)?;
    let window = Duration::from_secs(seconds);
    Admin::new(shared).rate_limit(requests.map(|requests| RateLimit { requests, window, shape }));
    ok(&json!({}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockBody {
    advance_seconds: i64,
}

async fn clock(AxumState(shared): AxumState<Shared>, call: Call) -> Answer {
    let ClockBody { advance_seconds } = body(&call)?;
    let admin = Admin::new(shared);
    admin.advance(jiff::SignedDuration::from_secs(advance_seconds));
    ok(&json!({ "now": admin.now() }))
}

async fn token(AxumState(shared): AxumState<Shared>, call: Call) -> Answer {
    let token = Admin::new(shared).create_token(body(&call)?);
    Ok(reply(StatusCode::CREATED, &json!({ "token": token })))
}

async fn runner(AxumState(shared): AxumState<Shared>, call: Call) -> Answer {
    let created = Admin::new(shared).create_runner(body(&call)?);
    Ok(reply(StatusCode::CREATED, &json!(created)))
}

async fn tags(AxumState(shared): AxumState<Shared>, Path(id): Path<u64>, call: Call) -> Answer {
    let tags: Vec<String> = body(&call)?;
    Admin::new(shared).edit_runner(id, |row| row.tags = tags);
    ok(&json!({}))
}

fn no_virtual_runner() -> Failure {
    Failure::not_found("Virtual Runner")
}

async fn virtual_runner(AxumState(shared): AxumState<Shared>, Path(id): Path<u64>) -> Answer {
    ok(&json!(Admin::new(shared).virtual_runner(id).ok_or_else(no_virtual_runner)?))
}

async fn metrics(AxumState(shared): AxumState<Shared>, Path(id): Path<u64>) -> Answer {
    let page = Admin::new(shared).virtual_runner(id).and_then(|runner| runner.metrics());
    let page = page.ok_or_else(no_virtual_runner)?;
    Ok(super::rest::plain(StatusCode::OK, page.into(), "text/plain; version=0.0.4"))
}

async fn meet(AxumState(shared): AxumState<Shared>, Path(id): Path<u64>, call: Call) -> Answer {
    let known = Admin::new(shared).meet(id, body(&call)?);
    if known { ok(&json!({})) } else { Err(no_virtual_runner()) }
}

async fn reload(AxumState(shared): AxumState<Shared>, Path(id): Path<u64>) -> Answer {
    let known = Admin::new(shared).reload_virtual_runner(id);
    if known { ok(&json!({})) } else { Err(no_virtual_runner()) }
}

async fn job(AxumState(shared): AxumState<Shared>, call: Call) -> Answer {
    let id = Admin::new(shared).create_job(body(&call)?);
    Ok(reply(StatusCode::CREATED, &json!({ "id": id })))
}

async fn drop_stuck(AxumState(shared): AxumState<Shared>) -> Answer {
    ok(&json!({ "dropped": Admin::new(shared).drop_stuck_jobs() }))
}

async fn ci(AxumState(shared): AxumState<Shared>, Path(id): Path<u64>, call: Call) -> Answer {
    Admin::new(shared).set_ci(id, body(&call)?);
    ok(&json!({}))
}

//! The runner's side of the API, behind the part of Workhorse that holds polls.

use axum::Router;
use axum::extract::{FromRequest, Multipart, Path, Request, State as AxumState};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, patch, post, put};
use serde_json::{Value, json};

use super::jobs::JobStatus;
use super::reply::{Answer, Failure, Params, reply};
use super::server::{Call, Shared};
use super::state::State;

const LAST_UPDATE: HeaderName = HeaderName::from_static("x-gitlab-last-update");
const TRACE_INTERVAL: HeaderName = HeaderName::from_static("x-gitlab-trace-update-interval");
const JOB_STATUS: HeaderName = HeaderName::from_static("job-status");

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/api/v4/jobs/request", post(request))
        .route("/api/v4/jobs/{id}/trace", patch(trace))
        .route("/api/v4/jobs/{id}", put(update))
        .route("/api/v4/jobs/{id}/artifacts", post(upload).get(download))
        .route("/api/v4/runners/verify", post(verify))
        .route("/api/v4/runners/managers", delete(unregister_manager))
}

fn with(mut response: Response, name: HeaderName, value: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

fn no_content(last_update: Option<&str>) -> Response {
    let response = StatusCode::NO_CONTENT.into_response();
    match last_update {
        Some(value) => with(response, LAST_UPDATE, value),
        None => response,
    }
}

/// Workhorse: a poll whose `last_update` is the current queue value is held and answered without Rails.
async fn request(AxumState(shared): AxumState<Shared>, call: Call) -> Answer {
    let params = call.params()?;
    let token = params.text("token").unwrap_or_default();
    let last_update = params.text("last_update").filter(|v| !v.is_empty());
    let held = {
        let mut state = shared.lock();
        let hold = state.config.long_poll;
        let id = state.runner_by_token(&token).map(|r| r.id);
        match (id, &last_update) {
            (Some(id), Some(value)) if !hold.is_zero() && state.queue_value(id).as_ref() == Some(value) => {
                Some((state.watch_queue(id), hold))
            }
            _ => None,
        }
    };
    if let Some((mut changed, hold)) = held {
        // Changed or not, Workhorse says 204; only the next poll reaches Rails.
        let _ = tokio::time::timeout(hold, changed.changed()).await;
        return Ok(no_content(None));
    }
    rails_request(&mut shared.lock(), &params, &token, last_update.as_deref(), &call.base())
}

fn rails_request(
    state: &mut State,
    params: &Params,
    token: &str,
    last_update: Option<&str>,
    url: &str,
) -> Answer {
    let runner = state.runner_by_token(token).cloned().ok_or_else(|| Failure::forbidden(""))?;
    let system_id = params.text("system_id");
    // The heartbeat comes before the look at `paused`: paused runners stay online.
    state.heartbeat(runner.id, system_id.as_deref().or(Some("<legacy>")), params.value("info"));
    let value = state.ensure_queue_value(runner.id);
    if runner.paused || last_update == Some(value.as_str()) {
        return Ok(no_content(Some(&value)));
    }
    let Some(id) = state.register_job(&runner, system_id.as_deref()) else {
        return Ok(no_content(Some(&value)));
    };
    let Some(job) = state.jobs.get(&id) else { return Ok(no_content(Some(&value))) };
    Ok(reply(StatusCode::CREATED, &state.job_payload(job, &runner, url)))
}

/// The job behind a job token; 403 with `Job-Status` when it is not running any more.
fn running_job(state: &mut State, id: &str, token: Option<&str>) -> Result<u64, Box<Response>> {
    let forbidden = |text: &str| Failure::forbidden(text).into_response();
    let job = id.parse().ok().and_then(|id: u64| state.jobs.get(&id));
    let job = job.ok_or_else(|| Box::new(Failure::not_found("Job").into_response()))?;
    if token != Some(job.token.as_str()) {
        return Err(Box::new(forbidden("")));
    }
    if job.status != JobStatus::Running {
        return Err(Box::new(with(forbidden("Job is not running"), JOB_STATUS, job.status.as_str())));
    }
    let (id, runner, system_id) = (job.id, job.runner, job.system_id.clone());
    if let Some(runner) = runner {
        state.heartbeat(runner, system_id.as_deref(), None);
    }
    Ok(id)
}

fn job_token(headers: &HeaderMap, params: Option<&Params>) -> Option<String> {
    headers
        .get("job-token")
        .and_then(|v| v.to_str().ok())
        .map(str::to_owned)
        .or_else(|| params.and_then(|p| p.text("token")))
}

fn job_headers(state: &State, response: Response, status: &str) -> Response {
    let interval = state.config.trace_update_interval.as_secs().max(1).to_string();
    with(with(response, JOB_STATUS, status), TRACE_INTERVAL, &interval)
}

async fn trace(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let mut state = shared.lock();
    let token = job_token(&call.headers, None);
    let id = match running_job(&mut state, &id, token.as_deref()) {
        Ok(id) => id,
        Err(refusal) => return Ok(*refusal),
    };
    let range = call.headers.get(header::CONTENT_RANGE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let Some(start) = range.split('-').next().and_then(|s| s.parse::<usize>().ok()) else {
        return Err(Failure::message(
            StatusCode::BAD_REQUEST,
            "400 Bad request - Missing header Content-Range",
        ));
    };
    let Some(job) = state.jobs.get_mut(&id) else { return Err(Failure::not_found("Job")) };
    if start != job.trace.len() {
        let text = "416 Range Not Satisfiable";
        let response = Failure::message(StatusCode::RANGE_NOT_SATISFIABLE, text).into_response();
        let end = job.trace.len();
        return Ok(with(job_headers(&state, response, "running"), header::RANGE, &format!("0-{end}")));
    }
    job.trace.extend_from_slice(&call.body);
    let end = job.trace.len();
    let response = job_headers(&state, StatusCode::ACCEPTED.into_response(), "running");
    Ok(with(response, header::RANGE, &format!("0-{end}")))
}

async fn update(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let mut state = shared.lock();
    let params = call.params()?;
    let token = job_token(&call.headers, Some(&params));
    let id = match running_job(&mut state, &id, token.as_deref()) {
        Ok(id) => id,
        Err(refusal) => return Ok(*refusal),
    };
    let wanted = params.text("state").unwrap_or_default();
    match wanted.as_str() {
        "success" => state.set_status(id, JobStatus::Success, None),
        "failed" => {
            let reason = params.text("failure_reason").filter(|r| !r.is_empty());
            state.set_status(id, JobStatus::Failed, reason.or(Some("script_failure".to_owned())));
        }
        _ => {}
    }
    let status = state.jobs.get(&id).map_or("running", |j| j.status.as_str());
    Ok(job_headers(&state, reply(StatusCode::OK, &json!(status)), status))
}

async fn upload(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, request: Request) -> Answer {
    let token = job_token(request.headers(), None);
    let bad = |text: &str| Failure::message(StatusCode::BAD_REQUEST, text);
    let mut form = Multipart::from_request(request, &()).await.map_err(|e| bad(&e.to_string()))?;
    let mut archive = None;
    while let Some(field) = form.next_field().await.map_err(|e| bad(&e.to_string()))? {
        if field.name() == Some("file") {
            let name = field.file_name().unwrap_or("artifacts.zip").to_owned();
            let data = field.bytes().await.map_err(|e| bad(&e.to_string()))?;
            archive = Some((name, data.to_vec()));
        }
    }
    let mut state = shared.lock();
    let id = match running_job(&mut state, &id, token.as_deref()) {
        Ok(id) => id,
        Err(refusal) => return Ok(*refusal),
    };
    let Some(archive) = archive else { return Err(bad("400 Bad request - Missing artifacts file!")) };
    if let Some(job) = state.jobs.get_mut(&id) {
        job.archive = Some(archive);
    }
    Ok(reply(StatusCode::CREATED, &json!({ "message": "201 Created" })))
}

async fn download(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let state = shared.lock();
    let token = job_token(&call.headers, Some(&call.params()?));
    let job =
        id.parse().ok().and_then(|id: u64| state.jobs.get(&id)).ok_or_else(|| Failure::not_found("Job"))?;
    if token.as_deref() != Some(job.token.as_str()) {
        return Err(Failure::forbidden(""));
    }
    let (_, data) = job.archive.as_ref().ok_or_else(|| Failure::not_found("Artifacts"))?;
    Ok(super::rest::plain(StatusCode::OK, data.clone().into(), "application/zip"))
}

async fn verify(AxumState(shared): AxumState<Shared>, call: Call) -> Answer {
    let params = call.params()?;
    let mut state = shared.lock();
    let token = params.text("token").unwrap_or_default();
    let runner = state.runner_by_token(&token).cloned().ok_or_else(|| Failure::forbidden(""))?;
    state.heartbeat(runner.id, params.text("system_id").as_deref(), None);
    let body = json!({ "id": runner.id, "token": runner.token, "token_expires_at": Value::Null });
    Ok(reply(StatusCode::OK, &body))
}

async fn unregister_manager(AxumState(shared): AxumState<Shared>, call: Call) -> Answer {
    let params = call.params()?;
    let mut state = shared.lock();
    let token = params.text("token").unwrap_or_default();
    let id = state.runner_by_token(&token).map(|r| r.id).ok_or_else(|| Failure::forbidden(""))?;
    let system_id = params.text("system_id").unwrap_or_default();
    let runner = state.runners.get_mut(&id).map(std::sync::Arc::make_mut);
    match runner.and_then(|r| r.managers.remove(&system_id)) {
        Some(_) => Ok(StatusCode::NO_CONTENT.into_response()),
        None => Err(Failure::not_found("Runner Manager")),
    }
}

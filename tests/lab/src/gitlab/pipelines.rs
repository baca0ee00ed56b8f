//! Pipelines and jobs as people and programs see them.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Path, State as AxumState};
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::access::Role;
use super::jobs::{Job, JobStatus, Pipeline};
use super::lookup::{READ, WRITE};
use super::reply::{Answer, Failure, Params, keyset_page, ok, page, reply};
use super::rest::plain;
use super::server::{Call, Shared};
use super::state::State;

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/api/v4/projects/{id}/pipeline", post(create))
        .route("/api/v4/projects/{id}/trigger/pipeline", post(trigger))
        .route("/api/v4/projects/{id}/pipelines", get(list))
        .route("/api/v4/projects/{id}/pipelines/{pipeline}", get(detail))
        .route("/api/v4/projects/{id}/pipelines/{pipeline}/jobs", get(pipeline_jobs))
        .route("/api/v4/projects/{id}/pipelines/{pipeline}/cancel", post(cancel_pipeline))
        .route("/api/v4/projects/{id}/jobs/{job}", get(job))
        .route("/api/v4/projects/{id}/jobs/{job}/trace", get(trace))
        .route("/api/v4/projects/{id}/jobs/{job}/artifacts", get(artifacts))
        .route("/api/v4/projects/{id}/jobs/{job}/cancel", post(cancel))
        .route("/api/v4/projects/{id}/jobs/{job}/retry", post(retry))
        .route("/api/v4/runners/{id}/jobs", get(runner_jobs))
}

const JOB_STATUSES: [&str; 13] = [
    "created",
    "waiting_for_resource",
    "preparing",
    "waiting_for_callback",
    "pending",
    "running",
    "success",
    "failed",
    "canceling",
    "canceled",
    "skipped",
    "manual",
    "scheduled",
];

fn strings(value: Option<&Value>) -> BTreeMap<String, String> {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    match value {
        Some(Value::Object(map)) => map.iter().map(|(k, v)| (k.clone(), text(v))).collect(),
        Some(Value::Array(items)) => {
            items.iter().filter_map(|i| Some((text(i.get("key")?), text(i.get("value")?)))).collect()
        }
        _ => BTreeMap::new(),
    }
}

fn start(state: &mut State, project: u64, params: &Params, source: &str) -> Answer {
    let git_ref = params.text("ref").ok_or_else(|| Failure::grape("ref is missing"))?;
    let row = state.projects.get(&project).ok_or_else(|| Failure::not_found("Project"))?;
    if git_ref != "main" && !row.protected_refs.contains(&git_ref) && !git_ref.starts_with("feature/") {
        let body = json!({ "message": { "base": ["Reference not found"] } });
        return Err(Failure { status: StatusCode::BAD_REQUEST, body });
    }
    let templates = row.ci.clone();
    let (variables, inputs) = (strings(params.value("variables")), strings(params.value("inputs")));
    let id = state.create_pipeline(project, &git_ref, source, &templates, &variables, &inputs);
    let pipeline = state.pipelines.get(&id).ok_or_else(|| Failure::not_found("Pipeline"))?;
    Ok(reply(StatusCode::CREATED, &state.pipeline_json(pipeline)))
}

async fn create(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    change(&shared, &call, &id, |state, project| start(state, project, &call.params()?, "api"))
}

async fn trigger(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let mut state = shared.lock();
    let params = call.params()?;
    let secret = params.text("token").unwrap_or_default();
    let project = state
        .project_by_ref(&id)
        .filter(|p| p.trigger_token == secret)
        .map(|p| p.id)
        .ok_or_else(|| Failure::message(StatusCode::NOT_FOUND, "404 Not Found"))?;
    start(&mut state, project, &params, "trigger")
}

fn pipeline_of<'a>(state: &'a State, project: u64, id: &str) -> Result<&'a Pipeline, Failure> {
    id.parse()
        .ok()
        .and_then(|id: u64| state.pipelines.get(&id))
        .filter(|p| p.project == project)
        .ok_or_else(|| Failure::message(StatusCode::NOT_FOUND, "404 Not found"))
}

fn job_of<'a>(state: &'a State, project: u64, id: &str) -> Result<&'a Job, Failure> {
    id.parse()
        .ok()
        .and_then(|id: u64| state.jobs.get(&id))
        .filter(|j| j.project == project)
        .ok_or_else(|| Failure::not_found("Job"))
}

/// A project and something in it.
type Place = Path<(String, String)>;

/// What every read of a project's pipelines begins with.
fn read(shared: &Shared, call: &Call, project: &str, look: impl FnOnce(&State, u64) -> Answer) -> Answer {
    let state = shared.lock();
    let project = call.project(&state, project, &READ, Role::Reporter)?;
    look(&state, project)
}

/// What every change of a project's pipelines begins with.
fn change(
    shared: &Shared,
    call: &Call,
    project: &str,
    act: impl FnOnce(&mut State, u64) -> Answer,
) -> Answer {
    let mut state = shared.lock();
    let project = call.project(&state, project, &WRITE, Role::Developer)?;
    act(&mut state, project)
}

async fn list(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    read(&shared, &call, &id, |state, project| {
        let params = call.params()?;
        let status = params.text("status");
        let of_project = state.pipelines.values().rev().filter(|p| p.project == project);
        let rows: Vec<&Pipeline> =
            of_project.filter(|p| status.as_deref().is_none_or(|s| state.pipeline_status(p) == s)).collect();
        page(&rows, &params, &call.url(), call.query(), |p| state.pipeline_json(p))
    })
}

async fn detail(AxumState(shared): AxumState<Shared>, Path((id, pipeline)): Place, call: Call) -> Answer {
    read(&shared, &call, &id, |state, project| {
        ok(&state.pipeline_json(pipeline_of(state, project, &pipeline)?))
    })
}

async fn pipeline_jobs(
    AxumState(shared): AxumState<Shared>,
    Path((id, pipeline)): Place,
    call: Call,
) -> Answer {
    read(&shared, &call, &id, |state, project| {
        let jobs = &pipeline_of(state, project, &pipeline)?.jobs;
        let rows: Vec<&Job> = jobs.iter().rev().filter_map(|id| state.jobs.get(id)).collect();
        page(&rows, &call.params()?, &call.url(), call.query(), |job| state.job_json(job))
    })
}

async fn job(AxumState(shared): AxumState<Shared>, Path((id, job)): Place, call: Call) -> Answer {
    read(&shared, &call, &id, |state, project| ok(&state.job_json(job_of(state, project, &job)?)))
}

async fn trace(AxumState(shared): AxumState<Shared>, Path((id, job)): Place, call: Call) -> Answer {
    read(&shared, &call, &id, |state, project| {
        let job = job_of(state, project, &job)?;
        Ok(plain(StatusCode::OK, job.trace.clone().into(), "text/plain"))
    })
}

async fn artifacts(AxumState(shared): AxumState<Shared>, Path((id, job)): Place, call: Call) -> Answer {
    read(&shared, &call, &id, |state, project| {
        let archive = job_of(state, project, &job)?.archive.as_ref();
        let (_, data) = archive.ok_or_else(|| Failure::message(StatusCode::NOT_FOUND, "404 Not Found"))?;
        Ok(plain(StatusCode::OK, data.clone().into(), "application/octet-stream"))
    })
}

async fn cancel_pipeline(
    AxumState(shared): AxumState<Shared>,
    Path((id, pipeline)): Place,
    call: Call,
) -> Answer {
    change(&shared, &call, &id, |state, project| {
        let row = pipeline_of(state, project, &pipeline)?.clone();
        for job in &row.jobs {
            state.set_status(*job, JobStatus::Canceled, None);
        }
        ok(&state.pipeline_json(&row))
    })
}

async fn cancel(AxumState(shared): AxumState<Shared>, Path((id, job)): Place, call: Call) -> Answer {
    change(&shared, &call, &id, |state, project| {
        let job = job_of(state, project, &job)?.id;
        state.set_status(job, JobStatus::Canceled, None);
        Ok(reply(StatusCode::CREATED, &state.jobs.get(&job).map_or(Value::Null, |j| state.job_json(j))))
    })
}

async fn retry(AxumState(shared): AxumState<Shared>, Path((id, job)): Place, call: Call) -> Answer {
    change(&shared, &call, &id, |state, project| {
        let job = job_of(state, project, &job)?.id;
        let new = state.retry_job(job).ok_or_else(|| Failure::forbidden("Job is not retryable"))?;
        Ok(reply(StatusCode::CREATED, &state.jobs.get(&new).map_or(Value::Null, |j| state.job_json(j))))
    })
}

/// Only jobs of projects where the caller is at least Reporter.
async fn runner_jobs(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let state = shared.lock();
    let (token, runner) = call.readable_runner(&state, &id)?;
    let params = call.params()?;
    let status = params.one_of("status", &JOB_STATUSES)?;
    let system_id = params.text("system_id");
    let ordered = params.one_of("order_by", &["id"])?.is_some();
    let sort = params.one_of("sort", &["asc", "desc"])?;
    let keyset = params.text("pagination").is_some_and(|p| p == "keyset");
    let mut rows: Vec<&Job> = state
        .jobs
        .values()
        .filter(|j| j.runner == Some(runner.id))
        .filter(|j| status.as_deref().is_none_or(|s| j.status.as_str() == s))
        .filter(|j| system_id.is_none() || j.system_id == system_id)
        .filter(|j| token.sees_all() || token.role_in_project(&state, j.project) >= Some(Role::Reporter))
        .collect();
    // `sort` counts only with `order_by`. Without it pages by number ascend and pages by cursor descend.
    let descending = if ordered { sort.as_deref() != Some("asc") } else { keyset };
    if descending {
        rows.reverse();
    }
    if keyset {
        return keyset_page(&rows, &params, &call.url(), call.query(), |j| j.id, |j| state.job_json(j));
    }
    let mut answer = page(&rows, &params, &call.url(), call.query(), |job| state.job_json(job))?;
    if system_id.is_some() {
        for total in ["x-total", "x-total-pages"] {
            answer.headers_mut().remove(total);
        }
    }
    Ok(answer)
}

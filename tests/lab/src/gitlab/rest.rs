//! The REST runner API of GitLab (facts: lists without tags, full-replace PUT without compare-and-set).

use std::sync::Arc;

use axum::extract::{Path, State as AxumState};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, body::Bytes};
use serde_json::{Value, json};

use super::access::Token;
use super::change::{Change, apply};
use super::lookup::{READ, WRITE, WRITE_RUNNER, visible_group, visible_project};
use super::model::{Contact, Group, Manager, Owner, Project, Runner, Status};
use super::ownership;
use super::reply::{Answer, Failure, ok, page, reply, time, time_or_null};
use super::server::{Call, Shared};
use super::state::{Lag, State};

const TYPES: [&str; 3] = ["instance_type", "group_type", "project_type"];
const STATUSES: [&str; 6] = ["active", "paused", "online", "offline", "never_contacted", "stale"];
pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/api/v4/runners", get(list_owned))
        .route("/api/v4/runners/all", get(list_all))
        .route("/api/v4/groups/{id}/runners", get(list_group))
        .route("/api/v4/projects/{id}/runners", get(list_project).post(assign))
        .route("/api/v4/projects/{id}/runners/{runner}", axum::routing::delete(unassign))
        .route("/api/v4/runners/{id}", get(detail).put(update).delete(delete))
        .route("/api/v4/runners/{id}/managers", get(managers))
        .route("/api/v4/runners/{id}/projects", get(projects))
        .route("/api/v4/runners/{id}/reset_authentication_token", post(reset))
        .route("/api/v4/user/runners", post(create))
        .route("/api/v4/version", get(version))
        .route("/api/v4/user", get(user))
        .route("/api/v4/personal_access_tokens/self", get(token_self))
        .route("/api/v4/groups/{id}", get(group))
        .route("/api/v4/projects/{id}", get(project))
}

// === lists ===

async fn list_owned(AxumState(shared): AxumState<Shared>, call: Call) -> Answer {
    let state = shared.lock();
    let token = call.caller(&state, &READ)?;
    list(&state, &call, |runner| token.owns_runner(&state, runner))
}

async fn list_all(AxumState(shared): AxumState<Shared>, call: Call) -> Answer {
    let state = shared.lock();
    if !call.caller(&state, &READ)?.sees_all() {
        return Err(Failure::forbidden(""));
    }
    list(&state, &call, |_| true)
}

async fn list_group(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let state = shared.lock();
    let group = call.listed_group(&state, &id)?;
    list(&state, &call, state.serves_group(group))
}

async fn list_project(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let state = shared.lock();
    let project = call.listed_project(&state, &id)?;
    list(&state, &call, state.serves_project(project))
}

fn list(state: &State, call: &Call, scope: impl Fn(&Runner) -> bool) -> Answer {
    let now = state.now();
    let params = call.params()?;
    let kind = params.one_of("type", &TYPES)?;
    let status = params.one_of("status", &STATUSES)?;
    let paused = params.flag("paused")?;
    let tags = params.tags("tag_list")?.unwrap_or_default();
    let version = params.text("version_prefix");
    if let Some(prefix) = &version
        && !prefix.starts_with(|c: char| c.is_ascii_digit() || c == '+' || c == '.')
    {
        return Err(Failure::grape("version_prefix is invalid"));
    }
    if let Some(scope) = params.text("scope")
        && !["specific", "shared", "active", "paused", "online", "offline"].contains(&scope.as_str())
    {
        return Err(Failure::message(StatusCode::BAD_REQUEST, "Scope contains invalid value"));
    }
    let rows: Vec<Arc<Runner>> = state
        .replica(call.lag)
        .into_values()
        .filter(|r| scope(r))
        .filter(|r| kind.as_deref().is_none_or(|k| r.owner.runner_type() == k))
        .filter(|r| paused.is_none_or(|p| r.paused == p))
        .filter(|r| status.as_deref().is_none_or(|s| matches_status(r, s, r.db_status(now))))
        .filter(|r| tags.iter().all(|t| r.tags.contains(t)))
        .filter(|r| version.as_deref().is_none_or(|v| has_version(r, v)))
        .collect();
    page(&rows, &params, &call.url(), call.query(), |runner| row(state, runner))
}

/// `offline` includes `stale`; the two deprecated values are about `paused`.
pub(super) fn matches_status(runner: &Runner, wanted: &str, status: Status) -> bool {
    match wanted {
        "active" => !runner.paused,
        "paused" => runner.paused,
        "offline" => matches!(status, Status::Offline | Status::Stale),
        other => status.as_str() == other,
    }
}

pub(super) fn has_version(runner: &Runner, prefix: &str) -> bool {
    runner.managers.values().any(|m| m.version.as_deref().is_some_and(|v| v.starts_with(prefix)))
}

// === entities ===

/// The deprecated REST status: `paused` hides whether the runner is alive.
fn rest_status(runner: &Runner, state: &State) -> &'static str {
    match runner.status(state.now()) {
        Status::Online | Status::Offline if runner.paused => "paused",
        status => status.as_str(),
    }
}

pub(super) fn row(state: &State, runner: &Runner) -> Value {
    json!({
        "id": runner.id,
        "description": runner.description,
        "ip_address": Value::Null,
        "active": !runner.paused,
        "paused": runner.paused,
        "is_shared": runner.owner == Owner::Instance,
        "runner_type": runner.owner.runner_type(),
        "name": Value::Null,
        "online": runner.status(state.now()) == Status::Online,
        "created_by": runner.created_by.as_ref().map(|user| {
            json!({ "id": user.id, "username": user.username, "name": user.username, "state": "active" })
        }),
        "created_at": time(runner.created_at),
        "status": rest_status(runner, state),
        "job_execution_status": execution_status(state, |job| job.runner == Some(runner.id)),
    })
}

pub(super) fn execution_status(state: &State, of: impl Fn(&super::jobs::Job) -> bool) -> &'static str {
    let busy = state.jobs.values().any(|job| job.status == super::jobs::JobStatus::Running && of(job));
    if busy { "active" } else { "idle" }
}

fn full(state: &State, token: &Token, runner: &Runner, include_projects: bool) -> Value {
    let mut body = row(state, runner);
    let manager = runner.latest_manager();
    let field = |get: fn(&Manager) -> Option<String>| manager.and_then(get);
    let detail = json!({
        "tag_list": runner.tags,
        "run_untagged": runner.run_untagged,
        "locked": runner.locked,
        "maximum_timeout": runner.maximum_timeout,
        "access_level": if runner.ref_protected { "ref_protected" } else { "not_protected" },
        "version": field(|m| m.version.clone()),
        "revision": field(|m| m.revision.clone()),
        "platform": field(|m| m.platform.clone()),
        "architecture": field(|m| m.architecture.clone()),
        "contacted_at": time_or_null(runner.contact.row_value(state.now())),
        "maintenance_note": runner.maintenance_note.as_ref().filter(|_| token.may_update_runner(state, runner)),
    });
    if let (Value::Object(body), Value::Object(detail)) = (&mut body, detail) {
        body.extend(detail);
        let (projects, groups) = match &runner.owner {
            Owner::Instance => (vec![], vec![]),
            Owner::Group(id) => (vec![], vec![*id]),
            Owner::Projects(ids) => (ids.clone(), vec![]),
        };
        if include_projects {
            let projects = projects.iter().filter_map(|id| state.projects.get(id));
            body.insert("projects".into(), projects.map(project_json).collect());
        }
        let groups = groups.iter().filter_map(|id| state.groups.get(id));
        body.insert("groups".into(), groups.map(group_json).collect());
    }
    body
}

fn last_segment(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn project_json(project: &Project) -> Value {
    let name = last_segment(&project.full_path);
    json!({ "id": project.id, "name": name, "path": name, "path_with_namespace": project.full_path })
}

fn group_json(group: &Group) -> Value {
    json!({
        "id": group.id, "name": last_segment(&group.full_path), "path": last_segment(&group.full_path),
        "full_path": group.full_path, "parent_id": group.parent, "web_url": format!("/groups/{}", group.full_path),
    })
}

pub(super) fn manager_json(state: &State, runner: &Runner, manager: &Manager) -> Value {
    let now = state.now();
    let contact: &Contact = &manager.contact;
    json!({
        "id": manager.id,
        "system_id": manager.system_id,
        "version": manager.version,
        "revision": manager.revision,
        "platform": manager.platform,
        "architecture": manager.architecture,
        "created_at": time(manager.created_at),
        "contacted_at": time_or_null(contact.row_value(now)),
        "ip_address": Value::Null,
        "status": Status::of(manager.created_at, contact.row_value(now), now).as_str(),
        "job_execution_status": execution_status(state, |job| {
            job.runner == Some(runner.id) && job.system_id.as_deref() == Some(manager.system_id.as_str())
        }),
    })
}

// === one runner ===

async fn detail(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let state = shared.lock();
    let (token, runner) = call.readable_runner(&state, &id)?;
    let include_projects = call.params()?.flag("include_projects")?.unwrap_or(true);
    if call.lag == Lag::default() {
        return ok(&full(&state, &token, &runner, include_projects));
    }
    let old = state.replica(call.lag).remove(&runner.id).ok_or_else(|| Failure::not_found("Runner"))?;
    ok(&full(&state, &token, &old, include_projects))
}

async fn managers(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let state = shared.lock();
    let (_, runner) = call.readable_runner(&state, &id)?;
    let rows: Vec<Value> = runner.managers.values().map(|m| manager_json(&state, &runner, m)).collect();
    ok(&Value::Array(rows))
}

async fn projects(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let state = shared.lock();
    let (_, runner) = call.readable_runner(&state, &id)?;
    let Owner::Projects(ids) = &runner.owner else { return ok(&json!([])) };
    let rows: Vec<_> = ids.iter().filter_map(|id| state.projects.get(id)).collect();
    page(&rows, &call.params()?, &call.url(), call.query(), |p| project_json(p))
}

async fn update(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let mut state = shared.lock();
    // Parameters are looked at before the runner is.
    call.caller(&state, &WRITE_RUNNER)?;
    let params = call.params()?;
    let change = Change::from_params(&params)?;
    let (token, runner) = call.writable_runner(&state, &id)?;
    let updated =
        apply(&mut state, runner.id, &change, &token.spec.name, "rest").map_err(|e| Failure::model(&e))?;
    ok(&full(&state, &token, &updated, params.flag("include_projects")?.unwrap_or(true)))
}

async fn delete(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let mut state = shared.lock();
    let (token, runner) = call.writable_runner(&state, &id)?;
    let since = call.headers.get(header::IF_UNMODIFIED_SINCE).and_then(|v| v.to_str().ok());
    if let Some(since) = since.and_then(|text| jiff::fmt::rfc2822::parse(text).ok())
        && runner.updated_at.as_second() > since.timestamp().as_second()
    {
        return Err(Failure::message(StatusCode::PRECONDITION_FAILED, "412 Precondition Failed"));
    }
    ownership::delete(&mut state, &token, &runner, "rest")?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn reset(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let mut state = shared.lock();
    let (_, runner) = call.writable_runner(&state, &id)?;
    // The row is saved, and a row that was valid when it was made need not be so any more.
    if let Err(errors) = Change::default().check(&runner) {
        return Err(Failure { status: StatusCode::UNPROCESSABLE_ENTITY, ..Failure::model(&errors) });
    }
    let secret = state.reset_token(runner.id);
    Ok(reply(StatusCode::CREATED, &json!({ "token": secret, "token_expires_at": Value::Null })))
}

async fn create(AxumState(shared): AxumState<Shared>, call: Call) -> Answer {
    let mut state = shared.lock();
    let token = call.caller(&state, &["api", "create_runner"])?;
    let params = call.params()?;
    let Some(kind) = params.one_of("runner_type", &TYPES)? else {
        return Err(Failure::grape("runner_type is missing, runner_type does not have a valid value"));
    };
    let need = |key: &str| params.number(key)?.ok_or_else(|| Failure::grape(&format!("{key} is missing")));
    let owner = match kind.as_str() {
        "group_type" => Owner::Group(need("group_id")?),
        "project_type" => Owner::Projects(vec![need("project_id")?]),
        _ => Owner::Instance,
    };
    let runner = ownership::create(&mut state, &token, owner, &Change::optional(&params)?, "rest")?;
    let body = json!({ "id": runner.id, "token": runner.token, "token_expires_at": Value::Null });
    Ok(reply(StatusCode::CREATED, &body))
}

async fn assign(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let mut state = shared.lock();
    let token = call.caller(&state, &WRITE)?;
    let project = visible_project(&state, &token, &id)?;
    let runner = call.params()?.number("runner_id")?.ok_or_else(|| Failure::grape("runner_id is missing"))?;
    let runner = ownership::assign(&mut state, &token, runner, project, "rest")?;
    Ok(reply(StatusCode::CREATED, &row(&state, &runner)))
}

async fn unassign(
    AxumState(shared): AxumState<Shared>,
    Path((id, runner)): Path<(String, u64)>,
    call: Call,
) -> Answer {
    let mut state = shared.lock();
    let token = call.caller(&state, &WRITE)?;
    let project = visible_project(&state, &token, &id)?;
    ownership::unassign(&mut state, &token, runner, project, "rest")?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

// === the caller and the instance ===

async fn version(AxumState(shared): AxumState<Shared>, call: Call) -> Answer {
    let state = shared.lock();
    call.token(&state)?;
    let version = &state.config.version;
    ok(&json!({ "version": version, "revision": "0123456789a", "enterprise": true }))
}

async fn user(AxumState(shared): AxumState<Shared>, call: Call) -> Answer {
    let state = shared.lock();
    let token = call.caller(&state, &["api", "read_api", "read_user"])?;
    let mut body = json!({
        "id": token.id, "username": token.spec.name, "name": token.spec.name, "state": "active",
    });
    if token.spec.admin {
        body["is_admin"] = json!(true);
    }
    if token.spec.auditor {
        body["is_auditor"] = json!(true);
    }
    ok(&body)
}

async fn token_self(AxumState(shared): AxumState<Shared>, call: Call) -> Answer {
    let state = shared.lock();
    let token = call.token(&state)?;
    ok(&json!({
        "id": token.id,
        "name": token.spec.name,
        "revoked": token.spec.revoked,
        "created_at": time(token.created_at),
        "scopes": token.spec.scopes,
        "user_id": token.id,
        "last_used_at": time(state.now()),
        "active": true,
        "expires_at": token.spec.expires_at.map(|at| at.strftime("%Y-%m-%d").to_string()),
    }))
}

async fn group(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let state = shared.lock();
    let id = visible_group(&state, &call.caller(&state, &READ)?, &id)?;
    ok(&state.groups.get(&id).map_or(Value::Null, group_json))
}

async fn project(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let state = shared.lock();
    let id = visible_project(&state, &call.caller(&state, &READ)?, &id)?;
    ok(&state.projects.get(&id).map_or(Value::Null, project_json))
}

/// Keeps handlers that answer without JSON in one shape.
pub(super) fn plain(status: StatusCode, body: Bytes, kind: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, kind)], body).into_response()
}

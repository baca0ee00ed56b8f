//! Issues of type incident, their notes, and the alert endpoint with its deduplication.

use axum::Router;
use axum::extract::{Path, State as AxumState};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::reply::{Answer, Failure, ok, page, reply, time};
use super::rest::visible_project;
use super::server::{Call, Shared};

/// One issue or incident.
#[derive(Debug, Clone, Serialize)]
pub struct Issue {
    /// Its number inside the project.
    pub iid: u64,
    /// Its project.
    pub project: u64,
    /// Title.
    pub title: String,
    /// Text.
    pub description: String,
    /// `issue` or `incident`.
    pub issue_type: String,
    /// Labels.
    pub labels: Vec<String>,
    /// `opened` or `closed`.
    pub state: String,
    /// Creation.
    pub created_at: Timestamp,
    /// Comments.
    pub notes: Vec<String>,
}

/// One alert at the alert endpoint; the same fingerprint is the same alert.
#[derive(Debug, Clone, Serialize)]
pub struct Alert {
    /// Its project's path.
    pub project: String,
    /// What makes it the same alert.
    pub fingerprint: String,
    /// Title.
    pub title: String,
    /// How often it came.
    pub events: u64,
    /// An `end_time` came.
    pub resolved: bool,
    /// The last payload.
    pub payload: Value,
}

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/api/v4/projects/{id}/issues", post(create).get(list))
        .route("/api/v4/projects/{id}/issues/{iid}", put(update))
        .route("/api/v4/projects/{id}/issues/{iid}/notes", post(note))
        .route("/{group}/{project}/alerts/notify/{file}", post(notify))
        .route("/{group}/{project}/alerts/notify/{name}/{file}", post(notify_named))
        .route("/-/health", get(|| async { "GitLab OK" }))
}

fn issue_json(issue: &Issue) -> Value {
    json!({
        "id": issue.iid, "iid": issue.iid, "project_id": issue.project, "title": issue.title,
        "description": issue.description, "issue_type": issue.issue_type, "labels": issue.labels,
        "state": issue.state, "created_at": time(issue.created_at),
        "web_url": format!("/-/issues/{}", issue.iid),
    })
}

async fn create(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let mut state = shared.lock();
    let token = call.token(&state)?.clone();
    token.need(&["api"])?;
    let project = visible_project(&state, &token, &id)?;
    let params = call.params()?;
    let title = params.text("title").ok_or_else(|| Failure::grape("title is missing"))?;
    let issue = Issue {
        iid: state.issues.iter().filter(|i| i.project == project).count() as u64 + 1,
        project,
        title,
        description: params.text("description").unwrap_or_default(),
        issue_type: params
            .one_of("issue_type", &["issue", "incident", "test_case", "task"])?
            .unwrap_or_else(|| "issue".to_owned()),
        labels: params.tags("labels")?.unwrap_or_default(),
        state: "opened".to_owned(),
        created_at: state.now(),
        notes: Vec::new(),
    };
    let body = issue_json(&issue);
    state.issues.push(issue);
    Ok(reply(StatusCode::CREATED, &body))
}

async fn list(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let state = shared.lock();
    let token = call.token(&state)?;
    token.need(&["api", "read_api"])?;
    let project = visible_project(&state, token, &id)?;
    let params = call.params()?;
    let labels = params.tags("labels")?.unwrap_or_default();
    let wanted = params.one_of("state", &["opened", "closed", "all"])?.filter(|s| s != "all");
    let search = params.text("search").unwrap_or_default();
    let rows: Vec<&Issue> = state
        .issues
        .iter()
        .rev()
        .filter(|i| i.project == project)
        .filter(|i| wanted.as_ref().is_none_or(|s| *s == i.state))
        .filter(|i| labels.iter().all(|l| i.labels.contains(l)))
        .filter(|i| i.title.contains(&search) || i.description.contains(&search))
        .collect();
    page(&rows, &params, &call.url(), call.query(), |i| issue_json(i))
}

async fn update(
    AxumState(shared): AxumState<Shared>,
    Path((id, iid)): Path<(String, u64)>,
    call: Call,
) -> Answer {
    let mut state = shared.lock();
    let token = call.token(&state)?.clone();
    token.need(&["api"])?;
    let project = visible_project(&state, &token, &id)?;
    let params = call.params()?;
    let event = params.one_of("state_event", &["close", "reopen"])?;
    let issue = state
        .issues
        .iter_mut()
        .find(|i| i.project == project && i.iid == iid)
        .ok_or_else(|| Failure::not_found("Issue"))?;
    match event.as_deref() {
        Some("close") => "closed".clone_into(&mut issue.state),
        Some(_) => "opened".clone_into(&mut issue.state),
        None => {}
    }
    if let Some(text) = params.text("description") {
        issue.description = text;
    }
    ok(&issue_json(issue))
}

async fn note(
    AxumState(shared): AxumState<Shared>,
    Path((id, iid)): Path<(String, u64)>,
    call: Call,
) -> Answer {
    let mut state = shared.lock();
    let token = call.token(&state)?.clone();
    token.need(&["api"])?;
    let project = visible_project(&state, &token, &id)?;
    let text = call.params()?.text("body").ok_or_else(|| Failure::grape("body is missing"))?;
    let issue = state
        .issues
        .iter_mut()
        .find(|i| i.project == project && i.iid == iid)
        .ok_or_else(|| Failure::not_found("Issue"))?;
    issue.notes.push(text.clone());
    Ok(reply(StatusCode::CREATED, &json!({ "id": issue.notes.len(), "body": text })))
}

async fn notify_named(
    state: AxumState<Shared>,
    Path((group, project, _name, file)): Path<(String, String, String, String)>,
    call: Call,
) -> Answer {
    notify(state, Path((group, project, file)), call).await
}

async fn notify(
    AxumState(shared): AxumState<Shared>,
    Path((group, project, _file)): Path<(String, String, String)>,
    call: Call,
) -> Answer {
    let mut state = shared.lock();
    let path = format!("{group}/{project}");
    if state.project_by_ref(&path).is_none() {
        return Err(Failure::message(StatusCode::NOT_FOUND, "404 Not Found"));
    }
    let key = super::server::secret(&call.headers, None);
    if key.as_deref() != Some(state.config.alert_key.as_str()) {
        return Err(Failure::unauthorized());
    }
    let payload: Value = serde_json::from_slice(&call.body).map_err(|_| Failure::grape("Invalid JSON"))?;
    let text = |key: &str| payload.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (title, resolved) = (text("title"), !text("end_time").is_empty());
    let fingerprint = if text("fingerprint").is_empty() { title.clone() } else { text("fingerprint") };
    let open = |a: &&mut Alert| a.project == path && a.fingerprint == fingerprint && !a.resolved;
    match state.alerts.iter_mut().find(open) {
        Some(alert) => {
            alert.events += u64::from(!resolved);
            alert.resolved = resolved;
            alert.payload = payload;
        }
        None if resolved => {}
        None => {
            state.alerts.push(Alert { project: path, fingerprint, title, events: 1, resolved, payload });
        }
    }
    ok(&json!([]))
}

//! Issues of type incident with severity and timeline, their notes, and the alert endpoint with its deduplication.
//!
//! REST knows no severity and no timeline but by quick actions, `/severity high` and
//! `/timeline text | 2026-01-31 15:04`, in a description or a note. GraphQL has both (`graphql_incidents`).

use axum::Router;
use axum::extract::{Path, State as AxumState};
use axum::http::StatusCode;
use axum::routing::{get, post};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::access::{Role, Token};
use super::lookup::{READ, WRITE};
use super::reply::{Answer, Failure, ok, page, reply, time};
use super::server::{Call, Shared};
use super::state::State;

/// How bad an incident is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, async_graphql::Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "IssuableSeverity")]
pub enum Severity {
    /// Nobody has said.
    #[default]
    Unknown,
    /// S4
    Low,
    /// S3
    Medium,
    /// S2
    High,
    /// S1
    Critical,
}

/// One entry of an incident's timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimelineEvent {
    /// Row id.
    pub id: u64,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// What happened.
    pub note: String,
    /// Names of its tags.
    pub tags: Vec<String>,
}

/// One issue or incident.
#[derive(Debug, Clone, Serialize)]
pub struct Issue {
    /// Row id.
    pub id: u64,
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
    /// Of an incident.
    pub severity: Severity,
    /// Of an incident.
    pub timeline: Vec<TimelineEvent>,
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
        .route("/api/v4/projects/{id}/issues/{iid}", get(detail).put(update))
        .route("/api/v4/projects/{id}/issues/{iid}/notes", post(note).get(notes))
        .route("/{group}/{project}/alerts/notify/{file}", post(notify))
        .route("/{group}/{project}/alerts/notify/{name}/{file}", post(notify_named))
        .route("/-/health", get(|| async { "GitLab OK" }))
}

impl State {
    pub(super) fn issue(&self, project: u64, iid: u64) -> Option<&Issue> {
        self.issues.iter().find(|i| i.project == project && i.iid == iid)
    }

    pub(super) fn issue_mut(&mut self, project: u64, iid: u64) -> Result<&mut Issue, Failure> {
        let found = self.issues.iter_mut().find(|i| i.project == project && i.iid == iid);
        found.ok_or_else(|| Failure::not_found("Issue"))
    }

    /// Carries out the quick actions that the caller may use, and gives the text without any.
    fn quick_actions(&mut self, token: &Token, project: u64, iid: u64, text: &str) -> String {
        let id = self.next_id();
        let now = self.now();
        let may = |role| token.has_role(self, project, role);
        let (judges, tells) = (may(Role::Reporter), may(Role::Developer));
        let mut rest = Vec::new();
        let Ok(issue) = self.issue_mut(project, iid) else { return text.to_owned() };
        for line in text.lines() {
            let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
            match (command, issue.issue_type.as_str()) {
                ("/severity", "incident") => {
                    issue.severity = severity(argument).filter(|_| judges).unwrap_or(issue.severity);
                }
                ("/timeline", "incident") if tells => {
                    let (note, at) = argument.split_once('|').unwrap_or((argument, ""));
                    let at = format!("{}:00Z", at.trim().replacen(' ', "T", 1)).parse();
                    let note = note.trim().to_owned();
                    let occurred_at = at.unwrap_or(now);
                    issue.timeline.push(TimelineEvent { id, occurred_at, note, tags: Vec::new() });
                }
                ("/severity" | "/timeline", _) => {}
                _ => rest.push(line),
            }
        }
        rest.join("\n")
    }
}

fn severity(text: &str) -> Option<Severity> {
    Some(match text.trim().to_lowercase().as_str() {
        "unknown" => Severity::Unknown,
        "low" | "s4" => Severity::Low,
        "medium" | "s3" => Severity::Medium,
        "high" | "s2" => Severity::High,
        "critical" | "s1" => Severity::Critical,
        _ => return None,
    })
}

fn issue_json(issue: &Issue) -> Value {
    json!({
        "id": issue.id, "iid": issue.iid, "project_id": issue.project, "title": issue.title,
        "description": issue.description, "issue_type": issue.issue_type, "labels": issue.labels,
        "state": issue.state, "severity": issue.severity, "created_at": time(issue.created_at),
        "web_url": format!("/-/issues/{}", issue.iid),
    })
}

async fn create(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let mut state = shared.lock();
    let params = call.params()?;
    let kinds = ["issue", "incident", "test_case", "task"];
    let issue_type = params.one_of("issue_type", &kinds)?.unwrap_or_else(|| "issue".to_owned());
    // Any member may write an issue; an incident asks for more.
    let role = if issue_type == "incident" { Role::Reporter } else { Role::Guest };
    let project = call.project(&state, &id, &WRITE, role)?;
    let title = params.text("title").ok_or_else(|| Failure::grape("title is missing"))?;
    let issue = Issue {
        id: state.next_id(),
        iid: state.issues.iter().filter(|i| i.project == project).count() as u64 + 1,
        project,
        title,
        description: String::new(),
        issue_type,
        labels: params.tags("labels")?.unwrap_or_default(),
        state: "opened".to_owned(),
        severity: Severity::Unknown,
        timeline: Vec::new(),
        created_at: state.now(),
        notes: Vec::new(),
    };
    let iid = issue.iid;
    state.issues.push(issue);
    let token = call.token(&state)?.clone();
    let text = params.text("description").unwrap_or_default();
    let description = state.quick_actions(&token, project, iid, &text);
    let issue = state.issue_mut(project, iid)?;
    issue.description = description;
    Ok(reply(StatusCode::CREATED, &issue_json(issue)))
}

async fn list(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let state = shared.lock();
    let project = call.project(&state, &id, &READ, Role::Guest)?;
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

async fn detail(
    AxumState(shared): AxumState<Shared>,
    Path((id, iid)): Path<(String, u64)>,
    call: Call,
) -> Answer {
    let mut state = shared.lock();
    let project = call.project(&state, &id, &READ, Role::Guest)?;
    ok(&issue_json(state.issue_mut(project, iid)?))
}

async fn update(
    AxumState(shared): AxumState<Shared>,
    Path((id, iid)): Path<(String, u64)>,
    call: Call,
) -> Answer {
    let mut state = shared.lock();
    let project = call.project(&state, &id, &WRITE, Role::Reporter)?;
    let params = call.params()?;
    let event = params.one_of("state_event", &["close", "reopen"])?;
    let issue = state.issue_mut(project, iid)?;
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
    let project = call.project(&state, &id, &WRITE, Role::Guest)?;
    let text = call.params()?.text("body").ok_or_else(|| Failure::grape("body is missing"))?;
    state.issue_mut(project, iid)?;
    let token = call.token(&state)?.clone();
    let rest = state.quick_actions(&token, project, iid, &text);
    // A note of quick actions only is no note.
    if rest.is_empty() {
        return Ok(reply(StatusCode::ACCEPTED, &json!({ "summary": ["Applied the commands."] })));
    }
    let issue = state.issue_mut(project, iid)?;
    issue.notes.push(rest.clone());
    Ok(reply(StatusCode::CREATED, &json!({ "id": issue.notes.len(), "body": rest })))
}

async fn notes(
    AxumState(shared): AxumState<Shared>,
    Path((id, iid)): Path<(String, u64)>,
    call: Call,
) -> Answer {
    let mut state = shared.lock();
    let project = call.project(&state, &id, &READ, Role::Guest)?;
    let rows: Vec<(usize, String)> =
        state.issue_mut(project, iid)?.notes.clone().into_iter().enumerate().collect();
    page(&rows, &call.params()?, &call.url(), call.query(), |(n, body)| json!({ "id": n + 1, "body": body }))
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

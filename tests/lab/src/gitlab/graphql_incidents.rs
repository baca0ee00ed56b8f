//! GraphQL's view of incidents: the severity and the timeline, which REST does not have.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use super::access::Role;
use super::graphql::{mutate, unavailable};
use super::graphql_scalars::{IssueID, Time};
use super::incidents::{self, Severity, TimelineEvent};
use super::lookup::visible_project;

/// The tags that every project has.
const TAGS: [&str; 6] = [
    "Start time",
    "End time",
    "Impact detected",
    "Response initiated",
    "Impact mitigated",
    "Cause identified",
];

pub(super) struct Issue(pub(super) incidents::Issue);

#[Object]
impl Issue {
    async fn id(&self) -> IssueID {
        IssueID(self.0.id)
    }

    async fn iid(&self) -> String {
        self.0.iid.to_string()
    }

    async fn title(&self) -> &str {
        &self.0.title
    }

    async fn state(&self) -> &str {
        &self.0.state
    }

    #[graphql(name = "type")]
    async fn kind(&self) -> String {
        self.0.issue_type.to_uppercase()
    }

    async fn severity(&self) -> Severity {
        self.0.severity
    }
}

#[derive(SimpleObject)]
struct TimelineEventTag {
    name: String,
}

#[derive(SimpleObject)]
#[graphql(name = "TimelineEventTagTypeConnection")]
struct TimelineEventTags {
    nodes: Vec<TimelineEventTag>,
}

#[derive(SimpleObject)]
#[graphql(name = "TimelineEventType")]
struct Event {
    id: ID,
    note: String,
    occurred_at: Time,
    timeline_event_tags: TimelineEventTags,
}

impl From<&TimelineEvent> for Event {
    fn from(event: &TimelineEvent) -> Self {
        let nodes = event.tags.iter().map(|name| TimelineEventTag { name: name.clone() }).collect();
        Self {
            id: ID(format!("gid://gitlab/IncidentManagement::TimelineEvent/{}", event.id)),
            note: event.note.clone(),
            occurred_at: Time(event.occurred_at),
            timeline_event_tags: TimelineEventTags { nodes },
        }
    }
}

#[derive(SimpleObject)]
#[graphql(name = "TimelineEventTypeConnection")]
pub(super) struct TimelineEvents {
    nodes: Vec<Event>,
}

impl TimelineEvents {
    /// In the order of what happened.
    pub(super) fn of(incident: Option<&incidents::Issue>) -> Self {
        let mut events: Vec<&TimelineEvent> = incident.iter().flat_map(|i| &i.timeline).collect();
        events.sort_by_key(|event| event.occurred_at);
        Self { nodes: events.into_iter().map(Event::from).collect() }
    }
}

#[derive(InputObject)]
struct IssueSetSeverityInput {
    project_path: String,
    iid: String,
    severity: Severity,
    client_mutation_id: Option<String>,
}

#[derive(SimpleObject)]
struct IssueSetSeverityPayload {
    issue: Option<Issue>,
    errors: Vec<String>,
    client_mutation_id: Option<String>,
}

#[derive(InputObject)]
struct TimelineEventCreateInput {
    incident_id: IssueID,
    note: String,
    occurred_at: Time,
    timeline_event_tag_names: Option<Vec<String>>,
    client_mutation_id: Option<String>,
}

#[derive(SimpleObject)]
struct TimelineEventCreatePayload {
    timeline_event: Option<Event>,
    errors: Vec<String>,
    client_mutation_id: Option<String>,
}

#[derive(Default)]
pub(super) struct IncidentMutation;

#[Object]
impl IncidentMutation {
    async fn issue_set_severity(
        &self,
        ctx: &Context<'_>,
        input: IssueSetSeverityInput,
    ) -> Option<IssueSetSeverityPayload> {
        mutate(ctx, |state, token| {
            let project = visible_project(state, token, &input.project_path).map_err(|_| unavailable())?;
            if !token.has_role(state, project, Role::Reporter) {
                return Err(unavailable());
            }
            let iid = input.iid.parse().map_err(|_| unavailable())?;
            let issue = state.issue_mut(project, iid).map_err(|_| unavailable())?;
            // Only incidents have one; others are left as they are, without an error.
            if issue.issue_type == "incident" {
                issue.severity = input.severity;
            }
            let issue = Some(Issue(issue.clone()));
            let client_mutation_id = input.client_mutation_id;
            Ok(IssueSetSeverityPayload { issue, errors: Vec::new(), client_mutation_id })
        })
    }

    async fn timeline_event_create(
        &self,
        ctx: &Context<'_>,
        input: TimelineEventCreateInput,
    ) -> Option<TimelineEventCreatePayload> {
        mutate(ctx, |state, token| {
            let id = state.next_id();
            let incident = state.issues.iter().position(|i| i.id == input.incident_id.0);
            let incident = incident.ok_or_else(unavailable)?;
            let project = state.issues.get(incident).map(|i| i.project).unwrap_or_default();
            if !token.has_role(state, project, Role::Developer) {
                return Err(unavailable());
            }
            let issue = state.issues.get_mut(incident).filter(|i| i.issue_type == "incident");
            let issue = issue.ok_or_else(unavailable)?;
            let tags = input.timeline_event_tag_names.unwrap_or_default();
            let unknown: Vec<&str> =
                tags.iter().map(String::as_str).filter(|tag| !TAGS.contains(tag)).collect();
            let mut errors = Vec::new();
            if input.note.is_empty() {
                errors.push("Timeline text can't be blank".to_owned());
            }
            if !unknown.is_empty() {
                errors.push(format!("Following tags don't exist: {unknown:?}"));
            }
            let timeline_event = errors.is_empty().then(|| {
                let event = TimelineEvent { id, occurred_at: input.occurred_at.0, note: input.note, tags };
                let shown = Event::from(&event);
                issue.timeline.push(event);
                shown
            });
            let client_mutation_id = input.client_mutation_id;
            Ok(TimelineEventCreatePayload { timeline_event, errors, client_mutation_id })
        })
    }
}

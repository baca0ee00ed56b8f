//! GraphQL's view of runners, and the two mutations.

use std::sync::Arc;

use async_graphql::{Context, Enum, Error, ID, InputObject, Object, SimpleObject};

use super::graphql::{CiRunnerID, Time, UNAVAILABLE, caller, cursor, or_null, shared};
use super::rest::{Change, apply, execution_status};
use super::state::{Manager, Owner, Runner, Status};

#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(name = "CiRunnerStatus")]
pub(super) enum StatusArg {
    Online,
    Offline,
    Stale,
    NeverContacted,
    Active,
    Paused,
}

impl StatusArg {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Stale => "stale",
            Self::NeverContacted => "never_contacted",
            Self::Active => "active",
            Self::Paused => "paused",
        }
    }
}

impl From<Status> for StatusArg {
    fn from(status: Status) -> Self {
        match status {
            Status::Online => Self::Online,
            Status::Offline => Self::Offline,
            Status::Stale => Self::Stale,
            Status::NeverContacted => Self::NeverContacted,
        }
    }
}

#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(name = "CiRunnerType")]
pub(super) enum TypeArg {
    #[graphql(name = "INSTANCE_TYPE")]
    Instance,
    #[graphql(name = "GROUP_TYPE")]
    Group,
    #[graphql(name = "PROJECT_TYPE")]
    Project,
}

impl TypeArg {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance_type",
            Self::Group => "group_type",
            Self::Project => "project_type",
        }
    }
}

#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(name = "CiRunnerSort")]
pub(super) enum SortArg {
    ContactedAsc,
    ContactedDesc,
    CreatedAsc,
    CreatedDesc,
}

#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(name = "CiRunnerAccessLevel")]
pub(super) enum AccessLevelArg {
    NotProtected,
    RefProtected,
}

#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(name = "CiRunnerJobExecutionStatus")]
enum ExecutionStatus {
    Idle,
    Active,
}

impl ExecutionStatus {
    fn of(text: &str) -> Self {
        if text == "active" { Self::Active } else { Self::Idle }
    }
}

#[derive(SimpleObject)]
struct PageInfo {
    has_next_page: bool,
    has_previous_page: bool,
    start_cursor: Option<String>,
    end_cursor: Option<String>,
}

#[derive(SimpleObject)]
struct CiRunnerEdge {
    cursor: String,
    node: CiRunner,
}

pub(super) struct CiRunnerConnection {
    rows: Vec<Arc<Runner>>,
    count: usize,
    before: bool,
    more: bool,
}

impl CiRunnerConnection {
    pub(super) fn new(rows: Vec<Arc<Runner>>, count: usize, before: bool, more: bool) -> Self {
        Self { rows, count, before, more }
    }
}

#[Object]
impl CiRunnerConnection {
    async fn count(&self) -> usize {
        self.count
    }

    async fn nodes(&self) -> Vec<CiRunner> {
        self.rows.iter().cloned().map(CiRunner).collect()
    }

    async fn edges(&self) -> Vec<CiRunnerEdge> {
        self.rows.iter().map(|r| CiRunnerEdge { cursor: cursor(r), node: CiRunner(Arc::clone(r)) }).collect()
    }

    async fn page_info(&self) -> PageInfo {
        PageInfo {
            has_next_page: self.more,
            has_previous_page: self.before,
            start_cursor: self.rows.first().map(|r| cursor(r)),
            end_cursor: self.rows.last().map(|r| cursor(r)),
        }
    }
}

pub(super) struct CiRunner(pub(super) Arc<Runner>);

#[derive(SimpleObject)]
#[graphql(concrete(name = "CiRunnerManagerConnection", params(CiRunnerManager)))]
#[graphql(concrete(name = "CiJobConnection", params(CiJob)))]
#[graphql(concrete(name = "CiRunnerOwnerConnection", params(Named)))]
struct Nodes<T: async_graphql::OutputType> {
    nodes: Vec<T>,
}

#[derive(SimpleObject)]
struct RunnerPermissions {
    read_runner: bool,
    update_runner: bool,
    delete_runner: bool,
    assign_runner: bool,
}

#[Object]
impl CiRunner {
    async fn id(&self) -> CiRunnerID {
        CiRunnerID(self.0.id)
    }

    async fn short_sha(&self) -> &str {
        self.0.short_sha()
    }

    async fn description(&self) -> &str {
        &self.0.description
    }

    async fn runner_type(&self) -> TypeArg {
        match self.0.owner {
            Owner::Instance => TypeArg::Instance,
            Owner::Group(_) => TypeArg::Group,
            Owner::Projects(_) => TypeArg::Project,
        }
    }

    async fn status(&self, ctx: &Context<'_>) -> Result<StatusArg, Error> {
        Ok(self.0.status(shared(ctx)?.lock().now()).into())
    }

    async fn paused(&self) -> bool {
        self.0.paused
    }

    async fn contacted_at(&self, ctx: &Context<'_>) -> Result<Option<Time>, Error> {
        Ok(self.0.contact.row_value(shared(ctx)?.lock().now()).map(Time))
    }

    async fn created_at(&self) -> Time {
        Time(self.0.created_at)
    }

    async fn tag_list(&self) -> &[String] {
        &self.0.tags
    }

    async fn run_untagged(&self) -> bool {
        self.0.run_untagged
    }

    async fn locked(&self) -> bool {
        self.0.locked
    }

    async fn access_level(&self) -> AccessLevelArg {
        if self.0.ref_protected { AccessLevelArg::RefProtected } else { AccessLevelArg::NotProtected }
    }

    async fn maximum_timeout(&self) -> Option<u64> {
        self.0.maximum_timeout
    }

    async fn maintenance_note(&self, ctx: &Context<'_>) -> Result<Option<String>, Error> {
        let state = shared(ctx)?.lock();
        let may = caller(ctx)?.token.as_ref().is_some_and(|t| t.may_update_runner(&state, &self.0));
        Ok(self.0.maintenance_note.clone().filter(|_| may))
    }

    async fn job_count(&self, ctx: &Context<'_>) -> Result<usize, Error> {
        let state = shared(ctx)?.lock();
        Ok(state.jobs.values().filter(|j| j.runner == Some(self.0.id)).count().min(1001))
    }

    async fn project_count(&self) -> Option<usize> {
        match &self.0.owner {
            Owner::Projects(ids) => Some(ids.len()),
            _ => None,
        }
    }

    async fn job_execution_status(&self, ctx: &Context<'_>) -> Result<ExecutionStatus, Error> {
        let state = shared(ctx)?.lock();
        Ok(ExecutionStatus::of(execution_status(&state, |j| j.runner == Some(self.0.id))))
    }

    async fn token_expires_at(&self) -> Option<Time> {
        None
    }

    async fn user_permissions(&self, ctx: &Context<'_>) -> Result<RunnerPermissions, Error> {
        let state = shared(ctx)?.lock();
        let token = caller(ctx)?.token.as_ref();
        let update = token.is_some_and(|t| t.may_update_runner(&state, &self.0));
        Ok(RunnerPermissions {
            read_runner: token.is_some_and(|t| t.may_read_runner(&state, &self.0)),
            update_runner: update,
            delete_runner: update,
            assign_runner: update,
        })
    }

    async fn managers(&self, first: Option<i32>) -> Nodes<CiRunnerManager> {
        let first = first.and_then(|f| usize::try_from(f).ok()).unwrap_or(100).min(100);
        let one = |m: &Manager| CiRunnerManager { runner: self.0.id, row: m.clone() };
        Nodes { nodes: self.0.managers.values().rev().take(first).map(one).collect() }
    }

    async fn jobs(&self, ctx: &Context<'_>, first: Option<i32>) -> Option<Nodes<CiJob>> {
        or_null(
            ctx,
            (|| -> Result<Nodes<CiJob>, Error> {
                caller(ctx)?.ask_jobs()?;
                let state = shared(ctx)?.lock();
                let first = first.and_then(|f| usize::try_from(f).ok()).unwrap_or(100).min(100);
                let jobs = state.jobs.values().rev().filter(|j| j.runner == Some(self.0.id)).take(first);
                let one = |j: &super::jobs::Job| CiJob {
                    id: ID(format!("gid://gitlab/Ci::Build/{}", j.id)),
                    name: j.template.name.clone(),
                    status: j.status.as_str().to_uppercase(),
                    tags: j.template.tags.clone(),
                };
                Ok(Nodes { nodes: jobs.map(one).collect() })
            })(),
        )
    }

    async fn groups(&self, ctx: &Context<'_>) -> Result<Option<Nodes<Named>>, Error> {
        let state = shared(ctx)?.lock();
        let Owner::Group(id) = self.0.owner else { return Ok(None) };
        let one = |g: &super::state::Group| Named {
            id: ID(format!("gid://gitlab/Group/{}", g.id)),
            full_path: g.full_path.clone(),
        };
        Ok(Some(Nodes { nodes: state.groups.get(&id).into_iter().map(one).collect() }))
    }

    async fn projects(&self, ctx: &Context<'_>) -> Result<Option<Nodes<Named>>, Error> {
        let state = shared(ctx)?.lock();
        let Owner::Projects(ids) = &self.0.owner else { return Ok(None) };
        let one = |p: &super::state::Project| Named {
            id: ID(format!("gid://gitlab/Project/{}", p.id)),
            full_path: p.full_path.clone(),
        };
        Ok(Some(Nodes { nodes: ids.iter().filter_map(|id| state.projects.get(id)).map(one).collect() }))
    }
}

#[derive(SimpleObject)]
#[graphql(name = "CiRunnerOwner")]
struct Named {
    id: ID,
    full_path: String,
}

#[derive(SimpleObject)]
struct CiJob {
    id: ID,
    name: String,
    status: String,
    tags: Vec<String>,
}

struct CiRunnerManager {
    runner: u64,
    row: Manager,
}

#[Object]
impl CiRunnerManager {
    async fn id(&self) -> ID {
        ID(format!("gid://gitlab/Ci::RunnerManager/{}", self.row.id))
    }

    async fn system_id(&self) -> &str {
        &self.row.system_id
    }

    async fn status(&self, ctx: &Context<'_>) -> Result<StatusArg, Error> {
        let now = shared(ctx)?.lock().now();
        Ok(Status::of(self.row.created_at, self.row.contact.row_value(now), now).into())
    }

    async fn contacted_at(&self, ctx: &Context<'_>) -> Result<Option<Time>, Error> {
        Ok(self.row.contact.row_value(shared(ctx)?.lock().now()).map(Time))
    }

    async fn created_at(&self) -> Time {
        Time(self.row.created_at)
    }

    async fn version(&self) -> Option<&str> {
        self.row.version.as_deref()
    }

    async fn revision(&self) -> Option<&str> {
        self.row.revision.as_deref()
    }

    async fn ip_address(&self) -> Option<&str> {
        None
    }

    async fn executor_name(&self) -> Option<&str> {
        self.row.executor.as_deref()
    }

    async fn platform_name(&self) -> Option<&str> {
        self.row.platform.as_deref()
    }

    async fn architecture_name(&self) -> Option<&str> {
        self.row.architecture.as_deref()
    }

    async fn job_execution_status(&self, ctx: &Context<'_>) -> Result<ExecutionStatus, Error> {
        let state = shared(ctx)?.lock();
        Ok(ExecutionStatus::of(execution_status(&state, |j| {
            j.runner == Some(self.runner) && j.system_id.as_deref() == Some(self.row.system_id.as_str())
        })))
    }
}

// === mutations ===

#[derive(InputObject)]
struct RunnerUpdateInput {
    id: CiRunnerID,
    description: Option<String>,
    maintenance_note: Option<String>,
    maximum_timeout: Option<u64>,
    access_level: Option<AccessLevelArg>,
    active: Option<bool>,
    paused: Option<bool>,
    locked: Option<bool>,
    run_untagged: Option<bool>,
    tag_list: Option<Vec<String>>,
    client_mutation_id: Option<String>,
}

#[derive(SimpleObject)]
struct RunnerUpdatePayload {
    runner: Option<CiRunner>,
    errors: Vec<String>,
    client_mutation_id: Option<String>,
}

#[derive(InputObject)]
struct RunnerBulkPauseInput {
    ids: Vec<CiRunnerID>,
    paused: bool,
    client_mutation_id: Option<String>,
}

#[derive(SimpleObject)]
struct RunnerBulkPausePayload {
    updated_count: Option<usize>,
    updated_runners: Option<Vec<CiRunner>>,
    errors: Vec<String>,
    client_mutation_id: Option<String>,
}

const BULK_LIMIT: usize = 50;

pub(super) struct Mutation;

/// Rails' full message: `tags_list` and its text become `Tags list …`.
fn full_message(key: &str, text: &str) -> String {
    let mut name = key.replace('_', " ");
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    format!("{name} {text}")
}

#[Object]
impl Mutation {
    async fn runner_update(
        &self,
        ctx: &Context<'_>,
        input: RunnerUpdateInput,
    ) -> Option<RunnerUpdatePayload> {
        or_null(
            ctx,
            (|| -> Result<RunnerUpdatePayload, Error> {
                let token = caller(ctx)?.writer()?;
                let mut state = shared(ctx)?.lock();
                let row =
                    state.runners.get(&input.id.0).filter(|r| token.may_update_runner(&state, r)).cloned();
                let row = row.ok_or_else(|| Error::new(UNAVAILABLE))?;
                let mut change = Change {
                    description: input.description,
                    paused: input.paused.or(input.active.map(|a| !a)),
                    tags: None,
                    run_untagged: input.run_untagged,
                    locked: input.locked,
                    ref_protected: input.access_level.map(AccessLevelArg::is_protected),
                    maximum_timeout: input.maximum_timeout,
                    maintenance_note: input.maintenance_note,
                };
                if let Some(tags) = &input.tag_list {
                    change.set_tags(tags);
                }
                let (runner, errors) = match apply(&mut state, row.id, &change, &token.spec.name, "graphql") {
                    Ok(runner) => (runner, Vec::new()),
                    Err(errors) => {
                        let texts =
                            errors.iter().flat_map(|(key, all)| all.iter().map(|t| full_message(key, t)));
                        (row, texts.collect())
                    }
                };
                Ok(RunnerUpdatePayload {
                    runner: Some(CiRunner(runner)),
                    errors,
                    client_mutation_id: input.client_mutation_id,
                })
            })(),
        )
    }

    /// It does not tick the queue: pending jobs may wait after an unpause.
    async fn runner_bulk_pause(
        &self,
        ctx: &Context<'_>,
        input: RunnerBulkPauseInput,
    ) -> Option<RunnerBulkPausePayload> {
        or_null(
            ctx,
            (|| -> Result<RunnerBulkPausePayload, Error> {
                let token = caller(ctx)?.writer()?;
                let mut state = shared(ctx)?.lock();
                let mut errors = Vec::new();
                let mut forbidden = Vec::new();
                let mut updated = Vec::new();
                for CiRunnerID(id) in input.ids.iter().take(BULK_LIMIT) {
                    let Some(row) = state.runners.get(id).cloned() else { continue };
                    if !token.may_update_runner(&state, &row) {
                        forbidden.push(format!("#{id}"));
                        continue;
                    }
                    let mut row = Runner::clone(&row);
                    row.paused = input.paused;
                    updated.push(CiRunner(state.write_runner(row, &token.spec.name, "graphql_bulk")));
                }
                let verb = if input.paused { "pause" } else { "unpause" };
                if input.ids.len() > BULK_LIMIT {
                    errors.push(format!(
                "Can only {verb} up to {BULK_LIMIT} runners per call. Ignored the remaining runner(s)."
            ));
                }
                if !forbidden.is_empty() {
                    errors.push(format!(
                        "User does not have permission to {verb} runner(s): {}",
                        forbidden.join(", ")
                    ));
                }
                Ok(RunnerBulkPausePayload {
                    updated_count: Some(updated.len()),
                    updated_runners: Some(updated),
                    errors,
                    client_mutation_id: input.client_mutation_id,
                })
            })(),
        )
    }
}

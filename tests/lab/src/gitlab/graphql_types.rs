//! GraphQL's view of runners.

use std::sync::Arc;

use async_graphql::{Context, Enum, Error, ID, Object, SimpleObject};

use super::graphql::{caller, or_null, shared};
use super::graphql_filter::cursor;
use super::graphql_scalars::{CiRunnerID, Time, UserID};
use super::model::{Manager, Owner, Runner, Status};
use super::rest::execution_status;

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

impl AccessLevelArg {
    pub(super) fn is_protected(self) -> bool {
        self == Self::RefProtected
    }
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

    async fn created_by(&self) -> Option<CiRunnerUser> {
        let user = self.0.created_by.as_ref()?;
        Some(CiRunnerUser { id: UserID(user.id), username: user.username.clone() })
    }

    async fn owner_project(&self, ctx: &Context<'_>) -> Result<Option<Named>, Error> {
        let state = shared(ctx)?.lock();
        let Owner::Projects(ids) = &self.0.owner else { return Ok(None) };
        Ok(ids.first().and_then(|id| state.projects.get(id)).map(Named::project))
    }

    /// Shown to whoever created the runner, until somebody uses it.
    async fn ephemeral_authentication_token(&self, ctx: &Context<'_>) -> Result<Option<String>, Error> {
        let creator = self.0.created_by.as_ref().map(|user| user.id);
        let own = creator.is_some() && creator == caller(ctx)?.token.as_ref().map(|t| t.id);
        Ok(Some(self.0.token.clone()).filter(|_| own && self.0.managers.is_empty()))
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
        let one = |g: &super::model::Group| Named {
            id: ID(format!("gid://gitlab/Group/{}", g.id)),
            full_path: g.full_path.clone(),
        };
        Ok(Some(Nodes { nodes: state.groups.get(&id).into_iter().map(one).collect() }))
    }

    async fn projects(&self, ctx: &Context<'_>) -> Result<Option<Nodes<Named>>, Error> {
        let state = shared(ctx)?.lock();
        let Owner::Projects(ids) = &self.0.owner else { return Ok(None) };
        let nodes = ids.iter().filter_map(|id| state.projects.get(id)).map(Named::project);
        Ok(Some(Nodes { nodes: nodes.collect() }))
    }
}

#[derive(SimpleObject)]
#[graphql(name = "CiRunnerOwner")]
struct Named {
    id: ID,
    full_path: String,
}

impl Named {
    fn project(project: &super::model::Project) -> Self {
        Self { id: ID(format!("gid://gitlab/Project/{}", project.id)), full_path: project.full_path.clone() }
    }
}

#[derive(SimpleObject)]
struct CiRunnerUser {
    id: UserID,
    username: String,
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

//! `POST /api/graphql`: a real GraphQL library executes it; GitLab's limits are checked before.

use std::sync::atomic::{AtomicU64, Ordering};

use async_graphql::{Context, EmptySubscription, Error, ID, MergedObject, Object, SimpleObject, Variables};
use axum::Router;
use axum::extract::State as AxumState;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::{Value, json};

use super::GraphqlMode;
use super::access::Token;
use super::complexity::{cost, selected};
use super::graphql_filter::Filter;
use super::graphql_incidents::{IncidentMutation, Issue, TimelineEvents};
use super::graphql_mutations::RunnerMutation;
use super::graphql_scalars::{CiRunnerID, GroupID, IssueID, ProjectID, UserID};
use super::graphql_types::{CiRunner, CiRunnerConnection, SortArg, StatusArg, TypeArg};
use super::lookup::{visible_group, visible_project};
use super::model::{Owner, Runner};
use super::reply::{Answer, Failure, reply};
use super::server::{Call, Shared, secret};
use super::state::{Lag, State};

pub(crate) type Schema = async_graphql::Schema<Query, Mutation, EmptySubscription>;

const MAX_DEPTH: usize = 20;
const MAX_CHARACTERS: usize = 10_000;

const UNAVAILABLE: &str = "The resource that you are attempting to access does not exist or you don't \
                                      have permission to perform this action";

#[derive(MergedObject, Default)]
pub(super) struct Mutation(RunnerMutation, IncidentMutation);

/// What a mutation has in common with all others: the broad scope, and a null with an error when it is refused.
pub(super) fn mutate<T>(
    ctx: &Context<'_>,
    run: impl FnOnce(&mut State, &Token) -> Result<T, Error>,
) -> Option<T> {
    let done = || {
        let token = caller(ctx)?.token.as_ref().filter(|t| t.has("api")).ok_or_else(unavailable)?;
        run(&mut shared(ctx)?.lock(), token)
    };
    or_null(ctx, done())
}

pub(super) fn schema() -> Schema {
    async_graphql::Schema::build(Query, Mutation::default(), EmptySubscription).finish()
}

pub(super) fn router() -> Router<Shared> {
    Router::new().route("/api/graphql", post(execute))
}

/// Who asks, and with what budget: data of each operation.
pub(super) struct Caller {
    pub(super) token: Option<Token>,
    pub(super) lag: Lag,
    score: u64,
    limit: u64,
    pub(super) jobs_asked: AtomicU64,
}

pub(super) fn caller<'a>(ctx: &Context<'a>) -> Result<&'a Caller, Error> {
    ctx.data::<Caller>()
}

pub(super) fn shared<'a>(ctx: &Context<'a>) -> Result<&'a Shared, Error> {
    ctx.data::<Shared>()
}

/// The specification's partial error: the field is null and the error names its path. (The library leaves the
/// field out when a resolver fails.)
pub(super) fn or_null<T>(ctx: &Context<'_>, found: Result<T, Error>) -> Option<T> {
    found.map_err(|error| ctx.add_error(ctx.set_error_path(error.into_server_error(ctx.item.pos)))).ok()
}

fn errors(texts: &[String]) -> Value {
    json!({ "errors": texts.iter().map(|t| json!({ "message": t })).collect::<Vec<_>>() })
}

struct Prepared {
    request: async_graphql::Request,
    score: u64,
    problem: Option<String>,
}

fn prepare(entry: &Value) -> Prepared {
    let query = entry.get("query").and_then(Value::as_str).unwrap_or_default();
    let name = entry.get("operationName").and_then(Value::as_str);
    let variables = entry
        .get("variables")
        .filter(|v| v.is_object())
        .cloned()
        .map(Variables::from_json)
        .unwrap_or_default();
    let mut request = async_graphql::Request::new(query).variables(variables.clone());
    if let Some(name) = name {
        request = request.operation_name(name);
    }
    let refuse = |request, text: String| Prepared { request, score: 0, problem: Some(text) };
    if query.is_empty() {
        return refuse(request, "No query string was present".to_owned());
    }
    if query.chars().count() > MAX_CHARACTERS {
        return refuse(request, "Query too large".to_owned());
    }
    // A syntax error is the library's to report.
    let Ok(document) = async_graphql::parser::parse_query(query) else {
        return Prepared { request, score: 0, problem: None };
    };
    let Some(operation) = selected(&document, name) else {
        return refuse(request, "An operation name is required".to_owned());
    };
    let cost = cost(&document, operation, &variables);
    if cost.depth > MAX_DEPTH {
        let text = format!("Query has depth of {}, which exceeds max depth of {MAX_DEPTH}", cost.depth);
        return refuse(request, text);
    }
    Prepared { request, score: cost.score, problem: None }
}

async fn execute(AxumState(shared): AxumState<Shared>, call: Call) -> Answer {
    let (token, anonymous) = {
        let state = shared.lock();
        if let GraphqlMode::Off(status) = state.graphql {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::NOT_FOUND);
            return Err(Failure::message(status, status.canonical_reason().unwrap_or_default()));
        }
        match secret(&call.headers, call.query()) {
            None => (None, true),
            Some(secret) => {
                let known = state.authenticate(Some(&secret)).cloned();
                (known.ok().filter(|t| t.has("api") || t.has("read_api")), false)
            }
        }
    };
    if token.is_none() && !anonymous {
        return Ok(reply(StatusCode::UNAUTHORIZED, &errors(&["Invalid token".to_owned()])));
    }
    let limit = match &token {
        None => 200,
        Some(token) if token.spec.admin => 300,
        Some(_) => 250,
    };
    let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    let (entries, batch) = match body {
        Value::Array(entries) => (entries, true),
        single => (vec![single], false),
    };
    let prepared: Vec<Prepared> = entries.iter().map(prepare).collect();
    // Queries that come as an array share one budget.
    let score: u64 = prepared.iter().map(|p| p.score).sum();
    let over = (score > limit)
        .then(|| format!("Query has complexity of {score}, which exceeds max complexity of {limit}"));
    let mut answers = Vec::new();
    for entry in prepared {
        if let Some(text) = entry.problem.or_else(|| over.clone()) {
            answers.push(errors(&[text]));
            continue;
        }
        let data = Caller {
            token: token.clone(),
            lag: call.lag,
            score: entry.score,
            limit,
            jobs_asked: AtomicU64::new(0),
        };
        let response = shared.schema.execute(entry.request.data(shared.clone()).data(data)).await;
        answers.push(serde_json::to_value(&response).unwrap_or_default());
    }
    let body = if batch { Value::Array(answers) } else { answers.pop().unwrap_or_default() };
    Ok(reply(StatusCode::OK, &body))
}

// === queries ===

pub(super) fn unavailable() -> Error {
    Error::new(UNAVAILABLE)
}

pub(super) struct Query;

#[derive(SimpleObject)]
struct QueryComplexity {
    score: u64,
    limit: u64,
}

/// A GraphQL type with GitLab's connection `runners` and all its arguments. Which runners they are is said by the type's
/// own `scope`; what is in parentheses are arguments of this type's connection alone.
macro_rules! with_runners {
    ($type:ident($($extra:ident: $kind:ident)?) { $($fields:tt)* }) => {
        #[Object]
        impl $type {
            $($fields)*

            #[expect(clippy::too_many_arguments, reason = "the arguments of GitLab's field")]
            async fn runners(
                &self,
                ctx: &Context<'_>,
                $($extra: Option<$kind>,)?
                status: Option<StatusArg>,
                paused: Option<bool>,
                #[graphql(name = "type")] kind: Option<TypeArg>,
                tag_list: Option<Vec<String>>,
                search: Option<String>,
                version_prefix: Option<String>,
                creator_id: Option<UserID>,
                sort: Option<SortArg>,
                first: Option<i32>,
                after: Option<String>,
                last: Option<i32>,
                before: Option<String>,
            ) -> Option<CiRunnerConnection> {
                let page = || {
                    let caller = caller(ctx)?;
                    let state = shared(ctx)?.lock();
                    let token = caller.token.as_ref().ok_or_else(unavailable)?;
                    let scope = self.scope(&state, token $(, $extra)?)?;
                    let filter = Filter {
                        status,
                        paused,
                        kind,
                        tags: tag_list.unwrap_or_default(),
                        search,
                        version: version_prefix,
                        creator: creator_id,
                        sort,
                        first,
                        after,
                        last,
                        before,
                    };
                    filter.page(&state, caller.lag, scope)
                };
                or_null(ctx, page())
            }
        }
    };
}

with_runners! { Query() {
    async fn query_complexity(&self, ctx: &Context<'_>) -> Result<QueryComplexity, Error> {
        let caller = caller(ctx)?;
        Ok(QueryComplexity { score: caller.score, limit: caller.limit })
    }

    async fn runner(&self, ctx: &Context<'_>, id: CiRunnerID) -> Option<CiRunner> {
        let find = || -> Result<CiRunner, Error> {
            let caller = caller(ctx)?;
            let state = shared(ctx)?.lock();
            let token = caller.token.as_ref().ok_or_else(unavailable)?;
            let rows = if caller.lag == Lag::default() { None } else { Some(state.replica(caller.lag)) };
            let row = rows.as_ref().unwrap_or(&state.runners).get(&id.0);
            let row = row.filter(|r| token.may_read_runner(&state, r)).cloned().ok_or_else(unavailable)?;
            Ok(CiRunner(row))
        };
        or_null(ctx, find())
    }

    async fn group(&self, ctx: &Context<'_>, full_path: ID) -> Result<Option<Group>, Error> {
        let caller = caller(ctx)?;
        let state = shared(ctx)?.lock();
        let Some(token) = &caller.token else { return Ok(None) };
        let id = visible_group(&state, token, &full_path).ok();
        Ok(id.map(|id| Group { id, full_path: full_path.to_string() }))
    }

    async fn project(&self, ctx: &Context<'_>, full_path: ID) -> Result<Option<Project>, Error> {
        let caller = caller(ctx)?;
        let state = shared(ctx)?.lock();
        let Some(token) = &caller.token else { return Ok(None) };
        let id = visible_project(&state, token, &full_path).ok();
        Ok(id.map(|id| Project { id, full_path: full_path.to_string() }))
    }

    async fn current_user(&self, ctx: &Context<'_>) -> Result<Option<CurrentUser>, Error> {
        Ok(caller(ctx)?.token.clone().map(CurrentUser))
    }

    async fn metadata(&self, ctx: &Context<'_>) -> Result<Metadata, Error> {
        Ok(Metadata { version: shared(ctx)?.lock().config.version.clone() })
    }
} }

impl Query {
    /// The whole instance is for administrators and auditors.
    #[expect(clippy::unused_self, reason = "one of several scopes")]
    fn scope(&self, _: &State, token: &Token) -> Result<impl Fn(&Runner) -> bool + use<>, Error> {
        if token.sees_all() { Ok(|_: &Runner| true) } else { Err(unavailable()) }
    }
}

#[derive(SimpleObject)]
struct Metadata {
    version: String,
}

struct Group {
    id: u64,
    full_path: String,
}

/// Which runners of a group.
#[derive(async_graphql::Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(name = "CiRunnerMembershipFilter")]
enum Membership {
    Direct,
    Descendants,
    AllAvailable,
}

with_runners! { Group(membership: Membership) {
    async fn id(&self) -> GroupID {
        GroupID(self.id)
    }

    async fn full_path(&self) -> &str {
        &self.full_path
    }
} }

impl Group {
    fn scope(
        &self,
        state: &State,
        token: &Token,
        membership: Option<Membership>,
    ) -> Result<impl Fn(&Runner) -> bool, Error> {
        if !token.may_list_group(state, self.id) {
            return Err(unavailable());
        }
        let below = move |group: u64| state.with_ancestors(group).contains(&self.id);
        let offered = state.serves_group(self.id);
        Ok(move |runner: &Runner| match (membership.unwrap_or(Membership::Descendants), &runner.owner) {
            (Membership::AllAvailable, _) if offered(runner) => true,
            (Membership::Direct, Owner::Group(id)) => *id == self.id,
            (Membership::Descendants | Membership::AllAvailable, Owner::Group(id)) => below(*id),
            (Membership::Descendants | Membership::AllAvailable, Owner::Projects(ids)) => {
                ids.iter().filter_map(|id| state.projects.get(id)?.group).any(below)
            }
            (_, Owner::Instance) | (Membership::Direct, Owner::Projects(_)) => false,
        })
    }
}

struct Project {
    id: u64,
    full_path: String,
}

with_runners! { Project() {
    async fn id(&self) -> ProjectID {
        ProjectID(self.id)
    }

    async fn full_path(&self) -> &str {
        &self.full_path
    }

    async fn issue(&self, ctx: &Context<'_>, iid: String) -> Result<Option<Issue>, Error> {
        Ok(shared(ctx)?.lock().issue(self.id, iid.parse()?).map(|issue| Issue(issue.clone())))
    }

    async fn incident_management_timeline_events(
        &self,
        ctx: &Context<'_>,
        incident_id: IssueID,
    ) -> Result<TimelineEvents, Error> {
        let state = shared(ctx)?.lock();
        let incident = state.issues.iter().find(|i| i.project == self.id && i.id == incident_id.0);
        Ok(TimelineEvents::of(incident))
    }
} }

impl Project {
    fn scope(&self, state: &State, token: &Token) -> Result<impl Fn(&Runner) -> bool + use<>, Error> {
        if token.may_list_project(state, self.id) {
            Ok(state.serves_project(self.id))
        } else {
            Err(unavailable())
        }
    }
}

struct CurrentUser(Token);

with_runners! { CurrentUser() {
    async fn id(&self) -> UserID {
        UserID(self.0.id)
    }

    async fn username(&self) -> &str {
        &self.0.spec.name
    }
} }

impl CurrentUser {
    fn scope(&self, state: &State, _: &Token) -> Result<impl Fn(&Runner) -> bool, Error> {
        Ok(|runner: &Runner| self.0.owns_runner(state, runner))
    }
}

impl Caller {
    /// Each job list of a runner beyond the first of a request is refused.
    pub(super) fn ask_jobs(&self) -> Result<(), Error> {
        if self.jobs_asked.fetch_add(1, Ordering::Relaxed) == 0 {
            Ok(())
        } else {
            Err(Error::new("\"jobs\" field can be requested only for 1 CiRunner(s) at a time."))
        }
    }
}

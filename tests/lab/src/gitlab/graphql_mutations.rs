//! GraphQL's mutations of runners.

use async_graphql::{Context, Error, InputObject, Object, SimpleObject};

use super::access::{Role, Token};
use super::change::{Change, ModelErrors, apply};
use super::graphql::{mutate, unavailable};
use super::graphql_scalars::{CiRunnerID, GroupID, ProjectID};
use super::graphql_types::{AccessLevelArg, CiRunner, TypeArg};
use super::lookup::visible_project;
use super::model::{Owner, Runner};
use super::ownership::{self, Refusal};
use super::reply::split_tags;
use super::state::State;

/// Ids of one bulk call; the rest is ignored, and says so.
const BULK_LIMIT: usize = 50;

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
    associated_projects: Option<Vec<ProjectID>>,
    client_mutation_id: Option<String>,
}

#[derive(InputObject)]
struct RunnerCreateInput {
    runner_type: TypeArg,
    group_id: Option<GroupID>,
    project_id: Option<ProjectID>,
    description: Option<String>,
    maintenance_note: Option<String>,
    maximum_timeout: Option<u64>,
    access_level: Option<AccessLevelArg>,
    paused: Option<bool>,
    locked: Option<bool>,
    run_untagged: Option<bool>,
    tag_list: Option<Vec<String>>,
    client_mutation_id: Option<String>,
}

#[derive(InputObject)]
struct RunnerDeleteInput {
    id: CiRunnerID,
    client_mutation_id: Option<String>,
}

#[derive(InputObject)]
struct BulkRunnerDeleteInput {
    ids: Vec<CiRunnerID>,
    client_mutation_id: Option<String>,
}

#[derive(InputObject)]
struct RunnerAssignToProjectInput {
    runner_id: CiRunnerID,
    project_path: String,
    client_mutation_id: Option<String>,
}

#[derive(InputObject)]
struct RunnerUnassignFromProjectInput {
    runner_id: CiRunnerID,
    project_path: String,
    client_mutation_id: Option<String>,
}

#[derive(InputObject)]
struct RunnerCacheClearInput {
    project_id: ProjectID,
    client_mutation_id: Option<String>,
}

#[derive(InputObject)]
struct RunnerBulkPauseInput {
    ids: Vec<CiRunnerID>,
    paused: bool,
    client_mutation_id: Option<String>,
}

/// The change that an input asks for; the inputs differ in how they say `paused`.
macro_rules! wanted {
    ($input:ident, paused: $paused:expr) => {
        Change {
            description: $input.description,
            paused: $paused,
            tags: $input.tag_list.as_deref().map(split_tags),
            run_untagged: $input.run_untagged,
            locked: $input.locked,
            ref_protected: $input.access_level.map(AccessLevelArg::is_protected),
            maximum_timeout: $input.maximum_timeout,
            maintenance_note: $input.maintenance_note,
        }
    };
}

/// What every mutation answers with, and what is its own.
macro_rules! payloads {
    ($($name:ident { $($field:ident: $kind:ty),* })*) => { $(
        #[derive(SimpleObject)]
        struct $name {
            $($field: $kind,)*
            errors: Vec<String>,
            client_mutation_id: Option<String>,
        }
    )* };
}

payloads! {
    RunnerUpdatePayload { runner: Option<CiRunner> }
    RunnerCreatePayload { runner: Option<CiRunner> }
    RunnerDeletePayload {}
    BulkRunnerDeletePayload { deleted_count: usize, deleted_ids: Vec<CiRunnerID> }
    RunnerAssignToProjectPayload {}
    RunnerUnassignFromProjectPayload {}
    RunnerCacheClearPayload {}
    RunnerBulkPausePayload { updated_count: Option<usize>, updated_runners: Option<Vec<CiRunner>> }
}

/// Rails' full messages: `tags_list` and its text become `Tags list …`.
fn full_messages(errors: &ModelErrors) -> Vec<String> {
    let one = |(key, text): (&str, &String)| {
        let mut name = key.replace('_', " ");
        if let Some(first) = name.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        format!("{name} {text}")
    };
    errors.iter().flat_map(|(key, all)| all.iter().map(|text| one((key, text)))).collect()
}

/// What is refused for its content says so in `errors`; what may not be is a null with an error.
fn outcome<T>(done: Result<T, Refusal>) -> Result<(Option<T>, Vec<String>), Error> {
    match done {
        Ok(done) => Ok((Some(done), Vec::new())),
        Err(Refusal::Invalid(errors)) => Ok((None, full_messages(&errors))),
        Err(Refusal::Forbidden(why)) if !why.is_empty() => Ok((None, vec![why.to_owned()])),
        Err(Refusal::Forbidden(_) | Refusal::NoAccess | Refusal::NotFound) => Err(unavailable()),
    }
}

fn writable(state: &State, token: &Token, id: CiRunnerID) -> Result<std::sync::Arc<Runner>, Error> {
    let row = state.runners.get(&id.0).filter(|r| token.may_update_runner(state, r));
    row.cloned().ok_or_else(unavailable)
}

fn project(state: &State, token: &Token, path: &str) -> Result<u64, Error> {
    visible_project(state, token, path).map_err(|_| unavailable())
}

/// Does something to each of at most [`BULK_LIMIT`] runners; says which may not be touched, and that more were asked for.
fn bulk<T>(
    state: &mut State,
    token: &Token,
    verb: &str,
    ids: &[CiRunnerID],
    mut each: impl FnMut(&mut State, &Runner) -> Result<T, Refusal>,
) -> (Vec<T>, Vec<String>) {
    let (mut done, mut forbidden, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for CiRunnerID(id) in ids.iter().take(BULK_LIMIT) {
        let Some(row) = state.runners.get(id).cloned() else { continue };
        let result =
            if token.may_update_runner(state, &row) { each(state, &row) } else { Err(Refusal::NoAccess) };
        match result {
            Ok(result) => done.push(result),
            Err(_) => forbidden.push(format!("#{id}")),
        }
    }
    if ids.len() > BULK_LIMIT {
        errors.push(format!(
            "Can only {verb} up to {BULK_LIMIT} runners per call. Ignored the remaining runner(s)."
        ));
    }
    if !forbidden.is_empty() {
        let forbidden = forbidden.join(", ");
        errors.push(format!("User does not have permission to {verb} runner(s): {forbidden}"));
    }
    (done, errors)
}

#[derive(Default)]
pub(super) struct RunnerMutation;

#[Object]
impl RunnerMutation {
    async fn runner_update(
        &self,
        ctx: &Context<'_>,
        input: RunnerUpdateInput,
    ) -> Option<RunnerUpdatePayload> {
        mutate(ctx, |state, token| {
            let row = writable(state, token, input.id)?;
            let change = wanted!(input, paused: input.paused.or(input.active.map(|a| !a)));
            let projects: Option<Vec<u64>> =
                input.associated_projects.map(|all| all.into_iter().map(|p| p.0).collect());
            let done = apply(state, row.id, &change, &token.spec.name, "graphql").map_err(Refusal::Invalid);
            let done = done.and_then(|runner| match &projects {
                Some(projects) => ownership::set_projects(state, token, &runner, projects, "graphql"),
                None => Ok(runner),
            });
            let (runner, errors) = outcome(done)?;
            let runner = Some(CiRunner(runner.unwrap_or(row)));
            Ok(RunnerUpdatePayload { runner, errors, client_mutation_id: input.client_mutation_id })
        })
    }

    async fn runner_create(
        &self,
        ctx: &Context<'_>,
        input: RunnerCreateInput,
    ) -> Option<RunnerCreatePayload> {
        mutate(ctx, |state, token| {
            let missing = |name: &str| Error::new(format!("{name} is missing"));
            let owner = match input.runner_type {
                TypeArg::Instance => Owner::Instance,
                TypeArg::Group => Owner::Group(input.group_id.ok_or_else(|| missing("`group_id`"))?.0),
                TypeArg::Project => {
                    Owner::Projects(vec![input.project_id.ok_or_else(|| missing("`project_id`"))?.0])
                }
            };
            let change = wanted!(input, paused: input.paused);
            let (runner, errors) = outcome(ownership::create(state, token, owner, &change, "graphql"))?;
            let runner = runner.map(CiRunner);
            Ok(RunnerCreatePayload { runner, errors, client_mutation_id: input.client_mutation_id })
        })
    }

    async fn runner_delete(
        &self,
        ctx: &Context<'_>,
        input: RunnerDeleteInput,
    ) -> Option<RunnerDeletePayload> {
        mutate(ctx, |state, token| {
            let row = writable(state, token, input.id)?;
            let (_, errors) = outcome(ownership::delete(state, token, &row, "graphql"))?;
            Ok(RunnerDeletePayload { errors, client_mutation_id: input.client_mutation_id })
        })
    }

    async fn bulk_runner_delete(
        &self,
        ctx: &Context<'_>,
        input: BulkRunnerDeleteInput,
    ) -> Option<BulkRunnerDeletePayload> {
        mutate(ctx, |state, token| {
            let (deleted_ids, errors) = bulk(state, token, "delete", &input.ids, |state, row| {
                ownership::delete(state, token, row, "graphql_bulk").map(|()| CiRunnerID(row.id))
            });
            let client_mutation_id = input.client_mutation_id;
            let deleted_count = deleted_ids.len();
            Ok(BulkRunnerDeletePayload { deleted_count, deleted_ids, errors, client_mutation_id })
        })
    }

    async fn runner_assign_to_project(
        &self,
        ctx: &Context<'_>,
        input: RunnerAssignToProjectInput,
    ) -> Option<RunnerAssignToProjectPayload> {
        mutate(ctx, |state, token| {
            let project = project(state, token, &input.project_path)?;
            let done = ownership::assign(state, token, input.runner_id.0, project, "graphql");
            let (_, errors) = outcome(done)?;
            Ok(RunnerAssignToProjectPayload { errors, client_mutation_id: input.client_mutation_id })
        })
    }

    async fn runner_unassign_from_project(
        &self,
        ctx: &Context<'_>,
        input: RunnerUnassignFromProjectInput,
    ) -> Option<RunnerUnassignFromProjectPayload> {
        mutate(ctx, |state, token| {
            let project = project(state, token, &input.project_path)?;
            let done = ownership::unassign(state, token, input.runner_id.0, project, "graphql");
            let (_, errors) = outcome(done)?;
            Ok(RunnerUnassignFromProjectPayload { errors, client_mutation_id: input.client_mutation_id })
        })
    }

    /// There are no caches here: only whether the caller may.
    async fn runner_cache_clear(
        &self,
        ctx: &Context<'_>,
        input: RunnerCacheClearInput,
    ) -> Option<RunnerCacheClearPayload> {
        mutate(ctx, |state, token| {
            let known = state.projects.contains_key(&input.project_id.0);
            if !known || !token.has_role(state, input.project_id.0, Role::Maintainer) {
                return Err(unavailable());
            }
            Ok(RunnerCacheClearPayload { errors: Vec::new(), client_mutation_id: input.client_mutation_id })
        })
    }

    /// It does not tick the queue: pending jobs may wait after an unpause.
    async fn runner_bulk_pause(
        &self,
        ctx: &Context<'_>,
        input: RunnerBulkPauseInput,
    ) -> Option<RunnerBulkPausePayload> {
        mutate(ctx, |state, token| {
            let verb = if input.paused { "pause" } else { "unpause" };
            let (updated, errors) = bulk(state, token, verb, &input.ids, |state, row| {
                let row = Runner { paused: input.paused, ..row.clone() };
                Ok(CiRunner(state.write_runner(row, &token.spec.name, "graphql_bulk")))
            });
            Ok(RunnerBulkPausePayload {
                updated_count: Some(updated.len()),
                updated_runners: Some(updated),
                errors,
                client_mutation_id: input.client_mutation_id,
            })
        })
    }
}

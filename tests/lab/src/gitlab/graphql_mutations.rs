//! GraphQL's two mutations of runners.

use async_graphql::{Context, Error, InputObject, Object, SimpleObject};

use super::change::{Change, apply};
use super::graphql::{UNAVAILABLE, caller, or_null, shared};
use super::graphql_types::{AccessLevelArg, CiRunner, CiRunnerID};
use super::model::Runner;

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

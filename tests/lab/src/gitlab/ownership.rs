//! Creation and removal of runners, and the projects that they serve: the same by REST and by GraphQL.

use std::sync::Arc;

use super::RunnerSpec;
use super::access::{Role, Token};
use super::change::{Change, ModelErrors};
use super::model::{Owner, Runner};
use super::reply::Failure;
use super::state::State;

/// Why not.
#[derive(Debug)]
pub(super) enum Refusal {
    /// There is no such runner, for this caller.
    NotFound,
    /// The caller may not.
    NoAccess,
    /// Nobody may.
    Forbidden(&'static str),
    /// The row would not be valid.
    Invalid(ModelErrors),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound => Self::not_found("Runner"),
            Refusal::NoAccess => Self::no_access(),
            Refusal::Forbidden(why) => Self::forbidden(why),
            Refusal::Invalid(errors) => Self::model(&errors),
        }
    }
}

/// Like a record made in GitLab's pages it takes untagged jobs unless told otherwise.
pub(super) fn create(
    state: &mut State,
    token: &Token,
    owner: Owner,
    change: &Change,
    via: &str,
) -> Result<Arc<Runner>, Refusal> {
    let allowed = match &owner {
        Owner::Instance => token.spec.admin,
        Owner::Group(id) => token.spec.admin || token.role_in_group(state, *id) >= Some(Role::Owner),
        Owner::Projects(ids) => ids.iter().all(|id| token.has_role(state, *id, Role::Maintainer)),
    };
    if !allowed {
        return Err(Refusal::Forbidden(""));
    }
    let mut row = RunnerSpec { owner, run_untagged: true, ..RunnerSpec::default() }.into_row();
    change.check(&row).map_err(Refusal::Invalid)?;
    change.write(&mut row);
    Ok(state.insert_runner(row, Some(token), via))
}

/// A runner of several projects stays: it is to be taken from each of them.
pub(super) fn delete(state: &mut State, token: &Token, runner: &Runner, via: &str) -> Result<(), Refusal> {
    if matches!(&runner.owner, Owner::Projects(ids) if ids.len() > 1) {
        return Err(Refusal::Forbidden("Runner associated with more than one project"));
    }
    state.delete_runner(runner.id, &token.spec.name, via);
    Ok(())
}

/// Gives a project runner one more project.
pub(super) fn assign(
    state: &mut State,
    token: &Token,
    runner: u64,
    project: u64,
    via: &str,
) -> Result<Arc<Runner>, Refusal> {
    let row = state.runners.get(&runner).cloned().ok_or(Refusal::NotFound)?;
    let Owner::Projects(ids) = &row.owner else {
        let group = matches!(row.owner, Owner::Group(_));
        return Err(Refusal::Forbidden(if group {
            "Runner is a group runner"
        } else {
            "Runner is an instance runner"
        }));
    };
    if row.locked && !token.spec.admin {
        return Err(Refusal::Forbidden("Runner is locked"));
    }
    if !token.has_role(state, project, Role::Maintainer) || !token.may_update_runner(state, &row) {
        return Err(Refusal::NoAccess);
    }
    if ids.contains(&project) {
        let taken = vec!["has already been taken".to_owned()];
        return Err(Refusal::Invalid(ModelErrors::from([("runner_projects.runner_id", taken)])));
    }
    let owner = Owner::Projects(ids.iter().copied().chain([project]).collect());
    Ok(rewrite(state, &row, owner, token, via))
}

/// Takes a project from a runner; never the owner project, which comes first.
pub(super) fn unassign(
    state: &mut State,
    token: &Token,
    runner: u64,
    project: u64,
    via: &str,
) -> Result<Arc<Runner>, Refusal> {
    let row = state.runners.get(&runner).cloned().ok_or(Refusal::NotFound)?;
    let Owner::Projects(ids) = &row.owner else { return Err(Refusal::NotFound) };
    if !ids.contains(&project) {
        return Err(Refusal::NotFound);
    }
    if !token.has_role(state, project, Role::Maintainer) {
        return Err(Refusal::NoAccess);
    }
    if ids.first() == Some(&project) {
        let why = "You cannot unassign a runner from the owner project. Delete the runner instead";
        return Err(Refusal::Forbidden(why));
    }
    let owner = Owner::Projects(ids.iter().copied().filter(|id| *id != project).collect());
    Ok(rewrite(state, &row, owner, token, via))
}

fn rewrite(state: &mut State, row: &Runner, owner: Owner, token: &Token, via: &str) -> Arc<Runner> {
    let row = state.write_runner(Runner { owner, ..row.clone() }, &token.spec.name, via);
    state.tick(row.id);
    row
}

/// Makes these its projects, besides the owner project, which stays the first.
pub(super) fn set_projects(
    state: &mut State,
    token: &Token,
    row: &Arc<Runner>,
    projects: &[u64],
    via: &str,
) -> Result<Arc<Runner>, Refusal> {
    let Owner::Projects(ids) = &row.owner else {
        return Err(Refusal::Forbidden(
            "associatedProjects must not be specified for a runner of another type",
        ));
    };
    if !projects.iter().all(|id| token.has_role(state, *id, Role::Maintainer)) {
        return Err(Refusal::Forbidden("user is not authorized to add runners to project"));
    }
    let others = projects.iter().copied().filter(|id| Some(id) != ids.first());
    let owner = Owner::Projects(ids.iter().copied().take(1).chain(others).collect());
    Ok(rewrite(state, row, owner, token, via))
}

//! What almost every call begins with: who asks, what about, and whether that may be.

use std::sync::Arc;

use super::access::{Role, Token};
use super::model::{Owner, Runner};
use super::reply::Failure;
use super::server::Call;
use super::state::State;

/// Scopes that read.
pub(super) const READ: [&str; 2] = ["api", "read_api"];
/// The scope that writes anything.
pub(super) const WRITE: [&str; 1] = ["api"];
/// Scopes that read one runner.
pub(super) const READ_RUNNER: [&str; 3] = ["api", "read_api", "manage_runner"];
/// Scopes that change one runner.
pub(super) const WRITE_RUNNER: [&str; 2] = ["api", "manage_runner"];

/// A question about a token and a runner, as [`Token::may_read_runner`].
type MayRunner = fn(&Token, &State, &Runner) -> bool;

impl Call {
    /// The caller, with one of these scopes.
    pub(super) fn caller(&self, state: &State, scopes: &[&str]) -> Result<Token, Failure> {
        let token = self.token(state)?;
        token.need(scopes)?;
        Ok(token.clone())
    }

    /// A group whose runners the caller may list.
    pub(super) fn listed_group(&self, state: &State, id: &str) -> Result<u64, Failure> {
        let token = self.caller(state, &READ)?;
        let group = visible_group(state, &token, id)?;
        if token.may_list_group(state, group) { Ok(group) } else { Err(Failure::no_access()) }
    }

    /// A project whose runners the caller may list.
    pub(super) fn listed_project(&self, state: &State, id: &str) -> Result<u64, Failure> {
        let token = self.caller(state, &READ)?;
        let project = visible_project(state, &token, id)?;
        if token.may_list_project(state, project) { Ok(project) } else { Err(Failure::no_access()) }
    }

    /// A project in which the caller has at least this role. Whoever sees all may read as a Reporter.
    pub(super) fn project(
        &self,
        state: &State,
        id: &str,
        scopes: &[&str],
        role: Role,
    ) -> Result<u64, Failure> {
        let token = self.caller(state, scopes)?;
        let project = visible_project(state, &token, id)?;
        let reads = token.sees_all() && role <= Role::Reporter && scopes != WRITE;
        if reads || token.has_role(state, project, role) { Ok(project) } else { Err(Failure::forbidden("")) }
    }

    /// One runner with the caller, who may do this to it.
    pub(super) fn runner(
        &self,
        state: &State,
        id: &str,
        scopes: &[&str],
        may: MayRunner,
    ) -> Result<(Token, Arc<Runner>), Failure> {
        let token = self.caller(state, scopes)?;
        let id: u64 = id.parse().map_err(|_| Failure::grape("id is invalid"))?;
        let runner = state.runners.get(&id).ok_or_else(|| Failure::not_found("Runner"))?;
        if may(&token, state, runner) { Ok((token, Arc::clone(runner))) } else { Err(Failure::no_access()) }
    }

    /// One runner that the caller may see.
    pub(super) fn readable_runner(&self, state: &State, id: &str) -> Result<(Token, Arc<Runner>), Failure> {
        self.runner(state, id, &READ_RUNNER, Token::may_read_runner)
    }

    /// One runner that the caller may change.
    pub(super) fn writable_runner(&self, state: &State, id: &str) -> Result<(Token, Arc<Runner>), Failure> {
        self.runner(state, id, &WRITE_RUNNER, Token::may_update_runner)
    }
}

/// Unknown and invisible are the same answer.
pub(super) fn visible_group(state: &State, token: &Token, reference: &str) -> Result<u64, Failure> {
    state
        .group_by_ref(reference)
        .map(|g| g.id)
        .filter(|id| token.sees_all() || token.role_in_group(state, *id).is_some())
        .ok_or_else(|| Failure::not_found("Group"))
}

/// As [`visible_group`].
pub(super) fn visible_project(state: &State, token: &Token, reference: &str) -> Result<u64, Failure> {
    state
        .project_by_ref(reference)
        .map(|p| p.id)
        .filter(|id| token.sees_all() || token.role_in_project(state, *id).is_some())
        .ok_or_else(|| Failure::not_found("Project"))
}

impl State {
    /// Whether a runner is offered to a group: the group's own, those of the groups around it, the instance's. Not those
    /// below.
    pub(super) fn serves_group(&self, group: u64) -> impl Fn(&Runner) -> bool + use<> {
        let up = self.with_ancestors(group);
        move |runner| match &runner.owner {
            Owner::Instance => true,
            Owner::Group(id) => up.contains(id),
            Owner::Projects(_) => false,
        }
    }

    /// Whether a runner is offered to a project.
    pub(super) fn serves_project(&self, project: u64) -> impl Fn(&Runner) -> bool + use<> {
        let group = self.projects.get(&project).and_then(|p| p.group);
        let up = group.map(|g| self.with_ancestors(g)).unwrap_or_default();
        move |runner| match &runner.owner {
            Owner::Instance => true,
            Owner::Group(id) => up.contains(id),
            Owner::Projects(ids) => ids.contains(&project),
        }
    }
}

//! Access tokens, their scopes, and what their users may do.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::model::{Owner, Runner};
use super::reply::Failure;
use super::state::State;

/// GitLab's numeric roles, in order of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// 10
    Guest,
    /// 20
    Reporter,
    /// 30
    Developer,
    /// 40
    Maintainer,
    /// 50
    Owner,
}

/// An access token and the user behind it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenSpec {
    /// Shown in the audit and in the request log; also the user name.
    pub name: String,
    /// The secret; generated when absent.
    pub value: Option<String>,
    /// `api`, `read_api`, `manage_runner`, `create_runner`, `read_user`, …
    pub scopes: Vec<String>,
    /// The user is an administrator.
    pub admin: bool,
    /// The user is an auditor: reads everything, changes nothing.
    pub auditor: bool,
    /// Roles in groups, by group id; they hold below it too.
    pub groups: BTreeMap<u64, Role>,
    /// Roles in projects, by project id.
    pub projects: BTreeMap<u64, Role>,
    /// After this moment the token is refused.
    pub expires_at: Option<Timestamp>,
    /// Refused from the start.
    pub revoked: bool,
}

impl Default for TokenSpec {
    fn default() -> Self {
        Self {
            name: "switchyard".to_owned(),
            value: None,
            scopes: vec!["read_api".to_owned(), "manage_runner".to_owned()],
            admin: false,
            auditor: false,
            groups: BTreeMap::new(),
            projects: BTreeMap::new(),
            expires_at: None,
            revoked: false,
        }
    }
}

impl TokenSpec {
    /// An administrator's token with these scopes.
    #[must_use]
    pub fn admin(name: &str, scopes: &[&str]) -> Self {
        Self { admin: true, ..Self::user(name, scopes) }
    }

    /// The token of a user without any role.
    #[must_use]
    pub fn user(name: &str, scopes: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// Adds a role in a group and everything below it.
    #[must_use]
    pub fn in_group(mut self, group: u64, role: Role) -> Self {
        self.groups.insert(group, role);
        self
    }

    /// Adds a role in one project.
    #[must_use]
    pub fn in_project(mut self, project: u64, role: Role) -> Self {
        self.projects.insert(project, role);
        self
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) id: u64,
    pub(crate) spec: TokenSpec,
    pub(crate) created_at: Timestamp,
}

impl Token {
    pub(crate) fn has(&self, scope: &str) -> bool {
        self.spec.scopes.iter().any(|s| s == scope)
    }

    pub(crate) fn need(&self, accepted: &[&str]) -> Result<(), Failure> {
        if accepted.iter().any(|scope| self.has(scope)) {
            Ok(())
        } else {
            Err(Failure::insufficient_scope(accepted))
        }
    }

    pub(crate) fn sees_all(&self) -> bool {
        self.spec.admin || self.spec.auditor
    }

    pub(crate) fn role_in_group(&self, state: &State, group: u64) -> Option<Role> {
        state.with_ancestors(group).iter().filter_map(|id| self.spec.groups.get(id)).max().copied()
    }

    pub(crate) fn role_in_project(&self, state: &State, project: u64) -> Option<Role> {
        let inherited = state
            .projects
            .get(&project)
            .and_then(|p| p.group)
            .and_then(|group| self.role_in_group(state, group));
        self.spec.projects.get(&project).copied().max(inherited)
    }

    /// At least this role in a project; administrators have every role.
    pub(crate) fn has_role(&self, state: &State, project: u64, role: Role) -> bool {
        self.spec.admin || self.role_in_project(state, project) >= Some(role)
    }

    pub(crate) fn may_read_runner(&self, state: &State, runner: &Runner) -> bool {
        self.sees_all()
            || match &runner.owner {
                Owner::Instance => true,
                Owner::Group(id) => self.role_in_group(state, *id) >= Some(Role::Maintainer),
                Owner::Projects(ids) => self.maintains_one(state, ids),
            }
    }

    pub(crate) fn may_update_runner(&self, state: &State, runner: &Runner) -> bool {
        self.spec.admin
            || match &runner.owner {
                Owner::Instance => false,
                Owner::Group(id) => self.role_in_group(state, *id) >= Some(Role::Owner),
                Owner::Projects(ids) => self.maintains_one(state, ids),
            }
    }

    /// `GET /runners` and `currentUser.runners`: by membership, never instance runners.
    pub(crate) fn owns_runner(&self, state: &State, runner: &Runner) -> bool {
        match &runner.owner {
            Owner::Instance => false,
            Owner::Group(id) => self.role_in_group(state, *id) >= Some(Role::Owner),
            Owner::Projects(ids) => self.maintains_one(state, ids),
        }
    }

    fn maintains_one(&self, state: &State, ids: &[u64]) -> bool {
        ids.iter().any(|id| self.role_in_project(state, *id) >= Some(Role::Maintainer))
    }

    pub(crate) fn may_list_group(&self, state: &State, group: u64) -> bool {
        self.sees_all() || self.role_in_group(state, group) >= Some(Role::Owner)
    }

    pub(crate) fn may_list_project(&self, state: &State, project: u64) -> bool {
        self.sees_all() || self.role_in_project(state, project) >= Some(Role::Maintainer)
    }
}

impl State {
    pub(crate) fn add_token(&mut self, spec: TokenSpec) -> String {
        let value = spec.value.clone().unwrap_or_else(|| format!("glpat-{}", super::state::random_text(20)));
        let token = Token { id: self.next_id(), spec, created_at: self.now() };
        self.tokens.insert(value.clone(), token);
        value
    }

    /// The caller, by the secret in the request.
    pub(crate) fn authenticate(&self, secret: Option<&str>) -> Result<&Token, Failure> {
        let token = secret.and_then(|s| self.tokens.get(s)).ok_or_else(Failure::unauthorized)?;
        if token.spec.revoked {
            return Err(Failure::invalid_token("Token was revoked. You have to re-authorize from the user."));
        }
        if token.spec.expires_at.is_some_and(|at| at <= self.now()) {
            return Err(Failure::invalid_token(
                "Token is expired. You can either do re-authorization or token refresh.",
            ));
        }
        Ok(token)
    }
}

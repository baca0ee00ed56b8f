//! The rows of the simulated GitLab, and what follows from them alone.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::jobs::JobTemplate;

/// Two hours without contact and a runner is `offline`.
const ONLINE_CONTACT_TIMEOUT: SignedDuration = SignedDuration::from_hours(2);
/// Seven days without contact and a runner is `stale`.
const STALE_TIMEOUT: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How long the cache keeps a contact.
const CACHED_ATTRIBUTES_EXPIRY: SignedDuration = SignedDuration::from_hours(24);

/// Who owns a runner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// The instance; only administrators may change such a runner.
    Instance,
    /// A group, by id.
    Group(u64),
    /// One or more projects, by id; the first is the owner project.
    Projects(Vec<u64>),
}

impl Owner {
    pub(crate) fn runner_type(&self) -> &'static str {
        match self {
            Self::Instance => "instance_type",
            Self::Group(_) => "group_type",
            Self::Projects(_) => "project_type",
        }
    }

    pub(crate) fn token_prefix(&self) -> &'static str {
        match self {
            Self::Instance => "glrt-t1_",
            Self::Group(_) => "glrt-t2_",
            Self::Projects(_) => "glrt-t3_",
        }
    }
}

/// The two contact clocks of a runner or of one of its managers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Contact {
    /// Written by every request that reaches Rails; row values come from here.
    pub redis_contacted_at: Option<Timestamp>,
    /// Rewritten only when older than 40 to 55 minutes; filters and sorts use this.
    pub db_contacted_at: Option<Timestamp>,
}

impl Contact {
    /// The value a row shows: the cache for 24 hours, then the column.
    #[must_use]
    pub fn row_value(&self, now: Timestamp) -> Option<Timestamp> {
        self.redis_contacted_at
            .filter(|at| now.duration_since(*at) < CACHED_ATTRIBUTES_EXPIRY)
            .or(self.db_contacted_at)
    }

    pub(crate) fn beat(&mut self, now: Timestamp) {
        self.redis_contacted_at = Some(now);
        let every = SignedDuration::from_secs(fastrand::i64(40 * 60..=55 * 60));
        if self.db_contacted_at.is_none_or(|at| now.duration_since(at) > every) {
            self.db_contacted_at = Some(now);
        }
    }
}

/// GitLab's idea of a runner's health. `Paused` exists only in REST's deprecated `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Contact within two hours.
    Online,
    /// No contact for two hours.
    Offline,
    /// No contact for seven days.
    Stale,
    /// Created and never used.
    NeverContacted,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Stale => "stale",
            Self::NeverContacted => "never_contacted",
        }
    }

    /// The order of GitLab's code: stale, never contacted, then by age.
    #[must_use]
    pub fn of(created: Timestamp, contacted: Option<Timestamp>, now: Timestamp) -> Self {
        let older = |at: Timestamp, limit| now.duration_since(at) > limit;
        if older(created, STALE_TIMEOUT) && contacted.is_none_or(|at| older(at, STALE_TIMEOUT)) {
            Self::Stale
        } else {
            match contacted {
                None => Self::NeverContacted,
                Some(at) if older(at, ONLINE_CONTACT_TIMEOUT) => Self::Offline,
                Some(_) => Self::Online,
            }
        }
    }
}

/// One process (pod, host) that uses a runner's token.
#[derive(Debug, Clone, Serialize)]
pub struct Manager {
    /// Row id.
    pub id: u64,
    /// The runner's own name for itself.
    pub system_id: String,
    /// Version it reported.
    pub version: Option<String>,
    /// Revision it reported.
    pub revision: Option<String>,
    /// Platform it reported.
    pub platform: Option<String>,
    /// Architecture it reported.
    pub architecture: Option<String>,
    /// Executor it reported.
    pub executor: Option<String>,
    /// First contact.
    pub created_at: Timestamp,
    /// Its own two clocks.
    pub contact: Contact,
}

/// The user behind an access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Creator {
    /// User id.
    pub id: u64,
    /// User name.
    pub username: String,
}

/// One runner record.
#[derive(Debug, Clone, Serialize)]
pub struct Runner {
    /// Row id.
    pub id: u64,
    /// Who owns it.
    pub owner: Owner,
    /// Free text, shown in lists.
    pub description: String,
    /// Not accepting jobs.
    pub paused: bool,
    /// Bound to its projects.
    pub locked: bool,
    /// Takes jobs without tags.
    pub run_untagged: bool,
    /// Takes only jobs of protected refs.
    pub ref_protected: bool,
    /// Seconds.
    pub maximum_timeout: Option<u64>,
    /// In the order written.
    pub tags: Vec<String>,
    /// Visible to those who may update the runner.
    pub maintenance_note: Option<String>,
    /// The runner authentication token.
    pub token: String,
    /// Whose access token created it; none for the laboratory's own.
    pub created_by: Option<Creator>,
    /// Creation.
    pub created_at: Timestamp,
    /// Last change of the row, not of the contact.
    pub updated_at: Timestamp,
    /// The runner's two clocks.
    pub contact: Contact,
    /// By `system_id`.
    pub managers: BTreeMap<String, Manager>,
}

impl Runner {
    /// GitLab's status at `now` from the row value of the contact.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Status {
        Status::of(self.created_at, self.contact.row_value(now), now)
    }

    /// The status that filters see: the database column.
    pub(crate) fn db_status(&self, now: Timestamp) -> Status {
        Status::of(self.created_at, self.contact.db_contacted_at, now)
    }

    pub(crate) fn short_sha(&self) -> &str {
        let rest = self.token.strip_prefix("glrt-").unwrap_or(&self.token);
        let rest = rest
            .get(..3)
            .filter(|p| p.starts_with('t') && p.ends_with('_'))
            .map_or(rest, |p| &rest[p.len()..]);
        &rest[..rest.len().min(8)]
    }

    pub(crate) fn latest_manager(&self) -> Option<&Manager> {
        self.managers.values().max_by_key(|m| m.contact.redis_contacted_at)
    }
}

/// A group, possibly inside another.
#[derive(Debug, Clone, Serialize)]
pub struct Group {
    /// Row id.
    pub id: u64,
    /// `a/b/c`.
    pub full_path: String,
    /// The group around it.
    pub parent: Option<u64>,
}

/// A project.
#[derive(Debug, Clone, Serialize)]
pub struct Project {
    /// Row id.
    pub id: u64,
    /// `a/b/c`.
    pub full_path: String,
    /// The group around it.
    pub group: Option<u64>,
    /// Refs that `ref_protected` runners may serve.
    pub protected_refs: Vec<String>,
    /// What a pipeline of this project runs.
    pub ci: Vec<JobTemplate>,
    /// Pipeline trigger token.
    pub trigger_token: String,
}

/// The part of a runner that a write can change, as the audit shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routing {
    /// Tags.
    pub tag_list: Vec<String>,
    /// Not accepting jobs.
    pub paused: bool,
    /// Takes jobs without tags.
    pub run_untagged: bool,
    /// Note.
    pub maintenance_note: Option<String>,
}

impl From<&Runner> for Routing {
    fn from(runner: &Runner) -> Self {
        Self {
            tag_list: runner.tags.clone(),
            paused: runner.paused,
            run_untagged: runner.run_untagged,
            maintenance_note: runner.maintenance_note.clone(),
        }
    }
}

/// One write to a runner row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Audit {
    /// Grows by one per write.
    pub seq: u64,
    /// The simulator's clock.
    pub at: Timestamp,
    /// Name of the access token (never its value), or `lab`.
    pub token: String,
    /// `rest`, `graphql`, `graphql_bulk` or `lab`.
    pub via: String,
    /// Which runner.
    pub runner_id: u64,
    /// Its description.
    pub description: String,
    /// Before; `None` for a creation.
    pub old: Option<Routing>,
    /// After; `None` for a deletion.
    pub new: Option<Routing>,
    /// Whether anything in `old` and `new` differs (a tick probe changes nothing).
    pub changed: bool,
}

/// One answered (or cut) request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Logged {
    /// The simulator's clock.
    pub at: Timestamp,
    /// HTTP method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// Name of the call, as in [`super::faults::operation`].
    pub operation: String,
    /// HTTP status; 0 when the connection was cut.
    pub status: u16,
    /// Name of the access token, or empty.
    pub token: String,
    /// The fault that hit it.
    pub fault: Option<String>,
}

//! What the simulated GitLab remembers: rows, clocks, queues, undo log, audit.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::access::Token;
use super::faults::{Outage, Rule};
use super::jobs::{Job, JobTemplate, Pipeline};
use super::{Config, GraphqlMode, RateLimit};

/// Two hours without contact and a runner is `offline`.
pub(crate) const ONLINE_CONTACT_TIMEOUT: SignedDuration = SignedDuration::from_hours(2);
/// Seven days without contact and a runner is `stale`.
pub(crate) const STALE_TIMEOUT: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How long a queue value may answer for Rails.
pub(crate) const QUEUE_EXPIRY: SignedDuration = SignedDuration::from_hours(1);
const CACHED_ATTRIBUTES_EXPIRY: SignedDuration = SignedDuration::from_hours(24);
const UNDO_LIMIT: usize = 20_000;
const LOG_LIMIT: usize = 20_000;

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

    fn token_prefix(&self) -> &'static str {
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

    fn beat(&mut self, now: Timestamp) {
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

/// How far a read lags behind the primary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lag {
    pub(crate) writes: u64,
    pub(crate) seconds: i64,
}

struct Undo {
    seq: u64,
    at: Timestamp,
    id: u64,
    old: Option<Arc<Runner>>,
}

struct Queue {
    value: Option<(String, Timestamp)>,
    changed: watch::Sender<u64>,
}

pub(crate) struct State {
    pub(crate) config: Config,
    offset: SignedDuration,
    pub(crate) runners: BTreeMap<u64, Arc<Runner>>,
    by_token: HashMap<String, u64>,
    queues: HashMap<u64, Queue>,
    undo: VecDeque<Undo>,
    pub(crate) write_seq: u64,
    pub(crate) groups: BTreeMap<u64, Group>,
    pub(crate) projects: BTreeMap<u64, Project>,
    pub(crate) tokens: HashMap<String, Token>,
    pub(crate) jobs: BTreeMap<u64, Job>,
    pub(crate) pending: std::collections::BTreeSet<u64>,
    pub(crate) pipelines: BTreeMap<u64, Pipeline>,
    pub(crate) issues: Vec<super::incidents::Issue>,
    pub(crate) alerts: Vec<super::incidents::Alert>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) outage: Outage,
    pub(crate) graphql: GraphqlMode,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) windows: HashMap<String, (Timestamp, u64)>,
    pub(crate) audit: Vec<Audit>,
    pub(crate) log: VecDeque<Logged>,
    pub(crate) counts: BTreeMap<String, BTreeMap<u16, u64>>,
    next_id: u64,
}

#[expect(clippy::disallowed_methods, reason = "the simulator is its own source of time")]
fn wall_now() -> Timestamp {
    Timestamp::now()
}

pub(crate) fn random_text(length: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(length).collect()
}

impl State {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            graphql: config.graphql,
            rate_limit: config.rate_limit.clone(),
            config,
            offset: SignedDuration::ZERO,
            runners: BTreeMap::new(),
            by_token: HashMap::new(),
            queues: HashMap::new(),
            undo: VecDeque::new(),
            write_seq: 0,
            groups: BTreeMap::new(),
            projects: BTreeMap::new(),
            tokens: HashMap::new(),
            jobs: BTreeMap::new(),
            pending: std::collections::BTreeSet::new(),
            pipelines: BTreeMap::new(),
            issues: Vec::new(),
            alerts: Vec::new(),
            rules: Vec::new(),
            outage: Outage::None,
            windows: HashMap::new(),
            audit: Vec::new(),
            log: VecDeque::new(),
            counts: BTreeMap::new(),
            next_id: 0,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        wall_now() + self.offset
    }

    pub(crate) fn advance(&mut self, by: SignedDuration) {
        self.offset += by;
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    // === rows ===

    pub(crate) fn insert_runner(&mut self, spec: &super::RunnerSpec, actor: &str, via: &str) -> Arc<Runner> {
        let now = self.now();
        let id = self.next_id();
        let token =
            spec.token.clone().unwrap_or_else(|| format!("{}{}", spec.owner.token_prefix(), random_text(20)));
        let runner = Arc::new(Runner {
            id,
            owner: spec.owner.clone(),
            description: spec.description.clone(),
            paused: spec.paused,
            locked: spec.locked,
            run_untagged: spec.run_untagged,
            ref_protected: spec.ref_protected,
            maximum_timeout: spec.maximum_timeout,
            tags: spec.tags.clone(),
            maintenance_note: spec.maintenance_note.clone(),
            token: token.clone(),
            created_at: now,
            updated_at: now,
            contact: Contact::default(),
            managers: BTreeMap::new(),
        });
        self.by_token.insert(token, id);
        self.commit(id, None, Some(Arc::clone(&runner)), actor, via);
        runner
    }

    pub(crate) fn delete_runner(&mut self, id: u64, actor: &str, via: &str) {
        if let Some(old) = self.runners.get(&id).cloned() {
            self.by_token.remove(&old.token);
            self.queues.remove(&id);
            self.commit(id, Some(old), None, actor, via);
        }
    }

    pub(crate) fn reset_token(&mut self, id: u64) -> Option<String> {
        let runner = Arc::make_mut(self.runners.get_mut(&id)?);
        let token = format!("{}{}", runner.owner.token_prefix(), random_text(20));
        self.by_token.remove(&runner.token);
        runner.token.clone_from(&token);
        self.by_token.insert(token.clone(), id);
        Some(token)
    }

    /// A write to a runner row: undo log, audit, row. Ticking the queue is the caller's business, as in GitLab.
    pub(crate) fn write_runner(&mut self, new: Runner, actor: &str, via: &str) -> Arc<Runner> {
        let id = new.id;
        let old = self.runners.get(&id).cloned();
        let mut new = new;
        new.updated_at = self.now();
        let new = Arc::new(new);
        self.commit(id, old, Some(Arc::clone(&new)), actor, via);
        new
    }

    fn commit(
        &mut self,
        id: u64,
        old: Option<Arc<Runner>>,
        new: Option<Arc<Runner>>,
        actor: &str,
        via: &str,
    ) {
        self.write_seq += 1;
        let at = self.now();
        let (before, after) = (old.as_deref().map(Routing::from), new.as_deref().map(Routing::from));
        self.audit.push(Audit {
            seq: self.write_seq,
            at,
            token: actor.to_owned(),
            via: via.to_owned(),
            runner_id: id,
            description: old.as_ref().or(new.as_ref()).map(|r| r.description.clone()).unwrap_or_default(),
            changed: before != after,
            old: before,
            new: after,
        });
        self.undo.push_back(Undo { seq: self.write_seq, at, id, old });
        if self.undo.len() > UNDO_LIMIT {
            self.undo.pop_front();
        }
        match new {
            Some(row) => self.runners.insert(id, row),
            None => self.runners.remove(&id),
        };
    }

    /// All runners as a replica that lags by `lag` has them. Contacts come from Redis and are never late.
    pub(crate) fn replica(&self, lag: Lag) -> BTreeMap<u64, Arc<Runner>> {
        let mut rows = self.runners.clone();
        if lag == Lag::default() {
            return rows;
        }
        let now = self.now();
        let late = |u: &&Undo| {
            u.seq + lag.writes > self.write_seq || now.duration_since(u.at).as_secs() < lag.seconds
        };
        for undo in self.undo.iter().rev().take_while(late) {
            match &undo.old {
                None => {
                    rows.remove(&undo.id);
                }
                Some(old) => {
                    let mut old = Runner::clone(old);
                    if let Some(current) = self.runners.get(&undo.id) {
                        old.contact = current.contact;
                        old.managers.clone_from(&current.managers);
                    }
                    rows.insert(undo.id, Arc::new(old));
                }
            }
        }
        rows
    }

    pub(crate) fn runner_by_token(&self, token: &str) -> Option<&Arc<Runner>> {
        self.by_token.get(token).and_then(|id| self.runners.get(id))
    }

    // === contact ===

    pub(crate) fn heartbeat(&mut self, id: u64, system_id: Option<&str>, info: Option<&serde_json::Value>) {
        let now = self.now();
        let next = self.next_id + 1;
        let Some(runner) = self.runners.get_mut(&id) else { return };
        let runner = Arc::make_mut(runner);
        runner.contact.beat(now);
        let Some(system_id) = system_id else { return };
        let manager = runner.managers.entry(system_id.to_owned()).or_insert_with(|| {
            self.next_id = next;
            Manager {
                id: next,
                system_id: system_id.to_owned(),
                version: None,
                revision: None,
                platform: None,
                architecture: None,
                executor: None,
                created_at: now,
                contact: Contact::default(),
            }
        });
        manager.contact.beat(now);
        if let Some(info) = info {
            let text = |key: &str| info.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
            for (slot, key) in [
                (&mut manager.version, "version"),
                (&mut manager.revision, "revision"),
                (&mut manager.platform, "platform"),
                (&mut manager.architecture, "architecture"),
                (&mut manager.executor, "executor"),
            ] {
                *slot = text(key).or_else(|| slot.take());
            }
        }
    }

    // === queue values ===

    fn queue(&mut self, id: u64) -> &mut Queue {
        self.queues.entry(id).or_insert_with(|| Queue { value: None, changed: watch::channel(0).0 })
    }

    /// The value Workhorse compares: `None` when it was never set or its hour is over.
    pub(crate) fn queue_value(&mut self, id: u64) -> Option<String> {
        let now = self.now();
        self.queue(id).value.as_ref().filter(|(_, until)| *until > now).map(|(value, _)| value.clone())
    }

    pub(crate) fn ensure_queue_value(&mut self, id: u64) -> String {
        match self.queue_value(id) {
            Some(value) => value,
            None => self.tick(id),
        }
    }

    /// Gives the runner a new queue value and wakes its held polls.
    pub(crate) fn tick(&mut self, id: u64) -> String {
        let value = random_text(32);
        let until = self.now() + QUEUE_EXPIRY;
        let queue = self.queue(id);
        queue.value = Some((value.clone(), until));
        queue.changed.send_modify(|n| *n += 1);
        value
    }

    /// Polls that Workhorse holds for this runner now.
    pub(crate) fn held_polls(&self, id: u64) -> usize {
        self.queues.get(&id).map_or(0, |q| q.changed.receiver_count())
    }

    pub(crate) fn watch_queue(&mut self, id: u64) -> watch::Receiver<u64> {
        self.queue(id).changed.subscribe()
    }

    // === tree ===

    /// The group and every group around it.
    pub(crate) fn with_ancestors(&self, group: u64) -> Vec<u64> {
        std::iter::successors(Some(group), |id| self.groups.get(id).and_then(|g| g.parent)).collect()
    }

    pub(crate) fn group_by_ref(&self, reference: &str) -> Option<&Group> {
        match reference.parse::<u64>() {
            Ok(id) => self.groups.get(&id),
            Err(_) => self.groups.values().find(|g| g.full_path == reference),
        }
    }

    pub(crate) fn project_by_ref(&self, reference: &str) -> Option<&Project> {
        match reference.parse::<u64>() {
            Ok(id) => self.projects.get(&id),
            Err(_) => self.projects.values().find(|p| p.full_path == reference),
        }
    }

    pub(crate) fn record(&mut self, entry: Logged) {
        *self.counts.entry(entry.operation.clone()).or_default().entry(entry.status).or_default() += 1;
        self.log.push_back(entry);
        if self.log.len() > LOG_LIMIT {
            self.log.pop_front();
        }
    }
}

//! What the simulated GitLab remembers: rows, clocks, queues, undo log, audit.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::access::Token;
use super::faults::{Outage, Rule};
use super::jobs::{Job, Pipeline};
use super::model::{Audit, Contact, Creator, Group, Logged, Manager, Project, Routing, Runner};
use super::{Config, GraphqlMode, RateLimit};

/// How long a queue value may answer for Rails.
const QUEUE_EXPIRY: SignedDuration = SignedDuration::from_hours(1);
const UNDO_LIMIT: usize = 20_000;
const LOG_LIMIT: usize = 20_000;

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
    pub(crate) repositories: HashMap<u64, super::files::Repository>,
    /// By project and key.
    pub(crate) variables: BTreeMap<(u64, String), serde_json::Value>,
    /// By the id of the record.
    pub(crate) virtual_runners: BTreeMap<u64, super::VirtualRunner>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) outage: Outage,
    pub(crate) graphql: GraphqlMode,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) windows: HashMap<String, (Timestamp, u64)>,
    pub(crate) audit: Vec<Audit>,
    pub(crate) log: VecDeque<Logged>,
    pub(crate) counts: BTreeMap<String, BTreeMap<u16, u64>>,
    /// Requests that a fault keeps waiting for ever, as long as their client waits.
    pub(crate) held_requests: usize,
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
            repositories: HashMap::new(),
            variables: BTreeMap::new(),
            virtual_runners: BTreeMap::new(),
            rules: Vec::new(),
            outage: Outage::None,
            windows: HashMap::new(),
            audit: Vec::new(),
            log: VecDeque::new(),
            counts: BTreeMap::new(),
            held_requests: 0,
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

    /// A new row, by somebody with an access token or by the laboratory. Its number and its times are given here, and its
    /// token unless it has one.
    pub(crate) fn insert_runner(&mut self, row: Runner, by: Option<&Token>, via: &str) -> Arc<Runner> {
        let now = self.now();
        let token = match row.token.as_str() {
            "" => format!("{}{}", row.owner.token_prefix(), random_text(20)),
            token => token.to_owned(),
        };
        let runner = Arc::new(Runner {
            id: self.next_id(),
            token: token.clone(),
            created_by: by.map(|t| Creator { id: t.id, username: t.spec.name.clone() }),
            created_at: now,
            updated_at: now,
            ..row
        });
        self.by_token.insert(token, runner.id);
        let actor = by.map_or("lab", |t| t.spec.name.as_str());
        self.commit(runner.id, None, Some(Arc::clone(&runner)), actor, via);
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

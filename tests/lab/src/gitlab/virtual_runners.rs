//! Runners without processes, for fleets of thousands. Each can be broken by itself.
//!
//! A virtual runner polls as a gitlab-runner does through Rails (no held polls), finishes every job at once, and counts
//! what a gitlab-runner counts. What it meets is its [`Condition`]; three 403s in a row put it to sleep for an hour from
//! the last good answer, and only a configuration reload wakes it earlier.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::admin::{Admin, Created};
use super::state::State;
use super::{JobStatus, Outage, RunnerSpec};
use crate::runner::{VERSION, short_token};

const UNHEALTHY_LIMIT: u32 = 3;
const UNHEALTHY_INTERVAL: SignedDuration = SignedDuration::from_hours(1);

/// What a virtual runner meets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "condition", rename_all = "snake_case", deny_unknown_fields)]
pub enum Condition {
    /// Nothing amiss.
    #[default]
    Well,
    /// The process is gone, and its metrics with it. What comes after is a new process.
    Dead,
    /// GitLab cannot be reached: every poll counts as `-1`, and none puts it to sleep.
    Partitioned,
    /// Polls reach GitLab at once, and the answers come late.
    Slow {
        /// Milliseconds on the simulator's clock.
        ms: u64,
    },
    /// Polls are accepted and never answered: nothing is counted. The poll ends as `-1` when this condition does.
    Hung,
    /// Every poll gets 403.
    Forbidden,
    /// It sleeps as after three 403s, and stays asleep when this condition ends.
    Asleep,
    /// A job that does not end takes its only slot: it does not poll.
    Full,
}

/// A poll without its answer.
#[derive(Debug, Clone, Copy)]
enum Flight {
    Until(Timestamp, &'static str),
    ForEver,
}

/// One virtual runner, as it is now.
#[derive(Debug, Clone, Serialize)]
pub struct VirtualRunner {
    /// Its record.
    pub runner: u64,
    /// Its manager's name.
    pub system_id: String,
    /// What it meets.
    #[serde(flatten)]
    pub condition: Condition,
    /// `request_job` by status, `-1` without an answer. A status that never happened is absent.
    pub statuses: BTreeMap<&'static str, u64>,
    /// Polls tried.
    pub feeds: u64,
    /// Polls not tried because it sleeps.
    pub feed_failures: u64,
    /// 403s.
    pub health_check_failures: u64,
    /// Polls not tried because one is under way.
    pub exceeded: u64,
    /// Jobs taken.
    pub jobs_total: u64,
    #[serde(skip)]
    token: String,
    #[serde(skip)]
    flight: Option<Flight>,
    #[serde(skip)]
    failures: u32,
    #[serde(skip)]
    last_good: Timestamp,
}

impl VirtualRunner {
    fn new(created: &Created, system_id: String, now: Timestamp) -> Self {
        Self {
            runner: created.id,
            system_id,
            condition: Condition::Well,
            statuses: BTreeMap::new(),
            feeds: 0,
            feed_failures: 0,
            health_check_failures: 0,
            exceeded: 0,
            jobs_total: 0,
            token: created.token.clone(),
            flight: None,
            failures: 0,
            last_good: now,
        }
    }

    fn meet(&mut self, condition: Condition, now: Timestamp) {
        if condition == self.condition {
            return;
        }
        if self.condition == Condition::Dead {
            let created = Created { id: self.runner, token: self.token.clone() };
            *self = Self::new(&created, self.system_id.clone(), now);
        }
        if matches!(self.flight, Some(Flight::ForEver)) {
            self.answered("-1", now);
        }
        if condition == Condition::Asleep {
            self.failures = UNHEALTHY_LIMIT;
            self.last_good = now;
        }
        self.condition = condition;
    }

    /// What a configuration reload does: the health table is emptied.
    fn reload(&mut self, now: Timestamp) {
        self.failures = 0;
        self.last_good = now;
    }

    /// Whether it may poll. After its sleep the count starts anew.
    fn is_healthy(&mut self, now: Timestamp) -> bool {
        if self.failures >= UNHEALTHY_LIMIT && now.duration_since(self.last_good) > UNHEALTHY_INTERVAL {
            self.reload(now);
        }
        self.failures < UNHEALTHY_LIMIT
    }

    fn answered(&mut self, status: &'static str, now: Timestamp) {
        self.flight = None;
        *self.statuses.entry(status).or_default() += 1;
        if status == "403" {
            self.failures += 1;
            self.health_check_failures += 1;
        } else {
            self.failures = 0;
            self.last_good = now;
        }
    }

    /// One turn of its loop.
    fn poll(&mut self, state: &mut State) {
        let now = state.now();
        if let Some(Flight::Until(at, status)) = self.flight
            && at <= now
        {
            self.answered(status, now);
        }
        if matches!(self.condition, Condition::Dead | Condition::Full) {
            return;
        }
        if !self.is_healthy(now) {
            self.feed_failures += 1;
            return;
        }
        self.feeds += 1;
        if self.flight.is_some() {
            self.exceeded += 1;
            return;
        }
        match self.condition {
            Condition::Partitioned => self.answered("-1", now),
            Condition::Forbidden => self.answered("403", now),
            Condition::Hung => self.flight = Some(Flight::ForEver),
            Condition::Slow { ms } => {
                let late = SignedDuration::from_millis(ms.try_into().unwrap_or(i64::MAX));
                let status = self.ask(state);
                self.flight = Some(Flight::Until(now.checked_add(late).unwrap_or(Timestamp::MAX), status));
            }
            Condition::Well | Condition::Asleep | Condition::Dead | Condition::Full => {
                let status = self.ask(state);
                self.answered(status, now);
            }
        }
    }

    /// What GitLab answers.
    fn ask(&mut self, state: &mut State) -> &'static str {
        match state.outage {
            Outage::None => {}
            Outage::Refuse => return "-1",
            Outage::BadGateway => return "502",
            Outage::Maintenance => return "503",
        }
        let Some(runner) = state.runner_by_token(&self.token).cloned() else { return "403" };
        let info = json!({
            "version": VERSION, "revision": "0123abcd", "platform": "linux", "architecture": "amd64",
            "executor": "kubernetes",
        });
        state.heartbeat(runner.id, Some(&self.system_id), Some(&info));
        if runner.paused {
            return "204";
        }
        let Some(job) = state.register_job(&runner, Some(&self.system_id)) else { return "204" };
        state.set_status(job, JobStatus::Success, None);
        self.jobs_total += 1;
        "201"
    }

    /// The series of a gitlab-runner that say how it is; none when it is dead.
    #[must_use]
    pub fn metrics(&self) -> Option<String> {
        if self.condition == Condition::Dead {
            return None;
        }
        let plain = format!("runner=\"{}\",system_id=\"{}\"", short_token(&self.token), self.system_id);
        let in_flight = u64::from(self.flight.is_some());
        let jobs = u64::from(self.condition == Condition::Full);
        let mut page = String::new();
        for (status, count) in &self.statuses {
            let _ = writeln!(
                page,
                "gitlab_runner_api_request_statuses_total{{endpoint=\"request_job\",method=\"post\",{plain},\
                 status=\"{status}\"}} {count}"
            );
        }
        for (name, value) in [
            ("gitlab_runner_worker_feeds_total", self.feeds),
            ("gitlab_runner_worker_feed_failures_total", self.feed_failures),
            ("gitlab_runner_worker_health_check_failures_total", self.health_check_failures),
            ("gitlab_runner_request_concurrency", in_flight),
            ("gitlab_runner_request_concurrency_exceeded_total", self.exceeded),
            ("gitlab_runner_jobs", jobs),
        ] {
            let _ = writeln!(page, "{name}{{{plain}}} {value}");
        }
        page.push_str("gitlab_runner_concurrent 1\n");
        Some(page)
    }
}

impl State {
    /// Changes a virtual runner; false when there is none of this id.
    pub(super) fn with_virtual(
        &mut self,
        id: u64,
        change: impl FnOnce(&mut VirtualRunner, &mut Self),
    ) -> bool {
        let Some(mut runner) = self.virtual_runners.remove(&id) else { return false };
        change(&mut runner, self);
        self.virtual_runners.insert(id, runner);
        true
    }
}

impl Admin {
    /// `count` runners that poll inside the simulator, for fleets of thousands. See [`VirtualRunners`].
    #[must_use]
    pub fn virtual_runners(&self, count: usize, spec: impl Fn(usize) -> RunnerSpec) -> VirtualRunners {
        let runners: Vec<Created> = (0..count).map(|n| self.create_runner(spec(n))).collect();
        let mut state = self.shared().lock();
        let now = state.now();
        for (n, created) in runners.iter().enumerate() {
            let runner = VirtualRunner::new(created, VirtualRunners::system_id(n), now);
            state.virtual_runners.insert(created.id, runner);
        }
        drop(state);
        let this =
            VirtualRunners { runners, admin: self.clone(), stop: CancellationToken::new(), thread: None };
        this.beat();
        this
    }

    /// What becomes of one virtual runner, by the id of its record. False when there is no such one.
    pub fn meet(&self, id: u64, condition: Condition) -> bool {
        self.shared().lock().with_virtual(id, |runner, state| runner.meet(condition, state.now()))
    }

    /// A virtual runner loads its configuration again: what wakes one that sleeps. False when there is no such one.
    pub fn reload_virtual_runner(&self, id: u64) -> bool {
        self.shared().lock().with_virtual(id, |runner, state| runner.reload(state.now()))
    }

    /// One virtual runner, by the id of its record.
    #[must_use]
    pub fn virtual_runner(&self, id: u64) -> Option<VirtualRunner> {
        self.shared().lock().virtual_runners.get(&id).cloned()
    }
}

/// Records with one manager each, kept alive by one thread that polls for all of them.
///
/// Dropping them stops the polls; the records stay.
#[derive(Debug)]
pub struct VirtualRunners {
    /// The records, in order of creation.
    pub runners: Vec<Created>,
    admin: Admin,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl VirtualRunners {
    /// The `system_id` of the n-th runner's only manager.
    #[must_use]
    pub fn system_id(n: usize) -> String {
        format!("s_{n:012x}")
    }

    /// One turn of each one's loop.
    pub fn beat(&self) {
        poll(&self.admin, &self.runners);
    }

    /// Polls all of them again and again, from a thread, until [`VirtualRunners::stop`] or drop.
    ///
    /// # Panics
    /// When there is no thread to be had.
    pub fn run(&mut self, every: Duration) {
        self.stop();
        self.stop = CancellationToken::new();
        let (stop, admin, runners) = (self.stop.clone(), self.admin.clone(), self.runners.clone());
        let polls = move || {
            while !stop.is_cancelled() {
                poll(&admin, &runners);
                std::thread::park_timeout(every);
            }
        };
        let thread = std::thread::Builder::new().name("virtual-runners".to_owned()).spawn(polls);
        self.thread = Some(thread.expect("a thread"));
    }

    /// Kills them all: no poll after this.
    pub fn stop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic in there has been printed already.
            let _ = thread.join();
        }
    }
}

impl Drop for VirtualRunners {
    fn drop(&mut self) {
        self.stop();
    }
}

fn poll(admin: &Admin, runners: &[Created]) {
    for created in runners {
        admin.shared().lock().with_virtual(created.id, VirtualRunner::poll);
    }
}

//! A runner: GitLab's record, the process behind it, and what Prometheus has seen of it.

use std::collections::BTreeSet;

use super::Pace;
use crate::model::{
    ClusterName, Fleet, FleetName, Manager, PoolSelector, Runner, RunnerId, SignedDuration, Tag, Timestamp,
};

/// GitLab answers a poll itself at least so often, whatever it holds.
const LONGEST_POLL: SignedDuration = SignedDuration::from_hours(1);

/// What a runner process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// It polls GitLab.
    Polling,
    /// It runs, and is too busy to poll: load is not death.
    Slow,
    /// It runs, and does not poll: GitLab refused it three times with 403.
    Asleep {
        /// Then it polls again by itself.
        until: Timestamp,
    },
    /// It does not run.
    Dead,
}

/// Something that shows later than it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lagging {
    shown: bool,
    is: bool,
    since: Timestamp,
}

impl Lagging {
    fn new(is: bool, now: Timestamp) -> Self {
        Self { shown: is, is, since: now }
    }

    fn see(&mut self, is: bool, now: Timestamp, on: SignedDuration, off: SignedDuration) {
        if is != self.is {
            (self.is, self.since) = (is, now);
        }
        if now.duration_since(self.since) >= if is { on } else { off } {
            self.shown = is;
        }
    }
}

/// A runner: GitLab's record and the process behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimRunner {
    /// Its fleet.
    pub fleet: FleetName,
    /// Where the process runs.
    pub cluster: ClusterName,
    /// The record, as it is in GitLab.
    pub record: Runner,
    /// What the process does.
    pub process: Process,
    /// Prometheus reaches it.
    pub scraped: bool,
    /// It reaches GitLab.
    pub reaches_gitlab: bool,
    /// It takes jobs without tags, so that it may be without tags itself.
    pub run_untagged: bool,
    /// It is registered below the group that Switchyard looks at, in a project or another group.
    pub below_the_group: bool,
    /// Since when GitLab holds its poll: nothing is to be had as long as it is paused.
    held: Option<Timestamp>,
    routing_tag: Tag,
    up: Lagging,
    well: Lagging,
    unreachable: Lagging,
}

impl SimRunner {
    pub(super) fn new(
        fleet: &Fleet,
        cluster: &ClusterName,
        id: RunnerId,
        routing: bool,
        now: Timestamp,
    ) -> Self {
        let selector = fleet.pools.get(cluster).map(|pool| &pool.selector);
        let mut tags = BTreeSet::new();
        if let Some(PoolSelector::HomeTag(tag)) = selector {
            tags.insert(tag.clone());
        }
        if routing {
            tags.insert(fleet.routing_tag.clone());
        }
        let run_untagged = tags.is_empty();
        let managers = vec![Manager { system_id: format!("s_{id}"), contacted_at: Some(now) }];
        let description = format!("{cluster}-{id}");
        let record = Runner { id, description, tags, paused: false, contacted_at: Some(now), managers };
        Self {
            fleet: fleet.name.clone(),
            cluster: cluster.clone(),
            record,
            process: Process::Polling,
            scraped: true,
            reaches_gitlab: true,
            run_untagged,
            below_the_group: false,
            held: None,
            routing_tag: fleet.routing_tag.clone(),
            up: Lagging::new(true, now),
            well: Lagging::new(true, now),
            unreachable: Lagging::new(false, now),
        }
    }

    /// Whether GitLab gives it the fleet's jobs.
    pub fn serves(&self) -> bool {
        self.record.tags.contains(&self.routing_tag) && !self.record.paused
    }

    /// Whether GitLab would let the routing tag be taken from it: it keeps no runner without tags that takes no untagged jobs.
    pub fn may_lose_the_tag(&self) -> bool {
        self.run_untagged || self.record.tags.iter().any(|tag| *tag != self.routing_tag)
    }

    /// Whether it gets the fleet's jobs as soon as they are there. Who was paused and got no PUT since is held in its long
    /// poll.
    pub fn takes_jobs(&self) -> bool {
        self.serves() && self.polls() && self.held.is_none()
    }

    /// Whether it runs and polls GitLab now, whatever Prometheus shows.
    pub fn polls(&self) -> bool {
        self.process == Process::Polling && self.reaches_gitlab
    }

    /// Whether Prometheus shows it as up.
    pub fn shows_up(&self) -> bool {
        self.up.shown
    }

    /// Whether Prometheus shows that it polls well.
    pub fn shows_well(&self) -> bool {
        self.up.shown && self.well.shown
    }

    /// Whether Prometheus shows that it gets no usable answer from GitLab.
    pub fn shows_unreachable(&self) -> bool {
        self.unreachable.shown
    }

    pub(super) fn refresh(&mut self, now: Timestamp, pace: &Pace, gitlab: bool) {
        if matches!(self.process, Process::Asleep { until } if now >= until) {
            self.process = Process::Polling;
        }
        match (self.record.paused, self.held) {
            (true, None) => self.held = Some(now),
            (false, Some(since)) if now.duration_since(since) >= LONGEST_POLL => self.held = None,
            _ => {}
        }
        let up = self.process != Process::Dead && self.scraped;
        let answered = self.reaches_gitlab && gitlab;
        let tries = matches!(self.process, Process::Polling | Process::Slow);
        self.up.see(up, now, pace.scrape, pace.scrape);
        self.well.see(up && self.process == Process::Polling && answered, now, pace.well, pace.unwell);
        self.unreachable.see(up && tries && !answered, now, pace.scrape, pace.scrape);
        // GitLab hears from a runner that has jobs to report; an idle one is held in its long poll for an hour.
        if pace.contacts && self.serves() && self.polls() && gitlab {
            self.contact(now);
        }
    }

    /// Pauses it in GitLab, or unpauses it. In bulk that wakes nobody.
    pub fn pause(&mut self, now: Timestamp, paused: bool, bulk: bool) {
        self.record.paused = paused;
        if paused {
            self.held.get_or_insert(now);
        } else if !bulk {
            self.held = None;
        }
    }

    /// A change of the record wakes the long poll: GitLab hears from a runner that polls.
    pub(super) fn woken(&mut self, now: Timestamp, gitlab: bool) {
        self.held = None;
        if self.polls() && gitlab {
            self.contact(now);
        }
    }

    pub(super) fn contacted_before(&mut self, age: SignedDuration) {
        if let Some(at) = self.record.contacted_at.and_then(|at| at.checked_sub(age).ok()) {
            self.contact(at);
        }
    }

    fn contact(&mut self, now: Timestamp) {
        self.record.contacted_at = Some(now);
        // The first manager is its own; others share its token.
        if let Some(manager) = self.record.managers.first_mut() {
            manager.contacted_at = Some(now);
        }
    }
}

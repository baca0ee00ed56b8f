//! A world of values with its own time: the real loop runs on it, without any process and without waiting.
//!
//! It behaves as GitLab, DNS servers, runner processes and Prometheus were seen to behave; what is simplified is listed
//! in `docs/simulate.md`. Time stands still until [`SimWorld::pass`], a look, or a step lets it go on.

mod evidence;
mod faults;
mod gitlab;
mod runner;
mod tools;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::{World, looked_too_long};
use crate::{
    gitlab::Sighted,
    model::{
        ClusterName, DnsStep, DnsView, Draining, Fence, Fleet, FleetName, Marker, Observation, Phase,
        Pipeline, PoolSelector, RecordSet, Runner, RunnerId, Seen, SignedDuration, Step, StepOutcome,
        Timestamp, Topology,
    },
};

pub use evidence::{PrometheusFault, Samples, SimPrometheus};
pub use faults::{Chance, Crash, SimDns, SimGitlab, SimServer, WriteFault};
pub use gitlab::{Edit, RateLimit};
pub use runner::{Process, SimRunner};
pub use tools::{Tool, ToolFault};

/// The owner that markers in simulated DNS name.
const OWNER: &str = "switchyard";
/// How long ago GitLab heard from a runner that has been standing by.
const STOOD_BY: SignedDuration = SignedDuration::from_hours(1);

/// A simulated world; clones share it.
#[derive(Debug, Clone)]
pub struct SimWorld {
    state: Arc<Mutex<State>>,
    crashed: Arc<Notify>,
}

/// How long things take. By default nothing takes time, and everything shows at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// One look at everything.
    pub look: SignedDuration,
    /// One step.
    pub step: SignedDuration,
    /// Until Prometheus shows that a runner has died, or is there again.
    pub scrape: SignedDuration,
    /// Until Prometheus proves that a runner polls well again.
    pub well: SignedDuration,
    /// Until Prometheus no longer takes a runner that has stopped polling for one that polls well.
    pub unwell: SignedDuration,
    /// Whether GitLab hears from the runners that serve the fleet.
    pub contacts: bool,
}

impl Pace {
    /// As with the shipped rules, a scrape interval of 15 s, and a GitLab that is not far away.
    pub const REAL: Self = Self {
        look: SignedDuration::from_millis(200),
        step: SignedDuration::from_millis(300),
        scrape: SignedDuration::from_secs(15),
        well: SignedDuration::from_secs(60),
        unwell: SignedDuration::from_secs(45),
        contacts: true,
    };
}

/// A fleet's DNS name as the servers have it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SimName {
    /// Absolute; empty for a fleet without a name.
    pub name: String,
    /// The records.
    pub record: Option<RecordSet>,
    /// The owner marker beside it.
    pub marker: Option<Marker>,
    /// Why it must not be written.
    pub obstacle: Option<String>,
}

/// A step that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// When.
    pub at: Timestamp,
    /// On whose behalf.
    pub fence: Fence,
    /// What.
    pub step: Step,
    /// Whether it happened.
    pub happened: bool,
    /// What the sender was told; none when the sender was gone.
    pub outcome: Option<StepOutcome>,
    /// Records of the fleet that carried the routing tag and were not paused, before it.
    pub serving_before: usize,
    /// The same, after it.
    pub serving_after: usize,
}

/// All that is so.
#[derive(Debug)]
pub struct State {
    /// The time.
    pub now: Timestamp,
    /// How far the clock of Switchyard's machine is ahead of it.
    pub clock_ahead: SignedDuration,
    /// How long things take.
    pub pace: Pace,
    /// The runners: GitLab's records with the processes behind them.
    pub runners: Vec<SimRunner>,
    /// The DNS names by fleet.
    pub names: BTreeMap<FleetName, SimName>,
    /// What is wrong with GitLab.
    pub gitlab: SimGitlab,
    /// What people do in GitLab right before a step.
    pub edits: Vec<Edit>,
    sighted: Sighted,
    /// The DNS servers and what is wrong with them.
    pub dns: SimDns,
    /// The Prometheus servers.
    pub prometheus: Vec<SimPrometheus>,
    /// How old Prometheus' samples are.
    pub sample_age: SignedDuration,
    /// Every step that was sent, in order.
    pub sent: Vec<Sent>,
    /// What runs in every cluster beside the runners.
    pub tools: BTreeSet<Tool>,
    works: BTreeMap<(ClusterName, Tool), tools::Works>,
    /// Clusters for which a rule of the team's own takes away the proof that they poll well, and until when.
    pub vetoes: BTreeMap<ClusterName, Option<Timestamp>>,
    /// The pipelines in flight of every fleet, and the runners that take their jobs.
    pub pipelines: Seen<BTreeMap<Pipeline, BTreeSet<RunnerId>>>,
    /// What the last look showed.
    pub last_look: Option<Observation>,
    /// Where the process that looks and acts shall end.
    pub crash: Option<Crash>,
    random: fastrand::Rng,
}

impl SimWorld {
    /// An empty world with one Prometheus and two DNS servers. `seed` decides what happens by chance.
    pub fn new(now: Timestamp, seed: u64) -> Self {
        let state = State {
            now,
            clock_ahead: SignedDuration::ZERO,
            pace: Pace::default(),
            runners: Vec::new(),
            names: BTreeMap::new(),
            gitlab: SimGitlab::default(),
            edits: Vec::new(),
            sighted: Sighted::default(),
            dns: SimDns::new(2),
            prometheus: vec![SimPrometheus::new(0)],
            sample_age: SignedDuration::ZERO,
            sent: Vec::new(),
            tools: Tool::INSTALLED.into(),
            works: BTreeMap::new(),
            vetoes: BTreeMap::new(),
            pipelines: Seen::Known(BTreeMap::new()),
            last_look: None,
            crash: None,
            random: fastrand::Rng::with_seed(seed),
        };
        Self { state: Arc::new(Mutex::new(state)), crashed: Arc::default() }
    }

    /// Looks at it or changes it.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass.
    pub fn pass(&self, seconds: i64) {
        self.state().advance(SignedDuration::from_secs(seconds));
    }

    /// Waits until [`State::crash`] was reached. Whoever looks and acts is to be dropped then: it would wait for ever.
    pub async fn crashed(&self) {
        self.crashed.notified().await;
    }

    /// The runner records as they are.
    pub fn runners(&self) -> Vec<Runner> {
        self.state().records()
    }

    /// The clusters whose pool carries the fleet's routing tag.
    pub fn holders(&self, fleet: &Fleet) -> Vec<String> {
        fleet.assign(&self.runners()).holders(&fleet.routing_tag).iter().map(ToString::to_string).collect()
    }

    /// What the fleet's DNS name says at the server that takes updates; empty when there is none.
    pub fn dns(&self, fleet: &FleetName) -> String {
        let state = self.state();
        let record = state.names.get(fleet).and_then(|name| name.record.as_ref());
        record.map(|r| r.values.iter().cloned().collect::<Vec<_>>().join(" ")).unwrap_or_default()
    }

    async fn end_here(&self) -> ! {
        self.crashed.notify_one();
        pending().await
    }
}

impl State {
    /// Adds a fleet with this many runners in each pool; `holder`'s carry the routing tag, and the DNS name follows.
    pub fn add_fleet(&mut self, fleet: &Fleet, runners: usize, holder: Option<&ClusterName>) {
        let mut clusters: Vec<_> = fleet.prefer.iter().filter_map(|c| fleet.pools.get_key_value(c)).collect();
        // Numbers that are given are taken before numbers are made up.
        clusters.sort_by_key(|(_, pool)| !matches!(pool.selector, PoolSelector::Runners(_)));
        for (cluster, pool) in clusters {
            let ids: Vec<RunnerId> = match &pool.selector {
                PoolSelector::Runners(ids) => ids.iter().copied().collect(),
                PoolSelector::HomeTag(_) | PoolSelector::Description(_) => {
                    let next = self.runners.iter().map(|r| r.record.id.0).max().unwrap_or(0) + 1;
                    (next..).take(runners).map(RunnerId).collect()
                }
            };
            for id in ids {
                self.add_runner(fleet, cluster, id, holder == Some(cluster));
                if let Some(runner) = self.runners.last_mut() {
                    runner.contacted_before(STOOD_BY);
                }
            }
        }
        let record = holder.and_then(|holder| fleet.record_set(holder));
        let name = fleet.dns.as_ref().map(|dns| dns.name.clone()).unwrap_or_default();
        self.names.insert(fleet.name.clone(), SimName { name, record, ..SimName::default() });
    }

    /// Adds a runner that has just registered and polls.
    pub fn add_runner(&mut self, fleet: &Fleet, cluster: &ClusterName, id: RunnerId, routing: bool) {
        let runner = SimRunner::new(fleet, cluster, id, routing, self.now);
        self.runners.push(runner);
    }

    /// The runner with this number.
    pub fn runner(&mut self, id: RunnerId) -> Option<&mut SimRunner> {
        self.runners.iter_mut().find(|r| r.record.id == id)
    }

    /// Lets time pass.
    pub fn advance(&mut self, by: SignedDuration) {
        self.now = self.now.checked_add(by).unwrap_or(self.now);
        self.refresh();
    }

    /// Whether nothing is wrong with anything.
    pub fn is_whole(&self) -> bool {
        let runner = |r: &SimRunner| r.polls() && r.scraped;
        self.takes_writes()
            && self.prometheus.iter().all(|p| p.fault().is_none())
            && self.runners.iter().all(runner)
            && self.clock_ahead.is_zero()
            && self.tools_are_whole()
            && self.vetoes.is_empty()
    }

    /// Whether GitLab and DNS do what they are told, and show it.
    pub fn takes_writes(&self) -> bool {
        self.gitlab == SimGitlab::default()
            && self.runners.iter().all(SimRunner::may_lose_the_tag)
            && self.dns.writes.is_empty()
            && self.dns.servers.iter().all(|s| !s.down && s.behind.is_none())
    }

    /// The clock of Switchyard's machine.
    pub fn clock(&self) -> Timestamp {
        self.now.checked_add(self.clock_ahead).unwrap_or(self.now)
    }

    /// Lets what changed show, as far as it is time. [`Self::advance`] and every look do so, too.
    pub fn refresh(&mut self) {
        let (now, pace, up) = (self.now, self.pace, !self.gitlab.down);
        for runner in &mut self.runners {
            runner.refresh(now, &pace, up);
        }
    }

    fn records(&self) -> Vec<Runner> {
        self.runners.iter().map(|r| r.record.clone()).collect()
    }

    fn serving(&self, fleet: &FleetName) -> usize {
        self.runners.iter().filter(|r| r.fleet == *fleet && r.serves()).count()
    }

    /// From now on GitLab's reads show what is so now.
    pub fn freeze_gitlab(&mut self) {
        self.gitlab.stale = Some(self.records());
    }

    fn view(&self, fleet: &FleetName, name: &SimName) -> DnsView {
        let seen = |record: &Option<RecordSet>| record.clone().map_or(Seen::Absent, Seen::Known);
        let silent = || Seen::Unknown("no answer in time".to_owned());
        let primary_down = self.dns.servers.first().is_none_or(|s| s.down);
        let servers = self.dns.servers.iter().map(|server| {
            let answer = match (&server.behind, server.down) {
                (_, true) => silent(),
                (Some(old), false) => seen(&old.get(fleet).cloned().flatten()),
                (None, false) => seen(&name.record),
            };
            (server.name.clone(), answer)
        });
        DnsView {
            primary: if primary_down { silent() } else { seen(&name.record) },
            marker: if primary_down {
                Seen::Unknown("no answer in time".to_owned())
            } else {
                name.marker.clone().map_or(Seen::Absent, Seen::Known)
            },
            servers: servers.collect(),
            obstacle: name.obstacle.clone(),
        }
    }

    /// From now on this server answers what it would answer now.
    pub fn freeze_server(&mut self, index: usize) {
        let names = self.names.iter().map(|(fleet, name)| (fleet.clone(), name.record.clone())).collect();
        if let Some(server) = self.dns.servers.get_mut(index) {
            server.behind = Some(names);
        }
    }

    fn look(&mut self, topology: &Topology) -> Observation {
        let at = self.clock();
        self.advance(self.pace.look);
        // Prometheus does not wait for GitLab.
        let evidence = self.evidence(topology);
        self.advance(self.gitlab.slow);
        let mut dns = BTreeMap::new();
        for (fleet, name) in &self.names {
            if topology.fleets.get(fleet).is_some_and(|f| f.dns.is_some()) {
                dns.insert(fleet.clone(), self.view(fleet, name));
            }
        }
        let look = Observation { at, runners: self.seen_runners(topology), dns, evidence };
        self.last_look = Some(look.clone());
        look
    }

    /// Takes a step on a name, and says whether it happened.
    fn take_dns(&mut self, fence: &Fence, step: &DnsStep, fault: Option<WriteFault>) -> (bool, StepOutcome) {
        let failed = |why: &str| (false, StepOutcome::Failed { why: why.to_owned(), transient: true });
        let down = self.dns.servers.first().is_none_or(|s| s.down);
        if let Some(name) = self.names.values_mut().find(|name| name.name == step.name) {
            if down {
                return failed("the server that takes updates cannot be reached");
            }
            let marker = name.marker.clone().map_or(Seen::Absent, Seen::Known);
            let record = name.record.clone().map_or(Seen::Absent, Seen::Known);
            if step.from != record || step.marker != marker {
                return failed("the name is no longer what was read");
            }
            if fault.is_none_or(WriteFault::happens) {
                let text = format!("v=1;owner={OWNER};fleet={};gen={}", fence.fleet, fence.generation);
                let marker = Marker { owner: OWNER.to_owned(), generation: fence.generation, text };
                (name.record, name.marker) = (Some(step.to.clone()), Some(marker));
            }
        }
        (fault.is_none_or(WriteFault::happens), fault.map_or(StepOutcome::Done, WriteFault::outcome))
    }

    fn take(&mut self, fence: &Fence, step: &Step) -> StepOutcome {
        self.advance(self.pace.step + self.gitlab.slow);
        self.edit_now();
        let serving_before = self.serving(&fence.fleet);
        let chances = match step {
            Step::Tag(_) => &self.gitlab.writes,
            Step::Dns(_) => &self.dns.writes,
        };
        let random = &mut self.random;
        let fault = chances.iter().find(|c| random.u8(0..100) < c.percent).map(|c| c.fault);
        let (happened, outcome) = match step {
            Step::Tag(step) => self.take_tag(step, fault),
            Step::Dns(step) => self.take_dns(fence, step, fault),
        };
        let sent = Sent {
            at: self.now,
            fence: fence.clone(),
            step: step.clone(),
            happened,
            outcome: Some(outcome.clone()),
            serving_before,
            serving_after: self.serving(&fence.fleet),
        };
        self.sent.push(sent);
        outcome
    }

    /// Counts a place at which a crash could be, and says whether it is here.
    fn crash_here(&mut self, before: bool, phase: Phase) -> bool {
        let due = match &mut self.crash {
            Some(Crash::BeforeStep(left)) if before => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            Some(Crash::AfterStep(left)) if !before => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            _ => false,
        };
        if due {
            self.crash = Some(Crash::Reached { before, phase });
        }
        due
    }
}

impl World for SimWorld {
    fn now(&self) -> Timestamp {
        self.state().clock()
    }

    async fn observe(&self, topology: &Topology) -> Observation {
        self.state().look(topology)
    }

    async fn in_flight(
        &self,
        fleets: &BTreeMap<FleetName, Draining>,
        limit: Duration,
    ) -> BTreeMap<FleetName, Seen<Vec<Pipeline>>> {
        let mut state = self.state();
        let takes = state.pace.look + state.gitlab.slow;
        let most = SignedDuration::try_from(limit).unwrap_or(SignedDuration::MAX);
        state.advance(takes.min(most));
        let seen = |wanted| match takes > most {
            true => Seen::Unknown(looked_too_long(limit)),
            false => state.seen_pipelines(wanted),
        };
        fleets.iter().map(|(name, wanted)| (name.clone(), seen(wanted))).collect()
    }

    async fn apply(&self, fence: &Fence, step: &Step) -> StepOutcome {
        let crash = self.state().crash_here(true, step.phase());
        if crash {
            self.end_here().await;
        }
        let (outcome, crash) = {
            let mut state = self.state();
            let outcome = state.take(fence, step);
            let crash = state.crash_here(false, step.phase());
            if let (true, Some(sent)) = (crash, state.sent.last_mut()) {
                sent.outcome = None;
            }
            (outcome, crash)
        };
        if crash {
            self.end_here().await;
        }
        outcome
    }
}

//! The real loop and the real store around a [`SimWorld`]: passes are taken one by one, at the test's own time.

use std::sync::Arc;

use switchyard::{
    metrics::Metrics,
    model::{
        Action, Decision, Holders, Override, Runner, RunnerId, Signal, SignalState, Step, Timestamp, Topology,
    },
    reconcile::{Reconciler, Setup, Wake},
    status::{FleetStatus, Status},
    store::{Acknowledged, Acted, HistoryEntry, Holder, NewRequest, Person, Store},
    world::{
        SimWorld, World,
        sim::{Chance, Process, PrometheusFault, WriteFault},
    },
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::values::{NOW, at, cluster, rnd, signal, topology};

/// Switchyard's loop, its store on a real disk, and a world of values.
#[derive(Debug)]
pub struct Harness {
    /// The world.
    pub world: SimWorld,
    /// What is configured.
    pub topology: Topology,
    /// The store.
    pub store: Store,
    /// The last snapshot.
    pub status: watch::Receiver<Arc<Status>>,
    reconciler: Reconciler<SimWorld>,
    shutdown: CancellationToken,
    directory: tempfile::TempDir,
}

impl Harness {
    /// Blue holds, green stands by, both are well; a watchdog is fresh.
    pub async fn new() -> Self {
        Self::with(topology(&["blue", "green"])).await
    }

    /// The same with another configuration.
    pub async fn with(topology: Topology) -> Self {
        let world = SimWorld::new(at(NOW), 0);
        for fleet in topology.fleets.values() {
            world.state().add_fleet(fleet, 2, fleet.home());
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let harness = Self::open(topology, world, directory).await;
        harness.hear(signal(Action::Watchdog, None, 0, SignalState::Firing)).await;
        harness
    }

    async fn open(topology: Topology, world: SimWorld, directory: tempfile::TempDir) -> Self {
        let url = format!("sqlite://{}", directory.path().join("switchyard.db").display());
        let holder = Holder { listen: "nowhere".to_owned(), now: world.now() };
        let store = Store::open(&url, &holder, std::time::Duration::MAX).await.expect("the store opens");
        store.mark_interrupted(world.now()).await.expect("the store writes");
        let (sender, status) = watch::channel(Arc::new(Status::default()));
        let metrics = Arc::new(Metrics::new(status.clone(), store.clone(), world.now()));
        let setup = Setup {
            topology: Arc::new(topology.clone()),
            period: std::time::Duration::from_secs(10),
            drain_look: std::time::Duration::from_secs(10),
            concurrency: 4,
            world: world.clone(),
            judges: switchyard::decide::judges,
        };
        let (_, setup) = watch::channel(Arc::new(setup));
        let reconciler = Reconciler::new(setup, store.clone(), Arc::new(Notify::new()), sender, metrics);
        Self { world, topology, store, status, reconciler, shutdown: CancellationToken::new(), directory }
    }

    /// Ends the process as a crash would, as far as the store and the world can tell, and starts it again.
    pub async fn restart(self) -> Self {
        let Self { world, topology, store, directory, reconciler, .. } = self;
        drop(reconciler);
        store.close().await.expect("the store closes");
        Self::open(topology, world, directory).await
    }

    /// One pass.
    pub async fn pass(&mut self) -> Wake {
        self.reconciler.pass(&self.shutdown).await.expect("the store works")
    }

    /// Passes until nothing is left to do at once; each takes a second.
    pub async fn settle(&mut self) -> FleetStatus {
        for _ in 0..20 {
            self.world.pass(1);
            let wake = self.pass().await;
            let status = self.fleet();
            if wake != Wake::Now && !status.moving {
                return status;
            }
        }
        self.fleet()
    }

    /// The fleet as the last pass left it.
    pub fn fleet(&self) -> FleetStatus {
        self.status.borrow().fleets.get(&rnd()).cloned().expect("a pass was taken")
    }

    /// The latest decision.
    pub async fn decision(&self) -> Option<Decision> {
        self.store.load(self.world.now()).await.expect("the store reads").decisions.remove(&rnd())
    }

    /// An alert comes in.
    pub async fn hear(&self, mut heard: Signal) {
        heard.last_seen = self.world.now();
        self.store.upsert_signals(vec![heard]).await.expect("the store writes");
    }

    /// Everything that fires comes in again, as the catch-up poll brings it.
    pub async fn poll(&self) {
        let signals = self.store.load(self.now()).await.expect("the store reads").signals;
        for signal in signals.into_iter().filter(|s| s.state == SignalState::Firing) {
            self.hear(signal).await;
        }
    }

    /// Blue's runners die, and the alert has been firing for a minute.
    pub async fn blue_dies(&self) {
        self.alive(&[("blue", 0.0), ("green", 1.0)]);
        let since = self.second() - 60;
        self.hear(signal(Action::Failover, Some("blue"), since, SignalState::Firing)).await;
    }

    /// Which share of each cluster's runners is up and polls well; Prometheus has no samples of a cluster not named.
    pub fn alive(&self, shares: &[(&str, f64)]) {
        let mut state = self.world.state();
        let mut fault = None;
        for name in &self.topology.fleets[&rnd()].prefer {
            let share = shares.iter().find(|(c, _)| *c == name.as_str()).map(|(_, share)| *share);
            match share {
                None => fault = Some((PrometheusFault::Silent, Some(name))),
                Some(share) if share.is_nan() => fault = Some((PrometheusFault::Nan, Some(name))),
                Some(share) => {
                    let pool: Vec<_> = state.runners.iter_mut().filter(|r| r.cluster == *name).collect();
                    let up = (pool.len() as f64 * share).round() as usize;
                    for (i, runner) in pool.into_iter().enumerate() {
                        runner.process = if i < up { Process::Polling } else { Process::Dead };
                    }
                }
            }
        }
        if shares.is_empty() {
            fault = Some((PrometheusFault::Silent, None));
        }
        state.refresh();
        let about = fault.and_then(|(_, about)| about);
        state.break_prometheus(0, fault.map(|(fault, _)| fault), about);
    }

    /// What happens to every write from now on.
    pub fn writes(&self, fault: Option<WriteFault>) {
        let chances: Vec<Chance> = fault.into_iter().map(|fault| Chance { fault, percent: 100 }).collect();
        let mut state = self.world.state();
        state.gitlab.writes.clone_from(&chances);
        state.dns.writes = chances;
    }

    /// Somebody else changes a runner record.
    pub fn change_runner(&self, id: u64, change: impl FnOnce(&mut Runner)) {
        let mut state = self.world.state();
        change(&mut state.runner(RunnerId(id)).expect("there is such a runner").record);
    }

    /// Every step that really happened, in order.
    pub fn happened(&self) -> Vec<Step> {
        self.world.state().sent.iter().filter(|sent| sent.happened).map(|sent| sent.step.clone()).collect()
    }

    /// The clusters whose pool carries the routing tag.
    pub fn holders(&self) -> Vec<String> {
        self.world.holders(&self.topology.fleets[&rnd()])
    }

    /// A person asks for a planned move.
    pub async fn request(&self, from: Option<&str>, to: &str) -> i64 {
        let request = NewRequest {
            fleet: rnd(),
            to: cluster(to),
            expected: from.map(cluster),
            reason: "maintenance".to_owned(),
            author: "ada".to_owned(),
            at: self.world.now(),
            overrides: Vec::new(),
        };
        self.store.add_request(&request).await.expect("the store writes")
    }

    /// A person acts, and names the holder.
    pub fn person(&self, holder: &str) -> Person {
        let expected = Holders::of(rnd(), Some(cluster(holder)));
        Person { author: "ada".to_owned(), reason: "looked at it".to_owned(), at: self.now(), expected }
    }

    /// A person acknowledges what happened to the fleet that this cluster holds.
    pub async fn acknowledge(&self, holder: &str) -> Acknowledged {
        let cool_down = self.topology.fleets[&rnd()].cool_down;
        let done = self.store.acknowledge(&rnd(), cool_down, &self.person(holder)).await;
        match done.expect("the store writes") {
            Acted::Yes(done) => done,
            Acted::HeldBy(other) => panic!("it is held by {other:?}"),
        }
    }

    /// A person sets something, who has looked who holds the fleets.
    pub async fn set(&self, set: Override) {
        let holders = self.store.holders().await.expect("the store reads");
        let set = self.store.set_override(&set, &holders).await.expect("the store writes");
        assert!(matches!(set, Acted::Yes(_)), "{set:?}");
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.world.now()
    }

    /// The time as a second of the story.
    pub fn second(&self) -> i64 {
        self.now().as_second() - at(NOW).as_second() + NOW
    }

    /// The whole story, oldest first.
    pub async fn history(&self) -> Vec<HistoryEntry> {
        let mut history = self.store.history(None, 1000).await.expect("the store reads");
        history.reverse();
        history
    }

    /// How many decisions to move there were.
    pub async fn moves(&self) -> usize {
        self.store.load(self.world.now()).await.expect("the store reads").moves.len()
    }
}

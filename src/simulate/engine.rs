//! Plays a story: the real loop, intake and store around the simulated world, on virtual time. The order of what happens
//! within a moment is all here; what is told of it is in `tell`, what is expected in `expect`.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures::FutureExt;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    alerting::{Alerting, EVALUATION, Message},
    deeds,
    disk::Disk,
    parts::{Outside, Parts},
    promises::Watcher,
    story::{AlertmanagerFault, Event, Happening, Story},
    transcript::{Entry, Kind, Report, Struck},
};
use crate::{
    decide::Judges,
    intake::Intake,
    metrics::Metrics,
    model::{ClusterName, FleetName, Gate, MoveKind, PoolSelector, SignedDuration, Timestamp, Topology},
    reconcile::{PassError, Reconciler, Setup, Wake},
    status::Status,
    store::{self, Holder, Store},
    world::{
        SimWorld, World,
        sim::{Crash, Pace, SimDns, SimPrometheus},
    },
};

/// A Friday morning.
const BEGINNING: i64 = 1_800_000_000;
/// How long a process that ended takes to be back.
const RESTART: SignedDuration = SignedDuration::from_secs(5);
/// How soon the loop looks after its bell rang.
const BELL: SignedDuration = SignedDuration::from_millis(250);
/// Rules bridge a gap in what Switchyard exports for so long.
const EXPORT_KEPT: SignedDuration = SignedDuration::from_mins(2);
/// When nothing has been wrong for so long, every move has come to its end.
const CALM: SignedDuration = SignedDuration::from_mins(20);
/// A file's store has one process, whose term does not end.
const TERM: Duration = Duration::from_secs(30);
/// Who leads when this process does not.
const OTHER: &str = "another replica";

/// Why a story could not be played to its end.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// There is no place for the store.
    #[error("no place for the simulated store: set TMPDIR to a directory that can be written to")]
    Directory(#[from] std::io::Error),
    /// The store failed.
    #[error("the simulated store failed")]
    Store(#[from] store::Error),
    /// The loop failed.
    #[error("the loop failed")]
    Pass(#[from] crate::reconcile::PassError),
}

/// Plays a story to its end. `judges` says which gates judge which moves; anything but [`crate::decide::judges`] is for
/// tests that prove what a gate is good for.
///
/// # Errors
/// When there is no place for the store, or it fails.
pub async fn play(story: &Story, judges: Judges) -> Result<Report, PlayError> {
    play_with(story, &Parts { judges, ..Parts::default() }).await
}

/// Plays a story to its end with these parts; any but the default ones are for tests that prove what a part is good for.
///
/// # Errors
/// When there is no place for the store, or it fails.
pub async fn play_with(story: &Story, parts: &Parts) -> Result<Report, PlayError> {
    let mut player = Player::new(story, parts).await?;
    let result = player.play().await;
    let Player { report, store, disk, .. } = player;
    let closed = store.close().await;
    drop(disk);
    result?;
    closed?;
    Ok(report)
}

/// Everything that takes part.
pub(super) struct Player<'a> {
    story: &'a Story,
    parts: &'a Parts,
    pub(super) topology: Topology,
    pub(super) world: SimWorld,
    pub(super) alerting: Alerting,
    pub(super) store: Store,
    pub(super) bell: Arc<Notify>,
    pub(super) watcher: Watcher,
    /// Fleets that a person has changed by hand since their last decision.
    pub(super) touched: BTreeSet<FleetName>,
    /// Requests that wait for an answer: number and author's words.
    pub(super) requests: BTreeSet<i64>,
    intake: Intake,
    topologies: watch::Sender<Arc<Topology>>,
    setup: watch::Sender<Arc<Setup<Outside>>>,
    pub(super) metrics: Arc<Metrics>,
    status_sender: watch::Sender<Arc<Status>>,
    pub(super) status: watch::Receiver<Arc<Status>>,
    poll_bell: Arc<Notify>,
    reconciler: Option<Reconciler<Outside>>,
    shutdown: CancellationToken,
    disk: Disk,
    pub(super) beginning: Timestamp,
    /// When the loop looks next.
    wake: Timestamp,
    evaluate: Timestamp,
    poll: Option<Timestamp>,
    stopped: Option<Timestamp>,
    crash_after_record: Option<u64>,
    pub(super) seen_entry: i64,
    pub(super) seen_sent: usize,
    /// What was written down, in full: by fleet, or about all.
    pub(super) history: Vec<(Option<FleetName>, String)>,
    pub(super) watchdog: Option<Timestamp>,
    /// What the last answer to a person's request was.
    pub(super) answer: String,
    /// Another process leads those that share the store.
    pub(super) led_elsewhere: bool,
    /// Who was exported as holder, and when last.
    exports: BTreeMap<FleetName, (Timestamp, Vec<ClusterName>)>,
    pub(super) report: Report,
}

impl<'a> Player<'a> {
    async fn new(story: &'a Story, parts: &'a Parts) -> Result<Self, PlayError> {
        let beginning = Timestamp::from_second(BEGINNING).unwrap_or(Timestamp::UNIX_EPOCH);
        let world = SimWorld::new(beginning, story.seed);
        {
            let mut state = world.state();
            state.pace = Pace::REAL;
            state.prometheus = (0..story.prometheus).map(SimPrometheus::new).collect();
            state.dns = SimDns::new(story.dns);
            state.tools.clone_from(&story.tools);
            let mut fleets: Vec<_> = story
                .starts
                .iter()
                .filter_map(|(name, start)| Some((story.topology.fleets.get(name)?, start)))
                .collect();
            // Numbers that are given are taken before numbers are made up.
            let numbered = |p: &crate::model::Pool| matches!(p.selector, PoolSelector::Runners(_));
            fleets.sort_by_key(|(fleet, _)| !fleet.pools.values().any(numbered));
            for (fleet, start) in fleets {
                state.add_fleet(fleet, start.runners, start.holder.as_ref());
                for runner in state.runners.iter_mut().filter(|r| r.fleet == fleet.name) {
                    runner.below_the_group = start.below_the_group;
                }
            }
        }
        let disk = Disk::new()?;
        let store = open(&disk, beginning, parts).await?;
        let (status_sender, status) = watch::channel(Arc::new(Status::default()));
        let metrics = Arc::new(Metrics::new(status.clone(), store.clone(), beginning));
        let topology = story.topology.clone();
        let (topologies, known) = watch::channel(Arc::new(topology.clone()));
        let (bell, poll_bell) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let intake = Intake::new(store.clone(), known, metrics.clone(), bell.clone(), poll_bell.clone());
        let (setup, _) = watch::channel(Arc::new(new_setup(story, &topology, &world, parts)));
        let mut player = Self {
            story,
            parts,
            topology,
            world,
            alerting: Alerting::default(),
            store,
            bell,
            watcher: Watcher::default(),
            touched: BTreeSet::new(),
            requests: BTreeSet::new(),
            intake,
            topologies,
            setup,
            metrics,
            status_sender,
            status,
            poll_bell,
            reconciler: None,
            shutdown: CancellationToken::new(),
            disk,
            beginning,
            wake: beginning,
            evaluate: beginning,
            poll: story.poll.map(|_| beginning),
            stopped: None,
            crash_after_record: None,
            seen_entry: 0,
            seen_sent: 0,
            history: Vec::new(),
            watchdog: None,
            answer: "none".to_owned(),
            led_elsewhere: false,
            exports: BTreeMap::new(),
            report: Report::default(),
        };
        player.start();
        Ok(player)
    }

    fn start(&mut self) {
        self.reconciler = Some(Reconciler::new(
            self.setup.subscribe(),
            self.store.clone(),
            self.bell.clone(),
            self.status_sender.clone(),
            self.metrics.clone(),
        ));
    }

    /// A changed configuration, as a reload brings it.
    pub(super) fn configure(&mut self, topology: Topology) {
        self.topologies.send_replace(Arc::new(topology.clone()));
        self.setup.send_replace(Arc::new(new_setup(self.story, &topology, &self.world, self.parts)));
        self.topology = topology;
        self.bell.notify_one();
    }

    pub(super) fn now(&self) -> Timestamp {
        self.world.state().now
    }

    pub(super) fn say(&mut self, kind: Kind, fleet: Option<&FleetName>, text: impl Into<String>) {
        self.say_at(self.now(), kind, fleet, text);
    }

    pub(super) fn say_at(
        &mut self,
        at: Timestamp,
        kind: Kind,
        fleet: Option<&FleetName>,
        text: impl Into<String>,
    ) {
        let at = at.duration_since(self.beginning);
        self.report.entries.push(Entry { at, kind, fleet: fleet.cloned(), text: text.into(), again: None });
    }

    async fn play(&mut self) -> Result<(), PlayError> {
        let end = later(self.beginning, self.story.end);
        let mut events = self.story.events.iter().peekable();
        loop {
            let due = |event: &&Event| later(self.beginning, event.at);
            let mut next = self.evaluate;
            next = events.peek().map(due).map_or(next, |at| next.min(at));
            next = self.poll.map_or(next, |at| next.min(at));
            next = self.alerting.next().map_or(next, |at| next.min(at));
            if self.reconciler.is_some() {
                next = next.min(self.wake);
            }
            if next > end {
                break;
            }
            let now = self.now();
            if next > now {
                self.world.state().advance(next.duration_since(now));
            }
            let now = self.now();
            let mut expects = Vec::new();
            while let Some(event) = events.next_if(|event| later(self.beginning, event.at) <= now) {
                match &event.what {
                    Happening::Expect(..) => expects.push(event),
                    _ => self.happens(event).await?,
                }
            }
            self.bring(now).await?;
            self.look_if_due().await?;
            for event in expects {
                self.expects(event);
            }
        }
        self.end(end).await
    }

    /// When nothing has been wrong for long, everything must have come to rest.
    async fn end(&mut self, end: Timestamp) -> Result<(), PlayError> {
        let done = |event: &&Event| !matches!(event.what, Happening::Expect(..));
        let last =
            self.story.events.iter().rfind(done).map_or(self.beginning, |e| later(self.beginning, e.at));
        let whole = self.world.state().is_whole()
            && self.alerting.fault.is_none()
            && self.runs()
            && !self.led_elsewhere;
        if !whole || end.duration_since(last) < CALM {
            return Ok(());
        }
        let now = self.world.now();
        let state = self.store.load(now).await?;
        self.watcher.remembers(&state.signals, now);
        for (name, fleet) in &self.topology.fleets {
            let holders = fleet.assign(&self.world.runners());
            let holders: Vec<ClusterName> =
                holders.holders(&fleet.routing_tag).into_iter().cloned().collect();
            let touched = self.touched.contains(name) || !state.overrides.is_empty();
            let time = (now, self.story.period.saturating_add(RESTART));
            self.watcher.calm(fleet, state.decisions.get(name), &holders, touched, time);
        }
        self.tell_broken();
        Ok(())
    }

    /// Alerts come in, by webhook and by poll.
    async fn bring(&mut self, now: Timestamp) -> Result<(), PlayError> {
        if now >= self.evaluate {
            let exported = self.stopped.is_none();
            if exported {
                self.export(now);
            }
            let holders = self.exported(now);
            // One that knows that it stands by answers 503.
            let listens = self.reconciler.is_some() && self.store.lease().term().is_some();
            let said = self.alerting.tick(&self.world.state(), &self.topology, &holders, listens);
            for sentence in said {
                self.say(Kind::Alert, None, sentence);
            }
            self.evaluate = later(now, EVALUATION);
        }
        let clock = self.world.now();
        for message in self.alerting.arriving(now) {
            if self.reconciler.is_none() {
                continue;
            }
            if self.alerting.fault == Some(AlertmanagerFault::WrongCredential) {
                self.refused(message, 401);
                continue;
            }
            let Ok(parsed) = self.intake.parse(&message.body, clock) else {
                self.refused(message, 400);
                continue;
            };
            self.heard(&parsed.signals, clock);
            let signals = parsed.signals.clone();
            self.intake.take(parsed).await?;
            self.watcher.accepted(&signals);
        }
        if let (Some(at), Some(period)) = (self.poll, self.story.poll)
            && now >= at
        {
            self.poll = Some(later(now, period));
            if let (Some(body), true) = (self.alerting.answer(now), self.reconciler.is_some())
                && let Ok(parsed) = self.intake.parse_poll(&body, clock)
            {
                self.heard(&parsed.signals, clock);
                let signals = parsed.signals.clone();
                self.intake.take_poll(parsed).await?;
                self.watcher.accepted(&signals);
            }
        }
        // Told that alerts are missing from a message, the poll comes at once.
        if self.poll_bell.notified().now_or_never().is_some() && self.story.poll.is_some() {
            self.poll = Some(now);
        }
        Ok(())
    }

    fn refused(&mut self, message: Message, code: u16) {
        let now = self.now();
        if let Some(text) = self.alerting.refused(message, code, now) {
            let at = now.duration_since(self.beginning);
            self.report.repeated(Entry { at, kind: Kind::Alert, fleet: None, text, again: None });
        }
    }

    fn heard(&mut self, signals: &[crate::model::Signal], clock: Timestamp) {
        if signals.iter().any(|s| s.action == crate::model::Action::Watchdog) {
            self.watchdog = Some(clock);
        }
    }

    /// What Switchyard exports, as far as it knows.
    fn export(&mut self, now: Timestamp) {
        let status = self.status.borrow().clone();
        for (name, fleet) in &status.fleets {
            if let Some(holders) = fleet.observed_holders.known() {
                self.exports.insert(name.clone(), (now, holders.clone()));
            }
        }
    }

    /// What the rules make of it: they bridge a gap.
    fn exported(&self, now: Timestamp) -> BTreeMap<FleetName, Vec<ClusterName>> {
        let fresh = |at: Timestamp| now.duration_since(at) <= EXPORT_KEPT;
        let exports = self.exports.iter().filter(|(_, (at, _))| fresh(*at));
        exports.map(|(name, (_, holders))| (name.clone(), holders.clone())).collect()
    }

    async fn look_if_due(&mut self) -> Result<(), PlayError> {
        let now = self.now();
        if self.bell.notified().now_or_never().is_some() {
            self.wake = self.wake.min(later(now, BELL));
        }
        if self.reconciler.is_some() && now >= self.wake {
            self.look().await?;
        }
        Ok(())
    }

    /// One pass of the loop, unless it ends in the middle of it.
    async fn look(&mut self) -> Result<(), PlayError> {
        let Some(mut reconciler) = self.reconciler.take() else { return Ok(()) };
        let before = self.store.stats().operations;
        let wake = {
            let pass = pin!(reconciler.pass(&self.shutdown));
            let store = &self.store;
            let left = self.crash_after_record;
            let pass = until_records(pass, || store.stats().operations - before, left);
            tokio::select! {
                biased;
                wake = pass => wake,
                () = self.world.crashed() => None,
            }
        };
        self.report.passes += 1;
        let written = self.store.stats().operations - before;
        match wake {
            Some(wake) => {
                self.reconciler = Some(reconciler);
                let wake = match wake {
                    // As the loop itself takes it: the pass was given up.
                    Err(PassError(store::Error::Fenced(_))) => {
                        Wake::In(Duration::try_from(BELL).unwrap_or_default())
                    }
                    wake => wake?,
                };
                let wait = match wake {
                    Wake::Now => SignedDuration::ZERO,
                    Wake::In(wait) => SignedDuration::try_from(wait).unwrap_or(RESTART),
                };
                self.wake = later(self.now(), wait);
                self.crash_after_record = self.crash_after_record.map(|left| left.saturating_sub(written));
                self.watch(written > 0).await?;
            }
            None => {
                drop(reconciler);
                let place = {
                    let mut state = self.world.state();
                    match state.crash.take() {
                        Some(Crash::Reached { before, phase }) => {
                            let side = if before { "before" } else { "after" };
                            format!("{side} a step of {}", phase.as_str())
                        }
                        _ => "after a change of the store".to_owned(),
                    }
                };
                self.crash_after_record = None;
                self.crashed(&place).await?;
            }
        }
        Ok(())
    }

    /// The process has ended, and comes back soon.
    pub(super) async fn crashed(&mut self, place: &str) -> Result<(), PlayError> {
        self.reconciler = None;
        self.report.struck.push(Struck(place.to_owned()));
        self.watch(true).await?;
        self.say(Kind::Process, None, format!("Switchyard ends {place}, and starts again"));
        // What the process had handed over before it ended is written or not: here it is, always.
        self.store.written().await?;
        let now = self.world.now();
        let before = self.store.load(now).await?;
        let left = self.disk.as_it_is()?;
        (self.parts.disk)(left.path());
        let disk = std::mem::replace(&mut self.disk, left);
        self.world.state().advance(RESTART);
        self.start_again().await?;
        drop(disk);
        self.watcher.restarted(&before, &self.store.load(now).await?, now);
        self.tell_broken();
        Ok(())
    }

    /// A new process on what is on the disk. Nothing else of the one before is left.
    pub(super) async fn start_again(&mut self) -> Result<(), PlayError> {
        let clock = self.world.now();
        self.store.clone().close().await?;
        self.store = open(&self.disk, clock, self.parts).await?;
        // A file is for one process, which takes the lease with it; a shared database would not give it.
        if self.led_elsewhere {
            self.store.lead_elsewhere(OTHER, clock).await?;
        }
        self.status_sender.send_replace(Arc::default());
        self.metrics = Arc::new(Metrics::new(self.status.clone(), self.store.clone(), clock));
        (self.bell, self.poll_bell) = (Arc::default(), Arc::default());
        let (store, metrics) = (self.store.clone(), self.metrics.clone());
        let (bell, poll_bell) = (self.bell.clone(), self.poll_bell.clone());
        self.intake = Intake::new(store, self.topologies.subscribe(), metrics, bell, poll_bell);
        self.world.state().forget_gitlab();
        self.stopped = None;
        self.start();
        self.wake = self.now();
        Ok(())
    }

    pub(super) fn stop(&mut self) {
        self.reconciler = None;
        self.stopped = Some(self.now());
    }

    pub(super) fn runs(&self) -> bool {
        self.reconciler.is_some()
    }

    /// Another process takes the lease, which this one finds out when it is next refused; or this one takes it again.
    pub(super) async fn lead(&mut self, leads: bool) -> Result<(), PlayError> {
        if self.led_elsewhere == leads {
            let clock = self.world.now();
            if leads {
                self.store.lead_again(clock).await?;
            } else {
                self.store.lead_elsewhere(OTHER, clock).await?;
            }
            self.led_elsewhere = !leads;
            self.bell.notify_one();
        }
        Ok(())
    }

    pub(super) fn crash_after_record(&mut self, records: u64) {
        self.crash_after_record = Some(records);
    }

    async fn happens(&mut self, event: &Event) -> Result<(), PlayError> {
        self.say(Kind::Event, None, event.text.clone());
        self.watcher.weather(&self.world.state());
        if event.what.meddles() {
            self.watcher.meddled();
        }
        deeds::happens(self, &event.what).await?;
        // What a person did is written down at once.
        if matches!(event.what, Happening::Human(..)) { self.watch(true).await } else { Ok(()) }
    }
}

async fn open(disk: &Disk, now: Timestamp, parts: &Parts) -> Result<Store, store::Error> {
    let holder = Holder { listen: "nowhere".to_owned(), now };
    let store = Store::open(&disk.url(), &holder, TERM).await?;
    // A loop whose gate is always open takes itself for the leader.
    if !(parts.judges)(MoveKind::Failover, Gate::Leader) {
        store.insist_on_leading();
    }
    Ok(store)
}

fn new_setup(story: &Story, topology: &Topology, world: &SimWorld, parts: &Parts) -> Setup<Outside> {
    let period = Duration::try_from(story.period).unwrap_or(Duration::from_secs(10));
    Setup {
        topology: Arc::new(topology.clone()),
        period,
        drain_look: period,
        // One after the other: which step is the n-th does not depend on chance.
        concurrency: 1,
        world: (parts.world)(world.clone()),
        judges: parts.judges,
    }
}

pub(super) fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(at)
}

/// Drives a pass until it is done; nothing when the store has written so much that the process is to end.
async fn until_records<F: Future>(
    mut pass: std::pin::Pin<&mut F>,
    written: impl Fn() -> u64,
    limit: Option<u64>,
) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        // The writer counts before it answers: here it has written, and nobody has heard of it.
        if limit.is_some_and(|limit| written() >= limit) {
            return Poll::Ready(None);
        }
        pass.as_mut().poll(cx).map(Some)
    })
    .await
}

//! What is known of one cluster, shared by its watches, its probe and the metrics.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use kube::runtime::{reflector::store::Writer, watcher::Event};
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::{
    failure::{Failure, ProbeFailure, Reason},
    watch::{Seen, Served},
};
use crate::{
    kubernetes::{Destinations, Detail, History, Kind, KindState, Snapshot},
    model::{Moment, SignedDuration, Timestamp},
};

/// Whole pages of a cluster's lists in memory at once: all its lists may start together.
pub(super) const PAGES: usize = 4;

/// A time of day that moved by this much against the clock that nobody can set was set.
const SET: SignedDuration = SignedDuration::from_secs(1);

/// One thing that is watched: a kind, everywhere or in one namespace, all or by labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The kind.
    pub kind: Kind,
    /// The namespace; none for all.
    pub namespace: Option<String>,
    /// A label selector.
    pub labels: Option<String>,
    /// The fleet that the pods found here serve.
    pub fleet: Option<String>,
}

/// How a source stands.
#[derive(Debug, Clone, Default)]
struct Standing {
    /// It was read completely.
    listed: bool,
    /// A watch was opened since.
    followed: bool,
    /// The last watch was opened after a silence: unless it brings something, only a list is a sign of life.
    doubted: bool,
    /// Its kind is not known to the API.
    absent: bool,
    /// So many watches were opened and answered with an error: until one brings something else, or ends in its time, nothing
    /// is a sign of life, not even that a list can be read.
    refused: u32,
    /// When it was last read completely, or its watch brought something.
    heard: Option<Moment>,
    /// Why the last request failed; none after one that succeeded.
    failure: Option<Failure>,
    /// It has had an answer, good or bad.
    asked: bool,
}

/// How a collector stands: all sources of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Collector {
    /// Everything of the kind is known, and the API said so lately.
    pub up: bool,
    /// When the API last answered the source that was heard least lately; none before that.
    pub last_success: Option<Timestamp>,
    /// Whether the CRD is installed; none as long as nobody knows, and for what needs none.
    pub installed: Option<bool>,
    /// Failures by reason since the start.
    pub errors: BTreeMap<Reason, u64>,
}

/// What the own probe found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Probe {
    /// Whether the API answered that it is ready; none before the first answer.
    pub up: Option<bool>,
    /// How long the last answer took, or its absence.
    pub took: Duration,
    /// When it was last up.
    pub last_success: Option<Timestamp>,
    /// Why not.
    pub failure: Option<ProbeFailure>,
}

/// What is known of one cluster.
#[derive(Debug, Default)]
pub struct State {
    /// Its objects, and how much of each kind is known, at the last [`Cluster::look`].
    pub snapshot: Snapshot,
    /// What was seen before, as far as [`Cluster::look`] was asked.
    pub history: History,
    /// The own probe.
    pub probe: Probe,
    /// When it was looked at last.
    looked: Option<Moment>,
    /// Something changed since the last look.
    changed: bool,
    /// By source, like its standings.
    reflectors: Vec<Writer<Seen>>,
    standings: Vec<Standing>,
    /// Backups that were deleted on purpose since the last look.
    retired: Vec<(String, String)>,
    errors: BTreeMap<Kind, BTreeMap<Reason, u64>>,
}

/// One cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Its name: the label `runner_cluster`.
    pub name: String,
    /// What is watched.
    pub sources: Vec<Source>,
    /// Without an answer for so long, what was seen counts no more.
    pub stale_after: SignedDuration,
    /// Which runner clusters the destinations of Argo CD are.
    pub destinations: Destinations,
    /// Whole pages of its lists that may be on their way into memory at once. Its own: a cluster whose answers do not end
    /// keeps only itself waiting.
    pub(super) pages: Arc<Semaphore>,
    state: RwLock<State>,
}

impl Cluster {
    /// Nothing is known yet.
    pub fn new(
        name: String,
        sources: Vec<Source>,
        stale_after: SignedDuration,
        destinations: Destinations,
    ) -> Self {
        let standings = vec![Standing::default(); sources.len()];
        let reflector = |source: &Source| Writer::new(Served { kind: source.kind, version: "" });
        let reflectors = sources.iter().map(reflector).collect();
        let state = State { standings, reflectors, ..State::default() };
        let pages = Arc::new(Semaphore::new(PAGES));
        Self { name, sources, stale_after, destinations, pages, state: RwLock::new(state) }
    }

    /// The kinds that are watched.
    pub fn kinds(&self) -> BTreeSet<Kind> {
        self.sources.iter().map(|source| source.kind).collect()
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every source and the probe have had an answer, good or bad.
    pub fn asked(&self) -> bool {
        let state = self.read();
        state.probe.up.is_some() && state.standings.iter().all(|standing| standing.asked)
    }

    /// How the collectors stand at this moment. What was not heard of for too long stops counting as known.
    pub fn look(&self, now: Moment) -> BTreeMap<Kind, Collector> {
        let mut state = self.write();
        state.snapshot = self.gather(&mut state);
        let mut collectors = BTreeMap::new();
        for kind in self.kinds() {
            let standings: Vec<&Standing> =
                self.standings(&state, kind).map(|(_, standing)| standing).collect();
            // By the clock that nobody can set: otherwise one that is set back would make a silent API fresh for so long.
            let heard = standings.iter().map(|standing| standing.heard).min_by_key(|at| at.map(|at| at.boot));
            let heard = heard.flatten();
            let silence = heard.and_then(|at| now.since(at));
            let fresh = silence.is_some_and(|silence| silence <= self.stale_after);
            let last_success = heard.map(|at| at.wall);
            let absent = standings.iter().any(|standing| standing.absent);
            let complete = standings.iter().all(|s| s.absent || s.listed && s.followed);
            let why = standings.iter().find_map(|standing| standing.failure.as_ref());
            let known = match (complete, fresh, why) {
                (true, true, _) if absent => KindState::Absent,
                (true, true, _) => KindState::Synced,
                (_, _, Some(failure)) => KindState::Failed(failure.to_string()),
                (true, false, None) => KindState::Failed(format!(
                    "nothing was heard from the API for {} s",
                    silence.unwrap_or(SignedDuration::ZERO).as_secs()
                )),
                (false, ..) => KindState::Unseen,
            };
            let installed = kind.crd().and(match (absent, complete) {
                (true, _) => Some(false),
                (false, true) => Some(true),
                (false, false) => None,
            });
            let errors = state.errors.get(&kind).cloned().unwrap_or_default();
            collectors.insert(kind, Collector { up: complete && fresh, last_success, installed, errors });
            state.snapshot.set_state(kind, known);
        }
        state.changed = false;
        // Two looks may come in another order than their moments: each waits for the lock with its own.
        let before = state.looked.unwrap_or(now);
        let now = if now.boot < before.boot { before } else { now };
        state.looked = Some(now);
        let State { snapshot, history, .. } = &mut *state;
        // Clocks of machines are nudged all the time; what is more was set.
        let by = now.set_since(before);
        if by.abs() >= SET {
            history.clock_was_set(by);
        }
        history.fold(snapshot, &self.destinations, now.wall);
        collectors
    }

    /// Takes what changed into the history.
    pub(super) fn look_if_changed(&self, now: Moment) {
        let changed = self.read().changed;
        if changed {
            self.look(now);
        }
    }

    fn standings<'a>(
        &'a self,
        state: &'a State,
        kind: Kind,
    ) -> impl Iterator<Item = (&'a Source, &'a Standing)> {
        self.sources.iter().zip(&state.standings).filter(move |(source, _)| source.kind == kind)
    }

    /// What the reflectors hold. A pod may serve several fleets, each found by a source of its own.
    fn gather(&self, state: &mut State) -> Snapshot {
        let mut snapshot = Snapshot::default();
        // Runner pods have namespaces of their own, and nothing depends on them.
        let read: Option<BTreeSet<String>> =
            self.sources.iter().filter(|s| s.kind != Kind::Pod).map(|s| s.namespace.clone()).collect();
        snapshot.set_namespaces(read.unwrap_or_default());
        for (source, reflector) in self.sources.iter().zip(&state.reflectors) {
            for seen in reflector.as_reader().state() {
                let mut object = seen.object.clone();
                if let Some(fleet) = &source.fleet
                    && let Detail::Pod(pod) = &mut Arc::make_mut(&mut object).detail
                {
                    let before = snapshot.get(seen.object.kind, &seen.object.namespace, &seen.object.name);
                    if let Some(Detail::Pod(before)) = before.map(|object| &object.detail) {
                        pod.fleets.clone_from(&before.fleets);
                    }
                    pod.fleets.insert(fleet.clone());
                }
                snapshot.insert(object);
            }
        }
        for (namespace, name) in state.retired.drain(..) {
            snapshot.retire(namespace, name);
        }
        snapshot
    }

    /// What a watch saw.
    pub(super) fn take(&self, index: usize, event: &Event<Seen>, now: Moment) {
        let mut state = self.write();
        state.reflectors[index].apply_watcher_event(event);
        match event {
            Event::Init | Event::InitApply(_) => return,
            Event::InitDone => self.listed(&mut state, index, now),
            Event::Apply(seen) | Event::Delete(seen) => {
                if seen.object.is_being_retired() {
                    state.retired.push((seen.object.namespace.clone(), seen.object.name.clone()));
                }
            }
        }
        state.changed = true;
    }

    /// A source was read completely.
    fn listed(&self, state: &mut State, index: usize, now: Moment) {
        let objects = state.reflectors[index].as_reader().len();
        let standing = &mut state.standings[index];
        if !standing.listed {
            let collector = self.sources[index].kind.plural();
            info!(runner_cluster = self.name, collector, objects, "read");
        }
        let followed = standing.followed && !standing.absent;
        let before = std::mem::take(standing);
        // That it cannot be watched stays said until it can.
        let (refused, failure) = (before.refused, before.failure);
        let heard = before.heard.filter(|_| refused > 0).or(Some(now));
        *standing =
            Standing { listed: true, followed, refused, heard, failure, asked: true, ..Standing::default() };
    }

    /// A watch was opened, which is no sign of life. Whether it has to bring one at once, because nothing was heard for so
    /// long.
    pub(super) fn opened(&self, index: usize, now: Moment, silence: SignedDuration) -> bool {
        let standing = &mut self.write().standings[index];
        let silent = standing.heard.and_then(|at| now.since(at)).is_none_or(|passed| passed >= silence);
        standing.followed = true;
        standing.doubted = silent && standing.refused == 0;
        standing.doubted
    }

    /// The last watch was opened after a silence and brought nothing.
    pub(super) fn doubted(&self, index: usize) -> bool {
        self.read().standings[index].doubted
    }

    /// A watch answered with an error.
    pub(super) fn refused(&self, index: usize) {
        let standing = &mut self.write().standings[index];
        standing.refused = standing.refused.saturating_add(1);
    }

    /// A watch brought something, or ended in its time after it had.
    pub(super) fn followed(&self, index: usize, now: Moment) {
        let mut state = self.write();
        let standing = &mut state.standings[index];
        (standing.heard, standing.followed, standing.doubted) = (Some(now), true, false);
        self.well(standing, index);
    }

    /// A watch ended in its time and brought nothing. The next one is doubted.
    pub(super) fn ended(&self, index: usize) {
        self.well(&mut self.write().standings[index], index);
    }

    fn well(&self, standing: &mut Standing, index: usize) {
        standing.refused = 0;
        if standing.failure.take().is_some() {
            info!(runner_cluster = self.name, collector = self.sources[index].kind.plural(), "watched again");
        }
    }

    /// The API does not know the kind.
    pub(super) fn absent(&self, index: usize, now: Moment) {
        let kind = self.sources[index].kind;
        let mut state = self.write();
        if !state.standings[index].absent {
            info!(
                runner_cluster = self.name,
                collector = kind.plural(),
                "the CRD is not installed; it is asked for again and again"
            );
        }
        for event in [Event::Init, Event::InitDone] {
            state.reflectors[index].apply_watcher_event(&event);
        }
        state.changed = true;
        let standing = &mut state.standings[index];
        *standing = Standing { absent: true, heard: Some(now), asked: true, ..Standing::default() };
    }

    /// A request failed. What was seen before stays until it is stale.
    pub(super) fn failed(&self, index: usize, failure: Failure) {
        let kind = self.sources[index].kind;
        let mut state = self.write();
        *state.errors.entry(kind).or_default().entry(failure.reason).or_default() += 1;
        let standing = &mut state.standings[index];
        standing.asked = true;
        // Once, that is how the API says that it forgot; then all is listed, and a watch goes on from there.
        if failure.reason == Reason::Gone && standing.refused < 2 {
            return;
        }
        // Said once, not at every attempt.
        if standing.failure.as_ref().is_none_or(|before| before.reason != failure.reason) {
            warn!(
                runner_cluster = self.name,
                collector = kind.plural(),
                reason = failure.reason.as_str(),
                "not watched: {failure}"
            );
        }
        standing.failure = Some(failure);
    }

    /// What the own probe found.
    pub(super) fn probed(&self, result: Result<(), ProbeFailure>, took: Duration, now: Timestamp) {
        let mut state = self.write();
        let probe = &mut state.probe;
        let up = result.is_ok();
        match &result {
            // Said once, not at every attempt.
            Err(why) if probe.failure.as_ref().is_none_or(|before| before.reason != why.reason) => {
                warn!(
                    runner_cluster = self.name,
                    reason = why.reason.as_str(),
                    "the probe of the API failed: {why}"
                );
            }
            Ok(()) if probe.up == Some(false) => {
                info!(runner_cluster = self.name, "the API answers the probe again");
            }
            _ => {}
        }
        *probe = Probe {
            up: Some(up),
            took,
            last_success: if up { Some(now) } else { probe.last_success },
            failure: result.err(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kubernetes::{self, Limits, judge},
        model::BootTime,
    };

    /// A moment of the machine, with the time of day set by so many seconds.
    fn at(boot: u64, set_by: i64) -> Moment {
        let wall = Timestamp::from_second(1_700_000_000 + boot.cast_signed() + set_by).unwrap();
        Moment { wall, boot: BootTime::new(Duration::from_secs(boot)) }
    }

    fn cluster() -> Cluster {
        reading(&[Kind::Application], None)
    }

    /// A cluster of which these kinds are read, everywhere or in one namespace.
    fn reading(kinds: &[Kind], namespace: Option<&str>) -> Cluster {
        let namespace = namespace.map(str::to_owned);
        let source =
            |kind: &Kind| Source { kind: *kind, namespace: namespace.clone(), labels: None, fleet: None };
        let stale_after = SignedDuration::from_secs(180);
        Cluster::new(
            "blue".to_owned(),
            kinds.iter().map(source).collect(),
            stale_after,
            Destinations::default(),
        )
    }

    #[test]
    fn what_lies_in_a_namespace_that_is_not_read_is_not_missing() {
        let now = at(1000, 0);
        let shop: Seen = serde_json::from_value(serde_json::json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": { "name": "shop", "namespace": "apps", "generation": 1 },
            "spec": { "interval": "10m", "sourceRef":
                { "kind": "GitRepository", "name": "all", "namespace": "flux-system" } },
            "status": { "observedGeneration": 1, "lastAppliedRevision": "main@sha1:a", "lastAttemptedRevision": "main@sha1:a",
                "conditions": [{ "type": "Ready", "status": "True", "reason": "ReconciliationSucceeded",
                    "message": "", "observedGeneration": 1, "lastTransitionTime": now.wall.to_string() }],
                "history": [{ "lastReconciled": now.wall.to_string(), "lastReconciledStatus": "ReconciliationSucceeded" }] },
        }))
        .unwrap();
        for (namespace, reason) in [
            (Some("apps"), kubernetes::Reason::RelatedUnseen),
            (Some("flux-system"), kubernetes::Reason::SourceMissing),
            (None, kubernetes::Reason::SourceMissing),
        ] {
            let cluster = reading(&[Kind::Kustomization, Kind::GitRepository], namespace);
            for index in [0, 1] {
                cluster.take(index, &Event::Init, now);
                if index == 0 {
                    cluster.take(index, &Event::InitApply(shop.clone()), now);
                }
                cluster.take(index, &Event::InitDone, now);
                cluster.followed(index, now);
            }
            cluster.look(now);
            let judged = judge(&shop.object, &cluster.read().snapshot, now.wall, &Limits::default());
            assert_eq!(judged.reason, reason, "{namespace:?}: {}", judged.sentence);
        }
    }

    #[test]
    fn convergence_is_measured_by_a_clock_that_nobody_can_set() {
        let app = |revision: &str, sync: &str| -> Seen {
            serde_json::from_value(serde_json::json!({
                "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
                "metadata": { "name": "shop", "namespace": "argocd" },
                "spec": { "source": { "repoURL": "https://git.example.com/apps.git", "targetRevision": "main" },
                    "syncPolicy": { "automated": {} } },
                "status": { "sync": { "status": sync, "revision": revision }, "health": { "status": "Healthy" },
                    "reconciledAt": "2026-11-21T03:00:00Z" },
            }))
            .unwrap()
        };
        for set_by in [-86_400, -3600, -10, 0, 10, 3600, 86_400] {
            let cluster = cluster();
            for event in [Event::Init, Event::InitApply(app("a", "Synced")), Event::InitDone] {
                cluster.take(0, &event, at(1000, 0));
            }
            cluster.followed(0, at(1000, 0));
            let seen = |event: Option<Event<Seen>>, now: Moment| {
                if let Some(event) = event {
                    cluster.take(0, &event, now);
                }
                cluster.look(now);
                let state = cluster.read();
                let (_, convergence) = state.history.convergence().next().expect("the application's source");
                (
                    convergence.open.map(|open| now.wall.duration_since(open).as_secs()),
                    convergence.last.map(|last| last.as_secs()),
                )
            };
            assert_eq!(seen(None, at(1000, 0)), (None, None));
            assert_eq!(seen(Some(Event::Apply(app("b", "OutOfSync"))), at(1010, 0)), (Some(0), None));
            // Two scrapes at once: the one that looks later may bring the earlier moment.
            cluster.look(at(1008, 0));
            assert_eq!(seen(None, at(1040, set_by)), (Some(30), None), "set by {set_by} s");
            cluster.look(at(1036, set_by));
            assert_eq!(
                seen(Some(Event::Apply(app("b", "Synced"))), at(1070, set_by)),
                (None, Some(60)),
                "set by {set_by} s"
            );
        }
    }

    #[test]
    fn silence_is_measured_by_a_clock_that_nobody_can_set() {
        let cluster = cluster();
        for event in [Event::Init, Event::InitDone] {
            cluster.take(0, &event, at(1000, 0));
        }
        cluster.followed(0, at(1000, 0));
        let up = |now| cluster.look(now)[&Kind::Application].up;
        for set_by in [-86_400, -3600, -200, 0, 200, 3600, 86_400] {
            assert!(up(at(1180, set_by)), "set by {set_by} s");
            assert!(!up(at(1181, set_by)), "set by {set_by} s");
            let state = cluster.read();
            let said = KindState::Failed("nothing was heard from the API for 181 s".to_owned());
            assert_eq!(*state.snapshot.state(Kind::Application), said);
        }
    }
}

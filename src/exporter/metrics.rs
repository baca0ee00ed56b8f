//! What the exporter shows: computed at each scrape from what is known at that moment, so what vanishes from a cluster
//! vanishes from the page.
//!
//! Of a kind that is not known completely only the verdicts are shown, as unknown: an old state is no state.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use prometheus_client::{
    collector::Collector as Collect,
    encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use super::{
    Cluster, Collector, Probe,
    families::{FAMILIES, Family, Id, Type},
};
use crate::{
    clock,
    kubernetes::{
        self, Application, BUCKETS, Backup, Destination, Detail, Durations, Flux, History, Kind, KindState,
        Limits, Location, Object, Pod, Reason, Restore, Schedule, Snapshot,
    },
    metrics::seconds,
    model::Timestamp,
};

/// One cluster, as it is to be shown.
#[derive(Debug)]
pub struct View<'a> {
    /// The label `runner_cluster`.
    pub name: &'a str,
    /// Its objects.
    pub snapshot: &'a Snapshot,
    /// What was seen before.
    pub history: &'a History,
    /// The own probe.
    pub probe: &'a Probe,
    /// How what watches it stands.
    pub collectors: BTreeMap<Kind, Collector>,
}

/// The clusters that are watched, shown at each scrape.
#[derive(Debug)]
pub struct Watched {
    /// The clusters.
    pub clusters: Vec<Arc<Cluster>>,
    /// How long is too long.
    pub limits: Limits,
    /// The clock.
    pub now: fn() -> Timestamp,
}

impl Collect for Watched {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let moment = clock::moment(self.now);
        let now = moment.wall;
        // Before the locks are taken: it writes.
        let looks: Vec<_> = self.clusters.iter().map(|cluster| cluster.look(moment)).collect();
        let states: Vec<_> = self.clusters.iter().map(|cluster| cluster.read()).collect();
        let views: Vec<View<'_>> = self
            .clusters
            .iter()
            .zip(&states)
            .zip(looks)
            .map(|((cluster, state), collectors)| View {
                name: &cluster.name,
                snapshot: &state.snapshot,
                history: &state.history,
                probe: &state.probe,
                collectors,
            })
            .collect();
        encode(&views, now, &self.limits, &mut encoder)
    }
}

/// Writes what is known of the clusters.
///
/// # Errors
/// A label or a value that cannot be written.
pub fn encode(
    clusters: &[View<'_>],
    now: Timestamp,
    limits: &Limits,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), std::fmt::Error> {
    let mut page = Samples::default();
    let writers = writers(clusters);
    for cluster in clusters {
        let mut one = One { page: &mut page, cluster, now, limits };
        one.machinery();
        one.objects();
        one.runners();
        one.velero(&writers);
        one.argocd();
        one.flux();
        one.history();
    }
    page.write(encoder)
}

type Text<'a> = Cow<'a, str>;

/// Characters of a label that joins what there may be any number of.
const LONGEST: usize = 200;

#[derive(Debug)]
enum Sample<'a> {
    Number(f64),
    Histogram(&'a Durations),
}

/// Samples by family.
#[derive(Debug, Default)]
struct Samples<'a>(BTreeMap<Id, Vec<(Vec<Text<'a>>, Sample<'a>)>>);

impl<'a> Samples<'a> {
    fn write(self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (id, samples) in self.0 {
            let family: &Family = &FAMILIES[id as usize];
            let unit = family.seconds.then_some(&Unit::Seconds);
            let kind = match family.kind {
                Type::Gauge => MetricType::Gauge,
                Type::Counter => MetricType::Counter,
                Type::Info => MetricType::Info,
                Type::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(family.stem, family.help, unit, kind)?;
            for (values, value) in &samples {
                let names = std::iter::once(&"runner_cluster").chain(family.labels);
                let labels: Vec<(&str, &str)> =
                    names.zip(values).map(|(name, value)| (*name, value.as_ref())).collect();
                match (family.kind, value) {
                    (Type::Info, _) => metric.encode_info(&labels)?,
                    (Type::Counter, Sample::Number(value)) => {
                        ConstCounter::new(*value).encode(metric.encode_family(&labels)?)?;
                    }
                    (_, Sample::Number(value)) => {
                        ConstGauge::new(*value).encode(metric.encode_family(&labels)?)?;
                    }
                    (_, Sample::Histogram(took)) => {
                        let buckets: Vec<(f64, u64)> = BUCKETS.into_iter().zip(took.counts).collect();
                        let count = took.counts.iter().sum();
                        metric
                            .encode_family(&labels)?
                            .encode_histogram::<NoLabelSet>(took.sum, count, &buckets, None)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// How many locations may write to a store.
fn writers(clusters: &[View<'_>]) -> BTreeMap<String, usize> {
    let mut writers = BTreeMap::new();
    for cluster in clusters {
        for object in cluster.snapshot.of(Kind::BackupStorageLocation) {
            if let Detail::Location(location) = &object.detail
                && !location.read_only
            {
                *writers.entry(location.store(cluster.name)).or_default() += 1;
            }
        }
    }
    writers
}

fn text(value: Option<&String>) -> &str {
    value.map_or("", String::as_str)
}

/// An application may have any number of sources: a label has an end.
fn cut(text: &str) -> Text<'_> {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]).into(),
        None => text.into(),
    }
}

/// What nobody has looked at has no phase.
fn phase(phase: Option<&String>) -> &str {
    phase.map_or("New", String::as_str)
}

fn word(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// One cluster on its way to the page.
struct One<'p, 'a> {
    page: &'p mut Samples<'a>,
    cluster: &'p View<'a>,
    now: Timestamp,
    limits: &'a Limits,
}

impl<'a> One<'_, 'a> {
    fn put<const N: usize>(&mut self, id: Id, labels: [Text<'a>; N], value: f64) {
        self.put_for(self.cluster.name, id, labels, Sample::Number(value));
    }

    /// Of what is told here and counts in another cluster.
    fn put_for<const N: usize>(
        &mut self,
        runner_cluster: &'a str,
        id: Id,
        labels: [Text<'a>; N],
        sample: Sample<'a>,
    ) {
        debug_assert_eq!(FAMILIES[id as usize].labels.len(), N, "{id:?}");
        let values = std::iter::once(Text::from(runner_cluster)).chain(labels).collect();
        self.page.0.entry(id).or_default().push((values, sample));
    }

    /// The cluster that an object is about: of an application the one that it deploys to, if that is known.
    fn about(&self, object: &Object) -> &'a str {
        match &object.detail {
            Detail::Application(app) => match self.limits.destinations.of(app) {
                Destination::Cluster(cluster) => cluster,
                Destination::Own | Destination::Unmapped => self.cluster.name,
            },
            _ => self.cluster.name,
        }
    }

    fn put_time<const N: usize>(&mut self, id: Id, labels: [Text<'a>; N], time: Option<Timestamp>) {
        if let Some(time) = time {
            self.put(id, labels, seconds(time));
        }
    }

    /// The objects of a kind, when all of them are known.
    fn known(&self, kind: Kind) -> impl Iterator<Item = &'a Object> + use<'a> {
        let synced = *self.cluster.snapshot.state(kind) == KindState::Synced;
        let snapshot = self.cluster.snapshot;
        synced.then(|| snapshot.of(kind)).into_iter().flatten()
    }

    fn machinery(&mut self) {
        let cluster = self.cluster;
        if let Some(up) = cluster.probe.up {
            self.put(Id::ApiUp, [], f64::from(up));
            for reason in super::ProbeReason::ALL {
                let failed = cluster.probe.failure.as_ref().is_some_and(|failure| failure.reason == reason);
                self.put(Id::ApiProbeFailed, [reason.as_str().into()], f64::from(failed));
            }
            self.put(Id::ApiProbeDuration, [], cluster.probe.took.as_secs_f64());
        }
        self.put_time(Id::ApiLastSuccess, [], cluster.probe.last_success);
        for (kind, collector) in &cluster.collectors {
            let name = || Text::from(kind.plural());
            self.put(Id::CollectorUp, [name()], f64::from(collector.up));
            self.put_time(Id::CollectorLastSuccess, [name()], collector.last_success);
            // From zero on, so that the first is an increase.
            for reason in super::Reason::ALL {
                let count = collector.errors.get(&reason).copied().unwrap_or_default();
                self.put(Id::CollectorErrors, [name(), reason.as_str().into()], count as f64);
            }
            if let (Some(crd), Some(installed)) = (kind.crd(), collector.installed) {
                self.put(Id::CrdInstalled, [crd.into()], f64::from(installed));
            }
            let count = cluster.snapshot.count(*kind) as f64;
            self.put(Id::Objects, [kind.as_str().into()], count);
        }
    }

    fn objects(&mut self) {
        let snapshot = self.cluster.snapshot;
        let mut stuck: BTreeMap<(&'a str, &'a str), u32> = BTreeMap::new();
        let backups = *snapshot.state(Kind::Backup) == KindState::Synced;
        for object in self.known(Kind::Schedule).filter(|_| backups) {
            stuck.insert((&object.namespace, &object.name), 0);
        }
        for object in snapshot.all() {
            let judgement = kubernetes::judge(object, snapshot, self.now, self.limits);
            if let Detail::Backup(backup) = &object.detail
                && backups
            {
                let schedule = text(backup.schedule.as_ref());
                *stuck.entry((&object.namespace, schedule)).or_default() +=
                    u32::from(judgement.reason == Reason::Stuck);
            }
            let labels = [
                self.cluster.name.into(),
                object.kind.as_str().into(),
                object.namespace.as_str().into(),
                object.name.as_str().into(),
                judgement.verdict.as_str().into(),
                judgement.reason.as_str().into(),
            ];
            self.put_for(self.about(object), Id::ObjectVerdict, labels, Sample::Number(1.0));
        }
        for ((namespace, schedule), count) in stuck {
            self.put(Id::BackupsStuck, [namespace.into(), schedule.into()], f64::from(count));
        }
    }

    fn runners(&mut self) {
        let mut counts: BTreeMap<[&'a str; 4], u32> = BTreeMap::new();
        for object in self.known(Kind::Pod) {
            let Detail::Pod(Pod { fleets, phase, ready, restarts, .. }) = &object.detail else { continue };
            let ready = match ready.as_deref() {
                Some("True") => "true",
                Some("False") => "false",
                _ => "unknown",
            };
            for fleet in fleets {
                *counts
                    .entry([fleet, &object.namespace, phase.as_deref().unwrap_or("Unknown"), ready])
                    .or_default() += 1;
                let labels = [fleet.into(), object.namespace.as_str().into(), object.name.as_str().into()];
                self.put(Id::RunnerPodRestarts, labels, *restarts as f64);
            }
        }
        for (labels, count) in counts {
            self.put(Id::RunnerPods, labels.map(Text::from), f64::from(count));
        }
    }

    fn velero(&mut self, writers: &BTreeMap<String, usize>) {
        self.backups();
        for object in self.known(Kind::Schedule) {
            let Detail::Schedule(Schedule { paused, interval, last_backup, .. }) = &object.detail else {
                continue;
            };
            let labels = || [object.namespace.as_str().into(), object.name.as_str().into()];
            self.put(Id::SchedulePaused, labels(), f64::from(*paused));
            if let Some(interval) = interval {
                self.put(Id::ScheduleInterval, labels(), interval.as_secs_f64());
            }
            self.put_time(Id::ScheduleLastBackup, labels(), *last_backup);
        }
        for object in self.known(Kind::BackupStorageLocation) {
            if let Detail::Location(location) = &object.detail {
                self.location(object, location, writers);
            }
        }
        let mut restores: BTreeMap<[&'a str; 2], u32> = BTreeMap::new();
        for object in self.known(Kind::Restore) {
            if let Detail::Restore(Restore { phase: p, .. }) = &object.detail {
                *restores.entry([&object.namespace, phase(p.as_ref())]).or_default() += 1;
            }
        }
        for (labels, count) in restores {
            self.put(Id::Restores, labels.map(Text::from), f64::from(count));
        }
    }

    fn backups(&mut self) {
        let mut counts: BTreeMap<[&'a str; 3], u32> = BTreeMap::new();
        for object in self.known(Kind::Backup) {
            let Detail::Backup(Backup { schedule, phase: p, .. }) = &object.detail else { continue };
            *counts.entry([&object.namespace, text(schedule.as_ref()), phase(p.as_ref())]).or_default() += 1;
        }
        for (labels, count) in counts {
            self.put(Id::Backups, labels.map(Text::from), f64::from(count));
        }
        let rows = kubernetes::schedule_backups(self.cluster.snapshot, self.now, self.limits);
        if !rows.is_empty() {
            self.put(Id::RpoUnknown, [], self.limits.rpo_unknown.as_secs_f64());
        }
        for row in rows {
            let place = kubernetes::location(self.cluster.snapshot, row.namespace, row.location);
            let store = place.map_or(String::new(), |place| place.store(self.cluster.name));
            let key = || -> [Text<'a>; 6] {
                let [namespace, schedule, location, bucket, prefix] =
                    [row.namespace, row.schedule, row.location, row.bucket, row.prefix].map(Text::from);
                [namespace, schedule, location, bucket, prefix, store.clone().into()]
            };
            self.put_time(Id::LastCompleted, key(), row.newest);
            if let Some(rpo) = row.rpo {
                self.put(Id::Rpo, key(), rpo.as_secs_f64());
            }
            if let Some(standing) = row.standing {
                let [namespace, schedule, location, bucket, prefix, store] = key();
                let labels = [namespace, schedule, location, bucket, prefix, store, standing.as_str().into()];
                self.put(Id::ScheduleStanding, labels, 1.0);
            }
        }
    }

    fn location(&mut self, object: &'a Object, location: &'a Location, writers: &BTreeMap<String, usize>) {
        let labels = || -> [Text<'a>; 2] { [object.namespace.as_str().into(), object.name.as_str().into()] };
        let [namespace, name] = labels();
        let store = location.store(self.cluster.name);
        let info = [
            namespace,
            name,
            location.provider.as_str().into(),
            location.bucket.as_str().into(),
            location.prefix.as_str().into(),
            location.endpoint.as_str().into(),
            store.clone().into(),
            if location.read_only { "ReadOnly" } else { "ReadWrite" }.into(),
            word(location.default).into(),
        ];
        self.put(Id::LocationInfo, info, 1.0);
        // Without a phase it counts as unavailable, as it does for Velero.
        let available = match location.phase.as_deref() {
            Some("Available") => Some(true),
            None | Some("Unavailable") => Some(false),
            Some(_) => None,
        };
        if let Some(available) = available {
            self.put(Id::LocationAvailable, labels(), f64::from(available));
        }
        self.put_time(Id::LocationValidated, labels(), location.validated);
        self.put_time(Id::LocationSynced, labels(), location.synced);
        let count = writers.get(&store).copied().unwrap_or(0);
        self.put(Id::LocationWriters, labels(), count as f64);
    }

    fn argocd(&mut self) {
        for object in self.known(Kind::Application) {
            let Detail::Application(app) = &object.detail else { continue };
            let Application { project, health, sync, operation, autosync, destination, .. } = app.as_ref();
            let operation = operation.as_ref().map_or("", |operation| operation.phase.as_str());
            let about = self.about(object);
            let own = [self.cluster.name, &object.namespace, &object.name];
            let labels = [
                own[0].into(),
                own[1].into(),
                own[2].into(),
                project.into(),
                text(health.as_ref()).into(),
                text(sync.as_ref()).into(),
                operation.into(),
                word(*autosync).into(),
                cut(&app.repo),
                cut(&app.target),
                cut(&app.path),
                cut(&app.chart),
                destination.into(),
            ];
            self.put_for(about, Id::ApplicationInfo, labels, Sample::Number(1.0));
            if let Some(at) = app.reconciled {
                let sample = Sample::Number(seconds(at));
                self.put_for(about, Id::ApplicationReconciled, own.map(Text::from), sample);
            }
        }
    }

    fn flux(&mut self) {
        for kind in Kind::ALL {
            for object in self.known(kind) {
                if let Detail::Flux(flux) = &object.detail {
                    self.flux_object(object, flux);
                }
            }
        }
    }

    fn flux_object(&mut self, object: &'a Object, flux: &'a Flux) {
        let own = [object.kind.as_str(), &object.namespace, &object.name];
        let labels = || own.map(Text::from);
        if let Some(ready) = &flux.ready {
            let current = ready.generation.is_some() && ready.generation == object.generation;
            self.put(Id::FluxGenerationCurrent, labels(), f64::from(current));
            match ready.status.as_str() {
                "True" if current => self.put(Id::FluxReady, labels(), 1.0),
                "False" if current => self.put(Id::FluxReady, labels(), 0.0),
                _ => {}
            }
        }
        self.put(Id::FluxSuspended, labels(), f64::from(flux.suspended));
        let (kind, namespace, name) =
            flux.source.as_ref().map_or(("", "", ""), |s| (&s.kind, &s.namespace, &s.name));
        let [own_kind, own_namespace, own_name] = own;
        let info = [own_kind, own_namespace, own_name, text(flux.revision.as_ref()), kind, namespace, name];
        self.put(Id::FluxInfo, info.map(Text::from), 1.0);
        self.put_time(Id::FluxReconciled, labels(), flux.heartbeat(object.kind));
        if let Some(interval) = flux.interval {
            self.put(Id::FluxInterval, labels(), interval.as_secs_f64());
        }
    }

    fn history(&mut self) {
        let history = self.cluster.history;
        for (key, convergence) in history.convergence() {
            let own = self.cluster.name;
            let about = key.destination.as_deref().unwrap_or(own);
            let labels = |state| [own, key.tool.as_str(), &key.source, state].map(Text::from);
            if let Some(last) = convergence.last {
                let last = Sample::Number(last.as_secs_f64());
                self.put_for(about, Id::Convergence, labels("done"), last);
            }
            if let Some(open) = convergence.open {
                let lasts = self.now.duration_since(open).as_secs_f64();
                self.put_for(about, Id::Convergence, labels("open"), Sample::Number(lasts.max(0.0)));
            }
        }
        for (key, open) in history.unmeasured() {
            let own = self.cluster.name;
            let about = key.destination.as_deref().unwrap_or(own);
            let labels = [own, key.tool.as_str(), &key.source, "unmeasured"].map(Text::from);
            let lasts = self.now.duration_since(open).as_secs_f64();
            self.put_for(about, Id::Convergence, labels, Sample::Number(lasts.max(0.0)));
        }
        for (vanished, count) in history.vanished() {
            let labels = [&vanished.namespace, &vanished.schedule, &vanished.location];
            self.put(Id::BackupsVanished, labels.map(|l| l.as_str().into()), count as f64);
        }
        for (key, took) in history.took() {
            let own = self.cluster.name;
            let labels = [own, key.tool.as_str(), &key.source].map(Text::from);
            let about = key.destination.as_deref().unwrap_or(own);
            self.put_for(about, Id::ConvergenceDuration, labels, Sample::Histogram(took));
        }
        for (namespace, location, backups, emptied) in history.locations() {
            self.put(Id::LocationBackups, [namespace.into(), location.into()], backups as f64);
            self.put(Id::LocationEmptied, [namespace.into(), location.into()], f64::from(emptied));
        }
    }
}

//! What no single look at a cluster can tell: how long a revision took to arrive everywhere, and that backups vanished.
//!
//! Folded from one snapshot after the other. A kind that is not completely known at the moment is left as it was.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::{Application, Backup, Destinations, Detail, Flux, Kind, KindState, Object, Snapshot, Tool};

/// What is remembered of one cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    sources: BTreeMap<SourceKey, Course>,
    /// Whose objects were looked at before: what is new since then began under our eyes.
    looked: BTreeSet<Tool>,
    buckets: BTreeMap<LocationKey, Bucket>,
    vanished: BTreeMap<Vanished, u64>,
}

/// A source of wanted state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceKey {
    /// Argo CD or Flux.
    pub tool: Tool,
    /// For Flux kind, namespace and name; for Argo CD the repository and what is followed in it.
    pub source: String,
    /// The runner cluster in which it arrives, where that is another one than the one that tells it.
    pub destination: Option<String>,
}

/// Namespace and name of a backup location.
type LocationKey = (String, String);
type Name = (String, String);
/// Kind, namespace and name of a source.
type Place<'a> = (Kind, &'a str, &'a str);

/// Whose backups vanished.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vanished {
    /// The namespace.
    pub namespace: String,
    /// The schedule; empty for backups made by hand.
    pub schedule: String,
    /// The location.
    pub location: String,
}

/// How a source's revisions arrived.
#[derive(Debug, Clone, Default, PartialEq)]
struct Course {
    /// The revision that everything shall be on.
    revision: String,
    first_seen: Option<Timestamp>,
    /// It was under way before anybody looked: how long it takes will not be known.
    unmeasured: bool,
    /// Since when some revision has not arrived everywhere.
    open: Option<Timestamp>,
    /// That is only since the first look.
    open_before: bool,
    /// How long the last one that arrived took.
    last: Option<SignedDuration>,
    /// How long all took that arrived.
    took: Durations,
    /// What was ready on the revision at some time.
    arrived: BTreeSet<Name>,
    /// Revisions seen, oldest first: what is seen again is not new.
    known: VecDeque<String>,
}

/// How long revisions take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convergence {
    /// From the first sight of the last revision that arrived to everything being ready on it.
    pub last: Option<SignedDuration>,
    /// Since when something is behind; none when nothing is.
    pub open: Option<Timestamp>,
}

/// How many took how long, as a histogram counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Durations {
    /// Together, in seconds.
    pub sum: f64,
    /// By the first of [`BUCKETS`] that they fit in.
    pub counts: [u64; BUCKETS.len()],
}

/// Upper bounds of convergence in seconds: a quarter of an hour is one, the limit of the alert.
pub const BUCKETS: [f64; 10] = [10., 30., 60., 120., 300., 600., 900., 1800., 3600., f64::INFINITY];

impl Durations {
    fn add(&mut self, took: SignedDuration) {
        let seconds = took.as_secs_f64().max(0.0);
        self.sum += seconds;
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len() - 1);
        self.counts[bucket] += 1;
    }
}

/// The backups of a location that can be restored.
#[derive(Debug, Clone, Default, PartialEq)]
struct Bucket {
    backups: BTreeMap<String, Kept>,
    emptied: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Kept {
    schedule: String,
    expires: Option<Timestamp>,
}

/// What applies a source.
struct Member<'a> {
    name: Name,
    /// The revision that it is on, when it is ready there.
    ready: Option<&'a str>,
    /// Since when it has been behind, where the objects tell.
    behind: Option<Timestamp>,
}

const KNOWN: usize = 16;

impl History {
    /// Takes in what is known now. Backups that were seen being deleted are forgotten by the snapshot.
    pub fn fold(&mut self, snapshot: &mut Snapshot, destinations: &Destinations, now: Timestamp) {
        let retired = snapshot.take_retired();
        let synced = |kind| *snapshot.state(kind) == KindState::Synced;
        let known = |kind| matches!(snapshot.state(kind), KindState::Synced | KindState::Absent);
        let [kustomizations, releases] = [Kind::Kustomization, Kind::HelmRelease];
        if known(kustomizations) && known(releases) && (synced(kustomizations) || synced(releases)) {
            self.flux(snapshot, now);
        }
        if synced(Kind::Application) {
            self.argocd(snapshot, destinations, now);
        }
        // Of a kind that is not installed there is nothing, and what comes is new.
        for tool in [Tool::Argocd, Tool::Flux] {
            if Kind::ALL.into_iter().filter(|kind| kind.tool() == tool).all(known) {
                self.looked.insert(tool);
            }
        }
        if synced(Kind::Backup) {
            self.backups(snapshot, &retired, now);
        }
        if synced(Kind::BackupStorageLocation) {
            let exists = |(namespace, name): &LocationKey| {
                snapshot.get(Kind::BackupStorageLocation, namespace, name).is_some()
            };
            self.buckets.retain(|key, _| exists(key));
            self.vanished.retain(|v, _| exists(&(v.namespace.clone(), v.location.clone())));
        }
    }

    /// The time of day was set forward by so much: what is under way has begun that much later by it.
    pub fn clock_was_set(&mut self, by: SignedDuration) {
        let moved = |at: Timestamp| at.checked_add(by).unwrap_or(at);
        for course in self.sources.values_mut() {
            course.open = course.open.map(moved);
            course.first_seen = course.first_seen.map(moved);
        }
    }

    /// How long revisions take, by source.
    pub fn convergence(&self) -> impl Iterator<Item = (&SourceKey, Convergence)> {
        self.sources.iter().map(|(key, c)| (key, Convergence { last: c.last, open: c.open }))
    }

    /// What was on its way at the first look, and is since: nobody knows since when.
    pub fn unmeasured(&self) -> impl Iterator<Item = (&SourceKey, Timestamp)> {
        self.sources.iter().filter(|(_, c)| c.open_before).filter_map(|(key, c)| Some((key, c.open?)))
    }

    /// How long all revisions took that arrived, by source.
    pub fn took(&self) -> impl Iterator<Item = (&SourceKey, &Durations)> {
        self.sources.iter().map(|(key, course)| (key, &course.took))
    }

    /// Backups that could be restored and are gone, neither expired nor deleted here.
    pub fn vanished(&self) -> impl Iterator<Item = (&Vanished, u64)> {
        self.vanished.iter().map(|(key, count)| (key, *count))
    }

    /// By namespace and location in which there was a backup: how many can be restored, and whether all vanished and
    /// none came since.
    pub fn locations(&self) -> impl Iterator<Item = (&str, &str, usize, bool)> {
        self.buckets.iter().map(|((namespace, name), b)| (&**namespace, &**name, b.backups.len(), b.emptied))
    }

    fn flux(&mut self, snapshot: &Snapshot, now: Timestamp) {
        let mut members: BTreeMap<Place<'_>, Vec<Member<'_>>> = BTreeMap::new();
        for object in snapshot.of(Kind::Kustomization).chain(snapshot.of(Kind::HelmRelease)) {
            let Detail::Flux(flux) = &object.detail else { continue };
            // A release has arrived with its chart, and with what its Kustomization applied.
            let by = flux.applied_by.as_ref().filter(|_| object.kind == Kind::HelmRelease);
            let by = by.and_then(|by| snapshot.get(Kind::Kustomization, &by.namespace, &by.name));
            let by = by.and_then(|by| match &by.detail {
                Detail::Flux(kustomization) => Some((by, kustomization.as_ref())),
                _ => None,
            });
            for (applies, at) in [Some((object, flux.as_ref())), by].into_iter().flatten() {
                let Some(source) = &at.source else { continue };
                let Some(kind) = Kind::of_flux(&source.kind) else { continue };
                let place = (kind, source.namespace.as_str(), source.name.as_str());
                let joined = members.entry(place).or_default();
                // What a person stopped does not arrive, and nobody waits for it.
                if flux.suspended || at.suspended {
                    continue;
                }
                let found = match snapshot.get(kind, &source.namespace, &source.name).map(|o| &o.detail) {
                    Some(Detail::Flux(source)) => Some(source),
                    _ => None,
                };
                let newest = found.and_then(|source| source.revision.as_deref());
                let tried = newest.is_some_and(|r| at.is_at(applies.kind, r));
                let there = tried && converged(object, flux);
                let name = (format!("{}/{}", object.kind, object.namespace), object.name.clone());
                // What was tried and is not ready may have been ready meanwhile.
                let behind = found.and_then(|source| source.artifact_updated).filter(|_| !tried);
                let behind = behind.map(|made| object.created.map_or(made, |created| made.max(created)));
                joined.push(Member { name, ready: newest.filter(|_| there), behind });
            }
        }
        let mut present = BTreeSet::new();
        for ((kind, namespace, name), members) in members {
            if *snapshot.state(kind) != KindState::Synced {
                // Nothing is known of it now; what was known stays.
                present.insert(flux_key(kind, namespace, name));
                continue;
            }
            let Some(Detail::Flux(source)) = snapshot.get(kind, namespace, name).map(|o| &o.detail) else {
                continue;
            };
            let Some(revision) = &source.revision else { continue };
            let key = flux_key(kind, namespace, name);
            present.insert(key.clone());
            let course = self.sources.entry(key).or_default();
            course.step(revision, &members, self.looked.contains(&Tool::Flux), now);
        }
        self.sources.retain(|key, _| key.tool != Tool::Flux || present.contains(key));
    }

    fn argocd(&mut self, snapshot: &Snapshot, destinations: &Destinations, now: Timestamp) {
        /// When it was last compared, with which revision, and what it is.
        type Compared<'a> = (Option<Timestamp>, Option<&'a str>, Member<'a>);
        let mut groups: BTreeMap<SourceKey, Vec<Compared<'_>>> = BTreeMap::new();
        for object in snapshot.of(Kind::Application) {
            let Detail::Application(app) = &object.detail else { continue };
            // What a person syncs does not arrive by itself.
            if !app.autosync {
                continue;
            }
            // Without a comparison the revision is a branch's name: no word on what is wanted, and nothing has arrived.
            let compared = app.sync.as_deref().is_some_and(|sync| sync != "Unknown");
            let revision = app.revision.as_deref().filter(|_| compared);
            let ready = revision.filter(|_| settled(app));
            let name = (object.namespace.clone(), object.name.clone());
            let member = Member { name, ready, behind: None };
            let group = groups.entry(argocd_key(app, destinations)).or_default();
            group.push((app.reconciled, revision, member));
        }
        let waited_for: BTreeSet<SourceKey> = groups.keys().cloned().collect();
        for (key, group) in groups {
            let mut course = self.sources.remove(&key).unwrap_or_default();
            let revisions: Vec<_> =
                group.iter().filter_map(|(at, revision, _)| Some((at, (*revision)?))).collect();
            let newest = revisions.iter().max_by_key(|(at, _)| *at).map(|(_, revision)| *revision);
            let unseen = revisions
                .iter()
                .map(|(_, revision)| *revision)
                .find(|r| !course.known.iter().any(|k| k == r));
            let all_alike = newest.filter(|newest| revisions.iter().all(|(_, revision)| revision == newest));
            let wanted = match (course.revision.is_empty(), all_alike, unseen) {
                (true, ..) => newest.map(str::to_owned),
                (_, Some(all), _) => Some(all.to_owned()),
                (_, None, Some(unseen)) => Some(unseen.to_owned()),
                (_, None, None) => Some(course.revision.clone()),
            };
            // Nothing was ever compared.
            let Some(wanted) = wanted else { continue };
            for (_, seen) in &revisions {
                course.learn(seen);
            }
            let members: Vec<Member<'_>> = group.into_iter().map(|(.., member)| member).collect();
            course.step(&wanted, &members, self.looked.contains(&Tool::Argocd), now);
            self.sources.insert(key, course);
        }
        // One that a person syncs from now on is waited for no more.
        self.sources.retain(|key, _| key.tool != Tool::Argocd || waited_for.contains(key));
    }

    fn backups(&mut self, snapshot: &Snapshot, retired: &BTreeSet<Name>, now: Timestamp) {
        let mut here: BTreeMap<LocationKey, BTreeMap<String, Kept>> = BTreeMap::new();
        for object in snapshot.of(Kind::Backup) {
            let Detail::Backup(backup) = &object.detail else { continue };
            let Some(location) = kept_in(object, backup) else { continue };
            let schedule = backup.schedule.clone().unwrap_or_default();
            let key = Vanished {
                namespace: object.namespace.clone(),
                schedule: schedule.clone(),
                location: location.to_owned(),
            };
            // From zero on, so that the first to vanish is an increase.
            self.vanished.entry(key).or_default();
            here.entry((object.namespace.clone(), location.to_owned()))
                .or_default()
                .insert(object.name.clone(), Kept { schedule, expires: backup.expires });
        }
        for (key, bucket) in &mut self.buckets {
            let now_here = here.remove(key).unwrap_or_default();
            let gone: Vec<&Kept> = bucket
                .backups
                .iter()
                .filter(|(name, _)| !now_here.contains_key(*name))
                .filter(|(name, _)| !retired.contains(&(key.0.clone(), (*name).clone())))
                .filter(|(name, _)| !on_its_way_out(snapshot, &key.0, name))
                .map(|(_, kept)| kept)
                .filter(|kept| kept.expires.is_none_or(|expires| expires > now))
                .collect();
            for kept in &gone {
                let vanished = Vanished {
                    namespace: key.0.clone(),
                    schedule: kept.schedule.clone(),
                    location: key.1.clone(),
                };
                *self.vanished.entry(vanished).or_default() += 1;
            }
            bucket.emptied = now_here.is_empty() && (bucket.emptied || !gone.is_empty());
            bucket.backups = now_here;
        }
        for (key, backups) in here {
            self.buckets.insert(key, Bucket { backups, emptied: false });
        }
    }
}

/// Where a backup can be restored from; none for one that is not complete or is being deleted.
fn kept_in<'a>(object: &Object, backup: &'a Backup) -> Option<&'a str> {
    let uploaded = matches!(backup.phase.as_deref(), Some("Completed" | "PartiallyFailed"));
    (uploaded && !object.deleting).then_some(backup.location.as_deref()).flatten()
}

/// It is still there, and being deleted.
fn on_its_way_out(snapshot: &Snapshot, namespace: &str, name: &str) -> bool {
    snapshot.get(Kind::Backup, namespace, name).is_some()
}

fn flux_key(kind: Kind, namespace: &str, name: &str) -> SourceKey {
    SourceKey { tool: Tool::Flux, source: format!("{kind}/{namespace}/{name}"), destination: None }
}

fn converged(object: &Object, flux: &Flux) -> bool {
    let current = |c: &super::Condition| c.status == "True" && c.generation == object.generation;
    flux.ready.as_ref().is_some_and(current)
}

fn argocd_key(app: &Application, destinations: &Destinations) -> SourceKey {
    SourceKey {
        tool: Tool::Argocd,
        // Charts of one repository have versions of their own.
        source: match app.chart.as_str() {
            "" => format!("{}@{}", app.repo, app.target),
            chart => format!("{}/{chart}@{}", app.repo, app.target),
        },
        destination: destinations.elsewhere(app).map(str::to_owned),
    }
}

fn settled(app: &Application) -> bool {
    let word = |value: &Option<String>, wanted| value.as_deref() == Some(wanted);
    // What is suspended is where it shall be: nobody waits for a CronJob that a person stopped, nor for a rollout that waits for one.
    word(&app.sync, "Synced") && (word(&app.health, "Healthy") || word(&app.health, "Suspended"))
}

impl Course {
    fn learn(&mut self, revision: &str) {
        if !self.known.iter().any(|known| known == revision) {
            self.known.push_back(revision.to_owned());
            if self.known.len() > KNOWN {
                self.known.pop_front();
            }
        }
    }

    /// One look: the wanted revision, and what applies it. `looked`: its tool was looked at before.
    fn step(&mut self, revision: &str, members: &[Member<'_>], looked: bool, now: Timestamp) {
        let first_look = self.revision.is_empty();
        if self.revision != revision {
            self.learn(revision);
            revision.clone_into(&mut self.revision);
            self.arrived.clear();
            self.first_seen = None;
        }
        if members.is_empty() {
            // All of it was stopped: nothing is under way, and how long that would have taken is not known.
            (self.open, self.first_seen) = (None, Some(now));
            self.arrived.clear();
            return;
        }
        let there: BTreeSet<&Name> = members.iter().map(|m| &m.name).collect();
        self.arrived.retain(|name| there.contains(name));
        self.arrived.extend(members.iter().filter(|m| m.ready == Some(revision)).map(|m| m.name.clone()));
        let behind = self.arrived.len() < there.len();
        if first_look && !behind {
            // It arrived before anybody looked: how long that took is not known, nor is it at the next look.
            self.first_seen = Some(now);
            return;
        }
        if self.first_seen.is_none() {
            // What is under way when everything is looked at for the first time has begun before.
            let before = first_look && !looked;
            let told = members.iter().filter_map(|m| m.behind).min().filter(|told| before && *told < now);
            self.unmeasured = before && told.is_none();
            let began = told.unwrap_or(now);
            self.first_seen = Some(began);
            if self.open.is_none() {
                (self.open, self.open_before) = (Some(began), self.unmeasured);
            }
        }
        if behind {
            // Something new that applies the same revision opens it again.
            if self.open.is_none() {
                (self.open, self.first_seen) = (Some(now), Some(now));
                (self.unmeasured, self.open_before) = (false, false);
            }
        } else if self.open.take().is_some() && !self.unmeasured {
            self.last = self.first_seen.map(|first| now.duration_since(first));
            if let Some(took) = self.last {
                self.took.add(took);
            }
        }
    }
}

//! The backups of each schedule, place by place: how old the newest may be, and whether anything is to be expected at all.
//!
//! A standby gets the backups of other clusters by Velero's sync, and none of their schedules. The location says which store
//! they are in, so that what the cluster with the schedule says of it can be found.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{Backup, Detail, Kind, KindState, Limits, Location, Object, Snapshot};

/// What is to be expected of a schedule's backups in a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// The schedule is in this cluster: there must be backups.
    Active,
    /// They came from the bucket, or may have: the schedule is in another cluster.
    Elsewhere,
    /// This cluster made them, and has the schedule no more.
    Retired,
    /// A person said that they do not count.
    Ignored,
}

impl Standing {
    /// The word, as in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Elsewhere => "elsewhere",
            Self::Retired => "retired",
            Self::Ignored => "ignored",
        }
    }
}

/// The backups of one schedule in one location. Where a schedule is in the cluster, all locations that can be written are
/// one: the one that it writes to now.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleBackups<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The schedule's name; empty for backups made by hand.
    pub schedule: &'a str,
    /// The location's name.
    pub location: &'a str,
    /// The bucket; empty when the location does not exist.
    pub bucket: &'a str,
    /// The prefix in the bucket.
    pub prefix: &'a str,
    /// What is to be expected; none for backups made by hand.
    pub standing: Option<Standing>,
    /// When the newest completed one began.
    pub newest: Option<Timestamp>,
    /// How old that may become; none when only another cluster knows.
    pub rpo: Option<SignedDuration>,
    made_here: bool,
}

/// Every schedule's backups; nothing as long as not all of Velero's objects are known.
pub fn schedule_backups<'a>(
    snapshot: &'a Snapshot,
    now: Timestamp,
    limits: &'a Limits,
) -> Vec<ScheduleBackups<'a>> {
    let known = |kind: &Kind| matches!(snapshot.state(*kind), KindState::Synced | KindState::Absent);
    if ![Kind::Backup, Kind::Schedule, Kind::BackupStorageLocation].iter().all(known) {
        return Vec::new();
    }
    let mut found: BTreeMap<[&'a str; 3], ScheduleBackups<'a>> = BTreeMap::new();
    let mut own: BTreeMap<[&'a str; 2], &'a str> = BTreeMap::new();
    for object in snapshot.of(Kind::Schedule).filter(|object| !object.deleting) {
        let Detail::Schedule(schedule) = &object.detail else { continue };
        let used = snapshot.location(&object.namespace, schedule.location.as_deref());
        let name = used.map(|used| used.name.as_str()).or(schedule.location.as_deref()).unwrap_or("default");
        let mut row = empty(snapshot, [&object.namespace, &object.name, name]);
        row.standing = Some(Standing::Active);
        row.rpo = schedule.interval.map(|interval| interval.saturating_add(limits.rpo_tolerance));
        own.insert([&object.namespace, &object.name], name);
        found.insert([&object.namespace, &object.name, name], row);
    }
    for object in snapshot.of(Kind::Backup) {
        let Some(backup) = uploaded(object) else { continue };
        let schedule = backup.schedule.as_deref().unwrap_or_default();
        let mut name = backup.location.as_deref().unwrap_or_default();
        // What is nowhere cannot be restored.
        let Some(location) = location(snapshot, &object.namespace, name) else { continue };
        if let Some(own) = own.get(&[object.namespace.as_str(), schedule]).filter(|_| !location.read_only) {
            name = own;
        }
        let key = [object.namespace.as_str(), schedule, name];
        let row = found.entry(key).or_insert_with(|| empty(snapshot, key));
        row.made_here &= !location.read_only && backup.was_brought(object) == Some(false);
        let began = backup.started.filter(|began| now.duration_since(*began) >= -limits.skew);
        if backup.phase.as_deref() == Some("Completed") {
            // A time in the future would be a backup that never grows old.
            row.newest = row.newest.max(began);
        }
    }
    // Also of backups that are gone: somebody may miss them still.
    for (namespace, schedule) in limits.rpo.iter().filter(|(_, said)| said.is_none()).map(|(key, _)| key) {
        for place in snapshot.within(Kind::BackupStorageLocation, namespace) {
            let key = [place.namespace.as_str(), schedule.as_str(), place.name.as_str()];
            found.entry(key).or_insert_with(|| empty(snapshot, key));
        }
    }
    let mut rows: Vec<_> = found.into_values().collect();
    for row in rows.iter_mut().filter(|row| !row.schedule.is_empty()) {
        let there = snapshot.get(Kind::Schedule, row.namespace, row.schedule).is_some();
        let standing = match row.standing {
            None if row.made_here && !there => Standing::Retired,
            None => Standing::Elsewhere,
            Some(standing) => standing,
        };
        row.standing = Some(standing);
        match limits.rpo.get(&(row.namespace.to_owned(), row.schedule.to_owned())) {
            Some(Some(said)) => row.rpo = Some(*said),
            Some(None) => (row.standing, row.rpo) = (Some(Standing::Ignored), None),
            None => {}
        }
    }
    rows
}

/// A backup that is in its bucket, or a part of one.
fn uploaded(object: &Object) -> Option<&Backup> {
    let Detail::Backup(backup) = &object.detail else { return None };
    let uploaded = matches!(backup.phase.as_deref(), Some("Completed" | "PartiallyFailed"));
    (uploaded && !object.deleting).then_some(backup)
}

/// The location of this name, when it exists.
pub fn location<'a>(snapshot: &'a Snapshot, namespace: &str, name: &str) -> Option<&'a Location> {
    match &snapshot.get(Kind::BackupStorageLocation, namespace, name)?.detail {
        Detail::Location(location) => Some(location),
        _ => None,
    }
}

fn empty<'a>(snapshot: &'a Snapshot, [namespace, schedule, name]: [&'a str; 3]) -> ScheduleBackups<'a> {
    let place = location(snapshot, namespace, name);
    let (bucket, prefix) = place.map_or(("", ""), |l| (&l.bucket, &l.prefix));
    ScheduleBackups {
        namespace,
        schedule,
        location: name,
        bucket,
        prefix,
        standing: None,
        newest: None,
        rpo: None,
        made_here: true,
    }
}

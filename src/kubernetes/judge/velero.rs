//! Velero: locations, schedules, backups, restores.
//!
//! The heartbeat of the Velero server is a location's lastValidationTime: neither a schedule nor a backup has one.

use jiff::{SignedDuration, Timestamp};

use super::{At, ok, show, unknown_word};
use crate::kubernetes::{
    Backup, Detail, Due, Judgement, Kind, KindState, Location, Object, Reason, Restore, Schedule, Verdict,
};

pub(super) fn location(object: &Object, location: &Location, at: &At<'_>) -> Judgement {
    let phase = location.phase.as_deref();
    let Some(validated) = location.validated else {
        return Judgement::new(
            Reason::NeverReconciled,
            "it was never validated: status.lastValidationTime is absent",
        );
    };
    let validation = location.validation_period.unwrap_or(at.limits.location_interval);
    if validation.is_zero() {
        let text =
            "spec.validationFrequency is 0: nobody validates it, and the Velero server has no heartbeat";
        return Judgement::new(Reason::HeartbeatAbsent, text);
    }
    let validation = at.patience(validation.max(at.limits.location_interval));
    if let Some(silent) = at.heartbeat("status.lastValidationTime", Some(validated), validation) {
        return silent;
    }
    match phase {
        None => {
            return Judgement::new(
                Reason::NeverReconciled,
                "it has no phase yet, which counts as unavailable",
            );
        }
        Some("Available") => {}
        Some("Unavailable") => return Judgement::new(Reason::Unavailable, "the bucket cannot be listed"),
        Some(other) => return unknown_word("status.phase", other),
    }
    let synced = sync(location, at);
    match other_writer(object, location, at) {
        // What is wrong with the location itself comes first: the alert about locations leaves two writers out.
        Some(other) if synced.verdict == Verdict::Healthy => {
            let text = format!("{}/{} writes to the same bucket and prefix", other.namespace, other.name);
            Judgement::new(Reason::TwoWriters, text)
        }
        _ => synced,
    }
}

fn sync(location: &Location, at: &At<'_>) -> Judgement {
    let sync = location.sync_period.unwrap_or(at.limits.location_interval);
    if sync.is_zero() {
        return ok("the bucket can be listed; backups are not read from it, as spec.backupSyncPeriod says");
    }
    let patience = at.patience(sync.max(at.limits.location_interval));
    match at.heartbeat("status.lastSyncedTime", location.synced, patience) {
        Some(silent) if silent.reason == Reason::HeartbeatStale => {
            Judgement::new(Reason::SyncStale, silent.sentence)
        }
        Some(silent) => silent,
        None => ok("the bucket can be listed, and backups are read from it"),
    }
}

fn other_writer<'a>(object: &Object, location: &Location, at: &At<'a>) -> Option<&'a Object> {
    if location.read_only {
        return None;
    }
    // All of them are in one cluster, whose name does not matter here.
    let store = location.store("");
    at.related.of(Kind::BackupStorageLocation).find(|other| {
        let same = other.namespace == object.namespace && other.name == object.name;
        let Detail::Location(theirs) = &other.detail else { return false };
        !same && !theirs.read_only && theirs.store("") == store
    })
}

/// Whether all of a kind is known beside an object.
fn all_seen(kind: Kind, beside: &Object, at: &At<'_>) -> bool {
    at.related.is_whole(kind, &beside.namespace)
}

/// What is wrong with the location that is used, as it was judged; `None` when it is well.
fn location_trouble(location: &Object, judged: Judgement) -> Option<Judgement> {
    let reason = match judged.verdict {
        Verdict::Healthy => return None,
        Verdict::Unhealthy => Reason::LocationUnhealthy,
        Verdict::Unknown | Verdict::Progressing => Reason::LocationUnknown,
    };
    Some(Judgement::new(reason, format!("location {}: {}", location.name, judged.sentence)))
}

fn location_missing(name: Option<&str>) -> Judgement {
    let name = name.map_or("the default location".to_owned(), |name| format!("location {name}"));
    Judgement::new(Reason::LocationMissing, format!("{name} does not exist"))
}

/// How far a backup or restore has come, as its phase says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Waiting,
    Running,
    /// It still runs, and a part of it has failed already.
    Spoiled,
    Deleting,
    Completed,
    PartiallyFailed,
    Failed,
    Invalid,
}

fn progress(phase: Option<&str>) -> Option<Progress> {
    Some(match phase {
        None | Some("New" | "Queued" | "ReadyToStart") => Progress::Waiting,
        Some("InProgress" | "WaitingForPluginOperations" | "Finalizing") => Progress::Running,
        Some("WaitingForPluginOperationsPartiallyFailed" | "FinalizingPartiallyFailed") => Progress::Spoiled,
        Some("Deleting") => Progress::Deleting,
        Some("Completed") => Progress::Completed,
        Some("PartiallyFailed") => Progress::PartiallyFailed,
        Some("Failed") => Progress::Failed,
        Some("FailedValidation") => Progress::Invalid,
        Some(_) => return None,
    })
}

/// What backups and restores have in common: `None` when completed with both times.
fn course(
    phase: Option<&str>,
    (started, completed): (Option<Timestamp>, Option<Timestamp>),
    failure: Option<&str>,
    object: &Object,
    at: &At<'_>,
) -> Option<Judgement> {
    let Some(progress) = progress(phase) else {
        return Some(unknown_word("status.phase", phase.unwrap_or_default()));
    };
    let since = |what: &str, time: Option<Timestamp>, limit: SignedDuration, reason, doing: &str| {
        let Some(time) = time else {
            return Judgement::new(Reason::TimestampAbsent, format!("{doing}, and {what} is absent"));
        };
        at.future(what, time).unwrap_or_else(|| {
            let age = at.age(time);
            let reason = if age > limit { Reason::Stuck } else { reason };
            Judgement::new(reason, format!("{doing} for {}", show(age)))
        })
    };
    let why = failure.map_or(String::new(), |why| format!(": {why}"));
    Some(match progress {
        Progress::Waiting => since(
            "metadata.creationTimestamp",
            object.created,
            at.limits.waiting,
            Reason::Waiting,
            "it waits",
        ),
        Progress::Running => {
            since("status.startTimestamp", started, at.limits.running, Reason::Running, "it runs")
        }
        Progress::Spoiled => match started.map(|started| at.age(started)) {
            Some(age) if age > at.limits.running => {
                let text = format!("a part has failed, and it still runs for {}{why}", show(age));
                Judgement::new(Reason::Stuck, text)
            }
            _ => {
                Judgement::new(Reason::PartiallyFailed, format!("it still runs, and a part has failed{why}"))
            }
        },
        Progress::Deleting => Judgement::new(Reason::Deleting, "it is being deleted"),
        Progress::PartiallyFailed => {
            Judgement::new(Reason::PartiallyFailed, format!("a part failed, perhaps all{why}"))
        }
        Progress::Failed => Judgement::new(Reason::Failed, format!("it failed{why}")),
        Progress::Invalid => {
            Judgement::new(Reason::FailedValidation, format!("it is not valid and nothing ran{why}"))
        }
        Progress::Completed => match (started, completed) {
            (Some(started), Some(_)) => return at.future("status.startTimestamp", started),
            _ => Judgement::new(
                Reason::TimestampAbsent,
                "it is completed, and status.startTimestamp or completionTimestamp is absent",
            ),
        },
    })
}

/// While it runs, only locations tell whether the server lives.
fn while_it_runs<'a>(
    course: Judgement,
    locations: impl Iterator<Item = &'a Object>,
    at: &At<'_>,
) -> Judgement {
    if !matches!(course.reason, Reason::Waiting | Reason::Running | Reason::Stuck) {
        return course;
    }
    let judged: Vec<_> = locations.map(|location| at.judge(location)).collect();
    match judged.first() {
        Some(silent) if judged.iter().all(|judged| judged.reason == Reason::HeartbeatStale) => {
            let text = format!("{}; the Velero server is silent: {}", course.sentence, silent.sentence);
            Judgement::new(Reason::HeartbeatStale, text)
        }
        _ => course,
    }
}

pub(super) fn backup(object: &Object, backup: &Backup, at: &At<'_>) -> Judgement {
    let times = (backup.started, backup.completed);
    let course = course(backup.phase.as_deref(), times, backup.failure.as_deref(), object, at);
    let location = at.related.location(&object.namespace, backup.location.as_deref());
    match course {
        Some(course) => while_it_runs(course, location.into_iter(), at),
        None => {
            let trouble = match location {
                Some(location) => location_trouble(location, at.judge(location)),
                None if all_seen(Kind::BackupStorageLocation, object, at) => {
                    Some(location_missing(backup.location.as_deref()))
                }
                None => {
                    let text = "it is completed, and its BackupStorageLocation was not looked at";
                    Some(Judgement::new(Reason::RelatedUnseen, text))
                }
            };
            trouble.unwrap_or_else(|| {
                let age =
                    backup.started.map_or(String::new(), |s| format!("; it began {} ago", show(at.age(s))));
                ok(format!("it is completed{age}"))
            })
        }
    }
}

pub(super) fn restore(object: &Object, restore: &Restore, at: &At<'_>) -> Judgement {
    let times = (restore.started, restore.completed);
    if let Some(course) = course(restore.phase.as_deref(), times, restore.failure.as_deref(), object, at) {
        return while_it_runs(course, at.related.within(Kind::BackupStorageLocation, &object.namespace), at);
    }
    match restore.items {
        None | Some(0) => Judgement::new(Reason::NothingRestored, "it is completed and restored no item"),
        Some(items) if restore.warnings > 0 => Judgement::new(
            Reason::WarningsUnread,
            format!(
                "it is completed with {} warnings over {items} items: what existed was skipped; read its \
                 RestoreResults",
                restore.warnings
            ),
        ),
        Some(items) => {
            ok(format!("it is completed, {items} items; whether the workloads run it does not say"))
        }
    }
}

pub(super) fn schedule(object: &Object, schedule: &Schedule, at: &At<'_>) -> Judgement {
    if schedule.paused {
        return Judgement::new(Reason::Suspended, "spec.paused: no backup is made");
    }
    match schedule.phase.as_deref() {
        None | Some("New") => {
            return Judgement::new(Reason::NeverReconciled, "no Velero server has looked at it");
        }
        Some("Enabled") => {}
        Some("FailedValidation") => {
            let why = schedule.failure.as_deref().unwrap_or("its cron expression is not valid");
            return Judgement::new(Reason::FailedValidation, why);
        }
        Some(other) => return unknown_word("status.phase", other),
    }
    let due = match Due::parse(&schedule.cron) {
        Ok(due) => due,
        Err(error) => {
            let text = format!("spec.schedule {:?} cannot be read: {error}", schedule.cron);
            return Judgement::new(Reason::Unreadable, text);
        }
    };
    let Some(interval) = schedule.interval else {
        let text = format!("spec.schedule {:?} names no time that comes again", schedule.cron);
        return Judgement::new(Reason::NeverRan, text);
    };
    let name = schedule.location.as_deref();
    match at.related.location(&object.namespace, name) {
        Some(location) => {
            let judged = at.judge(location);
            let usable = judged.reason == Reason::TwoWriters;
            match location_trouble(location, judged) {
                Some(trouble) if !usable => trouble,
                trouble => {
                    // Two writers may both make backups: what is wrong with those comes first.
                    let own = runs(object, schedule, &due, interval, at);
                    let well = matches!(own.verdict, Verdict::Healthy | Verdict::Progressing);
                    trouble.filter(|_| well).unwrap_or(own)
                }
            }
        }
        None if all_seen(Kind::BackupStorageLocation, object, at) => location_missing(name),
        None => {
            let text =
                "its BackupStorageLocation was not looked at, so nothing says that the Velero server lives";
            Judgement::new(Reason::RelatedUnseen, text)
        }
    }
}

/// Whether a schedule whose location can be used runs, and what came of it.
fn runs(object: &Object, schedule: &Schedule, due: &Due, interval: SignedDuration, at: &At<'_>) -> Judgement {
    if let KindState::Failed(why) = at.related.state(Kind::Backup) {
        let text = format!("backups cannot be read, and what is known of them may be old: {why}");
        return Judgement::new(Reason::RelatedUnseen, text);
    }
    let made = made_by(object, at);
    if let Some((stuck, judged)) = made.iter().find(|(_, j)| j.reason == Reason::Stuck) {
        let text = format!("backup {}: {}; no other starts before it ends", stuck.name, judged.sentence);
        return Judgement::new(Reason::BackupStuck, text);
    }
    let busy = made.iter().find(|(_, j)| matches!(j.reason, Reason::Running | Reason::Waiting));
    let last = schedule.last_backup;
    let told = [("status.lastBackup", last), ("status.lastSkipped", schedule.last_skipped)];
    if let Some(wrong) = told.into_iter().find_map(|(what, time)| at.future(what, time?)) {
        return wrong;
    }
    // Velero counts from there, too.
    let from = last.or(object.created).map(|from| schedule.last_skipped.map_or(from, |s| s.max(from)));
    let late = from.and_then(|from| due.after(from)?.checked_add(at.limits.schedule_late).ok());
    if let Some(late) = late.filter(|late| *late < at.now) {
        return match (busy, last) {
            (Some((backup, judged)), _) => {
                let text = format!("backup {}: {}; the next run was skipped", backup.name, judged.sentence);
                Judgement::new(Reason::Running, text)
            }
            (None, Some(last)) => {
                let text = format!("it was due by {late} and last submitted a backup at {last}");
                Judgement::new(Reason::Overdue, text)
            }
            (None, None) => {
                let text = format!(
                    "it was due by {late} and has never submitted a backup: status.lastBackup is absent"
                );
                Judgement::new(Reason::Overdue, text)
            }
        };
    }
    if last.is_none() {
        return Judgement::new(
            Reason::NeverRan,
            "it has not been due yet and has submitted no backup: status.lastBackup is absent",
        );
    }
    last_backups(object, &made, busy.is_some(), at.limits.rpo_of(object, interval), at)
}

type Made<'a> = Vec<(&'a Object, Judgement)>;

/// The backups that a schedule made. Those that the sync brought from a location that cannot be written are of a schedule of
/// the same name in another cluster; what this one could not write there is its own.
fn made_by<'a>(object: &'a Object, at: &At<'a>) -> Made<'a> {
    at.related
        .within(Kind::Backup, &object.namespace)
        .filter(|o| {
            let Detail::Backup(backup) = &o.detail else { return false };
            let used = at.related.location(&o.namespace, backup.location.as_deref());
            let read_only =
                used.is_some_and(|used| matches!(&used.detail, Detail::Location(l) if l.read_only));
            let foreign = read_only && backup.was_brought(o) == Some(true);
            backup.schedule.as_ref() == Some(&object.name) && !foreign
        })
        .map(|o| (o, at.judge(o)))
        .collect()
}

/// That a schedule submits backups says nothing of their success.
fn last_backups(
    object: &Object,
    made: &Made<'_>,
    busy: bool,
    rpo: Option<SignedDuration>,
    at: &At<'_>,
) -> Judgement {
    let phase = |o: &Object| match &o.detail {
        Detail::Backup(b) => progress(b.phase.as_deref()),
        _ => None,
    };
    let time = |o: &Object| match &o.detail {
        // A backup that failed validation never started.
        Detail::Backup(b) => b.started.or(o.created),
        _ => None,
    };
    let ended = made.iter().filter(|(o, _)| {
        let ended = [Progress::Completed, Progress::PartiallyFailed, Progress::Failed, Progress::Invalid];
        phase(o).is_some_and(|p| ended.contains(&p))
    });
    if let Some((newest, judged)) = ended.max_by_key(|(o, _)| time(o))
        && phase(newest) != Some(Progress::Completed)
    {
        return Judgement::new(
            Reason::LastBackupFailed,
            format!("backup {}: {}", newest.name, judged.sentence),
        );
    }
    let completed = made.iter().filter(|(o, _)| phase(o) == Some(Progress::Completed));
    let newest = completed.filter_map(|(o, _)| match &o.detail {
        Detail::Backup(b) => b.started,
        _ => None,
    });
    match newest.max() {
        None if busy => Judgement::new(Reason::Running, "its first backup runs"),
        None if !all_seen(Kind::Backup, object, at) => {
            Judgement::new(Reason::RelatedUnseen, "its Backups were not looked at")
        }
        None => Judgement::new(Reason::NoCompletedBackup, "it ran, and there is no completed backup of it"),
        Some(started) => {
            if let Some(wrong) = at.future("the newest backup's status.startTimestamp", started) {
                return wrong;
            }
            let age = at.age(started);
            if let Some(rpo) = rpo.filter(|rpo| age > *rpo) {
                let (age, rpo) = (show(age), show(rpo));
                let text = format!("the newest completed backup began {age} ago, and {rpo} is allowed");
                return Judgement::new(Reason::BackupTooOld, text);
            }
            ok(format!("the newest completed backup began {} ago", show(age)))
        }
    }
}

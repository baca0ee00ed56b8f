//! Velero 1.18.

use serde_json::{Value, json};
use switchyard::kubernetes::{KindState, Reason, Verdict};

use crate::scene::{Scene, time};

const BACKUP: &str = "Backup/daily-20261121020044";
const OLDER: &str = "Backup/daily-20261120020044";
const PLACE: &str = "BackupStorageLocation/default";
const DAILY: &str = "Schedule/daily";

fn scene() -> Scene {
    Scene::of("velero.json")
}

#[test]
fn all_is_well() {
    for what in [BACKUP, OLDER, PLACE, DAILY, "Restore/drill"] {
        let judged = scene().judge(what);
        assert_eq!(judged.reason, Reason::Ok, "{what}: {}", judged.sentence);
    }
}

#[test]
fn a_location_is_as_fresh_as_its_last_validation() {
    let after = |changes: &[(&str, Value)]| scene().after(PLACE, changes);
    // The server is dead: the phase stays Available for ever.
    let mut dead = scene();
    dead.now = time("2026-11-21T03:02:40Z");
    assert_eq!(dead.judge(PLACE).reason, Reason::Ok, "three times 70 s are not over");
    dead.now = time("2026-11-21T03:03:00Z");
    let judged = dead.judge(PLACE);
    assert_eq!(judged.reason, Reason::HeartbeatStale);
    assert_eq!(judged.sentence, "status.lastValidationTime has not moved for 3m40s; it should within 3m30s");
    // Just created: no phase, which counts as unavailable, and nobody has looked.
    assert_eq!(after(&[("/status", Value::Null)]), Reason::NeverReconciled);
    assert_eq!(after(&[("/status/lastValidationTime", Value::Null)]), Reason::NeverReconciled);
    assert_eq!(after(&[("/status/phase", Value::Null)]), Reason::NeverReconciled);
    assert_eq!(after(&[("/status/phase", json!(""))]), Reason::NeverReconciled);
    // The store is down: validated each minute, and not available.
    assert_eq!(after(&[("/status/phase", json!("Unavailable"))]), Reason::Unavailable);
    assert_eq!(after(&[("/status/phase", json!("Sleepy"))]), Reason::UnknownWord);
    // Freshness first: a dead server's Unavailable may be over.
    let old = json!("2026-11-21T02:00:00Z");
    let changes = [("/status/phase", json!("Unavailable")), ("/status/lastValidationTime", old.clone())];
    assert_eq!(after(&changes), Reason::HeartbeatStale);
    // The sync stands still.
    assert_eq!(after(&[("/status/lastSyncedTime", old)]), Reason::SyncStale);
    assert_eq!(after(&[("/status/lastSyncedTime", Value::Null)]), Reason::TimestampAbsent);
    // A clock is wrong: what lies in the future would stay fresh for ever.
    assert_eq!(after(&[("/status/lastValidationTime", json!("2027-01-01T00:00:00Z"))]), Reason::InTheFuture);
    assert_eq!(after(&[("/status/lastValidationTime", json!("2026-11-21T03:01:00Z"))]), Reason::Ok);
}

#[test]
fn a_location_may_have_its_own_periods() {
    let old = json!("2026-11-21T02:50:00Z");
    let slow = [
        ("/spec/validationFrequency", json!("10m0s")),
        ("/spec/backupSyncPeriod", json!("10m0s")),
        ("/status/lastValidationTime", old.clone()),
        ("/status/lastSyncedTime", old.clone()),
    ];
    assert_eq!(scene().after(PLACE, &slow), Reason::Ok);
    assert_eq!(scene().after(PLACE, &slow[1..]), Reason::HeartbeatStale);
    assert_eq!(scene().after(PLACE, &[("/spec/validationFrequency", json!("0s"))]), Reason::HeartbeatAbsent);
    let unsynced = [("/spec/backupSyncPeriod", json!("0s")), ("/status/lastSyncedTime", old)];
    assert_eq!(scene().after(PLACE, &unsynced), Reason::Ok);
}

#[test]
fn two_writers_on_one_bucket_and_prefix_are_not_well() {
    let mut scene = scene();
    scene.copy(PLACE, "second").set(
        "BackupStorageLocation/second",
        "/spec/objectStorage/prefix",
        json!("blue/"),
    );
    for what in [PLACE, "BackupStorageLocation/second"] {
        assert_eq!(scene.judge(what).reason, Reason::TwoWriters);
    }
    // The same place, written otherwise.
    let mut otherwise = scene.clone();
    otherwise.set("BackupStorageLocation/second", "/spec/provider", json!("velero.io/aws"));
    otherwise.set("BackupStorageLocation/second", "/spec/config/s3Url", json!("https://S3.example.com:443/"));
    assert_eq!(otherwise.judge(PLACE).reason, Reason::TwoWriters);
    otherwise.set("BackupStorageLocation/second", "/spec/config/s3Url", json!("https://s4.example.com"));
    assert_eq!(otherwise.judge(PLACE).reason, Reason::Ok);
    // It is not the alert about two writers that says that nothing is read from the bucket.
    let mut still = scene.clone();
    still.set(PLACE, "/status/lastSyncedTime", json!("2026-11-21T02:00:00Z"));
    assert_eq!(still.judge(PLACE).reason, Reason::SyncStale);
    let mut other = scene.clone();
    other.set("BackupStorageLocation/second", "/spec/objectStorage/prefix", json!("green"));
    assert_eq!(other.judge(PLACE).reason, Reason::Ok);
    // One writer and any number of readers.
    scene.set("BackupStorageLocation/second", "/spec/accessMode", json!("ReadOnly"));
    for what in [PLACE, "BackupStorageLocation/second"] {
        assert_eq!(scene.judge(what).reason, Reason::Ok);
    }
}

#[test]
fn two_writers_hide_nothing_that_is_wrong_with_a_schedule() {
    let mut shared = scene();
    shared.copy(PLACE, "second");
    let judged = shared.judge(DAILY);
    assert_eq!(judged.reason, Reason::LocationUnhealthy);
    assert!(judged.sentence.contains("writes to the same bucket and prefix"), "{}", judged.sentence);
    let after = |changes: &dyn Fn(&mut Scene)| {
        let mut changed = shared.clone();
        changes(&mut changed);
        changed.judge(DAILY).reason
    };
    for (phase, reason) in [
        ("Failed", Reason::LastBackupFailed),
        ("PartiallyFailed", Reason::LastBackupFailed),
        ("InProgress", Reason::LocationUnhealthy),
    ] {
        let changed = after(&|scene| {
            scene.set(BACKUP, "/status/phase", json!(phase));
        });
        assert_eq!(changed, reason, "{phase}");
    }
    let overdue = after(&|scene| {
        scene.set(DAILY, "/status/lastBackup", json!("2026-11-20T02:00:44Z"));
    });
    assert_eq!(overdue, Reason::Overdue);
    let none = after(&|scene| {
        scene.remove(BACKUP).remove(OLDER);
    });
    assert_eq!(none, Reason::NoCompletedBackup);
    // A location that cannot be used comes first, as ever.
    let failed = |scene: &mut Scene| {
        scene.set(BACKUP, "/status/phase", json!("Failed")).set(PLACE, "/status/phase", json!("Unavailable"));
    };
    assert_eq!(after(&failed), Reason::LocationUnhealthy);
}

#[test]
fn a_backup_is_judged_by_its_phase_and_the_times_that_phase_has() {
    let after = |phase: &str, started: Option<&str>, completed: Option<&str>| {
        let mut scene = scene();
        let or_none = |t: Option<&str>| t.map_or(Value::Null, |t| json!(t));
        scene.set(BACKUP, "/status/phase", json!(phase));
        scene.set(BACKUP, "/status/startTimestamp", or_none(started));
        scene.set(BACKUP, "/status/completionTimestamp", or_none(completed));
        scene.judge(BACKUP)
    };
    let (fresh, old) = (Some("2026-11-21T02:55:00Z"), Some("2026-11-20T22:00:00Z"));
    for (phase, started, completed, reason) in [
        ("InProgress", fresh, None, Reason::Running),
        ("InProgress", old, None, Reason::Stuck),
        ("InProgress", None, None, Reason::TimestampAbsent),
        ("WaitingForPluginOperations", fresh, None, Reason::Running),
        ("WaitingForPluginOperations", old, None, Reason::Stuck),
        ("Finalizing", fresh, None, Reason::Running),
        ("WaitingForPluginOperationsPartiallyFailed", fresh, None, Reason::PartiallyFailed),
        ("FinalizingPartiallyFailed", fresh, None, Reason::PartiallyFailed),
        ("FinalizingPartiallyFailed", old, None, Reason::Stuck),
        ("Failed", fresh, fresh, Reason::Failed),
        ("PartiallyFailed", fresh, fresh, Reason::PartiallyFailed),
        ("FailedValidation", None, None, Reason::FailedValidation),
        ("Deleting", fresh, fresh, Reason::Deleting),
        ("Completed", fresh, fresh, Reason::Ok),
        ("Completed", None, fresh, Reason::TimestampAbsent),
        ("Completed", fresh, None, Reason::TimestampAbsent),
        ("Completed", Some("2027-01-01T00:00:00Z"), fresh, Reason::InTheFuture),
        ("Archived", fresh, fresh, Reason::UnknownWord),
    ] {
        let judged = after(phase, started, completed);
        assert_eq!(judged.reason, reason, "{phase} {started:?} {completed:?}: {}", judged.sentence);
    }
}

#[test]
fn what_has_not_started_is_aged_by_its_creation() {
    for phase in [Value::Null, json!(""), json!("New"), json!("Queued"), json!("ReadyToStart")] {
        let status = if phase.is_null() { Value::Null } else { json!({"phase": phase}) };
        let waits =
            [("/status", status.clone()), ("/metadata/creationTimestamp", json!("2026-11-21T02:59:00Z"))];
        assert_eq!(scene().after(BACKUP, &waits), Reason::Waiting, "{phase}");
        let stuck = [("/status", status), ("/metadata/creationTimestamp", json!("2026-11-21T01:59:00Z"))];
        assert_eq!(scene().after(BACKUP, &stuck), Reason::Stuck, "{phase}");
    }
}

#[test]
fn why_a_backup_failed_is_said() {
    let mut scene = scene();
    scene.set(BACKUP, "/status", json!({
        "phase": "Failed", "startTimestamp": "2026-11-21T02:00:44Z", "completionTimestamp": "2026-11-21T02:10:00Z",
        "failureReason": "found a backup with status \"InProgress\" during the server starting, mark it as \"Failed\""
    }));
    let sentence = scene.judge(BACKUP).sentence;
    assert!(sentence.starts_with("it failed: found a backup with status \"InProgress\""), "{sentence}");
    scene.set(BACKUP, "/status", json!({
        "phase": "FailedValidation", "expiration": "2026-12-21T02:00:44Z",
        "validationErrors": ["backup can't be created because BackupStorageLocation default is in Unavailable status."]
    }));
    let judged = scene.judge(BACKUP);
    assert_eq!(judged.reason, Reason::FailedValidation);
    assert!(judged.sentence.contains("is in Unavailable status."), "{}", judged.sentence);
}

#[test]
fn a_backup_is_no_better_than_where_it_is() {
    let mut scene = scene();
    scene.set(PLACE, "/status/phase", json!("Unavailable"));
    assert_eq!(scene.judge(BACKUP).reason, Reason::LocationUnhealthy);
    scene.set(PLACE, "/status/lastValidationTime", json!("2026-11-21T01:00:00Z"));
    assert_eq!(scene.judge(BACKUP).reason, Reason::LocationUnknown);
    // A running one, and the server is silent: nobody runs it.
    scene.set(BACKUP, "/status", json!({"phase": "InProgress", "startTimestamp": "2026-11-21T00:00:44Z"}));
    assert_eq!(scene.judge(BACKUP).reason, Reason::HeartbeatStale);
    scene.remove(PLACE);
    assert_eq!(scene.judge(OLDER).reason, Reason::LocationMissing);
    // Alone in a file: its own word is all there is, and proves nothing of the bucket.
    scene.state = KindState::Unseen;
    assert_eq!(scene.judge(OLDER).reason, Reason::RelatedUnseen);
}

#[test]
fn a_schedule_that_does_not_run_is_unknown() {
    let after = |changes: &[(&str, Value)]| scene().after(DAILY, changes);
    assert_eq!(after(&[("/spec/paused", json!(true))]), Reason::Suspended);
    // Paused from birth: no status at all.
    assert_eq!(after(&[("/spec/paused", json!(true)), ("/status", Value::Null)]), Reason::Suspended);
    assert_eq!(after(&[("/status", Value::Null)]), Reason::NeverReconciled);
    assert_eq!(after(&[("/status/phase", json!("New"))]), Reason::NeverReconciled);
    // Never run, though it was due: it counts from its birth.
    assert_eq!(after(&[("/status/lastBackup", Value::Null)]), Reason::Overdue);
    let born =
        |at: &str| after(&[("/status/lastBackup", Value::Null), ("/metadata/creationTimestamp", json!(at))]);
    assert_eq!(born("2026-11-21T02:01:00Z"), Reason::NeverRan, "it is due tomorrow");
    assert_eq!(born("2026-11-21T01:59:00Z"), Reason::Overdue);
    let told = [("/status/lastBackup", Value::Null), ("/status/lastSkipped", json!("2026-11-21T02:00:10Z"))];
    assert_eq!(after(&told), Reason::NeverRan, "it was told to let a run pass by");
    assert_eq!(after(&[("/status/phase", json!("Resting"))]), Reason::UnknownWord);
    let bad = [
        ("/status/phase", json!("FailedValidation")),
        ("/status/validationErrors", json!(["invalid schedule: expected exactly 5 fields, found 1: [x]"])),
    ];
    assert_eq!(after(&bad), Reason::FailedValidation);
    assert_eq!(after(&[("/spec/schedule", json!("when the moon is full"))]), Reason::Unreadable);
    // Enabled for ever, and nothing was submitted for a day.
    let mut late = scene();
    late.set(DAILY, "/status/lastBackup", json!("2026-11-20T02:00:44Z"));
    assert_eq!(late.judge(DAILY).reason, Reason::Overdue);
    assert_eq!(after(&[("/status/lastBackup", json!("2027-01-01T00:00:00Z"))]), Reason::InTheFuture);
    // It was told to let a run pass by.
    late.set(DAILY, "/status/lastSkipped", json!("2026-11-21T02:00:10Z"));
    assert_eq!(late.judge(DAILY).reason, Reason::Ok);
    late.set(DAILY, "/status/lastSkipped", Value::Null);
    // Up to a minute late is normal, and another minute when two are due at once.
    late.now = time("2026-11-21T02:02:30Z");
    late.set(PLACE, "/status/lastValidationTime", json!("2026-11-21T02:02:00Z"));
    late.set(PLACE, "/status/lastSyncedTime", json!("2026-11-21T02:02:00Z"));
    late.remove(BACKUP);
    assert_eq!(late.judge(DAILY).reason, Reason::Ok);
}

#[test]
fn that_a_schedule_submits_backups_is_no_sign_of_success() {
    // lastBackup is set although the backup failed validation the same second.
    for (phase, started) in [("FailedValidation", false), ("Failed", true), ("PartiallyFailed", true)] {
        let mut scene = scene();
        scene.set(BACKUP, "/status/phase", json!(phase));
        if !started {
            scene.set(BACKUP, "/status/startTimestamp", Value::Null);
            scene.set(BACKUP, "/status/completionTimestamp", Value::Null);
        }
        let judged = scene.judge(DAILY);
        assert_eq!(judged.reason, Reason::LastBackupFailed, "{phase}");
        assert_eq!(judged.verdict, Verdict::Unhealthy);
    }
    let mut none = scene();
    none.remove(BACKUP).remove(OLDER);
    assert_eq!(none.judge(DAILY).reason, Reason::NoCompletedBackup, "the bucket was emptied: no new cluster");
    let mut first = scene();
    first.remove(OLDER);
    first.set(BACKUP, "/status", json!({"phase": "InProgress", "startTimestamp": "2026-11-21T02:00:44Z"}));
    assert_eq!(first.judge(DAILY).reason, Reason::Running);
    // Backups of others don't count.
    let mut others = scene();
    others.remove(OLDER).set(BACKUP, "/metadata/labels/velero.io~1schedule-name", json!("weekly"));
    assert_eq!(others.judge(DAILY).reason, Reason::NoCompletedBackup);
}

#[test]
fn what_a_schedule_cannot_write_is_its_own_failure() {
    // Its location was made ReadOnly: the next backup fails validation the same second, and lastBackup moves on.
    let mut scene = scene();
    scene.set(PLACE, "/spec/accessMode", json!("ReadOnly"));
    scene.set(BACKUP, "/status", json!({
        "phase": "FailedValidation",
        "validationErrors": ["backup can't be created because BackupStorageLocation default is currently in read-only mode"]
    }));
    let judged = scene.judge(DAILY);
    assert_eq!(judged.reason, Reason::LastBackupFailed, "{}", judged.sentence);
    // Also where the sync brings those of another cluster, made here after they had ended.
    scene.set(OLDER, "/metadata/creationTimestamp", json!("2026-11-20T02:04:00Z"));
    assert_eq!(scene.judge(DAILY).reason, Reason::LastBackupFailed);
    scene.set(BACKUP, "/status/phase", json!("Failed"));
    scene.set(BACKUP, "/status/startTimestamp", json!("2026-11-21T02:00:44Z"));
    assert_eq!(scene.judge(DAILY).reason, Reason::LastBackupFailed);
    // One that was deleted leaves those of the other cluster, which are no success of this schedule.
    scene.remove(BACKUP);
    assert_eq!(scene.judge(DAILY).reason, Reason::NoCompletedBackup);
    // Its own are, also where nothing can be written any more.
    scene.set(OLDER, "/metadata/creationTimestamp", json!("2026-11-20T02:00:44Z"));
    scene.set(DAILY, "/status/lastBackup", json!("2026-11-21T02:00:44Z"));
    assert_eq!(scene.judge(DAILY).reason, Reason::Ok);
}

#[test]
fn a_stuck_backup_stops_its_schedule_silently() {
    let mut scene = scene();
    scene.set(BACKUP, "/status", json!({"phase": "InProgress", "startTimestamp": "2026-11-20T02:00:44Z"}));
    scene.set(DAILY, "/status/lastBackup", json!("2026-11-20T02:00:44Z"));
    let judged = scene.judge(DAILY);
    assert_eq!(judged.reason, Reason::BackupStuck, "{}", judged.sentence);
    // A long one that is not stuck yet makes the next run be skipped.
    scene.set(BACKUP, "/status", json!({"phase": "InProgress", "startTimestamp": "2026-11-21T01:00:44Z"}));
    let judged = scene.judge(DAILY);
    assert_eq!(judged.reason, Reason::Running, "{}", judged.sentence);
    assert!(judged.sentence.ends_with("the next run was skipped"), "{}", judged.sentence);
}

#[test]
fn a_backup_is_aged_by_its_start() {
    // It ended today and began three days ago: what changed since is not in it.
    let mut scene = scene();
    scene.remove(OLDER).set(BACKUP, "/status/startTimestamp", json!("2026-11-18T02:00:44Z"));
    let judged = scene.judge(DAILY);
    assert_eq!(judged.reason, Reason::BackupTooOld, "{}", judged.sentence);
}

#[test]
fn a_schedule_lives_as_long_as_its_location_says() {
    let mut scene = scene();
    scene.set(PLACE, "/status/lastValidationTime", json!("2026-11-21T02:30:00Z"));
    assert_eq!(scene.judge(DAILY).reason, Reason::LocationUnknown, "the server is dead");
    scene.set(PLACE, "/status/lastValidationTime", json!("2026-11-21T02:59:30Z"));
    scene.set(PLACE, "/status/phase", json!("Unavailable"));
    assert_eq!(scene.judge(DAILY).reason, Reason::LocationUnhealthy);
    // Without a name the default location is meant.
    scene.set(DAILY, "/spec/template/storageLocation", Value::Null);
    assert_eq!(scene.judge(DAILY).reason, Reason::LocationUnhealthy);
    scene.set(DAILY, "/spec/template/storageLocation", json!("elsewhere"));
    assert_eq!(scene.judge(DAILY).reason, Reason::LocationMissing);
    scene.state = KindState::Unseen;
    assert_eq!(scene.judge(DAILY).reason, Reason::RelatedUnseen);
    scene.set(DAILY, "/spec/template/storageLocation", json!("default"));
    scene.set(PLACE, "/status/phase", json!("Available"));
    scene.remove(BACKUP).remove(OLDER);
    assert_eq!(scene.judge(DAILY).reason, Reason::RelatedUnseen, "its backups are not in the files");
}

#[test]
fn a_completed_restore_may_have_restored_nothing() {
    let after = |changes: &[(&str, Value)]| scene().after("Restore/drill", changes);
    assert_eq!(after(&[("/status/progress", Value::Null)]), Reason::NothingRestored);
    assert_eq!(after(&[("/status/progress/itemsRestored", json!(0))]), Reason::NothingRestored);
    // Over existing objects it counts what it skipped; only warnings tell.
    assert_eq!(after(&[("/status/warnings", json!(6))]), Reason::WarningsUnread);
    assert_eq!(after(&[("/status/phase", json!("PartiallyFailed"))]), Reason::PartiallyFailed);
    let invalid =
        json!({"phase": "FailedValidation", "validationErrors": ["No completed backups found for schedule"]});
    assert_eq!(after(&[("/status", invalid)]), Reason::FailedValidation);
    assert_eq!(after(&[("/status", Value::Null)]), Reason::Waiting);
    let runs = json!({"phase": "InProgress", "startTimestamp": "2026-11-20T20:00:00Z"});
    assert_eq!(after(&[("/status", runs.clone())]), Reason::Stuck);
    // Nobody runs it any more: every location of the server is silent.
    let mut dead = scene();
    dead.set("Restore/drill", "/status", runs);
    dead.copy(PLACE, "second").set("BackupStorageLocation/second", "/spec/objectStorage/bucket", json!("b"));
    dead.set(PLACE, "/status/lastValidationTime", json!("2026-11-21T01:00:00Z"));
    assert_eq!(dead.judge("Restore/drill").reason, Reason::Stuck, "one of two is looked at");
    dead.set("BackupStorageLocation/second", "/status/lastValidationTime", json!("2026-11-21T01:00:00Z"));
    assert_eq!(dead.judge("Restore/drill").reason, Reason::HeartbeatStale);
}

#[test]
fn the_standby_knows_what_the_primary_saved() {
    // As the sync brings it: made here a minute ago, begun on the primary an hour ago; no Schedule.
    let mut scene = scene();
    scene.remove(DAILY).set(PLACE, "/spec/accessMode", json!("ReadOnly"));
    scene.set(BACKUP, "/metadata/creationTimestamp", json!("2026-11-21T02:59:21Z"));
    let judged = scene.judge(BACKUP);
    assert_eq!(judged.reason, Reason::Ok);
    assert_eq!(judged.sentence, "it is completed; it began 59m16s ago");
}

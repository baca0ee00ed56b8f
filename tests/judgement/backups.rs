//! Which backups are expected of whom, and how old they may be.

use jiff::SignedDuration;
use serde_json::{Value, json};
use switchyard::kubernetes::{Kind, KindState, Reason, Standing, schedule_backups};

use crate::scene::{NOW, Scene, time};

const PLACE: &str = "BackupStorageLocation/default";
const DAILY: &str = "Schedule/daily";
const BACKUP: &str = "Backup/daily-20261121020044";
const OLDER: &str = "Backup/daily-20261120020044";

fn scene() -> Scene {
    Scene::of("velero.json")
}

/// Schedule, location, bucket, standing, when the newest began, hours that are allowed.
type Row = (String, String, String, Option<Standing>, Option<String>, Option<i64>);

fn rows(scene: &Scene) -> Vec<Row> {
    schedule_backups(&scene.snapshot(), scene.now, &scene.limits)
        .into_iter()
        .map(|row| {
            let newest = row.newest.map(|newest| newest.to_string());
            let hours = row.rpo.map(|rpo| rpo.as_hours());
            (row.schedule.into(), row.location.into(), row.bucket.into(), row.standing, newest, hours)
        })
        .collect()
}

fn row(schedule: &str, location: &str, standing: Standing, newest: Option<&str>, hours: Option<i64>) -> Row {
    let bucket = if location == "default" { "velero" } else { location };
    (schedule.into(), location.into(), bucket.into(), Some(standing), newest.map(str::to_owned), hours)
}

const NEWEST: Option<&str> = Some("2026-11-21T02:00:44Z");

/// Another location, in a bucket of its name.
fn location(scene: &mut Scene, name: &str, mode: &str) {
    scene.copy(PLACE, name);
    let place = format!("BackupStorageLocation/{name}");
    scene.set(&place, "/spec/accessMode", json!(mode));
    scene.set(&place, "/spec/objectStorage/bucket", json!(name));
    scene.set(&place, "/spec/default", Value::Null);
}

#[test]
fn the_cluster_with_the_schedule_knows_how_old_a_backup_may_be() {
    assert_eq!(rows(&scene()), [row("daily", "default", Standing::Active, NEWEST, Some(26))]);
    // Also before the first one, and whatever ended otherwise.
    let mut none = scene();
    none.set(BACKUP, "/status/phase", json!("PartiallyFailed")).remove(OLDER);
    assert_eq!(rows(&none), [row("daily", "default", Standing::Active, None, Some(26))]);
    none.remove(BACKUP);
    assert_eq!(rows(&none), [row("daily", "default", Standing::Active, None, Some(26))]);
    // Whose cron expression nobody can read.
    none.set(DAILY, "/spec/schedule", json!("when the moon is full"));
    assert_eq!(rows(&none), [row("daily", "default", Standing::Active, None, None)]);
}

#[test]
fn a_standby_has_the_backups_and_not_the_schedule() {
    let mut standby = scene();
    standby.remove(DAILY).set(PLACE, "/spec/accessMode", json!("ReadOnly"));
    assert_eq!(rows(&standby), [row("daily", "default", Standing::Elsewhere, NEWEST, None)]);
    // One that may write, as Velero's default is: the sync made the objects after the backups were complete.
    standby.set(PLACE, "/spec/accessMode", json!("ReadWrite"));
    standby.set(BACKUP, "/metadata/creationTimestamp", json!("2026-11-21T02:04:00Z"));
    assert_eq!(rows(&standby), [row("daily", "default", Standing::Elsewhere, NEWEST, None)]);
    // Nothing whole has come.
    standby.remove(OLDER).set(BACKUP, "/status/phase", json!("PartiallyFailed"));
    assert_eq!(rows(&standby), [row("daily", "default", Standing::Elsewhere, None, None)]);
    // What is on its way out is not there.
    standby.set(BACKUP, "/status/phase", json!("Deleting"));
    assert_eq!(rows(&standby), []);
}

#[test]
fn a_schedule_that_was_given_up_is_told_by_the_cluster_that_made_its_backups() {
    let mut given_up = scene();
    given_up.remove(DAILY);
    assert_eq!(rows(&given_up), [row("daily", "default", Standing::Retired, NEWEST, None)]);
    // A cluster that was rebuilt got its backups from the bucket: it cannot tell.
    given_up.set(OLDER, "/metadata/creationTimestamp", json!("2026-11-21T02:04:00Z"));
    assert_eq!(rows(&given_up), [row("daily", "default", Standing::Elsewhere, NEWEST, None)]);
    // A schedule that is there and cannot be read is not given up.
    let mut unreadable = scene();
    unreadable.set(DAILY, "/spec", json!("spec"));
    assert_eq!(rows(&unreadable), [row("daily", "default", Standing::Elsewhere, NEWEST, None)]);
    // Without a view of everything nothing is said.
    for kind in [Kind::Backup, Kind::Schedule, Kind::BackupStorageLocation] {
        let mut snapshot = scene().snapshot();
        snapshot.set_state(kind, KindState::Failed("403".to_owned()));
        assert_eq!(schedule_backups(&snapshot, time(NOW), &scene().limits), [], "{kind}");
    }
}

#[test]
fn what_a_person_says_of_a_schedule_counts() {
    let mut said = scene();
    let daily = || ("velero".to_owned(), "daily".to_owned());
    said.limits.rpo.insert(daily(), Some(SignedDuration::from_hours(30)));
    assert_eq!(rows(&said), [row("daily", "default", Standing::Active, NEWEST, Some(30))]);
    said.remove(DAILY).set(PLACE, "/spec/accessMode", json!("ReadOnly"));
    assert_eq!(rows(&said), [row("daily", "default", Standing::Elsewhere, NEWEST, Some(30))]);
    said.limits.rpo.insert(daily(), None);
    assert_eq!(rows(&said), [row("daily", "default", Standing::Ignored, NEWEST, None)]);
    // Also when none is left: somebody may miss them still.
    said.remove(BACKUP).remove(OLDER);
    assert_eq!(rows(&said), [row("daily", "default", Standing::Ignored, None, None)]);

    // The schedule's own judgement goes by the same numbers.
    let mut old = scene();
    old.remove(OLDER).set(BACKUP, "/status/startTimestamp", json!("2026-11-20T00:30:00Z"));
    assert_eq!(old.judge(DAILY).reason, Reason::BackupTooOld);
    assert_eq!(
        old.judge(DAILY).sentence,
        "the newest completed backup began 1d02h ago, and 1d02h is allowed"
    );
    old.limits.rpo_tolerance = SignedDuration::from_hours(3);
    assert_eq!(old.judge(DAILY).reason, Reason::Ok);
    old.limits.rpo.insert(daily(), Some(SignedDuration::from_hours(5)));
    assert_eq!(old.judge(DAILY).reason, Reason::BackupTooOld);
    old.limits.rpo.insert(daily(), None);
    assert_eq!(old.judge(DAILY).reason, Reason::Ok);
}

/// The API server says when an object was made, Velero when it began and ended: two clocks, and often one second.
#[test]
fn who_made_a_backup_is_told_by_its_end() {
    let mut given_up = scene();
    given_up.remove(DAILY);
    for began in
        ["2026-11-20T02:00:42Z", "2026-11-20T02:00:43Z", "2026-11-20T02:00:44Z", "2026-11-20T02:00:46Z"]
    {
        given_up.set(OLDER, "/status/startTimestamp", json!(began));
        assert_eq!(
            rows(&given_up),
            [row("daily", "default", Standing::Retired, NEWEST, None)],
            "its object was made at 02:00:44, and it began at {began}"
        );
    }
    // One that took no second, and one that the sync brought as soon as it was there.
    for (made, standing) in
        [("2026-11-20T02:03:10Z", Standing::Retired), ("2026-11-20T02:03:11Z", Standing::Elsewhere)]
    {
        given_up.set(OLDER, "/metadata/creationTimestamp", json!(made));
        assert_eq!(rows(&given_up), [row("daily", "default", standing, NEWEST, None)], "made at {made}");
    }
    // Without an end nobody knows.
    given_up.set(OLDER, "/metadata/creationTimestamp", json!("2026-11-20T02:00:44Z"));
    given_up.set(OLDER, "/status/completionTimestamp", Value::Null);
    assert_eq!(rows(&given_up), [row("daily", "default", Standing::Elsewhere, NEWEST, None)]);

    // The judgement of a schedule whose location cannot be written tells its own the same way.
    let mut own = scene();
    own.set(PLACE, "/spec/accessMode", json!("ReadOnly"));
    for began in ["2026-11-21T02:00:42Z", "2026-11-21T02:00:46Z"] {
        own.set(BACKUP, "/status/startTimestamp", json!(began));
        own.set(BACKUP, "/status/phase", json!("PartiallyFailed"));
        assert_eq!(own.judge(DAILY).reason, Reason::LastBackupFailed, "it began at {began}");
    }
    // What failed was never uploaded, so nothing brought it, whatever the clocks say.
    own.set(BACKUP, "/status/completionTimestamp", json!("2026-11-21T02:00:42Z"));
    own.set(BACKUP, "/status/phase", json!("Failed"));
    assert_eq!(own.judge(DAILY).reason, Reason::LastBackupFailed);
    own.set(BACKUP, "/status/phase", json!("Completed"));
    own.remove(OLDER);
    assert_eq!(own.judge(DAILY).reason, Reason::NoCompletedBackup, "its object was made after it had ended");
}

/// One GitOps repository gives every cluster the same schedule, and each reads the other's bucket.
#[test]
fn the_same_schedule_in_another_cluster_is_another_one() {
    let mut both = scene();
    location(&mut both, "theirs", "ReadOnly");
    both.copy(OLDER, "daily-theirs");
    both.set("Backup/daily-theirs", "/spec/storageLocation", json!("theirs"));
    both.set("Backup/daily-theirs", "/status/startTimestamp", json!("2026-11-10T02:00:00Z"));
    let theirs = row("daily", "theirs", Standing::Elsewhere, Some("2026-11-10T02:00:00Z"), None);
    assert_eq!(rows(&both), [row("daily", "default", Standing::Active, NEWEST, Some(26)), theirs]);
    // Theirs fails after ours completed: ours is well.
    both.set("Backup/daily-theirs", "/metadata/creationTimestamp", json!("2026-11-21T02:33:00Z"));
    both.set("Backup/daily-theirs", "/status/startTimestamp", json!("2026-11-21T02:30:00Z"));
    both.set("Backup/daily-theirs", "/status/phase", json!("PartiallyFailed"));
    assert_eq!(both.judge(DAILY).reason, Reason::Ok);
}

#[test]
fn a_schedule_that_writes_elsewhere_now_has_what_it_wrote_before() {
    let mut moved = scene();
    location(&mut moved, "new", "ReadWrite");
    moved.set(DAILY, "/spec/template/storageLocation", json!("new"));
    assert_eq!(rows(&moved), [row("daily", "new", Standing::Active, NEWEST, Some(26))]);
    // What is in no location cannot be restored.
    moved.remove(PLACE);
    assert_eq!(rows(&moved), [row("daily", "new", Standing::Active, None, Some(26))]);
    let mut orphans = scene();
    orphans.remove(DAILY).remove(PLACE);
    assert_eq!(rows(&orphans), []);
}

#[test]
fn what_is_made_by_hand_is_expected_of_nobody_and_what_is_ahead_is_no_backup() {
    let mut by_hand = scene();
    by_hand.remove(DAILY).remove(OLDER).set(BACKUP, "/metadata/labels", Value::Null);
    let (schedule, _, _, standing, newest, rpo) = rows(&by_hand).remove(0);
    assert_eq!((schedule.as_str(), standing, newest.as_deref(), rpo), ("", None, NEWEST, None));
    let mut ahead = scene();
    ahead.remove(OLDER).set(BACKUP, "/status/startTimestamp", json!("2036-11-21T02:00:44Z"));
    assert_eq!(rows(&ahead), [row("daily", "default", Standing::Active, None, Some(26))]);
}

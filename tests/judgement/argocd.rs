//! Argo CD 3.2 to 3.6.

use serde_json::{Value, json};
use switchyard::{
    kubernetes::{Reason, Verdict},
    model::SignedDuration,
};

use crate::scene::{Scene, time};

const WEB: &str = "Application/web";
const REVISION: &str = "4f1c2d7a9b0e6c5d8f3a2b1c0d9e8f7a6b5c4d3e";

fn scene() -> Scene {
    Scene::of("argocd.json")
}

fn after(changes: &[(&str, Value)]) -> Reason {
    scene().after(WEB, changes)
}

#[test]
fn all_is_well() {
    let judged = scene().judge(WEB);
    assert_eq!(judged.reason, Reason::Ok, "{}", judged.sentence);
}

#[test]
fn reconciled_at_is_the_heartbeat_of_the_controller() {
    let mut scene = scene();
    scene.now = time("2026-11-21T03:07:00Z");
    assert_eq!(scene.judge(WEB).reason, Reason::Ok, "resync and jitter, three times, are not over");
    scene.now = time("2026-11-21T03:08:00Z");
    assert_eq!(scene.judge(WEB).reason, Reason::HeartbeatStale);
    assert_eq!(after(&[("/status/reconciledAt", Value::Null)]), Reason::NeverReconciled);
    assert_eq!(after(&[("/status", Value::Null)]), Reason::NeverReconciled);
    assert_eq!(after(&[("/status/reconciledAt", json!("2027-01-01T00:00:00Z"))]), Reason::InTheFuture);
    // Freshness first: what was Degraded when the controller died may be well.
    scene.set(WEB, "/status/health/status", json!("Degraded"));
    assert_eq!(scene.judge(WEB).reason, Reason::HeartbeatStale);
}

#[test]
fn a_destination_that_is_not_registered_is_unknown_and_never_compared() {
    let status = json!({
        "conditions": [{"type": "InvalidSpecError", "message": "there are no clusters with this name: green",
                        "lastTransitionTime": "2026-11-21T02:00:00Z"}],
        "health": {"status": "Unknown"}, "sync": {"status": "Unknown", "comparedTo": {}}
    });
    let judged = scene().set(WEB, "/status", status).judge(WEB);
    assert_eq!((judged.reason, judged.verdict), (Reason::InvalidSpec, Verdict::Unknown));
    assert!(judged.sentence.contains("no clusters with this name"), "{}", judged.sentence);
}

#[test]
fn what_cannot_be_compared_keeps_its_old_health() {
    // Git is down, the cluster is lost and the controller was restarted, or the path is wrong: the same picture.
    let condition = |kind: &str, message: &str| json!([{"type": kind, "message": message}]);
    let lost = [
        ("/status/sync/status", json!("Unknown")),
        ("/status/sync/revision", json!("main")),
        (
            "/status/conditions",
            condition("ComparisonError", "Failed to load target state: failed to list refs"),
        ),
    ];
    assert_eq!(after(&lost), Reason::ComparisonFailed);
    assert_eq!(after(&lost[..2]), Reason::SyncUnknown);
    assert_eq!(after(&[("/status/sync", Value::Null)]), Reason::SyncUnknown);
    assert_eq!(after(&[("/status/conditions", condition("UnknownError", "x"))]), Reason::ComparisonFailed);
    assert_eq!(after(&[("/status/conditions", condition("SyncError", "x"))]), Reason::SyncFailed);
    // A warning is none.
    assert_eq!(after(&[("/status/conditions", condition("OrphanedResourceWarning", "x"))]), Reason::Ok);
    assert_eq!(after(&[("/status/conditions", condition("NewKindOfError", "x"))]), Reason::UnknownWord);
    assert_eq!(after(&[("/status/sync/status", json!("Sideways"))]), Reason::UnknownWord);
}

#[test]
fn a_lost_destination_cannot_be_seen_here() {
    // The controller keeps running: Synced, Healthy, no condition, and reconciledAt advances. It says so itself.
    let judged = scene().judge(WEB);
    assert!(judged.sentence.contains("whether its destination lives it does not say"), "{}", judged.sentence);
}

#[test]
fn health_counts_only_in_sync() {
    // Never synced: OutOfSync, and Healthy because nothing is there.
    assert_eq!(after(&[("/status/sync/status", json!("OutOfSync"))]), Reason::OutOfSync);
    assert_eq!(
        after(&[("/status/sync/status", json!("OutOfSync")), ("/status/health/status", json!("Missing"))]),
        Reason::OutOfSync
    );
    assert_eq!(
        after(&[("/status/sync/status", json!("OutOfSync")), ("/status/health/status", json!("Degraded"))]),
        Reason::Degraded
    );
    for (health, reason) in [
        (json!("Degraded"), Reason::Degraded),
        (json!("Missing"), Reason::Missing),
        (json!("Progressing"), Reason::Rollout),
        // A paused Deployment, or a CronJob that is suspended.
        (json!("Suspended"), Reason::Suspended),
        (json!("Unknown"), Reason::HealthUnknown),
        (Value::Null, Reason::HealthUnknown),
        (json!("Splendid"), Reason::UnknownWord),
    ] {
        assert_eq!(after(&[("/status/health/status", health.clone())]), reason, "{health}");
    }
    assert_eq!(after(&[("/status/resources", Value::Null)]), Reason::NothingDeployed);
    assert_eq!(after(&[("/status/resources", json!([]))]), Reason::NothingDeployed);
}

#[test]
fn operation_succeeded_says_nothing_of_the_workload() {
    // Twenty seconds before it turned Degraded.
    let changes = [
        ("/status/operationState/finishedAt", json!("2026-11-21T02:59:50Z")),
        ("/status/health/status", json!("Progressing")),
    ];
    assert_eq!(after(&changes), Reason::Rollout);
}

#[test]
fn operations_are_judged_by_phase() {
    let operation = |value: Value| after(&[("/status/operationState", value)]);
    assert_eq!(operation(Value::Null), Reason::Ok, "nulled before each automatic operation");
    for phase in ["Running", "Terminating"] {
        let since = |time: &str| operation(json!({"phase": phase, "startedAt": time}));
        assert_eq!(since("2026-11-21T02:59:00Z"), Reason::Running);
        assert_eq!(since("2026-11-21T02:45:00Z"), Reason::Running);
        assert_eq!(since("2026-11-21T02:44:59Z"), Reason::OperationStuck);
        assert_eq!(since("2026-11-21T04:00:00Z"), Reason::InTheFuture);
        assert_eq!(operation(json!({"phase": phase})), Reason::TimestampAbsent);
    }
    let mut patient = scene();
    patient.limits.operation = SignedDuration::from_hours(1);
    patient.set(
        WEB,
        "/status/operationState",
        json!({"phase": "Running", "startedAt": "2026-11-21T02:10:00Z"}),
    );
    assert_eq!(patient.judge(WEB).reason, Reason::Running);
    patient.limits.operation = SignedDuration::from_mins(15);
    let judged = patient.judge(WEB);
    assert_eq!((judged.reason, judged.verdict), (Reason::OperationStuck, Verdict::Unhealthy));
    assert_eq!(judged.sentence, "an operation runs, since 50m00s, where 15m00s are allowed");
    let mut retry = json!({"phase": "Running", "startedAt": "2026-11-21T02:50:00Z", "finishedAt": "2026-11-21T02:59:00Z", "retryCount": 2,
                       "message": "one or more objects failed to apply. Retrying attempt #2 at 2:59AM."});
    assert_eq!(operation(retry.clone()), Reason::Retrying);
    // However often it is tried again, it began once.
    retry["startedAt"] = json!("2026-11-21T01:50:00Z");
    assert_eq!(operation(retry), Reason::OperationStuck);
    for phase in ["Failed", "Error"] {
        let here = json!({"phase": phase, "message": "hook failed", "syncResult": {"revision": REVISION}});
        assert_eq!(operation(here), Reason::OperationFailed);
        assert_eq!(operation(json!({"phase": phase})), Reason::OperationFailed);
        // In sync at another revision: history.
        assert_eq!(operation(json!({"phase": phase, "syncResult": {"revision": "0ld"}})), Reason::Ok);
        // A dry run changed nothing.
        let dry = json!({"phase": phase, "operation": {"sync": {"dryRun": true}}});
        assert_eq!(operation(dry), Reason::Ok);
    }
    let old = json!({"phase": "Failed", "syncResult": {"revision": "0ld"}});
    let changes = [("/status/operationState", old), ("/status/sync/status", json!("OutOfSync"))];
    assert_eq!(after(&changes), Reason::OperationFailed);
    assert_eq!(operation(json!({"phase": "Dancing"})), Reason::UnknownWord);
    // Written while the controller is down: it waits without expiry.
    assert_eq!(after(&[("/operation", json!({"sync": {"revision": "main"}}))]), Reason::Waiting);
}

#[test]
fn no_operation_hides_that_a_workload_is_degraded() {
    // Health is of what runs now. A sync that goes well shows Progressing, and Missing where nothing was yet.
    let during = |health: &str, operation: Value| {
        after(&[("/status/health/status", json!(health)), ("/status/operationState", operation)])
    };
    let running = json!({"phase": "Running", "startedAt": "2026-11-21T02:59:00Z"});
    let retrying = json!({"phase": "Running", "startedAt": "2026-11-21T02:59:00Z",
                          "finishedAt": "2026-11-21T02:59:30Z", "retryCount": 1});
    for operation in [running, retrying, json!({"phase": "Dancing"}), json!({"phase": "Failed"})] {
        assert_eq!(during("Degraded", operation.clone()), Reason::Degraded, "{operation}");
        if operation["phase"] == "Running" {
            for health in ["Progressing", "Missing", "Healthy"] {
                assert!(matches!(during(health, operation.clone()), Reason::Running | Reason::Retrying));
            }
        }
    }
    // Nor does one that nobody takes up.
    let waiting = [("/operation", json!({"sync": {}})), ("/status/health/status", json!("Degraded"))];
    assert_eq!(after(&waiting), Reason::Degraded);
}

#[test]
fn a_destination_of_which_nobody_said_which_cluster_it_is_is_not_known_to_be_well() {
    let mut scene = scene();
    let there = json!({"server": "https://10.9.8.7:6443", "namespace": "web"});
    let judged = scene.set(WEB, "/spec/destination", there).judge(WEB);
    assert_eq!((judged.reason, judged.verdict), (Reason::DestinationUnmapped, Verdict::Unknown));
    assert!(
        judged.sentence.contains("--argocd-destination https://10.9.8.7:6443=CLUSTER"),
        "{}",
        judged.sentence
    );
    scene.limits.destinations.insert("https://10.9.8.7:6443", "green".to_owned());
    assert_eq!(scene.judge(WEB).reason, Reason::Ok);
    // What is wrong with it is said first.
    scene.limits.destinations = Default::default();
    scene.set(WEB, "/status/health/status", json!("Degraded"));
    assert_eq!(scene.judge(WEB).reason, Reason::Degraded);
    // The cluster that Argo CD runs in, in all the ways it is called, unless somebody said another.
    for own in [
        json!({"name": "in-cluster"}),
        json!({"server": "https://kubernetes.default.svc"}),
        json!({"server": "https://kubernetes.default.svc/"}),
        json!({"server": "https://kubernetes.default.svc:443"}),
    ] {
        assert_eq!(after(&[("/spec/destination", own.clone())]), Reason::Ok, "{own}");
    }
}

#[test]
fn without_autosync_a_person_is_asked_unless_that_is_accepted() {
    for policy in
        [Value::Null, json!({}), json!({"automated": null}), json!({"automated": {"enabled": false}})]
    {
        let mut scene = scene();
        scene.set(WEB, "/spec/syncPolicy", policy.clone());
        assert_eq!(scene.judge(WEB).reason, Reason::ManualSync, "{policy}");
        scene.limits.accept_manual_sync = true;
        assert_eq!(scene.judge(WEB).reason, Reason::Ok, "{policy}");
        scene.set(WEB, "/status/sync/status", json!("OutOfSync"));
        assert_eq!(scene.judge(WEB).reason, Reason::OutOfSync);
    }
    assert_eq!(after(&[("/spec/syncPolicy", json!({"automated": {}}))]), Reason::Ok);
}

#[test]
fn several_sources_are_read() {
    let mut scene = scene();
    scene.set(WEB, "/spec/source", Value::Null);
    scene.set(WEB, "/spec/sources", json!([
        {"repoURL": "https://charts.example.com", "chart": "web", "targetRevision": "1.*"},
        {"repoURL": "https://user:secret@git.example.com/values.git", "targetRevision": "main", "ref": "values"}
    ]));
    scene.set(WEB, "/status/sync/revision", Value::Null);
    scene.set(WEB, "/status/sync/revisions", json!(["1.4.2", REVISION]));
    scene.set(WEB, "/status/operationState/syncResult", json!({"revisions": ["1.4.2", REVISION]}));
    assert_eq!(scene.judge(WEB).reason, Reason::Ok);
    let object = &scene.read()[0];
    let switchyard::kubernetes::Detail::Application(app) = &object.detail else { panic!("{object:?}") };
    assert_eq!(
        app.repo, "https://charts.example.com,https://git.example.com/values",
        "without the credentials"
    );
    assert_eq!(app.revision.as_deref(), Some(format!("1.4.2,{REVISION}").as_str()));
}

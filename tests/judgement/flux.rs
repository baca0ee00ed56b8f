//! Flux 2.9: the table of cases that the real controllers left.

use serde_json::{Value, json};
use switchyard::kubernetes::{KindState, Reason, Verdict};

use crate::scene::{Scene, time};

const APPS: &str = "Kustomization/apps";
const GIT: &str = "GitRepository/apps";
const RELEASE: &str = "HelmRelease/runner";
const CHART: &str = "HelmChart/gitlab-runner-runner";

fn scene() -> Scene {
    Scene::of("flux.json")
}

fn ready(status: &str, reason: &str, generation: i64) -> Value {
    json!({
        "type": "Ready", "status": status, "reason": reason, "message": "as it was", "observedGeneration": generation,
        "lastTransitionTime": "2026-11-21T02:59:50Z"
    })
}

fn condition(kind: &str, status: &str, reason: &str, generation: i64) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": "as it was", "observedGeneration": generation})
}

#[test]
fn all_is_well() {
    for what in [APPS, GIT, RELEASE, CHART] {
        let judged = scene().judge(what);
        assert_eq!(judged.reason, Reason::Ok, "{what}: {}", judged.sentence);
    }
}

/// A status of a Kustomization at generation 1 that has never succeeded: observedGeneration is -1, and stays so.
fn newborn(conditions: Value) -> Scene {
    let mut scene = scene();
    scene.set(APPS, "/metadata/generation", json!(1));
    scene.set(APPS, "/status", json!({"observedGeneration": -1}));
    scene.set(APPS, "/status/conditions", conditions);
    scene
}

#[test]
fn the_generation_that_counts_is_that_of_the_condition() {
    assert_eq!(newborn(Value::Null).judge(APPS).reason, Reason::NeverReconciled, "created, not yet seen");
    let mut suspended = newborn(Value::Null);
    suspended.set(APPS, "/spec/suspend", json!(true));
    assert_eq!(suspended.judge(APPS).reason, Reason::Suspended, "suspended from birth");

    // Failing from birth: not unknown, although observedGeneration is -1 for ever.
    let retry = condition("Reconciling", "True", "ProgressingWithRetry", 1);
    for (conditions, reason, what) in [
        (
            json!([ready("False", "ArtifactFailed", 1)]),
            Reason::ArtifactFailed,
            "no source, or no artifact yet",
        ),
        (json!([retry, ready("False", "ArtifactFailed", 1)]), Reason::ArtifactFailed, "path missing"),
        (json!([retry, ready("False", "BuildFailed", 1)]), Reason::BuildFailed, "YAML error"),
        (json!([retry, ready("False", "ReconciliationFailed", 1)]), Reason::ApplyFailed, "dry run rejected"),
        (
            json!([
                condition("Healthy", "False", "HealthCheckFailed", 1),
                ready("False", "HealthCheckFailed", 1)
            ]),
            Reason::HealthCheckFailed,
            "workload failed",
        ),
        (json!([ready("False", "DependencyNotReady", 1)]), Reason::DependencyNotReady, "dependency"),
        (json!([ready("False", "SomethingNew", 1)]), Reason::NotReady, "a later version's reason"),
        (json!([ready("Perhaps", "X", 1)]), Reason::UnknownWord, "no status of a condition"),
    ] {
        assert_eq!(newborn(conditions).judge(APPS).reason, reason, "{what}");
    }

    let mut stalled = newborn(json!([
        condition("Stalled", "True", "InvalidCELExpression", 1),
        ready("False", "InvalidCELExpression", 1)
    ]));
    stalled.set(APPS, "/status/observedGeneration", json!(1));
    assert_eq!(stalled.judge(APPS).reason, Reason::Stalled, "bad CEL is not tried again");
}

#[test]
fn a_later_spec_is_judged_by_its_own_result() {
    // A new spec fails: Healthy=True and the old revision remain from before.
    let mut fails = scene();
    fails.set(APPS, "/metadata/generation", json!(6));
    fails.set(APPS, "/status/conditions/0", ready("False", "BuildFailed", 6));
    assert_eq!(fails.judge(APPS).reason, Reason::BuildFailed);
    // The controller is dead and the spec was edited: Ready=True is about the spec before.
    let mut dead = scene();
    dead.set(APPS, "/metadata/generation", json!(6));
    let judged = dead.judge(APPS);
    assert_eq!((judged.reason, judged.verdict), (Reason::GenerationBehind, Verdict::Unknown));
    assert_eq!(judged.sentence, "Ready=True speaks of generation 5, and the spec is at 6");
    let mut unsaid = scene();
    unsaid.set(APPS, "/status/conditions/0/observedGeneration", Value::Null);
    assert_eq!(unsaid.judge(APPS).reason, Reason::GenerationBehind);
    // The remote cluster is dead: the next interval says so.
    let mut remote = scene();
    remote.set(APPS, "/status/conditions/0", ready("False", "ReconciliationFailed", 5));
    assert_eq!(remote.judge(APPS).reason, Reason::ApplyFailed);
}

#[test]
fn only_the_spec_tells_of_a_suspension() {
    // Suspended while ready: Ready=True, and observedGeneration even follows.
    let mut ready_one = scene();
    ready_one.set(APPS, "/metadata/generation", json!(6)).set(APPS, "/status/observedGeneration", json!(6));
    ready_one.set(APPS, "/spec/suspend", json!(true));
    assert_eq!(ready_one.judge(APPS).reason, Reason::Suspended);
    // While failing: it stays behind.
    let mut failing = newborn(json!([
        condition("Reconciling", "True", "ProgressingWithRetry", 2),
        ready("False", "BuildFailed", 1)
    ]));
    failing.set(APPS, "/metadata/generation", json!(2)).set(APPS, "/spec/suspend", json!(true));
    assert_eq!(failing.judge(APPS).reason, Reason::Suspended);
    // A GitRepository bumps the condition's number too.
    let mut git = scene();
    git.set(GIT, "/spec/suspend", json!(true)).set(GIT, "/metadata/generation", json!(2));
    git.set(GIT, "/status/conditions/0/observedGeneration", json!(2));
    assert_eq!(git.judge(GIT).reason, Reason::Suspended);
    assert_eq!(git.judge(APPS).reason, Reason::SourceUnknown, "what comes from it is at an old revision");
}

#[test]
fn a_flicker_in_every_interval_is_held() {
    let mut flicker = scene();
    flicker.set(APPS, "/status/conditions/0", ready("Unknown", "Progressing", 5));
    let reconciling = condition("Reconciling", "True", "Progressing", 5);
    flicker.set(APPS, "/status/conditions/1", reconciling);
    assert_eq!(
        flicker.judge(APPS).reason,
        Reason::Ok,
        "a healthy one, in the fifth of a second it reconciles"
    );
    for (last, reason) in [
        ("HealthCheckFailed", Reason::HealthCheckFailed),
        ("ReconciliationFailed", Reason::ApplyFailed),
        ("SomethingNew", Reason::Reconciling),
    ] {
        let mut failing = flicker.clone();
        failing.set(APPS, "/status/history/0/lastReconciledStatus", json!(last));
        assert_eq!(failing.judge(APPS).reason, reason, "a failing one is not on its way: {last}");
        // A spec that fails never becomes the observed one.
        failing.set(APPS, "/status/observedGeneration", json!(-1));
        assert_eq!(failing.judge(APPS).reason, reason, "nor is one that never succeeded: {last}");
    }
    // The last result is of another revision: it is on its way.
    let mut newer = flicker.clone();
    newer.set(APPS, "/status/lastAttemptedRevision", json!("main@sha1:new"));
    assert_eq!(newer.judge(APPS).reason, Reason::Reconciling);
    let mut pulled = flicker.clone();
    pulled.set(GIT, "/status/artifact/revision", json!("main@sha1:new"));
    assert_eq!(pulled.judge(APPS).reason, Reason::RevisionBehind);
    // Or of another spec, which was never applied: a retry is not held at the old success.
    let mut edited = flicker.clone();
    edited.set(APPS, "/metadata/generation", json!(6));
    edited.set(APPS, "/status/conditions/0", ready("Unknown", "Progressing", 6));
    assert_eq!(edited.judge(APPS).reason, Reason::Reconciling);
    // The controller died in the middle of it.
    edited.set(APPS, "/status/conditions/0/lastTransitionTime", json!("2026-11-21T02:00:00Z"));
    assert_eq!(edited.judge(APPS).reason, Reason::HeartbeatStale);
    edited.set(APPS, "/status/conditions/0/lastTransitionTime", Value::Null);
    assert_eq!(edited.judge(APPS).reason, Reason::TimestampAbsent);
    // A flicker is no heartbeat.
    flicker.set(APPS, "/status/history/0/lastReconciled", json!("2026-11-21T02:00:00Z"));
    assert_eq!(flicker.judge(APPS).reason, Reason::HeartbeatStale);
}

#[test]
fn last_reconciled_is_the_heartbeat_and_last_transition_is_none() {
    let mut dead = scene();
    // Three intervals and the timeout.
    dead.now = time("2026-11-21T03:25:00Z");
    dead.limits.accept_silent = true;
    assert_eq!(dead.judge(APPS).reason, Reason::Ok);
    dead.now = time("2026-11-21T03:26:00Z");
    assert_eq!(dead.judge(APPS).reason, Reason::HeartbeatStale);
    // Objects that stopped being requeued: ready and current, for ever.
    dead.set(APPS, "/status/conditions/0/lastTransitionTime", json!("2026-11-21T03:25:30Z"));
    assert_eq!(dead.judge(APPS).reason, Reason::HeartbeatStale);
    assert_eq!(scene().after(APPS, &[("/status/history", Value::Null)]), Reason::TimestampAbsent);
    assert_eq!(scene().after(APPS, &[("/status/history", json!([]))]), Reason::TimestampAbsent);
    assert_eq!(scene().after(APPS, &[("/spec/interval", Value::Null)]), Reason::TimestampAbsent);
    let future = ("/status/history/0/lastReconciled", json!("2027-01-01T00:00:00Z"));
    assert_eq!(scene().after(APPS, &[future]), Reason::InTheFuture);
}

#[test]
fn what_failed_before_its_controller_died_is_unknown() {
    // Every failure of the table, and what has no heartbeat of its own.
    for (what, reason) in [
        (APPS, "ArtifactFailed"),
        (APPS, "BuildFailed"),
        (APPS, "ReconciliationFailed"),
        (APPS, "HealthCheckFailed"),
        (APPS, "DependencyNotReady"),
        (GIT, "GitOperationFailed"),
        (RELEASE, "UpgradeFailed"),
        (CHART, "ChartPullError"),
    ] {
        let mut scene = scene();
        let generation = scene.value(what)["metadata"]["generation"].as_i64().expect("a number");
        scene.set(what, "/status/conditions/0", ready("False", reason, generation));
        let judged = scene.judge(what);
        assert_eq!(judged.verdict, Verdict::Unhealthy, "{what} {reason}: {}", judged.sentence);
        scene.now = time("2026-11-21T04:00:00Z");
        let judged = scene.judge(what);
        assert_eq!(
            (judged.reason, judged.verdict),
            (Reason::HeartbeatStale, Verdict::Unknown),
            "{what} {reason}: {}",
            judged.sentence
        );
        assert!(
            judged.sentence.ends_with(&format!("it said last: {reason}: as it was")),
            "{}",
            judged.sentence
        );
        // Whatever of it moved lately proves that its controller lives.
        let mut retried = scene.clone();
        retried.set(what, "/status/conditions/0/lastTransitionTime", json!("2026-11-21T03:59:30Z"));
        assert_eq!(retried.judge(what).verdict, Verdict::Unhealthy, "{what} {reason}");
        let mut answered = scene.clone();
        let token = json!("2026-11-21T03:59:30Z");
        answered.set(what, "/metadata/annotations", json!({"reconcile.fluxcd.io/requestedAt": token}));
        answered.set(what, "/status/lastHandledReconcileAt", token);
        assert_eq!(answered.judge(what).verdict, Verdict::Unhealthy, "{what} {reason}");
        // A team that takes their word without proof takes this one, too.
        scene.limits.accept_silent = true;
        assert_eq!(scene.judge(what).verdict, Verdict::Unhealthy, "{what} {reason}");
        // A time in the future proves nothing, and an absent one neither.
        scene.set(what, "/status/conditions/0/lastTransitionTime", json!("2027-01-01T00:00:00Z"));
        assert_eq!(scene.judge(what).reason, Reason::InTheFuture, "{what} {reason}");
    }
    // What a Kustomization tried last is a sign, too: an entry of a failed attempt moves.
    let mut applied = scene();
    applied.set(APPS, "/status/conditions/0", ready("False", "ReconciliationFailed", 5));
    applied.now = time("2026-11-21T04:00:00Z");
    applied.set(APPS, "/status/history/0/lastReconciled", json!("2026-11-21T03:55:00Z"));
    assert_eq!(applied.judge(APPS).reason, Reason::ApplyFailed);
    // It died while it tried again.
    for last in ["HealthCheckFailed", "ReconciliationFailed"] {
        let mut died = scene();
        died.set(APPS, "/status/conditions/0", ready("Unknown", "Progressing", 5));
        died.set(APPS, "/status/history/0/lastReconciledStatus", json!(last));
        died.now = time("2026-11-21T04:00:00Z");
        assert_eq!(died.judge(APPS).reason, Reason::HeartbeatStale, "{last}");
    }
    // What gave up moves no more, unless it does not answer.
    let mut stalled = scene();
    stalled.set(APPS, "/status/conditions/0", ready("False", "InvalidCELExpression", 5));
    stalled.set(APPS, "/status/conditions/1", condition("Stalled", "True", "InvalidCELExpression", 5));
    stalled.now = time("2026-11-21T04:00:00Z");
    assert_eq!(stalled.judge(APPS).reason, Reason::Stalled);
    stalled.set(
        APPS,
        "/metadata/annotations",
        json!({"reconcile.fluxcd.io/requestedAt": "2026-11-21T03:00:00Z"}),
    );
    assert_eq!(stalled.judge(APPS).reason, Reason::HandshakeUnanswered);
}

#[test]
fn of_a_source_nothing_moves_so_only_the_handshake_proves_life() {
    let mut quiet = scene();
    quiet.set(GIT, "/metadata/annotations", Value::Null).set(
        GIT,
        "/status/lastHandledReconcileAt",
        Value::Null,
    );
    let judged = quiet.judge(GIT);
    assert_eq!((judged.reason, judged.verdict), (Reason::HeartbeatAbsent, Verdict::Unknown));
    assert!(judged.sentence.contains("annotate reconcile.fluxcd.io/requestedAt"), "{}", judged.sentence);
    assert_eq!(quiet.judge(APPS).reason, Reason::SourceUnknown);
    // A team that has no handshake may take its word.
    quiet.limits.accept_silent = true;
    assert_eq!(quiet.judge(GIT).reason, Reason::Ok);
    assert_eq!(quiet.judge(APPS).reason, Reason::Ok);
    quiet.limits.accept_silent = false;
    // A new artifact is a sign of life as well.
    quiet.set(GIT, "/status/artifact/lastUpdateTime", json!("2026-11-21T02:58:00Z"));
    assert_eq!(quiet.judge(GIT).reason, Reason::Ok);

    // An old answer proves nothing now.
    let mut old = scene();
    old.now = time("2026-11-21T03:30:00Z");
    assert_eq!(old.judge(GIT).reason, Reason::HeartbeatAbsent);
    // A token that is no time proves nothing either.
    let mut token = scene();
    token.set(GIT, "/metadata/annotations/reconcile.fluxcd.io~1requestedAt", json!("please"));
    token.set(GIT, "/status/lastHandledReconcileAt", json!("please"));
    assert_eq!(token.judge(GIT).reason, Reason::HeartbeatAbsent);
}

#[test]
fn an_unanswered_request_is_a_dead_controller() {
    let mut asked = scene();
    asked.set(GIT, "/metadata/annotations/reconcile.fluxcd.io~1requestedAt", json!("2026-11-21T02:59:00Z"));
    assert_eq!(asked.judge(GIT).reason, Reason::Ok, "a minute may pass");
    asked.set(GIT, "/metadata/annotations/reconcile.fluxcd.io~1requestedAt", json!("2026-11-21T02:50:00Z"));
    assert_eq!(asked.judge(GIT).reason, Reason::HandshakeUnanswered);
    asked.limits.accept_silent = true;
    assert_eq!(asked.judge(GIT).reason, Reason::HandshakeUnanswered, "its word is contradicted");
    assert_eq!(asked.judge(APPS).reason, Reason::SourceUnknown);
    // Handled is not succeeded: it is set after a failure, too.
    let mut failed = scene();
    failed.set(GIT, "/status/conditions/0", ready("False", "GitOperationFailed", 1));
    assert_eq!(failed.judge(GIT).reason, Reason::NotReady);
}

#[test]
fn a_kustomization_is_no_better_than_its_source() {
    // Ready=True while its source has been failing; the old artifact stays served.
    for reason in ["GitOperationFailed", "AuthenticationFailed"] {
        let mut failing = scene();
        failing.set(
            GIT,
            "/status/conditions",
            json!([
                condition("FetchFailed", "True", reason, 1),
                condition("Reconciling", "True", "ProgressingWithRetry", 1),
                ready("False", reason, 1)
            ]),
        );
        assert_eq!(failing.judge(GIT).reason, Reason::NotReady);
        let judged = failing.judge(APPS);
        assert_eq!((judged.reason, judged.verdict), (Reason::SourceUnhealthy, Verdict::Unhealthy));
        assert!(judged.sentence.starts_with("GitRepository flux-system/apps: "), "{}", judged.sentence);
    }
    let mut gone = scene();
    gone.remove(GIT);
    assert_eq!(gone.judge(APPS).reason, Reason::SourceMissing);
    gone.state = KindState::Unseen;
    assert_eq!(gone.judge(APPS).reason, Reason::RelatedUnseen, "it was not in the files");
    let mut other = scene();
    other.set(APPS, "/spec/sourceRef", json!({"kind": "Charm", "name": "apps"}));
    assert_eq!(other.judge(APPS).reason, Reason::RelatedUnseen, "a kind that is not watched");
    let mut elsewhere = scene();
    elsewhere.set(APPS, "/spec/sourceRef/namespace", json!("other"));
    assert_eq!(elsewhere.judge(APPS).reason, Reason::SourceMissing);
    // Nobody does this, and it must not be judged for ever.
    let mut itself = scene();
    itself.set(APPS, "/spec/sourceRef", json!({"kind": "Kustomization", "name": "apps"}));
    assert_eq!(itself.judge(APPS).reason, Reason::SourceUnknown);
}

#[test]
fn an_external_artifact_is_a_source_of_which_nothing_moves() {
    let mut scene = scene();
    scene.set(APPS, "/spec/sourceRef", json!({"kind": "ExternalArtifact", "name": "apps"}));
    assert_eq!(scene.judge(APPS).reason, Reason::SourceMissing);
    let artifact = scene.value(GIT)["status"]["artifact"].clone();
    scene.add(json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "ExternalArtifact",
        "metadata": {"name": "apps", "namespace": "flux-system", "generation": 1},
        "spec": {"sourceRef": {"apiVersion": "charm.example.com/v1", "kind": "Charm", "name": "apps"}},
        "status": {"artifact": artifact, "conditions": [ready("True", "Succeeded", 1)]},
    }));
    let external = "ExternalArtifact/apps";
    assert_eq!(scene.judge(external).reason, Reason::HeartbeatAbsent);
    assert_eq!(scene.judge(APPS).reason, Reason::SourceUnknown);
    // It has no place to answer a request.
    let asked = json!({"reconcile.fluxcd.io/requestedAt": "2026-11-21T02:00:00Z"});
    scene.set(external, "/metadata/annotations", asked);
    assert_eq!(scene.judge(external).reason, Reason::HeartbeatAbsent);
    scene.limits.accept_silent = true;
    assert_eq!(scene.judge(external).reason, Reason::Ok);
    assert_eq!(scene.judge(APPS).reason, Reason::Ok);
    for (status, reason) in [("False", Reason::NotReady), ("Unknown", Reason::Reconciling)] {
        let changes = [("/status/conditions/0", ready(status, "X", 1))];
        assert_eq!(scene.after(external, &changes), reason);
    }
    assert_eq!(scene.after(external, &[("/status/artifact", Value::Null)]), Reason::Reconciling);
    scene.set(external, "/status/artifact/revision", json!("latest@sha256:new"));
    assert_eq!(scene.judge(APPS).reason, Reason::RevisionBehind);
}

#[test]
fn converged_is_the_revision_of_the_source() {
    let mut behind = scene();
    behind.set(GIT, "/status/artifact/revision", json!("main@sha1:new"));
    let judged = behind.judge(APPS);
    assert_eq!((judged.reason, judged.verdict), (Reason::RevisionBehind, Verdict::Progressing));
    // Ready is written a few milliseconds before the revision.
    assert_eq!(scene().after(APPS, &[("/status/lastAppliedRevision", Value::Null)]), Reason::RevisionBehind);
    assert_eq!(scene().after(GIT, &[("/status/artifact", Value::Null)]), Reason::Reconciling);
}

#[test]
fn a_release_is_joined_with_its_chart() {
    let mut failing = scene();
    failing.set(CHART, "/status/conditions/0", ready("False", "ChartPullError", 1));
    assert_eq!(failing.judge(RELEASE).reason, Reason::SourceUnhealthy);
    failing.remove(CHART);
    assert_eq!(failing.judge(RELEASE).reason, Reason::SourceMissing);
    assert_eq!(scene().after(RELEASE, &[("/spec/suspend", json!(true))]), Reason::Suspended);
    assert_eq!(
        scene().after(RELEASE, &[("/status/conditions/0", ready("False", "UpgradeFailed", 2))]),
        Reason::NotReady
    );
    assert_eq!(
        scene().after(RELEASE, &[("/status/conditions/0", ready("Unknown", "Progressing", 2))]),
        Reason::Reconciling
    );
    let mut unanswered = scene();
    unanswered.set(RELEASE, "/status/lastHandledReconcileAt", Value::Null);
    assert_eq!(unanswered.judge(RELEASE).reason, Reason::HeartbeatAbsent, "asked three minutes ago");
    unanswered.now = time("2026-11-21T03:03:00Z");
    assert_eq!(unanswered.judge(RELEASE).reason, Reason::HandshakeUnanswered);
    let mut pulls = scene();
    pulls.set(CHART, "/status/conditions/0", ready("Unknown", "Progressing", 1));
    assert_eq!(pulls.judge(RELEASE).reason, Reason::Reconciling);
    // Another chart reference.
    let mut oci = scene();
    oci.set(
        RELEASE,
        "/spec/chartRef",
        json!({"kind": "OCIRepository", "name": "podinfo", "namespace": "flux-system"}),
    );
    assert_eq!(oci.judge(RELEASE).reason, Reason::SourceMissing);
}

#[test]
fn a_helm_repository_of_type_oci_is_nobodys() {
    let mut scene = scene();
    scene.add(json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "HelmRepository",
        "metadata": {"name": "podinfo", "namespace": "flux-system", "generation": 1},
        "spec": {"type": "oci", "url": "oci://ghcr.io/stefanprodan/charts", "interval": "5m0s"}
    }));
    assert_eq!(scene.judge("HelmRepository/podinfo").reason, Reason::NotReconciled);
    scene.set("HelmRepository/podinfo", "/spec/type", Value::Null);
    assert_eq!(scene.judge("HelmRepository/podinfo").reason, Reason::NeverReconciled);
}

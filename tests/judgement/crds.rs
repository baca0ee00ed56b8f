//! The real CRDs keep every field that is read: one that was misspelt here would be dropped there.

use serde_json::{Value, json};
use switchyard::kubernetes::Object;
use switchyard_lab::{
    kubernetes::{Crds, Kubernetes},
    parts::or_skip,
};

use crate::scene::Scene;

#[tokio::test]
async fn the_real_crds_keep_every_field_that_is_read() {
    let Some(kubernetes) = or_skip(Kubernetes::start().await) else { return };
    kubernetes.install(&Crds::ALL).await.expect("the CRDs");
    for namespace in ["argocd", "velero", "flux-system", "gitlab-runner"] {
        kubernetes.namespace(namespace).await.expect("a namespace");
    }
    for (file, changes) in [
        ("velero.json", velero()),
        ("argocd.json", argocd()),
        ("flux.json", flux()),
        ("pods.json", Vec::new()),
    ] {
        let before = Scene::of(file);
        let mut after = before.clone();
        for (what, pointer, value) in changes {
            after.set(what, pointer, value);
        }
        for scene in [before, after] {
            for (mut value, wanted) in scene.values().zip(scene.read()) {
                // The server's own.
                let metadata = value["metadata"].as_object_mut().expect("metadata");
                for own in ["uid", "resourceVersion", "creationTimestamp", "generation", "finalizers"] {
                    metadata.remove(own);
                }
                let kept = kubernetes.apply(&value).await.expect("it is taken");
                let kept = Object::read(wanted.kind, &kept);
                assert_eq!(kept.detail, wanted.detail, "{} {}", wanted.kind, wanted.name);
            }
        }
    }
}

type Change = (&'static str, &'static str, Value);

fn velero() -> Vec<Change> {
    let (backup, place, daily) =
        ("Backup/daily-20261121020044", "BackupStorageLocation/default", "Schedule/daily");
    vec![
        (backup, "/status/phase", json!("FailedValidation")),
        (backup, "/status/validationErrors", json!(["no such location"])),
        ("Backup/daily-20261120020044", "/status/failureReason", json!("the store is gone")),
        (place, "/spec/validationFrequency", json!("2m0s")),
        (place, "/spec/backupSyncPeriod", json!("3m0s")),
        (place, "/spec/accessMode", json!("ReadOnly")),
        (daily, "/spec/paused", json!(true)),
        (daily, "/status/lastSkipped", json!("2026-11-21T02:30:00Z")),
        (daily, "/status/phase", json!("FailedValidation")),
        (daily, "/status/validationErrors", json!(["invalid schedule"])),
        ("Restore/drill", "/status/warnings", json!(2)),
        ("Restore/drill", "/status/failureReason", json!("gone")),
    ]
}

fn argocd() -> Vec<Change> {
    let web = "Application/web";
    let sources = json!([
        {"repoURL": "https://charts.example.com", "chart": "web", "targetRevision": "1.4.2"},
        {"repoURL": "https://git.example.com/values.git", "targetRevision": "main", "ref": "values"}
    ]);
    let operation = json!({
        "phase": "Running", "startedAt": "2026-11-21T02:59:00Z", "finishedAt": "2026-11-21T02:59:10Z", "retryCount": 2,
        "message": "Retrying attempt #2", "operation": {"sync": {"dryRun": true}},
        "syncResult": {
            "revision": "", "revisions": ["1.4.2", "abc"], "source": {"repoURL": ""}, "sources": sources.clone()
        }
    });
    vec![
        (web, "/spec/sources", sources),
        (web, "/spec/syncPolicy", json!({"automated": {"enabled": false}})),
        (web, "/status/sync/revisions", json!(["1.4.2", "abc"])),
        (web, "/status/conditions", json!([{"type": "SyncError", "message": "x"}])),
        (web, "/status/operationState", operation),
        (web, "/operation", json!({"sync": {"revision": "main"}})),
    ]
}

fn flux() -> Vec<Change> {
    let stalled = json!({
        "type": "Stalled", "status": "True", "reason": "InvalidCELExpression", "message": "x", "observedGeneration": 5,
        "lastTransitionTime": "2026-11-21T02:00:00Z"
    });
    let reconciling = json!({
        "type": "Reconciling", "status": "True", "reason": "Progressing", "message": "x", "observedGeneration": 1,
        "lastTransitionTime": "2026-11-21T02:00:00Z"
    });
    vec![
        ("Kustomization/apps", "/spec/suspend", json!(true)),
        ("Kustomization/apps", "/spec/sourceRef/namespace", json!("elsewhere")),
        ("Kustomization/apps", "/status/conditions/1", stalled),
        ("Kustomization/apps", "/status/lastHandledReconcileAt", json!("2026-11-21T02:00:00Z")),
        ("GitRepository/apps", "/spec/suspend", json!(true)),
        ("GitRepository/apps", "/status/conditions/1", reconciling),
        ("HelmChart/gitlab-runner-runner", "/spec/suspend", json!(true)),
    ]
}

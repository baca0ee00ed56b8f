//! What is written to the API is seen and judged; what is removed is gone.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use switchyard::world::Live;
use switchyard_lab::kubernetes::Crds;

use super::{BLUE, exporter, kubernetes};

/// So long ago, as the tools write it.
pub(crate) fn ago(seconds: i64) -> String {
    let at: Timestamp = Live::clock() - SignedDuration::from_secs(seconds);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub(crate) fn object(
    version: &str,
    kind: &str,
    namespace: &str,
    name: &str,
    spec: Value,
    status: Value,
) -> Value {
    let metadata = json!({ "name": name, "namespace": namespace });
    json!({ "apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec, "status": status })
}

/// An application that is well, compared so many seconds ago.
pub(crate) fn application(name: &str, compared: i64) -> Value {
    let spec = json!({
        "project": "default",
        "source": { "repoURL": "https://git.example.com/apps.git", "path": name, "targetRevision": "main" },
        "destination": { "server": "https://kubernetes.default.svc", "namespace": name },
        "syncPolicy": { "automated": { "prune": true } },
    });
    let resource =
        json!({ "kind": "Deployment", "group": "apps", "version": "v1", "name": name, "namespace": name });
    let status = json!({
        "reconciledAt": ago(compared),
        "sync": { "status": "Synced", "revision": "0123456789abcdef", "comparedTo": {
            "source": spec["source"], "destination": spec["destination"],
        }},
        "health": { "status": "Healthy" },
        "resources": [resource],
    });
    object("argoproj.io/v1alpha1", "Application", "argocd", name, spec, status)
}

pub(crate) fn location() -> Value {
    let spec = json!({ "provider": "aws", "default": true, "objectStorage": { "bucket": "backups" } });
    let status = json!({ "phase": "Available", "lastValidationTime": ago(10), "lastSyncedTime": ago(10) });
    object("velero.io/v1", "BackupStorageLocation", "velero", "default", spec, status)
}

pub(crate) fn backup(name: &str, status: Value) -> Value {
    let mut backup =
        object("velero.io/v1", "Backup", "velero", name, json!({ "storageLocation": "default" }), status);
    backup["metadata"]["labels"] = json!({ "velero.io/schedule-name": "nightly" });
    backup
}

fn pod(name: &str, labels: Value, ready: &str) -> Value {
    let mut pod = object(
        "v1",
        "Pod",
        "gitlab-runner",
        name,
        json!({ "containers": [{ "name": "runner", "image": "gitlab/gitlab-runner" }] }),
        json!({
            "phase": "Running",
            "conditions": [{ "type": "Ready", "status": ready }],
            "containerStatuses": [{
                "name": "runner", "ready": ready == "True", "restartCount": 3, "image": "x", "imageID": "x",
            }],
        }),
    );
    pod["metadata"]["labels"] = labels;
    pod
}

#[tokio::test]
async fn objects_are_seen_judged_and_forgotten() {
    let Some(kubernetes) = kubernetes(&Crds::ALL).await else { return };
    for namespace in ["argocd", "velero", "flux-system", "gitlab-runner"] {
        kubernetes.namespace(namespace).await.unwrap();
    }
    let contexts = [(BLUE, kubernetes.address(), kubernetes.admin_token())];
    let pods = [
        "--runner-pods",
        "rnd=gitlab-runner/app=runner",
        "--runner-pods",
        "ops=gitlab-runner/app in (runner),shared=yes",
    ];
    let mut running = exporter(&contexts, &kubernetes.ca_file(), &pods).await;
    running.until("switchyard_cluster_api_up", &[("runner_cluster", BLUE)], Some(1.0)).await;
    for collector in ["pods", "backups", "applications", "kustomizations", "helmreleases", "ocirepositories"]
    {
        running.collector_up(BLUE, collector, true).await;
    }

    // Argo CD.
    let mut app = application("shop", 20);
    kubernetes.apply(&app).await.unwrap();
    running.judged(&app, "healthy", "ok").await;
    app["status"]["health"]["status"] = json!("Degraded");
    kubernetes.apply(&app).await.unwrap();
    running.judged(&app, "unhealthy", "degraded").await;
    kubernetes.delete(&app).await.unwrap();
    running.judged(&app, "", "").await;
    // A controller that is dead leaves the last good status.
    let stale = application("forgotten", 7200);
    kubernetes.apply(&stale).await.unwrap();
    running.judged(&stale, "unknown", "heartbeat_stale").await;

    // Velero.
    kubernetes.apply(&location()).await.unwrap();
    running.judged(&location(), "healthy", "ok").await;
    let mut nightly = backup("nightly-1", json!({ "phase": "InProgress", "startTimestamp": ago(60) }));
    kubernetes.apply(&nightly).await.unwrap();
    running.judged(&nightly, "progressing", "running").await;
    let began = ago(60);
    nightly["status"] =
        json!({ "phase": "Completed", "startTimestamp": began, "completionTimestamp": ago(1) });
    kubernetes.apply(&nightly).await.unwrap();
    running.judged(&nightly, "healthy", "ok").await;
    let began: Timestamp = began.parse().unwrap();
    let schedule = [("schedule", "nightly")];
    running
        .until(
            "switchyard_velero_last_completed_backup_start_timestamp_seconds",
            &schedule,
            Some(began.as_second() as f64),
        )
        .await;

    // Flux: the Ready condition of another generation proves nothing.
    let source = object(
        "source.toolkit.fluxcd.io/v1",
        "GitRepository",
        "flux-system",
        "apps",
        json!({ "url": "https://git.example.com/apps", "interval": "1m0s", "suspend": true }),
        json!({}),
    );
    kubernetes.apply(&source).await.unwrap();
    running.judged(&source, "unknown", "suspended").await;
    let release = object(
        "helm.toolkit.fluxcd.io/v2",
        "HelmRelease",
        "flux-system",
        "web",
        json!({ "interval": "5m0s", "chartRef": { "kind": "OCIRepository", "name": "web" } }),
        json!({}),
    );
    kubernetes.apply(&release).await.unwrap();
    running.judged(&release, "unknown", "never_reconciled").await;

    // Pods: one serves two fleets until its labels say otherwise.
    let mut one = pod("runner-1", json!({ "app": "runner", "shared": "yes" }), "True");
    kubernetes.apply(&one).await.unwrap();
    kubernetes.apply(&pod("job-1", json!({ "app": "job" }), "True")).await.unwrap();
    running.judged(&one, "healthy", "ok").await;
    let ready = |fleet| [("fleet", fleet), ("phase", "Running"), ("ready", "true")];
    running.until("switchyard_runner_pods", &ready("rnd"), Some(1.0)).await;
    running.until("switchyard_runner_pods", &ready("ops"), Some(1.0)).await;
    one["metadata"]["labels"]["shared"] = json!("no");
    kubernetes.apply(&one).await.unwrap();
    running.until("switchyard_runner_pods", &ready("ops"), None).await;
    running.until("switchyard_runner_pods", &ready("rnd"), Some(1.0)).await;
    let job = pod("job-1", json!({}), "True");
    running.judged(&job, "", "").await;

    let answer = switchyard_lab::http::client()
        .get(format!("http://{}/metrics", running.exporter.address()))
        .header("accept", "application/openmetrics-text")
        .send()
        .await
        .unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    assert!(answer.text().await.unwrap().ends_with("# EOF\n"));
    running.exporter.terminate().await.unwrap();
    assert!(!running.log().contains("not watched"), "{}", running.log());
}

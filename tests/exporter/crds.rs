//! What is not installed is a number, not an error; what is installed later is read.

use std::fs;

use serde_json::json;
use switchyard_lab::kubernetes::Crds;

use super::{
    BLUE, exporter, kubernetes,
    objects::{ago, application, object},
};

#[tokio::test]
async fn crds_come_and_go() {
    let Some(kubernetes) = kubernetes(&[]).await else { return };
    let contexts = [(BLUE, kubernetes.address(), kubernetes.admin_token())];
    let running = exporter(&contexts, &kubernetes.ca_file(), &["--recheck", "1s"]).await;
    let crd = [("runner_cluster", BLUE), ("crd", "applications.argoproj.io")];
    running.until("switchyard_exporter_crd_installed", &crd, Some(0.0)).await;
    // All that is there to be read is read.
    running.collector_up(BLUE, "applications", true).await;

    kubernetes.install(&[Crds::ArgoCd]).await.unwrap();
    running.until("switchyard_exporter_crd_installed", &crd, Some(1.0)).await;
    kubernetes.namespace("argocd").await.unwrap();
    let app = application("shop", 5);
    kubernetes.apply(&app).await.unwrap();
    running.judged(&app, "healthy", "ok").await;
    let backups = [("runner_cluster", BLUE), ("crd", "backups.velero.io")];
    running.until("switchyard_exporter_crd_installed", &backups, Some(0.0)).await;

    kubernetes.uninstall(Crds::ArgoCd).await.unwrap();
    running.until("switchyard_exporter_crd_installed", &crd, Some(0.0)).await;
    running.judged(&app, "", "").await;
    running.collector_up(BLUE, "applications", true).await;
    kubernetes.install(&[Crds::ArgoCd]).await.unwrap();
    running.until("switchyard_exporter_crd_installed", &crd, Some(1.0)).await;
    kubernetes.apply(&app).await.unwrap();
    running.judged(&app, "healthy", "ok").await;
    assert_eq!(running.errors(BLUE, "backups", "not_found").await, 0.0, "a missing CRD is no error");
}

#[tokio::test]
async fn a_cluster_with_one_tool_only_is_whole() {
    let Some(flux) = kubernetes(&[Crds::Flux]).await else { return };
    let Some(argocd) = kubernetes(&[Crds::ArgoCd]).await else { return };
    flux.namespace("flux-system").await.unwrap();
    argocd.namespace("argocd").await.unwrap();
    let ready = json!([{
        "type": "Ready", "status": "True", "reason": "Succeeded", "message": "", "observedGeneration": 1,
        "lastTransitionTime": ago(5),
    }]);
    let (revision, digest) = ("main@sha1:abc", format!("sha256:{}", "a".repeat(64)));
    let git = object(
        "source.toolkit.fluxcd.io/v1",
        "GitRepository",
        "flux-system",
        "apps",
        json!({ "url": "https://git.example.com/apps", "interval": "10m0s" }),
        json!({ "conditions": ready, "observedGeneration": 1, "artifact": {
            "digest": digest, "lastUpdateTime": ago(5), "path": "a.tgz", "revision": revision, "url": "http://a/a.tgz",
        }}),
    );
    let kustomization = object(
        "kustomize.toolkit.fluxcd.io/v1",
        "Kustomization",
        "flux-system",
        "apps",
        json!({ "interval": "10m0s", "prune": true, "sourceRef": { "kind": "GitRepository", "name": "apps" } }),
        json!({
            "conditions": ready, "observedGeneration": 1,
            "lastAppliedRevision": revision, "lastAttemptedRevision": revision,
            "history": [{
                "digest": digest, "firstReconciled": ago(5), "lastReconciled": ago(5), "lastReconciledDuration": "1s",
                "lastReconciledStatus": "ReconciliationSucceeded", "totalReconciliations": 1,
            }],
        }),
    );
    for object in [&git, &kustomization] {
        flux.apply(object).await.unwrap();
    }
    let app = application("shop", 5);
    argocd.apply(&app).await.unwrap();

    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    let both = [flux.ca_file(), argocd.ca_file()].map(|file| fs::read_to_string(file).unwrap()).concat();
    fs::write(&ca, both).unwrap();
    let contexts =
        [("flux", flux.address(), flux.admin_token()), ("argocd", argocd.address(), argocd.admin_token())];
    let mut running = exporter(&contexts, &ca, &[]).await;
    for object in [&git, &kustomization, &app] {
        running.judged(object, "healthy", "ok").await;
    }
    for (cluster, installed, absent) in [
        ("flux", "kustomizations.kustomize.toolkit.fluxcd.io", "applications.argoproj.io"),
        ("flux", "externalartifacts.source.toolkit.fluxcd.io", "backups.velero.io"),
        ("argocd", "applications.argoproj.io", "kustomizations.kustomize.toolkit.fluxcd.io"),
    ] {
        for (crd, there) in [(installed, 1.0), (absent, 0.0)] {
            let labels = [("runner_cluster", cluster), ("crd", crd)];
            running.until("switchyard_exporter_crd_installed", &labels, Some(there)).await;
        }
        for collector in ["backups", "applications", "kustomizations", "helmreleases", "externalartifacts"] {
            running.collector_up(cluster, collector, true).await;
        }
    }
    let all = [("verdict", "healthy")];
    running.until("switchyard_object_verdict", &all, Some(3.0)).await;
    running.exporter.terminate().await.unwrap();
    assert!(!running.log().contains("not watched"), "{}", running.log());
}

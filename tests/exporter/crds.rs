//! What is not installed is a number, not an error; what is installed later is read.

use switchyard_lab::kubernetes::Crds;

use super::{BLUE, exporter, kubernetes, objects::application};

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

//! Several clusters from one process, and starts that cannot work.

use std::{path::Path, process::Stdio};

use switchyard_lab::{kubernetes::Crds, tcp::Relay};

use super::{exporter, kubernetes, objects::application};

#[tokio::test]
async fn one_process_reads_several_clusters_and_a_dead_one_hides_no_other() {
    let Some(blue) = kubernetes(&[Crds::ArgoCd]).await else { return };
    let Some(green) = kubernetes(&[]).await else { return };
    blue.namespace("argocd").await.unwrap();
    let app = application("shop", 5);
    blue.apply(&app).await.unwrap();
    // One file may trust the certificates of both.
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    let both = [blue.ca_file(), green.ca_file()].map(|file| std::fs::read_to_string(file).unwrap()).concat();
    std::fs::write(&ca, both).unwrap();
    let relay = Relay::start(green.address()).await.unwrap();
    relay.cut();

    let contexts =
        [("blue", blue.address(), blue.admin_token()), ("green", relay.address(), green.admin_token())];
    let quick = ["--tools", "argocd", "--probe-interval", "1s"];
    let mut running = exporter(&contexts, &ca, &quick).await;
    running.judged(&app, "healthy", "ok").await;
    let up = |cluster| [("runner_cluster", cluster)];
    running.until("switchyard_cluster_api_up", &up("blue"), Some(1.0)).await;
    running.until("switchyard_cluster_api_up", &up("green"), Some(0.0)).await;
    running.collector_up("blue", "applications", true).await;
    running.collector_up("green", "applications", false).await;

    relay.mend();
    running.until("switchyard_cluster_api_up", &up("green"), Some(1.0)).await;
    let crd = [("runner_cluster", "green"), ("crd", "applications.argoproj.io")];
    running.until("switchyard_exporter_crd_installed", &crd, Some(0.0)).await;
    running.collector_up("green", "applications", true).await;
    running.exporter.terminate().await.unwrap();
    assert!(running.dir.path().exists());
}

/// How a start that cannot work ends.
async fn refused(arguments: &[&str]) -> (i32, String) {
    let mut command = tokio::process::Command::new(Path::new(env!("CARGO_BIN_EXE_switchyard")));
    command.arg("exporter").args(["--web.listen-address", "127.0.0.1:0"]).args(arguments);
    command
        .env_remove("KUBECONFIG")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env_remove("KUBERNETES_SERVICE_PORT");
    command.env("HOME", "/nonexistent").stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn a_start_that_cannot_work_says_what_to_write() {
    for (arguments, said) in [
        (&[][..], "--runner-cluster NAME"),
        (&["--runner-cluster", "blue"], "no pod with a service account"),
        (&["--runner-cluster", "Blue"], "not a valid"),
        (&["--runner-cluster", "blue", "--kubeconfig", "/nonexistent/config"], "/nonexistent/config"),
        (&["--context", "blue"], "kubeconfig"),
        (&["--runner-cluster", "blue", "--runner-pods", "rnd"], "FLEET=NAMESPACE/SELECTOR"),
        (&["--runner-cluster", "blue", "--stale-after", "1s"], "at least 6s"),
        (&["--runner-cluster", "blue", "--tools", "helm"], "velero"),
    ] {
        let (code, text) = refused(arguments).await;
        assert!(code == 2 && text.contains(said), "{arguments:?}: {code}: {text}");
    }
}

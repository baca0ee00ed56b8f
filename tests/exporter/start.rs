//! Several clusters from one process, and starts that cannot work.

use std::{fs, path::Path, process::Stdio, time::Duration};

use anyhow::ensure;
use serde_json::json;
use switchyard_lab::{
    http,
    kubernetes::{Crds, kubeconfig},
    ports,
    process::Program,
    tcp::Relay,
    wait::{PATIENCE, until},
};

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
pub(crate) async fn refused(arguments: &[&str]) -> (i32, String) {
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

#[tokio::test]
async fn the_web_file_is_read_as_by_serve() {
    let dir = tempfile::tempdir().unwrap();
    let (web, config) = (dir.path().join("web.yml"), dir.path().join("kubeconfig"));
    // Nobody is there, which is no reason not to start.
    let nobody = ports::free_address().unwrap();
    fs::write(&config, kubeconfig(&[(super::BLUE, nobody, "x")], Path::new("/nonexistent/ca"))).unwrap();
    let kubeconfig = config.to_str().unwrap();
    let (code, said) = refused(&["--kubeconfig", kubeconfig, "--context", super::BLUE]).await;
    assert!(code == 2 && said.contains("/nonexistent/ca"), "{code}: {said}");
    let trusting = fs::read_to_string(&config).unwrap();
    let trusting = trusting
        .replace(r#""certificate-authority":"/nonexistent/ca""#, r#""insecure-skip-tls-verify":true"#);
    fs::write(&config, trusting).unwrap();

    fs::write(&web, json!({ "basic_auth_users": { "ali": "no hash" } }).to_string()).unwrap();
    let file = web.to_str().unwrap();
    let arguments = ["--kubeconfig", kubeconfig, "--context", super::BLUE, "--web.config.file", file];
    let (code, said) = refused(&arguments).await;
    assert!(code == 2 && said.contains("basic_auth_users"), "{code}: {said}");

    let hash = bcrypt::hash("open sesame", 4).unwrap();
    fs::write(&web, json!({ "basic_auth_users": { "ali": hash } }).to_string()).unwrap();
    let address = ports::free_address().unwrap();
    let program = Program::new("exporter", env!("CARGO_BIN_EXE_switchyard"))
        .args(["exporter", "--web.listen-address", &address.to_string()])
        .args(arguments);
    let mut process = program.start(dir.path()).unwrap();
    let url = format!("http://{address}/metrics");
    until(PATIENCE, "users are asked for", async || {
        let answer = http::client().get(&url).send().await?;
        ensure!(answer.status() == 401, "{}", answer.status());
        ensure!(answer.headers()["www-authenticate"] == "Basic", "{:?}", answer.headers());
        Ok(())
    })
    .await
    .unwrap();
    until(PATIENCE, "the dead cluster is shown", async || {
        let answer = http::client().get(&url).basic_auth("ali", Some("open sesame")).send().await?;
        let text = answer.error_for_status()?.text().await?;
        ensure!(text.contains(r#"switchyard_cluster_api_up{runner_cluster="blue"} 0"#), "{text}");
        ensure!(text.contains("switchyard_web_connections"), "{text}");
        Ok(())
    })
    .await
    .unwrap();
    assert!(process.terminate(Duration::from_secs(20)).await.unwrap().success());
}

//! The API server of the laboratory is a real one.

use std::{fs, path::Path, process::Stdio};

use serde_json::json;
use switchyard_lab::{
    kubernetes::{Crds, Kubernetes},
    parts::{Flavour, or_skip},
    process,
    tcp::Relay,
};

#[tokio::test]
async fn objects_statuses_and_tokens_survive_a_restart() {
    let Some(mut kubernetes) = or_skip(Kubernetes::start().await) else { return };
    kubernetes.install(&Crds::ALL).await.unwrap();
    kubernetes.namespace("velero").await.unwrap();
    let location = json!({
        "apiVersion": "velero.io/v1", "kind": "BackupStorageLocation",
        "metadata": { "name": "default", "namespace": "velero" },
        "spec": { "provider": "aws", "objectStorage": { "bucket": "backups" } },
        "status": { "phase": "Available" },
    });
    kubernetes.apply(&location).await.unwrap();
    let token = kubernetes.service_account("switchyard", "exporter").await.unwrap();
    kubernetes.kill9().await.unwrap();
    kubernetes.restart().await.unwrap();
    let path = "/apis/velero.io/v1/namespaces/velero/backupstoragelocations/default";
    let seen = kubernetes.get(path).await.unwrap();
    assert_eq!(seen["status"]["phase"], "Available", "{seen}");

    // A token of a service account says who it is.
    let who = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    let who =
        kubernetes.ask_as(&token, "/apis/authentication.k8s.io/v1/selfsubjectreviews", &who).await.unwrap();
    assert_eq!(who["status"]["userInfo"]["username"], "system:serviceaccount:switchyard:exporter", "{who}");

    kubernetes.uninstall(Crds::Velero).await.unwrap();
    assert!(kubernetes.get(path).await.unwrap_err().to_string().contains("404"));
    kubernetes.compact().await.unwrap();
}

#[tokio::test]
async fn a_relay_passes_cuts_and_keeps_silent() {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = echo.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = echo.accept().await {
            tokio::spawn(async move {
                let (mut from, mut back) = stream.split();
                tokio::io::copy(&mut from, &mut back).await
            });
        }
    });
    let relay = Relay::start(to).await.unwrap();
    let mut answer = [0; 2];
    let mut client = TcpStream::connect(relay.address()).await.unwrap();
    client.write_all(b"hi").await.unwrap();
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"hi");

    relay.silence();
    client.write_all(b"hi").await.unwrap();
    let heard = client.read_exact(&mut answer);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(300), heard).await.is_err(), "silent");
    relay.mend();
    assert!(client.read_exact(&mut answer).await.is_err(), "what was silent is ended");

    relay.cut();
    let mut client = TcpStream::connect(relay.address()).await.unwrap();
    assert!(client.read_exact(&mut answer).await.is_err(), "cut");
}

/// Only for the next test, which runs it with an environment of its own.
#[tokio::test]
#[ignore = "started by kubebuilder_assets_are_used_where_they_are_named"]
async fn starts() {
    let _kubernetes = or_skip(Kubernetes::start().await);
}

#[tokio::test]
async fn kubebuilder_assets_are_used_where_they_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let start = async |assets: &Path| {
        let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
        command.args(["starts", "--exact", "--ignored"]).env("KUBEBUILDER_ASSETS", assets);
        // What it leaves out, as it is meant to, is not left out of this run.
        command.env_remove("CI").env("CARGO_TARGET_DIR", dir.path()).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // An empty folder: what is missing is looked for there and nowhere else. That is seen although the test passes.
    let (good, said) = start(dir.path()).await;
    let skipped = format!("SKIPPED: {}/etcd is missing", dir.path().display());
    assert!(good && said.contains(&skipped), "{said}");
    let kept = fs::read_to_string(dir.path().join("skipped")).unwrap();
    assert!(kept.starts_with(&skipped), "what `make test` says at its end: {kept}");

    let mut pinned = Vec::new();
    for name in ["etcd", "kube-apiserver"] {
        let Some(path) = or_skip(Flavour::Pinned.find(name, name).map_err(Into::into)) else { return };
        pinned.push((name, path));
    }
    for (name, path) in &pinned {
        let (script, mark) = (dir.path().join(name), dir.path().join(format!("{name}-was-used")));
        let text = format!(": >{}\nexec {} \"$@\"", mark.display(), path.display());
        process::script(&script, &text).unwrap();
    }
    let (good, said) = start(dir.path()).await;
    assert!(good, "{said}");
    for (name, _) in &pinned {
        assert!(dir.path().join(format!("{name}-was-used")).exists(), "{name}: {said}");
    }
}

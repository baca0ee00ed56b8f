//! A probe that fails says why: a token that expired is no dead cluster.

use std::{fs, path::Path};

use serde_json::{Value, json};
use switchyard_lab::{kubernetes::kubeconfig, ports, process, tcp::Relay};

use super::{exporter_of, kubernetes, objects::ago, start::refused};

#[tokio::test]
async fn a_probe_that_fails_says_why() {
    let Some(kubernetes) = kubernetes(&[]).await else { return };
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(kubernetes.address()).await.unwrap();
    relay.silence();
    let (address, token) = (kubernetes.address(), kubernetes.admin_token());
    let contexts = [
        ("well", address, token),
        ("unauthorized", address, "a token that expired"),
        ("connection", ports::free_address().unwrap(), token),
        ("timeout", relay.address(), token),
        ("certificate", address, token),
        ("credentials", address, token),
    ];
    let names = contexts.map(|(name, ..)| name);
    let mut config: Value = serde_json::from_str(&kubeconfig(&contexts, &kubernetes.ca_file())).unwrap();

    // Somebody else's certificate.
    let other = dir.path().join("other.pem");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&other, made.cert.pem()).unwrap();
    config["clusters"][4]["cluster"]["certificate-authority"] = json!(other);
    // A plugin whose tokens have to be renewed at each request, and that works no more after a while.
    let (plugin, broken) = (dir.path().join("plugin"), dir.path().join("broken"));
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": { "token": token, "expirationTimestamp": ago(0) },
    });
    let ends = "{ echo hush-printed; echo no luck >&2; exit 3; }";
    let script = format!("test -e {} && {ends}\necho '{credential}'", broken.display());
    process::script(&plugin, &script).unwrap();
    config["users"][5]["user"] = json!({ "exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": plugin, "interactiveMode": "Never",
        "env": [{ "name": "KEY", "value": "hush-given" }],
    } });

    let quick = ["--tools", "argocd", "--probe-interval", "1s", "--probe-timeout", "2s"];
    let binary = Path::new(env!("CARGO_BIN_EXE_switchyard"));
    let mut running = exporter_of(binary, &names, &config.to_string(), &quick).await;
    let up = async |cluster: &str, up: f64| {
        running.until("switchyard_cluster_api_up", &[("runner_cluster", cluster)], Some(up)).await;
    };
    let failed = async |cluster: &str, reason: &str| {
        let labels = [("runner_cluster", cluster), ("reason", reason)];
        running.until("switchyard_cluster_api_probe_failed", &labels, Some(1.0)).await;
        running.until("switchyard_cluster_api_probe_failed", &labels[..1], Some(1.0)).await;
    };
    let well = async |cluster: &str| {
        up(cluster, 1.0).await;
        let labels = [("runner_cluster", cluster)];
        running.until("switchyard_cluster_api_probe_failed", &labels, Some(0.0)).await;
    };
    well("well").await;
    well("credentials").await;
    fs::write(&broken, "").unwrap();
    for cluster in ["unauthorized", "connection", "timeout", "certificate", "credentials"] {
        up(cluster, 0.0).await;
        failed(cluster, cluster).await;
    }
    // The collectors know the difference, too.
    assert!(running.errors("unauthorized", "applications", "unauthorized").await > 0.0);
    // It is mended, and another thing breaks.
    fs::remove_file(&broken).unwrap();
    well("credentials").await;
    relay.cut();
    failed("timeout", "connection").await;
    relay.mend();
    well("timeout").await;
    let log = running.log();
    for said in
        ["reason=unauthorized", "reason=certificate", "reason=credentials", "the credentials are not taken"]
    {
        assert!(log.contains(said), "nobody said {said:?}:\n{log}");
    }
    // What the plugin was given and what it printed is nobody's business; what it says for people is.
    assert!(log.contains("exit status: 3: no luck") && !log.contains("hush"), "{log}");
    let file = dir.path().join("kubeconfig");
    fs::write(&file, config.to_string()).unwrap();
    let start = ["--kubeconfig", file.to_str().unwrap(), "--context", "credentials"];
    for (script, said) in [(ends, "exit status: 3: no luck"), ("echo hush: [", "is no ExecCredential")] {
        fs::write(&plugin, format!("#!/bin/sh\n{script}\n")).unwrap();
        let (code, text) = refused(&start).await;
        assert!(code == 2 && text.contains(said) && !text.contains("hush"), "{code}: {text}");
    }
}

//! A standby whose GitOps is broken takes no fleet: a real API server, the exporter that reads it, Prometheus with the
//! shipped rules, Alertmanager, BIND, and the program itself.

#![expect(clippy::unwrap_used, reason = "a broken laboratory ends the test")]

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use switchyard::world::Live;
use switchyard_lab::{
    exporter::Exporter,
    kubernetes::{Crds, Kubernetes, kubeconfig},
    parts::or_skip,
    prometheus::Target,
    scene::{FLEET, Scene, SceneConfig},
    wait::{PATIENCE, until},
};

/// An application in the standby, compared just now.
fn application(health: &str) -> Value {
    let source =
        json!({ "repoURL": "https://git.example.com/apps", "path": "shop", "targetRevision": "main" });
    let destination = json!({ "server": "https://kubernetes.default.svc", "namespace": "shop" });
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": { "name": "shop", "namespace": "argocd" },
        "spec": {
            "project": "default", "source": source, "destination": destination, "syncPolicy": { "automated": {} },
        },
        "status": {
            "reconciledAt": Live::clock().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "sync": {
                "status": "Synced", "revision": "0123456789abcdef",
                "comparedTo": { "source": source, "destination": destination },
            },
            "health": { "status": health },
            "resources": [{
                "group": "apps", "version": "v1", "kind": "Deployment", "namespace": "shop", "name": "shop",
            }],
        },
    })
}

async fn target_able(scene: &Scene, open: bool) {
    until(PATIENCE, &format!("target_able is {}", if open { "open" } else { "closed" }), async || {
        let labels = [("fleet", FLEET), ("gate", "target_able")];
        let value = scene.metric("switchyard_gate_open", &labels).await?;
        let explained = scene.switchyard.as_ref().context("no Switchyard")?.api("explain").await?;
        ensure!((value == 1.0) == open, "{value}: {explained}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_degraded_application_in_the_standby_holds_the_failover_until_it_heals() {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_switchyard"));
    let Some(green) = or_skip(Kubernetes::start().await) else { return };
    green.install(&[Crds::ArgoCd]).await.unwrap();
    green.namespace("argocd").await.unwrap();
    green.apply(&application("Healthy")).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let exporter = exporter(&binary, &green, dir.path()).await;

    let settings = json!({ "fleets": { FLEET: { "require": { "api": true, "gitops": true } } } });
    let config = SceneConfig { switchyard: Some(binary), settings, ..SceneConfig::default() };
    let Some(mut scene) = or_skip(Scene::start(config).await) else { return };
    let target = Target::new("switchyard-exporter", exporter.address(), []);
    scene.prometheus.reload(|config| config.targets.push(target)).await.unwrap();
    scene.settled().await.unwrap();
    target_able(&scene, true).await;

    // The standby breaks first. The gate closes and says why.
    green.apply(&application("Degraded")).await.unwrap();
    target_able(&scene, false).await;
    let told = scene.product().unwrap().cli(&["explain", FLEET]).await.unwrap();
    assert!(told.stdout.contains("GitOps objects not well (0 wanted): 1.00"), "{told:?}");

    // Then the holder dies. The alert is there, and nothing moves.
    scene.kill("blue").await.unwrap();
    until(PATIENCE, "the failover alert is at Alertmanager", async || {
        let alerts = scene.alertmanager.alerts().await?;
        let failover = alerts.iter().find(|a| a.labels.get("switchyard").is_some_and(|l| l == "failover"));
        failover.context("no such alert").map(drop)
    })
    .await
    .unwrap();
    until(PATIENCE, "Switchyard says what holds the fleet", async || {
        let fleet = scene.switchyard.as_ref().context("none")?.api(&format!("fleets/{FLEET}")).await?;
        let sentence = fleet["sentence"].as_str().unwrap_or_default().to_owned();
        ensure!(sentence.contains("GitOps objects not well"), "{sentence}");
        Ok(())
    })
    .await
    .unwrap();
    scene.passes(5).await.unwrap();
    scene.unmoved().await.unwrap();

    // It heals, and the fleet moves.
    green.apply(&application("Healthy")).await.unwrap();
    scene.moved_to("green").await.unwrap();
    assert_eq!(scene.moves().await.unwrap().len(), 1);
}

async fn exporter(binary: &Path, green: &Kubernetes, dir: &Path) -> Exporter {
    let file = dir.join("kubeconfig");
    let contexts = [("green", green.address(), green.admin_token())];
    std::fs::write(&file, kubeconfig(&contexts, &green.ca_file())).unwrap();
    let arguments =
        ["--kubeconfig", &file.display().to_string(), "--context", "green", "--probe-interval", "1s"];
    let arguments = arguments.map(str::to_owned);
    Exporter::start(binary, &arguments, dir).await.unwrap()
}

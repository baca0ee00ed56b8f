//! A standby whose GitOps is broken, or whose backups are too old, takes no fleet: a real API server, the exporters that
//! read it, Prometheus with the shipped rules, Alertmanager, BIND, and the program itself.

#![expect(clippy::unwrap_used, reason = "a broken laboratory ends the test")]

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use switchyard::{model::SignedDuration, world::Live};
use switchyard_lab::{
    exporter::Exporter,
    kubernetes::{Crds, Kubernetes, kubeconfig},
    parts::or_skip,
    prometheus::Target,
    scene::{FLEET, Scene, SceneConfig},
    secrets::Secrets,
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
    let Some(mut green) = or_skip(Kubernetes::start().await) else { return };
    green.install(&[Crds::ArgoCd]).await.unwrap();
    green.namespace("argocd").await.unwrap();
    green.apply(&application("Healthy")).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let exporter = exporter(&binary, &green, "green", &[], dir.path()).await;

    let settings = json!({ "fleets": { FLEET: { "require": { "api": true, "gitops": true } } } });
    let mut secrets = Secrets::default();
    secrets.add("Kubernetes", green.admin_token());
    let config =
        SceneConfig { switchyard: Some(binary), settings, secrets, level: "trace", ..SceneConfig::default() };
    let Some(mut scene) = or_skip(Scene::start(config).await) else { return };
    let target = Target::new("switchyard-exporter", exporter.address(), []);
    scene.prometheus.reload(|config| config.targets.push(target)).await.unwrap();
    scene.settled().await.unwrap();
    target_able(&scene, true).await;

    // The standby breaks first. The gate closes and says why.
    green.apply(&application("Degraded")).await.unwrap();
    let judged = [("name", "shop"), ("verdict", "unhealthy"), ("reason", "degraded")];
    exporter.until("switchyard_object_verdict", &judged, Some(1.0)).await.unwrap();
    until(PATIENCE, "Prometheus counts it", async || {
        let query = "runner_cluster:switchyard_gitops_broken:count{runner_cluster=\"green\"} == 1";
        ensure!(!scene.prometheus.query(query).await?.is_empty(), "no sample");
        Ok(())
    })
    .await
    .unwrap();
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
    // Nothing else does.
    until(PATIENCE, "every other gate is open", async || {
        for gate in
            ["enabled", "eyes_open", "gitlab_reachable", "signal_held", "confirmed", "target_stronger"]
        {
            let open = scene.metric("switchyard_gate_open", &[("fleet", FLEET), ("gate", gate)]).await?;
            ensure!(open == 1.0, "{gate}");
        }
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

    // The exporter was turned away, too, and its token is as little to be seen as the others.
    green.kill9().await.unwrap();
    exporter.until("switchyard_cluster_api_up", &[("runner_cluster", "green")], Some(0.0)).await.unwrap();
    green.restart().await.unwrap();
    exporter.until("switchyard_cluster_api_up", &[("runner_cluster", "green")], Some(1.0)).await.unwrap();
    let shown = exporter.shown().await.unwrap();
    for part in ["level=trace", "switchyard_cluster_api_up", "404 Not Found"] {
        assert!(shown.contains(part), "no {part}");
    }
    scene.no_secret_is_shown(&shown).await.unwrap();
}

/// So long ago.
fn ago(hours: i64) -> String {
    let time = Live::clock() - SignedDuration::from_hours(hours);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn velero(kind: &str, namespace: &str, name: &str, spec: &Value, status: &Value) -> Value {
    let metadata = json!({ "name": name, "namespace": namespace });
    json!({ "apiVersion": "velero.io/v1", "kind": kind, "metadata": metadata, "spec": spec, "status": status })
}

fn location(namespace: &str, mode: &str, phase: &str) -> Value {
    let spec = json!({
        "provider": "aws", "accessMode": mode, "default": true, "objectStorage": { "bucket": "dr", "prefix": "rnd" },
    });
    let now = ago(0);
    let status = json!({ "phase": phase, "lastValidationTime": now, "lastSyncedTime": now });
    velero("BackupStorageLocation", namespace, "default", &spec, &status)
}

fn backup(namespace: &str, schedule: &str, began: &str) -> Value {
    let status = json!({ "phase": "Completed", "startTimestamp": began, "completionTimestamp": began });
    let spec = json!({ "storageLocation": "default" });
    let mut backup = velero("Backup", namespace, &format!("{schedule}-1"), &spec, &status);
    backup["metadata"]["labels"] = json!({ "velero.io/schedule-name": schedule });
    backup
}

/// Two clusters in two namespaces of one API server: what Velero's sync brings is brought by hand.
#[tokio::test]
async fn a_standby_goes_by_the_schedules_of_the_active_cluster_and_moves_when_that_is_dead_with_its_exporter()
{
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_switchyard"));
    let Some(kubernetes) = or_skip(Kubernetes::start().await) else { return };
    kubernetes.install(&[Crds::Velero]).await.unwrap();
    let weekly = json!({ "schedule": "0 2 * * 0", "template": { "storageLocation": "default" } });
    let ahead = (Live::clock() + SignedDuration::from_secs(60)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    for (namespace, mode) in [("velero-blue", "ReadWrite"), ("velero-green", "ReadOnly")] {
        kubernetes.namespace(namespace).await.unwrap();
        kubernetes.apply(&location(namespace, mode, "Available")).await.unwrap();
    }
    for object in [
        velero("Schedule", "velero-blue", "weekly", &weekly, &json!({ "phase": "Enabled" })),
        backup("velero-blue", "weekly", &ago(50)),
        // Made by a schedule that blue has no more.
        backup("velero-blue", "old", &ahead),
        // Older than what counts where nobody knows the schedule.
        backup("velero-green", "weekly", &ago(50)),
        backup("velero-green", "old", &ago(500)),
    ] {
        kubernetes.apply(&object).await.unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    // Nobody looks at the locations: what was said of them at the start stands.
    let more = ["--namespace", "velero-blue", "--velero-validation", "1h"];
    let mut of_blue = exporter(&binary, &kubernetes, "blue", &more, dir.path()).await;
    let more = ["--namespace", "velero-green", "--velero-validation", "1h"];
    let of_green = exporter(&binary, &kubernetes, "green", &more, dir.path()).await;

    let settings = json!({ "fleets": { FLEET: { "require": { "backups": true } } } });
    let mut secrets = Secrets::default();
    secrets.add("Kubernetes", kubernetes.admin_token());
    let config = SceneConfig { switchyard: Some(binary), settings, secrets, ..SceneConfig::default() };
    let Some(mut scene) = or_skip(Scene::start(config).await) else { return };
    let targets =
        [of_blue.address(), of_green.address()].map(|at| Target::new("switchyard-exporter", at, []));
    scene.prometheus.reload(|config| config.targets.extend(targets)).await.unwrap();
    scene.settled().await.unwrap();
    target_able(&scene, true).await;

    // The sync brings nothing new for more than a week.
    kubernetes.apply(&backup("velero-green", "weekly", &ago(200))).await.unwrap();
    target_able(&scene, false).await;
    let told = scene.product().unwrap().cli(&["explain", FLEET]).await.unwrap();
    let wanted = "Velero schedules without a backup young enough (0 wanted): 1.00";
    assert!(told.stdout.contains(wanted), "{told:?}");
    kubernetes.apply(&backup("velero-green", "weekly", &ago(50))).await.unwrap();
    target_able(&scene, true).await;

    // Young, and out of reach.
    kubernetes.apply(&location("velero-green", "ReadOnly", "Unavailable")).await.unwrap();
    target_able(&scene, false).await;
    kubernetes.apply(&location("velero-green", "ReadOnly", "Available")).await.unwrap();
    target_able(&scene, true).await;

    // What blue said is kept when nobody can ask it any more, and the fleet moves.
    of_blue.terminate().await.unwrap();
    scene.kill("blue").await.unwrap();
    scene.moved_to("green").await.unwrap();
    nothing_of_blue_is_left(&scene).await;
    scene.no_secret_is_shown(&of_green.shown().await.unwrap()).await.unwrap();
}

/// Prometheus has no sample of blue's exporter left, and knows all the same that nothing of green is overdue.
async fn nothing_of_blue_is_left(scene: &Scene) {
    let ask = async |query: &str| scene.prometheus.query(query).await.unwrap();
    until(PATIENCE, "blue's exporter is forgotten", async || {
        let left = ask("switchyard_velero_schedule_standing{runner_cluster=\"blue\"}").await;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
    .unwrap();
    let overdue = "runner_cluster:switchyard_velero_backups_overdue:count{runner_cluster=\"green\"} == 0";
    until(PATIENCE, "nothing of green is overdue", async || {
        ensure!(!ask(overdue).await.is_empty(), "{:?}", ask("switchyard_velero_schedule_standing").await);
        Ok(())
    })
    .await
    .unwrap();
}

async fn exporter(
    binary: &Path,
    kubernetes: &Kubernetes,
    cluster: &str,
    more: &[&str],
    dir: &Path,
) -> Exporter {
    let dir = dir.join(cluster);
    std::fs::create_dir(&dir).unwrap();
    let file = dir.join("kubeconfig");
    let contexts = [(cluster, kubernetes.address(), kubernetes.admin_token())];
    std::fs::write(&file, kubeconfig(&contexts, &kubernetes.ca_file())).unwrap();
    let file = file.display().to_string();
    let arguments =
        ["--kubeconfig", &file, "--context", cluster, "--probe-interval", "1s", "--log.level", "trace"];
    let arguments: Vec<String> = arguments.iter().chain(more).map(|&argument| argument.to_owned()).collect();
    Exporter::start(binary, &arguments, &dir).await.unwrap()
}

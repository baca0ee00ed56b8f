//! The scene holds together: the shipped rules and route carry a death from killed runner processes to the webhook.
//! The test stands where Switchyard would.

#![expect(clippy::unwrap_used, reason = "a broken laboratory ends the test")]

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use axum::{Json, Router, extract::State, http::HeaderMap, routing};
use serde_json::Value;
use switchyard_lab::{
    gitlab::JobStatus,
    parts::{Flavour, or_skip},
    scene::{FLEET, Scene, SceneConfig, TAG},
    wait::{PATIENCE, until},
};
use tokio::{net::TcpListener, sync::Mutex};

type Received = Arc<Mutex<Vec<Value>>>;

/// What the rules need to know from Switchyard.
const METRICS: &str = "\
switchyard_fleet_holder{fleet=\"rnd\",runner_cluster=\"blue\"} 1
switchyard_fleet_holder{fleet=\"rnd\",runner_cluster=\"green\"} 0
switchyard_fleet_preferred{fleet=\"rnd\",runner_cluster=\"blue\"} 1
switchyard_fleet_preferred{fleet=\"rnd\",runner_cluster=\"green\"} 0
switchyard_fleet_threshold_ratio{fleet=\"rnd\",threshold=\"failover\"} 0.5
switchyard_fleet_threshold_ratio{fleet=\"rnd\",threshold=\"failback\"} 0.9
switchyard_fleet_threshold_ratio{fleet=\"rnd\",threshold=\"able\"} 0.8
";

async fn stand_in(scene: &Scene) -> Received {
    async fn take(State(received): State<Received>, headers: HeaderMap, Json(message): Json<Value>) {
        assert!(headers["authorization"].to_str().unwrap().starts_with("Bearer "), "no token was sent");
        received.lock().await.push(message);
    }
    let received = Received::default();
    let router = Router::new()
        .route("/metrics", routing::get(|| async { METRICS }))
        .route("/api/v1/alerts", routing::post(take))
        .with_state(received.clone());
    let listener = TcpListener::bind(scene.switchyard_address()).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    received
}

async fn heard(received: &Received, action: &str) -> anyhow::Result<Value> {
    let received = received.lock().await;
    let mut alerts = received.iter().filter_map(|message| message["alerts"].as_array()).flatten();
    let found = alerts.find(|a| a["labels"]["switchyard"] == action && a["status"] == "firing");
    found.cloned().context("not heard of")
}

async fn a_death_rings(flavour: Flavour) {
    let config = SceneConfig { flavour, processes: 2, ..SceneConfig::default() };
    let Some(mut scene) = or_skip(Scene::start(config).await) else { return };
    let received = stand_in(&scene).await;
    scene.settled().await.unwrap();
    scene
        .prometheus
        .until("count(fleet_runner_cluster:gitlab_runner_targets:count == 4) == 2")
        .await
        .unwrap();
    scene
        .prometheus
        .until("fleet_runner_cluster:switchyard_fleet_holder:max{runner_cluster='blue'} == 1")
        .await
        .unwrap();
    until(PATIENCE, "the heartbeat is heard", async || heard(&received, "watchdog").await).await.unwrap();
    assert_eq!((scene.holders(), scene.dig().await.unwrap()), (vec!["blue".to_owned()], "blue".to_owned()));
    let job = scene.finished(scene.job(&[TAG], "echo here")).await.unwrap();
    assert_eq!((job.status, scene.ran_on(&job)), (JobStatus::Success, Some("blue")));

    assert!(heard(&received, "failover").await.is_err());
    scene.kill("blue").await.unwrap();
    assert_eq!(scene.dead(), ["blue"]);
    let alert =
        until(PATIENCE, "the death is heard", async || heard(&received, "failover").await).await.unwrap();
    assert_eq!(alert["labels"]["fleet"], FLEET);
    assert_eq!(alert["labels"]["runner_cluster"], "blue");

    // Home tags still lead to their cluster, dead or not.
    let green = scene.finished(scene.job(&["runner-b"], "echo here")).await.unwrap();
    assert_eq!(scene.ran_on(&green), Some("green"));
    scene.revive("blue").await.unwrap();
    scene.all_well().await.unwrap();
    let blue = scene.finished(scene.job(&["runner-a"], "echo here")).await.unwrap();
    assert_eq!(scene.ran_on(&blue), Some("blue"));
    until(PATIENCE, "the alert ends", async || {
        let alerts = scene.alertmanager.alerts().await?;
        ensure!(
            alerts.iter().all(|a| a.labels.get("switchyard").is_none_or(|l| l != "failover")),
            "{alerts:?}"
        );
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_death_rings_with_the_pinned_versions() {
    a_death_rings(Flavour::Pinned).await;
}

#[tokio::test]
async fn a_death_rings_with_the_packaged_versions() {
    a_death_rings(Flavour::Debian).await;
}

//! The real Prometheus and Alertmanager, from a scrape that fails to a webhook.

#![expect(clippy::unwrap_used, reason = "a broken laboratory ends the test")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use axum::{Json, Router, extract::State, routing};
use serde_json::{Value, json};
use switchyard_lab::{
    alertmanager::Alertmanager,
    parts::{Flavour, or_skip},
    ports,
    prometheus::{Prometheus, PrometheusConfig, Target},
    wait::{PATIENCE, until},
};
use tokio::{net::TcpListener, sync::Mutex, task::AbortHandle};

type Received = Arc<Mutex<Vec<Value>>>;

/// Listens until the handle is aborted.
async fn serve(address: SocketAddr, router: Router) -> AbortHandle {
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }).abort_handle()
}

async fn receiver() -> (SocketAddr, Received) {
    async fn take(State(received): State<Received>, Json(message): Json<Value>) {
        received.lock().await.push(message);
    }
    let received = Received::default();
    let address = ports::free_address().unwrap();
    serve(address, Router::new().route("/", routing::post(take)).with_state(received.clone())).await;
    (address, received)
}

fn route_to(receiver: SocketAddr) -> String {
    json!({
        "route": { "receiver": "lab", "group_wait": "0s", "group_interval": "1s", "group_by": ["..."] },
        "receivers": [{ "name": "lab", "webhook_configs": [{ "url": format!("http://{receiver}/") }] }],
    })
    .to_string()
}

/// The status of the newest message about the alert.
async fn heard(received: &Received, name: &str, status: &str) -> anyhow::Result<Value> {
    let received = received.lock().await;
    let alerts = received.iter().rev().filter_map(|message| message["alerts"].as_array()).flatten();
    let newest =
        alerts.into_iter().find(|alert| alert["labels"]["alertname"] == name).context("not heard of")?;
    ensure!(newest["status"] == status, "{newest}");
    Ok(newest.clone())
}

async fn a_scrape_that_fails_rings(flavour: Flavour) {
    let (receiver, received) = receiver().await;
    let Some(alertmanager) = or_skip(Alertmanager::start(flavour, &route_to(receiver)).await) else { return };
    let metrics = ports::free_address().unwrap();
    // A kept connection would outlive the listener.
    let text = || async { ([("connection", "close")], "# TYPE busy gauge\nbusy 3\n") };
    let page = || Router::new().route("/metrics", routing::get(text));
    let target = serve(metrics, page()).await;
    let rules = json!({ "groups": [{ "name": "lab", "rules": [
        { "alert": "Dead", "expr": "up == 0", "for": "1s", "labels": { "severity": "critical" } },
    ]}]});
    let config = PrometheusConfig {
        flavour,
        rules: vec![rules.to_string()],
        alertmanagers: vec![alertmanager.address()],
        targets: vec![Target::new("page", metrics, [("runner_cluster", "blue")])],
        resend_delay: Duration::from_secs(1),
        ..PrometheusConfig::default()
    };
    let Some(mut prometheus) = or_skip(Prometheus::start(config).await) else { return };

    prometheus.until("busy{runner_cluster='blue'} == 3").await.unwrap();
    assert!(received.lock().await.is_empty());
    target.abort();
    until(PATIENCE, "the alert is heard", async || {
        let alert = heard(&received, "Dead", "firing").await?;
        ensure!(alert["labels"]["runner_cluster"] == "blue", "{alert}");
        Ok(())
    })
    .await
    .unwrap();

    // A Prometheus that dies while the alert fires makes Alertmanager say "resolved".
    prometheus.kill9().await.unwrap();
    until(PATIENCE, "it is called resolved", async || heard(&received, "Dead", "resolved").await)
        .await
        .unwrap();
    prometheus.restart().await.unwrap();
    until(PATIENCE, "it fires again", async || heard(&received, "Dead", "firing").await).await.unwrap();

    let target = serve(metrics, page()).await;
    prometheus.until("up{job='page'} == 1").await.unwrap();
    until(PATIENCE, "it has ended", async || heard(&received, "Dead", "resolved").await).await.unwrap();
    let moved = Target::new("page", metrics, [("runner_cluster", "green")]);
    prometheus.reload(|config| config.targets = vec![moved]).await.unwrap();
    prometheus.until("up{job='page',runner_cluster='green'} == 1").await.unwrap();
    assert!(prometheus.query("up ==").await.unwrap_err().to_string().contains("parse error"));
    assert!(prometheus.value("nothing").await.unwrap_err().to_string().contains("0 series"));
    target.abort();
}

#[tokio::test]
async fn a_scrape_that_fails_rings_with_the_pinned_versions() {
    a_scrape_that_fails_rings(Flavour::Pinned).await;
}

#[tokio::test]
async fn a_scrape_that_fails_rings_with_the_packaged_versions() {
    a_scrape_that_fails_rings(Flavour::Debian).await;
}

async fn alerts_by_hand(flavour: Flavour) {
    let (receiver, received) = receiver().await;
    let Some(mut alertmanager) = or_skip(Alertmanager::start(flavour, &route_to(receiver)).await) else {
        return;
    };
    let hour = Duration::from_secs(3600);
    let labels = [("alertname", "ByHand"), ("fleet", "rnd")];
    alertmanager.post(&labels, hour).await.unwrap();
    until(PATIENCE, "it is heard", async || heard(&received, "ByHand", "firing").await).await.unwrap();
    alertmanager.post(&labels, Duration::ZERO).await.unwrap();
    until(PATIENCE, "its end is heard", async || heard(&received, "ByHand", "resolved").await).await.unwrap();

    let muted = [("alertname", "Muted"), ("fleet", "rnd")];
    let silence = alertmanager.silence(&[("alertname", "Muted")], hour).await.unwrap();
    alertmanager.post(&muted, hour).await.unwrap();
    let suppressed = async |manager: &Alertmanager, silence: &str| {
        until(PATIENCE, "it is muted", async || {
            let alerts = manager.alerts().await?;
            let alert =
                alerts.iter().find(|alert| alert.labels["alertname"] == "Muted").context("unknown")?;
            ensure!(alert.status.state == "suppressed" && alert.status.silenced_by == [silence], "{alert:?}");
            Ok(())
        })
        .await
        .unwrap();
    };
    suppressed(&alertmanager, &silence).await;
    assert!(heard(&received, "Muted", "firing").await.is_err());
    alertmanager.unsilence(&silence).await.unwrap();
    until(PATIENCE, "it is heard after all", async || heard(&received, "Muted", "firing").await)
        .await
        .unwrap();

    alertmanager.kill9().await.unwrap();
    assert!(alertmanager.alerts().await.is_err());
    alertmanager.restart().await.unwrap();
    assert_eq!(alertmanager.alerts().await.unwrap(), []);
    assert!(alertmanager.reload("route: {}").await.is_err(), "a broken configuration is refused");
    alertmanager.reload(&route_to(receiver)).await.unwrap();
}

#[tokio::test]
async fn alerts_by_hand_with_the_pinned_version() {
    alerts_by_hand(Flavour::Pinned).await;
}

#[tokio::test]
async fn alerts_by_hand_with_the_packaged_version() {
    alerts_by_hand(Flavour::Debian).await;
}

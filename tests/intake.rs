//! Alerts come in by webhook and by catch-up poll.

use std::sync::Arc;

use serde_json::{Value, json};
use switchyard::{
    intake::Intake,
    metrics::Metrics,
    model::{Signal, SignalState, Timestamp},
    status::Status,
};
use switchyard_lab::{
    harness::Harness,
    values::{NOW, at},
};
use tokio::sync::{Notify, watch};

const START: i64 = NOW - 600;

fn alert(status: Value, end: i64) -> Value {
    json!({
        "status": status, "fingerprint": "0123456789abcdef", "startsAt": at(START), "endsAt": at(end),
        "labels": {"alertname": "F", "switchyard": "failover", "fleet": "rnd", "runner_cluster": "blue"},
        "annotations": {}, "updatedAt": at(NOW - 10),
    })
}

fn message(status: &str, end: i64) -> Vec<u8> {
    let alerts = [alert(json!(status), end)];
    json!({"version": "4", "status": status, "alerts": alerts}).to_string().into_bytes()
}

fn poll() -> Vec<u8> {
    let status = json!({"state": "active", "silencedBy": [], "inhibitedBy": []});
    json!([alert(status, NOW + 240)]).to_string().into_bytes()
}

async fn firing(harness: &Harness) -> Vec<Signal> {
    let mut signals = harness.store.load(at(NOW)).await.expect("the store reads").signals;
    signals.retain(|s| s.state == SignalState::Firing && s.fleet.is_some());
    signals
}

/// Prometheus keeps `startsAt` over an outage in which Alertmanager let the alert expire. The webhook of the second
/// firing cannot be told from a late one of the first; the poll says that it fires now.
#[tokio::test]
async fn an_alert_that_fires_again_under_its_old_start_is_heard_by_the_poll() {
    let harness = Harness::new().await;
    let status = watch::Sender::new(Arc::new(Status::default())).subscribe();
    let metrics = Arc::new(Metrics::new(status, harness.store.clone(), at(0)));
    let topology = watch::Sender::new(Arc::new(harness.topology.clone())).subscribe();
    let bell = Arc::new(Notify::new());
    let intake = Intake::new(harness.store.clone(), topology, metrics, bell, Arc::new(Notify::new()));
    let hear = async |body: Vec<u8>, now: Timestamp| {
        let parsed = intake.parse(&body, now).unwrap();
        intake.take(parsed).await.unwrap();
    };
    hear(message("firing", -1), at(START)).await;
    hear(message("resolved", NOW - 300), at(NOW - 300)).await;
    hear(message("firing", -1), at(NOW - 20)).await;
    assert_eq!(firing(&harness).await, [], "a late firing never reopens an episode");

    for _ in 0..2 {
        let polled = intake.parse_poll(&poll(), at(NOW)).unwrap();
        intake.take_poll(polled).await.unwrap();
        let again = firing(&harness).await;
        assert_eq!(again.len(), 1, "{again:?}");
        assert_eq!(again[0].key.starts_at, at(NOW - 300), "it is a new episode from the end of the old one");
    }

    hear(message("resolved", NOW + 60), at(NOW + 60)).await;
    assert_eq!(firing(&harness).await, [], "the end comes under the old start, and ends the new episode");
}

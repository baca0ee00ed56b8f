//! Alertmanager's JSON as input: literal payloads and noise.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use switchyard::{
    alert::{self, Error, Ignored, Parsed},
    alertmanager::Client,
    model::{Action, SignalState, Topology},
};
use switchyard_lab::values::{cluster, rnd, topology};

const ZERO: &str = "0001-01-01T00:00:00Z";

fn now() -> Timestamp {
    "2026-05-01T12:00:00Z".parse().unwrap()
}

fn yard() -> Topology {
    topology(&["blue", "green"])
}

/// A firing failover of blue, with `change` put over its labels (null removes one).
fn alert(change: Value) -> Value {
    let mut labels = json!({
        "alertname": "RunnerClusterDown", "switchyard": "failover", "fleet": "rnd", "runner_cluster": "blue",
    });
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => drop(labels.as_object_mut().unwrap().remove(name)),
            value => labels[name] = value.clone(),
        }
    }
    json!({
        "status": "firing", "labels": labels, "annotations": { "summary": "blue is down" },
        "startsAt": "2026-05-01T11:59:00.123456789Z", "endsAt": ZERO, "fingerprint": "6ef8e0d1a2b3c4d5",
        "generatorURL": "http://prometheus/graph",
    })
}

fn with(mut alert: Value, key: &str, value: Value) -> Value {
    alert[key] = value;
    alert
}

fn message(alerts: &[Value]) -> Value {
    json!({ "version": "4", "status": "firing", "receiver": "switchyard", "alerts": alerts })
}

fn read(message: &Value) -> Parsed {
    alert::parse_webhook(message.to_string().as_bytes(), &yard(), now()).unwrap()
}

fn reasons(received: &Parsed) -> Vec<Ignored> {
    received.ignored.clone()
}

#[test]
fn a_whole_message_of_a_current_alertmanager() {
    // As sent, with the fields of 0.32 and 0.34, a quoted receiver, and both states in one "firing" message.
    let body = r#"{"receiver":"switch\\.yard","status":"firing","alerts":[
      {"status":"resolved","labels":{"alertname":"RunnerClusterDown","fleet":"rnd","runner_cluster":"green",
       "switchyard":"failover"},"annotations":{},"startsAt":"2026-05-01T13:10:00+02:00",
       "endsAt":"2026-05-01T11:20:00.5Z","generatorURL":"","fingerprint":"aaaaaaaaaaaaaaaa"},
      {"status":"firing","labels":{"alertname":"RunnerClusterDown","fleet":"rnd","runner_cluster":"blue",
       "switchyard":"failover","target":"green","severity":"critical"},"annotations":{"summary":"down"},
       "startsAt":"2026-05-01T11:59:00.123Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://p/graph?g0",
       "fingerprint":"bbbbbbbbbbbbbbbb"},
      {"status":"firing","labels":{"alertname":"Watchdog","switchyard":"watchdog"},"annotations":{},
       "startsAt":"2026-04-01T00:00:00Z","endsAt":"0001-01-01T00:00:00Z","fingerprint":"cccccccccccccccc"}],
      "groupLabels":{"fleet":"rnd"},"commonLabels":{},"commonAnnotations":{},"routeLabels":{"a":"b"},
      "externalURL":"http://alertmanager:9093","version":"4","groupKey":"{}:{fleet=\"rnd\"}",
      "truncatedAlerts":0,"notification_reason":"new alerts added","one_day":{"more":[1,2]}}"#;
    let received = alert::parse_webhook(body.as_bytes(), &yard(), now()).unwrap();
    assert_eq!(received.ignored, []);
    assert_eq!(received.truncated, 0);
    let [green, blue, watchdog] = received.signals.as_slice() else { panic!("{received:?}") };

    assert_eq!((green.state, green.cluster.clone()), (SignalState::Resolved, Some(cluster("green"))));
    assert_eq!(green.key.starts_at, "2026-05-01T11:10:00Z".parse().unwrap());
    assert_eq!(green.ends_at, Some("2026-05-01T11:20:00.5Z".parse().unwrap()));

    assert_eq!((blue.action, blue.state), (Action::Failover, SignalState::Firing));
    assert_eq!((blue.fleet.clone(), blue.target.clone()), (Some(rnd()), Some(cluster("green"))));
    assert_eq!(blue.ends_at, None, "the year 1 is no end");
    assert_eq!((blue.first_seen, blue.last_seen), (now(), now()));
    assert_eq!(blue.labels["severity"], "critical");
    assert_eq!(blue.annotations["summary"], "down");

    assert_eq!((watchdog.action, watchdog.fleet.clone()), (Action::Watchdog, None));
}

#[test]
fn each_alert_is_ignored_for_its_own_reason_and_spoils_no_other() {
    let table = [
        (alert(json!({})), None),
        (alert(json!({ "switchyard": null })), Some(Ignored::NotForUs)),
        (alert(json!({ "switchyard": "" })), Some(Ignored::NotForUs)),
        (alert(json!({ "switchyard": "reboot" })), Some(Ignored::UnknownAction)),
        (alert(json!({ "switchyard": "Failover" })), Some(Ignored::UnknownAction)),
        (alert(json!({ "fleet": null })), Some(Ignored::MissingLabel)),
        (alert(json!({ "runner_cluster": "" })), Some(Ignored::MissingLabel)),
        (alert(json!({ "fleet": "other" })), Some(Ignored::UnknownFleet)),
        (alert(json!({ "fleet": "Not a name!" })), Some(Ignored::UnknownFleet)),
        (alert(json!({ "runner_cluster": "red" })), Some(Ignored::UnknownCluster)),
        (alert(json!({ "runner_cluster": "x".repeat(100_000) })), Some(Ignored::UnknownCluster)),
        (alert(json!({ "target": "red" })), Some(Ignored::UnknownCluster)),
        (alert(json!({ "target": "" })), None),
        (alert(json!({ "switchyard": "failback" })), None),
        (alert(json!({ "switchyard": "watchdog", "fleet": null, "runner_cluster": null })), None),
        (with(alert(json!({})), "endsAt", Value::Null), None),
        (with(alert(json!({})), "fingerprint", json!("")), Some(Ignored::MissingFingerprint)),
        (with(alert(json!({})), "annotations", json!({ "text": "x".repeat(1 << 20) })), None),
    ];
    for (alert, expected) in &table {
        let received = read(&message(std::slice::from_ref(alert)));
        let short: String = alert.to_string().chars().take(300).collect();
        assert_eq!(reasons(&received), expected.iter().copied().collect::<Vec<_>>(), "{short}");
        assert_eq!(received.signals.len(), usize::from(expected.is_none()), "{short}");
    }
    let all: Vec<Value> = table.iter().map(|(alert, _)| alert.clone()).collect();
    let received = read(&message(&all));
    assert_eq!(received.signals.len(), table.iter().filter(|(_, expected)| expected.is_none()).count());
    assert_eq!(reasons(&received), table.iter().filter_map(|(_, expected)| *expected).collect::<Vec<_>>());
}

#[test]
fn a_start_in_the_future_is_kept() {
    let received = read(&message(&[with(alert(json!({})), "startsAt", json!("2026-05-01T12:30:00Z"))]));
    assert_eq!(received.signals[0].key.starts_at, "2026-05-01T12:30:00Z".parse().unwrap());
}

#[test]
fn left_out_alerts_are_told() {
    let mut truncated = message(&[alert(json!({}))]);
    truncated["truncatedAlerts"] = json!(7);
    let received = read(&truncated);
    assert_eq!((received.truncated, received.signals.len()), (7, 1));
}

#[test]
fn a_message_that_is_none_is_an_error_with_its_place() {
    let error = |body: &str| alert::parse_webhook(body.as_bytes(), &yard(), now()).unwrap_err();
    assert!(
        matches!(error(r#"{"version":"5","alerts":{}}"#), Error::WrongVersion(version) if version == "5")
    );
    assert!(matches!(error(r#"{"alerts":[]}"#), Error::WrongVersion(version) if version.is_empty()));
    for body in ["", "null", "{\n \"version\": \"4\",\n", r#"{"version":"4","alerts":{}}"#, "\u{0}"] {
        match error(body) {
            Error::Malformed(source) => assert!(source.to_string().contains("at line"), "{body:?}: {source}"),
            other => panic!("{body:?}: {other}"),
        }
    }
}

#[test]
fn five_thousand_alerts_are_all_taken() {
    let alerts: Vec<Value> =
        (0..5_000).map(|i| with(alert(json!({})), "fingerprint", json!(format!("{i:016x}")))).collect();
    assert_eq!(read(&message(&alerts)).signals.len(), 5_000);
}

proptest! {
    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        drop(alert::parse_webhook(&bytes, &yard(), now()));
        drop(alert::parse_poll(&bytes, &yard(), now()));
    }
}

#[tokio::test]
async fn an_alertmanager_that_is_not_there_is_a_passing_trouble() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let client = Client::new(url, Duration::from_secs(5), None, None).unwrap();
    let error = client.alerts().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(error.to_string(), "not reachable");
}

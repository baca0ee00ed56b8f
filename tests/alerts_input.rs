//! Alertmanager's JSON as input: literal payloads, noise, and a real Alertmanager.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Bytes, extract::State, routing::post};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use switchyard::{
    alert::{self, Error, Ignored, Parsed},
    alertmanager::Client,
    model::{Action, Signal, SignalState, Topology},
};
use switchyard_lab::{
    alertmanager::Alertmanager,
    parts::{Flavour, or_skip},
    values::{cluster, rnd, topology},
    wait,
};
use tokio::sync::Mutex;

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
    received.ignored.iter().map(|ignored| ignored.reason).collect()
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
      {"status":"firing","labels":{"alertname":"Watchdog","switchyard":"watchdog"},"annotations":null,
       "startsAt":"2026-04-01T00:00:00Z","endsAt":"0001-01-01T00:00:00Z","fingerprint":"cccccccccccccccc"}],
      "groupLabels":{"fleet":"rnd"},"commonLabels":{},"commonAnnotations":{},"routeLabels":{"a":"b"},
      "externalURL":"http://alertmanager:9093","version":"4","groupKey":"{}:{fleet=\"rnd\"}",
      "truncatedAlerts":0,"notification_reason":"new alerts added","one_day":{"more":[1,2]}}"#;
    let received = alert::parse_webhook(body.as_bytes(), &yard(), now()).unwrap();
    assert_eq!(received.ignored, []);
    assert!(!received.is_truncated());
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
        (alert(json!({ "target": "red" })), Some(Ignored::UnknownTarget)),
        (alert(json!({ "target": "" })), None),
        (alert(json!({ "switchyard": "failback" })), None),
        (alert(json!({ "switchyard": "watchdog", "fleet": null, "runner_cluster": null })), None),
        (with(alert(json!({})), "startsAt", json!("yesterday")), Some(Ignored::BadTimestamp)),
        (with(alert(json!({})), "startsAt", json!(ZERO)), Some(Ignored::BadTimestamp)),
        (with(alert(json!({})), "startsAt", Value::Null), Some(Ignored::BadTimestamp)),
        (with(alert(json!({})), "endsAt", json!("9999-99-99")), Some(Ignored::BadTimestamp)),
        (with(alert(json!({})), "endsAt", Value::Null), None),
        (with(alert(json!({})), "status", json!("pending")), Some(Ignored::UnknownStatus)),
        (with(alert(json!({})), "status", json!(1)), Some(Ignored::Malformed)),
        (with(alert(json!({})), "labels", json!({ "switchyard": 1 })), Some(Ignored::Malformed)),
        (with(alert(json!({})), "labels", Value::Null), Some(Ignored::NotForUs)),
        (with(alert(json!({})), "fingerprint", json!("")), Some(Ignored::Malformed)),
        (with(alert(json!({})), "annotations", json!({ "text": "x".repeat(1 << 20) })), None),
        (json!("alert"), Some(Ignored::Malformed)),
        (Value::Null, Some(Ignored::Malformed)),
    ];
    for (alert, expected) in &table {
        let received = read(&message(std::slice::from_ref(alert)));
        let short: String = alert.to_string().chars().take(300).collect();
        assert_eq!(reasons(&received), expected.iter().copied().collect::<Vec<_>>(), "{short}");
        assert_eq!(received.signals.len(), usize::from(expected.is_none()), "{short}");
        assert!(received.ignored.iter().all(|i| i.detail.len() < 400), "{short}");
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
    assert!(received.is_truncated());
    assert_eq!((received.truncated, received.signals.len()), (7, 1));
}

#[test]
fn a_message_that_is_none_is_an_error_with_its_place() {
    let error = |body: &str| alert::parse_webhook(body.as_bytes(), &yard(), now()).unwrap_err();
    assert!(
        matches!(error(r#"{"version":"5","alerts":{}}"#), Error::WrongVersion(version) if version == "5")
    );
    assert!(matches!(error(r#"{"version":4,"alerts":[]}"#), Error::WrongVersion(version) if version == "4"));
    assert!(matches!(error(r#"{"alerts":[]}"#), Error::WrongVersion(version) if version.is_empty()));
    for body in ["", "[]", "null", "{\n \"version\": \"4\",\n", r#"{"version":"4","alerts":{}}"#, "\u{0}"] {
        match error(body) {
            Error::Malformed(source) => assert!(source.to_string().contains("at line"), "{body:?}: {source}"),
            other => panic!("{body:?}: {other}"),
        }
    }
    assert_eq!(read(&json!({ "version": "4", "alerts": null })), Parsed::default());
}

#[test]
fn five_thousand_alerts_are_all_taken() {
    let alerts: Vec<Value> =
        (0..5_000).map(|i| with(alert(json!({})), "fingerprint", json!(format!("{i:016x}")))).collect();
    assert_eq!(read(&message(&alerts)).signals.len(), 5_000);
}

#[test]
fn the_poll_names_the_same_episode_as_the_webhook() {
    let row = |state: &str, ends: &str| {
        let mut row = alert(json!({}));
        row["startsAt"] = json!("2026-05-01T11:59:00.123Z");
        row["endsAt"] = json!(ends);
        row["updatedAt"] = json!("2026-05-01T11:59:45.000Z");
        row["status"] = json!({ "state": state, "silencedBy": ["s1"], "inhibitedBy": null, "mutedBy": [] });
        row["receivers"] = json!([{ "name": "switchyard" }]);
        row
    };
    let take = |row: Value| alert::parse_poll(json!([row]).to_string().as_bytes(), &yard(), now()).unwrap();

    let webhook = &read(&message(&[alert(json!({}))])).signals[0];
    let polled = take(row("active", "2026-05-01T12:03:45.000Z"));
    let [signal] = polled.signals.as_slice() else { panic!("{polled:?}") };
    assert_eq!(signal.key, webhook.key);
    assert_eq!((signal.state, signal.ends_at), (SignalState::Firing, None), "an expiry is no end");
    assert_eq!(signal.last_seen, "2026-05-01T11:59:45Z".parse().unwrap());
    assert_eq!(signal.first_seen, now());

    let mut ahead = row("active", "2026-05-01T12:03:45.000Z");
    ahead["updatedAt"] = json!("2026-05-01T12:00:30Z");
    assert_eq!(take(ahead).signals[0].last_seen, now(), "a clock that runs ahead keeps nothing fresh");

    let listed = &take(row("active", "2026-05-01T11:56:00Z")).signals[0];
    assert_eq!(
        (listed.state, listed.ends_at),
        (SignalState::Firing, None),
        "Alertmanager's clock is behind ours"
    );

    for state in ["suppressed", "unprocessed"] {
        let muted = take(row(state, "2026-05-01T12:03:45.000Z"));
        assert_eq!(muted.signals, []);
        assert_eq!(
            (muted.muted[0].state.as_str(), muted.muted[0].silenced_by.as_slice()),
            (state, &["s1".to_owned()][..])
        );
    }
    let mut heartbeat = row("suppressed", "2026-05-01T12:03:45.000Z");
    heartbeat["labels"] = json!({ "switchyard": "watchdog" });
    assert_eq!(take(heartbeat).signals[0].action, Action::Watchdog);
    assert!(matches!(alert::parse_poll(b"{}", &yard(), now()), Err(Error::Malformed(_))));
}

proptest! {
    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        drop(alert::parse_webhook(&bytes, &yard(), now()));
        drop(alert::parse_poll(&bytes, &yard(), now()));
    }

    #[test]
    fn text_in_any_field_never_panics(
        field in prop::sample::select(vec!["status", "startsAt", "endsAt", "fingerprint", "labels", "annotations"]),
        text in ".{0,40}",
        times in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,12})?(Z|[+-][0-9]{2}:[0-9]{2})",
    ) {
        for text in [text, times] {
            let received = read(&message(&[with(alert(json!({})), field, json!(text)), alert(json!({}))]));
            prop_assert_eq!(received.signals.len() + received.ignored.len(), 2);
            prop_assert!(!received.signals.is_empty(), "the sound alert counts");
        }
    }
}

/// What a real Alertmanager posted.
type Posted = Arc<Mutex<Vec<Bytes>>>;

async fn receiver() -> (String, Posted, tokio::task::JoinHandle<()>) {
    let posted = Posted::default();
    let take = async |State(posted): State<Posted>, body: Bytes| posted.lock().await.push(body);
    let router = Router::new().route("/", post(take)).with_state(posted.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, posted, server)
}

#[expect(clippy::disallowed_methods, reason = "a real Alertmanager keeps the real time")]
fn clock() -> Timestamp {
    Timestamp::now()
}

async fn with_a_real_one(flavour: Flavour) {
    let (url, posted, server) = receiver().await;
    let yaml = format!(
        "route: {{ receiver: switch.yard, group_wait: 0s, group_interval: 1s }}\n\
         receivers: [{{ name: switch.yard, webhook_configs: [{{ url: '{url}' }}] }}]\n"
    );
    let Some(alertmanager) = or_skip(Alertmanager::start(flavour, &yaml).await) else { return };
    let client =
        Client::new(&alertmanager.url().parse().unwrap(), Duration::from_secs(5), None, None).unwrap();
    let hour = Duration::from_secs(3600);
    let blue =
        [("alertname", "Down"), ("switchyard", "failover"), ("fleet", "rnd"), ("runner_cluster", "blue")];
    alertmanager.post(&blue, hour).await.unwrap();
    alertmanager.post(&[("alertname", "Other")], hour).await.unwrap();

    let webhook: Signal = wait::until(wait::PATIENCE, "the webhook came", async || {
        for body in posted.lock().await.iter() {
            let received = alert::parse_webhook(body, &yard(), clock())?;
            if let Some(signal) = received.signals.into_iter().next() {
                return Ok(signal);
            }
        }
        anyhow::bail!("not yet")
    })
    .await
    .unwrap();
    let polled = wait::until(wait::PATIENCE, "the alert is processed", async || {
        let received = alert::parse_poll(&client.alerts().await?, &yard(), clock())?;
        anyhow::ensure!(received.ignored.is_empty(), "the filter lets others through: {received:?}");
        received.signals.into_iter().next().ok_or_else(|| anyhow::anyhow!("not yet"))
    })
    .await
    .unwrap();
    assert_eq!(polled.key, webhook.key, "the same episode on both ways");
    assert_eq!((polled.state, polled.ends_at), (SignalState::Firing, None));
    assert!(polled.last_seen <= clock());

    alertmanager.silence(&blue, hour).await.unwrap();
    let muted = wait::until(wait::PATIENCE, "the silence holds", async || {
        let received = alert::parse_poll(&client.alerts().await?, &yard(), clock())?;
        anyhow::ensure!(received.signals.is_empty(), "not yet");
        received.muted.into_iter().next().ok_or_else(|| anyhow::anyhow!("gone"))
    })
    .await
    .unwrap();
    assert_eq!((muted.state.as_str(), muted.silenced_by.len()), ("suppressed", 1));
    assert_eq!(muted.signal.key, webhook.key);

    let peer = client.status().await.unwrap();
    // It tells the time in whole seconds, and may have started within this one.
    assert!(peer.knows_all(clock(), SignedDuration::from_secs(-1)), "{peer:?}");
    assert!(!peer.knows_all(clock(), SignedDuration::from_hours(1)), "{peer:?}");
    let (hour, ahead) = (SignedDuration::from_hours(1), clock() + SignedDuration::from_hours(2));
    assert!(!peer.knows_all(ahead, hour), "its own clock counts: {peer:?}");
    server.abort();
}

#[tokio::test]
async fn a_current_alertmanager_says_the_same_on_both_ways() {
    with_a_real_one(Flavour::Pinned).await;
}

#[tokio::test]
async fn an_older_alertmanager_says_the_same_on_both_ways() {
    with_a_real_one(Flavour::Debian).await;
}

#[tokio::test]
async fn an_alertmanager_that_is_not_there_is_a_passing_trouble() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let client = Client::new(&url, Duration::from_secs(5), None, None).unwrap();
    let error = client.alerts().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(error.to_string(), "no connection");
}

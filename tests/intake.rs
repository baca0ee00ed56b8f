//! Alerts come in by webhook and by catch-up poll, and the poll ends what is over.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::sync::Arc;

use serde_json::{Value, json};
use switchyard::{
    alert::{self, Answer, Ended, Stale, stale},
    intake::Intake,
    metrics::{EndedLabels, Metrics},
    model::{Action, Signal, SignalState, SignedDuration, Timestamp},
    status::Status,
    store::HistoryEntry,
};
use switchyard_lab::{
    harness::Harness,
    values::{NOW, at, signal, topology},
};
use tokio::sync::{Notify, watch};

const START: i64 = NOW - 600;
const SETTLE: SignedDuration = SignedDuration::from_secs(120);
const FINGERPRINT: &str = "0123456789abcdef";

fn alert(status: Value, end: i64) -> Value {
    json!({
        "status": status, "fingerprint": FINGERPRINT, "startsAt": at(START), "endsAt": at(end),
        "labels": {"alertname": "F", "switchyard": "failover", "fleet": "rnd", "runner_cluster": "blue"},
        "annotations": {}, "updatedAt": at(NOW - 10),
    })
}

fn message(status: &str, end: i64) -> Vec<u8> {
    let alerts = [alert(json!(status), end)];
    json!({"version": "4", "status": status, "alerts": alerts}).to_string().into_bytes()
}

/// The alert as `/api/v2/alerts` lists it, last sent by Prometheus at `updated`.
fn row(state: &str, silenced_by: &[&str], inhibited_by: &[&str], updated: i64) -> Value {
    let status = json!({"state": state, "silencedBy": silenced_by, "inhibitedBy": inhibited_by});
    let mut row = alert(status, NOW + 10_000);
    row["updatedAt"] = json!(at(updated));
    row
}

fn active(updated: i64) -> Value {
    row("active", &[], &[], updated)
}

fn silenced() -> Value {
    row("suppressed", &["s1"], &[], NOW - 10)
}

fn body(rows: &[Value]) -> Vec<u8> {
    json!(rows).to_string().into_bytes()
}

fn answer(rows: &[Value], knows_all: bool) -> Answer {
    let parsed = alert::parse_poll(&body(rows), &topology(&["blue", "green"]), at(NOW)).unwrap();
    Answer { parsed, knows_all }
}

/// Why a poll at `NOW` ends the alert, last heard of this many seconds ago.
fn ends(answers: &[Answer], heard: i64) -> Option<Ended> {
    let mut firing = signal(Action::Failover, Some("blue"), START, SignalState::Firing);
    firing.key.fingerprint = FINGERPRINT.to_owned();
    firing.last_seen = at(NOW - heard);
    let ended = stale(std::slice::from_ref(&firing), answers, at(NOW), SETTLE);
    assert!(ended.iter().all(|stale| stale.signal == firing));
    ended.first().map(|stale| stale.ended)
}

#[test]
fn what_no_alertmanager_lets_through_is_over() {
    let inhibited = row("suppressed", &[], &["fedcba9876543210"], NOW - 10);
    assert_eq!(ends(&[answer(&[], true)], 120), Some(Ended::Gone));
    assert_eq!(ends(&[answer(&[silenced()], true)], 0), Some(Ended::Silenced));
    assert_eq!(ends(&[answer(&[inhibited], true)], 0), Some(Ended::Inhibited));
    let three = [answer(&[], true), answer(&[], false), answer(&[silenced()], true)];
    assert_eq!(ends(&three, 120), Some(Ended::Silenced), "all agree, and one of them says more");
    let other = {
        let mut other = active(NOW);
        other["fingerprint"] = json!("f");
        other
    };
    assert_eq!(ends(&[answer(&[other], true)], 120), Some(Ended::Gone), "another alert is another alert");
    assert_eq!(
        ends(&[answer(&[], true), answer(&[], false)], 120),
        Some(Ended::Gone),
        "one knows, none objects"
    );
}

/// Promise 2: missing data is no evidence.
#[test]
fn promise_2_what_may_be_missing_for_another_reason_ends_nothing() {
    let unknown_fleet = {
        let mut row = active(NOW);
        row["labels"]["fleet"] = json!("nobody");
        row
    };
    let broken = {
        let mut row = active(NOW);
        row["startsAt"] = json!("soon");
        row
    };
    let by_nobody = row("suppressed", &[], &[], NOW - 10);
    for (why, answers) in [
        ("no poll succeeded", vec![]),
        ("it has just started", vec![answer(&[], false)]),
        ("it has just started, and does not know what is silenced", vec![answer(&[silenced()], false)]),
        ("it is let through", vec![answer(&[active(NOW)], true)]),
        ("one of them lets it through", vec![answer(&[], true), answer(&[active(NOW)], true)]),
        ("a young one lets it through", vec![answer(&[silenced()], true), answer(&[active(NOW)], false)]),
        ("it is not yet processed", vec![answer(&[row("unprocessed", &[], &[], NOW)], true)]),
        ("it is held back by nothing that is known", vec![answer(&[by_nobody], true)]),
        ("it is listed for a fleet that is not configured", vec![answer(&[unknown_fleet], true)]),
        ("it is listed and cannot be read", vec![answer(&[broken], true)]),
        ("a row has no name", vec![answer(&[json!({})], true)]),
        ("one list is not whole", vec![answer(&[], true), answer(&[json!(1)], false)]),
        (
            "one that knows all lacks it, a young one knows the silence",
            vec![answer(&[], false), answer(&[silenced()], false)],
        ),
    ] {
        assert_eq!(ends(&answers, 300), None, "{why}");
    }
    assert_eq!(ends(&[answer(&[], true)], 119), None, "it has just been heard of, maybe by another peer");
    assert_eq!(ends(&[answer(&[silenced()], true)], -1), None, "it was heard of after the poll was asked");
    assert_eq!(ends(&[answer(&[], true)], -1_000), None);
}

#[test]
fn only_what_alertmanager_sent_is_ended_and_never_a_watchdog() {
    let mut firing = signal(Action::Failover, Some("blue"), START, SignalState::Firing);
    firing.last_seen = at(START);
    let mut by_hand = firing.clone();
    by_hand.key.source = "person".to_owned();
    let mut watchdog = signal(Action::Watchdog, None, START, SignalState::Firing);
    watchdog.last_seen = at(START);
    let ended = stale(&[by_hand, watchdog, firing.clone()], &[answer(&[], true)], at(NOW), SETTLE);
    assert_eq!(ended, [Stale { signal: firing, ended: Ended::Gone, by: Vec::new() }]);
}

/// A store, and the way in.
struct Yard {
    harness: Harness,
    intake: Intake,
    metrics: Arc<Metrics>,
}

impl Yard {
    async fn new() -> Self {
        let harness = Harness::new().await;
        let status = watch::Sender::new(Arc::new(Status::default())).subscribe();
        let metrics = Arc::new(Metrics::new(status, harness.store.clone(), at(0)));
        let topology = watch::Sender::new(Arc::new(harness.topology.clone())).subscribe();
        let (bell, poll) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let intake = Intake::new(harness.store.clone(), topology, metrics.clone(), bell, poll);
        Self { harness, intake, metrics }
    }

    async fn hear(&self, body: Vec<u8>, now: Timestamp) {
        let parsed = self.intake.parse(&body, now).unwrap();
        self.intake.take(parsed).await.unwrap();
    }

    /// A catch-up poll of one Alertmanager that knows all. Gives the sentences of what it ended.
    async fn poll(&self, rows: &[Value], now: i64) -> Vec<String> {
        let parsed = self.intake.parse_poll(&body(rows), at(now)).unwrap();
        self.intake.take_poll(parsed.clone()).await.unwrap();
        let answers = [Answer { parsed, knows_all: true }];
        let ended = self.intake.heal(&answers, at(now), SETTLE).await.unwrap();
        ended.iter().map(Stale::sentence).collect()
    }

    async fn firing(&self) -> Vec<Signal> {
        let mut signals = self.harness.store.firing_signals().await.unwrap();
        signals.retain(|signal| signal.action != Action::Watchdog);
        signals
    }

    /// Outcome and sentence of the events.
    async fn told(&self) -> Vec<(String, String)> {
        let history = self.harness.store.history(None, 100).await.unwrap();
        let event = |entry| match entry {
            HistoryEntry::Event { event, .. } => Some((event.outcome, event.sentence)),
            _ => None,
        };
        history.into_iter().rev().filter_map(event).collect()
    }
}

#[tokio::test]
async fn an_alert_that_ends_while_silenced_is_ended_by_the_poll() {
    let yard = Yard::new().await;
    yard.hear(message("firing", -1), at(NOW - 500)).await;
    assert_eq!(yard.firing().await.len(), 1);
    assert_eq!(yard.poll(&[], NOW - 400).await, [] as [&str; 0], "heard of 100 s ago: too soon");
    let gone = "The failover alert F about blue counts no longer: Alertmanager lists it no longer and never said that \
                it was resolved, as when it ends while silenced.";
    assert_eq!(yard.poll(&[], NOW).await, [gone]);
    assert_eq!(yard.poll(&[], NOW + 30).await, [] as [&str; 0], "once");
    assert_eq!(yard.firing().await, []);
    let mut stored = yard.harness.store.load(at(NOW)).await.unwrap().signals;
    stored.retain(|signal| signal.action != Action::Watchdog);
    let [stored] = stored.as_slice() else { panic!("{stored:?}") };
    assert_eq!((stored.state, stored.ends_at), (SignalState::Resolved, Some(at(NOW))));
    assert_eq!(yard.told().await, [("alert_gone".to_owned(), gone.to_owned())]);
    let labels = EndedLabels { action: "failover".to_owned(), reason: "gone".to_owned() };
    assert_eq!(yard.metrics.alerts_ended.get_or_create(&labels).get(), 1);
    yard.hear(message("firing", -1), at(NOW + 40)).await;
    assert_eq!(yard.firing().await, [], "a late firing never reopens an episode");
}

#[tokio::test]
async fn a_silence_ends_the_episode_and_the_next_begins_when_it_is_lifted() {
    let yard = Yard::new().await;
    yard.hear(message("firing", -1), at(START)).await;
    let mut since = at(START);
    for round in 0..3 {
        let now = NOW + 1_000 * round;
        let said = yard.poll(&[silenced()], now).await;
        assert_eq!(
            said,
            ["The failover alert F about blue counts no longer: silenced in Alertmanager by s1."]
        );
        assert_eq!(yard.firing().await, []);
        assert_eq!(yard.poll(&[silenced()], now + 10).await.len(), 0);
        // Prometheus has not sent it since: nobody knows that it fires now.
        yard.poll(&[active(now)], now + 20).await;
        assert_eq!(yard.firing().await, []);
        for after in [40, 70] {
            yard.poll(&[active(now + 30)], now + after).await;
            let again = yard.firing().await;
            assert_eq!(again.len(), 1, "{again:?}");
            assert_eq!(again[0].key.starts_at, at(now), "from where it was ended");
        }
        assert!(since < at(now));
        since = at(now);
    }
    assert_eq!(yard.told().await.len(), 3);
}

#[tokio::test]
async fn what_is_heard_of_while_the_poll_is_judged_goes_on() {
    let yard = Yard::new().await;
    yard.hear(message("firing", -1), at(NOW - 500)).await;
    let old = yard.firing().await;
    yard.hear(message("firing", -1), at(NOW - 1)).await;
    let ending = switchyard::store::Ending {
        key: old[0].key.clone(),
        last_seen: old[0].last_seen,
        event: switchyard::store::Event {
            at: at(NOW),
            fleet: None,
            outcome: "alert_gone".to_owned(),
            sentence: String::new(),
            author: None,
        },
    };
    assert_eq!(yard.harness.store.end_signals(vec![ending]).await.unwrap(), [false]);
    assert_eq!(yard.firing().await.len(), 1);
    assert_eq!(yard.told().await, [], "what did not happen is not told");
}

/// Prometheus keeps `startsAt` over an outage in which Alertmanager let the alert expire. The webhook of the second
/// firing cannot be told from a late one of the first; the poll says that it fires now.
#[tokio::test]
async fn an_alert_that_fires_again_under_its_old_start_is_heard_by_the_poll() {
    let yard = Yard::new().await;
    yard.hear(message("firing", -1), at(START)).await;
    yard.hear(message("resolved", NOW - 300), at(NOW - 300)).await;
    yard.hear(message("firing", -1), at(NOW - 20)).await;
    assert_eq!(yard.firing().await, [], "a late firing never reopens an episode");

    for _ in 0..2 {
        yard.poll(&[active(NOW - 10)], NOW).await;
        let again = yard.firing().await;
        assert_eq!(again.len(), 1, "{again:?}");
        assert_eq!(again[0].key.starts_at, at(NOW - 300), "it is a new episode from the end of the old one");
    }

    yard.hear(message("resolved", NOW + 60), at(NOW + 60)).await;
    assert_eq!(yard.firing().await, [], "the end comes under the old start, and ends the new episode");
}

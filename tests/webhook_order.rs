//! Whatever the order in which webhooks come, and however often: the same signals are stored, and the same is decided.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::subsequence};
use serde_json::{Value, json};
use switchyard::{
    alert,
    model::{ClusterName, Signal, SignalKey, Timestamp},
    store::{Holder, Store, merge},
};
use switchyard_lab::values::{Case, NOW, at};

/// What one alert says, and when it is heard.
#[derive(Debug, Clone)]
struct Report {
    alert: Value,
    heard: Timestamp,
}

fn report() -> impl Strategy<Value = Report> {
    let action = prop_oneof![Just("failover"), Just("failback"), Just("watchdog")];
    let cluster = prop_oneof![Just("blue"), Just("green")];
    let (starts, ends) = (prop_oneof![Just(NOW - 60), Just(NOW - 50)], prop::option::of(NOW - 40..NOW - 20));
    (action, cluster, starts, ends, NOW - 15..NOW, "[xy]").prop_map(
        |(action, cluster, starts, ends, heard, note)| {
            let alert = json!({
                "status": if ends.is_some() { "resolved" } else { "firing" },
                "labels": { "switchyard": action, "fleet": "rnd", "runner_cluster": cluster },
                "annotations": { "note": note },
                "startsAt": at(starts).to_string(),
                "endsAt": ends.map_or("0001-01-01T00:00:00Z".to_owned(), |ends| at(ends).to_string()),
                "fingerprint": format!("{action}-{cluster}"),
            });
            Report { alert, heard: at(heard) }
        },
    )
}

/// A webhook: some reports, heard at once.
type Webhook = Vec<Report>;

fn told() -> impl Strategy<Value = (Vec<Webhook>, Vec<Webhook>)> {
    prop::collection::vec(prop::collection::vec(report(), 1..4), 1..6).prop_flat_map(|mut webhooks| {
        for webhook in &mut webhooks {
            let heard = webhook[0].heard;
            webhook.iter_mut().for_each(|report| report.heard = heard);
        }
        let again = subsequence(webhooks.clone(), 0..=webhooks.len());
        again.prop_flat_map(move |again| {
            let all: Vec<Webhook> = webhooks.iter().cloned().chain(again).collect();
            (Just(webhooks.clone()), Just(all).prop_shuffle())
        })
    })
}

fn read(case: &Case, webhook: &Webhook) -> Vec<Signal> {
    let alerts: Vec<&Value> = webhook.iter().map(|report| &report.alert).collect();
    let body = json!({ "version": "4", "alerts": alerts }).to_string();
    let parsed = alert::parse_webhook(body.as_bytes(), &case.topology, webhook[0].heard).unwrap();
    assert_eq!(parsed.signals.len(), webhook.len(), "{parsed:?}");
    parsed.signals
}

fn merged(case: &Case, webhooks: &[Webhook]) -> BTreeMap<SignalKey, Signal> {
    let mut stored: BTreeMap<SignalKey, Signal> = BTreeMap::new();
    for signal in webhooks.iter().flat_map(|webhook| read(case, webhook)) {
        let old = stored.get(&signal.key).unwrap_or(&signal);
        stored.insert(signal.key.clone(), merge(old, &signal));
    }
    stored
}

/// Outcome and target of the pass.
fn decided(mut case: Case, signals: impl IntoIterator<Item = Signal>) -> (String, Option<ClusterName>) {
    case.signals = signals.into_iter().collect();
    let pass = case.decide();
    (pass.sentence, pass.decision.map(|decision| decision.to))
}

fn dead_blue() -> Case {
    Case { signals: Vec::new(), ..Case::blue_dies() }
}

/// What is loaded after all webhooks went through a store on a disk.
async fn through_a_store(case: &Case, webhooks: &[Webhook]) -> Vec<Signal> {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("s.db").display());
    let store = Store::open(&url, &Holder { listen: String::new(), now: at(0) }, std::time::Duration::MAX)
        .await
        .unwrap();
    for webhook in webhooks {
        store.upsert_signals(read(case, webhook)).await.unwrap();
    }
    let signals = store.load(at(NOW)).await.unwrap().signals;
    store.close().await.unwrap();
    signals
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn order_and_repetition_make_no_difference((once, shuffled) in told()) {
        let case = dead_blue();
        let (first, second) = (merged(&case, &once), merged(&case, &shuffled));
        prop_assert_eq!(&first, &second);
        prop_assert_eq!(decided(case.clone(), first.into_values()), decided(case, second.into_values()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn the_store_says_the_same_in_any_order((once, shuffled) in told()) {
        let case = dead_blue();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (first, second) = runtime.block_on(async {
            (through_a_store(&case, &once).await, through_a_store(&case, &shuffled).await)
        });
        prop_assert_eq!(&first, &second);
        prop_assert_eq!(decided(case.clone(), first), decided(case, second));
    }
}

/// The property above would hold of a program that decides nothing.
#[test]
fn some_of_these_webhooks_move_the_fleet() {
    let case = dead_blue();
    let fires = |action: &str| {
        let alert = json!({
            "status": "firing",
            "labels": { "switchyard": action, "fleet": "rnd", "runner_cluster": "blue" },
            "startsAt": at(NOW - 60).to_string(),
            "fingerprint": action,
        });
        Report { alert, heard: at(NOW - 5) }
    };
    let signals = merged(&case, &[vec![fires("failover")], vec![fires("watchdog")]]);
    let (sentence, to) = decided(case, signals.into_values());
    assert_eq!(to, Some("green".parse().unwrap()), "{sentence}");
}

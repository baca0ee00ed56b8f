//! When Alertmanager sends, when it does not, and what a message leaves out.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use switchyard::model::SignedDuration;
use switchyard_lab::{
    parts::Flavour,
    wait::{PATIENCE, until},
};

use crate::{
    front::{Delivery, Mode},
    on_both_versions,
    stage::{HOUR, Peers, Setup, Stage, alert, now},
};

on_both_versions!(
    a_message_that_fires_may_hold_an_alert_that_has_resolved,
    the_repeat_interval_is_a_free_second_delivery,
    what_fires_again_between_two_flushes_is_heard_by_the_poll,
    what_was_never_delivered_and_has_resolved_is_never_sent,
    a_retry_may_be_older_than_the_truth,
    the_first_message_of_a_group_without_wait_is_partial,
    the_first_messages_of_three_peers_are_partial,
    a_truncated_message_sends_switchyard_to_alertmanager_at_once,
    a_replica_label_makes_two_alerts_of_one_fact,
);

fn by_fleet(flavour: Flavour, group_wait: &str) -> Setup {
    let route = json!({ "group_by": ["fleet"], "group_wait": group_wait });
    Setup { route, ..Setup::new(flavour) }
}

fn statuses(delivery: &Delivery) -> BTreeSet<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let alerts = delivery.message["alerts"].as_array().unwrap();
    alerts.iter().map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["status"]))).collect()
}

/// Decide per alert, never per message.
async fn a_message_that_fires_may_hold_an_alert_that_has_resolved(flavour: Flavour) {
    let Some(stage) = Stage::start(by_fleet(flavour, "0s")).await else { return };
    stage.fire("Ends").await;
    stage.fire("Stays").await;
    stage.stored("Ends", true).await;
    stage.stored("Stays", true).await;
    stage.resolve("Ends").await;
    stage.stored("Ends", false).await;
    let deliveries = stage.front.deliveries("Ends");
    let last = deliveries.last().unwrap();
    assert_eq!(last.message["status"], "firing");
    let both = [("Ends", "resolved"), ("Stays", "firing")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(statuses(last), BTreeSet::from(both));
    assert!(stage.episodes("Stays").await[0].firing);
}

async fn the_repeat_interval_is_a_free_second_delivery(flavour: Flavour) {
    let setup = Setup { route: json!({ "repeat_interval": "2s" }), ..Setup::new(flavour) };
    let Some(stage) = Stage::start(setup).await else { return };
    stage.fire("Again").await;
    let first = stage.stored("Again", true).await;
    let again = [("action", "failover"), ("outcome", "unchanged")];
    stage.counted("switchyard_alerts_received_total", &again, 2.0).await;
    let last = stage.episodes("Again").await;
    assert_eq!(last.len(), 1);
    assert!(last[0].last_seen > first[0].last_seen, "it is known to be heard of still");
}

/// The log of notifications knows labels only, so nothing is sent.
async fn what_fires_again_between_two_flushes_is_heard_by_the_poll(flavour: Flavour) {
    let setup =
        Setup { settings: json!({ "alertmanager": { "poll": "200ms" } }), ..Setup::one_flush(flavour) };
    let Some(stage) = Stage::start(setup).await else { return };
    stage.fire("Twice").await;
    let first = stage.stored("Twice", true).await;
    stage.resolve("Twice").await;
    let begins = now();
    let until_then = begins + SignedDuration::from_hours(1);
    stage.alertmanager().post_since(&[&alert("Twice")], begins, until_then).await.unwrap();
    until(PATIENCE, "the second episode is stored", async || {
        let episodes = stage.episodes("Twice").await;
        let newest = episodes.last().unwrap();
        anyhow::ensure!(newest.starts_at > first[0].starts_at && newest.firing, "{episodes:?}");
        Ok(())
    })
    .await
    .unwrap();
    stage.delivered("Twice", 1).await;
    assert_eq!(stage.front.deliveries("Twice").len(), 1, "Alertmanager said nothing of it");
}

async fn what_was_never_delivered_and_has_resolved_is_never_sent(flavour: Flavour) {
    let Some(stage) = Stage::start(Setup::new(flavour)).await else { return };
    stage.front.set("Unheard", Mode::Answer(503));
    stage.fire("Unheard").await;
    stage.delivered("Unheard", 1).await;
    stage.resolve("Unheard").await;
    // The flush that began while it fired gives up; the next one finds nothing to say.
    stage.sent_until("notifications_failed", 1.0).await;
    stage.flushed(2.0).await;
    let tries = stage.front.deliveries("Unheard").len();
    stage.front.set("Unheard", Mode::Pass);
    stage.fire("Other").await;
    stage.stored("Other", true).await;
    assert_eq!(stage.episodes("Unheard").await, [], "neither that it fired nor that it ended");
    assert_eq!(stage.front.deliveries("Unheard").len(), tries);
}

/// The flush that began while the alert fired still says so; the next one puts it right.
async fn a_retry_may_be_older_than_the_truth(flavour: Flavour) {
    let Some(stage) = Stage::start(Setup::new(flavour)).await else { return };
    stage.front.set("Older", Mode::Answer(503));
    stage.fire("Older").await;
    stage.delivered("Older", 1).await;
    stage.resolve("Older").await;
    stage.unlisted("Older").await;
    stage.front.set("Older", Mode::Pass);
    let episodes = stage.stored("Older", false).await;
    assert_eq!(episodes.len(), 1, "{episodes:?}");
    let heard: Vec<Delivery> =
        stage.front.deliveries("Older").into_iter().filter(|d| d.answer == Some(200)).collect();
    let mut said: Vec<&Value> = heard.iter().map(|d| &d.message["status"]).collect();
    // A retry may come twice.
    said.dedup();
    assert_eq!(said, ["firing", "resolved"]);
}

/// Never count from one message how much is down, and never read absence from it as health.
async fn the_first_message_of_a_group_without_wait_is_partial(flavour: Flavour) {
    partial(by_fleet(flavour, "0s")).await;
}

async fn the_first_messages_of_three_peers_are_partial(flavour: Flavour) {
    partial(Setup { peers: Peers::Three(Duration::from_millis(100)), ..by_fleet(flavour, "0s") }).await;
}

async fn partial(setup: Setup) {
    let Some(stage) = Stage::start(setup).await else { return };
    let names: Vec<String> = (0..1_000).map(|n| format!("Many{n}")).collect();
    stage.fire_all(&names).await;
    until(PATIENCE, "all alerts are stored", async || {
        let count = stage.all_episodes().await.len();
        anyhow::ensure!(count == names.len(), "{count}");
        Ok(())
    })
    .await
    .unwrap();
    let first = (0..names.len()).filter_map(|n| stage.front.deliveries(&names[n]).into_iter().next());
    let smallest = first.map(|d| d.message["alerts"].as_array().unwrap().len()).min().unwrap();
    assert!(smallest < names.len(), "the first message held all {smallest}");
}

async fn a_truncated_message_sends_switchyard_to_alertmanager_at_once(flavour: Flavour) {
    let setup = Setup { webhook: json!({ "max_alerts": 1 }), ..by_fleet(flavour, "2s") };
    let Some(stage) = Stage::start(setup).await else { return };
    // The poll at the start came before the alerts; the next regular one is an hour away.
    stage.counted("switchyard_alertmanager_polls_total", &[("outcome", "answered")], 1.0).await;
    let names = ["CutA", "CutB", "CutC"];
    let labels = names.map(alert);
    stage.alertmanager().post_all(&labels.each_ref().map(|labels| &labels[..]), HOUR).await.unwrap();
    for name in names {
        stage.stored(name, true).await;
    }
    let told: Vec<Delivery> = names.iter().flat_map(|name| stage.front.deliveries(name)).collect();
    let alone = |d: &Delivery| d.message["alerts"].as_array().unwrap().len() == 1;
    assert!(told.iter().all(alone), "{told:?}");
    assert!(told.iter().any(|d| d.message["truncatedAlerts"] == 2), "{told:?}");
}

/// Two Prometheus servers with labels of their own: two fingerprints, two episodes, each with its end.
async fn a_replica_label_makes_two_alerts_of_one_fact(flavour: Flavour) {
    let Some(stage) = Stage::start(by_fleet(flavour, "0s")).await else { return };
    let of = |replica: &'static str| {
        let mut labels = alert("Replicated").to_vec();
        labels.push(("replica", replica));
        labels
    };
    let (a, b) = (of("a"), of("b"));
    stage.alertmanager().post_all(&[&a, &b], HOUR).await.unwrap();
    let both = async |firing: usize| {
        until(PATIENCE, "two episodes", async || {
            let episodes = stage.episodes("Replicated").await;
            let fire = episodes.iter().filter(|episode| episode.firing).count();
            anyhow::ensure!(episodes.len() == 2 && fire == firing, "{episodes:?}");
            Ok(())
        })
        .await
        .unwrap();
    };
    both(2).await;
    stage.alertmanager().post_all(&[&a], Duration::ZERO).await.unwrap();
    both(1).await;
}

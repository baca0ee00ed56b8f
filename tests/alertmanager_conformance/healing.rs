//! Alerts that end without a word, and alerts that Alertmanager holds back.

use std::time::Duration;

use serde_json::{Value, json};
use switchyard::model::SignedDuration;
use switchyard_lab::{
    parts::Flavour,
    wait::{PATIENCE, until},
};

use crate::{
    on_both_versions,
    stage::{HOUR, Peers, Setup, Stage, alert, now, prometheus, rules},
};

on_both_versions!(
    resolved_while_silenced_is_healed_by_the_poll,
    resolved_while_silenced_of_three_peers_is_healed_by_the_poll,
    resolved_while_inhibited_is_healed_by_the_poll,
    a_silence_ends_the_episode_and_the_next_begins_when_it_is_lifted,
    an_inhibited_alert_counts_no_longer,
    a_silenced_failover_moves_nothing_until_the_silence_is_lifted,
    a_mute_time_interval_stops_the_webhook_and_not_the_poll,
    without_send_resolved_the_poll_alone_hears_the_end,
    an_alertmanager_that_has_just_started_ends_nothing,
    an_alertmanager_that_settles_ends_nothing,
);

const ENDED: &str = "switchyard_alerts_ended_total";
/// The news of a delivery has this long to reach the next peer.
const PEER_TIMEOUT: Duration = Duration::from_secs(1);

async fn resolved_while_silenced_is_healed_by_the_poll(flavour: Flavour) {
    resolved_while_silenced(Setup::new(flavour)).await;
}

async fn resolved_while_silenced_of_three_peers_is_healed_by_the_poll(flavour: Flavour) {
    resolved_while_silenced(Setup { peers: Peers::Three(PEER_TIMEOUT), ..Setup::new(flavour) }).await;
}

async fn resolved_while_silenced(setup: Setup) {
    let Some(stage) = Stage::start(setup).await else { return };
    stage.fire("Muted").await;
    stage.stored("Muted", true).await;
    stage.flushed(1.0).await;
    stage.alertmanager().silence(&[("alertname", "Muted")], HOUR).await.unwrap();
    resolved_while_muted(stage).await;
}

async fn resolved_while_inhibited_is_healed_by_the_poll(flavour: Flavour) {
    let setup = Setup { alertmanager: inhibiting("Muted"), ..Setup::new(flavour) };
    let Some(stage) = Stage::start(setup).await else { return };
    stage.fire("Muted").await;
    stage.stored("Muted", true).await;
    stage.fire("Cause").await;
    stage.stored("Cause", true).await;
    resolved_while_muted(stage).await;
}

/// What Alertmanager mutes when it ends is never said to have ended.
async fn resolved_while_muted(mut stage: Stage) {
    until(PATIENCE, "every Alertmanager mutes it", async || {
        for peer in &stage.alertmanagers {
            let alerts = peer.alerts().await?;
            let muted = alerts.iter().find(|alert| alert.labels["alertname"] == "Muted");
            anyhow::ensure!(muted.is_some_and(|alert| alert.status.state == "suppressed"), "{alerts:?}");
        }
        Ok(())
    })
    .await
    .unwrap();
    let before = stage.front.deliveries("Muted").len();
    stage.resolve("Muted").await;
    stage.unlisted("Muted").await;
    // Alertmanager has nothing more to say: the next alert is all that comes.
    stage.fire("Other").await;
    stage.stored("Other", true).await;
    assert_eq!(stage.front.deliveries("Muted").len(), before);
    assert!(stage.episodes("Muted").await[0].firing, "the webhook alone would let it fire for ever");

    stage.reconfigure(json!({ "alertmanager": { "poll": "200ms", "settle": "1s" } })).await;
    stage.stored("Muted", false).await;
    let told = stage.told("alert_gone").await;
    assert!(told.len() == 1 && told[0].contains("alert Muted about blue"), "{told:?}");
    assert_eq!(stage.metric(ENDED, &[("action", "failover"), ("reason", "gone")]).await, 1.0);
    assert!(stage.episodes("Other").await[0].firing, "what is listed goes on");
}

/// `Cause` inhibits the alert of this name.
fn inhibiting(name: &str) -> Value {
    let target = format!("alertname={name}");
    json!({ "inhibit_rules": [{ "source_matchers": ["alertname=Cause"], "target_matchers": [target] }] })
}

async fn a_silence_ends_the_episode_and_the_next_begins_when_it_is_lifted(flavour: Flavour) {
    let Some(stage) = Stage::start(Setup::polled(flavour)).await else { return };
    let begins = now() - SignedDuration::from_secs(60);
    // What Prometheus does: again and again, under the same start.
    let send = async || {
        let ends = now() + SignedDuration::from_hours(1);
        stage.alertmanager().post_since(&[&alert("Muted")], begins, ends).await.unwrap();
    };
    send().await;
    stage.stored("Muted", true).await;
    let silence = stage.alertmanager().silence(&[("alertname", "Muted")], HOUR).await.unwrap();
    stage.stored("Muted", false).await;
    let told = stage.told("alert_silenced").await;
    assert!(told.len() == 1 && told[0].contains(&silence), "{told:?}");
    send().await;
    stage.polls(3.0).await;
    assert!(!stage.episodes("Muted").await.last().unwrap().firing);

    stage.alertmanager().unsilence(&silence).await.unwrap();
    until(PATIENCE, "it fires again", async || {
        send().await;
        let episodes = stage.episodes("Muted").await;
        anyhow::ensure!(episodes.len() == 2 && episodes[1].firing, "{episodes:?}");
        Ok(())
    })
    .await
    .unwrap();
}

async fn an_inhibited_alert_counts_no_longer(flavour: Flavour) {
    let setup = Setup { alertmanager: inhibiting("Effect"), ..Setup::polled(flavour) };
    let Some(stage) = Stage::start(setup).await else { return };
    stage.fire("Effect").await;
    stage.stored("Effect", true).await;
    stage.fire("Cause").await;
    stage.stored("Effect", false).await;
    assert_eq!(stage.told("alert_inhibited").await.len(), 1);
    assert!(stage.stored("Cause", true).await[0].firing);
}

/// Blue is dead and green is well, by a real Prometheus: only the silence stands between the alert and the move.
async fn a_silenced_failover_moves_nothing_until_the_silence_is_lifted(flavour: Flavour) {
    let setup = Setup::polled(flavour);
    let address = switchyard_lab::ports::free_address().unwrap();
    let Some(stage) = Stage::start_with(setup, &[format!("http://{address}")]).await else { return };
    let silence = stage.alertmanager().silence(&[("alertname", "BlueIsDead")], HOUR).await.unwrap();
    let alerts = [("BlueIsDead", "vector(1)")];
    let told = stage.alertmanager().address();
    let Some(_prometheus) = prometheus(flavour, address, &[told], rules(0.0, &alerts)).await else {
        return;
    };
    for gate in ["eyes_open", "confirmed", "target_able"] {
        stage.gate(gate, true).await;
    }
    until(PATIENCE, "Alertmanager mutes", async || {
        let alerts = stage.alertmanager().alerts().await?;
        let muted = alerts.iter().any(|alert| alert.status.state == "suppressed");
        anyhow::ensure!(muted, "{alerts:?}");
        Ok(())
    })
    .await
    .unwrap();
    stage.polls(2.0).await;
    stage.passes().await;
    assert_eq!(stage.generation().await, 1);
    assert_eq!(stage.all_episodes().await, []);

    stage.alertmanager().unsilence(&silence).await.unwrap();
    stage.held_by("green").await;
    assert_eq!(stage.generation().await, 2);
    assert_eq!(stage.gitlab.admin().holders("rnd-runner"), stage.green);
}

/// As documented beside `alertmanager.settle`.
async fn a_mute_time_interval_stops_the_webhook_and_not_the_poll(flavour: Flavour) {
    let setup = Setup {
        route: json!({ "routes": [{ "receiver": "switchyard", "mute_time_intervals": ["always"] }] }),
        alertmanager: json!({ "time_intervals": [{ "name": "always", "time_intervals": [{ "years": ["2000:2999"] }] }] }),
        ..Setup::polled(flavour)
    };
    let Some(stage) = Stage::start(setup).await else { return };
    stage.fire("ByNight").await;
    stage.stored("ByNight", true).await;
    stage.polls(8.0).await;
    assert!(stage.episodes("ByNight").await[0].firing);
    stage.resolve("ByNight").await;
    stage.stored("ByNight", false).await;
    assert_eq!(stage.front.deliveries("ByNight").len(), 0);
}

async fn without_send_resolved_the_poll_alone_hears_the_end(flavour: Flavour) {
    let setup = Setup { webhook: json!({ "send_resolved": false }), ..Setup::polled(flavour) };
    let Some(stage) = Stage::start(setup).await else { return };
    stage.fire("Unsaid").await;
    stage.stored("Unsaid", true).await;
    stage.resolve("Unsaid").await;
    stage.stored("Unsaid", false).await;
    assert_eq!(stage.told("alert_gone").await.len(), 1);
    let deliveries = stage.front.deliveries("Unsaid");
    assert!(deliveries.iter().all(|delivery| delivery.message["status"] == "firing"), "{deliveries:?}");
}

/// Alertmanager keeps no alerts over a restart: its empty list is no news.
async fn an_alertmanager_that_has_just_started_ends_nothing(flavour: Flavour) {
    let setup = Setup {
        settings: json!({ "alertmanager": { "poll": "200ms", "settle": "30s" } }),
        ..Setup::new(flavour)
    };
    let Some(mut stage) = Stage::start(setup).await else { return };
    let begins = now() - SignedDuration::from_secs(3600);
    let send = async |stage: &Stage| {
        let ends = now() + SignedDuration::from_hours(1);
        stage.alertmanager().post_since(&[&alert("Kept")], begins, ends).await.unwrap();
    };
    send(&stage).await;
    stage.stored("Kept", true).await;
    let peer = &mut stage.alertmanagers[0];
    peer.kill9().await.unwrap();
    peer.restart().await.unwrap();
    assert_eq!(stage.alertmanager().alerts().await.unwrap(), []);
    stage.polls(4.0).await;
    assert_eq!(stage.metric("switchyard_alertmanager_knows_all", &[]).await, 0.0);
    send(&stage).await;
    stage.polls(2.0).await;
    let episodes = stage.episodes("Kept").await;
    assert!(episodes.len() == 1 && episodes[0].firing, "{episodes:?}");
    assert_eq!(stage.metric(ENDED, &[]).await, 0.0);
}

async fn an_alertmanager_that_settles_ends_nothing(flavour: Flavour) {
    let setup = Setup { peers: Peers::Settling, ..Setup::polled(flavour) };
    let Some(stage) = Stage::start(setup).await else { return };
    // A peer sends nothing before it has settled, but it lists what it has.
    stage.fire("Kept").await;
    stage.stored("Kept", true).await;
    stage.resolve("Kept").await;
    stage.unlisted("Kept").await;
    // More than a second of polls: `settle` alone would have passed.
    stage.polls(10.0).await;
    assert_eq!(stage.alertmanager().cluster().await.unwrap()["status"], "settling");
    assert_eq!(stage.metric("switchyard_alertmanager_knows_all", &[]).await, 0.0);
    assert!(stage.episodes("Kept").await[0].firing);
}

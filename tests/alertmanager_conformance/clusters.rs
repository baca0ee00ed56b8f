//! Several Alertmanagers: at least once, by design.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;
use switchyard_lab::{
    parts::Flavour,
    ports,
    wait::{PATIENCE, until},
};

use crate::{
    front::Mode,
    on_both_versions,
    stage::{HOUR, Peers, Setup, Stage, prometheus, rules},
};

on_both_versions!(
    three_peers_send_one_copy_to_a_receiver_that_answers_at_once,
    three_peers_send_two_copies_to_a_receiver_that_answers_after_the_second,
    three_peers_send_three_copies_to_a_slow_receiver,
    three_peers_retry_through_an_outage_and_one_episode_comes_of_it,
    three_peers_bring_what_was_refused_at_each_interval_until_it_is_taken,
    one_dead_peer_of_three_keeps_no_alert_firing,
    three_peers_without_gossip_send_three_copies_and_one_move_comes_of_it,
    a_cluster_cut_in_two_sends_a_copy_per_side_and_both_must_agree_on_the_end,
);

fn three(flavour: Flavour, peer_timeout: Duration) -> Setup {
    // Long enough that nothing is flushed again.
    Setup { peers: Peers::Three(peer_timeout), ..Setup::one_flush(flavour) }
}

async fn counted(stage: &Stage, outcome: &str) -> f64 {
    stage.metric("switchyard_alerts_received_total", &[("action", "failover"), ("outcome", outcome)]).await
}

/// Who sent the messages about an alert: every Alertmanager names its own address.
fn senders(stage: &Stage, name: &str) -> BTreeSet<String> {
    stage.front.deliveries(name).iter().map(|d| d.message["externalURL"].to_string()).collect()
}

async fn three_peers_send_one_copy_to_a_receiver_that_answers_at_once(flavour: Flavour) {
    // The news of the delivery has this long to reach the next peer.
    let Some(stage) = Stage::start(three(flavour, Duration::from_secs(5))).await else { return };
    stage.fire("Once").await;
    stage.stored("Once", true).await;
    stage.flushed(1.0).await;
    assert_eq!(stage.front.deliveries("Once").len(), 1);
    assert_eq!(stage.sent("notification_requests").await.unwrap(), 1.0);
}

/// The answer comes between the turn of the second peer and that of the third, which hears of it and sends nothing.
async fn three_peers_send_two_copies_to_a_receiver_that_answers_after_the_second(flavour: Flavour) {
    // As much time for the news as peers have by default.
    let Some(stage) = Stage::start(three(flavour, Duration::from_secs(15))).await else { return };
    stage.front.set("Between", Mode::Hold);
    stage.fire("Between").await;
    stage.delivered("Between", 2).await;
    stage.front.release();
    stage.stored("Between", true).await;
    let unchanged = [("action", "failover"), ("outcome", "unchanged")];
    stage.counted("switchyard_alerts_received_total", &unchanged, 1.0).await;
    stage.flushed(1.0).await;
    assert_eq!(senders(&stage, "Between").len(), 2);
    assert_eq!(stage.front.deliveries("Between").len(), 2);
    assert_eq!(stage.sent("notification_requests").await.unwrap(), 2.0);
    assert_eq!(counted(&stage, "new").await, 1.0);
    assert_eq!(stage.episodes("Between").await.len(), 1);
}

/// A handler slower than the peer time-out makes duplicates by itself; they change nothing.
async fn three_peers_send_three_copies_to_a_slow_receiver(flavour: Flavour) {
    let Some(stage) = Stage::start(three(flavour, Duration::from_secs(1))).await else { return };
    stage.front.set("Slow", Mode::Hold);
    stage.fire("Slow").await;
    stage.delivered("Slow", 3).await;
    assert_eq!(senders(&stage, "Slow").len(), 3);
    stage.front.release();
    let unchanged = [("action", "failover"), ("outcome", "unchanged")];
    stage.counted("switchyard_alerts_received_total", &unchanged, 2.0).await;
    assert_eq!((counted(&stage, "new").await, counted(&stage, "updated").await), (1.0, 0.0));
    let episodes = stage.episodes("Slow").await;
    assert!(episodes.len() == 1 && episodes[0].firing, "{episodes:?}");
}

async fn three_peers_retry_through_an_outage_and_one_episode_comes_of_it(flavour: Flavour) {
    let Some(stage) = Stage::start(three(flavour, Duration::from_secs(1))).await else { return };
    stage.front.set("Outage", Mode::Answer(503));
    stage.fire("Outage").await;
    until(PATIENCE, "all three have tried", async || {
        let senders = senders(&stage, "Outage");
        anyhow::ensure!(senders.len() == 3, "{senders:?}");
        Ok(())
    })
    .await
    .unwrap();
    stage.front.set("Outage", Mode::Pass);
    // Each of them is inside its retries and does not look at the log again.
    let copies = || stage.front.deliveries("Outage").iter().filter(|d| d.answer == Some(200)).count();
    until(PATIENCE, "each has delivered", async || {
        anyhow::ensure!(copies() == 3, "{}", copies());
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!((counted(&stage, "new").await, counted(&stage, "unchanged").await), (1.0, 2.0));
    assert_eq!(stage.episodes("Outage").await.len(), 1);
}

async fn three_peers_bring_what_was_refused_at_each_interval_until_it_is_taken(flavour: Flavour) {
    let setup = Setup { peers: Peers::Three(Duration::from_millis(100)), ..Setup::new(flavour) };
    let Some(stage) = Stage::start(setup).await else { return };
    stage.front.set("Refused", Mode::Answer(400));
    stage.fire("Refused").await;
    until(PATIENCE, "all three have tried in several flushes", async || {
        let (senders, tries) = (senders(&stage, "Refused"), stage.front.deliveries("Refused").len());
        anyhow::ensure!(senders.len() == 3 && tries >= 9, "{tries} tries of {senders:?}");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(stage.episodes("Refused").await, []);
    stage.front.set("Refused", Mode::Pass);
    assert_eq!(stage.stored("Refused", true).await.len(), 1);
    // Whoever was about to send it may still do so.
    stage.flushed_again(2.0).await;
    assert_eq!((counted(&stage, "new").await, counted(&stage, "updated").await), (1.0, 0.0));
    assert_eq!(stage.episodes("Refused").await.len(), 1);
}

async fn one_dead_peer_of_three_keeps_no_alert_firing(flavour: Flavour) {
    let setup = Setup {
        settings: json!({ "alertmanager": { "poll": "200ms", "settle": "1s" } }),
        ..three(flavour, Duration::from_secs(1))
    };
    let Some(mut stage) = Stage::start(setup).await else { return };
    stage.fire("Muted").await;
    stage.stored("Muted", true).await;
    stage.alertmanagers[2].kill9().await.unwrap();
    stage.alertmanagers.truncate(2);
    stage.alertmanager().silence(&[("alertname", "Muted")], HOUR).await.unwrap();
    stage.stored("Muted", false).await;
    assert_eq!(stage.told("alert_silenced").await.len(), 1);
    let up = stage.metric("switchyard_alertmanager_up", &[]).await;
    assert_eq!(up, 2.0);
}

/// A true partition: one cluster whose members lose each other while an alert begins, and find each other again.
async fn three_peers_without_gossip_send_three_copies_and_one_move_comes_of_it(flavour: Flavour) {
    let setup = Setup { peers: Peers::Cuttable(Duration::from_secs(1)), ..Setup::new(flavour) };
    let address = ports::free_address().unwrap();
    let Some(stage) = Stage::start_with(setup, &[format!("http://{address}")]).await else { return };
    let told: Vec<_> = stage.alertmanagers.iter().map(|peer| peer.address()).collect();
    let Some(mut prometheus) = prometheus(flavour, address, &told, rules(0.0, &[])).await else { return };
    stage.gate("eyes_open", true).await;
    for way in &stage.gossip {
        way.cut();
    }
    for peer in &stage.alertmanagers {
        peer.settled(1).await.unwrap();
    }

    prometheus.reload(|config| config.rules = vec![rules(0.0, &[("Alone", "vector(1)")])]).await.unwrap();
    stage.held_by("green").await;
    until(PATIENCE, "each has sent it", async || {
        let senders = senders(&stage, "Alone");
        anyhow::ensure!(senders.len() == 3, "{senders:?}");
        Ok(())
    })
    .await
    .unwrap();
    let unchanged = [("action", "failover"), ("outcome", "unchanged")];
    stage.counted("switchyard_alerts_received_total", &unchanged, 2.0).await;
    assert_eq!((counted(&stage, "new").await, counted(&stage, "updated").await), (1.0, 0.0));

    for way in &stage.gossip {
        way.mend();
    }
    for peer in &stage.alertmanagers {
        peer.settled(3).await.unwrap();
    }
    // Each of them looks at what all have sent.
    stage.flushed_again(2.0).await;
    stage.passes().await;
    let episodes = stage.episodes("Alone").await;
    assert!(episodes.len() == 1 && episodes[0].firing, "{episodes:?}");
    assert_eq!(stage.generation().await, 2, "one move");
    assert_eq!(stage.gitlab.admin().holders("rnd-runner"), stage.green);
    prometheus.reload(|config| config.rules = vec![rules(0.0, &[])]).await.unwrap();
    let episodes = stage.stored("Alone", false).await;
    assert_eq!(episodes.len(), 1, "{episodes:?}");
}

async fn a_cluster_cut_in_two_sends_a_copy_per_side_and_both_must_agree_on_the_end(flavour: Flavour) {
    let setup = Setup { peers: Peers::Apart, ..Setup::polled(flavour) };
    let Some(stage) = Stage::start(setup).await else { return };
    stage.fire("Cut").await;
    stage.stored("Cut", true).await;
    until(PATIENCE, "each side has sent it", async || {
        let senders = senders(&stage, "Cut");
        anyhow::ensure!(senders.len() == 2, "{senders:?}");
        Ok(())
    })
    .await
    .unwrap();
    let [here, there] = stage.alertmanagers.as_slice() else { panic!("two sides") };
    // A silence on one side only: the other lets the alert through.
    here.silence(&[("alertname", "Cut")], HOUR).await.unwrap();
    stage.polls(6.0).await;
    assert!(stage.episodes("Cut").await.last().unwrap().firing, "one side lets it through");
    assert_eq!(stage.told("alert_silenced").await.len(), 0);
    there.silence(&[("alertname", "Cut")], HOUR).await.unwrap();
    stage.stored("Cut", false).await;
    assert_eq!(stage.told("alert_silenced").await.len(), 1);
}

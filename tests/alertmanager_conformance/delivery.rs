//! What Alertmanager does with an answer that is not 2xx, or with none.

use serde_json::json;
use switchyard_lab::parts::Flavour;

use crate::{
    front::Mode,
    on_both_versions,
    stage::{Setup, Stage},
};

on_both_versions!(
    a_503_is_retried_within_the_flush_until_it_is_taken,
    a_503_that_outlasts_a_flush_is_taken_in_a_later_one,
    a_receiver_that_is_down_is_retried_until_it_is_back,
    a_4xx_comes_back_at_each_group_interval_until_it_is_taken,
    a_message_that_is_too_large_comes_back_and_is_taken_once_the_limit_is_raised,
    a_token_rotated_on_both_sides_loses_nothing,
    a_hung_receiver_gets_it_again_and_what_it_says_late_reopens_nothing,
    a_frozen_switchyard_takes_it_once_when_it_thaws,
);

/// Episodes of an alert by what Switchyard counted them as.
async fn counted(stage: &Stage, outcome: &str) -> f64 {
    stage.metric("switchyard_alerts_received_total", &[("action", "failover"), ("outcome", outcome)]).await
}

async fn a_503_is_retried_within_the_flush_until_it_is_taken(flavour: Flavour) {
    let Some(stage) = Stage::start(Setup::one_flush(flavour)).await else { return };
    stage.front.set("Down", Mode::Answer(503));
    stage.fire("Down").await;
    stage.delivered("Down", 3).await;
    assert_eq!(stage.episodes("Down").await, []);
    stage.front.set("Down", Mode::Pass);
    assert_eq!(stage.stored("Down", true).await.len(), 1);
    assert_eq!(stage.sent("notifications_failed").await.unwrap(), 0.0, "the first flush has not given up");
    assert_eq!(counted(&stage, "new").await, 1.0);
}

/// The retries of each flush begin anew; a longer outage costs no alert.
async fn a_503_that_outlasts_a_flush_is_taken_in_a_later_one(flavour: Flavour) {
    let Some(stage) = Stage::start(Setup::new(flavour)).await else { return };
    stage.front.set("Down", Mode::Answer(503));
    stage.fire("Down").await;
    stage.sent_until("notifications_failed", 1.0).await;
    let before = stage.front.deliveries("Down").len();
    // Tries of the next flush.
    stage.delivered("Down", before + 2).await;
    assert_eq!(stage.episodes("Down").await, []);
    stage.front.set("Down", Mode::Pass);
    assert_eq!(stage.stored("Down", true).await.len(), 1);
    assert_eq!(counted(&stage, "new").await, 1.0);
}

async fn a_receiver_that_is_down_is_retried_until_it_is_back(flavour: Flavour) {
    let setup = Setup { direct: true, ..Setup::one_flush(flavour) };
    let Some(mut stage) = Stage::start(setup).await else { return };
    stage.switchyard.kill9().await.unwrap();
    stage.fire("Down").await;
    stage.sent_until("notification_requests_failed", 2.0).await;
    stage.switchyard.restart().await.unwrap();
    assert_eq!(stage.stored("Down", true).await.len(), 1);
    assert_eq!(stage.sent("notifications_failed").await.unwrap(), 0.0, "the first flush has not given up");
}

/// A 4xx is no way to be rid of a message. The answer for "not for me" is 200.
async fn a_4xx_comes_back_at_each_group_interval_until_it_is_taken(flavour: Flavour) {
    // A redirect without an address is none; Switchyard sends no other 3xx either.
    const REFUSALS: [u16; 5] = [304, 400, 401, 404, 429];
    let name = |status: u16| format!("Refused{status}");
    let Some(stage) = Stage::start(Setup::new(flavour)).await else { return };
    for status in REFUSALS {
        stage.front.set(&name(status), Mode::Answer(status));
        stage.fire(&name(status)).await;
    }
    for status in REFUSALS {
        stage.delivered(&name(status), 3).await;
    }
    // At most one request per flush; the last flushes may not have been counted yet.
    let (requests, flushes) = (
        stage.sent("notification_requests_failed").await.unwrap(),
        stage.sent("notifications_failed").await.unwrap(),
    );
    assert!(flushes >= 10.0 && requests <= flushes + 5.0, "{requests} requests in {flushes} flushes");
    assert_eq!(stage.all_episodes().await, []);
    for status in REFUSALS {
        stage.front.set(&name(status), Mode::Pass);
        assert_eq!(stage.stored(&name(status), true).await.len(), 1, "{status}");
    }
    assert_eq!(counted(&stage, "new").await, 5.0);
}

async fn a_message_that_is_too_large_comes_back_and_is_taken_once_the_limit_is_raised(flavour: Flavour) {
    let setup =
        Setup { direct: true, settings: json!({ "webhook": { "max_body": "100B" } }), ..Setup::new(flavour) };
    let Some(mut stage) = Stage::start(setup).await else { return };
    stage.fire("Large").await;
    stage.counted("switchyard_webhook_requests_total", &[("code", "413")], 2.0).await;
    assert_eq!(stage.episodes("Large").await, []);
    stage.reconfigure(json!({ "webhook": { "max_body": "1MiB" } })).await;
    assert_eq!(stage.stored("Large", true).await.len(), 1);
}

async fn a_token_rotated_on_both_sides_loses_nothing(flavour: Flavour) {
    // A reload asks Alertmanager at once: it would tell what its webhook cannot.
    let elsewhere = json!({ "alertmanager": { "urls": ["http://127.0.0.1:9"] } });
    let setup = Setup { direct: true, settings: elsewhere, ..Setup::new(flavour) };
    let Some(mut stage) = Stage::start(setup).await else { return };
    stage.fire("Before").await;
    stage.stored("Before", true).await;

    stage.webhook_token("webhook-secret-2");
    stage.reload().await;
    stage.fire("Between").await;
    stage.counted("switchyard_webhook_requests_total", &[("code", "401")], 2.0).await;
    assert_eq!(stage.episodes("Between").await, []);
    // Alertmanager reads the file for every message: it needs no reload.
    stage.write_secret("alertmanager-token", "webhook-secret-2");
    stage.stored("Between", true).await;
    stage.resolve("Before").await;
    stage.stored("Before", false).await;
}

/// Alertmanager gives up after its time-out and posts again; the handlers that it gave up on run on. Other groups do not
/// wait for the one that hangs.
async fn a_hung_receiver_gets_it_again_and_what_it_says_late_reopens_nothing(flavour: Flavour) {
    let Some(stage) = Stage::start(Setup::new(flavour)).await else { return };
    stage.front.set("Hung", Mode::Hold);
    stage.fire("Hung").await;
    stage.delivered("Hung", 1).await;
    stage.fire("Other").await;
    stage.stored("Other", true).await;
    assert_eq!(stage.front.deliveries("Hung").len(), 1, "the hung group is still at its first try");

    stage.delivered("Hung", 2).await;
    assert!(stage.sent("notifications_failed").await.unwrap() >= 1.0);
    stage.front.set("Hung", Mode::Pass);
    stage.stored("Hung", true).await;
    stage.resolve("Hung").await;
    stage.stored("Hung", false).await;

    let held = stage.front.deliveries("Hung").iter().filter(|delivery| delivery.held).count();
    assert!(held >= 2, "{held}");
    stage.front.release();
    let late = [("action", "failover"), ("outcome", "late")];
    stage.counted("switchyard_alerts_received_total", &late, held as f64).await;
    let episodes = stage.episodes("Hung").await;
    assert!(episodes.len() == 1 && !episodes[0].firing, "{episodes:?}");
}

async fn a_frozen_switchyard_takes_it_once_when_it_thaws(flavour: Flavour) {
    let setup = Setup { direct: true, ..Setup::new(flavour) };
    let Some(mut stage) = Stage::start(setup).await else { return };
    stage.switchyard.process().pause().unwrap();
    stage.fire("Frozen").await;
    stage.sent_until("notifications_failed", 1.0).await;
    stage.switchyard.process().resume().unwrap();
    stage.stored("Frozen", true).await;
    stage.resolve("Frozen").await;
    let episodes = stage.stored("Frozen", false).await;
    assert_eq!(episodes.len(), 1, "{episodes:?}");
    assert_eq!(counted(&stage, "new").await, 1.0);
}

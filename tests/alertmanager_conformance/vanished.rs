//! "Resolved" is not "recovered": Alertmanager says it of every alert that is no longer repeated.

use std::time::Duration;

use switchyard_lab::{parts::Flavour, ports, prometheus::Prometheus, tcp::Relay};

use crate::{
    on_both_versions,
    page::Page,
    stage::{Peers, Setup, Stage, prometheus, rules},
};

on_both_versions!(
    a_prometheus_killed_while_firing_or_a_rule_deleted_is_no_recovery,
    a_prometheus_killed_before_three_peers_is_no_recovery,
    a_prometheus_cut_off_from_alertmanager_is_no_recovery,
    a_series_that_goes_stale_is_called_resolved_while_its_cause_goes_on,
);

/// A stage with a real Prometheus that evaluates these rules.
pub(crate) async fn start(setup: Setup, rules: String) -> Option<(Stage, Prometheus)> {
    let (flavour, address) = (setup.flavour, ports::free_address().unwrap());
    let stage = Stage::start_with(setup, &[format!("http://{address}")]).await?;
    let told: Vec<_> = stage.alertmanagers.iter().map(|peer| peer.address()).collect();
    let prometheus = prometheus(flavour, address, &told, rules).await?;
    Some((stage, prometheus))
}

async fn a_prometheus_killed_while_firing_or_a_rule_deleted_is_no_recovery(flavour: Flavour) {
    killed_or_deleted(Setup::new(flavour)).await;
}

async fn a_prometheus_killed_before_three_peers_is_no_recovery(flavour: Flavour) {
    killed_or_deleted(Setup { peers: Peers::Three(Duration::from_millis(100)), ..Setup::new(flavour) }).await;
}

async fn killed_or_deleted(mut setup: Setup) {
    // As eager to go home as can be.
    setup.settings = serde_json::json!({ "fleets": { "rnd": { "failback": { "after": "1s" } } } });
    let with = rules(0.0, &[("BlueIsDead", "vector(1)")]);
    let Some((stage, mut prometheus)) = start(setup, with.clone()).await else { return };
    stage.held_by("green").await;

    prometheus.kill9().await.unwrap();
    stage.stored("BlueIsDead", false).await;
    stage.passes().await;
    assert_eq!(stage.generation().await, 2, "nothing moves without a Prometheus");

    prometheus.restart().await.unwrap();
    stage.stored("BlueIsDead", true).await;
    prometheus.reload(|config| config.rules = vec![rules(0.0, &[])]).await.unwrap();
    stage.stored("BlueIsDead", false).await;
    stage.passes().await;
    assert_eq!(stage.generation().await, 2, "blue is as dead as before");
    assert_eq!(stage.gitlab.admin().holders("rnd-runner"), stage.green);
}

/// Prometheus goes on seeing and firing; only Alertmanager hears nothing, and then hears of the same start again.
async fn a_prometheus_cut_off_from_alertmanager_is_no_recovery(flavour: Flavour) {
    let mut setup = Setup::polled(flavour);
    setup.settings["fleets"] = serde_json::json!({ "rnd": { "failback": { "after": "1s" } } });
    let address = ports::free_address().unwrap();
    let Some(stage) = Stage::start_with(setup, &[format!("http://{address}")]).await else { return };
    let way = Relay::start(stage.alertmanager().address()).await.unwrap();
    let with = rules(0.0, &[("BlueIsDead", "vector(1)")]);
    let Some(_prometheus) = prometheus(flavour, address, &[way.address()], with).await else { return };
    stage.held_by("green").await;

    way.cut();
    let ended = stage.stored("BlueIsDead", false).await;
    stage.passes().await;
    assert_eq!(stage.generation().await, 2, "blue is as dead as before");
    way.mend();
    let again = stage.stored("BlueIsDead", true).await;
    assert!(again.len() > ended.len(), "what ended is not opened again: {again:?}");
    stage.passes().await;
    assert_eq!(stage.generation().await, 2);
    assert_eq!(stage.gitlab.admin().holders("rnd-runner"), stage.green);
}

async fn a_series_that_goes_stale_is_called_resolved_while_its_cause_goes_on(flavour: Flavour) {
    let alerts = [("Errors", "sum(errors) > 2")];
    let Some((stage, mut prometheus)) = start(Setup::new(flavour), rules(1.0, &alerts)).await else { return };
    let page = Page::start("# TYPE errors gauge\nerrors 3\n").await;
    prometheus.reload(|config| config.targets = vec![page.target()]).await.unwrap();
    let first = stage.stored("Errors", true).await;
    page.broken();
    stage.stored("Errors", false).await;
    page.show("# TYPE errors gauge\nerrors 3\n");
    let again = stage.stored("Errors", true).await;
    assert!(again.last().unwrap().starts_at > first.last().unwrap().starts_at, "a new episode: {again:?}");
    stage.passes().await;
    assert_eq!(stage.generation().await, 1, "blue is well by all evidence");
}

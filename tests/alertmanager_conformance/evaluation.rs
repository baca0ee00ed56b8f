//! Rules that Prometheus cannot evaluate, and two Prometheus servers that evaluate the same ones.

use anyhow::ensure;
use serde_json::json;
use switchyard_lab::{
    parts::Flavour,
    ports,
    prometheus::Prometheus,
    tcp::Relay,
    wait::{PATIENCE, until},
};

use crate::{
    on_both_versions,
    page::Page,
    stage::{Setup, Stage, prometheus, rules, rules_of},
    vanished,
};

on_both_versions!(
    a_rule_that_cannot_be_evaluated_is_called_resolved_and_is_no_recovery,
    evidence_that_is_no_longer_evaluated_grows_too_old_to_count,
    two_prometheus_servers_move_the_start_of_an_episode_and_it_stays_one,
);

/// What is multiplied with `twin` cannot be evaluated while there are two of them: many-to-many matching.
fn page(errors: u32, twins: u32) -> String {
    let twins: String = (0..twins).map(|n| format!("twin{{n=\"{n}\"}} 1\n")).collect();
    format!("# TYPE errors gauge\nerrors {errors}\n# TYPE twin gauge\n{twins}")
}

/// An expression with this value as long as there is one twin.
fn fragile(value: &str) -> String {
    format!("sum({value} * on (job) twin)")
}

async fn failing(prometheus: &Prometheus, more: f64) {
    let failures = async || {
        let page = prometheus.metrics().await?;
        Ok::<_, anyhow::Error>(page.value("prometheus_rule_evaluation_failures_total", &[]).unwrap_or(0.0))
    };
    let before = failures().await.unwrap();
    until(PATIENCE, "rules fail in Prometheus", async || {
        let now = failures().await?;
        ensure!(now >= before + more, "{now} after {before}");
        Ok(())
    })
    .await
    .unwrap();
}

/// The alert is not repeated, so Alertmanager lets it end, although Prometheus has never said so.
async fn a_rule_that_cannot_be_evaluated_is_called_resolved_and_is_no_recovery(flavour: Flavour) {
    let mut setup = Setup::polled(flavour);
    // As eager to go home as can be.
    setup.settings["fleets"] = json!({ "rnd": { "failback": { "after": "1s" } } });
    let alert = format!("{} > 2", fragile("errors"));
    let rules = rules(0.0, &[("BlueIsDead", &alert)]);
    let Some((stage, mut prometheus)) = vanished::start(setup, rules).await else { return };
    let shown = Page::start(&page(3, 1)).await;
    prometheus.reload(|config| config.targets = vec![shown.target()]).await.unwrap();
    stage.held_by("green").await;

    shown.show(&page(3, 2));
    failing(&prometheus, 1.0).await;
    let ended = stage.stored("BlueIsDead", false).await;
    stage.passes().await;
    assert_eq!(stage.generation().await, 2, "blue is as dead as before");
    shown.show(&page(3, 1));
    let again = stage.stored("BlueIsDead", true).await;
    assert!(again.len() > ended.len(), "what ended is not opened again: {again:?}");
    stage.passes().await;
    assert_eq!(stage.generation().await, 2);
    assert_eq!(stage.gitlab.admin().holders("rnd-runner"), stage.green);
}

/// A series of a rule that fails is not marked stale: Prometheus goes on answering with its last sample.
async fn evidence_that_is_no_longer_evaluated_grows_too_old_to_count(flavour: Flavour) {
    let settings = json!({ "limits": { "evidence_max_age": "5s" } });
    let rules = rules_of("vector(0)", &fragile("up"), &[("BlueIsDead", "sum(errors) > 2")]);
    let setup = Setup { settings, ..Setup::new(flavour) };
    let Some((stage, mut prometheus)) = vanished::start(setup, rules).await else { return };
    let shown = Page::start(&page(0, 1)).await;
    prometheus.reload(|config| config.targets = vec![shown.target()]).await.unwrap();
    stage.gate("target_able", true).await;

    shown.show(&page(0, 2));
    failing(&prometheus, 1.0).await;
    stage.gate("target_able", false).await;
    let green = "fleet_runner_cluster:gitlab_runner_polls_well:ratio{runner_cluster='green'}";
    assert_eq!(prometheus.value(green).await.unwrap(), 1.0, "by the last sample, green is well");
    shown.show(&page(3, 2));
    stage.stored("BlueIsDead", true).await;
    stage.passes().await;
    assert_eq!(stage.generation().await, 1, "nobody knows whether green is well");
    shown.show(&page(3, 1));
    stage.held_by("green").await;
}

/// Alertmanager merges what two servers say of one alert to the earlier start, and may hear of that one later.
async fn two_prometheus_servers_move_the_start_of_an_episode_and_it_stays_one(flavour: Flavour) {
    let watching = json!({ "fleets": { "rnd": { "enabled": false } } });
    let route = json!({ "repeat_interval": "2s" });
    let setup = Setup { route, settings: watching, ..Setup::new(flavour) };
    let [early_at, late_at] = [(); 2].map(|()| ports::free_address().unwrap());
    let urls = [early_at, late_at].map(|address| format!("http://{address}"));
    let Some(mut stage) = Stage::start_with(setup, &urls).await else { return };
    let way = Relay::start(stage.alertmanager().address()).await.unwrap();
    way.cut();
    let rules = rules(0.0, &[("BlueIsDead", "vector(1)")]);
    let early = prometheus(flavour, early_at, &[way.address()], rules.clone()).await;
    let Some(mut early) = early else { return };
    early.until("ALERTS{alertname='BlueIsDead', alertstate='firing'}").await.unwrap();
    let told = stage.alertmanager().address();
    let Some(mut late) = prometheus(flavour, late_at, &[told], rules).await else { return };
    let first = stage.stored("BlueIsDead", true).await;
    assert_eq!(first.len(), 1, "{first:?}");

    way.mend();
    until(PATIENCE, "the earlier start is told", async || {
        let episodes = stage.episodes("BlueIsDead").await;
        ensure!(episodes[0].starts_at < first[0].starts_at, "{episodes:?}");
        Ok(())
    })
    .await
    .unwrap();
    // One of the two keeps it firing, for longer than Alertmanager waits for a repetition.
    late.kill9().await.unwrap();
    let before = stage.front.deliveries("BlueIsDead").len();
    stage.delivered("BlueIsDead", before + 4).await;
    let deliveries = stage.front.deliveries("BlueIsDead");
    assert!(deliveries.iter().all(|delivery| delivery.message["status"] == "firing"), "{deliveries:?}");
    stage.gate("signal_held", true).await;

    // The end is told of the earlier start alone; nothing goes on firing under the later one.
    early.kill9().await.unwrap();
    stage.gate("signal_held", false).await;
    stage.reconfigure(json!({ "fleets": { "rnd": { "enabled": true } } })).await;
    stage.passes().await;
    assert_eq!(stage.generation().await, 1, "what has ended moves nothing");

    late.restart().await.unwrap();
    early.restart().await.unwrap();
    stage.held_by("green").await;
    let before = stage.front.deliveries("BlueIsDead").len();
    stage.delivered("BlueIsDead", before + 2).await;
    stage.passes().await;
    assert_eq!(stage.generation().await, 2, "one move, whoever saw it first");
    assert_eq!(stage.gitlab.admin().holders("rnd-runner"), stage.green);
}

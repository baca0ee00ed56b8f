//! GitLab, Alertmanager, what misbehaves before Switchyard, and Switchyard.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _, SqliteConnection};
use switchyard::{
    model::{SignedDuration, Timestamp},
    world::Live,
};
use switchyard_lab::{
    alertmanager::Alertmanager,
    gitlab::{Config as GitlabConfig, RunnerSpec, Simulator, TokenSpec},
    parts::{Flavour, or_skip},
    ports,
    prometheus::{Prometheus, PrometheusConfig},
    switchyard::{Switchyard, merge},
    tcp::Relay,
    wait::{PATIENCE, until},
};

use crate::front::Front;

const BINARY: &str = env!("CARGO_BIN_EXE_switchyard");
const WEBHOOK_TOKEN: &str = "webhook-token";

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// What to set up.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) flavour: Flavour,
    /// How many Alertmanagers.
    pub(crate) peers: Peers,
    /// Whether Alertmanager calls Switchyard itself instead of what stands before it.
    pub(crate) direct: bool,
    /// Laid over the route.
    pub(crate) route: Value,
    /// Laid over the receiver's webhook.
    pub(crate) webhook: Value,
    /// Laid over Alertmanager's configuration.
    pub(crate) alertmanager: Value,
    /// Laid over Switchyard's configuration.
    pub(crate) settings: Value,
}

/// How many Alertmanagers, and how they stand together.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Peers {
    One,
    /// One that does not come to rest for longer than any test.
    Settling,
    /// Two that do not know each other: a cluster that is cut in two.
    Apart,
    /// Three, each waiting this long for the ones before it.
    Three(Duration),
    /// The same, with ways between them that can be cut: [`Stage::gossip`].
    Cuttable(Duration),
}

impl Setup {
    /// One Alertmanager that flushes every second; Switchyard is told by webhooks alone.
    pub(crate) fn new(flavour: Flavour) -> Self {
        Self {
            flavour,
            peers: Peers::One,
            direct: false,
            route: json!({}),
            webhook: json!({}),
            alertmanager: json!({}),
            settings: json!({}),
        }
    }

    /// Nothing is flushed a second time: what comes, comes from the first flush.
    pub(crate) fn one_flush(flavour: Flavour) -> Self {
        Self { route: json!({ "group_interval": "1h" }), ..Self::new(flavour) }
    }

    /// Alertmanager is asked all the time, and trusted soon.
    pub(crate) fn polled(flavour: Flavour) -> Self {
        Self {
            settings: json!({ "alertmanager": { "poll": "200ms", "settle": "1s" } }),
            ..Self::new(flavour)
        }
    }
}

pub(crate) struct Stage {
    // In the order in which they should fall.
    pub(crate) alertmanagers: Vec<Alertmanager>,
    /// The way to each Alertmanager, for the others.
    pub(crate) gossip: Vec<Relay>,
    pub(crate) switchyard: Switchyard,
    pub(crate) front: Front,
    pub(crate) gitlab: Simulator,
    pub(crate) green: Vec<u64>,
    pub(crate) settings: Value,
    dir: tempfile::TempDir,
}

/// An episode as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Episode {
    pub(crate) alertname: String,
    pub(crate) starts_at: Timestamp,
    pub(crate) firing: bool,
    pub(crate) last_seen: Timestamp,
}

/// A failover alert about blue.
pub(crate) fn alert(name: &str) -> [(&str, &str); 4] {
    [("alertname", name), ("switchyard", "failover"), ("fleet", "rnd"), ("runner_cluster", "blue")]
}

pub(crate) fn now() -> Timestamp {
    Live::clock()
}

impl Stage {
    /// None when a part is missing.
    pub(crate) async fn start(setup: Setup) -> Option<Self> {
        Self::start_with(setup, &[]).await
    }

    /// With Prometheus servers to ask.
    pub(crate) async fn start_with(setup: Setup, prometheus: &[String]) -> Option<Self> {
        let gitlab = Simulator::start(GitlabConfig::default());
        let scopes = ["read_api", "manage_runner"];
        let token = gitlab.admin().create_token(TokenSpec::admin("switchyard", &scopes));
        let create = |name: &str, tags: &[&str]| gitlab.admin().create_runner(RunnerSpec::new(name, tags)).id;
        let blue = create("blue-1", &["runner-a", "rnd-runner"]);
        let green = vec![create("green-1", &["runner-b"])];
        // Before any alert began: a later contact contradicts a death.
        for runner in green.iter().chain([&blue]) {
            gitlab.admin().set_contacted_at(*runner, Some("2025-12-31T00:00:00Z".parse().unwrap()));
        }

        let dir = tempfile::Builder::new().prefix("switchyard-conformance-").tempdir().unwrap();
        let secret = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let address = ports::free_address().unwrap();
        let front = Front::start(address).await;
        let receiver = if setup.direct { address } else { front.address() };
        let credential = secret("alertmanager-token", "webhook-secret-1");
        let yaml = alertmanager_yaml(&setup, receiver, &credential);
        let (alertmanagers, gossip) = or_skip(start_alertmanagers(&setup, &yaml).await)?;

        let urls: Vec<String> = alertmanagers.iter().map(|peer| peer.url()).collect();
        let unreachable = [format!("http://{}", ports::free_address().unwrap())];
        let mut settings = json!({
            "gitlab": { "url": gitlab.url(), "token_file": secret("gitlab-token", &token) },
            "prometheus": { "urls": if prometheus.is_empty() { &unreachable } else { prometheus } },
            "alertmanager": { "urls": urls, "poll": "1h" },
            "webhook": { "token_file": secret(WEBHOOK_TOKEN, "webhook-secret-1") },
            "api": { "token_file": secret("api-token", "actions-secret") },
            "store": { "url": format!("sqlite://{}", dir.path().join("switchyard.db").display()) },
            "web": { "url": format!("http://{address}") },
            "loop": { "period": "1s" },
            "fleets": { "rnd": {
                "enabled": true, "routing_tag": "rnd-runner", "prefer": ["blue", "green"], "signal_hold": "0s",
                "pools": { "blue": { "home_tag": "runner-a" }, "green": { "home_tag": "runner-b" } },
            }},
        });
        merge(&mut settings, setup.settings.clone());
        let switchyard = Switchyard::start(Path::new(BINARY), address, &settings, dir.path()).await.unwrap();
        Some(Self { alertmanagers, gossip, switchyard, front, gitlab, green, settings, dir })
    }

    /// The first Alertmanager.
    pub(crate) fn alertmanager(&self) -> &Alertmanager {
        &self.alertmanagers[0]
    }

    /// A firing alert comes to every Alertmanager, as from Prometheus.
    pub(crate) async fn fire(&self, name: &str) {
        self.fire_all(&[name]).await;
    }

    /// Several, in one message of Prometheus.
    pub(crate) async fn fire_all(&self, names: &[impl AsRef<str>]) {
        let labels: Vec<_> = names.iter().map(|name| alert(name.as_ref())).collect();
        let labels: Vec<&[(&str, &str)]> = labels.iter().map(|labels| &labels[..]).collect();
        // One start for all: it names the episode.
        let (starts, ends) = (now() - SignedDuration::from_secs(1), now() + SignedDuration::from_hours(1));
        for peer in &self.alertmanagers {
            peer.post_since(&labels, starts, ends).await.unwrap();
        }
    }

    /// It has ended, and every Alertmanager hears so.
    pub(crate) async fn resolve(&self, name: &str) {
        for peer in &self.alertmanagers {
            peer.post(&alert(name), Duration::ZERO).await.unwrap();
        }
    }

    /// Changes Switchyard's configuration while it runs.
    pub(crate) async fn reconfigure(&mut self, over: Value) {
        merge(&mut self.settings, over);
        self.switchyard.configure(&self.settings).unwrap();
        self.reload().await;
    }

    /// Switchyard reads its configuration and its secrets again.
    pub(crate) async fn reload(&mut self) {
        let before = self.metric("switchyard_config_last_reload_success_timestamp_seconds", &[]).await;
        self.switchyard.process().hangup().unwrap();
        until(PATIENCE, "it is taken over", async || {
            let now = self.metric("switchyard_config_last_reload_success_timestamp_seconds", &[]).await;
            ensure!(now > before, "{now} after {before}");
            Ok(())
        })
        .await
        .unwrap();
    }

    pub(crate) fn write_secret(&self, file: &str, text: &str) {
        fs::write(self.dir.path().join(file), text).unwrap();
    }

    /// Another token is asked of Alertmanager from the next reload on.
    pub(crate) fn webhook_token(&self, text: &str) {
        self.write_secret(WEBHOOK_TOKEN, text);
    }

    /// A sum of Switchyard's; 0 when there is none yet.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let page = until(PATIENCE, "the metrics can be read", async || self.switchyard.metrics().await).await;
        page.unwrap().value(name, labels).unwrap_or(0.0)
    }

    /// Waits until a sum of Switchyard's is at least this.
    pub(crate) async fn counted(&self, name: &str, labels: &[(&str, &str)], least: f64) {
        until(PATIENCE, &format!("{name} {labels:?} is {least}"), async || {
            // In a storm there may be no connection left for a look.
            let value = self.switchyard.metrics().await?.value(name, labels).unwrap_or(0.0);
            ensure!(value >= least, "it is {value}");
            Ok(())
        })
        .await
        .unwrap();
    }

    /// Waits until this many catch-up polls more were answered.
    pub(crate) async fn polls(&self, more: f64) {
        let polls = ("switchyard_alertmanager_polls_total", [("outcome", "answered")]);
        let before = self.metric(polls.0, &polls.1).await;
        self.counted(polls.0, &polls.1, before + more).await;
    }

    /// A counter of Alertmanager's webhooks, over all peers.
    pub(crate) async fn sent(&self, counter: &str) -> Result<f64> {
        let mut sum = 0.0;
        for peer in &self.alertmanagers {
            let name = format!("alertmanager_{counter}_total");
            sum += peer.metrics().await?.value(&name, &[("integration", "webhook")]).unwrap_or(0.0);
        }
        Ok(sum)
    }

    /// Waits until a counter of Alertmanager's webhooks is at least this.
    pub(crate) async fn sent_until(&self, counter: &str, least: f64) {
        until(PATIENCE, &format!("{counter} is {least}"), async || {
            let value = self.sent(counter).await?;
            ensure!(value >= least, "it is {value}");
            Ok(())
        })
        .await
        .unwrap();
    }

    /// Waits until this many messages about an alert have come to what stands before Switchyard.
    pub(crate) async fn delivered(&self, name: &str, least: usize) {
        until(PATIENCE, &format!("{name} was delivered {least} times"), async || {
            let count = self.front.deliveries(name).len();
            ensure!(count >= least, "{count}");
            Ok(())
        })
        .await
        .unwrap();
    }

    pub(crate) async fn open_store(&self) -> SqliteConnection {
        let url = format!("sqlite://{}", self.dir.path().join("switchyard.db").display());
        SqliteConnection::connect(&url).await.unwrap()
    }

    /// The episodes about blue of an alert, the oldest first.
    pub(crate) async fn episodes(&self, name: &str) -> Vec<Episode> {
        let mut all = self.all_episodes().await;
        all.retain(|episode| episode.alertname == name);
        all
    }

    pub(crate) async fn all_episodes(&self) -> Vec<Episode> {
        let mut store = self.open_store().await;
        let rows = sqlx::query("SELECT * FROM signal WHERE action = 'failover' ORDER BY starts_at")
            .fetch_all(&mut store)
            .await
            .unwrap();
        store.close().await.unwrap();
        rows.iter()
            .map(|row| {
                let text = |column: &str| row.get::<String, _>(column);
                let labels: Value = serde_json::from_str(&text("labels")).unwrap();
                Episode {
                    alertname: labels["alertname"].as_str().unwrap().to_owned(),
                    starts_at: text("starts_at").parse().unwrap(),
                    firing: text("state") == "firing",
                    last_seen: text("last_seen").parse().unwrap(),
                }
            })
            .collect()
    }

    /// Waits until the newest episode of an alert fires, or has ended. Gives all of the alert.
    pub(crate) async fn stored(&self, name: &str, firing: bool) -> Vec<Episode> {
        until(PATIENCE, &format!("{name} is stored, firing: {firing}"), async || {
            let episodes = self.episodes(name).await;
            ensure!(episodes.last().is_some_and(|e| e.firing == firing), "{episodes:?}");
            Ok(episodes)
        })
        .await
        .unwrap()
    }

    /// Waits until every Alertmanager has looked this often at what it has sent: once per flush of a group.
    pub(crate) async fn flushed(&self, times: f64) {
        until(PATIENCE, "every Alertmanager has asked its log", async || {
            for peer in &self.alertmanagers {
                let asked = peer.metrics().await?.value("alertmanager_nflog_queries_total", &[]);
                ensure!(asked >= Some(times), "{asked:?}");
            }
            Ok(())
        })
        .await
        .unwrap();
    }

    /// Waits until every Alertmanager has looked so often more at what was sent.
    pub(crate) async fn flushed_again(&self, more: f64) {
        let mut most: f64 = 0.0;
        for peer in &self.alertmanagers {
            let asked = peer.metrics().await.unwrap().value("alertmanager_nflog_queries_total", &[]);
            most = most.max(asked.unwrap_or(0.0));
        }
        self.flushed(most + more).await;
    }

    /// Waits until a gate of the fleet is open, or closed.
    pub(crate) async fn gate(&self, gate: &str, open: bool) {
        until(
            PATIENCE,
            &format!("the gate {gate} is {}", if open { "open" } else { "closed" }),
            async || {
                let value = self.metric("switchyard_gate_open", &[("fleet", "rnd"), ("gate", gate)]).await;
                ensure!((value == 1.0) == open, "{value}");
                Ok(())
            },
        )
        .await
        .unwrap();
    }

    /// Waits until no Alertmanager lists an alert.
    pub(crate) async fn unlisted(&self, name: &str) {
        until(PATIENCE, &format!("{name} is no longer listed"), async || {
            for peer in &self.alertmanagers {
                let alerts = peer.alerts().await?;
                ensure!(alerts.iter().all(|alert| alert.labels["alertname"] != name), "{alerts:?}");
            }
            Ok(())
        })
        .await
        .unwrap();
    }

    /// The sentences of what the catch-up poll ended.
    pub(crate) async fn told(&self, outcome: &str) -> Vec<String> {
        let history = self.switchyard.api("history?fleet=rnd&limit=1000").await.unwrap();
        let entries: Vec<Value> = serde_json::from_value(history).unwrap();
        let events = entries.iter().filter(|entry| entry["event"]["outcome"] == outcome);
        events.map(|entry| entry["event"]["sentence"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until the passes of the loop have seen all that is stored now.
    pub(crate) async fn passes(&self) {
        let before = self.metric("switchyard_passes_total", &[]).await;
        self.counted("switchyard_passes_total", &[], before + 3.0).await;
    }

    /// Waits until a cluster holds the fleet.
    pub(crate) async fn held_by(&self, cluster: &str) {
        until(PATIENCE, &format!("{cluster} holds the fleet"), async || {
            let fleet = self.switchyard.api("fleets/rnd").await?;
            let (to, state) = (&fleet["decision"]["to"], &fleet["decision"]["state"]);
            ensure!(to == cluster && state == "done", "{}", fleet["sentence"]);
            Ok(())
        })
        .await
        .unwrap();
    }

    /// The number of the fleet's decision.
    pub(crate) async fn generation(&self) -> u64 {
        self.switchyard.api("fleets/rnd").await.unwrap()["generation"].as_u64().unwrap()
    }
}

fn alertmanager_yaml(setup: &Setup, receiver: SocketAddr, credential: &Path) -> String {
    let mut webhook = json!({
        "url": format!("http://{receiver}/api/v1/alerts"),
        "http_config": { "authorization": { "credentials_file": credential } },
    });
    merge(&mut webhook, setup.webhook.clone());
    // A reload of Prometheus 2 drops what it would send for up to five seconds: longer than an alert lives here without
    // being sent again. As in the shipped route, the end of the watchdog is not told.
    let mut heartbeat = webhook.clone();
    heartbeat["send_resolved"] = json!(false);
    let mut route = json!({
        "receiver": "switchyard", "group_by": ["..."],
        "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h",
        "routes": [{ "receiver": "watchdog", "matchers": ["switchyard=watchdog"] }],
    });
    merge(&mut route, setup.route.clone());
    let receiver = |name: &str, webhook: Value| json!({ "name": name, "webhook_configs": [webhook] });
    let receivers = [receiver("switchyard", webhook), receiver("watchdog", heartbeat)];
    let mut all = json!({ "route": route, "receivers": receivers });
    merge(&mut all, setup.alertmanager.clone());
    all.to_string()
}

async fn start_alertmanagers(setup: &Setup, yaml: &str) -> Result<(Vec<Alertmanager>, Vec<Relay>)> {
    let peers = match setup.peers {
        Peers::One => vec![Alertmanager::start(setup.flavour, yaml).await?],
        Peers::Settling => vec![Alertmanager::start_settling(setup.flavour, yaml).await?],
        Peers::Apart => vec![
            Alertmanager::start(setup.flavour, yaml).await?,
            Alertmanager::start(setup.flavour, yaml).await?,
        ],
        Peers::Three(peer_timeout) => {
            Alertmanager::start_cluster(3, setup.flavour, yaml, peer_timeout).await?
        }
        Peers::Cuttable(peer_timeout) => {
            return Alertmanager::start_cluster_with_ways(3, setup.flavour, yaml, peer_timeout).await;
        }
    };
    Ok((peers, Vec::new()))
}

/// A Prometheus at `address` that evaluates these rules and repeats its alerts every second.
pub(crate) async fn prometheus(
    flavour: Flavour,
    address: SocketAddr,
    alertmanagers: &[SocketAddr],
    rules: String,
) -> Option<Prometheus> {
    let config = PrometheusConfig {
        flavour,
        address: Some(address),
        rules: vec![rules],
        alertmanagers: alertmanagers.to_vec(),
        resend_delay: Duration::from_secs(1),
        ..PrometheusConfig::default()
    };
    or_skip(Prometheus::start(config).await)
}

/// Rules that say whether blue is alive, that green is well, send the watchdog, and fire these alerts about blue, each
/// while its expression has samples.
pub(crate) fn rules(blue: f64, alerts: &[(&str, &str)]) -> String {
    rules_of(&format!("vector({blue})"), "vector(1)", alerts)
}

/// The same, with what says how well each cluster is.
pub(crate) fn rules_of(blue: &str, green: &str, alerts: &[(&str, &str)]) -> String {
    let about = |cluster: &str| json!({ "fleet": "rnd", "runner_cluster": cluster });
    let mut rules = Vec::new();
    for (cluster, well) in [("blue", blue), ("green", green)] {
        for (record, expr) in [
            ("fleet_runner_cluster:gitlab_runner_up:ratio", well),
            ("fleet_runner_cluster:gitlab_runner_polls_well:ratio", well),
            ("fleet_runner_cluster:gitlab_runner_polls_well:count", well),
            ("fleet_runner_cluster:gitlab_unreachable:ratio", "vector(0)"),
        ] {
            rules.push(json!({ "record": record, "expr": expr, "labels": about(cluster) }));
        }
    }
    rules.push(json!({ "alert": "Watchdog", "expr": "vector(1)", "labels": { "switchyard": "watchdog" } }));
    for (name, expr) in alerts {
        let mut labels = about("blue");
        labels["switchyard"] = json!("failover");
        rules.push(json!({ "alert": name, "expr": expr, "labels": labels }));
    }
    json!({ "groups": [{ "name": "conformance", "rules": rules }] }).to_string()
}

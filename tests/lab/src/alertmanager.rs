//! A real Alertmanager, alone or in a cluster.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    ops::{Deref, DerefMut},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    http,
    parts::Flavour,
    ports,
    server::{self, Server},
    tcp::Relay,
    wait,
};

const NAME: &str = "alertmanager";

/// A running Alertmanager.
#[derive(Debug)]
pub struct Alertmanager {
    server: Server,
}

/// An Alertmanager is a server.
impl Deref for Alertmanager {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Alertmanager {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// An alert as `/api/v2/alerts` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// The hash of its labels.
    pub fingerprint: String,
    /// Whether it is active, suppressed or not yet processed.
    pub status: AlertStatus,
}

/// Where an alert stands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertStatus {
    /// `active`, `suppressed` or `unprocessed`.
    pub state: String,
    /// The silences that mute it.
    pub silenced_by: Vec<String>,
}

impl Alertmanager {
    /// Starts it alone, on a free port, with the configuration `yaml`, and waits until it is ready. Fails with
    /// [`Missing`](crate::parts::Missing) when it is not installed.
    pub async fn start(flavour: Flavour, yaml: &str) -> Result<Self> {
        Self::start_at(ports::free_address()?, flavour, yaml).await
    }

    /// As [`start`](Self::start), where one wants it.
    pub async fn start_at(address: SocketAddr, flavour: Flavour, yaml: &str) -> Result<Self> {
        Self::launch(address, flavour, yaml, vec!["--cluster.listen-address=".to_owned()]).await
    }

    /// One that goes on settling for longer than any test: as a member of a cluster that finds no peers, slowly.
    pub async fn start_settling(flavour: Flavour, yaml: &str) -> Result<Self> {
        let own = ports::free_address()?;
        let args = [
            format!("--cluster.listen-address={own}"),
            format!("--cluster.advertise-address={own}"),
            "--cluster.gossip-interval=10s".to_owned(),
            "--cluster.settle-timeout=1h".to_owned(),
        ];
        Self::launch(ports::free_address()?, flavour, yaml, args.into()).await
    }

    /// Starts `count` of them as one cluster, and waits until each has settled and knows the others. A peer waits
    /// `peer_timeout` for each one before it in line to have delivered.
    pub async fn start_cluster(
        count: usize,
        flavour: Flavour,
        yaml: &str,
        peer_timeout: Duration,
    ) -> Result<Vec<Self>> {
        let own = addresses(count)?;
        Self::cluster_of(&own, &own, flavour, yaml, peer_timeout).await
    }

    /// As [`start_cluster`](Self::start_cluster), with the way by which the others reach each of them: a peer whose way is
    /// cut hears nothing, neither gossip nor whole states.
    pub async fn start_cluster_with_ways(
        count: usize,
        flavour: Flavour,
        yaml: &str,
        peer_timeout: Duration,
    ) -> Result<(Vec<Self>, Vec<Relay>)> {
        let own = addresses(count)?;
        let ways = try_join_all(own.iter().map(|own| Relay::with_datagrams(*own))).await?;
        let known: Vec<SocketAddr> = ways.iter().map(Relay::address).collect();
        Ok((Self::cluster_of(&own, &known, flavour, yaml, peer_timeout).await?, ways))
    }

    /// Peers that listen at `own` and know each other as `known`.
    async fn cluster_of(
        own: &[SocketAddr],
        known: &[SocketAddr],
        flavour: Flavour,
        yaml: &str,
        peer_timeout: Duration,
    ) -> Result<Vec<Self>> {
        let starting = own.iter().zip(known).map(async |(own, known_as)| {
            let mut args = vec![
                format!("--cluster.listen-address={own}"),
                format!("--cluster.advertise-address={known_as}"),
                format!("--cluster.peer-timeout={}ms", peer_timeout.as_millis()),
                // Settling takes ten of these, three times at least.
                "--cluster.gossip-interval=50ms".to_owned(),
                "--cluster.reconnect-interval=1s".to_owned(),
            ];
            let others = known.iter().filter(|peer| *peer != known_as);
            args.extend(others.map(|peer| format!("--cluster.peer={peer}")));
            Self::launch(ports::free_address()?, flavour, yaml, args).await
        });
        let cluster = try_join_all(starting).await?;
        for peer in &cluster {
            peer.settled(own.len()).await?;
        }
        Ok(cluster)
    }

    async fn launch(address: SocketAddr, flavour: Flavour, yaml: &str, args: Vec<String>) -> Result<Self> {
        let path = flavour.find(NAME, "prometheus-alertmanager")?;
        let dir = server::directory(NAME)?;
        server::configure(dir.path(), NAME, yaml)?;
        let server = Server::start(NAME, &path, dir, address, "storage.path", args).await?;
        Ok(Self { server })
    }

    /// Waits until it has settled in a cluster of `count`, as far as it knows.
    pub async fn settled(&self, count: usize) -> Result<()> {
        wait::until(wait::PATIENCE, &format!("it has settled in a cluster of {count}"), async || {
            let status = self.cluster().await?;
            let peers = status["peers"].as_array().map_or(0, Vec::len);
            ensure!(status["status"] == "ready" && peers == count, "{status}");
            Ok(())
        })
        .await
    }

    /// What it says of its cluster: `status`, `peers`.
    pub async fn cluster(&self) -> Result<Value> {
        let answer = http::client().get(format!("{}/api/v2/status", self.url())).send().await?;
        Ok(answer.error_for_status()?.json::<Value>().await?["cluster"].take())
    }

    /// Replaces the configuration of the running program.
    pub async fn reload(&self, yaml: &str) -> Result<()> {
        server::configure(self.server.dir(), NAME, yaml)?;
        self.server.load().await
    }

    /// All alerts, silenced ones included.
    pub async fn alerts(&self) -> Result<Vec<Alert>> {
        let answer = http::client().get(format!("{}/api/v2/alerts", self.url())).send().await?;
        answer.error_for_status()?.json().await.context("not a list of alerts")
    }

    /// Makes an alert fire for `lasting`, or ends it when that is zero: what Prometheus would send.
    pub async fn post(&self, labels: &[(&str, &str)], lasting: Duration) -> Result<()> {
        self.post_all(&[labels], lasting).await
    }

    /// As [`post`](Self::post), several at once.
    pub async fn post_all(&self, alerts: &[&[(&str, &str)]], lasting: Duration) -> Result<()> {
        let now = now();
        let ends = now + SignedDuration::try_from(lasting)?;
        // Alertmanager keeps the earliest start it knows of.
        self.post_since(alerts, now - SignedDuration::from_secs(1), ends).await
    }

    /// Alerts that began to fire and end at these times.
    pub async fn post_since(
        &self,
        alerts: &[&[(&str, &str)]],
        starts: Timestamp,
        ends: Timestamp,
    ) -> Result<()> {
        let alerts: Vec<Value> = alerts
            .iter()
            .map(|labels| {
                let labels: BTreeMap<_, _> = labels.iter().copied().collect();
                json!({ "labels": labels, "startsAt": starts, "endsAt": ends })
            })
            .collect();
        self.send("alerts", &json!(alerts)).await.map(drop)
    }

    /// Mutes every alert with these labels. Returns the silence's id.
    pub async fn silence(&self, labels: &[(&str, &str)], lasting: Duration) -> Result<String> {
        let matchers: Vec<_> = labels
            .iter()
            .map(|(name, value)| json!({ "name": name, "value": value, "isRegex": false, "isEqual": true }))
            .collect();
        let now = now();
        let silence = json!({
            "matchers": matchers,
            "startsAt": now,
            "endsAt": now + SignedDuration::try_from(lasting)?,
            "createdBy": "lab",
            "comment": "lab",
        });
        let answer: BTreeMap<String, String> = self.send("silences", &silence).await?.json().await?;
        answer.get("silenceID").cloned().context("Alertmanager named no silence")
    }

    /// Ends a silence.
    pub async fn unsilence(&self, id: &str) -> Result<()> {
        let url = format!("{}/api/v2/silence/{id}", self.url());
        http::client().delete(url).send().await?.error_for_status()?;
        Ok(())
    }

    async fn send(&self, what: &str, body: &Value) -> Result<reqwest::Response> {
        let url = format!("{}/api/v2/{what}", self.url());
        let answer = http::client().post(url).json(body).send().await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        anyhow::bail!("Alertmanager answers {status}: {}", answer.text().await?)
    }
}

fn addresses(count: usize) -> Result<Vec<SocketAddr>> {
    (0..count).map(|_| ports::free_address()).collect()
}

#[expect(clippy::disallowed_methods, reason = "Alertmanager lives in real time")]
fn now() -> Timestamp {
    Timestamp::now()
}

//! A real Alertmanager, alone.

use std::{collections::BTreeMap, fs, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    http,
    parts::Flavour,
    ports,
    process::{Process, Program},
    wait,
};

/// A running Alertmanager.
#[derive(Debug)]
pub struct Alertmanager {
    address: SocketAddr,
    program: Program,
    process: Process,
    dir: TempDir,
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
    /// Starts it on a free port with the configuration `yaml` and waits until it is ready. Fails with
    /// [`Missing`](crate::parts::Missing) when it is not installed.
    pub async fn start(flavour: Flavour, yaml: &str) -> Result<Self> {
        Self::start_at(ports::free_address()?, flavour, yaml).await
    }

    /// As [`start`](Self::start), where one wants it.
    pub async fn start_at(address: SocketAddr, flavour: Flavour, yaml: &str) -> Result<Self> {
        let path = flavour.find("alertmanager", "prometheus-alertmanager")?;
        let dir = tempfile::Builder::new().prefix("switchyard-alertmanager-").tempdir()?;
        fs::write(dir.path().join("alertmanager.yml"), yaml)?;
        let program = Program::new("alertmanager", path)
            .arg(format!("--config.file={}", dir.path().join("alertmanager.yml").display()))
            .arg(format!("--storage.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=");
        let process = program.start(dir.path())?;
        let mut alertmanager = Self { address, program, process, dir };
        alertmanager.ready().await?;
        Ok(alertmanager)
    }

    async fn ready(&mut self) -> Result<()> {
        let url = format!("{}/-/ready", self.url());
        let probe = async || Ok(http::client().get(&url).send().await?.error_for_status().map(drop)?);
        self.process.ready(wait::PATIENCE, probe).await
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The process: for its log, or to freeze it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it without notice.
    pub async fn kill9(&mut self) -> Result<()> {
        self.process.kill9().await
    }

    /// Starts it again after [`kill9`](Self::kill9), with its data, on the same port.
    pub async fn restart(&mut self) -> Result<()> {
        self.process = self.program.start(self.dir.path())?;
        self.ready().await
    }

    /// Replaces the configuration of the running program.
    pub async fn reload(&self, yaml: &str) -> Result<()> {
        fs::write(self.dir.path().join("alertmanager.yml"), yaml)?;
        let answer = http::client().post(format!("{}/-/reload", self.url())).send().await?;
        ensure!(answer.status().is_success(), "Alertmanager does not take it: {}", answer.text().await?);
        Ok(())
    }

    /// All alerts, silenced ones included.
    pub async fn alerts(&self) -> Result<Vec<Alert>> {
        let answer = http::client().get(format!("{}/api/v2/alerts", self.url())).send().await?;
        answer.error_for_status()?.json().await.context("not a list of alerts")
    }

    /// Makes an alert fire for `lasting`, or ends it when that is zero: what Prometheus would send.
    pub async fn post(&self, labels: &[(&str, &str)], lasting: Duration) -> Result<()> {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        let now = now();
        let ends = now + SignedDuration::try_from(lasting)?;
        // Only a first firing says since when: Alertmanager keeps the earliest start it knows of.
        let alert =
            json!([{ "labels": labels, "startsAt": now - SignedDuration::from_secs(1), "endsAt": ends }]);
        self.send("alerts", &alert).await.map(drop)
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

    async fn send(&self, what: &str, body: &serde_json::Value) -> Result<reqwest::Response> {
        let url = format!("{}/api/v2/{what}", self.url());
        let answer = http::client().post(url).json(body).send().await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        anyhow::bail!("Alertmanager answers {status}: {}", answer.text().await?)
    }
}

#[expect(clippy::disallowed_methods, reason = "Alertmanager lives in real time")]
fn now() -> Timestamp {
    Timestamp::now()
}

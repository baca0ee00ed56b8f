//! A real Prometheus that scrapes and evaluates every second.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::json;

use crate::{
    http,
    parts::Flavour,
    ports,
    server::{self, Server},
    wait,
};

const NAME: &str = "prometheus";

/// What to start.
#[derive(Debug, Clone)]
pub struct PrometheusConfig {
    /// Which program.
    pub flavour: Flavour,
    /// Where it listens; a free port otherwise.
    pub address: Option<SocketAddr>,
    /// The text of each rule file.
    pub rules: Vec<String>,
    /// Where its alerts go.
    pub alertmanagers: Vec<SocketAddr>,
    /// What it scrapes.
    pub targets: Vec<Target>,
    /// More settings of a scrape job, by its name: TLS, a password.
    pub jobs: BTreeMap<String, serde_json::Value>,
    /// How often it sends an alert that goes on firing. Four times this long after the last one, Alertmanager
    /// takes the alert for resolved.
    pub resend_delay: Duration,
}

impl Default for PrometheusConfig {
    fn default() -> Self {
        Self {
            flavour: Flavour::Pinned,
            address: None,
            rules: Vec::new(),
            alertmanagers: Vec::new(),
            targets: Vec::new(),
            jobs: BTreeMap::new(),
            resend_delay: Duration::from_secs(60),
        }
    }
}

/// One thing to scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The scrape job.
    pub job: String,
    /// Where `/metrics` is.
    pub address: SocketAddr,
    /// Labels beside `job` and `instance`.
    pub labels: BTreeMap<String, String>,
}

impl Target {
    /// A target with labels.
    pub fn new<const N: usize>(job: &str, address: SocketAddr, labels: [(&str, &str); N]) -> Self {
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { job: job.to_owned(), address, labels: labels.into() }
    }
}

/// One series of a query's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    config: PrometheusConfig,
    server: Server,
}

/// A Prometheus is a server.
impl Deref for Prometheus {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Prometheus {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl Prometheus {
    /// Starts it and waits until it is ready. Fails with [`Missing`](crate::parts::Missing) when it is not installed.
    pub async fn start(config: PrometheusConfig) -> Result<Self> {
        let path = config.flavour.find(NAME, "prometheus")?;
        let dir = server::directory(NAME)?;
        let address = config.address.map_or_else(ports::free_address, Ok)?;
        write(dir.path(), &config)?;
        let resend = format!("--rules.alert.resend-delay={}s", config.resend_delay.as_secs());
        let args = ["--web.enable-lifecycle".to_owned(), resend];
        let server = Server::start(NAME, &path, dir, address, "storage.tsdb.path", args).await?;
        Ok(Self { config, server })
    }

    /// Replaces configuration, rules and targets of the running program.
    pub async fn reload(&mut self, change: impl FnOnce(&mut PrometheusConfig)) -> Result<()> {
        change(&mut self.config);
        write(self.server.dir(), &self.config)?;
        self.server.load().await
    }

    /// The answer of an instant query, NaN included.
    pub async fn query(&self, promql: &str) -> Result<Vec<Sample>> {
        let url = format!("{}/api/v1/query", self.url());
        let answer = http::client().get(url).query(&[("query", promql)]).send().await?;
        let answer: Answer<Vector> = answer.json().await.with_context(|| format!("no answer to {promql}"))?;
        let vector =
            answer.data.with_context(|| format!("{promql}: {}", answer.error.unwrap_or_default()))?;
        let sample = |series: Series| {
            let value = series.value.1.parse().with_context(|| format!("{} is no number", series.value.1))?;
            Ok(Sample { labels: series.metric, value })
        };
        vector.result.into_iter().map(sample).collect()
    }

    /// The single value of an instant query; an error when there is none, or more than one.
    pub async fn value(&self, promql: &str) -> Result<f64> {
        let samples = self.query(promql).await?;
        ensure!(samples.len() == 1, "{promql} has {} series: {samples:?}", samples.len());
        Ok(samples[0].value)
    }

    /// Waits until the query has a sample (PromQL comparisons have one exactly when they are true).
    pub async fn until(&self, promql: &str) -> Result<Vec<Sample>> {
        wait::until(wait::PATIENCE, promql, async || {
            let samples = self.query(promql).await?;
            ensure!(!samples.is_empty(), "no sample");
            Ok(samples)
        })
        .await
    }
}

/// Prometheus' envelope.
#[derive(Deserialize)]
struct Answer<T> {
    data: Option<T>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Vector {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

/// JSON is YAML, so nothing has to be quoted by hand.
fn write(dir: &Path, config: &PrometheusConfig) -> Result<()> {
    let mut files = Vec::new();
    for (number, text) in config.rules.iter().enumerate() {
        let path: PathBuf = dir.join(format!("{number}.rules.yml"));
        fs::write(&path, text)?;
        files.push(path);
    }
    let mut jobs: BTreeMap<&str, Vec<serde_json::Value>> = BTreeMap::new();
    for target in &config.targets {
        let group = json!({ "targets": [target.address], "labels": target.labels });
        jobs.entry(&target.job).or_default().push(group);
    }
    let jobs: Vec<_> = jobs
        .iter()
        .map(|(job, groups)| {
            let mut settings = config.jobs.get(*job).cloned().unwrap_or_else(|| json!({}));
            settings["job_name"] = json!(job);
            settings["static_configs"] = json!(groups);
            settings
        })
        .collect();
    let text = json!({
        "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s" },
        "rule_files": files,
        "scrape_configs": jobs,
        "alerting": { "alertmanagers": [{ "static_configs": [{ "targets": config.alertmanagers }] }] },
    });
    server::configure(dir, NAME, serde_json::to_vec_pretty(&text)?)
}

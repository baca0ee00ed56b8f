//! The whole scene: GitLab, clusters of runners, BIND, Prometheus, Alertmanager and Switchyard on this machine.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use futures::future::{join_all, try_join_all};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    alertmanager::Alertmanager,
    bind::{Bind, BindConfig},
    gitlab::{Config as GitlabConfig, Job, JobTemplate, RunnerSpec, Simulator, TokenSpec},
    http,
    parts::Flavour,
    ports,
    prometheus::{Prometheus, PrometheusConfig, Target},
    rules, runner,
    secrets::Secrets,
    switchyard::{LEVEL, Switchyard, merge, stored},
    wait::{PATIENCE, until},
};

/// The fleet of every scene.
pub const FLEET: &str = "rnd";
/// Its routing tag.
pub const TAG: &str = "rnd-runner";
/// Its DNS name.
pub const NAME: &str = "runner.company.test.";

const ZONE: &str = "company.test.";

/// What to set up.
#[derive(Debug, Clone)]
pub struct SceneConfig {
    /// Where Prometheus and Alertmanager come from.
    pub flavour: Flavour,
    /// The product. Without it, the test stands at [`Scene::switchyard_address`] itself.
    pub switchyard: Option<PathBuf>,
    /// The clusters, best first. The first one holds the fleet.
    pub clusters: Vec<String>,
    /// Runner records per cluster.
    pub records: usize,
    /// Runner processes per record: its managers.
    pub processes: usize,
    /// How often Prometheus repeats a firing alert.
    pub resend_delay: Duration,
    /// Laid over the product's configuration.
    pub settings: Value,
    /// Secrets that these settings name, as files in the directory of the configuration.
    pub secrets: Secrets,
    /// The level of the product's log, and of what commands print.
    pub level: &'static str,
}

impl Default for SceneConfig {
    fn default() -> Self {
        Self {
            flavour: Flavour::Pinned,
            switchyard: None,
            clusters: vec!["blue".to_owned(), "green".to_owned()],
            records: 2,
            processes: 1,
            resend_delay: Duration::from_secs(1),
            settings: json!({}),
            secrets: Secrets::default(),
            level: LEVEL,
        }
    }
}

/// One runner process, alive or dead.
#[derive(Debug)]
struct RunnerProcess {
    setup: runner::Setup,
    metrics: SocketAddr,
    /// None while its cluster is dead.
    process: Option<runner::Process>,
}

/// The records and processes of one cluster.
#[derive(Debug)]
struct Cluster {
    name: String,
    records: Vec<u64>,
    processes: Vec<RunnerProcess>,
}

/// A running scene. Dropping it stops everything.
#[derive(Debug)]
pub struct Scene {
    // In the order in which they should fall: nothing complains about what it watches.
    /// The product, if the scene was given one.
    pub switchyard: Option<Switchyard>,
    clusters: Vec<Cluster>,
    /// Prometheus.
    pub prometheus: Prometheus,
    /// Alertmanager.
    pub alertmanager: Alertmanager,
    /// The DNS server.
    pub bind: Bind,
    /// GitLab.
    pub gitlab: Simulator,
    /// Every secret that the product has or could hear of.
    pub secrets: Secrets,
    switchyard_address: SocketAddr,
    dir: TempDir,
}

impl Scene {
    /// Starts everything; returns when every part answers. [`settled`](Self::settled) waits for more.
    pub async fn start(config: SceneConfig) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("switchyard-scene-").tempdir()?;
        let switchyard_address = ports::free_address()?;
        let prometheus_address = ports::free_address()?;
        let alertmanager_address = ports::free_address()?;
        let gitlab = Simulator::try_start(GitlabConfig::default())?;
        let scopes = ["api", "read_api", "manage_runner"];
        let mut secrets = Secrets::default();
        let gitlab_token = gitlab.admin().create_token(TokenSpec::admin("switchyard", &scopes));
        secrets.write(dir.path(), GITLAB_TOKEN, gitlab_token)?;
        secrets.write(dir.path(), WEBHOOK_TOKEN, "webhook-secret-of-the-laboratory")?;
        secrets.write(dir.path(), API_TOKEN, "api-secret-of-the-laboratory")?;
        for (name, text) in config.secrets.iter() {
            secrets.write(dir.path(), name, text)?;
        }

        let clusters = config
            .clusters
            .iter()
            .enumerate()
            .map(|(number, name)| Cluster::create(&config, &gitlab, number, name))
            .collect::<Result<Vec<_>>>()?;
        let mut targets = vec![Target::new("switchyard", switchyard_address, [])];
        for cluster in &clusters {
            let labels = [("fleet", FLEET), ("runner_cluster", cluster.name.as_str())];
            targets.extend(cluster.processes.iter().map(|p| Target::new("gitlab-runner", p.metrics, labels)));
        }
        let prometheus = PrometheusConfig {
            flavour: config.flavour,
            address: Some(prometheus_address),
            rules: rules::fast()?,
            alertmanagers: vec![alertmanager_address],
            targets,
            jobs: BTreeMap::new(),
            resend_delay: config.resend_delay,
        };
        let route = rules::route(switchyard_address, &dir.path().join(WEBHOOK_TOKEN))?;
        let (bind, alertmanager, prometheus) = tokio::try_join!(
            Bind::start(zone(&config.clusters)),
            Alertmanager::start_at(alertmanager_address, config.flavour, &route),
            Prometheus::start(prometheus),
        )?;
        let mut scene = Self {
            switchyard: None,
            clusters,
            prometheus,
            alertmanager,
            bind,
            gitlab,
            secrets,
            switchyard_address,
            dir,
        };
        scene.secrets.write(scene.dir.path(), TSIG_SECRET, scene.bind.tsig_secret())?;
        for runner in scene.clusters.iter().flat_map(|cluster| &cluster.processes) {
            scene.secrets.add(&runner.setup.name, &runner.setup.token);
        }
        for cluster in config.clusters {
            scene.revive(&cluster).await?;
        }
        if let Some(binary) = &config.switchyard {
            let settings = scene.settings(config.settings);
            scene.all_secrets_are_known(&settings)?;
            let bearer = scene.secrets.get(READ_TOKEN).unwrap_or_default();
            let dir = scene.dir.path();
            let started =
                Switchyard::start_with(binary, switchyard_address, &settings, dir, config.level, bearer)
                    .await?;
            scene.switchyard = Some(started);
        }
        Ok(scene)
    }

    /// The product's configuration for this scene.
    fn settings(&self, over: Value) -> Value {
        let dir = self.dir.path();
        let mut pools = BTreeMap::new();
        for (number, cluster) in self.clusters.iter().enumerate() {
            let pool = json!({ "home_tag": home_tag(number), "dns": ingress(&cluster.name) });
            pools.insert(cluster.name.as_str(), pool);
        }
        let mut settings = json!({
            "gitlab": { "url": self.gitlab.url(), "token_file": dir.join(GITLAB_TOKEN) },
            "prometheus": { "urls": [self.prometheus.url()] },
            "alertmanager": { "urls": [self.alertmanager.url()], "poll": "2s" },
            "webhook": { "token_file": dir.join(WEBHOOK_TOKEN) },
            "api": { "token_file": dir.join(API_TOKEN) },
            "store": { "url": format!("sqlite://{}", dir.join("switchyard.db").display()) },
            "web": { "url": format!("http://{}", self.switchyard_address) },
            "loop": { "period": "1s" },
            "limits": { "moves": 100, "watchdog_max_age": "3m", "evidence_max_age": "10s" },
            "dns": { "providers": { "bind": {
                "type": "rfc2136",
                "server": self.bind.server(),
                "zone": ZONE,
                "tsig_name": self.bind.tsig_name(),
                "tsig_algorithm": self.bind.tsig_algorithm(),
                "tsig_secret_file": dir.join(TSIG_SECRET),
            }}},
            "fleets": { FLEET: {
                "enabled": true,
                "routing_tag": TAG,
                "prefer": self.clusters.iter().map(|c| &c.name).collect::<Vec<_>>(),
                "failback": "manual",
                "signal_hold": "0s",
                "dns": { "name": NAME, "type": "CNAME", "ttl": "30s", "provider": "bind" },
                "pools": pools,
            }},
        });
        merge(&mut settings, over);
        settings
    }

    /// An error when the configuration names a secret that nobody would look for in what the product shows.
    fn all_secrets_are_known(&self, settings: &Value) -> Result<()> {
        match settings {
            Value::Object(table) => {
                for (key, value) in table {
                    let names_secret = key.ends_with("_file") && !PUBLIC_KEYS.contains(&key.as_str());
                    if let (true, Some(file)) = (names_secret, value.as_str()) {
                        let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy();
                        self.secrets.get(&name).with_context(|| format!("{key} names {file}"))?;
                    }
                    self.all_secrets_are_known(value)?;
                }
                Ok(())
            }
            Value::Array(values) => values.iter().try_for_each(|value| self.all_secrets_are_known(value)),
            _ => Ok(()),
        }
    }

    /// Waits until every runner is proven well and Switchyard, if there is one, holds the fleet in the first cluster.
    pub async fn settled(&self) -> Result<()> {
        self.all_well().await?;
        let Some(switchyard) = &self.switchyard else { return Ok(()) };
        let first = &self.clusters.first().context("no cluster")?.name;
        let holder =
            format!("fleet_runner_cluster:switchyard_fleet_holder:max{{runner_cluster='{first}'}} == 1");
        self.prometheus.until(&holder).await?;
        until(PATIENCE, "Switchyard has heard the watchdog", async || {
            let page = switchyard.metrics().await?;
            let eyes = page.value("switchyard_gate_open", &[("fleet", FLEET), ("gate", "eyes_open")]);
            ensure!(eyes == Some(1.0), "eyes_open is {eyes:?}");
            Ok(())
        })
        .await
    }

    /// Waits until every runner of every cluster is proven well.
    pub async fn all_well(&self) -> Result<()> {
        let clusters = self.clusters.len();
        let well = format!("count(fleet_runner_cluster:gitlab_runner_polls_well:ratio == 1) == {clusters}");
        self.prometheus.until(&well).await.map(drop)
    }

    /// Where Switchyard is, or where the test stands instead.
    pub fn switchyard_address(&self) -> SocketAddr {
        self.switchyard_address
    }

    /// Where the files of the scene are; they go with it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The product.
    pub fn product(&mut self) -> Result<&mut Switchyard> {
        self.switchyard.as_mut().context("this scene has no Switchyard")
    }

    /// Kills every runner process of a cluster without notice.
    pub async fn kill(&mut self, cluster: &str) -> Result<()> {
        let dying =
            self.cluster_mut(cluster)?.processes.iter_mut().filter_map(|runner| runner.process.take());
        let ended = join_all(dying.map(async |mut process: runner::Process| process.kill9().await)).await;
        ended.into_iter().collect()
    }

    /// Starts the runner processes of a cluster again.
    pub async fn revive(&mut self, cluster: &str) -> Result<()> {
        let logs = self.dir.path().to_owned();
        let starting = self.cluster_mut(cluster)?.processes.iter_mut().map(|runner| runner.start(&logs));
        try_join_all(starting).await.map(drop)
    }

    fn cluster(&self, name: &str) -> Result<&Cluster> {
        self.clusters.iter().find(|c| c.name == name).with_context(|| format!("no cluster {name}"))
    }

    fn cluster_mut(&mut self, name: &str) -> Result<&mut Cluster> {
        self.clusters.iter_mut().find(|c| c.name == name).with_context(|| format!("no cluster {name}"))
    }

    /// The clusters whose runner processes are killed.
    pub fn dead(&self) -> Vec<&str> {
        let dead = |c: &&Cluster| c.processes.iter().all(|runner| runner.process.is_none());
        self.clusters.iter().filter(dead).map(|c| c.name.as_str()).collect()
    }

    /// The runner records of a cluster.
    pub fn records(&self, cluster: &str) -> Result<&[u64]> {
        Ok(&self.cluster(cluster)?.records)
    }

    /// Where the runner processes of a cluster show their metrics.
    pub fn runner_metrics(&self, cluster: &str) -> Result<Vec<SocketAddr>> {
        Ok(self.cluster(cluster)?.processes.iter().map(|runner| runner.metrics).collect())
    }

    /// The clusters of which some record carries the routing tag in GitLab.
    pub fn holders(&self) -> Vec<String> {
        let tagged = self.gitlab.admin().holders(TAG);
        let holds = |c: &&Cluster| c.records.iter().any(|record| tagged.contains(record));
        self.clusters.iter().filter(holds).map(|c| c.name.clone()).collect()
    }

    /// Asks for a job with these tags. Returns its id.
    pub fn job(&self, tags: &[&str], script: &str) -> u64 {
        self.gitlab.admin().create_job(JobTemplate::new(tags, script))
    }

    /// Waits until a job is over.
    pub async fn finished(&self, job: u64) -> Result<Job> {
        until(PATIENCE, &format!("job {job} is over"), async || {
            let job = self.gitlab.admin().job(job).context("no such job")?;
            ensure!(job.status.is_over(), "it is {:?}", job.status);
            Ok(job)
        })
        .await
    }

    /// The cluster whose runner took a job.
    pub fn ran_on(&self, job: &Job) -> Option<&str> {
        let record = job.runner?;
        self.clusters.iter().find(|c| c.records.contains(&record)).map(|c| c.name.as_str())
    }

    /// What the authoritative server answers for the fleet's name: a cluster's name.
    pub async fn dig(&self) -> Result<String> {
        let answer = self.bind.dig(&["+short", NAME, "CNAME"]).await?;
        let cluster = self.clusters.iter().find(|c| ingress(&c.name) == answer).map(|c| c.name.clone());
        cluster.with_context(|| format!("{NAME} is {answer:?}, which is no cluster's"))
    }
}

/// What Switchyard did.
impl Scene {
    /// Every byte that the product has put into its SQLite database.
    pub fn stored(&self) -> Result<String> {
        stored(self.dir())
    }

    /// An error when a secret of the scene can be read in what the product has logged, printed, published and stored, or in
    /// what it said elsewhere.
    pub async fn no_secret_is_shown(&self, elsewhere: &str) -> Result<()> {
        let product = self.running()?;
        let page = http::client().get(format!("{}/metrics", product.url())).send().await?.text().await?;
        let history = product.api("history?limit=1000").await?.to_string();
        let explained = product.api("explain").await?.to_string();
        let output = [product.log()?, product.said(), page, history, explained, self.stored()?].concat();
        let seen = self.secrets.shown_in(&format!("{output}{elsewhere}"));
        ensure!(seen.is_empty(), "{seen:#?}");
        Ok(())
    }

    fn running(&self) -> Result<&Switchyard> {
        self.switchyard.as_ref().context("this scene has no Switchyard")
    }

    /// The sum of a metric's samples with these labels.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let page = self.running()?.metrics().await?;
        page.value(name, labels).with_context(|| format!("no {name} with {labels:?}"))
    }

    /// Waits until Switchyard has begun and ended `count` more passes.
    pub async fn passes(&self, count: u32) -> Result<()> {
        let before = self.metric("switchyard_passes_total", &[]).await?;
        // The pass that is under way now began before.
        let wanted = before + f64::from(count) + 1.0;
        until(PATIENCE, &format!("{count} more passes"), async || {
            let passes = self.metric("switchyard_passes_total", &[]).await?;
            ensure!(passes >= wanted, "{passes} of {wanted}");
            Ok(())
        })
        .await
    }

    /// The fleet's history, oldest first.
    pub async fn history(&self) -> Result<Vec<Value>> {
        let answer = self.running()?.api(&format!("history?fleet={FLEET}&limit=1000")).await?;
        let mut entries: Vec<Value> = serde_json::from_value(answer)?;
        entries.sort_by_key(|entry| entry["id"].as_i64());
        Ok(entries)
    }

    /// Kind and state of every decision but the first sight, oldest first.
    pub async fn moves(&self) -> Result<Vec<(String, String)>> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let decisions = self.history().await?.into_iter().filter(|entry| entry["entry"] == "decision");
        let moves =
            decisions.map(|entry| (text(&entry["decision"]["kind"]), text(&entry["decision"]["state"])));
        Ok(moves.filter(|(kind, _)| kind != "adopt").collect())
    }

    /// Waits until `cluster` alone holds the fleet, by tag and by name, and Switchyard has seen its move done.
    pub async fn moved_to(&self, cluster: &str) -> Result<()> {
        until(PATIENCE, &format!("{FLEET} is in {cluster}"), async || {
            let (holders, name) = (self.holders(), self.dig().await?);
            ensure!(holders == [cluster] && name == cluster, "tag in {holders:?}, name at {name}");
            let fleet = self.running()?.api(&format!("fleets/{FLEET}")).await?;
            let (to, state) = (&fleet["decision"]["to"], &fleet["decision"]["state"]);
            ensure!(
                to == cluster && state == "done",
                "Switchyard says: to {to} {state}: {}",
                fleet["sentence"]
            );
            Ok(())
        })
        .await
    }

    /// An error when anything was moved or written since the beginning.
    pub async fn unmoved(&self) -> Result<()> {
        let first = self.clusters.first().map(|c| c.name.as_str()).unwrap_or_default();
        let (holders, name, moves) = (self.holders(), self.dig().await?, self.moves().await?);
        ensure!(holders == [first] && name == first, "tag in {holders:?}, name at {name}");
        ensure!(moves.is_empty(), "{moves:?}");
        let writes = self.gitlab.admin().changes();
        let writes: Vec<_> = writes.iter().filter(|write| write.token == "switchyard").collect();
        ensure!(writes.is_empty(), "{writes:?}");
        Ok(())
    }
}

impl Cluster {
    fn create(config: &SceneConfig, gitlab: &Simulator, number: usize, name: &str) -> Result<Self> {
        let home = home_tag(number);
        let tags = if number == 0 { vec![home.as_str(), TAG] } else { vec![home.as_str()] };
        let mut cluster = Self { name: name.to_owned(), records: Vec::new(), processes: Vec::new() };
        for record in 1..=config.records {
            let created = gitlab.admin().create_runner(RunnerSpec::new(&format!("{name}-{record}"), &tags));
            cluster.records.push(created.id);
            for process in 1..=config.processes {
                let label = format!("{name}-{record}-{process}");
                let metrics = ports::free_address()?;
                let mut setup = runner::Setup::new(&format!("runner-{label}"), &gitlab.url(), &created.token);
                // Two processes of one record must differ in the twelve letters that GitLab keeps.
                setup.system_id = format!("s_{:0>12}", label.replace('-', ""));
                setup.metrics = Some(metrics);
                cluster.processes.push(RunnerProcess { setup, metrics, process: None });
            }
        }
        Ok(cluster)
    }
}

impl RunnerProcess {
    async fn start(&mut self, logs: &Path) -> Result<()> {
        if self.process.is_none() {
            self.process = Some(runner::Process::start(self.setup.clone(), logs).await?);
        }
        Ok(())
    }
}

const GITLAB_TOKEN: &str = "gitlab-token";
const WEBHOOK_TOKEN: &str = "webhook-token";
const API_TOKEN: &str = "api-token";
const TSIG_SECRET: &str = "tsig-secret";
/// What a scene calls the token to read the API, when it has one.
pub const READ_TOKEN: &str = "read-token";
/// Keys of the configuration that name a file which everybody may see.
const PUBLIC_KEYS: [&str; 2] = ["ca_file", "client_cert_file"];

/// `runner-a` for the first cluster, `runner-b` for the second.
fn home_tag(number: usize) -> String {
    let letters = ('a'..='z').cycle();
    format!("runner-{}", letters.into_iter().nth(number).unwrap_or('z'))
}

fn ingress(cluster: &str) -> String {
    format!("ingress.{cluster}.{ZONE}")
}

fn zone(clusters: &[String]) -> BindConfig {
    let mut records: Vec<String> =
        clusters.iter().zip(10..).map(|(name, n)| format!("ingress.{name} 300 IN A 192.0.2.{n}")).collect();
    records.extend(clusters.first().map(|name| format!("runner 30 IN CNAME {}", ingress(name))));
    BindConfig { zone: ZONE.to_owned(), records, ..BindConfig::default() }
}

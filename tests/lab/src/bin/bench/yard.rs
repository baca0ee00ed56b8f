//! What Switchyard looks at while it is measured: a simulated GitLab, a real BIND, and evidence from memory.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use axum::{Router, extract::State, routing::post};
use serde_json::{Value, json};
use switchyard_lab::{
    bind::{Bind, BindConfig},
    gitlab::{Config as GitlabConfig, Fault, Kind, Match, RunnerSpec, Simulator, TokenSpec, VirtualRunners},
    http, ports,
    switchyard::Switchyard,
    wait::PATIENCE,
};
use tempfile::TempDir;
use tokio::task::AbortHandle;

use crate::message;

pub(crate) const FLEET: &str = "rnd";
pub(crate) const TAG: &str = "rnd-runner";
pub(crate) const BLUE: &str = "blue";
pub(crate) const GREEN: &str = "green";
pub(crate) const WEBHOOK_TOKEN: &str = "webhook-secret-of-the-bench";
const API_TOKEN: &str = "api-secret-of-the-bench";

/// How long the outside is watched: longer than Switchyard, which says why nothing comes.
const WITNESS: Duration = Duration::from_secs(2 * PATIENCE.as_secs());

/// A running Switchyard and its world. Dropping it stops everything.
pub(crate) struct Yard {
    pub(crate) switchyard: Switchyard,
    pub(crate) bind: Bind,
    pub(crate) gitlab: Simulator,
    pub(crate) evidence: Evidence,
    pub(crate) address: SocketAddr,
    /// The records of blue, then those of green, as many.
    pub(crate) runners: VirtualRunners,
}

impl Yard {
    /// Blue holds the fleet; every cluster has so many runner records and is well. `dir` takes every file.
    pub(crate) async fn start(dir: &Path, binary: &Path, records: usize, period: &str) -> Result<Self> {
        fs::create_dir(dir)?;
        let gitlab = Simulator::try_start(GitlabConfig::default())?;
        let token =
            gitlab.admin().create_token(TokenSpec::admin("switchyard", &["read_api", "manage_runner"]));
        let runners = gitlab.admin().virtual_runners(2 * records, |n| {
            if n < records {
                RunnerSpec::new(&format!("{BLUE}-{n}"), &["runner-a", TAG])
            } else {
                RunnerSpec::new(&format!("{GREEN}-{n}"), &["runner-b"])
            }
        });
        let bind = Bind::start(BindConfig::default()).await?;
        let evidence = Evidence::serve(records).await?;
        for (name, secret) in [
            ("gitlab-token", token.as_str()),
            ("webhook-token", WEBHOOK_TOKEN),
            ("api-token", API_TOKEN),
            ("tsig-secret", bind.tsig_secret()),
        ] {
            fs::write(dir.join(name), secret)?;
        }
        let address = ports::free_address()?;
        let settings = json!({
            "gitlab": { "url": gitlab.url(), "token_file": dir.join("gitlab-token") },
            "prometheus": { "urls": [format!("http://{}", evidence.address)] },
            "webhook": { "token_file": dir.join("webhook-token") },
            "api": { "token_file": dir.join("api-token") },
            "store": { "url": format!("sqlite://{}", dir.join("switchyard.db").display()) },
            "web": { "url": format!("http://{address}") },
            "loop": { "period": period },
            "limits": { "moves": 100 },
            "dns": { "providers": { "bind": {
                "type": "rfc2136",
                "server": bind.server(),
                "zone": "company.test.",
                "tsig_name": bind.tsig_name(),
                "tsig_algorithm": bind.tsig_algorithm(),
                "tsig_secret_file": dir.join("tsig-secret"),
            }}},
            "fleets": { FLEET: {
                "enabled": true,
                "routing_tag": TAG,
                "prefer": [BLUE, GREEN],
                "signal_hold": "0s",
                "cool_down": "0s",
                "dns": { "name": "runner.company.test.", "type": "CNAME", "provider": "bind" },
                "pools": {
                    BLUE: { "home_tag": "runner-a", "dns": "ingress.blue.company.test." },
                    GREEN: { "home_tag": "runner-b", "dns": "ingress.green.company.test." },
                },
            }},
        });
        let switchyard = Switchyard::start(binary, address, &settings, dir).await?;
        let yard = Self { switchyard, bind, gitlab, evidence, address, runners };
        yard.seen_done(BLUE, Duration::from_millis(50)).await?;
        yard.hear(message::watchdog(yard.gitlab.admin().now())).await?;
        Ok(yard)
    }

    /// From now on GitLab takes so much longer for every request.
    pub(crate) fn slow_gitlab(&self, latency: Duration) -> Result<()> {
        let ms = u64::try_from(latency.as_millis())?;
        Ok(self.gitlab.admin().try_fault(Fault::new(Match::any(), Kind::Latency { ms }))?)
    }

    /// Sends a webhook as Alertmanager does.
    pub(crate) async fn hear(&self, body: String) -> Result<()> {
        let request = http::client().post(format!("{}/api/v1/alerts", self.switchyard.url()));
        answered(request.bearer_auth(WEBHOOK_TOKEN).body(body)).await
    }

    /// Asks for a planned move.
    pub(crate) async fn switch(&self, from: &str, to: &str) -> Result<()> {
        let body = json!({ "from": from, "to": to, "reason": "next round", "author": "bench" });
        let request = http::client().post(format!("{}/api/v1/fleets/{FLEET}/switch", self.switchyard.url()));
        answered(request.bearer_auth(API_TOKEN).json(&body)).await
    }

    /// Waits until Switchyard says that `cluster` holds the fleet and that this was seen done.
    pub(crate) async fn seen_done(&self, cluster: &str, every: Duration) -> Result<()> {
        patient(PATIENCE, every, &format!("{FLEET} is in {cluster}"), async || {
            let fleet = self.switchyard.api(&format!("fleets/{FLEET}")).await?;
            let decision = &fleet["decision"];
            let there = decision["to"] == cluster && decision["state"] == "done";
            ensure!(there, "{}: {}", fleet["outcome"], fleet["sentence"]);
            Ok(())
        })
        .await
    }

    /// Waits until exactly the records of one cluster carry the routing tag: green's, or blue's.
    pub(crate) async fn tagged(&self, green: bool) -> Result<()> {
        let (blue, rest) = self.runners.runners.split_at(self.runners.runners.len() / 2);
        let wanted = if green { rest } else { blue };
        patient(WITNESS, Duration::from_millis(2), "every record has its tag", async || {
            let holders = self.gitlab.admin().holders(TAG);
            let have = wanted.iter().filter(|runner| holders.contains(&runner.id)).count();
            ensure!(have == wanted.len(), "{have} of {} carry {TAG}", wanted.len());
            Ok(())
        })
        .await
    }

    /// Waits until BIND itself answers with `cluster`.
    pub(crate) async fn named(&self, cluster: &str) -> Result<()> {
        let server: SocketAddr = self.bind.server().parse().context("BIND's address")?;
        let socket = tokio::net::UdpSocket::bind((server.ip(), 0)).await?;
        socket.connect(server).await?;
        // One question, CNAME, no recursion: starting `dig` would take longer than what is measured.
        let mut question = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in ["runner", "company", "test", ""] {
            question.push(u8::try_from(label.len())?);
            question.extend(label.as_bytes());
        }
        question.extend([0, 5, 0, 1]);
        patient(WITNESS, Duration::from_millis(2), &format!("BIND answers {cluster}"), async || {
            socket.send(&question).await?;
            let mut answer = [0; 512];
            let length = socket.recv(&mut answer).await?;
            let told = answer[..length].windows(cluster.len()).any(|part| part == cluster.as_bytes());
            ensure!(told, "it answers something else");
            Ok(())
        })
        .await
    }
}

/// Like `wait::until`, as often as a measurement needs.
async fn patient(
    limit: Duration,
    every: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<()>,
) -> Result<()> {
    let start = tokio::time::Instant::now();
    while let Err(error) = probe().await {
        if start.elapsed() > limit {
            return Err(error).with_context(|| format!("waited {limit:?} in vain until {what}"));
        }
        tokio::time::sleep(every).await;
    }
    Ok(())
}

async fn answered(request: reqwest::RequestBuilder) -> Result<()> {
    let answer = request.send().await?;
    let status = answer.status();
    ensure!(status.is_success(), "Switchyard answered {status}: {}", answer.text().await?);
    Ok(())
}

/// Answers the default queries as a Prometheus would, without its scrape interval.
pub(crate) struct Evidence {
    address: SocketAddr,
    told: Arc<Told>,
    server: AbortHandle,
}

struct Told {
    blue_lives: AtomicBool,
    records: usize,
    /// The answer about managers, which never changes.
    managers: String,
}

impl Evidence {
    async fn serve(records: usize) -> Result<Self> {
        let manager = |n| {
            let cluster = if n < records { BLUE } else { GREEN };
            let labels = json!({ "runner_cluster": cluster, "system_id": VirtualRunners::system_id(n) });
            json!({ "metric": labels, "value": [0, "1"] })
        };
        let managers = vector((0..2 * records).map(manager).collect());
        let told = Arc::new(Told { blue_lives: AtomicBool::new(true), records, managers });
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/api/v1/query", post(answer)).with_state(told.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await }).abort_handle();
        Ok(Self { address, told, server })
    }

    /// Whether blue is alive from now on.
    pub(crate) fn blue_lives(&self, lives: bool) {
        self.told.blue_lives.store(lives, Ordering::Relaxed);
    }
}

impl Drop for Evidence {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(told): State<Arc<Told>>, body: String) -> String {
    let field = |name: &str| {
        let found = form_urlencoded::parse(body.as_bytes()).find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    // Prometheus takes seconds as well as RFC 3339.
    let (query, time) = (field("query"), field("time"));
    let time = time.parse::<jiff::Timestamp>().map_or(time, |at| at.as_duration().as_secs_f64().to_string());
    if query.contains("system_id") {
        return told.managers.clone();
    }
    let sample = |cluster: &str| {
        let lives = cluster == GREEN || told.blue_lives.load(Ordering::Relaxed);
        let value = if query.starts_with("timestamp(") {
            time.clone()
        } else if query.contains("unreachable") || !lives {
            "0".to_owned()
        } else if query.contains(":count") {
            told.records.to_string()
        } else {
            "1".to_owned()
        };
        let at = time.parse::<f64>().unwrap_or_default();
        json!({ "metric": { "runner_cluster": cluster }, "value": [at, value] })
    };
    vector(vec![sample(BLUE), sample(GREEN)])
}

fn vector(result: Vec<Value>) -> String {
    json!({ "status": "success", "data": { "resultType": "vector", "result": result } }).to_string()
}

/// A directory on the disk that the build is on: /tmp may be memory, and then nothing is durable.
pub(crate) fn directory() -> Result<TempDir> {
    let target = switchyard_lab::parts::target_dir();
    fs::create_dir_all(&target)?;
    Ok(tempfile::Builder::new().prefix("bench-").tempdir_in(target)?)
}

/// The program, in this bench's own build profile.
pub(crate) async fn binary() -> Result<PathBuf> {
    switchyard_lab::parts::workspace_program("switchyard").await
}

/// What passes cost on the average.
#[derive(Clone, Copy)]
pub(crate) struct Pass {
    pub(crate) time: Duration,
    /// CPU time of the whole process, beside passes too.
    pub(crate) cpu: Duration,
}

/// The totals from which [`Pass`]es are told.
#[derive(Clone, Copy)]
pub(crate) struct Passes {
    count: f64,
    time: f64,
    cpu: f64,
}

impl Passes {
    /// Until now.
    pub(crate) async fn read(switchyard: &Switchyard) -> Result<Self> {
        let page = switchyard.metrics().await?;
        let value = |name: &str| page.value(name, &[]).with_context(|| format!("Switchyard shows no {name}"));
        Ok(Self {
            count: value("switchyard_pass_duration_seconds_count")?,
            time: value("switchyard_pass_duration_seconds_sum")?,
            cpu: value("process_cpu_seconds_total")?,
        })
    }

    /// How many since then, and their mean.
    pub(crate) async fn since(self, switchyard: &Switchyard) -> Result<(f64, Pass)> {
        let now = Self::read(switchyard).await?;
        let count = now.count - self.count;
        ensure!(count > 0.0, "no pass was ended");
        let mean = |before, now: f64| Duration::from_secs_f64((now - before) / count);
        Ok((count, Pass { time: mean(self.time, now.time), cpu: mean(self.cpu, now.cpu) }))
    }

    /// The mean of the next so many. Asks seldom: what it asks for costs CPU time, too.
    pub(crate) async fn next(switchyard: &Switchyard, wanted: f64) -> Result<Pass> {
        let before = Self::read(switchyard).await?;
        let mut mean = None;
        patient(2 * PATIENCE, Duration::from_secs(2), "the passes are over", async || {
            let (count, pass) = before.since(switchyard).await?;
            mean = Some(pass);
            ensure!(count >= wanted, "{count} of {wanted}");
            Ok(())
        })
        .await?;
        mean.context("no pass was ended")
    }
}

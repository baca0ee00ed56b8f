//! How many webhooks are accepted, and how fast: Switchyard, and adnanh/webhook beside it.
//!
//! They take turns, round by round, so that a machine that is slower for a while is so for all of them. While others have
//! their turn Switchyard is frozen and adnanh/webhook is not there: nobody works off a backlog in somebody else's time.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use axum::{
    body::{Body, Bytes, to_bytes},
    http::{Request, header},
};
use futures::future::try_join_all;
use hyper_util::rt::TokioIo;
use serde_json::json;
use switchyard_lab::{
    parts::{Missing, packaged_program},
    ports,
    process::{Process, Program},
    wait::PATIENCE,
};

use crate::{
    message, say,
    yard::{Passes, WEBHOOK_TOKEN, Yard},
};

pub(crate) const CONNECTIONS: usize = 64;
pub(crate) const ROUNDS: usize = 4;
/// Of one server in one round, after the warm-up.
const REQUESTS: usize = 5_000;
const WARM_UP: usize = 250;
const LIMIT: Duration = Duration::from_millis(2_500);

/// What one server did, in all rounds.
#[derive(Default)]
pub(crate) struct Load {
    /// How long each answer took.
    times: Vec<Duration>,
    elapsed: Duration,
}

impl Load {
    pub(crate) fn per_second(&self) -> f64 {
        self.times.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The time within which this share of a hundred was answered; nothing when nothing was.
    pub(crate) fn percentile(&self, share: usize) -> Duration {
        let mut times = self.times.clone();
        times.sort();
        times.get(times.len() * share / 100).copied().unwrap_or_default()
    }

    fn add(&mut self, name: &str, round: Self) {
        let (rate, p99) = (round.per_second(), round.percentile(99));
        say(&format!("  {name}: {rate:.0}/s, median {:.1?}, p99 {p99:.1?}", round.percentile(50)));
        self.times.extend(round.times);
        self.elapsed += round.elapsed;
    }
}

/// All of them.
pub(crate) struct Webhooks {
    pub(crate) switchyard: Load,
    /// Operations per transaction of the store; nearly all are webhooks.
    pub(crate) per_commit: f64,
    /// The command is started after the answer.
    pub(crate) later: Load,
    /// The answer waits for the command.
    pub(crate) waits: Load,
    /// As `webhook -version` says.
    pub(crate) version: String,
}

pub(crate) async fn measure(dir: &Path, binary: &Path) -> Result<Webhooks> {
    let program = packaged_program("webhook")
        .map_err(|missing| Missing { mend: "scripts/setup test", ..missing })
        .context("adnanh/webhook, which Switchyard is measured against")?;
    let version = tokio::process::Command::new(&program).arg("-version").output().await?;
    let version = String::from_utf8_lossy(&version.stdout);
    let version = version.split_whitespace().last().unwrap_or("of unknown version").to_owned();

    say(&format!("webhooks: making {} messages, starting Switchyard", ROUNDS * (WARM_UP + REQUESTS)));
    let mut yard = Yard::start(&dir.join("webhooks"), binary, 100, "10s").await?;
    let now = yard.gitlab.admin().now();
    let bodies: Vec<Bytes> = (0..ROUNDS * (WARM_UP + REQUESTS))
        .map(|n| Bytes::from(message::failover(n, now, (n % 2 == 1).then_some(now))))
        .collect();

    let before = Passes::read(&yard.switchyard).await?;
    let (mut switchyard, mut later, mut waits) = (Load::default(), Load::default(), Load::default());
    for (round, bodies) in bodies.chunks(WARM_UP + REQUESTS).enumerate() {
        say(&format!(
            "webhooks, round {} of {ROUNDS}: {CONNECTIONS} connections, {REQUESTS} requests or {LIMIT:?} each",
            round + 1
        ));
        let name = "Switchyard";
        switchyard.add(name, load(name, yard.address, "/api/v1/alerts", bodies).await?);
        yard.switchyard.process().pause()?;
        for (name, answer_waits, sum) in [
            ("adnanh/webhook, command after the answer", false, &mut later),
            ("adnanh/webhook, answer after the command", true, &mut waits),
        ] {
            let (hook, _running) = reference(&program, dir, answer_waits).await?;
            sum.add(name, load(name, hook, "/hooks/alerts", bodies).await?);
        }
        yard.switchyard.process().resume()?;
    }
    if let Ok((passes, pass)) = before.since(&yard.switchyard).await {
        say(&format!("  {passes:.0} passes meanwhile, {:.0?} each", pass.time));
    }
    let page = yard.switchyard.metrics().await?;
    let value = |name: &str, labels: &[(&str, &str)]| {
        page.value(name, labels).with_context(|| format!("Switchyard shows no {name}"))
    };
    let stored = value("switchyard_alerts_received_total", &[("action", "failover"), ("outcome", "new")])?;
    let sent = (ROUNDS * WARM_UP + switchyard.times.len()) as f64;
    ensure!(stored == sent, "Switchyard stored {stored} of {sent} alerts that it accepted");
    let commits = value("switchyard_store_commits_total", &[])?;
    let per_commit = value("switchyard_store_operations_total", &[])? / commits;
    Ok(Webhooks { switchyard, per_commit, later, waits, version })
}

/// Starts adnanh/webhook with one hook that checks the same credential and runs /bin/true.
async fn reference(program: &Path, dir: &Path, waits: bool) -> Result<(SocketAddr, Process)> {
    let hooks = dir.join("hooks.json");
    let credential = json!({ "match": {
        "type": "value",
        "value": format!("Bearer {WEBHOOK_TOKEN}"),
        "parameter": { "source": "header", "name": "Authorization" },
    }});
    let hook = json!([{
        "id": "alerts",
        "execute-command": "/bin/true",
        "http-methods": ["POST"],
        "trigger-rule": credential,
        "trigger-rule-mismatch-http-response-code": 401,
        "include-command-output-in-response": waits,
    }]);
    fs::write(&hooks, hook.to_string())?;
    let address = ports::free_address()?;
    let mut process = Program::new("webhook", program)
        .arg("-hooks")
        .arg(hooks)
        .args(["-ip", &address.ip().to_string(), "-port", &address.port().to_string()])
        .start(dir)?;
    process.ready(PATIENCE, async || Ok(tokio::net::TcpStream::connect(address).await?)).await?;
    Ok((address, process))
}

async fn load(name: &str, address: SocketAddr, path: &str, bodies: &[Bytes]) -> Result<Load> {
    let (warm_up, measured) = bodies.split_at(WARM_UP);
    let all = async |bodies: &[Bytes]| {
        let next = AtomicUsize::new(0);
        let started = Instant::now();
        let connection = || connection(address, path, bodies, &next, started + LIMIT);
        let times = try_join_all((0..CONNECTIONS).map(|_| connection())).await.context(name.to_owned())?;
        anyhow::Ok(Load { times: times.into_iter().flatten().collect(), elapsed: started.elapsed() })
    };
    all(warm_up).await?;
    let load = all(measured).await?;
    ensure!(!load.times.is_empty(), "{name}: no answer at all");
    Ok(load)
}

/// One connection, kept alive: takes the next message until none or no time is left. Every answer must be 200.
async fn connection(
    address: SocketAddr,
    path: &str,
    bodies: &[Bytes],
    next: &AtomicUsize,
    end: Instant,
) -> Result<Vec<Duration>> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let mut times = Vec::new();
    while Instant::now() < end
        && let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed))
    {
        let request = Request::post(path)
            .header(header::HOST, address.to_string())
            .header(header::USER_AGENT, "Alertmanager/0.28.1")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {WEBHOOK_TOKEN}"))
            .body(Body::from(body.clone()))?;
        let sent = Instant::now();
        sender.ready().await.context("the server closed the connection")?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let text = to_bytes(Body::new(answer.into_body()), 1 << 20).await?;
        ensure!(status == 200, "answered {status}: {}", String::from_utf8_lossy(&text));
        times.push(sent.elapsed());
    }
    drop(sender);
    let _ = driver.await;
    Ok(times)
}

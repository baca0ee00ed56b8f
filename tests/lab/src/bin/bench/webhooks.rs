//! How many webhooks are accepted, and how fast: Switchyard, and adnanh/webhook beside it.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
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
pub(crate) const REQUESTS: usize = 20_000;
const WARM_UP: usize = 500;
const LIMIT: Duration = Duration::from_secs(10);

/// What one server did.
pub(crate) struct Load {
    pub(crate) answered: usize,
    pub(crate) per_second: f64,
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
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

    say(&format!("webhooks: making {REQUESTS} messages, starting Switchyard"));
    let yard = Yard::start(&dir.join("webhooks"), binary, 100, "10s").await?;
    let now = yard.gitlab.admin().now();
    let bodies: Arc<[Bytes]> = (0..WARM_UP + REQUESTS)
        .map(|n| Bytes::from(message::failover(n, now, (n % 2 == 1).then_some(now))))
        .collect();

    let before = Passes::read(&yard.switchyard).await?;
    let switchyard = load("Switchyard", yard.address, "/api/v1/alerts", &bodies).await?;
    if let Ok((passes, pass)) = before.since(&yard.switchyard).await {
        say(&format!("  {passes:.0} passes meanwhile, {:.0?} each", pass.time));
    }
    let page = yard.switchyard.metrics().await?;
    let value = |name: &str, labels: &[(&str, &str)]| {
        page.value(name, labels).with_context(|| format!("Switchyard shows no {name}"))
    };
    let stored = value("switchyard_alerts_received_total", &[("action", "failover"), ("outcome", "new")])?;
    let sent = (WARM_UP + switchyard.answered) as f64;
    ensure!(stored == sent, "Switchyard stored {stored} of {sent} alerts that it accepted");
    let commits = value("switchyard_store_commits_total", &[])?;
    let per_commit = value("switchyard_store_operations_total", &[])? / commits;
    drop(yard);

    let (hook, running) = reference(&program, dir, false).await?;
    let later = load("adnanh/webhook, command after the answer", hook, "/hooks/alerts", &bodies).await?;
    drop(running);
    let (hook, _running) = reference(&program, dir, true).await?;
    let waits = load("adnanh/webhook, answer after the command", hook, "/hooks/alerts", &bodies).await?;
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

async fn load(name: &str, address: SocketAddr, path: &str, bodies: &Arc<[Bytes]>) -> Result<Load> {
    say(&format!("webhooks: {name}, {CONNECTIONS} connections, {REQUESTS} requests or {LIMIT:?}"));
    let (warm_up, measured) = bodies.split_at(WARM_UP);
    let all = async |bodies: &[Bytes]| {
        let next = AtomicUsize::new(0);
        let started = Instant::now();
        let connection = || connection(address, path, bodies, &next, started + LIMIT);
        let times = try_join_all((0..CONNECTIONS).map(|_| connection())).await.context(name.to_owned())?;
        let mut times: Vec<Duration> = times.into_iter().flatten().collect();
        times.sort();
        anyhow::Ok((times, started.elapsed()))
    };
    all(warm_up).await?;
    let (times, elapsed) = all(measured).await?;
    let at = |share: usize| times.get(times.len() * share / 100).copied().context("no answer at all");
    let load = Load {
        answered: times.len(),
        per_second: times.len() as f64 / elapsed.as_secs_f64(),
        median: at(50)?,
        p99: at(99)?,
    };
    say(&format!("  {:.0}/s, median {:.1?}, p99 {:.1?}", load.per_second, load.median, load.p99));
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

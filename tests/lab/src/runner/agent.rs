//! The runner itself: its sections, the one loop that polls for all of them, the signals of gitlab-runner.
//!
//! The loop waits for a free worker before it polls for any section. So a section whose poll is held, or whose job runs,
//! keeps the others waiting when there are no more workers than that: `concurrent` is of the process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::routing::get;
use gitlab_runner::{GitlabLayer, Runner, RunnerBuilder};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry};

use super::executor::Shell;
use super::metrics::{Metrics, Process};
use super::proxy::{self, Gate};

/// How long jobs have after SIGTERM to report that they failed.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// How a runner process is set up.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "runner",
    about = "A runner of the laboratory: gitlab-runner's protocol, metrics and signals"
)]
pub struct Options {
    /// GitLab's address.
    #[arg(long)]
    pub url: String,
    /// Runner authentication tokens, one for each section.
    #[arg(long, env = "RUNNER_TOKEN", value_delimiter = ',', required = true)]
    pub token: Vec<String>,
    /// Its name for itself; one manager row in GitLab.
    #[arg(long)]
    pub system_id: String,
    /// Label `runner_name`, one for each section.
    #[arg(long, value_delimiter = ',', default_value = "laboratory")]
    pub name: Vec<String>,
    /// Where `/metrics` listens.
    #[arg(long, default_value = "127.0.0.1:9252")]
    pub metrics_listen: SocketAddr,
    /// Seconds between two polls of a section; 0 means 3.
    #[arg(long, default_value_t = 3.0)]
    pub check_interval: f64,
    /// Jobs at the same time.
    #[arg(long, default_value_t = 1)]
    pub concurrent: usize,
    /// Seconds of sleep after three 403s.
    #[arg(long, default_value_t = 3600.0)]
    pub unhealthy_interval: f64,
    /// Read at SIGHUP: the names of the sections that stay, separated by commas. All do while there is none.
    #[arg(long)]
    pub stay: Option<PathBuf>,
}

/// Runs until SIGTERM, SIGINT (jobs are killed) or SIGQUIT (jobs are finished).
///
/// # Errors
/// When it cannot listen, or its working directory cannot be made.
pub async fn run(options: Options) -> Result<()> {
    anyhow::ensure!(options.name.len() == options.token.len(), "as many names as tokens");
    // One layer serves all: jobs write their logs themselves.
    let (job_logs, jobs) = GitlabLayer::new();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_filter(filter);
    tracing_subscriber::registry()
        .with(job_logs)
        .with(log)
        .try_init()
        .context("logging is set up already")?;

    let process = Arc::new(Process::new(options.concurrent, started_at()));
    let page = TcpListener::bind(options.metrics_listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.metrics_listen))?;
    tokio::spawn(axum::serve(page, metrics_router(Arc::clone(&process))).into_future());

    let work = tempfile::tempdir().context("cannot make a working directory")?;
    let draining = CancellationToken::new();
    let mut sections = Vec::new();
    let jobs = std::iter::once(jobs).chain(std::iter::repeat_with(|| GitlabLayer::new::<Registry>().1));
    for (number, ((token, name), jobs)) in options.token.iter().zip(&options.name).zip(jobs).enumerate() {
        let metrics = Metrics::new(Arc::clone(&process), token, name, &options.system_id);
        let work = work.path().join(number.to_string());
        tokio::fs::create_dir(&work).await.context("cannot make a working directory")?;
        let interval = Duration::from_secs_f64(options.unhealthy_interval);
        let gate = Arc::new(Gate::new(&options.url, metrics, interval, draining.clone())?);
        let runner = RunnerBuilder::new(door(Arc::clone(&gate)).await?.parse()?, token, work, jobs)
            .system_id(options.system_id.as_str())
            .version(super::VERSION)
            .revision(super::REVISION)
            .platform("linux")
            .architecture("amd64")
            .build()
            .await;
        let (runner, name) = (Arc::new(Mutex::new(runner)), name.clone());
        sections.push(Section { name, configured: AtomicBool::new(true), runner, gate });
    }
    let every = if options.check_interval > 0.0 { options.check_interval } else { 3.0 };
    let (again, received) = mpsc::unbounded_channel();
    let agent = Agent {
        sections,
        process,
        draining,
        killed: CancellationToken::new(),
        again,
        slots: Arc::new(Semaphore::new(options.concurrent.max(1))),
        every: Duration::from_secs_f64(every),
        stay: options.stay,
    };
    tracing::info!(url = options.url, metrics = %options.metrics_listen, "runner starts");
    agent.run(received).await
}

#[expect(clippy::disallowed_methods, reason = "the start time of this process is a metric")]
fn started_at() -> f64 {
    jiff::Timestamp::now().as_duration().as_secs_f64()
}

fn metrics_router(metrics: Arc<Process>) -> Router {
    let page = async |State(metrics): State<Arc<Process>>| {
        (
            [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores")],
            metrics.page(),
        )
    };
    Router::new().route("/metrics", get(page)).with_state(metrics)
}

/// One token: what a `[[runners]]` section of a configuration is.
struct Section {
    name: String,
    configured: AtomicBool,
    runner: Arc<Mutex<Runner>>,
    gate: Arc<Gate>,
}

/// Opens the way of one section to GitLab, for the library.
async fn door(gate: Arc<Gate>) -> Result<String> {
    let door = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on the loopback address")?;
    let address = format!("http://{}", door.local_addr().context("no local address")?);
    tokio::spawn(axum::serve(door, proxy::router(gate)).into_future());
    Ok(address)
}

struct Agent {
    sections: Vec<Section>,
    process: Arc<Process>,
    /// No more polls.
    draining: CancellationToken,
    killed: CancellationToken,
    /// The sections that got a job: each is polled again at once.
    again: mpsc::UnboundedSender<usize>,
    slots: Arc<Semaphore>,
    every: Duration,
    stay: Option<PathBuf>,
}

enum End {
    Drain,
    Kill,
}

impl Agent {
    async fn run(&self, mut received: mpsc::UnboundedReceiver<usize>) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut quit = signal(SignalKind::quit())?;
        let mut hangup = signal(SignalKind::hangup())?;
        self.process.process_state("running");
        let pause = self.every / u32::try_from(self.sections.len()).unwrap_or(u32::MAX).max(1);
        let polls = async {
            let mut turns = (0..self.sections.len()).cycle();
            let mut at_once = None;
            while let Some(number) = at_once.take().or_else(|| turns.next()) {
                // A full runner does not poll: the loop waits for a worker, whichever section's turn it is.
                let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return };
                self.feed(number, slot);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    number = received.recv() => at_once = number,
                }
            }
        };
        tokio::pin!(polls);
        let end = loop {
            tokio::select! {
                () = &mut polls => break End::Kill,
                _ = hangup.recv() => {
                    tracing::info!("configuration loaded");
                    self.process.reloaded();
                    self.take_out();
                    self.sections.iter().for_each(|section| section.gate.wake());
                }
                _ = quit.recv() => break End::Drain,
                _ = terminate.recv() => break End::Kill,
                _ = interrupt.recv() => break End::Kill,
            }
        };
        self.draining.cancel();
        let finished = async {
            for section in &self.sections {
                section.runner.lock().await.drain().await;
            }
        };
        tokio::pin!(finished);
        if let End::Drain = end {
            tracing::info!("draining");
            self.process.process_state("graceful-shutdown");
            tokio::select! {
                () = &mut finished => return Ok(()),
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        tracing::info!("terminating");
        self.process.process_state("forceful-shutdown");
        self.killed.cancel();
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, finished).await.is_err() {
            tracing::error!("jobs did not end in time");
        }
        Ok(())
    }

    /// As a section that is no more in config.toml: nothing polls for it, and its counters stay on the page.
    fn take_out(&self) {
        let Some(stay) = self.stay.as_ref().and_then(|file| std::fs::read_to_string(file).ok()) else {
            return;
        };
        for section in &self.sections {
            if !stay.trim().split(',').any(|name| name == section.name) {
                section.configured.store(false, Ordering::Relaxed);
                section.gate.metrics.taken_out();
            }
        }
    }

    fn feed(&self, number: usize, slot: OwnedSemaphorePermit) {
        let Some(section) = self.sections.get(number) else { return };
        if !section.configured.load(Ordering::Relaxed) {
            return;
        }
        let metrics = &section.gate.metrics;
        if !section.gate.is_healthy() {
            metrics.not_fed();
            return;
        }
        metrics.fed();
        let Ok(mut runner) = Arc::clone(&section.runner).try_lock_owned() else {
            metrics.exceeded();
            return;
        };
        let (gate, killed, again) = (Arc::clone(&section.gate), self.killed.clone(), self.again.clone());
        tokio::spawn(async move {
            gate.metrics.in_flight(1);
            let inner = Arc::clone(&gate);
            // Without a job the slot is dropped with the closure; with one it lives as long as the job.
            let got = runner.request_job(move |job| Shell::start(job, inner, killed, slot)).await;
            gate.metrics.in_flight(0);
            drop(runner);
            match got {
                Ok(true) => {
                    tracing::info!("job received");
                    // Nobody listens any more when the process drains.
                    let _ = again.send(number);
                }
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "no job"),
            }
        });
    }
}

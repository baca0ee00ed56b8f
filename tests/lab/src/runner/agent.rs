//! The runner itself: one section, one poll loop, the signals of gitlab-runner.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::routing::get;
use gitlab_runner::{GitlabLayer, Runner, RunnerBuilder};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::executor::Shell;
use super::metrics::Metrics;
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
    /// Runner authentication token.
    #[arg(long, env = "RUNNER_TOKEN")]
    pub token: String,
    /// Its name for itself; one manager row in GitLab.
    #[arg(long)]
    pub system_id: String,
    /// Label `runner_name`.
    #[arg(long, default_value = "laboratory")]
    pub name: String,
    /// Where `/metrics` listens.
    #[arg(long, default_value = "127.0.0.1:9252")]
    pub metrics_listen: SocketAddr,
    /// Seconds between polls; 0 means 3.
    #[arg(long, default_value_t = 3.0)]
    pub check_interval: f64,
    /// Jobs at the same time.
    #[arg(long, default_value_t = 1)]
    pub concurrent: usize,
    /// Seconds of sleep after three 403s.
    #[arg(long, default_value_t = 3600.0)]
    pub unhealthy_interval: f64,
}

/// Runs until SIGTERM, SIGINT (jobs are killed) or SIGQUIT (jobs are finished).
///
/// # Errors
/// When it cannot listen, or its working directory cannot be made.
pub async fn run(options: Options) -> Result<()> {
    let (job_logs, jobs) = GitlabLayer::new();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_filter(filter);
    tracing_subscriber::registry()
        .with(job_logs)
        .with(log)
        .try_init()
        .context("logging is set up already")?;

    let metrics = Arc::new(Metrics::new(
        &options.token,
        &options.name,
        &options.system_id,
        options.concurrent,
        started_at(),
    ));
    let page = TcpListener::bind(options.metrics_listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.metrics_listen))?;
    tokio::spawn(axum::serve(page, metrics_router(Arc::clone(&metrics))).into_future());

    let interval = Duration::from_secs_f64(options.unhealthy_interval);
    let gate = Arc::new(Gate::new(&options.url, Arc::clone(&metrics), interval)?);
    let door = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on the loopback address")?;
    let address = format!("http://{}", door.local_addr().context("no local address")?);
    tokio::spawn(axum::serve(door, proxy::router(Arc::clone(&gate))).into_future());

    let work = tempfile::tempdir().context("cannot make a working directory")?;
    let runner = RunnerBuilder::new(address.parse()?, options.token.as_str(), work.path(), jobs)
        .system_id(options.system_id.as_str())
        .version(super::VERSION)
        .revision(super::REVISION)
        .platform("linux")
        .architecture("amd64")
        .build()
        .await;
    let agent = Agent {
        runner: Arc::new(Mutex::new(runner)),
        gate,
        killed: CancellationToken::new(),
        again: Arc::new(Notify::new()),
        slots: Arc::new(Semaphore::new(options.concurrent.max(1))),
        every: Duration::from_secs_f64(if options.check_interval > 0.0 {
            options.check_interval
        } else {
            3.0
        }),
    };
    tracing::info!(url = options.url, metrics = %options.metrics_listen, "runner starts");
    agent.run(&metrics).await
}

#[expect(clippy::disallowed_methods, reason = "the start time of this process is a metric")]
fn started_at() -> f64 {
    jiff::Timestamp::now().as_duration().as_secs_f64()
}

fn metrics_router(metrics: Arc<Metrics>) -> Router {
    let page = async |State(metrics): State<Arc<Metrics>>| {
        (
            [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores")],
            metrics.page(),
        )
    };
    Router::new().route("/metrics", get(page)).with_state(metrics)
}

struct Agent {
    runner: Arc<Mutex<Runner>>,
    gate: Arc<Gate>,
    killed: CancellationToken,
    again: Arc<Notify>,
    slots: Arc<Semaphore>,
    every: Duration,
}

enum End {
    Drain,
    Kill,
}

impl Agent {
    async fn run(&self, metrics: &Metrics) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut quit = signal(SignalKind::quit())?;
        let mut hangup = signal(SignalKind::hangup())?;
        metrics.process_state("running");
        let polls = async {
            loop {
                // A full runner does not poll: the loop waits for a worker.
                let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return };
                self.feed(slot, metrics);
                tokio::select! {
                    () = tokio::time::sleep(self.every) => {}
                    () = self.again.notified() => {}
                }
            }
        };
        tokio::pin!(polls);
        let end = loop {
            tokio::select! {
                () = &mut polls => break End::Kill,
                _ = hangup.recv() => {
                    tracing::info!("configuration loaded");
                    metrics.reloaded();
                    self.gate.wake();
                }
                _ = quit.recv() => break End::Drain,
                _ = terminate.recv() => break End::Kill,
                _ = interrupt.recv() => break End::Kill,
            }
        };
        self.gate.draining.cancel();
        let finished = async { self.runner.lock().await.drain().await };
        tokio::pin!(finished);
        if let End::Drain = end {
            tracing::info!("draining");
            metrics.process_state("graceful-shutdown");
            tokio::select! {
                () = &mut finished => return Ok(()),
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        tracing::info!("terminating");
        metrics.process_state("forceful-shutdown");
        self.killed.cancel();
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, finished).await.is_err() {
            tracing::error!("jobs did not end in time");
        }
        Ok(())
    }

    fn feed(&self, slot: OwnedSemaphorePermit, metrics: &Metrics) {
        if !self.gate.is_healthy() {
            metrics.not_fed();
            return;
        }
        metrics.fed();
        let Ok(mut runner) = Arc::clone(&self.runner).try_lock_owned() else {
            metrics.exceeded();
            return;
        };
        let (gate, killed, again) = (Arc::clone(&self.gate), self.killed.clone(), Arc::clone(&self.again));
        tokio::spawn(async move {
            gate.metrics.in_flight(1);
            let inner = Arc::clone(&gate);
            // Without a job the slot is dropped with the closure; with one it lives as long as the job.
            let got = runner.request_job(move |job| Shell::start(job, inner, killed, slot)).await;
            gate.metrics.in_flight(0);
            match got {
                Ok(true) => {
                    tracing::info!("job received");
                    again.notify_one();
                }
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "no job"),
            }
        });
    }
}

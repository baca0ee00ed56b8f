//! Wiring, task supervision, reload and shutdown.

mod poll;
mod reload;
mod retention;
pub mod role;
pub(crate) mod setup;
mod tokens;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use secrecy::ExposeSecret;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    config::{self, Config},
    http,
    intake::Intake,
    metrics::Metrics,
    reconcile::Reconciler,
    status::Status,
    store::{self, Holder, Store},
    transport::chain,
    web::{self, Limits, Listener, Security},
    world::Live,
};

pub use setup::install_crypto;

/// How long the tasks have to end after the first signal.
const GRACE: Duration = Duration::from_secs(30);

/// Why Switchyard does not run, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration has problems.
    #[error("{0}")]
    Config(config::Problems),
    /// The store does not open.
    #[error("the store does not open")]
    Store(#[from] store::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {0}")]
    Listen(String, #[source] std::io::Error),
    /// A client cannot be made.
    #[error("the client for {0} cannot be made")]
    Client(&'static str, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// A signal handler cannot be installed.
    #[error("cannot wait for signals")]
    Signals(#[source] std::io::Error),
    /// A task ended that should run for ever.
    #[error("the task {0:?} ended unasked; see the log")]
    TaskEnded(&'static str),
    /// The tasks did not end in time, or a second signal came.
    #[error("ended before the step in flight was finished; the next start sees what became of it")]
    Aborted,
}

/// Where and how clients are served.
#[derive(Debug, Clone)]
pub struct Listening {
    /// Address and port.
    pub address: String,
    /// Certificates and users, in the format of Prometheus' exporter-toolkit.
    pub web_config: Option<PathBuf>,
    /// What one client may take.
    pub limits: Limits,
}

/// Runs the responder until a signal ends it.
pub async fn serve(config_file: &Path, listening: Listening) -> Result<(), Error> {
    install_crypto();
    let Listening { address: listen, web_config, limits } = listening;
    let config = config::load(config_file, std::env::vars()).map_err(Error::Config)?;
    for warning in config.warnings() {
        warn!(path = warning.path, mend = warning.mend, "{}", warning.wrong);
    }
    let security = Security::load(web_config.as_deref()).map_err(Error::Config)?;
    let failed = |source| Error::Listen(listen.clone(), source);
    let socket = TcpListener::bind(&listen).await.map_err(failed)?;
    let bound = socket.local_addr().map_err(failed)?;
    let signals = Signals::new().map_err(Error::Signals)?;
    let way_in = WayIn { socket, security, limits: fitting(limits) };
    run(config_file.to_owned(), config, way_in, bound, signals).await
}

/// The listener before there are metrics.
struct WayIn {
    socket: TcpListener,
    security: Security,
    limits: Limits,
}

/// No more connections than there may be open files, less what the loop needs.
fn fitting(limits: Limits) -> Limits {
    let connections = limits.connections.min(web::connections_that_fit());
    if connections < limits.connections {
        warn!(
            wanted = limits.connections,
            connections, "fewer connections than --web.max-connections: so many files may not be open"
        );
    }
    Limits { connections, ..limits }
}

/// The signals that concern the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

async fn run(
    config_file: PathBuf,
    config: Config,
    way_in: WayIn,
    bound: SocketAddr,
    mut signals: Signals,
) -> Result<(), Error> {
    let now = Live::clock;
    let store = Store::open(
        config.store.url.expose_secret(),
        &Holder { listen: bound.to_string(), now: now() },
        config.store.lease,
    )
    .await?;
    let (status, status_seen) = watch::channel(Arc::new(Status::default()));
    let metrics = Arc::new(Metrics::new(status_seen.clone(), store.clone(), now()));
    let (bell, poll_now) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let built = setup::build(&config, &metrics)?;
    let channels = setup::Channels::new(built);
    metrics.reload_successful.set(1);
    metrics.reload_success_time.set(crate::metrics::seconds(now()));

    let (reload, reloads) = mpsc::channel(4);
    let intake = Intake::new(
        store.clone(),
        channels.topology.subscribe(),
        metrics.clone(),
        bell.clone(),
        poll_now.clone(),
    );
    let server = http::Server {
        intake: intake.clone(),
        status: status_seen.clone(),
        topology: channels.topology.subscribe(),
        store: store.clone(),
        metrics: metrics.clone(),
        access: channels.access.subscribe(),
        security: way_in.security.clone(),
        bell: bell.clone(),
        reload: reload.clone(),
        now,
    };
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let reconciler =
        Reconciler::new(channels.setup.subscribe(), store.clone(), bell.clone(), status, metrics.clone());
    let poller = poll::Poller {
        alertmanagers: channels.alertmanagers.subscribe(),
        intake,
        metrics: metrics.clone(),
        now,
    };
    let (loop_end, poll_end, prune_end, http_end) =
        (shutdown.clone(), shutdown.clone(), shutdown.clone(), shutdown.clone());
    tasks.spawn(follow_lease(store.clone(), bell.clone(), poll_now.clone(), shutdown.clone()));
    tasks.spawn(async move {
        reconciler.run(loop_end).await;
        "loop"
    });
    tasks.spawn(async move {
        poller.run(poll_now, poll_end).await;
        "poll"
    });
    let pruner = retention::Pruner {
        store: store.clone(),
        keep: channels.retention.subscribe(),
        status: status_seen.clone(),
        now,
    };
    tasks.spawn(pruner.run(prune_end));
    let web_metrics = metrics.web.clone();
    let watcher = tokens::Watcher {
        files: channels.tokens.subscribe(),
        access: channels.access.clone(),
        setup: channels.setup.subscribe(),
        alertmanagers: channels.alertmanagers.subscribe(),
        metrics: metrics.clone(),
    };
    tasks.spawn(watcher.run(shutdown.clone()));
    tasks.spawn(reload::run(config_file, channels, metrics, reloads, now, shutdown.clone()));
    tasks.spawn(way_in.security.clone().watch(web_metrics.clone(), shutdown.clone()));
    info!(address = %bound, tls = way_in.security.tls(), version = env!("CARGO_PKG_VERSION"), "Switchyard is listening");
    tasks.spawn(async move {
        let WayIn { socket, security, limits } = way_in;
        let listener = Listener { socket, security, limits, metrics: web_metrics };
        web::serve(listener, server.router(), http_end).await;
        "http"
    });

    let ended = supervise(&mut tasks, &mut signals, &reload, &shutdown).await;
    drop(reload);
    shutdown.cancel();
    let drained = tokio::select! {
        drained = tokio::time::timeout(GRACE, async { while tasks.join_next().await.is_some() {} }) => drained.is_ok(),
        _ = signals.terminate.recv() => false,
        _ = signals.interrupt.recv() => false,
    };
    if !drained {
        error!("not all tasks have ended; aborting");
        tasks.abort_all();
        return Err(Error::Aborted);
    }
    if let Err(error) = store.close().await {
        error!(error = %chain(&error), "the store did not close cleanly");
    }
    info!("Switchyard has ended");
    ended
}

/// Waits for the first signal, or for a task that ends unasked. Reloads on SIGHUP.
async fn supervise(
    tasks: &mut JoinSet<&'static str>,
    signals: &mut Signals,
    reload: &mpsc::Sender<http::Reload>,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    loop {
        tokio::select! {
            ended = tasks.join_next() => {
                let name = match ended {
                    Some(Ok(name)) => name,
                    Some(Err(error)) => {
                        error!(%error, "a task panicked");
                        "panicked"
                    }
                    None => "all",
                };
                error!(task = name, "a task ended unasked; ending the process");
                shutdown.cancel();
                return Err(Error::TaskEnded(name));
            }
            _ = signals.terminate.recv() => {
                info!("SIGTERM: finishing the step in flight; a second signal aborts");
                return Ok(());
            }
            _ = signals.interrupt.recv() => {
                info!("SIGINT: finishing the step in flight; a second signal aborts");
                return Ok(());
            }
            _ = signals.hangup.recv() => {
                let (answer, _) = tokio::sync::oneshot::channel();
                let _ = reload.send(answer).await;
            }
        }
    }
}

/// Wakes the others when the leader changes: a new one looks at once, and asks for alerts whose webhook nobody took.
async fn follow_lease(
    store: Store,
    bell: Arc<Notify>,
    poll: Arc<Notify>,
    shutdown: CancellationToken,
) -> &'static str {
    let mut standing = store.lease().subscribe();
    loop {
        tokio::select! {
            changed = standing.changed() => if changed.is_err() { return "lease" },
            () = shutdown.cancelled() => return "lease",
        }
        bell.notify_one();
        if store.lease().term().is_some() {
            poll.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn supervised(task: impl Future<Output = &'static str> + Send + 'static) -> Result<(), Error> {
        let (mut tasks, shutdown) = (JoinSet::new(), CancellationToken::new());
        tasks.spawn(std::future::pending());
        tasks.spawn(task);
        let (reload, _requests) = mpsc::channel(1);
        let mut signals = Signals::new().unwrap();
        let ended = supervise(&mut tasks, &mut signals, &reload, &shutdown).await;
        assert!(shutdown.is_cancelled(), "the other tasks are told");
        ended
    }

    #[tokio::test]
    async fn a_task_that_ends_unasked_or_panics_ends_the_process_with_an_error() {
        let ended = supervised(async { "loop" }).await;
        assert!(matches!(ended, Err(Error::TaskEnded("loop"))), "{ended:?}");
        let ended = supervised(async { panic!("on purpose") }).await;
        assert!(matches!(ended, Err(Error::TaskEnded("panicked"))), "{ended:?}");
    }
}

//! Beside a gitlab-runner: what it is doing, for kubelet and for Prometheus.
//!
//! An outage of GitLab makes a runner *not ready* and never *not alive*: otherwise kubelet would restart every runner
//! there is while GitLab is away.

mod metrics;
mod probe;
mod reading;
mod state;

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::{ConnectInfo, State as Extract},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tracing::{info, warn};
use url::Url;

pub use probe::{ProbeError, probe};
pub use reading::{Reading, Section, Unreadable};
pub use state::{Judgement, Limits, Look, Memory, State};

use crate::{
    clock,
    http::{Problem, show},
    metrics::{Page, WebMetrics},
    model::Timestamp,
    transport::{self, Transport, chain},
};

/// A runner's page is some tens of kilobytes.
const PAGE_LIMIT: usize = 4 << 20;

/// The runner that is watched.
#[derive(Debug)]
pub struct Runner {
    transport: Transport,
    /// How it is configured and looked at.
    pub limits: Limits,
}

impl Runner {
    /// A runner by the address of its metrics page.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn new(url: &Url, limits: Limits) -> Result<Self, transport::Error> {
        let timeout = limits.timeout.unsigned_abs();
        Ok(Self { transport: Transport::new(url, timeout, None, None)?, limits })
    }

    /// One look at the page. Only what no living process does is silence: whoever begins to answer is there, however the
    /// answer goes on.
    async fn look(&self) -> Look {
        let request = self.transport.client.get(self.transport.base().clone());
        let page = match self.transport.begin(request).await {
            Err(error) if silent(&error) => return Look::Silence(chain(&error)),
            Err(error) => return Look::Puzzle(chain(&error)),
            Ok(begun) if !begun.status().is_success() => {
                return Look::Puzzle(format!("{} answered {}", self.transport.name(), begun.status()));
            }
            Ok(begun) => self.transport.body(begun, PAGE_LIMIT).await,
        };
        match page {
            Err(error) => Look::Puzzle(format!("a page began, and then: {}", chain(&error))),
            Ok(page) => match Reading::parse(&String::from_utf8_lossy(&page)) {
                Ok(reading) => Look::Page(reading),
                Err(error) => Look::Puzzle(error.to_string()),
            },
        }
    }
}

/// Whether nobody answered: no listener, no machine, or no beginning of an answer in time. A connection that breaks, or that
/// speaks something else than HTTP, is somebody.
fn silent(error: &transport::Error) -> bool {
    use std::io::ErrorKind;
    if matches!(error, transport::Error::Timeout(_)) {
        return true;
    }
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>()).any(|cause| {
        matches!(
            cause.kind(),
            ErrorKind::ConnectionRefused
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::TimedOut
        )
    })
}

/// What the tasks and the handlers share.
#[derive(Debug, Clone)]
pub struct Sidecar {
    runner: Arc<Runner>,
    memory: Arc<Mutex<Memory>>,
    looks: metrics::Looks,
    now: fn() -> Timestamp,
}

impl Sidecar {
    /// A sidecar that has not looked yet.
    pub fn new(runner: Runner, now: fn() -> Timestamp) -> Self {
        let (runner, memory) = (Arc::new(runner), Arc::new(Mutex::new(Memory::default())));
        Self { runner, memory, looks: metrics::Looks::default(), now }
    }

    fn memory<T>(&self, with: impl FnOnce(&mut Memory) -> T) -> T {
        with(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the runner is doing now.
    pub fn judge(&self) -> Judgement {
        self.memory(|memory| memory.judge(clock::moment(self.now), &self.runner.limits))
    }

    /// Looks at the runner every period until `end`.
    pub async fn watch(&self, end: impl Future<Output = ()>) {
        let mut ticks = tokio::time::interval(self.runner.limits.period.unsigned_abs());
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told = None;
        let mut end = std::pin::pin!(end);
        loop {
            let next = async {
                ticks.tick().await;
                self.runner.look().await
            };
            let look = tokio::select! {
                look = next => look,
                () = &mut end => return,
            };
            metrics::count(&self.looks, matches!(look, Look::Page(_)));
            self.memory(|memory| memory.look(look, clock::moment(self.now), &self.runner.limits));
            let judgement = self.judge();
            if told != Some(judgement.state) {
                told = Some(judgement.state);
                if judgement.state.ready() {
                    info!(state = %judgement.state, "{}", judgement.sentence);
                } else {
                    warn!(state = %judgement.state, "{}", judgement.sentence);
                }
            }
        }
    }

    /// What kubelet asks.
    pub fn probes(self) -> Router {
        Router::new()
            .route("/livez", get(async |Extract(this): Extract<Self>| answer(&this.judge(), State::live)))
            .route("/readyz", get(async |Extract(this): Extract<Self>| answer(&this.judge(), State::ready)))
            .with_state(self)
    }

    /// All other routes. Serve it with connect info of [`SocketAddr`].
    pub fn router(self, web: &WebMetrics) -> Router {
        let seen = metrics::Seen { memory: self.memory.clone(), limits: self.runner.limits, now: self.now };
        let page = Page::new((self.now)(), |ours| {
            ours.register("sidecar_looks", "Looks at the runner's metrics page", self.looks.clone());
            ours.register_collector(Box::new(seen));
            web.register(ours);
        });
        Router::new()
            .route("/metrics", get(async move |headers: HeaderMap| show(&page, &headers).await))
            .route("/drain", post(drain))
            .route("/-/healthy", get(|| async { "The sidecar is healthy.\n" }))
            .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "There is nothing at this address.") })
            .with_state(self)
    }
}

/// One line for the process, one for every section when there are several.
fn answer(judgement: &Judgement, good: fn(State) -> bool) -> Response {
    let mut text = format!("{}: {}\n", judgement.state, judgement.sentence);
    if judgement.sections.len() > 1 {
        text.extend(judgement.sections.iter().map(|(runner, state)| format!("runner {runner}: {state}\n")));
    }
    let status = if good(judgement.state) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, text).into_response()
}

/// For the preStop hook of a runner that does not show its shutdown. From the pod alone.
async fn drain(
    Extract(this): Extract<Sidecar>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
) -> Result<&'static str, Problem> {
    if !peer.ip().is_loopback() {
        return Err(Problem::new(StatusCode::FORBIDDEN, "A drain is taken from loopback only."));
    }
    this.memory(Memory::drain);
    Ok("The runner counts as draining until it is started anew.\n")
}

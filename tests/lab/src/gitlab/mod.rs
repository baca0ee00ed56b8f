//! A GitLab made of memory: the runner API, GraphQL, the runners' job protocol, and switches to break them.
//!
//! It knows nothing of the product. What it does is taken from GitLab's own source and documentation: two contact
//! clocks, Workhorse's held polls, full-replace `PUT` without compare-and-set, REST's `paused` that hides liveness,
//! the complexity budget, three shapes of `429`.
//!
//! ```no_run
//! use switchyard_lab::gitlab::{Config, Fault, Kind, Match, RunnerSpec, Simulator, TokenSpec};
//! let gitlab = Simulator::start(Config::default());
//! let token = gitlab.admin().create_token(TokenSpec::admin("switchyard", &["read_api", "manage_runner"]));
//! let blue = gitlab.admin().create_runner(RunnerSpec::new("blue-1", &["runner-a", "rnd-runner"]));
//! gitlab.admin().fault(Fault::new(Match::operation("update_runner"), Kind::ResetAfterCommit).times(1));
//! println!("{} {token} {:?}", gitlab.url(), gitlab.admin().tags(blue.id));
//! ```
//!
//! The same over HTTP, for the demo and for other processes: `GET /-/lab/state`, `/-/lab/audit`, `/-/lab/requests`;
//! `POST /-/lab/faults`, `/-/lab/outage`, `/-/lab/jobs`, … (module `lab`). They ask for no token: the simulator
//! listens on the loopback address unless told otherwise.
//!
//! It runs in a thread of its own, so a test may block. Dropping the [`Simulator`] closes the port and all
//! connections.

mod access;
mod admin;
mod change;
mod complexity;
pub mod faults;
mod files;
mod graphql;
mod graphql_filter;
mod graphql_incidents;
mod graphql_mutations;
mod graphql_scalars;
mod graphql_types;
mod incidents;
mod jobs;
mod jobs_view;
mod lab;
mod lookup;
mod model;
mod ownership;
mod pipelines;
mod reply;
mod rest;
mod runner_api;
mod server;
mod state;
mod variables;
mod virtual_runners;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use access::{Role, TokenSpec};
pub use admin::{Admin, Created};
pub use faults::{Fault, Kind, Match, Outage};
pub use incidents::{Alert, Issue, Severity, TimelineEvent};
pub use jobs::{Job, JobStatus, JobTemplate, Pipeline};
pub use model::{Audit, Contact, Creator, Group, Logged, Manager, Owner, Project, Routing, Runner, Status};
pub use virtual_runners::{Condition, VirtualRunner, VirtualRunners};

use server::Shared;
use state::State;

/// How the simulated GitLab is set up. Everything can be changed later through [`Admin`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How long Workhorse holds a poll. GitLab's packages use 50 s; zero switches it off.
    pub long_poll: Duration,
    /// What runners are told about sending their logs, whole seconds. GitLab says 60, and 3 while somebody watches.
    pub trace_update_interval: Duration,
    /// What `GET /version` says.
    pub version: String,
    /// Key of the alert endpoint of every project.
    pub alert_key: String,
    /// GraphQL may be refused altogether.
    pub graphql: GraphqlMode,
    /// How long a GraphQL query may take: GitLab's 30 s.
    pub graphql_timeout: Duration,
    /// Requests per window and token.
    pub rate_limit: Option<RateLimit>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            long_poll: Duration::ZERO,
            trace_update_interval: Duration::from_secs(1),
            version: "19.4.0-ee".to_owned(),
            alert_key: "alert-key".to_owned(),
            graphql: GraphqlMode::On,
            graphql_timeout: Duration::from_secs(30),
            rate_limit: None,
        }
    }
}

/// Whether GraphQL answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GraphqlMode {
    /// It does.
    #[default]
    On,
    /// Every request gets this HTTP status.
    Off(u16),
}

/// The three shapes of `429`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateLimitShape {
    /// Plain text `Retry later` with `Retry-After`; `RateLimit-*` on every answer.
    #[default]
    Text,
    /// JSON without any header.
    Json,
    /// JSON with `Retry-After` only.
    JsonRetryAfter,
}

/// A fixed window per access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Allowed in a window.
    pub requests: u64,
    /// Length of the window.
    pub window: Duration,
    /// How the refusal looks.
    #[serde(default)]
    pub shape: RateLimitShape,
}

/// A runner to create.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunnerSpec {
    /// Shown in lists.
    pub description: String,
    /// Tags in order.
    pub tags: Vec<String>,
    /// Who owns it.
    pub owner: Owner,
    /// Not accepting jobs.
    pub paused: bool,
    /// Bound to its projects.
    pub locked: bool,
    /// Takes jobs without tags.
    pub run_untagged: bool,
    /// Takes only jobs of protected refs.
    pub ref_protected: bool,
    /// Seconds.
    pub maximum_timeout: Option<u64>,
    /// Visible to those who may update it.
    pub maintenance_note: Option<String>,
    /// The authentication token; generated when absent.
    pub token: Option<String>,
}

impl Default for RunnerSpec {
    fn default() -> Self {
        Self {
            description: String::new(),
            tags: Vec::new(),
            owner: Owner::Instance,
            paused: false,
            locked: false,
            run_untagged: false,
            ref_protected: false,
            maximum_timeout: None,
            maintenance_note: None,
            token: None,
        }
    }
}

impl RunnerSpec {
    /// An instance runner that takes tagged jobs only.
    #[must_use]
    pub fn new(description: &str, tags: &[&str]) -> Self {
        Self {
            description: description.to_owned(),
            tags: tags.iter().map(|t| (*t).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// The same, owned by somebody else.
    #[must_use]
    pub fn owned_by(mut self, owner: Owner) -> Self {
        self.owner = owner;
        self
    }

    fn into_row(self) -> Runner {
        Runner {
            id: 0,
            owner: self.owner,
            description: self.description,
            paused: self.paused,
            locked: self.locked,
            run_untagged: self.run_untagged,
            ref_protected: self.ref_protected,
            maximum_timeout: self.maximum_timeout,
            tags: self.tags,
            maintenance_note: self.maintenance_note,
            token: self.token.unwrap_or_default(),
            created_by: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            contact: Contact::default(),
            managers: BTreeMap::new(),
        }
    }
}

/// A running GitLab. See the [module](self).
#[derive(Debug)]
pub struct Simulator {
    admin: Admin,
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Simulator {
    /// Starts it in a thread of its own.
    ///
    /// # Panics
    /// When it cannot listen or start a thread.
    #[must_use]
    pub fn start(config: Config) -> Self {
        Self::try_start(config).expect("the simulated GitLab starts")
    }

    /// Starts it in a thread of its own.
    ///
    /// # Errors
    /// When it cannot listen or start a thread.
    pub fn try_start(config: Config) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind(config.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Shared::new(State::new(config));
        let stop = CancellationToken::new();
        let admin = Admin::new(shared.clone());
        admin.create_project("rnd/canary");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("gitlab-sim")
            .enable_all()
            .build()?;
        let until = stop.clone();
        let thread = std::thread::Builder::new().name("gitlab-sim-main".to_owned()).spawn(move || {
            runtime.block_on(async {
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => server::serve(listener, shared, until).await,
                    Err(error) => tracing::error!(%error, "cannot listen"),
                }
            });
            runtime.shutdown_background();
        })?;
        Ok(Self { admin, address, stop, thread: Some(thread) })
    }

    /// `http://127.0.0.1:PORT`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Looks and switches that no GitLab has.
    #[must_use]
    pub fn admin(&self) -> &Admin {
        &self.admin
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed already.
            let _ = thread.join();
        }
    }
}

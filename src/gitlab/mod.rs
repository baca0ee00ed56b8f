//! GitLab's runner records: reading them, moving a tag, and checking the access token.

mod check;
mod error;
mod graphql;
mod http;
mod in_flight;
mod rest;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use secrecy::SecretString;

use crate::model::{PoolSelector, Runner, RunnerId, Tag, Topology};

pub use error::Error;
pub use graphql::read_page;
pub use http::Reply;
pub use in_flight::{read_jobs, read_pipeline, read_pipeline_jobs};
pub use rest::read_runner;
pub use write::{Ask, Change, Next};

use http::Http;

/// How GitLab is reached.
#[derive(Clone)]
pub struct Settings {
    /// The address of GitLab, with its path if it does not live at the root.
    pub url: String,
    /// Personal, group or project access token with `read_api` and `manage_runner`, or with `api`.
    pub token: SecretString,
    /// Where the runner records are.
    pub scope: Scope,
    /// For a connection, TLS included.
    pub connect_timeout: Duration,
    /// For one request from the connection to the last byte of the answer.
    pub request_timeout: Duration,
    /// How many requests run at once.
    pub concurrency: usize,
    /// Certificates to trust besides those of the system, PEM.
    pub ca_pem: Option<Vec<u8>>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("scope", &self.scope)
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("concurrency", &self.concurrency)
            .field("ca_pem", &self.ca_pem.is_some())
            .finish_non_exhaustive()
    }
}

/// Where the runner records are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere; needs the token of an administrator or auditor.
    Instance,
    /// All that is available to a group: its own, those above and those below it. The full path.
    Group(String),
    /// All that is available to a project. The full path.
    Project(String),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance => f.write_str("the instance"),
            Self::Group(path) => write!(f, "group {path}"),
            Self::Project(path) => write!(f, "project {path}"),
        }
    }
}

/// One finished request, for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestEvent {
    /// What was asked; a closed set.
    pub operation: &'static str,
    /// The HTTP status, or `connect` (no connection), `timeout` or `broken` (no whole answer).
    pub code: String,
    /// From sending to the last byte.
    pub duration: Duration,
    /// What GitLab says is left of the request budget.
    pub rate_limit_remaining: Option<u64>,
}

/// Is told about every request that was sent.
pub type Observer = Arc<dyn Fn(&RequestEvent) + Send + Sync>;

/// Which records are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Records that carry one of these.
    pub tags: BTreeSet<Tag>,
    /// These records.
    pub ids: BTreeSet<RunnerId>,
    /// Every record of the scope: somebody selects by description.
    pub all: bool,
}

impl Wanted {
    /// The records that a topology is about.
    pub fn of(topology: &Topology) -> Self {
        let mut wanted = Self::default();
        for fleet in topology.fleets.values() {
            wanted.tags.insert(fleet.routing_tag.clone());
            for pool in fleet.pools.values() {
                match &pool.selector {
                    PoolSelector::HomeTag(tag) => {
                        wanted.tags.insert(tag.clone());
                    }
                    PoolSelector::Runners(ids) => wanted.ids.extend(ids),
                    PoolSelector::Description(_) => wanted.all = true,
                }
            }
        }
        wanted
    }

    /// Whether it is one of these.
    pub fn selects(&self, runner: &Runner) -> bool {
        self.all || self.ids.contains(&runner.id) || !self.tags.is_disjoint(&runner.tags)
    }

    /// One list per tag, for GitLab's filter wants all tags of a filter at once; or one list of everything.
    fn lists(&self) -> Vec<Option<&Tag>> {
        if self.all { vec![None] } else { self.tags.iter().map(Some).collect() }
    }
}

/// Whom the last whole read over GraphQL saw. REST's list of a group leaves out what is below the group.
#[derive(Debug, Default)]
pub struct Sighted(Option<BTreeSet<RunnerId>>);

impl Sighted {
    /// Takes in a whole read over GraphQL.
    pub fn note(&mut self, runners: &[Runner]) {
        self.0 = Some(runners.iter().map(|runner| runner.id).collect());
    }

    /// The records to ask for one by one, when REST's lists have shown these.
    ///
    /// # Errors
    /// When more may be there than REST lists, and nobody has ever seen it: what is not seen must not look absent.
    pub fn to_ask(
        &self,
        scope: &Scope,
        wanted: &Wanted,
        listed: impl IntoIterator<Item = RunnerId>,
    ) -> Result<BTreeSet<RunnerId>, Error> {
        let mut ids: BTreeSet<RunnerId> = listed.into_iter().chain(wanted.ids.iter().copied()).collect();
        if matches!(scope, Scope::Group(_)) {
            match &self.0 {
                Some(seen) => ids.extend(seen),
                None if wanted.lists().is_empty() => {}
                None => {
                    let why = format!(
                        "GraphQL is refused, and REST leaves out what is below {scope}: allow /api/graphql, or choose the \
                         runners by their numbers"
                    );
                    return Err(Error::Incomplete { operation: rest::LIST, why });
                }
            }
        }
        Ok(ids)
    }
}

/// A connection to one GitLab.
pub struct Client {
    http: Http,
    scope: Scope,
    graphql: graphql::Budget,
    sighted: Mutex<Sighted>,
    locks: [tokio::sync::Mutex<()>; write::LOCKS],
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("http", &self.http).field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Client {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// When a setting cannot work.
    pub fn new(settings: Settings, observer: Observer) -> Result<Self, Error> {
        Ok(Self {
            http: Http::new(&settings, observer)?,
            scope: settings.scope,
            graphql: graphql::Budget::default(),
            sighted: Mutex::default(),
            locks: std::array::from_fn(|_| tokio::sync::Mutex::default()),
        })
    }

    /// Uses another token from the next request on. Says whether it is another one.
    ///
    /// # Errors
    ///
    /// When it cannot stand in a header.
    pub fn set_token(&self, token: &SecretString) -> Result<bool, Error> {
        self.http.set_token(token)
    }

    /// Every runner record that is wanted, each once, sorted by id. It is the whole answer or an error: what could
    /// not be read never looks absent.
    ///
    /// # Errors
    ///
    /// When anything of it could not be read.
    pub async fn runners(&self, wanted: &Wanted) -> Result<Vec<Runner>, Error> {
        if let Some(why) = self.graphql.refused() {
            tracing::debug!(why, "GraphQL was refused lately, reading over REST");
            return self.runners_over_rest(wanted).await;
        }
        match self.runners_over_graphql(wanted).await {
            Ok(runners) => {
                self.sighted.lock().unwrap_or_else(PoisonError::into_inner).note(&runners);
                Ok(runners)
            }
            Err(graphql::Failure::Error(error)) => Err(error),
            Err(graphql::Failure::Refused(why) | graphql::Failure::TooComplex(why)) => {
                tracing::warn!(why, "GitLab refuses the GraphQL query, reading over REST for a while");
                self.graphql.refuse(why);
                self.runners_over_rest(wanted).await
            }
        }
    }
}

/// Each record once, sorted by id.
fn unique(wanted: &Wanted, runners: impl IntoIterator<Item = Runner>) -> Vec<Runner> {
    let by_id: BTreeMap<RunnerId, Runner> =
        runners.into_iter().filter(|r| wanted.selects(r)).map(|r| (r.id, r)).collect();
    for id in wanted.ids.iter().filter(|id| !by_id.contains_key(id)) {
        tracing::debug!(runner = id.0, "GitLab knows no such runner, or hides it");
    }
    by_id.into_values().collect()
}

/// GitLab's tags as ours. One that breaks GitLab's own rules can be neither a home tag nor a routing tag.
fn tags(raw: &[String]) -> BTreeSet<Tag> {
    raw.iter().filter_map(|tag| tag.parse().ok()).collect()
}

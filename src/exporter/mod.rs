//! Reads the objects of clusters and shows what is to be thought of them: the role `exporter`.
//!
//! One watch per kind and namespace keeps a trimmed copy of the objects (a reflector); a probe asks each cluster's API whether it is
//! ready; the metrics judge the copies when they are scraped. What was not heard of for too long is not known.

mod cluster;
mod connect;
mod failure;
pub mod families;
mod line;
pub mod metrics;
mod pages;
mod probe;
mod watch;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::Router;
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::error;

pub use cluster::{Cluster, Collector, Probe, Source, State};
pub use connect::{Access, Context, Error, RunnerPods};
pub use failure::{Failure, ProbeFailure, ProbeReason, Reason, Verb};

use crate::{
    clock,
    kubernetes::{Kind, Limits, Tool},
    metrics::{Page, WebMetrics},
    model::{SignedDuration, Timestamp},
};

/// How often changes are taken into the history: convergence is measured so finely.
const FOLD: Duration = Duration::from_secs(1);
/// Limit of a page, and of the answer to a new watch.
const REQUEST: Duration = Duration::from_secs(30);

/// What is watched, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How the clusters are reached.
    pub access: Access,
    /// Only these namespaces; all when empty. Runner pods have their own.
    pub namespaces: BTreeSet<String>,
    /// Whose objects are watched.
    pub tools: BTreeSet<Tool>,
    /// Where the runner pods are.
    pub runner_pods: Vec<RunnerPods>,
    /// Without an answer for so long, what was seen counts no more.
    pub stale_after: Duration,
    /// How often each API is probed.
    pub probe_interval: Duration,
    /// Limit of one probe.
    pub probe_timeout: Duration,
    /// How often what is not installed or not allowed is looked for again.
    pub recheck: Duration,
    /// Objects in a page of a list.
    pub page: u32,
    /// How long is too long, for the judgements.
    pub limits: Limits,
}

impl Settings {
    fn sources(&self) -> Vec<Source> {
        let pods = self.runner_pods.iter().map(|pods| Source {
            kind: Kind::Pod,
            namespace: Some(pods.namespace.clone()),
            labels: Some(pods.labels.clone()),
            fleet: Some(pods.fleet.to_string()),
        });
        let namespaces: Vec<Option<String>> = match self.namespaces.is_empty() {
            true => vec![None],
            false => self.namespaces.iter().cloned().map(Some).collect(),
        };
        let kinds = Kind::ALL.into_iter().filter(|kind| self.tools.contains(&kind.tool()));
        let others = kinds.filter(|kind| *kind != Kind::Pod).flat_map(|kind| {
            namespaces.iter().map(move |namespace| Source {
                kind,
                namespace: namespace.clone(),
                labels: None,
                fleet: None,
            })
        });
        pods.chain(others).collect()
    }
}

/// Clusters that are watched.
pub struct Exporter {
    clusters: Vec<Reached>,
    settings: Settings,
}

/// A cluster and how it is reached.
struct Reached {
    cluster: Arc<Cluster>,
    /// For the watches.
    client: Client,
    /// For the probe alone: it shares no connection.
    probe: Client,
}

impl Exporter {
    /// Makes a client for each cluster. Nothing is asked yet.
    ///
    /// # Errors
    /// What is wrong with the settings, the kubeconfig or the credentials, and the mend.
    pub async fn new(settings: Settings) -> Result<Self, Error> {
        let stale_after = SignedDuration::try_from(settings.stale_after).unwrap_or(SignedDuration::MAX);
        let mut clusters = Vec::new();
        for (name, config) in settings.access.clusters().await? {
            let client = |config| {
                Client::try_from(config).map_err(|error| Error::Client(name.clone(), failure::words(&error)))
            };
            let (client, probe) = (client(config.clone())?, client(config)?);
            let cluster = Arc::new(Cluster::new(
                name.to_string(),
                settings.sources(),
                stale_after,
                settings.limits.destinations.clone(),
            ));
            clusters.push(Reached { cluster, client, probe });
        }
        Ok(Self { clusters, settings })
    }

    /// The clusters.
    pub fn clusters(&self) -> Vec<Arc<Cluster>> {
        self.clusters.iter().map(|reached| reached.cluster.clone()).collect()
    }

    /// The metrics of all clusters, judged when they are asked for, and whether the exporter lives and is ready.
    pub fn router(&self, now: fn() -> Timestamp, web: &WebMetrics) -> Router {
        let watched =
            metrics::Watched { clusters: self.clusters(), limits: self.settings.limits.clone(), now };
        let page = Page::new(now(), |ours| {
            ours.register_collector(Box::new(watched));
            web.register(ours);
        });
        pages::router(self.clusters(), page)
    }

    /// Reads until `shutdown`. It ends earlier only when something panicked.
    pub async fn run(self, now: fn() -> Timestamp, shutdown: CancellationToken) {
        let mut tasks = JoinSet::new();
        self.start(&mut tasks, now);
        tokio::select! {
            ended = tasks.join_next() => error!(?ended, "a task of the exporter ended unasked"),
            () = shutdown.cancelled() => {}
        }
    }

    fn start(self, tasks: &mut JoinSet<()>, now: fn() -> Timestamp) {
        let Settings { stale_after, probe_interval, probe_timeout, recheck, page, .. } = self.settings;
        let request = REQUEST.min(stale_after / 2);
        // Two signs of life within the limit, at least.
        let watch = (stale_after / 3).clamp(Duration::from_secs(1), Duration::from_secs(240));
        for Reached { cluster, client, probe } in self.clusters {
            for index in 0..cluster.sources.len() {
                let (client, cluster) = (client.clone(), cluster.clone());
                let line = line::Line { client, cluster, index, request, watch, now };
                tasks.spawn(watch::Watch { line, recheck, page }.run());
            }
            let history = cluster.clone();
            tasks.spawn(async move {
                let mut ticks = tokio::time::interval(FOLD);
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    history.look_if_changed(clock::moment(now));
                }
            });
            tasks.spawn(probe::run(probe, cluster, probe_interval, probe_timeout, now));
        }
    }
}

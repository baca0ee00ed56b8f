//! The world as it is: GitLab, DNS, Prometheus.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;

use super::{World, looked_too_long};
use crate::{
    config::Queries,
    dns, gitlab,
    model::{
        DnsView, Draining, Fence, FleetName, Observation, Pipeline, Seen, Step, StepOutcome, Timestamp,
        Topology,
    },
    prometheus,
    transport::chain,
};

/// The clients.
#[derive(Debug)]
pub struct Live {
    /// GitLab.
    pub gitlab: gitlab::Client,
    /// The runner records that the topology is about.
    pub wanted: gitlab::Wanted,
    /// The DNS providers by name.
    pub dns: BTreeMap<String, dns::Provider>,
    /// Every Prometheus server.
    pub prometheus: prometheus::Servers,
    /// What they are asked, by fleet.
    pub queries: BTreeMap<FleetName, Queries>,
}

impl Live {
    /// The clock of the process.
    #[expect(clippy::disallowed_methods, reason = "the one place where the clock is read")]
    pub fn clock() -> Timestamp {
        Timestamp::now()
    }

    async fn runners(&self) -> Seen<Vec<crate::model::Runner>> {
        match self.gitlab.runners(&self.wanted).await {
            Ok(runners) => Seen::Known(runners),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "GitLab could not be read");
                Seen::Unknown(error.to_string())
            }
        }
    }

    async fn names(&self, topology: &Topology) -> BTreeMap<FleetName, DnsView> {
        let views = topology.fleets.values().filter_map(|fleet| {
            let record = fleet.dns.as_ref()?;
            let provider = self.dns.get(&record.provider)?;
            Some(async { (fleet.name.clone(), provider.observe(&record.name, record.record_type).await) })
        });
        join_all(views).await.into_iter().collect()
    }
}

impl World for Live {
    fn now(&self) -> Timestamp {
        Self::clock()
    }

    async fn observe(&self, topology: &Topology) -> Observation {
        let at = self.now();
        let (runners, dns, evidence) =
            tokio::join!(self.runners(), self.names(topology), self.prometheus.evidence(&self.queries, at));
        Observation { at, runners, dns, evidence }
    }

    async fn in_flight(
        &self,
        fleets: &BTreeMap<FleetName, Draining>,
        limit: Duration,
    ) -> BTreeMap<FleetName, Seen<Vec<Pipeline>>> {
        let looks = fleets.iter().map(async |(name, draining)| {
            let look = self.gitlab.in_flight(draining, self.now());
            let seen = match tokio::time::timeout(limit, look).await {
                Ok(Ok(pipelines)) => Seen::Known(pipelines),
                Ok(Err(error)) => {
                    tracing::warn!(fleet = %name, error = %chain(&error), "pipelines could not be read");
                    Seen::Unknown(error.to_string())
                }
                Err(_) => {
                    tracing::warn!(fleet = %name, ?limit, "pipelines could not be read in time");
                    Seen::Unknown(looked_too_long(limit))
                }
            };
            (name.clone(), seen)
        });
        join_all(looks).await.into_iter().collect()
    }

    async fn apply(&self, fence: &Fence, step: &Step) -> StepOutcome {
        match step {
            Step::Tag(step) => self.gitlab.apply_before(step, fence.deadline).await,
            Step::Dns(dns) => match self.dns.get(&dns.provider) {
                Some(provider) => provider.apply(fence, dns).await,
                None => StepOutcome::Failed {
                    why: format!("there is no DNS provider {:?}", dns.provider),
                    transient: false,
                },
            },
        }
    }
}

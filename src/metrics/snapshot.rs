//! State gauges, read from the snapshot at scrape time.

use std::sync::Arc;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};
use tokio::sync::watch;

use super::page::{family, seconds};
use crate::{
    model::Seen,
    status::{FleetStatus, RUNNER_STATES, Status},
    store::Store,
};

#[derive(Debug)]
pub(super) struct Snapshot(pub(super) watch::Receiver<Arc<Status>>);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let status = self.0.borrow().clone();
        let e = &mut encoder;
        let fleets = || status.fleets.values();
        if status.at.is_some() {
            let up = f64::from(matches!(status.gitlab, Seen::Known(_)));
            family(
                e,
                "gitlab_up",
                "Whether the last pass could read the runners from GitLab.",
                None,
                [(vec![], up)].into_iter(),
            )?;
        }
        family(
            e,
            "watchdog_last_timestamp",
            "When a firing watchdog alert was last heard of.",
            Some(&Unit::Seconds),
            status.watchdog_at.into_iter().map(|at| (vec![], seconds(at))),
        )?;
        family(
            e,
            "prometheus_up",
            "Whether a Prometheus server answered in the last pass.",
            None,
            status.prometheus.iter().map(|(server, up)| (vec![("server", server.as_str())], f64::from(*up))),
        )?;
        family(
            e,
            "clock_ahead",
            "How far the clock of this machine is ahead of a Prometheus server's; negative when it is behind.",
            Some(&Unit::Seconds),
            status
                .clocks
                .iter()
                .map(|(server, ahead)| (vec![("server", server.as_str())], ahead.as_secs_f64())),
        )?;
        per_fleet(e, "fleet_enabled", "Whether Switchyard may move the fleet.", &status, |f| {
            Some(f64::from(f.enabled))
        })?;
        per_fleet(e, "fleet_generation", "The number of the fleet's decision.", &status, |f| {
            Some(f.generation.0 as f64)
        })?;
        per_fleet(
            e,
            "fleet_drift",
            "Whether what is seen differs from what is decided and no move explains it.",
            &status,
            |f| Some(f64::from(f.drift)),
        )?;
        per_fleet(e, "fleet_moving", "Whether a move is under way.", &status, |f| Some(f64::from(f.moving)))?;
        per_fleet(
            e,
            "fleet_latched",
            "Whether the last move failed and nobody has acknowledged it.",
            &status,
            |f| Some(f64::from(f.latched)),
        )?;
        per_fleet(e, "fleet_paused", "Whether a person paused the fleet.", &status, |f| {
            Some(f64::from(f.paused))
        })?;
        per_fleet(
            e,
            "fleet_proposal_pending",
            "Whether an automatic move waits for a person to approve it.",
            &status,
            |f| Some(f64::from(f.proposal.is_some())),
        )?;
        per_fleet(
            e,
            "fleet_request_waiting",
            "Whether a planned move waits until the fleet has drained.",
            &status,
            |f| Some(f64::from(f.waiting.is_some())),
        )?;
        per_fleet(
            e,
            "fleet_pipelines_in_flight",
            "Pipelines with jobs on the routing tag in flight, while a planned move of a sticky fleet is asked for.",
            &status,
            |f| f.in_flight.map(|count| count as f64),
        )?;
        per_cluster(
            e,
            "fleet_intended_holder",
            "Whether the cluster holds the fleet, as decided.",
            &status,
            |f, c| f.intended_holder.as_ref().map(|holder| f64::from(holder == c)),
        )?;
        per_cluster(
            e,
            "fleet_holder",
            "Whether runners of the cluster carry the routing tag, as seen in GitLab.",
            &status,
            |f, c| f.observed_holders.known().map(|holders| f64::from(holders.contains(c))),
        )?;
        per_cluster(e, "fleet_preferred", "Whether the cluster is the fleet's home.", &status, |f, c| {
            Some(f64::from(f.prefer.first() == Some(c)))
        })?;
        family(
            e,
            "fleet_requires",
            "Whether the fleet requires this of a target beside its runners.",
            None,
            fleets().flat_map(|f| {
                f.require.named().into_iter().map(|(requirement, required)| {
                    let labels = vec![("fleet", f.name.as_str()), ("requirement", requirement)];
                    (labels, f64::from(required))
                })
            }),
        )?;
        let ratio = Unit::Other("ratio".to_owned());
        family(
            e,
            "fleet_threshold",
            "The fleet's thresholds, for rules that serve all fleets by a join.",
            Some(&ratio),
            fleets().flat_map(|f| {
                f.thresholds.iter().map(|(threshold, value)| {
                    (vec![("fleet", f.name.as_str()), ("threshold", *threshold)], *value)
                })
            }),
        )?;
        family(
            e,
            "gate_open",
            "Whether a gate lets a move of the fleet pass; asked for or not.",
            None,
            fleets().flat_map(|f| {
                f.gates
                    .iter()
                    .map(|g| (vec![("fleet", f.name.as_str()), ("gate", g.gate.as_str())], f64::from(g.open)))
            }),
        )?;
        family(
            e,
            "runners",
            "Runner records in GitLab by cluster and state.",
            None,
            fleets().flat_map(|f| {
                f.prefer.iter().filter_map(|c| Some((c, f.runner_counts(c)?))).flat_map(|(c, counts)| {
                    RUNNER_STATES.into_iter().zip(counts).map(|(state, count)| {
                        let labels = vec![
                            ("fleet", f.name.as_str()),
                            ("runner_cluster", c.as_str()),
                            ("state", state),
                        ];
                        (labels, count as f64)
                    })
                })
            }),
        )?;
        contacts(e, &status)
    }
}

/// One series per runner record, so the number's text is made once per record and nothing is kept.
fn contacts(e: &mut DescriptorEncoder<'_>, status: &Status) -> Result<(), std::fmt::Error> {
    let mut metric = e.encode_descriptor(
        "runner_contacted_timestamp",
        "When GitLab last heard from a runner. Lags by up to an hour for an idle runner: not a sign of death.",
        Some(&Unit::Seconds),
        MetricType::Gauge,
    )?;
    for fleet in status.fleets.values() {
        for (cluster, runner, at) in fleet.contacts() {
            let runner = runner.to_string();
            let labels = [
                ("fleet", fleet.name.as_str()),
                ("runner_cluster", cluster.as_str()),
                ("runner_id", &runner),
            ];
            ConstGauge::new(seconds(at)).encode(metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn per_fleet(
    e: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    status: &Status,
    value: impl Fn(&FleetStatus) -> Option<f64>,
) -> Result<(), std::fmt::Error> {
    let samples = status.fleets.values().filter_map(|f| Some((vec![("fleet", f.name.as_str())], value(f)?)));
    family(e, name, help, None, samples)
}

fn per_cluster(
    e: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    status: &Status,
    value: impl Fn(&FleetStatus, &crate::model::ClusterName) -> Option<f64>,
) -> Result<(), std::fmt::Error> {
    let value = &value;
    let samples = status.fleets.values().flat_map(|f| {
        f.prefer.iter().filter_map(move |c| {
            Some((vec![("fleet", f.name.as_str()), ("runner_cluster", c.as_str())], value(f, c)?))
        })
    });
    family(e, name, help, None, samples)
}

/// The store's own counters.
#[derive(Debug)]
pub(super) struct StoreStats(pub(super) Store);

impl Collector for StoreStats {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let stats = self.0.stats();
        for (name, help, value) in [
            ("store_commits", "Transactions of the store.", stats.commits),
            ("store_operations", "Operations in those transactions.", stats.operations),
            (
                "store_refused",
                "Operations refused because too many waited, or because the database took nothing.",
                stats.refused,
            ),
            (
                "lease_renewal_failures",
                "Attempts to renew the lease, or to look at it, that failed.",
                stats.renewal_failures,
            ),
        ] {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        family(
            &mut encoder,
            "leader",
            "Whether this process leads: decides and acts.",
            None,
            [(vec![], f64::from(stats.leads))].into_iter(),
        )?;
        family(
            &mut encoder,
            "lease_epoch",
            "The number of the leader's term, as far as this process knows.",
            None,
            [(vec![], stats.epoch.0 as f64)].into_iter(),
        )?;
        let queue = stats.queue_depth as f64;
        family(
            &mut encoder,
            "store_queue_length",
            "Operations that wait for the store.",
            None,
            [(vec![], queue)].into_iter(),
        )
    }
}

//! How long is too long, and what is taken without proof: for `exporter` and `verdict` alike.

use std::{str::FromStr, time::Duration};

use clap::Args;

use crate::{
    kubernetes::{Destinations, Limits},
    model::{ClusterName, SignedDuration},
};

#[derive(Debug, Clone, Args)]
pub(super) struct Judging {
    /// So many intervals without a heartbeat make an object unknown.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    missed_heartbeats: u16,
    /// How often Argo CD compares each application at least: timeout.reconciliation and its jitter.
    #[arg(long, value_name = "DURATION", default_value = "3m", value_parser = at_least::<1>)]
    argocd_resync: Duration,
    /// How long an operation of Argo CD may run, its retries included, before it counts as stuck.
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = at_least::<1>)]
    argocd_operation: Duration,
    /// Which runner cluster a destination of Argo CD is, by its name there or its server's address: what a hub says of it counts
    /// for that cluster. May be given several times; in-cluster and https://kubernetes.default.svc are the hub itself.
    #[arg(long, value_name = "NAME_OR_URL=RUNNER_CLUSTER")]
    argocd_destination: Vec<Destined>,
    /// How often Velero validates a backup location that does not say it itself.
    #[arg(long, value_name = "DURATION", default_value = "70s", value_parser = at_least::<1>)]
    velero_validation: Duration,
    /// How much longer than a schedule's interval ago its newest completed backup may have begun: a backup takes its time,
    /// and waits for others.
    #[arg(long, value_name = "DURATION", default_value = "2h", value_parser = at_least::<0>)]
    velero_rpo_tolerance: Duration,
    /// How long ago it may have begun, whatever the interval; "none": what this schedule saved does not count, such as one
    /// that was given up. May be given several times.
    #[arg(long, value_name = "NAMESPACE/SCHEDULE=DURATION")]
    velero_rpo: Vec<Said>,
    /// An Argo CD Application that a person syncs may be healthy.
    #[arg(long)]
    accept_manual_sync: bool,
    /// A Flux object of which nothing moves while all is well may be healthy, or broken, without proof that its controller lives.
    #[arg(long)]
    accept_silent: bool,
}

/// What is said of one destination.
#[derive(Debug, Clone)]
struct Destined {
    destination: String,
    cluster: ClusterName,
}

impl FromStr for Destined {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once('=') {
            Some((destination, cluster)) if !destination.is_empty() => {
                let cluster = cluster.parse().map_err(|error| format!("{error}"))?;
                Ok(Self { destination: destination.to_owned(), cluster })
            }
            _ => Err("write it as green=green, or https://10.0.0.1:6443=green".to_owned()),
        }
    }
}

/// What is said of one schedule.
#[derive(Debug, Clone)]
struct Said {
    schedule: (String, String),
    rpo: Option<SignedDuration>,
}

impl FromStr for Said {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write it as velero/daily=26h, or velero/old=none".to_owned();
        let (schedule, rpo) = text.split_once('=').ok_or_else(wrong)?;
        let (namespace, name) = schedule.split_once('/').ok_or_else(wrong)?;
        if namespace.is_empty() || name.is_empty() || name.contains('/') {
            return Err(wrong());
        }
        let rpo = match rpo {
            "none" => None,
            rpo => Some(rpo.parse().ok().filter(SignedDuration::is_positive).ok_or_else(wrong)?),
        };
        Ok(Self { schedule: (namespace.to_owned(), name.to_owned()), rpo })
    }
}

impl Judging {
    /// The limits. What is said last of a schedule counts.
    ///
    /// # Errors
    /// One destination is said to be two clusters.
    pub(super) fn limits(self) -> Result<Limits, String> {
        let Self {
            missed_heartbeats,
            argocd_resync,
            argocd_operation,
            argocd_destination,
            velero_validation,
            velero_rpo_tolerance,
            velero_rpo,
            accept_manual_sync,
            accept_silent,
        } = self;
        let mut destinations = Destinations::default();
        for Destined { destination, cluster } in argocd_destination {
            if !destinations.insert(&destination, cluster.to_string()) {
                return Err(format!("--argocd-destination names two clusters for {destination}"));
            }
        }
        Ok(Limits {
            missed: missed_heartbeats.into(),
            application_interval: signed(argocd_resync),
            operation: signed(argocd_operation),
            destinations,
            location_interval: signed(velero_validation),
            rpo_tolerance: signed(velero_rpo_tolerance),
            rpo: velero_rpo.into_iter().map(|said| (said.schedule, said.rpo)).collect(),
            accept_manual_sync,
            accept_silent,
            ..Limits::default()
        })
    }
}

pub(super) fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// A duration such as `3m`, of so many seconds at least.
pub(super) fn at_least<const SECONDS: i64>(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration = text.parse().map_err(|_| "write it as 30s, 3m or 1h".to_owned())?;
    if duration < SignedDuration::from_secs(SECONDS) {
        return Err(format!("must be at least {SECONDS}s"));
    }
    Ok(duration.unsigned_abs())
}

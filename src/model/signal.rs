//! One alert, as received.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ClusterName, FleetName};

/// What an alert asks for: the value of its label `switchyard`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The named cluster fails its fleet.
    Failover,
    /// The named cluster is well again.
    Failback,
    /// Prometheus and Alertmanager are alive.
    Watchdog,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 3] = [Self::Failover, Self::Failback, Self::Watchdog];

    /// The word used in labels, metrics, the store and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failover => "failover",
            Self::Failback => "failback",
            Self::Watchdog => "watchdog",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Firing or resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalState {
    /// The alert fires.
    Firing,
    /// Alertmanager says that it ended, which is not the same as recovered.
    Resolved,
}

impl SignalState {
    /// The word used in the store and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// One episode of one alert.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SignalKey {
    /// Who sent it: `alertmanager` for the webhook and for the catch-up poll alike.
    pub source: String,
    /// Alertmanager's hash of the label set.
    pub fingerprint: String,
    /// When this episode began to fire.
    pub starts_at: Timestamp,
}

/// One alert, as received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// The episode.
    pub key: SignalKey,
    /// What it asks for.
    pub action: Action,
    /// The fleet it speaks about; a watchdog names none.
    pub fleet: Option<FleetName>,
    /// The cluster it speaks about; a watchdog names none.
    pub cluster: Option<ClusterName>,
    /// Where to go, when the rule says so.
    pub target: Option<ClusterName>,
    /// Firing or resolved.
    pub state: SignalState,
    /// When it ended, if it did.
    pub ends_at: Option<Timestamp>,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// All annotations.
    pub annotations: BTreeMap<String, String>,
    /// When Switchyard first heard of the episode.
    pub first_seen: Timestamp,
    /// When Switchyard last heard of it. For the catch-up poll: when Prometheus last sent it.
    pub last_seen: Timestamp,
}

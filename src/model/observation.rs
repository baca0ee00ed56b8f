//! What was seen, three-valued: known, surely absent, or unknown.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ClusterName, Evidence, FleetName, Generation, RunnerId, Tag};

/// What was seen of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen<T> {
    /// It is there, and so.
    Known(T),
    /// It is surely not there.
    Absent,
    /// It could not be seen, and why. Never read as absent.
    Unknown(String),
}

impl<T> Seen<T> {
    /// The value, when it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::Unknown(_) => None,
        }
    }

    /// The same view of something derived from the value.
    pub fn map<U>(&self, derive: impl FnOnce(&T) -> U) -> Seen<U> {
        match self {
            Self::Known(value) => Seen::Known(derive(value)),
            Self::Absent => Seen::Absent,
            Self::Unknown(why) => Seen::Unknown(why.clone()),
        }
    }
}

/// A runner record in GitLab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runner {
    /// Its number.
    pub id: RunnerId,
    /// Its description.
    pub description: String,
    /// All its tags.
    pub tags: BTreeSet<Tag>,
    /// Whether it is paused in GitLab.
    pub paused: bool,
    /// When GitLab last heard from it. Lags for an idle runner that GitLab holds in a long poll.
    pub contacted_at: Option<Timestamp>,
    /// Its processes.
    pub managers: Vec<Manager>,
}

/// One process behind a runner record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manager {
    /// The process's own id.
    pub system_id: String,
    /// When GitLab last heard from it.
    pub contacted_at: Option<Timestamp>,
}

/// A fleet's records, sorted into its pools.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FleetRunners {
    /// The records by cluster; every cluster of the fleet is present.
    pub pools: BTreeMap<ClusterName, Vec<Runner>>,
    /// Records that carry the routing tag and are in no pool: shown, never touched.
    pub foreign: Vec<Runner>,
    /// Records that several pools claim: there is no tag to move between these.
    pub shared: Vec<(RunnerId, Vec<ClusterName>)>,
}

impl FleetRunners {
    /// The clusters of which at least one record carries the routing tag.
    pub fn holders(&self, routing_tag: &Tag) -> Vec<&ClusterName> {
        self.pools
            .iter()
            .filter(|(_, runners)| runners.iter().any(|r| r.tags.contains(routing_tag)))
            .map(|(cluster, _)| cluster)
            .collect()
    }
}

/// A record that stands for several clusters: there is no tag to move between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedRunner {
    /// The record.
    pub runner: RunnerId,
    /// The clusters.
    pub clusters: BTreeSet<ClusterName>,
    /// Whether several pools select it, or several clusters use its authentication token.
    pub selected: bool,
}

impl fmt::Display for SharedRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clusters: Vec<&str> = self.clusters.iter().map(ClusterName::as_str).collect();
        let (clusters, runner) = (clusters.join(" and "), self.runner);
        if self.selected {
            write!(
                f,
                "runner {runner} belongs to the pools of {clusters}; give each cluster runner records of its own"
            )
        } else {
            write!(
                f,
                "the clusters {clusters} share the authentication token of runner {runner}, so they are one record and \
                 there is no tag to move; register one runner per cluster"
            )
        }
    }
}

/// Processes of two clusters that call themselves the same, each with a record of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClonedSystem {
    /// What both call themselves.
    pub system_id: String,
    /// The first record of each cluster.
    pub records: [(ClusterName, RunnerId); 2],
}

impl fmt::Display for ClonedSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [(one, a), (other, b)] = &self.records;
        write!(
            f,
            "runner {a} of {one} and runner {b} of {other} have processes with the same system_id {}: cloned machines, or \
             one runner configuration with the tokens of both clusters",
            self.system_id
        )
    }
}

impl FleetRunners {
    /// A record that stands for several clusters, if there is one. `managers` says which clusters each runner manager
    /// (`system_id`) polls from, as Prometheus sees it.
    pub fn shared_runner(&self, managers: &BTreeMap<String, BTreeSet<ClusterName>>) -> Option<SharedRunner> {
        if let Some((runner, clusters)) = self.shared.first() {
            let clusters = clusters.iter().cloned().collect();
            return Some(SharedRunner { runner: *runner, clusters, selected: true });
        }
        // Where a cluster has a record of its own for that process, the process polls by that one.
        let own = |cluster: &ClusterName, manager: &Manager| {
            let pool = self.pools.get(cluster).into_iter().flatten();
            pool.flat_map(|runner| &runner.managers).any(|m| m.system_id == manager.system_id)
        };
        // The record's own cluster counts although none of its processes may be seen: it may just have died.
        self.records().find_map(|(cluster, runner)| {
            let polls_from = runner.managers.iter().flat_map(|manager| {
                let clusters = managers.get(&manager.system_id).into_iter().flatten();
                clusters.filter(move |other| *other != cluster && !own(other, manager))
            });
            let clusters: BTreeSet<ClusterName> = polls_from.chain([cluster]).cloned().collect();
            (clusters.len() > 1).then_some(SharedRunner { runner: runner.id, clusters, selected: false })
        })
    }

    fn records(&self) -> impl Iterator<Item = (&ClusterName, &Runner)> {
        self.pools.iter().flat_map(|(cluster, pool)| pool.iter().map(move |runner| (cluster, runner)))
    }

    /// A `system_id` that records of two clusters list, if there is one. They are told apart by their tokens, so this is
    /// no reason to refuse anything.
    pub fn cloned_system(&self) -> Option<ClonedSystem> {
        let mut first: HashMap<&str, (&ClusterName, RunnerId)> = HashMap::new();
        self.records().find_map(|(cluster, runner)| {
            runner.managers.iter().find_map(|manager| {
                let here = (cluster, runner.id);
                let there = *first.entry(&manager.system_id).or_insert(here);
                (there.0 != cluster).then(|| ClonedSystem {
                    system_id: manager.system_id.clone(),
                    records: [there, here].map(|(cluster, runner)| (cluster.clone(), runner)),
                })
            })
        })
    }
}

/// The DNS record types that can follow a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordType {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Another name.
    Cname,
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
        })
    }
}

/// The records of one type at one name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordSet {
    /// Seconds.
    pub ttl: u32,
    /// Canonical values: addresses as text, names lower case with the final dot.
    pub values: BTreeSet<String>,
}

impl fmt::Display for RecordSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        write!(f, "{} (TTL {} s)", values.join(", "), self.ttl)
    }
}

/// The TXT record beside a managed name that says who may change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Whose it is.
    pub owner: String,
    /// The decision it was written for.
    pub generation: Generation,
    /// The whole text as read, for the precondition of the next write.
    pub text: String,
}

/// What was seen of a fleet's DNS name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsView {
    /// The record set at the server that takes updates.
    pub primary: Seen<RecordSet>,
    /// The owner marker at the server that takes updates. A text of another form is `Unknown`.
    pub marker: Seen<Marker>,
    /// The record set at each authoritative address (`address:port`).
    pub servers: BTreeMap<String, Seen<RecordSet>>,
    /// Why the name must not be written: other types at it, another tool's marker.
    pub obstacle: Option<String>,
}

/// What was seen in one look at the world.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// When the look began.
    pub at: Timestamp,
    /// Every runner record that a pool or a routing tag selects.
    pub runners: Seen<Vec<Runner>>,
    /// The DNS names by fleet.
    pub dns: BTreeMap<FleetName, DnsView>,
    /// What Prometheus said.
    pub evidence: Evidence,
}

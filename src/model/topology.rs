//! What is configured: fleets, their clusters and pools, and the limits on moving them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::SignedDuration;
use regex::Regex;
use serde::{Serialize, Serializer};

use super::{
    ClusterName, FleetName, FleetRunners, Question, RecordSet, RecordType, Runner, RunnerId, Seen, Tag,
    Window,
};

/// All fleets and what holds for all of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Topology {
    /// The fleets by name.
    pub fleets: BTreeMap<FleetName, Fleet>,
    /// Limits over all fleets.
    pub limits: Limits,
}

impl Topology {
    /// Sorts GitLab's records into the pools of every fleet.
    pub fn assign(&self, runners: &Seen<Vec<Runner>>) -> BTreeMap<FleetName, Seen<FleetRunners>> {
        let assign = |fleet: &Fleet| runners.map(|runners| fleet.assign(runners));
        self.fleets.iter().map(|(name, fleet)| (name.clone(), assign(fleet))).collect()
    }
}

/// Limits over all fleets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limits {
    /// Automatic moves over all fleets.
    pub budget: Budget,
    /// How old the newest watchdog signal may be.
    pub watchdog_max_age: SignedDuration,
    /// How long ago a firing signal may have been heard of last and still count as firing.
    pub signal_max_age: SignedDuration,
    /// How old a sample may be and still count as evidence.
    pub evidence_max_age: SignedDuration,
}

/// At most `moves` automatic moves within `window`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Budget {
    /// How many.
    pub moves: u32,
    /// Within which time.
    pub window: SignedDuration,
}

/// The runners that serve one routing tag, spread over clusters.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fleet {
    /// The fleet's name.
    pub name: FleetName,
    /// False: watch, decide and explain, but move nothing.
    pub enabled: bool,
    /// The tag that developers use.
    pub routing_tag: Tag,
    /// Every cluster of the fleet, best first. The first one is home.
    pub prefer: Vec<ClusterName>,
    /// The pools by cluster.
    pub pools: BTreeMap<ClusterName, Pool>,
    /// How the fleet gets home.
    pub failback: Failback,
    /// What happens to a pool that loses the fleet.
    pub park: Park,
    /// The DNS name that follows the holder.
    pub dns: Option<DnsRecord>,
    /// Ratios that turn numbers into verdicts.
    pub thresholds: Thresholds,
    /// How many runner processes must poll well before a cluster counts as able.
    pub min_able: u32,
    /// What else must be well before a cluster counts as able.
    pub require: Require,
    /// How long a failover signal must have been firing.
    pub signal_hold: SignedDuration,
    /// How long after a move no automatic move follows.
    pub cool_down: SignedDuration,
    /// After this long an unfinished move counts as failed.
    pub move_deadline: SignedDuration,
    /// Whether automatic moves wait for a person, and for how long.
    pub approval: Approval,
    /// When the fleet may be moved; none means at any time.
    pub window: Option<Window>,
    /// How planned moves wait for pipelines; none means that they don't: the fleet is not sticky.
    pub drain: Option<Drain>,
}

/// Whether automatic moves wait for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// They don't.
    NotRequired,
    /// They do. A proposal that nobody answers within this time expires, and so does an approval.
    Required(SignedDuration),
}

/// How planned moves of a sticky fleet wait until no pipeline is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Drain {
    /// How long.
    pub deadline: SignedDuration,
    /// How old a pipeline may be and still be found while it waits between two jobs.
    pub look_back: SignedDuration,
    /// What happens after that.
    pub policy: DrainPolicy,
}

/// What happens when a sticky fleet has not drained by the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainPolicy {
    /// The move is not made.
    Hold,
    /// The move is made all the same.
    Move,
}

/// What must be well of a cluster beside its runners, as its exporter sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Require {
    /// Its API answers.
    pub api: bool,
    /// Every object of Argo CD and Flux is healthy or on its way.
    pub gitops: bool,
    /// Every Velero schedule has a completed backup that is young enough for it.
    pub backups: bool,
    /// Every Velero schedule has a completed backup that is no older.
    pub backup_max_age: Option<SignedDuration>,
    /// No change has been on its way into it for longer.
    pub convergence: Option<SignedDuration>,
}

impl Require {
    /// What is required, by the key of the configuration.
    pub fn named(&self) -> [(&'static str, bool); 5] {
        [
            ("api", self.api),
            ("gitops", self.gitops),
            ("backups", self.backups),
            ("backup_max_age", self.backup_max_age.is_some()),
            ("convergence", self.convergence.is_some()),
        ]
    }

    /// Whether Prometheus is asked this. Questions about runners always are.
    pub fn asks(&self, question: Question) -> bool {
        match question {
            Question::Alive | Question::Able | Question::AbleCount | Question::GitlabUnreachable => true,
            Question::ClusterApi => self.api,
            Question::GitopsBroken => self.gitops,
            Question::BackupsOverdue => self.backups,
            Question::BackupAge => self.backup_max_age.is_some(),
            Question::Convergence => self.convergence.is_some(),
        }
    }
}

/// The runner records of one fleet in one cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pool {
    /// How its records are found in GitLab.
    pub selector: PoolSelector,
    /// What the fleet's DNS name shall say while this cluster holds the fleet.
    pub dns: BTreeSet<String>,
}

/// How the records of a pool are found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolSelector {
    /// All records that carry this tag.
    HomeTag(Tag),
    /// These records.
    Runners(BTreeSet<RunnerId>),
    /// All records whose whole description matches.
    Description(DescriptionPattern),
}

impl PoolSelector {
    /// Whether a record belongs to the pool.
    pub fn matches(&self, runner: &Runner) -> bool {
        match self {
            Self::HomeTag(tag) => runner.tags.contains(tag),
            Self::Runners(ids) => ids.contains(&runner.id),
            Self::Description(pattern) => pattern.regex.is_match(&runner.description),
        }
    }
}

impl fmt::Display for PoolSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HomeTag(tag) => write!(f, "home_tag {tag}"),
            Self::Runners(ids) => {
                let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                write!(f, "runners {}", ids.join(", "))
            }
            Self::Description(pattern) => write!(f, "description {:?}", pattern.source),
        }
    }
}

/// A regular expression that must match a whole description.
#[derive(Debug, Clone)]
pub struct DescriptionPattern {
    source: String,
    regex: Regex,
}

impl DescriptionPattern {
    /// Compiles the pattern; it is anchored at both ends.
    pub fn new(source: &str) -> Result<Self, regex::Error> {
        let regex = Regex::new(&format!("^(?:{source})$"))?;
        Ok(Self { source: source.to_owned(), regex })
    }
}

impl PartialEq for DescriptionPattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Serialize for DescriptionPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

/// How the fleet gets home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Failback {
    /// Only a person sends it.
    Manual,
    /// By itself, after positive evidence held this long.
    After(SignedDuration),
}

/// What happens to a pool that loses the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Park {
    /// The routing tag goes; the home tag's jobs go on.
    Untag,
    /// The routing tag goes and the runners are paused; they are unpaused when the fleet returns.
    Pause,
}

/// Ratios (0 to 1) that turn numbers into verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Thresholds {
    /// The cluster fails its fleet when fewer than this share of its runners is up.
    pub failover: f64,
    /// A cluster is able when at least this share of its runners polls well.
    pub able: f64,
    /// A cluster is well again when at least this share of its runners polls well.
    pub failback: f64,
    /// The target must be better than the holder by this much.
    pub margin: f64,
}

impl Thresholds {
    /// Every threshold with its name, as metric and configuration call it.
    pub fn named(&self) -> [(&'static str, f64); 4] {
        [
            ("failover", self.failover),
            ("able", self.able),
            ("failback", self.failback),
            ("margin", self.margin),
        ]
    }
}

/// The DNS name that follows the holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DnsRecord {
    /// Absolute, lower case, with the final dot.
    pub name: String,
    /// The record's type.
    #[serde(rename = "type")]
    pub record_type: RecordType,
    /// Seconds.
    pub ttl: u32,
    /// The provider's name in `[dns.providers]`.
    pub provider: String,
}

impl Fleet {
    /// The cluster the fleet lives in when all is well.
    pub fn home(&self) -> Option<&ClusterName> {
        self.prefer.first()
    }

    /// What the fleet's DNS name shall say while `cluster` holds it.
    pub fn record_set(&self, cluster: &ClusterName) -> Option<RecordSet> {
        let record = self.dns.as_ref()?;
        let values = self.pools.get(cluster)?.dns.clone();
        (!values.is_empty()).then_some(RecordSet { ttl: record.ttl, values })
    }

    /// A record that a pool names and that is not among those seen.
    pub fn missing(&self, seen: &FleetRunners) -> Option<(&ClusterName, RunnerId)> {
        self.pools.iter().find_map(|(cluster, pool)| {
            let PoolSelector::Runners(ids) = &pool.selector else { return None };
            let shared = |id: &RunnerId| seen.shared.iter().any(|(runner, _)| runner == id);
            let known = |id: &RunnerId| {
                shared(id) || seen.pools.get(cluster).is_some_and(|pool| pool.iter().any(|r| r.id == *id))
            };
            ids.iter().find(|id| !known(id)).map(|id| (cluster, *id))
        })
    }

    /// Sorts GitLab's records into the fleet's pools. Records in no pool are left out, unless they carry the
    /// routing tag: those are `foreign`, shown and never touched.
    pub fn assign(&self, runners: &[Runner]) -> FleetRunners {
        let mut assigned = FleetRunners {
            pools: self.pools.keys().map(|cluster| (cluster.clone(), Vec::new())).collect(),
            foreign: Vec::new(),
            shared: Vec::new(),
        };
        for runner in runners {
            let pools: Vec<&ClusterName> =
                self.pools.iter().filter(|(_, pool)| pool.selector.matches(runner)).map(|(c, _)| c).collect();
            match pools.as_slice() {
                [] if runner.tags.contains(&self.routing_tag) => assigned.foreign.push(runner.clone()),
                [] => {}
                [cluster] => assigned.pools.entry((*cluster).clone()).or_default().push(runner.clone()),
                clusters => {
                    assigned.shared.push((runner.id, clusters.iter().map(|c| (*c).clone()).collect()));
                }
            }
        }
        assigned
    }
}

//! One change of the world, and what came of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    BootTime, ClusterName, FleetName, Generation, Marker, RecordSet, RecordType, RunnerId, Seen, Tag,
};

/// The phases of a move, in order. A phase starts only when the one before has been seen true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The new holder gets the tag.
    Prepare,
    /// The DNS name follows.
    Switch,
    /// The old holder loses the tag.
    Retire,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 3] = [Self::Prepare, Self::Switch, Self::Retire];

    /// The word used in log, journal and API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Switch => "switch",
            Self::Retire => "retire",
        }
    }
}

/// What happens to a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TagChange {
    /// It is added.
    Add,
    /// It is removed.
    Remove,
}

/// Adds a tag to one runner record or removes it, and pauses or unpauses in the same write.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TagStep {
    /// The pool.
    pub cluster: ClusterName,
    /// The record.
    pub runner: RunnerId,
    /// The tag.
    pub tag: Tag,
    /// What happens to it.
    pub change: TagChange,
    /// The paused flag to set, if it is to change.
    pub paused: Option<bool>,
}

/// Replaces one record set by another, if it still is what was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsStep {
    /// The provider's name in the configuration.
    pub provider: String,
    /// Absolute name with the final dot.
    pub name: String,
    /// The type.
    pub record_type: RecordType,
    /// What was read at the server that takes updates; must not be `Unknown`.
    pub from: Seen<RecordSet>,
    /// The owner marker as read; must not be `Unknown`.
    pub marker: Seen<Marker>,
    /// What shall be.
    pub to: RecordSet,
}

/// One change of the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Step {
    /// On a runner record.
    Tag(TagStep),
    /// On a DNS name.
    Dns(DnsStep),
}

impl Step {
    /// The word for its kind in metric and journal.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tag(TagStep { change: TagChange::Add, .. }) => "add_tag",
            Self::Tag(TagStep { change: TagChange::Remove, .. }) => "remove_tag",
            Self::Dns(_) => "switch_dns",
        }
    }

    /// The phase of a move to which it belongs.
    pub fn phase(&self) -> Phase {
        match self {
            Self::Tag(TagStep { change: TagChange::Add, .. }) => Phase::Prepare,
            Self::Dns(_) => Phase::Switch,
            Self::Tag(TagStep { change: TagChange::Remove, .. }) => Phase::Retire,
        }
    }

    /// What it changes: the same text for the same step of a fleet's generation.
    pub fn target(&self) -> String {
        match self {
            Self::Tag(step) => format!("{}/runner/{}", step.cluster, step.runner),
            Self::Dns(step) => format!("{} {}", step.name, step.record_type),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(TagStep { cluster, runner, tag, change, paused }) => {
                match change {
                    TagChange::Add => write!(f, "add tag {tag} to runner {runner} of {cluster}")?,
                    TagChange::Remove => write!(f, "remove tag {tag} from runner {runner} of {cluster}")?,
                }
                match paused {
                    Some(true) => f.write_str(" and pause it"),
                    Some(false) => f.write_str(" and unpause it"),
                    None => Ok(()),
                }
            }
            Self::Dns(DnsStep { name, record_type, from, to, .. }) => {
                let from = match from {
                    Seen::Known(set) => set.to_string(),
                    Seen::Absent => "nothing".to_owned(),
                    Seen::Unknown(why) => format!("unknown ({why})"),
                };
                write!(f, "switch {name} {record_type} from {from} to {to}")
            }
        }
    }
}

/// On whose behalf a step acts: written beside what it changes, so that an older decision can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The fleet.
    pub fleet: FleetName,
    /// The decision.
    pub generation: Generation,
    /// No write may be sent from then on: another process may lead. None when there can be no other.
    pub deadline: Option<BootTime>,
}

impl Fence {
    /// Without a deadline.
    pub fn new(fleet: FleetName, generation: Generation) -> Self {
        Self { fleet, generation, deadline: None }
    }
}

/// What came of a step. The next look at the world is the proof, not this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "detail")]
pub enum StepOutcome {
    /// The other side said yes, and reading back agreed.
    Done,
    /// It did not happen.
    Failed {
        /// Why.
        why: String,
        /// Whether the same step may succeed later without anybody mending anything.
        transient: bool,
    },
    /// It was sent and nobody knows whether it happened. Never read as failed.
    Unknown(String),
}

impl StepOutcome {
    /// The word used in journal and metric.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed { .. } => "failed",
            Self::Unknown(_) => "unknown",
        }
    }
}

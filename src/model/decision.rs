//! Which cluster shall hold a fleet, and why.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{ClusterName, FleetName, Gate, GateReport, Generation, SignalKey};

/// How far back a pass knows the moves of all fleets: no cool-down and no budget reaches further.
pub const MOVES_KNOWN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How a decision came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoveKind {
    /// First sight of the fleet: what is, shall be. Moves nothing.
    Adopt,
    /// An alert-driven move.
    Failover,
    /// A planned move by a person.
    Switchover,
    /// The way home, by itself.
    Failback,
}

impl MoveKind {
    /// The word used in log, metric, store and API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Adopt => "adopt",
            Self::Failover => "failover",
            Self::Switchover => "switchover",
            Self::Failback => "failback",
        }
    }

    /// Whether Switchyard decided by itself; such moves count against cool-down and budget.
    pub fn automatic(self) -> bool {
        matches!(self, Self::Failover | Self::Failback)
    }
}

impl fmt::Display for MoveKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far the move of a decision got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoveState {
    /// Steps are left, or their effect has not been seen yet.
    Moving,
    /// All of it was seen true.
    Done,
    /// The deadline passed first. The fleet is latched until a person acknowledges.
    Failed,
}

impl MoveState {
    /// The word used in store and API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Moving => "moving",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// Which cluster shall hold a fleet, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The fleet.
    pub fleet: FleetName,
    /// Its number: one more than the decision before.
    pub generation: Generation,
    /// How it came about.
    pub kind: MoveKind,
    /// The holder before; none when nobody held the fleet.
    pub from: Option<ClusterName>,
    /// The holder from now on.
    pub to: ClusterName,
    /// One sentence.
    pub reason: String,
    /// `switchyard`, or the person.
    pub author: String,
    /// The signal that asked for it.
    pub signal: Option<SignalKey>,
    /// Every gate as it was judged.
    pub gates: Vec<GateReport>,
    /// The closed gates that the person overrode, each by its name.
    #[serde(default)]
    pub overridden: Vec<Gate>,
    /// The proposal that a person approved, by its number.
    #[serde(default)]
    pub proposal: Option<i64>,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// How far the move got.
    pub state: MoveState,
    /// When it was seen done, or failed.
    pub finished_at: Option<Timestamp>,
    /// When a person acknowledged that it failed.
    pub acknowledged_at: Option<Timestamp>,
    /// When a person lifted the cool-down that it began.
    #[serde(default)]
    pub cool_down_lifted_at: Option<Timestamp>,
}

impl Decision {
    /// Whether it failed and nobody has acknowledged that.
    pub fn latched(&self) -> bool {
        self.state == MoveState::Failed && self.acknowledged_at.is_none()
    }
}

//! The named conditions that can hold a decision back.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A named condition that can hold a decision back. The name is the same in log, metric, API and documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// The fleet's owner opted in.
    Enabled,
    /// This process leads those that share the store.
    Leader,
    /// Nobody paused the fleet or all fleets.
    NotPaused,
    /// Watchdog and evidence are fresh.
    EyesOpen,
    /// GitLab answers, and not every cluster's runners say that it does not.
    GitlabReachable,
    /// The signal has been firing long enough.
    SignalHeld,
    /// Prometheus says the same now, and GitLab does not contradict.
    Confirmed,
    /// Some target is proven able.
    TargetAble,
    /// The target is better than the holder by the margin.
    TargetStronger,
    /// Most clusters do not look dead at once.
    NotCommonCause,
    /// No move of the fleet is under way.
    SingleFlight,
    /// The last move is long enough ago.
    CooledDown,
    /// There were not too many moves over all fleets.
    Budget,
    /// The last move did not fail, or a person acknowledged that it did.
    NotLatched,
    /// It is a time at which the fleet may be moved.
    Window,
    /// No pipeline of a sticky fleet is in flight.
    Drained,
    /// A person approved the move, when the fleet asks for one.
    Approved,
}

impl Gate {
    /// Every gate, in the order in which they are judged and shown.
    pub const ALL: [Self; 17] = [
        Self::Enabled,
        Self::Leader,
        Self::NotPaused,
        Self::SingleFlight,
        Self::NotLatched,
        Self::EyesOpen,
        Self::GitlabReachable,
        Self::NotCommonCause,
        Self::SignalHeld,
        Self::Confirmed,
        Self::TargetAble,
        Self::TargetStronger,
        Self::CooledDown,
        Self::Budget,
        Self::Window,
        Self::Drained,
        Self::Approved,
    ];

    /// The gate of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|gate| gate.as_str() == name)
    }

    /// Whether a person may override it by name: not when two moves, or two Switchyards, would act at once.
    pub fn overridable(self) -> bool {
        !matches!(self, Self::SingleFlight | Self::Leader)
    }

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Leader => "leader",
            Self::NotPaused => "not_paused",
            Self::EyesOpen => "eyes_open",
            Self::GitlabReachable => "gitlab_reachable",
            Self::SignalHeld => "signal_held",
            Self::Confirmed => "confirmed",
            Self::TargetAble => "target_able",
            Self::TargetStronger => "target_stronger",
            Self::NotCommonCause => "not_common_cause",
            Self::SingleFlight => "single_flight",
            Self::CooledDown => "cooled_down",
            Self::Budget => "budget",
            Self::NotLatched => "not_latched",
            Self::Window => "window",
            Self::Drained => "drained",
            Self::Approved => "approved",
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One gate with its verdict: what it saw, and what it asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateReport {
    /// Which gate.
    pub gate: Gate,
    /// Whether it lets the move pass.
    pub open: bool,
    /// It is closed only because nothing asks for a move that it would judge.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idle: bool,
    /// What it saw, for people.
    pub saw: String,
    /// The query it asked, if it asked one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

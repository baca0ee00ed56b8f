//! What a pass came to.

use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::model::{ClusterName, Decision, Gate, GateReport, Proposed};

/// What a pass came to for one fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Nothing asks for a move.
    Steady,
    /// First sight: what is, shall be.
    Adopted,
    /// A move was decided.
    Decided,
    /// A move is under way.
    Moving,
    /// A move is asked for and a gate holds it back.
    Held(Gate),
    /// What is seen is not what was decided, and nobody asks for a move.
    Drifted,
    /// GitLab could not be read; the last routing stays.
    Blind,
    /// No pool carries the routing tag, and nothing was decided yet.
    NoHolder,
    /// Several pools carry the routing tag, and nothing was decided yet.
    SeveralHolders,
    /// Two clusters share a runner record: there is no tag to move.
    SharedRunner,
    /// A person's request expected another holder.
    UnexpectedHolder,
    /// A person's request was not judged in time and is not carried out any more.
    Expired,
    /// A person's request names a cluster that the fleet does not have.
    UnknownCluster,
    /// A person's request overrides a gate that is open, or that does not judge it, or that nobody may override.
    NothingToOverride,
    /// A person's request waited, and a later one took its place; or another decision about the fleet came first.
    Superseded,
}

impl Outcome {
    /// The word used in log, metric and API, without the gate.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Adopted => "adopted",
            Self::Decided => "decided",
            Self::Moving => "moving",
            Self::Held(_) => "held",
            Self::Drifted => "drifted",
            Self::Blind => "blind",
            Self::NoHolder => "no_holder",
            Self::SeveralHolders => "several_holders",
            Self::SharedRunner => "shared_runner",
            Self::UnexpectedHolder => "unexpected_holder",
            Self::Expired => "expired",
            Self::UnknownCluster => "unknown_cluster",
            Self::NothingToOverride => "nothing_to_override",
            Self::Superseded => "superseded",
        }
    }

    /// The gate that holds, or an empty text.
    pub fn gate(self) -> &'static str {
        match self {
            Self::Held(gate) => gate.as_str(),
            _ => "",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(gate) => write!(f, "held:{gate}"),
            other => f.write_str(other.as_str()),
        }
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The answer to a person's request, in the word and the sentence that the person gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestAnswer {
    /// The request's number.
    pub request: i64,
    /// The word.
    pub outcome: Outcome,
    /// The sentence.
    pub sentence: String,
}

/// A planned move that waits until a sticky fleet has drained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// The request's number.
    pub request: i64,
    /// Where the fleet shall go.
    pub to: ClusterName,
    /// Who asks.
    pub author: String,
    /// Since when it waits.
    pub since: Timestamp,
    /// Until when; then the fleet's policy decides.
    pub until: Timestamp,
    /// What it waits for.
    pub sentence: String,
}

/// What a pass came to for one fleet, with all that led there.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetPass {
    /// The word.
    pub outcome: Outcome,
    /// The sentence.
    pub sentence: String,
    /// Every gate with its verdict.
    pub gates: Vec<GateReport>,
    /// The decision, if one was made. It counts once it is committed.
    pub decision: Option<Decision>,
    /// The answers to people's requests; a refusal leaves `outcome` and `sentence` the fleet's own.
    pub answers: Vec<RequestAnswer>,
    /// The request that stays open.
    pub waiting: Option<Waiting>,
    /// What waits for a person and nothing else, and why it is wanted.
    pub proposed: Option<(Proposed, String)>,
    /// When a closed gate may open by the passing of time alone.
    pub recheck_at: Option<Timestamp>,
}

impl FleetPass {
    /// Whether it answers this request, or lets it wait.
    pub fn judged(&self, request: i64) -> bool {
        self.answers.iter().any(|answer| answer.request == request)
            || self.waiting.as_ref().is_some_and(|waiting| waiting.request == request)
    }
}

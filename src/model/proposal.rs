//! An automatic move that waits for a person.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ClusterName, FleetName, Generation, MoveKind, SignalKey};

/// What exactly a person is asked to approve. An approval of one serves no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposed {
    /// The fleet.
    pub fleet: FleetName,
    /// The number that the decision would get: when the fleet has moved meanwhile, it is another move.
    pub generation: Generation,
    /// Failover or failback.
    pub kind: MoveKind,
    /// The holder.
    pub from: Option<ClusterName>,
    /// Where the fleet would go.
    pub to: ClusterName,
    /// The episode of the alert that asks for it.
    pub signal: Option<SignalKey>,
}

/// An automatic move that waits for a person, or was answered by one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Its number, by which a person names it.
    pub id: i64,
    /// What is proposed.
    #[serde(flatten)]
    pub what: Proposed,
    /// Why, in words.
    pub reason: String,
    /// When it was proposed.
    pub at: Timestamp,
    /// Until when it can be approved, and an approval counts.
    pub until: Timestamp,
    /// What a person said.
    pub answer: Option<ProposalAnswer>,
}

impl Proposal {
    /// Whether it still counts: until it expires, and a rejection beyond that.
    pub fn stands(&self, now: Timestamp) -> bool {
        now < self.until || self.answer.as_ref().is_some_and(|answer| answer.consent == Consent::Rejected)
    }

    /// Whether a person can still answer it.
    pub fn pending(&self, now: Timestamp) -> bool {
        now < self.until && self.answer.is_none()
    }
}

/// What a person said to a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalAnswer {
    /// Approved, or rejected.
    pub consent: Consent,
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// Approved, or rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// The move may go, until the proposal expires.
    Approved,
    /// The move shall not go for as long as this alert goes on.
    Rejected,
}

impl Consent {
    /// The word used in store and API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }
}

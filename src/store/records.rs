//! What goes into the store and comes out of it, besides the nouns of `model`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::lock;
use crate::model::{
    Decision, Epoch, FleetName, Generation, Holders, Override, Phase, Proposal, ProposalAnswer, Signal,
    SignalKey, Step, StepOutcome,
};

/// Who opens the store: told to a second process that wants it.
#[derive(Debug, Clone)]
pub struct Holder {
    /// Where this process listens.
    pub listen: String,
    /// Now.
    pub now: Timestamp,
}

impl Holder {
    /// This process, for people on other machines.
    pub(super) fn name(&self) -> String {
        format!("process {} on {}, listening on {}", std::process::id(), lock::host(), self.listen)
    }
}

/// What a report of an alert changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upserted {
    /// The episode was not known.
    New,
    /// The episode was known, and now says something else.
    Updated,
    /// Nothing but the time when it was last heard.
    Unchanged,
    /// It says that an episode fires which has ended. The episode stays ended.
    Late {
        /// When it ended. A sender that is *known* to see the alert fire after this time speaks of a new episode under
        /// the old start: Prometheus keeps `startsAt` over an outage in which Alertmanager let the alert expire.
        ended_at: Option<Timestamp>,
    },
}

impl Upserted {
    /// The word used in the metric.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Late { .. } => "late",
        }
    }
}

/// An episode that ends without a word from its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Which.
    pub key: SignalKey,
    /// When it was last heard of, as far as the one who ends it knows. Heard of since, it goes on.
    pub last_seen: Timestamp,
    /// Why, for the story. Its time is the end.
    pub event: Event,
}

/// What a pass starts from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// Every episode that fires, and those resolved that were heard of in the last 24 hours; watchdogs included.
    pub signals: Vec<Signal>,
    /// The latest decision of each fleet.
    pub decisions: BTreeMap<FleetName, Decision>,
    /// Every decision of the last 7 days that moved a fleet, oldest first.
    pub moves: Vec<Decision>,
    /// What people set and has not expired.
    pub overrides: Vec<Override>,
    /// Proposals for the decision that each fleet would take next, oldest first.
    pub proposals: Vec<Proposal>,
}

impl State {
    /// The pause that holds for a fleet, if one does.
    pub fn pause(&self, fleet: &FleetName, now: Timestamp) -> Option<&Override> {
        Override::pause(&self.overrides, fleet, now)
    }
}

/// Who acts, why and when, and who they believe holds the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// The holder of each fleet that the act concerns, as they believe.
    pub expected: Holders,
}

/// Whether a person's act was done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Acted<T> {
    /// It was, with this effect.
    Yes(T),
    /// These fleets are held by others than the person expects, as it says here: nothing was done.
    HeldBy(Holders),
}

/// What became of a pause that a person set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OverrideSet {
    /// It is in force, and none was.
    Alone,
    /// It is in force in place of this one: that ended earlier, or was of the same author.
    InPlaceOf(Override),
    /// This one of another author stays in force, for it does not end earlier.
    Kept(Override),
}

/// What became of the lifting of a pause.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverrideLifted {
    /// What was in force and is not any more.
    pub lifted: Option<Override>,
    /// What still holds the fleets of the act, or one of them.
    pub still: Vec<Override>,
}

/// What an acknowledgement changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Acknowledged {
    /// The failed move whose latch is cleared.
    pub latch: Option<Generation>,
    /// The move whose cool-down is lifted.
    pub cool_down: Option<Generation>,
}

/// What an answer to a proposal came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum ProposalAnswered {
    /// It stands.
    Yes(Proposal),
    /// The fleet has no proposal of this number.
    Unknown,
    /// It has expired, or the fleet has moved since.
    Expired(Proposal),
    /// A person answered it before.
    Already(ProposalAnswer),
}

/// A request with what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RequestRecord {
    /// The request.
    #[serde(flatten)]
    pub request: crate::model::Request,
    /// The outcome as one word; none while it is open.
    pub outcome: Option<String>,
    /// The outcome as a sentence.
    pub sentence: Option<String>,
    /// The decision it came to.
    pub generation: Option<Generation>,
    /// When it was answered.
    pub answered_at: Option<Timestamp>,
}

/// Whether a decision was taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Committed {
    /// It is the fleet's latest now.
    Yes,
    /// Another decision came first.
    Superseded {
        /// The fleet's latest generation.
        latest: Generation,
    },
    /// It is an automatic move, and a person has paused the fleet meanwhile.
    Paused,
    /// The approval that it stands on was taken back or has expired.
    NotApproved,
    /// A move of the fleet is under way.
    InFlight {
        /// The decision that is moving.
        generation: Generation,
    },
}

/// Whether steps may act.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Started {
    /// They are in the journal under these ids, in their order.
    Yes(Vec<i64>),
    /// They act for a decision that is no longer the latest: nothing was written, nothing may act.
    Superseded {
        /// The fleet's latest generation.
        latest: Generation,
    },
    /// They would correct what a finished move left, and a person has paused the fleet meanwhile: nothing was written.
    Paused,
}

/// One sentence of the story: what a pass found when that changed, or what a person did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The fleet; none means all.
    pub fleet: Option<FleetName>,
    /// The outcome as one word.
    pub outcome: String,
    /// The sentence.
    pub sentence: String,
    /// The person, if it was one.
    pub author: Option<String>,
}

/// A step as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepRecord {
    /// Its number in the journal.
    pub id: i64,
    /// The time as leader in which it was begun.
    pub epoch: Epoch,
    /// The fleet.
    pub fleet: FleetName,
    /// The decision on whose behalf it acts.
    pub generation: Generation,
    /// The phase of the move.
    pub phase: Phase,
    /// The step.
    pub step: Step,
    /// The step in words, as it was written down.
    pub sentence: String,
    /// When it was about to act.
    pub started_at: Timestamp,
    /// When its outcome was known.
    pub finished_at: Option<Timestamp>,
    /// What came of it; none while it acts, and after a crash.
    pub outcome: Option<StepOutcome>,
}

/// One entry of the story. The ids of all three kinds count up together.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum HistoryEntry {
    /// A decision with its gates and its signal.
    Decision {
        /// Its number in the story.
        id: i64,
        /// The time as leader in which it was written.
        epoch: Epoch,
        /// The decision.
        decision: Decision,
    },
    /// A step of a move.
    Step(StepRecord),
    /// A sentence.
    Event {
        /// Its number in the story.
        id: i64,
        /// The time as leader in which it was written.
        epoch: Epoch,
        /// The sentence.
        event: Event,
    },
}

impl HistoryEntry {
    /// When it happened: decided, started, said.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Decision { decision, .. } => decision.decided_at,
            Self::Step(step) => step.started_at,
            Self::Event { event, .. } => event.at,
        }
    }

    /// Its number in the story.
    pub fn id(&self) -> i64 {
        match self {
            Self::Decision { id, .. } | Self::Event { id, .. } => *id,
            Self::Step(step) => step.id,
        }
    }

    /// The fleet; none means all.
    pub fn fleet(&self) -> Option<&FleetName> {
        match self {
            Self::Decision { decision, .. } => Some(&decision.fleet),
            Self::Step(step) => Some(&step.fleet),
            Self::Event { event, .. } => event.fleet.as_ref(),
        }
    }
}

/// Counts since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Transactions that wrote.
    pub commits: u64,
    /// Operations taken from the queue.
    pub operations: u64,
    /// Operations refused because too many waited.
    pub refused: u64,
    /// Operations that wait now.
    pub queue_depth: usize,
    /// Whether this process leads.
    pub leads: bool,
    /// The highest epoch that it has seen.
    pub epoch: Epoch,
    /// Failed attempts to renew the lease, or to look at it.
    pub renewal_failures: u64,
}

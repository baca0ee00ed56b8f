//! What can be wrong with GitLab and DNS, and where the process can end.

use std::collections::BTreeMap;

use super::RateLimit;
use crate::model::{FleetName, Phase, RecordSet, Runner, SignedDuration, StepOutcome};

/// What happens to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WriteFault {
    /// It happens; the answer does not come in time.
    TimeoutAfterCommit,
    /// It happens; the connection breaks before the answer.
    LostReply,
    /// It does not happen, and nobody knows.
    LostRequest,
    /// It is refused for good.
    Refused,
    /// The same, and GitLab says why by field.
    RefusedInFields,
    /// The same by something before GitLab, with a page.
    RefusedInHtml,
    /// Something before GitLab answers it with a page, as if all were well; it does not happen.
    HtmlInstead,
    /// The server fails; it does not happen.
    Error,
}

impl WriteFault {
    /// Whether the write happens all the same.
    pub fn happens(self) -> bool {
        matches!(self, Self::TimeoutAfterCommit | Self::LostReply)
    }

    /// What the sender of a DNS update is told.
    pub(super) fn outcome(self) -> StepOutcome {
        match self {
            Self::TimeoutAfterCommit => StepOutcome::Unknown("no answer in time".to_owned()),
            Self::LostReply | Self::LostRequest | Self::HtmlInstead => {
                StepOutcome::Unknown("the connection was lost".to_owned())
            }
            Self::Refused | Self::RefusedInFields | Self::RefusedInHtml => {
                StepOutcome::Failed { why: "REFUSED".to_owned(), transient: false }
            }
            Self::Error => StepOutcome::Failed { why: "SERVFAIL".to_owned(), transient: true },
        }
    }
}

/// How often a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chance {
    /// The fault.
    pub fault: WriteFault,
    /// Out of a hundred writes.
    pub percent: u8,
}

/// What is wrong with GitLab.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SimGitlab {
    /// Nobody reaches it: neither Switchyard nor the runners.
    pub down: bool,
    /// Switchyard is told to come back later.
    pub rate_limit: Option<RateLimit>,
    /// GraphQL is refused; REST is not.
    pub graphql_refused: bool,
    /// Reads show this instead of what is so.
    pub stale: Option<Vec<Runner>>,
    /// How much longer everything takes.
    pub slow: SignedDuration,
    /// What happens to writes.
    pub writes: Vec<Chance>,
}

/// An authoritative DNS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimServer {
    /// Its name.
    pub name: String,
    /// It does not answer.
    pub down: bool,
    /// It answers this instead of what the primary has.
    pub behind: Option<BTreeMap<FleetName, Option<RecordSet>>>,
}

/// The authoritative DNS servers; the first one takes updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimDns {
    /// The servers.
    pub servers: Vec<SimServer>,
    /// What happens to updates.
    pub writes: Vec<Chance>,
}

impl SimDns {
    /// This many servers: `ns1`, `ns2`, …
    pub fn new(servers: usize) -> Self {
        let server = |n| SimServer { name: format!("ns{n}"), down: false, behind: None };
        Self { servers: (1..=servers).map(server).collect(), writes: Vec::new() }
    }
}

/// Where the process that looks and acts ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// Before the n-th step from now happens; it is in the journal as started.
    BeforeStep(u32),
    /// After the n-th step from now happened; its outcome is not in the journal.
    AfterStep(u32),
    /// It ended here.
    Reached {
        /// Before the step, or after it.
        before: bool,
        /// The step's phase.
        phase: Phase,
    },
}

//! DNS: sees a fleet's name, moves it with compare-and-set, and checks that it could.
//!
//! A success reply is no proof: some servers say yes and change nothing. So every write carries what was read as
//! its precondition, and every write is read back. See [`Rfc2136`] for the one provider there is.

mod check;
mod key;
mod marker;
mod observe;
mod rfc2136;
mod update;
mod wire;

pub use key::KeyError;
pub use marker::read as read_marker;
pub use rfc2136::{Error, Rfc2136, Settings};
pub use wire::read_answer;

use crate::model::{DnsStep, DnsView, Fence, Finding, RecordSet, RecordType, StepOutcome};

/// One entry of `[dns.providers]`.
#[derive(Debug)]
pub enum Provider {
    /// A server that takes signed updates.
    Rfc2136(Rfc2136),
}

impl Provider {
    /// Looks at a name (absolute, with the final dot). What could not be seen is `Unknown`.
    pub async fn observe(&self, name: &str, record_type: RecordType) -> DnsView {
        match self {
            Self::Rfc2136(provider) => provider.observe(name, record_type).await,
        }
    }

    /// Carries out a step, in one attempt.
    pub async fn apply(&self, fence: &Fence, step: &DnsStep) -> StepOutcome {
        match self {
            Self::Rfc2136(provider) => provider.apply(fence, step).await,
        }
    }

    /// Whether the name could be switched between the configured sets. Changes nothing.
    pub async fn check(&self, name: &str, record_type: RecordType, configured: &[RecordSet]) -> Vec<Finding> {
        match self {
            Self::Rfc2136(provider) => provider.check(name, record_type, configured).await,
        }
    }
}

//! The seam between the loop and everything outside: look, and act.

mod live;

use std::future::Future;

use crate::model::{Fence, Observation, Step, StepOutcome, Timestamp, Topology};

pub use live::Live;

/// Everything outside the loop. There is one implementation for production, [`Live`]; a laboratory has its own.
pub trait World: Send + Sync + 'static {
    /// The time.
    fn now(&self) -> Timestamp;

    /// Looks at everything the topology names. Never fails: what could not be seen is `Unknown`.
    fn observe(&self, topology: &Topology) -> impl Future<Output = Observation> + Send;

    /// Takes one step, at most once, with its precondition.
    fn apply(&self, fence: &Fence, step: &Step) -> impl Future<Output = StepOutcome> + Send;
}

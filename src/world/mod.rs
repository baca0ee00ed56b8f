//! The seam between the loop and everything outside: look, and act.

mod live;
pub mod sim;

use std::{collections::BTreeMap, future::Future, time::Duration};

use crate::model::{
    Draining, Fence, FleetName, Observation, Pipeline, Seen, Step, StepOutcome, Timestamp, Topology,
};

pub use live::Live;
pub use sim::SimWorld;

/// Everything outside the loop: as it is, [`Live`], or as a story tells it, [`SimWorld`].
pub trait World: Send + Sync + 'static {
    /// The time.
    fn now(&self) -> Timestamp;

    /// Looks at everything the topology names. Never fails: what could not be seen is `Unknown`.
    fn observe(&self, topology: &Topology) -> impl Future<Output = Observation> + Send;

    /// Looks for the pipelines in flight that each of these fleets has, for so long. Never fails, as [`World::observe`]
    /// never does: what is not known by then is `Unknown`.
    fn in_flight(
        &self,
        fleets: &BTreeMap<FleetName, Draining>,
        limit: Duration,
    ) -> impl Future<Output = BTreeMap<FleetName, Seen<Vec<Pipeline>>>> + Send;

    /// Takes one step, at most once, with its precondition.
    fn apply(&self, fence: &Fence, step: &Step) -> impl Future<Output = StepOutcome> + Send;
}

/// What is said when the look for pipelines did not end.
fn looked_too_long(limit: Duration) -> String {
    format!(
        "the look for pipelines was given up after {limit:?}: GitLab is slow, or `drain_look_back` long for a fleet this busy"
    )
}

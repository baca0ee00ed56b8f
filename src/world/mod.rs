//! The seam between the loop and everything outside: look, and act.

mod live;
pub mod sim;

use std::{collections::BTreeMap, future::Future};

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

    /// Looks for the pipelines in flight that each of these fleets has. Never fails, as [`World::observe`] never does.
    fn in_flight(
        &self,
        fleets: &BTreeMap<FleetName, Draining>,
    ) -> impl Future<Output = BTreeMap<FleetName, Seen<Vec<Pipeline>>>> + Send;

    /// Takes one step, at most once, with its precondition.
    fn apply(&self, fence: &Fence, step: &Step) -> impl Future<Output = StepOutcome> + Send;
}

//! What a story is played with: the product's own parts, each of which a test may replace by a broken one, to prove that
//! the promise it keeps is watched.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};

use crate::{
    decide::{Judges, judges},
    model::{
        Draining, Fence, FleetName, Observation, Pipeline, Seen, Step, StepOutcome, Timestamp, Topology,
    },
    world::{SimWorld, World},
};

/// What a story is played with.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    /// Which gates judge which moves: [`judges`].
    pub judges: Judges,
    /// The world as the loop sees it and acts on it: the simulated one.
    pub world: fn(SimWorld) -> Outside,
    /// What becomes of the store's directory when the process is killed: nothing.
    pub disk: fn(&Path),
}

impl Default for Parts {
    fn default() -> Self {
        Self { judges, world: Outside::new, disk: |_| {} }
    }
}

/// Any world.
#[derive(Clone)]
pub struct Outside(Arc<dyn AnyWorld>);

impl Outside {
    /// This one.
    pub fn new(world: impl World) -> Self {
        Self(Arc::new(world))
    }
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outside")
    }
}

type InFlight = BTreeMap<FleetName, Seen<Vec<Pipeline>>>;

/// [`World`], whichever it is.
trait AnyWorld: Send + Sync {
    fn now(&self) -> Timestamp;
    fn observe<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Observation>;
    fn in_flight<'a>(
        &'a self,
        fleets: &'a BTreeMap<FleetName, Draining>,
        limit: Duration,
    ) -> BoxFuture<'a, InFlight>;
    fn apply<'a>(&'a self, fence: &'a Fence, step: &'a Step) -> BoxFuture<'a, StepOutcome>;
}

impl<W: World> AnyWorld for W {
    fn now(&self) -> Timestamp {
        World::now(self)
    }

    fn observe<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Observation> {
        World::observe(self, topology).boxed()
    }

    fn in_flight<'a>(
        &'a self,
        fleets: &'a BTreeMap<FleetName, Draining>,
        limit: Duration,
    ) -> BoxFuture<'a, InFlight> {
        World::in_flight(self, fleets, limit).boxed()
    }

    fn apply<'a>(&'a self, fence: &'a Fence, step: &'a Step) -> BoxFuture<'a, StepOutcome> {
        World::apply(self, fence, step).boxed()
    }
}

impl World for Outside {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    async fn observe(&self, topology: &Topology) -> Observation {
        self.0.observe(topology).await
    }

    async fn in_flight(&self, fleets: &BTreeMap<FleetName, Draining>, limit: Duration) -> InFlight {
        self.0.in_flight(fleets, limit).await
    }

    async fn apply(&self, fence: &Fence, step: &Step) -> StepOutcome {
        self.0.apply(fence, step).await
    }
}

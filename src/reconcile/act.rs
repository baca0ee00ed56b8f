//! Carrying out one plan: journal, act, journal.

use futures::{StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{PassError, Setup};
use crate::{
    metrics::{Metrics, StepLabels},
    model::{Fence, FleetName, Phase, Step, StepOutcome, Timestamp},
    plan::Plan,
    store::{Started, Store},
    world::World,
};

/// What came of a plan's steps.
pub(super) struct Acted {
    pub(super) fleet: FleetName,
    pub(super) all_done: bool,
    pub(super) last_step: Option<Timestamp>,
}

/// What taking a step needs.
pub(super) struct Actor<'a, W> {
    pub(super) setup: &'a Setup<W>,
    pub(super) store: &'a Store,
    pub(super) metrics: &'a Metrics,
    pub(super) shutdown: &'a CancellationToken,
    pub(super) fence: Fence,
}

impl<W: World> Actor<'_, W> {
    /// Every step is in the journal as started before the first one is taken, and its outcome before the next pass. The
    /// journal refuses when the decision is no longer the fleet's latest.
    pub(super) async fn act(self, plan: &Plan) -> Result<Acted, PassError> {
        let phase = plan.phase.unwrap_or(Phase::Prepare);
        let now = || self.setup.world.now();
        let rows = match self.store.steps_started(&self.fence, phase, &plan.steps, now()).await? {
            Started::Yes(rows) => rows,
            Started::Superseded { latest } => {
                let Fence { fleet, generation } = self.fence;
                warn!(%fleet, generation = generation.0, %latest, "an older decision does not act");
                return Ok(Acted { fleet, all_done: false, last_step: None });
            }
        };
        let mut steps = Vec::with_capacity(rows.len());
        for (step, row) in plan.steps.iter().zip(rows) {
            steps.push(self.take(phase, step, row));
        }
        let concurrency = self.setup.concurrency.max(1);
        let done: Vec<bool> = stream::iter(steps).buffer_unordered(concurrency).try_collect().await?;
        let last_step = Some(now());
        Ok(Acted { fleet: self.fence.fleet, all_done: done.iter().all(|done| *done), last_step })
    }

    /// Takes one step, unless the process is to end, and says whether it was done.
    async fn take(&self, phase: Phase, step: &Step, row: i64) -> Result<bool, PassError> {
        let outcome = if self.shutdown.is_cancelled() {
            StepOutcome::Failed { why: "not taken: Switchyard was shutting down".to_owned(), transient: true }
        } else {
            self.setup.world.apply(&self.fence, step).await
        };
        let fleet = &self.fence.fleet;
        let labels = StepLabels {
            fleet: fleet.to_string(),
            kind: step.kind().to_owned(),
            outcome: outcome.as_str().to_owned(),
        };
        self.metrics.steps.get_or_create(&labels).inc();
        match &outcome {
            StepOutcome::Done => info!(%fleet, phase = phase.as_str(), %step, "step done"),
            StepOutcome::Failed { why, .. } => {
                warn!(%fleet, phase = phase.as_str(), %step, why, "step failed")
            }
            StepOutcome::Unknown(why) => {
                warn!(%fleet, phase = phase.as_str(), %step, why, "nobody knows whether the step happened");
            }
        }
        let done = outcome == StepOutcome::Done;
        self.store.steps_finished(&[(row, outcome)], self.setup.world.now()).await?;
        Ok(done)
    }
}

//! Carrying out one plan: journal, act, journal.

use futures::{StreamExt, stream};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{PassError, Setup};
use crate::{
    metrics::{Metrics, StepLabels},
    model::{Fence, FleetName, Step, StepOutcome, Timestamp},
    plan::Plan,
    store::{Started, Store, Term},
    world::World,
};

/// What came of a plan's steps.
pub(super) struct Acted {
    pub(super) fleet: FleetName,
    pub(super) result: ActResult,
    pub(super) last_step: Option<Timestamp>,
}

/// What came of all steps together: the worst of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ActResult {
    /// All were done.
    Done,
    /// Some failed or are unknown, and may go well later.
    Failed,
    /// Some were refused: somebody has to mend something.
    Refused,
}

/// What taking a step needs.
pub(super) struct Actor<'a, W> {
    pub(super) setup: &'a Setup<W>,
    pub(super) store: &'a Store,
    pub(super) metrics: &'a Metrics,
    pub(super) shutdown: &'a CancellationToken,
    pub(super) fence: Fence,
    pub(super) term: Term,
}

impl<W: World> Actor<'_, W> {
    /// Every step is in the journal as started before the first one is taken, and its outcome before the next pass. The
    /// journal refuses when the decision is no longer the fleet's latest.
    pub(super) async fn act(self, plan: &Plan) -> Result<Acted, PassError> {
        let now = || self.setup.world.now();
        let rows = match self.store.steps_started(&self.fence, &plan.steps, now()).await? {
            Started::Yes(rows) => rows,
            Started::Superseded { latest } => {
                let Fence { fleet, generation, .. } = self.fence;
                warn!(%fleet, generation = generation.0, %latest, "an older decision does not act");
                return Ok(Acted { fleet, result: ActResult::Failed, last_step: None });
            }
            Started::Paused => {
                let fleet = self.fence.fleet;
                info!(%fleet, "a person has paused the fleet meanwhile; nothing is corrected");
                return Ok(Acted { fleet, result: ActResult::Failed, last_step: None });
            }
        };
        let mut steps = Vec::with_capacity(rows.len());
        for (step, row) in plan.steps.iter().zip(rows) {
            steps.push(self.take(step, row));
        }
        let concurrency = self.setup.concurrency.max(1);
        // Every step in flight is finished, even when the store fails for one of them.
        let taken: Vec<_> = stream::iter(steps).buffer_unordered(concurrency).collect().await;
        let results = taken.into_iter().collect::<Result<Vec<ActResult>, PassError>>()?;
        let last_step = Some(now());
        let result = results.into_iter().max().unwrap_or(ActResult::Done);
        Ok(Acted { fleet: self.fence.fleet, result, last_step })
    }

    /// Takes one step, unless the process is to end, and says what came of it.
    async fn take(&self, step: &Step, row: i64) -> Result<ActResult, PassError> {
        let lease = self.store.lease();
        let not_taken = |why: &str| StepOutcome::Failed { why: format!("not taken: {why}"), transient: true };
        // Asked right before the step: the process may have been frozen since the last one.
        let outcome = match lease.step_deadline(self.term) {
            _ if self.shutdown.is_cancelled() => not_taken("Switchyard was shutting down"),
            Err(why) => not_taken(&why),
            Ok(deadline) => {
                let fence = Fence { deadline, ..self.fence.clone() };
                let step = self.setup.world.apply(&fence, step);
                match lease.step_limit() {
                    None => step.await,
                    Some(limit) => tokio::time::timeout(limit, step).await.unwrap_or_else(|_| {
                        StepOutcome::Unknown(format!("given up after {limit:?}, a third of the lease"))
                    }),
                }
            }
        };
        let (fleet, phase) = (&self.fence.fleet, step.phase());
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
        let result = match &outcome {
            StepOutcome::Done => ActResult::Done,
            StepOutcome::Failed { transient: false, .. } => ActResult::Refused,
            StepOutcome::Failed { .. } | StepOutcome::Unknown(_) => ActResult::Failed,
        };
        self.store.steps_finished(&[(row, outcome)], self.setup.world.now()).await?;
        Ok(result)
    }
}

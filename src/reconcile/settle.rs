//! How moves end: seen done, or out of time.

use tracing::{error, info};

use super::{PassError, Reconciler, View};
use crate::{
    metrics::PhaseLabels,
    model::{Decision, Generation, MoveState, Seen, SignedDuration, Timestamp},
    plan::{Plan, Standing},
    store::{Event, State},
    world::World,
};

/// The most that one pass takes from a move's deadline.
const LONGEST_TICK: SignedDuration = SignedDuration::from_mins(1);

/// The time a move has had. An outage of GitLab or of Switchyard itself does not use it up.
#[derive(Debug, Clone, Copy)]
pub(super) struct MoveClock {
    generation: Generation,
    used: SignedDuration,
    last: Timestamp,
    pub(super) last_step: Option<Timestamp>,
}

impl MoveClock {
    fn new(generation: Generation, now: Timestamp) -> Self {
        Self { generation, used: SignedDuration::ZERO, last: now, last_step: None }
    }
}

impl<W: World> Reconciler<W> {
    /// Ends moves whose every effect has been seen, and those that ran out of time.
    pub(super) async fn settle(&mut self, seen: View<'_>, state: &mut State) -> Result<(), PassError> {
        let View { topology, observation, now, .. } = seen;
        for (name, decision) in &mut state.decisions {
            if decision.state != MoveState::Moving {
                self.clocks.remove(name);
                continue;
            }
            let Some(fleet) = topology.fleets.get(name) else { continue };
            let clock = self
                .clocks
                .entry(name.clone())
                .and_modify(|clock| {
                    if clock.generation != decision.generation {
                        *clock = MoveClock::new(decision.generation, now);
                    }
                })
                .or_insert_with(|| MoveClock::new(decision.generation, now));
            if matches!(observation.runners, Seen::Known(_)) {
                // A clock that jumps uses up no more than this.
                clock.used += now.duration_since(clock.last).clamp(SignedDuration::ZERO, LONGEST_TICK);
            }
            clock.last = now;
            let clock = *clock;
            let plan = seen.plan(fleet, decision, Standing { paused: false, holder_able: false });
            let end = if plan.complete {
                MoveState::Done
            } else if clock.used > fleet.move_deadline {
                MoveState::Failed
            } else {
                continue;
            };
            let before = decision.clone();
            decision.state = end;
            decision.finished_at = Some(now);
            let sentence = ended(decision, &plan, now);
            let told = Event {
                at: now,
                fleet: Some(name.clone()),
                outcome: format!("move_{}", end.as_str()),
                sentence: sentence.clone(),
                author: None,
            };
            if !self.store.finish_decision(name, decision.generation, end, &told).await? {
                *decision = before;
                continue;
            }
            for in_moves in &mut state.moves {
                if in_moves.fleet == *name && in_moves.generation == decision.generation {
                    in_moves.state = end;
                    in_moves.finished_at = Some(now);
                }
            }
            if end == MoveState::Done {
                info!(fleet = %name, generation = decision.generation.0, "{sentence}");
                self.time_phases(
                    decision,
                    state.signals.iter().find(|s| Some(&s.key) == decision.signal.as_ref()),
                    clock,
                    now,
                );
            } else {
                error!(fleet = %name, generation = decision.generation.0, "{sentence}");
            }
        }
        Ok(())
    }

    fn time_phases(
        &self,
        decision: &Decision,
        signal: Option<&crate::model::Signal>,
        clock: MoveClock,
        done: Timestamp,
    ) {
        let phase = |phase: &str, from: Timestamp, to: Timestamp| {
            let labels = PhaseLabels { fleet: decision.fleet.to_string(), phase: phase.to_owned() };
            let seconds = to.duration_since(from).as_secs_f64().max(0.0);
            self.metrics.failover_duration.get_or_create(&labels).observe(seconds);
        };
        let decided = decision.decided_at;
        if let Some(signal) = signal {
            phase("detect", signal.key.starts_at, signal.first_seen);
            phase("decide", signal.first_seen, decided);
        }
        let moved = clock.last_step.unwrap_or(decided);
        phase("move", decided, moved);
        phase("verify", moved, done);
        phase("total", signal.map_or(decided, |s| s.key.starts_at), done);
    }
}

fn ended(decision: &Decision, plan: &Plan, now: Timestamp) -> String {
    // A clock may have jumped back.
    let took = now.duration_since(decision.decided_at).as_secs_f64().max(0.0);
    let Decision { fleet, kind, to, generation, .. } = decision;
    if decision.state == MoveState::Done {
        return format!(
            "{fleet}: the {kind} to {to} was seen done {took:.1} s after the decision (generation {generation})."
        );
    }
    let left = plan
        .waiting
        .clone()
        .or_else(|| plan.steps.first().map(ToString::to_string))
        .or_else(|| plan.withheld.first().map(|w| w.step.clone()))
        .unwrap_or_else(|| "unknown".to_owned());
    format!(
        "{fleet}: the {kind} to {to} failed: not seen done in time (generation {generation}); left: {left}. \
         The fleet is latched until `switchyard ack {fleet} --holder {to} --reason …`."
    )
}

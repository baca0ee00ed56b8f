//! What must be so when a move is decided.

use super::{Around, CLOCK_TOLERANCE, Watcher};
use crate::model::{
    ClusterName, Decision, Failback, Fleet, FleetName, Gate, MoveKind, MoveState, Question, Seen, SignalKey,
    SignedDuration,
};

impl Watcher {
    pub(super) fn one_at_a_time(&mut self, decision: &Decision) {
        let Some(before) = self.latest.get(&decision.fleet).cloned() else { return };
        let key = (before.fleet.clone(), before.generation);
        let state = self.ended.get(&key).map_or(before.state, |(state, _)| *state);
        let what = format!("{} decided generation {}", decision.fleet, decision.generation);
        if decision.generation <= before.generation {
            self.breaks(4, format!("{what} after {}", before.generation));
        }
        if state == MoveState::Moving {
            self.breaks(4, format!("{what} while {} was moving", before.generation));
        }
        let overridden = decision.overridden.contains(&Gate::NotLatched);
        if state == MoveState::Failed && !overridden && !self.acknowledged.contains(&key) {
            self.breaks(
                4,
                format!("{what} although {} had failed and nobody acknowledged it", before.generation),
            );
        }
    }

    /// Positive evidence of the target, fresh, from every server that had any.
    pub(super) fn proven(&mut self, fleet: &Fleet, decision: &Decision, around: &Around<'_>) {
        let able = numbers(around, &fleet.name, Question::Able, &decision.to);
        let overridden = decision.overridden.contains(&Gate::TargetAble);
        if !overridden && (able.is_empty() || able.iter().any(|share| *share < fleet.thresholds.able)) {
            self.breaks(
                1,
                format!("{} goes to {}, which is not proven able: {able:?}", fleet.name, decision.to),
            );
        }
        let overridden = decision.overridden.contains(&Gate::GitlabReachable);
        if !overridden && !matches!(around.look.runners, Seen::Known(_)) {
            self.breaks(3, format!("{} was moved while GitLab could not be read", fleet.name));
        }
    }

    /// By an alert that was accepted, while some Prometheus answers.
    pub(super) fn asked_for(&mut self, fleet: &Fleet, decision: &Decision, around: &Around<'_>) {
        let name = &fleet.name;
        let same = |key: &SignalKey, other: &SignalKey| {
            (&key.source, &key.fingerprint) == (&other.source, &other.fingerprint)
        };
        let known = decision.signal.as_ref().is_some_and(|s| self.accepted.keys().any(|key| same(key, s)));
        if !known {
            self.breaks(3, format!("{name} was moved and no alert asked for it: {:?}", decision.signal));
        }
        let mut answers =
            around.look.evidence.fleets.values().flat_map(|e| e.asked.values()).flat_map(|a| &a.answers);
        if answers.all(|answer| answer.result.is_err()) {
            self.breaks(3, format!("{name} was moved while no Prometheus answered"));
        }
    }

    pub(super) fn evidence(&mut self, fleet: &Fleet, decision: &Decision, around: &Around<'_>) {
        let name = &fleet.name;
        let limits = &around.topology.limits;
        let heard = around.watchdog.map(|at| around.now.duration_since(at));
        if heard.is_none_or(|age| age > limits.watchdog_max_age) {
            self.breaks(2, format!("{name} was moved while the watchdog was {heard:?} old"));
        }
        if !fleet.enabled {
            self.breaks(4, format!("{name} was moved and is not enabled"));
        }
        match decision.kind {
            MoveKind::Failover => {
                let Some(from) = &decision.from else { return };
                let alive = numbers(around, name, Question::Alive, from);
                if alive.is_empty() || alive.iter().any(|share| *share >= fleet.thresholds.failover) {
                    self.breaks(2, format!("{name} left {from}, which was not proven dead: {alive:?}"));
                }
            }
            MoveKind::Failback => {
                let well = numbers(around, name, Question::Able, &decision.to);
                if well.iter().any(|share| *share < fleet.thresholds.failback) {
                    self.breaks(
                        7,
                        format!("{name} went home to {}, which was not well: {well:?}", decision.to),
                    );
                }
                let dwell = match fleet.failback {
                    Failback::Manual => None,
                    Failback::After(dwell) => Some(dwell),
                };
                let since = decision.signal.as_ref().map(|s| around.now.duration_since(s.starts_at));
                if dwell.is_none() || since < dwell {
                    self.breaks(7, format!("{name} went home after {since:?}, {dwell:?} was wanted"));
                }
            }
            MoveKind::Adopt | MoveKind::Switchover => {}
        }
    }

    pub(super) fn limits(&mut self, fleet: &Fleet, decision: &Decision, around: &Around<'_>) {
        let at = decision.decided_at;
        let budget = &around.topology.limits.budget;
        self.automatic.push(at);
        let within = self.automatic.iter().filter(|a| at.duration_since(**a) < budget.window).count();
        if within > budget.moves as usize {
            self.breaks(4, format!("{within} automatic moves within {:#}", budget.window));
        }
        let before = self.latest.get(&fleet.name).filter(|d| d.kind != MoveKind::Adopt);
        if let Some(before) = before {
            let key = (before.fleet.clone(), before.generation);
            let ended = self.ended.get(&key).map_or(before.decided_at, |(_, at)| *at);
            let since = at.duration_since(ended);
            if since < fleet.cool_down && !self.acknowledged.contains(&key) {
                self.breaks(4, format!("{} was moved again after {since:#}", fleet.name));
            }
        }
    }
}

/// The numbers about a cluster that the loop was shown and that count: in range, and neither old nor from the future.
fn numbers(around: &Around<'_>, fleet: &FleetName, question: Question, cluster: &ClusterName) -> Vec<f64> {
    let Some(asked) = around.look.evidence.fleets.get(fleet).and_then(|e| e.asked.get(&question)) else {
        return Vec::new();
    };
    let max_age = around.topology.limits.evidence_max_age;
    let counts = |age: SignedDuration| age <= max_age && age >= -CLOCK_TOLERANCE;
    asked
        .answers
        .iter()
        .filter_map(|answer| answer.result.as_ref().ok()?.get(cluster))
        .filter(|sample| (0.0..=1.0).contains(&sample.value) && counts(around.now.duration_since(sample.at)))
        .map(|sample| sample.value)
        .collect()
}

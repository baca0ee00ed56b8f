//! The snapshot of a pass.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tracing::warn;

use super::{PassError, Reconciler, View};
use crate::{
    decide::FleetPass,
    model::{
        Action, ClusterName, Decision, Fleet, FleetName, FleetRunners, MoveState, RecordSet, Seen,
        SignalState, Timestamp,
    },
    plan::Plan,
    status::{Failing, FleetStatus, Progress, Status},
    store::State,
    transport::chain,
    world::World,
};

impl<W: World> Reconciler<W> {
    /// A pass could not be finished: what was published before is shown with that.
    pub(super) fn failed(&mut self, error: &PassError) {
        self.metrics.pass_failures.inc();
        let now = self.setup.borrow().world.now();
        let Failing { since, passes, .. } =
            self.failing.take().unwrap_or(Failing { since: now, passes: 0, why: String::new() });
        self.failing = Some(Failing { since, passes: passes + 1, why: chain(error) });
        self.show_failing();
    }

    pub(super) fn went_well(&mut self) {
        if self.failing.take().is_some() {
            self.show_failing();
        }
    }

    fn show_failing(&self) {
        self.status.send_modify(|status| Arc::make_mut(status).failing.clone_from(&self.failing));
    }

    pub(super) fn publish(
        &mut self,
        seen: View<'_>,
        state: &State,
        mut passes: BTreeMap<FleetName, FleetPass>,
        mut plans: BTreeMap<FleetName, Plan>,
    ) {
        let View { topology, observation, .. } = seen;
        let now = self.setup.borrow().world.now();
        let mut prometheus = BTreeMap::new();
        for answer in
            observation.evidence.fleets.values().flat_map(|f| f.asked.values()).flat_map(|a| &a.answers)
        {
            *prometheus.entry(answer.server.clone()).or_insert(true) &= answer.result.is_ok();
        }
        let fleets: BTreeMap<FleetName, FleetStatus> = topology
            .fleets
            .iter()
            .filter_map(|(name, fleet)| {
                let pass = passes.remove(name)?;
                let status =
                    fleet_status(fleet, pass, state.decisions.get(name), plans.remove(name), seen, state);
                Some((name.clone(), status))
            })
            .collect();
        let watchdog_at = state
            .signals
            .iter()
            .filter(|s| s.action == Action::Watchdog && s.state == SignalState::Firing)
            .map(|s| s.last_seen)
            .max();
        let gitlab = observation.runners.map(|_| observation.at);
        let answers = self.answers.clone();
        let before = self.status.borrow().clone();
        for FleetStatus { name, warnings, .. } in fleets.values() {
            if before.fleets.get(name).is_none_or(|before| before.warnings != *warnings) {
                warnings.iter().for_each(|warning| warn!(fleet = %name, "{warning}"));
            }
        }
        self.status.send_replace(Arc::new(Status {
            at: Some(now),
            leadership: seen.leadership.clone(),
            judged_at: Some(seen.now),
            gitlab,
            watchdog_at,
            prometheus,
            clocks: observation.evidence.clocks.clone(),
            stale_at: now.checked_add(overdue(self.setup.borrow().period)).ok(),
            failing: self.failing.clone(),
            fleets,
            answers,
        }));
    }
}

/// How long after a pass the next one should have ended: GitLab or Prometheus may be slow.
fn overdue(period: Duration) -> Duration {
    period.saturating_mul(3).max(Duration::from_secs(60))
}

fn fleet_status(
    fleet: &Fleet,
    pass: FleetPass,
    decision: Option<&Decision>,
    plan: Option<Plan>,
    seen: View<'_>,
    state: &State,
) -> FleetStatus {
    let runners = seen.runners[&fleet.name].clone();
    let observed_holders = runners.map(|r| r.holders(&fleet.routing_tag).into_iter().cloned().collect());
    let dns = seen.observation.dns.get(&fleet.name).cloned();
    let moving = FleetStatus::is_moving(decision);
    let servers = dns.as_ref().map(|view| &view.servers);
    let progress = decision.and_then(|decision| {
        Some(progress(fleet, decision, plan.as_ref(), runners.known()?, servers, seen.now))
    });
    let proposal = pass.proposed.and_then(|(what, _)| {
        state.proposals.iter().rev().find(|p| p.what == what && p.pending(seen.now)).cloned()
    });
    let in_flight = seen.in_flight.get(&fleet.name).and_then(|seen| Some(seen.known()?.len()));
    let cloned = runners.known().and_then(FleetRunners::cloned_system);
    FleetStatus {
        name: fleet.name.clone(),
        enabled: fleet.enabled,
        routing_tag: fleet.routing_tag.clone(),
        prefer: fleet.prefer.clone(),
        intended_holder: decision.map(|d| d.to.clone()),
        observed_holders,
        generation: decision.map(|d| d.generation).unwrap_or_default(),
        moving,
        drift: !moving && plan.as_ref().is_some_and(|p| p.drift),
        latched: decision.is_some_and(Decision::latched),
        paused: state.pause(&fleet.name, seen.now).is_some(),
        outcome: pass.outcome,
        sentence: pass.sentence,
        warnings: cloned.iter().map(ToString::to_string).collect(),
        decision: decision.cloned(),
        gates: pass.gates,
        plan,
        progress,
        proposal,
        waiting: pass.waiting,
        in_flight,
        cool_down: fleet.cool_down,
        dns,
        thresholds: fleet.thresholds.named().into_iter().collect(),
        require: fleet.require,
        runners,
        evidence: seen.observation.evidence.fleets.get(&fleet.name).cloned().unwrap_or_default(),
    }
}

fn progress(
    fleet: &Fleet,
    decision: &Decision,
    plan: Option<&Plan>,
    runners: &FleetRunners,
    servers: Option<&BTreeMap<String, Seen<RecordSet>>>,
    now: Timestamp,
) -> Progress {
    let pool = |cluster: &ClusterName| runners.pools.get(cluster).map(Vec::as_slice).unwrap_or_default();
    let tagged =
        |cluster: &ClusterName| pool(cluster).iter().filter(|r| r.tags.contains(&fleet.routing_tag)).count();
    let others = || runners.pools.keys().filter(|c| **c != decision.to);
    let wanted = fleet.record_set(&decision.to);
    let agrees =
        |seen: &&Seen<RecordSet>| seen.known().map(|r| &r.values) == wanted.as_ref().map(|r| &r.values);
    // The pool that gets the tag and the one that loses it have to be as decided, and no other may carry it.
    let (to_tag, from) = (pool(&decision.to).len(), decision.from.as_ref().filter(|c| **c != decision.to));
    let loses = from.map_or(0, |c| pool(c).len());
    let to_untag: usize = others().map(tagged).sum();
    let still_tagged = from.map_or(0, tagged);
    Progress {
        phase: match (decision.state, plan.and_then(|plan| plan.phase)) {
            (MoveState::Done, _) => "done",
            (MoveState::Failed, _) => "failed",
            (MoveState::Moving, Some(phase)) => phase.as_str(),
            (MoveState::Moving, None) => "verify",
        },
        waiting: plan.and_then(|plan| plan.waiting.clone()),
        runners_moved: tagged(&decision.to) + loses - still_tagged,
        runners: to_tag + loses + to_untag - still_tagged,
        tagged: tagged(&decision.to),
        to_tag,
        to_untag,
        dns_agreeing: servers.map_or(0, |s| s.values().filter(agrees).count()),
        dns_servers: servers.map_or(0, BTreeMap::len),
        dns_unreachable: servers.map_or(0, |s| s.values().filter(|s| matches!(s, Seen::Unknown(_))).count()),
        elapsed: decision.finished_at.unwrap_or(now).duration_since(decision.decided_at).as_secs_f64(),
    }
}

//! The snapshot of a pass.

use std::{collections::BTreeMap, sync::Arc};

use super::{Reconciler, View};
use crate::{
    decide::FleetPass,
    model::{Action, Decision, Fleet, FleetName, SignalState},
    plan::Plan,
    status::{FleetStatus, Progress, Status},
    store::State,
    world::World,
};

impl<W: World> Reconciler<W> {
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
        let fleets = topology
            .fleets
            .iter()
            .filter_map(|(name, fleet)| {
                let pass = passes.remove(name)?;
                let status = fleet_status(
                    fleet,
                    pass,
                    state.decisions.get(name),
                    plans.remove(name),
                    seen,
                    state.pause(name, now).is_some(),
                );
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
        self.status.send_replace(Arc::new(Status {
            at: Some(now),
            leadership: seen.leadership.clone(),
            gitlab,
            watchdog_at,
            prometheus,
            fleets,
            answers,
        }));
    }
}

fn fleet_status(
    fleet: &Fleet,
    pass: FleetPass,
    decision: Option<&Decision>,
    plan: Option<Plan>,
    seen: View<'_>,
    paused: bool,
) -> FleetStatus {
    let runners = seen.runners[&fleet.name].clone();
    let observed_holders = runners.map(|r| r.holders(&fleet.routing_tag).into_iter().cloned().collect());
    let dns = seen.observation.dns.get(&fleet.name).cloned();
    let moving = FleetStatus::is_moving(decision);
    let progress = decision.and_then(|decision| {
        let runners = runners.known()?;
        let tagged = |cluster| {
            runners
                .pools
                .get(cluster)
                .into_iter()
                .flatten()
                .filter(|r| r.tags.contains(&fleet.routing_tag))
                .count()
        };
        let wanted = fleet.record_set(&decision.to);
        let servers = dns.as_ref().map(|d| &d.servers);
        Some(Progress {
            tagged: tagged(&decision.to),
            to_tag: runners.pools.get(&decision.to).map_or(0, Vec::len),
            to_untag: runners.pools.keys().filter(|c| **c != decision.to).map(tagged).sum(),
            dns_agreeing: servers.map_or(0, |s| {
                s.values()
                    .filter(|seen| seen.known().map(|r| &r.values) == wanted.as_ref().map(|r| &r.values))
                    .count()
            }),
            dns_servers: servers.map_or(0, BTreeMap::len),
        })
    });
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
        paused,
        outcome: pass.outcome,
        sentence: pass.sentence,
        decision: decision.cloned(),
        gates: pass.gates,
        plan,
        progress,
        dns,
        thresholds: fleet.thresholds.named().into_iter().collect(),
        runners,
        evidence: seen.observation.evidence.fleets.get(&fleet.name).cloned().unwrap_or_default(),
    }
}

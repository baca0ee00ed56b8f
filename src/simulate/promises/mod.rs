//! The promises, watched from outside: what was told, what was written down, and what was done. The product's own
//! judgement is not asked.

mod decisions;
mod people;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    model::{
        ClusterName, Decision, Fleet, FleetName, Generation, MoveKind, MoveState, Observation, RunnerId,
        Seen, Signal, SignalKey, SignalState, SignedDuration, Step, TagChange, Timestamp, Topology,
    },
    store,
    world::sim::{Sent, State},
};

/// How far a server's clock may be ahead.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(5);
/// What was heard of longer ago need not be remembered.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Its number.
    pub promise: u8,
    /// How.
    pub how: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "promise {}: {}", self.promise, self.how)
    }
}

/// What else the watcher knows at the time of a decision.
pub(super) struct Around<'a> {
    pub(super) topology: &'a Topology,
    /// What the loop was shown.
    pub(super) look: &'a Observation,
    /// When a watchdog was last taken in, by Switchyard's clock.
    pub(super) watchdog: Option<Timestamp>,
    pub(super) now: Timestamp,
}

/// Remembers what it needs to judge.
#[derive(Default)]
pub(super) struct Watcher {
    /// The latest decision of each fleet.
    latest: BTreeMap<FleetName, Decision>,
    /// When each ended, by what the store says.
    ended: BTreeMap<(FleetName, Generation), (MoveState, Timestamp)>,
    automatic: Vec<Timestamp>,
    acknowledged: BTreeSet<(FleetName, Generation)>,
    /// What was accepted of each episode of an alert: the furthest state, and when it was last heard of.
    accepted: BTreeMap<SignalKey, (SignalState, Timestamp)>,
    /// Steps of the fleets' latest decisions that happened, until somebody else changed something.
    happened: BTreeMap<FleetName, Vec<Step>>,
    /// Fleets whose move had something in its way, other than Switchyard itself.
    hindered: BTreeSet<FleetName>,
    /// A person changed what no decision sets right.
    meddled: bool,
    /// What people asked for and answered.
    people: people::People,
    broken: Vec<Broken>,
}

impl Watcher {
    pub(super) fn take(&mut self) -> Vec<Broken> {
        std::mem::take(&mut self.broken)
    }

    pub(super) fn breaks(&mut self, promise: u8, how: impl Into<String>) {
        self.broken.push(Broken { promise, how: how.into() });
    }

    /// A person acknowledged the fleet's latest decision.
    pub(super) fn acknowledged(&mut self, fleet: &FleetName) {
        if let Some(latest) = self.latest.get(fleet) {
            self.acknowledged.insert((fleet.clone(), latest.generation));
        }
    }

    /// A decision was written down.
    pub(super) fn decided(&mut self, decision: &Decision, around: &Around<'_>) {
        let Some(fleet) = around.topology.fleets.get(&decision.fleet) else {
            return self.breaks(8, format!("a decision about {}, which is not configured", decision.fleet));
        };
        if decision.kind != MoveKind::Adopt {
            self.one_at_a_time(decision);
            self.proven(fleet, decision, around);
        }
        if decision.kind == MoveKind::Switchover {
            self.requested(fleet, decision, around);
        }
        if decision.kind.automatic() {
            self.asked_for(fleet, decision, around);
            self.approved(fleet, decision, around);
            self.evidence(fleet, decision, around);
            self.limits(fleet, decision, around);
        }
        self.hindered.remove(&decision.fleet);
        self.happened.remove(&decision.fleet);
        self.latest.insert(decision.fleet.clone(), decision.clone());
    }

    /// Alerts were accepted: whoever sent them was told so.
    pub(super) fn accepted(&mut self, signals: &[Signal]) {
        for signal in signals {
            let accepted =
                self.accepted.entry(signal.key.clone()).or_insert((signal.state, signal.last_seen));
            // The clock may have been set back since it was heard of before.
            *accepted = (accepted.0.max(signal.state), signal.last_seen);
        }
    }

    /// A person did something to the world.
    pub(super) fn meddled(&mut self) {
        self.meddled = true;
        self.happened.clear();
    }

    /// What may keep a move from its end, as it is now.
    pub(super) fn weather(&mut self, state: &State) {
        if !state.takes_writes() {
            self.hindered.extend(self.latest.keys().cloned());
        }
    }

    /// The fleet's latest move came to an end: done when the loop was shown that it is, failed when something was in its
    /// way.
    pub(super) fn ended(
        &mut self,
        fleet: &FleetName,
        state: MoveState,
        at: Timestamp,
        topology: &Topology,
        look: Option<&Observation>,
    ) {
        let Some(latest) = self.latest.get(fleet) else { return };
        let (generation, to) = (latest.generation, latest.to.clone());
        self.ended.entry((fleet.clone(), generation)).or_insert((state, at));
        let (Some(configured), Some(look)) = (topology.fleets.get(fleet), look) else { return };
        if state == MoveState::Done
            && let Some(differs) = differs(configured, &to, look)
        {
            self.breaks(8, format!("generation {generation} of {fleet} is called done, and {differs}"));
        }
        if state == MoveState::Failed && !self.meddled && !self.hindered.contains(fleet) {
            self.breaks(5, format!("generation {generation} of {fleet} failed with nothing in its way"));
        }
    }

    /// The process ended and came back: what it had written, and what it had accepted, is there.
    pub(super) fn restarted(&mut self, before: &store::State, after: &store::State, now: Timestamp) {
        if before != after {
            self.breaks(5, "what was written before the process ended is not what is there after it");
        }
        self.remembers(&after.signals, now);
        self.stored(&after.decisions, now);
    }

    /// Every alert that was accepted is in the store.
    pub(super) fn remembers(&mut self, signals: &[Signal], now: Timestamp) {
        let mut latest: BTreeMap<(&str, &str), Timestamp> = BTreeMap::new();
        for (key, (_, heard)) in &self.accepted {
            let latest = latest.entry((&key.source, &key.fingerprint)).or_insert(*heard);
            *latest = (*latest).max(*heard);
        }
        // An episode counts no more once the same alert was heard of later in another one.
        let counts = |key: &SignalKey, heard: Timestamp| {
            latest.get(&(key.source.as_str(), key.fingerprint.as_str())) == Some(&heard)
                && now.duration_since(heard) < REMEMBERED
        };
        let kept = |key: &SignalKey, state: SignalState, heard: Timestamp| {
            signals.iter().any(|s| s.key == *key && s.state >= state && s.last_seen >= heard)
        };
        let forgotten = self
            .accepted
            .iter()
            .filter(|(key, (state, heard))| counts(key, *heard) && !kept(key, *state, *heard))
            .map(|(key, (state, _))| (key.clone(), *state))
            .collect::<Vec<_>>();
        for (key, state) in forgotten {
            self.accepted.remove(&key);
            let (fingerprint, since, state) = (&key.fingerprint, key.starts_at, state.as_str());
            self.breaks(
                5,
                format!("the alert {fingerprint} of {since} was accepted as {state} and forgotten"),
            );
        }
    }

    /// What the store says of the fleets' latest decisions.
    pub(super) fn stored(&mut self, decisions: &BTreeMap<FleetName, Decision>, now: Timestamp) {
        let kept = |latest: &Decision| {
            decisions.get(&latest.fleet).is_some_and(|kept| kept.generation >= latest.generation)
        };
        let forgotten: Vec<FleetName> =
            self.latest.values().filter(|latest| !kept(latest)).map(|latest| latest.fleet.clone()).collect();
        for name in forgotten {
            self.latest.remove(&name);
            self.breaks(5, format!("the store forgot a decision about {name}"));
        }
        for (name, decision) in decisions {
            if decision.state != MoveState::Moving {
                let at = decision.finished_at.unwrap_or(now);
                self.ended.entry((name.clone(), decision.generation)).or_insert((decision.state, at));
            }
        }
    }

    /// A step was sent.
    pub(super) fn sent(
        &mut self,
        topology: &Topology,
        sent: &Sent,
        runners: &BTreeMap<RunnerId, ClusterName>,
        stale: bool,
    ) {
        let name = &sent.fence.fleet;
        let step = &sent.step;
        let (Some(fleet), Some(latest)) = (topology.fleets.get(name), self.latest.get(name)) else {
            return self.breaks(3, format!("{step}: nothing was decided about {name}"));
        };
        let (to, generation) = (latest.to.clone(), latest.generation);
        if sent.fence.generation != generation {
            self.breaks(
                4,
                format!("{step}: for generation {}, and {generation} is the latest", sent.fence.generation),
            );
        }
        match step {
            Step::Tag(tag) => {
                if tag.tag != fleet.routing_tag {
                    self.breaks(8, format!("{step}: the tag is not the fleet's"));
                }
                if runners.get(&tag.runner).is_some_and(|cluster| *cluster != tag.cluster) {
                    self.breaks(8, format!("{step}: the runner is not there"));
                }
                let adds = tag.change == TagChange::Add;
                if adds != (tag.cluster == to) {
                    self.breaks(6, format!("{step}: {to} shall hold {name}"));
                }
                if adds && self.ended.contains_key(&(name.clone(), generation)) {
                    self.breaks(3, format!("{step}: no move is under way"));
                }
            }
            Step::Dns(dns) => {
                if fleet.dns.as_ref().is_none_or(|record| record.name != dns.name)
                    || fleet.record_set(&to).as_ref() != Some(&dns.to)
                {
                    self.breaks(8, format!("{step}: not the fleet's name, or not {to}"));
                }
            }
        }
        if sent.happened {
            let happened = self.happened.entry(name.clone()).or_default();
            if !happened.contains(step) {
                happened.push(step.clone());
            } else if sent.serving_before != sent.serving_after {
                self.breaks(5, format!("{step}: taken again, it changed what takes jobs for {name}"));
            }
        }
        // Nobody can know better than GitLab's answers, while these are old.
        if sent.happened && !stale && sent.serving_before > 0 && sent.serving_after == 0 {
            self.breaks(1, format!("{step}: it left {name} without a runner that takes jobs"));
        }
    }

    /// How a fleet must be when nothing has been wrong for long. A move that began late has until its deadline, and the look
    /// after that, which `patience` says.
    pub(super) fn calm(
        &mut self,
        fleet: &Fleet,
        decision: Option<&Decision>,
        holders: &[ClusterName],
        touched: bool,
        (now, patience): (Timestamp, SignedDuration),
    ) {
        let name = &fleet.name;
        let Some(decision) = decision else { return };
        let late = now.duration_since(decision.decided_at) > fleet.move_deadline.saturating_add(patience);
        if decision.state == MoveState::Moving && late {
            self.breaks(5, format!("{name} never came to an end of generation {}", decision.generation));
        }
        if decision.state == MoveState::Done
            && decision.kind != MoveKind::Adopt
            && fleet.enabled
            && !touched
            && holders != [decision.to.clone()]
        {
            self.breaks(6, format!("{} shall hold {name}, and {holders:?} carry its tag", decision.to));
        }
    }
}

/// In what the look differs from a fleet that `to` holds alone, if it does.
fn differs(fleet: &Fleet, to: &ClusterName, look: &Observation) -> Option<String> {
    let Seen::Known(runners) = &look.runners else { return Some("GitLab could not be read".to_owned()) };
    let assigned = fleet.assign(runners);
    let holders = assigned.holders(&fleet.routing_tag);
    if holders != [to] {
        return Some(format!("what GitLab showed is {holders:?}, not {to}"));
    }
    let wanted = fleet.record_set(to)?;
    let shown = &look.dns.get(&fleet.name)?.primary;
    (shown.known().map(|set| &set.values) != Some(&wanted.values))
        .then(|| format!("what DNS showed is {shown:?}, not {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Fence, StepOutcome, TagStep},
        simulate::parse,
    };

    fn decided() -> (Topology, Watcher) {
        let topology = parse("fleet rnd on blue green").unwrap().topology;
        let decision = Decision {
            kind: MoveKind::Failover,
            from: Some("blue".parse().unwrap()),
            state: MoveState::Moving,
            ..adopted()
        };
        let latest = BTreeMap::from([(decision.fleet.clone(), decision)]);
        (topology, Watcher { latest, ..Watcher::default() })
    }

    fn adopted() -> Decision {
        serde_json::from_value(serde_json::json!({
            "fleet": "rnd", "generation": 2, "kind": "adopt", "from": null, "to": "green", "reason": "", "author": "",
            "signal": null, "gates": [], "decided_at": "2027-01-15T08:00:00Z", "state": "done",
            "finished_at": null, "acknowledged_at": null,
        }))
        .unwrap()
    }

    fn step(cluster: &str, runner: u64, change: TagChange, serving: (usize, usize)) -> Sent {
        let tag = "rnd-runner".parse().unwrap();
        let step = TagStep {
            cluster: cluster.parse().unwrap(),
            runner: RunnerId(runner),
            tag,
            change,
            paused: None,
        };
        Sent {
            at: Timestamp::UNIX_EPOCH,
            fence: Fence { generation: Generation(2), ..fence() },
            step: Step::Tag(step),
            happened: true,
            outcome: Some(StepOutcome::Done),
            serving_before: serving.0,
            serving_after: serving.1,
        }
    }

    fn fence() -> Fence {
        let decision = adopted();
        Fence::new(decision.fleet, decision.generation)
    }

    /// The promises that one step breaks.
    fn breaks(sent: Sent) -> Vec<u8> {
        let (topology, mut watcher) = decided();
        let runners = [(1, "blue"), (3, "green")].map(|(id, c)| (RunnerId(id), c.parse().unwrap()));
        watcher.sent(&topology, &sent, &runners.into(), false);
        watcher.take().into_iter().map(|broken| broken.promise).collect()
    }

    #[test]
    fn steps_that_break_a_promise_are_seen() {
        assert_eq!(breaks(step("green", 3, TagChange::Add, (2, 3))), [0_u8; 0]);
        assert_eq!(breaks(step("blue", 1, TagChange::Remove, (2, 1))), [0_u8; 0]);
        assert_eq!(breaks(step("blue", 1, TagChange::Remove, (1, 0))), [1], "nobody is left");
        assert_eq!(breaks(step("blue", 1, TagChange::Add, (1, 2))), [6], "the failed side gets it");
        assert_eq!(breaks(step("green", 3, TagChange::Remove, (2, 1))), [6], "the new side loses it");
        assert_eq!(breaks(step("green", 1, TagChange::Add, (1, 2))), [8], "a runner of another pool");
        let mut stale = step("green", 3, TagChange::Add, (2, 3));
        stale.fence.generation = Generation(1);
        assert_eq!(breaks(stale), [4], "on behalf of an older decision");
    }

    #[test]
    fn what_does_not_come_to_rest_is_seen() {
        let (topology, mut watcher) = decided();
        let fleet = topology.fleets.values().next().unwrap();
        let moving = Decision { kind: MoveKind::Failover, state: MoveState::Moving, ..adopted() };
        let after =
            |time: SignedDuration| (moving.decided_at.checked_add(time).unwrap(), SignedDuration::ZERO);
        let (in_time, late) = (after(fleet.move_deadline), after(fleet.move_deadline * 2));
        watcher.calm(fleet, Some(&moving), &["green".parse().unwrap()], false, in_time);
        watcher.calm(fleet, Some(&moving), &["green".parse().unwrap()], false, late);
        let done = Decision { kind: MoveKind::Failover, ..adopted() };
        watcher.calm(fleet, Some(&done), &["blue".parse().unwrap(), "green".parse().unwrap()], false, late);
        watcher.calm(fleet, Some(&done), &["green".parse().unwrap()], false, late);
        let broken: Vec<u8> = watcher.take().into_iter().map(|broken| broken.promise).collect();
        assert_eq!(broken, [5, 6]);
    }
}

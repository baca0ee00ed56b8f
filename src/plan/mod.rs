//! The ordered steps from what is seen to what is decided: a pure function.
//!
//! | phase   | the new holder's pool           | the DNS name            | every other pool             |
//! |---------|---------------------------------|-------------------------|------------------------------|
//! | prepare | gets the tag (is unpaused)      | –                       | –                            |
//! | switch  | enough has been seen to serve   | is switched             | –                            |
//! | retire  | all has been seen with the tag  | has been seen to answer | loses the tag (is paused)    |
//!
//! The next look at the world, not a success reply, opens the next phase. Enough is a share of the pool's records with
//! which a cluster does not count as failed: one record that GitLab refuses to change must not keep the name at a dead
//! cluster, so what is left to prepare is tried on beside the switch. The old holder loses the tag only after all of it.
//! Applying a plan and planning again yields nothing. Foreign runners, tags and names are never in a plan.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{
    ClusterName, Decision, DnsRecord, DnsStep, DnsView, Fleet, FleetRunners, Gate, MoveState, Park, Phase,
    Runner, Seen, Step, TagChange, TagStep, Thresholds, one_line,
};

/// Why a step is not in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Withheld {
    /// What is there could not be seen.
    Unseen,
    /// The phase before has not been seen true.
    PhaseBefore,
    /// The new holder has no runner that could take jobs: the old one keeps the tag.
    NothingServes,
    /// A person paused the runner; `park = "untag"` leaves pausing to people.
    PausedByPerson,
    /// Somebody changed this since the move; Switchyard reports it and does not fight.
    Drift,
    /// Another tool or record stands in the way.
    Obstacle,
    /// The record is none of the configured ones.
    ForeignRecord,
    /// The last move failed and nobody has acknowledged it.
    Latched,
    /// The fleet is not enabled.
    NotEnabled,
    /// A person paused the fleet; a move under way goes on, corrections wait.
    Paused,
}

impl Withheld {
    /// The word used in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unseen => "unseen",
            Self::PhaseBefore => "phase_before",
            Self::NothingServes => "nothing_serves",
            Self::PausedByPerson => "paused_by_person",
            Self::Drift => "drift",
            Self::Obstacle => "obstacle",
            Self::ForeignRecord => "foreign_record",
            Self::Latched => "latched",
            Self::NotEnabled => "not_enabled",
            Self::Paused => "paused",
        }
    }
}

/// A step that is not in the plan, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithheldStep {
    /// The step, or what would have to be known first.
    pub step: String,
    /// Why.
    pub why: Withheld,
}

/// The steps to take now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The first phase that has work.
    pub phase: Option<Phase>,
    /// Its steps, sorted.
    pub steps: Vec<Step>,
    /// What is not done, and why.
    pub withheld: Vec<WithheldStep>,
    /// What the plan waits to see.
    pub waiting: Option<String>,
    /// Everything decided has been seen true.
    pub complete: bool,
    /// What is seen differs from what is decided.
    pub drift: bool,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for phase in Phase::ALL {
            let mut steps = self.steps.iter().filter(|step| step.phase() == phase).peekable();
            if steps.peek().is_some() {
                writeln!(f, "{}:", phase.as_str())?;
            }
            for step in steps {
                writeln!(f, "  + {step}")?;
            }
        }
        for withheld in &self.withheld {
            writeln!(f, "  - {} (withheld: {})", withheld.step, withheld.why.as_str())?;
        }
        if let Some(waiting) = &self.waiting {
            writeln!(f, "  ~ waiting: {}", one_line(waiting))?;
        }
        if self.complete {
            writeln!(f, "no step: what is decided has been seen true")?;
        }
        Ok(())
    }
}

/// The desired difference, before anything is withheld.
struct Difference {
    prepare: Vec<Step>,
    retire: Vec<Step>,
    paused: Vec<String>,
    /// Records of the new holder that carry the tag and can take jobs.
    serving: usize,
    /// All records of the new holder.
    pool: usize,
}

impl Difference {
    /// Whether so much of the new holder serves that it would not count as failed.
    fn enough(&self, thresholds: &Thresholds) -> bool {
        self.serving > 0 && self.serving as f64 >= thresholds.failover * self.pool as f64
    }
}

/// What the DNS name needs.
enum Dns {
    /// Nothing: there is none, or it answers as decided everywhere that answers at all.
    Right,
    /// Written, and not yet seen everywhere.
    Propagating(String),
    /// A step.
    Step(Box<Step>),
    /// It may not be written.
    Withheld(WithheldStep),
}

/// What else a plan depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// A person paused the fleet.
    pub paused: bool,
    /// The holder is proven able.
    pub holder_able: bool,
}

/// Plans one fleet. A decision that is moving is carried out; one that is done is only kept: a pool that shall not
/// hold the fleet loses a tag that it got back, everything else is reported as drift.
pub fn plan(
    fleet: &Fleet,
    decision: &Decision,
    standing: Standing,
    runners: &Seen<FleetRunners>,
    dns: Option<&DnsView>,
) -> Plan {
    let mut plan = Plan {
        phase: None,
        steps: Vec::new(),
        withheld: Vec::new(),
        waiting: None,
        complete: false,
        drift: false,
    };
    let Seen::Known(runners) = runners else {
        plan.withheld.push(WithheldStep {
            step: "any change: GitLab could not be read".to_owned(),
            why: Withheld::Unseen,
        });
        return plan;
    };
    // What a pool names and GitLab does not show may carry any tag.
    let missing = fleet.missing(runners).map(|(cluster, runner)| {
        format!("runner {runner} of {cluster}, which GitLab does not show; correct the configuration or the token's scope")
    });
    plan.withheld
        .extend(missing.iter().map(|missing| WithheldStep { step: missing.clone(), why: Withheld::Unseen }));
    let difference = difference(fleet, decision, runners);
    let dns = dns_difference(fleet, &decision.to, dns);
    plan.drift = !difference.prepare.is_empty()
        || !difference.retire.is_empty()
        || matches!(dns, Dns::Step(_) | Dns::Withheld(WithheldStep { why: Withheld::ForeignRecord, .. }));
    plan.withheld.extend(
        difference
            .paused
            .iter()
            .map(|step| WithheldStep { step: step.clone(), why: Withheld::PausedByPerson }),
    );
    // A person may move a fleet that is only watched, and by that move alone.
    let forced = decision.state == MoveState::Moving && decision.overridden.contains(&Gate::Enabled);
    let everything = match () {
        () if !fleet.enabled && !forced => Some(Withheld::NotEnabled),
        () if decision.latched() => Some(Withheld::Latched),
        () if decision.state == MoveState::Failed => Some(Withheld::Drift),
        () if standing.paused && decision.state == MoveState::Done => Some(Withheld::Paused),
        () => None,
    };
    if let Some(why) = everything {
        let dns = if let Dns::Step(step) = &dns { Some(step.to_string()) } else { None };
        let steps = difference.prepare.iter().chain(&difference.retire).map(ToString::to_string).chain(dns);
        plan.withheld.extend(steps.map(|step| WithheldStep { step, why }));
        plan.complete = !plan.drift;
        return plan;
    }
    if decision.state == MoveState::Moving {
        carry_out(&mut plan, difference, dns, &fleet.thresholds);
        if let (true, Some(missing)) = (plan.complete, missing) {
            plan.complete = false;
            plan.waiting = Some(missing);
        }
    } else {
        keep(&mut plan, difference, dns, standing.holder_able);
    }
    plan.steps.sort_by_key(|step| (step.kind(), step.target()));
    plan
}

fn carry_out(plan: &mut Plan, difference: Difference, dns: Dns, thresholds: &Thresholds) {
    let withhold = |plan: &mut Plan, steps: &[Step], why| {
        plan.withheld.extend(steps.iter().map(|s| WithheldStep { step: s.to_string(), why }));
    };
    if !difference.prepare.is_empty() {
        plan.phase = Some(Phase::Prepare);
        let enough = difference.enough(thresholds);
        plan.steps = difference.prepare;
        match dns {
            Dns::Step(step) if enough => plan.steps.push(*step),
            Dns::Step(step) => withhold(plan, &[*step], Withheld::PhaseBefore),
            Dns::Withheld(withheld) if enough => plan.withheld.push(withheld),
            Dns::Withheld(_) | Dns::Right | Dns::Propagating(_) => {}
        }
        withhold(plan, &difference.retire, Withheld::PhaseBefore);
        return;
    }
    if difference.serving == 0 {
        plan.waiting = Some("a runner of the new holder that can take jobs".to_owned());
        withhold(plan, &difference.retire, Withheld::NothingServes);
        return;
    }
    match dns {
        Dns::Right => {}
        Dns::Step(step) => {
            plan.phase = Some(Phase::Switch);
            plan.steps = vec![*step];
            withhold(plan, &difference.retire, Withheld::PhaseBefore);
            return;
        }
        Dns::Propagating(what) => {
            plan.waiting = Some(what);
            withhold(plan, &difference.retire, Withheld::PhaseBefore);
            return;
        }
        Dns::Withheld(withheld) => {
            plan.waiting = Some(format!("the DNS name: {}", withheld.step));
            plan.withheld.push(withheld);
            withhold(plan, &difference.retire, Withheld::PhaseBefore);
            return;
        }
    }
    if difference.retire.is_empty() {
        plan.complete = true;
    } else {
        plan.phase = Some(Phase::Retire);
        plan.steps = difference.retire;
    }
}

/// The tag is taken away elsewhere only while the holder is proven able: a person who gave it to another cluster may be
/// rescuing the fleet.
fn keep(plan: &mut Plan, difference: Difference, dns: Dns, holder_able: bool) {
    let drift = |step: &Step| WithheldStep { step: step.to_string(), why: Withheld::Drift };
    plan.withheld.extend(difference.prepare.iter().map(drift));
    match dns {
        Dns::Step(step) => plan.withheld.push(drift(&step)),
        Dns::Withheld(withheld) => plan.withheld.push(withheld),
        Dns::Right | Dns::Propagating(_) => {}
    }
    if difference.retire.is_empty() {
        plan.complete = !plan.drift;
    } else if difference.serving == 0 || !holder_able {
        plan.withheld.extend(
            difference
                .retire
                .iter()
                .map(|s| WithheldStep { step: s.to_string(), why: Withheld::NothingServes }),
        );
    } else {
        plan.phase = Some(Phase::Retire);
        plan.steps = difference.retire;
    }
}

fn difference(fleet: &Fleet, decision: &Decision, runners: &FleetRunners) -> Difference {
    let tag = &fleet.routing_tag;
    let pauses = fleet.park == Park::Pause;
    let step = |cluster: &ClusterName, runner: &Runner, change, paused| {
        Step::Tag(TagStep { cluster: cluster.clone(), runner: runner.id, tag: tag.clone(), change, paused })
    };
    let pool = runners.pools.get(&decision.to).map_or(0, Vec::len);
    let mut difference =
        Difference { prepare: Vec::new(), retire: Vec::new(), paused: Vec::new(), serving: 0, pool };
    for (cluster, pool) in &runners.pools {
        for runner in pool {
            let tagged = runner.tags.contains(tag);
            if *cluster == decision.to {
                let unpause = (runner.paused && pauses).then_some(false);
                if !tagged || unpause.is_some() {
                    difference.prepare.push(step(cluster, runner, TagChange::Add, unpause));
                } else if !runner.paused {
                    difference.serving += 1;
                }
                if runner.paused && !pauses {
                    difference.paused.push(format!("unpause runner {} of {cluster}", runner.id));
                }
            } else {
                // Once the move is done, a person may unpause a parked runner; only the tag is kept away.
                let pause = (pauses
                    && !runner.paused
                    && decision.from.as_ref() == Some(cluster)
                    && (tagged || decision.state == MoveState::Moving))
                    .then_some(true);
                if tagged || pause.is_some() {
                    difference.retire.push(step(cluster, runner, TagChange::Remove, pause));
                }
            }
        }
    }
    difference
}

fn dns_difference(fleet: &Fleet, to: &ClusterName, view: Option<&DnsView>) -> Dns {
    let (Some(record), Some(wanted)) = (&fleet.dns, fleet.record_set(to)) else { return Dns::Right };
    let withheld = |step: String, why| Dns::Withheld(WithheldStep { step, why });
    let Some(view) = view else {
        return withheld(format!("{} was not looked at", record.name), Withheld::Unseen);
    };
    if let Seen::Unknown(why) = &view.primary {
        return withheld(format!("{} could not be read: {why}", record.name), Withheld::Unseen);
    }
    if view.primary.known() == Some(&wanted) {
        return propagation(record, view, &wanted);
    }
    if let Some(obstacle) = &view.obstacle {
        return withheld(format!("switch {}: {obstacle}", record.name), Withheld::Obstacle);
    }
    if let Seen::Unknown(why) = &view.marker {
        return withheld(format!("switch {}: the owner marker: {why}", record.name), Withheld::Unseen);
    }
    let ours =
        view.primary.known().is_none_or(|seen| fleet.pools.values().any(|pool| pool.dns == seen.values));
    if !ours {
        let seen = view.primary.known().map(ToString::to_string).unwrap_or_default();
        return withheld(
            format!(
                "switch {} to {wanted}: it says {seen}, which is none of the configured ones",
                record.name
            ),
            Withheld::ForeignRecord,
        );
    }
    Dns::Step(Box::new(Step::Dns(DnsStep {
        provider: record.provider.clone(),
        name: record.name.clone(),
        record_type: record.record_type,
        from: view.primary.clone(),
        marker: view.marker.clone(),
        to: wanted,
    })))
}

/// Servers that cannot be reached are not waited for: one may have died with its cluster.
fn propagation(record: &DnsRecord, view: &DnsView, wanted: &crate::model::RecordSet) -> Dns {
    let agrees =
        |seen: &Seen<crate::model::RecordSet>| seen.known().is_some_and(|set| set.values == wanted.values);
    let answering = view.servers.values().filter(|s| !matches!(s, Seen::Unknown(_))).count();
    let agreeing = view.servers.values().filter(|s| agrees(s)).count();
    if answering > 0 && agreeing == answering {
        Dns::Right
    } else {
        Dns::Propagating(format!(
            "{} to be answered by {answering} authoritative addresses ({agreeing} agree, {} cannot be asked)",
            record.name,
            view.servers.len() - answering
        ))
    }
}

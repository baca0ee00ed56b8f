//! Which cluster shall hold each fleet: a pure function of what is configured, received, seen and remembered.
//!
//! A decision is made only when every gate that judges its kind is open; every refusal names its gate. Every pass ends
//! in one sentence and one [`Outcome`] per fleet.

mod gates;
mod outcome;
mod people;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use crate::model::{
    Action, ClusterName, Decision, Failback, Fleet, FleetEvidence, FleetName, FleetRunners, Gate, GateReport,
    Generation, Leadership, MoveKind, MoveState, Observation, Override, Pipeline, Proposal, Request, Seen,
    Signal, SignalState, SignedDuration, Timestamp, Topology, Window,
};

pub use gates::{Judges, judges};
pub use outcome::{FleetPass, Outcome, RequestAnswer, Waiting};

/// How far another clock may be ahead.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

/// Everything a decision may depend on.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// What is configured.
    pub topology: &'a Topology,
    /// What was received and is remembered.
    pub signals: &'a [Signal],
    /// What was seen.
    pub observation: &'a Observation,
    /// The runner records among it, sorted into each fleet's pools: [`Topology::assign`].
    pub runners: &'a BTreeMap<FleetName, Seen<FleetRunners>>,
    /// The latest decision of each fleet.
    pub decisions: &'a BTreeMap<FleetName, Decision>,
    /// Recent decisions of all fleets, for cool-down and budget.
    pub moves: &'a [Decision],
    /// What people set.
    pub overrides: &'a [Override],
    /// Planned moves that people ask for.
    pub requests: &'a [Request],
    /// Whether this process may decide.
    pub leadership: &'a Leadership,
    /// Which gates judge which moves: [`judges`].
    pub judges: Judges,
    /// Automatic moves that wait for a person, or were answered by one.
    pub proposals: &'a [Proposal],
    /// Pipelines with jobs on the routing tag that are in flight, for sticky fleets of which somebody asks for a move.
    pub in_flight: &'a BTreeMap<FleetName, Seen<Vec<Pipeline>>>,
    /// The time.
    pub now: Timestamp,
}

/// One fleet's view of the input.
struct View<'a> {
    input: Input<'a>,
    fleet: &'a Fleet,
    latest: Option<&'a Decision>,
    evidence: &'a FleetEvidence,
    runners: Option<&'a FleetRunners>,
    /// Automatic moves over all fleets within the budget's window, this pass included.
    spent: u32,
}

/// A move that somebody or something asks for.
struct Wish<'a> {
    kind: MoveKind,
    from: Option<&'a ClusterName>,
    candidates: Vec<&'a ClusterName>,
    /// Why there is no candidate, if there is none.
    nowhere: String,
    signal: Option<&'a Signal>,
    reason: String,
    author: String,
    /// The closed gates that a person overrides.
    overrides: &'a [Gate],
    /// Since when a sticky fleet drains for it.
    since: Option<Timestamp>,
}

/// One move as the gates judge it.
#[derive(Clone, Copy)]
struct Asked<'a> {
    kind: MoveKind,
    from: Option<&'a ClusterName>,
    to: Option<&'a ClusterName>,
    signal: Option<&'a Signal>,
    since: Option<Timestamp>,
    /// Nothing asks for it: the gates are only shown.
    idle: bool,
}

/// The gates as they were judged, and when to look again.
type Gates = (Vec<GateReport>, Option<Timestamp>);

/// What is said about a fleet that Prometheus was not asked about.
static NO_EVIDENCE: LazyLock<FleetEvidence> = LazyLock::new(FleetEvidence::default);

/// Judges every fleet. Fleets are judged in the order of their names; those decided first use up the budget first.
pub fn decide(input: Input<'_>) -> BTreeMap<FleetName, FleetPass> {
    let mut spent = spent(input);
    let mut passes = BTreeMap::new();
    for (name, fleet) in &input.topology.fleets {
        let mut pass = View::new(input, fleet, spent).decide();
        // Even first sight is for the leader.
        // Whatever the kind: one that stands by adopts nothing either.
        let alone = (input.judges)(MoveKind::Failover, Gate::Leader);
        if alone && !input.leadership.leads() && pass.decision.take().is_some() {
            pass.outcome = Outcome::Held(Gate::Leader);
            pass.sentence = format!("{name}: {}.", input.leadership);
        }
        if pass.decision.as_ref().is_some_and(|d| d.kind.automatic()) {
            spent += 1;
        }
        passes.insert(name.clone(), pass);
    }
    passes
}

/// Automatic moves over all fleets within the budget's window.
fn spent(input: Input<'_>) -> u32 {
    let window = input.topology.limits.budget.window;
    let counts = |m: &&Decision| m.kind.automatic() && input.now.duration_since(m.decided_at) < window;
    input.moves.iter().filter(counts).count() as u32
}

/// The sticky fleets of which a move is asked for that nothing holds in this pass but pipelines in flight, or a person
/// who has not answered yet, and where each would go: only then it is worth to look for pipelines.
pub fn draining<'a>(input: Input<'a>) -> BTreeMap<&'a FleetName, BTreeSet<&'a ClusterName>> {
    let spent = spent(input);
    let sticky = input.topology.fleets.iter().filter(|(_, fleet)| fleet.drain.is_some());
    let targets = sticky.map(|(name, fleet)| (name, View::new(input, fleet, spent).draining()));
    targets.filter(|(_, targets)| !targets.is_empty()).collect()
}

/// Whether the holder, as decided last, is proven able: what it does not hold may be tidied up.
pub fn holder_able(input: Input<'_>, fleet: &Fleet) -> bool {
    let view = View::new(input, fleet, 0);
    view.latest.is_some_and(|d| view.able(MoveKind::Failover, &d.to).0)
}

impl<'a> View<'a> {
    fn new(input: Input<'a>, fleet: &'a Fleet, spent: u32) -> Self {
        Self {
            input,
            fleet,
            latest: input.decisions.get(&fleet.name),
            evidence: input.observation.evidence.fleets.get(&fleet.name).unwrap_or(&NO_EVIDENCE),
            runners: input.runners.get(&fleet.name).and_then(Seen::known),
            spent,
        }
    }

    /// What the fleet comes to when no person asks for anything.
    fn own(&self) -> FleetPass {
        let name = &self.fleet.name;
        if let Some(sentence) = self.shared() {
            return self.pass(Outcome::SharedRunner, sentence, self.watch(None));
        }
        let Some(latest) = self.latest else { return self.first_sight() };
        let holder = Some(&latest.to);
        if latest.state == MoveState::Moving {
            let sentence = format!(
                "{name} is moving from {} to {} (generation {}).",
                or_nobody(latest.from.as_ref()),
                latest.to,
                latest.generation
            );
            return self.pass(Outcome::Moving, sentence, self.watch(holder));
        }
        if let Some(wish) = self.wish(latest) {
            return self.propose(&wish);
        }
        let gates = self.watch(holder);
        if latest.latched() {
            let sentence = format!(
                "{name} is latched: the {} to {to} failed (generation {}); mend the cause, then `switchyard ack {name} \
                 --holder {to} --reason …` and `switchyard switch {name} --from {to} --to {to} --reason …` to try again.",
                latest.kind,
                latest.generation,
                to = latest.to
            );
            return self.pass(Outcome::Held(Gate::NotLatched), sentence, gates);
        }
        let Some(runners) = self.runners else {
            let sentence = format!("{name} stays with {}: GitLab could not be read.", latest.to);
            return self.pass(Outcome::Blind, sentence, gates);
        };
        let seen = runners.holders(&self.fleet.routing_tag);
        if seen != [&latest.to] {
            return self.pass(Outcome::Drifted, self.drifted(&latest.to, &seen), gates);
        }
        let sentence = format!("{name} is held by {} (generation {}).", latest.to, latest.generation);
        self.pass(Outcome::Steady, sentence, gates)
    }

    /// The move that an alert asks for.
    fn wish(&self, latest: &'a Decision) -> Option<Wish<'a>> {
        // What dies is the cluster that carries the tag, whoever gave it. What a failed move left is for a person.
        let carrier = self.carrier(&latest.to).filter(|_| latest.state == MoveState::Done);
        carrier
            .and_then(|carrier| self.failover(carrier))
            .or_else(|| self.failover(&latest.to))
            .or_else(|| self.failback(latest))
    }

    /// The cluster that alone carries the tag, although `holder` shall hold the fleet: somebody moved it by hand.
    fn carrier(&self, holder: &ClusterName) -> Option<&'a ClusterName> {
        match self.runners?.holders(&self.fleet.routing_tag).as_slice() {
            [carrier] if *carrier != holder => Some(*carrier),
            _ => None,
        }
    }

    /// What is, and how a person settles it. With several carriers, those that shall not hold the fleet lose the tag by
    /// themselves, as long as the holder is proven able.
    fn drifted(&self, holder: &ClusterName, carriers: &[&ClusterName]) -> String {
        let Fleet { name, routing_tag, .. } = self.fleet;
        let switch = format!("`switchyard switch {name} --from {holder} --to");
        match carriers {
            [] => format!(
                "{name} has drifted: {holder} shall hold it, nobody carries the tag {routing_tag}; give it back with \
                 {switch} {holder} --reason …`."
            ),
            [carrier] => format!(
                "{name} has drifted: {holder} shall hold it, {carrier} carries the tag {routing_tag}; keep that with \
                 {switch} {carrier} --reason …`, or take it back with {switch} {holder} --reason …`."
            ),
            several => {
                let several: Vec<&str> = several.iter().map(|c| c.as_str()).collect();
                format!(
                    "{name} has drifted: {holder} shall hold it, {} carry the tag {routing_tag}.",
                    several.join(" and ")
                )
            }
        }
    }

    /// Whether all that is seen is as it shall be when `holder` holds the fleet; what cannot be seen differs in nothing.
    pub(super) fn is_held_by(&self, holder: &ClusterName) -> bool {
        let tag = &self.fleet.routing_tag;
        let pools = self.runners.into_iter().flat_map(|runners| &runners.pools);
        let tagged = pools
            .flat_map(|(cluster, pool)| pool.iter().map(move |runner| (cluster, runner)))
            .all(|(cluster, runner)| runner.tags.contains(tag) == (cluster == holder));
        let named = || {
            let view = self.input.observation.dns.get(&self.fleet.name);
            match (self.fleet.record_set(holder), view.map(|view| &view.primary)) {
                (Some(wanted), Some(Seen::Known(seen))) => *seen == wanted,
                (Some(_), Some(Seen::Absent)) => false,
                _ => true,
            }
        };
        tagged && named()
    }

    /// Why the fleet's records cannot be told apart, if they cannot.
    fn shared(&self) -> Option<String> {
        let shared = self.runners?.shared_runner(&self.evidence.managers)?;
        Some(format!("{}: {shared}.", self.fleet.name))
    }

    /// No decision yet: what is, shall be. Nobody or several holders is a question for a person.
    fn first_sight(&self) -> FleetPass {
        let name = &self.fleet.name;
        let Some(seen) = self.runners else {
            let sentence = format!("{name} has not been seen yet: GitLab could not be read.");
            return self.pass(Outcome::Blind, sentence, self.watch(None));
        };
        match seen.holders(&self.fleet.routing_tag).as_slice() {
            [holder] => {
                let holder = (*holder).clone();
                let sentence = format!("{name} is held by {holder}: adopted as found.");
                let gates = self.watch(Some(&holder));
                let mut pass = self.pass(Outcome::Adopted, sentence.clone(), gates);
                pass.decision = Some(Decision {
                    fleet: name.clone(),
                    generation: self.next_generation(),
                    kind: MoveKind::Adopt,
                    from: None,
                    to: holder,
                    reason: sentence,
                    author: "switchyard".to_owned(),
                    signal: None,
                    gates: Vec::new(),
                    overridden: Vec::new(),
                    proposal: None,
                    decided_at: self.input.now,
                    state: MoveState::Done,
                    finished_at: Some(self.input.now),
                    acknowledged_at: None,
                    cool_down_lifted_at: None,
                });
                pass
            }
            [] => {
                let sentence = format!(
                    "{name} has no holder: no pool carries the tag {}; say which one shall with `switchyard switch \
                     {name} --from none --to CLUSTER --reason …`.",
                    self.fleet.routing_tag
                );
                self.pass(Outcome::NoHolder, sentence, self.watch(None))
            }
            several => {
                let several: Vec<&str> = several.iter().map(|c| c.as_str()).collect();
                let sentence = format!(
                    "{name} has several holders ({}); say which one shall be with `switchyard switch {name} --from \
                     none --to CLUSTER --reason …`.",
                    several.join(", ")
                );
                self.pass(Outcome::SeveralHolders, sentence, self.watch(None))
            }
        }
    }

    /// One more than the last decision's. Without a decision, the store is new or was lost: the owner marker in DNS may
    /// know of a later one, which refuses writes for earlier ones.
    fn next_generation(&self) -> Generation {
        let marked = || {
            let view = self.input.observation.dns.get(&self.fleet.name)?;
            Some(view.marker.known()?.generation)
        };
        self.latest.map(|d| d.generation).or_else(marked).unwrap_or_default().next()
    }

    /// The failover that a signal asks for. A cluster to which somebody has moved the tag by hand comes first: a rescue is
    /// completed and not fought.
    fn failover(&self, holder: &'a ClusterName) -> Option<Wish<'a>> {
        let signal = self.firing(Action::Failover, holder)?;
        let failing = |c: &ClusterName| self.firing(Action::Failover, c).is_some();
        let mut candidates: Vec<&ClusterName> = match &signal.target {
            Some(target) => self.fleet.prefer.iter().filter(|c| *c == target && *c != holder).collect(),
            None => self.fleet.prefer.iter().filter(|c| *c != holder && !failing(c)).collect(),
        };
        let carrier = self.carrier(holder);
        candidates.sort_by_key(|c| Some(*c) != carrier);
        let decided = self.latest.map(|d| &d.to).filter(|decided| *decided != holder);
        let by_hand = decided.map_or_else(String::new, |decided| {
            format!(" ({holder} carries the tag by hand, {decided} should)")
        });
        let nowhere = match &signal.target {
            Some(target) if target == holder => {
                format!("the alert names {target} as the target, and that is the cluster that fails")
            }
            Some(target) => {
                format!("the alert names {target} as the target, and {} has no pool there", self.fleet.name)
            }
            None => "every other cluster fails, too".to_owned(),
        };
        Some(Wish {
            kind: MoveKind::Failover,
            from: Some(holder),
            candidates,
            nowhere,
            signal: Some(signal),
            reason: format!(
                "{holder} fails {}: {}{by_hand}",
                self.fleet.name,
                signal.labels.get("alertname").map_or("an alert without a name", String::as_str)
            ),
            author: "switchyard".to_owned(),
            overrides: &[],
            since: None,
        })
    }

    /// The way home, when it is automatic and the signal says that home is well. Where a person sent the fleet, it stays
    /// until a person sends it home.
    fn failback(&self, latest: &'a Decision) -> Option<Wish<'a>> {
        let (home, holder) = (self.fleet.home()?, &latest.to);
        let Failback::After(dwell) = self.fleet.failback else { return None };
        if home == holder || latest.kind == MoveKind::Switchover {
            return None;
        }
        let signal = self.firing(Action::Failback, home)?;
        Some(Wish {
            kind: MoveKind::Failback,
            from: Some(holder),
            candidates: vec![home],
            nowhere: String::new(),
            signal: Some(signal),
            reason: format!("{home} is well again and is the preferred cluster of {}", self.fleet.name),
            author: "switchyard".to_owned(),
            overrides: &[],
            since: self.may_go_home(signal.key.starts_at.checked_add(dwell).ok()?),
        })
    }

    /// Since when, or from when on, nothing that time alone opens holds the way home: it drains from then on. Whatever
    /// held it until then, jobs have gone on.
    fn may_go_home(&self, dwelt: Timestamp) -> Option<Timestamp> {
        let waits = |window: &&Window| window.applies_to.contains(&MoveKind::Failback);
        let window = self.fleet.window.as_ref().filter(waits);
        let opened = window.and_then(|window| window.opened(self.input.now));
        [Some(dwelt), opened, self.cooled_down_at()].into_iter().flatten().max()
    }

    /// The oldest firing signal of this kind about a cluster of this fleet. One that nobody has repeated for long does
    /// not count: an alert that ends while it is silenced never says so, and no Alertmanager may be there to be asked.
    fn firing(&self, action: Action, cluster: &ClusterName) -> Option<&'a Signal> {
        self.input
            .signals
            .iter()
            .filter(|s| {
                s.action == action
                    && s.state == SignalState::Firing
                    && fresh(self.input.now, s.last_seen, self.input.topology.limits.signal_max_age)
                    && s.fleet.as_ref() == Some(&self.fleet.name)
                    && s.cluster.as_ref() == Some(cluster)
            })
            .min_by_key(|s| (s.key.starts_at, &s.key))
    }

    /// The gates of a wish for one candidate, and those closed that hold it.
    fn judge(&self, wish: &Wish<'_>, to: &ClusterName) -> (Gates, Vec<Gate>) {
        let Wish { kind, from, signal, since, .. } = *wish;
        let gates = self.gates(Asked { kind, from, to: Some(to), signal, since, idle: false });
        let overridden = |gate: Gate| gate.overridable() && wish.overrides.contains(&gate);
        let holds = |g: &&GateReport| !g.open && (self.input.judges)(kind, g.gate) && !overridden(g.gate);
        let mut closed: Vec<Gate> = gates.0.iter().filter(holds).map(|g| g.gate).collect();
        // What nobody has looked at is not what holds, as long as anything else does.
        if !self.input.in_flight.contains_key(&self.fleet.name) {
            closed.sort_by_key(|gate| *gate == Gate::Drained);
        }
        (gates, closed)
    }

    /// Judges the wish for each candidate and takes the first one that passes every gate. Otherwise the nearest is the
    /// first that only waits for a person, or else the first of all.
    fn propose(&self, wish: &Wish<'a>) -> FleetPass {
        let name = &self.fleet.name;
        let kind = wish.kind;
        let mut first: Option<FleetPass> = None;
        let mut proposed: Option<FleetPass> = None;
        for &to in &wish.candidates {
            let (gates, closed) = self.judge(wish, to);
            match closed.as_slice() {
                [] => return self.decided(wish, to, gates),
                [Gate::Approved] if proposed.is_none() => {
                    let what = self.proposed(kind, wish.from, to, wish.signal);
                    let pass = self.held(wish, to, &closed, gates);
                    proposed = Some(FleetPass { proposed: Some((what, wish.reason.clone())), ..pass });
                }
                _ => {
                    first.get_or_insert_with(|| self.held(wish, to, &closed, gates));
                }
            }
        }
        proposed.or(first).unwrap_or_else(|| {
            let Wish { kind, from, signal, since, .. } = *wish;
            let gates = self.gates(Asked { kind, from, to: None, signal, since, idle: false });
            let sentence =
                format!("{name}: {kind} from {} held by target_able: {}.", or_nobody(from), wish.nowhere);
            self.pass(Outcome::Held(Gate::TargetAble), sentence, gates)
        })
    }

    fn held(&self, wish: &Wish<'_>, to: &ClusterName, closed: &[Gate], gates: Gates) -> FleetPass {
        let Some((first, others)) = closed.split_first() else {
            return self.pass(Outcome::Steady, String::new(), gates);
        };
        let saw = gates.0.iter().find(|g| g.gate == *first).map_or("", |g| g.saw.as_str());
        let (name, kind, from) = (&self.fleet.name, wish.kind, or_nobody(wish.from));
        let mut sentence = format!("{name}: {kind} from {from} to {to} held by {first}: {saw}");
        // A person who overrides gates names each of them.
        if kind == MoveKind::Switchover && !others.is_empty() {
            let others: Vec<&str> = others.iter().map(|gate| gate.as_str()).collect();
            sentence = format!("{sentence}; also closed: {}", others.join(", "));
        }
        self.pass(Outcome::Held(*first), format!("{sentence}."), gates)
    }

    fn decided(&self, wish: &Wish<'_>, to: &ClusterName, gates: Gates) -> FleetPass {
        let name = &self.fleet.name;
        let (kind, from) = (wish.kind, or_nobody(wish.from));
        let overridden: Vec<Gate> =
            gates.0.iter().filter(|g| !g.open && wish.overrides.contains(&g.gate)).map(|g| g.gate).collect();
        let proposal = self.approval(kind, wish.from, to, wish.signal);
        let mut sentence = format!("{name}: {kind} from {from} to {to}, because {}", wish.reason);
        if !overridden.is_empty() {
            let gates: Vec<&str> = overridden.iter().map(|gate| gate.as_str()).collect();
            sentence = format!("{sentence} ({} overrides {})", wish.author, gates.join(", "));
        }
        let mut pass = self.pass(Outcome::Decided, format!("{sentence}."), (gates.0.clone(), None));
        pass.decision = Some(Decision {
            fleet: name.clone(),
            generation: self.next_generation(),
            kind,
            from: wish.from.cloned(),
            to: to.clone(),
            reason: wish.reason.clone(),
            author: wish.author.clone(),
            signal: wish.signal.map(|s| s.key.clone()),
            gates: gates.0,
            overridden,
            proposal: proposal.map(|p| p.id),
            decided_at: self.input.now,
            state: MoveState::Moving,
            finished_at: None,
            acknowledged_at: None,
            cool_down_lifted_at: None,
        });
        pass
    }

    /// The gates as they stand for a failover of `holder`, when nothing asks for one: what `explain` shows.
    fn watch(&self, holder: Option<&ClusterName>) -> Gates {
        let candidates = self.fleet.prefer.iter().filter(|c| Some(*c) != holder);
        let to = candidates
            .clone()
            .find(|c| self.able(MoveKind::Failover, c).0)
            .or_else(|| candidates.clone().next());
        let signal = holder.and_then(|h| self.firing(Action::Failover, h));
        let (kind, idle) = (MoveKind::Failover, signal.is_none());
        self.gates(Asked { kind, from: holder, to, signal, since: None, idle })
    }

    fn pass(&self, outcome: Outcome, sentence: String, gates: Gates) -> FleetPass {
        FleetPass {
            outcome,
            sentence,
            gates: gates.0,
            decision: None,
            answers: Vec::new(),
            waiting: None,
            proposed: None,
            recheck_at: gates.1,
        }
    }
}

/// Whether something heard of at `at` is no older than `max_age`. What claims to come from the future is no evidence.
fn fresh(now: Timestamp, at: Timestamp, max_age: SignedDuration) -> bool {
    let age = now.duration_since(at);
    age >= -CLOCK_TOLERANCE && age <= max_age
}

fn or_nobody(cluster: Option<&ClusterName>) -> &str {
    cluster.map_or("nobody", ClusterName::as_str)
}

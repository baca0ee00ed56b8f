//! Which cluster shall hold each fleet: a pure function of what is configured, received, seen and remembered.
//!
//! A decision is made only when every gate that judges its kind is open; every refusal names its gate. Every pass ends
//! in one sentence and one [`Outcome`] per fleet.

mod gates;
mod outcome;

use std::collections::BTreeMap;

use crate::model::{
    Action, ClusterName, Decision, Failback, Fleet, FleetEvidence, FleetName, FleetRunners, Gate, GateReport,
    Generation, MoveKind, MoveState, Observation, Override, Request, Signal, SignalState, SignedDuration,
    Timestamp, Topology,
};

pub use gates::judges;
pub use outcome::{FleetPass, Outcome};

/// A request that no pass has judged within this time is not carried out: Switchyard was down, and the person is gone.
const REQUEST_LIFETIME: SignedDuration = SignedDuration::from_mins(1);

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
    /// The latest decision of each fleet.
    pub decisions: &'a BTreeMap<FleetName, Decision>,
    /// Recent decisions of all fleets, for cool-down and budget.
    pub moves: &'a [Decision],
    /// What people set.
    pub overrides: &'a [Override],
    /// Planned moves that people ask for.
    pub requests: &'a [Request],
    /// The time.
    pub now: Timestamp,
}

/// One fleet's view of the input.
struct View<'a> {
    input: Input<'a>,
    fleet: &'a Fleet,
    latest: Option<&'a Decision>,
    evidence: &'a FleetEvidence,
    /// Automatic moves over all fleets within the budget's window, this pass included.
    spent: u32,
}

/// A move that somebody or something asks for.
struct Proposal<'a> {
    kind: MoveKind,
    from: Option<&'a ClusterName>,
    candidates: Vec<&'a ClusterName>,
    signal: Option<&'a Signal>,
    reason: String,
    author: String,
}

/// Judges every fleet. Fleets are judged in the order of their names; those decided first use up the budget first.
pub fn decide(input: Input<'_>) -> BTreeMap<FleetName, FleetPass> {
    let budget = &input.topology.limits.budget;
    let mut spent = input
        .moves
        .iter()
        .filter(|m| m.kind.automatic() && input.now.duration_since(m.decided_at) < budget.window)
        .count() as u32;
    let nothing = FleetEvidence::default();
    let mut passes = BTreeMap::new();
    for (name, fleet) in &input.topology.fleets {
        let view = View {
            input,
            fleet,
            latest: input.decisions.get(name),
            evidence: input.observation.evidence.fleets.get(name).unwrap_or(&nothing),
            spent,
        };
        let mut pass = view.decide();
        // A request is answered by the pass that sees it: none is carried out later, when nobody expects it any more.
        if let (None, Some(request)) = (pass.answer, view.request()) {
            pass.answer = Some((request.id, pass.outcome));
        }
        if pass.decision.as_ref().is_some_and(|d| d.kind.automatic()) {
            spent += 1;
        }
        passes.insert(name.clone(), pass);
    }
    passes
}

impl<'a> View<'a> {
    fn decide(&self) -> FleetPass {
        let runners = self.input.observation.runners.known().map(|runners| self.fleet.assign(runners));
        if let Some(shared) = runners.as_ref().and_then(|r| r.shared_runner(&self.evidence.managers)) {
            let sentence = format!("{}: {shared}.", self.fleet.name);
            return self.pass(Outcome::SharedRunner, sentence, self.watch(None, runners.as_ref()));
        }
        let request = self.request();
        let Some(latest) = self.latest else {
            return self.first_sight(runners.as_ref(), request);
        };
        if latest.state == MoveState::Moving {
            let gates = self.watch(Some(&latest.to), runners.as_ref());
            let sentence = format!(
                "{} is moving from {} to {} (generation {}).",
                self.fleet.name,
                or_nobody(latest.from.as_ref()),
                latest.to,
                latest.generation
            );
            let mut pass = self.pass(Outcome::Moving, sentence, gates);
            pass.answer = request.map(|r| (r.id, Outcome::Held(Gate::SingleFlight)));
            return pass;
        }
        let holder = Some(&latest.to);
        if let Some(request) = request {
            return self.requested(request, holder, runners.as_ref());
        }
        if let Some(proposal) = self.failover(&latest.to) {
            return self.propose(&proposal, runners.as_ref());
        }
        if let Some(proposal) = self.failback(&latest.to) {
            return self.propose(&proposal, runners.as_ref());
        }
        let gates = self.watch(holder, runners.as_ref());
        let name = &self.fleet.name;
        if latest.latched() {
            let sentence = format!(
                "{name} is latched: the {} to {to} failed (generation {}); mend the cause, then `switchyard ack {name}` and \
                 `switchyard switch {name} --from {to} --to {to}` to try again.",
                latest.kind,
                latest.generation,
                to = latest.to
            );
            return self.pass(Outcome::Held(Gate::NotLatched), sentence, gates);
        }
        let Some(runners) = runners.as_ref() else {
            let sentence = format!("{name} stays with {}: GitLab could not be read.", latest.to);
            return self.pass(Outcome::Blind, sentence, gates);
        };
        let seen = runners.holders(&self.fleet.routing_tag);
        if seen != [&latest.to] {
            let seen: Vec<&str> = seen.iter().map(|c| c.as_str()).collect();
            let seen = if seen.is_empty() { "nobody".to_owned() } else { seen.join(" and ") };
            let sentence = format!(
                "{name} has drifted: {} shall hold it, {seen} carries the tag {}.",
                latest.to, self.fleet.routing_tag
            );
            return self.pass(Outcome::Drifted, sentence, gates);
        }
        let sentence = format!("{name} is held by {} (generation {}).", latest.to, latest.generation);
        self.pass(Outcome::Steady, sentence, gates)
    }

    /// The oldest request about this fleet; the next one is judged by the next pass.
    fn request(&self) -> Option<&'a Request> {
        self.input.requests.iter().find(|r| r.fleet == self.fleet.name)
    }

    /// No decision yet: what is, shall be. Nobody or several holders is a question for a person.
    fn first_sight(&self, runners: Option<&FleetRunners>, request: Option<&Request>) -> FleetPass {
        let name = &self.fleet.name;
        let Some(seen) = runners else {
            let sentence = format!("{name} has not been seen yet: GitLab could not be read.");
            return self.pass(Outcome::Blind, sentence, self.watch(None, runners));
        };
        if let Some(request) = request {
            return self.requested(request, None, runners);
        }
        match seen.holders(&self.fleet.routing_tag).as_slice() {
            [holder] => {
                let holder = (*holder).clone();
                let sentence = format!("{name} is held by {holder}: adopted as found.");
                let gates = self.watch(Some(&holder), runners);
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
                    decided_at: self.input.now,
                    state: MoveState::Done,
                    finished_at: Some(self.input.now),
                    acknowledged_at: None,
                });
                pass
            }
            [] => {
                let sentence = format!(
                    "{name} has no holder: no pool carries the tag {}; say which one shall with `switchyard switch \
                     {name} --from none --to CLUSTER`.",
                    self.fleet.routing_tag
                );
                self.pass(Outcome::NoHolder, sentence, self.watch(None, runners))
            }
            several => {
                let several: Vec<&str> = several.iter().map(|c| c.as_str()).collect();
                let sentence = format!(
                    "{name} has several holders ({}); say which one shall be with `switchyard switch {name} --from \
                     none --to CLUSTER`.",
                    several.join(", ")
                );
                self.pass(Outcome::SeveralHolders, sentence, self.watch(None, runners))
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

    /// The failover that a signal asks for.
    fn failover(&self, holder: &'a ClusterName) -> Option<Proposal<'a>> {
        let signal = self.firing(Action::Failover, holder)?;
        let failing = |c: &ClusterName| self.firing(Action::Failover, c).is_some();
        let candidates = match &signal.target {
            Some(target) => self.fleet.prefer.iter().filter(|c| *c == target && *c != holder).collect(),
            None => self.fleet.prefer.iter().filter(|c| *c != holder && !failing(c)).collect(),
        };
        Some(Proposal {
            kind: MoveKind::Failover,
            from: Some(holder),
            candidates,
            signal: Some(signal),
            reason: format!(
                "{holder} fails {}: {}",
                self.fleet.name,
                signal.labels.get("alertname").map_or("an alert without a name", String::as_str)
            ),
            author: "switchyard".to_owned(),
        })
    }

    /// The way home, when it is automatic and the signal says that home is well.
    fn failback(&self, holder: &'a ClusterName) -> Option<Proposal<'a>> {
        let home = self.fleet.home()?;
        if matches!(self.fleet.failback, Failback::Manual) || home == holder {
            return None;
        }
        let signal = self.firing(Action::Failback, home)?;
        Some(Proposal {
            kind: MoveKind::Failback,
            from: Some(holder),
            candidates: vec![home],
            signal: Some(signal),
            reason: format!("{home} is well again and is the preferred cluster of {}", self.fleet.name),
            author: "switchyard".to_owned(),
        })
    }

    /// The oldest firing signal of this kind about a cluster of this fleet. One that nobody has repeated for long does
    /// not count: an alert that ends while it is silenced never says so.
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

    fn requested(
        &self,
        request: &Request,
        holder: Option<&'a ClusterName>,
        runners: Option<&FleetRunners>,
    ) -> FleetPass {
        let name = &self.fleet.name;
        let known = self.fleet.pools.get_key_value(&request.to).map(|(c, _)| c);
        // A failed move may be tried again towards the same cluster.
        let failed = self.latest.filter(|d| d.state == MoveState::Failed);
        let refusal = if self.input.now.duration_since(request.at) > REQUEST_LIFETIME {
            let sentence =
                format!("{name}: a request of {} was not judged in time: nothing was done.", request.at);
            Some((Outcome::Expired, sentence))
        } else if request.expected.as_ref() != holder {
            let sentence = format!(
                "{name} is held by {}, not by {} as the request expects: nothing was done.",
                or_nobody(holder),
                or_nobody(request.expected.as_ref())
            );
            Some((Outcome::UnexpectedHolder, sentence))
        } else if known.is_none() {
            Some((Outcome::UnknownCluster, format!("{name} has no pool in {}.", request.to)))
        } else if holder == Some(&request.to) && failed.is_none() {
            Some((Outcome::Steady, format!("{name} is held by {} already.", request.to)))
        } else {
            None
        };
        if let Some((outcome, sentence)) = refusal {
            let mut pass = self.pass(outcome, sentence, self.watch(holder, runners));
            pass.answer = Some((request.id, outcome));
            return pass;
        }
        let proposal = Proposal {
            kind: MoveKind::Switchover,
            from: failed.filter(|d| d.to == request.to).map_or(holder, |d| d.from.as_ref()),
            candidates: known.into_iter().collect(),
            signal: None,
            reason: request.reason.clone(),
            author: request.author.clone(),
        };
        let mut pass = self.propose(&proposal, runners);
        pass.answer = Some((request.id, pass.outcome));
        pass
    }

    /// Judges the proposal for each candidate and takes the first one that passes every gate.
    fn propose(&self, proposal: &Proposal<'a>, runners: Option<&FleetRunners>) -> FleetPass {
        let name = &self.fleet.name;
        let kind = proposal.kind;
        let from = or_nobody(proposal.from);
        let mut first: Option<FleetPass> = None;
        for &to in &proposal.candidates {
            let (gates, recheck) = self.gates(kind, proposal.from, Some(to), proposal.signal, runners);
            let closed = gates.iter().find(|g| !g.open && judges(kind, g.gate));
            let Some(closed) = closed else {
                let sentence = format!("{name}: {kind} from {from} to {to}, because {}.", proposal.reason);
                let mut pass = self.pass(Outcome::Decided, sentence, (gates.clone(), None));
                pass.decision = Some(Decision {
                    fleet: name.clone(),
                    generation: self.next_generation(),
                    kind,
                    from: proposal.from.cloned(),
                    to: to.clone(),
                    reason: proposal.reason.clone(),
                    author: proposal.author.clone(),
                    signal: proposal.signal.map(|s| s.key.clone()),
                    gates,
                    decided_at: self.input.now,
                    state: MoveState::Moving,
                    finished_at: None,
                    acknowledged_at: None,
                });
                return pass;
            };
            let sentence =
                format!("{name}: {kind} from {from} to {to} held by {}: {}.", closed.gate, closed.saw);
            let outcome = Outcome::Held(closed.gate);
            first.get_or_insert_with(|| self.pass(outcome, sentence, (gates, recheck)));
        }
        first.unwrap_or_else(|| {
            let gates = self.gates(kind, proposal.from, None, proposal.signal, runners);
            let sentence =
                format!("{name}: {kind} from {from} held by target_able: every other cluster fails, too.");
            self.pass(Outcome::Held(Gate::TargetAble), sentence, gates)
        })
    }

    /// The gates as they stand for a failover of `holder`, when nothing asks for one: what `explain` shows.
    fn watch(
        &self,
        holder: Option<&ClusterName>,
        runners: Option<&FleetRunners>,
    ) -> (Vec<GateReport>, Option<Timestamp>) {
        let candidates = self.fleet.prefer.iter().filter(|c| Some(*c) != holder);
        let to = candidates
            .clone()
            .find(|c| self.able(MoveKind::Failover, c, runners).0)
            .or_else(|| candidates.clone().next());
        let signal = holder.and_then(|h| self.firing(Action::Failover, h));
        self.gates(MoveKind::Failover, holder, to, signal, runners)
    }

    fn pass(
        &self,
        outcome: Outcome,
        sentence: String,
        gates: (Vec<GateReport>, Option<Timestamp>),
    ) -> FleetPass {
        let runners = self.input.observation.runners.known().map(|runners| self.fleet.assign(runners));
        let holder_able =
            self.latest.is_some_and(|d| self.able(MoveKind::Failover, &d.to, runners.as_ref()).0);
        FleetPass {
            outcome,
            sentence,
            gates: gates.0,
            decision: None,
            answer: None,
            recheck_at: gates.1,
            holder_able,
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

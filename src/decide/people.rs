//! What people ask for: planned moves, with gates overridden by name, and approvals.

use std::collections::BTreeSet;

use crate::model::{
    Approval, ClusterName, Consent, DrainPolicy, Gate, MoveKind, MoveState, Override, Proposal, Proposed,
    Request, Seen, Signal, SignedDuration, Timestamp, WindowState,
};

use super::{
    Asked, FleetPass, Outcome, RequestAnswer, View, Waiting, Wish,
    gates::{Judged, judged, judges},
    or_nobody,
};

/// A request that no pass has judged within this time is not carried out: Switchyard was down, and the person is gone.
const REQUEST_LIFETIME: SignedDuration = SignedDuration::from_mins(1);

/// How many pipelines are named before the rest is only counted.
const NAMED: usize = 3;

/// What a person's request comes to.
enum Judgement {
    Decided(Box<FleetPass>),
    Refused(Outcome, String),
    /// It stays open: the fleet drains.
    Waits(Waiting),
}

impl<'a> View<'a> {
    /// A request is answered by the pass that sees it, or waits for a drain: none is carried out later, when nobody
    /// expects it any more. What is not granted is told to the person and to the history; the fleet's own sentence stays.
    pub(super) fn decide(&self) -> FleetPass {
        let Some(request) = self.request() else { return self.own() };
        let answer =
            |request: &Request, outcome, sentence| RequestAnswer { request: request.id, outcome, sentence };
        let (mut pass, granted) = match self.requested(request) {
            Judgement::Decided(mut pass) => {
                pass.answers.push(answer(request, pass.outcome, pass.sentence.clone()));
                (*pass, true)
            }
            Judgement::Refused(outcome, sentence) => {
                let mut pass = self.own();
                pass.answers.push(answer(request, outcome, sentence));
                (pass, false)
            }
            Judgement::Waits(waiting) => (FleetPass { waiting: Some(waiting), ..self.own() }, true),
        };
        let others = self.requests().filter(|r| granted && r.id != request.id && r.waiting_since.is_some());
        for other in others {
            let sentence = format!(
                "{}: the move to {} waited, and {} has asked for another one since: nothing was done.",
                self.fleet.name, other.to, request.author
            );
            pass.answers.push(answer(other, Outcome::Superseded, sentence));
        }
        pass
    }

    fn requests(&self) -> impl Iterator<Item = &'a Request> {
        self.input.requests.iter().filter(|r| r.fleet == self.fleet.name)
    }

    /// The oldest request that no pass has judged, or else the one that waits; the next one is judged by the next pass.
    fn request(&self) -> Option<&'a Request> {
        self.requests().find(|r| r.waiting_since.is_none()).or_else(|| self.requests().next())
    }

    fn requested(&self, request: &'a Request) -> Judgement {
        match self.checked(request) {
            Ok((to, wish)) => self.judge_request(request, to, &wish),
            Err((outcome, sentence)) => Judgement::Refused(outcome, sentence),
        }
    }

    /// The move that a person asks for, and where to, unless it is refused whatever the gates say.
    fn checked(&self, request: &'a Request) -> Result<(&'a ClusterName, Wish<'a>), (Outcome, String)> {
        let name = &self.fleet.name;
        let holder = self.latest.map(|d| &d.to);
        let known = self.fleet.pools.get_key_value(&request.to).map(|(c, _)| c);
        // A failed move may be tried again towards the same cluster.
        let failed = self.latest.filter(|d| d.state == MoveState::Failed);
        let waits = request.waiting_since.is_some();
        if let Some(sentence) = self.shared() {
            return Err((Outcome::SharedRunner, sentence));
        }
        if self.latest.is_none() && self.runners.is_none() && !waits {
            let sentence = format!("{name} has not been seen yet: GitLab could not be read.");
            return Err((Outcome::Blind, sentence));
        }
        let alone = (self.input.judges)(MoveKind::Switchover, Gate::SingleFlight);
        if let Some(moving) = self.latest.filter(|d| alone && d.state == MoveState::Moving) {
            let sentence = format!(
                "{name}: held by single_flight: the {} to {} is under way (generation {}).",
                moving.kind, moving.to, moving.generation
            );
            return Err((Outcome::Held(Gate::SingleFlight), sentence));
        }
        if self.too_late(request) {
            let sentence =
                format!("{name}: a request of {} was not judged in time: nothing was done.", request.at);
            return Err((Outcome::Expired, sentence));
        }
        if request.expected.as_ref() != holder {
            let sentence = format!(
                "{name} is held by {}, not by {} as the request expects: nothing was done.",
                or_nobody(holder),
                or_nobody(request.expected.as_ref())
            );
            return Err((Outcome::UnexpectedHolder, sentence));
        }
        let Some(to) = known else {
            let sentence = format!("{name} has no pool in {}.", request.to);
            return Err((Outcome::UnknownCluster, sentence));
        };
        // What was changed by hand since may be set right.
        if holder == Some(to) && failed.is_none() && self.is_held_by(to) {
            return Err((Outcome::Steady, format!("{name} is held by {to} already.")));
        }
        // Whoever paused the fleet after it began to drain means this move, too.
        let guarded = (self.input.judges)(MoveKind::Failover, Gate::NotPaused);
        let pause = request.waiting_since.filter(|_| guarded).and_then(|waiting| {
            Override::pauses(self.input.overrides, name, self.input.now).find(|p| p.since >= waiting)
        });
        if let Some(pause) = pause {
            let sentence = format!(
                "{name}: the switchover to {to} waited, and {} has paused the fleet ({}): nothing was done.",
                pause.author, pause.reason
            );
            return Err((Outcome::Held(Gate::NotPaused), sentence));
        }
        let wish = Wish {
            kind: MoveKind::Switchover,
            from: failed.filter(|d| d.to == *to).map_or(holder, |d| d.from.as_ref()),
            candidates: vec![to],
            nowhere: String::new(),
            signal: None,
            reason: request.reason.clone(),
            author: request.author.clone(),
            overrides: &request.overrides,
            since: Some(request.waiting_since.unwrap_or(self.input.now)),
        };
        Ok((to, wish))
    }

    /// Nobody judged it while it was fresh, or when its drain was over. A time that is still to come is no fresh one.
    fn too_late(&self, request: &Request) -> bool {
        let drain = self.fleet.drain.map_or(SignedDuration::ZERO, |drain| drain.deadline);
        let (since, life) = match request.waiting_since {
            None => (request.at, REQUEST_LIFETIME),
            Some(since) => (since, drain.saturating_add(REQUEST_LIFETIME)),
        };
        let age = self.input.now.duration_since(since);
        age > life || age < -REQUEST_LIFETIME
    }

    /// Where a sticky fleet would go if it had drained, and if a person agrees: [`super::draining`].
    pub(super) fn draining(&self) -> BTreeSet<&'a ClusterName> {
        let moving = self.latest.is_some_and(|d| d.state == MoveState::Moving);
        if moving || self.shared().is_some() {
            return BTreeSet::new();
        }
        let asked = self.request().and_then(|request| self.checked(request).ok()).map(|(_, wish)| wish);
        let own = self.latest.and_then(|latest| self.wish(latest));
        let mut targets = BTreeSet::new();
        for wish in asked.into_iter().chain(own).filter(|wish| (self.input.judges)(wish.kind, Gate::Drained))
        {
            for &to in &wish.candidates {
                let answered = || self.approval(wish.kind, wish.from, to, wish.signal)?.answer.as_ref();
                let goes = |gate: &Gate| match gate {
                    Gate::Drained => true,
                    Gate::Approved => answered().is_none(),
                    _ => false,
                };
                if self.judge(&wish, to).1.iter().all(goes) {
                    targets.insert(to);
                }
            }
        }
        targets
    }

    fn judge_request(&self, request: &Request, to: &'a ClusterName, wish: &Wish<'a>) -> Judgement {
        let name = &self.fleet.name;
        let (gates, closed) = self.judge(wish, to);
        // One that waits was judged before; what it overrides may have opened by itself since.
        for gate in request.overrides.iter().filter(|_| request.waiting_since.is_none()) {
            let open = gates.0.iter().any(|g| g.gate == *gate && g.open);
            let why = match () {
                () if !gate.overridable() => "can never be overridden",
                () if !(self.input.judges)(wish.kind, *gate) => "does not judge a switchover: leave it out",
                () if open => "is open, so there is nothing to override: leave it out",
                () => continue,
            };
            let sentence = format!("{name}: the gate {gate} {why}. Nothing was done.");
            return Judgement::Refused(Outcome::NothingToOverride, sentence);
        }
        // One look that fails does not call off what drains since long.
        let outlasts = |gate: &Gate| match gate {
            Gate::Drained => true,
            Gate::GitlabReachable | Gate::TargetAble => request.waiting_since.is_some(),
            _ => false,
        };
        match self.drained_by(wish.since) {
            _ if closed.is_empty() => Judgement::Decided(Box::new(self.decided(wish, to, gates))),
            Some(until) if closed.iter().all(outlasts) && self.input.now < until => {
                let sentence = self.held(wish, to, &closed, gates).sentence;
                let (to, author) = (to.clone(), request.author.clone());
                let since = wish.since.unwrap_or(self.input.now);
                Judgement::Waits(Waiting { request: request.id, to, author, since, until, sentence })
            }
            _ => {
                let held = self.held(wish, to, &closed, gates);
                Judgement::Refused(held.outcome, held.sentence)
            }
        }
    }

    /// Until when a sticky fleet that began to drain then may take.
    fn drained_by(&self, since: Option<Timestamp>) -> Option<Timestamp> {
        since?.checked_add(self.fleet.drain?.deadline).ok()
    }

    pub(super) fn window(&self, asked: Asked<'_>) -> Judged {
        let Some(window) = &self.fleet.window else { return judged(true, "no window: at any time") };
        if !asked.idle && !window.applies_to.contains(&asked.kind) {
            return judged(true, format!("a {} does not wait for the window", asked.kind));
        }
        let at = |word: &str, at: Option<Timestamp>| {
            at.map(|at| format!("{word} {}", window.local(at)))
                .unwrap_or_else(|| "for more than a week".to_owned())
        };
        match window.at(self.input.now) {
            WindowState::Open(until) => judged(true, format!("open {} ({window})", at("until", until))),
            WindowState::Closed(until) => Judged {
                recheck: until,
                ..judged(false, format!("closed {} ({window})", at("until", until)))
            },
        }
    }

    pub(super) fn drained(&self, asked: Asked<'_>) -> Judged {
        let tag = &self.fleet.routing_tag;
        let Some(drain) = self.fleet.drain else { return judged(true, "the fleet is not sticky") };
        if asked.idle {
            return judged(false, "nothing asks for a planned move, so nobody has looked for pipelines");
        }
        if !judges(asked.kind, Gate::Drained) {
            return judged(true, format!("a {} does not wait for pipelines", asked.kind));
        }
        let saw = match self.input.in_flight.get(&self.fleet.name) {
            Some(Seen::Known(pipelines)) if pipelines.is_empty() => {
                let saw = format!(
                    "no pipeline with jobs on {tag} is in flight, of those that run a job or began in the last {:#}",
                    drain.look_back
                );
                return judged(true, saw);
            }
            Some(Seen::Known(pipelines)) => {
                let named: Vec<String> = pipelines
                    .iter()
                    .take(NAMED)
                    .map(|p| format!("{} of project {}", p.id, p.project))
                    .collect();
                let more = pipelines.len().saturating_sub(NAMED);
                let more = if more == 0 { String::new() } else { format!(" and {more} more") };
                format!(
                    "pipelines with jobs on {tag} in flight: {} ({}{more})",
                    pipelines.len(),
                    named.join(", ")
                )
            }
            Some(Seen::Unknown(why)) => {
                format!("GitLab does not say which pipelines with jobs on {tag} are in flight: {why}")
            }
            Some(Seen::Absent) | None => format!(
                "nobody has looked for pipelines with jobs on {tag}: that is done when no other gate holds the move"
            ),
        };
        match self.drained_by(asked.since) {
            Some(until) if self.input.now < until => {
                Judged { recheck: Some(until), ..judged(false, format!("{saw}; waits until {until}")) }
            }
            _ => match drain.policy {
                DrainPolicy::Move => {
                    judged(true, format!("{saw}; moves all the same after {:#}", drain.deadline))
                }
                DrainPolicy::Hold => judged(false, format!("{saw}; not drained within {:#}", drain.deadline)),
            },
        }
    }

    pub(super) fn approved(&self, asked: Asked<'_>) -> Judged {
        let name = &self.fleet.name;
        if self.fleet.approval == Approval::NotRequired {
            return judged(true, "the fleet asks for no approval");
        }
        if asked.idle {
            return judged(false, "automatic moves wait for a person; nothing asks for one");
        }
        if !asked.kind.automatic() {
            return judged(true, "a person asks for it");
        }
        let Some(to) = asked.to else { return judged(false, "there is nothing to approve") };
        let Some(proposal) = self.approval(asked.kind, asked.from, to, asked.signal) else {
            return judged(false, "waits for a person");
        };
        match &proposal.answer {
            None => Judged {
                recheck: Some(proposal.until),
                ..judged(
                    false,
                    format!(
                        "proposal {} waits for a person until {}: switchyard approve {name} --proposal {} --holder {}",
                        proposal.id,
                        proposal.until,
                        proposal.id,
                        self.latest.map_or("none", |d| d.to.as_str())
                    ),
                )
            },
            Some(answer) => {
                let saw = format!(
                    "proposal {} was {} by {} at {}: {}",
                    proposal.id,
                    answer.consent.as_str(),
                    answer.author,
                    answer.at,
                    answer.reason
                );
                judged(answer.consent == Consent::Approved, saw)
            }
        }
    }

    /// What a person would be asked to approve.
    pub(super) fn proposed(
        &self,
        kind: MoveKind,
        from: Option<&ClusterName>,
        to: &ClusterName,
        signal: Option<&Signal>,
    ) -> Proposed {
        Proposed {
            fleet: self.fleet.name.clone(),
            generation: self.next_generation(),
            kind,
            from: from.cloned(),
            to: to.clone(),
            signal: signal.map(|s| s.key.clone()),
        }
    }

    /// The proposal of exactly this move, answered or not. A rejection stands for as long as the alert's episode.
    pub(super) fn approval(
        &self,
        kind: MoveKind,
        from: Option<&ClusterName>,
        to: &ClusterName,
        signal: Option<&Signal>,
    ) -> Option<&'a Proposal> {
        if self.fleet.approval == Approval::NotRequired || !kind.automatic() {
            return None;
        }
        let what = self.proposed(kind, from, to, signal);
        self.input.proposals.iter().rev().find(|p| p.what == what && p.stands(self.input.now))
    }
}

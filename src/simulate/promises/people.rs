//! What people asked for and answered: only what stands now may move a fleet.

use std::collections::BTreeMap;

use super::{Around, Watcher};
use crate::{
    model::{Approval, Consent, Decision, Fleet, Proposal, Request, SignalKey, SignedDuration, Timestamp},
    store::NewRequest,
};

/// A person has gone away when nobody has looked at the request, or at the end of its drain, for longer.
const PATIENCE: SignedDuration = SignedDuration::from_mins(1);

/// What people asked for and answered.
#[derive(Default)]
pub(super) struct People {
    /// Requests that have no answer, and since when they wait for pipelines.
    open: BTreeMap<i64, (NewRequest, Option<Timestamp>)>,
    /// Proposals with their latest answer.
    answered: BTreeMap<i64, Proposal>,
}

impl Watcher {
    /// A person asked for a planned move.
    pub(in crate::simulate) fn asked(&mut self, id: i64, request: NewRequest) {
        self.people.open.insert(id, (request, None));
    }

    /// Whether any request has no answer yet.
    pub(in crate::simulate) fn awaits(&self) -> bool {
        !self.people.open.is_empty()
    }

    /// These have no answer yet: every other one has. A drain begins once.
    pub(in crate::simulate) fn unanswered(&mut self, open: &[Request]) {
        self.people.open.retain(|id, (_, waits)| {
            let still = open.iter().find(|request| request.id == *id);
            *waits = waits.or(still.and_then(|request| request.waiting_since));
            still.is_some()
        });
    }

    /// A person answered a proposal, and was told that the answer counts.
    pub(in crate::simulate) fn answered(&mut self, proposal: Proposal) {
        self.people.answered.insert(proposal.id, proposal);
    }

    /// A planned move rests on a request that is open, fresh, and expects the holder that is.
    pub(super) fn requested(&mut self, fleet: &Fleet, decision: &Decision, around: &Around<'_>) {
        let (name, now) = (&fleet.name, around.now);
        let holder = self.latest.get(name).map(|latest| latest.to.clone());
        let drain = fleet.drain.map_or(SignedDuration::ZERO, |drain| drain.deadline);
        let late = |request: &NewRequest, waits: Option<Timestamp>| {
            let (since, life) =
                waits.map_or((request.at, PATIENCE), |since| (since, drain.saturating_add(PATIENCE)));
            now.duration_since(since).abs() > life
        };
        let mine = |request: &NewRequest| {
            (&request.fleet, &request.to, &request.author, &request.reason)
                == (name, &decision.to, &decision.author, &decision.reason)
        };
        let open = self.people.open.iter().filter(|(_, (request, _))| mine(request));
        let mut open: Vec<_> = open.map(|(id, (request, waits))| (*id, request, *waits)).collect();
        let mut wrong = format!("{name} was moved to {}, and no request for that was open", decision.to);
        if let Some((_, request, _)) = open.first() {
            let expects = &request.expected;
            wrong =
                format!("{name} was moved for a request that expects {expects:?}, and {holder:?} held it");
        }
        open.retain(|(_, request, _)| request.expected == holder);
        if let Some((_, request, waits)) = open.first() {
            wrong = format!("{name} was moved for a request of {}, which waits since {waits:?}", request.at);
        }
        open.retain(|(_, request, waits)| !late(request, *waits));
        if !open.is_empty() {
            wrong = format!("{name} was moved over {:?}, and nobody named that", decision.overridden);
            open.retain(|(_, request, _)| decision.overridden.iter().all(|g| request.overrides.contains(g)));
        }
        match open.first().map(|(id, ..)| *id) {
            Some(id) => drop(self.people.open.remove(&id)),
            None => self.breaks(3, wrong),
        }
    }

    /// A fleet that asks for a person moves by itself only as a person has approved, and has not taken back.
    pub(super) fn approved(&mut self, fleet: &Fleet, decision: &Decision, around: &Around<'_>) {
        let name = &fleet.name;
        if fleet.approval == Approval::NotRequired {
            return;
        }
        let signal = |key: &SignalKey| (key.source.clone(), key.fingerprint.clone());
        let same = |proposal: &&Proposal| {
            let what = &proposal.what;
            (&what.fleet, what.generation, what.kind, &what.from, &what.to)
                == (name, decision.generation, decision.kind, &decision.from, &decision.to)
                && what.signal.as_ref().map(signal) == decision.signal.as_ref().map(signal)
        };
        let answers: Vec<&Proposal> = self.people.answered.values().filter(same).collect();
        let stands = |proposal: &&&Proposal| {
            let consent = proposal.answer.as_ref().map(|answer| answer.consent);
            consent == Some(Consent::Approved) && around.now < proposal.until
        };
        let wrong = match (answers.iter().find(stands), answers.last()) {
            (Some(_), _) => return,
            (None, None) => format!("{name} was moved to {}, and nobody approved it", decision.to),
            (None, Some(last)) => {
                let (answer, until) = (&last.answer, last.until);
                format!(
                    "{name} was moved to {}, and its approval stands no more: {answer:?}, until {until}",
                    decision.to
                )
            }
        };
        self.breaks(3, wrong);
    }
}

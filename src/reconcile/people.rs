//! What the loop does about people: it answers their requests, and asks them for approval.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{info, warn};

use super::{ANSWERS_KEPT, PassError, Reconciler};
use crate::{
    decide::{FleetPass, Outcome},
    metrics::AskedLabels,
    model::{
        Approval, ClusterName, Drain, Draining, FleetName, FleetRunners, Pipeline, Request, Seen, Timestamp,
        Topology,
    },
    status::Answer,
    store::{Event, State},
    world::World,
};

/// The runners that would lose the routing tag when these fleets go where they are asked to.
pub(super) fn draining(
    topology: &Topology,
    runners: &BTreeMap<FleetName, Seen<FleetRunners>>,
    wanted: BTreeMap<&FleetName, BTreeSet<&ClusterName>>,
) -> BTreeMap<FleetName, Draining> {
    let mut draining = BTreeMap::new();
    for (name, targets) in wanted {
        let fleet = &topology.fleets[name];
        let (Some(runners), Some(Drain { look_back, .. })) = (runners[name].known(), fleet.drain) else {
            continue;
        };
        // Not those of the holder as decided: after a move that failed, or a change by hand, others carry the tag.
        let runners = (runners.pools.iter())
            .filter(|(cluster, _)| !targets.iter().all(|target| target == cluster))
            .flat_map(|(_, pool)| pool)
            .filter(|runner| runner.tags.contains(&fleet.routing_tag))
            .map(|runner| runner.id)
            .collect();
        draining.insert(name.clone(), Draining { tag: fleet.routing_tag.clone(), runners, look_back });
    }
    draining
}

/// What was found where it is wanted now: what was asked for something else is not known.
pub(super) fn found(
    wanted: BTreeMap<FleetName, Draining>,
    asked: &BTreeMap<FleetName, Draining>,
    mut found: BTreeMap<FleetName, Seen<Vec<Pipeline>>>,
) -> BTreeMap<FleetName, Seen<Vec<Pipeline>>> {
    let known = |(name, wanted): (FleetName, Draining)| {
        let (asked, seen) = (asked.get(&name)?, found.remove(&name)?);
        let covers = asked.tag == wanted.tag
            && asked.look_back >= wanted.look_back
            && wanted.runners.iter().all(|runner| asked.runners.contains(runner));
        let seen =
            if covers { seen } else { Seen::Unknown("what is asked for has changed meanwhile".to_owned()) };
        Some((name, seen))
    };
    wanted.into_iter().filter_map(known).collect()
}

impl<W: World> Reconciler<W> {
    /// What the store remembers; proposals whose time is over are ended first.
    pub(super) async fn load(&self, leads: bool, now: Timestamp) -> Result<State, PassError> {
        let mut state = self.store.load(now).await?;
        if leads && state.proposals.iter().any(|p| !p.stands(now)) {
            self.store.expire_proposals(now).await?;
        }
        state.proposals.retain(|p| p.stands(now));
        Ok(state)
    }

    /// Tells people what came of their requests, and writes it down.
    pub(super) async fn tell(
        &mut self,
        fleet: &FleetName,
        pass: &FleetPass,
        state: &State,
        requests: &[Request],
        now: Timestamp,
    ) -> Result<(), PassError> {
        let author = |id| requests.iter().find(|r| r.id == id).map(|r| r.author.clone());
        for answer in &pass.answers {
            let (id, outcome) = (answer.request, answer.outcome);
            let decided = (outcome == Outcome::Decided).then(|| state.decisions.get(fleet)).flatten();
            match decided.filter(|decision| !decision.overridden.is_empty()) {
                None if outcome == Outcome::Decided => {}
                None => {
                    let author = author(id);
                    info!(%fleet, %outcome, author, "request {id}: {}", answer.sentence);
                    self.event(fleet, &outcome.to_string(), &answer.sentence, author.as_deref(), now).await?;
                }
                Some(decision) => {
                    let gates: Vec<String> = decision
                        .gates
                        .iter()
                        .filter(|g| decision.overridden.contains(&g.gate))
                        .map(|g| format!("{} ({})", g.gate, g.saw))
                        .collect();
                    let sentence = format!(
                        "overrode {} for the {} to {} (generation {}): {}",
                        gates.join(", "),
                        decision.kind,
                        decision.to,
                        decision.generation,
                        decision.reason
                    );
                    warn!(%fleet, author = %decision.author, "{sentence}");
                    self.event(fleet, "overridden", &sentence, Some(&decision.author), now).await?;
                }
            }
            let generation = decided.map(|decision| decision.generation);
            let answer = Answer { outcome, sentence: answer.sentence.clone(), generation };
            self.answer(fleet, id, answer, now).await?;
        }
        let Some(waiting) = &pass.waiting else { return Ok(()) };
        let event = Event {
            at: now,
            fleet: Some(fleet.clone()),
            outcome: "waiting".to_owned(),
            sentence: waiting.sentence.clone(),
            author: Some(waiting.author.clone()),
        };
        if self.store.hold_request(waiting.request, &event).await? {
            info!(%fleet, author = %waiting.author, "request {}: {}", waiting.request, waiting.sentence);
        }
        Ok(())
    }

    async fn answer(
        &mut self,
        fleet: &FleetName,
        request: i64,
        answer: Answer,
        now: Timestamp,
    ) -> Result<(), PassError> {
        let Answer { outcome, sentence, generation } = &answer;
        let labels = AskedLabels { fleet: fleet.to_string(), outcome: outcome.to_string() };
        self.metrics.requests.get_or_create(&labels).inc();
        self.store.answer_request(request, &outcome.to_string(), sentence, *generation, now).await?;
        self.answers.insert(request, answer);
        while self.answers.len() > ANSWERS_KEPT {
            self.answers.pop_first();
        }
        Ok(())
    }

    /// Answers what was asked of fleets that are not configured any more: no pass is about them.
    pub(super) async fn turn_away(
        &mut self,
        topology: &Topology,
        requests: &mut Vec<Request>,
        now: Timestamp,
    ) -> Result<(), PassError> {
        let gone = |request: &mut Request| !topology.fleets.contains_key(&request.fleet);
        for Request { id, fleet, author, .. } in requests.extract_if(.., gone) {
            let outcome = Outcome::Expired;
            let sentence = format!("{fleet} is not configured any more: nothing was done.");
            self.event(&fleet, &outcome.to_string(), &sentence, Some(&author), now).await?;
            self.answer(&fleet, id, Answer { outcome, sentence, generation: None }, now).await?;
        }
        Ok(())
    }

    /// Writes down what waits for a person and for nothing else. True when something new does.
    pub(super) async fn propose(
        &self,
        topology: &Topology,
        passes: &BTreeMap<FleetName, FleetPass>,
        state: &mut State,
        now: Timestamp,
    ) -> Result<bool, PassError> {
        let mut new = false;
        for (name, pass) in passes {
            let Some((what, reason)) = &pass.proposed else { continue };
            let Approval::Required(timeout) = topology.fleets[name].approval else { continue };
            if state.proposals.iter().any(|p| p.what == *what && p.stands(now)) {
                continue;
            }
            let until = now.checked_add(timeout).unwrap_or(Timestamp::MAX);
            let proposal = self.store.propose(what, reason, now, until).await?;
            warn!(fleet = %name, proposal = proposal.id, %until, "{} waits for a person", pass.sentence);
            state.proposals.push(proposal);
            new = true;
        }
        Ok(new)
    }
}

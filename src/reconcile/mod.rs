//! The loop: observe, decide, record, plan, guard, apply, record.
//!
//! It is level-triggered: the bell and the period wake it alike and carry no input, so a restart, a lost webhook and
//! a normal one run the same path. Nothing is retried inside a pass; the next pass is the retry.

mod act;
mod people;
mod publish;
mod settle;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use act::{ActResult, Actor};
use settle::MoveClock;

use crate::{
    decide::{self, FleetPass, Input, Judges, Outcome, RequestAnswer, decide, holder_able},
    metrics::{self, DecisionLabels, Metrics},
    model::{
        Decision, Fence, Fleet, FleetName, FleetRunners, Gate, Leadership, MoveState, Observation, Pipeline,
        Request, Seen, SignedDuration, Step, Timestamp, Topology,
    },
    plan::{Plan, Standing, plan},
    status::{Answer, Failing, Status},
    store::{Committed, Event, State, Store, Term},
    transport::chain,
    world::World,
};

/// Passes rung by the bell begin at least this far apart, so that a storm of webhooks is not one of reads.
const BELL_SPACING: Duration = Duration::from_millis(250);
/// How soon to look again while a move waits for something to be seen.
const WAITING: Duration = Duration::from_millis(500);
static NOBODY_LOOKED: BTreeMap<FleetName, Seen<Vec<Pipeline>>> = BTreeMap::new();
/// How many answers to requests the snapshot keeps.
const ANSWERS_KEPT: usize = 64;

/// What a reload replaces as a whole.
#[derive(Debug)]
pub struct Setup<W> {
    /// What is configured.
    pub topology: Arc<Topology>,
    /// The longest time between two passes.
    pub period: Duration,
    /// The longest time that a look for pipelines may take.
    pub drain_look: Duration,
    /// Steps in flight at once, per fleet.
    pub concurrency: usize,
    /// The world.
    pub world: W,
    /// Which gates judge which moves: [`crate::decide::judges`].
    pub judges: Judges,
}

/// The loop.
#[derive(Debug)]
pub struct Reconciler<W> {
    setup: watch::Receiver<Arc<Setup<W>>>,
    store: Store,
    bell: Arc<Notify>,
    status: watch::Sender<Arc<Status>>,
    metrics: Arc<Metrics>,
    /// What the last pass came to, to tell changes from repetitions.
    outcomes: BTreeMap<FleetName, Outcome>,
    /// How long each move has been under way while GitLab could be read.
    clocks: BTreeMap<FleetName, MoveClock>,
    answers: BTreeMap<i64, Answer>,
    /// The term in which the last pass acted.
    term: Option<Term>,
    /// The store failed while steps were under way: what became of them may not be written down.
    unsure: bool,
    /// Why the last passes failed, for the snapshot.
    failing: Option<Failing>,
    /// The steps taken last: when the same ones come again, their effect was not seen, and hurry does not help.
    tries: BTreeMap<FleetName, Tries>,
}

/// The same steps, again and again.
#[derive(Debug, Clone)]
struct Tries {
    steps: Vec<Step>,
    count: u32,
    /// Not again before this.
    until: Timestamp,
}

/// One look at everything, and what was remembered right after it.
struct Look<W> {
    /// What was configured when it ended.
    setup: Arc<Setup<W>>,
    observation: Observation,
    runners: BTreeMap<FleetName, Seen<FleetRunners>>,
    requests: Vec<Request>,
    /// When it had ended: by this time all ages are judged.
    now: Timestamp,
}

impl<W> Look<W> {
    fn view<'a>(
        &'a self,
        leadership: &'a Leadership,
        in_flight: &'a BTreeMap<FleetName, Seen<Vec<Pipeline>>>,
    ) -> View<'a> {
        View {
            topology: &self.setup.topology,
            observation: &self.observation,
            runners: &self.runners,
            requests: &self.requests,
            leadership,
            judges: self.setup.judges,
            in_flight,
            now: self.now,
        }
    }
}

/// What one pass looks at; the runner records are sorted into pools once.
#[derive(Debug, Clone, Copy)]
struct View<'a> {
    topology: &'a Topology,
    observation: &'a Observation,
    runners: &'a BTreeMap<FleetName, Seen<FleetRunners>>,
    requests: &'a [Request],
    leadership: &'a Leadership,
    judges: Judges,
    in_flight: &'a BTreeMap<FleetName, Seen<Vec<Pipeline>>>,
    now: Timestamp,
}

impl<'a> View<'a> {
    fn input(self, state: &'a State) -> Input<'a> {
        Input {
            topology: self.topology,
            signals: &state.signals,
            observation: self.observation,
            runners: self.runners,
            decisions: &state.decisions,
            moves: &state.moves,
            overrides: &state.overrides,
            requests: self.requests,
            leadership: self.leadership,
            judges: self.judges,
            proposals: &state.proposals,
            in_flight: self.in_flight,
            now: self.now,
        }
    }

    fn plan(self, fleet: &Fleet, decision: &Decision, standing: Standing) -> Plan {
        plan(fleet, decision, standing, &self.runners[&fleet.name], self.observation.dns.get(&fleet.name))
    }
}

/// When to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wake {
    /// At once: steps were taken and their effect is to be seen.
    Now,
    /// After this long, unless the bell rings first.
    In(Duration),
}

/// Why a pass could not be finished.
#[derive(Debug, thiserror::Error)]
#[error("the store failed")]
pub struct PassError(#[from] pub(crate) crate::store::Error);

impl<W: World> Reconciler<W> {
    /// Makes the loop. `status` is where every pass publishes its snapshot.
    pub fn new(
        setup: watch::Receiver<Arc<Setup<W>>>,
        store: Store,
        bell: Arc<Notify>,
        status: watch::Sender<Arc<Status>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            setup,
            store,
            bell,
            status,
            metrics,
            outcomes: BTreeMap::new(),
            clocks: BTreeMap::new(),
            answers: BTreeMap::new(),
            term: None,
            unsure: false,
            failing: None,
            tries: BTreeMap::new(),
        }
    }

    /// Runs until `shutdown`; the step in flight is finished and recorded first.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut last = None;
        while !shutdown.is_cancelled() {
            let (began, period) = (tokio::time::Instant::now(), self.setup.borrow().period);
            if let Some((before, period)) = last.replace((began, period)) {
                self.metrics.periods_missed.inc_by(missed(began - before, period));
            }
            let wake = match self.pass(&shutdown).await {
                Ok(wake) => {
                    self.went_well();
                    wake
                }
                Err(PassError(crate::store::Error::Closed)) => {
                    error!("the store has ended; ending the loop");
                    return;
                }
                Err(PassError(error @ crate::store::Error::Fenced(_))) => {
                    warn!(%error, "another process leads: the pass was given up");
                    Wake::In(BELL_SPACING)
                }
                Err(error) => {
                    self.failed(&error);
                    error!(
                        error = %chain(&error),
                        "the pass could not be finished; the next one looks at what has become of it"
                    );
                    Wake::In(self.setup.borrow().period)
                }
            };
            let Wake::In(wait) = wake else { continue };
            let ended = tokio::time::Instant::now();
            let rung = tokio::select! {
                () = self.bell.notified() => true,
                changed = self.setup.changed() => changed.is_ok(),
                () = tokio::time::sleep(wait) => false,
                () = shutdown.cancelled() => false,
            };
            if rung {
                tokio::select! {
                    () = tokio::time::sleep_until(ended + BELL_SPACING) => {}
                    () = shutdown.cancelled() => {}
                }
            }
        }
    }

    /// One pass over all fleets. After `shutdown` no further step is taken. A process that does not lead looks, judges and
    /// shows, and neither decides nor acts.
    ///
    /// # Errors
    /// When the store fails: then nothing was moved that the store does not know of.
    pub async fn pass(&mut self, shutdown: &CancellationToken) -> Result<Wake, PassError> {
        let started = tokio::time::Instant::now();
        let began = self.setup.borrow().world.now();
        self.metrics.passes.inc();
        self.metrics.pass_last_attempt.set(metrics::seconds(began));

        let term = self.begin_term(began).await?;
        // As it was when the pass began: a term that has ended since then is noticed by the store, and before each step.
        let leadership = self.store.lease().leadership_in(term);
        let (mut look, mut state) = self.look(term).await?;
        let wanted = |look: &Look<W>, state: &State| {
            let seen = look.view(&leadership, &NOBODY_LOOKED);
            people::draining(seen.topology, &look.runners, decide::draining(seen.input(state)))
        };
        let draining = wanted(&look, &state);
        let mut in_flight = BTreeMap::new();
        if !draining.is_empty() {
            let found = look.setup.world.in_flight(&draining, look.setup.drain_look).await;
            // That may have taken long: no fleet is judged by what was before it.
            let asked: BTreeSet<i64> = look.requests.iter().map(|request| request.id).collect();
            (look, state) = self.look(term).await?;
            look.requests.retain(|request| asked.contains(&request.id));
            in_flight = people::found(wanted(&look, &state), &draining, found);
        }
        let (setup, topology, requests, now) =
            (&*look.setup, &*look.setup.topology, &look.requests, look.now);
        let seen = look.view(&leadership, &in_flight);
        if term.is_some() {
            self.settle(seen, &mut state).await?;
        }
        let mut passes = decide(seen.input(&state));
        let mut proposed = false;
        if term.is_some() {
            self.commit(&mut passes, &mut state, requests, now).await?;
            proposed = self.propose(topology, &passes, &mut state, now).await?;
        }

        let plans: BTreeMap<FleetName, Plan> = topology
            .fleets
            .iter()
            .filter_map(|(name, fleet)| {
                let decision = state.decisions.get(name)?;
                let standing = Standing {
                    paused: state.pause(name, now).is_some(),
                    holder_able: holder_able(seen.input(&state), fleet),
                };
                Some((name.clone(), seen.plan(fleet, decision, standing)))
            })
            .collect();
        let mut acts = Vec::new();
        self.tries.retain(|name, tries| plans.get(name).is_some_and(|plan| plan.steps == tries.steps));
        for (name, plan) in &plans {
            let rests = self.tries.get(name).is_some_and(|tries| tries.rests(now, setup.period));
            let Some(term) = term else { break };
            if plan.steps.is_empty() || rests || !may_act(&passes[name]) {
                continue;
            }
            let fence = Fence::new(name.clone(), state.decisions[name].generation);
            let (store, metrics) = (&self.store, &*self.metrics);
            let actor = Actor { setup, store, metrics, shutdown, fence, term };
            acts.push(actor.act(plan));
        }
        let acted = join_all(acts).await;
        let recheck = passes.values().filter_map(|pass| pass.recheck_at).min();
        let judged = |id| passes.values().any(|pass| pass.judged(id));
        let unjudged = requests.iter().any(|r| r.waiting_since.is_none() && !judged(r.id));
        self.publish(seen, &state, passes, plans.clone());

        self.metrics.pass_duration.observe(started.elapsed().as_secs_f64());
        let mut wake = Wake::In(setup.period);
        for acted in acted {
            let acted = acted.inspect_err(|_| self.unsure = true)?;
            if let Some(clock) = self.clocks.get_mut(&acted.fleet) {
                clock.last_step = acted.last_step.or(clock.last_step);
            }
            let tries = self.tries.entry(acted.fleet.clone()).or_insert_with(|| Tries {
                steps: plans[&acted.fleet].steps.clone(),
                count: 0,
                until: now,
            });
            let rest = tries.rest(acted.result, setup.period);
            tries.until = now.checked_add(SignedDuration::try_from(rest).unwrap_or_default()).unwrap_or(now);
            wake = wake.min(if rest.is_zero() { Wake::Now } else { Wake::In(rest) });
        }
        if term.is_none() {
            return Ok(Wake::In(setup.period));
        }
        self.metrics.pass_last_success.set(metrics::seconds(now));
        if state.decisions.values().any(|d| {
            d.state == MoveState::Moving && plans.contains_key(&d.fleet) && !self.tries.contains_key(&d.fleet)
        }) {
            wake = wake.min(Wake::In(WAITING));
        }
        for tries in self.tries.values().filter(|tries| tries.rests(now, setup.period)) {
            wake = wake.min(Wake::In(until(now, tries.until).max(BELL_SPACING)));
        }
        // A proposal that was made now is shown with its number by the next pass.
        if unjudged || proposed {
            wake = wake.min(Wake::In(BELL_SPACING));
        }
        if let Some(at) = recheck {
            wake = wake.min(Wake::In(until(now, at).max(BELL_SPACING)));
        }
        Ok(wake)
    }

    /// Looks at everything, by the newest configuration. What is remembered is read after that, so that a decision never
    /// rests on a signal older than the look.
    async fn look(&mut self, term: Option<Term>) -> Result<(Look<W>, State), PassError> {
        let (setup, observation) = loop {
            let setup = self.setup.borrow_and_update().clone();
            let observation = setup.world.observe(&setup.topology).await;
            if !self.setup.has_changed().unwrap_or(false) {
                break (setup, observation);
            }
        };
        let now = setup.world.now();
        let state = self.load(term.is_some(), now).await?;
        let mut requests = self.store.open_requests().await?;
        if term.is_some() && !self.setup.has_changed().unwrap_or(false) {
            self.turn_away(&setup.topology, &mut requests, now).await?;
        }
        let runners = setup.topology.assign(&observation.runners);
        let now = setup.world.now();
        Ok((Look { setup, observation, runners, requests, now }, state))
    }

    /// The term in which this pass may decide and act, if this process leads. Everything that it writes belongs to it. At
    /// its beginning, nobody knows what became of the steps that were under way.
    async fn begin_term(&mut self, now: Timestamp) -> Result<Option<Term>, PassError> {
        let term = self.store.lease().term();
        let Some(began) = term else {
            self.term = None;
            return Ok(None);
        };
        if self.term != term || self.unsure {
            self.store = self.store.pinned(began);
            let interrupted = self.store.mark_interrupted(now).await?;
            if interrupted > 0 {
                warn!(
                    steps = interrupted,
                    "steps were under way when the last run ended; nobody knows whether they happened"
                );
            }
            self.unsure = false;
        }
        if self.term != term {
            self.clocks.clear();
            self.tries.clear();
            self.outcomes.clear();
            if let Leadership::Leads { epoch } = self.store.lease().leadership_in(term) {
                let sentence = format!("{} leads (epoch {epoch}).", self.store.lease().name());
                let outcome = "leads".to_owned();
                self.store
                    .record_event(&Event { at: now, fleet: None, outcome, sentence, author: None })
                    .await?;
            }
            self.term = term;
        }
        Ok(term)
    }

    /// Makes decisions count: each is committed against the generation it was made from.
    async fn commit(
        &mut self,
        passes: &mut BTreeMap<FleetName, FleetPass>,
        state: &mut State,
        requests: &[Request],
        now: Timestamp,
    ) -> Result<(), PassError> {
        for (name, pass) in passes.iter_mut() {
            if let Some(decision) = pass.decision.take() {
                let asked = pass.answers.iter().find(|answer| answer.outcome == Outcome::Decided);
                let committed = match asked {
                    None => self.store.commit_decision(&decision).await?,
                    Some(RequestAnswer { request, outcome, sentence }) => {
                        self.store.commit_request(&decision, *request, &outcome.to_string(), sentence).await?
                    }
                };
                match committed {
                    Committed::Yes => {
                        warn!(
                            fleet = %name, generation = decision.generation.0, kind = %decision.kind,
                            author = %decision.author, "{}", pass.sentence
                        );
                        state.moves.push(decision.clone());
                        state.decisions.insert(name.clone(), decision);
                    }
                    lost => {
                        lose(pass, &decision, &lost);
                        self.bell.notify_one();
                    }
                }
            }
            let reason = match (pass.outcome, state.decisions.get(name)) {
                (Outcome::Decided, Some(decision)) => decision.kind.as_str(),
                (outcome, _) => outcome.gate(),
            };
            let labels = DecisionLabels {
                fleet: name.to_string(),
                outcome: pass.outcome.as_str().to_owned(),
                reason: reason.to_owned(),
            };
            self.metrics.decisions.get_or_create(&labels).inc();
            if self.outcomes.get(name) != Some(&pass.outcome) {
                info!(fleet = %name, outcome = %pass.outcome, "{}", pass.sentence);
                // A decision is an entry of its own.
                if !matches!(pass.outcome, Outcome::Decided | Outcome::Adopted) {
                    self.event(name, &pass.outcome.to_string(), &pass.sentence, None, now).await?;
                }
                // Once it is written: a store that took it not is told again.
                self.outcomes.insert(name.clone(), pass.outcome);
            }
            self.tell(name, pass, state, requests, now).await?;
        }
        Ok(())
    }

    async fn event(
        &self,
        fleet: &FleetName,
        outcome: &str,
        sentence: &str,
        author: Option<&str>,
        at: Timestamp,
    ) -> Result<(), PassError> {
        let event = Event {
            at,
            fleet: Some(fleet.clone()),
            outcome: outcome.to_owned(),
            sentence: sentence.to_owned(),
            author: author.map(str::to_owned),
        };
        Ok(self.store.record_event(&event).await?)
    }
}

impl Tries {
    /// Whether it is too early. No rest is longer than a period: the clock may have been set back since.
    fn rests(&self, now: Timestamp, period: Duration) -> bool {
        self.until > now && until(now, self.until) <= period
    }

    /// How long to rest before the same steps are taken again. Not at all when they are new and all went well.
    fn rest(&mut self, result: ActResult, period: Duration) -> Duration {
        self.count += 1;
        match result {
            ActResult::Done if self.count == 1 => Duration::ZERO,
            ActResult::Refused => period,
            ActResult::Done | ActResult::Failed => {
                WAITING.saturating_mul(1 << (self.count - 1).min(10)).min(period)
            }
        }
    }
}

/// What a pass comes to when its decision does not count; its requests are judged again by the next one.
fn lose(pass: &mut FleetPass, decision: &Decision, lost: &Committed) {
    let Decision { fleet, kind, to, .. } = decision;
    let (outcome, why) = match lost {
        Committed::Paused => (Outcome::Held(Gate::NotPaused), "a person has paused the fleet".to_owned()),
        Committed::NotApproved => {
            (Outcome::Held(Gate::Approved), "its approval was taken back or has expired".to_owned())
        }
        Committed::InFlight { generation } => {
            (Outcome::Held(Gate::SingleFlight), format!("another move has begun (generation {generation})"))
        }
        Committed::Yes => return,
        Committed::Superseded { latest } => {
            (Outcome::Superseded, format!("another decision came first (generation {latest})"))
        }
    };
    pass.outcome = outcome;
    pass.sentence = format!("{fleet}: the {kind} to {to} was not decided, because meanwhile {why}.");
    pass.answers.clear();
}

/// The whole periods without a beginning, when so much time lies between those of two passes.
fn missed(between: Duration, period: Duration) -> u64 {
    let periods = between.as_nanos() / period.as_nanos().max(1);
    u64::try_from(periods).unwrap_or(u64::MAX).saturating_sub(1)
}

/// From `now` to `at`, nothing when that is past.
fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}

/// A fleet whose records cannot be told apart is not touched, whatever was decided before.
fn may_act(pass: &FleetPass) -> bool {
    pass.outcome != Outcome::SharedRunner
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Generation;

    #[test]
    fn a_period_is_missed_when_the_next_one_is_over_without_a_pass() {
        let missed = |ms| missed(Duration::from_millis(ms), Duration::from_secs(10));
        // A pass begins a period after the end of the one before.
        assert_eq!([0, 9_999, 10_000, 19_999].map(missed), [0; 4]);
        assert_eq!([20_000, 29_999, 30_000, 100_000].map(missed), [1, 1, 2, 9]);
    }

    #[test]
    fn a_decision_that_does_not_count_leaves_no_pass_that_says_decided() {
        let decision: Decision = serde_json::from_value(serde_json::json!({
            "fleet": "rnd", "generation": 2, "kind": "switchover", "from": "blue", "to": "green", "reason": "", "author": "ada",
            "signal": null, "gates": [], "decided_at": "2027-01-15T08:00:00Z", "state": "moving",
            "finished_at": null, "acknowledged_at": null,
        }))
        .unwrap();
        let answer = crate::decide::RequestAnswer {
            request: 1,
            outcome: Outcome::Decided,
            sentence: "rnd: switchover from blue to green.".to_owned(),
        };
        let generation = Generation(2);
        for (lost, outcome, why) in [
            (Committed::Paused, "held:not_paused", "a person has paused the fleet"),
            (Committed::NotApproved, "held:approved", "its approval was taken back or has expired"),
            (
                Committed::InFlight { generation },
                "held:single_flight",
                "another move has begun (generation 2)",
            ),
            (
                Committed::Superseded { latest: generation },
                "superseded",
                "another decision came first (generation 2)",
            ),
        ] {
            let mut pass = FleetPass {
                outcome: Outcome::Decided,
                sentence: String::new(),
                gates: Vec::new(),
                decision: None,
                answers: vec![answer.clone()],
                waiting: None,
                proposed: None,
                recheck_at: None,
            };
            lose(&mut pass, &decision, &lost);
            assert_eq!(pass.outcome.to_string(), outcome);
            let sentence = format!("rnd: the switchover to green was not decided, because meanwhile {why}.");
            assert_eq!(pass.sentence, sentence);
            assert!(!pass.judged(1), "the next pass judges the request again");
        }
    }
}

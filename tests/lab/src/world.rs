//! A world of values with its own time: what the loop sees and does, without any process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use switchyard::{
    model::{
        Fence, Observation, Question, Runner, Seen, SignedDuration, Step, StepOutcome, TagChange, Timestamp,
        Topology,
    },
    world::World,
};

use crate::values::{Case, asked, rnd};

/// What happens to the next steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// They happen and say so.
    #[default]
    None,
    /// They happen and the answer is lost.
    LostAnswer,
    /// They are refused.
    Refused,
    /// They are lost before they happen, and nobody knows.
    LostRequest,
}

/// A world that a test holds in its hands; clones share it.
#[derive(Debug, Clone)]
pub struct LabWorld(Arc<Mutex<State>>);

/// What is so.
#[derive(Debug)]
pub struct State {
    /// The time.
    pub now: Timestamp,
    /// What a look shows, except for its time.
    pub seen: Observation,
    /// Every step that really happened, in order.
    pub happened: Vec<(Fence, Step)>,
    /// GitLab cannot be read.
    pub gitlab_down: bool,
    /// What happens to the next steps.
    pub fault: Fault,
    /// How old Prometheus' samples are.
    pub sample_age: SignedDuration,
    alive: Vec<(String, f64)>,
}

impl LabWorld {
    /// Blue holds, blue and green are well.
    pub fn new() -> Self {
        let case = Case::blue_holds();
        let both = [("blue".to_owned(), 1.0), ("green".to_owned(), 1.0)];
        Self(Arc::new(Mutex::new(State {
            now: case.now,
            seen: case.observation,
            happened: Vec::new(),
            gitlab_down: false,
            fault: Fault::None,
            sample_age: SignedDuration::ZERO,
            alive: both.into(),
        })))
    }

    /// Looks at it or changes it.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass.
    pub fn pass(&self, seconds: i64) {
        let mut state = self.state();
        state.now += SignedDuration::from_secs(seconds);
    }

    /// Which share of each cluster's runners is up and polls well; a cluster not named has no samples.
    pub fn alive(&self, shares: &[(&str, f64)]) {
        self.state().alive = shares.iter().map(|(c, share)| ((*c).to_owned(), *share)).collect();
    }

    /// The runner records.
    pub fn runners(&self) -> Vec<Runner> {
        self.state().seen.runners.known().cloned().unwrap_or_default()
    }

    /// The clusters whose pool carries the routing tag.
    pub fn holders(&self, topology: &Topology) -> Vec<String> {
        let fleet = &topology.fleets[&rnd()];
        fleet.assign(&self.runners()).holders(&fleet.routing_tag).iter().map(ToString::to_string).collect()
    }

    /// What the DNS name says at the server that takes updates.
    pub fn dns(&self) -> String {
        self.state().seen.dns[&rnd()]
            .primary
            .known()
            .map(|set| set.values.iter().cloned().collect())
            .unwrap_or_default()
    }
}

impl Default for LabWorld {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn change(&mut self, step: &Step) {
        match step {
            Step::Tag(step) => {
                let Seen::Known(runners) = &mut self.seen.runners else { return };
                for runner in runners.iter_mut().filter(|r| r.id == step.runner) {
                    match step.change {
                        TagChange::Add => runner.tags.insert(step.tag.clone()),
                        TagChange::Remove => runner.tags.remove(&step.tag),
                    };
                    runner.paused = step.paused.unwrap_or(runner.paused);
                }
            }
            Step::Dns(step) => {
                for view in self.seen.dns.values_mut() {
                    view.primary = Seen::Known(step.to.clone());
                    for server in view.servers.values_mut() {
                        *server = Seen::Known(step.to.clone());
                    }
                }
            }
        }
    }
}

impl World for LabWorld {
    fn now(&self) -> Timestamp {
        self.state().now
    }

    async fn observe(&self, _: &Topology) -> Observation {
        let state = self.state();
        let mut seen = state.seen.clone();
        seen.at = state.now;
        if state.gitlab_down {
            seen.runners = Seen::Unknown("502 Bad Gateway".to_owned());
        }
        let shares: Vec<(&str, f64)> = state.alive.iter().map(|(c, share)| (c.as_str(), *share)).collect();
        let counts: Vec<(&str, f64)> = shares.iter().map(|(c, share)| (*c, share * 2.0)).collect();
        let reached: Vec<(&str, f64)> =
            shares.iter().filter(|(_, share)| *share > 0.0).map(|(c, _)| (*c, 0.0)).collect();
        let evidence = seen.evidence.fleets.entry(rnd()).or_default();
        for (question, values) in [
            (Question::Alive, &shares),
            (Question::Able, &shares),
            (Question::AbleCount, &counts),
            (Question::GitlabUnreachable, &reached),
        ] {
            let mut asked = asked("p0", values, 0);
            for sample in
                asked.answers.iter_mut().flat_map(|a| a.result.iter_mut()).flat_map(|s| s.values_mut())
            {
                sample.at = state.now - state.sample_age;
            }
            evidence.asked.insert(question, asked);
        }
        seen
    }

    async fn apply(&self, fence: &Fence, step: &Step) -> StepOutcome {
        let mut state = self.state();
        let fault = state.fault;
        if matches!(fault, Fault::None | Fault::LostAnswer) {
            state.change(step);
            state.happened.push((fence.clone(), step.clone()));
        }
        match fault {
            Fault::None => StepOutcome::Done,
            Fault::LostAnswer | Fault::LostRequest => {
                StepOutcome::Unknown("the connection was lost".to_owned())
            }
            Fault::Refused => StepOutcome::Failed { why: "403 Forbidden".to_owned(), transient: false },
        }
    }
}

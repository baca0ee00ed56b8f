//! Worlds that are not what they should be: between the loop and the simulated one, something goes wrong.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use switchyard::{
    model::{
        Draining, Fence, FleetName, Generation, Observation, Pipeline, RunnerId, Seen, Step, StepOutcome,
        TagChange, Timestamp, Topology,
    },
    simulate::Outside,
    world::{SimWorld, World},
};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// A tag is not written and shown all the same.
    Pretends,
    /// A sample that is no number is shown as 0.
    Guesses,
    /// What cannot be read is shown as it was last.
    Remembers,
    /// Every look takes all steps again.
    Replays,
    /// Steps are taken on behalf of the decision before.
    Late,
    /// After a crash nothing is done any more.
    Deaf,
    /// A step taken again undoes first what it did.
    Redoes,
    /// A runner that registers anew keeps its tag.
    Keeps,
    /// What shall lose the tag gets it.
    Returns,
    /// Another runner's tags are written.
    WrongRunner,
    /// Another tag is written.
    WrongTag,
}

#[derive(Debug)]
struct Broken {
    world: SimWorld,
    how: How,
    seen: Mutex<Option<Observation>>,
    taken: Mutex<Vec<(Fence, Step)>>,
}

macro_rules! worlds {
    ($($(#[$doc:meta])* $name:ident: $how:ident),*) => {
        $($(#[$doc])* pub(crate) fn $name(world: SimWorld) -> Outside {
            let (seen, taken) = Default::default();
            Outside::new(Broken { world, how: How::$how, seen, taken })
        })*
    };
}

worlds! {
    pretends: Pretends, guesses: Guesses, remembers: Remembers, replays: Replays, late: Late, deaf: Deaf,
    redoes: Redoes, keeps: Keeps, returns: Returns, wrong_runner: WrongRunner, wrong_tag: WrongTag
}

impl Broken {
    fn shown(&self, mut look: Observation) -> Observation {
        match self.how {
            How::Pretends => {
                let Seen::Known(runners) = &mut look.runners else { return look };
                for (_, step) in self.taken.lock().unwrap().iter() {
                    let Step::Tag(step) = step else { continue };
                    for runner in runners.iter_mut().filter(|r| r.id == step.runner) {
                        match step.change {
                            TagChange::Add => runner.tags.insert(step.tag.clone()),
                            TagChange::Remove => runner.tags.remove(&step.tag),
                        };
                    }
                }
            }
            How::Guesses => {
                let asked = look.evidence.fleets.values_mut().flat_map(|fleet| fleet.asked.values_mut());
                let results = asked.flat_map(|asked| &mut asked.answers).map(|answer| &mut answer.result);
                let samples =
                    results.filter_map(|result| result.as_mut().ok()).flat_map(BTreeMap::values_mut);
                samples.filter(|sample| sample.value.is_nan()).for_each(|sample| sample.value = 0.0);
            }
            How::Remembers => {
                let mut seen = self.seen.lock().unwrap();
                let mut answers =
                    look.evidence.fleets.values().flat_map(|f| f.asked.values()).flat_map(|a| &a.answers);
                let sees = matches!(look.runners, Seen::Known(_)) && answers.any(|a| a.result.is_ok());
                if sees || seen.is_none() {
                    *seen = Some(look);
                }
                look = seen.clone().unwrap();
                let now = self.world.now();
                let asked = look.evidence.fleets.values_mut().flat_map(|fleet| fleet.asked.values_mut());
                let results = asked.flat_map(|asked| &mut asked.answers).map(|answer| &mut answer.result);
                let samples =
                    results.filter_map(|result| result.as_mut().ok()).flat_map(BTreeMap::values_mut);
                samples.for_each(|sample| sample.at = now);
            }
            _ => {}
        }
        look
    }

    /// What really is sent; none when nothing is.
    fn sent(&self, fence: &Fence, step: &Step) -> Option<(Fence, Step)> {
        let again = self.taken.lock().unwrap().iter().any(|(_, taken)| taken == step);
        let mut fence = fence.clone();
        if self.how == How::Late {
            fence.generation = Generation(fence.generation.0 - 1);
        }
        let Step::Tag(mut tag) = step.clone() else { return Some((fence, step.clone())) };
        let adds = tag.change == TagChange::Add;
        match self.how {
            How::Pretends if adds => return None,
            How::Deaf if self.world.state().sent.iter().any(|sent| sent.outcome.is_none()) => return None,
            How::Keeps if tag.runner.0 > 4 => return None,
            How::Redoes if again && adds => {
                self.world.state().runner(tag.runner).map(|runner| runner.record.tags.remove(&tag.tag));
            }
            How::Returns => tag.change = TagChange::Add,
            How::WrongRunner if adds => tag.runner = RunnerId(1),
            How::WrongTag => tag.tag = "somebody-elses".parse().unwrap(),
            _ => {}
        }
        Some((fence, Step::Tag(tag)))
    }
}

impl World for Broken {
    fn now(&self) -> Timestamp {
        self.world.now()
    }

    async fn observe(&self, topology: &Topology) -> Observation {
        if self.how == How::Replays {
            let taken = self.taken.lock().unwrap().clone();
            for (fence, step) in taken {
                self.world.apply(&fence, &step).await;
            }
        }
        let look = self.world.observe(topology).await;
        self.shown(look)
    }

    async fn in_flight(
        &self,
        fleets: &BTreeMap<FleetName, Draining>,
        limit: Duration,
    ) -> BTreeMap<FleetName, Seen<Vec<Pipeline>>> {
        self.world.in_flight(fleets, limit).await
    }

    async fn apply(&self, fence: &Fence, step: &Step) -> StepOutcome {
        let sent = self.sent(fence, step);
        self.taken.lock().unwrap().push((fence.clone(), step.clone()));
        match sent {
            None => StepOutcome::Done,
            Some((fence, step)) => self.world.apply(&fence, &step).await,
        }
    }
}

//! The plan as a pure function, and its properties.

use std::collections::BTreeSet;

use proptest::prelude::*;
use switchyard::{
    model::{
        DnsView, FleetRunners, MoveKind, MoveState, Park, Phase, PoolSelector, RecordSet, Runner, RunnerId,
        Seen, Step, TagChange, Topology,
    },
    plan::{Plan, Standing, Withheld, plan},
};
use switchyard_lab::values::{Case, cluster, decision, record_set, rnd, runner, topology};

const STANDING: Standing = Standing { paused: false, holder_able: true };

#[derive(Debug)]
struct World {
    topology: Topology,
    runners: Vec<Runner>,
    dns: DnsView,
}

impl World {
    fn new() -> Self {
        let case = Case::blue_holds();
        let runners = case.observation.runners.known().expect("a value").clone();
        Self { topology: case.topology, runners, dns: case.observation.dns[&rnd()].clone() }
    }

    fn assigned(&self) -> FleetRunners {
        self.topology.fleets[&rnd()].assign(&self.runners)
    }

    fn plan(&self, to: &str, state: MoveState) -> Plan {
        let from = if to == "green" { "blue" } else { "green" };
        let decision = decision(2, MoveKind::Failover, Some(from), to, 0, state);
        plan(
            &self.topology.fleets[&rnd()],
            &decision,
            STANDING,
            &Seen::Known(self.assigned()),
            Some(&self.dns),
        )
    }

    fn apply(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Tag(step) => {
                    let runner =
                        self.runners.iter_mut().find(|r| r.id == step.runner).expect("a known runner");
                    match step.change {
                        TagChange::Add => runner.tags.insert(step.tag.clone()),
                        TagChange::Remove => runner.tags.remove(&step.tag),
                    };
                    runner.paused = step.paused.unwrap_or(runner.paused);
                }
                Step::Dns(step) => {
                    self.dns.primary = Seen::Known(step.to.clone());
                    for seen in self.dns.servers.values_mut() {
                        *seen = Seen::Known(step.to.clone());
                    }
                }
            }
        }
    }

    /// Applies plans until nothing is left, and returns their phases.
    fn settle(&mut self, to: &str, state: MoveState) -> Vec<Phase> {
        let mut phases = Vec::new();
        for _ in 0..4 {
            let plan = self.plan(to, state);
            if plan.steps.is_empty() {
                return phases;
            }
            phases.extend(plan.phase);
            self.apply(&plan.steps);
        }
        panic!("the plan never becomes empty");
    }

    fn withheld(&self, to: &str, state: MoveState) -> BTreeSet<&'static str> {
        self.plan(to, state).withheld.iter().map(|w| w.why.as_str()).collect()
    }
}

#[test]
fn a_move_has_three_phases_and_then_nothing() {
    let mut world = World::new();
    let first = world.plan("green", MoveState::Moving);
    assert_eq!(
        first.to_string(),
        "prepare:\n  + add tag rnd-runner to runner 3 of green\n  + add tag rnd-runner to runner 4 of green\n  \
         - switch runner.company.test. CNAME from ingress.blue.company.test. (TTL 30 s) to \
         ingress.green.company.test. (TTL 30 s) (withheld: phase_before)\n  - remove tag rnd-runner from runner 1 of \
         blue (withheld: phase_before)\n  - remove tag rnd-runner from runner 2 of blue (withheld: phase_before)\n"
    );
    assert_eq!(world.settle("green", MoveState::Moving), [Phase::Prepare, Phase::Switch, Phase::Retire]);
    let last = world.plan("green", MoveState::Moving);
    assert!(last.complete && !last.drift, "{last}");
    assert_eq!(last.to_string(), "no step: what is decided has been seen true\n");
}

#[test]
fn the_name_follows_once_enough_of_the_new_holder_serves_and_the_old_one_keeps_its_tag_until_all_do() {
    let mut world = World::new();
    for id in 5..=8 {
        world.runners.push(runner(id, "green", false));
    }
    let first = world.plan("green", MoveState::Moving);
    world.apply(&first.steps[..2]);
    let few = world.plan("green", MoveState::Moving);
    assert_eq!(few.steps.iter().map(Step::kind).collect::<Vec<_>>(), ["add_tag"; 4], "2 of 6 serve: {few}");
    world.apply(&first.steps[2..3]);
    let half = world.plan("green", MoveState::Moving);
    assert_eq!(half.phase, Some(Phase::Prepare));
    assert_eq!(
        half.steps.iter().map(Step::kind).collect::<Vec<_>>(),
        ["add_tag", "add_tag", "add_tag", "switch_dns"],
        "{half}"
    );
    assert!(half.to_string().contains("switch:\n  + switch runner.company.test."), "{half}");
    world.apply(&half.steps[3..]);
    let left = world.plan("green", MoveState::Moving);
    assert_eq!(left.steps.iter().map(Step::kind).collect::<Vec<_>>(), ["add_tag"; 3], "{left}");
    assert!(!left.complete && world.withheld("green", MoveState::Moving).contains("phase_before"), "{left}");

    // One that is paused serves nobody.
    let mut world = World::new();
    let first = world.plan("green", MoveState::Moving);
    world.apply(&first.steps[..1]);
    world.runners[2].paused = true;
    let paused = world.plan("green", MoveState::Moving);
    assert_eq!(paused.steps.iter().map(Step::kind).collect::<Vec<_>>(), ["add_tag"], "{paused}");
}

#[test]
fn nothing_is_planned_from_what_could_not_be_seen() {
    let world = World::new();
    let fleet = &world.topology.fleets[&rnd()];
    let decision = decision(2, MoveKind::Failover, Some("blue"), "green", 0, MoveState::Moving);
    let blind = plan(fleet, &decision, STANDING, &Seen::Unknown("502".into()), Some(&world.dns));
    assert!(blind.steps.is_empty() && !blind.complete, "{blind}");

    let mut world = World::new();
    world.settle("green", MoveState::Moving);
    world.runners[0].tags.insert("rnd-runner".parse().unwrap());
    world.dns.primary = Seen::Unknown("timeout".into());
    let plan = world.plan("green", MoveState::Moving);
    assert!(
        plan.steps.is_empty() && !plan.complete,
        "the old holder keeps its tag while DNS is unknown: {plan}"
    );
}

#[test]
fn the_old_holder_keeps_the_tag_until_every_answering_server_agrees() {
    let mut world = World::new();
    world.settle("green", MoveState::Moving);
    world.runners[0].tags.insert("rnd-runner".parse().unwrap());
    world.dns.servers.insert("127.0.0.2:53".into(), Seen::Known(record_set("blue")));
    let plan = world.plan("green", MoveState::Moving);
    assert!(plan.steps.is_empty(), "{plan}");
    assert_eq!(
        plan.waiting.as_deref(),
        Some("runner.company.test. to be answered by 2 authoritative addresses (1 agree, 0 cannot be asked)")
    );
    // A server that died with its cluster is not waited for.
    world.dns.servers.insert("127.0.0.2:53".into(), Seen::Unknown("timeout".into()));
    assert_eq!(world.plan("green", MoveState::Moving).phase, Some(Phase::Retire));
}

#[test]
fn a_foreign_record_or_an_obstacle_is_not_overwritten() {
    let mut world = World::new();
    world.apply(&world.plan("green", MoveState::Moving).steps);
    world.dns.primary =
        Seen::Known(RecordSet { ttl: 30, values: BTreeSet::from(["elsewhere.test.".into()]) });
    let plan = world.plan("green", MoveState::Moving);
    assert!(plan.steps.is_empty() && plan.drift, "{plan}");
    assert!(world.withheld("green", MoveState::Moving).contains(Withheld::ForeignRecord.as_str()));
    world.dns.primary = Seen::Known(record_set("blue"));
    world.dns.obstacle = Some("external-dns owns it".into());
    assert!(world.plan("green", MoveState::Moving).steps.is_empty());
    assert!(world.withheld("green", MoveState::Moving).contains(Withheld::Obstacle.as_str()));
    world.dns.obstacle = None;
    world.dns.marker = Seen::Unknown("another form".into());
    assert!(world.plan("green", MoveState::Moving).steps.is_empty());
}

#[test]
fn after_the_move_a_returned_tag_is_taken_away_and_the_rest_is_only_reported() {
    let mut world = World::new();
    world.settle("green", MoveState::Moving);
    let back = runner(9, "blue", true);
    world.runners.push(back);
    let plan = world.plan("green", MoveState::Done);
    assert_eq!(plan.to_string(), "retire:\n  + remove tag rnd-runner from runner 9 of blue\n");
    assert!(plan.drift);
    world.apply(&plan.steps);

    // A person takes the tag from one of the holder's runners, and points the name elsewhere.
    world.runners.iter_mut().find(|r| r.id.0 == 3).unwrap().tags.remove(&"rnd-runner".parse().unwrap());
    world.dns.primary = Seen::Known(record_set("blue"));
    let plan = world.plan("green", MoveState::Done);
    assert!(plan.steps.is_empty() && plan.drift && !plan.complete, "{plan}");
    assert_eq!(world.withheld("green", MoveState::Done), BTreeSet::from([Withheld::Drift.as_str()]));
}

#[test]
fn a_latched_or_disabled_fleet_has_no_steps() {
    let world = World::new();
    assert_eq!(world.withheld("green", MoveState::Failed), BTreeSet::from([Withheld::Latched.as_str()]));
    assert!(world.plan("green", MoveState::Failed).steps.is_empty());
    let mut world = World::new();
    world.topology.fleets.get_mut(&rnd()).unwrap().enabled = false;
    let plan = world.plan("green", MoveState::Moving);
    assert!(plan.steps.is_empty() && !plan.complete, "{plan}");
    assert!(world.withheld("green", MoveState::Moving).contains(Withheld::NotEnabled.as_str()));
}

#[test]
fn nothing_is_taken_away_beside_a_holder_that_is_not_proven_able() {
    let mut world = World::new();
    world.settle("green", MoveState::Moving);
    world.runners[0].tags.insert("rnd-runner".parse().unwrap());
    let decision = decision(2, MoveKind::Failover, Some("blue"), "green", 0, MoveState::Done);
    let standing = Standing { holder_able: false, ..STANDING };
    let fleet = &world.topology.fleets[&rnd()];
    let plan = plan(fleet, &decision, standing, &Seen::Known(world.assigned()), Some(&world.dns));
    assert!(plan.steps.is_empty() && plan.drift, "{plan}");
}

#[test]
fn a_record_that_gitlab_does_not_show_keeps_a_move_from_being_done() {
    let mut world = World::new();
    let pool = world.topology.fleets.get_mut(&rnd()).unwrap().pools.get_mut(&cluster("blue")).unwrap();
    pool.selector = PoolSelector::Runners([1, 2, 7].map(RunnerId).into());
    assert_eq!(world.settle("green", MoveState::Moving), [Phase::Prepare, Phase::Switch, Phase::Retire]);
    let plan = world.plan("green", MoveState::Moving);
    assert!(!plan.complete, "{plan}");
    assert!(plan.waiting.as_deref().is_some_and(|w| w.starts_with("runner 7 of blue")), "{plan}");
}

#[test]
fn a_pause_stops_corrections_and_no_move_under_way() {
    let mut world = World::new();
    world.settle("green", MoveState::Moving);
    world.runners[0].tags.insert("rnd-runner".parse().unwrap());
    let fleet = &world.topology.fleets[&rnd()];
    for (state, steps) in [(MoveState::Done, 0), (MoveState::Moving, 1)] {
        let decision = decision(2, MoveKind::Failover, Some("blue"), "green", 0, state);
        let plan = plan(
            fleet,
            &decision,
            Standing { paused: true, ..STANDING },
            &Seen::Known(world.assigned()),
            Some(&world.dns),
        );
        assert_eq!(plan.steps.len(), steps, "{plan}");
        assert!(plan.drift);
    }
}

#[test]
fn parking_by_pause_pauses_the_old_pool_and_wakes_the_new_one() {
    let mut world = World::new();
    world.topology.fleets.get_mut(&rnd()).unwrap().park = Park::Pause;
    world.runners[2].paused = true;
    world.settle("green", MoveState::Moving);
    let paused: Vec<bool> = world.runners.iter().map(|r| r.paused).collect();
    assert_eq!(paused, [true, true, false, false]);
    // A person may unpause a parked runner later: that is theirs.
    world.runners[0].paused = false;
    assert!(world.plan("green", MoveState::Done).steps.is_empty());
}

#[test]
fn a_runner_that_a_person_paused_stays_paused() {
    let mut world = World::new();
    world.runners[2].paused = true;
    world.settle("green", MoveState::Moving);
    assert!(world.runners[2].paused);
    assert!(world.withheld("green", MoveState::Moving).contains(Withheld::PausedByPerson.as_str()));
}

/// Any fleet in any state: two to four clusters, zero to three runners each, tags and pauses anyhow.
fn anyhow() -> impl Strategy<Value = (World, String, bool)> {
    let clusters = ["blue", "green", "red", "grey"];
    let runners =
        prop::collection::vec((0..4usize, any::<bool>(), prop::bool::weighted(0.2), any::<bool>()), 0..10);
    (2..=4usize, runners, 0..4usize, 0..6usize, any::<bool>(), any::<bool>()).prop_map(
        move |(count, runners, to, dns, pause, moving)| {
            let names = &clusters[..count];
            let mut topology = topology(names);
            if pause {
                topology.fleets.get_mut(&rnd()).expect("a value").park = Park::Pause;
            }
            let runners = runners
                .into_iter()
                .zip(1..)
                .map(|((at, routing, paused, managed), id)| {
                    let mut runner = runner(id, names[at % count], routing);
                    runner.paused = paused;
                    if !managed {
                        runner.tags.retain(|t| t.as_str() == "rnd-runner");
                    }
                    runner
                })
                .collect();
            let view = match dns {
                4 => Seen::Unknown("timeout".to_owned()),
                5 => {
                    Seen::Known(RecordSet { ttl: 30, values: BTreeSet::from(["elsewhere.test.".to_owned()]) })
                }
                at => Seen::Known(record_set(names[at % count])),
            };
            let dns = DnsView {
                primary: view.clone(),
                marker: Seen::Absent,
                servers: [("127.0.0.1:53".to_owned(), view)].into(),
                obstacle: None,
            };
            (World { topology, runners, dns }, names[to % count].to_owned(), moving)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Re-planning after applying a plan yields nothing, within the three phases.
    #[test]
    fn applying_plans_converges((mut world, to, moving) in anyhow()) {
        let state = if moving { MoveState::Moving } else { MoveState::Done };
        world.settle(&to, state);
        prop_assert!(world.plan(&to, state).steps.is_empty());
    }

    /// A step never takes the tag from the last runner that carries it and can take jobs.
    #[test]
    fn the_last_serving_pool_is_never_emptied((mut world, to, moving) in anyhow()) {
        let state = if moving { MoveState::Moving } else { MoveState::Done };
        let tag = "rnd-runner".parse().unwrap();
        for _ in 0..4 {
            let serves = |w: &World| {
                w.assigned().pools.values().flatten().any(|r| !r.paused && r.tags.contains(&tag))
            };
            let before = serves(&world);
            let plan = world.plan(&to, state);
            for step in plan.steps {
                // Any single step may be the last one that happens.
                world.apply(std::slice::from_ref(&step));
                prop_assert!(!before || serves(&world), "{step}");
            }
        }
    }

    /// Foreign runners, tags and names are never touched, and only the first phase with work is planned; the name may
    /// follow beside what is left to prepare, once enough serves.
    #[test]
    fn nothing_unmanaged_is_touched((world, to, moving) in anyhow()) {
        let state = if moving { MoveState::Moving } else { MoveState::Done };
        let assigned = world.assigned();
        let plan = world.plan(&to, state);
        for step in &plan.steps {
            match step {
                Step::Tag(step) => {
                    prop_assert_eq!(step.tag.as_str(), "rnd-runner");
                    let pool = &assigned.pools[&step.cluster];
                    prop_assert!(pool.iter().any(|r| r.id == step.runner));
                    let wanted = if step.cluster == cluster(&to) { TagChange::Add } else { TagChange::Remove };
                    prop_assert_eq!(step.change, wanted);
                }
                Step::Dns(step) => {
                    prop_assert_eq!(&step.name, "runner.company.test.");
                    prop_assert_eq!(&step.to, &record_set(&to));
                }
            }
        }
        let kinds: Vec<&str> =
            plan.steps.iter().map(Step::kind).collect::<BTreeSet<_>>().into_iter().collect();
        prop_assert!(kinds.len() <= 1 || kinds == ["add_tag", "switch_dns"], "{plan}");
        if kinds.contains(&"switch_dns") {
            let fleet = &world.topology.fleets[&rnd()];
            let pool = &assigned.pools[&cluster(&to)];
            let serving = pool.iter().filter(|r| !r.paused && r.tags.contains(&fleet.routing_tag)).count();
            prop_assert!(serving > 0, "{plan}");
            prop_assert!(
                kinds == ["switch_dns"] || serving as f64 >= fleet.thresholds.failover * pool.len() as f64,
                "{plan}"
            );
        }
        prop_assert!(!plan.complete || plan.steps.is_empty());
    }
}

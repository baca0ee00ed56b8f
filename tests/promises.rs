//! The promises of the README, one by one. Each runs the real loop on the real store; only the world is one of values.

use switchyard::{
    decide::Outcome,
    model::{Action, Gate, MoveState, RunnerId, SignalState, SignedDuration, Step, StepOutcome, TagChange},
    reconcile::Wake,
    store::HistoryEntry,
    world::sim::{PrometheusFault, WriteFault},
};
use switchyard_lab::{
    harness::Harness,
    values::{cluster, pause, rnd, signal},
};

const GREEN: &str = "ingress.green.company.test.";
const BLUE: &str = "ingress.blue.company.test.";

async fn adopted() -> Harness {
    let mut harness = Harness::new().await;
    harness.pass().await;
    assert_eq!(harness.fleet().outcome, Outcome::Adopted);
    harness
}

async fn failed_over() -> Harness {
    let mut harness = adopted().await;
    harness.blue_dies().await;
    let fleet = harness.settle().await;
    assert_eq!(fleet.intended_holder.map(|c| c.to_string()), Some("green".to_owned()), "{}", fleet.sentence);
    assert_eq!(harness.holders(), ["green"]);
    assert_eq!(harness.world.dns(&rnd()), GREEN);
    harness
}

/// What happened in the world, as `+3` (tag added to runner 3), `-1`, `dns`.
fn happened(harness: &Harness) -> Vec<String> {
    let say = |step: &Step| match step {
        Step::Tag(step) if step.change == TagChange::Add => format!("+{}", step.runner),
        Step::Tag(step) => format!("-{}", step.runner),
        Step::Dns(_) => "dns".to_owned(),
    };
    harness.happened().iter().map(say).collect()
}

#[tokio::test]
async fn promise_1_only_to_a_cluster_proven_able_and_never_without_a_holder() {
    let mut harness = adopted().await;
    harness.blue_dies().await;
    for shares in
        [&[("blue", 0.0), ("green", 0.5)][..], &[("blue", 0.0), ("green", f64::NAN)], &[("blue", 0.0)]]
    {
        harness.alive(shares);
        harness.settle().await;
        assert_eq!(happened(&harness), [""; 0], "{shares:?}: {}", harness.fleet().sentence);
    }
    harness.alive(&[("blue", 0.0), ("green", 1.0)]);
    harness.settle().await;
    assert_eq!(
        happened(&harness),
        ["+3", "+4", "dns", "-1", "-2"],
        "the standby first, the failed side last"
    );
}

#[tokio::test]
async fn promise_1_the_failed_side_keeps_the_tag_while_the_standby_cannot_be_tagged() {
    let mut harness = adopted().await;
    harness.blue_dies().await;
    harness.writes(Some(WriteFault::Refused));
    harness.settle().await;
    assert_eq!(happened(&harness), [""; 0]);
    assert_eq!(harness.holders(), ["blue"]);
    assert!(harness.fleet().moving);
}

/// GitLab takes at most 50 tags on a runner.
fn fill(runner: &mut switchyard::model::Runner) {
    runner.tags.extend((0..49).map(|n| format!("extra-{n}").parse().expect("a tag")));
}

#[tokio::test]
async fn promise_1_one_refused_record_keeps_neither_the_name_at_the_dead_cluster_nor_the_tag_from_the_others()
{
    let mut harness = adopted().await;
    harness.blue_dies().await;
    harness.change_runner(4, fill);
    harness.settle().await;
    assert_eq!(happened(&harness), ["+3", "dns"], "{:?}", harness.fleet().plan);
    assert_eq!(harness.world.dns(&rnd()), GREEN);
    assert_eq!(
        harness.holders(),
        ["blue", "green"],
        "the failed side keeps the tag until all of green have it"
    );
    assert!(harness.fleet().moving);
    harness.change_runner(4, |runner| runner.tags.retain(|tag| !tag.as_str().starts_with("extra-")));
    for _ in 0..3 {
        harness.world.pass(10);
        harness.settle().await;
    }
    assert_eq!(happened(&harness), ["+3", "dns", "+4", "-1", "-2"]);
}

/// Somebody moved the tag in GitLab; when the cluster that carries it dies, that is a failover like any other.
#[tokio::test]
async fn promise_3_a_fleet_moved_by_hand_stays_and_leaves_only_a_cluster_that_died() {
    let mut harness = adopted().await;
    for (runner, has) in [(1, false), (2, false), (3, true), (4, true)] {
        harness.change_runner(runner, |runner| {
            let tag: switchyard::model::Tag = "rnd-runner".parse().expect("a tag");
            if has {
                runner.tags.insert(tag)
            } else {
                runner.tags.remove(&tag)
            };
        });
    }
    harness.settle().await;
    assert_eq!(harness.fleet().outcome, Outcome::Drifted, "{}", harness.fleet().sentence);
    assert_eq!(happened(&harness), [""; 0], "nobody fights it");

    let since = harness.second() - 60;
    harness.hear(signal(Action::Failover, Some("green"), since, SignalState::Firing)).await;
    harness.settle().await;
    assert_eq!(harness.fleet().outcome, Outcome::Held(Gate::Confirmed), "{}", harness.fleet().sentence);
    harness.alive(&[("blue", 0.5), ("green", 0.0)]);
    harness.settle().await;
    assert_eq!(harness.fleet().outcome, Outcome::Held(Gate::TargetAble), "{}", harness.fleet().sentence);
    assert_eq!(happened(&harness), [""; 0]);
    harness.alive(&[("blue", 1.0), ("green", 0.0)]);
    harness.settle().await;
    assert_eq!(happened(&harness), ["+1", "+2", "-3", "-4"], "{}", harness.fleet().sentence);
    let decision = harness.decision().await.expect("a decision");
    assert_eq!((decision.from, decision.to), (Some(cluster("green")), cluster("blue")));
    assert_eq!(
        decision.reason,
        "green fails rnd: SwitchyardFailover (green carries the tag by hand, blue should)"
    );
}

#[tokio::test]
async fn promise_3_one_command_keeps_what_was_moved_by_hand_or_takes_it_back() {
    for (to, steps) in [("green", vec!["dns"]), ("blue", vec!["+1", "+2", "-3", "-4"])] {
        let mut harness = adopted().await;
        for runner in 1..=4 {
            harness.change_runner(runner, |runner| {
                let tag: switchyard::model::Tag = "rnd-runner".parse().expect("a tag");
                if !runner.tags.remove(&tag) {
                    runner.tags.insert(tag);
                }
            });
        }
        harness.settle().await;
        let said = harness.fleet().sentence;
        assert!(
            said.contains(&format!("`switchyard switch rnd --from blue --to {to} --reason …`")),
            "{said}"
        );
        harness.request(Some("blue"), to).await;
        harness.settle().await;
        assert_eq!(happened(&harness), steps, "{to}: {}", harness.fleet().sentence);
        assert_eq!(harness.fleet().outcome, Outcome::Steady, "{}", harness.fleet().sentence);
        // Nothing is left to set right.
        let id = harness.request(Some(to), to).await;
        harness.settle().await;
        assert_eq!(harness.status.borrow().answers[&id].outcome, Outcome::Steady);
    }
}

#[tokio::test]
async fn promise_2_a_partial_answer_blocks() {
    let mut harness = adopted().await;
    harness.blue_dies().await;
    harness.world.state().break_prometheus(0, Some(PrometheusFault::Partial), None);
    harness.settle().await;
    assert_eq!(happened(&harness), [""; 0]);
    assert_eq!(harness.fleet().outcome, Outcome::Held(Gate::EyesOpen));
    assert!(harness.fleet().sentence.contains("answered with a warning"), "{}", harness.fleet().sentence);
    harness.world.state().break_prometheus(0, None, None);
    harness.settle().await;
    assert_eq!(harness.holders(), ["green"]);
}

#[tokio::test]
async fn promise_2_missing_stale_or_contradictory_data_blocks() {
    for shares in [&[][..], &[("green", 1.0)], &[("blue", f64::NAN), ("green", 1.0)]] {
        let mut harness = adopted().await;
        harness.blue_dies().await;
        harness.alive(shares);
        harness.settle().await;
        assert_eq!(happened(&harness), [""; 0], "{shares:?}");
        assert!(matches!(harness.fleet().outcome, Outcome::Held(_)), "{}", harness.fleet().sentence);
    }
    // Stale: the watchdog has not been heard of for longer than allowed.
    let mut harness = adopted().await;
    harness.world.pass(601);
    harness.blue_dies().await;
    harness.settle().await;
    assert_eq!(harness.fleet().outcome, Outcome::Held(Gate::EyesOpen));
    assert_eq!(happened(&harness), [""; 0]);
    // It comes back, and with it the failover; unless the samples are stale.
    harness.poll().await;
    harness.world.state().sample_age = SignedDuration::from_secs(121);
    harness.settle().await;
    assert_eq!(harness.fleet().outcome, Outcome::Held(Gate::EyesOpen));
    assert_eq!(happened(&harness), [""; 0]);
    harness.world.state().sample_age = SignedDuration::ZERO;
    harness.settle().await;
    assert_eq!(harness.holders(), ["green"]);
}

#[tokio::test]
async fn promise_3_an_outage_of_gitlab_or_prometheus_or_a_restart_moves_nothing() {
    let mut harness = adopted().await;
    harness.world.state().gitlab.down = true;
    harness.settle().await;
    assert_eq!(harness.fleet().outcome, Outcome::Blind);
    harness.blue_dies().await;
    harness.settle().await;
    assert_eq!(
        harness.fleet().outcome,
        Outcome::Held(Gate::GitlabReachable),
        "not even while the alert fires"
    );
    harness.world.state().gitlab.down = false;

    harness.alive(&[]);
    harness.settle().await;
    assert_eq!(harness.fleet().outcome, Outcome::Held(Gate::EyesOpen));

    let mut harness = harness.restart().await;
    harness.alive(&[("blue", 1.0), ("green", 1.0)]);
    harness.settle().await;
    assert_eq!(happened(&harness), [""; 0]);
    assert_eq!(harness.fleet().generation.0, 1, "nothing was decided");
}

#[tokio::test]
async fn promise_4_one_move_at_a_time_one_per_cool_down_and_a_failed_one_latches() {
    // One at a time: green dies, too, while the move is under way; the move is not given up for another one.
    let mut harness = adopted().await;
    harness.blue_dies().await;
    harness.writes(Some(WriteFault::Refused));
    harness.pass().await;
    harness.request(Some("green"), "blue").await;
    harness.pass().await;
    assert_eq!(harness.moves().await, 1);

    // A failed move latches.
    let deadline = harness.topology.fleets[&rnd()].move_deadline.as_secs();
    for _ in 0..=deadline / 60 {
        harness.poll().await;
        harness.world.pass(60);
        harness.pass().await;
    }
    assert!(harness.fleet().latched, "{}", harness.fleet().sentence);
    harness.writes(None);
    harness.settle().await;
    assert_eq!(happened(&harness), [""; 0], "latched: not even the steps that were left");
    harness.acknowledge("green").await;
    harness.request(Some("green"), "green").await;
    harness.settle().await;
    assert_eq!(harness.holders(), ["green"], "{}", harness.fleet().sentence);

    // One per cool-down.
    let mut harness = failed_over().await;
    harness.alive(&[("blue", 1.0), ("green", 0.0)]);
    harness.world.pass(90);
    let since = harness.second() - 60;
    let blue = harness.store.load(harness.now()).await.unwrap().signals;
    for mut resolved in blue.into_iter().filter(|s| s.action == Action::Failover) {
        resolved.state = SignalState::Resolved;
        harness.hear(resolved).await;
    }
    harness.hear(signal(Action::Failover, Some("green"), since, SignalState::Firing)).await;
    harness.settle().await;
    assert_eq!(harness.fleet().outcome, Outcome::Held(Gate::CooledDown), "{}", harness.fleet().sentence);
    harness.world.pass(1800);
    harness.poll().await;
    harness.settle().await;
    assert_eq!(harness.holders(), ["blue"]);
}

#[tokio::test]
async fn promise_4_a_budget_over_all_fleets() {
    let mut topology = switchyard_lab::values::topology(&["blue", "green"]);
    topology.limits.budget.moves = 0;
    let mut harness = Harness::with(topology).await;
    harness.pass().await;
    harness.blue_dies().await;
    harness.settle().await;
    assert_eq!(harness.fleet().outcome, Outcome::Held(Gate::Budget));
    assert_eq!(happened(&harness), [""; 0]);
}

#[tokio::test]
async fn promise_5_a_crash_anywhere_converges_and_every_step_is_safe_to_repeat() {
    let whole = happened(&failed_over().await);
    for fault in [None, Some(WriteFault::LostReply), Some(WriteFault::LostRequest)] {
        for crash_after in 0..6 {
            let mut harness = adopted().await;
            harness.blue_dies().await;
            harness.writes(fault);
            for _ in 0..crash_after {
                harness.world.pass(1);
                harness.pass().await;
            }
            let mut harness = harness.restart().await;
            harness.writes(None);
            harness.settle().await;
            assert_eq!(harness.holders(), ["green"], "{fault:?} {crash_after}");
            assert_eq!(harness.world.dns(&rnd()), GREEN);
            assert_eq!(harness.moves().await, 1, "no second move");
            assert_eq!(
                happened(&harness),
                whole,
                "every change happened once: {fault:?}, crash after {crash_after}"
            );
            let unknown = harness.history().await.iter().any(
                |e| matches!(e, HistoryEntry::Step(s) if matches!(s.outcome, Some(StepOutcome::Unknown(_)))),
            );
            assert_eq!(unknown, fault.is_some() && crash_after > 0, "a lost answer is unknown, never failed");
        }
    }
}

#[tokio::test]
async fn promise_6_a_cluster_that_comes_back_half_alive_takes_no_jobs() {
    let mut harness = failed_over().await;
    harness.alive(&[("blue", 0.5), ("green", 1.0)]);
    // It registers anew, with the routing tag from its own configuration.
    let fleet = &harness.topology.fleets[&rnd()];
    harness.world.state().add_runner(fleet, &cluster("blue"), RunnerId(9), true);
    harness.settle().await;
    assert_eq!(harness.holders(), ["green"]);
    assert_eq!(happened(&harness).last().map(String::as_str), Some("-9"));
    assert_eq!(harness.moves().await, 1);
}

#[tokio::test]
async fn promise_7_resolved_is_not_recovered() {
    let mut topology = switchyard_lab::values::topology(&["blue", "green"]);
    let dwell = SignedDuration::from_mins(40);
    topology.fleets.get_mut(&rnd()).unwrap().failback = switchyard::model::Failback::After(dwell);
    let mut harness = Harness::with(topology).await;
    harness.pass().await;
    harness.blue_dies().await;
    harness.settle().await;
    let signals = harness.store.load(harness.now()).await.unwrap().signals;
    for mut resolved in signals.into_iter().filter(|s| s.action == Action::Failover) {
        resolved.state = SignalState::Resolved;
        harness.hear(resolved).await;
    }
    harness.alive(&[("blue", 1.0), ("green", 1.0)]);
    harness.world.pass(7200);
    harness.poll().await;
    harness.settle().await;
    assert_eq!(harness.holders(), ["green"], "the alert has ended, and that is all");

    let since = harness.second();
    harness.hear(signal(Action::Failback, Some("blue"), since, SignalState::Firing)).await;
    harness.world.pass(dwell.as_secs() - 60);
    harness.poll().await;
    harness.settle().await;
    assert_eq!(harness.holders(), ["green"], "well, but not for long enough");
    harness.world.pass(60);
    harness.poll().await;
    harness.settle().await;
    assert_eq!(harness.holders(), ["blue"]);
    assert_eq!(harness.world.dns(&rnd()), BLUE);
}

/// Not promised: exactly-once writes. What is promised instead is that a write is read back: a step that said "done"
/// and did not last is seen, and taken again.
#[tokio::test]
async fn promise_8_a_write_that_did_not_last_is_seen_and_repeated() {
    let mut harness = adopted().await;
    harness.blue_dies().await;
    harness.pass().await;
    // Somebody else's read-modify-write, begun before ours, takes the tag away again.
    harness.change_runner(3, |runner| {
        runner.tags.remove(&"rnd-runner".parse().unwrap());
    });
    harness.settle().await;
    assert_eq!(happened(&harness), ["+3", "+4", "+3", "dns", "-1", "-2"]);
    assert_eq!(harness.decision().await.unwrap().state, MoveState::Done);
}

/// An alert that ends while it is silenced never says so: what nobody repeats does not count for ever.
#[tokio::test]
async fn promise_7_a_signal_that_nobody_repeats_counts_no_more() {
    let mut harness = adopted().await;
    let long_ago = harness.second() - 5 * 24 * 3600;
    for (action, cluster) in
        [(Action::Failover, "blue"), (Action::Failover, "green"), (Action::Failback, "blue")]
    {
        harness.hear(signal(action, Some(cluster), long_ago, SignalState::Firing)).await;
    }
    harness.world.pass(901);
    harness.hear(signal(Action::Watchdog, None, 0, SignalState::Firing)).await;
    harness.alive(&[("blue", 0.0), ("green", 1.0)]);
    harness.settle().await;
    assert_eq!(
        happened(&harness),
        [""; 0],
        "blue dipped, and no alert fires now: {}",
        harness.fleet().sentence
    );
    // Nor does the one about green stand in the way when blue really dies.
    let since = harness.second() - 60;
    let mut dies = signal(Action::Failover, Some("blue"), since, SignalState::Firing);
    dies.key.fingerprint = "another".to_owned();
    harness.hear(dies).await;
    harness.settle().await;
    assert_eq!(harness.holders(), ["green"], "{}", harness.fleet().sentence);
}

/// A person who gives the tag to a living cluster, while the holder is dead and the failover is held, is not fought.
#[tokio::test]
async fn promise_1_a_rescue_by_hand_is_not_undone_while_the_holder_is_dead() {
    let mut harness = adopted().await;
    harness.world.pass(601);
    harness.blue_dies().await;
    harness.change_runner(3, |runner| {
        runner.tags.insert("rnd-runner".parse().unwrap());
    });
    harness.settle().await;
    assert_eq!(harness.fleet().outcome, Outcome::Held(Gate::EyesOpen));
    assert_eq!(happened(&harness), [""; 0], "{:?}", harness.fleet().plan);
    assert_eq!(harness.holders(), ["blue", "green"]);
}

#[tokio::test]
async fn steps_that_are_refused_are_not_hammered() {
    let mut harness = adopted().await;
    harness.blue_dies().await;
    harness.writes(Some(WriteFault::Refused));
    for _ in 0..60 {
        harness.world.pass(1);
        assert_ne!(harness.pass().await, Wake::Now);
    }
    let steps = harness.history().await.iter().filter(|e| matches!(e, HistoryEntry::Step(_))).count();
    assert!((2..=14).contains(&steps), "two steps at most every ten seconds, not {steps} in a minute");
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_delay_the_next_try() {
    let mut harness = adopted().await;
    harness.blue_dies().await;
    harness.writes(Some(WriteFault::LostRequest));
    for _ in 0..4 {
        harness.pass().await;
    }
    assert_eq!(happened(&harness), [""; 0]);
    harness.writes(None);
    harness.world.pass(-3600);
    harness.settle().await;
    assert_eq!(harness.holders(), ["green"], "{:?}", harness.fleet().plan);
}

#[tokio::test]
async fn a_move_of_a_fleet_that_is_no_longer_configured_does_not_hurry_the_loop() {
    let mut harness = adopted().await;
    harness.blue_dies().await;
    harness.writes(Some(WriteFault::LostRequest));
    harness.pass().await;
    assert!(harness.fleet().moving);
    harness.topology.fleets.clear();
    let mut harness = harness.restart().await;
    assert_eq!(harness.pass().await, Wake::In(std::time::Duration::from_secs(10)));
}

/// A pause counts from the moment it is answered, also when a pass that began before wants to tidy up.
#[tokio::test]
async fn a_pause_holds_back_a_correction_that_was_planned_before_it() {
    use switchyard::{model::Fence, store::Started};
    let mut harness = failed_over().await;
    let fleet = &harness.topology.fleets[&rnd()];
    harness.world.state().add_runner(fleet, &cluster("blue"), RunnerId(9), true);
    let steps = |harness: &Harness| harness.fleet().plan.map(|plan| plan.steps).unwrap_or_default();
    harness.writes(Some(WriteFault::LostRequest));
    harness.pass().await;
    let planned = steps(&harness);
    assert_eq!(planned.len(), 1, "runner 9 loses the tag");
    harness.set(pause(Some(rnd()), harness.now())).await;
    let fence = Fence::new(rnd(), harness.fleet().generation);
    let started = harness.store.steps_started(&fence, &planned, harness.now()).await.unwrap();
    assert_eq!(started, Started::Paused);
    let begun = harness.store.unfinished_steps().await.unwrap();
    assert_eq!(begun, [], "nothing was written");

    // A move that is under way goes on.
    let mut harness = adopted().await;
    harness.blue_dies().await;
    harness.pass().await;
    harness.set(pause(None, harness.now())).await;
    harness.settle().await;
    assert_eq!(harness.holders(), ["green"], "{}", harness.fleet().sentence);
}

#[tokio::test]
async fn a_refused_request_is_answered_and_written_down_and_the_fleet_keeps_its_sentence() {
    let mut harness = adopted().await;
    harness.pass().await;
    let own = harness.fleet().sentence;
    let id = harness.request(Some("green"), "blue").await;
    harness.pass().await;
    assert_eq!(harness.fleet().sentence, own);
    assert_eq!(harness.status.borrow().answers[&id].outcome, Outcome::UnexpectedHolder);
    let told = harness.history().await.into_iter().any(|entry| {
        matches!(entry, HistoryEntry::Event { event, .. }
            if event.author.as_deref() == Some("ada") && event.outcome == "unexpected_holder")
    });
    assert!(told, "{:#?}", harness.history().await);
}

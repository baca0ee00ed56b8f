//! The decision as a pure function: values in, one word and one sentence out.

use jiff::tz::TimeZone;
mod people;

use switchyard::{
    decide::{Outcome, judges},
    model::{
        Action, Answer, Approval, Consent, Drain, DrainPolicy, Failback, Gate, Generation, Leadership,
        Marker, MoveKind, MoveState, Park, Pipeline, Proposal, ProposalAnswer, Question, Require, Seen,
        SignalState, SignedDuration, Timestamp, Window,
    },
};
use switchyard_lab::values::{Case, NOW, at, cluster, decision, pause, rnd, runner, signal, topology};

/// What the case comes to, without its times.
fn outcome(case: &Case) -> Outcome {
    case.decide().outcome
}

#[test]
fn a_dead_holder_and_an_able_standby_make_a_failover() {
    let pass = Case::blue_dies().decide();
    assert_eq!(
        pass.sentence,
        "rnd: failover from blue to green, because blue fails rnd: SwitchyardFailover."
    );
    let decision = pass.decision.expect("a decision");
    assert_eq!((decision.kind, decision.generation.0), (MoveKind::Failover, 2));
    assert_eq!((decision.from, decision.to), (Some(cluster("blue")), cluster("green")));
    assert_eq!(decision.state, MoveState::Moving);
    assert!(decision.gates.iter().all(|g| g.open), "{:#?}", decision.gates);
    assert_eq!(decision.gates.len(), Gate::ALL.len());
}

/// What a person's request comes to.
fn asked(case: &Case) -> Outcome {
    case.decide().answers.pop().expect("every request is answered by the pass that sees it").outcome
}

const DRAIN: Drain = Drain {
    deadline: SignedDuration::from_mins(30),
    look_back: SignedDuration::from_hours(48),
    policy: DrainPolicy::Hold,
};

/// A window that is closed at `NOW`, which is a Friday at 08:16 in UTC.
fn never(kinds: &[MoveKind]) -> Window {
    Window {
        times: vec!["Fri 09:00-10:00".parse().expect("a time")],
        time_zone: TimeZone::UTC,
        applies_to: kinds.iter().copied().collect(),
    }
}

/// One way to close each gate, everything else as in the failover above.
fn closed(gate: Gate) -> Case {
    let mut case = Case::blue_dies();
    match gate {
        Gate::Enabled => case.fleet().enabled = false,
        Gate::Leader => case.leadership = Leadership::StandsBy { leader: None },
        Gate::NotPaused => case.overrides.push(pause(None, at(0))),
        // A decision that is moving is a move under way.
        Gate::SingleFlight => {
            case.decisions
                .insert(rnd(), decision(2, MoveKind::Switchover, None, "blue", NOW - 9, MoveState::Moving));
        }
        Gate::NotLatched => {
            case.decisions.insert(rnd(), decision(2, MoveKind::Failover, None, "blue", 0, MoveState::Failed));
        }
        Gate::EyesOpen => case.signals.retain(|s| s.action != Action::Watchdog),
        Gate::GitlabReachable => case.says(Question::GitlabUnreachable, &[("green", 1.0)]),
        Gate::NotCommonCause => case.says(Question::Alive, &[("blue", 0.0), ("green", 0.0)]),
        Gate::SignalHeld => case.signals[1].key.starts_at = at(NOW - 14),
        Gate::Confirmed => case.says(Question::Alive, &[("blue", 1.0), ("green", 1.0)]),
        Gate::TargetAble => case.says(Question::AbleCount, &[("blue", 0.0), ("green", 0.0)]),
        Gate::TargetStronger => case.says(Question::Able, &[("blue", 0.9), ("green", 1.0)]),
        Gate::CooledDown => {
            case.moves.push(decision(1, MoveKind::Switchover, None, "blue", NOW - 1700, MoveState::Done));
        }
        Gate::Budget => {
            case.topology.limits.budget.moves = 0;
        }
        // Closed for planned moves and the way home; for a failover only where that is configured.
        Gate::Window => case.fleet().window = Some(never(&[MoveKind::Failover, MoveKind::Switchover])),
        Gate::Drained => case.fleet().drain = Some(DRAIN),
        Gate::Approved => case.fleet().approval = Approval::Required(SignedDuration::from_hours(1)),
    }
    case
}

#[test]
fn every_gate_alone_holds_a_failover_back() {
    for gate in Gate::ALL.into_iter().filter(|gate| judges(MoveKind::Failover, *gate)) {
        let pass = closed(gate).decide();
        assert!(pass.decision.is_none(), "{gate} did not hold");
        let wanted = if gate == Gate::SingleFlight { Outcome::Moving } else { Outcome::Held(gate) };
        assert_eq!(pass.outcome, wanted, "{}", pass.sentence);
        let closed: Vec<Gate> = pass.gates.iter().filter(|g| !g.open).map(|g| g.gate).collect();
        assert!(closed.contains(&gate), "{gate}: {closed:?}");
    }
}

#[test]
fn a_planned_move_is_judged_by_what_keeps_it_safe_and_by_nothing_else() {
    let asked: Vec<Gate> = Gate::ALL.into_iter().filter(|g| judges(MoveKind::Switchover, *g)).collect();
    assert_eq!(
        asked,
        [
            Gate::Enabled,
            Gate::Leader,
            Gate::SingleFlight,
            Gate::NotLatched,
            Gate::GitlabReachable,
            Gate::TargetAble,
            Gate::Window,
            Gate::Drained
        ]
    );
    for gate in Gate::ALL {
        let mut case = closed(gate);
        case.request(Some("blue"), "green");
        if gate == Gate::Drained {
            // Before its deadline it is not refused: it waits.
            assert!(case.decide().waiting.is_some());
            case.requests[0].waiting_since = Some(at(NOW - 1800));
        }
        let judged = judges(MoveKind::Switchover, gate);
        let wanted = if judged { Outcome::Held(gate) } else { Outcome::Decided };
        let mut pass = case.decide();
        let answer = pass.answers.pop().expect("an answer");
        assert_eq!((answer.request, answer.outcome), (1, wanted), "{gate}: {}", answer.sentence);
        let planned = pass.decision.is_some_and(|d| d.kind == MoveKind::Switchover);
        assert_eq!(planned, !judged, "{gate}");
    }
}

#[test]
fn a_person_names_the_holder_they_expect() {
    let mut case = Case::blue_holds();
    case.request(Some("green"), "blue");
    assert_eq!(asked(&case), Outcome::UnexpectedHolder);
    case.requests.clear();
    case.request(None, "green");
    assert_eq!(asked(&case), Outcome::UnexpectedHolder);
    case.requests.clear();
    case.request(Some("blue"), "red");
    assert_eq!(asked(&case), Outcome::UnknownCluster);
    case.requests.clear();
    case.request(Some("blue"), "blue");
    assert_eq!(asked(&case), Outcome::Steady);
    case.requests.clear();
    case.request(Some("blue"), "green");
    let decision = case.decide().decision.expect("a decision");
    assert_eq!((decision.kind, decision.author.as_str()), (MoveKind::Switchover, "ada"));
}

#[test]
fn every_request_is_answered_by_the_pass_that_sees_it() {
    let mut case = Case::blue_holds();
    case.request(Some("blue"), "green");
    case.evidence().managers.insert("s_1".into(), [cluster("blue"), cluster("green")].into());
    assert_eq!(asked(&case), Outcome::SharedRunner);

    let mut case = Case::blue_holds();
    case.request(None, "green");
    case.decisions.clear();
    case.observation.runners = Seen::Unknown("502".into());
    assert_eq!(asked(&case), Outcome::Blind, "and not carried out when GitLab is back");

    let mut case = Case::blue_holds();
    case.request(Some("blue"), "green");
    case.requests[0].at = at(NOW - 61);
    assert_eq!(asked(&case), Outcome::Expired, "asked of a process that was not there");
    assert!(case.decide().decision.is_none());
}

#[test]
fn a_failed_move_is_tried_again_by_a_person_once_acknowledged() {
    let mut case = Case::blue_holds();
    let mut failed = decision(2, MoveKind::Failover, Some("blue"), "green", 0, MoveState::Failed);
    case.decisions.insert(rnd(), failed.clone());
    case.request(Some("green"), "green");
    assert_eq!(asked(&case), Outcome::Held(Gate::NotLatched));
    failed.acknowledged_at = Some(at(10));
    case.decisions.insert(rnd(), failed);
    let again = case.decide().decision.expect("a decision");
    assert_eq!((again.from, again.to), (Some(cluster("blue")), cluster("green")));
}

#[test]
fn what_is_found_is_adopted_and_moved_by_nobody() {
    let mut case = Case::blue_holds();
    case.decisions.clear();
    let pass = case.decide();
    assert_eq!(pass.outcome, Outcome::Adopted);
    let decision = pass.decision.expect("a decision");
    assert_eq!(
        (decision.kind, decision.state, decision.to),
        (MoveKind::Adopt, MoveState::Done, cluster("blue"))
    );

    *case.runners() = vec![runner(1, "blue", false), runner(3, "green", false)];
    assert_eq!(outcome(&case), Outcome::NoHolder);
    *case.runners() = vec![runner(1, "blue", true), runner(3, "green", true)];
    assert_eq!(outcome(&case), Outcome::SeveralHolders);
    case.request(None, "green");
    assert_eq!(outcome(&case), Outcome::Decided, "a person says which one");
    case.observation.runners = Seen::Unknown("502".into());
    assert_eq!((outcome(&case), asked(&case)), (Outcome::Blind, Outcome::Blind));
}

#[test]
fn a_refusal_is_told_to_the_person_and_the_fleet_keeps_its_own_sentence() {
    let mut case = Case::blue_holds();
    let own = case.decide();
    case.request(Some("green"), "blue");
    let mut pass = case.decide();
    assert_eq!((pass.outcome, &pass.sentence), (own.outcome, &own.sentence));
    let sentence = pass.answers.pop().expect("an answer").sentence;
    assert_eq!(sentence, "rnd is held by blue, not by green as the request expects: nothing was done.");

    // Nor does a wrong request keep Switchyard from what an alert asks for.
    let mut case = Case::blue_dies();
    case.request(Some("green"), "blue");
    assert_eq!((outcome(&case), asked(&case)), (Outcome::Decided, Outcome::UnexpectedHolder));
}

#[test]
fn an_alert_that_names_no_usable_target_is_told_so() {
    let said = |target: &str| {
        let mut case = Case::blue_dies();
        case.signals[1].target = Some(cluster(target));
        let pass = case.decide();
        assert_eq!(pass.outcome, Outcome::Held(Gate::TargetAble));
        pass.sentence
    };
    let held = "rnd: failover from blue held by target_able: the alert names";
    assert_eq!(said("blue"), format!("{held} blue as the target, and that is the cluster that fails."));
    assert_eq!(said("red"), format!("{held} red as the target, and rnd has no pool there."));
}

#[test]
fn a_lost_store_begins_above_what_the_owner_marker_knows() {
    let mut case = Case::blue_holds();
    case.decisions.clear();
    let marker = Marker { owner: "switchyard".into(), generation: Generation(41), text: String::new() };
    case.observation.dns.get_mut(&rnd()).unwrap().marker = Seen::Known(marker);
    assert_eq!(case.decide().decision.expect("a decision").generation, Generation(42));
}

#[test]
fn a_fleet_held_by_hand_elsewhere_has_drifted() {
    let mut case = Case::blue_holds();
    *case.runners() = vec![runner(1, "blue", false), runner(3, "green", true)];
    let pass = case.decide();
    assert_eq!(pass.outcome, Outcome::Drifted);
    assert_eq!(
        pass.sentence,
        "rnd has drifted: blue shall hold it, green carries the tag rnd-runner; keep that with `switchyard switch rnd \
         --from blue --to green --reason …`, or take it back with `switchyard switch rnd --from blue --to blue --reason …`."
    );
    *case.runners() = vec![runner(1, "blue", false), runner(3, "green", false)];
    assert_eq!(
        case.decide().sentence,
        "rnd has drifted: blue shall hold it, nobody carries the tag rnd-runner; give it back with `switchyard switch rnd \
         --from blue --to blue --reason …`."
    );
}

#[test]
fn a_fleet_held_by_hand_elsewhere_fails_over_from_there() {
    // Green died, and carries the tag.
    let mut case = Case::blue_holds();
    *case.runners() = vec![runner(1, "blue", false), runner(3, "green", true)];
    for question in [Question::Alive, Question::Able, Question::AbleCount] {
        case.says(question, &[("blue", 1.0), ("green", 0.0)]);
    }
    case.signals.push(signal(Action::Failover, Some("green"), NOW - 60, SignalState::Firing));
    let made = case.decide().decision.expect("a decision");
    assert_eq!((made.kind, made.from), (MoveKind::Failover, Some(cluster("green"))));
    assert_eq!(made.to, cluster("blue"));
    // Whoever approves it says who holds the fleet as decided.
    case.fleet().approval = Approval::Required(SignedDuration::from_hours(1));
    let pass = case.decide();
    assert_eq!(pass.outcome, Outcome::Held(Gate::Approved));
    let (what, reason) = pass.proposed.expect("a proposal");
    case.proposals.push(Proposal { id: 7, what, reason, at: at(NOW), until: at(NOW + 60), answer: None });
    let said = case.decide().sentence;
    assert!(said.contains("switchyard approve rnd --proposal 7 --holder blue"), "{said}");
    case.fleet().approval = Approval::NotRequired;
    // What a failed move left waits for a person, acknowledged or not.
    let mut failed = decision(2, MoveKind::Switchover, Some("green"), "blue", 0, MoveState::Failed);
    case.decisions.insert(rnd(), failed.clone());
    assert_eq!(outcome(&case), Outcome::Held(Gate::NotLatched));
    failed.acknowledged_at = Some(at(10));
    case.decisions.insert(rnd(), failed);
    assert_eq!(outcome(&case), Outcome::Drifted);
    // With two that carry the tag, nobody can say what was meant.
    let mut case = Case::blue_holds();
    case.topology = topology(&["blue", "green", "red"]);
    *case.runners() = vec![runner(1, "blue", false), runner(3, "green", true), runner(5, "red", true)];
    case.signals.push(signal(Action::Failover, Some("green"), NOW - 60, SignalState::Firing));
    assert_eq!(outcome(&case), Outcome::Drifted);
}

#[test]
fn a_clock_that_no_prometheus_agrees_with_shuts_the_eyes() {
    let mut case = Case::blue_dies();
    let clocks = |ahead: &[i64]| {
        let clock = |(i, ahead): (usize, &i64)| (format!("p{i}"), SignedDuration::from_secs(*ahead));
        ahead.iter().enumerate().map(clock).collect()
    };
    case.observation.evidence.clocks = clocks(&[240]);
    assert_eq!(
        case.decide().sentence,
        "rnd: failover from blue to green held by eyes_open: the clock of this machine is 4m ahead of that of p0, and no \
         Prometheus agrees with it; 30s allowed."
    );
    case.observation.evidence.clocks = clocks(&[-31, -200]);
    assert!(case.decide().sentence.contains("is 31s behind that of p0"), "{}", case.decide().sentence);
    case.observation.evidence.clocks = clocks(&[240, 2]);
    assert_eq!(outcome(&case), Outcome::Decided, "it is p0's clock that is wrong");
}

#[test]
fn a_rescue_by_hand_is_completed_and_not_sent_elsewhere() {
    let mut case = Case::blue_dies();
    case.topology = topology(&["blue", "green", "red"]);
    *case.runners() = vec![runner(1, "blue", false), runner(3, "green", false), runner(5, "red", true)];
    for question in [Question::Alive, Question::Able, Question::AbleCount] {
        case.says(question, &[("blue", 0.0), ("green", 1.0), ("red", 1.0)]);
    }
    assert_eq!(case.decide().decision.expect("a decision").to, cluster("red"), "where a person put it");
    case.says(Question::Able, &[("blue", 0.0), ("green", 1.0), ("red", 0.0)]);
    assert_eq!(case.decide().decision.expect("a decision").to, cluster("green"), "red is not able");
}

#[test]
fn machines_with_one_system_id_and_tokens_of_their_own_are_told_apart() {
    let mut case = Case::blue_dies();
    case.runners()[2].managers[0].system_id = "s_1".into();
    for seen in [&["blue", "green"][..], &["green"], &[]] {
        case.evidence().managers.insert("s_1".into(), seen.iter().map(|c| cluster(c)).collect());
        assert_eq!(outcome(&case), Outcome::Decided, "seen in {seen:?}");
    }
    let runners = case.runners().clone();
    let assigned = case.topology.fleets[&rnd()].assign(&runners);
    assert_eq!(
        assigned.cloned_system().expect("a warning").to_string(),
        "runner 1 of blue and runner 3 of green have processes with the same system_id s_1: cloned machines, or one \
         runner configuration with the tokens of both clusters"
    );
    // A cluster without a record of its own for that process uses somebody else's token.
    case.evidence().managers.insert("s_2".into(), [cluster("green")].into());
    assert_eq!(outcome(&case), Outcome::SharedRunner);
    let assigned = Case::blue_dies();
    let assigned = assigned.topology.assign(&assigned.observation.runners);
    assert_eq!(assigned[&rnd()].known().expect("seen").cloned_system(), None);
}

#[test]
fn one_token_in_two_clusters_is_refused() {
    let mut case = Case::blue_dies();
    case.evidence().managers.insert("s_1".into(), [cluster("blue"), cluster("green")].into());
    let pass = case.decide();
    assert_eq!(pass.outcome, Outcome::SharedRunner);
    assert!(pass.sentence.contains("share the authentication token of runner 1"), "{}", pass.sentence);

    let mut case = Case::blue_dies();
    let tag = "home-green".parse().unwrap();
    case.runners()[0].tags.insert(tag);
    assert_eq!(outcome(&case), Outcome::SharedRunner, "one record in two pools");
}

#[test]
fn gitlab_having_heard_from_the_dead_contradicts_their_death() {
    let mut case = Case::blue_dies();
    for runner in &mut case.runners()[..1] {
        runner.managers[0].contacted_at = Some(at(NOW - 10));
    }
    let pass = case.decide();
    assert_eq!(pass.outcome, Outcome::Held(Gate::Confirmed));
    assert!(pass.sentence.contains("GitLab has heard from 1 of its 2 runners"), "{}", pass.sentence);
    // It died again: what GitLab heard minutes ago contradicts no longer, though the alert has not ended between.
    case.signals[1].key.starts_at = at(NOW - 600);
    case.runners()[0].managers[0].contacted_at = Some(at(NOW - 121));
    assert_eq!(outcome(&case), Outcome::Decided);
    case.runners()[0].managers[0].contacted_at = Some(at(NOW - 10));
    // One of three is a share that the threshold allows.
    let third = runner(5, "blue", true);
    case.runners().push(third);
    assert_eq!(outcome(&case), Outcome::Decided);
}

#[test]
fn the_target_is_the_first_able_one_in_the_order_of_preference() {
    let mut case = Case::blue_dies();
    case.topology = topology(&["blue", "green", "red"]);
    let red = runner(7, "red", false);
    case.runners().push(red);
    let three = |alive: [f64; 3]| [("blue", alive[0]), ("green", alive[1]), ("red", alive[2])];
    case.says(Question::Alive, &three([0.0, 1.0, 1.0]));
    case.says(Question::Able, &three([0.0, 0.5, 1.0]));
    case.says(Question::AbleCount, &three([0.0, 1.0, 1.0]));
    let decision = case.decide().decision.expect("a decision");
    assert_eq!(decision.to, cluster("red"), "green polls too badly");

    case.says(Question::Able, &three([0.0, 1.0, 1.0]));
    assert_eq!(case.decide().decision.expect("a decision").to, cluster("green"));
    case.signals[1].target = Some(cluster("red"));
    assert_eq!(case.decide().decision.expect("a decision").to, cluster("red"), "the rule names the target");
    case.signals[1].target = None;
    case.signals.push(signal(Action::Failover, Some("green"), NOW - 60, SignalState::Firing));
    assert_eq!(case.decide().decision.expect("a decision").to, cluster("red"), "green fails, too");
    case.signals.push(signal(Action::Failover, Some("red"), NOW - 60, SignalState::Firing));
    assert_eq!(outcome(&case), Outcome::Held(Gate::TargetAble));
    case.request(Some("blue"), "green");
    assert_eq!(outcome(&case), Outcome::Decided, "a person goes by the samples of now");
}

#[test]
fn a_paused_pool_can_take_no_jobs_unless_switchyard_unpauses_it() {
    let mut case = Case::blue_dies();
    for runner in &mut case.runners()[2..] {
        runner.paused = true;
    }
    assert_eq!(outcome(&case), Outcome::Held(Gate::TargetAble));
    case.fleet().park = Park::Pause;
    assert_eq!(outcome(&case), Outcome::Decided);
}

#[test]
fn servers_that_disagree_prove_nothing() {
    let mut case = Case::blue_dies();
    let alive = case.evidence().asked.get_mut(&Question::Alive).unwrap();
    let mut other = alive.answers[0].clone();
    other.server = "p1".into();
    other.result.as_mut().unwrap().get_mut(&cluster("blue")).unwrap().value = 1.0;
    alive.answers.push(other);
    assert_eq!(outcome(&case), Outcome::Held(Gate::Confirmed));
    // A server that died with its cluster says nothing and contradicts nothing.
    let alive = case.evidence().asked.get_mut(&Question::Alive).unwrap();
    alive.answers[1] = Answer { server: "p1".into(), result: Err("connection refused".into()) };
    assert_eq!(outcome(&case), Outcome::Decided);
}

#[test]
fn a_signal_about_a_cluster_that_does_not_hold_the_fleet_moves_nothing() {
    let mut case = Case::blue_holds();
    case.signals.push(signal(Action::Failover, Some("green"), NOW - 60, SignalState::Firing));
    assert_eq!(outcome(&case), Outcome::Steady);
}

#[test]
fn the_way_home_needs_the_signal_held_for_the_dwell_time_and_evidence_now() {
    let mut case = Case::blue_holds();
    case.fleet().failback = Failback::After(SignedDuration::from_mins(10));
    case.decisions
        .insert(rnd(), decision(2, MoveKind::Failover, Some("blue"), "green", -4000, MoveState::Done));
    *case.runners() = vec![runner(1, "blue", false), runner(3, "green", true)];
    assert_eq!(outcome(&case), Outcome::Steady, "nothing asks for it");

    case.signals.push(signal(Action::Failback, Some("blue"), NOW - 599, SignalState::Firing));
    let pass = case.decide();
    assert_eq!(pass.outcome, Outcome::Held(Gate::SignalHeld));
    assert_eq!(pass.recheck_at, Some(at(NOW + 1)), "time alone opens the gate");

    case.signals[1].key.starts_at = at(NOW - 600);
    let home = case.decide().decision.expect("a decision");
    assert_eq!((home.kind, home.to), (MoveKind::Failback, cluster("blue")));

    case.says(Question::Able, &[("blue", 0.85), ("green", 1.0)]);
    assert_eq!(outcome(&case), Outcome::Held(Gate::Confirmed), "able, but not well");
    case.says(Question::Able, &[("blue", 1.0), ("green", 1.0)]);
    case.fleet().failback = Failback::Manual;
    assert_eq!(outcome(&case), Outcome::Steady, "only a person sends it home");
    case.fleet().failback = Failback::After(SignedDuration::from_mins(10));
    let by_hand = decision(3, MoveKind::Switchover, Some("blue"), "green", -4000, MoveState::Done);
    case.decisions.insert(rnd(), by_hand);
    assert_eq!(outcome(&case), Outcome::Steady, "a person sent it away");
}

/// Two fleets over the same clusters: runners of one fleet that were taken away do not make a cluster dead.
#[test]
fn a_cluster_in_which_any_fleet_lives_is_not_part_of_a_common_cause() {
    let mut case = Case::blue_dies();
    let mut other = case.topology.fleets[&rnd()].clone();
    other.name = "build".parse().unwrap();
    other.routing_tag = "build-runner".parse().unwrap();
    let name = other.name.clone();
    case.topology.fleets.insert(name.clone(), other);
    let whole = case.evidence().clone();
    case.observation.evidence.fleets.insert(name.clone(), whole);
    case.says(Question::Alive, &[("blue", 0.0), ("green", 0.0)]);
    let without_green = case.evidence().clone();
    case.says(Question::Alive, &[("blue", 0.0), ("green", 1.0)]);
    case.observation.evidence.fleets.insert(name.clone(), without_green.clone());
    let gate = |case: &Case| {
        let pass = case.decide();
        pass.gates.iter().find(|g| g.gate == Gate::NotCommonCause).unwrap().clone()
    };
    assert!(gate(&case).open, "{}", gate(&case).saw);
    case.observation.evidence.fleets.insert(rnd(), without_green);
    assert!(!gate(&case).open, "nobody lives anywhere: {}", gate(&case).saw);
}

#[test]
fn the_budget_is_shared_by_all_fleets_and_used_up_in_one_pass() {
    let mut case = Case::blue_dies();
    case.topology.limits.budget.moves = 1;
    let mut other = case.topology.fleets[&rnd()].clone();
    other.name = "build".parse().unwrap();
    other.routing_tag = "build-runner".parse().unwrap();
    let name = other.name.clone();
    case.topology.fleets.insert(name.clone(), other);
    let mut failing = case.signals[1].clone();
    failing.fleet = Some(name.clone());
    case.signals.push(failing);
    let mut adopted = case.decisions[&rnd()].clone();
    adopted.fleet = name.clone();
    case.decisions.insert(name.clone(), adopted);
    let evidence = case.evidence().clone();
    case.observation.evidence.fleets.insert(name, evidence);
    assert_eq!(outcome(&case), Outcome::Held(Gate::Budget), "build comes first in the alphabet");
}

/// What is, is taken as it is by the leader alone.
#[test]
fn a_process_that_stands_by_does_not_even_adopt() {
    let mut case = Case::blue_dies();
    case.decisions.clear();
    case.leadership = Leadership::StandsBy { leader: None };
    let pass = case.decide();
    assert_eq!((pass.outcome, pass.decision), (Outcome::Held(Gate::Leader), None));
    assert_eq!(pass.sentence, "rnd: this process stands by: nobody leads at the moment.");
}

/// A standby that polls well and could not run anything, or could not be restored.
#[test]
fn what_a_fleet_requires_beside_runners_must_be_proven_of_the_target() {
    let required = || {
        let mut case = Case::blue_dies();
        let backup_max_age = Some(SignedDuration::from_hours(26));
        let convergence = Some(SignedDuration::from_mins(15));
        case.fleet().require =
            Require { api: true, gitops: true, backups: true, backup_max_age, convergence };
        // The dead holder's exporter says nothing, and nobody asks it to.
        for (question, well) in [
            (Question::ClusterApi, 1.0),
            (Question::GitopsBroken, 0.0),
            (Question::BackupsOverdue, 0.0),
            (Question::BackupAge, 3600.0),
            (Question::Convergence, 900.0),
        ] {
            case.says(question, &[("green", well)]);
        }
        case
    };
    assert_eq!(outcome(&required()), Outcome::Decided);
    let held = Outcome::Held(Gate::TargetAble);
    for (question, values, said) in [
        (Question::ClusterApi, &[("green", 0.0)][..], "its API (1 wanted): 0.00"),
        (Question::GitopsBroken, &[("green", 1.0)], "GitOps objects not well (0 wanted): 1.00"),
        (Question::BackupsOverdue, &[("green", 1.0)], "a backup young enough (0 wanted): 1.00"),
        (Question::BackupAge, &[("green", 93_601.0)], "(at most 93600 wanted): 93601.00"),
        (Question::Convergence, &[("green", 901.0)], "(at most 900 wanted): 901.00"),
        (Question::Convergence, &[("blue", 0.0)], "inconclusive"),
        (Question::ClusterApi, &[], "inconclusive"),
        (Question::GitopsBroken, &[("blue", 0.0)], "inconclusive"),
        (Question::BackupsOverdue, &[("blue", 0.0)], "inconclusive"),
        (Question::BackupAge, &[("green", f64::NAN)], "inconclusive"),
    ] {
        let mut case = required();
        case.says(question, values);
        let pass = case.decide();
        assert_eq!(pass.outcome, held, "{question:?} {values:?}");
        assert!(pass.sentence.contains(said), "{said:?} is not in {}", pass.sentence);
        // What the fleet does not require does not hold it.
        case.fleet().require = Require::default();
        assert_eq!(outcome(&case), Outcome::Decided, "{question:?}");
    }
}

/// `explain` and the alerts lead there.
#[test]
fn every_gate_has_its_section_in_the_runbook_and_its_row_in_the_table() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gates.md");
    let page = std::fs::read_to_string(path).expect("docs/gates.md");
    let sections: Vec<&str> = page.split("\n## ").skip(1).collect();
    for gate in Gate::ALL {
        let section = sections.iter().find(|section| section.lines().next() == Some(gate.as_str()));
        let section = section.unwrap_or_else(|| panic!("docs/gates.md has no section {gate}"));
        assert!(section.contains("\n- Do: "), "docs/gates.md does not say what to do about {gate}");
        let kinds =
            [MoveKind::Failover, MoveKind::Failback, MoveKind::Switchover].map(|kind| judges(kind, gate));
        let row = format!("| [`{gate}`](#{gate}) | ");
        let row = page.lines().find(|line| line.starts_with(&row));
        let row = row.unwrap_or_else(|| panic!("docs/gates.md has no row about {gate}"));
        let cells: Vec<bool> = row.split(" | ").skip(1).take(3).map(|cell| cell != "–").collect();
        assert_eq!(cells, kinds, "{row}");
    }
}

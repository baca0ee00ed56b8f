//! What waits for people: windows, draining, approval, break-glass.

use std::collections::BTreeMap;

use super::*;

/// Blue is home and well again, green holds, and the way home is automatic.
fn blue_is_back() -> Case {
    let mut case = Case::blue_holds();
    case.fleet().failback = Failback::After(SignedDuration::from_mins(10));
    case.decisions
        .insert(rnd(), decision(2, MoveKind::Failover, Some("blue"), "green", -4000, MoveState::Done));
    *case.runners() = vec![runner(1, "blue", false), runner(3, "green", true)];
    case.signals.push(signal(Action::Failback, Some("blue"), NOW - 600, SignalState::Firing));
    case
}

#[test]
fn the_way_home_and_planned_moves_wait_for_the_window_and_a_failover_does_not() {
    let kinds = [MoveKind::Failback, MoveKind::Switchover];
    let mut case = blue_is_back();
    case.fleet().window = Some(never(&kinds));
    let pass = case.decide();
    assert_eq!(pass.outcome, Outcome::Held(Gate::Window), "{}", pass.sentence);
    let opens = "2027-01-15T09:00:00Z".parse().unwrap();
    assert_eq!(pass.recheck_at, Some(opens), "time alone opens it");
    assert!(pass.sentence.contains("closed until Fri 2027-01-15 09:00 UTC"), "{}", pass.sentence);
    case.request(Some("green"), "blue");
    assert_eq!(asked(&case), Outcome::Held(Gate::Window));
    case.now = opens;
    for signal in &mut case.signals {
        signal.last_seen = opens;
    }
    case.says(Question::Alive, &[]);
    case.requests.clear();
    let window = case.decide().gates.into_iter().find(|g| g.gate == Gate::Window).unwrap();
    assert!(window.open, "{window:?}");

    let mut case = Case::blue_dies();
    case.fleet().window = Some(never(&kinds));
    assert_eq!(outcome(&case), Outcome::Decided, "a dead cluster is not waited with");
}

#[test]
fn a_sticky_fleet_waits_for_its_pipelines_with_a_deadline() {
    let some = Seen::Known(vec![Pipeline { project: 4, id: 17 }]);
    let mut case = Case::blue_holds();
    case.fleet().drain = Some(DRAIN);
    case.request(Some("blue"), "green");
    let until = at(NOW + 1800);
    for (seen, said) in [
        (Some(some.clone()), "in flight: 1 (17 of project 4); waits until"),
        (Some(Seen::Unknown("502".to_owned())), "GitLab does not say which pipelines"),
        (None, "nobody has looked for pipelines"),
    ] {
        case.in_flight = seen.into_iter().map(|seen| (rnd(), seen)).collect();
        let pass = case.decide();
        assert_eq!(
            (pass.outcome, pass.answers.len()),
            (Outcome::Steady, 0),
            "the fleet's own sentence stays"
        );
        let waiting = pass.waiting.expect("it waits");
        assert_eq!((waiting.request, waiting.until), (1, until));
        assert!(waiting.sentence.contains(said), "{}", waiting.sentence);
    }
    case.in_flight = [(rnd(), Seen::Known(Vec::new()))].into();
    assert_eq!(asked(&case), Outcome::Decided, "drained");
    // How far it was looked is said by the gate itself.
    let gates = case.decide().decision.expect("a decision").gates;
    let drained = gates.iter().find(|gate| gate.gate == Gate::Drained).expect("the gate");
    assert!(drained.saw.ends_with("that run a job or began in the last 48h"), "{}", drained.saw);

    // It waits for longer than a request that nobody judged lives, and no longer than the deadline.
    case.in_flight = [(rnd(), some)].into();
    case.requests[0].at = at(NOW - 1799);
    case.requests[0].waiting_since = Some(at(NOW - 1799));
    assert!(case.decide().waiting.is_some());
    case.requests[0].waiting_since = Some(at(NOW - 1800));
    let pass = case.decide();
    assert_eq!(pass.answers[0].outcome, Outcome::Held(Gate::Drained));
    assert!(pass.answers[0].sentence.contains("not drained within 30m"), "{}", pass.answers[0].sentence);
    case.fleet().drain = Some(Drain { policy: DrainPolicy::Move, ..DRAIN });
    assert_eq!(asked(&case), Outcome::Decided, "the policy");

    // A pause by whomever calls off what still waits.
    case.requests[0].waiting_since = Some(at(NOW - 10));
    case.overrides.push(pause(None, at(NOW - 1)));
    assert_eq!(asked(&case), Outcome::Held(Gate::NotPaused));
    // One that was there before does not: who asked for the move knew of it. One of all fleets hides none of the fleet.
    case.overrides = vec![pause(None, at(NOW - 11))];
    assert!(case.decide().waiting.is_some());
    case.overrides.push(pause(Some(rnd()), at(NOW - 1)));
    assert_eq!(asked(&case), Outcome::Held(Gate::NotPaused));
    case.overrides.clear();

    // A later request takes its place, unless that one is refused.
    case.fleet().drain = Some(DRAIN);
    case.request(Some("green"), "blue");
    case.requests[1].id = 2;
    let said = |case: &Case| -> Vec<(i64, Outcome)> {
        case.decide().answers.iter().map(|answer| (answer.request, answer.outcome)).collect()
    };
    assert_eq!(said(&case), [(2, Outcome::UnexpectedHolder)]);
    case.requests[1].expected = Some(cluster("blue"));
    case.requests[1].to = cluster("green");
    case.requests[1].overrides = vec![Gate::Drained];
    assert_eq!(said(&case), [(2, Outcome::Decided), (1, Outcome::Superseded)]);

    // The way home by itself waits as well, a failover does not.
    let mut case = blue_is_back();
    case.fleet().drain = Some(DRAIN);
    assert_eq!(outcome(&case), Outcome::Held(Gate::Drained));
    let mut case = Case::blue_dies();
    case.fleet().drain = Some(DRAIN);
    assert_eq!(outcome(&case), Outcome::Decided);
}

/// It takes many calls: not while a failback alert fires for days and something else holds the way home.
#[test]
fn pipelines_are_looked_for_only_when_nothing_else_holds_the_move() {
    let mut well = blue_is_back();
    well.fleet().drain = Some(DRAIN);
    assert_eq!(well.draining(), ["blue"]);
    type Change = (&'static str, fn(&mut Case));
    let changes: [Change; 11] = [
        ("it is not sticky", |case| case.fleet().drain = None),
        ("the way home is a person's", |case| case.fleet().failback = Failback::Manual),
        ("a person has sent it away", |case| {
            case.decisions.get_mut(&rnd()).unwrap().kind = MoveKind::Switchover;
        }),
        ("its dwell is not over", |case| {
            case.signals.last_mut().unwrap().key.starts_at = at(NOW - 599);
        }),
        ("it is paused", |case| case.overrides.push(pause(None, at(NOW - 1)))),
        ("it is disabled", |case| case.fleet().enabled = false),
        ("it is latched", |case| case.decisions.get_mut(&rnd()).unwrap().state = MoveState::Failed),
        ("it moves", |case| case.decisions.get_mut(&rnd()).unwrap().state = MoveState::Moving),
        ("another replica leads", |case| case.leadership = Leadership::StandsBy { leader: None }),
        ("its window is closed", |case| case.fleet().window = Some(never(&[MoveKind::Failback]))),
        ("home is not able", |case| case.says(Question::AbleCount, &[("blue", 0.0), ("green", 2.0)])),
    ];
    for (why, change) in changes {
        let mut case = well.clone();
        change(&mut case);
        assert_eq!(case.draining(), [""; 0], "{why}");
        let drained = case.decide().gates.into_iter().find(|gate| gate.gate == Gate::Drained).unwrap();
        let said = ["nobody has looked for pipelines", "is not sticky"];
        assert!(said.iter().any(|said| drained.saw.contains(said)), "{why}: {}", drained.saw);
    }

    // A planned move, also where a person moves over the gate or the policy does: they shall know what is in flight.
    let mut case = well.clone();
    case.signals.pop();
    assert_eq!(case.draining(), [""; 0]);
    case.request(Some("green"), "blue");
    assert_eq!(case.draining(), ["blue"]);
    case.requests[0].overrides = vec![Gate::Drained];
    assert_eq!(case.draining(), ["blue"]);
    case.overrides.push(pause(None, at(NOW - 1)));
    assert_eq!(case.draining(), ["blue"], "a person who asks needs no resume");
    case.fleet().enabled = false;
    assert_eq!(case.draining(), [""; 0]);

    // A person who has not answered may do so at any time, and one who has rejected it has answered for good.
    let mut case = well.clone();
    case.fleet().approval = Approval::Required(SignedDuration::from_hours(1));
    assert_eq!(case.draining(), ["blue"]);
    case.in_flight = BTreeMap::from([(rnd(), Seen::Known(Vec::new()))]);
    let (what, reason) = case.decide().proposed.expect("something to approve");
    case.in_flight.clear();
    let answer = ProposalAnswer {
        consent: Consent::Rejected,
        author: "ada".to_owned(),
        reason: "not now".to_owned(),
        at: at(NOW - 5),
    };
    let (at, until) = (at(NOW - 10), at(NOW + 60));
    case.proposals = vec![Proposal { id: 7, what, reason, at, until, answer: Some(answer) }];
    assert_eq!(case.draining(), [""; 0]);
    let pass = case.decide();
    assert_eq!(pass.outcome, Outcome::Held(Gate::Approved), "what holds is said: {}", pass.sentence);
}

#[test]
fn the_way_home_drains_from_when_nothing_else_held_it() {
    let until = |case: &Case| {
        let gates = case.decide().gates;
        let drained = gates.into_iter().find(|gate| gate.gate == Gate::Drained).unwrap();
        let (_, until) = drained.saw.split_once("waits until ").unwrap_or_else(|| panic!("{}", drained.saw));
        until.parse::<Timestamp>().unwrap().duration_since(at(NOW)).as_secs()
    };
    let mut case = blue_is_back();
    case.fleet().drain = Some(Drain { policy: DrainPolicy::Move, ..DRAIN });
    case.in_flight = BTreeMap::from([(rnd(), Seen::Known(vec![Pipeline { project: 4, id: 17 }]))]);
    case.signals.last_mut().unwrap().key.starts_at = at(NOW - 700);
    assert_eq!(until(&case), 1700, "since the end of the dwell");
    // A cool-down of half an hour ended a second ago, or was lifted ten seconds ago.
    case.moves = vec![decision(2, MoveKind::Failover, Some("blue"), "green", NOW - 1801, MoveState::Done)];
    case.moves[0].finished_at = Some(at(NOW - 1801));
    assert_eq!(until(&case), 1799, "since the end of the cool-down");
    case.moves[0].cool_down_lifted_at = Some(at(NOW - 10));
    assert_eq!(until(&case), 1790, "since it was lifted");
    // The story's second 0 is 08:00; it is 08:16:40.
    case.fleet().window =
        Some(Window { times: vec!["daily 08:16-09:00".parse().unwrap()], ..never(&[MoveKind::Failback]) });
    case.moves.clear();
    assert_eq!(until(&case), 1760, "since the window has opened");
    case.fleet().window = Some(never(&[MoveKind::Failback]));
    let opens = until(&case) - 1800;
    assert_eq!(at(NOW + opens), "2027-01-15T09:00:00Z".parse().unwrap(), "since it will open");
    case.fleet().window = Some(never(&[MoveKind::Switchover]));
    assert_eq!(until(&case), 1700, "a window that the way home does not wait for");
}

#[test]
fn a_person_who_breaks_the_glass_names_each_gate() {
    let mut case = Case::blue_holds();
    case.fleet().window = Some(never(&[MoveKind::Switchover]));
    case.says(Question::Able, &[("blue", 1.0), ("green", 0.1)]);
    case.request(Some("blue"), "green");
    let said = |case: &Case| {
        let answer = case.decide().answers.pop().expect("an answer");
        (answer.outcome, answer.sentence)
    };
    let (outcome, sentence) = said(&case);
    assert_eq!(outcome, Outcome::Held(Gate::TargetAble));
    assert!(sentence.ends_with("; also closed: window."), "{sentence}");
    case.requests[0].overrides = vec![Gate::TargetAble];
    assert_eq!(said(&case).0, Outcome::Held(Gate::Window), "each one");
    case.requests[0].overrides = vec![Gate::TargetAble, Gate::Window];
    let pass = case.decide();
    assert!(pass.sentence.ends_with("(ada overrides target_able, window)."), "{}", pass.sentence);
    assert_eq!(pass.decision.expect("a decision").overridden, [Gate::TargetAble, Gate::Window]);

    for (gate, said_of_it) in [
        (Gate::NotLatched, "not_latched is open, so there is nothing to override"),
        (Gate::CooledDown, "cooled_down does not judge a switchover"),
    ] {
        case.requests[0].overrides = vec![Gate::TargetAble, Gate::Window, gate];
        let (outcome, sentence) = said(&case);
        assert_eq!(outcome, Outcome::NothingToOverride);
        assert!(sentence.contains(said_of_it), "{sentence}");
    }
    // Every gate that judges a planned move and may be overridden can be, and one can never be.
    for gate in Gate::ALL.into_iter().filter(|gate| judges(MoveKind::Switchover, *gate)) {
        let mut case = closed(gate);
        case.request(Some("blue"), "green");
        case.requests[0].overrides = vec![gate];
        let pass = case.decide();
        assert_eq!(pass.decision.is_some(), gate.overridable(), "{gate}: {:?}", pass.answers);
    }
    assert!(!Gate::SingleFlight.overridable());
}

#[test]
fn a_fleet_with_approval_required_waits_for_a_person_to_approve_exactly_this() {
    let mut case = closed(Gate::Approved);
    let pass = case.decide();
    assert_eq!(pass.outcome, Outcome::Held(Gate::Approved));
    let (what, reason) = pass.proposed.expect("something to approve");
    assert_eq!(
        (what.kind, what.generation, &what.to),
        (MoveKind::Failover, Generation(2), &cluster("green"))
    );
    let proposal = |until: i64, consent: Option<Consent>| Proposal {
        id: 7,
        what: what.clone(),
        reason: reason.clone(),
        at: at(NOW - 10),
        until: at(until),
        answer: consent.map(|consent| ProposalAnswer {
            consent,
            author: "ada".to_owned(),
            reason: "looked at it".to_owned(),
            at: at(NOW - 5),
        }),
    };
    case.proposals = vec![proposal(NOW + 60, None)];
    let pass = case.decide();
    assert_eq!(pass.outcome, Outcome::Held(Gate::Approved));
    let wanted = "switchyard approve rnd --proposal 7 --holder blue";
    assert!(pass.sentence.contains(wanted), "{}", pass.sentence);
    assert_eq!(pass.recheck_at, Some(at(NOW + 60)));

    case.proposals = vec![proposal(NOW + 60, Some(Consent::Approved))];
    assert_eq!(case.decide().decision.expect("a decision").proposal, Some(7));
    case.proposals = vec![proposal(NOW, Some(Consent::Approved))];
    assert_eq!(outcome(&case), Outcome::Held(Gate::Approved), "an approval expires");
    case.proposals = vec![proposal(NOW, Some(Consent::Rejected))];
    let sentence = case.decide().sentence;
    assert!(sentence.contains("was rejected by ada"), "for as long as the alert goes on: {sentence}");

    // An approval of one move serves no other: another target, another alert, after another decision.
    let approved = proposal(NOW + 60, Some(Consent::Approved));
    let mut others = vec![approved.clone(), approved.clone(), approved.clone(), approved];
    others[0].what.to = cluster("red");
    others[1].what.signal.as_mut().unwrap().starts_at = at(0);
    others[2].what.generation = Generation(3);
    others[3].what.from = Some(cluster("green"));
    for other in others {
        case.proposals = vec![other];
        assert_eq!(outcome(&case), Outcome::Held(Gate::Approved), "{:?}", case.proposals);
    }
    // Nothing is proposed while another gate is closed, and a person who asks needs nobody else.
    case.proposals.clear();
    case.says(Question::AbleCount, &[("blue", 0.0), ("green", 0.0)]);
    assert!(case.decide().proposed.is_none());
    let mut case = closed(Gate::Approved);
    case.request(Some("blue"), "green");
    assert_eq!(asked(&case), Outcome::Decided);
}

#[test]
fn what_waits_for_a_person_is_the_candidate_that_only_waits_for_one() {
    let mut case = closed(Gate::Approved);
    let approval = case.fleet().approval;
    case.topology = topology(&["blue", "green", "red"]);
    case.fleet().approval = approval;
    let red = runner(7, "red", false);
    case.runners().push(red);
    case.says(Question::Alive, &[("blue", 0.0), ("green", 1.0), ("red", 1.0)]);
    case.says(Question::Able, &[("blue", 0.0), ("green", 0.5), ("red", 1.0)]);
    case.says(Question::AbleCount, &[("blue", 0.0), ("green", 1.0), ("red", 1.0)]);
    let (what, _) = case.decide().proposed.expect("something to approve");
    assert_eq!(what.to, cluster("red"), "green is not able");
}

#[test]
fn a_lifted_cool_down_no_longer_holds() {
    let mut case = closed(Gate::CooledDown);
    case.moves[0].cool_down_lifted_at = Some(at(NOW - 1));
    assert_eq!(outcome(&case), Outcome::Decided);
}

#[test]
fn gates_that_nothing_asks_for_are_idle_and_not_closed() {
    let mut case = Case::blue_holds();
    case.fleet().drain = Some(DRAIN);
    case.fleet().approval = Approval::Required(SignedDuration::from_hours(1));
    let idle = |case: &Case| -> Vec<Gate> {
        case.decide().gates.iter().filter(|g| g.idle).map(|g| g.gate).collect()
    };
    let wanted = [Gate::SignalHeld, Gate::Confirmed, Gate::TargetStronger, Gate::Drained, Gate::Approved];
    assert_eq!(idle(&case), wanted);
    case.says(Question::AbleCount, &[("blue", 2.0), ("green", 0.0)]);
    let able = case.decide().gates.into_iter().find(|g| g.gate == Gate::TargetAble).unwrap();
    assert!(!able.open && !able.idle, "a standby that cannot take the fleet is told though nothing asks");
    assert!(idle(&closed(Gate::Confirmed)).is_empty(), "what is asked for is not idle");
}

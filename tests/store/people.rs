//! What people do, as the store sees it, on both kinds of database.

use switchyard::{
    model::{
        Consent, Decision, FleetName, Gate, Generation, Holders, MoveKind, MoveState, Override, OverrideKind,
        Proposed, SignedDuration,
    },
    store::{
        Acted, Committed, Event, HistoryEntry, NewRequest, OverrideLifted, OverrideSet, Person,
        ProposalAnswered, Store,
    },
};
use switchyard_lab::values::pause;

use crate::{Place, at, cluster, decision, ended, firing, fleet};

pub(crate) fn person(holder: Option<&str>, second: i64) -> Person {
    let expected = Holders::of(fleet(), holder.map(cluster));
    Person { author: "ann".into(), reason: "looked".into(), at: at(second), expected }
}

/// Blue holds the fleet, by this decision.
fn adopted() -> Decision {
    Decision {
        kind: MoveKind::Adopt,
        from: None,
        to: cluster("blue"),
        state: MoveState::Done,
        finished_at: Some(at(0)),
        signal: None,
        ..decision(1, 0)
    }
}

/// What is told of what people did, the newest first.
async fn events(store: &Store) -> Vec<String> {
    let story = store.history(None, 100).await.unwrap().into_iter();
    let event = |entry| match entry {
        HistoryEntry::Event { event, .. } => Some(event.sentence),
        _ => None,
    };
    story.filter_map(event).collect()
}

pub(crate) async fn each_act_names_the_holder(place: Place) {
    let store = place.open().await;
    let pause = pause(Some(fleet()), at(1));
    let held = |holder: Option<&str>| Holders::of(fleet(), holder.map(cluster));
    let alone = Acted::Yes(OverrideSet::Alone);
    assert_eq!(store.set_override(&pause, &held(None)).await.unwrap(), alone, "nobody holds it");
    assert_eq!(store.commit_decision(&adopted()).await.unwrap(), Committed::Yes);
    let others = held(Some("blue"));
    assert_eq!(store.set_override(&pause, &held(None)).await.unwrap(), Acted::HeldBy(others.clone()));
    let unnamed = Holders::default();
    assert_eq!(store.set_override(&pause, &unnamed).await.unwrap(), Acted::HeldBy(others.clone()));
    let (rnd, kind) = (fleet(), OverrideKind::Pause);
    let wrong = person(Some("green"), 2);
    assert_eq!(store.lift_override(Some(&rnd), kind, &wrong).await.unwrap(), Acted::HeldBy(others.clone()));
    let none = SignedDuration::ZERO;
    assert_eq!(store.acknowledge(&rnd, none, &wrong).await.unwrap(), Acted::HeldBy(others.clone()));
    assert_eq!(store.load(at(3)).await.unwrap().overrides, std::slice::from_ref(&pause), "nothing was done");

    // All fleets: each is compared, and only those that differ are told.
    let qa: FleetName = "qa".parse().unwrap();
    let mut all = held(Some("green"));
    all.0.insert(qa.clone(), None);
    let every = Override { fleet: None, ..pause.clone() };
    assert_eq!(store.set_override(&every, &all).await.unwrap(), Acted::HeldBy(others.clone()));
    let lifter = Person { expected: all, ..wrong };
    assert_eq!(store.lift_override(None, kind, &lifter).await.unwrap(), Acted::HeldBy(others));
    let said: Vec<String> = events(&store).await;
    let refused = "refused to lift pause from all fleets, expecting qa at nobody and rnd at green: it is rnd at blue; looked";
    assert_eq!(said[0], refused);
    assert_eq!(said.iter().filter(|said| said.starts_with("refused to ")).count(), 6, "{said:#?}");

    let right = person(Some("blue"), 3);
    let lifted = OverrideLifted { lifted: Some(pause), still: vec![] };
    assert_eq!(store.lift_override(Some(&rnd), kind, &right).await.unwrap(), Acted::Yes(lifted));

    // The cool-down of an adoption is none; that of a move is lifted once, while it lasts.
    let hour = SignedDuration::from_hours(1);
    let lift = async |holder, second| {
        let done = store.acknowledge(&rnd, hour, &person(Some(holder), second)).await.unwrap();
        let Acted::Yes(done) = done else { panic!("{done:?}") };
        (done.latch, done.cool_down)
    };
    assert_eq!(lift("blue", 4).await, (None, None));
    let second = Some(Generation(2));
    assert_eq!(store.commit_decision(&decision(2, 5)).await.unwrap(), Committed::Yes);
    assert!(store.finish_decision(&rnd, Generation(2), MoveState::Failed, &ended(10)).await.unwrap());
    assert_eq!(lift("green", 11).await, (second, second), "a latch and a cool-down, each by itself");
    assert_eq!(lift("green", 12).await, (None, None));
    let latest = store.load(at(13)).await.unwrap().decisions.remove(&rnd).unwrap();
    assert_eq!((latest.acknowledged_at, latest.cool_down_lifted_at), (Some(at(11)), Some(at(11))));
    assert_eq!(latest.overridden, [Gate::Window]);
    // What was asked for in vain is told, too.
    assert_eq!(
        store.lift_override(Some(&rnd), kind, &person(Some("green"), 14)).await.unwrap(),
        Acted::Yes(OverrideLifted::default())
    );
    let outcome = |entry| match entry {
        HistoryEntry::Event { event, .. } => Some(event.outcome),
        _ => None,
    };
    let told: Vec<String> =
        store.history(Some(&rnd), 4).await.unwrap().into_iter().filter_map(outcome).collect();
    assert_eq!(told, ["pause_not_set", "nothing_to_acknowledge", "cool_down_lifted", "acknowledged"]);
    store.close().await.unwrap();
}

pub(crate) async fn a_proposal_is_answered_once_and_its_approval_is_looked_at_again(place: Place) {
    let store = place.open().await;
    assert_eq!(store.commit_decision(&adopted()).await.unwrap(), Committed::Yes);
    let what = Proposed {
        fleet: fleet(),
        generation: Generation(2),
        kind: MoveKind::Failover,
        from: Some(cluster("blue")),
        to: cluster("green"),
        signal: Some(firing("f", 0, 0).key),
    };
    let proposal = store.propose(&what, "blue is dead", at(1), at(100)).await.unwrap();
    assert_eq!(store.load(at(2)).await.unwrap().proposals, vec![proposal.clone()], "in and out");
    let answer = async |consent, holder, second| {
        store.answer_proposal(&fleet(), proposal.id, consent, &person(Some(holder), second)).await.unwrap()
    };
    let decided = Decision { proposal: Some(proposal.id), ..decision(2, 9) };
    assert_eq!(store.commit_decision(&decided).await.unwrap(), Committed::NotApproved, "nobody has said yes");
    let others = Holders::of(fleet(), Some(cluster("blue")));
    assert_eq!(answer(Consent::Approved, "green", 3).await, Acted::HeldBy(others));
    let Acted::Yes(ProposalAnswered::Yes(said)) = answer(Consent::Approved, "blue", 4).await else {
        panic!()
    };
    assert_eq!(store.load(at(5)).await.unwrap().proposals, vec![said.clone()]);
    let again = answer(Consent::Approved, "blue", 6).await;
    assert_eq!(again, Acted::Yes(ProposalAnswered::Already(said.answer.unwrap())));
    let said: Vec<String> = events(&store).await;
    assert!(said[0].starts_with("could not approve "), "{said:?}");
    assert!(said[0].contains("has approved it before"), "{said:?}");

    // Taken back between the pass that judged it and its commit.
    assert!(matches!(answer(Consent::Rejected, "blue", 7).await, Acted::Yes(ProposalAnswered::Yes(_))));
    assert_eq!(store.commit_decision(&decided).await.unwrap(), Committed::NotApproved);
    assert_eq!(store.expire_proposals(at(100)).await.unwrap(), 0, "a rejection stands");
    assert_eq!(store.load(at(101)).await.unwrap().proposals.len(), 1);

    let next = store.propose(&what, "blue is dead", at(101), at(200)).await.unwrap();
    let yes = store.answer_proposal(&fleet(), next.id, Consent::Approved, &person(Some("blue"), 102)).await;
    assert!(matches!(yes.unwrap(), Acted::Yes(ProposalAnswered::Yes(_))));
    let late = Decision { proposal: Some(next.id), ..decision(2, 200) };
    assert_eq!(store.commit_decision(&late).await.unwrap(), Committed::NotApproved, "it has expired");
    let decided = Decision { proposal: Some(next.id), ..decision(2, 199) };
    assert_eq!(store.commit_decision(&decided).await.unwrap(), Committed::Yes);
    let state = store.load(at(199)).await.unwrap();
    assert_eq!(state.proposals, [], "the decision is taken");
    assert_eq!(state.decisions[&fleet()], decided);
    store.close().await.unwrap();
}

pub(crate) async fn a_request_that_waits_stays_open(place: Place) {
    let store = place.open().await;
    let request = NewRequest {
        fleet: fleet(),
        to: cluster("green"),
        expected: None,
        reason: "maintenance".into(),
        author: "ann".into(),
        at: at(1),
        overrides: vec![Gate::Window, Gate::Drained],
    };
    let id = store.add_request(&request).await.unwrap();
    let asked = "asked for a move to green, overriding window, drained, expecting rnd at nobody: maintenance";
    assert_eq!(events(&store).await, [asked]);
    let event = |second| Event {
        at: at(second),
        fleet: Some(fleet()),
        outcome: "waiting".into(),
        sentence: "it drains".into(),
        author: Some("ann".into()),
    };
    assert!(store.hold_request(id, &event(2)).await.unwrap());
    assert!(!store.hold_request(id, &event(3)).await.unwrap(), "once");
    let open = store.open_requests().await.unwrap();
    assert_eq!((open[0].waiting_since, &open[0].overrides), (Some(at(2)), &request.overrides));
    // A pause calls it off, also one between the pass that found the fleet drained and its commit.
    let nobody = Holders::of(fleet(), None);
    let paused = store.set_override(&pause(Some(fleet()), at(3)), &nobody).await.unwrap();
    assert_eq!(paused, Acted::Yes(OverrideSet::Alone));
    let switch = Decision { kind: MoveKind::Switchover, ..decision(1, 4) };
    let commit = async |id| store.commit_request(&switch, id, "decided", "it goes").await.unwrap();
    assert_eq!(commit(id).await, Committed::Paused);
    let next = store.add_request(&request).await.unwrap();
    assert!(store.hold_request(next, &event(4)).await.unwrap());
    assert_eq!(commit(next).await, Committed::Yes, "who asked for it knew of the pause");
    store.answer_request(id, "decided", "it goes", Some(Generation(7)), at(4)).await.unwrap();
    let record = store.request(id).await.unwrap().unwrap();
    assert_eq!((record.generation, record.answered_at), (Some(Generation(7)), Some(at(4))));
    assert_eq!(store.request(id + 1).await.unwrap(), None);
    assert!(store.open_requests().await.unwrap().is_empty());
    store.close().await.unwrap();
}

pub(crate) async fn overrides_are_set_replaced_and_lifted_and_the_story_knows(place: Place) {
    let store = place.open().await;
    let pause = |fleet, since, until: Option<i64>| {
        let until = until.map(at);
        Override { reason: "work".into(), until, ..pause(fleet, at(since)) }
    };
    let nobody = Holders::of(fleet(), None);
    let set = async |set: Override| match store.set_override(&set, &nobody).await.unwrap() {
        Acted::Yes(set) => set,
        other => panic!("{other:?}"),
    };
    let (every, first) = (pause(None, 1, None), pause(Some(fleet()), 2, Some(10)));
    let second = pause(Some(fleet()), 3, Some(20));
    assert_eq!(set(every.clone()).await, OverrideSet::Alone);
    assert_eq!(set(first.clone()).await, OverrideSet::Alone, "that of all fleets is another one");
    assert_eq!(set(second.clone()).await, OverrideSet::InPlaceOf(first));
    let overrides = store.load(at(4)).await.unwrap().overrides;
    assert_eq!(overrides, [every.clone(), second.clone()]);

    let lift = async |fleet: Option<FleetName>, second| {
        let done = store.lift_override(fleet.as_ref(), OverrideKind::Pause, &person(None, second)).await;
        let Acted::Yes(OverrideLifted { lifted, still }) = done.unwrap() else {
            panic!("nobody was expected")
        };
        (lifted, still)
    };
    assert_eq!(lift(None, 5).await, (Some(every), vec![second.clone()]), "one is still paused by its name");
    assert_eq!(lift(None, 6).await, (None, vec![second]), "lifted already");
    assert_eq!(lift(Some(fleet()), 30).await, (None, vec![]), "expired by itself");
    let said: Vec<String> = store
        .history(Some(&fleet()), 10)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| match entry {
            HistoryEntry::Event { event, .. } => event.sentence,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        said,
        [
            "lifted pause from fleet rnd, expecting rnd at nobody, and there was none: looked",
            "lifted pause from all fleets, expecting rnd at nobody, and there was none: looked",
            "lifted pause from all fleets, expecting rnd at nobody: looked; it was that of ada until lifted",
            "set pause on fleet rnd until 2027-01-15T08:00:20Z, expecting rnd at nobody: work; in place of that of ada \
             until 2027-01-15T08:00:10Z",
            "set pause on fleet rnd until 2027-01-15T08:00:10Z, expecting rnd at nobody: work",
            "set pause on all fleets until lifted, expecting rnd at nobody: work",
        ]
    );
}

pub(crate) async fn a_pause_ends_no_earlier_because_another_person_pauses_too(place: Place) {
    let store = place.open().await;
    let of = |author: &str, since, until: Option<i64>| Override {
        author: author.into(),
        until: until.map(at),
        ..pause(None, at(since))
    };
    let nobody = Holders::of(fleet(), None);
    let set = async |set: &Override| match store.set_override(set, &nobody).await.unwrap() {
        Acted::Yes(set) => set,
        other => panic!("{other:?}"),
    };
    let in_force = async |second| store.load(at(second)).await.unwrap().overrides;

    // Nobody shortens what another one has stopped.
    let open = of("ada", 1, None);
    assert_eq!(set(&open).await, OverrideSet::Alone);
    for until in [Some(10), None] {
        assert_eq!(set(&of("bob", 2, until)).await, OverrideSet::Kept(open.clone()), "{until:?}");
        assert_eq!(in_force(11).await, std::slice::from_ref(&open), "{until:?}");
    }
    // One's own may be shortened, and anybody's lengthened.
    let own = of("ada", 3, Some(20));
    assert_eq!(set(&own).await, OverrideSet::InPlaceOf(open));
    let longer = of("bob", 4, Some(30));
    assert_eq!(set(&longer).await, OverrideSet::InPlaceOf(own));
    // What has ended holds nothing.
    assert_eq!(set(&of("ada", 31, Some(40))).await, OverrideSet::Alone);
    // Whoever lifts another's can be told whose it was, and what goes on holding the fleet.
    let by_name = Override { fleet: Some(fleet()), ..of("bob", 32, None) };
    assert_eq!(set(&by_name).await, OverrideSet::Alone);
    let ann = person(None, 33);
    let lifted = store.lift_override(Some(&fleet()), OverrideKind::Pause, &ann).await.unwrap();
    let still = vec![of("ada", 31, Some(40))];
    assert_eq!(lifted, Acted::Yes(OverrideLifted { lifted: Some(by_name), still }));
    let said = events(&store).await;
    for part in [
        "set pause on all fleets until 2027-01-15T08:00:10Z, expecting rnd at nobody: network works; that of ada until \
         lifted stays in force",
        "; in place of that of ada until 2027-01-15T08:00:20Z",
        "lifted pause from fleet rnd, expecting rnd at nobody: looked; it was that of bob until lifted",
    ] {
        assert!(said.iter().any(|said| said.ends_with(part)), "{part:?} is not in {said:#?}");
    }
}

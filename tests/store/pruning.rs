//! What old history may go, and what stays.

use switchyard::{
    model::{Consent, Decision, Fence, Generation, Holders, MoveKind, MoveState, Override, Proposed},
    store::{Acted, Committed, OverrideSet, Person, ProposalAnswered, Started},
};
use switchyard_lab::values::pause;

use crate::{Place, at, cluster, decision, ended, event, firing, fleet, people::person, resolved, step};

/// The decisions of a fleet that stay, however old they are.
const KEPT: u64 = 100;

pub(crate) async fn pruning_keeps_what_counts(place: Place) {
    let store = place.open().await;
    let latest = KEPT + 3;
    for generation in 1..=latest {
        assert_eq!(store.commit_decision(&decision(generation, 0)).await.unwrap(), Committed::Yes);
        let fence = Fence::new(fleet(), Generation(generation));
        let started = store.steps_started(&fence, &[step(1)], at(0)).await.unwrap();
        assert!(matches!(started, Started::Yes(_)));
        store.finish_decision(&fleet(), Generation(generation), MoveState::Done, &ended(1)).await.unwrap();
    }
    let moving = Decision { fleet: "qa".parse().unwrap(), ..decision(1, 0) };
    assert_eq!(store.commit_decision(&moving).await.unwrap(), Committed::Yes);
    store.upsert_signals(vec![firing("f", 0, 0), resolved("r", 0, 1, 1)]).await.unwrap();
    store.record_event(&event(0, None)).await.unwrap();
    store.record_event(&event(100, None)).await.unwrap();
    // A pause that is over by a clock that runs ahead, and a rejection of what would be decided next.
    let holders = Holders::of(fleet(), Some(cluster("green")));
    let paused = Override { until: Some(at(10)), ..pause(Some(fleet()), at(0)) };
    assert_eq!(store.set_override(&paused, &holders).await.unwrap(), Acted::Yes(OverrideSet::Alone));
    let mut next = Proposed {
        fleet: fleet(),
        generation: Generation(latest + 1),
        kind: MoveKind::Failover,
        from: Some(cluster("green")),
        to: cluster("blue"),
        signal: None,
    };
    let proposal = store.propose(&next, "green is dead", at(0), at(10)).await.unwrap();
    let no = Person { reason: "no".into(), ..person(Some("green"), 1) };
    let rejected = store.answer_proposal(&fleet(), proposal.id, Consent::Rejected, &no).await.unwrap();
    assert!(matches!(rejected, Acted::Yes(ProposalAnswered::Yes(_))), "{rejected:?}");
    next.generation = Generation(latest);
    store.propose(&next, "green was dead", at(0), at(10)).await.unwrap();

    let told = latest + 1 + 4;
    assert_eq!(
        store.prune(at(50)).await.unwrap(),
        3 + 1 + told + 1,
        "decisions, a signal, what was told of ends and of what people did, and a proposal whose time is over"
    );
    let state = store.load(at(101)).await.unwrap();
    assert_eq!(state.signals, [firing("f", 0, 0)]);
    assert_eq!(state.decisions.len(), 2);
    assert_eq!(state.moves.len() as u64, KEPT + 1, "what cool-down and budget rest on");
    assert_eq!(
        state.proposals.iter().map(|p| p.id).collect::<Vec<_>>(),
        [proposal.id],
        "the rejection stands"
    );
    assert_eq!(
        store.load(at(2)).await.unwrap().overrides,
        [paused],
        "a clock that was set right finds the pause"
    );
    let left = store.history(None, 1000).await.unwrap().len() as u64;
    assert_eq!(left, 2 * KEPT + 1 + 1, "steps go with their decision");
    assert_eq!(store.commit_decision(&decision(latest + 1, 102)).await.unwrap(), Committed::Yes);
    let newest = store.history(None, 1).await.unwrap()[0].id();
    assert!(newest as u64 > 3 * latest, "numbers are never given twice: {newest}");
}

//! What old history may go, and what stays.

use switchyard::{
    model::{Decision, Fence, Generation, MoveState},
    store::{Committed, Started},
};

use crate::{Place, at, decision, ended, event, firing, fleet, resolved, step};

pub(crate) async fn pruning_keeps_what_counts(place: Place) {
    let store = place.open().await;
    for generation in 1..=3 {
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

    assert_eq!(
        store.prune(at(50)).await.unwrap(),
        7,
        "two decisions, one signal, one event and what was said of three ends"
    );
    let state = store.load(at(101)).await.unwrap();
    assert_eq!(state.signals, [firing("f", 0, 0)]);
    assert_eq!(state.decisions.len(), 2);
    assert_eq!(store.history(None, 100).await.unwrap().len(), 2 + 1 + 1, "steps go with their decision");
    assert_eq!(store.commit_decision(&decision(4, 102)).await.unwrap(), Committed::Yes);
    let newest = &store.history(None, 1).await.unwrap()[0];
    assert!(newest.id() > 9, "numbers are never given twice: {}", newest.id());
}

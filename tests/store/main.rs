//! The store on real files, and on a real PostgreSQL.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod people;
mod places;
mod processes;
mod pruning;
mod replicas;

use std::{collections::BTreeSet, sync::Arc};

use futures::future::join_all;
use proptest::{prelude::*, test_runner::TestRunner};
use switchyard::{
    model::{
        Action, ClusterName, Decision, Fence, FleetName, Gate, GateReport, Generation, Holders, MoveKind,
        MoveState, Override, RunnerId, Signal, SignalKey, SignalState, SignedDuration, Step, StepOutcome,
        TagChange, TagStep, Timestamp,
    },
    store::{
        Acted, Committed, Error, Event, HistoryEntry, Holder, OverrideSet, Started, Store, Upserted, merge,
    },
};
use switchyard_lab::{parts::or_skip, postgres::Postgres, values::pause};
use tokio::runtime::Runtime;

use people::{
    a_pause_ends_no_earlier_because_another_person_pauses_too,
    a_proposal_is_answered_once_and_its_approval_is_looked_at_again, a_request_that_waits_stays_open,
    each_act_names_the_holder, overrides_are_set_replaced_and_lifted_and_the_story_knows, person,
};
use pruning::pruning_keeps_what_counts;

const TERM: std::time::Duration = std::time::Duration::from_secs(30);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// An empty store: a file in a directory, or a database of a PostgreSQL.
enum Place {
    Sqlite(tempfile::TempDir),
    Postgres { url: String, _server: Arc<Postgres> },
}

impl Place {
    fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    /// None, loudly, where there is no PostgreSQL and nobody insists.
    async fn postgres() -> Option<Self> {
        let server = or_skip(Postgres::shared().await)?;
        Some(Self::Postgres { url: server.database().await.unwrap(), _server: server })
    }

    fn url(&self) -> String {
        match self {
            Self::Sqlite(directory) => url(directory),
            Self::Postgres { url, .. } => url.clone(),
        }
    }

    /// Opens it and waits until it may write.
    async fn open(&self) -> Store {
        open_url(&self.url()).await.unwrap()
    }
}

/// Every one of these holds for both kinds of database.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $test() { super::$test(super::Place::sqlite()).await; })*
        }
        mod postgres {
            $(#[tokio::test] async fn $test() {
                if let Some(place) = super::Place::postgres().await {
                    super::$test(place).await;
                }
            })*
        }
    };
}

on_both! {
    what_goes_in_comes_out,
    a_late_firing_never_reopens_an_episode_and_says_when_it_ended,
    an_episode_whose_start_moved_or_whose_end_got_lost_does_not_fire_for_ever,
    promise_4_of_twenty_decisions_at_once_one_wins,
    promise_4_a_decision_waits_for_the_move_before_it,
    the_journal_knows_what_was_under_way,
    a_pause_ends_no_earlier_because_another_person_pauses_too,
    overrides_are_set_replaced_and_lifted_and_the_story_knows,
    each_act_names_the_holder,
    a_proposal_is_answered_once_and_its_approval_is_looked_at_again,
    a_request_that_waits_stays_open,
    history_is_ordered_limited_filtered_and_json,
    pruning_keeps_what_counts,
    many_at_once_share_transactions_and_too_many_are_told_to_come_again,
    closing_writes_what_waits_and_takes_no_more,
    opening_again_changes_nothing_and_a_newer_database_is_refused,
}

fn url(directory: &tempfile::TempDir) -> String {
    format!("sqlite://{}", directory.path().join("switchyard.db").display())
}

async fn open_url(url: &str) -> Result<Store, Error> {
    let store = Store::open(url, &Holder { listen: "127.0.0.1:9797".into(), now: at(0) }, TERM).await?;
    store.lease().acquired().await;
    Ok(store)
}

fn fleet() -> FleetName {
    "rnd".parse().unwrap()
}

fn cluster(name: &str) -> ClusterName {
    name.parse().unwrap()
}

fn firing(fingerprint: &str, starts_at: i64, seen: i64) -> Signal {
    Signal {
        key: SignalKey {
            source: "alertmanager".into(),
            fingerprint: fingerprint.into(),
            starts_at: at(starts_at),
        },
        action: Action::Failover,
        fleet: Some(fleet()),
        cluster: Some(cluster("blue")),
        target: None,
        state: SignalState::Firing,
        ends_at: None,
        labels: [("alertname".into(), "FleetDead".into())].into(),
        annotations: [].into(),
        first_seen: at(seen),
        last_seen: at(seen),
    }
}

fn resolved(fingerprint: &str, starts_at: i64, ends_at: i64, seen: i64) -> Signal {
    Signal {
        state: SignalState::Resolved,
        ends_at: Some(at(ends_at)),
        ..firing(fingerprint, starts_at, seen)
    }
}

fn decision(generation: u64, second: i64) -> Decision {
    Decision {
        fleet: fleet(),
        generation: Generation(generation),
        kind: MoveKind::Failover,
        from: Some(cluster("blue")),
        to: cluster("green"),
        reason: "blue is dead".into(),
        author: "switchyard".into(),
        signal: Some(firing("f", 0, 0).key),
        gates: vec![GateReport {
            gate: Gate::Enabled,
            open: true,
            idle: false,
            saw: "enabled".into(),
            query: None,
        }],
        decided_at: at(second),
        state: MoveState::Moving,
        finished_at: None,
        acknowledged_at: None,
        overridden: vec![Gate::Window],
        proposal: None,
        cool_down_lifted_at: None,
    }
}

fn step(runner: u64) -> Step {
    Step::Tag(TagStep {
        cluster: cluster("green"),
        runner: RunnerId(runner),
        tag: "rnd-runner".parse().unwrap(),
        change: TagChange::Add,
        paused: None,
    })
}

fn event(second: i64, fleet: Option<FleetName>) -> Event {
    Event { at: at(second), fleet, outcome: "held".into(), sentence: "blue is held".into(), author: None }
}

/// How a move ended.
fn ended(second: i64) -> Event {
    let sentence = "rnd: it was seen done".to_owned();
    Event { at: at(second), fleet: Some(fleet()), outcome: "move_done".into(), sentence, author: None }
}

async fn what_goes_in_comes_out(place: Place) {
    let store = place.open().await;
    let nanos = Timestamp::new(1_800_000_000, 123_456_789).unwrap();
    let mut signal = firing("f", 0, 1);
    signal.key.starts_at = nanos;
    signal.target = Some(cluster("green"));
    signal.annotations.insert("summary".into(), "it's \"dead\" \u{1f480}".into());
    let watchdog = Signal { action: Action::Watchdog, fleet: None, cluster: None, ..firing("w", 0, 2) };
    let ended = resolved("r", 0, 3, 3);
    let outcomes = store.upsert_signals(vec![signal.clone(), watchdog.clone(), ended.clone()]).await.unwrap();
    assert_eq!(outcomes, [Upserted::New, Upserted::New, Upserted::New]);

    let first = Decision { kind: MoveKind::Adopt, state: MoveState::Done, ..decision(1, 4) };
    assert_eq!(store.commit_decision(&first).await.unwrap(), Committed::Yes);
    assert_eq!(store.commit_decision(&decision(2, 5)).await.unwrap(), Committed::Yes);
    let pause = Override { until: Some(at(100)), ..pause(None, at(6)) };
    let holders = store.holders().await.unwrap();
    assert_eq!(holders, Holders::of(fleet(), Some(cluster("green"))));
    assert_eq!(store.set_override(&pause, &holders).await.unwrap(), Acted::Yes(OverrideSet::Alone));

    store.close().await.unwrap();
    let store = place.open().await;
    let state = store.load(at(7)).await.unwrap();
    let signals: BTreeSet<String> = state.signals.iter().map(|s| s.key.fingerprint.clone()).collect();
    assert_eq!(signals, BTreeSet::from(["f".into(), "r".into(), "w".into()]));
    for expected in [signal, watchdog, ended] {
        assert!(state.signals.contains(&expected), "{expected:?}");
    }
    assert_eq!(state.decisions.into_values().collect::<Vec<_>>(), [decision(2, 5)]);
    assert_eq!(state.moves, [decision(2, 5)], "an adoption is no move");
    assert_eq!(state.overrides, [pause]);

    let later = store.load(at(3 + 24 * 3600 + 1)).await.unwrap();
    assert_eq!(later.signals.len(), 2, "a resolved signal is given for 24 hours");
    assert!(later.overrides.is_empty(), "expired");
    assert!(store.load(at(5 + 7 * 24 * 3600 + 1)).await.unwrap().moves.is_empty());
}

async fn a_late_firing_never_reopens_an_episode_and_says_when_it_ended(place: Place) {
    let store = place.open().await;
    let one = |signal| {
        let store = store.clone();
        async move { store.upsert_signals(vec![signal]).await.unwrap().remove(0) }
    };
    assert_eq!(one(firing("f", 0, 1)).await, Upserted::New);
    assert_eq!(one(firing("f", 0, 2)).await, Upserted::Unchanged);
    let changed = Signal { annotations: [("value".into(), "0.2".into())].into(), ..firing("f", 0, 3) };
    assert_eq!(one(changed.clone()).await, Upserted::Updated);
    assert_eq!(one(resolved("f", 0, 10, 11)).await, Upserted::Updated);
    assert_eq!(one(firing("f", 0, 12)).await, Upserted::Late { ended_at: Some(at(10)) });
    assert_eq!(one(resolved("f", 0, 10, 13)).await, Upserted::Unchanged);
    let signals = store.load(at(14)).await.unwrap().signals;
    assert_eq!(signals.len(), 1);
    assert_eq!(
        (signals[0].state, signals[0].first_seen, signals[0].last_seen, signals[0].ends_at),
        (SignalState::Resolved, at(1), at(13), Some(at(10)))
    );
    assert_eq!(one(firing("f", 20, 21)).await, Upserted::New, "a new episode is another one");
}

async fn an_episode_whose_start_moved_or_whose_end_got_lost_does_not_fire_for_ever(place: Place) {
    let store = place.open().await;
    let firing_starts = |now| {
        let store = store.clone();
        async move {
            let signals = store.load(at(now)).await.unwrap().signals;
            let firing = signals.iter().filter(|s| s.state == SignalState::Firing);
            firing.map(|s| s.key.starts_at).collect::<Vec<_>>()
        }
    };
    // Two Prometheus servers: the start moves to the earlier one.
    store.upsert_signals(vec![firing("f", 20, 21)]).await.unwrap();
    store.upsert_signals(vec![firing("f", 10, 22)]).await.unwrap();
    assert_eq!(firing_starts(23).await, [at(10)]);
    // Only the earlier start is ever resolved.
    store.upsert_signals(vec![resolved("f", 10, 30, 31)]).await.unwrap();
    assert!(firing_starts(32).await.is_empty());
    // A new episode is not ended by an old end, even when that comes late.
    store.upsert_signals(vec![firing("f", 40, 41)]).await.unwrap();
    store.upsert_signals(vec![resolved("f", 10, 30, 42)]).await.unwrap();
    assert_eq!(firing_starts(43).await, [at(40)]);
    // The end of this one gets lost (a silence swallows it); the next episode tells.
    store.upsert_signals(vec![firing("f", 60, 61)]).await.unwrap();
    assert_eq!(firing_starts(62).await, [at(60)]);
    // Long after that, the past goes, and what fires stays.
    assert_eq!(store.prune(at(1000)).await.unwrap(), 3);
    assert_eq!(firing_starts(1001).await, [at(60)]);
}

/// Any order, any repetition, any split over calls: the same rows.
fn any_order(runtime: &Runtime, cases: u32, place: impl Fn() -> Place) {
    let reports =
        prop::collection::vec((0..3_u8, any::<bool>(), 0..5_i64, 0..5_i64), 1..12).prop_flat_map(|r| {
            let twice: Vec<_> = r.iter().chain(&r).copied().collect();
            (Just(r), Just(twice).prop_shuffle())
        });
    let signal = |&(fingerprint, fires, end, seen): &(u8, bool, i64, i64)| {
        let fingerprint = fingerprint.to_string();
        if fires { firing(&fingerprint, 0, seen) } else { resolved(&fingerprint, 0, end, seen) }
    };
    let stored = |signals: Vec<Signal>| {
        let place = place();
        runtime.block_on(async {
            let store = place.open().await;
            let calls = signals.chunks(3).map(|call| store.upsert_signals(call.to_vec()));
            for outcome in join_all(calls).await {
                outcome.unwrap();
            }
            let signals = store.load(at(10)).await.unwrap().signals;
            store.close().await.unwrap();
            signals
        })
    };
    let property = |(reports, shuffled): (Vec<_>, Vec<_>)| {
        let expected = stored(reports.iter().map(signal).collect());
        prop_assert_eq!(&stored(shuffled.iter().map(signal).collect()), &expected);
        for row in &expected {
            let same: Vec<Signal> = reports.iter().map(signal).filter(|s| s.key == row.key).collect();
            let merged = same.iter().fold(same[0].clone(), |old, new| merge(&old, new));
            prop_assert_eq!(row, &merged);
        }
        Ok(())
    };
    TestRunner::new(ProptestConfig::with_cases(cases)).run(&reports, property).unwrap();
}

#[test]
fn reports_end_in_the_same_state_whatever_their_order() {
    let runtime = Runtime::new().unwrap();
    any_order(&runtime, 16, Place::sqlite);
    let Some(server) = runtime.block_on(Place::postgres()) else { return };
    any_order(&runtime, 4, || {
        let place = runtime.block_on(Place::postgres());
        place.expect("it was there a moment ago")
    });
    drop(server);
}

async fn promise_4_of_twenty_decisions_at_once_one_wins(place: Place) {
    let store = place.open().await;
    let race = (0..20).map(|i| {
        let store = store.clone();
        let decision = Decision { reason: format!("candidate {i}"), ..decision(1, i) };
        tokio::spawn(async move { (store.commit_decision(&decision).await.unwrap(), decision) })
    });
    let results: Vec<(Committed, Decision)> = join_all(race).await.into_iter().map(Result::unwrap).collect();
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(|(c, _)| *c == Committed::Yes);
    assert_eq!(won.len(), 1);
    assert!(lost.iter().all(|(c, _)| *c == Committed::Superseded { latest: Generation(1) }));
    assert_eq!(store.load(at(30)).await.unwrap().decisions.get(&fleet()), Some(&won[0].1));
}

async fn promise_4_a_decision_waits_for_the_move_before_it(place: Place) {
    let store = place.open().await;
    let (rnd, first) = (fleet(), Generation(1));
    assert_eq!(store.commit_decision(&decision(1, 0)).await.unwrap(), Committed::Yes);
    assert_eq!(
        store.commit_decision(&decision(3, 1)).await.unwrap(),
        Committed::Superseded { latest: first },
        "not the next"
    );
    assert_eq!(
        store.commit_decision(&decision(2, 1)).await.unwrap(),
        Committed::InFlight { generation: first }
    );
    assert!(!store.finish_decision(&rnd, Generation(2), MoveState::Done, &ended(2)).await.unwrap());
    let ack = async |second| {
        let cool_down = SignedDuration::ZERO;
        let done = store.acknowledge(&rnd, cool_down, &person(Some("green"), second)).await.unwrap();
        let Acted::Yes(done) = done else { panic!("nobody was expected") };
        done.latch
    };
    assert_eq!(ack(2).await, None, "nothing failed yet");
    assert!(store.finish_decision(&rnd, first, MoveState::Failed, &ended(3)).await.unwrap());
    assert!(
        !store.finish_decision(&rnd, first, MoveState::Done, &ended(4)).await.unwrap(),
        "it ended already"
    );
    assert!(store.load(at(5)).await.unwrap().decisions[&rnd].latched());

    assert_eq!(ack(6).await, Some(first));
    assert_eq!(ack(7).await, None, "once is enough");
    let latest = store.load(at(8)).await.unwrap().decisions.remove(&rnd).unwrap();
    assert_eq!((latest.state, latest.acknowledged_at), (MoveState::Failed, Some(at(6))));
    assert_eq!(store.commit_decision(&decision(2, 9)).await.unwrap(), Committed::Yes);
    let story = store.history(None, 5).await.unwrap();
    let told = story.iter().filter_map(|entry| match entry {
        HistoryEntry::Event { event, .. } => Some((event.outcome.as_str(), event.author.as_deref()?)),
        _ => None,
    });
    let nothing = ("nothing_to_acknowledge", "ann");
    assert!(told.eq([nothing, ("acknowledged", "ann"), nothing]), "{story:?}");
}

async fn the_journal_knows_what_was_under_way(place: Place) {
    let store = place.open().await;
    let fence = |generation| Fence::new(fleet(), Generation(generation));
    let start = |generation, steps: Vec<Step>| {
        let (store, fence) = (store.clone(), fence(generation));
        async move { store.steps_started(&fence, &steps, at(1)).await.unwrap() }
    };
    assert_eq!(start(1, vec![step(1)]).await, Started::Superseded { latest: Generation(0) });
    assert_eq!(start(0, vec![step(1)]).await, Started::Superseded { latest: Generation(0) });
    assert_eq!(store.commit_decision(&decision(1, 0)).await.unwrap(), Committed::Yes);
    let Started::Yes(ids) = start(1, vec![step(1), step(2), step(3)]).await else { panic!("refused") };
    assert_eq!(ids.len(), 3);
    let failed = StepOutcome::Failed { why: "403".into(), transient: true };
    store.steps_finished(&[(ids[0], StepOutcome::Done), (ids[1], failed.clone())], at(2)).await.unwrap();

    let unfinished = store.unfinished_steps().await.unwrap();
    assert_eq!(unfinished.iter().map(|s| (s.id, &s.step)).collect::<Vec<_>>(), [(ids[2], &step(3))]);
    store.close().await.unwrap();
    let store = place.open().await;
    assert_eq!(store.mark_interrupted(at(3)).await.unwrap(), 1);
    assert_eq!(store.mark_interrupted(at(4)).await.unwrap(), 0);
    store.steps_finished(&[(ids[2], StepOutcome::Done)], at(5)).await.unwrap();
    let outcomes: Vec<Option<StepOutcome>> = store
        .history(Some(&fleet()), 3)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| match entry {
            HistoryEntry::Step(step) => step.outcome,
            other => panic!("{other:?}"),
        })
        .collect();
    let interrupted = StepOutcome::Unknown("interrupted".into());
    assert_eq!(outcomes, [Some(interrupted), Some(failed), Some(StepOutcome::Done)], "newest first");

    store.finish_decision(&fleet(), Generation(1), MoveState::Done, &ended(6)).await.unwrap();
    assert_eq!(store.commit_decision(&decision(2, 7)).await.unwrap(), Committed::Yes);
    assert_eq!(
        store.steps_started(&fence(1), &[step(1)], at(8)).await.unwrap(),
        Started::Superseded { latest: Generation(2) }
    );
}

async fn history_is_ordered_limited_filtered_and_json(place: Place) {
    let store = place.open().await;
    let other = Decision { fleet: "qa".parse().unwrap(), ..decision(1, 0) };
    assert_eq!(store.commit_decision(&other).await.unwrap(), Committed::Yes);
    store.record_event(&event(1, None)).await.unwrap();
    store.record_event(&event(1, Some(fleet()))).await.unwrap();
    assert_eq!(store.commit_decision(&decision(1, 1)).await.unwrap(), Committed::Yes);
    let fence = Fence::new(fleet(), Generation(1));
    assert!(matches!(store.steps_started(&fence, &[step(7)], at(1)).await.unwrap(), Started::Yes(_)));
    let all = store.history(None, 100).await.unwrap();
    let ids: Vec<i64> = all.iter().map(HistoryEntry::id).collect();
    assert_eq!(ids, [5, 4, 3, 2, 1], "what happened at the same time keeps its order");
    assert_eq!(store.history(Some(&fleet()), 100).await.unwrap(), all[..4]);
    assert_eq!(store.history(None, 2).await.unwrap(), all[..2]);
    let json = serde_json::to_value(&all[..2]).unwrap();
    assert_eq!(json[0]["entry"], "step");
    assert_eq!(json[0]["sentence"], "add tag rnd-runner to runner 7 of green");
    assert_eq!(json[1]["entry"], "decision");
    assert_eq!(json[1]["decision"]["gates"][0]["gate"], "enabled");
}

/// All futures are polled once before the writer runs: the queue fills, and what fits shares few transactions.
async fn many_at_once_share_transactions_and_too_many_are_told_to_come_again(place: Place) {
    let store = place.open().await;
    let burst = 9_000;
    let outcomes =
        join_all((0..burst).map(|i| store.upsert_signals(vec![firing(&format!("{i}"), 0, 0)]))).await;
    let (taken, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    let stats = store.stats();
    assert!(taken.len() >= 8_000 && !refused.is_empty(), "{stats:?}");
    assert!(refused.iter().all(|r| matches!(r, Err(error @ Error::Busy) if error.is_transient())));
    assert_eq!(store.load(at(1)).await.unwrap().signals.len(), taken.len());
    assert_eq!((stats.operations, stats.refused), (taken.len() as u64, refused.len() as u64));
    assert!(stats.commits < stats.operations / 10, "{stats:?}");
    assert_eq!(stats.queue_depth, 0);
}

async fn closing_writes_what_waits_and_takes_no_more(place: Place) {
    let store = place.open().await;
    let writes = join_all((0..50).map(|i| store.upsert_signals(vec![firing(&format!("{i}"), 0, 0)])));
    let (outcomes, closed) = tokio::join!(writes, store.clone().close());
    closed.unwrap();
    assert!(outcomes.iter().all(Result::is_ok));
    let late = store.upsert_signals(vec![firing("late", 0, 0)]).await;
    assert!(matches!(late, Err(Error::Closed)), "{late:?}");
    assert!(store.load(at(0)).await.is_err_and(|error| error.is_transient()));
    if let Place::Sqlite(directory) = &place {
        let wal = directory.path().join("switchyard.db-wal");
        assert!(!wal.exists() || wal.metadata().unwrap().len() == 0, "the file alone is whole");
    }
    assert_eq!(place.open().await.load(at(0)).await.unwrap().signals.len(), 50);
}

async fn opening_again_changes_nothing_and_a_newer_database_is_refused(place: Place) {
    for round in 0..3 {
        let store = place.open().await;
        store.upsert_signals(vec![firing(&round.to_string(), 0, 0)]).await.unwrap();
        store.close().await.unwrap();
    }
    let store = place.open().await;
    assert_eq!(store.load(at(0)).await.unwrap().signals.len(), 3);
    store.close().await.unwrap();

    sqlx::any::install_default_drivers();
    let raw = sqlx::AnyPool::connect(&place.url()).await.unwrap();
    // As the newest row, but for its number: the types of the columns differ.
    sqlx::raw_sql(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         SELECT 9999, 'future', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1",
    )
    .execute(&raw)
    .await
    .unwrap();
    raw.close().await;
    let refused = open_url(&place.url()).await;
    assert!(matches!(refused, Err(Error::Migrate(_))), "{refused:?}");
}

//! Several processes on one PostgreSQL. Each opens the store for itself; a relay stands for the network between.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::ensure;
use futures::future::join_all;
use sqlx::{Connection as _, PgConnection};
use switchyard::{
    clock::boot_time,
    model::{Epoch, Fence, Generation, Leadership, MoveState, StepOutcome},
    store::{Committed, Error, HistoryEntry, Holder, Started, Store},
};
use switchyard_lab::{
    parts::or_skip,
    postgres::Postgres,
    tcp::Relay,
    wait::{PATIENCE, until},
};

use crate::{at, decision, ended, event, firing, fleet, step};

const LEASE: Duration = Duration::from_secs(3);

struct Shared {
    url: String,
    server: Arc<Postgres>,
}

impl Shared {
    async fn new() -> Option<Self> {
        let server = or_skip(Postgres::shared().await)?;
        Some(Self { url: server.database().await.unwrap(), server })
    }

    async fn sql(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    async fn open(&self, name: &str) -> Store {
        open(&self.url, name).await
    }

    /// One more process, whose way to the database can be closed.
    async fn open_by_relay(&self, name: &str) -> (Store, Relay) {
        let relay = Relay::start(self.server.address()).await.unwrap();
        let url = self.url.replace(&self.server.address().to_string(), &relay.address().to_string());
        (open(&url, name).await, relay)
    }
}

async fn open(url: &str, name: &str) -> Store {
    Store::open(url, &Holder { listen: name.to_owned(), now: at(0) }, LEASE).await.unwrap()
}

fn stands_by(store: &Store, behind: &str) -> anyhow::Result<()> {
    let Leadership::StandsBy { leader: Some(leader) } = store.lease().leadership() else {
        anyhow::bail!("{}", store.lease().leadership())
    };
    ensure!(leader.name.ends_with(&format!("listening on {behind}")), "{}", leader.name);
    Ok(())
}

async fn knows_leader(store: &Store, name: &str) {
    until(PATIENCE, "it knows the leader", async || stands_by(store, name)).await.unwrap();
}

#[tokio::test]
async fn one_leads_and_only_that_one_writes_until_it_gives_the_lease_back() {
    let Some(shared) = Shared::new().await else { return };
    let a = shared.open("a").await;
    assert_eq!(a.lease().acquired().await.epoch, Epoch(1));
    let b = shared.open("b").await;
    knows_leader(&b, "a").await;
    assert_eq!(a.commit_decision(&decision(1, 0)).await.unwrap(), Committed::Yes);
    for refused in [
        b.commit_decision(&decision(2, 1)).await.map(drop),
        b.record_event(&event(1, None)).await,
        b.finish_decision(&fleet(), Generation(1), MoveState::Done, &ended(1)).await.map(drop),
        b.mark_interrupted(at(1)).await.map(drop),
        b.prune(at(1)).await.map(drop),
    ] {
        let Err(error @ Error::Fenced(_)) = refused else { panic!("{refused:?}") };
        assert!(error.is_transient() && error.to_string().contains("listening on a"), "{error}");
    }
    // Reading is for all, and so are reports of alerts: whoever brings them, they end in the same rows.
    assert_eq!(b.load(at(2)).await.unwrap().decisions[&fleet()], decision(1, 0));
    b.upsert_signals(vec![firing("f", 0, 1)]).await.unwrap();
    assert_eq!(a.load(at(2)).await.unwrap().signals.len(), 1);

    a.close().await.unwrap();
    let (holder, epoch): (Option<String>, i64) =
        sqlx::query_as("SELECT holder, epoch FROM lease").fetch_one(&mut shared.sql().await).await.unwrap();
    assert!(holder.is_none() || epoch == 2, "it was not given back: {holder:?}");
    assert_eq!(b.lease().acquired().await.epoch, Epoch(2));
    assert!(b.finish_decision(&fleet(), Generation(1), MoveState::Done, &ended(3)).await.unwrap());
    assert_eq!(b.commit_decision(&decision(2, 4)).await.unwrap(), Committed::Yes);
    let epochs: Vec<Epoch> = b
        .history(None, 10)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| match entry {
            HistoryEntry::Decision { epoch, .. } | HistoryEntry::Event { epoch, .. } => epoch,
            HistoryEntry::Step(step) => step.epoch,
        })
        .collect();
    assert_eq!(epochs, [Epoch(2), Epoch(2), Epoch(1)], "every row carries the epoch in which it was written");
}

/// What a leader does that does not know yet that another one leads: refused inside the transaction, and written down.
#[tokio::test]
async fn what_a_former_leader_writes_is_refused_and_the_journal_says_so() {
    let Some(shared) = Shared::new().await else { return };
    let a = shared.open("a").await;
    let old = a.pinned(a.lease().acquired().await);
    assert_eq!(old.commit_decision(&decision(1, 0)).await.unwrap(), Committed::Yes);
    let fence = Fence::new(fleet(), Generation(1));
    let Started::Yes(ids) = old.steps_started(&fence, &[step(1), step(2)], at(1)).await.unwrap() else {
        panic!("refused")
    };
    // Another one takes the lease in the same moment.
    let mut sql = shared.sql().await;
    sqlx::raw_sql("UPDATE lease SET epoch = epoch + 1, holder = 'somebody else'")
        .execute(&mut sql)
        .await
        .unwrap();
    let refused = |error: Result<(), Error>| {
        let Err(Error::Fenced(why)) = error else { panic!("{error:?}") };
        assert_eq!(why, "epoch 1 is over, somebody else leads (epoch 2)");
    };
    refused(old.steps_finished(&[(ids[0], StepOutcome::Done)], at(2)).await);
    refused(old.steps_started(&fence, &[step(3)], at(3)).await.map(drop));
    refused(old.finish_decision(&fleet(), Generation(1), MoveState::Done, &ended(4)).await.map(drop));
    refused(old.commit_decision(&decision(2, 5)).await.map(drop));
    refused(old.record_event(&event(6, None)).await);
    assert_eq!(a.lease().term(), None, "it knows now");
    let said: Vec<(i64, String)> =
        sqlx::query_as("SELECT epoch, sentence FROM event WHERE outcome = 'fenced' ORDER BY id")
            .fetch_all(&mut sql)
            .await
            .unwrap();
    let why = "; epoch 1 is over, somebody else leads (epoch 2)";
    let expected = [
        format!("the outcome of step {}: done", ids[0]),
        "steps of rnd (generation 1), none of which was taken: add tag rnd-runner to runner 3 of green"
            .to_owned(),
        "that the move of rnd (generation 1) is done".to_owned(),
        "the decision of a failover of rnd to green (generation 2)".to_owned(),
    ]
    .map(|what| (1, format!("refused from a former leader: {what}{why}")));
    assert_eq!(said, expected);
    let state = a.load(at(7)).await.unwrap();
    assert_eq!(state.decisions[&fleet()], decision(1, 0), "nothing else has changed");
    assert_eq!(a.unfinished_steps().await.unwrap().len(), 2);
}

/// Cut off by an end of its connections, and by silence: its term ends here before it begins there.
#[tokio::test]
async fn a_leader_that_cannot_renew_knows_that_its_term_is_over_before_anybody_else_leads() {
    let Some(shared) = Shared::new().await else { return };
    for round in 0..2 {
        let (a, relay) = shared.open_by_relay("a").await;
        let term = a.lease().acquired().await;
        let b = shared.open("b").await;
        knows_leader(&b, "a").await;
        if round == 0 {
            relay.cut()
        } else {
            relay.silence()
        }
        let over = async {
            until(PATIENCE, "the term is over", async || {
                ensure!(a.lease().term().is_none(), "it leads");
                Ok(boot_time())
            })
            .await
            .unwrap()
        };
        let taken = async {
            let taken = b.lease().acquired().await;
            (taken, boot_time())
        };
        let (over, (taken, at)) = tokio::join!(over, taken);
        assert_eq!(taken.epoch.0, term.epoch.0 + 1);
        assert!(over < at, "round {round}: both led for {:?}", over.since(at));
        assert!(a.lease().step_deadline(term).is_err());
        assert!(a.stats().renewal_failures > 0 && !a.stats().leads);
        // It can neither read nor write, and says so instead of waiting for ever.
        assert!(a.load(crate::at(0)).await.unwrap_err().is_transient());
        relay.mend();
        knows_leader(&a, "b").await;
        b.close().await.unwrap();
        a.close().await.unwrap();
    }
}

/// The database's clock jumps ahead: to it, every term is over. The leader renews all the same, and is seen to.
#[tokio::test]
async fn a_database_whose_clock_jumps_ends_no_term_early_and_makes_none_endless() {
    let Some(shared) = Shared::new().await else { return };
    let (a, relay) = shared.open_by_relay("a").await;
    a.lease().acquired().await;
    let b = shared.open("b").await;
    knows_leader(&b, "a").await;
    let mut sql = shared.sql().await;
    let renewals = "SELECT renewals FROM lease";
    let before: i64 = sqlx::query_scalar(renewals).fetch_one(&mut sql).await.unwrap();
    until(PATIENCE, "two terms have passed", async || {
        // As if it had jumped since the last renewal, again and again.
        sqlx::raw_sql("UPDATE lease SET renewed_at = renewed_at - 3600000 WHERE renewed_at > 3600000")
            .execute(&mut sql)
            .await?;
        let now: i64 = sqlx::query_scalar(renewals).fetch_one(&mut sql).await?;
        ensure!(now >= before + 12, "{now} of {before} + 12");
        Ok(())
    })
    .await
    .unwrap();
    assert!(a.lease().term().is_some() && b.lease().term().is_none(), "somebody took over");

    // It jumps back, and the leader is gone: its term began in the future, and ends in time nevertheless.
    let old = a.lease().term().unwrap();
    relay.silence();
    until(PATIENCE, "another one leads", async || {
        sqlx::raw_sql(
            "UPDATE lease SET renewed_at = renewed_at + 36000000 WHERE holder IS NOT NULL AND epoch = 1",
        )
        .execute(&mut sql)
        .await?;
        ensure!(b.lease().term().is_some(), "not yet");
        Ok(())
    })
    .await
    .unwrap();
    assert!(b.lease().term().unwrap().epoch > old.epoch);
}

/// A process that is frozen with a transaction open holds up nobody for long.
#[tokio::test]
async fn a_transaction_that_is_left_open_is_ended_by_the_server() {
    let Some(shared) = Shared::new().await else { return };
    let (a, relay) = shared.open_by_relay("a").await;
    a.lease().acquired().await;
    let b = shared.open("b").await;
    // Somewhere in the midst of its writes.
    let writes = tokio::spawn({
        let a = a.clone();
        async move { while a.record_event(&event(0, None)).await.is_ok() {} }
    });
    until(PATIENCE, "it writes", async || {
        ensure!(a.stats().commits > 20, "{:?}", a.stats());
        Ok(())
    })
    .await
    .unwrap();
    relay.silence();
    writes.await.unwrap();
    assert_eq!(b.lease().acquired().await.epoch, Epoch(2));
    b.record_event(&event(1, None)).await.unwrap();
}

/// Three processes, and connections that end at any moment: what was acknowledged is there, once and whole, and no
/// number of the story came twice.
#[tokio::test(flavor = "multi_thread")]
async fn promise_5_what_was_acknowledged_survives_cut_connections() {
    let Some(shared) = Shared::new().await else { return };
    let mut writers = Vec::new();
    let mut relays = Vec::new();
    for process in 0..3 {
        let (store, relay) = shared.open_by_relay(&process.to_string()).await;
        relays.push(relay);
        for writer in 0..4 {
            let store = store.clone();
            writers.push(tokio::spawn(async move {
                let (mut acknowledged, mut failed) = (Vec::new(), 0);
                for n in 0..60 {
                    let id = format!("{process}-{writer}-{n}");
                    match store.upsert_signals(vec![firing(&id, 0, 0), firing(&format!("{id}+"), 0, 0)]).await
                    {
                        Ok(_) => acknowledged.push(id),
                        Err(error) => {
                            assert!(error.is_transient(), "{error:?}");
                            failed += 1;
                        }
                    }
                    // Only the leader's are taken; the others are refused.
                    match store.record_event(&event(n, None)).await {
                        Ok(()) => {}
                        Err(error) => assert!(error.is_transient(), "{error:?}"),
                    }
                }
                (acknowledged, failed)
            }));
        }
    }
    let cutting = tokio::spawn(async move {
        for round in 0.. {
            tokio::time::sleep(Duration::from_millis(150)).await;
            let relay: &Relay = &relays[round % 3];
            relay.cut();
            tokio::time::sleep(Duration::from_millis(20)).await;
            relay.mend();
        }
    });
    let results = join_all(writers).await;
    cutting.abort();
    let mut acknowledged = BTreeSet::new();
    let mut failed = 0;
    for result in results {
        let (ids, failures) = result.unwrap();
        acknowledged.extend(ids);
        failed += failures;
    }
    assert!(acknowledged.len() > 100, "{} and {failed}", acknowledged.len());
    let mut sql = shared.sql().await;
    let stored: Vec<String> =
        sqlx::query_scalar("SELECT fingerprint FROM signal").fetch_all(&mut sql).await.unwrap();
    let stored: BTreeSet<String> = stored.into_iter().collect();
    for id in &acknowledged {
        assert!(stored.contains(id) && stored.contains(&format!("{id}+")), "{id} is lost");
    }
    for id in &stored {
        let other = id.strip_suffix('+').map_or(format!("{id}+"), str::to_owned);
        assert!(stored.contains(&other), "{id} is there without its other half");
    }
    let (rows, last): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM event), (SELECT value FROM sequence WHERE name = 'entry')",
    )
    .fetch_one(&mut sql)
    .await
    .unwrap();
    assert!(rows <= last, "{rows} rows with numbers up to {last}");
}

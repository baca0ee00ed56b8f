//! Commits that are lost: in the very moment in which a row of a failover is committed the connection to the database
//! breaks, or the leader is killed. No cut is left to chance: the database says which row it has written, and the way to it
//! loses the COMMIT that follows, or the answer to it.

use std::{collections::BTreeMap, path::Path};

use anyhow::ensure;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use switchyard_lab::{
    tcp::{Lost, Snare, Then},
    wait::{PATIENCE, until},
};

use crate::{
    pair::Pair,
    stage::{BINARY, Stage, WEBHOOK_TOKEN, alert, message},
};

/// Lets the database say what it writes, in the transaction that does.
const TELL: &str = "
    CREATE FUNCTION lab_tell() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE NOTICE 'lab: %.', TG_ARGV[0]; RETURN NEW; END $$;
    CREATE TRIGGER lab_1 AFTER INSERT ON decision FOR EACH ROW EXECUTE FUNCTION lab_tell('decided');
    CREATE TRIGGER lab_2 AFTER INSERT ON step FOR EACH ROW EXECUTE FUNCTION lab_tell('begun');
    CREATE TRIGGER lab_3 AFTER UPDATE OF finished_at ON step FOR EACH ROW EXECUTE FUNCTION lab_tell('ended');
    CREATE TRIGGER lab_4 AFTER UPDATE OF finished_at ON decision FOR EACH ROW EXECUTE FUNCTION lab_tell('moved');";

/// A transaction of a failover of two records, one step at a time: which of the rows of its kind it is the first to write,
/// and how many facts are in the journal before and after it.
#[derive(Debug, Clone, Copy)]
struct Commit {
    writes: &'static str,
    nth: usize,
    before: i64,
    after: i64,
}

const COMMITS: [Commit; 8] = [
    Commit { writes: "decided", nth: 1, before: 0, after: 1 },
    Commit { writes: "begun", nth: 1, before: 1, after: 3 },
    Commit { writes: "ended", nth: 1, before: 3, after: 4 },
    Commit { writes: "ended", nth: 2, before: 4, after: 5 },
    Commit { writes: "begun", nth: 3, before: 5, after: 7 },
    Commit { writes: "ended", nth: 3, before: 7, after: 8 },
    Commit { writes: "ended", nth: 4, before: 8, after: 9 },
    Commit { writes: "moved", nth: 1, before: 9, after: 10 },
];

/// A pair whose fleet fails over again and again.
struct Yard {
    pair: Pair,
    moves: usize,
    /// How many writes there were before this move.
    written: usize,
}

impl Yard {
    async fn new() -> Option<Self> {
        let mut stage = Stage::new().await;
        stage.settings["gitlab"]["concurrency"] = json!(1);
        stage.settings["fleets"]["rnd"]["cool_down"] = json!("0s");
        stage.settings["limits"] = json!({ "moves": 1000 });
        let pair = Pair::on(stage, [Path::new(BINARY); 2]).await?;
        sqlx::raw_sql(TELL).execute(&mut pair.sql().await).await.unwrap();
        Some(Self { pair, moves: 0, written: 0 })
    }

    /// The holder dies, and Alertmanager tells the leader. The commit is lost.
    async fn lose(&mut self, commit: Commit, lost: Lost, then: Then) {
        let (from, to) = if self.moves.is_multiple_of(2) { ("blue", "green") } else { ("green", "blue") };
        let word = format!("lab: {}.", commit.writes);
        let mut sprung = self.pair.a.relay.lay(Snare { word, nth: commit.nth, lost, then });
        self.moves += 1;
        let dies = alert(&format!("f{}", self.moves), "failover", from, None);
        let before = alert(&format!("f{}", self.moves - 1), "failover", to, Some(0));
        let mut fires = vec![alert("w", "watchdog", "", None), dies];
        let told = message(&[&fires[..], &[before]].concat());
        for firing in &mut fires {
            firing["status"] = json!({"state": "active", "silencedBy": [], "inhibitedBy": []});
            firing["updatedAt"] = firing["startsAt"].clone();
        }
        {
            let mut says = self.pair.stage.standins.says();
            says.well = BTreeMap::from([(from, 0.0), (to, 1.0)]);
            says.alerts = fires;
        }
        let leader = &self.pair.a;
        let (status, said) = leader.send(Method::POST, "/api/v1/alerts", WEBHOOK_TOKEN, &told).await.unwrap();
        assert_eq!(status, 200, "{said}");
        let waited = tokio::time::timeout(PATIENCE, sprung.wait()).await;
        assert!(waited.is_ok(), "{commit:?} was never written\n{}", self.pair.a.log());
    }

    /// How many facts of the move under way are in the journal.
    async fn facts(&self) -> i64 {
        let of = |table| {
            format!(
                "(SELECT count(*) + count(finished_at) FROM {table} WHERE generation = {})",
                self.moves + 1
            )
        };
        let sql = format!("SELECT {} + {}", of("decision"), of("step"));
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&mut self.pair.sql().await).await.unwrap()
    }

    /// The leader has brought the move to its end: one move, each record written once, nothing forgotten.
    async fn converged(&mut self) {
        let (generation, to) = (self.moves + 1, if self.moves.is_multiple_of(2) { "blue" } else { "green" });
        let done = |fleet: &Value| {
            fleet["generation"] == generation
                && fleet["decision"]["to"] == to
                && fleet["decision"]["state"] == "done"
        };
        self.pair.a.fleet_until("the move is done", done).await;
        let mut sql = self.pair.sql().await;
        let told: Vec<(i64, String, String)> = sqlx::query_as(
            "SELECT decision.generation, decision.state, event.outcome FROM decision JOIN event \
             ON event.fleet = decision.fleet AND event.sentence LIKE '%(generation ' || decision.generation || ').' \
             WHERE kind <> 'adopt' AND event.outcome LIKE 'move_%' ORDER BY decision.generation",
        )
        .fetch_all(&mut sql)
        .await
        .unwrap();
        let wanted: Vec<(i64, String, String)> = (2..)
            .take(self.moves)
            .map(|generation| (generation, "done".to_owned(), "move_done".to_owned()))
            .collect();
        assert_eq!(told, wanted, "every move is there once, and its end was told once");
        let open: i64 = sqlx::query_scalar("SELECT count(*) FROM step WHERE finished_at IS NULL")
            .fetch_one(&mut sql)
            .await
            .unwrap();
        assert_eq!(open, 0, "what nobody knows is unknown");
        let writes = self.pair.writes();
        let mut counts = BTreeMap::<u64, usize>::new();
        for write in &writes[self.written..] {
            assert!(write.changed, "{write:?}");
            *counts.entry(write.runner_id).or_default() += 1;
        }
        assert_eq!(counts.into_values().collect::<Vec<_>>(), [1; 4], "{:?}", &writes[self.written..]);
        self.written = writes.len();
        self.pair.never_two_acted().await;
    }

    async fn firing(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT fingerprint FROM signal WHERE state = 'firing' ORDER BY fingerprint")
            .fetch_all(&mut self.pair.sql().await)
            .await
            .unwrap()
    }
}

/// What comes of every one of them, the way to the database being there again at once.
#[tokio::test]
async fn promise_5_a_commit_of_which_nobody_knows_is_looked_up_and_the_move_made_once() {
    let Some(mut yard) = Yard::new().await else { return };
    let unknown = |yard: &Yard| yard.pair.a.log().matches("nobody knows whether it was written").count();
    for commit in COMMITS.into_iter().filter(|commit| commit.nth == 1) {
        for lost in [Lost::Request, Lost::Answer] {
            let before = unknown(&yard);
            yard.lose(commit, lost, Then::End).await;
            until(PATIENCE, "the loop says that it does not know", async || {
                let times = unknown(&yard) - before;
                ensure!(times == 1, "{commit:?} {lost:?}: {times} times\n{}", yard.pair.a.log());
                Ok(())
            })
            .await
            .unwrap();
            yard.converged().await;
            assert_eq!(unknown(&yard), before + 1, "{commit:?} {lost:?}");
            assert_eq!(yard.firing().await, [format!("f{}", yard.moves), "w".to_owned()]);
        }
    }
    assert!(yard.pair.a.leads().await.unwrap());
    assert_eq!(Pair::term(&yard.pair.database).await.unwrap().0, 1, "the lease is another connection");
}

/// The leader is killed there, and comes back as the one that stands by: they lead in turns.
#[tokio::test]
async fn promise_5_a_leader_killed_at_any_row_leaves_a_move_that_the_other_one_finishes() {
    const PAIRS: usize = 3;
    let cuts: Vec<(Commit, Lost)> =
        COMMITS.into_iter().flat_map(|commit| [(commit, Lost::Request), (commit, Lost::Answer)]).collect();
    let taken = join_all((0..PAIRS).map(async |number| {
        let mut yard = Yard::new().await?;
        for (commit, lost) in cuts.iter().copied().skip(number).step_by(PAIRS) {
            killed_at(&mut yard, commit, lost).await;
        }
        Some(yard.moves)
    }))
    .await;
    let Some(moves) = taken.into_iter().collect::<Option<Vec<usize>>>() else { return };
    assert_eq!(moves.iter().sum::<usize>(), cuts.len(), "every cut was made");
}

async fn killed_at(yard: &mut Yard, commit: Commit, lost: Lost) {
    yard.lose(commit, lost, Then::Silence).await;
    yard.pair.a.switchyard.kill9().await.unwrap();
    let wanted = if lost == Lost::Request { commit.before } else { commit.after };
    assert_eq!(yard.facts().await, wanted, "killed at {commit:?} {lost:?}");
    yard.pair.a.relay.mend();
    yard.pair.taken_over().await;
    yard.pair.a.switchyard.restart().await.unwrap();
    std::mem::swap(&mut yard.pair.a, &mut yard.pair.b);
    yard.converged().await;

    // The survivor tells who led when; of a move that both had a hand in, each row is of the one that wrote it.
    let (epoch, generation) = (yard.pair.terms.len(), yard.moves + 1);
    let leader = &yard.pair.a.switchyard;
    let story = leader.cli(&["history", "--limit", "1000"]).await.unwrap().stdout;
    for epoch in [epoch - 1, epoch] {
        let line = format!(" leads (epoch {epoch}).");
        assert_eq!(story.matches(&line).count(), 1, "{line:?}\n{story}");
    }
    let entries = leader.api("history?fleet=rnd&limit=1000").await.unwrap();
    let mut epochs: Vec<u64> = entries
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["generation"] == generation || entry["decision"]["generation"] == generation)
        .map(|entry| entry["epoch"].as_u64().unwrap())
        .collect();
    epochs.sort_unstable();
    epochs.dedup();
    let (old, new) = (epoch as u64 - 1, epoch as u64);
    let possible: &[&[u64]] = match (commit.writes, commit.nth, lost) {
        ("decided", _, Lost::Request) => &[&[new]],
        ("moved", ..) | ("ended", 4, _) => &[&[old]],
        // The last step may have been taken before the process was dead.
        ("ended", 3, _) => &[&[old], &[old, new]],
        _ => &[&[old, new]],
    };
    assert!(possible.contains(&&epochs[..]), "{commit:?} {lost:?}: {epochs:?}\n{entries:#}");
}

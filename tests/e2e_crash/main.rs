//! Switchyard is killed at every place of a failover: before each row of its journal, and with each write to GitLab and
//! DNS sent and not yet carried out. After a restart it brings the same move to its end, and makes no second one.
//!
//! No cut is left to chance: a trigger in the store's own file makes the process stop before the row that is asked for
//! ([`journal`]), and a fault or a proxy holds the write that is asked for. One scene serves many failovers, from
//! cluster to cluster; what died before is revived meanwhile.

#![expect(clippy::unwrap_used, reason = "a broken laboratory ends the test")]

mod journal;
mod proxy;

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::future::join_all;
use serde_json::json;
use switchyard_lab::{
    gitlab::{Audit, Fault, Kind, Match, Routing},
    parts::{Flavour, or_skip},
    scene::{Scene, SceneConfig, TAG},
    wait::{PATIENCE, until},
};

use journal::Journal;
use proxy::Proxy;

/// Where the process is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before this fact is written down, counted from 1.
    Row(i64),
    /// Its n-th write to GitLab of this move is sent, and not carried out.
    Write(u64),
    /// Its update is sent to the DNS server, and not carried out.
    Update,
}

/// A place, and what is so there: facts in the journal, writes in GitLab, whether the name has been switched.
struct Cut {
    place: Place,
    facts: i64,
    writes: usize,
    named: bool,
}

/// The facts of a failover of two records, one step at a time: 1 the decision; 2 and 3 two steps begun (one
/// transaction); 4 and 5 ended; 6 and 7 the name; 8 and 9 two steps begun; 10 and 11 ended; 12 the move done, and 13 the
/// sentence about it (one transaction).
const CUTS: [Cut; 18] = [
    cut(Place::Row(1), 0, 0, false),
    cut(Place::Row(2), 1, 0, false),
    cut(Place::Row(3), 1, 0, false),
    cut(Place::Write(1), 3, 0, false),
    cut(Place::Row(4), 3, 1, false),
    cut(Place::Write(2), 4, 1, false),
    cut(Place::Row(5), 4, 2, false),
    cut(Place::Row(6), 5, 2, false),
    cut(Place::Update, 6, 2, false),
    cut(Place::Row(7), 6, 2, true),
    cut(Place::Row(8), 7, 2, true),
    cut(Place::Row(9), 7, 2, true),
    cut(Place::Write(3), 9, 2, true),
    cut(Place::Row(10), 9, 3, true),
    cut(Place::Write(4), 10, 3, true),
    cut(Place::Row(11), 10, 4, true),
    cut(Place::Row(12), 11, 4, true),
    cut(Place::Row(13), 11, 4, true),
];

const fn cut(place: Place, facts: i64, writes: usize, named: bool) -> Cut {
    Cut { place, facts, writes, named }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, after {} facts", self.place, self.facts)
    }
}

/// One scene, and what has been moved in it so far.
struct Stage {
    scene: Scene,
    journal: Journal,
    proxy: Proxy,
    moves: usize,
    writes: usize,
}

impl Stage {
    /// None when a part is missing.
    async fn start() -> Option<Self> {
        let config = SceneConfig {
            flavour: Flavour::Debian,
            switchyard: Some(PathBuf::from(env!("CARGO_BIN_EXE_switchyard"))),
            // The next failover does not wait until the alert about the one before has ended.
            clusters: ["blue", "green", "red", "grey"].map(str::to_owned).to_vec(),
            // One step at a time, so that each has a transaction of its own.
            settings: json!({ "gitlab": { "concurrency": 1 }, "fleets": { "rnd": { "cool_down": "0s" } } }),
            ..SceneConfig::default()
        };
        let mut scene = or_skip(Scene::start(config).await)?;
        let proxy = Proxy::start(scene.bind.server().parse().unwrap()).await.unwrap();
        let server = scene.bind.server();
        let product = scene.product().unwrap();
        product.kill9().await.unwrap();
        let text = std::fs::read_to_string(product.config()).unwrap();
        assert_eq!(text.matches(&server).count(), 1, "{text}");
        std::fs::write(product.config(), text.replace(&server, &proxy.address().to_string())).unwrap();
        product.restart().await.unwrap();
        scene.settled().await.unwrap();
        let journal = Journal::open(&scene.dir().join("switchyard.db")).await.unwrap();
        Some(Self { scene, journal, proxy, moves: 0, writes: 0 })
    }

    /// The writes of the move under way, or of the last one.
    fn written(&self) -> Vec<Audit> {
        let all = self.scene.gitlab.admin().changes();
        all.into_iter().filter(|write| write.token == "switchyard").skip(self.writes).collect()
    }

    /// Lets the holder die, kills Switchyard at the cut, starts it again, and looks at what becomes of the move.
    async fn killed_at(&mut self, cut: &Cut) -> Result<()> {
        let from = self.holder()?;
        match cut.place {
            Place::Row(row) => self.journal.stop_before(row).await?,
            Place::Write(number) => {
                self.journal.stop_before(i64::MAX).await?;
                let held = Fault::new(Match::operation("^update_runner$"), Kind::Hang).after(number - 1);
                self.scene.gitlab.admin().fault(held);
            }
            Place::Update => {
                self.journal.stop_before(i64::MAX).await?;
                self.proxy.hold(true);
            }
        }
        self.scene.kill(&from).await?;
        self.stopped(cut).await?;
        self.scene.product()?.kill9().await?;

        let facts = self.journal.facts().await?;
        ensure!(facts == cut.facts, "killed after {facts} facts");
        let writes = self.written().len();
        ensure!(writes == cut.writes, "killed after {writes} writes");
        let name = self.scene.dig().await?;
        ensure!((name != from) == cut.named, "killed with the name at {name}");

        self.journal.go_on().await?;
        self.scene.gitlab.admin().clear_faults();
        self.proxy.hold(false);
        self.scene.product()?.restart().await?;
        self.moves += 1;
        self.converged(&from).await?;
        self.writes += self.written().len();
        self.scene.revive(&from).await
    }

    fn holder(&self) -> Result<String> {
        let holders = self.scene.holders();
        ensure!(holders.len() == 1, "{holders:?} hold the fleet");
        Ok(holders.concat())
    }

    /// Waits until the process cannot get on, at the place asked for.
    async fn stopped(&mut self, cut: &Cut) -> Result<()> {
        match cut.place {
            Place::Row(_) => self.journal.stopped(cut.facts).await,
            Place::Write(_) => {
                let admin = self.scene.gitlab.admin();
                until(PATIENCE, "GitLab holds the write", async || {
                    ensure!(admin.held_requests() == 1, "it does not");
                    Ok(())
                })
                .await
            }
            Place::Update => {
                until(PATIENCE, "the update is held", async || {
                    ensure!(self.proxy.held() == 1, "it is not");
                    Ok(())
                })
                .await
            }
        }
    }

    /// One decision, each write once, the fleet in one other cluster; and nothing more after further passes.
    async fn converged(&self, from: &str) -> Result<()> {
        let done = async || {
            let moves = self.scene.moves().await?;
            ensure!(moves.len() == self.moves, "{moves:?}");
            ensure!(moves.iter().all(|(kind, state)| kind == "failover" && state == "done"), "{moves:?}");
            let to = self.holder()?;
            ensure!(to != from, "still in {from}");
            self.scene.moved_to(&to).await
        };
        until(PATIENCE, "the move is done", done).await?;
        self.scene.passes(2).await?;
        done().await?;
        written_once(&self.written())
    }
}

/// The tag came to each record at most once, and left each at most once.
fn written_once(writes: &[Audit]) -> Result<()> {
    let mut counts = BTreeMap::<(u64, bool), usize>::new();
    for write in writes {
        let tagged =
            |routing: Option<&Routing>| routing.is_some_and(|r| r.tag_list.iter().any(|tag| tag == TAG));
        let (before, after) = (tagged(write.old.as_ref()), tagged(write.new.as_ref()));
        ensure!(before != after, "a write that moves no tag: {write:?}");
        *counts.entry((write.runner_id, after)).or_default() += 1;
    }
    ensure!(counts.values().all(|count| *count == 1), "{counts:?}");
    ensure!(counts.len() == 4, "two records gain the tag and two lose it: {counts:?}");
    Ok(())
}

#[tokio::test]
async fn promise_5_a_kill_between_any_two_rows_converges_without_a_second_move() {
    const SCENES: usize = 3;
    let scene = async |number: usize| {
        let mut stage = Stage::start().await?;
        for cut in CUTS.iter().skip(number).step_by(SCENES) {
            stage.killed_at(cut).await.with_context(|| cut.to_string()).unwrap();
        }
        stage.scene.no_secret_is_shown("").await.unwrap();
        Some(stage.moves)
    };
    let moves = join_all((0..SCENES).map(scene)).await;
    let Some(moves) = moves.into_iter().collect::<Option<Vec<_>>>() else { return };
    assert_eq!(moves.iter().sum::<usize>(), CUTS.len(), "every cut was made");
}

#[tokio::test]
async fn promise_3_a_restart_in_quiet_times_moves_nothing() {
    let switchyard = Some(PathBuf::from(env!("CARGO_BIN_EXE_switchyard")));
    let config = SceneConfig { flavour: Flavour::Debian, switchyard, ..SceneConfig::default() };
    let Some(mut scene) = or_skip(Scene::start(config).await) else { return };
    scene.settled().await.unwrap();
    scene.product().unwrap().kill9().await.unwrap();
    scene.product().unwrap().restart().await.unwrap();
    scene.passes(3).await.unwrap();
    scene.unmoved().await.unwrap();
    scene.product().unwrap().terminate().await.unwrap();
    scene.product().unwrap().restart().await.unwrap();
    until(Duration::from_secs(60), "it looks after the fleet again", async || scene.passes(1).await)
        .await
        .unwrap();
    scene.unmoved().await.unwrap();
}

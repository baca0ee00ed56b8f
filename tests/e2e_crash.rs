//! Switchyard is killed between the journal's rows of a failover, at every place in turn: after a restart it brings
//! the same move to its end, and makes no second one.

#![expect(clippy::unwrap_used, reason = "a broken laboratory ends the test")]

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, stream};
use serde_json::Value;
use switchyard_lab::{
    gitlab::{Fault, Kind, Match},
    parts::{Flavour, or_skip},
    scene::{Scene, SceneConfig, TAG},
    wait::{PATIENCE, until},
};

/// Decision; two records tagged, the name switched, two records untagged, each begun and ended; move done.
const ROWS: usize = 1 + 2 * (2 + 1 + 2) + 1;

/// What the journal holds of the failover: each fact counts as a row.
fn rows(history: &[Value]) -> usize {
    let facts = |entry: &Value| match entry["entry"].as_str() {
        Some("decision") if entry["decision"]["kind"] == "failover" => {
            1 + usize::from(!entry["decision"]["finished_at"].is_null())
        }
        Some("step") => 1 + usize::from(!entry["finished_at"].is_null()),
        _ => 0,
    };
    history.iter().map(facts).sum()
}

/// Fails over, kills Switchyard once the journal has `cut` rows, and returns how many it had when it was started
/// again. None when a part is missing.
async fn killed_at(cut: usize) -> Option<usize> {
    let switchyard = Some(PathBuf::from(env!("CARGO_BIN_EXE_switchyard")));
    let config = SceneConfig { flavour: Flavour::Debian, switchyard, ..SceneConfig::default() };
    let mut scene = or_skip(Scene::start(config).await)?;
    scene.settled().await.unwrap();
    // Slow writes keep the rows apart. The write in flight is carried out all the same, or is not: both happen.
    scene.gitlab.admin().fault(Fault::new(Match::operation("update_runner"), Kind::Latency { ms: 150 }));
    scene.kill("blue").await.unwrap();
    let seen = journal_has(&scene, cut).await.unwrap();
    scene.product().unwrap().kill9().await.unwrap();
    scene.product().unwrap().restart().await.unwrap();
    scene.moved_to("green").await.with_context(|| format!("killed after {seen} rows")).unwrap();
    scene.passes(3).await.unwrap();
    scene.moved_to("green").await.unwrap();
    let moves = scene.moves().await.unwrap();
    assert_eq!(moves, [("failover".to_owned(), "done".to_owned())], "killed after {seen} rows");
    written_once(&scene).with_context(|| format!("killed after {seen} rows")).unwrap();
    Some(seen)
}

async fn journal_has(scene: &Scene, cut: usize) -> Result<usize> {
    // Asked without a pause: the next row is a few milliseconds away.
    let look = async {
        loop {
            let seen = rows(&scene.history().await?);
            if seen >= cut {
                return Ok(seen);
            }
        }
    };
    tokio::time::timeout(PATIENCE, look).await.with_context(|| format!("{cut} rows did not come"))?
}

/// The tag came to each record at most once, and left each at most once.
fn written_once(scene: &Scene) -> Result<()> {
    let mut writes = BTreeMap::<(u64, bool), usize>::new();
    for write in scene.gitlab.admin().changes().iter().filter(|write| write.token == "switchyard") {
        let tagged = |routing: Option<&switchyard_lab::gitlab::Routing>| {
            routing.is_some_and(|r| r.tag_list.iter().any(|tag| tag == TAG))
        };
        let (before, after) = (tagged(write.old.as_ref()), tagged(write.new.as_ref()));
        ensure!(before != after, "a write that moves no tag: {write:?}");
        *writes.entry((write.runner_id, after)).or_default() += 1;
    }
    ensure!(writes.values().all(|count| *count == 1), "{writes:?}");
    ensure!(writes.len() == 4, "two records gain the tag and two lose it: {writes:?}");
    Ok(())
}

#[tokio::test]
async fn promise_5_a_kill_between_any_two_rows_converges_without_a_second_move() {
    // Three scenes at a time: most of each is waiting.
    let cuts = stream::iter(1..=ROWS).map(killed_at).buffer_unordered(3);
    let seen: Vec<Option<usize>> = cuts.collect().await;
    let Some(mut seen) = seen.into_iter().collect::<Option<Vec<_>>>() else { return };
    seen.sort_unstable();
    seen.dedup();
    println!("killed after {seen:?} of {ROWS} rows");
    assert!(seen.len() >= ROWS / 2, "the cuts were not spread over the move: {seen:?}");
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

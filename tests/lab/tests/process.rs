//! Nothing that was started stays.

#![expect(clippy::unwrap_used, reason = "a broken laboratory ends the test")]

use std::{path::Path, time::Duration};

use anyhow::ensure;
use switchyard_lab::{
    process::{Process, Program},
    wait::{PATIENCE, until},
};

/// Two processes: a shell, and a `sleep` that it started.
const FAMILY: &str = "sleep 3600 & echo $! >child; wait";

fn start(dir: &Path) -> Process {
    Program::new("family", "/bin/sh").args(["-c", FAMILY]).dir(dir).start(dir).unwrap()
}

async fn child_of(dir: &Path) -> i32 {
    until(PATIENCE, "the child is named", async || {
        Ok(std::fs::read_to_string(dir.join("child"))?.trim().parse()?)
    })
    .await
    .unwrap()
}

fn alive(pid: i32) -> bool {
    // A zombie has ended; who reaps it is not our business.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z') && !rest.is_empty())
}

async fn gone(pids: &[i32]) {
    until(PATIENCE, "they are gone", async || {
        let left: Vec<_> = pids.iter().filter(|pid| alive(**pid)).collect();
        ensure!(left.is_empty(), "{left:?} live");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_dropped_process_takes_its_children_along() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    let pids = [process.id(), child_of(dir.path()).await];
    assert!(alive(pids[0]) && alive(pids[1]));
    drop(process);
    gone(&pids).await;
}

#[tokio::test]
async fn kill9_takes_the_children_along_and_a_new_start_works() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = start(dir.path());
    let pids = [process.id(), child_of(dir.path()).await];
    process.kill9().await.unwrap();
    assert!(!alive(pids[0]));
    gone(&pids).await;
    assert!(process.pause().is_err(), "the number may be somebody else's");
    let again = process.program().start(dir.path()).unwrap();
    assert!(alive(again.id()));
}

/// Run by the test below, in a process of its own that is then killed.
#[tokio::test]
#[ignore = "a role in another test"]
async fn role_owner() {
    let Some(dir) = std::env::var_os("LAB_TEST_DIR") else { return };
    let dir = Path::new(&dir);
    let process = start(dir);
    // A frozen process must go, too.
    let frozen = Program::new("frozen", "/bin/sleep").arg("3600").start(dir).unwrap();
    frozen.pause().unwrap();
    let text = format!("{} {}", process.id(), frozen.id());
    std::fs::write(dir.join("new"), text).unwrap();
    std::fs::rename(dir.join("new"), dir.join("owned")).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_test_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut owner = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "role_owner", "--ignored", "--nocapture"])
        .env("LAB_TEST_DIR", dir.path())
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let owned = until(PATIENCE, "the owner has started them", async || {
        Ok(std::fs::read_to_string(dir.path().join("owned"))?)
    })
    .await
    .unwrap();
    let mut pids: Vec<i32> = owned.split(' ').map(|pid| pid.parse().unwrap()).collect();
    pids.push(child_of(dir.path()).await);
    assert!(pids.iter().all(|pid| alive(*pid)));
    owner.kill().await.unwrap();
    gone(&pids).await;
}

#[tokio::test]
async fn a_program_that_ends_early_is_told_with_its_last_words() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::new("short", "/bin/sh").args(["-c", "echo port is taken; exit 3"]);
    let mut process = program.start(dir.path()).unwrap();
    let never = async || -> anyhow::Result<()> { anyhow::bail!("not yet") };
    let error = process.ready(Duration::from_secs(60), never).await.unwrap_err().to_string();
    assert!(error.contains("exit status: 3") && error.contains("port is taken"), "{error}");
}

/// Whoever stops the storms is told what was played, and nothing of it stays.
#[tokio::test]
async fn storms_that_are_stopped_tell_their_sum_and_clean_up() {
    let dir = tempfile::tempdir().unwrap();
    let storm = Program::new("storm", env!("CARGO_BIN_EXE_storm")).args(["--seed", "1", "--threads", "2"]);
    let mut process = storm.start(dir.path()).unwrap();
    let log = process.log().to_owned();
    until(PATIENCE, "storms are played", async || {
        ensure!(std::fs::read_to_string(&log)?.contains(" per second, "));
        Ok(())
    })
    .await
    .unwrap();
    let own = format!("switchyard-simulate-{}-", process.id());
    assert!(process.interrupt(PATIENCE).await.unwrap().success());
    let told = std::fs::read_to_string(&log).unwrap();
    let (_, sum) = told.split_once("stopped; no promise was broken\n").expect(&told);
    assert!(
        sum.contains(" storms, ") && sum.contains(" per second, ") && sum.contains("killed at:"),
        "{told}"
    );
    for place in [Path::new("/dev/shm"), &std::env::temp_dir()] {
        let names = std::fs::read_dir(place).into_iter().flatten().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with(&own)).collect();
        assert!(left.is_empty(), "{left:?} stay in {}", place.display());
    }
}

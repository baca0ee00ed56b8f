//! Many alert groups at once: all of them in the store, none refused for good, and memory within bounds.

use std::{fs, time::Duration};

use sqlx::Connection as _;
use switchyard_lab::{parts::Flavour, wait::until};

use crate::stage::{HOUR, Setup, Stage, alert};

const GROUPS: usize = 5_000;
/// A few seconds on an idle machine, minutes on one that builds something beside.
const LONG: Duration = Duration::from_secs(900);
/// Of resident memory at its highest. Five thousand connections at once, each with its buffers and its message, took
/// about a third of this.
const MOST_MEMORY_KIB: u64 = 384 * 1024;

/// The highest resident memory of a process.
fn peak_kib(process: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Every alert is a group of its own, so Alertmanager posts all of them at once. The store cannot write at first, so that
/// Switchyard answers 503.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_groups_at_once_are_all_stored_in_bounded_memory() {
    let setup = Setup { direct: true, ..Setup::new(Flavour::Pinned) };
    let Some(mut stage) = Stage::start(setup).await else { return };
    let process = stage.switchyard.process().id();
    let before = peak_kib(process);
    let mut other = stage.open_store().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();

    let names: Vec<String> = (0..GROUPS).map(|n| format!("Group{n}")).collect();
    for names in names.chunks(500) {
        let labels: Vec<_> = names.iter().map(|name| alert(name)).collect();
        let labels: Vec<&[(&str, &str)]> = labels.iter().map(|labels| &labels[..]).collect();
        // It is busy sending: it may be slow to take more.
        until(LONG, "Alertmanager has them", async || stage.alertmanager().post_all(&labels, HOUR).await)
            .await
            .unwrap();
    }
    let codes = "switchyard_webhook_requests_total";
    // A look gets through the storm, though nothing of it can be stored.
    stage.counted(codes, &[("code", "503")], 1.0).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();

    until(LONG, "all are stored", async || {
        let mut store = stage.open_store().await;
        let count: i64 =
            sqlx::query_scalar("SELECT count(DISTINCT fingerprint) FROM signal WHERE action = 'failover'")
                .fetch_one(&mut store)
                .await?;
        store.close().await?;
        anyhow::ensure!(usize::try_from(count)? == GROUPS, "{count}");
        Ok(())
    })
    .await
    .unwrap();
    // When the last retries have been answered, a look gets through.
    stage.counted(codes, &[("code", "503")], 1.0).await;
    let busy = stage.metric(codes, &[("code", "503")]).await;
    let taken = stage.metric(codes, &[("code", "200")]).await;
    let (commits, peak) = (stage.metric("switchyard_store_commits_total", &[]).await, peak_kib(process));
    eprintln!(
        "{GROUPS} groups: {taken} messages taken, {busy} answered 503 and sent again, {commits} transactions, \
         peak memory {} MiB ({} before)",
        peak / 1024,
        before / 1024
    );
    assert!(busy >= 1.0, "the store was never busy");
    assert!(peak < MOST_MEMORY_KIB, "{peak} KiB");
}

//! Many alert groups at once: all of them in the store, none refused for good, and memory within bounds.

use std::{net::IpAddr, time::Duration};

use anyhow::Result;
use futures::future::join_all;
use serde_json::json;
use sqlx::Connection as _;
use switchyard::model::SignedDuration;
use switchyard_lab::{
    exposition::Page,
    parts::Flavour,
    wait::{PATIENCE, until},
};

use crate::{
    BESIDE,
    stage::{Peers, Setup, Stage, alert, now},
};

const GROUPS: usize = 5_000;
/// Half a minute on an idle machine, minutes on one that builds something beside.
const LONG: Duration = Duration::from_secs(900);
/// Of resident memory at its highest. Five thousand connections at once, each with its buffers and its message, took
/// about a third of this.
const MOST_MEMORY_KIB: u64 = 384 * 1024;

/// The metrics, asked for from another address, as Prometheus would: what Alertmanager does to its own connections is not its
/// business.
async fn look(stage: &Stage) -> Result<Page> {
    let neighbour = "127.0.0.2".parse::<IpAddr>()?;
    let client = reqwest::Client::builder().local_address(neighbour).no_proxy().timeout(PATIENCE).build()?;
    let answer = client.get(format!("{}/metrics", stage.switchyard.url())).send().await?;
    Ok(Page::parse(&answer.error_for_status()?.text().await?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_groups_at_once_are_all_stored_in_bounded_memory() {
    burst(Peers::One).await;
}

/// None of them waits for the ones before it, so each group comes three times, and all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_groups_at_once_of_three_peers_are_all_stored_once_in_bounded_memory() {
    burst(Peers::Three(Duration::from_millis(1))).await;
}

/// Every alert is a group of its own, and each Alertmanager posts all of them at once. The store cannot write at first, so that
/// Switchyard answers 503.
#[expect(clippy::print_stderr, reason = "a run says what it came to")]
async fn burst(peers: Peers) {
    let _alone = BESIDE.write().await;
    let mut setup = Setup { peers, direct: true, ..Setup::one_flush(Flavour::Pinned) };
    // Long enough for Alertmanager to hear of all alerts before it sends the first.
    setup.route["group_wait"] = json!("10s");
    let Some(mut stage) = Stage::start(setup).await else { return };
    let before = stage.switchyard.process().peak_kib().unwrap();
    let mut other = stage.open_store().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();

    let names: Vec<String> = (0..GROUPS).map(|n| format!("Group{n}")).collect();
    // One start for all: it names the episode.
    let (starts, ends) = (now() - SignedDuration::from_secs(1), now() + SignedDuration::from_hours(1));
    for names in names.chunks(500) {
        let labels: Vec<_> = names.iter().map(|name| alert(name)).collect();
        let labels: Vec<&[(&str, &str)]> = labels.iter().map(|labels| &labels[..]).collect();
        join_all(stage.alertmanagers.iter().map(async |peer| {
            until(LONG, "Alertmanager has them", async || peer.post_since(&labels, starts, ends).await).await
        }))
        .await
        .into_iter()
        .collect::<Result<Vec<()>>>()
        .unwrap();
    }
    let codes = "switchyard_webhook_requests_total";
    // A look gets through the storm, though nothing of it can be stored.
    until(LONG, "something is answered 503", async || {
        let busy = look(&stage).await?.value(codes, &[("code", "503")]);
        anyhow::ensure!(busy >= Some(1.0), "{busy:?}");
        Ok(())
    })
    .await
    .unwrap();
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();

    until(LONG, "all are stored", async || {
        let mut store = stage.open_store().await;
        let (alerts, episodes): (i64, i64) = sqlx::query_as(
            "SELECT count(DISTINCT fingerprint), count(*) FROM signal WHERE action = 'failover'",
        )
        .fetch_one(&mut store)
        .await?;
        store.close().await?;
        assert_eq!(alerts, episodes, "however often it is told, it is one episode");
        anyhow::ensure!(usize::try_from(alerts)? == GROUPS, "{alerts}");
        Ok(())
    })
    .await
    .unwrap();
    // A peer inside its retries does not hear that another one has delivered.
    let least = if stage.alertmanagers.len() > 1 { GROUPS + 1 } else { GROUPS };
    let page = until(LONG, "all is answered", async || {
        let page = look(&stage).await?;
        let taken = page.value(codes, &[("code", "200")]);
        anyhow::ensure!(taken >= Some(least as f64), "{taken:?}");
        Ok(page)
    })
    .await
    .unwrap();
    let count = |name: &str, labels: &[(&str, &str)]| page.value(name, labels).unwrap_or(0.0);
    let (busy, taken) = (count(codes, &[("code", "503")]), count(codes, &[("code", "200")]));
    let (commits, peak) =
        (count("switchyard_store_commits_total", &[]), stage.switchyard.process().peak_kib().unwrap());
    eprintln!(
        "{GROUPS} groups of {peers:?}: {taken} messages taken, {busy} answered 503 and sent again, {commits} transactions, \
         peak memory {} MiB ({} before)",
        peak / 1024,
        before / 1024
    );
    assert!(busy >= 1.0, "the store was never busy");
    assert!(taken >= GROUPS as f64, "each group is a message of its own");
    assert_eq!(count(codes, &[]), taken + busy, "none is refused in another way");
    assert_eq!(stage.sent("notifications_failed").await.unwrap(), 0.0, "each came within its first flush");
    assert!(peak < MOST_MEMORY_KIB, "{peak} KiB");
}

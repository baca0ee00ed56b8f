//! What Switchyard costs with 10,000 runner records: a scrape, memory, a pass.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use switchyard_lab::{exposition::Page, http};

use crate::{
    failover::LATENCY,
    median, say,
    yard::{Pass, Passes, Yard},
};

/// In both clusters together.
pub(crate) const RECORDS: usize = 10_000;
pub(crate) const SCRAPES: usize = 20;

pub(crate) struct Scrape {
    /// Median time of one scrape.
    pub(crate) time: Duration,
    /// Bytes of the page.
    pub(crate) size: usize,
    /// Resident memory, bytes.
    pub(crate) memory: f64,
    /// While GitLab answers as fast as it can.
    pub(crate) pass: Pass,
    /// The same with [`LATENCY`] in every answer.
    pub(crate) slow_pass: Pass,
    /// Calls to GitLab in one pass.
    pub(crate) calls: f64,
}

pub(crate) async fn measure(dir: &Path, binary: &Path) -> Result<Scrape> {
    say(&format!("scrape: starting Switchyard with {RECORDS} records in 2 clusters"));
    let yard = Yard::start(&dir.join("scrape"), binary, RECORDS / 2, "1s").await?;
    say("scrape: five passes");
    let pass = Passes::next(&yard.switchyard, 5.0).await?;
    say(&format!("  {:.0?} each; {SCRAPES} scrapes", pass.time));
    let url = format!("{}/metrics", yard.switchyard.url());
    let (mut times, mut size) = (Vec::new(), 0);
    for _ in 0..SCRAPES {
        let started = Instant::now();
        let answer = http::client().get(&url).header("accept", "application/openmetrics-text; version=1.0.0");
        let page = answer.send().await?.error_for_status()?.bytes().await?;
        times.push(started.elapsed());
        size = page.len();
    }
    let page = yard.switchyard.metrics().await?;
    let records = page.text().lines().filter(|l| l.starts_with("switchyard_runner_contacted")).count();
    ensure!(records == RECORDS, "the page shows {records} of {RECORDS} records");
    say(&format!("scrape: three passes, {LATENCY:?} in every answer of GitLab"));
    yard.slow_gitlab(LATENCY)?;
    // The pass that is under way began without.
    Passes::next(&yard.switchyard, 1.0).await?;
    yard.gitlab.admin().forget_requests();
    let before = Passes::read(&yard.switchyard).await?;
    let slow_pass = Passes::next(&yard.switchyard, 3.0).await?;
    let (count, _) = before.since(&yard.switchyard).await?;
    let asked: u64 = yard.gitlab.admin().counts().values().flat_map(|by| by.values()).sum();
    // The pass under way at either end counts in part.
    let calls = asked as f64 / count;
    let memory = resident(&yard.switchyard.metrics().await?)?;
    Ok(Scrape { time: median(times)?, size, memory, pass, slow_pass, calls })
}

fn resident(page: &Page) -> Result<f64> {
    page.value("process_resident_memory_bytes", &[]).context("Switchyard shows no memory")
}

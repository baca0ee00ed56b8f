//! Measures Switchyard on this machine, and prints a table. `make bench` runs it.
//!
//! Real: Switchyard, its SQLite file, BIND, adnanh/webhook. Simulated: GitLab, and Prometheus' answers, so that no
//! scrape interval is part of what is measured. Everything listens on 127.0.0.1.

mod failover;
mod message;
mod scrape;
mod webhooks;
mod yard;

use std::{
    fs,
    io::{Seek as _, Write as _},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    failover::{Failover, LATENCY},
    scrape::Scrape,
    webhooks::{Load, Webhooks},
};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // Whatever ends this future drops what it started.
    tokio::select! {
        ended = bench() => ended,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}

async fn bench() -> Result<()> {
    if cfg!(debug_assertions) {
        say("this is not a release build: the numbers mean nothing");
    }
    let started = Instant::now();
    let binary = yard::binary().await?;
    let directory = yard::directory()?;
    let dir = directory.path();
    let machine = machine(dir)?;
    say(&machine);
    let webhooks = webhooks::measure(dir, &binary).await?;
    let failover = failover::measure(dir, &binary).await?;
    let scrape = scrape::measure(dir, &binary).await?;
    say(&format!("done after {:.0?}", started.elapsed()));
    let table = table(&webhooks, &failover, &scrape);
    writeln!(std::io::stdout(), "{machine}.\n\n{table}")?;
    Ok(())
}

fn table(webhooks: &Webhooks, failover: &Failover, scrape: &Scrape) -> String {
    let mut rows = vec![["what".to_owned(), "measured".to_owned(), "in proportion".to_owned()]];
    let mut row =
        |what: String, measured: String, proportion: String| rows.push([what, measured, proportion]);

    let Webhooks { switchyard, per_commit, later, waits, version } = webhooks;
    let (connections, rounds) = (webhooks::CONNECTIONS, webhooks::ROUNDS);
    let clients = format!("{connections} connections kept alive, in {rounds} rounds by turns");
    row(
        format!("webhooks, {clients}: each on the disk before its answer"),
        load(switchyard),
        format!("{per_commit:.1} store operations per commit"),
    );
    for (how, other) in
        [("`/bin/true` started after the answer", later), ("`/bin/true` ended before the answer", waits)]
    {
        row(
            format!("the same for adnanh/webhook {version}, nothing stored: {how}"),
            load(other),
            format!(
                "Switchyard: {:.2} × as many, p99 × {:.2}",
                switchyard.per_second() / other.per_second(),
                switchyard.percentile(99).as_secs_f64() / other.percentile(99).as_secs_f64()
            ),
        );
    }

    let calls = |time: Duration| format!("{:.0} × {LATENCY:?}", time.as_secs_f64() / LATENCY.as_secs_f64());
    let records = failover::RECORDS;
    for (what, time) in [
        (format!("all {records} records of the new holder tagged in GitLab"), failover.tagged),
        ("BIND answers the new holder".to_owned(), failover.named),
        (format!("seen done, all {records} records of the old holder untagged too"), failover.done),
    ] {
        row(
            format!("failover, {LATENCY:?} per GitLab call, from webhook to: {what}"),
            format!("{:.0} ms", milliseconds(time)),
            calls(time),
        );
    }
    row(
        "GitLab calls in such a failover".to_owned(),
        failover.requests.to_string(),
        format!("{:.1} per changed record", failover.requests as f64 / (2 * records) as f64),
    );

    let records = scrape::RECORDS;
    let Scrape { time, size, memory, pass, slow_pass, calls: pages } = scrape;
    row(
        format!("scrape with {records} runner records, {:.1} MiB", mib(*size as f64)),
        format!("{:.1} ms", milliseconds(*time)),
        format!("{:.1} µs per record", time.as_secs_f64() * 1e6 / records as f64),
    );
    row(
        format!("resident memory with {records} runner records"),
        format!("{:.0} MiB", mib(*memory)),
        format!("{:.1} KiB per record", memory / 1024.0 / records as f64),
    );
    for (what, pass) in [("as fast as it can".to_owned(), pass), (format!("after {LATENCY:?}"), slow_pass)] {
        row(
            format!(
                "pass over {records} runner records, about {pages:.0} GitLab calls, each answered {what}"
            ),
            format!("{:.0} ms", milliseconds(pass.time)),
            format!("{:.0} ms CPU of Switchyard", milliseconds(pass.cpu)),
        );
    }
    let lines: Vec<String> = rows.iter().map(|cells| format!("| {} |", cells.join(" | "))).collect();
    let (head, body) = lines.split_at(1);
    format!("{}\n|---|---|---|\n{}", head.concat(), body.join("\n"))
}

fn load(load: &Load) -> String {
    format!(
        "{:.0}/s, median {:.1} ms, p99 {:.1} ms",
        load.per_second(),
        milliseconds(load.percentile(50)),
        milliseconds(load.percentile(99))
    )
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

/// The middle one, or the upper of the two.
fn median<T: Ord>(mut values: Vec<T>) -> Result<T> {
    values.sort();
    let middle = values.len() / 2;
    values.into_iter().nth(middle).context("nothing was measured")
}

/// What the numbers depend on.
fn machine(dir: &Path) -> Result<String> {
    let cpus = std::thread::available_parallelism()?;
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown CPU", |(_, model)| model.trim());
    let path = dir.join("sync");
    let mut file = fs::File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..100 {
        let started = Instant::now();
        file.rewind()?;
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    fs::remove_file(path)?;
    let sync = milliseconds(median(times)?);
    Ok(format!(
        "{cpus} CPUs ({model}), shared by servers and clients; the disk takes {sync:.2} ms for 4 KiB and an fsync"
    ))
}

/// For the person who waits.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "bench: {text}");
}

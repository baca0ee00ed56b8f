//! Storms until it is stopped, or until one breaks a promise: then the smallest story that does so is shown.

#![expect(clippy::print_stdout, reason = "it reports to the terminal")]

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::mpsc,
    time::{Duration, Instant},
};

use clap::Parser;
use switchyard_lab::storm;

/// Storms until it is stopped, or until one breaks a promise.
#[derive(Debug, Parser)]
struct Args {
    /// The first seed; by default one by chance.
    #[arg(long)]
    seed: Option<u64>,
    /// Threads; by default one for each processor.
    #[arg(long)]
    threads: Option<usize>,
    /// Ends after so many storms.
    #[arg(long)]
    storms: Option<u64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from));
    let first = args.seed.unwrap_or_else(|| fastrand::u64(..) >> 20);
    println!("storms from seed {first} on, {threads} at once; stop with Ctrl-C");
    let (sender, results) = mpsc::channel();
    for thread in 0..threads as u64 {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            let mut seed = first + thread;
            while sender.send(runtime.block_on(storm::storm(seed))).is_ok() {
                seed += threads as u64;
            }
        });
    }
    let begun = Instant::now();
    let mut shown = begun;
    let (mut storms, mut passes) = (0_u64, 0_u64);
    let mut struck: BTreeMap<String, u64> = BTreeMap::new();
    for result in results {
        match result {
            Err(story) => {
                println!("{story}");
                return ExitCode::FAILURE;
            }
            Ok(report) => {
                storms += 1;
                passes += report.passes;
                for place in report.struck {
                    *struck.entry(place.0).or_default() += 1;
                }
            }
        }
        let done = args.storms.is_some_and(|wanted| storms >= wanted);
        if done || shown.elapsed() >= Duration::from_secs(5) {
            shown = Instant::now();
            let seconds = begun.elapsed().as_secs_f64();
            let (per_second, passes) = (storms as f64 / seconds, passes as f64 / seconds);
            println!(
                "{storms} storms, {per_second:.1} per second, {passes:.0} passes per second; killed at:"
            );
            for (place, count) in &struck {
                println!("  {count:>6}  {place}");
            }
        }
        if done {
            break;
        }
    }
    ExitCode::SUCCESS
}

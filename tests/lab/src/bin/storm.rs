//! Storms until it is stopped, or until one breaks a promise: then the smallest story that does so is shown.

#![expect(clippy::print_stdout, reason = "it reports to the terminal")]

use std::{
    collections::BTreeMap,
    io,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use switchyard::simulate::Report;
use switchyard_lab::storm;
use tokio::signal::unix::{SignalKind, signal};

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

/// What was played so far.
struct Tally {
    begun: Instant,
    storms: u64,
    passes: u64,
    struck: BTreeMap<String, u64>,
}

impl Tally {
    fn add(&mut self, report: Report) {
        self.storms += 1;
        self.passes += report.passes;
        for place in report.struck {
            *self.struck.entry(place.0).or_default() += 1;
        }
    }

    fn tell(&self) {
        let Self { begun, storms, passes, struck } = self;
        let seconds = begun.elapsed().as_secs_f64();
        let (per_second, passes) = (*storms as f64 / seconds, *passes as f64 / seconds);
        println!("{storms} storms, {per_second:.1} per second, {passes:.0} passes per second; killed at:");
        for (place, count) in struck {
            println!("  {count:>6}  {place}");
        }
    }
}

/// Sets the flag when somebody stops it. Whoever asks again does not wait for the storms under way, nor for one to be made
/// small.
fn listen(stopped: Arc<AtomicBool>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupted, mut ended) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupted.recv() => {}
                    _ = ended.recv() => {}
                }
                if stopped.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
            }
        });
    });
    Ok(())
}

fn main() -> io::Result<ExitCode> {
    let args = Args::parse();
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from));
    let first = args.seed.unwrap_or_else(|| fastrand::u64(..) >> 20);
    let last = args.storms.map_or(u64::MAX, |wanted| first.saturating_add(wanted));
    let stopped = Arc::new(AtomicBool::new(false));
    listen(stopped.clone())?;
    println!("storms from seed {first} on, {threads} at once; stop with Ctrl-C");
    let goes_on = stopped.clone();
    let storms = storm::many((first..last).take_while(move |_| !goes_on.load(Ordering::Relaxed)), threads)?;
    let begun = Instant::now();
    let mut shown = begun;
    let mut tally = Tally { begun, storms: 0, passes: 0, struck: BTreeMap::new() };
    let mut whole = true;
    // To the end: a storm that is under way cleans up behind itself.
    for storm in storms {
        match storm {
            Ok(report) => tally.add(report),
            Err(story) => {
                println!("{story}");
                whole = false;
                stopped.store(true, Ordering::Relaxed);
            }
        }
        if shown.elapsed() >= Duration::from_secs(5) {
            shown = Instant::now();
            tally.tell();
        }
    }
    println!("{}", if whole { "stopped; no promise was broken" } else { "a promise was broken" });
    tally.tell();
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

//! Storms until it is stopped, or until one breaks a promise: then the smallest story that does so is shown.

#![expect(clippy::print_stdout, reason = "it reports to the terminal")]

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::mpsc,
    time::{Duration, Instant},
};

use clap::Parser;
use switchyard::simulate::Report;
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

/// What comes in while storms are played.
enum News {
    Storm(Result<Report, String>),
    CtrlC,
}

fn main() -> std::io::Result<ExitCode> {
    let args = Args::parse();
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from));
    let first = args.seed.unwrap_or_else(|| fastrand::u64(..) >> 20);
    let (sender, news) = mpsc::channel();
    let asked = sender.clone();
    let stop = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        if stop.block_on(tokio::signal::ctrl_c()).is_ok() {
            let _ = asked.send(News::CtrlC);
        }
    });
    println!("storms from seed {first} on, {threads} at once; stop with Ctrl-C");
    let storms = storm::many(first.., threads)?;
    std::thread::spawn(move || storms.into_iter().try_for_each(|storm| sender.send(News::Storm(storm))));
    let begun = Instant::now();
    let mut shown = begun;
    let mut tally = Tally { begun, storms: 0, passes: 0, struck: BTreeMap::new() };
    for news in news {
        match news {
            News::CtrlC => break,
            News::Storm(Err(story)) => {
                println!("{story}");
                tally.tell();
                return Ok(ExitCode::FAILURE);
            }
            News::Storm(Ok(report)) => tally.add(report),
        }
        if args.storms.is_some_and(|wanted| tally.storms >= wanted) {
            break;
        }
        if shown.elapsed() >= Duration::from_secs(5) {
            shown = Instant::now();
            tally.tell();
        }
    }
    println!("stopped; no promise was broken");
    tally.tell();
    Ok(ExitCode::SUCCESS)
}

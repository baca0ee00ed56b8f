//! Random stories: whatever happens, the promises hold. `make storm` goes on until it is stopped.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

mod broken;
mod world;

use std::{
    io::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use switchyard_lab::storm;

/// For so long, unless it takes longer to play the least number, or less to play the most.
const LIMIT: Duration = Duration::from_secs(150);
const LEAST: u64 = 200;
const MOST: u64 = 3_000;

#[test]
fn whatever_happens_the_promises_hold() {
    let (next, struck) = (AtomicU64::new(0), AtomicU64::new(0));
    let begun = Instant::now();
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    loop {
                        let seed = next.load(Ordering::Relaxed);
                        if seed >= MOST || seed >= LEAST && begun.elapsed() >= LIMIT {
                            return None;
                        }
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        match runtime.block_on(storm::storm(seed)) {
                            Ok(report) => {
                                struck.fetch_add(report.struck.len() as u64, Ordering::Relaxed);
                            }
                            Err(shown) => return Some(shown),
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().filter_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let (storms, struck) = (next.load(Ordering::Relaxed), struck.load(Ordering::Relaxed));
    // Past the harness, which keeps what a test that passes prints.
    writeln!(std::io::stderr(), "{storms} storms, {struck} crashes in {:.0?}", begun.elapsed()).unwrap();
    assert!(storms >= LEAST);
    assert!(struck > 0, "no storm hit the process");
}

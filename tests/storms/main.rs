//! Random stories: whatever happens, the promises hold. `make storm` goes on until it is stopped.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

mod broken;
mod world;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use switchyard_lab::storm;

/// No longer than this, however slow the machine is.
const LIMIT: Duration = Duration::from_secs(60);
const STORMS: u64 = 3_000;

#[test]
fn whatever_happens_the_promises_hold() {
    let (next, struck) = (AtomicU64::new(0), AtomicU64::new(0));
    let begun = Instant::now();
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    while begun.elapsed() < LIMIT {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= STORMS {
                            return None;
                        }
                        match runtime.block_on(storm::storm(seed)) {
                            Ok(report) => {
                                struck.fetch_add(report.struck.len() as u64, Ordering::Relaxed);
                            }
                            Err(shown) => return Some(shown),
                        }
                    }
                    None
                })
            })
            .collect();
        workers.into_iter().filter_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let storms = next.load(Ordering::Relaxed).min(STORMS);
    println!("{storms} storms, {} crashes", struck.load(Ordering::Relaxed));
    assert!(storms > 50, "only {storms} storms in {LIMIT:?}");
    assert!(struck.load(Ordering::Relaxed) > 0, "no storm hit the process");
}

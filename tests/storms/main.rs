//! Random stories: whatever happens, the promises hold. `make storm` goes on until it is stopped.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

mod broken;
mod disk;
mod language;
mod world;

use std::{collections::BTreeSet, io::Write as _, time::Instant};

use switchyard_lab::storm;

const STORMS: u64 = 2_500;

/// What storms must have come to, or they prove little: what transcripts say of it.
const SEEN: [&str; 30] = [
    ": failover from ",
    ": failback from ",
    ": switchover from ",
    "[move_done]",
    "[move_failed]",
    "[held:not_paused]",
    "[held:not_latched]",
    "[held:single_flight]",
    "[held:eyes_open]",
    "[held:gitlab_reachable]",
    "[held:not_common_cause]",
    "[held:confirmed]",
    "[held:target_able]",
    "[held:cooled_down]",
    "[held:budget]",
    "[held:window]",
    "[held:drained]",
    "[held:approved]",
    "[held:enabled]",
    "[proposed]",
    "[approved]",
    "[rejected]",
    "[expired]",
    "[waiting]",
    "[overridden]",
    "[nothing_to_override]",
    "[unexpected_holder]",
    "[shared_runner]",
    "[not_leader]",
    "[fenced]",
];

#[test]
fn whatever_happens_the_promises_hold() {
    let begun = Instant::now();
    // Past the harness, which keeps what a test that passes prints.
    let tell = |storms: usize, struck: usize| {
        let seconds = begun.elapsed().as_secs();
        writeln!(std::io::stderr(), "{storms} storms of {STORMS}, {struck} crashes, {seconds} s").unwrap();
    };
    let (mut places, mut struck) = (BTreeSet::new(), 0);
    let mut unseen = BTreeSet::from(SEEN);
    let storms = storm::many(0..STORMS, 2).unwrap();
    for (played, storm) in (1..).zip(storms) {
        let report = storm.unwrap_or_else(|shown| panic!("{shown}"));
        unseen.retain(|said| !report.entries.iter().any(|entry| entry.text.contains(said)));
        struck += report.struck.len();
        places.extend(report.struck.into_iter().map(|place| place.0));
        if played % 500 == 0 {
            tell(played, struck);
        }
    }
    assert!(unseen.is_empty(), "no storm came to {unseen:?}");
    // Between passes, after a record, and before and after steps of each phase.
    assert_eq!(places.len(), 8, "the process ended {places:?}");
}

//! The sidecar: every state by values, what comes over the wire, and the program beside a runner process.

mod answers;
mod program;
mod states;

use std::time::Duration;

use switchyard::model::{BootTime, Moment, Timestamp};

const BINARY: &str = env!("CARGO_BIN_EXE_switchyard");

/// A second of a story that begins at a process's start.
fn at(second: i64) -> Moment {
    set(second, 0)
}

/// The same on a clock that was set so many seconds forward, or back.
fn set(second: i64, by: i64) -> Moment {
    let wall = Timestamp::from_second(1_700_000_000 + second + by).expect("a time");
    let boot =
        BootTime::new(Duration::from_secs(u64::try_from(1000 + second).expect("after the machine's start")));
    Moment { wall, boot }
}

//! The sidecar: every state by values, what comes over the wire, and the program beside a runner process.

mod answers;
mod program;
mod states;

use switchyard::model::Timestamp;

const BINARY: &str = env!("CARGO_BIN_EXE_switchyard");

/// A second of a story that begins at a process's start.
fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).expect("a time")
}

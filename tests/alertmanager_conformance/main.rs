//! What Alertmanager does to a receiver, with the real Alertmanager before the real `switchyard serve`: what it sends again,
//! sends twice, sends late, and never sends. Each behaviour is a test, on the pinned version and on Debian's.
//!
//! Nothing here waits for a while: a group interval of an hour proves that something came within one flush, and
//! Alertmanager's own counters tell a retry inside a flush from the next flush.

#![expect(clippy::unwrap_used, reason = "a broken laboratory ends the test")]

mod burst;
mod clusters;
mod delivery;
mod evaluation;
mod front;
mod healing;
mod page;
mod sent;
mod stage;
mod vanished;

use std::panic::{AssertUnwindSafe, resume_unwind};

use futures::{FutureExt as _, future::join};
use switchyard_lab::parts::Flavour;

/// Makes a test of each function: with the pinned and with the packaged version, beside each other, because a row mostly
/// waits.
macro_rules! on_both_versions {
    ($($name:ident),* $(,)?) => {
        mod rows {
            $(#[tokio::test]
            async fn $name() {
                crate::both(super::$name).await;
            })*
        }
    };
}
pub(crate) use on_both_versions;

#[expect(clippy::print_stderr, reason = "a failure says of which version")]
async fn both(row: impl AsyncFn(Flavour)) {
    let run = async |flavour| {
        let ended = AssertUnwindSafe(row(flavour)).catch_unwind().await;
        if let Err(panic) = ended {
            eprintln!("with {flavour:?}");
            resume_unwind(panic);
        }
    };
    join(run(Flavour::Pinned), run(Flavour::Debian)).await;
}

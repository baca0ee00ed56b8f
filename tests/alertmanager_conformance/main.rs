//! What Alertmanager does to a receiver, with the real Alertmanager before the real `switchyard serve`: what it sends again,
//! sends twice, sends late, and never sends. Each behaviour is a test, on the pinned version and on Debian's.
//!
//! Nothing here waits for a while: a group interval of an hour proves that something came within one flush, and
//! Alertmanager's own counters tell a retry inside a flush from the next flush.
//!
//! | what a receiver meets | module: rows |
//! |---|---|
//! | 5xx, a refused connection: again within the flush, and in the next ones | `delivery`: `a_503_…`, `a_receiver_that_is_down_…` |
//! | any other status: again at each group interval | `delivery`: `a_4xx_…`, `a_message_that_is_too_large_…`, `a_token_rotated_…` |
//! | no answer: again after the time-out, while the first one runs on | `delivery`: `a_hung_receiver_…`, `a_frozen_switchyard_…` |
//! | groups in parallel, no order, what lies between two flushes is lost | `burst`, `delivery`: `a_hung_receiver_…`; `sent`: `a_retry_…`, `what_fires_again_…` |
//! | 5,000 groups at once, of one peer and of three | `burst` |
//! | new alerts, resolved ones, repetitions; never sent: what was never delivered | `sent`: `a_message_that_fires_…`, `the_repeat_interval_…`, `what_was_never_delivered_…` |
//! | partial and truncated groups | `sent`: `the_first_message_…`, `a_truncated_message_…` |
//! | silenced, inhibited, muted by time, without `send_resolved`: no end is sent | `healing` |
//! | a restart forgets the alerts; a peer that settles | `healing`: `an_alertmanager_that_…` |
//! | resolved, because Prometheus died, was cut off, lost the rule or the series | `vanished` |
//! | resolved, because the rule could not be evaluated; evidence of such a rule | `evaluation` |
//! | one, two, three copies of three peers; an outage; a refusal; a dead peer | `clusters`: `three_peers_send_…`, `three_peers_retry_…`, `three_peers_bring_…`, `one_dead_peer_…` |
//! | partial messages, a resolve while silenced, a dead Prometheus, of three peers | `sent`, `healing`, `vanished`: what names three peers |
//! | a partition of the gossip, and two clusters that never knew each other | `clusters`: `three_peers_without_gossip_…`, `a_cluster_cut_in_two_…` |
//! | two Prometheus servers: starts merged, or two fingerprints | `evaluation`: `two_prometheus_servers_…`; `sent`: `a_replica_label_…` |

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
use tokio::sync::RwLock;

/// Rows run beside each other, a burst alone: it takes the whole machine for a minute, and the clocks of Alertmanager and
/// Prometheus go on.
static BESIDE: RwLock<()> = RwLock::const_new(());

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
    let _beside = BESIDE.read().await;
    let run = async |flavour| {
        let ended = AssertUnwindSafe(row(flavour)).catch_unwind().await;
        if let Err(panic) = ended {
            eprintln!("with {flavour:?}");
            resume_unwind(panic);
        }
    };
    join(run(Flavour::Pinned), run(Flavour::Debian)).await;
}

//! Old history goes, once the clock is known to be right: by one that is far ahead all of it looks old.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    model::{CLOCK_OFF, SignedDuration, Timestamp},
    status::Status,
    store::Store,
    transport::chain,
};

/// How often old history is removed.
const PERIOD: Duration = Duration::from_secs(3600);
/// How old the pass may be that compared the clock.
const COMPARED: SignedDuration = SignedDuration::from_mins(5);

/// Removes history older than `keep`, once per period.
pub(super) struct Pruner {
    pub(super) store: Store,
    pub(super) keep: watch::Receiver<SignedDuration>,
    pub(super) status: watch::Receiver<Arc<Status>>,
    pub(super) now: fn() -> Timestamp,
}

impl Pruner {
    pub(super) async fn run(mut self, shutdown: CancellationToken) -> &'static str {
        loop {
            let right = self.status.wait_for(|status| confirmed(status, (self.now)()));
            tokio::select! {
                right = right => if right.is_err() { return "retention" },
                () = shutdown.cancelled() => return "retention",
            }
            self.prune().await;
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = shutdown.cancelled() => return "retention",
            }
        }
    }

    async fn prune(&self) {
        let before = (self.now)().checked_sub(*self.keep.borrow());
        // One is enough.
        let (Ok(before), Some(_)) = (before, self.store.lease().term()) else { return };
        match self.store.prune(before).await {
            Ok(0) => {}
            Ok(rows) => info!(rows, %before, "old history removed"),
            Err(error) => warn!(error = %chain(&error), "old history could not be removed"),
        }
    }
}

/// Whether a Prometheus server has just told the time that this machine's clock says.
fn confirmed(status: &Status, now: Timestamp) -> bool {
    let compared = status.at.is_some_and(|at| now.duration_since(at).abs() < COMPARED);
    compared && status.clocks.values().any(|ahead| ahead.abs() <= CLOCK_OFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Event, Holder};

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);
    const YEARS: SignedDuration = SignedDuration::from_hours(24 * 800);

    fn status(at: Timestamp, ahead: &[SignedDuration]) -> Status {
        let clocks = ahead.iter().enumerate().map(|(i, ahead)| (i.to_string(), *ahead)).collect();
        Status { at: Some(at), clocks, ..Status::default() }
    }

    #[test]
    fn a_clock_that_no_server_confirms_deletes_nothing() {
        let second = SignedDuration::from_secs(1);
        for (status, wanted) in [
            (Status::default(), false),
            (status(NOW, &[]), false),
            (status(NOW, &[YEARS]), false),
            (status(NOW, &[-YEARS, YEARS]), false),
            (status(NOW, &[second]), true),
            (status(NOW, &[YEARS, -second]), true),
            // It was compared before it was set.
            (status(NOW - YEARS, &[second]), false),
            (status(NOW + YEARS, &[second]), false),
        ] {
            assert_eq!(confirmed(&status, NOW), wanted, "{status:?}");
        }
    }

    #[tokio::test]
    async fn a_machine_that_starts_with_its_clock_years_ahead_keeps_its_history_until_the_clock_is_right() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("s.db").display());
        let holder = Holder { listen: String::new(), now: NOW };
        let store = Store::open(&url, &holder, Duration::MAX).await.unwrap();
        let told = async |at: Timestamp, sentence: &str| {
            let (sentence, outcome) = (sentence.to_owned(), String::new());
            store.record_event(&Event { at, fleet: None, outcome, sentence, author: None }).await.unwrap();
        };
        let kept = async || -> Vec<String> {
            let all = store.history(None, 10).await.unwrap();
            all.iter().map(|entry| format!("{entry:?}")).collect()
        };
        told(NOW - YEARS, "old").await;
        told(NOW, "of today").await;
        let (keep, status_seen) = (SignedDuration::from_hours(24 * 400), status(NOW + YEARS, &[YEARS]));
        let (sender, status_seen) = watch::channel(Arc::new(status_seen));
        let pruner = |now: fn() -> Timestamp| Pruner {
            store: store.clone(),
            keep: watch::channel(keep).1,
            status: status_seen.clone(),
            now,
        };
        let shutdown = CancellationToken::new();
        // It ends without having deleted anything: what waits for the clock is cancelled.
        let running = tokio::spawn(pruner(|| NOW + YEARS).run(shutdown.clone()));
        for _ in 0..10 {
            sender.send_modify(|status| Arc::make_mut(status).at = Some(NOW + YEARS));
            tokio::task::yield_now().await;
        }
        shutdown.cancel();
        assert_eq!(running.await.unwrap(), "retention");
        store.written().await.unwrap();
        assert_eq!(kept().await.len(), 2, "{:?}", kept().await);

        // Set right, the old goes, and what is of today stays.
        let _ = sender.send(Arc::new(status(NOW, &[SignedDuration::ZERO])));
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(pruner(|| NOW).run(shutdown.clone()));
        let pruned = async {
            while kept().await.len() == 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), pruned).await.unwrap();
        assert!(kept().await[0].contains("of today"));
        shutdown.cancel();
        assert_eq!(running.await.unwrap(), "retention");
    }
}

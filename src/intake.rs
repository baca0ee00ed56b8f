//! Alerts come in: from the webhook and from the catch-up poll, by one way.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::{
    alert::{self, Answer, Parsed, Stale, stale},
    metrics::{AlertLabels, EndedLabels, Metrics},
    model::{Leadership, Signal, SignedDuration, Timestamp, Topology},
    store::{self, Ending, Event, Store, Upserted},
};

/// What became of the alerts of one message.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Taken {
    /// Alerts that are stored now.
    pub accepted: usize,
    /// Alerts that are not for Switchyard, each counted by its reason in the metrics.
    pub ignored: usize,
}

/// Stores signals durably, then rings the bell.
#[derive(Debug, Clone)]
pub struct Intake {
    store: Store,
    topology: watch::Receiver<Arc<Topology>>,
    metrics: Arc<Metrics>,
    /// Wakes the loop.
    bell: Arc<Notify>,
    /// Wakes the catch-up poll: a message said that it does not hold everything.
    poll: Arc<Notify>,
}

impl Intake {
    /// Makes the way in.
    pub fn new(
        store: Store,
        topology: watch::Receiver<Arc<Topology>>,
        metrics: Arc<Metrics>,
        bell: Arc<Notify>,
        poll: Arc<Notify>,
    ) -> Self {
        Self { store, topology, metrics, bell, poll }
    }

    /// Whether this process leads those that share the store: only the leader takes alerts.
    pub fn leadership(&self) -> Leadership {
        self.store.lease().leadership()
    }

    /// Reads a webhook body. Pure: nothing is stored.
    pub fn parse(&self, body: &[u8], now: Timestamp) -> Result<Parsed, alert::Error> {
        alert::parse_webhook(body, &self.topology.borrow(), now)
    }

    /// Reads the rows of a catch-up poll. Pure: nothing is stored.
    pub fn parse_poll(&self, body: &[u8], now: Timestamp) -> Result<Parsed, alert::Error> {
        alert::parse_poll(body, &self.topology.borrow(), now)
    }

    /// Stores every signal of one message in one durable transaction. When it returns, they survive `kill -9`.
    pub async fn take(&self, parsed: Parsed) -> Result<Taken, store::Error> {
        let upserted = self.store.upsert_signals(parsed.signals.clone()).await?;
        Ok(self.taken(&parsed, &upserted))
    }

    fn taken(&self, parsed: &Parsed, upserted: &[Upserted]) -> Taken {
        for (signal, upserted) in parsed.signals.iter().zip(upserted) {
            self.count(signal.action.as_str(), upserted.as_str());
        }
        for ignored in &parsed.ignored {
            self.count("none", ignored.as_str());
        }
        if parsed.truncated > 0 {
            self.poll.notify_one();
        }
        if upserted.iter().any(|u| matches!(u, Upserted::New | Upserted::Updated)) {
            self.bell.notify_one();
        }
        Taken { accepted: upserted.len(), ignored: parsed.ignored.len() }
    }

    /// Stores what a catch-up poll found. Unlike a webhook, it knows that an alert fires *now*: one that is stored as
    /// ended fires again. Prometheus keeps `startsAt` over an outage in which Alertmanager let the alert expire, so the
    /// new episode is stored as begun when the old one ended. That one may have ended, too, when the catch-up poll ended
    /// it: then the next begins where it did.
    pub async fn take_poll(&self, parsed: Parsed) -> Result<Taken, store::Error> {
        let upserted = self.store.upsert_signals(parsed.signals.clone()).await?;
        let mut again = begun_again(&parsed.signals, &upserted);
        while !again.is_empty() {
            let upserted = self.store.upsert_signals(again.clone()).await?;
            let taken = Parsed { signals: again, ..Parsed::default() };
            self.taken(&taken, &upserted);
            again = begun_again(&taken.signals, &upserted);
        }
        Ok(self.taken(&parsed, &upserted))
    }

    /// Ends the episodes that the answers of one catch-up poll, asked at `began`, show to be over; see
    /// [`alert::stale`](stale()). Returns those that it ended.
    pub async fn heal(
        &self,
        answers: &[Answer],
        began: Timestamp,
        settle: SignedDuration,
    ) -> Result<Vec<Stale>, store::Error> {
        if !answers.iter().any(|answer| answer.knows_all) {
            return Ok(Vec::new());
        }
        let mut found = stale(&self.store.firing_signals().await?, answers, began, settle);
        if found.is_empty() {
            return Ok(found);
        }
        let endings = found.iter().map(|stale| Ending {
            key: stale.signal.key.clone(),
            last_seen: stale.signal.last_seen,
            event: Event {
                at: began,
                fleet: stale.signal.fleet.clone(),
                outcome: format!("alert_{}", stale.ended.as_str()),
                sentence: stale.sentence(),
                author: None,
            },
        });
        let mut ended = self.store.end_signals(endings.collect()).await?.into_iter();
        found.retain(|_| ended.next() == Some(true));
        for stale in &found {
            let action = stale.signal.action.as_str().to_owned();
            let labels = EndedLabels { action, reason: stale.ended.as_str().to_owned() };
            self.metrics.alerts_ended.get_or_create(&labels).inc();
        }
        if !found.is_empty() {
            self.bell.notify_one();
        }
        Ok(found)
    }

    fn count(&self, action: &str, outcome: &str) {
        let labels = AlertLabels { action: action.to_owned(), outcome: outcome.to_owned() };
        self.metrics.alerts_received.get_or_create(&labels).inc();
    }
}

/// The alerts that fire although their episode has ended, as the episode that follows it.
fn begun_again(signals: &[Signal], upserted: &[Upserted]) -> Vec<Signal> {
    let again = |(signal, upserted): (&Signal, &Upserted)| match upserted {
        Upserted::Late { ended_at: Some(ended_at) } if signal.last_seen > *ended_at => {
            let mut again = signal.clone();
            // Later than the one before, whatever the clocks say: the search for an open episode must end.
            let later = signal.key.starts_at.checked_add(SignedDuration::from_nanos(1)).ok()?;
            again.key.starts_at = later.max(*ended_at);
            Some(again)
        }
        _ => None,
    };
    signals.iter().zip(upserted).filter_map(again).collect()
}

//! The catch-up poll: a lost webhook costs a delay and not a failover, and an alert that ends without a word does not fire
//! for ever.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use prometheus_client::metrics::{family::Family, gauge::Gauge};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    alert::Answer,
    alertmanager::Client,
    intake::Intake,
    metrics::{Metrics, PollLabels, Server},
    model::{SignedDuration, Timestamp},
    transport::chain,
};

/// Every Alertmanager, and how often it is asked.
#[derive(Debug)]
pub(super) struct Alertmanagers {
    pub(super) clients: Vec<Client>,
    pub(super) period: Duration,
    /// How long one must have been up before what is missing from its list has ended.
    pub(super) settle: SignedDuration,
}

pub(super) struct Poller {
    pub(super) alertmanagers: watch::Receiver<Arc<Alertmanagers>>,
    pub(super) intake: Intake,
    pub(super) metrics: Arc<Metrics>,
    pub(super) now: fn() -> Timestamp,
}

impl Poller {
    pub(super) async fn run(mut self, now: Arc<Notify>, shutdown: CancellationToken) {
        loop {
            let alertmanagers = self.alertmanagers.borrow_and_update().clone();
            self.poll_all(&alertmanagers).await;
            tokio::select! {
                () = now.notified() => {}
                () = tokio::time::sleep(alertmanagers.period) => {}
                // One that is no longer configured takes its series with it.
                _ = self.alertmanagers.changed() => {
                    self.metrics.alertmanager_up.clear();
                    self.metrics.alertmanager_knows_all.clear();
                    self.metrics.alertmanager_polls.clear();
                }
                () = shutdown.cancelled() => return,
            }
        }
    }

    async fn poll_all(&self, alertmanagers: &Alertmanagers) {
        let began = (self.now)();
        let polls = alertmanagers.clients.iter().map(|client| self.poll(client, alertmanagers.settle));
        let answers: Vec<Answer> = join_all(polls).await.into_iter().flatten().collect();
        match self.intake.heal(&answers, began, alertmanagers.settle).await {
            Ok(ended) => ended.iter().for_each(|stale| {
                info!(fingerprint = stale.signal.key.fingerprint, "{}", stale.sentence());
            }),
            Err(error) => {
                warn!(error = %chain(&error), "alerts that are over could not be ended");
            }
        }
    }

    async fn poll(&self, client: &Client, settle: SignedDuration) -> Option<Answer> {
        let leads = self.intake.leadership().leads();
        let polled = async {
            let body = client.alerts().await?;
            let parsed = self.intake.parse_poll(&body, (self.now)())?;
            if !leads {
                // It was asked all the same: a standby whose way to Alertmanager is broken must not be found out too late.
                return Ok((parsed, 0));
            }
            let taken = self.intake.take_poll(parsed.clone()).await?;
            anyhow::Ok((parsed, taken.accepted))
        }
        .await;
        let url = client.url();
        let server = Server { server: url.to_string() };
        let was = |gauge: &Family<Server, Gauge>, value| gauge.get(&server).is_some_and(|g| g.get() == value);
        let (was_down, was_trusted) =
            (was(&self.metrics.alertmanager_up, 0), was(&self.metrics.alertmanager_knows_all, 1));
        let outcome = if polled.is_ok() { "answered" } else { "failed" }.to_owned();
        let labels = PollLabels { server: server.server.clone(), outcome };
        self.metrics.alertmanager_up.get_or_create(&server).set(i64::from(polled.is_ok()));
        let answer = match polled {
            Ok((parsed, accepted)) => {
                debug!(%url, accepted, "polled Alertmanager");
                // After the list: one that has restarted in between says so.
                let status = client.status().await;
                if let Err(error) = &status
                    && was_trusted
                {
                    let error = chain(error);
                    warn!(%url, error, "Alertmanager does not say how it is: what is missing from its list is not missed");
                }
                let knows_all = status.is_ok_and(|status| status.knows_all((self.now)(), settle));
                Some(Answer { parsed, knows_all })
            }
            Err(error) => {
                if !was_down {
                    warn!(%url, error = format!("{error:#}"), "Alertmanager cannot be polled");
                }
                None
            }
        };
        let knows_all = answer.as_ref().is_some_and(|answer| answer.knows_all);
        self.metrics.alertmanager_knows_all.get_or_create(&server).set(i64::from(knows_all));
        self.metrics.alertmanager_polls.get_or_create(&labels).inc();
        answer.filter(|_| leads)
    }
}

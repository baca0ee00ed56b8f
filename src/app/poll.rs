//! The catch-up poll: a lost webhook costs a delay and not a failover.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    alertmanager::Client,
    intake::Intake,
    metrics::{Metrics, Server},
    model::Timestamp,
};

/// Every Alertmanager, and how often it is asked.
#[derive(Debug)]
pub(super) struct Alertmanagers {
    pub(super) clients: Vec<Client>,
    pub(super) period: Duration,
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
            join_all(alertmanagers.clients.iter().map(|client| self.poll(client))).await;
            tokio::select! {
                () = now.notified() => {}
                () = tokio::time::sleep(alertmanagers.period) => {}
                // One that is no longer configured takes its series with it.
                _ = self.alertmanagers.changed() => self.metrics.alertmanager_up.clear(),
                () = shutdown.cancelled() => return,
            }
        }
    }

    async fn poll(&self, client: &Client) {
        let polled = async {
            let body = client.alerts().await?;
            let parsed = self.intake.parse_poll(&body, (self.now)())?;
            if !self.intake.leadership().leads() {
                // It was asked all the same: a standby whose way to Alertmanager is broken must not be found out too late.
                return Ok(0);
            }
            anyhow::Ok(self.intake.take_poll(parsed).await?.accepted)
        }
        .await;
        let server = Server { server: client.url().to_string() };
        let was_down = self.metrics.alertmanager_up.get(&server).is_some_and(|up| up.get() == 0);
        let up = self.metrics.alertmanager_up.get_or_create_owned(&server);
        match polled {
            Ok(accepted) => {
                up.set(1);
                debug!(url = %client.url(), accepted, "polled Alertmanager");
            }
            Err(error) => {
                up.set(0);
                if !was_down {
                    warn!(url = %client.url(), error = format!("{error:#}"), "Alertmanager cannot be polled");
                }
            }
        }
    }
}

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
                _ = self.alertmanagers.changed() => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    async fn poll(&self, client: &Client) {
        let polled = async {
            let body = client.alerts().await.map_err(|e| e.to_string())?;
            let parsed = self.intake.parse_poll(&body, (self.now)()).map_err(|e| e.to_string())?;
            self.intake.take_poll(parsed).await.map_err(|e| e.to_string())
        }
        .await;
        let up =
            self.metrics.alertmanager_up.get_or_create_owned(&Server { server: client.url().to_string() });
        match polled {
            Ok(taken) => {
                up.set(1);
                debug!(url = %client.url(), accepted = taken.accepted, "polled Alertmanager");
            }
            Err(error) => {
                if up.set(0) == 1 {
                    warn!(url = %client.url(), error, "Alertmanager cannot be polled");
                }
            }
        }
    }
}

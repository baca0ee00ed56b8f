//! The own probe of a cluster's API: none of the tools in a cluster tells that the API of another one is dead.
//!
//! Every question comes by a new connection: an old one may live on where no new one is taken.

use std::{sync::Arc, time::Duration};

use axum::http::{Request, header};
use kube::Client;
use tokio::time::{Instant, interval, timeout};

use super::{cluster::Cluster, failure::ProbeFailure};
use crate::model::Timestamp;

/// What is asked for. It says that the API server reaches its store, and it needs the credentials.
const PATH: &str = "/readyz";

/// Asks again and again; never ends. The client is nobody else's.
pub(super) async fn run(
    client: Client,
    cluster: Arc<Cluster>,
    period: Duration,
    limit: Duration,
    now: fn() -> Timestamp,
) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let began = Instant::now();
        let result = match timeout(limit, ask(&client)).await {
            Ok(result) => result,
            Err(_) => Err(ProbeFailure::late(limit)),
        };
        cluster.probed(result, began.elapsed(), now());
    }
}

async fn ask(client: &Client) -> Result<(), ProbeFailure> {
    // Ends the connection with its answer, so that none is left in the client's pool.
    let request = Request::get(PATH).header(header::CONNECTION, "close").body(Vec::new());
    let answer = match request {
        Ok(request) => client.request_text(request).await.map(drop),
        Err(error) => Err(kube::Error::HttpError(error)),
    };
    answer.map_err(|error| ProbeFailure::of(&error, PATH))
}

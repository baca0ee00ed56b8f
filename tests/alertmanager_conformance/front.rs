//! What stands between Alertmanager and Switchyard, and misbehaves when told to.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    response::{IntoResponse as _, Response},
};
use serde_json::Value;
use switchyard_lab::{http, ports, wait::PATIENCE};
use tokio::sync::watch;

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Switchyard gets it, and its answer goes back.
    Pass,
    /// It goes no further and is answered with this.
    Answer(u16),
    /// It waits for [`Front::release`] and then reaches Switchyard, whether or not somebody still waits for the answer.
    Hold,
}

/// A message that came.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) message: Value,
    /// Whether it had to wait.
    pub(crate) held: bool,
    /// What Switchyard answered, if it was asked.
    pub(crate) answer: Option<u16>,
}

#[derive(Debug, Default)]
struct Seen {
    modes: Vec<(String, Mode)>,
    deliveries: Vec<Delivery>,
}

#[derive(Debug, Clone)]
pub(crate) struct Front {
    address: SocketAddr,
    behind: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    released: watch::Sender<bool>,
}

impl Front {
    pub(crate) async fn start(behind: SocketAddr) -> Self {
        let address = ports::free_address().unwrap();
        let front = Self { address, behind, seen: Arc::default(), released: watch::Sender::new(false) };
        let router = Router::new().fallback(take).with_state(front.clone());
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        front
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// What becomes of messages that come from now on and speak of an alert of this name.
    pub(crate) fn set(&self, alertname: &str, mode: Mode) {
        self.seen().modes.insert(0, (alertname.to_owned(), mode));
    }

    /// Lets go what is held, and whatever would be held from now on.
    pub(crate) fn release(&self) {
        self.released.send_replace(true);
    }

    /// All that came about an alert of this name, in order.
    pub(crate) fn deliveries(&self, alertname: &str) -> Vec<Delivery> {
        let all = self.seen().deliveries.clone();
        all.into_iter().filter(|delivery| speaks_of(&delivery.message, alertname)).collect()
    }

    async fn forward(&self, number: usize, headers: HeaderMap, body: Bytes) -> Option<Response> {
        let mut request = http::client()
            .post(format!("http://{}/api/v1/alerts", self.behind))
            .timeout(PATIENCE)
            .header("content-type", "application/json");
        if let Some(credential) = headers.get(AUTHORIZATION) {
            request = request.header(AUTHORIZATION, credential);
        }
        let answer = request.body(body).send().await.ok()?;
        let status = answer.status();
        let text = answer.text().await.ok()?;
        self.seen().deliveries[number].answer = Some(status.as_u16());
        Some((status, text).into_response())
    }
}

fn speaks_of(message: &Value, alertname: &str) -> bool {
    let alerts = message["alerts"].as_array().map(Vec::as_slice).unwrap_or_default();
    alerts.iter().any(|alert| alert["labels"]["alertname"] == alertname)
}

async fn take(State(front): State<Front>, headers: HeaderMap, body: Bytes) -> Response {
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (number, mode) = {
        let mut seen = front.seen();
        let mode = seen.modes.iter().find(|(name, _)| speaks_of(&message, name)).map(|(_, mode)| *mode);
        seen.deliveries.push(Delivery { message, held: mode == Some(Mode::Hold), answer: None });
        (seen.deliveries.len() - 1, mode.unwrap_or(Mode::Pass))
    };
    if let Mode::Answer(status) = mode {
        return StatusCode::from_u16(status).unwrap().into_response();
    }
    // In a task of its own: a sender that hangs up does not stop a message that is on its way.
    let on_its_way = tokio::spawn(async move {
        if mode == Mode::Hold {
            let mut released = front.released.subscribe();
            let _ = released.wait_for(|released| *released).await;
        }
        front.forward(number, headers, body).await
    });
    on_its_way.await.ok().flatten().unwrap_or_else(|| StatusCode::BAD_GATEWAY.into_response())
}

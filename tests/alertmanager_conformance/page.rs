//! A metrics page that says what the test wants it to say.

use axum::{Router, http::StatusCode, routing};
use switchyard_lab::prometheus::Target;
use tokio::{net::TcpListener, sync::watch};

#[derive(Debug)]
pub(crate) struct Page {
    target: Target,
    /// None while it answers with an error.
    text: watch::Sender<Option<String>>,
}

impl Page {
    pub(crate) async fn start(text: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::new("page", listener.local_addr().unwrap(), []);
        let text = watch::Sender::new(Some(text.to_owned()));
        let shown = text.subscribe();
        let show = async move || shown.borrow().clone().ok_or(StatusCode::SERVICE_UNAVAILABLE);
        let router = Router::new().route("/metrics", routing::get(show));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { target, text }
    }

    /// For Prometheus' configuration.
    pub(crate) fn target(&self) -> Target {
        self.target.clone()
    }

    pub(crate) fn show(&self, text: &str) {
        self.text.send_replace(Some(text.to_owned()));
    }

    /// Scrapes fail.
    pub(crate) fn broken(&self) {
        self.text.send_replace(None);
    }
}

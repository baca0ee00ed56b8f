//! The roles beside `serve`: a listener and one task, until a signal ends both.

use std::{future::Future, time::Duration};

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Error, Signals};
use crate::web::{self, Limits, Listener, Security};

/// How long the work has to end, and clients their requests.
const GRACE: Duration = Duration::from_secs(10);

/// Serves `router` and does `work` until SIGTERM or SIGINT. `work` is told by the token, and has a moment to end.
///
/// # Errors
/// When the address cannot be listened on, or when something ends unasked.
pub async fn run<W: Future<Output = ()> + Send + 'static>(
    name: &'static str,
    listen: &str,
    router: Router,
    work: impl FnOnce(CancellationToken) -> W,
) -> Result<(), Error> {
    let refused = |source| Error::Listen(listen.to_owned(), source);
    let socket = TcpListener::bind(listen).await.map_err(refused)?;
    let bound = socket.local_addr().map_err(refused)?;
    let mut signals = Signals::new().map_err(Error::Signals)?;
    let shutdown = CancellationToken::new();
    let mut work = tokio::spawn(work(shutdown.clone()));
    let security = Security::load(None).map_err(Error::Config)?;
    let listener = Listener { socket, security, limits: Limits::default(), metrics: Default::default() };
    let mut served = tokio::spawn(web::serve(listener, router, shutdown.clone()));
    info!(address = %bound, version = env!("CARGO_PKG_VERSION"), "the {name} is listening");
    tokio::select! {
        _ = signals.terminate.recv() => {}
        _ = signals.interrupt.recv() => {}
        _ = &mut work => return Err(Error::TaskEnded(name)),
        _ = &mut served => return Err(Error::TaskEnded("http")),
    }
    shutdown.cancel();
    let ended = async {
        let _ = work.await;
        let _ = served.await;
    };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        info!("what did not end in time is cut off");
    }
    Ok(())
}

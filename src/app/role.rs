//! The roles beside `serve`: a listener and one task, until a signal ends both.

use std::{future::Future, net::SocketAddr};

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{CLIENT_GRACE, Error, Signals};

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
    let listener = TcpListener::bind(listen).await.map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    let mut signals = Signals::new().map_err(Error::Signals)?;
    let shutdown = CancellationToken::new();
    let mut work = tokio::spawn(work(shutdown.clone()));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let end = shutdown.clone().cancelled_owned();
    let mut served =
        tokio::spawn(async move { axum::serve(listener, service).with_graceful_shutdown(end).await });
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
    if tokio::time::timeout(CLIENT_GRACE, ended).await.is_err() {
        info!("clients that did not end their requests are cut off");
    }
    Ok(())
}

//! The roles beside `serve`: a listener and one task, until a signal ends both.

use std::{future::Future, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Error, Listening, Signals, fitting};
use crate::{
    http::Problem,
    metrics::WebMetrics,
    web::{self, Listener, Login, Security},
};

/// How long the work has to end, and clients their requests.
const GRACE: Duration = Duration::from_secs(10);

/// What a role serves.
#[derive(Debug, Default)]
pub struct Routes {
    /// For everybody: what cannot send a password asks for it, and must not get a wrong answer.
    pub open: Router,
    /// Where the web file has users, for them, as in every program with the exporter-toolkit.
    pub closed: Router,
}

/// Serves `routes` and does `work` until SIGTERM or SIGINT. `work` is told by the token, and has a moment to end.
///
/// # Errors
/// When the web file cannot be used, when the address cannot be listened on, or when something ends unasked.
pub async fn run<W: Future<Output = ()> + Send + 'static>(
    name: &'static str,
    listening: Listening,
    metrics: WebMetrics,
    routes: Routes,
    work: impl FnOnce(CancellationToken) -> W,
) -> Result<(), Error> {
    let Listening { address, web_config, limits } = listening;
    let security = Security::load(web_config.as_deref()).map_err(Error::Config)?;
    let refused = |source| Error::Listen(address.clone(), source);
    let socket = TcpListener::bind(&address).await.map_err(refused)?;
    let bound = socket.local_addr().map_err(refused)?;
    let mut signals = Signals::new().map_err(Error::Signals)?;
    let shutdown = CancellationToken::new();
    let mut work = tokio::spawn(work(shutdown.clone()));
    let router = routes.closed.layer(from_fn_with_state(security.clone(), users)).merge(routes.open);
    info!(address = %bound, tls = security.tls(), version = env!("CARGO_PKG_VERSION"), "the {name} is listening");
    tokio::spawn(security.clone().watch(metrics.clone(), shutdown.clone()));
    let listener = Listener { socket, security, limits: fitting(limits), metrics };
    let mut served = tokio::spawn(web::serve(listener, router, shutdown.clone()));
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

async fn users(State(security): State<Security>, request: Request, next: Next) -> Response {
    match security.login(request.headers()).await {
        None | Some(Login::Right) => next.run(request).await,
        Some(Login::Missing | Login::Wrong) => {
            let what = "User and password are missing or wrong.";
            Problem { challenge: "Basic", ..Problem::new(StatusCode::UNAUTHORIZED, what) }.into_response()
        }
        Some(Login::Busy) => {
            let what = "Too many logins are being checked; try again.";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, what).into_response()
        }
    }
}

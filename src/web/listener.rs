//! Takes connections, up to a number. When all places are taken, the longest useless connection of the address that
//! has the most goes: whoever holds thousands loses its own. Each has a moment to say what it wants; as long as all
//! places are in such use, the next one waits in the system's queue. So a scrape or an alert finds its way in.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
    response::Response,
};
use hyper::{Version, service::Service as _};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

use super::{
    Limits, Security,
    connection::{Answer, State, Verdict, Watched},
    security::Current,
};
use crate::metrics::WebMetrics;

/// The largest head of a request, in bytes.
const HEAD: usize = 32 << 10;
/// The most headers in it.
const HEADERS: usize = 100;
/// The most requests at once on one connection (HTTP/2).
const STREAMS: u32 = 100;
/// How long clients have to finish their requests when the program ends. One that hangs keeps nobody else waiting.
const GRACE: Duration = Duration::from_secs(5);
/// How long after HTTP/2's goodbye a connection is cut.
const GOODBYE: Duration = Duration::from_secs(1);
/// A connection that wants nothing for so long may have to go: enough for a TLS handshake and a head from far away.
const MOMENT: Duration = Duration::from_millis(500);
/// After the system gave no connection.
const PAUSE: Duration = Duration::from_millis(100);
/// How often that is said.
const SAY: Duration = Duration::from_secs(30);

/// What is served where, and how.
#[derive(Debug)]
pub struct Listener {
    /// The bound socket.
    pub socket: TcpListener,
    /// TLS, users and headers.
    pub security: Security,
    /// What one client may take.
    pub limits: Limits,
    /// What happens to connections.
    pub metrics: WebMetrics,
}

/// Every open connection.
#[derive(Debug, Default)]
struct Connections {
    open: HashMap<u64, Arc<State>>,
    next: u64,
}

impl Connections {
    /// The connection that is the least loss, taken out.
    fn give_up(&mut self, now: Instant) -> Option<Arc<State>> {
        let mut held: HashMap<IpAddr, usize> = HashMap::new();
        for state in self.open.values() {
            *held.entry(state.peer).or_default() += 1;
        }
        let useless = self.open.iter().filter_map(|(id, state)| {
            let since = state.useless_since().filter(|since| *since + MOMENT <= now)?;
            Some((since, *id, state.peer))
        });
        let worst = useless.max_by_key(|(since, id, peer)| {
            (held.get(peer).copied().unwrap_or(0), std::cmp::Reverse((*since, *id)))
        });
        self.open.remove(&worst?.1)
    }
}

struct Shared {
    connections: Mutex<Connections>,
    ended: Notify,
    builder: Builder<TokioExecutor>,
    http1: Builder<TokioExecutor>,
    router: Router,
    listener: Listener,
    shutdown: CancellationToken,
}

/// Serves until `shutdown`, and then what is in flight for a moment.
pub async fn serve(listener: Listener, router: Router, shutdown: CancellationToken) {
    let shared = Arc::new(Shared {
        connections: Mutex::default(),
        ended: Notify::new(),
        builder: builder(),
        http1: builder().http1_only(),
        router,
        listener,
        shutdown: shutdown.clone(),
    });
    let tasks = TaskTracker::new();
    let mut said: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = shared.listener.socket.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => tokio::select! {
                () = shared.room() => shared.take(&tasks, stream, peer),
                () = shutdown.cancelled() => break,
            },
            Err(error) if of_the_client(&error) => {}
            Err(error) => {
                shared.listener.metrics.accept_errors.inc();
                if said.is_none_or(|at| at.elapsed() > SAY) {
                    said = Some(Instant::now());
                    warn!(%error, "the system gives no connection; too many files may be open");
                }
                shared.evict();
                sleep(PAUSE).await;
            }
        }
    }
    tasks.close();
    if timeout(GRACE, tasks.wait()).await.is_err() {
        info!("clients that did not end their requests are cut off");
        for state in shared.connections().open.values() {
            state.evicted.notify_one();
        }
        let _ = timeout(GRACE, tasks.wait()).await;
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // The time-outs of this module begin with the connection; hyper's begin later.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(HEAD)
        .max_headers(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(HEAD).unwrap_or(u32::MAX));
    builder
}

/// The client went away before it was taken; the next one is waiting.
fn of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

impl Shared {
    fn connections(&self) -> std::sync::MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a connection that is no loss, if there is one.
    fn evict(&self) -> bool {
        let Some(state) = self.connections().give_up(Instant::now()) else { return false };
        state.evicted.notify_one();
        true
    }

    /// Waits for a place.
    async fn room(&self) {
        while self.connections().open.len() >= self.listener.limits.connections && !self.evict() {
            let _ = timeout(PAUSE, self.ended.notified()).await;
        }
    }

    fn take(self: &Arc<Self>, tasks: &TaskTracker, stream: TcpStream, peer: SocketAddr) {
        let state = Arc::new(State::new(peer.ip().to_canonical()));
        let id = {
            let mut connections = self.connections();
            connections.next += 1;
            let id = connections.next;
            connections.open.insert(id, state.clone());
            id
        };
        self.listener.metrics.connections.inc();
        let shared = self.clone();
        tasks.spawn(async move {
            let reason = tokio::select! {
                reason = shared.connection(stream, peer, &state) => reason,
                () = state.evicted.notified() => "evicted",
            };
            shared.connections().open.remove(&id);
            shared.ended.notify_one();
            shared.listener.metrics.connections.dec();
            shared.listener.metrics.closed(reason);
            debug!(%peer, reason, "a connection has ended");
        });
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr, state: &Arc<State>) -> &'static str {
        // Small answers must not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let stream = Watched { stream, state: state.clone() };
        let security = self.listener.security.current();
        let Some(tls) = &security.tls else { return self.http(stream, peer, state, &security).await };
        let handshake = TlsAcceptor::from(tls.clone()).accept(stream);
        match timeout(self.listener.limits.slow, handshake).await {
            Ok(Ok(stream)) => self.http(stream, peer, state, &security).await,
            Ok(Err(error)) => {
                debug!(%peer, %error, "no TLS connection");
                "tls"
            }
            Err(_) => "slow_request",
        }
    }

    async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
        peer: SocketAddr,
        state: &Arc<State>,
        security: &Current,
    ) -> &'static str {
        let service = hyper::service::service_fn(|request| self.answer(request, peer, state));
        let builder = if security.http1_only { &self.http1 } else { &self.builder };
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let (mut reason, mut ending) = ("client", false);
        let mut look = Instant::now() + self.listener.limits.slow;
        loop {
            tokio::select! {
                _ = connection.as_mut() => return reason,
                () = sleep_until(look) => match state.judge(Instant::now(), &self.listener.limits) {
                    Verdict::Wait(until) => look = until,
                    Verdict::Slow(reason) => return reason,
                    Verdict::Idle if reason == "idle" => return reason,
                    Verdict::Idle => {
                        reason = "idle";
                        look = Instant::now() + GOODBYE;
                        connection.as_mut().graceful_shutdown();
                    }
                },
                () = self.shutdown.cancelled(), if !ending => {
                    (reason, ending) = ("shutdown", true);
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    fn answer(
        &self,
        mut request: hyper::Request<hyper::body::Incoming>,
        peer: SocketAddr,
        state: &Arc<State>,
    ) -> impl Future<Output = Result<Response<Answer>, Infallible>> + Send + use<> {
        let in_flight = state.begin(request.version() >= Version::HTTP_2);
        request.extensions_mut().insert(ConnectInfo(peer));
        let request: Request = request.map(Body::new);
        let answer = TowerToHyperService::new(self.router.clone()).call(request);
        let security = self.listener.security.current();
        async move {
            let mut answer: Response = answer.await?;
            answer.headers_mut().extend(security.headers.clone());
            Ok(answer.map(|body| Answer::new(body, in_flight)))
        }
    }
}

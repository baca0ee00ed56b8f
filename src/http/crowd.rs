//! How many reads of the API are answered at once. Unless it is so configured nobody needs a credential for them: they must
//! leave to the loop, the webhook and people what these need.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper::body::{Frame, SizeHint};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{Problem, Server};

/// So many reads at once.
const PLACES: usize = 4;
/// How long a read waits for a place. Whoever sends many of them waits with each.
const WAIT: Duration = Duration::from_secs(2);

/// The places for reads.
#[derive(Debug, Clone)]
pub(super) struct Places {
    server: Server,
    /// For who carries the token to act: a person looks before acting, and no crowd of others may keep them from it.
    acting: Arc<Semaphore>,
    others: Arc<Semaphore>,
}

impl Places {
    pub(super) fn new(server: &Server) -> Self {
        let places = || Arc::new(Semaphore::new(PLACES));
        Self { server: server.clone(), acting: places(), others: places() }
    }
}

/// Lets a read pass when there is a place for it soon.
pub(super) async fn admit(State(places): State<Places>, request: Request, next: Next) -> Response {
    let acts = places.server.access.borrow().may_act(request.headers());
    let row = if acts { places.acting } else { places.others };
    let Ok(Ok(place)) = timeout(WAIT, row.acquire_owned()).await else {
        places.server.metrics.reads_refused.inc();
        let what = "Too many others are reading; try again.";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, what).into_response();
    };
    next.run(request).await.map(|body| Body::new(Placed { body, _place: place }))
}

/// An answer that keeps its place until it is handed over: what nobody takes must not pile up.
struct Placed {
    body: Body,
    _place: OwnedSemaphorePermit,
}

impl HttpBody for Placed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

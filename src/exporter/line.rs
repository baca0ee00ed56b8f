//! The way of a watch's requests to the API, with what kube's watcher leaves to its client.
//!
//! The watcher waits for ever for an answer, asks again at once when a watch ends at once, holds as many pages of lists in
//! memory as there are watches, and keeps to itself that the API is alive: bookmarks and ends of watches are no events. What
//! was not heard of for too long must stop counting, so all of this is seen to where its requests pass by.

use std::{sync::Arc, time::Duration};

use axum::http::{Request, Response};
use futures::{TryStreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame};
use kube::{Client, client::Body};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};

use super::cluster::Cluster;
use crate::model::Timestamp;

/// The API ends a watch by itself; so much later it is taken for dead. Less than the watcher's own margin.
const MARGIN: Duration = Duration::from_secs(3);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// No answer within the limit.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s", .0.as_secs())]
pub(super) struct Late(pub(super) Duration);

/// The way to the API of one of a cluster's sources.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) client: Client,
    pub(super) cluster: Arc<Cluster>,
    /// Which of the cluster's sources.
    pub(super) index: usize,
    /// Limit of a page, and of the answer to a new watch.
    pub(super) request: Duration,
    /// After so long the API ends a watch, and a new one goes on: the sign of life of a quiet one.
    pub(super) watch: Duration,
    /// Whole pages that may be on their way into memory at once, in this process.
    pub(super) pages: Arc<Semaphore>,
    pub(super) now: fn() -> Timestamp,
}

impl Line {
    /// A client whose requests go this way.
    pub(super) fn client(&self) -> Client {
        let line = self.clone();
        Client::new(tower::service_fn(move |request| line.clone().send(request)), "default")
    }

    async fn send(
        self,
        request: Request<Body>,
    ) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = BoxError> + Send>, BoxError> {
        let parameters = request.uri().query().unwrap_or_default();
        let watch = parameters.split('&').any(|parameter| parameter == "watch=true");
        let answer = timeout(self.request, self.client.send(request)).await;
        let (head, body) = answer.map_err(|_| Late(self.request))??.into_parts();
        let watching = watch && head.status.is_success();
        let limit = if watching { self.watch + MARGIN } else { self.request };
        let began = Instant::now();
        let mut place = None;
        if watching {
            self.cluster.followed(self.index, (self.now)());
        } else {
            place = Some(self.pages.clone().acquire_owned().await?);
        }
        let state = (body.into_data_stream(), place);
        let frames = stream::try_unfold(state, move |(mut data, place)| {
            let line = self.clone();
            async move {
                let next = timeout_at(began + limit, data.try_next()).await.map_err(|_| Late(limit))?;
                match next {
                    Ok(Some(bytes)) => {
                        if watching {
                            line.cluster.heard(line.index, (line.now)());
                        }
                        Ok(Some((Frame::data(bytes), (data, place))))
                    }
                    // A watch that is opened and ends at once, again and again, is no success.
                    Ok(None) if watching && began.elapsed() + Duration::from_secs(1) < line.watch => {
                        Err(BoxError::from("the API ended the watch early"))
                    }
                    Ok(None) => Ok(None),
                    // In words of our own: the client takes some ends of a connection for the end of the watch.
                    Err(error) if watching => Err(format!("the watch broke: {error}").into()),
                    Err(error) => Err(error.into()),
                }
            }
        });
        Ok(Response::from_parts(head, StreamBody::new(frames)))
    }
}

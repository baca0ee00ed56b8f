//! The way of a watch's requests to the API, with what kube's watcher leaves to its client.
//!
//! The watcher waits for ever for an answer, asks again at once when a watch ends at once, holds as many pages of lists in
//! memory as there are watches, and keeps to itself that the API is alive: bookmarks and ends of watches are no events. Nor does
//! it tell how long a watch has brought nothing but errors, which is no life. What was not heard of for too long must stop
//! counting, so all of this is seen to where its requests pass by.
//!
//! That a watch is opened proves nothing: whoever stands in between may answer and pass nothing on. After a silence it has a
//! moment to bring something, what happened meanwhile first of all; if it does not, a list must tell how things are.

use std::{sync::Arc, time::Duration};

use axum::http::{Request, Response};
use futures::{TryStreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame};
use kube::{Client, client::Body};
use tokio::time::{Instant, timeout, timeout_at};

use super::cluster::Cluster;
use crate::{
    clock,
    model::{SignedDuration, Timestamp},
};

/// The API ends a watch by itself; so much later it is taken for dead. Less than the watcher's own margin.
const MARGIN: Duration = Duration::from_secs(3);

/// So soon a watch that is opened after a silence must bring something.
const MOMENT: Duration = Duration::from_secs(10);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// No answer within the limit.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s", .0.as_secs())]
pub(super) struct Late(pub(super) Duration);

/// A watch that was opened after a silence brought nothing. That is no failure: there may be nothing to bring.
#[derive(Debug, thiserror::Error)]
#[error("nothing came on the watch")]
pub(super) struct Quiet;

/// Tells the events of a watch apart, a line each: an error is one, too, and no sign of life.
#[derive(Debug, Default)]
struct Events {
    /// How the line begins.
    head: Vec<u8>,
    /// There was an error among them.
    refused: bool,
    /// There was something else.
    good: bool,
}

/// What came on a watch.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Good,
    Error,
}

impl Events {
    /// How the API writes an error: it is the one event that may say so before its object.
    const ERROR: &[u8] = br#"{"type":"ERROR""#;

    /// What these bytes end; none when that cannot be said yet. An error need only begin.
    fn take(&mut self, bytes: &[u8]) -> Option<Event> {
        let mut found = None;
        for (index, part) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if index > 0 {
                // Only a whole one can be read.
                if self.head.len() == Self::ERROR.len() {
                    self.good = true;
                    found = Some(Event::Good);
                }
                self.head.clear();
            }
            let room = Self::ERROR.len() - self.head.len();
            self.head.extend(&part[..part.len().min(room)]);
            if self.head == Self::ERROR {
                // Once, however many parts it comes in.
                let first = !std::mem::replace(&mut self.refused, true);
                return first.then_some(Event::Error);
            }
        }
        found
    }
}

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
        let (mut place, mut doubted) = (None, false);
        if watching {
            let silence = SignedDuration::try_from(self.watch / 2).unwrap_or(SignedDuration::MAX);
            doubted = self.cluster.opened(self.index, clock::moment(self.now), silence);
        } else {
            place = Some(self.cluster.pages.clone().acquire_owned().await?);
        }
        // Nobody's time runs while it waits for its turn. Those before it have a limit.
        let began = Instant::now();
        let state = (body.into_data_stream(), place, Events::default());
        let frames = stream::try_unfold(state, move |(mut data, place, mut events)| {
            let line = self.clone();
            async move {
                let doubted = doubted && !events.good;
                let limit = if doubted { MOMENT.min(line.watch / 2) } else { limit };
                let next = timeout_at(began + limit, data.try_next()).await;
                let late = |_| if doubted { BoxError::from(Quiet) } else { Late(limit).into() };
                match next.map_err(late)? {
                    Ok(Some(bytes)) => {
                        if watching {
                            match events.take(&bytes) {
                                Some(Event::Error) => line.cluster.refused(line.index),
                                Some(Event::Good) => {
                                    line.cluster.followed(line.index, clock::moment(line.now))
                                }
                                None => {}
                            }
                        }
                        Ok(Some((Frame::data(bytes), (data, place, events))))
                    }
                    // A watch that is opened and ends at once, again and again, is no success.
                    Ok(None) if watching && began.elapsed() + Duration::from_secs(1) < line.watch => {
                        Err(BoxError::from("the API ended the watch early"))
                    }
                    Ok(None) => {
                        match (watching && !events.refused, events.good) {
                            (true, true) => line.cluster.followed(line.index, clock::moment(line.now)),
                            (true, false) => line.cluster.ended(line.index),
                            (false, _) => {}
                        }
                        Ok(None)
                    }
                    // In words of our own: the client takes some ends of a connection for the end of the watch.
                    Err(error) if watching => Err(format!("the watch broke: {error}").into()),
                    Err(error) => Err(error.into()),
                }
            }
        });
        Ok(Response::from_parts(head, StreamBody::new(frames)))
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, pin::Pin};

    use futures::{Stream, StreamExt as _};

    use super::*;
    use crate::{
        exporter::{Source, cluster::PAGES},
        kubernetes::{Destinations, Kind},
    };

    const PAGE: &str = "{\"items\": []}";
    const LONG: Duration = Duration::from_hours(1);

    type Frames = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

    /// A body that begins, not at once, and ends or does not.
    fn body(ends: bool) -> StreamBody<Frames> {
        let begin = stream::once(async {
            tokio::task::yield_now().await;
            Ok(Frame::data(Bytes::from_static(PAGE.as_bytes())))
        });
        let frames: Frames = if ends { begin.boxed() } else { begin.chain(stream::pending()).boxed() };
        StreamBody::new(frames)
    }

    fn cluster(name: &str) -> Arc<Cluster> {
        let source = Source { kind: Kind::Application, namespace: None, labels: None, fleet: None };
        let stale = SignedDuration::from_secs(180);
        Arc::new(Cluster::new(name.to_owned(), vec![source], stale, Destinations::default()))
    }

    /// A way to a cluster whose lists end, or do not.
    fn line(cluster: &Arc<Cluster>, ends: bool, request: Duration) -> Line {
        let answer = move |_: Request<Body>| async move { Ok::<_, Infallible>(Response::new(body(ends))) };
        let client = Client::new(tower::service_fn(answer), "default");
        let now = || Timestamp::UNIX_EPOCH;
        Line { client, cluster: cluster.clone(), index: 0, request, watch: LONG, now }
    }

    async fn list(line: Line) -> Result<String, kube::Error> {
        line.client().request_text(Request::get("/apis?limit=100").body(Vec::new()).unwrap()).await
    }

    /// All places of a cluster, taken by lists that do not end.
    async fn stalled(cluster: &Arc<Cluster>) -> Vec<tokio::task::JoinHandle<Result<String, kube::Error>>> {
        let tasks = (0..PAGES).map(|_| tokio::spawn(list(line(cluster, false, LONG)))).collect();
        while cluster.pages.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        tasks
    }

    #[tokio::test]
    async fn a_cluster_whose_lists_do_not_end_keeps_no_other_waiting() {
        let (blue, green) = (cluster("blue"), cluster("green"));
        let stalled = stalled(&green).await;
        let read = timeout(Duration::from_secs(60), list(line(&blue, true, LONG))).await;
        assert_eq!(read.expect("it did not wait").unwrap(), PAGE);
        assert!(stalled.iter().all(|task| !task.is_finished()));
    }

    #[tokio::test]
    async fn nobodys_time_runs_while_it_waits_for_its_turn() {
        // On a machine that is slower than the limit, it is asked again with more patience.
        for limit in [1, 5, 25].map(Duration::from_secs) {
            let green = cluster("green");
            let stalled = stalled(&green).await;
            let mut waiting = std::pin::pin!(list(line(&green, true, limit)));
            let waits = timeout(limit * 2, &mut waiting).await;
            assert!(waits.is_err(), "all places are taken: {waits:?}");
            stalled[0].abort();
            match waiting.await {
                Ok(read) => return assert_eq!(read, PAGE),
                Err(error) => println!("{limit:?}: {error}"),
            }
        }
        panic!("the time that it waited for its turn was counted");
    }

    #[tokio::test]
    async fn a_list_that_does_not_end_gives_its_place_back() {
        let green = cluster("green");
        let late = list(line(&green, false, Duration::from_millis(10))).await;
        assert!(late.is_err(), "{late:?}");
        assert_eq!(green.pages.available_permits(), PAGES);
    }

    #[test]
    fn errors_are_told_from_events_however_they_are_cut() {
        let good = br#"{"type":"BOOKMARK","object":{"kind":"x","message":"{\"type\":\"ERROR\""}}"#;
        let error = br#"{"type":"ERROR","object":{"kind":"Status","code":410}}"#;
        for size in 1..40 {
            let mut events = Events::default();
            // What breaks off.
            assert!(good.chunks(size).all(|part| events.take(part).is_none()) && !events.good);
            let mut events = Events::default();
            let mut all = good.to_vec();
            all.push(b'\n');
            let found: Vec<Event> = all.chunks(size).filter_map(|part| events.take(part)).collect();
            assert!(!found.is_empty() && found.iter().all(|e| *e == Event::Good), "{size}: {found:?}");
            let found: Vec<Event> = error.chunks(size).filter_map(|part| events.take(part)).collect();
            assert!(found.contains(&Event::Error) && !found.contains(&Event::Good), "{size}: {found:?}");
            assert!(events.refused);
        }
        // A later event of the same bytes does not make up for it.
        let both = [&error[..], b"\n", &good[..]].concat();
        assert_eq!(Events::default().take(&both), Some(Event::Error));
    }
}

//! One watch that never gives up: list in pages, then follow what changes, and begin again where that is not possible.
//!
//! Beside what `kube::runtime::watcher` does, this one tells when the API was last heard (bookmarks and ends of watches
//! included), limits every request in time, and keeps no more than one page of whole objects in memory: what is kept
//! is trimmed. Lists come in pages and not as streams: one way for every version of the API, with the same two rights.

use std::{sync::Arc, time::Duration};

use futures::TryStreamExt as _;
use kube::{
    Client,
    api::{ListParams, WatchParams},
    core::{ObjectList, Request, WatchEvent},
};
use serde_json::Value;
use tokio::{sync::Semaphore, time::timeout};
use tracing::debug;

use super::{
    cluster::Cluster,
    failure::{Failure, Reason, Verb},
};
use crate::{
    kubernetes::{Kind, Object},
    model::Timestamp,
};

/// After the first failure; it doubles with each one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// However long the API is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// The API ends a watch by itself; so much later it is taken for dead.
const MARGIN: Duration = Duration::from_secs(5);

/// How a watch is kept.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// Limit of a page, and of the answer to a new watch.
    pub(super) request: Duration,
    /// After so long the API ends a watch, and a new one goes on: the sign of life of a quiet one.
    pub(super) watch: Duration,
    /// How often a missing CRD or a missing right is looked for again.
    pub(super) recheck: Duration,
    /// Objects in a page.
    pub(super) page: u32,
}

/// One watch.
pub(super) struct Watch {
    pub(super) client: Client,
    pub(super) cluster: Arc<Cluster>,
    /// Which of the cluster's sources.
    pub(super) index: usize,
    pub(super) pace: Pace,
    /// Whole pages that may be in memory at once, in this process.
    pub(super) pages: Arc<Semaphore>,
    pub(super) now: fn() -> Timestamp,
}

/// From where a watch goes on.
struct Position {
    request: Request,
    version: String,
}

impl Watch {
    /// Never ends.
    pub(super) async fn run(self) {
        let mut position: Option<Position> = None;
        let mut failures = 0_u32;
        loop {
            let failure = match &mut position {
                None => match self.list().await {
                    Ok(Some(listed)) => {
                        (position, failures) = (Some(listed), 0);
                        continue;
                    }
                    Ok(None) => {
                        self.cluster.absent(self.index, (self.now)());
                        failures = 0;
                        tokio::time::sleep(self.pace.recheck).await;
                        continue;
                    }
                    Err(failure) => failure,
                },
                Some(position) => match self.follow(position, &mut failures).await {
                    Ok(()) => continue,
                    Err(failure) => failure,
                },
            };
            // The version is forgotten, or the CRD is gone: only a list tells what is there.
            if matches!(failure.reason, Reason::Gone | Reason::NotFound) {
                position = None;
            }
            let longest = match failure.reason {
                Reason::Forbidden(_) => self.pace.recheck,
                _ => LONGEST_PAUSE,
            };
            let pause = backoff(failures, longest);
            failures = failures.saturating_add(1);
            self.cluster.failed(self.index, failure);
            tokio::time::sleep(pause).await;
        }
    }

    fn kind(&self) -> Kind {
        self.cluster.sources[self.index].kind
    }

    /// Reads everything. None when no known version of the kind is served.
    async fn list(&self) -> Result<Option<Position>, Failure> {
        for version in self.kind().versions() {
            let request = Request::new(self.path(version));
            match self.pages(&request).await {
                Ok((objects, version)) => {
                    self.cluster.replaced(self.index, objects, (self.now)());
                    return Ok(Some(Position { request, version }));
                }
                Err(failure) if failure.reason == Reason::NotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        if self.kind().crd().is_some() {
            return Ok(None);
        }
        Err(Failure { reason: Reason::NotFound, message: format!("{} are not served", self.kind().plural()) })
    }

    fn path(&self, version: &str) -> String {
        let kind = self.kind();
        let root = match kind.group() {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        match &self.cluster.sources[self.index].namespace {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{}", kind.plural()),
            None => format!("{root}/{}", kind.plural()),
        }
    }

    async fn pages(&self, request: &Request) -> Result<(Vec<Object>, String), Failure> {
        let kind = self.kind();
        let mut objects = Vec::new();
        let mut params = ListParams {
            label_selector: self.cluster.sources[self.index].labels.clone(),
            limit: Some(self.pace.page),
            ..ListParams::default()
        };
        loop {
            let page = request.list(&params).map_err(|error| unusable(&error))?;
            // Closed never: nobody closes it.
            let _place = self.pages.acquire().await;
            let page: ObjectList<Value> = timeout(self.pace.request, self.client.request(page))
                .await
                .map_err(|_| Failure::timeout(self.pace.request))?
                .map_err(|error| Failure::of(&error, Verb::List, kind))?;
            objects.extend(page.items.iter().map(|item| Object::read(kind, item)));
            let version = page.metadata.resource_version.unwrap_or_default();
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok((objects, version));
            }
        }
    }

    /// Follows changes until the watch ends by itself.
    async fn follow(&self, position: &mut Position, failures: &mut u32) -> Result<(), Failure> {
        let kind = self.kind();
        let params = WatchParams {
            label_selector: self.cluster.sources[self.index].labels.clone(),
            timeout: Some(u32::try_from(self.pace.watch.as_secs()).unwrap_or(u32::MAX).max(1)),
            ..WatchParams::default()
        };
        let request = position.request.watch(&params, &position.version).map_err(|error| unusable(&error))?;
        let watching = timeout(self.pace.request, self.client.request_events::<Value>(request))
            .await
            .map_err(|_| Failure::timeout(self.pace.request))?
            .map_err(|error| Failure::of(&error, Verb::Watch, kind))?;
        let mut events = std::pin::pin!(watching);
        let began = tokio::time::Instant::now();
        self.cluster.followed(self.index, (self.now)());
        let silence = self.pace.watch + MARGIN;
        loop {
            let event = timeout(silence, events.try_next())
                .await
                .map_err(|_| Failure::timeout(silence))?
                .map_err(|error| Failure::of(&error, Verb::Watch, kind))?;
            let now = (self.now)();
            // A watch that is opened and ends at once, again and again, is no success.
            if event.is_some() {
                *failures = 0;
            }
            match event {
                Some(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    version(&object, &mut position.version);
                    self.cluster.applied(self.index, Object::read(kind, &object), now);
                }
                Some(WatchEvent::Deleted(object)) => {
                    version(&object, &mut position.version);
                    let object = Object::read(kind, &object);
                    self.cluster.deleted(self.index, &object.namespace, &object.name, now);
                }
                Some(WatchEvent::Bookmark(bookmark)) => {
                    position.version = bookmark.metadata.resource_version;
                    self.cluster.followed(self.index, now);
                }
                Some(WatchEvent::Error(status)) => {
                    return Err(Failure::of_status(&status, Verb::Watch, kind));
                }
                None if began.elapsed() + Duration::from_secs(1) < self.pace.watch => {
                    let message = "the API ended the watch early".to_owned();
                    return Err(Failure { reason: Reason::Connection, message });
                }
                None => {
                    debug!(collector = kind.plural(), "the watch has ended; going on");
                    *failures = 0;
                    return Ok(());
                }
            }
        }
    }
}

fn unusable(error: &kube::core::request::Error) -> Failure {
    Failure { reason: Reason::Refused, message: super::failure::chain(error) }
}

fn version(object: &Value, position: &mut String) {
    if let Some(version) = object["metadata"]["resourceVersion"].as_str() {
        version.clone_into(position);
    }
}

/// Doubles, with an even spread over its upper half, so that watches that broke together don't come back together.
fn backoff(failures: u32, longest: Duration) -> Duration {
    use std::hash::{BuildHasher as _, RandomState};
    let full = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.min(10))).min(longest);
    let part = RandomState::new().hash_one(failures) % 1000;
    full / 2 + full * u32::try_from(part).unwrap_or_default() / 2000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_growing() {
        for failures in [0, 1, 5, 9, 10, 1000, u32::MAX] {
            let longest = Duration::from_secs(15);
            let full = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(longest);
            let pause = backoff(failures, longest);
            assert!(pause >= full / 2 && pause <= full, "{failures}: {pause:?}");
        }
    }
}

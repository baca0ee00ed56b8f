//! One watch that never gives up: kube's watcher feeds kube's reflector.
//!
//! The watcher lists in pages, follows what changes, goes on where it ended, and lists again after 410 Gone. Here are the
//! pauses after failures, the versions of a kind, and kinds that are not installed. Lists come in pages and not as streams:
//! one way for every version of the API, with the same two rights.

use std::{borrow::Cow, sync::Arc, time::Duration};

use futures::StreamExt as _;
use kube::{
    Api, Resource,
    api::ObjectMeta,
    core::DynamicResourceScope,
    runtime::watcher::{self, Event, watcher},
};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    failure::{self, Failure, Reason},
    line::Line,
};
use crate::{
    clock,
    kubernetes::{Kind, Object},
};

/// After the first failure; it doubles with each one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// However long the API is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// A version of a kind, as the API serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Served {
    pub(super) kind: Kind,
    pub(super) version: &'static str,
}

/// An object as it came, trimmed while it is read: whole it is in memory only one at a time.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Name, namespace and version.
    metadata: ObjectMeta,
    pub(super) object: Arc<Object>,
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = |key| value.get(key).and_then(Value::as_str);
        // Only lists of Kubernetes' own kinds leave out what their items are.
        let kind = match (text("apiVersion"), text("kind")) {
            (Some(version), Some(kind)) => Kind::of(version, kind)
                .ok_or_else(|| serde::de::Error::custom(format!("{version} {kind} was not asked for")))?,
            _ => Kind::Pod,
        };
        let object = Arc::new(Object::read(kind, &value));
        let version = value.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        let metadata = ObjectMeta {
            name: Some(object.name.clone()),
            namespace: Some(object.namespace.clone()),
            resource_version: version.map(str::to_owned),
            ..ObjectMeta::default()
        };
        Ok(Self { metadata, object })
    }
}

impl Resource for Seen {
    type DynamicType = Served;
    type Scope = DynamicResourceScope;

    fn kind(served: &Served) -> Cow<'_, str> {
        served.kind.as_str().into()
    }

    fn group(served: &Served) -> Cow<'_, str> {
        served.kind.group().into()
    }

    fn version(served: &Served) -> Cow<'_, str> {
        served.version.into()
    }

    fn plural(served: &Served) -> Cow<'_, str> {
        served.kind.plural().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// One watch.
pub(super) struct Watch {
    pub(super) line: Line,
    /// How often a missing CRD or a missing right is looked for again.
    pub(super) recheck: Duration,
    /// Objects in a page.
    pub(super) page: u32,
}

/// Why a version of a kind is not followed any more.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The API does not serve it.
    NotServed,
    /// Only a new list tells what is there.
    Again,
}

impl Watch {
    /// Never ends.
    pub(super) async fn run(self) {
        let kind = self.kind();
        let mut pauses = Pauses::default();
        loop {
            let mut end = End::NotServed;
            for version in kind.versions() {
                end = self.follow(Served { kind, version }, &mut pauses).await;
                if end == End::Again {
                    break;
                }
            }
            if end == End::NotServed {
                self.line.cluster.absent(self.line.index, clock::moment(self.line.now));
                tokio::time::sleep(self.recheck).await;
            }
        }
    }

    fn kind(&self) -> Kind {
        self.line.cluster.sources[self.line.index].kind
    }

    async fn follow(&self, served: Served, pauses: &mut Pauses) -> End {
        let Line { cluster, index, now, watch, .. } = &self.line;
        let source = &cluster.sources[*index];
        let api: Api<Seen> = match &source.namespace {
            Some(namespace) => Api::namespaced_with(self.line.client(), namespace, &served),
            None => Api::all_with(self.line.client(), &served),
        };
        let config = watcher::Config {
            label_selector: source.labels.clone(),
            timeout: Some(u32::try_from(watch.as_secs()).unwrap_or(u32::MAX).max(1)),
            page_size: Some(self.page),
            ..watcher::Config::default()
        };
        let mut events = std::pin::pin!(watcher(api, config));
        let mut listed = false;
        // It has no end.
        while let Some(event) = events.next().await {
            let failure = match event {
                Ok(event) => {
                    listed |= matches!(event, Event::InitDone);
                    cluster.take(*index, &event, clock::moment(*now));
                    continue;
                }
                Err(error) if failure::is_quiet(&error) => break,
                Err(error) => Failure::of_watcher(&error, source.kind),
            };
            if failure.reason == Reason::NotFound && !listed && source.kind.crd().is_some() {
                return End::NotServed;
            }
            let again = matches!(failure.reason, Reason::Gone | Reason::NotFound | Reason::Unreadable)
                || cluster.doubted(*index);
            let pause = pauses.after(failure.reason, self.recheck);
            cluster.failed(*index, failure);
            tokio::time::sleep(pause).await;
            if again {
                break;
            }
        }
        End::Again
    }
}

/// How long to wait after a failure.
#[derive(Debug, Default)]
struct Pauses {
    failures: u32,
    last: Option<Instant>,
}

impl Pauses {
    fn after(&mut self, reason: Reason, recheck: Duration) -> Duration {
        let longest = match reason {
            Reason::Forbidden(_) => recheck,
            _ => LONGEST_PAUSE,
        };
        // What went well for longer than any pause is a new beginning.
        if self.last.is_some_and(|last| last.elapsed() > longest.saturating_mul(2)) {
            self.failures = 0;
        }
        let pause = backoff(self.failures, longest);
        self.failures = self.failures.saturating_add(1);
        self.last = Some(Instant::now());
        pause
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

//! Runner pods.

use super::{At, ok, show, unknown_word};
use crate::kubernetes::{Judgement, Object, Pod, Reason};

pub(super) fn pod(object: &Object, pod: &Pod, at: &At<'_>) -> Judgement {
    let waiting = pod.waiting.as_deref().unwrap_or_default();
    if waiting.contains("BackOff") || waiting.starts_with("Err") || waiting.contains("Error") {
        let text = format!("a container waits: {waiting}; {} restarts", pod.restarts);
        return Judgement::new(Reason::Crashing, text);
    }
    let starting = |what: &str| match object.created {
        None => Judgement::new(Reason::TimestampAbsent, "metadata.creationTimestamp is absent"),
        Some(created) => {
            let age = at.age(created);
            let late = age > at.limits.pod_start;
            let reason = if late { Reason::Stuck } else { Reason::Rollout };
            Judgement::new(reason, format!("{what}, {} after it was made", show(age)))
        }
    };
    match pod.phase.as_deref() {
        None => Judgement::new(Reason::NeverReconciled, "it has no phase"),
        Some("Pending") => starting("it is pending"),
        Some("Running") => match pod.ready.as_deref() {
            Some("True") => ok("it runs and is ready"),
            Some("False") => Judgement::new(Reason::NotReady, "it runs and is not ready"),
            Some("Unknown") => Judgement::new(Reason::HeartbeatStale, "its node is silent"),
            None => Judgement::new(Reason::NeverReconciled, "it has no condition Ready"),
            Some(other) => unknown_word("the condition Ready", other),
        },
        Some("Succeeded") => Judgement::new(Reason::Failed, "it has ended; a runner does not end by itself"),
        Some("Failed") => Judgement::new(Reason::Failed, "it has failed"),
        Some("Unknown") => Judgement::new(Reason::HeartbeatStale, "its node is silent"),
        Some(other) => unknown_word("status.phase", other),
    }
}

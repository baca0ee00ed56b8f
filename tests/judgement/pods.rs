//! Pods of runners.

use serde_json::{Value, json};
use switchyard::kubernetes::Reason;

use crate::scene::Scene;

const POD: &str = "Pod/gitlab-runner-6c8c5b7d9f-x2x4z";

fn after(changes: &[(&str, Value)]) -> Reason {
    Scene::of("pods.json").after(POD, changes)
}

#[test]
fn pods_are_judged_by_phase_and_readiness() {
    let ready = "/status/conditions/1/status";
    assert_eq!(after(&[]), Reason::Ok);
    assert_eq!(after(&[(ready, json!("False"))]), Reason::NotReady);
    // The node is silent.
    assert_eq!(after(&[(ready, json!("Unknown"))]), Reason::HeartbeatStale);
    assert_eq!(after(&[("/status/phase", json!("Unknown"))]), Reason::HeartbeatStale);
    assert_eq!(after(&[("/status/conditions", Value::Null)]), Reason::NeverReconciled);
    assert_eq!(after(&[("/status", Value::Null)]), Reason::NeverReconciled);
    assert_eq!(after(&[("/status/phase", json!("Failed"))]), Reason::Failed);
    assert_eq!(after(&[("/status/phase", json!("Succeeded"))]), Reason::Failed);
    assert_eq!(after(&[("/status/phase", json!("Dreaming"))]), Reason::UnknownWord);
    assert_eq!(after(&[("/status/phase", json!("Pending"))]), Reason::Stuck);
    let young = ("/metadata/creationTimestamp", json!("2026-11-21T02:55:00Z"));
    assert_eq!(after(&[("/status/phase", json!("Pending")), young]), Reason::Rollout);
    for waits in ["CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "CreateContainerConfigError"] {
        let state = json!({"waiting": {"reason": waits}});
        assert_eq!(after(&[("/status/containerStatuses/0/state", state)]), Reason::Crashing, "{waits}");
    }
}

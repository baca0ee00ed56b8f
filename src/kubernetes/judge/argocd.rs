//! Argo CD applications.
//!
//! `reconciledAt` is the heartbeat of the controller. It says nothing of the destination cluster: a dead one stays
//! Synced, Healthy and freshly reconciled, which only a probe of its API shows.

use super::{At, ok, unknown_word};
use crate::kubernetes::{Application, Judgement, Operation, Reason};

pub(super) fn application(app: &Application, at: &At<'_>) -> Judgement {
    if !app.seen {
        return Judgement::new(Reason::NeverReconciled, "no controller has looked at it: it has no status");
    }
    let error = |kinds: &[&str]| app.errors.iter().find(|(kind, _)| kinds.contains(&kind.as_str()));
    if let Some((kind, message)) = error(&["InvalidSpecError"]) {
        return Judgement::new(Reason::InvalidSpec, format!("{kind}: {message}"));
    }
    if app.reconciled.is_none() {
        return Judgement::new(
            Reason::NeverReconciled,
            "it was never compared: status.reconciledAt is absent",
        );
    }
    let patience = at.patience(at.limits.application_interval);
    if let Some(silent) = at.heartbeat("status.reconciledAt", app.reconciled, patience) {
        return silent;
    }
    if let Some((kind, message)) = error(&["ComparisonError", "UnknownError"]) {
        return Judgement::new(Reason::ComparisonFailed, format!("{kind}: {message}"));
    }
    let synced = match app.sync.as_deref() {
        None | Some("Unknown") => {
            let text = "sync is Unknown: neither git nor the cluster need be well";
            return Judgement::new(Reason::SyncUnknown, text);
        }
        Some("Synced") => true,
        Some("OutOfSync") => false,
        Some(other) => return unknown_word("status.sync.status", other),
    };
    if let Some(judged) = app.operation.as_ref().and_then(|op| operation(op, app, synced)) {
        return judged;
    }
    if app.requested {
        return Judgement::new(Reason::Waiting, "an operation waits to be taken up");
    }
    if let Some((kind, message)) = error(&["SyncError", "DeletionError"]) {
        return Judgement::new(Reason::SyncFailed, format!("{kind}: {message}"));
    }
    let health = match app.health.as_deref() {
        Some("Healthy") => None,
        Some("Degraded") => Some(Judgement::new(Reason::Degraded, "a workload is degraded")),
        Some("Missing") => Some(Judgement::new(Reason::Missing, "something of it is not in the cluster")),
        Some("Progressing") => Some(Judgement::new(Reason::Rollout, "its workloads are not there yet")),
        Some("Suspended") => Some(Judgement::new(Reason::Suspended, "a workload of it is suspended")),
        None | Some("Unknown") => Some(Judgement::new(Reason::HealthUnknown, "its health is not known")),
        Some(other) => Some(unknown_word("status.health.status", other)),
    };
    match health {
        Some(health) if health.reason == Reason::Degraded => return health,
        // Without sync a health proves nothing: what is not deployed counts as healthy.
        _ if !synced => {
            let health = app.health.as_deref().unwrap_or("not known");
            let text =
                format!("the live state is not the wanted one; health is {health}, which proves nothing");
            return Judgement::new(Reason::OutOfSync, text);
        }
        Some(health) => return health,
        None => {}
    }
    if app.resources == 0 {
        return Judgement::new(Reason::NothingDeployed, "it is Synced and Healthy, and manages no resource");
    }
    if !app.autosync && !at.limits.accept_manual_sync {
        let text = "it is Synced and Healthy, and does not sync by itself: a person must";
        return Judgement::new(Reason::ManualSync, text);
    }
    ok("it is Synced and Healthy; whether its destination lives it does not say")
}

/// What the last operation says of the application; `None` when nothing.
fn operation(op: &Operation, app: &Application, synced: bool) -> Option<Judgement> {
    let message = if op.message.is_empty() { String::new() } else { format!(": {}", op.message) };
    match op.phase.as_str() {
        "Running" if op.retrying => {
            Some(Judgement::new(Reason::Retrying, format!("an operation failed and is tried again{message}")))
        }
        "Running" => Some(Judgement::new(Reason::Running, format!("an operation runs{message}"))),
        "Terminating" => Some(Judgement::new(Reason::Running, "an operation is being ended")),
        // A failed one of an older revision is history once the application is in sync.
        "Failed" | "Error"
            if !op.dry_run && (!synced || op.revision.is_none() || op.revision == app.revision) =>
        {
            Some(Judgement::new(Reason::OperationFailed, format!("the last operation failed{message}")))
        }
        "Failed" | "Error" | "Succeeded" => None,
        other => Some(unknown_word("status.operationState.phase", other)),
    }
}

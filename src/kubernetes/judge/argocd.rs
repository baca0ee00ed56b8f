//! Argo CD applications.
//!
//! `reconciledAt` is the heartbeat of the controller. It says nothing of the destination cluster: a dead one stays
//! Synced, Healthy and freshly reconciled, which only a probe of its API shows.

use super::{At, ok, show, unknown_word};
use crate::kubernetes::{Application, Destination, Judgement, Operation, Reason};

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
    // First of all: Degraded is said of what runs now. A rollout on its way is Progressing, also while an operation runs.
    if app.health.as_deref() == Some("Degraded") {
        return Judgement::new(Reason::Degraded, "a workload is degraded");
    }
    if let Some(judged) = app.operation.as_ref().and_then(|op| operation(op, app, synced, at)) {
        return judged;
    }
    if app.requested {
        return Judgement::new(Reason::Waiting, "an operation waits to be taken up");
    }
    if let Some((kind, message)) = error(&["SyncError", "DeletionError"]) {
        return Judgement::new(Reason::SyncFailed, format!("{kind}: {message}"));
    }
    const READ: [&str; 5] =
        ["InvalidSpecError", "ComparisonError", "UnknownError", "SyncError", "DeletionError"];
    if let Some((kind, _)) = app.errors.iter().find(|(kind, _)| !READ.contains(&kind.as_str())) {
        return unknown_word("the type of a condition", kind);
    }
    // Without sync a health proves nothing: what is not deployed counts as healthy.
    if !synced {
        let health = app.health.as_deref().unwrap_or("not known");
        let text = format!("the live state is not the wanted one; health is {health}, which proves nothing");
        return Judgement::new(Reason::OutOfSync, text);
    }
    match app.health.as_deref() {
        Some("Healthy") => {}
        Some("Missing") => {
            return Judgement::new(Reason::Missing, "something of it is not in the cluster");
        }
        Some("Progressing") => return Judgement::new(Reason::Rollout, "its workloads are not there yet"),
        Some("Suspended") => return Judgement::new(Reason::Suspended, "a workload of it is suspended"),
        None | Some("Unknown") => return Judgement::new(Reason::HealthUnknown, "its health is not known"),
        Some(other) => return unknown_word("status.health.status", other),
    }
    if app.resources == 0 {
        return Judgement::new(Reason::NothingDeployed, "it is Synced and Healthy, and manages no resource");
    }
    if !app.autosync && !at.limits.accept_manual_sync {
        let text = "it is Synced and Healthy, and does not sync by itself: a person must";
        return Judgement::new(Reason::ManualSync, text);
    }
    if at.limits.destinations.of(app) == Destination::Unmapped {
        let text = format!(
            "it is Synced and Healthy in {}, and nobody said which cluster that is: name it with \
             --argocd-destination {}=CLUSTER",
            app.cluster, app.cluster
        );
        return Judgement::new(Reason::DestinationUnmapped, text);
    }
    ok("it is Synced and Healthy; whether its destination lives it does not say")
}

/// What the last operation says of the application; `None` when nothing.
fn operation(op: &Operation, app: &Application, synced: bool, at: &At<'_>) -> Option<Judgement> {
    let message = if op.message.is_empty() { String::new() } else { format!(": {}", op.message) };
    match op.phase.as_str() {
        "Running" | "Terminating" => {
            let Some(started) = op.started else {
                let text = "an operation runs, and status.operationState.startedAt is absent";
                return Some(Judgement::new(Reason::TimestampAbsent, text));
            };
            if let Some(wrong) = at.future("status.operationState.startedAt", started) {
                return Some(wrong);
            }
            let age = at.age(started);
            let (reason, doing) = match op.phase.as_str() {
                "Terminating" => (Reason::Running, "an operation is being ended"),
                _ if op.retrying => (Reason::Retrying, "an operation failed and is tried again"),
                _ => (Reason::Running, "an operation runs"),
            };
            let limit = at.limits.operation;
            let (reason, late) = match age > limit {
                true => (Reason::OperationStuck, format!(", where {} are allowed", show(limit))),
                false => (reason, String::new()),
            };
            Some(Judgement::new(reason, format!("{doing}, since {}{late}{message}", show(age))))
        }
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

//! Flux: Kustomizations, Helm releases and their sources.
//!
//! `status.observedGeneration` does not advance on failure, and advances on suspended objects: what counts is the
//! generation that the condition Ready itself speaks of. Only a Kustomization has a heartbeat: of a source nothing moves
//! while its revision stays, so only an answered request to reconcile proves that its controller lives. A failure counts
//! only while something of it moves: what was not ready when its controller died is unknown.

use jiff::SignedDuration;

use super::{At, ok, show, unknown_word};
use crate::kubernetes::{
    Condition, Detail, Flux, Judgement, Kind, Object, Reason, Verdict, object::token_time,
};

/// A health check runs at least so long, whatever spec.timeout says.
const LEAST_TIMEOUT: SignedDuration = SignedDuration::from_secs(30);

pub(super) fn flux(object: &Object, flux: &Flux, at: &At<'_>) -> Judgement {
    if flux.suspended {
        return Judgement::new(Reason::Suspended, "spec.suspend: its last state stands for ever");
    }
    if flux.fixed {
        let text = "no controller looks at a HelmRepository of type oci: its HelmCharts tell";
        return Judgement::new(Reason::NotReconciled, text);
    }
    let Some(ready) = &flux.ready else {
        return Judgement::new(
            Reason::NeverReconciled,
            "no controller has looked at it: it has no condition Ready",
        );
    };
    if ready.generation.is_none() || ready.generation != object.generation {
        let number = |n: Option<i64>| n.map_or("absent".to_owned(), |n| n.to_string());
        let text = format!(
            "Ready={} speaks of generation {}, and the spec is at {}",
            ready.status,
            number(ready.generation),
            number(object.generation)
        );
        return Judgement::new(Reason::GenerationBehind, text);
    }
    if object.kind == Kind::ExternalArtifact {
        return external(flux, ready, at);
    }
    if let Some(unanswered) = handshake(flux, at) {
        return unanswered;
    }
    // Nothing is tried again, and nothing moves, whether its controller lives or not.
    if let Some(stalled) = &flux.stalled {
        return Judgement::new(Reason::Stalled, because(stalled));
    }
    match ready.status.as_str() {
        "True" => {}
        "False" => return abandoned(flux, ready, at).unwrap_or_else(|| not_ready(ready)),
        "Unknown" => {
            if let Some(judged) = reconciling(object, flux, ready, at) {
                return judged;
            }
        }
        other => return unknown_word("the condition Ready", other),
    }
    match object.kind {
        Kind::Kustomization => kustomization(object, flux, at),
        Kind::HelmRelease => {
            if let Some(judged) = silent(flux, at) {
                return judged;
            }
            match source(object, flux, at) {
                Ok(source) if source.ready.as_ref().is_none_or(|ready| ready.status != "True") => {
                    Judgement::new(Reason::Reconciling, "its chart is being reconciled")
                }
                Ok(source)
                    if source.revision.as_deref().is_some_and(|newest| !flux.is_at(object.kind, newest)) =>
                {
                    let text = format!("its chart is at {}, which it has not tried", revision(source));
                    Judgement::new(Reason::RevisionBehind, text)
                }
                Ok(_) => ok(format!("it is ready at {}", revision(flux))),
                Err(judged) => judged,
            }
        }
        _ if flux.revision.is_none() => {
            Judgement::new(Reason::Reconciling, "it is ready, and has no artifact yet")
        }
        _ => silent(flux, at).unwrap_or_else(|| ok(format!("it is ready at {}", revision(flux)))),
    }
}

fn revision(flux: &Flux) -> &str {
    flux.revision.as_deref().unwrap_or("no revision")
}

fn because(condition: &Condition) -> String {
    format!("{}: {}", condition.reason, condition.message)
}

fn not_ready(ready: &Condition) -> Judgement {
    let reason = match ready.reason.as_str() {
        "ArtifactFailed" => Reason::ArtifactFailed,
        "BuildFailed" => Reason::BuildFailed,
        "ReconciliationFailed" => Reason::ApplyFailed,
        "HealthCheckFailed" => Reason::HealthCheckFailed,
        "DependencyNotReady" => Reason::DependencyNotReady,
        _ => Reason::NotReady,
    };
    Judgement::new(reason, because(ready))
}

/// Any controller may make it: it has no interval, and no place to answer a request.
fn external(flux: &Flux, ready: &Condition, at: &At<'_>) -> Judgement {
    if !at.limits.accept_silent {
        let text = "nothing of it moves while all is well, and it cannot be asked: nothing proves that its controller lives";
        return Judgement::new(Reason::HeartbeatAbsent, text);
    }
    match ready.status.as_str() {
        "True" if flux.revision.is_some() => ok(format!("it is ready at {}", revision(flux))),
        "True" => Judgement::new(Reason::Reconciling, "it is ready, and has no artifact yet"),
        "False" => not_ready(ready),
        "Unknown" => Judgement::new(Reason::Reconciling, because(ready)),
        other => unknown_word("the condition Ready", other),
    }
}

/// A failure is tried again in every interval. When nothing of it has moved for long, its controller may be dead, and what
/// failed may be well.
fn abandoned(flux: &Flux, ready: &Condition, at: &At<'_>) -> Option<Judgement> {
    let Some(patience) = patience(flux, at) else {
        return Some(Judgement::new(Reason::TimestampAbsent, "spec.interval is absent"));
    };
    let life = flux.sign_of_life().max(flux.reconciled);
    let silent = at.heartbeat("its last sign of life", life, patience)?;
    let stale = silent.reason == Reason::HeartbeatStale;
    (!stale || !at.limits.accept_silent).then(|| {
        let text = format!("{}, and it said last: {}", silent.sentence, because(ready));
        Judgement::new(silent.reason, text)
    })
}

fn timeout(flux: &Flux) -> SignedDuration {
    flux.timeout.unwrap_or(LEAST_TIMEOUT).max(LEAST_TIMEOUT)
}

fn patience(flux: &Flux, at: &At<'_>) -> Option<SignedDuration> {
    flux.interval.map(|interval| at.patience(interval).saturating_add(timeout(flux)))
}

/// A request that was not taken up: its token is the time at which it was made.
fn handshake(flux: &Flux, at: &At<'_>) -> Option<Judgement> {
    let token = flux.requested.as_ref().filter(|token| flux.handled.as_ref() != Some(token))?;
    let age = at.age(token_time(token)?);
    (age > at.limits.handshake.saturating_add(timeout(flux))).then(|| {
        let text = format!("a request to reconcile has not been taken up for {}", show(age));
        Judgement::new(Reason::HandshakeUnanswered, text)
    })
}

/// What never moves while all is well: only a recent change, or an answered request, proves life.
fn silent(flux: &Flux, at: &At<'_>) -> Option<Judgement> {
    let life = flux.sign_of_life();
    let Some(patience) = patience(flux, at) else {
        return Some(Judgement::new(Reason::TimestampAbsent, "spec.interval is absent"));
    };
    if let Some(wrong) = life.and_then(|life| at.future("its last sign of life", life)) {
        return Some(wrong);
    }
    let fresh = life.is_some_and(|life| at.age(life) <= patience);
    (!fresh && !at.limits.accept_silent).then(|| {
        let last = life.map_or("never".to_owned(), |life| format!("{} ago", show(at.age(life))));
        let text = format!(
            "it is ready, and nothing proves that its controller lives (last sign {last}): annotate \
             reconcile.fluxcd.io/requestedAt with the time"
        );
        Judgement::new(Reason::HeartbeatAbsent, text)
    })
}

/// Every healthy Kustomization is Unknown for a moment in every interval, and a failing one for as long as its health
/// checks run, so the last result is held; `None` means that it was good. Of a failing one observedGeneration stays behind.
fn reconciling(object: &Object, flux: &Flux, ready: &Condition, at: &At<'_>) -> Option<Judgement> {
    let held = (object.kind == Kind::Kustomization).then_some(flux.reconciled_status.as_deref()).flatten();
    let current = flux.observed == object.generation && flux.attempted == flux.revision;
    // Whether the result is of what is wanted now is judged as if it were ready.
    if held == Some("ReconciliationSucceeded") && current {
        return None;
    }
    let Some(patience) = patience(flux, at) else {
        return Some(Judgement::new(Reason::TimestampAbsent, "spec.interval is absent"));
    };
    if let Some(stale) = at.heartbeat("Ready's lastTransitionTime", ready.changed, patience) {
        return Some(stale);
    }
    Some(match held {
        Some("HealthCheckFailed") => {
            let text = "it is being reconciled; the last health check failed";
            Judgement::new(Reason::HealthCheckFailed, text)
        }
        Some("ReconciliationFailed") => {
            let text = "it is being reconciled; it could not be applied the last time";
            Judgement::new(Reason::ApplyFailed, text)
        }
        _ => Judgement::new(Reason::Reconciling, because(ready)),
    })
}

fn kustomization(object: &Object, flux: &Flux, at: &At<'_>) -> Judgement {
    let Some(patience) = patience(flux, at) else {
        return Judgement::new(Reason::TimestampAbsent, "spec.interval is absent");
    };
    if let Some(silent) = at.heartbeat("status.history[0].lastReconciled", flux.reconciled, patience) {
        return silent;
    }
    let source = match source(object, flux, at) {
        Ok(source) => source,
        Err(judged) => return judged,
    };
    if flux.revision.is_none() || flux.revision != source.revision {
        let text = format!("{} is applied, and its source is at {}", revision(flux), revision(source));
        return Judgement::new(Reason::RevisionBehind, text);
    }
    ok(format!("it is ready at {}, which is its source's", revision(flux)))
}

/// The source, when it is well or only on its way; ready objects stay ready while their source fails.
fn source<'a>(object: &Object, flux: &Flux, at: &At<'a>) -> Result<&'a Flux, Judgement> {
    let Some(reference) = &flux.source else {
        return Err(Judgement::new(Reason::RelatedUnseen, "it names no source"));
    };
    let name = format!("{} {}/{}", reference.kind, reference.namespace, reference.name);
    let Some(kind) = Kind::of_flux(&reference.kind) else {
        let text = format!("its source {name} is of a kind that is not watched");
        return Err(Judgement::new(Reason::RelatedUnseen, text));
    };
    let Some(found) = at.related.get(kind, &reference.namespace, &reference.name) else {
        return Err(if at.related.is_whole(kind, &reference.namespace) {
            Judgement::new(Reason::SourceMissing, format!("its source {name} does not exist"))
        } else {
            Judgement::new(Reason::RelatedUnseen, format!("its source {name} was not looked at"))
        });
    };
    // A Kustomization is no source; what refers to itself would be judged for ever.
    let Detail::Flux(source) = &found.detail else {
        return Err(Judgement::new(Reason::SourceUnknown, format!("{name} cannot be read")));
    };
    if matches!(found.kind, Kind::Kustomization | Kind::HelmRelease) {
        let text = format!("{} {} names {name} as its source", object.kind, object.name);
        return Err(Judgement::new(Reason::SourceUnknown, text));
    }
    let judged = at.judge(found);
    match judged.verdict {
        Verdict::Healthy | Verdict::Progressing => Ok(source),
        Verdict::Unhealthy => {
            Err(Judgement::new(Reason::SourceUnhealthy, format!("{name}: {}", judged.sentence)))
        }
        Verdict::Unknown => {
            Err(Judgement::new(Reason::SourceUnknown, format!("{name}: {}", judged.sentence)))
        }
    }
}

//! The RFC 2136 provider against a real BIND, and against a server that misbehaves on purpose.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

mod bind;
mod faults;
mod faulty;

use std::{collections::BTreeSet, time::Duration};

use switchyard::{
    dns::{Rfc2136, Settings},
    model::{DnsStep, DnsView, Fence, Generation, RecordSet, RecordType, Seen, StepOutcome},
};

const NAME: &str = "runner.company.test.";
const MARKER: &str = "_failover-owner.runner.company.test.";
const BLUE: &str = "ingress.blue.company.test.";
const GREEN: &str = "ingress.green.company.test.";

fn set(ttl: u32, values: &[&str]) -> RecordSet {
    RecordSet { ttl, values: values.iter().map(|v| (*v).to_owned()).collect::<BTreeSet<_>>() }
}

fn known(ttl: u32, values: &[&str]) -> Seen<RecordSet> {
    Seen::Known(set(ttl, values))
}

fn fence(generation: u64) -> Fence {
    Fence::new("rnd".parse().unwrap(), Generation(generation))
}

/// The step from what was seen.
fn step(record_type: RecordType, view: &DnsView, to: RecordSet) -> DnsStep {
    DnsStep {
        provider: "bind".to_owned(),
        name: NAME.to_owned(),
        record_type,
        from: view.primary.clone(),
        marker: view.marker.clone(),
        to,
    }
}

fn settings(server: &str, key: &str, secret: &str) -> Settings {
    Settings {
        verify: vec![server.to_owned()],
        // Long enough for a busy machine; the tests that wait for it in vain set less.
        connect_timeout: Duration::from_secs(20),
        reply_timeout: Duration::from_secs(20),
        ..Settings::new(server, "company.test.", key, secret.to_owned().into())
    }
}

fn provider(settings: Settings) -> Rfc2136 {
    Rfc2136::new(settings).unwrap()
}

#[track_caller]
fn failed(outcome: StepOutcome) -> (String, bool) {
    match outcome {
        StepOutcome::Failed { why, transient } => (why, transient),
        other => panic!("{other:?} instead of failed"),
    }
}

#[track_caller]
fn unknown(outcome: StepOutcome) -> String {
    match outcome {
        StepOutcome::Unknown(why) => why,
        other => panic!("{other:?} instead of unknown"),
    }
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

//! What Prometheus learns from the sidecar.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet},
    metrics::{counter::Counter, family::Family},
    registry::Unit,
};

use super::state::{Limits, Memory, State};
use crate::{
    clock,
    metrics::{family, seconds},
    model::Timestamp,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Outcome {
    outcome: &'static str,
}

/// Looks by outcome.
pub(super) type Looks = Family<Outcome, Counter>;

pub(super) fn count(looks: &Looks, good: bool) {
    looks.get_or_create(&Outcome { outcome: if good { "ok" } else { "failed" } }).inc();
}

/// The state gauges, judged at scrape time.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) memory: Arc<Mutex<Memory>>,
    pub(super) limits: Limits,
    pub(super) now: fn() -> Timestamp,
}

impl Collector for Seen {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let judgement = memory.judge(clock::moment(self.now), &self.limits);
        let one = |value: bool| std::iter::once((vec![], f64::from(value)));
        let e = &mut encoder;
        let live = judgement.state.live();
        family(e, "sidecar_live", "Whether the runner process is alive", None, one(live))?;
        let ready = judgement.state.ready();
        family(e, "sidecar_ready", "Whether the runner takes jobs", None, one(ready))?;
        let states = State::ALL
            .iter()
            .map(|state| (vec![("state", state.as_str())], f64::from(*state == judgement.state)));
        family(e, "sidecar_state", "What the runner process is doing", None, states)?;
        let sections = judgement.sections.iter().flat_map(|(runner, state)| {
            State::ALL.iter().map(move |one| {
                (vec![("runner", runner.as_str()), ("state", one.as_str())], f64::from(one == state))
            })
        });
        family(e, "sidecar_section_state", "What each [[runners]] section is doing", None, sections)?;
        let requests = memory
            .requests()
            .map(|(runner, at, status)| (vec![("runner", runner), ("status", status)], seconds(at)));
        let help = "When the last request for a job ended, and how";
        family(e, "sidecar_last_request_timestamp", help, Some(&Unit::Seconds), requests)
    }
}

//! The nouns: what Switchyard speaks about, without any I/O.

mod decision;
mod evidence;
mod finding;
mod gate;
mod ids;
mod lease;
mod observation;
mod overrides;
mod signal;
mod step;
mod topology;

pub use decision::{Decision, MoveKind, MoveState};
pub use evidence::{Answer, Asked, Evidence, FleetEvidence, Question, Reading, Sample, Verdict};
pub use finding::{Finding, Severity};
pub use gate::{Gate, GateReport};
pub use ids::{ClusterName, FleetName, Generation, InvalidName, RunnerId, Tag};
pub use lease::{BootTime, Epoch, Leader, Leadership};
pub use observation::{
    DnsView, FleetRunners, Manager, Marker, Observation, RecordSet, RecordType, Runner, Seen,
};
pub use overrides::{Override, OverrideKind, Request};
pub use signal::{Action, Signal, SignalKey, SignalState};
pub use step::{DnsStep, Fence, Phase, Step, StepOutcome, TagChange, TagStep};
pub use topology::{
    Budget, DescriptionPattern, DnsRecord, Failback, Fleet, Limits, Park, Pool, PoolSelector, Require,
    Thresholds, Topology,
};

pub use jiff::{SignedDuration, Timestamp};

//! The nouns: what Switchyard speaks about, without any I/O.

mod decision;
mod evidence;
mod finding;
mod gate;
mod ids;
mod in_flight;
mod lease;
mod observation;
mod overrides;
mod proposal;
mod signal;
mod step;
mod topology;
mod visible;
mod window;

pub use decision::{Decision, MOVES_KNOWN, MoveKind, MoveState};
pub use evidence::{Answer, Asked, CLOCK_OFF, Evidence, FleetEvidence, Question, Reading, Sample, Verdict};
pub use finding::{Finding, Severity};
pub use gate::{Gate, GateReport};
pub use ids::{ClusterName, FleetName, Generation, InvalidName, RunnerId, Tag};
pub use in_flight::{Draining, Pipeline};
pub use lease::{BootTime, Epoch, Leader, Leadership, Moment};
pub use observation::{
    DnsView, FleetRunners, Manager, Marker, Observation, RecordSet, RecordType, Runner, Seen,
};
pub use overrides::{Holders, Override, OverrideKind, Request};
pub use proposal::{Consent, Proposal, ProposalAnswer, Proposed};
pub use signal::{Action, Signal, SignalKey, SignalState};
pub use step::{DnsStep, Fence, Phase, Step, StepOutcome, TagChange, TagStep};
pub use topology::{
    Approval, Budget, DescriptionPattern, DnsRecord, Drain, DrainPolicy, Failback, Fleet, Limits, Park, Pool,
    PoolSelector, Require, Thresholds, Topology,
};
pub use visible::{is_control, lines, one_line};
pub use window::{WeeklyTime, Window, WindowState};

pub use jiff::{SignedDuration, Timestamp};

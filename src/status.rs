//! The snapshot that every pass publishes: what metrics, API and pages show.

use std::{collections::BTreeMap, fmt};

use jiff::Unit;
use serde::Serialize;

use crate::{
    decide::{Outcome, Waiting},
    model::{
        ClusterName, Decision, DnsView, FleetEvidence, FleetName, FleetRunners, GateReport, Generation,
        Leadership, MoveState, Proposal, Require, RunnerId, Seen, SignedDuration, Tag, Timestamp,
    },
    plan::Plan,
};

/// What the last pass saw and came to.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// When the pass ended; none before the first one.
    pub at: Option<Timestamp>,
    /// As of when the pass knew what the store remembers.
    pub judged_at: Option<Timestamp>,
    /// When GitLab was last read, or why it could not be.
    pub gitlab: Seen<Timestamp>,
    /// Whether this process leads.
    pub leadership: Leadership,
    /// The newest firing watchdog signal.
    pub watchdog_at: Option<Timestamp>,
    /// Every Prometheus server by address: whether it answered.
    pub prometheus: BTreeMap<String, bool>,
    /// How far this machine's clock is ahead of that of each Prometheus server, or behind it (negative).
    pub clocks: BTreeMap<String, SignedDuration>,
    /// The fleets.
    pub fleets: BTreeMap<FleetName, FleetStatus>,
    /// Since then the next pass is overdue, and what is shown here is old.
    pub stale_at: Option<Timestamp>,
    /// Passes that could not be finished since.
    pub failing: Option<Failing>,
    /// Answers to people's recent requests, by number.
    #[serde(skip)]
    pub answers: BTreeMap<i64, Answer>,
}

/// Why nothing newer is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failing {
    /// When the first of them failed.
    pub since: Timestamp,
    /// How many.
    pub passes: u64,
    /// Why the last one failed.
    pub why: String,
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { since, passes, why } = self;
        write!(f, "{passes} {} failed since {since:.0}: {why}", if *passes == 1 { "pass" } else { "passes" })
    }
}

impl Status {
    /// What a person should know who is shown this now: that it is old, and why.
    pub fn old(&self, now: Timestamp) -> Option<String> {
        let at = self.at?;
        let age = now.duration_since(at).round(Unit::Second).unwrap_or_default();
        let seen = format!("what is shown here was seen at {at:.0}, {age:#} ago");
        match &self.failing {
            Some(failing) => Some(format!("{seen}: {failing}")),
            None if self.stale_at.is_some_and(|stale_at| now > stale_at) => {
                Some(format!("{seen}: the pass that looks again has not ended"))
            }
            None => None,
        }
    }
}

/// The answer to a person's request.
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    /// What it came to.
    pub outcome: Outcome,
    /// In one sentence.
    pub sentence: String,
    /// The decision, if one was made.
    pub generation: Option<Generation>,
}

/// One fleet in the snapshot.
#[derive(Debug, Clone, Serialize)]
pub struct FleetStatus {
    /// Its name.
    pub name: FleetName,
    /// Whether Switchyard may move it.
    pub enabled: bool,
    /// The tag that developers use.
    pub routing_tag: Tag,
    /// Every cluster, best first.
    pub prefer: Vec<ClusterName>,
    /// The holder as decided.
    pub intended_holder: Option<ClusterName>,
    /// The clusters whose pool carries the routing tag, as seen.
    pub observed_holders: Seen<Vec<ClusterName>>,
    /// The decision's number.
    pub generation: Generation,
    /// A move is under way.
    pub moving: bool,
    /// What is seen differs from what is decided, and no move explains it.
    pub drift: bool,
    /// The last move failed and nobody has acknowledged it.
    pub latched: bool,
    /// A person paused it.
    pub paused: bool,
    /// What the pass came to.
    pub outcome: Outcome,
    /// In one sentence.
    pub sentence: String,
    /// What else a person should know, and what holds nothing back.
    pub warnings: Vec<String>,
    /// The latest decision.
    pub decision: Option<Decision>,
    /// Every gate with its verdict.
    pub gates: Vec<GateReport>,
    /// The steps to take, and those withheld.
    pub plan: Option<Plan>,
    /// How far a move is.
    pub progress: Option<Progress>,
    /// The automatic move that waits for a person.
    pub proposal: Option<Proposal>,
    /// The planned move that waits until the fleet has drained.
    pub waiting: Option<Waiting>,
    /// Pipelines with jobs on the routing tag in flight; none when nobody looked, or GitLab does not say.
    pub in_flight: Option<usize>,
    /// How long after a move no automatic move follows.
    pub cool_down: SignedDuration,
    /// The DNS name as seen.
    pub dns: Option<DnsView>,
    /// Thresholds by name.
    pub thresholds: BTreeMap<&'static str, f64>,
    /// What must be well of a target beside its runners.
    pub require: Require,
    /// The runner records as seen.
    #[serde(skip)]
    pub runners: Seen<FleetRunners>,
    /// What Prometheus said.
    #[serde(skip)]
    pub evidence: FleetEvidence,
}

/// How far a move is: what was seen, not what was sent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    /// `prepare`, `switch` or `retire` while there are steps; `verify` while nothing is left but to be seen; then `done` or
    /// `failed`.
    pub phase: &'static str,
    /// What the phase waits to see.
    pub waiting: Option<String>,
    /// Records of the new holder and of the one before that are as decided.
    pub runners_moved: usize,
    /// Records of both, and those elsewhere that still carry the tag.
    pub runners: usize,
    /// Records of the new holder with the tag.
    pub tagged: usize,
    /// Records of the new holder.
    pub to_tag: usize,
    /// Records elsewhere that still carry the tag.
    pub to_untag: usize,
    /// Authoritative addresses that answer as decided.
    pub dns_agreeing: usize,
    /// Authoritative addresses.
    pub dns_servers: usize,
    /// Those of them that cannot be asked: they are not waited for.
    pub dns_unreachable: usize,
    /// Seconds since the decision, until the move ended.
    pub elapsed: f64,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            at: None,
            judged_at: None,
            gitlab: Seen::Unknown("not read yet".to_owned()),
            leadership: Leadership::StandsBy { leader: None },
            watchdog_at: None,
            prometheus: BTreeMap::new(),
            clocks: BTreeMap::new(),
            stale_at: None,
            failing: None,
            fleets: BTreeMap::new(),
            answers: BTreeMap::new(),
        }
    }
}

/// What a runner record is to its fleet, as metrics name it.
pub const RUNNER_STATES: [&str; 3] = ["serving", "parked", "paused"];

impl FleetStatus {
    /// How many records of a cluster are in each of [`RUNNER_STATES`].
    pub fn runner_counts(&self, cluster: &ClusterName) -> Option<[usize; 3]> {
        let pool = self.runners.known()?.pools.get(cluster)?;
        let paused = pool.iter().filter(|r| r.paused).count();
        let serving = pool.iter().filter(|r| !r.paused && r.tags.contains(&self.routing_tag)).count();
        Some([serving, pool.len() - serving - paused, paused])
    }

    /// Every record with its cluster and the time GitLab last heard from it.
    pub fn contacts(&self) -> impl Iterator<Item = (&ClusterName, RunnerId, Timestamp)> {
        self.runners.known().into_iter().flat_map(|runners| {
            runners.pools.iter().flat_map(|(cluster, pool)| {
                pool.iter().filter_map(move |r| Some((cluster, r.id, r.contacted_at?)))
            })
        })
    }

    /// Whether the latest decision's move is under way.
    pub fn is_moving(decision: Option<&Decision>) -> bool {
        decision.is_some_and(|d| d.state == MoveState::Moving)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_says_since_when_and_why() {
        let second = |second: i64| Timestamp::constant(1_800_000_000 + second, 0);
        let mut status = Status { at: Some(second(0)), stale_at: Some(second(60)), ..Status::default() };
        assert_eq!(status.old(second(60)), None);
        let seen = "what is shown here was seen at 2027-01-15T08:00:00Z, 1m 1s ago";
        assert_eq!(
            status.old(second(61)).unwrap(),
            format!("{seen}: the pass that looks again has not ended")
        );
        let failing = |passes| Some(Failing { since: second(10), passes, why: "it is locked".to_owned() });
        status.failing = failing(1);
        let wanted = format!("{seen}: 1 pass failed since 2027-01-15T08:00:10Z: it is locked");
        assert_eq!(status.old(second(61)).unwrap(), wanted);
        status.failing = failing(7);
        assert!(
            status.old(second(11)).unwrap().contains("7 passes failed since"),
            "at once, not when it is overdue"
        );
        status.at = None;
        assert_eq!(status.old(second(61)), None, "nothing is shown");
    }
}

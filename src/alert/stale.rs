//! Episodes that nobody will end: pure.
//!
//! An alert that is resolved while it is silenced or inhibited never sends *resolved*, and neither does one whose firing
//! was the last that got through. The catch-up poll ends such episodes. What silence means: **an alert that
//! Alertmanager holds back moves nothing**, so its episode ends as soon as the poll sees it silenced or inhibited. When
//! it is let through again and still fires, the poll begins a new episode.
//!
//! Missing data ends nothing. An alert counts as gone only when
//! - every Alertmanager that answered, answered in full and does not let it through, and
//! - one of them at least knows all: it has settled, and has been up long enough to have heard of everything that fires
//!   (it keeps no alerts over a restart), and
//! - nobody has reported the alert for as long: what has just reached one peer may not have reached the others.

use jiff::{SignedDuration, Timestamp};

use super::{Muted, Parsed, SOURCE};
use crate::model::{Action, Signal};

/// What one Alertmanager answered in a catch-up poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its list.
    pub parsed: Parsed,
    /// Whether the list may be taken for complete.
    pub knows_all: bool,
}

/// Why the catch-up poll ends an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ended {
    /// Alertmanager lists the alert no longer, and never said that it was resolved.
    Gone,
    /// A silence holds the alert back.
    Silenced,
    /// Another alert holds it back.
    Inhibited,
}

impl Ended {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Gone, Self::Silenced, Self::Inhibited];

    /// The word used in log, metric and history.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Silenced => "silenced",
            Self::Inhibited => "inhibited",
        }
    }
}

/// An episode to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// As stored.
    pub signal: Signal,
    /// Why.
    pub ended: Ended,
    /// What holds it back: ids of silences, or fingerprints of alerts.
    pub by: Vec<String>,
}

impl Stale {
    /// For the history.
    pub fn sentence(&self) -> String {
        let Signal { action, labels, cluster, .. } = &self.signal;
        let name = labels.get("alertname").map_or("without a name", String::as_str);
        let about = cluster.as_ref().map_or("no cluster", |cluster| cluster.as_str());
        let why = match self.ended {
            Ended::Gone => {
                "Alertmanager lists it no longer and never said that it was resolved, as when it ends while silenced"
                    .to_owned()
            }
            Ended::Silenced => format!("silenced in Alertmanager by {}", self.by.join(", ")),
            Ended::Inhibited => format!("inhibited in Alertmanager by {}", self.by.join(", ")),
        };
        format!("The {action} alert {name} about {about} counts no longer: {why}.")
    }
}

/// What one answer says of an alert.
enum Listed<'a> {
    /// It is let through, or nobody can tell.
    Counts,
    HeldBack(Ended, &'a [String]),
    Missing,
}

/// The episodes among `firing` that the answers of a poll end. The poll was asked at `began`; `settle` is how long
/// nobody may have reported an alert that is gone. A watchdog is never ended: its age says it all.
pub fn stale(firing: &[Signal], answers: &[Answer], began: Timestamp, settle: SignedDuration) -> Vec<Stale> {
    let ours = |signal: &&Signal| signal.key.source == SOURCE && signal.action != Action::Watchdog;
    firing.iter().filter(ours).filter_map(|signal| one(signal, answers, began, settle)).collect()
}

fn one(signal: &Signal, answers: &[Answer], began: Timestamp, settle: SignedDuration) -> Option<Stale> {
    // Reported after the poll was asked: the answers are older.
    let quiet = began.duration_since(signal.last_seen);
    if quiet < SignedDuration::ZERO {
        return None;
    }
    let stale = |ended, by: &[String]| Stale { signal: signal.clone(), ended, by: by.to_vec() };
    let mut found: Option<Stale> = None;
    for answer in answers {
        match answer.parsed.listed(&signal.key.fingerprint) {
            Listed::Counts => return None,
            Listed::HeldBack(ended, by) if answer.knows_all => found = Some(stale(ended, by)),
            Listed::Missing if answer.knows_all && quiet >= settle => {
                found = found.or_else(|| Some(stale(Ended::Gone, &[])));
            }
            Listed::HeldBack(..) | Listed::Missing => {}
        }
    }
    found
}

impl Parsed {
    fn listed(&self, fingerprint: &str) -> Listed<'_> {
        if let Some(muted) = self.muted.iter().find(|muted| muted.signal.key.fingerprint == fingerprint) {
            return muted.held_back();
        }
        let named = self.signals.iter().any(|signal| signal.key.fingerprint == fingerprint);
        // An alert that cannot be read is there, and one without a name may be any.
        let unread = self.ignored.iter().any(|i| i.fingerprint == fingerprint || i.fingerprint.is_empty());
        if named || unread || self.is_truncated() { Listed::Counts } else { Listed::Missing }
    }
}

impl Muted {
    /// One that is not yet processed may be let through in a moment.
    fn held_back(&self) -> Listed<'_> {
        if self.state != "suppressed" {
            Listed::Counts
        } else if !self.silenced_by.is_empty() {
            Listed::HeldBack(Ended::Silenced, &self.silenced_by)
        } else if !self.inhibited_by.is_empty() {
            Listed::HeldBack(Ended::Inhibited, &self.inhibited_by)
        } else {
            Listed::Counts
        }
    }
}

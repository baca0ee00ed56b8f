//! What people set.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ClusterName, FleetName, Gate};

/// What a person can set on a fleet, or on all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverrideKind {
    /// No automatic move.
    Pause,
}

impl OverrideKind {
    /// The word used in store and API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
        }
    }
}

/// What a person set, why, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// The fleet; none means all.
    pub fleet: Option<FleetName>,
    /// What was set.
    pub kind: OverrideKind,
    /// Why.
    pub reason: String,
    /// By whom.
    pub author: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when; none means until lifted.
    pub until: Option<Timestamp>,
}

impl Override {
    /// The pause that holds for `fleet` now, if one does.
    pub fn pause<'a>(overrides: &'a [Self], fleet: &FleetName, now: Timestamp) -> Option<&'a Self> {
        Self::pauses(overrides, fleet, now).next()
    }

    /// Those that hold for `fleet` now: of the fleet, and of all fleets.
    pub fn pauses<'a>(
        overrides: &'a [Self],
        fleet: &FleetName,
        now: Timestamp,
    ) -> impl Iterator<Item = &'a Self> {
        overrides.iter().filter(move |o| o.kind == OverrideKind::Pause && o.applies(fleet, now))
    }

    fn applies(&self, fleet: &FleetName, now: Timestamp) -> bool {
        self.fleet.as_ref().is_none_or(|f| f == fleet) && self.in_force(now)
    }

    /// Whether it has not ended by itself.
    pub fn in_force(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Whether it ends after `other`; one that a person has to lift ends last.
    pub fn outlasts(&self, other: &Self) -> bool {
        match (self.until, other.until) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(own), Some(other)) => own > other,
        }
    }

    /// Who paused it, when, until when and why: `paused by ada since … until …: maintenance`.
    pub fn told(&self) -> String {
        let Self { author, since, until, reason, .. } = self;
        let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
        format!("paused by {author} since {since}{until}: {reason}")
    }
}

/// A planned move that a person asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its number in the store.
    pub id: i64,
    /// The fleet.
    pub fleet: FleetName,
    /// Where it shall go.
    pub to: ClusterName,
    /// Who holds it now, as the person believes; none for nobody.
    pub expected: Option<ClusterName>,
    /// Why.
    pub reason: String,
    /// Who asks.
    pub author: String,
    /// When it was asked.
    pub at: Timestamp,
    /// The closed gates that shall not hold it, each by its name.
    pub overrides: Vec<Gate>,
    /// Since when it waits for a sticky fleet to drain; none when no pass has judged it.
    pub waiting_since: Option<Timestamp>,
}

/// Who holds each of some fleets, as decided or as a person believes; none for nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Holders(pub BTreeMap<FleetName, Option<ClusterName>>);

impl Holders {
    /// That of one fleet.
    pub fn of(fleet: FleetName, holder: Option<ClusterName>) -> Self {
        Self(BTreeMap::from([(fleet, holder)]))
    }

    /// Whether it names no fleet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Holders {
    /// `ops at nobody and rnd at blue`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.0.len().saturating_sub(1);
        for (i, (fleet, holder)) in self.0.iter().enumerate() {
            let before = match i {
                0 => "",
                i if i == last => " and ",
                _ => ", ",
            };
            write!(f, "{before}{fleet} at {}", holder.as_ref().map_or("nobody", ClusterName::as_str))?;
        }
        Ok(())
    }
}

//! Who may act: nouns only, the clock is read elsewhere.

use std::{fmt, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A moment on a clock of this machine alone: it counts from its start, time asleep included, and nobody can set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BootTime(Duration);

impl BootTime {
    /// The moment this long after the machine's start.
    pub const fn new(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// From `earlier` to this moment; nothing when it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment this much later.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }
}

/// A moment on both clocks: one for people and other machines, which may be set, and one for how long ago something was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The time of day.
    pub wall: Timestamp,
    /// What nobody can set.
    pub boot: BootTime,
}

impl Moment {
    /// From `earlier` to this moment, whatever the time of day did meanwhile. None: that was before the machine's last start.
    pub fn since(self, earlier: Self) -> Option<SignedDuration> {
        let past = self.boot >= earlier.boot;
        past.then(|| SignedDuration::try_from(self.boot.since(earlier.boot)).unwrap_or(SignedDuration::MAX))
    }

    /// How far the time of day was set forward since `earlier`; negative where it was set back, nothing where that was not
    /// earlier.
    pub fn set_since(self, earlier: Self) -> SignedDuration {
        self.since(earlier).map_or(SignedDuration::ZERO, |passed| {
            self.wall.duration_since(earlier.wall).saturating_sub(passed)
        })
    }
}

/// The number of one process's time as leader. It only grows; every decision and every row of the journal carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Epoch(pub i64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who leads, as it wrote down itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leader {
    /// Process, machine and address.
    pub name: String,
    /// Its number.
    pub epoch: Epoch,
    /// Since when, by the store's clock.
    pub since: Timestamp,
}

/// Whether this process may decide and act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "role")]
pub enum Leadership {
    /// The store belongs to this process alone.
    Alone {
        /// Its number.
        epoch: Epoch,
    },
    /// It leads those that share the store.
    Leads {
        /// Its number.
        epoch: Epoch,
    },
    /// Another one leads, or nobody does at the moment.
    StandsBy {
        /// Who leads; none when nobody does, as far as is known.
        leader: Option<Leader>,
    },
}

impl Leadership {
    /// Whether this process may decide and act.
    pub fn leads(&self) -> bool {
        !matches!(self, Self::StandsBy { .. })
    }
}

impl fmt::Display for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone { .. } => f.write_str("the store belongs to this process alone"),
            Self::Leads { epoch } => write!(f, "this process leads (epoch {epoch})"),
            Self::StandsBy { leader: Some(Leader { name, epoch, since }) } => {
                write!(f, "this process stands by: {name} leads since {since} (epoch {epoch})")
            }
            Self::StandsBy { leader: None } => {
                f.write_str("this process stands by: nobody leads at the moment")
            }
        }
    }
}

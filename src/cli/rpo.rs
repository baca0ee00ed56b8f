//! How old backups may become, for `exporter` and `verdict` alike.

use std::{str::FromStr, time::Duration};

use clap::Args;

use crate::{kubernetes::Limits, model::SignedDuration};

#[derive(Debug, Clone, Args)]
pub(super) struct Rpo {
    /// How much longer than a schedule's interval ago its newest completed backup may have begun: a backup takes its time,
    /// and waits for others.
    #[arg(long, value_name = "DURATION", default_value = "2h", value_parser = at_least::<0>)]
    velero_rpo_tolerance: Duration,
    /// How long ago it may have begun, whatever the interval; "none": what this schedule saved does not count, such as one
    /// that was given up. May be given several times.
    #[arg(long, value_name = "NAMESPACE/SCHEDULE=DURATION")]
    velero_rpo: Vec<Said>,
}

/// What is said of one schedule.
#[derive(Debug, Clone)]
struct Said {
    schedule: (String, String),
    rpo: Option<SignedDuration>,
}

impl FromStr for Said {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write it as velero/daily=26h, or velero/old=none".to_owned();
        let (schedule, rpo) = text.split_once('=').ok_or_else(wrong)?;
        let (namespace, name) = schedule.split_once('/').ok_or_else(wrong)?;
        if namespace.is_empty() || name.is_empty() || name.contains('/') {
            return Err(wrong());
        }
        let rpo = match rpo {
            "none" => None,
            rpo => Some(rpo.parse().ok().filter(SignedDuration::is_positive).ok_or_else(wrong)?),
        };
        Ok(Self { schedule: (namespace.to_owned(), name.to_owned()), rpo })
    }
}

impl Rpo {
    /// Takes it into the limits. What is said last of a schedule counts.
    pub(super) fn apply(self, limits: &mut Limits) {
        limits.rpo_tolerance = signed(self.velero_rpo_tolerance);
        limits.rpo = self.velero_rpo.into_iter().map(|said| (said.schedule, said.rpo)).collect();
    }
}

pub(super) fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// A duration such as `3m`, of so many seconds at least.
pub(super) fn at_least<const SECONDS: i64>(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration = text.parse().map_err(|_| "write it as 30s, 3m or 1h".to_owned())?;
    if duration < SignedDuration::from_secs(SECONDS) {
        return Err(format!("must be at least {SECONDS}s"));
    }
    Ok(duration.unsigned_abs())
}

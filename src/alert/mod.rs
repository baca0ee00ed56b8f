//! Alertmanager's JSON becomes signals. Pure: bytes, topology and `now` in, values out.
//!
//! # The label contract
//!
//! A rule asks for an action with labels; everything else on the alert is carried along as context.
//!
//! | label | value |
//! |---|---|
//! | `switchyard` | `failover` (the named cluster fails its fleet), `failback` (the named cluster is well again), `watchdog` (a heartbeat) |
//! | `fleet` | the fleet's name; a watchdog needs none |
//! | `runner_cluster` | the cluster the alert speaks about; a watchdog needs none |
//! | `target` | optional: where to go |
//!
//! An empty label is an absent one, as in Prometheus.
//!
//! # What is taken
//!
//! - Each alert is judged alone: a message whose status is "firing" may hold resolved alerts. One that cannot be taken
//!   is [`Ignored`] with its reason and spoils no other.
//! - Unknown fields are passed over; Alertmanager adds some. The version must be "4".
//! - `truncatedAlerts` above 0 means that alerts are missing, maybe firing ones: the caller polls.
//! - Webhook and `/api/v2/alerts` name the same episode alike. The API cuts `startsAt` to milliseconds and the webhook
//!   does not, so here both are cut.
//! - A firing alert of the webhook carries `endsAt` in the year 1; one of the API carries the time at which it expires
//!   unless Prometheus sends it again. Neither is an end. What the API lists has not ended: it leaves out what has, by its
//!   own clock, which need not agree with ours.
//! - `startsAt` in the future is kept as it is: whoever asks how long an alert has been firing must not go below 0.
//! - What the API shows as silenced, inhibited or not yet processed is [`Muted`]: the webhook would not have come.
//!   Only a watchdog counts all the same, because it cannot move anything. See [`stale()`] for what that ends.

mod stale;

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::Deserialize;

pub use stale::{Answer, Ended, Stale, stale};

use crate::model::{Action, ClusterName, FleetName, Signal, SignalKey, SignalState, Topology};

/// Who every signal comes from: webhook and catch-up poll speak of the same alerts.
pub const SOURCE: &str = "alertmanager";

/// What a message or an answer came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parsed {
    /// What counts.
    pub signals: Vec<Signal>,
    /// What Alertmanager knows and holds back. Only the catch-up poll has these.
    pub muted: Vec<Muted>,
    /// What does not count, and why.
    pub ignored: Vec<IgnoredAlert>,
    /// How many alerts Alertmanager left out of the message. Above 0: poll.
    pub truncated: u64,
}

impl Parsed {
    /// Whether alerts are missing from the message.
    pub fn is_truncated(&self) -> bool {
        self.truncated > 0
    }
}

/// A signal that Alertmanager holds back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Muted {
    /// As it would count.
    pub signal: Signal,
    /// `suppressed` or `unprocessed`.
    pub state: String,
    /// The silences that hold it back.
    pub silenced_by: Vec<String>,
    /// The fingerprints of the alerts that hold it back.
    pub inhibited_by: Vec<String>,
}

/// An alert that does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoredAlert {
    /// Why.
    pub reason: Ignored,
    /// Which alert; empty when it has no fingerprint.
    pub fingerprint: String,
    /// What exactly, for people.
    pub detail: String,
}

/// Why an alert does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ignored {
    /// It has no label `switchyard`.
    NotForUs,
    /// The label `switchyard` asks for nothing that Switchyard does.
    UnknownAction,
    /// A label that the action needs is missing.
    MissingLabel,
    /// No such fleet is configured.
    UnknownFleet,
    /// The fleet has no pool in this cluster.
    UnknownCluster,
    /// The fleet has no pool in the cluster that the alert wants it to go to.
    UnknownTarget,
    /// A time cannot be read, or `startsAt` is not set.
    BadTimestamp,
    /// The status is neither firing nor resolved.
    UnknownStatus,
    /// It is not an alert, or has no fingerprint.
    Malformed,
}

impl Ignored {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::NotForUs,
        Self::UnknownAction,
        Self::MissingLabel,
        Self::UnknownFleet,
        Self::UnknownCluster,
        Self::UnknownTarget,
        Self::BadTimestamp,
        Self::UnknownStatus,
        Self::Malformed,
    ];

    /// The word used in log and metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotForUs => "not_for_us",
            Self::UnknownAction => "unknown_action",
            Self::MissingLabel => "missing_label",
            Self::UnknownFleet => "unknown_fleet",
            Self::UnknownCluster => "unknown_cluster",
            Self::UnknownTarget => "unknown_target",
            Self::BadTimestamp => "bad_timestamp",
            Self::UnknownStatus => "unknown_status",
            Self::Malformed => "malformed",
        }
    }
}

impl IgnoredAlert {
    /// The word used in log and metric.
    pub fn as_str(&self) -> &'static str {
        self.reason.as_str()
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a whole message or answer cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not the JSON expected; the source names line and column.
    #[error("not what Alertmanager sends")]
    Malformed(#[source] serde_json::Error),
    /// A webhook of another version.
    #[error("webhook version {0:?}, and only \"4\" is known")]
    WrongVersion(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    #[serde(default)]
    truncated_alerts: Option<u64>,
    // Go writes an empty list as null at times; a missing one is not a webhook.
    alerts: Option<Vec<serde_json::Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    #[serde(default)]
    fingerprint: String,
    status: Status,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    starts_at: Option<String>,
    #[serde(default)]
    ends_at: Option<String>,
    #[serde(default)]
    updated_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Status {
    Webhook(String),
    #[serde(rename_all = "camelCase")]
    Api {
        state: String,
        #[serde(default)]
        silenced_by: Option<Vec<String>>,
        #[serde(default)]
        inhibited_by: Option<Vec<String>>,
    },
}

/// Reads a webhook's body.
///
/// # Errors
/// When the body as a whole cannot be read. A single alert that cannot is among the ignored.
pub fn parse_webhook(body: &[u8], topology: &Topology, now: Timestamp) -> Result<Parsed, Error> {
    let message: serde_json::Value = serde_json::from_slice(body).map_err(Error::Malformed)?;
    // The version first: another one may have another form altogether.
    match message.get("version") {
        Some(serde_json::Value::String(version)) if version == "4" => {}
        Some(serde_json::Value::String(version)) => return Err(Error::WrongVersion(version.clone())),
        Some(other) => return Err(Error::WrongVersion(other.to_string())),
        None if message.is_object() => return Err(Error::WrongVersion(String::new())),
        None => {}
    }
    // From the bytes again and not from the value, for the position in the error.
    drop(message);
    let message: Message = serde_json::from_slice(body).map_err(Error::Malformed)?;
    let alerts = message.alerts.unwrap_or_default();
    let mut received = take(alerts, topology, now);
    received.truncated = message.truncated_alerts.unwrap_or(0);
    Ok(received)
}

/// Reads the answer of `/api/v2/alerts`.
///
/// # Errors
/// When the answer is no list.
pub fn parse_poll(body: &[u8], topology: &Topology, now: Timestamp) -> Result<Parsed, Error> {
    let rows: Vec<serde_json::Value> = serde_json::from_slice(body).map_err(Error::Malformed)?;
    Ok(take(rows, topology, now))
}

/// Judges alerts, each alone.
fn take(alerts: Vec<serde_json::Value>, topology: &Topology, now: Timestamp) -> Parsed {
    let mut received = Parsed::default();
    for value in alerts {
        let alert: Alert = match serde_json::from_value(value) {
            Ok(alert) => alert,
            Err(error) => {
                received.ignored.push(IgnoredAlert {
                    reason: Ignored::Malformed,
                    fingerprint: String::new(),
                    detail: error.to_string(),
                });
                continue;
            }
        };
        let fingerprint = alert.fingerprint.clone();
        match one(alert, topology, now) {
            Ok(Taken::Counts(signal)) => received.signals.push(*signal),
            Ok(Taken::Muted(muted)) => received.muted.push(*muted),
            Err((reason, detail)) => received.ignored.push(IgnoredAlert { reason, fingerprint, detail }),
        }
    }
    received
}

enum Taken {
    Counts(Box<Signal>),
    Muted(Box<Muted>),
}

type Refusal = (Ignored, String);

fn one(alert: Alert, topology: &Topology, now: Timestamp) -> Result<Taken, Refusal> {
    let labels = alert.labels.unwrap_or_default();
    let label = |name: &str| labels.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let Some(word) = label("switchyard") else {
        return Err((Ignored::NotForUs, "no label switchyard".into()));
    };
    let action = Action::ALL
        .into_iter()
        .find(|action| action.as_str() == word)
        .ok_or_else(|| (Ignored::UnknownAction, format!("switchyard={}", shown(word))))?;
    if alert.fingerprint.is_empty() {
        return Err((Ignored::Malformed, "no fingerprint".into()));
    }
    let (fleet, cluster, target) = match action {
        Action::Watchdog => (None, None, None),
        Action::Failover | Action::Failback => {
            let (fleet, cluster, target) =
                about(label("fleet"), label("runner_cluster"), label("target"), topology)?;
            (Some(fleet), Some(cluster), target)
        }
    };

    let starts_at = match time("startsAt", alert.starts_at.as_deref())? {
        Some(at) => Timestamp::from_millisecond(at.as_millisecond())
            .map_err(|error| (Ignored::BadTimestamp, error.to_string()))?,
        None => return Err((Ignored::BadTimestamp, "startsAt is not set".into())),
    };
    let ends_at = time("endsAt", alert.ends_at.as_deref())?;
    let (state, last_seen) = match &alert.status {
        Status::Webhook(status) => match status.as_str() {
            "firing" => (SignalState::Firing, now),
            "resolved" => (SignalState::Resolved, now),
            other => return Err((Ignored::UnknownStatus, format!("status {}", shown(other)))),
        },
        // Never later than now: a clock that runs ahead must not keep a watchdog fresh.
        Status::Api { .. } => {
            let seen = time("updatedAt", alert.updated_at.as_deref())?.map_or(now, |at| at.min(now));
            (SignalState::Firing, seen)
        }
    };
    let signal = Signal {
        key: SignalKey { source: SOURCE.to_owned(), fingerprint: alert.fingerprint, starts_at },
        action,
        fleet,
        cluster,
        target,
        state,
        ends_at: ends_at.filter(|_| state == SignalState::Resolved),
        labels,
        annotations: alert.annotations.unwrap_or_default(),
        first_seen: now,
        last_seen,
    };
    Ok(match alert.status {
        Status::Api { state, silenced_by, inhibited_by }
            if state != "active" && action != Action::Watchdog =>
        {
            Taken::Muted(Box::new(Muted {
                signal,
                state,
                silenced_by: silenced_by.unwrap_or_default(),
                inhibited_by: inhibited_by.unwrap_or_default(),
            }))
        }
        _ => Taken::Counts(Box::new(signal)),
    })
}

/// The fleet, the cluster and the target that the labels name.
fn about(
    fleet: Option<&str>,
    cluster: Option<&str>,
    target: Option<&str>,
    topology: &Topology,
) -> Result<(FleetName, ClusterName, Option<ClusterName>), Refusal> {
    let missing = |name: &str| (Ignored::MissingLabel, format!("no label {name}"));
    let fleet = fleet.ok_or_else(|| missing("fleet"))?;
    let cluster = cluster.ok_or_else(|| missing("runner_cluster"))?;
    let configured = fleet
        .parse::<FleetName>()
        .ok()
        .and_then(|name| topology.fleets.get(&name))
        .ok_or_else(|| (Ignored::UnknownFleet, format!("fleet {}", shown(fleet))))?;
    let pool = |name: &str| name.parse().ok().filter(|name| configured.pools.contains_key(name));
    let cluster_name = pool(cluster).ok_or_else(|| {
        (Ignored::UnknownCluster, format!("fleet {} has no pool in {}", configured.name, shown(cluster)))
    })?;
    let target = match target {
        None => None,
        Some(target) => Some(pool(target).ok_or_else(|| {
            (Ignored::UnknownTarget, format!("fleet {} has no pool in {}", configured.name, shown(target)))
        })?),
    };
    Ok((configured.name.clone(), cluster_name, target))
}

/// A time; none when it is absent or Go's zero time (the year 1).
fn time(what: &str, text: Option<&str>) -> Result<Option<Timestamp>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let at: Timestamp =
        text.parse().map_err(|_| (Ignored::BadTimestamp, format!("{what} {}", shown(text))))?;
    Ok((at > Timestamp::UNIX_EPOCH).then_some(at))
}

/// Somebody else's text, short enough for a log.
fn shown(text: &str) -> String {
    const LONGEST: usize = 64;
    if text.chars().count() <= LONGEST {
        format!("{text:?}")
    } else {
        format!("{:?}…", text.chars().take(LONGEST).collect::<String>())
    }
}

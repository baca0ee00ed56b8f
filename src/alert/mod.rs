//! Alertmanager's JSON → signals. Pure.
//!
//! A rule asks for an action with labels; everything else on the alert is carried as context.
//!
//! | label | value |
//! |---|---|
//! | `switchyard` | `failover` (the named cluster fails its fleet), `failback` (the preferred cluster is well again), `watchdog` (heartbeat) |
//! | `fleet` | the fleet's name; not on a watchdog |
//! | `runner_cluster` | the cluster that the alert speaks about; not on a watchdog |
//! | `target` | optional: where to go |
//!
//! Each alert is judged by itself, never by the status of its message. Fields that are not known are ignored; only the
//! version must be `"4"`. Alerts that are not for Switchyard are ignored with a reason and are no error: an error would
//! make Alertmanager send them again for ever.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use crate::model::{Action, ClusterName, Fleet, FleetName, Signal, SignalKey, SignalState, Topology};

/// The source of every signal: webhook and catch-up poll speak of the same alerts.
pub const SOURCE: &str = "alertmanager";

/// Why a body is no message.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not the JSON that Alertmanager sends.
    #[error("the body is not an Alertmanager message: {0}")]
    Malformed(serde_json::Error),
    /// It is a message of another version.
    #[error("the message has version {0:?}, and this Switchyard reads version \"4\"")]
    WrongVersion(String),
}

/// Why an alert is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ignored {
    /// It has no label `switchyard`.
    NotForUs,
    /// Its label `switchyard` is no action.
    UnknownAction,
    /// It lacks the label `fleet` or `runner_cluster`.
    MissingLabel,
    /// There is no such fleet.
    UnknownFleet,
    /// The fleet has no pool in the cluster or in the target.
    UnknownCluster,
    /// It lacks a fingerprint.
    MissingFingerprint,
}

impl Ignored {
    /// The word used in the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotForUs => "not_for_us",
            Self::UnknownAction => "unknown_action",
            Self::MissingLabel => "missing_label",
            Self::UnknownFleet => "unknown_fleet",
            Self::UnknownCluster => "unknown_cluster",
            Self::MissingFingerprint => "missing_fingerprint",
        }
    }
}

/// What a message said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parsed {
    /// The alerts that are for Switchyard.
    pub signals: Vec<Signal>,
    /// Why each of the others is not.
    pub ignored: Vec<Ignored>,
    /// How many alerts the message left out.
    pub truncated: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    #[serde(default)]
    version: String,
    #[serde(default)]
    truncated_alerts: u64,
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    /// `firing` or `resolved` in the webhook; an object in the API, where only firing alerts are listed.
    #[serde(default)]
    status: Status,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: Timestamp,
    #[serde(default)]
    ends_at: Option<Timestamp>,
    /// Only in the API: when Prometheus last sent it.
    #[serde(default)]
    updated_at: Option<Timestamp>,
    #[serde(default)]
    fingerprint: String,
}

#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Status {
    Word(String),
    #[default]
    Object,
}

/// Only the version, for a message of a version whose other fields may have any form.
#[derive(Deserialize)]
struct Versioned {
    #[serde(default)]
    version: String,
}

/// Reads the body of a webhook, version 4.
///
/// # Errors
/// When it is no such message.
pub fn parse_webhook(body: &[u8], topology: &Topology, now: Timestamp) -> Result<Parsed, Error> {
    let message = match serde_json::from_slice::<Message>(body) {
        Ok(message) if message.version == "4" => message,
        Ok(Message { version, .. }) => return Err(Error::WrongVersion(version)),
        Err(error) => {
            return Err(match serde_json::from_slice::<Versioned>(body) {
                Ok(Versioned { version }) if version != "4" => Error::WrongVersion(version),
                _ => Error::Malformed(error),
            });
        }
    };
    let mut parsed = Parsed { truncated: message.truncated_alerts, ..Parsed::default() };
    for alert in message.alerts {
        parsed.add(alert, topology, now);
    }
    Ok(parsed)
}

/// Reads the rows of `/api/v2/alerts`.
///
/// # Errors
/// When these are no such rows.
pub fn parse_poll(body: &[u8], topology: &Topology, now: Timestamp) -> Result<Parsed, Error> {
    let alerts: Vec<Alert> = serde_json::from_slice(body).map_err(Error::Malformed)?;
    let mut parsed = Parsed::default();
    for alert in alerts {
        parsed.add(alert, topology, now);
    }
    Ok(parsed)
}

impl Parsed {
    fn add(&mut self, alert: Alert, topology: &Topology, now: Timestamp) {
        match signal(alert, topology, now) {
            Ok(signal) => self.signals.push(signal),
            Err(ignored) => self.ignored.push(ignored),
        }
    }
}

fn signal(alert: Alert, topology: &Topology, now: Timestamp) -> Result<Signal, Ignored> {
    let label = |name: &str| alert.labels.get(name).map(String::as_str).filter(|v| !v.is_empty());
    let word = label("switchyard").ok_or(Ignored::NotForUs)?;
    let action = Action::ALL.into_iter().find(|a| a.as_str() == word).ok_or(Ignored::UnknownAction)?;
    if alert.fingerprint.is_empty() {
        return Err(Ignored::MissingFingerprint);
    }
    let (mut fleet, mut cluster, mut target) = (None, None, None);
    if action != Action::Watchdog {
        let name: FleetName =
            label("fleet").ok_or(Ignored::MissingLabel)?.parse().map_err(|_| Ignored::UnknownFleet)?;
        let known = topology.fleets.get(&name).ok_or(Ignored::UnknownFleet)?;
        cluster = Some(pool(known, label("runner_cluster").ok_or(Ignored::MissingLabel)?)?);
        target = label("target").map(|name| pool(known, name)).transpose()?;
        fleet = Some(name);
    }
    // Firing alerts carry an end in the year 1, or one that is still to come.
    let ended = alert.ends_at.filter(|ends_at| *ends_at <= now && *ends_at > Timestamp::UNIX_EPOCH);
    let state = match &alert.status {
        Status::Word(word) if word == "firing" => SignalState::Firing,
        Status::Word(_) => SignalState::Resolved,
        Status::Object if ended.is_some() => SignalState::Resolved,
        Status::Object => SignalState::Firing,
    };
    let ends_at = match state {
        SignalState::Firing => None,
        SignalState::Resolved => Some(ended.unwrap_or(now)),
    };
    Ok(Signal {
        key: SignalKey {
            source: SOURCE.to_owned(),
            fingerprint: alert.fingerprint,
            starts_at: alert.starts_at,
        },
        action,
        fleet,
        cluster,
        target,
        state,
        ends_at,
        labels: alert.labels,
        annotations: alert.annotations,
        first_seen: now,
        last_seen: alert.updated_at.map_or(now, |at| at.min(now)),
    })
}

fn pool(fleet: &Fleet, name: &str) -> Result<ClusterName, Ignored> {
    fleet.pools.keys().find(|c| c.as_str() == name).cloned().ok_or(Ignored::UnknownCluster)
}

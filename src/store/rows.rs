//! Columns to values and back.

use std::str::FromStr;

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Any, ColumnIndex, Decode, Row, Type, any::AnyRow};

use super::{Error, Event, RequestRecord, StepRecord};
use crate::model::{
    Decision, Epoch, FleetName, Generation, Override, Proposal, ProposalAnswer, Proposed, Request, Signal,
    SignalKey, StepOutcome,
};

/// The scope of an override on all fleets; no fleet can have this name.
const ALL_FLEETS: &str = "*";

/// A time as stored: all of one length, so that they sort as text.
pub(super) fn time(at: Timestamp) -> String {
    format!("{at:.9}")
}

/// A list or map as stored.
pub(super) fn json<T: Serialize>(column: &'static str, value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| unreadable(column, error))
}

/// A generation as stored.
pub(super) fn number(generation: Generation) -> i64 {
    i64::try_from(generation.0).unwrap_or(i64::MAX)
}

/// The scope of an override as stored.
pub(super) fn scope(fleet: Option<&FleetName>) -> String {
    fleet.map_or(ALL_FLEETS, FleetName::as_str).to_owned()
}

fn unreadable(column: &'static str, why: impl ToString) -> Error {
    Error::Unreadable { column, why: why.to_string() }
}

pub(super) fn get<'r, T>(row: &'r AnyRow, column: &'static str) -> Result<T, Error>
where
    T: Decode<'r, Any> + Type<Any>,
    &'static str: ColumnIndex<AnyRow>,
{
    row.try_get(column).map_err(|error| unreadable(column, error))
}

pub(super) fn parse<T>(row: &AnyRow, column: &'static str) -> Result<T, Error>
where
    T: FromStr,
    T::Err: ToString,
{
    get::<String>(row, column)?.parse().map_err(|error: T::Err| unreadable(column, error.to_string()))
}

pub(super) fn parse_opt<T>(row: &AnyRow, column: &'static str) -> Result<Option<T>, Error>
where
    T: FromStr,
    T::Err: ToString,
{
    get::<Option<String>>(row, column)?
        .map(|text| text.parse().map_err(|error: T::Err| unreadable(column, error.to_string())))
        .transpose()
}

/// One of a closed set of words.
pub(super) fn word<T: DeserializeOwned>(row: &AnyRow, column: &'static str) -> Result<T, Error> {
    let text: String = get(row, column)?;
    serde_json::from_value(text.into()).map_err(|error| unreadable(column, error))
}

fn read_json<T: DeserializeOwned>(row: &AnyRow, column: &'static str) -> Result<T, Error> {
    let text: String = get(row, column)?;
    serde_json::from_str(&text).map_err(|error| unreadable(column, error))
}

pub(super) fn generation(row: &AnyRow) -> Result<Generation, Error> {
    let number: i64 = get(row, "generation")?;
    u64::try_from(number).map(Generation).map_err(|error| unreadable("generation", error))
}

pub(super) fn get_epoch(row: &AnyRow) -> Result<Epoch, Error> {
    get(row, "epoch").map(Epoch)
}

pub(super) fn signal(row: &AnyRow) -> Result<Signal, Error> {
    Ok(Signal {
        key: SignalKey {
            source: get(row, "source")?,
            fingerprint: get(row, "fingerprint")?,
            starts_at: parse(row, "starts_at")?,
        },
        action: word(row, "action")?,
        fleet: parse_opt(row, "fleet")?,
        cluster: parse_opt(row, "cluster")?,
        target: parse_opt(row, "target")?,
        state: word(row, "state")?,
        ends_at: parse_opt(row, "ends_at")?,
        labels: read_json(row, "labels")?,
        annotations: read_json(row, "annotations")?,
        first_seen: parse(row, "first_seen")?,
        last_seen: parse(row, "last_seen")?,
    })
}

fn signal_key(row: &AnyRow) -> Result<Option<SignalKey>, Error> {
    get::<Option<String>>(row, "signal")?
        .map(|text| serde_json::from_str(&text).map_err(|error| unreadable("signal", error)))
        .transpose()
}

pub(super) fn decision(row: &AnyRow) -> Result<Decision, Error> {
    Ok(Decision {
        fleet: parse(row, "fleet")?,
        generation: generation(row)?,
        kind: word(row, "kind")?,
        from: parse_opt(row, "from_cluster")?,
        to: parse(row, "to_cluster")?,
        reason: get(row, "reason")?,
        author: get(row, "author")?,
        signal: signal_key(row)?,
        gates: read_json(row, "gates")?,
        decided_at: parse(row, "decided_at")?,
        state: word(row, "state")?,
        finished_at: parse_opt(row, "finished_at")?,
        acknowledged_at: parse_opt(row, "acknowledged_at")?,
        overridden: read_json(row, "overridden")?,
        proposal: get(row, "proposal")?,
        cool_down_lifted_at: parse_opt(row, "cool_down_lifted_at")?,
    })
}

pub(super) fn step(row: &AnyRow) -> Result<StepRecord, Error> {
    Ok(StepRecord {
        id: get(row, "id")?,
        epoch: get_epoch(row)?,
        fleet: parse(row, "fleet")?,
        generation: generation(row)?,
        phase: word(row, "phase")?,
        step: read_json(row, "step")?,
        sentence: get(row, "sentence")?,
        started_at: parse(row, "started_at")?,
        finished_at: parse_opt(row, "finished_at")?,
        outcome: outcome(row)?,
    })
}

fn outcome(row: &AnyRow) -> Result<Option<StepOutcome>, Error> {
    let detail = || Ok::<_, Error>(get::<Option<String>>(row, "detail")?.unwrap_or_default());
    Ok(match get::<Option<String>>(row, "outcome")?.as_deref() {
        None => None,
        Some("done") => Some(StepOutcome::Done),
        Some("unknown") => Some(StepOutcome::Unknown(detail()?)),
        Some("failed") => Some(StepOutcome::Failed {
            why: detail()?,
            transient: get::<Option<i64>>(row, "transient")?.unwrap_or_default() != 0,
        }),
        Some(other) => return Err(unreadable("outcome", format!("no such outcome: {other}"))),
    })
}

pub(super) fn event(row: &AnyRow) -> Result<Event, Error> {
    Ok(Event {
        at: parse(row, "at")?,
        fleet: parse_opt(row, "fleet")?,
        outcome: get(row, "outcome")?,
        sentence: get(row, "sentence")?,
        author: get(row, "author")?,
    })
}

pub(super) fn override_(row: &AnyRow) -> Result<Override, Error> {
    let scope: String = get(row, "scope")?;
    Ok(Override {
        fleet: if scope == ALL_FLEETS { None } else { Some(parse(row, "scope")?) },
        kind: word(row, "kind")?,
        reason: get(row, "reason")?,
        author: get(row, "author")?,
        since: parse(row, "since")?,
        until: parse_opt(row, "until")?,
    })
}

pub(super) fn request(row: &AnyRow) -> Result<Request, Error> {
    Ok(Request {
        id: get(row, "id")?,
        fleet: parse(row, "fleet")?,
        to: parse(row, "to_cluster")?,
        expected: parse_opt(row, "expected")?,
        reason: get(row, "reason")?,
        author: get(row, "author")?,
        at: parse(row, "at")?,
        overrides: read_json(row, "overrides")?,
        waiting_since: parse_opt(row, "waiting_since")?,
    })
}

pub(super) fn request_record(row: &AnyRow) -> Result<RequestRecord, Error> {
    Ok(RequestRecord {
        request: request(row)?,
        outcome: get(row, "outcome")?,
        sentence: get(row, "sentence")?,
        generation: get::<Option<i64>>(row, "generation")?.map(|_| generation(row)).transpose()?,
        answered_at: parse_opt(row, "answered_at")?,
    })
}

pub(super) fn proposal(row: &AnyRow) -> Result<Proposal, Error> {
    let answered = get::<Option<String>>(row, "consent")?.is_some();
    let answer = || {
        Ok::<_, Error>(ProposalAnswer {
            consent: word(row, "consent")?,
            author: get(row, "answer_author")?,
            reason: get(row, "answer_reason")?,
            at: parse(row, "answered_at")?,
        })
    };
    Ok(Proposal {
        id: get(row, "id")?,
        what: Proposed {
            fleet: parse(row, "fleet")?,
            generation: generation(row)?,
            kind: word(row, "kind")?,
            from: parse_opt(row, "from_cluster")?,
            to: parse(row, "to_cluster")?,
            signal: signal_key(row)?,
        },
        reason: get(row, "reason")?,
        at: parse(row, "at")?,
        until: parse(row, "until")?,
        answer: if answered { Some(answer()?) } else { None },
    })
}

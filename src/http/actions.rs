//! What people do. Every action names a reason, an author and the holder that the person expects; it is recorded, and
//! refused when the holder is another.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Problem, Server, reads};
use crate::{
    decide::Outcome,
    model::{
        ClusterName, Consent, Fleet, FleetName, Gate, Generation, Holders, Override, OverrideKind,
        SignedDuration, Timestamp, is_control,
    },
    status::Answer,
    store::{self, Event, NewRequest, OverrideLifted, OverrideSet, Person, ProposalAnswered},
};

/// How long a caller waits for the pass that judges its request.
const PATIENCE: Duration = Duration::from_secs(20);

/// A planned move.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Planned {
    /// Where the fleet shall go; a failback knows that.
    to: Option<ClusterName>,
    /// The holder that the person believes in; `null` for nobody.
    #[serde(default, alias = "expected_holder", deserialize_with = "present")]
    from: Option<Option<ClusterName>>,
    /// The closed gates that shall not hold it, each by its name.
    #[serde(default)]
    overrides: Vec<String>,
    reason: String,
    author: String,
}

/// A pause of one fleet, or of all of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pause {
    reason: String,
    author: String,
    #[serde(default, deserialize_with = "present")]
    expected_holder: Option<Option<ClusterName>>,
    expected_holders: Option<Holders>,
    /// How long, such as `2h`; without it, until resumed.
    #[serde(default, rename = "for")]
    lasts: Option<SignedDuration>,
}

/// What lifts the pause of one fleet, or that of all fleets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resume {
    reason: String,
    author: String,
    #[serde(default, deserialize_with = "present")]
    expected_holder: Option<Option<ClusterName>>,
    expected_holders: Option<Holders>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ack {
    reason: String,
    author: String,
    #[serde(default, deserialize_with = "present")]
    expected_holder: Option<Option<ClusterName>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Verdict {
    /// The number of what is approved or rejected.
    proposal: i64,
    reason: String,
    author: String,
    #[serde(default, deserialize_with = "present")]
    expected_holder: Option<Option<ClusterName>>,
}

/// `null` is an answer (nobody); a missing key is none.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<ClusterName>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// What an action came to.
#[derive(Debug, Default, Serialize)]
pub(super) struct Acted {
    sentence: String,
    /// The decision, if one was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<Generation>,
    /// The request, when it waits for the fleet to drain.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<i64>,
    /// What the fleet's pass came to, for an approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
}

type Body<T> = Result<Json<T>, JsonRejection>;
type Answered = Result<(StatusCode, Json<Acted>), Problem>;

fn acted(sentence: String) -> Answered {
    Ok((StatusCode::OK, Json(Acted { sentence, ..Acted::default() })))
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

fn body<T>(body: Body<T>, reason: impl Fn(&T) -> (&str, &str)) -> Result<T, Problem> {
    let Json(body) = body.map_err(|error| {
        // Whatever else may be wrong with a body, it is the same mistake.
        let too_large = error.status() == StatusCode::PAYLOAD_TOO_LARGE;
        let status = if too_large { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
        Problem::new(status, error.body_text())
    })?;
    let (why, author) = reason(&body);
    if why.trim().is_empty() || author.trim().is_empty() {
        return Err(bad("`reason` and `author` must not be empty."));
    }
    if let Some(control) = why.chars().chain(author.chars()).find(|c| is_control(*c)) {
        return Err(bad(format!(
            "`reason` and `author` are shown to people as they are: write them in one line, without U+{:04X}.",
            u32::from(control)
        )));
    }
    Ok(body)
}

/// Whoever acts says who holds the fleet now: the world may have changed since they looked.
fn named(key: &str, expected: Option<Option<ClusterName>>) -> Result<Option<ClusterName>, Problem> {
    expected.ok_or_else(|| {
        bad(format!(
            "`{key}` is missing: name the cluster that holds the fleet, as you believe, or null for nobody."
        ))
    })
}

/// The same for one fleet, or for all of them. A fleet too few or too many is another belief than what is configured, and is
/// written down as such.
async fn believed(
    server: &Server,
    fleet: Option<&FleetName>,
    holder: Option<Option<ClusterName>>,
    holders: Option<Holders>,
    (act, author, reason): (&str, &str, &str),
) -> Result<Holders, Problem> {
    let Some(fleet) = fleet else {
        if holder.is_some() {
            return Err(bad("`expected_holder` is for one fleet: for all of them say `expected_holders`."));
        }
        let expected = holders.ok_or_else(|| {
            bad("`expected_holders` is missing: name for every fleet the cluster that holds it, as you believe, or \
                 null for nobody, such as {\"rnd\": \"blue\"}; /api/v1/holders answers in this form.")
        })?;
        let now = reads::held(server, &server.store).await?;
        let missing = now.0.keys().filter(|fleet| !expected.0.contains_key(*fleet));
        let more = expected.0.keys().filter(|fleet| !now.0.contains_key(*fleet));
        let wrong: Vec<String> = missing
            .map(|fleet| format!("{fleet} is not named"))
            .chain(more.map(|fleet| format!("{fleet} is not configured")))
            .collect();
        if wrong.is_empty() {
            return Ok(expected);
        }
        let wrong = wrong.join(", ");
        let sentence = format!("refused to {act} all fleets, expecting {expected}: {wrong}; {reason}");
        let (outcome, author) = (Outcome::UnexpectedHolder.to_string(), Some(author.to_owned()));
        let event = Event { at: (server.now)(), fleet: None, outcome, sentence, author };
        server.store.record_event(&event).await?;
        return Err(unexpected(format!("All fleets have to be named, and {wrong}"), now));
    };
    if holders.is_some() {
        return Err(bad("`expected_holders` is for all fleets: for one of them say `expected_holder`."));
    }
    Ok(Holders::of(fleet.clone(), named("expected_holder", holder)?))
}

fn unexpected(wrong: String, holders: Holders) -> Problem {
    let problem = Problem::new(StatusCode::CONFLICT, format!("{wrong}: nothing was done."));
    Problem {
        outcome: Some(Outcome::UnexpectedHolder.to_string().into()),
        holders: Some(Box::new(holders)),
        ..problem
    }
}

/// The act, unless a fleet is held by another than the person expects.
fn done<T>(acted: store::Acted<T>) -> Result<T, Problem> {
    match acted {
        store::Acted::Yes(done) => Ok(done),
        store::Acted::HeldBy(others) => {
            let held = others.0.iter().map(|(fleet, holder)| {
                format!("{fleet} is held by {}", holder.as_ref().map_or("nobody", ClusterName::as_str))
            });
            let held: Vec<String> = held.collect();
            Err(unexpected(format!("{}, not by whom you expect", held.join(", ")), others))
        }
    }
}

/// The gates that a person overrides, each of which must be one.
fn gates(names: &[String]) -> Result<Vec<Gate>, Problem> {
    let gate = |name: &String| {
        let gate = Gate::named(name).ok_or_else(|| {
            let all: Vec<&str> =
                Gate::ALL.into_iter().filter(|g| g.overridable()).map(Gate::as_str).collect();
            bad(format!("{name:?} is no gate; there are {}.", all.join(", ")))
        })?;
        if gate.overridable() {
            return Ok(gate);
        }
        Err(bad(format!("{gate} can never be overridden: two would act at once.")))
    };
    names.iter().map(gate).collect()
}

pub(super) async fn switch(
    State(server): State<Server>,
    Path(fleet): Path<String>,
    sent: Body<Planned>,
) -> Answered {
    let planned = body(sent, |s| (&s.reason, &s.author))?;
    let fleet = reads::known(&server, &fleet)?.name;
    let to = planned
        .to
        .clone()
        .ok_or_else(|| bad("`to` is missing: name the cluster that shall hold the fleet."))?;
    request(&server, fleet, to, planned).await
}

/// A planned move to the fleet's preferred cluster.
pub(super) async fn failback(
    State(server): State<Server>,
    Path(fleet): Path<String>,
    sent: Body<Planned>,
) -> Answered {
    let planned = body(sent, |s| (&s.reason, &s.author))?;
    if planned.to.is_some() {
        return Err(bad("A failback goes to the preferred cluster: leave `to` out, or use switch."));
    }
    let fleet = reads::known(&server, &fleet)?;
    let home = fleet.prefer.first().cloned().ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, format!("{} has no preferred cluster.", fleet.name))
    })?;
    request(&server, fleet.name, home, planned).await
}

async fn request(server: &Server, fleet: FleetName, to: ClusterName, planned: Planned) -> Answered {
    let Planned { to: _, from, overrides, reason, author } = planned;
    let expected = named("from", from)?;
    let (overrides, at) = (gates(&overrides)?, (server.now)());
    let request = NewRequest { fleet: fleet.clone(), to, expected, reason, author, at, overrides };
    let id = server.store.add_request(&request).await?;
    server.bell.notify_one();
    let (outcome, sentence, generation) = match tokio::time::timeout(PATIENCE, judged(server, &fleet, id))
        .await
    {
        Ok(Judged::Answered { outcome, sentence, generation }) => (outcome, sentence, generation),
        Ok(Judged::Waits(sentence)) => {
            let acted = Acted { sentence, request: Some(id), ..Acted::default() };
            return Ok((StatusCode::ACCEPTED, Json(acted)));
        }
        Err(_) => {
            let detail = format!("Request {id} is recorded, and no pass has judged it yet; see the history.");
            let problem = Problem::new(StatusCode::GATEWAY_TIMEOUT, detail);
            return Err(Problem { request: Some(id), ..problem });
        }
    };
    match outcome.as_str() {
        "decided" | "steady" => {
            Ok((StatusCode::OK, Json(Acted { sentence, generation, ..Acted::default() })))
        }
        "unknown_cluster" => Err(Problem::new(StatusCode::NOT_FOUND, sentence)),
        other => {
            let problem = Problem::new(StatusCode::CONFLICT, sentence);
            let gate = other.strip_prefix("held:").and_then(Gate::named);
            let runbook = gate.map(|gate| server.access.borrow().runbook(gate).into());
            Err(Problem { outcome: Some(outcome.into()), runbook, ..problem })
        }
    }
}

/// What the loop makes of a request.
enum Judged {
    Answered { outcome: String, sentence: String, generation: Option<Generation> },
    Waits(String),
}

/// Waits for the pass that judges the request. The answer is in the snapshot; in the store alone when the commit that wrote
/// it was the last that was heard of its connection.
async fn judged(server: &Server, fleet: &FleetName, id: i64) -> Judged {
    let mut status = server.status.clone();
    loop {
        let seen = status.borrow_and_update().clone();
        if let Some(Answer { outcome, sentence, generation }) = seen.answers.get(&id).cloned() {
            return Judged::Answered { outcome: outcome.to_string(), sentence, generation };
        }
        let waiting = seen.fleets.get(fleet).and_then(|f| f.waiting.as_ref());
        if let Some(waiting) = waiting.filter(|waiting| waiting.request == id) {
            return Judged::Waits(waiting.sentence.clone());
        }
        if let Ok(Some(record)) = server.store.request(id).await
            && let Some(outcome) = record.outcome
        {
            let (sentence, generation) = (record.sentence.unwrap_or_default(), record.generation);
            return Judged::Answered { outcome, sentence, generation };
        }
        if status.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

pub(super) async fn approve(
    State(server): State<Server>,
    Path(fleet): Path<String>,
    sent: Body<Verdict>,
) -> Answered {
    answer(&server, &fleet, sent, Consent::Approved).await
}

pub(super) async fn reject(
    State(server): State<Server>,
    Path(fleet): Path<String>,
    sent: Body<Verdict>,
) -> Answered {
    answer(&server, &fleet, sent, Consent::Rejected).await
}

async fn answer(server: &Server, fleet: &str, sent: Body<Verdict>, consent: Consent) -> Answered {
    let Verdict { proposal: id, reason, author, expected_holder } = body(sent, |s| (&s.reason, &s.author))?;
    let fleet = reads::configured(server, fleet)?.name;
    let expected = Holders::of(fleet.clone(), named("expected_holder", expected_holder)?);
    let mut status = server.status.clone();
    let person = Person { author, reason, at: (server.now)(), expected };
    let answered = done(server.store.answer_proposal(&fleet, id, consent, &person).await?)?;
    let conflict = |detail: String| Err(Problem::new(StatusCode::CONFLICT, detail));
    let proposal = match answered {
        ProposalAnswered::Yes(proposal) => proposal,
        ProposalAnswered::Unknown => {
            let detail = format!("{fleet} has no proposal {id}; `explain` shows the one that waits.");
            return Err(Problem::new(StatusCode::NOT_FOUND, detail));
        }
        ProposalAnswered::Expired(proposal) => {
            return conflict(format!(
                "{fleet}: proposal {id} expired at {}, or the fleet has moved since: nothing was done.",
                proposal.until
            ));
        }
        ProposalAnswered::Already(before) => {
            return conflict(format!(
                "{fleet}: proposal {id} was {} by {} at {}: {}",
                before.consent.as_str(),
                before.author,
                before.at,
                before.reason
            ));
        }
    };
    server.bell.notify_one();
    let (kind, to) = (proposal.what.kind, proposal.what.to);
    let said = format!("{fleet}: proposal {id}, the {kind} to {to}, is {}", consent.as_str());
    if consent == Consent::Rejected {
        return acted(format!("{said}; it stays rejected for as long as its alert goes on."));
    }
    // The pass that knows of it says what comes of it.
    let known_at: Timestamp = (server.now)();
    let judged = tokio::time::timeout(PATIENCE, async {
        let judged = status.wait_for(|s| s.judged_at.is_some_and(|at| at >= known_at));
        judged.await.ok().and_then(|s| s.fleets.get(&fleet).cloned())
    });
    let sentence = format!("{said}, and no pass has judged it yet.");
    let mut acted = Acted { sentence, ..Acted::default() };
    if let Ok(Some(now)) = judged.await {
        acted.sentence = format!("{said}. {}", now.sentence);
        acted.outcome = Some(now.outcome.to_string());
        acted.generation = (now.generation >= proposal.what.generation).then_some(now.generation);
    }
    Ok((StatusCode::OK, Json(acted)))
}

pub(super) async fn pause(
    State(server): State<Server>,
    Path(fleet): Path<String>,
    sent: Body<Pause>,
) -> Answered {
    let fleet = reads::configured(&server, &fleet)?.name;
    set_pause(&server, Some(fleet), sent).await
}

pub(super) async fn pause_all(State(server): State<Server>, sent: Body<Pause>) -> Answered {
    set_pause(&server, None, sent).await
}

async fn set_pause(server: &Server, fleet: Option<FleetName>, sent: Body<Pause>) -> Answered {
    let Pause { reason, author, expected_holder, expected_holders, lasts } =
        body(sent, |s| (&s.reason, &s.author))?;
    let now: Timestamp = (server.now)();
    let until = match lasts {
        Some(lasts) if lasts <= SignedDuration::ZERO => {
            return Err(bad("`for` must be longer than nothing, such as \"2h\"."));
        }
        Some(lasts) => Some(
            now.checked_add(lasts)
                .map_err(|_| bad("`for` ends beyond the calendar; leave it out to pause until resumed."))?,
        ),
        None => None,
    };
    let signed = ("set pause on", author.as_str(), reason.as_str());
    let expected = believed(server, fleet.as_ref(), expected_holder, expected_holders, signed).await?;
    let what = fleet.as_ref().map_or("All fleets".to_owned(), ToString::to_string);
    let pause = Override { fleet, kind: OverrideKind::Pause, reason, author, since: now, until };
    let set = done(server.store.set_override(&pause, &expected).await?)?;
    server.bell.notify_one();
    let until =
        |until: Option<Timestamp>| until.map_or("until resumed".to_owned(), |until| format!("until {until}"));
    let now = format!("{what}: automatic moves are paused {}", until(pause.until));
    acted(match set {
        OverrideSet::Alone => format!("{now}."),
        OverrideSet::InPlaceOf(before) => {
            format!("{now}, in place of what was {}.", before.told())
        }
        OverrideSet::Kept(before) => format!(
            "{what}: automatic moves are paused {}, as they were {}. A pause {} changes nothing about that.",
            until(before.until),
            before.told(),
            until(pause.until)
        ),
    })
}

pub(super) async fn resume(
    State(server): State<Server>,
    Path(fleet): Path<String>,
    sent: Body<Resume>,
) -> Answered {
    let fleet = reads::configured(&server, &fleet)?.name;
    lift_pause(&server, Some(fleet), sent).await
}

pub(super) async fn resume_all(State(server): State<Server>, sent: Body<Resume>) -> Answered {
    lift_pause(&server, None, sent).await
}

async fn lift_pause(server: &Server, fleet: Option<FleetName>, sent: Body<Resume>) -> Answered {
    let Resume { reason, author, expected_holder, expected_holders } =
        body(sent, |s| (&s.reason, &s.author))?;
    let signed = ("lift pause from", author.as_str(), reason.as_str());
    let expected = believed(server, fleet.as_ref(), expected_holder, expected_holders, signed).await?;
    let person = Person { author, reason, at: (server.now)(), expected };
    let lifted = server.store.lift_override(fleet.as_ref(), OverrideKind::Pause, &person).await?;
    let OverrideLifted { lifted, still } = done(lifted)?;
    server.bell.notify_one();
    let what = fleet.as_ref().map_or("All fleets".to_owned(), ToString::to_string);
    let still: Vec<String> = still
        .iter()
        .map(|pause| match &pause.fleet {
            None => format!("all fleets are {}", pause.told()),
            Some(fleet) => format!("{fleet} is {}", pause.told()),
        })
        .collect();
    let mut sentence = match (&lifted, still.is_empty()) {
        (Some(_), true) => format!("{what}: automatic moves are allowed again."),
        (Some(_), false) => format!("{what}: the pause is lifted, but {}.", still.join("; ")),
        (None, true) => format!("{what}: there was no pause."),
        (None, false) => format!("{what}: there was no pause to lift, but {}.", still.join("; ")),
    };
    if let Some(lifted) = lifted.filter(|lifted| lifted.author != person.author) {
        sentence = format!("{sentence} Lifted is what was {}.", lifted.told());
    }
    acted(sentence)
}

pub(super) async fn ack(
    State(server): State<Server>,
    Path(fleet): Path<String>,
    sent: Body<Ack>,
) -> Answered {
    let Ack { reason, author, expected_holder } = body(sent, |s| (&s.reason, &s.author))?;
    let Fleet { name: fleet, cool_down, .. } = reads::configured(&server, &fleet)?;
    let expected = Holders::of(fleet.clone(), named("expected_holder", expected_holder)?);
    let person = Person { author, reason, at: (server.now)(), expected };
    let done = done(server.store.acknowledge(&fleet, cool_down, &person).await?)?;
    server.bell.notify_one();
    let latch = done.latch.map(|g| format!("the failed move (generation {g}) is acknowledged"));
    let cool_down = done.cool_down.map(|g| format!("the cool-down after generation {g} is lifted"));
    let said: Vec<String> = latch.into_iter().chain(cool_down).collect();
    let sentence = if said.is_empty() {
        format!("{fleet}: there is no failed move to acknowledge, and no cool-down to lift.")
    } else {
        format!("{fleet}: {}.", said.join(", and "))
    };
    let generation = done.latch.or(done.cool_down);
    Ok((StatusCode::OK, Json(Acted { sentence, generation, ..Acted::default() })))
}

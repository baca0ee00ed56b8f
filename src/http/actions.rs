//! What people do. Every action names a reason and an author and is recorded.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use super::{Problem, Server};
use crate::{
    decide::Outcome,
    model::{ClusterName, FleetName, Generation, Override, OverrideKind, SignedDuration, Timestamp},
    status::Answer,
    store::NewRequest,
};

/// How long a caller waits for the pass that judges its request.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Switch {
    to: ClusterName,
    /// The holder that the person believes in; `null` for nobody.
    from: Option<ClusterName>,
    reason: String,
    author: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pause {
    reason: String,
    author: String,
    /// How long, such as `2h`; without it, until resumed.
    #[serde(default, rename = "for")]
    lasts: Option<SignedDuration>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    reason: String,
    author: String,
}

/// What an action came to.
#[derive(Debug, Serialize)]
pub(super) struct Acted {
    sentence: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<Generation>,
}

type Body<T> = Result<Json<T>, JsonRejection>;
type Answered = Result<Json<Acted>, Problem>;

fn body<T>(body: Body<T>, reason: impl Fn(&T) -> (&str, &str)) -> Result<T, Problem> {
    let Json(body) = body.map_err(|error| {
        // Whatever else may be wrong with a body, it is the same mistake.
        let too_large = error.status() == StatusCode::PAYLOAD_TOO_LARGE;
        let status = if too_large { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
        Problem::new(status, error.body_text())
    })?;
    let (why, author) = reason(&body);
    if why.trim().is_empty() || author.trim().is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "`reason` and `author` must not be empty."));
    }
    Ok(body)
}

fn known(server: &Server, fleet: &str) -> Result<FleetName, Problem> {
    let status = server.status.borrow();
    if status.at.is_none() {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The first look at the world is not finished.",
        ));
    }
    status.fleets.keys().find(|name| name.as_str() == fleet).cloned().ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, format!("There is no fleet {fleet:?} in the configuration."))
    })
}

pub(super) async fn switch(
    State(server): State<Server>,
    Path(fleet): Path<String>,
    sent: Body<Switch>,
) -> Answered {
    let sent = body(sent, |s| (&s.reason, &s.author))?;
    let fleet = known(&server, &fleet)?;
    let mut status = server.status.clone();
    let request = NewRequest {
        fleet,
        to: sent.to,
        expected: sent.from,
        reason: sent.reason,
        author: sent.author,
        at: (server.now)(),
    };
    let id = server.store.add_request(&request).await?;
    server.bell.notify_one();
    let answered = tokio::time::timeout(PATIENCE, async {
        status.wait_for(|s| s.answers.contains_key(&id)).await.ok().and_then(|s| s.answers.get(&id).cloned())
    });
    let Ok(Some(Answer { outcome, sentence, generation })) = answered.await else {
        return Err(Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            format!("Request {id} is recorded, and no pass has judged it yet; see the history."),
        ));
    };
    match outcome {
        Outcome::Decided | Outcome::Steady => Ok(Json(Acted { sentence, generation })),
        Outcome::UnknownCluster => Err(Problem::new(StatusCode::NOT_FOUND, sentence)),
        outcome => {
            let problem = Problem::new(StatusCode::CONFLICT, sentence);
            Err(Problem { outcome: Some(outcome.to_string()), ..problem })
        }
    }
}

pub(super) async fn pause(
    State(server): State<Server>,
    Path(fleet): Path<String>,
    sent: Body<Pause>,
) -> Answered {
    let fleet = known(&server, &fleet)?;
    set_pause(&server, Some(fleet), sent).await
}

pub(super) async fn pause_all(State(server): State<Server>, sent: Body<Pause>) -> Answered {
    set_pause(&server, None, sent).await
}

async fn set_pause(server: &Server, fleet: Option<FleetName>, sent: Body<Pause>) -> Answered {
    let sent = body(sent, |s| (&s.reason, &s.author))?;
    let now: Timestamp = (server.now)();
    let until = match sent.lasts {
        Some(lasts) if lasts <= SignedDuration::ZERO => {
            return Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "`for` must be longer than nothing, such as \"2h\".",
            ));
        }
        Some(lasts) => Some(now.checked_add(lasts).map_err(|_| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "`for` ends beyond the calendar; leave it out to pause until resumed.",
            )
        })?),
        None => None,
    };
    let what = fleet.as_ref().map_or("All fleets".to_owned(), ToString::to_string);
    let pause = Override {
        fleet,
        kind: OverrideKind::Pause,
        reason: sent.reason,
        author: sent.author,
        since: now,
        until,
    };
    server.store.set_override(&pause).await?;
    server.bell.notify_one();
    let until = until.map_or("until resumed".to_owned(), |until| format!("until {until}"));
    Ok(Json(Acted { sentence: format!("{what}: automatic moves are paused {until}."), generation: None }))
}

pub(super) async fn resume(
    State(server): State<Server>,
    Path(fleet): Path<String>,
    sent: Body<Why>,
) -> Answered {
    let fleet = known(&server, &fleet)?;
    lift_pause(&server, Some(fleet), sent).await
}

pub(super) async fn resume_all(State(server): State<Server>, sent: Body<Why>) -> Answered {
    lift_pause(&server, None, sent).await
}

async fn lift_pause(server: &Server, fleet: Option<FleetName>, sent: Body<Why>) -> Answered {
    let sent = body(sent, |s| (&s.reason, &s.author))?;
    let what = fleet.as_ref().map_or("All fleets".to_owned(), ToString::to_string);
    let lifted = server
        .store
        .lift_override(fleet.as_ref(), OverrideKind::Pause, &sent.author, &sent.reason, (server.now)())
        .await?;
    server.bell.notify_one();
    let sentence = if lifted {
        format!("{what}: automatic moves are allowed again.")
    } else {
        format!("{what}: there was no pause.")
    };
    Ok(Json(Acted { sentence, generation: None }))
}

pub(super) async fn ack(
    State(server): State<Server>,
    Path(fleet): Path<String>,
    sent: Body<Why>,
) -> Answered {
    let sent = body(sent, |s| (&s.reason, &s.author))?;
    let fleet = known(&server, &fleet)?;
    let generation = server.store.acknowledge(&fleet, &sent.author, &sent.reason, (server.now)()).await?;
    server.bell.notify_one();
    let sentence = match generation {
        Some(generation) => format!("{fleet}: the failed move (generation {generation}) is acknowledged."),
        None => format!("{fleet}: there is no failed move to acknowledge."),
    };
    Ok(Json(Acted { sentence, generation }))
}

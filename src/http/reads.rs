//! The API to read.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use super::{Problem, Server};
use crate::{
    decide::{Outcome, Waiting},
    model::{
        Fleet, FleetEvidence, FleetName, GateReport, Generation, Holders, Leadership, Proposal, Timestamp,
    },
    plan::Plan,
    status::{FleetStatus, Status},
    store::{HistoryEntry, RequestRecord, Store},
};

/// The most entries of history in one answer.
const HISTORY_LIMIT: u32 = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    fleet: Option<String>,
    limit: Option<u32>,
}

/// Gates of one fleet with all that they saw.
#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    fleet: FleetName,
    at: Option<Timestamp>,
    outcome: Outcome,
    sentence: String,
    /// What else a person should know.
    warnings: Vec<String>,
    gates: Vec<ExplainedGate>,
    /// The automatic move that waits for a person.
    proposal: Option<Proposal>,
    /// The planned move that waits until the fleet has drained.
    waiting: Option<Waiting>,
    evidence: FleetEvidence,
}

/// A gate with the address of its section in the runbook.
#[derive(Debug, Serialize)]
pub(super) struct ExplainedGate {
    #[serde(flatten)]
    report: GateReport,
    runbook: String,
}

#[derive(Debug, Serialize)]
pub(super) struct FleetPlan {
    fleet: FleetName,
    generation: Generation,
    sentence: String,
    /// What else a person should know.
    warnings: Vec<String>,
    plan: Option<Plan>,
    text: String,
}

type Asked = Result<Query<Filter>, QueryRejection>;

fn asked(query: Asked) -> Result<Filter, Problem> {
    query.map(|Query(filter)| filter).map_err(|e| Problem::new(StatusCode::BAD_REQUEST, e.body_text()))
}

fn unknown(fleet: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("There is no fleet {fleet:?} in the configuration."))
}

/// What the last pass came to, with a warning when it is old. Before the first one has ended, nothing is known, and a fleet is
/// not missing.
fn seen(server: &Server) -> Result<Arc<Status>, Problem> {
    let mut status = server.status.borrow().clone();
    if status.at.is_none() {
        return Err(unfinished(&status));
    }
    if let Some(old) = status.old((server.now)()) {
        for fleet in Arc::make_mut(&mut status).fleets.values_mut() {
            fleet.warnings.insert(0, old.clone());
        }
    }
    Ok(status)
}

pub(super) fn unfinished(status: &Status) -> Problem {
    let why = status.failing.as_ref().map(|failing| format!(" {failing}.")).unwrap_or_default();
    let detail = format!("The first look at the world is not finished.{why}");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
}

/// One fleet as the last pass saw it.
pub(super) fn known(server: &Server, fleet: &str) -> Result<FleetStatus, Problem> {
    let status = seen(server)?;
    status.fleets.values().find(|f| f.name.as_str() == fleet).cloned().ok_or_else(|| unknown(fleet))
}

/// One fleet as it is configured: for what does not depend on a look at the world.
pub(super) fn configured(server: &Server, fleet: &str) -> Result<Fleet, Problem> {
    let topology = server.topology.borrow().clone();
    topology.fleets.values().find(|f| f.name.as_str() == fleet).cloned().ok_or_else(|| unknown(fleet))
}

/// Who holds every fleet that is configured, as decided: what actions are compared with. Nobody holds a fleet that no pass has
/// seen yet.
pub(super) async fn held(server: &Server, store: &Store) -> Result<Holders, Problem> {
    let Holders(mut decided) = store.holders().await?;
    let topology = server.topology.borrow().clone();
    let holder = |name: &FleetName| (name.clone(), decided.remove(name).flatten());
    Ok(Holders(topology.fleets.keys().map(holder).collect()))
}

pub(super) async fn holders(State(server): State<Server>) -> Result<Json<Holders>, Problem> {
    held(&server, &server.store.to_show()).await.map(Json)
}

fn pick<T>(
    server: &Server,
    filter: &Filter,
    show: impl Fn(&FleetStatus) -> T,
) -> Result<Json<Vec<T>>, Problem> {
    let status = seen(server)?;
    let wanted = |f: &&FleetStatus| filter.fleet.as_ref().is_none_or(|name| name == f.name.as_str());
    let rows: Vec<T> = status.fleets.values().filter(wanted).map(show).collect();
    match &filter.fleet {
        Some(fleet) if rows.is_empty() => Err(unknown(fleet)),
        _ => Ok(Json(rows)),
    }
}

pub(super) async fn fleets(State(server): State<Server>) -> Result<Json<Vec<FleetStatus>>, Problem> {
    Ok(Json(seen(&server)?.fleets.values().cloned().collect()))
}

pub(super) async fn fleet(
    State(server): State<Server>,
    Path(fleet): Path<String>,
) -> Result<Json<FleetStatus>, Problem> {
    known(&server, &fleet).map(Json)
}

pub(super) async fn plan(
    State(server): State<Server>,
    query: Asked,
) -> Result<Json<Vec<FleetPlan>>, Problem> {
    pick(&server, &asked(query)?, |f| FleetPlan {
        fleet: f.name.clone(),
        generation: f.generation,
        sentence: f.sentence.clone(),
        warnings: f.warnings.clone(),
        text: f.plan.as_ref().map(ToString::to_string).unwrap_or_default(),
        plan: f.plan.clone(),
    })
}

pub(super) async fn explain(
    State(server): State<Server>,
    query: Asked,
) -> Result<Json<Vec<Explanation>>, Problem> {
    let at = server.status.borrow().at;
    let access = server.access.borrow().clone();
    let explained =
        |report: &GateReport| ExplainedGate { report: report.clone(), runbook: access.runbook(report.gate) };
    pick(&server, &asked(query)?, |f| Explanation {
        fleet: f.name.clone(),
        at,
        outcome: f.outcome,
        sentence: f.sentence.clone(),
        warnings: f.warnings.clone(),
        gates: f.gates.iter().map(&explained).collect(),
        proposal: f.proposal.clone(),
        waiting: f.waiting.clone(),
        evidence: f.evidence.clone(),
    })
}

pub(super) async fn history(
    State(server): State<Server>,
    query: Asked,
) -> Result<Json<Vec<HistoryEntry>>, Problem> {
    let filter = asked(query)?;
    let fleet = match &filter.fleet {
        None => None,
        Some(name) => Some(name.parse::<FleetName>().map_err(|_| unknown(name))?),
    };
    let limit = filter.limit.unwrap_or(100);
    if !(1..=HISTORY_LIMIT).contains(&limit) {
        let detail = format!("limit is {limit}; it must be from 1 to {HISTORY_LIMIT}.");
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    let entries = server.store.to_show().history(fleet.as_ref(), limit).await?;
    // A fleet that is not configured any more has its history all the same.
    match fleet {
        Some(name)
            if !entries.iter().any(|e| e.fleet() == Some(&name))
                && !server.status.borrow().fleets.contains_key(&name) =>
        {
            Err(unknown(name.as_str()))
        }
        _ => Ok(Json(entries)),
    }
}

/// Whether this process leads, or who does.
pub(super) async fn leader(State(server): State<Server>) -> Json<Leadership> {
    Json(server.store.lease().leadership())
}

/// A person's request, open or answered.
pub(super) async fn request(
    State(server): State<Server>,
    Path(request): Path<String>,
) -> Result<Json<RequestRecord>, Problem> {
    let found = match request.parse() {
        Ok(id) => server.store.to_show().request(id).await?,
        Err(_) => None,
    };
    found
        .map(Json)
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("There is no request {request}.")))
}

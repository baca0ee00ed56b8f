//! CI/CD variables of a project: last writer wins, there is nothing to compare with.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Path, State as AxumState};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::get;
use serde_json::{Value, json};

use super::access::Role;
use super::lookup::{READ, WRITE};
use super::reply::{Answer, Failure, Params, ok, page, reply};
use super::server::{Call, Shared};

const MAX_VALUE: usize = 10_000;

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/api/v4/projects/{id}/variables", get(list).post(create))
        .route("/api/v4/projects/{id}/variables/{key}", get(read).put(update).delete(delete))
}

fn missing() -> Failure {
    Failure::not_found("Variable")
}

fn invalid(key: &'static str, text: String) -> Failure {
    Failure::model(&BTreeMap::from([(key, vec![text])]))
}

/// The given parameters over what was there.
fn fill(row: &mut Value, params: &Params) -> Result<(), Failure> {
    let kind = params.one_of("variable_type", &["env_var", "file"])?;
    for (key, text) in [("variable_type", kind), ("value", params.text("value"))] {
        if let Some(text) = text {
            row[key] = Value::String(text);
        }
    }
    for key in ["protected", "masked", "raw"] {
        if let Some(flag) = params.flag(key)? {
            row[key] = Value::Bool(flag);
        }
    }
    if row["value"].as_str().is_some_and(|v| v.chars().count() > MAX_VALUE) {
        return Err(invalid("value", format!("is too long (maximum is {MAX_VALUE} characters)")));
    }
    Ok(())
}

async fn list(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let state = shared.lock();
    let project = call.project(&state, &id, &READ, Role::Maintainer)?;
    let rows: Vec<&Value> = state
        .variables
        .range((project, String::new())..)
        .map_while(|((p, _), v)| (*p == project).then_some(v))
        .collect();
    page(&rows, &call.params()?, &call.url(), call.query(), |row| Value::clone(row))
}

async fn create(AxumState(shared): AxumState<Shared>, Path(id): Path<String>, call: Call) -> Answer {
    let mut state = shared.lock();
    let project = call.project(&state, &id, &WRITE, Role::Maintainer)?;
    let params = call.params()?;
    let need = |key: &str| params.text(key).ok_or_else(|| Failure::grape(&format!("{key} is missing")));
    let (key, _) = (need("key")?, need("value")?);
    if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(invalid("key", "can contain only letters, digits and '_'.".to_owned()));
    }
    if state.variables.contains_key(&(project, key.clone())) {
        return Err(invalid("key", format!("({key}) has already been taken")));
    }
    let mut row = json!({
        "variable_type": "env_var", "key": key, "value": "", "hidden": false, "protected": false, "masked": false,
        "raw": false, "environment_scope": "*", "description": null,
    });
    fill(&mut row, &params)?;
    state.variables.insert((project, key), row.clone());
    Ok(reply(StatusCode::CREATED, &row))
}

async fn read(
    AxumState(shared): AxumState<Shared>,
    Path((id, key)): Path<(String, String)>,
    call: Call,
) -> Answer {
    let state = shared.lock();
    let project = call.project(&state, &id, &READ, Role::Maintainer)?;
    ok(state.variables.get(&(project, key)).ok_or_else(missing)?)
}

async fn update(
    AxumState(shared): AxumState<Shared>,
    Path((id, key)): Path<(String, String)>,
    call: Call,
) -> Answer {
    let mut state = shared.lock();
    let project = call.project(&state, &id, &WRITE, Role::Maintainer)?;
    let row = state.variables.get_mut(&(project, key)).ok_or_else(missing)?;
    let mut new = row.clone();
    fill(&mut new, &call.params()?)?;
    row.clone_from(&new);
    ok(&new)
}

async fn delete(
    AxumState(shared): AxumState<Shared>,
    Path((id, key)): Path<(String, String)>,
    call: Call,
) -> Answer {
    let mut state = shared.lock();
    let project = call.project(&state, &id, &WRITE, Role::Maintainer)?;
    state.variables.remove(&(project, key)).ok_or_else(missing)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

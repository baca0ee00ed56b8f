//! A Prometheus and an Alertmanager as small as the questions that Switchyard asks them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use serde_json::{Value, json};
use switchyard::world::Live;

/// What they say, and what they were asked.
#[derive(Debug, Default)]
pub(crate) struct Says {
    /// The share of every cluster's runners that is well.
    pub(crate) well: BTreeMap<&'static str, f64>,
    /// The alerts that Alertmanager has.
    pub(crate) alerts: Vec<Value>,
    /// How often Alertmanager was asked for them.
    pub(crate) polls: u64,
    /// Every credential that was seen.
    pub(crate) credentials: Vec<String>,
    /// Every question is refused with this status and a page that shows the credential, as some proxies do: in HTML, or
    /// in Prometheus' own form.
    pub(crate) refusal: Option<(StatusCode, Form)>,
    /// Prometheus takes questions and answers none.
    pub(crate) silent: bool,
    /// How many questions it was asked while it was silent.
    pub(crate) unanswered: u64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    Html,
    Json,
}

/// Both at one address.
#[derive(Debug, Clone)]
pub(crate) struct StandIns {
    says: Arc<Mutex<Says>>,
    url: String,
}

impl StandIns {
    pub(crate) async fn start() -> Self {
        let says = Says { well: BTreeMap::from([("blue", 1.0), ("green", 1.0)]), ..Says::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let both = Self { says: Arc::new(Mutex::new(says)), url };
        let router = Router::new()
            .route("/api/v1/query", post(query))
            .route("/api/v2/alerts", get(alerts))
            .route("/api/v2/status", get(status))
            .with_state(both.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        both
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn says(&self) -> MutexGuard<'_, Says> {
        self.says.lock().unwrap()
    }

    /// Prometheus answers nothing from now on.
    pub(crate) fn be_silent(&self) {
        let mut says = self.says();
        says.silent = true;
        says.unanswered = 0;
    }

    /// Notes the credential, and refuses if it is to.
    fn admit(&self, headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
        let credential = headers.get("authorization").map_or("", |value| value.to_str().unwrap());
        let mut says = self.says();
        if !credential.is_empty() {
            says.credentials.push(credential.to_owned());
        }
        let Some((status, form)) = says.refusal else { return Ok(()) };
        let text = format!("Authorization: {credential} is refused");
        Err((
            status,
            match form {
                Form::Html => format!("<html><body>{text}</body></html>"),
                Form::Json => json!({"status": "error", "errorType": "forbidden", "error": text}).to_string(),
            },
        ))
    }
}

type Answer<T> = Result<Json<T>, (StatusCode, String)>;

async fn query(State(both): State<StandIns>, headers: HeaderMap, body: String) -> Answer<Value> {
    both.admit(&headers)?;
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let now = Live::clock().as_millisecond() as f64 / 1e3;
    let asked = form["query"].as_str();
    let value = |well: f64| match asked {
        _ if asked.starts_with("timestamp(") => Some(now),
        _ if asked.contains("gitlab_runner_up:ratio") || asked.contains("polls_well:ratio") => Some(well),
        _ if asked.contains("polls_well:count") => Some(well * 2.0),
        _ if asked.contains("gitlab_unreachable") => Some(0.0),
        _ => None,
    };
    if both.says().silent {
        both.says().unanswered += 1;
        while both.says().silent {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    let well = both.says().well.clone();
    let rows: Vec<Value> = well
        .iter()
        .filter_map(|(cluster, well)| {
            Some(json!({"metric": {"runner_cluster": cluster}, "value": [now, value(*well)?.to_string()]}))
        })
        .collect();
    Ok(Json(json!({"status": "success", "data": {"resultType": "vector", "result": rows}})))
}

async fn alerts(State(both): State<StandIns>, headers: HeaderMap) -> Answer<Vec<Value>> {
    both.admit(&headers)?;
    let mut says = both.says();
    says.polls += 1;
    Ok(Json(says.alerts.clone()))
}

async fn status(State(both): State<StandIns>, headers: HeaderMap) -> Answer<Value> {
    both.admit(&headers)?;
    Ok(Json(
        json!({"versionInfo": {"version": "0.28.0"}, "cluster": {"status": "ready"}, "uptime": "2026-01-01T00:00:00Z"}),
    ))
}

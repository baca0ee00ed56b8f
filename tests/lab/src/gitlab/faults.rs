//! Faults: what to hit, with what, how often.

use std::time::Duration;

use axum::http::Method;
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::state::{Lag, State};

/// Which requests a rule hits. Absent means any; the laboratory's own `/-/lab` is never hit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// HTTP method.
    pub method: Option<String>,
    /// Regular expression on the path with query.
    pub path: Option<String>,
    /// Regular expression on the call's name, see [`operation`].
    pub operation: Option<String>,
    /// Regular expression on the request body (for one GraphQL mutation, one runner's token, …).
    pub body: Option<String>,
}

impl Match {
    /// Every request.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests whose name matches this regular expression.
    #[must_use]
    pub fn operation(pattern: &str) -> Self {
        Self { operation: Some(pattern.to_owned()), ..Self::default() }
    }

    /// Requests with this method and a path that matches.
    #[must_use]
    pub fn path(method: &str, pattern: &str) -> Self {
        Self { method: Some(method.to_owned()), path: Some(pattern.to_owned()), ..Self::default() }
    }
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// The answer comes later.
    Latency {
        /// Milliseconds before the request is looked at.
        ms: u64,
    },
    /// Accepted, never answered, nothing done.
    Hang,
    /// 502 with nginx' HTML page.
    BadGateway,
    /// 503 with GitLab's HTML page.
    Unavailable,
    /// The connection is closed before anything is done.
    ResetBefore,
    /// The request is carried out, then the connection is closed without an answer.
    ResetAfterCommit,
    /// The request is carried out and never answered.
    TimeoutAfterCommit,
    /// The answer trickles.
    SlowBody {
        /// Milliseconds between pieces of 16 bytes.
        ms: u64,
    },
    /// The true status, cut off in the middle of the body.
    TruncatedBody,
    /// 200 with a sign-in page.
    NonJson,
    /// 429 `Retry later` in plain text, with `Retry-After` and `RateLimit-*`.
    RateLimitedText {
        /// Seconds.
        retry_after: u64,
    },
    /// 429 in JSON, without any header.
    RateLimitedJson,
    /// 429 in JSON with `Retry-After`.
    RateLimitedJsonRetryAfter {
        /// Seconds.
        retry_after: u64,
    },
    /// 403 in JSON: on `jobs/request` it is what puts runners to sleep.
    Forbidden,
    /// 400 as a write to a repository gets it when another one moved the branch meanwhile. Nothing is done; it is to
    /// be tried again, unlike the 400 of a `last_commit_id` that is too old.
    LostRace,
    /// Any status with any body.
    Status {
        /// HTTP status.
        status: u16,
        /// Body, sent as JSON when it parses as such.
        #[serde(default)]
        body: String,
    },
    /// Reads come from a replica that lags. Without a match it hits lists and GraphQL only.
    StaleReplica {
        /// How many of the last writes are missing.
        #[serde(default)]
        writes: u64,
        /// Writes younger than this are missing.
        #[serde(default)]
        seconds: i64,
    },
}

impl Kind {
    fn name(&self) -> String {
        serde_json::to_value(self)
            .ok()
            .and_then(|v| v.get("kind").and_then(|k| k.as_str().map(str::to_owned)))
            .unwrap_or_default()
    }
}

/// One fault: where, what, how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Which requests.
    #[serde(rename = "match", default)]
    pub matches: Match,
    /// What happens.
    #[serde(flatten)]
    pub kind: Kind,
    /// Chance per matching request, 0 to 1.
    #[serde(default = "always")]
    pub probability: f64,
    /// How many requests it hits before it is over.
    #[serde(default)]
    pub count: Option<u64>,
    /// How many matching requests pass first.
    #[serde(default)]
    pub skip: u64,
}

fn always() -> f64 {
    1.0
}

impl Fault {
    /// Hits every matching request until cleared.
    #[must_use]
    pub fn new(matches: Match, kind: Kind) -> Self {
        Self { matches, kind, probability: 1.0, count: None, skip: 0 }
    }

    /// Hits this many requests and is over.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// Lets this many matching requests pass first.
    #[must_use]
    pub fn after(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// Hits by chance.
    #[must_use]
    pub fn with_probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }
}

/// The whole instance is away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outage {
    /// It is not.
    #[default]
    None,
    /// 502 to everything.
    BadGateway,
    /// No listener: connections are refused, open ones are cut.
    Refuse,
    /// Maintenance mode: reads are answered; writes by REST, polls of runners among them, get 503, and mutations by
    /// GraphQL an error. A proxy before it that answers polls with 403 is a fault besides.
    Maintenance,
}

#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) fault: Fault,
    path: Option<Regex>,
    operation: Option<Regex>,
    body: Option<Regex>,
    left: Option<u64>,
    skip: u64,
}

impl Rule {
    pub(crate) fn new(mut fault: Fault) -> Result<Self, regex::Error> {
        if matches!(fault.kind, Kind::StaleReplica { .. }) && fault.matches == Match::any() {
            fault.matches.operation = Some("^(list_|graphql_query)".to_owned());
        }
        let compile = |pattern: &Option<String>| pattern.as_deref().map(Regex::new).transpose();
        Ok(Self {
            path: compile(&fault.matches.path)?,
            operation: compile(&fault.matches.operation)?,
            body: compile(&fault.matches.body)?,
            left: fault.count,
            skip: fault.skip,
            fault,
        })
    }

    fn hits(&mut self, method: &str, path: &str, operation: &str, body: &str) -> bool {
        let fits = self.fault.matches.method.as_deref().is_none_or(|m| m.eq_ignore_ascii_case(method))
            && self.path.as_ref().is_none_or(|r| r.is_match(path))
            && self.operation.as_ref().is_none_or(|r| r.is_match(operation))
            && self.body.as_ref().is_none_or(|r| r.is_match(body));
        if !fits || self.left == Some(0) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.fault.probability < 1.0 && fastrand::f64() >= self.fault.probability {
            return false;
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        true
    }
}

/// What a request has to go through.
#[derive(Debug, Default)]
pub(crate) struct Hit {
    pub(crate) latency: Duration,
    pub(crate) lag: Lag,
    pub(crate) kind: Option<Kind>,
    pub(crate) name: Option<String>,
}

impl State {
    /// Latency and lag add up; of the other kinds the first rule that hits decides.
    pub(crate) fn fault_for(&mut self, method: &str, path: &str, operation: &str, body: &str) -> Hit {
        let mut hit = Hit::default();
        for rule in &mut self.rules {
            let modifier = matches!(rule.fault.kind, Kind::Latency { .. } | Kind::StaleReplica { .. });
            if (hit.kind.is_some() && !modifier) || !rule.hits(method, path, operation, body) {
                continue;
            }
            hit.name = Some(rule.fault.kind.name());
            match &rule.fault.kind {
                Kind::Latency { ms } => hit.latency += Duration::from_millis(*ms),
                Kind::StaleReplica { writes, seconds } => {
                    hit.lag =
                        Lag { writes: hit.lag.writes.max(*writes), seconds: hit.lag.seconds.max(*seconds) };
                }
                kind => hit.kind = Some(kind.clone()),
            }
        }
        hit
    }
}

/// The name of a call, as faults match it and the request log counts it: `list_runners`,
/// `list_all_runners`, `list_group_runners`, `list_project_runners`, `get_runner`, `update_runner`,
/// `delete_runner`, `create_runner`, `list_runner_managers`, `list_runner_jobs`, `graphql_query`,
/// `graphql_mutation`, `request_job`, `patch_trace`, `update_job`, `get_file`, `update_file`, …; `lab` for the laboratory itself.
#[must_use]
pub fn operation(method: &Method, path: &str, body: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let Some(rest) = path.strip_prefix("/api/") else {
        let name = if path.starts_with("/-/lab") {
            "lab"
        } else if path.contains("/alerts/notify") {
            "notify_alert"
        } else {
            "other"
        };
        return name.to_owned();
    };
    if rest == "graphql" {
        let mutation =
            Regex::new(r#"(^|[\s"}])mutation\b"#).is_ok_and(|r| r.is_match(&body.replace("\\n", " ")));
        return if mutation { "graphql_mutation" } else { "graphql_query" }.to_owned();
    }
    let segments: Vec<&str> = rest.trim_start_matches("v4/").split('/').collect();
    let m = method.as_str();
    let name = match (m, segments.as_slice()) {
        ("GET", ["runners"]) => "list_runners",
        ("GET", ["runners", "all"]) => "list_all_runners",
        ("GET", ["groups", _, "runners"]) => "list_group_runners",
        ("GET", ["projects", _, "runners"]) => "list_project_runners",
        ("POST", ["user", "runners"]) => "create_runner",
        ("POST", ["runners", "verify"]) => "verify_runner",
        ("DELETE", ["runners", "managers"]) => "unregister_manager",
        ("GET", ["runners", _]) => "get_runner",
        ("PUT", ["runners", _]) => "update_runner",
        ("DELETE", ["runners", _]) => "delete_runner",
        ("GET", ["runners", _, "managers"]) => "list_runner_managers",
        ("GET", ["runners", _, "jobs"]) => "list_runner_jobs",
        ("GET", ["runners", _, "projects"]) => "list_runner_projects",
        ("POST", ["runners", _, "reset_authentication_token"]) => "reset_runner_token",
        ("POST", ["jobs", "request"]) => "request_job",
        ("PATCH", ["jobs", _, "trace"]) => "patch_trace",
        ("PUT", ["jobs", _]) => "update_job",
        ("POST", ["jobs", _, "artifacts"]) => "upload_artifacts",
        ("GET", ["jobs", _, "artifacts"]) => "download_artifacts",
        ("POST", ["projects", _, "pipeline"]) => "create_pipeline",
        ("POST", ["projects", _, "trigger", "pipeline"]) => "trigger_pipeline",
        ("GET", ["projects", _, "pipelines", _]) => "get_pipeline",
        ("GET", ["projects", _, "pipelines", _, "jobs"]) => "list_pipeline_jobs",
        ("POST", ["projects", _, "pipelines", _, "cancel"]) => "cancel_pipeline",
        ("GET", ["projects", _, "jobs", _]) => "get_job",
        ("GET", ["projects", _, "jobs", _, "trace"]) => "get_job_trace",
        ("GET", ["projects", _, "jobs", _, "artifacts", ..]) => "get_job_artifacts",
        ("POST", ["projects", _, "jobs", _, "cancel"]) => "cancel_job",
        ("POST", ["projects", _, "jobs", _, "retry"]) => "retry_job",
        ("GET", ["projects", _, "repository", "files", _]) => "get_file",
        ("HEAD", ["projects", _, "repository", "files", _]) => "head_file",
        ("POST", ["projects", _, "repository", "files", _]) => "create_file",
        ("PUT", ["projects", _, "repository", "files", _]) => "update_file",
        ("DELETE", ["projects", _, "repository", "files", _]) => "delete_file",
        ("GET", ["projects", _, "variables", _]) => "get_variable",
        ("PUT", ["projects", _, "variables", _]) => "update_variable",
        ("GET", ["version"]) => "version",
        ("GET", ["personal_access_tokens", "self"]) => "token_self",
        ("GET", ["user"]) => "current_user",
        _ => return format!("{}_{}", m.to_lowercase(), segments.first().copied().unwrap_or_default()),
    };
    name.to_owned()
}

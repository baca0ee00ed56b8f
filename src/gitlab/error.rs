//! What can go wrong between Switchyard and GitLab.

use std::time::Duration;

use serde_json::Value;

/// Why a connection failed.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A request to GitLab that did not bring what it should. No text holds the access token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that cannot work.
    #[error("GitLab client: {0}")]
    Setting(String),
    /// The HTTP client could not be built.
    #[error("GitLab client: cannot set up TLS")]
    Tls(#[source] reqwest::Error),
    /// No connection came about: nothing was sent.
    #[error("{}: cannot connect to GitLab", words(.operation))]
    Connect {
        /// The request.
        operation: &'static str,
        /// Why.
        source: Cause,
    },
    /// The deadline for sending had passed: nothing was sent.
    #[error("{}: not sent, because another process may lead by now", words(.operation))]
    TooLate {
        /// The request.
        operation: &'static str,
    },
    /// No whole answer in time. The request may have been carried out.
    #[error("{}: no answer from GitLab within the time-out", words(.operation))]
    Timeout {
        /// The request.
        operation: &'static str,
    },
    /// The connection broke before any answer. The request may have been carried out.
    #[error("{}: the connection to GitLab broke before an answer came", words(.operation))]
    Lost {
        /// The request.
        operation: &'static str,
        /// Why.
        source: Cause,
    },
    /// The answer was a success, but its body broke off.
    #[error("{}: the answer of GitLab ({status}) broke off", words(.operation))]
    Body {
        /// The request.
        operation: &'static str,
        /// HTTP status.
        status: u16,
        /// Why.
        source: reqwest::Error,
    },
    /// GitLab said no.
    #[error("{}: GitLab answered {status}: {message}", words(.operation))]
    Status {
        /// The request.
        operation: &'static str,
        /// HTTP status.
        status: u16,
        /// What GitLab says about it.
        message: String,
    },
    /// GitLab asks for fewer requests.
    #[error("{}: GitLab limits the request rate{}: {message}", words(.operation), wait_text(*.retry_after))]
    RateLimited {
        /// The request.
        operation: &'static str,
        /// How long GitLab asks to wait.
        retry_after: Option<Duration>,
        /// What GitLab says about it.
        message: String,
    },
    /// The body is longer than any answer should be.
    #[error("{}: the answer of GitLab is larger than {limit} bytes", words(.operation))]
    TooLarge {
        /// The request.
        operation: &'static str,
        /// Bytes.
        limit: usize,
    },
    /// A success that is not JSON: a sign-in page, a proxy's page.
    #[error("{}: GitLab answered {status} with something that is not JSON: {excerpt}", words(.operation))]
    NotJson {
        /// The request.
        operation: &'static str,
        /// HTTP status.
        status: u16,
        /// The first 200 characters.
        excerpt: String,
    },
    /// JSON of another shape than the API documents.
    #[error("{}: the answer of GitLab is not understood", words(.operation))]
    Shape {
        /// The request.
        operation: &'static str,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// An error inside a GraphQL answer.
    #[error("{}: GitLab answered with a GraphQL error: {message}", words(.operation))]
    Graphql {
        /// The request.
        operation: &'static str,
        /// GitLab's text.
        message: String,
    },
    /// A list that could not be read whole.
    #[error("{}: the list could not be read whole: {why}", words(.operation))]
    Incomplete {
        /// The request.
        operation: &'static str,
        /// What is missing.
        why: String,
    },
    /// The group or project is not there, or the token may not see it.
    #[error("{0} does not exist or is not visible to the access token")]
    Scope(String),
}

/// What a request is for: the name that metrics have for it is none for people.
fn words(operation: &str) -> &str {
    match operation {
        "list_runners" | "graphql_list_runners" => "listing the runners",
        "get_runner" | "graphql_get_runners" => "looking at a runner",
        "list_runner_managers" => "listing a runner's processes",
        "list_runner_jobs" => "listing a runner's jobs",
        "get_pipeline" => "looking at a pipeline",
        "list_pipeline_jobs" => "listing a pipeline's jobs",
        "update_runner" => "changing a runner",
        "token_self" => "looking at the access token",
        "version" => "asking for GitLab's version",
        "graphql_probe" => "trying GraphQL",
        other => other,
    }
}

fn wait_text(retry_after: Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |wait| format!(" (wait {} s)", wait.as_secs()))
}

/// What is known about a write that ended in an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was not carried out.
    Refused,
    /// GitLab said yes, but what else it said was lost.
    Accepted,
    /// Nobody knows.
    Unknown,
}

impl Error {
    /// Whether the same request may succeed later without anybody mending anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Setting(_) | Self::Tls(_) | Self::Scope(_) | Self::Shape { .. } | Self::TooLarge { .. } => {
                false
            }
            Self::Connect { .. }
            | Self::TooLate { .. }
            | Self::Timeout { .. }
            | Self::Lost { .. }
            | Self::Body { .. }
            | Self::RateLimited { .. }
            | Self::NotJson { .. }
            | Self::Graphql { .. }
            | Self::Incomplete { .. } => true,
            Self::Status { status, .. } => *status >= 500 || matches!(status, 408 | 409 | 425),
        }
    }

    /// The error and its sources in one line.
    pub fn chain(&self) -> String {
        crate::transport::chain(self)
    }

    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether GitLab itself says that this thing is not there. A bare 404 may be a proxy that found no GitLab.
    pub(super) fn says_not_found(&self, thing: &str) -> bool {
        match self {
            Self::Status { status: 404, message, .. } => {
                message.to_lowercase().contains(&format!("{thing} not found"))
            }
            _ => false,
        }
    }

    /// Read for a write only. 5xx is `Unknown`: a proxy gives it also when GitLab went on behind it.
    pub(super) fn fate(&self) -> Fate {
        match self {
            Self::Timeout { .. } | Self::Lost { .. } => Fate::Unknown,
            Self::Status { status, .. } if *status >= 500 => Fate::Unknown,
            Self::Body { .. } | Self::TooLarge { .. } | Self::NotJson { .. } | Self::Shape { .. } => {
                Fate::Accepted
            }
            Self::Setting(_)
            | Self::Tls(_)
            | Self::Connect { .. }
            | Self::TooLate { .. }
            | Self::Status { .. }
            | Self::RateLimited { .. }
            | Self::Graphql { .. }
            | Self::Incomplete { .. }
            | Self::Scope(_) => Fate::Refused,
        }
    }
}

/// The first `limit` characters on one line.
pub(super) fn excerpt(text: &str, limit: usize) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > limit * 4 {
            break;
        }
    }
    line.chars().take(limit).collect()
}

/// What the body of a refusal says, in any of GitLab's shapes: `message` as text, as an object of lists or as an
/// object with `error`; `error` with `error_description`; GraphQL's `errors`; or no JSON at all.
pub(super) fn message(body: &[u8]) -> String {
    let Ok(Value::Object(json)) = serde_json::from_slice::<Value>(body) else {
        let text = excerpt(&String::from_utf8_lossy(body), 200);
        return if text.is_empty() { "no text".to_owned() } else { text };
    };
    let parts: Vec<String> = ["message", "error", "error_description", "errors"]
        .iter()
        .filter_map(|key| json.get(*key))
        .map(flatten)
        .filter(|text| !text.is_empty())
        .collect();
    let text = if parts.is_empty() { Value::Object(json).to_string() } else { parts.join(": ") };
    excerpt(&text, 500)
}

fn flatten(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(flatten).collect::<Vec<_>>().join("; "),
        Value::Object(map) => map
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "locations" | "path" | "extensions"))
            .map(|(key, value)| match key.as_str() {
                "error" | "message" | "base" => flatten(value),
                key => format!("{key} {}", flatten(value)),
            })
            .collect::<Vec<_>>()
            .join("; "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every request of this module says in words what it is for.
    #[test]
    fn no_name_of_an_operation_is_shown_to_people() {
        let sources = [
            include_str!("check.rs"),
            include_str!("graphql.rs"),
            include_str!("in_flight.rs"),
            include_str!("rest.rs"),
            include_str!("write.rs"),
        ];
        let operation = regex::Regex::new(
            r#"(?:http\.get\(|send_json\(|operation: |ask\(|: &str = )"([a-z]+(?:_[a-z]+)+)""#,
        );
        let operation = operation.unwrap();
        let mut names: Vec<&str> = sources
            .iter()
            .flat_map(|text| operation.captures_iter(text))
            .map(|c| c.extract::<1>().1[0])
            .collect();
        names.sort_unstable();
        names.dedup();
        assert!(names.len() >= 9, "{names:?}");
        for name in names {
            assert_ne!(words(name), name);
        }
    }

    #[test]
    fn every_shape_of_a_refusal_is_readable() {
        for (body, text) in [
            (r#"{"message":"404 Runner Not Found"}"#, "404 Runner Not Found"),
            (
                r#"{"message":{"tags_list":["can not be empty","is odd"],"base":["x"]}}"#,
                "x; tags_list can not be empty; is odd",
            ),
            (r#"{"message":{"error":"Try again later."}}"#, "Try again later."),
            (r#"{"message":["a","b"]}"#, "a; b"),
            (r#"{"error":"status does not have a valid value"}"#, "status does not have a valid value"),
            (
                r#"{"error":"insufficient_scope","error_description":"More please.","scope":"api"}"#,
                "insufficient_scope: More please.",
            ),
            (r#"{"errors":[{"message":"Invalid token","path":["a"]}]}"#, "Invalid token"),
            (r#"{"detail":1}"#, r#"{"detail":1}"#),
            ("Retry later\n", "Retry later"),
            ("<html>\n  <h1>502</h1>", "<html> <h1>502</h1>"),
            ("", "no text"),
            ("[1]", "[1]"),
        ] {
            assert_eq!(message(body.as_bytes()), text, "{body}");
        }
        assert_eq!(message("ä".repeat(1000).as_bytes()).chars().count(), 200);
    }
}

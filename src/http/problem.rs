//! Errors as RFC 9457 problem documents.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{model::Holders, transport::chain};

/// A problem document: `application/problem+json`.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// The HTTP status.
    #[serde(serialize_with = "status")]
    pub status: StatusCode,
    /// The status in words.
    pub title: &'static str,
    /// What is wrong here, and the mend.
    pub detail: String,
    /// What the decision came to, for actions; `unknown` when the store may or may not have taken it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Box<str>>,
    /// The request that is recorded, and that no pass has judged yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<i64>,
    /// Who holds the fleets, when that is not whom the person expects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holders: Option<Box<Holders>>,
    /// How to prove who one is, with a 401.
    #[serde(skip)]
    pub challenge: &'static str,
    /// What to do about the gate that holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runbook: Option<Box<str>>,
}

fn status<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    /// A problem with its detail.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            title: status.canonical_reason().unwrap_or("Error"),
            detail: detail.into(),
            outcome: None,
            request: None,
            holders: None,
            challenge: "Bearer",
            runbook: None,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static(self.challenge));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<crate::store::Error> for Problem {
    /// The other side retries on 503, and nothing is lost; the cause is for the log.
    fn from(error: crate::store::Error) -> Self {
        if let crate::store::Error::Fenced(_) = &error {
            return Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("Only the leader takes this: {error}."),
            );
        }
        tracing::error!(error = %chain(&error), "the store failed");
        let unknown = matches!(error, crate::store::Error::Unknown);
        let detail = if unknown {
            "The store may or may not have taken this: look, and try again."
        } else {
            "The store could not take this; try again."
        };
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, detail);
        Self { outcome: unknown.then(|| "unknown".into()), ..problem }
    }
}

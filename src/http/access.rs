//! Who may do what. Closed by default.

use std::{fmt, net::IpAddr};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::{Peer, Problem, Server};
use crate::model::Gate;

/// The credentials, and the size of a webhook body.
pub struct Access {
    /// What Alertmanager sends. Without it, the webhook is taken from loopback only.
    pub webhook: Option<SecretString>,
    /// What people send to act. Without it, actions are refused.
    pub actions: Option<SecretString>,
    /// What people send to read. Without it, everybody may.
    pub reads: Option<SecretString>,
    /// The largest webhook body, in bytes.
    pub max_body: usize,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("max_body", &self.max_body).finish_non_exhaustive()
    }
}

/// Whether the request carries this Bearer token. The comparison takes the same time wherever they differ.
fn carries(headers: &HeaderMap, token: &SecretString) -> bool {
    let sent = headers.get(header::AUTHORIZATION).map_or(&b""[..], |v| v.as_bytes());
    let (scheme, sent) = sent.split_at(sent.len().min("Bearer ".len()));
    scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(sent.ct_eq(token.expose_secret().as_bytes()))
}

fn unauthorized(what: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, format!("The Bearer token for {what} is missing or wrong."))
}

/// Judges a webhook before its body is read.
pub(super) fn webhook(access: &Access, headers: &HeaderMap, peer: IpAddr) -> Result<(), Problem> {
    match &access.webhook {
        Some(token) if carries(headers, token) => Ok(()),
        Some(_) => Err(unauthorized("the webhook")),
        None if peer.to_canonical().is_loopback() => Ok(()),
        None => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "Without a credential the webhook is taken from loopback only: set webhook.token_file here and \
             http_config.authorization.credentials_file in Alertmanager.",
        )),
    }
}

/// Lets reads pass with their token, or with the token for actions.
pub(super) async fn reads(State(server): State<Server>, request: Request, next: Next) -> Response {
    let access = server.access.borrow().clone();
    let allowed = access.reads.as_ref().is_none_or(|token| {
        carries(request.headers(), token)
            || access.actions.as_ref().is_some_and(|t| carries(request.headers(), t))
    });
    if allowed { next.run(request).await } else { unauthorized("reading").into_response() }
}

/// Lets actions pass with their token. SIGHUP reloads without one.
pub(super) async fn actions(State(server): State<Server>, _: Peer, request: Request, next: Next) -> Response {
    let access = server.access.borrow().clone();
    match &access.actions {
        Some(token) if carries(request.headers(), token) => next.run(request).await,
        Some(_) => unauthorized("actions").into_response(),
        None => Problem::new(
            StatusCode::FORBIDDEN,
            "Actions are refused without a credential: set api.token_file.",
        )
        .into_response(),
    }
}

/// Refuses what only the leader does, and says who that is.
pub(super) fn leads(server: &Server) -> Result<(), Problem> {
    let leadership = server.store.lease().leadership();
    if leadership.leads() {
        return Ok(());
    }
    let problem = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        format!("Only the leader takes this, and {leadership}. Ask the leader, or try again."),
    );
    Err(Problem { outcome: Some(format!("held:{}", Gate::Leader)), ..problem })
}

/// Lets actions pass at the leader alone.
pub(super) async fn leader(State(server): State<Server>, request: Request, next: Next) -> Response {
    match leads(&server) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    fn access(webhook: Option<&str>) -> Access {
        Access { webhook: webhook.map(SecretString::from), actions: None, reads: None, max_body: 1 }
    }

    #[test]
    fn the_webhook_is_closed_by_default() {
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
        let other: IpAddr = "192.0.2.1".parse().unwrap();
        let none = HeaderMap::new();
        assert!(webhook(&access(None), &none, loopback).is_ok());
        assert!(webhook(&access(None), &none, mapped).is_ok());
        assert_eq!(webhook(&access(None), &none, other).unwrap_err().status, StatusCode::FORBIDDEN);
        for wrong in ["Bearer secre", "Bearer secrets", "Basic secret", "secret", "Bearer", ""] {
            let refused = webhook(&access(Some("secret")), &headers(wrong), loopback).unwrap_err();
            assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{wrong:?}");
        }
        assert!(webhook(&access(Some("secret")), &headers("Bearer secret"), other).is_ok());
        assert!(webhook(&access(Some("secret")), &headers("bearer secret"), other).is_ok());
    }

    #[test]
    fn tokens_are_not_printed() {
        assert_eq!(format!("{:?}", access(Some("secret"))), "Access { max_body: 1, .. }");
    }
}

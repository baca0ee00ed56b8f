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
use crate::web::Login;

/// A Bearer token as it is now.
#[derive(Clone)]
pub enum Token {
    /// What must be sent.
    Known(SecretString),
    /// Its file cannot be read: nothing is right.
    Unreadable,
}

impl Token {
    /// A token from the configuration.
    pub fn known(token: Option<&SecretString>) -> Option<Self> {
        token.map(|token| Self::Known(token.clone()))
    }
}

impl PartialEq for Token {
    /// Whether both are the same; in constant time for tokens of one length.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Known(one), Self::Known(other)) => {
                one.expose_secret().as_bytes().ct_eq(other.expose_secret().as_bytes()).into()
            }
            (Self::Unreadable, Self::Unreadable) => true,
            _ => false,
        }
    }
}

/// What the handlers need of the configuration: the credentials, the size of a webhook body, where the runbook is.
#[derive(Clone)]
pub struct Access {
    /// What Alertmanager sends. Without it, the webhook is taken from loopback only.
    pub webhook: Option<Token>,
    /// What people send to act. Without it, actions are refused.
    pub actions: Option<Token>,
    /// What people send to read. Without it, everybody may.
    pub reads: Option<Token>,
    /// The largest webhook body, in bytes.
    pub max_body: usize,
    /// The page with a section for each gate.
    pub runbook_url: String,
}

impl Access {
    /// Where it says what a gate means and what to do.
    pub fn runbook(&self, gate: Gate) -> String {
        format!("{}#{gate}", self.runbook_url)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("max_body", &self.max_body).finish_non_exhaustive()
    }
}

impl Access {
    /// Whether the request carries the token to read, or to act.
    fn may_read(&self, headers: &HeaderMap) -> bool {
        [&self.reads, &self.actions].into_iter().flatten().any(|token| carries(headers, token))
    }

    /// Whether the request carries the token to act.
    pub(super) fn may_act(&self, headers: &HeaderMap) -> bool {
        self.actions.as_ref().is_some_and(|token| carries(headers, token))
    }

    /// Whether a token is that of something else, too, as after a rotation gone wrong: then it opens neither the webhook
    /// nor actions.
    fn is_shared(&self, token: &Token) -> bool {
        let all = [&self.webhook, &self.actions, &self.reads].into_iter().flatten();
        matches!(token, Token::Known(_)) && all.filter(|other| *other == token).count() > 1
    }
}

/// Whether the request carries this Bearer token. The comparison takes the same time wherever they differ.
fn carries(headers: &HeaderMap, token: &Token) -> bool {
    let Token::Known(token) = token else { return false };
    let sent = headers.get(header::AUTHORIZATION).map_or(&b""[..], |v| v.as_bytes());
    let (scheme, sent) = sent.split_at(sent.len().min("Bearer ".len()));
    scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(sent.ct_eq(token.expose_secret().as_bytes()))
}

fn unreadable(key: &str) -> Problem {
    let what = format!("The file of {key} cannot be read; see the log. Try again once it is mended.");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, what)
}

fn shared(key: &str) -> Problem {
    let what = format!("The token of {key} is that of another key, too: give each a token of its own.");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, what)
}

fn unauthorized(what: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, format!("The Bearer token for {what} is missing or wrong."))
}

/// Judges user and password, where a Bearer token is not what is asked for.
async fn user(server: &Server, headers: &HeaderMap) -> Result<(), Problem> {
    match server.security.login(headers).await {
        None | Some(Login::Right) => Ok(()),
        Some(Login::Missing | Login::Wrong) => {
            let what = "User and password are missing or wrong.";
            Err(Problem { challenge: "Basic", ..Problem::new(StatusCode::UNAUTHORIZED, what) })
        }
        Some(Login::Busy) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many logins are being checked; try again.",
        )),
    }
}

/// With users, everything that has no token of its own is for them, and for those who may read.
pub(super) async fn users(State(server): State<Server>, request: Request, next: Next) -> Response {
    let access = server.access.borrow().clone();
    let headers = request.headers();
    if access.may_read(headers) {
        return next.run(request).await;
    }
    match user(&server, headers).await {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Judges a webhook before its body is read. Users do not open it.
pub(super) async fn webhook(server: &Server, headers: &HeaderMap, peer: IpAddr) -> Result<(), Problem> {
    let access = server.access.borrow().clone();
    token(&access, headers, peer)?;
    if access.webhook.is_none() { user(server, headers).await } else { Ok(()) }
}

fn token(access: &Access, headers: &HeaderMap, peer: IpAddr) -> Result<(), Problem> {
    match &access.webhook {
        Some(token) if access.is_shared(token) => Err(shared("webhook.token_file")),
        Some(token) if carries(headers, token) => Ok(()),
        // Alertmanager comes again within the flush: a token may be on its way from one file to the next.
        Some(Token::Unreadable) => Err(unreadable("webhook.token_file")),
        Some(_) => Err(unauthorized("the webhook")),
        None if peer.to_canonical().is_loopback() => Ok(()),
        None => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "Without a credential the webhook is taken from loopback only: set webhook.token_file here and \
             http_config.authorization.credentials_file in Alertmanager.",
        )),
    }
}

/// Lets reads pass with their token, with the token for actions, and those of users: [`users`] was before.
pub(super) async fn reads(State(server): State<Server>, request: Request, next: Next) -> Response {
    let access = server.access.borrow().clone();
    let allowed = access.reads.is_none() || access.may_read(request.headers()) || server.security.has_users();
    if allowed { next.run(request).await } else { unauthorized("reading").into_response() }
}

/// Lets actions pass with their token. SIGHUP reloads without one.
pub(super) async fn actions(State(server): State<Server>, _: Peer, request: Request, next: Next) -> Response {
    let access = server.access.borrow().clone();
    match &access.actions {
        Some(token) if access.is_shared(token) => shared("api.token_file").into_response(),
        Some(token) if carries(request.headers(), token) => next.run(request).await,
        Some(Token::Unreadable) => unreadable("api.token_file").into_response(),
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
    Err(Problem { outcome: Some(format!("held:{}", Gate::Leader).into()), ..problem })
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
        Access {
            webhook: webhook.map(|token| Token::Known(token.into())),
            actions: None,
            reads: None,
            max_body: 1,
            runbook_url: String::new(),
        }
    }

    #[test]
    fn the_webhook_is_closed_by_default() {
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
        let other: IpAddr = "192.0.2.1".parse().unwrap();
        let none = HeaderMap::new();
        assert!(token(&access(None), &none, loopback).is_ok());
        assert!(token(&access(None), &none, mapped).is_ok());
        assert_eq!(token(&access(None), &none, other).unwrap_err().status, StatusCode::FORBIDDEN);
        for wrong in ["Bearer secre", "Bearer secrets", "Basic secret", "secret", "Bearer", ""] {
            let refused = token(&access(Some("secret")), &headers(wrong), loopback).unwrap_err();
            assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{wrong:?}");
        }
        assert!(token(&access(Some("secret")), &headers("Bearer secret"), other).is_ok());
        assert!(token(&access(Some("secret")), &headers("bearer secret"), other).is_ok());
    }

    #[test]
    fn a_token_of_two_keys_opens_nothing() {
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        let mut access = access(Some("secret"));
        access.reads = Some(Token::Known("secret".into()));
        let refused = token(&access, &headers("Bearer secret"), loopback).unwrap_err();
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        access.reads = Some(Token::Unreadable);
        assert!(token(&access, &headers("Bearer secret"), loopback).is_ok());
    }

    #[test]
    fn tokens_are_not_printed() {
        assert_eq!(format!("{:?}", access(Some("secret"))), "Access { max_body: 1, .. }");
    }
}

//! Why the API could not be read, in one closed word for metrics and one sentence for people.

use std::io;

use kube::{client::AuthError, core::Status, runtime::watcher};

use super::line::{Late, Quiet};
use crate::kubernetes::Kind;

/// Characters of what a plugin says for people.
const SAID: usize = 300;

/// What was asked of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// A page of a list.
    List,
    /// What changes from now on.
    Watch,
}

impl Verb {
    /// The word, as in a role.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Watch => "watch",
        }
    }
}

/// Why the API could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The role lacks this verb.
    Forbidden(Verb),
    /// The credentials are not taken.
    Unauthorized,
    /// There is nothing at this path: the CRD is not installed, or in none of the known versions.
    NotFound,
    /// The version to go on from is forgotten: everything is listed again. Nothing is wrong.
    Gone,
    /// The server asks for patience.
    TooManyRequests,
    /// The server failed.
    ServerError,
    /// The server refused for another reason.
    Refused,
    /// No answer in time.
    Timeout,
    /// No connection, or it broke.
    Connection,
    /// The answer was not understood.
    Unreadable,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::Forbidden(Verb::List),
        Self::Forbidden(Verb::Watch),
        Self::Unauthorized,
        Self::NotFound,
        Self::Gone,
        Self::TooManyRequests,
        Self::ServerError,
        Self::Refused,
        Self::Timeout,
        Self::Connection,
        Self::Unreadable,
    ];

    /// The word, as in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forbidden(Verb::List) => "list_forbidden",
            Self::Forbidden(Verb::Watch) => "watch_forbidden",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not_found",
            Self::Gone => "gone",
            Self::TooManyRequests => "too_many_requests",
            Self::ServerError => "server_error",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Unreadable => "unreadable",
        }
    }
}

/// One failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Why, in one word.
    pub reason: Reason,
    /// Why, for people; with the mend where there is one.
    pub message: String,
}

impl Failure {
    /// What a watcher's error means.
    pub(super) fn of_watcher(error: &watcher::Error, kind: Kind) -> Self {
        match error {
            watcher::Error::InitialListFailed(error) => Self::of(error, Verb::List, kind),
            watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
                Self::of(error, Verb::Watch, kind)
            }
            watcher::Error::WatchError(status) => Self::of_status(status, Verb::Watch, kind),
            watcher::Error::NoResourceVersion => Self { reason: Reason::Unreadable, message: chain(error) },
        }
    }

    /// What a client's error means.
    fn of(error: &kube::Error, verb: Verb, kind: Kind) -> Self {
        if let Some(late) = below(error).find_map(|error| error.downcast_ref::<Late>()) {
            return Self { reason: Reason::Timeout, message: late.to_string() };
        }
        match error {
            kube::Error::Api(status) => Self::of_status(status, verb, kind),
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => {
                Self { reason: Reason::Unreadable, message: chain(error) }
            }
            _ if no_credentials(error) => Self { reason: Reason::Unauthorized, message: words(error) },
            _ => Self { reason: Reason::Connection, message: chain(error) },
        }
    }

    /// What a status that the API answered means.
    pub(super) fn of_status(status: &Status, verb: Verb, kind: Kind) -> Self {
        let resource = resource(kind);
        let verb_word = verb.as_str();
        let (reason, message) = match status.code {
            403 => (
                Reason::Forbidden(verb),
                format!(
                    "may not {verb_word} {resource}: give its role the verb \"{verb_word}\" on it ({})",
                    status.message
                ),
            ),
            401 => (Reason::Unauthorized, format!("the credentials are not taken: {}", said(status))),
            404 => (Reason::NotFound, format!("{resource} is not served: {}", said(status))),
            410 => (Reason::Gone, said(status).to_owned()),
            429 => (Reason::TooManyRequests, said(status).to_owned()),
            500.. => (Reason::ServerError, format!("{} {}", status.code, said(status))),
            code => (Reason::Refused, format!("{code} {}", said(status))),
        };
        Self { reason, message }
    }
}

fn said(status: &Status) -> &str {
    if status.message.is_empty() { &status.reason } else { &status.message }
}

/// The resource, as in a role: `pods`, `applications.argoproj.io`.
pub(super) fn resource(kind: Kind) -> String {
    match kind.group() {
        "" => kind.plural().to_owned(),
        group => format!("{}.{group}", kind.plural()),
    }
}

/// A client's error in words. What a plugin for credentials was given, and what it wrote to its standard output, are none of
/// them: both may be secret. What it says on standard error is for people.
pub(super) fn words(error: &kube::Error) -> String {
    let auth = match error {
        kube::Error::Auth(auth) => Some(auth),
        _ => below(error).find_map(|error| error.downcast_ref::<AuthError>()),
    };
    match auth {
        Some(AuthError::AuthExecRun { out, .. }) => {
            let said: String = String::from_utf8_lossy(&out.stderr).trim().chars().take(SAID).collect();
            format!("the kubeconfig's plugin for credentials ended with {}: {said}", out.status)
        }
        Some(AuthError::AuthExecParse(_)) => {
            "what the kubeconfig's plugin for credentials printed is no ExecCredential".to_owned()
        }
        _ => chain(error),
    }
}

/// Whether nothing was asked, because there was nothing to show.
fn no_credentials(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Auth(_)) || below(error).any(|error| error.is::<AuthError>())
}

/// Why the own probe of the API failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeReason {
    /// There are no credentials to show: a plugin that makes them failed. The API was not asked.
    Credentials,
    /// The API answers, and does not take the credentials.
    Unauthorized,
    /// The API answers, and the role lacks the right.
    Forbidden,
    /// Whoever answers has a certificate that is not trusted.
    Certificate,
    /// The server asks for patience.
    TooManyRequests,
    /// The server failed, or is not ready.
    ServerError,
    /// The server refused for another reason.
    Refused,
    /// No answer in time.
    Timeout,
    /// No connection, or it broke.
    Connection,
}

impl ProbeReason {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Credentials,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Certificate,
        Self::TooManyRequests,
        Self::ServerError,
        Self::Refused,
        Self::Timeout,
        Self::Connection,
    ];

    /// The word, as in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Certificate => "certificate",
            Self::TooManyRequests => "too_many_requests",
            Self::ServerError => "server_error",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
        }
    }
}

/// One failure of the probe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProbeFailure {
    /// Why, in one word.
    pub reason: ProbeReason,
    /// Why, for people; with the mend where there is one.
    pub message: String,
}

impl ProbeFailure {
    /// No answer within the limit.
    pub(super) fn late(limit: std::time::Duration) -> Self {
        Self { reason: ProbeReason::Timeout, message: format!("no answer within {} s", limit.as_secs_f64()) }
    }

    /// What the client's error means, of a `GET` of this path.
    pub(super) fn of(error: &kube::Error, path: &str) -> Self {
        let untrusted = |error: &(dyn std::error::Error + 'static)| {
            matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
        };
        match error {
            kube::Error::Api(status) => Self::of_status(status, path),
            _ if no_credentials(error) => Self { reason: ProbeReason::Credentials, message: words(error) },
            _ if below(error).any(untrusted) => {
                Self { reason: ProbeReason::Certificate, message: chain(error) }
            }
            _ => Self { reason: ProbeReason::Connection, message: chain(error) },
        }
    }

    fn of_status(status: &Status, path: &str) -> Self {
        let (reason, message) = match status.code {
            401 => (ProbeReason::Unauthorized, format!("the credentials are not taken: {}", said(status))),
            403 => (
                ProbeReason::Forbidden,
                format!(
                    "may not get {path}: give its role the verb \"get\" on the URL {path} ({})",
                    said(status)
                ),
            ),
            429 => (ProbeReason::TooManyRequests, said(status).to_owned()),
            500.. => (ProbeReason::ServerError, format!("{} {}", status.code, said(status))),
            code => (ProbeReason::Refused, format!("{code} {}", said(status))),
        };
        Self { reason, message }
    }
}

/// The error and what is below it. What an I/O error carries is no source of it.
fn below<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        carried.map_or_else(|| error.source(), |carried| Some(carried))
    })
}

/// A watch brought nothing: a list must tell.
pub(super) fn is_quiet(error: &watcher::Error) -> bool {
    below(error).any(|error| error.is::<Quiet>())
}

/// The error and what is below it, in words. The client's errors repeat what is below them; it is said once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(below) = source {
        let more = below.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = below.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, message: &str) -> Status {
        Status { code, message: message.to_owned(), ..Status::success() }
    }

    #[test]
    fn a_missing_right_names_the_verb_and_the_resource() {
        let failure = Failure::of_status(&status(403, "no"), Verb::Watch, Kind::Application);
        assert_eq!(failure.reason.as_str(), "watch_forbidden");
        assert_eq!(
            failure.to_string(),
            "may not watch applications.argoproj.io: give its role the verb \"watch\" on it (no)"
        );
        let failure = Failure::of_status(&status(403, "no"), Verb::List, Kind::Pod);
        assert!(failure.to_string().starts_with("may not list pods:"), "{failure}");
    }

    #[test]
    fn every_status_has_a_reason_and_every_reason_a_word_of_its_own() {
        for (code, reason) in [
            (401, Reason::Unauthorized),
            (404, Reason::NotFound),
            (410, Reason::Gone),
            (422, Reason::Refused),
            (429, Reason::TooManyRequests),
            (500, Reason::ServerError),
            (503, Reason::ServerError),
        ] {
            assert_eq!(Failure::of_status(&status(code, "x"), Verb::List, Kind::Pod).reason, reason);
        }
        let words: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        for (code, reason) in [
            (401, ProbeReason::Unauthorized),
            (403, ProbeReason::Forbidden),
            (404, ProbeReason::Refused),
            (429, ProbeReason::TooManyRequests),
            (500, ProbeReason::ServerError),
            (503, ProbeReason::ServerError),
        ] {
            assert_eq!(ProbeFailure::of_status(&status(code, "x"), "/readyz").reason, reason);
        }
        let words: std::collections::BTreeSet<_> = ProbeReason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(words.len(), ProbeReason::ALL.len());
    }
}

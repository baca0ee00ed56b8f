//! Why the API could not be read, in one closed word for metrics and one sentence for people.

use kube::{core::Status, runtime::watcher};

use super::line::Late;
use crate::kubernetes::Kind;

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
            kube::Error::Auth(_) => Self { reason: Reason::Unauthorized, message: chain(error) },
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

/// The error and what is below it.
fn below<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
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
    }
}

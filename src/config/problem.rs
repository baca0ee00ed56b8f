//! What is wrong with a configuration, all of it at once.

use std::fmt;

/// One thing that is wrong, or risky, and the mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key (`fleets.rnd.pools.green.dns`), or the file when it cannot be read at all.
    pub path: String,
    /// What is wrong. Never the value of a secret.
    pub wrong: String,
    /// What to do about it.
    pub mend: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.path, self.wrong, self.mend)
    }
}

/// Everything that is wrong, one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    pub(super) fn one(path: impl Into<String>, wrong: impl Into<String>, mend: impl Into<String>) -> Self {
        Self(vec![Problem { path: path.into(), wrong: wrong.into(), mend: mend.into() }])
    }
}

/// What a value's reader says about a value it cannot take.
#[derive(Debug)]
pub(super) struct Complaint {
    pub(super) wrong: String,
    pub(super) mend: String,
}

impl Complaint {
    pub(super) fn new(wrong: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { wrong: wrong.into(), mend: mend.into() }
    }
}

//! What a check of the surroundings found.

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Works, and is risky.
    Warning,
    /// Does not work.
    Error,
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// What mends it; empty when all is well.
    pub mend: String,
}

impl Finding {
    /// A finding with its mend.
    pub fn new(severity: Severity, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { severity, what: what.into(), mend: mend.into() }
    }

    /// All is well.
    pub fn ok(what: impl Into<String>) -> Self {
        Self::new(Severity::Ok, what, "")
    }
}

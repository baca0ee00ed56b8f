//! Pipelines that are under way.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{RunnerId, Tag};

/// A pipeline that is under way and has jobs on a fleet's routing tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pipeline {
    /// Its project's number in GitLab.
    pub project: u64,
    /// Its number in GitLab.
    pub id: u64,
}

/// Where pipelines in flight are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draining {
    /// The routing tag.
    pub tag: Tag,
    /// The runner records that would lose it.
    pub runners: Vec<RunnerId>,
    /// How long ago a job may have been created that no runner runs now.
    pub look_back: SignedDuration,
}

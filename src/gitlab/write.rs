//! Moving one tag: read, compare, write the whole list, read back. GitLab has no compare-and-set on runners.

use reqwest::Method;
use serde::Serialize;

use super::{Client, Error, error::Fate, rest::Detail};
use crate::model::{BootTime, StepOutcome, TagChange, TagStep};

/// GitLab's limit, checked whenever the list changes.
const MOST_TAGS: usize = 50;
/// Steps on one record wait for each other, so that this process never overwrites itself.
pub(super) const LOCKS: usize = 32;

#[derive(Serialize)]
struct Update<'a> {
    tag_list: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<bool>,
}

impl Client {
    /// Takes one step, unless the record already is as wanted. Every other tag of the record stays.
    ///
    /// A write whose answer did not come is `Unknown`. It is never repeated here: the next look at the world shows
    /// what came of it.
    pub async fn apply(&self, step: &TagStep) -> StepOutcome {
        self.apply_before(step, None).await
    }

    /// The same, but nothing is sent once the deadline has passed.
    pub async fn apply_before(&self, step: &TagStep, deadline: Option<BootTime>) -> StepOutcome {
        let _turn = self.locks[(step.runner.0 % LOCKS as u64) as usize].lock().await;
        let before = match self.detail(step.runner).await {
            Ok(detail) => detail,
            Err(error) => return failed(&error),
        };
        if is_as_wanted(&before, step) {
            return StepOutcome::Done;
        }
        let tag_list = match wanted_tags(&before, step) {
            Ok(tags) => tags,
            Err(why) => return StepOutcome::Failed { why, transient: false },
        };

        // Unpausing, too, goes this way: of GitLab's ways it is the one that wakes a runner in a long poll.
        let update = Update { tag_list: &tag_list, paused: step.paused };
        let confirmed = match self.put(step, &update, deadline).await {
            Ok(_) => true,
            Err(error) => match error.fate() {
                Fate::Refused => return failed(&error),
                Fate::Unknown => return StepOutcome::Unknown(error.chain()),
                Fate::Accepted => {
                    tracing::debug!(error = error.chain(), "reading back what became of the write");
                    false
                }
            },
        };

        match self.detail(step.runner).await {
            Ok(after) if is_as_wanted(&after, step) => StepOutcome::Done,
            Ok(_) if confirmed => StepOutcome::Failed {
                why: format!(
                    "GitLab accepted the change of runner {} and does not show it: somebody else wrote in between",
                    step.runner
                ),
                transient: true,
            },
            Ok(_) => StepOutcome::Unknown(format!(
                "the answer to the change of runner {} was lost, and GitLab does not show the change",
                step.runner
            )),
            Err(error) => StepOutcome::Unknown(format!(
                "runner {} was changed, and reading back failed: {}",
                step.runner,
                error.chain()
            )),
        }
    }

    async fn put(
        &self,
        step: &TagStep,
        update: &Update<'_>,
        deadline: Option<BootTime>,
    ) -> Result<Detail, Error> {
        let segments = ["v4", "runners", &step.runner.to_string()];
        self.http.send_json("update_runner", Method::PUT, &segments, update, deadline).await?.json()
    }
}

fn failed(error: &Error) -> StepOutcome {
    StepOutcome::Failed { why: error.chain(), transient: error.is_transient() }
}

fn carries(detail: &Detail, step: &TagStep) -> bool {
    detail.tag_list.iter().any(|tag| tag == step.tag.as_str())
}

fn is_as_wanted(detail: &Detail, step: &TagStep) -> bool {
    carries(detail, step) == (step.change == TagChange::Add)
        && step.paused.is_none_or(|paused| paused == detail.paused)
}

/// The whole list to write, or why GitLab would refuse it.
fn wanted_tags(before: &Detail, step: &TagStep) -> Result<Vec<String>, String> {
    let TagStep { runner, tag, .. } = step;
    let mut tags = before.tag_list.clone();
    match step.change {
        TagChange::Add if !carries(before, step) => tags.push(tag.to_string()),
        TagChange::Add => return Ok(tags),
        TagChange::Remove if !carries(before, step) => return Ok(tags),
        TagChange::Remove => tags.retain(|t| t != tag.as_str()),
    }
    if tags.len() > MOST_TAGS {
        return Err(format!(
            "runner {runner} would carry {} tags, and GitLab allows {MOST_TAGS}: remove another tag of it",
            tags.len()
        ));
    }
    if tags.is_empty() && !before.run_untagged {
        return Err(format!(
            "{tag} is the only tag of runner {runner}, and GitLab keeps no runner without tags that takes no untagged \
             jobs: give it a home tag"
        ));
    }
    Ok(tags)
}

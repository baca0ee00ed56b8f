//! Moving one tag: read, compare, write the whole list, read back. GitLab has no compare-and-set on runners.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Client, Error, Reply,
    error::Fate,
    rest::{Detail, READ},
};
use crate::model::{BootTime, RunnerId, StepOutcome, TagChange, TagStep};

const WRITE: &str = "update_runner";
/// GitLab's limit, checked whenever the list changes.
const MOST_TAGS: usize = 50;
/// Steps on one record wait for each other, so that this process never overwrites itself.
pub(super) const LOCKS: usize = 32;

/// What a change asks of GitLab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// `GET /runners/:id`.
    Read(RunnerId),
    /// `PUT /runners/:id` with this body. Unpausing, too, goes this way: of GitLab's ways it is the one that wakes a
    /// runner in a long poll.
    Write(RunnerId, Value),
}

impl Ask {
    /// What the request is called in metrics and errors.
    pub fn operation(&self) -> &'static str {
        match self {
            Self::Read(_) => READ,
            Self::Write(..) => WRITE,
        }
    }
}

/// What comes after an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Another request.
    Ask(Ask),
    /// Nothing: this came of it.
    End(StepOutcome),
}

/// One change of one record, request by request: read, write the whole list, read back. Who sends is not its business.
///
/// A write whose answer did not come is `Unknown`. It is never repeated here: the next look at the world shows what came
/// of it.
#[derive(Debug)]
pub struct Change<'a> {
    step: &'a TagStep,
    stage: Stage,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Read,
    Written,
    /// Whether GitLab's answer to the write was understood.
    ReadBack {
        confirmed: bool,
    },
}

impl<'a> Change<'a> {
    /// The change that a step is, and its first request.
    pub fn new(step: &'a TagStep) -> (Self, Ask) {
        (Self { step, stage: Stage::Read }, Ask::Read(step.runner))
    }

    /// What is to be done now that this was answered.
    pub fn heard(&mut self, answer: Result<Reply, Error>) -> Next {
        let detail = answer.and_then(|reply| reply.json::<Detail>());
        let runner = self.step.runner;
        match self.stage {
            Stage::Read => match detail {
                Err(error) => Next::End(failed(&error)),
                Ok(before) if is_as_wanted(&before, self.step) => Next::End(StepOutcome::Done),
                Ok(before) => match wanted_tags(&before, self.step) {
                    Err(why) => Next::End(StepOutcome::Failed { why, transient: false }),
                    Ok(tags) => {
                        self.stage = Stage::Written;
                        let mut update = json!({ "tag_list": tags });
                        if let Some(paused) = self.step.paused {
                            update["paused"] = paused.into();
                        }
                        Next::Ask(Ask::Write(runner, update))
                    }
                },
            },
            Stage::Written => {
                let confirmed = match detail {
                    Ok(_) => true,
                    Err(error) => match error.fate() {
                        Fate::Refused => return Next::End(failed(&error)),
                        Fate::Unknown => return Next::End(StepOutcome::Unknown(error.chain())),
                        Fate::Accepted => {
                            tracing::debug!(error = error.chain(), "reading back what became of the write");
                            false
                        }
                    },
                };
                self.stage = Stage::ReadBack { confirmed };
                Next::Ask(Ask::Read(runner))
            }
            Stage::ReadBack { confirmed } => Next::End(match detail {
                Ok(after) if is_as_wanted(&after, self.step) => StepOutcome::Done,
                Ok(_) if confirmed => StepOutcome::Failed {
                    why: format!(
                        "GitLab accepted the change of runner {runner} and does not show it: somebody else wrote in between"
                    ),
                    transient: true,
                },
                Ok(_) => StepOutcome::Unknown(format!(
                    "the answer to the change of runner {runner} was lost, and GitLab does not show the change"
                )),
                Err(error) => StepOutcome::Unknown(format!(
                    "runner {runner} was changed, and reading back failed: {}",
                    error.chain()
                )),
            }),
        }
    }
}

impl Client {
    /// Takes one step, unless the record already is as wanted. Every other tag of the record stays.
    pub async fn apply(&self, step: &TagStep) -> StepOutcome {
        self.apply_before(step, None).await
    }

    /// The same, but nothing is sent once the deadline has passed.
    pub async fn apply_before(&self, step: &TagStep, deadline: Option<BootTime>) -> StepOutcome {
        let _turn = self.locks[(step.runner.0 % LOCKS as u64) as usize].lock().await;
        let (mut change, mut ask) = Change::new(step);
        loop {
            let answer = match &ask {
                Ask::Read(runner) => self.record(*runner).await,
                Ask::Write(runner, update) => {
                    let segments = ["v4", "runners", &runner.to_string()];
                    self.http.send_json(WRITE, Method::PUT, &segments, update, deadline).await
                }
            };
            match change.heard(answer) {
                Next::Ask(next) => ask = next,
                Next::End(outcome) => return outcome,
            }
        }
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

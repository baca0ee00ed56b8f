//! GitLab as it answers: the requests are those of the product, and the product reads the answers.

use std::io;

use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use serde_json::{Value, json};

use super::{SimRunner, State, WriteFault};
use crate::{
    gitlab::{Ask, Change, Error, Next, Reply, Scope, Wanted, read_runner},
    model::{Draining, Pipeline, Runner, RunnerId, Seen, StepOutcome, Tag, TagStep, Topology},
};

/// GitLab takes no more tags on one runner.
const MOST_TAGS: usize = 50;
const LIST: &str = "list_runners";

/// How GitLab says that there were too many requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RateLimit {
    /// In plain text, and how long to wait.
    Text,
    /// In JSON, and not for how long.
    Json,
    /// With a page, by something before GitLab.
    Html,
}

/// A person's change of a runner's tags at a certain step: after Switchyard's look, before its step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// How many steps from now.
    pub step: u32,
    /// Whose.
    pub runner: RunnerId,
    /// Which.
    pub tag: Tag,
    /// Given, or taken away.
    pub given: bool,
}

impl SimRunner {
    /// Gives it a tag in GitLab, or takes it away.
    pub fn edit_tag(&mut self, tag: &Tag, given: bool) {
        if given {
            self.record.tags.insert(tag.clone());
        } else {
            self.record.tags.remove(tag);
        }
    }

    /// The record as REST shows it.
    fn body(&self) -> Vec<u8> {
        body_of(&self.record, self.run_untagged)
    }
}

fn body_of(record: &Runner, run_untagged: bool) -> Vec<u8> {
    let body = json!({
        "id": record.id.0,
        "description": record.description,
        "paused": record.paused,
        "tag_list": record.tags,
        "run_untagged": run_untagged,
        "contacted_at": record.contacted_at,
    });
    body.to_string().into_bytes()
}

fn answer(operation: &'static str, status: u16, body: impl Into<Vec<u8>>) -> Result<Reply, Error> {
    Reply::new(operation, status, HeaderMap::new(), body.into())
}

/// How a write that meets this fault is answered.
fn faulty(operation: &'static str, fault: WriteFault) -> Result<Reply, Error> {
    let html = |what: &str| {
        format!("<html>\n<head><title>{what}</title></head>\n<body><h1>{what}</h1></body>\n</html>")
    };
    match fault {
        WriteFault::TimeoutAfterCommit => Err(Error::Timeout { operation }),
        WriteFault::LostReply | WriteFault::LostRequest => {
            Err(Error::Lost { operation, source: io::Error::from(io::ErrorKind::ConnectionReset).into() })
        }
        WriteFault::Refused => answer(operation, 403, r#"{"message":"403 Forbidden - No access granted"}"#),
        WriteFault::RefusedInFields => answer(
            operation,
            400,
            r#"{"message":{"maintenance_note":["is too long"],"tags_list":["is reserved","is odd"]}}"#,
        ),
        WriteFault::RefusedInHtml => answer(operation, 403, html("403 Forbidden")),
        WriteFault::HtmlInstead => answer(operation, 200, html("Sign in")),
        WriteFault::Error => answer(operation, 502, html("502 Bad Gateway")),
    }
}

impl State {
    /// Why nobody gets anything else from GitLab, if so.
    fn blind(&self, operation: &'static str) -> Result<(), Error> {
        if self.gitlab.down {
            let source = io::Error::from(io::ErrorKind::ConnectionRefused).into();
            return Err(Error::Connect { operation, source });
        }
        let (body, wait) = match self.gitlab.rate_limit {
            None => return Ok(()),
            Some(RateLimit::Text) => ("Retry later\n", Some("60")),
            Some(RateLimit::Json) => {
                let body = r#"{"message":{"error":"This endpoint has been requested too many times. Try again later."}}"#;
                (body, None)
            }
            Some(RateLimit::Html) => ("<html><body><h1>429 Too Many Requests</h1></body></html>", None),
        };
        let wait = wait.map(|wait| (RETRY_AFTER, HeaderValue::from_static(wait)));
        Reply::new(operation, 429, wait.into_iter().collect(), body.into()).map(drop)
    }

    /// What a look sees in GitLab.
    pub(super) fn seen_runners(&mut self, topology: &Topology) -> Seen<Vec<Runner>> {
        self.read_runners(topology).map_or_else(|error| Seen::Unknown(error.to_string()), Seen::Known)
    }

    fn read_runners(&mut self, topology: &Topology) -> Result<Vec<Runner>, Error> {
        self.blind(LIST)?;
        let records = self.gitlab.stale.clone().unwrap_or_else(|| self.records());
        if !self.gitlab.graphql_refused {
            self.sighted.note(&records);
            return Ok(records);
        }
        // REST's rows say who there is, and no more; those of a group leave out what is below it.
        let wanted = Wanted::of(topology);
        let below = |id: RunnerId| self.runners.iter().any(|r| r.record.id == id && r.below_the_group);
        let listed = records.iter().filter(|r| wanted.selects(r) && !below(r.id)).map(|r| r.id);
        let scope = Scope::Group("company".to_owned());
        let ids = self.sighted.to_ask(&scope, &wanted, listed)?;
        let mut runners = Vec::new();
        for record in records.iter().filter(|r| ids.contains(&r.id)) {
            let mut runner = read_runner(&body_of(record, true))?;
            runner.managers.clone_from(&record.managers);
            runners.extend(wanted.selects(&runner).then_some(runner));
        }
        Ok(runners)
    }

    /// The process that looks is a new one: what it knew of GitLab is gone.
    pub fn forget_gitlab(&mut self) {
        self.sighted = crate::gitlab::Sighted::default();
    }

    /// What is in flight on these runners, when GitLab can be asked.
    pub(super) fn seen_pipelines(&self, wanted: &Draining) -> Seen<Vec<Pipeline>> {
        if let Err(error) = self.blind("list_runner_jobs") {
            return Seen::Unknown(error.to_string());
        }
        self.pipelines.map(|pipelines| {
            let on_them = pipelines.iter().filter(|(_, on)| wanted.runners.iter().any(|id| on.contains(id)));
            on_them.map(|(pipeline, _)| pipeline.clone()).collect()
        })
    }

    /// What people do right before this step.
    pub(super) fn edit_now(&mut self) {
        for edit in &mut self.edits {
            edit.step = edit.step.saturating_sub(1);
        }
        let (due, later) = std::mem::take(&mut self.edits).into_iter().partition(|edit| edit.step == 0);
        self.edits = later;
        for Edit { runner, tag, given, .. } in Vec::from_iter::<Vec<Edit>>(due) {
            if let Some(runner) = self.runner(runner) {
                runner.edit_tag(&tag, given);
            }
        }
    }

    /// Takes one step on a record as the product takes it, and says whether GitLab changed it.
    pub(super) fn take_tag(&mut self, step: &TagStep, fault: Option<WriteFault>) -> (bool, StepOutcome) {
        let (mut change, mut ask) = Change::new(step);
        let mut changed = false;
        loop {
            let answer = self.serve(&ask, fault, &mut changed);
            match change.heard(answer) {
                Next::Ask(next) => ask = next,
                Next::End(outcome) => return (changed, outcome),
            }
        }
    }

    fn serve(&mut self, ask: &Ask, fault: Option<WriteFault>, changed: &mut bool) -> Result<Reply, Error> {
        let operation = ask.operation();
        self.blind(operation)?;
        let (now, up) = (self.now, !self.gitlab.down);
        let (Ask::Read(id) | Ask::Write(id, _)) = ask;
        let Some(runner) = self.runner(*id) else {
            return answer(operation, 404, r#"{"message":"404 Runner Not Found"}"#);
        };
        let Ask::Write(_, update) = ask else { return answer(operation, 200, runner.body()) };
        if let Some(fault) = fault.filter(|fault| !fault.happens()) {
            return faulty(operation, fault);
        }
        if let Err(why) = write(runner, update) {
            return answer(operation, 400, json!({ "message": { "tags_list": [why] } }).to_string());
        }
        *changed = true;
        runner.woken(now, up);
        match fault {
            Some(fault) => faulty(operation, fault),
            None => answer(operation, 200, runner.body()),
        }
    }
}

/// What GitLab makes of a PUT: the list is the whole list.
fn write(runner: &mut SimRunner, update: &Value) -> Result<(), &'static str> {
    if let Some(list) = update["tag_list"].as_array() {
        let tags: std::collections::BTreeSet<Tag> =
            list.iter().filter_map(|tag| tag.as_str()?.parse().ok()).collect();
        if tags.is_empty() && !runner.run_untagged {
            return Err("can not be empty when runner is not allowed to pick untagged jobs");
        }
        if tags.len() > MOST_TAGS && tags != runner.record.tags {
            return Err("Too many tags specified. Please limit the number of tags to 50");
        }
        runner.record.tags = tags;
    }
    if let Some(paused) = update["paused"].as_bool() {
        runner.record.paused = paused;
    }
    Ok(())
}

//! Jobs and pipelines: creation, matching with runners, life cycle.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::model::{Owner, Runner};
use super::state::{State, random_text};

/// One job of a project's pipeline. `$[[ inputs.x ]]` and `$NAME` are filled in tags and inputs in scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobTemplate {
    /// Job name.
    pub name: String,
    /// A runner needs all of them.
    pub tags: Vec<String>,
    /// Shell lines.
    pub script: Vec<String>,
    /// Shell lines that run whatever became of the script.
    pub after_script: Vec<String>,
    /// Paths to upload afterwards; none means no artifact.
    pub artifacts: Vec<String>,
    /// Jobs of the same pipeline that must succeed first; their artifacts are downloaded.
    pub needs: Vec<String>,
}

impl Default for JobTemplate {
    fn default() -> Self {
        Self {
            name: "job".to_owned(),
            tags: Vec::new(),
            script: vec!["echo hello".to_owned()],
            after_script: Vec::new(),
            artifacts: Vec::new(),
            needs: Vec::new(),
        }
    }
}

impl JobTemplate {
    /// A job with these tags and this script line.
    #[must_use]
    pub fn new(tags: &[&str], script: &str) -> Self {
        Self {
            tags: tags.iter().map(|t| (*t).to_owned()).collect(),
            script: vec![script.to_owned()],
            ..Self::default()
        }
    }
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Waits for the jobs it needs.
    Created,
    /// Waits for a runner.
    Pending,
    /// A runner has it.
    Running,
    /// Done.
    Success,
    /// Done badly.
    Failed,
    /// Stopped by a person.
    Canceled,
    /// A job it needs did not succeed.
    Skipped,
}

impl JobStatus {
    /// Nothing more will happen to it.
    #[must_use]
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Created | Self::Pending | Self::Running)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Skipped => "skipped",
        }
    }
}

/// One job.
#[derive(Debug, Clone, Serialize)]
pub struct Job {
    /// Row id.
    pub id: u64,
    /// What it runs.
    pub template: JobTemplate,
    /// Its pipeline.
    pub pipeline: u64,
    /// Its project.
    pub project: u64,
    /// Branch or tag.
    pub git_ref: String,
    /// Where it is.
    pub status: JobStatus,
    /// Which runner took it.
    pub runner: Option<u64>,
    /// Which manager of that runner.
    pub system_id: Option<String>,
    /// Why it failed.
    pub failure_reason: Option<String>,
    /// Creation.
    pub created_at: Timestamp,
    /// When it became pending.
    pub queued_at: Option<Timestamp>,
    /// When a runner took it.
    pub started_at: Option<Timestamp>,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
    /// Variables of the pipeline.
    pub variables: BTreeMap<String, String>,
    /// The log.
    #[serde(skip)]
    pub trace: Vec<u8>,
    /// Name and content of the uploaded archive.
    #[serde(skip)]
    pub archive: Option<(String, Vec<u8>)>,
    #[serde(skip)]
    pub(crate) token: String,
}

impl Job {
    fn new(id: u64, template: JobTemplate, pipeline: &Pipeline, variables: BTreeMap<String, String>) -> Self {
        Self {
            id,
            template,
            pipeline: pipeline.id,
            project: pipeline.project,
            git_ref: pipeline.git_ref.clone(),
            status: JobStatus::Created,
            runner: None,
            system_id: None,
            failure_reason: None,
            created_at: pipeline.created_at,
            queued_at: None,
            started_at: None,
            finished_at: None,
            variables,
            trace: Vec::new(),
            archive: None,
            token: format!("glcbt-{}", random_text(20)),
        }
    }

    /// The log as text.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.trace).into_owned()
    }
}

/// One pipeline.
#[derive(Debug, Clone, Serialize)]
pub struct Pipeline {
    /// Row id.
    pub id: u64,
    /// Its project.
    pub project: u64,
    /// Branch or tag.
    pub git_ref: String,
    /// `api`, `trigger` or `lab`.
    pub source: String,
    /// Its jobs.
    pub jobs: Vec<u64>,
    /// Creation.
    pub created_at: Timestamp,
}

fn fill(
    text: &str,
    variables: &BTreeMap<String, String>,
    inputs: &BTreeMap<String, String>,
    all: bool,
) -> String {
    let mut text = text.to_owned();
    // A variable stands in for an input of its name.
    for (key, value) in inputs.iter().chain(variables) {
        text = text.replace(&format!("$[[ inputs.{key} ]]"), value);
    }
    if all {
        for (key, value) in variables {
            text = text.replace(&format!("${{{key}}}"), value).replace(&format!("${key}"), value);
        }
    }
    text
}

impl State {
    pub(crate) fn create_pipeline(
        &mut self,
        project: u64,
        git_ref: &str,
        source: &str,
        templates: &[JobTemplate],
        variables: &BTreeMap<String, String>,
        inputs: &BTreeMap<String, String>,
    ) -> u64 {
        let mut pipeline = Pipeline {
            id: self.next_id(),
            project,
            git_ref: git_ref.to_owned(),
            source: source.to_owned(),
            jobs: Vec::new(),
            created_at: self.now(),
        };
        for template in templates {
            let each =
                |lines: &[String], all| lines.iter().map(|l| fill(l, variables, inputs, all)).collect();
            let template = JobTemplate {
                tags: each(&template.tags, true),
                script: each(&template.script, false),
                after_script: each(&template.after_script, false),
                ..template.clone()
            };
            let id = self.next_id();
            self.jobs.insert(id, Job::new(id, template, &pipeline, variables.clone()));
            pipeline.jobs.push(id);
        }
        let pipeline = {
            let id = pipeline.id;
            self.pipelines.insert(id, pipeline);
            id
        };
        self.process_pipeline(pipeline);
        pipeline
    }

    pub(super) fn needed(&self, job: &Job) -> Vec<u64> {
        let jobs = self.pipelines.get(&job.pipeline).map(|p| p.jobs.as_slice()).unwrap_or_default();
        jobs.iter()
            .filter(|id| self.jobs.get(id).is_some_and(|j| job.template.needs.contains(&j.template.name)))
            .copied()
            .collect()
    }

    /// Moves waiting jobs on: to `pending` when what they need has succeeded, to `skipped` when it cannot.
    fn process_pipeline(&mut self, pipeline: u64) {
        let ids = self.pipelines.get(&pipeline).map(|p| p.jobs.clone()).unwrap_or_default();
        for id in ids {
            let Some(job) = self.jobs.get(&id).filter(|j| j.status == JobStatus::Created) else { continue };
            let needs: Vec<JobStatus> =
                self.needed(job).iter().filter_map(|n| self.jobs.get(n)).map(|j| j.status).collect();
            if needs.iter().all(|s| *s == JobStatus::Success) {
                self.enqueue(id);
            } else if needs.iter().any(|s| s.is_over() && *s != JobStatus::Success) {
                self.set_status(id, JobStatus::Skipped, None);
            }
        }
    }

    /// A pending job ticks the queue of every runner that may take it.
    fn enqueue(&mut self, id: u64) {
        let now = self.now();
        if let Some(job) = self.jobs.get_mut(&id) {
            job.status = JobStatus::Pending;
            job.queued_at = Some(now);
            self.pending.insert(id);
        }
        let Some(job) = self.jobs.get(&id) else { return };
        let fitting: Vec<u64> =
            self.runners.values().filter(|r| self.may_take(r, job)).map(|r| r.id).collect();
        for runner in fitting {
            self.tick(runner);
        }
    }

    pub(crate) fn may_take(&self, runner: &Runner, job: &Job) -> bool {
        let Some(project) = self.projects.get(&job.project) else { return false };
        let scope = match &runner.owner {
            Owner::Instance => true,
            Owner::Group(id) => project.group.is_some_and(|g| self.with_ancestors(g).contains(id)),
            Owner::Projects(ids) => ids.contains(&job.project),
        };
        let tags = if job.template.tags.is_empty() {
            runner.run_untagged
        } else {
            job.template.tags.iter().all(|t| runner.tags.contains(t))
        };
        let protected = !runner.ref_protected || project.protected_refs.contains(&job.git_ref);
        scope && tags && protected && !runner.paused
    }

    /// The oldest pending job that this runner may take, now running.
    pub(crate) fn register_job(&mut self, runner: &Runner, system_id: Option<&str>) -> Option<u64> {
        let id = *self
            .pending
            .iter()
            .find(|id| self.jobs.get(id).is_some_and(|job| self.may_take(runner, job)))?;
        let now = self.now();
        self.pending.remove(&id);
        let job = self.jobs.get_mut(&id)?;
        job.status = JobStatus::Running;
        job.started_at = Some(now);
        job.runner = Some(runner.id);
        job.system_id = system_id.map(str::to_owned);
        Some(id)
    }

    pub(crate) fn set_status(&mut self, id: u64, status: JobStatus, reason: Option<String>) {
        let now = self.now();
        self.pending.remove(&id);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.status.is_over() {
            return;
        }
        job.status = status;
        job.failure_reason = reason;
        job.finished_at = status.is_over().then_some(now);
        let pipeline = job.pipeline;
        self.process_pipeline(pipeline);
    }

    /// A new job in the place of an old one.
    pub(crate) fn retry_job(&mut self, id: u64) -> Option<u64> {
        let new_id = self.next_id();
        let now = self.now();
        let old = self.jobs.get(&id).filter(|j| j.status.is_over())?;
        let pipeline = self.pipelines.get_mut(&old.pipeline)?;
        let mut job = Job::new(new_id, old.template.clone(), pipeline, old.variables.clone());
        job.created_at = now;
        if let Some(slot) = pipeline.jobs.iter_mut().find(|j| **j == id) {
            *slot = new_id;
        }
        let pipeline = pipeline.id;
        self.jobs.insert(new_id, job);
        self.process_pipeline(pipeline);
        Some(new_id)
    }

    /// What GitLab's stuck-job worker does about an hour after the last sign of life.
    pub(crate) fn drop_stuck_jobs(&mut self) -> usize {
        let stuck: Vec<u64> =
            self.jobs.values().filter(|j| j.status == JobStatus::Running).map(|j| j.id).collect();
        for id in &stuck {
            self.set_status(*id, JobStatus::Failed, Some("stuck_or_timeout_failure".to_owned()));
        }
        stuck.len()
    }

    pub(crate) fn pipeline_status(&self, pipeline: &Pipeline) -> &'static str {
        let all: Vec<JobStatus> =
            pipeline.jobs.iter().filter_map(|id| self.jobs.get(id)).map(|j| j.status).collect();
        let any = |status| all.contains(&status);
        if any(JobStatus::Running) || (any(JobStatus::Success) && any(JobStatus::Pending)) {
            "running"
        } else if any(JobStatus::Pending) {
            "pending"
        } else if any(JobStatus::Failed) {
            "failed"
        } else if any(JobStatus::Canceled) {
            "canceled"
        } else if any(JobStatus::Created) {
            "created"
        } else {
            "success"
        }
    }
}

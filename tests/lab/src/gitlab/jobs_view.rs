//! Jobs and pipelines as GitLab shows them, and as a runner gets them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::jobs::{Job, Pipeline};
use super::model::Runner;
use super::reply::{time, time_or_null};
use super::state::State;

/// What a runner may give as the reason of a failure; it sends `unknown_failure` for any other.
const FAILURE_REASONS: [&str; 5] = [
    "unknown_failure",
    "script_failure",
    "runner_system_failure",
    "job_execution_timeout",
    "image_pull_failure",
];

impl State {
    pub(crate) fn job_json(&self, job: &Job) -> Value {
        let now = self.now();
        let runner = job.runner.and_then(|id| self.runners.get(&id));
        let manager = runner.zip(job.system_id.as_ref()).and_then(|(r, s)| Some((r, r.managers.get(s)?)));
        let seconds = |from: Option<Timestamp>, to: Option<Timestamp>| {
            from.map(|from| to.unwrap_or(now).duration_since(from)).map(|d: SignedDuration| d.as_secs_f64())
        };
        let project = self.projects.get(&job.project);
        json!({
            "id": job.id,
            "name": job.template.name,
            "stage": "test",
            "status": job.status.as_str(),
            "ref": job.git_ref,
            "tag": false,
            "allow_failure": false,
            "created_at": time(job.created_at),
            "started_at": time_or_null(job.started_at),
            "finished_at": time_or_null(job.finished_at),
            "duration": seconds(job.started_at, job.finished_at),
            "queued_duration": seconds(job.queued_at, job.started_at),
            "failure_reason": job.failure_reason,
            "tag_list": job.template.tags,
            "web_url": format!("/{}/-/jobs/{}", project.map_or("", |p| p.full_path.as_str()), job.id),
            "pipeline": { "id": job.pipeline, "project_id": job.project, "ref": job.git_ref },
            "project": { "id": job.project, "path_with_namespace": project.map(|p| p.full_path.as_str()) },
            "artifacts_file": job.archive.as_ref().map(|(name, data)| {
                json!({ "filename": name, "size": data.len() })
            }),
            "runner": runner.map(|r| super::rest::row(self, r)),
            "runner_manager": manager.map(|(r, m)| super::rest::manager_json(self, r, m)),
        })
    }

    pub(crate) fn pipeline_json(&self, pipeline: &Pipeline) -> Value {
        let project = self.projects.get(&pipeline.project);
        json!({
            "id": pipeline.id,
            "iid": pipeline.id,
            "project_id": pipeline.project,
            "status": self.pipeline_status(pipeline),
            "source": pipeline.source,
            "ref": pipeline.git_ref,
            "sha": "0123456789012345678901234567890123456789",
            "created_at": time(pipeline.created_at),
            "updated_at": time(self.now()),
            "web_url": format!(
                "/{}/-/pipelines/{}", project.map_or("", |p| p.full_path.as_str()), pipeline.id
            ),
        })
    }

    /// The body of `201 Created` at `POST /jobs/request`.
    pub(crate) fn job_payload(&self, job: &Job, runner: &Runner, url: &str) -> Value {
        let project = self.projects.get(&job.project);
        let path = project.map_or("", |p| p.full_path.as_str());
        let mut variables: BTreeMap<String, String> = job.variables.clone();
        for (key, value) in [
            ("CI", "true".to_owned()),
            ("CI_SERVER_URL", url.to_owned()),
            ("CI_PROJECT_ID", job.project.to_string()),
            ("CI_PROJECT_PATH", path.to_owned()),
            ("CI_PIPELINE_ID", job.pipeline.to_string()),
            ("CI_JOB_ID", job.id.to_string()),
            ("CI_JOB_NAME", job.template.name.clone()),
            ("CI_COMMIT_REF_NAME", job.git_ref.clone()),
            ("CI_RUNNER_ID", runner.id.to_string()),
            ("CI_RUNNER_DESCRIPTION", runner.description.clone()),
            ("CI_RUNNER_TAGS", json!(runner.tags).to_string()),
            // The simulator has no repositories; a real gitlab-runner must not try to clone.
            ("GIT_STRATEGY", "none".to_owned()),
        ] {
            variables.insert(key.to_owned(), value);
        }
        let variables: Vec<Value> = variables
            .iter()
            .map(|(key, value)| json!({ "key": key, "value": value, "public": true, "masked": false }))
            .collect();
        let step = |name: &str, script: &[String], when: &str| json!({ "name": name, "script": script, "timeout": 3600, "when": when, "allow_failure": false });
        let mut steps = vec![step("script", &job.template.script, "on_success")];
        if !job.template.after_script.is_empty() {
            steps.push(step("after_script", &job.template.after_script, "always"));
        }
        let artifacts = if job.template.artifacts.is_empty() {
            json!([])
        } else {
            json!([{
                "name": Value::Null, "untracked": false, "paths": job.template.artifacts, "when": "on_success",
                "expire_in": Value::Null, "artifact_type": "archive", "artifact_format": "zip",
            }])
        };
        let dependencies: Vec<Value> = self
            .needed(job)
            .iter()
            .filter_map(|id| self.jobs.get(id))
            .map(|needed| {
                let file = needed.archive.as_ref().map(|(n, d)| json!({ "filename": n, "size": d.len() }));
                json!({
                    "id": needed.id, "name": needed.template.name, "token": needed.token, "artifacts_file": file,
                })
            })
            .collect();
        json!({
            "id": job.id,
            "token": job.token,
            "allow_git_fetch": true,
            "job_info": {
                "id": job.id, "name": job.template.name, "stage": "test", "project_id": job.project,
                "project_name": path, "project_full_path": path, "time_in_queue_seconds": 0,
            },
            "git_info": {
                "repo_url": format!("{url}/{path}.git"), "ref": job.git_ref, "ref_type": "branch",
                "sha": "0123456789012345678901234567890123456789",
                "before_sha": "0000000000000000000000000000000000000000", "refspecs": [], "depth": 20,
            },
            "runner_info": { "timeout": 3600, "runner_session_url": Value::Null },
            "variables": variables,
            "steps": steps,
            "image": Value::Null,
            "services": [],
            "artifacts": artifacts,
            "cache": [],
            "credentials": [],
            "dependencies": dependencies,
            "features": { "trace_sections": true, "token_mask_prefixes": [], "failure_reasons": FAILURE_REASONS },
        })
    }
}

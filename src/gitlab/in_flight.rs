//! Pipelines that are under way and have jobs on a tag.
//!
//! A pipeline is looked for by the jobs that the fleet's runners have taken: one that has not begun on them is bound to no
//! cluster. GitLab lists a runner's jobs by their creation, which is that of the pipeline, and not by their project or
//! pipeline: how far back it is looked bounds the calls, except for what a runner runs now. Jobs of projects where the token's owner is less than a Reporter are not shown by GitLab, and not counted.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use jiff::Timestamp;
use serde::Deserialize;

use super::{Client, Error};
use crate::model::{Draining, Pipeline, RunnerId};

const PAGE: usize = 100;
/// The most pages that are read of one list.
const PAGES: usize = 20;
/// What a pipeline is while it may take another job by itself. One that waits for a person (`manual`) may wait for ever.
const UNDER_WAY: [&str; 8] = [
    "created",
    "waiting_for_resource",
    "preparing",
    "waiting_for_callback",
    "pending",
    "running",
    "canceling",
    "scheduled",
];

#[derive(Debug, Deserialize)]
struct Job {
    created_at: Timestamp,
    pipeline: PipelineRow,
    #[serde(default)]
    project: Option<Project>,
}

#[derive(Debug, Deserialize)]
struct PipelineRow {
    id: u64,
    #[serde(default)]
    project_id: Option<u64>,
    #[serde(default)]
    status: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Project {
    id: u64,
}

#[derive(Debug, Deserialize)]
struct Detail {
    status: String,
}

#[derive(Debug, Deserialize)]
struct Tagged {
    tag_list: Vec<String>,
}

impl Client {
    /// The pipelines under way that have taken a job on one of these runners and have jobs on the tag, each once.
    ///
    /// # Errors
    ///
    /// When anything of it could not be read: then nobody knows that there is none.
    pub async fn in_flight(&self, wanted: &Draining, now: Timestamp) -> Result<Vec<Pipeline>, Error> {
        let since = now.checked_sub(wanted.look_back).unwrap_or(Timestamp::MIN);
        let jobs = try_join_all(wanted.runners.iter().map(|runner| self.jobs(*runner, since))).await?;
        let mut seen: BTreeMap<Pipeline, Option<String>> = BTreeMap::new();
        for job in jobs.into_iter().flatten() {
            let project = job.pipeline.project_id.or(job.project.map(|project| project.id));
            let project = project.ok_or_else(|| {
                let why = format!("pipeline {} without its project", job.pipeline.id);
                Error::Incomplete { operation: "list_runner_jobs", why }
            })?;
            // The newest row comes first, and all rows of a pipeline show its status of now.
            seen.entry(Pipeline { project, id: job.pipeline.id }).or_insert(job.pipeline.status);
        }
        let judged = try_join_all(seen.into_iter().map(|(pipeline, status)| async move {
            let status = match status {
                Some(status) => status,
                None => self.pipeline_status(&pipeline).await?,
            };
            let counts = UNDER_WAY.contains(&status.as_str()) && self.on_tag(&pipeline, &wanted.tag).await?;
            Ok::<_, Error>(counts.then_some(pipeline))
        }));
        Ok(judged.await?.into_iter().flatten().collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// What a runner took of the jobs created since then, and what it runs however old that is.
    async fn jobs(&self, runner: RunnerId, since: Timestamp) -> Result<Vec<Job>, Error> {
        let mut jobs = self.job_pages(runner, Some("running"), Timestamp::MIN).await?;
        jobs.extend(self.job_pages(runner, None, since).await?);
        Ok(jobs)
    }

    async fn job_pages(
        &self,
        runner: RunnerId,
        status: Option<&str>,
        since: Timestamp,
    ) -> Result<Vec<Job>, Error> {
        let (runner, per_page) = (runner.to_string(), PAGE.to_string());
        let mut jobs: Vec<Job> = Vec::new();
        for page in 1..=PAGES {
            let page = page.to_string();
            let mut query =
                vec![("order_by", "id"), ("sort", "desc"), ("per_page", &per_page), ("page", &page)];
            query.extend(status.map(|status| ("status", status)));
            let reply =
                self.http.get("list_runner_jobs", &["v4", "runners", &runner, "jobs"], &query).await?;
            let rows: Vec<Job> = reply.json()?;
            let full = rows.len() >= PAGE;
            jobs.extend(rows);
            if !full || jobs.last().is_some_and(|job| job.created_at < since) {
                jobs.retain(|job| job.created_at >= since);
                return Ok(jobs);
            }
        }
        // What lies beyond may be in flight: nobody knows.
        let why = match status {
            Some(_) => format!("runner {runner} runs more than {} jobs", PAGES * PAGE),
            None => format!(
                "runner {runner} took more than {} jobs created since {since:.0}: make `drain_look_back` shorter",
                PAGES * PAGE
            ),
        };
        Err(Error::Incomplete { operation: "list_runner_jobs", why })
    }

    async fn pipeline_status(&self, pipeline: &Pipeline) -> Result<String, Error> {
        let (project, id) = (pipeline.project.to_string(), pipeline.id.to_string());
        let segments = ["v4", "projects", &project, "pipelines", &id];
        let detail: Detail = self.http.get("get_pipeline", &segments, &[]).await?.json()?;
        Ok(detail.status)
    }

    async fn on_tag(&self, pipeline: &Pipeline, tag: &crate::model::Tag) -> Result<bool, Error> {
        let (project, id) = (pipeline.project.to_string(), pipeline.id.to_string());
        let segments = ["v4", "projects", &project, "pipelines", &id, "jobs"];
        for page in 1..=PAGES {
            let (page, per_page) = (page.to_string(), PAGE.to_string());
            let query = [("per_page", per_page.as_str()), ("page", page.as_str())];
            let rows: Vec<Tagged> = self.http.get("list_pipeline_jobs", &segments, &query).await?.json()?;
            if rows.iter().any(|job| job.tag_list.iter().any(|t| t == tag.as_str())) {
                return Ok(true);
            }
            if rows.len() < PAGE {
                return Ok(false);
            }
        }
        // Too many jobs to look through: it counts, until somebody looks.
        Ok(true)
    }
}

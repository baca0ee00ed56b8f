//! Pipelines that are under way and have jobs on a tag.
//!
//! A pipeline is looked for by the jobs that the fleet's runners have taken: one that has not begun on them is bound to
//! no cluster. GitLab lists a runner's jobs by their creation, which is that of the pipeline, and not by their project
//! or pipeline: how far back it is looked bounds the calls, except for what a runner runs now. Jobs of projects where
//! the token's owner is less than a Reporter are not shown by GitLab, and not counted.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use jiff::Timestamp;
use serde::Deserialize;

use super::{Client, Error, Reply};
use crate::model::{Draining, Pipeline, RunnerId, Tag};

const JOBS: &str = "list_runner_jobs";
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
        let seen = pipelines(jobs.into_iter().flatten())?;
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
            let reply = self.http.get(JOBS, &["v4", "runners", &runner, "jobs"], &query).await?;
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
        Err(Error::Incomplete { operation: JOBS, why })
    }

    async fn pipeline_status(&self, pipeline: &Pipeline) -> Result<String, Error> {
        let (project, id) = (pipeline.project.to_string(), pipeline.id.to_string());
        let segments = ["v4", "projects", &project, "pipelines", &id];
        read_pipeline(&self.http.get("get_pipeline", &segments, &[]).await?)
    }

    async fn on_tag(&self, pipeline: &Pipeline, tag: &Tag) -> Result<bool, Error> {
        let (project, id) = (pipeline.project.to_string(), pipeline.id.to_string());
        let segments = ["v4", "projects", &project, "pipelines", &id, "jobs"];
        for page in 1..=PAGES {
            let (page, per_page) = (page.to_string(), PAGE.to_string());
            let query = [("per_page", per_page.as_str()), ("page", page.as_str())];
            match read_pipeline_jobs(&self.http.get("list_pipeline_jobs", &segments, &query).await?, tag)? {
                (true, _) => return Ok(true),
                (false, rows) if rows < PAGE => return Ok(false),
                _ => {}
            }
        }
        // Too many jobs to look through: it counts, until somebody looks.
        Ok(true)
    }
}

/// The pipelines of jobs, each with its status if its rows say it.
fn pipelines(jobs: impl IntoIterator<Item = Job>) -> Result<BTreeMap<Pipeline, Option<String>>, Error> {
    let mut seen = BTreeMap::new();
    for Job { pipeline, project, .. } in jobs {
        let project = pipeline.project_id.or(project.map(|project| project.id)).ok_or_else(|| {
            let why = format!("pipeline {} without its project", pipeline.id);
            Error::Incomplete { operation: JOBS, why }
        })?;
        // The newest row comes first, and all rows of a pipeline show its status of now.
        seen.entry(Pipeline { project, id: pipeline.id }).or_insert(pipeline.status);
    }
    Ok(seen)
}

/// Reads a page of the jobs that a runner took: their pipelines, each with its status if its rows say it.
///
/// # Errors
/// When it is not such a page.
pub fn read_jobs(reply: &Reply) -> Result<BTreeMap<Pipeline, Option<String>>, Error> {
    pipelines(reply.json::<Vec<Job>>()?)
}

/// Reads what a pipeline is, in GitLab's word.
///
/// # Errors
/// When it is not such an answer.
pub fn read_pipeline(reply: &Reply) -> Result<String, Error> {
    Ok(reply.json::<Detail>()?.status)
}

/// Reads a page of a pipeline's jobs: whether one is for the tag, and how many there are.
///
/// # Errors
/// When it is not such a page.
pub fn read_pipeline_jobs(reply: &Reply, tag: &Tag) -> Result<(bool, usize), Error> {
    let rows: Vec<Tagged> = reply.json()?;
    let tagged = rows.iter().any(|job| job.tag_list.iter().any(|t| t == tag.as_str()));
    Ok((tagged, rows.len()))
}

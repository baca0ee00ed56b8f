//! The typed way to set up, look into and break a simulated GitLab.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::access::TokenSpec;
use super::faults::{Fault, Outage, Rule};
use super::incidents::{Alert, Issue};
use super::jobs::{Job, JobStatus, JobTemplate};
use super::model::{Audit, Contact, Group, Logged, Project, Runner};
use super::server::Shared;
use super::state::random_text;
use super::{GraphqlMode, RateLimit, RunnerSpec};

/// A fresh runner record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// Row id.
    pub id: u64,
    /// Authentication token of the runner.
    pub token: String,
}

/// Cheap to clone; usable from any thread.
#[derive(Clone)]
pub struct Admin {
    shared: Shared,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared }
    }

    // === set up ===

    /// A new access token; returns its secret.
    #[must_use]
    pub fn create_token(&self, spec: TokenSpec) -> String {
        self.shared.lock().add_token(spec)
    }

    /// A new group with the groups around it; returns its id. An existing one is returned as it is.
    pub fn create_group(&self, full_path: &str) -> u64 {
        let mut state = self.shared.lock();
        let mut parent = None;
        let mut path = String::new();
        for part in full_path.split('/') {
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(part);
            let known = state.groups.values().find(|g| g.full_path == path).map(|g| g.id);
            let id = known.unwrap_or_else(|| {
                let id = state.next_id();
                state.groups.insert(id, Group { id, full_path: path.clone(), parent });
                id
            });
            parent = Some(id);
        }
        parent.unwrap_or_default()
    }

    /// A new project with the groups around it; returns its id. It runs one job whose tag is the pipeline
    /// input or variable `tag`, as in `inputs: {"tag": "rnd-runner"}` or `variables: [{key: "tag", …}]`.
    pub fn create_project(&self, full_path: &str) -> u64 {
        let group = full_path.rsplit_once('/').map(|(group, _)| self.create_group(group));
        let mut state = self.shared.lock();
        let id = state.next_id();
        let canary = JobTemplate {
            name: "canary".to_owned(),
            tags: vec!["$[[ inputs.tag ]]".to_owned()],
            script: vec!["echo canary on $CI_RUNNER_DESCRIPTION".to_owned()],
            ..JobTemplate::default()
        };
        let project = Project {
            id,
            full_path: full_path.to_owned(),
            group,
            protected_refs: vec!["main".to_owned()],
            ci: vec![canary],
            trigger_token: format!("glptt-{}", random_text(20)),
        };
        state.projects.insert(id, project);
        id
    }

    /// The project that exists from the start, `rnd/canary`.
    #[must_use]
    pub fn project(&self) -> Project {
        let first = self.shared.lock().projects.values().next().cloned();
        first.expect("the first project is never deleted")
    }

    /// What pipelines of a project run.
    pub fn set_ci(&self, project: u64, ci: Vec<JobTemplate>) {
        if let Some(project) = self.shared.lock().projects.get_mut(&project) {
            project.ci = ci;
        }
    }

    /// A new runner record without any manager.
    pub fn create_runner(&self, spec: RunnerSpec) -> Created {
        let row = self.shared.lock().insert_runner(spec.into_row(), None, "lab");
        Created { id: row.id, token: row.token.clone() }
    }

    /// Removes a runner record.
    pub fn delete_runner(&self, id: u64) {
        self.shared.lock().delete_runner(id, "lab", "lab");
    }

    /// A new authentication token: whoever uses the old one gets 403.
    pub fn reset_runner_token(&self, id: u64) -> Option<String> {
        self.shared.lock().reset_token(id)
    }

    /// Somebody else changes the row in GitLab's pages: audited as `lab`, wakes the runner's polls.
    pub fn edit_runner(&self, id: u64, edit: impl FnOnce(&mut Runner)) {
        let mut state = self.shared.lock();
        if let Some(row) = state.runners.get(&id) {
            let mut row = Runner::clone(row);
            edit(&mut row);
            state.write_runner(row, "lab", "lab");
            state.tick(id);
        }
    }

    /// As [`Admin::edit_runner`], for the tags.
    pub fn set_tags(&self, id: u64, tags: &[&str]) {
        self.edit_runner(id, |row| row.tags = tags.iter().map(|t| (*t).to_owned()).collect());
    }

    /// A sign of life of one manager, as a poll gives it.
    pub fn heartbeat(&self, id: u64, system_id: &str) {
        self.shared.lock().heartbeat(id, Some(system_id), None);
    }

    /// Sets both clocks of a runner and of all its managers.
    pub fn set_contacted_at(&self, id: u64, at: Option<Timestamp>) {
        let mut state = self.shared.lock();
        if let Some(row) = state.runners.get_mut(&id).map(Arc::make_mut) {
            let contact = Contact { redis_contacted_at: at, db_contacted_at: at };
            row.contact = contact;
            row.managers.values_mut().for_each(|m| m.contact = contact);
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    // === clock ===

    /// The simulator's clock, the one in its `Date` headers.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.lock().now()
    }

    /// Moves the simulator's clock forward.
    pub fn advance(&self, by: SignedDuration) {
        self.shared.lock().advance(by);
    }

    // === faults ===

    /// Adds a fault; it stays until its count is used up or [`Admin::clear_faults`].
    ///
    /// # Panics
    /// When one of its regular expressions is wrong.
    pub fn fault(&self, fault: Fault) {
        self.try_fault(fault).expect("regular expressions of the fault");
    }

    /// Adds a fault.
    ///
    /// # Errors
    /// When one of its regular expressions is wrong.
    pub fn try_fault(&self, fault: Fault) -> Result<(), regex::Error> {
        let rule = Rule::new(fault)?;
        self.shared.lock().rules.push(rule);
        Ok(())
    }

    /// Ends all faults, not an outage.
    pub fn clear_faults(&self) {
        self.shared.lock().rules.clear();
    }

    /// The whole instance goes away, or comes back.
    pub fn outage(&self, outage: Outage) {
        self.shared.set_outage(outage);
    }

    /// Switches GraphQL on or off.
    pub fn graphql(&self, mode: GraphqlMode) {
        self.shared.lock().graphql = mode;
    }

    /// Sets or ends the rate limit; windows start anew.
    pub fn rate_limit(&self, limit: Option<RateLimit>) {
        let mut state = self.shared.lock();
        state.windows.clear();
        state.rate_limit = limit;
    }

    // === looks ===

    /// One runner row.
    #[must_use]
    pub fn runner(&self, id: u64) -> Option<Arc<Runner>> {
        self.shared.lock().runners.get(&id).cloned()
    }

    /// The tags of a runner, sorted; empty when there is no such runner.
    #[must_use]
    pub fn tags(&self, id: u64) -> Vec<String> {
        let mut tags = self.runner(id).map(|r| r.tags.clone()).unwrap_or_default();
        tags.sort();
        tags
    }

    /// Ids of the runners that carry a tag, ascending.
    #[must_use]
    pub fn holders(&self, tag: &str) -> Vec<u64> {
        let state = self.shared.lock();
        state.runners.values().filter(|r| r.tags.iter().any(|t| t == tag)).map(|r| r.id).collect()
    }

    /// How many polls of this runner Workhorse holds now.
    #[must_use]
    pub fn held_polls(&self, id: u64) -> usize {
        self.shared.lock().held_polls(id)
    }

    /// How many requests wait in vain now, by [`Kind::Hang`](super::Kind::Hang) or
    /// [`Kind::TimeoutAfterCommit`](super::Kind::TimeoutAfterCommit).
    #[must_use]
    pub fn held_requests(&self) -> usize {
        self.shared.lock().held_requests
    }

    /// Every write to a runner row since the start, oldest first.
    #[must_use]
    pub fn audit(&self) -> Vec<Audit> {
        self.shared.lock().audit.clone()
    }

    /// The writes that changed something and were not the laboratory's own.
    #[must_use]
    pub fn changes(&self) -> Vec<Audit> {
        self.audit().into_iter().filter(|a| a.changed && a.via != "lab").collect()
    }

    /// The last 20,000 requests, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Logged> {
        self.shared.lock().log.iter().cloned().collect()
    }

    /// How many requests of this name there were, whatever came of them.
    #[must_use]
    pub fn count(&self, operation: &str) -> u64 {
        self.shared.lock().counts.get(operation).map(|c| c.values().sum()).unwrap_or_default()
    }

    /// Requests by name and status; status 0 is a connection that was cut.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, BTreeMap<u16, u64>> {
        self.shared.lock().counts.clone()
    }

    /// Forgets the request log and its counts, not the audit.
    pub fn forget_requests(&self) {
        let mut state = self.shared.lock();
        state.log.clear();
        state.counts.clear();
    }

    /// Somebody else commits to the default branch, a file or its end; returns the commit's id.
    pub fn commit_file(&self, project: u64, path: &str, content: Option<&str>) -> Option<String> {
        let mut state = self.shared.lock();
        state.repositories.entry(project).or_default().write(path, content.map(str::as_bytes))
    }

    /// A file at the tip of the default branch.
    #[must_use]
    pub fn file(&self, project: u64, path: &str) -> Option<Vec<u8>> {
        self.shared.lock().repositories.entry(project).or_default().content(path)
    }

    /// Incidents and issues.
    #[must_use]
    pub fn issues(&self) -> Vec<Issue> {
        self.shared.lock().issues.clone()
    }

    /// Alerts that came to the alert endpoint.
    #[must_use]
    pub fn alerts(&self) -> Vec<Alert> {
        self.shared.lock().alerts.clone()
    }

    /// Everything worth looking at in one document.
    #[must_use]
    pub fn state(&self) -> Value {
        let state = self.shared.lock();
        let jobs: Vec<Value> = state.jobs.values().map(|j| state.job_json(j)).collect();
        json!({
            "now": state.now(),
            "runners": state.runners.values().map(|r| r.as_ref()).collect::<Vec<_>>(),
            "groups": state.groups.values().collect::<Vec<_>>(),
            "projects": state.projects.values().collect::<Vec<_>>(),
            "pipelines": state.pipelines.values().collect::<Vec<_>>(),
            "jobs": jobs,
            "issues": state.issues,
            "alerts": state.alerts,
            "virtual_runners": state.virtual_runners.values().collect::<Vec<_>>(),
            "faults": state.rules.iter().map(|r| &r.fault).collect::<Vec<_>>(),
            "outage": state.outage,
            "graphql": state.graphql,
            "rate_limit": state.rate_limit,
        })
    }

    // === jobs ===

    /// A pipeline of one job in the first project, on `main`; returns the job's id.
    pub fn create_job(&self, template: JobTemplate) -> u64 {
        let mut state = self.shared.lock();
        let project = state.projects.keys().next().copied().unwrap_or_default();
        let none = BTreeMap::new();
        let pipeline = state.create_pipeline(project, "main", "lab", &[template], &none, &none);
        state.pipelines.get(&pipeline).and_then(|p| p.jobs.first().copied()).unwrap_or_default()
    }

    /// One job.
    #[must_use]
    pub fn job(&self, id: u64) -> Option<Job> {
        self.shared.lock().jobs.get(&id).cloned()
    }

    /// A person cancels a job.
    pub fn cancel_job(&self, id: u64) {
        self.shared.lock().set_status(id, JobStatus::Canceled, None);
    }

    /// What the stuck-job worker does an hour after the last sign of life; returns how many jobs it failed.
    pub fn drop_stuck_jobs(&self) -> usize {
        self.shared.lock().drop_stuck_jobs()
    }

    /// Looks every 20 ms until `look` finds something.
    ///
    /// # Panics
    /// With `what`, when `limit` is over.
    pub async fn until<T>(&self, what: &str, limit: Duration, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(tokio::time::Instant::now() < deadline, "not within {limit:?}: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a job is over.
    ///
    /// # Panics
    /// When `limit` is over first.
    pub async fn job_over(&self, id: u64, limit: Duration) -> Job {
        let what = format!("job {id} over");
        self.until(&what, limit, |admin| admin.job(id).filter(|j| j.status.is_over())).await
    }
}

//! Runners without processes, for fleets of thousands.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::admin::{Admin, Created};
use super::{JobStatus, RunnerSpec};

/// Records with one manager each, kept alive by one thread that polls for all of them.
///
/// They heartbeat and take jobs as a poll through Rails does (no held polls), and finish every job at once. Dropping
/// them stops the polls; the records stay.
#[derive(Debug)]
pub struct VirtualRunners {
    /// The records, in order of creation.
    pub runners: Vec<Created>,
    admin: Admin,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl VirtualRunners {
    pub(super) fn create(admin: Admin, count: usize, spec: impl Fn(usize) -> RunnerSpec) -> Self {
        let runners: Vec<Created> = (0..count).map(|n| admin.create_runner(spec(n))).collect();
        let this = Self { runners, admin, stop: CancellationToken::new(), thread: None };
        this.beat();
        this
    }

    /// The `system_id` of the n-th runner's only manager.
    #[must_use]
    pub fn system_id(n: usize) -> String {
        format!("s_{n:012x}")
    }

    /// One poll of each.
    pub fn beat(&self) {
        poll(&self.admin, &self.runners);
    }

    /// Polls all of them again and again, from a thread, until [`VirtualRunners::stop`] or drop.
    ///
    /// # Panics
    /// When there is no thread to be had.
    pub fn run(&mut self, every: Duration) {
        self.stop();
        self.stop = CancellationToken::new();
        let (stop, admin, runners) = (self.stop.clone(), self.admin.clone(), self.runners.clone());
        let polls = move || {
            while !stop.is_cancelled() {
                poll(&admin, &runners);
                std::thread::park_timeout(every);
            }
        };
        let thread = std::thread::Builder::new().name("virtual-runners".to_owned()).spawn(polls);
        self.thread = Some(thread.expect("a thread"));
    }

    /// Kills them all: no poll after this.
    pub fn stop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic in there has been printed already.
            let _ = thread.join();
        }
    }
}

impl Drop for VirtualRunners {
    fn drop(&mut self) {
        self.stop();
    }
}

fn poll(admin: &Admin, runners: &[Created]) {
    let info = serde_json::json!({
        "version": "19.4.0", "revision": "0123abcd", "platform": "linux", "architecture": "amd64", "executor": "kubernetes",
    });
    for (n, created) in runners.iter().enumerate() {
        let system_id = VirtualRunners::system_id(n);
        let mut state = admin.shared().lock();
        let Some(runner) = state.runner_by_token(&created.token).cloned() else { continue };
        state.heartbeat(runner.id, Some(&system_id), Some(&info));
        if !runner.paused
            && let Some(job) = state.register_job(&runner, Some(&system_id))
        {
            state.set_status(job, JobStatus::Success, None);
        }
    }
}

//! The metrics page of a gitlab-runner 19: names, labels and births of its series.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Name, type, help, in the order of the page.
const FAMILIES: [(&str, &str, &str); 18] = [
    (
        "gitlab_runner_api_request_statuses_total",
        "counter",
        "The total number of api requests, partitioned by runner, system_id, endpoint, status and method.",
    ),
    ("gitlab_runner_concurrent", "gauge", "The current value of concurrent setting"),
    (
        "gitlab_runner_configuration_loaded_total",
        "counter",
        "Total number of times the configuration file was loaded",
    ),
    (
        "gitlab_runner_configuration_loading_error_total",
        "counter",
        "Total number of times the configuration file could not be loaded",
    ),
    ("gitlab_runner_errors_total", "counter", "The number of caught errors."),
    ("gitlab_runner_failed_jobs_total", "counter", "Total number of failed jobs"),
    ("gitlab_runner_jobs", "gauge", "The current number of running builds."),
    ("gitlab_runner_jobs_total", "counter", "Total number of handled jobs"),
    ("gitlab_runner_limit", "gauge", "The current value of limit setting"),
    ("gitlab_runner_process_state_info", "gauge", "The current state of the process"),
    ("gitlab_runner_request_concurrency", "gauge", "The current number of concurrent requests for a new job"),
    (
        "gitlab_runner_request_concurrency_exceeded_total",
        "counter",
        "Count of excess requests above the configured request_concurrency limit",
    ),
    (
        "gitlab_runner_version_info",
        "gauge",
        "A metric with a constant '1' value labeled by different build stats fields.",
    ),
    (
        "gitlab_runner_worker_feed_failures_total",
        "counter",
        "Total number of times that runner is not fed to workers",
    ),
    ("gitlab_runner_worker_feeds_total", "counter", "Total number of times that runner is fed to workers"),
    (
        "gitlab_runner_worker_health_check_failures_total",
        "counter",
        "Total number of runner health check failures",
    ),
    ("gitlab_runner_worker_slots_number", "gauge", "Current number of runner worker slots"),
    ("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds."),
];

/// Labels in the order of their names, as the Prometheus client prints them.
type Labels = Vec<(&'static str, String)>;

/// All series of one runner process with one section.
#[derive(Debug)]
pub(super) struct Metrics {
    runner: String,
    runner_name: String,
    system_id: String,
    series: Mutex<BTreeMap<(&'static str, Labels), f64>>,
}

/// The label `runner`: nine characters behind the prefixes of the token.
pub(super) fn short_token(token: &str) -> String {
    let mut rest = token;
    for prefix in ["glrt-", "glrtr-", "t1_", "t2_", "t3_"] {
        rest = rest.strip_prefix(prefix).unwrap_or(rest);
    }
    rest.chars().take(9).collect()
}

impl Metrics {
    pub(super) fn new(token: &str, name: &str, system_id: &str, concurrent: usize, started: f64) -> Self {
        let this = Self {
            runner: short_token(token),
            runner_name: name.to_owned(),
            system_id: system_id.to_owned(),
            series: Mutex::default(),
        };
        this.set("gitlab_runner_concurrent", vec![], concurrent as f64);
        this.set("gitlab_runner_worker_slots_number", vec![], concurrent as f64);
        this.set("gitlab_runner_limit", this.named(), 0.0);
        this.set("gitlab_runner_configuration_loading_error_total", vec![], 0.0);
        this.add("gitlab_runner_configuration_loaded_total", vec![], 1.0);
        this.set("process_start_time_seconds", vec![], started);
        for level in ["panic", "fatal", "error", "warning"] {
            this.set("gitlab_runner_errors_total", vec![("level", level.to_owned())], 0.0);
        }
        for name in [
            "gitlab_runner_worker_feeds_total",
            "gitlab_runner_worker_feed_failures_total",
            "gitlab_runner_worker_health_check_failures_total",
        ] {
            this.set(name, this.named(), 0.0);
        }
        let build = [
            ("architecture", "amd64"),
            ("branch", "19-4-stable"),
            ("built_at", "1970-01-01T00:00:00Z"),
            ("go_version", "go1.25"),
            ("name", "gitlab-runner"),
            ("os", "linux"),
            ("revision", super::REVISION),
            ("version", super::VERSION),
        ];
        let labels = build.map(|(key, value)| (key, value.to_owned())).to_vec();
        this.set("gitlab_runner_version_info", labels, 1.0);
        this.process_state("starting");
        this
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(&'static str, Labels), f64>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, name: &'static str, labels: Labels, value: f64) {
        self.lock().insert((name, labels), value);
    }

    fn add(&self, name: &'static str, labels: Labels, value: f64) {
        *self.lock().entry((name, labels)).or_insert(0.0) += value;
    }

    fn named(&self) -> Labels {
        vec![
            ("runner", self.runner.clone()),
            ("runner_name", self.runner_name.clone()),
            ("system_id", self.system_id.clone()),
        ]
    }

    fn plain(&self) -> Labels {
        vec![("runner", self.runner.clone()), ("system_id", self.system_id.clone())]
    }

    // === events ===

    /// One finished request; `-1` when there was no usable answer. The series is born at 1.
    pub(super) fn request(&self, endpoint: &str, method: &str, status: &str) {
        let labels = vec![
            ("endpoint", endpoint.to_owned()),
            ("method", method.to_lowercase()),
            ("runner", self.runner.clone()),
            ("status", status.to_owned()),
            ("system_id", self.system_id.clone()),
        ];
        self.add("gitlab_runner_api_request_statuses_total", labels, 1.0);
    }

    pub(super) fn error(&self, level: &str) {
        self.add("gitlab_runner_errors_total", vec![("level", level.to_owned())], 1.0);
    }

    pub(super) fn fed(&self) {
        self.add("gitlab_runner_worker_feeds_total", self.named(), 1.0);
        // The row that makes `sum(gitlab_runner_jobs)` exist before the first job.
        self.jobs("idle", "", "", 0.0);
    }

    pub(super) fn not_fed(&self) {
        self.add("gitlab_runner_worker_feed_failures_total", self.named(), 1.0);
    }

    pub(super) fn unhealthy(&self) {
        self.add("gitlab_runner_worker_health_check_failures_total", self.named(), 1.0);
    }

    pub(super) fn exceeded(&self) {
        self.add("gitlab_runner_request_concurrency_exceeded_total", self.plain(), 1.0);
    }

    pub(super) fn in_flight(&self, requests: u32) {
        self.set("gitlab_runner_request_concurrency", self.plain(), f64::from(requests));
    }

    fn jobs(&self, state: &str, stage: &str, executor_stage: &str, by: f64) {
        let mut labels = vec![("executor_stage", executor_stage.to_owned())];
        labels.extend(self.named());
        labels.insert(3, ("stage", stage.to_owned()));
        labels.insert(4, ("state", state.to_owned()));
        let mut series = self.lock();
        let value = series.entry(("gitlab_runner_jobs", labels.clone())).or_insert(0.0);
        *value += by;
        if *value <= 0.0 && state != "idle" {
            series.remove(&("gitlab_runner_jobs", labels));
        }
    }

    pub(super) fn job_started(&self) {
        self.add("gitlab_runner_jobs_total", self.named(), 1.0);
        self.jobs("running", "step_script", "run", 1.0);
    }

    pub(super) fn job_ended(&self, failure: Option<&str>) {
        self.jobs("running", "step_script", "run", -1.0);
        if let Some(reason) = failure {
            let mut labels = vec![("failure_reason", reason.to_owned()), ("mode", "single".to_owned())];
            labels.push(("runner", self.runner.clone()));
            labels.push(("runner_name", self.runner_name.clone()));
            self.add("gitlab_runner_failed_jobs_total", labels, 1.0);
        }
    }

    pub(super) fn reloaded(&self) {
        self.add("gitlab_runner_configuration_loaded_total", vec![], 1.0);
    }

    /// One row only, value 1.
    pub(super) fn process_state(&self, state: &str) {
        self.lock().retain(|(name, _), _| *name != "gitlab_runner_process_state_info");
        self.set("gitlab_runner_process_state_info", vec![("state", state.to_owned())], 1.0);
    }

    // === page ===

    pub(super) fn page(&self) -> String {
        let series = self.lock();
        let mut page = String::new();
        for (name, kind, help) in FAMILIES {
            let mut rows = series.iter().filter(|((family, _), _)| *family == name).peekable();
            if rows.peek().is_none() {
                continue;
            }
            let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for ((_, labels), value) in rows {
                let escaped = |v: &str| v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                let labels: Vec<String> =
                    labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escaped(v))).collect();
                let labels =
                    if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
                let _ = writeln!(page, "{name}{labels} {value}");
            }
        }
        page
    }
}

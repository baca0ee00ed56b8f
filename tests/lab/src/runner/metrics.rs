//! The metrics page of a gitlab-runner 19: names, labels and births of its series.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const DURATIONS: &str = "gitlab_runner_api_request_duration_seconds";
const BUCKETS: [f64; 9] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Name, type, help, in the order of the page.
const FAMILIES: [(&str, &str, &str); 20] = [
    (
        DURATIONS,
        "histogram",
        "Latency histogram of API requests made by GitLab Runner, partitioned by runner, system_id, endpoint, \
         status_class and method.",
    ),
    (
        "gitlab_runner_api_request_retries_total",
        "counter",
        "The total number of retries made by GitLab Runner in process of completing a request, partitioned by path \
         and method.",
    ),
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

/// Requests up to each bound, and all of them.
#[derive(Debug, Default)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    sum: f64,
    count: u64,
}

impl Histogram {
    fn observe(&mut self, seconds: f64) {
        for (count, bound) in self.buckets.iter_mut().zip(BUCKETS) {
            *count += u64::from(seconds <= bound);
        }
        self.sum += seconds;
        self.count += 1;
    }
}

/// The label `status_class`.
fn status_class(status: &str) -> &'static str {
    match status.as_bytes().first() {
        Some(b'1') => "1xx",
        Some(b'2') => "2xx",
        Some(b'3') => "3xx",
        Some(b'4') => "4xx",
        Some(b'5') => "5xx",
        _ => "unknown",
    }
}

/// All series of one process, and those that belong to no section.
#[derive(Debug)]
pub(super) struct Process {
    series: Mutex<BTreeMap<(&'static str, Labels), f64>>,
    durations: Mutex<BTreeMap<Labels, Histogram>>,
}

/// The series of one section.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) process: Arc<Process>,
    runner: String,
    runner_name: String,
    system_id: String,
}

/// The label `runner`: nine characters behind the prefixes of the token.
pub(crate) fn short_token(token: &str) -> String {
    let mut rest = token;
    for prefix in ["glrt-", "glrtr-", "t1_", "t2_", "t3_"] {
        rest = rest.strip_prefix(prefix).unwrap_or(rest);
    }
    rest.chars().take(9).collect()
}

impl Process {
    pub(super) fn new(concurrent: usize, started: f64) -> Self {
        let this = Self { series: Mutex::default(), durations: Mutex::default() };
        this.set("gitlab_runner_concurrent", vec![], concurrent as f64);
        this.set("gitlab_runner_worker_slots_number", vec![], concurrent as f64);
        this.set("gitlab_runner_configuration_loading_error_total", vec![], 0.0);
        this.add("gitlab_runner_configuration_loaded_total", vec![], 1.0);
        this.set("process_start_time_seconds", vec![], started);
        for level in ["panic", "fatal", "error", "warning"] {
            this.set("gitlab_runner_errors_total", vec![("level", level.to_owned())], 0.0);
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

    // === events ===

    /// Attempts, the first one included, whatever its name says.
    pub(super) fn attempts(&self, path: &str, method: &str, count: u32) {
        let labels = vec![("method", method.to_lowercase()), ("path", path.to_owned())];
        self.add("gitlab_runner_api_request_retries_total", labels, f64::from(count));
    }

    pub(super) fn error(&self, level: &str) {
        self.add("gitlab_runner_errors_total", vec![("level", level.to_owned())], 1.0);
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
            let mut rows = String::new();
            for ((_, labels), value) in series.iter().filter(|((family, _), _)| *family == name) {
                line(&mut rows, name, labels, *value);
            }
            if name == DURATIONS {
                self.histograms(&mut rows);
            }
            if !rows.is_empty() {
                let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n{rows}");
            }
        }
        page
    }

    fn histograms(&self, page: &mut String) {
        let durations = self.durations.lock().unwrap_or_else(PoisonError::into_inner);
        for (labels, histogram) in durations.iter() {
            let bounds = BUCKETS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
            for (bound, count) in bounds.zip(histogram.buckets.into_iter().chain([histogram.count])) {
                let mut labels = labels.clone();
                labels.push(("le", bound));
                line(page, &format!("{DURATIONS}_bucket"), &labels, count as f64);
            }
            line(page, &format!("{DURATIONS}_sum"), labels, histogram.sum);
            line(page, &format!("{DURATIONS}_count"), labels, histogram.count as f64);
        }
    }
}

impl Metrics {
    pub(super) fn new(process: Arc<Process>, token: &str, name: &str, system_id: &str) -> Self {
        let this = Self {
            process,
            runner: short_token(token),
            runner_name: name.to_owned(),
            system_id: system_id.to_owned(),
        };
        for name in [
            "gitlab_runner_limit",
            "gitlab_runner_worker_feeds_total",
            "gitlab_runner_worker_feed_failures_total",
            "gitlab_runner_worker_health_check_failures_total",
        ] {
            this.process.set(name, this.named(), 0.0);
        }
        this
    }

    /// `gitlab_runner_limit` alone is written from the configuration; what was counted stays until the process ends.
    pub(super) fn taken_out(&self) {
        self.process.lock().remove(&("gitlab_runner_limit", self.named()));
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

    /// One finished request, with its retries and its hold; `-1` when there was no usable answer. The series is born
    /// at 1.
    pub(super) fn request(&self, endpoint: &str, method: &str, status: &str, took: Duration) {
        let labels = |name, value: &str| {
            vec![
                ("endpoint", endpoint.to_owned()),
                ("method", method.to_lowercase()),
                ("runner", self.runner.clone()),
                (name, value.to_owned()),
                ("system_id", self.system_id.clone()),
            ]
        };
        // Both or none on one page, as the real collector has it.
        let mut series = self.process.lock();
        let counted = ("gitlab_runner_api_request_statuses_total", labels("status", status));
        *series.entry(counted).or_insert(0.0) += 1.0;
        let mut durations = self.process.durations.lock().unwrap_or_else(PoisonError::into_inner);
        let histogram = durations.entry(labels("status_class", status_class(status))).or_default();
        histogram.observe(took.as_secs_f64());
    }

    pub(super) fn fed(&self) {
        self.process.add("gitlab_runner_worker_feeds_total", self.named(), 1.0);
        // The row that makes `sum(gitlab_runner_jobs)` exist before the first job.
        self.jobs("idle", "", "", 0.0);
    }

    pub(super) fn not_fed(&self) {
        self.process.add("gitlab_runner_worker_feed_failures_total", self.named(), 1.0);
    }

    pub(super) fn unhealthy(&self) {
        self.process.add("gitlab_runner_worker_health_check_failures_total", self.named(), 1.0);
    }

    pub(super) fn exceeded(&self) {
        self.process.add("gitlab_runner_request_concurrency_exceeded_total", self.plain(), 1.0);
    }

    pub(super) fn in_flight(&self, requests: u32) {
        self.process.set("gitlab_runner_request_concurrency", self.plain(), f64::from(requests));
    }

    fn jobs(&self, state: &str, stage: &str, executor_stage: &str, by: f64) {
        let mut labels = vec![("executor_stage", executor_stage.to_owned())];
        labels.extend(self.named());
        labels.insert(3, ("stage", stage.to_owned()));
        labels.insert(4, ("state", state.to_owned()));
        let mut series = self.process.lock();
        let value = series.entry(("gitlab_runner_jobs", labels.clone())).or_insert(0.0);
        *value += by;
        if *value <= 0.0 && state != "idle" {
            series.remove(&("gitlab_runner_jobs", labels));
        }
    }

    pub(super) fn job_started(&self) {
        self.process.add("gitlab_runner_jobs_total", self.named(), 1.0);
        self.jobs("running", "step_script", "run", 1.0);
    }

    pub(super) fn job_ended(&self, failure: Option<&str>) {
        self.jobs("running", "step_script", "run", -1.0);
        if let Some(reason) = failure {
            let mut labels = vec![("failure_reason", reason.to_owned()), ("mode", "single".to_owned())];
            labels.push(("runner", self.runner.clone()));
            labels.push(("runner_name", self.runner_name.clone()));
            self.process.add("gitlab_runner_failed_jobs_total", labels, 1.0);
        }
    }
}

fn line(page: &mut String, name: &str, labels: &[(&str, String)], value: f64) {
    let escaped = |v: &str| v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escaped(v))).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let _ = writeln!(page, "{name}{labels} {value}");
}

//! Every metric, typed. Counters are touched where the thing happens; state gauges come from the [`Status`] snapshot
//! at scrape time, so what vanishes from the world vanishes from the metrics.

mod classic;
mod page;
mod process;
mod snapshot;
mod web;

use std::sync::{Arc, atomic::AtomicU64};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use tokio::sync::watch;

pub use page::{Labels, Page, family, seconds};

pub use web::WebMetrics;

use crate::{
    alert::Ended,
    model::{Action, Timestamp},
    status::Status,
    store::Store,
};

macro_rules! labels {
    ($($type:ident { $($field:ident),* })*) => {$(
        #[doc = concat!("The labels ", stringify!($($field),*), ".")]
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $type { $(#[doc = "Label."] pub $field: String),* }
    )*};
}

labels! {
    Code { code }
    AlertLabels { action, outcome }
    DecisionLabels { fleet, outcome, reason }
    StepLabels { fleet, kind, outcome }
    PhaseLabels { fleet, phase }
    RequestLabels { operation, code }
    Operation { operation }
    AskedLabels { fleet, outcome }
    Server { server }
    PollLabels { server, outcome }
    EndedLabels { action, reason }
    Reason { reason }
    Credential { credential }
    Docs { url }
}

/// No label: a family that appears with its first value.
pub type NoLabels = [(String, String); 0];

type Seconds = Gauge<f64, AtomicU64>;

/// A histogram that knows its own buckets.
#[derive(Debug, Clone)]
pub struct Buckets(f64, f64, u16);

impl prometheus_client::metrics::family::MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(exponential_buckets(self.0, self.1, self.2))
    }
}

/// Every metric.
#[derive(Debug)]
pub struct Metrics {
    page: Page,
    /// Webhook requests by HTTP status code.
    pub webhook_requests: Family<Code, Counter>,
    /// From the request's arrival to its answer.
    pub webhook_duration: Histogram,
    /// Reads of the API that were refused because too many others were being answered.
    pub reads_refused: Counter,
    /// Alerts by action and what became of them.
    pub alerts_received: Family<AlertLabels, Counter>,
    /// Decisions by outcome and gate.
    pub decisions: Family<DecisionLabels, Counter>,
    /// People's requests by what came of them.
    pub requests: Family<AskedLabels, Counter>,
    /// Steps by kind and outcome.
    pub steps: Family<StepLabels, Counter>,
    /// How long the phases of a move took.
    pub failover_duration: Family<PhaseLabels, Histogram, Buckets>,
    /// Requests to GitLab.
    pub gitlab_requests: Family<RequestLabels, Counter>,
    /// Their duration.
    pub gitlab_request_duration: Family<Operation, Histogram, Buckets>,
    /// What GitLab said is left of the rate limit.
    pub gitlab_rate_limit_remaining: Family<NoLabels, Gauge>,
    /// Passes of the loop.
    pub passes: Counter,
    /// Passes that could not be finished.
    pub pass_failures: Counter,
    /// Periods in which none began.
    pub periods_missed: Counter,
    /// How long they took.
    pub pass_duration: Histogram,
    /// When the last pass began.
    pub pass_last_attempt: Seconds,
    /// When the last pass ended well.
    pub pass_last_success: Seconds,
    /// Whether the last reload was taken over.
    pub reload_successful: Gauge,
    /// When a configuration was last taken over.
    pub reload_success_time: Seconds,
    /// Whether each Alertmanager answers the catch-up poll.
    pub alertmanager_up: Family<Server, Gauge>,
    /// Whether the list of each may be taken for complete.
    pub alertmanager_knows_all: Family<Server, Gauge>,
    /// Catch-up polls by what came of them.
    pub alertmanager_polls: Family<PollLabels, Counter>,
    /// Episodes that the catch-up poll ended, by why.
    pub alerts_ended: Family<EndedLabels, Counter>,
    /// The listener.
    pub web: WebMetrics,
    /// Whether the file of each credential could be read.
    pub credential_good: Family<Credential, Gauge>,
    /// Where this version's documentation is served; always 1.
    pub docs: Family<Docs, Gauge>,
}

impl Metrics {
    /// Makes and registers every metric. State gauges are read from `status` at each scrape.
    pub fn new(status: watch::Receiver<Arc<Status>>, store: Store, start: Timestamp) -> Self {
        let metrics = Self {
            webhook_requests: Family::default(),
            webhook_duration: Histogram::new(exponential_buckets(0.0005, 2.0, 14)),
            reads_refused: Counter::default(),
            alerts_received: Family::default(),
            decisions: Family::default(),
            requests: Family::default(),
            steps: Family::default(),
            failover_duration: Family::new_with_constructor(Buckets(0.25, 2.0, 14)),
            gitlab_requests: Family::default(),
            gitlab_request_duration: Family::new_with_constructor(Buckets(0.01, 2.0, 12)),
            gitlab_rate_limit_remaining: Family::default(),
            passes: Counter::default(),
            pass_failures: Counter::default(),
            periods_missed: Counter::default(),
            pass_duration: Histogram::new(exponential_buckets(0.005, 2.0, 14)),
            pass_last_attempt: Seconds::default(),
            pass_last_success: Seconds::default(),
            reload_successful: Gauge::default(),
            reload_success_time: Seconds::default(),
            alertmanager_up: Family::default(),
            alertmanager_knows_all: Family::default(),
            alertmanager_polls: Family::default(),
            alerts_ended: Family::default(),
            web: WebMetrics::default(),
            credential_good: Family::default(),
            docs: Family::default(),
            page: Page::default(),
        };
        let page = Page::new(start, |ours| {
            metrics.register(ours);
            ours.register_collector(Box::new(snapshot::Snapshot(status)));
            ours.register_collector(Box::new(snapshot::StoreStats(store)));
        });
        Self { page, ..metrics }
    }

    fn register(&self, r: &mut Registry) {
        let seconds = || Unit::Seconds;
        r.register("webhook_requests", "Webhook requests by HTTP status code", self.webhook_requests.clone());
        r.register_with_unit(
            "webhook_request_duration",
            "Time from a webhook request's arrival to its answer",
            seconds(),
            self.webhook_duration.clone(),
        );
        r.register(
            "reads_refused",
            "Reads of the API that were refused because too many others were being answered",
            self.reads_refused.clone(),
        );
        r.register(
            "alerts_received",
            "Alerts by action and what became of them",
            self.alerts_received.clone(),
        );
        r.register("decisions", "Passes that decided or changed their outcome", self.decisions.clone());
        r.register(
            "requests",
            "Planned moves that people asked for, by what came of them",
            self.requests.clone(),
        );
        r.register("steps", "Steps of plans by kind and outcome", self.steps.clone());
        r.register_with_unit(
            "failover_duration",
            "Time that the phases of a move took",
            seconds(),
            self.failover_duration.clone(),
        );
        r.register(
            "gitlab_requests",
            "Requests to GitLab by operation and code",
            self.gitlab_requests.clone(),
        );
        r.register_with_unit(
            "gitlab_request_duration",
            "Time that requests to GitLab took",
            seconds(),
            self.gitlab_request_duration.clone(),
        );
        r.register(
            "gitlab_rate_limit_remaining",
            "What GitLab last said is left of the rate limit",
            self.gitlab_rate_limit_remaining.clone(),
        );
        r.register("passes", "Passes of the decision loop", self.passes.clone());
        r.register("pass_failures", "Passes that could not be finished", self.pass_failures.clone());
        r.register(
            "periods_missed",
            "Whole periods of the loop in which no pass began",
            self.periods_missed.clone(),
        );
        r.register_with_unit("pass_duration", "Time that passes took", seconds(), self.pass_duration.clone());
        r.register_with_unit(
            "pass_last_timestamp",
            "When the last pass began",
            seconds(),
            self.pass_last_attempt.clone(),
        );
        r.register_with_unit(
            "pass_last_success_timestamp",
            "When the last pass ended well",
            seconds(),
            self.pass_last_success.clone(),
        );
        r.register(
            "config_last_reload_successful",
            "Whether the last configuration reload was taken over",
            self.reload_successful.clone(),
        );
        r.register_with_unit(
            "config_last_reload_success_timestamp",
            "When a configuration was last taken over",
            seconds(),
            self.reload_success_time.clone(),
        );
        r.register(
            "alertmanager_up",
            "Whether an Alertmanager answered the last catch-up poll",
            self.alertmanager_up.clone(),
        );
        r.register(
            "alertmanager_knows_all",
            "Whether an Alertmanager is settled and up for long enough that an alert missing from its list has ended",
            self.alertmanager_knows_all.clone(),
        );
        r.register(
            "alertmanager_polls",
            "Catch-up polls of an Alertmanager by what came of them",
            self.alertmanager_polls.clone(),
        );
        for action in [Action::Failover, Action::Failback] {
            for reason in Ended::ALL {
                let (action, reason) = (action.as_str().to_owned(), reason.as_str().to_owned());
                drop(self.alerts_ended.get_or_create(&EndedLabels { action, reason }));
            }
        }
        r.register(
            "alerts_ended",
            "Episodes that the catch-up poll ended because Alertmanager no longer lets the alert through",
            self.alerts_ended.clone(),
        );
        self.web.register(r);
        r.register(
            "credential_file_good",
            "Whether the file of a credential could be read when it was last looked at",
            self.credential_good.clone(),
        );
        r.register("docs_info", "Where this version's documentation is served; always 1", self.docs.clone());
    }

    /// All metrics, as they are shown.
    pub fn page(&self) -> &Page {
        &self.page
    }
}

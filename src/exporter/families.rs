//! The table of what the exporter shows: names, labels and meaning in one place, which the documentation is checked
//! against.

/// How a family's samples are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A value that goes up and down.
    Gauge,
    /// A value that only goes up; its name ends in `_total`.
    Counter,
    /// How many values lie below some bounds.
    Histogram,
    /// Labels of something that exists; its name ends in `_info` and its value is 1.
    Info,
}

/// One family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// The name, without prefix, unit and suffix.
    pub stem: &'static str,
    /// How its samples are to be read.
    pub kind: Type,
    /// The unit is seconds.
    pub seconds: bool,
    /// The labels beside `runner_cluster`, which comes first everywhere.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

impl Family {
    /// The whole name, as Prometheus stores it.
    pub fn name(&self) -> String {
        let unit = if self.seconds { "_seconds" } else { "" };
        let suffix = match self.kind {
            Type::Gauge | Type::Histogram => "",
            Type::Counter => "_total",
            Type::Info => "_info",
        };
        format!("switchyard_{}{unit}{suffix}", self.stem)
    }
}

macro_rules! families {
    ($($id:ident = $stem:literal $kind:ident $(in $unit:ident)? [$($label:ident),*] $help:literal;)*) => {
        /// What the exporter shows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Id { $(#[doc = $help] $id,)* }

        /// Every family, in the order of the page.
        pub const FAMILIES: &[Family] = &[$(Family {
            stem: $stem,
            kind: Type::$kind,
            seconds: families!(@unit $($unit)?),
            labels: &[$(stringify!($label)),*],
            help: $help,
        },)*];
    };
    (@unit seconds) => { true };
    (@unit) => { false };
}

families! {
    ObjectVerdict = "object_verdict" Gauge [object_cluster, kind, namespace, name, verdict, reason]
        "What is to be thought of a watched object, in the cluster that it is about; always 1, one series per object.";
    ApiUp = "cluster_api_up" Gauge []
        "Whether the cluster's API answered the exporter's own probe.";
    ApiProbeFailed = "cluster_api_probe_failed" Gauge [reason]
        "Why the exporter's own probe of the cluster's API failed: 1 for the reason, 0 for all others.";
    ApiLastSuccess = "cluster_api_last_success_timestamp" Gauge in seconds []
        "When the cluster's API last answered the exporter's own probe.";
    ApiProbeDuration = "cluster_api_probe_duration" Gauge in seconds []
        "How long the last probe of the cluster's API took.";

    RunnerPods = "runner_pods" Gauge [fleet, namespace, phase, ready]
        "Runner pods of a fleet by phase and readiness.";
    RunnerPodRestarts = "runner_pod_restarts" Gauge [fleet, namespace, pod]
        "Restarts of a runner pod's containers.";

    LastCompleted = "velero_last_completed_backup_start_timestamp" Gauge in seconds
        [namespace, schedule, location, bucket, prefix, store]
        "When the newest completed backup began; what changed later may be missing from it.";
    Rpo = "velero_rpo" Gauge in seconds [namespace, schedule, location, bucket, prefix, store]
        "How long ago the start of the schedule's newest completed backup may be, as this cluster says.";
    RpoUnknown = "velero_rpo_unknown" Gauge in seconds []
        "The same for schedules of which no cluster says it.";
    ScheduleStanding = "velero_schedule_standing" Gauge
        [namespace, schedule, location, bucket, prefix, store, standing]
        "What is to be expected of a schedule's backups in a location; always 1, one series per schedule and location.";
    Backups = "velero_backups" Gauge [namespace, schedule, phase]
        "Backups by phase.";
    BackupsStuck = "velero_backups_stuck" Gauge [namespace, schedule]
        "Backups that run or wait for too long.";
    BackupsVanished = "velero_backups_vanished" Counter [namespace, schedule, location]
        "Backups that could be restored and are gone, neither expired nor deleted here.";
    SchedulePaused = "velero_schedule_paused" Gauge [namespace, schedule]
        "Whether a person stopped the schedule.";
    ScheduleInterval = "velero_schedule_interval" Gauge in seconds [namespace, schedule]
        "The longest time from one run of the schedule to the next.";
    ScheduleLastBackup = "velero_schedule_last_backup_timestamp" Gauge in seconds [namespace, schedule]
        "When the schedule last submitted a backup; no sign of its success.";
    LocationInfo = "velero_backup_location" Info
        [namespace, location, provider, bucket, prefix, endpoint, store, access_mode, default]
        "Where a backup location is; locations of one store share its backups.";
    LocationAvailable = "velero_backup_location_available" Gauge [namespace, location]
        "Whether the location's bucket could be listed when it was last validated.";
    LocationValidated = "velero_backup_location_validated_timestamp" Gauge in seconds [namespace, location]
        "When the location was last validated: the heartbeat of the Velero server.";
    LocationSynced = "velero_backup_location_synced_timestamp" Gauge in seconds [namespace, location]
        "When backups were last read from the location.";
    LocationWriters = "velero_backup_location_writers" Gauge [namespace, location]
        "Locations that may write to the same store, over all clusters of this exporter.";
    LocationBackups = "velero_backup_location_backups" Gauge [namespace, location]
        "Backups in the location that can be restored; absent until the exporter has seen one there.";
    LocationEmptied = "velero_backup_location_emptied" Gauge [namespace, location]
        "Whether all backups vanished from the location, neither expired nor deleted here, and none came since.";
    Restores = "velero_restores" Gauge [namespace, phase]
        "Restores by phase.";

    ApplicationInfo = "argocd_application" Info
        [object_cluster, namespace, name, project, health, sync, operation_phase, autosync,
         repo, target_revision, path, chart, destination]
        "What an Argo CD application says of itself.";
    ApplicationReconciled = "argocd_application_reconciled_timestamp" Gauge in seconds [object_cluster, namespace, name]
        "When an Argo CD application was last compared: the heartbeat of its controller, not of its destination.";

    FluxReady = "flux_object_ready" Gauge [kind, namespace, name]
        "Whether a Flux object says that it is ready, about its current spec; absent when it does not say.";
    FluxGenerationCurrent = "flux_object_generation_current" Gauge [kind, namespace, name]
        "Whether what a Flux object says is about its current spec.";
    FluxSuspended = "flux_object_suspended" Gauge [kind, namespace, name]
        "Whether a person stopped a Flux object.";
    FluxInfo = "flux_object" Info
        [kind, namespace, name, revision, source_kind, source_namespace, source_name]
        "The revision of a Flux object and the source that it comes from.";
    FluxReconciled = "flux_object_reconciled_timestamp" Gauge in seconds [kind, namespace, name]
        "When its controller was last seen to do something with a Flux object.";
    FluxInterval = "flux_object_interval" Gauge in seconds [kind, namespace, name]
        "How often a Flux object shall be reconciled.";

    Convergence = "gitops_convergence" Gauge in seconds [object_cluster, tool, source, state]
        "From the first sight of a revision to everything being ready on it: the last one done, and the one open.";

    ConvergenceDuration = "gitops_convergence_duration" Histogram in seconds [object_cluster, tool, source]
        "From the first sight of a revision to everything being ready on it, of all that arrived.";

    CollectorUp = "exporter_collector_up" Gauge [collector]
        "Whether everything of a kind is known, and the API said so lately.";
    CollectorLastSuccess = "exporter_collector_last_success_timestamp" Gauge in seconds [collector]
        "When the API last answered a collector.";
    CollectorErrors = "exporter_collector_errors" Counter [collector, reason]
        "Failures of a collector.";
    CrdInstalled = "exporter_crd_installed" Gauge [crd]
        "Whether a CRD is installed; absent as long as nobody knows.";
    Objects = "exporter_objects" Gauge [kind]
        "Objects that are kept in memory.";
}

//! The words of a judgement.

use std::{collections::BTreeMap, fmt};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{Destinations, Object};

/// What is to be thought of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It says that it is well, and something alive says so now.
    Healthy,
    /// It says that it is not well.
    Unhealthy,
    /// What it says cannot be trusted, or it says nothing. Never read as healthy.
    Unknown,
    /// It is on its way.
    Progressing,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Unhealthy, Self::Unknown, Self::Progressing];

    /// The word, as in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
            Self::Progressing => "progressing",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $verdict:ident;)*) => {
        /// Why an object is judged so. Every reason belongs to one verdict.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word, as in metrics.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The verdict that it leads to.
            pub fn verdict(self) -> Verdict {
                match self { $(Self::$name => Verdict::$verdict,)* }
            }
        }
    };
}

reasons! {
    /// Nothing is wrong, and the heartbeat is fresh where there is one.
    Ok = "ok", Healthy;

    /// A field has a type or form that is not known.
    Unreadable = "unreadable", Unknown;
    /// Its kind cannot be read at the moment: what is known of it may be old.
    NotWatched = "not_watched", Unknown;
    /// A word that this version does not know.
    UnknownWord = "unknown_word", Unknown;
    /// No controller has looked at it yet, or ever.
    NeverReconciled = "never_reconciled", Unknown;
    /// No controller looks at objects like it: what uses it tells.
    NotReconciled = "not_reconciled", Unknown;
    /// A time that should be there is not.
    TimestampAbsent = "timestamp_absent", Unknown;
    /// What should move has not moved for several intervals: its controller is dead, stuck or cut off.
    HeartbeatStale = "heartbeat_stale", Unknown;
    /// Nothing of it moves while all is well, and nothing proves that its controller lives.
    HeartbeatAbsent = "heartbeat_absent", Unknown;
    /// A request to reconcile was not taken up.
    HandshakeUnanswered = "handshake_unanswered", Unknown;
    /// A time lies in the future: a clock is wrong.
    InTheFuture = "in_the_future", Unknown;
    /// What it says is about an older spec.
    GenerationBehind = "generation_behind", Unknown;
    /// A person stopped it; its last state stands for ever.
    Suspended = "suspended", Unknown;
    /// It does not sync by itself; its last state stands until a person syncs it.
    ManualSync = "manual_sync", Unknown;
    /// It was never due yet, or never ran.
    NeverRan = "never_ran", Unknown;
    /// It should have run and did not.
    Overdue = "overdue", Unknown;
    /// What it depends on was not looked at.
    RelatedUnseen = "related_unseen", Unknown;
    /// The backup location that it uses is unknown.
    LocationUnknown = "location_unknown", Unknown;
    /// Backups have not been read from the bucket for several periods.
    SyncStale = "sync_stale", Unknown;
    /// Items may have been skipped: only the result in the bucket tells.
    WarningsUnread = "warnings_unread", Unknown;
    /// It ended well and restored nothing.
    NothingRestored = "nothing_restored", Unknown;
    /// The wanted or the live state could not be compared.
    ComparisonFailed = "comparison_failed", Unknown;
    /// Its spec points nowhere.
    InvalidSpec = "invalid_spec", Unknown;
    /// Whether it is in sync is not known.
    SyncUnknown = "sync_unknown", Unknown;
    /// Its health is not known.
    HealthUnknown = "health_unknown", Unknown;
    /// It deploys to a cluster of which nobody said which one it is.
    DestinationUnmapped = "destination_unmapped", Unknown;
    /// It is healthy because there is nothing of it.
    NothingDeployed = "nothing_deployed", Unknown;
    /// The source that it comes from is unknown.
    SourceUnknown = "source_unknown", Unknown;

    /// It is being deleted.
    Deleting = "deleting", Progressing;
    /// It waits for its turn.
    Waiting = "waiting", Progressing;
    /// It runs.
    Running = "running", Progressing;
    /// An operation failed and is tried again.
    Retrying = "retrying", Progressing;
    /// Its controller works on it.
    Reconciling = "reconciling", Progressing;
    /// Its source has a revision that is not applied yet.
    RevisionBehind = "revision_behind", Progressing;
    /// Its workload is not there yet.
    Rollout = "rollout", Progressing;

    /// It runs or waits for far too long.
    Stuck = "stuck", Unhealthy;
    /// It failed.
    Failed = "failed", Unhealthy;
    /// A part of it failed, perhaps all.
    PartiallyFailed = "partially_failed", Unhealthy;
    /// It is not valid, and nothing ran.
    FailedValidation = "failed_validation", Unhealthy;
    /// The last backup of the schedule that ended did not succeed.
    LastBackupFailed = "last_backup_failed", Unhealthy;
    /// A backup of the schedule is stuck, and no other starts before it ends.
    BackupStuck = "backup_stuck", Unhealthy;
    /// The schedule ran and there is no completed backup.
    NoCompletedBackup = "no_completed_backup", Unhealthy;
    /// The newest completed backup began longer ago than the schedule's interval and the tolerance allow.
    BackupTooOld = "backup_too_old", Unhealthy;
    /// The bucket cannot be listed.
    Unavailable = "unavailable", Unhealthy;
    /// Another location writes to the same bucket and prefix.
    TwoWriters = "two_writers", Unhealthy;
    /// The backup location that it uses is not well.
    LocationUnhealthy = "location_unhealthy", Unhealthy;
    /// The backup location that it uses does not exist.
    LocationMissing = "location_missing", Unhealthy;
    /// The live state is not the wanted one.
    OutOfSync = "out_of_sync", Unhealthy;
    /// An operation runs for far too long.
    OperationStuck = "operation_stuck", Unhealthy;
    /// The last operation failed.
    OperationFailed = "operation_failed", Unhealthy;
    /// Syncing failed.
    SyncFailed = "sync_failed", Unhealthy;
    /// A workload is broken.
    Degraded = "degraded", Unhealthy;
    /// Something of it is not in the cluster.
    Missing = "missing", Unhealthy;
    /// It gave up until its spec changes.
    Stalled = "stalled", Unhealthy;
    /// Its source, or the source's artifact, cannot be had.
    ArtifactFailed = "artifact_failed", Unhealthy;
    /// Its manifests cannot be built.
    BuildFailed = "build_failed", Unhealthy;
    /// Its manifests cannot be applied.
    ApplyFailed = "apply_failed", Unhealthy;
    /// Its workloads did not become healthy.
    HealthCheckFailed = "health_check_failed", Unhealthy;
    /// What must be ready before it is not.
    DependencyNotReady = "dependency_not_ready", Unhealthy;
    /// The source that it comes from does not exist.
    SourceMissing = "source_missing", Unhealthy;
    /// The source that it comes from is not well.
    SourceUnhealthy = "source_unhealthy", Unhealthy;
    /// It says that it is not ready.
    NotReady = "not_ready", Unhealthy;
    /// A container of it dies again and again, or its image cannot be had.
    Crashing = "crashing", Unhealthy;
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is to be thought of an object, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The reason.
    pub reason: Reason,
    /// The reason for people, with what was seen.
    pub sentence: String,
}

impl Judgement {
    pub(super) fn new(reason: Reason, sentence: impl Into<String>) -> Self {
        Self { verdict: reason.verdict(), reason, sentence: sentence.into() }
    }
}

/// How long is too long.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// So many intervals without a heartbeat make an object unknown.
    pub missed: i32,
    /// So far in the future a time may lie, because clocks differ.
    pub skew: SignedDuration,
    /// How often Velero validates a location that does not say it.
    pub location_interval: SignedDuration,
    /// How often Argo CD compares an application at least: resync and jitter.
    pub application_interval: SignedDuration,
    /// How long an operation of Argo CD may run, its retries included.
    pub operation: SignedDuration,
    /// Which runner clusters the destinations of Argo CD are.
    pub destinations: Destinations,
    /// How late a schedule may be: Velero looks once a minute, and backups queue.
    pub schedule_late: SignedDuration,
    /// How much longer than the schedule's interval the start of the newest completed backup may be ago: a backup takes its
    /// time, and waits for others.
    pub rpo_tolerance: SignedDuration,
    /// How long ago it may be where no cluster with the schedule is known.
    pub rpo_unknown: SignedDuration,
    /// By namespace and name of a schedule: how long ago it may be, whatever the interval; none: it does not matter.
    pub rpo: BTreeMap<(String, String), Option<SignedDuration>>,
    /// How long a backup or restore may wait for its turn.
    pub waiting: SignedDuration,
    /// How long a backup or restore may run.
    pub running: SignedDuration,
    /// How long a pod may take to become ready.
    pub pod_start: SignedDuration,
    /// How long a request to reconcile may go unanswered, beside the object's own timeout.
    pub handshake: SignedDuration,
    /// An application that a person syncs may be healthy.
    pub accept_manual_sync: bool,
    /// A Flux object of which nothing moves while all is well may be healthy without proof of life.
    pub accept_silent: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            missed: 3,
            skew: SignedDuration::from_mins(5),
            location_interval: SignedDuration::from_secs(70),
            application_interval: SignedDuration::from_secs(180),
            operation: SignedDuration::from_mins(15),
            destinations: Destinations::default(),
            schedule_late: SignedDuration::from_mins(5),
            rpo_tolerance: SignedDuration::from_hours(2),
            rpo_unknown: SignedDuration::from_hours(26),
            rpo: BTreeMap::new(),
            waiting: SignedDuration::from_hours(1),
            running: SignedDuration::from_hours(4),
            pod_start: SignedDuration::from_mins(10),
            handshake: SignedDuration::from_mins(5),
            accept_manual_sync: false,
            accept_silent: false,
        }
    }
}

impl Limits {
    /// How long ago the newest completed backup of a schedule may have begun; none when it does not matter.
    pub(super) fn rpo_of(&self, schedule: &Object, interval: SignedDuration) -> Option<SignedDuration> {
        let key = (schedule.namespace.clone(), schedule.name.clone());
        self.rpo.get(&key).copied().unwrap_or_else(|| Some(interval.saturating_add(self.rpo_tolerance)))
    }
}

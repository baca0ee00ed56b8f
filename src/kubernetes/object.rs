//! One object, trimmed to the fields that judgement and metrics need, so that memory stays bounded.
//!
//! A field that is absent stays absent: no time is ever read as zero. Words of enums stay words, because newer
//! versions of the tools bring new ones.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{Kind, reader::Unreadable};

/// One object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When it was made *here*: for a Velero backup that came by sync, the time of the sync.
    pub created: Option<Timestamp>,
    /// It is being deleted.
    pub deleting: bool,
    /// The generation of its spec; of its status too where there is no status subresource.
    pub generation: Option<i64>,
    /// What it says.
    pub detail: Detail,
}

impl Object {
    /// A backup that somebody deletes on purpose: it says so before it is gone.
    pub(crate) fn is_being_retired(&self) -> bool {
        match &self.detail {
            Detail::Backup(backup) => self.deleting || backup.phase.as_deref() == Some("Deleting"),
            _ => false,
        }
    }
}

/// What an object says, by kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Detail {
    /// A runner's pod.
    Pod(Pod),
    /// A Velero backup.
    Backup(Backup),
    /// A Velero schedule.
    Schedule(Schedule),
    /// A Velero location.
    Location(Location),
    /// A Velero restore.
    Restore(Restore),
    /// An Argo CD application.
    Application(Box<Application>),
    /// A Flux object of any kind.
    Flux(Box<Flux>),
    /// Something that could not be read.
    Unreadable(Unreadable),
}

/// A runner's pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pod {
    /// The fleets whose selector chose it; set by who watches.
    pub fleets: BTreeSet<String>,
    /// Pending, Running, Succeeded, Failed, Unknown.
    pub phase: Option<String>,
    /// The status of the condition Ready: True, False, Unknown.
    pub ready: Option<String>,
    /// Restarts of all containers.
    pub restarts: i64,
    /// Why a container waits, such as CrashLoopBackOff.
    pub waiting: Option<String>,
}

/// A Velero backup.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Backup {
    /// The schedule that made it; none for one made by hand.
    pub schedule: Option<String>,
    /// Where it is stored.
    pub location: Option<String>,
    /// The phase; none for one that nobody has looked at.
    pub phase: Option<String>,
    /// When it began: what changed later may be missing from it.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub completed: Option<Timestamp>,
    /// When it may be deleted.
    pub expires: Option<Timestamp>,
    /// Why it failed, cut short.
    pub failure: Option<String>,
}

impl Backup {
    /// Whether Velero's sync brought it from the bucket: then its object was made after it had ended. Not after it had
    /// begun: that is the same second for an own one, by two clocks. Not known of what has no end.
    pub(super) fn was_brought(&self, object: &Object) -> Option<bool> {
        match self.phase.as_deref() {
            // Nothing was uploaded.
            Some("Failed" | "FailedValidation") => Some(false),
            _ => Some(object.created? > self.completed?),
        }
    }
}

/// A Velero schedule.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schedule {
    /// When it is due, as Velero reads it.
    pub cron: String,
    /// The longest time from one run to the next; none when the cron expression cannot be read.
    pub interval: Option<SignedDuration>,
    /// A person stopped it.
    pub paused: bool,
    /// The location that it names; none for the default one.
    pub location: Option<String>,
    /// New, Enabled, FailedValidation.
    pub phase: Option<String>,
    /// When it last submitted a backup; no sign that the backup succeeded.
    pub last_backup: Option<Timestamp>,
    /// When it last let a run pass by, as it was told to.
    pub last_skipped: Option<Timestamp>,
    /// What is wrong with it, cut short.
    pub failure: Option<String>,
}

/// A Velero location.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Location {
    /// Available or Unavailable; none for one that was not validated yet.
    pub phase: Option<String>,
    /// When it was last validated: the heartbeat of the Velero server.
    pub validated: Option<Timestamp>,
    /// When backups were last read from it; frozen while it is unavailable.
    pub synced: Option<Timestamp>,
    /// How often it is validated; none for Velero's default, zero for never.
    pub validation_period: Option<SignedDuration>,
    /// How often it is synced; none for Velero's default, zero for never.
    pub sync_period: Option<SignedDuration>,
    /// Who serves the bucket.
    pub provider: String,
    /// The bucket.
    pub bucket: String,
    /// The prefix in it.
    pub prefix: String,
    /// Address of the store, without credentials; empty for the provider's own.
    pub endpoint: String,
    /// Velero may not write there.
    pub read_only: bool,
    /// Schedules that name no location use it.
    pub default: bool,
}

impl Location {
    /// What tells the stores of backups apart, over clusters too: two stores may have buckets of one name. An address that
    /// only means something inside a cluster is another store in each.
    pub fn store(&self, cluster: &str) -> String {
        let Self { provider, bucket, prefix, endpoint, .. } = self;
        let provider = provider.strip_prefix("velero.io/").unwrap_or(provider);
        let endpoint = endpoint.to_ascii_lowercase();
        let endpoint = match endpoint.split_once("://") {
            Some(("https", rest)) => format!("https://{}", rest.strip_suffix(":443").unwrap_or(rest)),
            Some(("http", rest)) => format!("http://{}", rest.strip_suffix(":80").unwrap_or(rest)),
            _ => endpoint,
        };
        let host = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, rest)| rest);
        let host = host.split(['/', ':']).next().unwrap_or_default();
        let inside = !host.is_empty()
            && (!host.contains('.')
                || host.ends_with(".svc")
                || host.contains(".svc.")
                || host.starts_with("127."));
        let scope = if inside { format!("{cluster}/") } else { String::new() };
        format!("{provider}:{scope}{endpoint}/{bucket}/{prefix}")
    }
}

/// A Velero restore.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Restore {
    /// The phase; none for one that nobody has looked at.
    pub phase: Option<String>,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended; absent when validation failed.
    pub completed: Option<Timestamp>,
    /// Items that it went through, those that it skipped too.
    pub items: Option<i64>,
    /// Warnings.
    pub warnings: i64,
    /// Why it failed, cut short.
    pub failure: Option<String>,
}

/// An Argo CD application.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Application {
    /// Its project.
    pub project: String,
    /// Repositories of its sources, without `.git`, joined by a comma.
    pub repo: String,
    /// The revision that it follows, of its sources, joined by a comma.
    pub target: String,
    /// The folders in the repositories, of its sources, joined by a comma.
    pub path: String,
    /// The charts, of its sources, joined by a comma.
    pub chart: String,
    /// The cluster that it deploys to: the server's address, or its name in Argo CD.
    pub cluster: String,
    /// Where it deploys to: the server's address, or the cluster's name, and the namespace.
    pub destination: String,
    /// It syncs by itself.
    pub autosync: bool,
    /// There is a status.
    pub seen: bool,
    /// When everything was last compared: the heartbeat of the controller, not of the destination.
    pub reconciled: Option<Timestamp>,
    /// Synced, OutOfSync, Unknown.
    pub sync: Option<String>,
    /// The revisions that were compared, joined by a comma.
    pub revision: Option<String>,
    /// Healthy, Suspended, Progressing, Missing, Degraded, Unknown.
    pub health: Option<String>,
    /// Conditions that are errors: type and message, cut short.
    pub errors: Vec<(String, String)>,
    /// How many resources it manages.
    pub resources: usize,
    /// The last operation.
    pub operation: Option<Operation>,
    /// An operation waits to be taken up.
    pub requested: bool,
}

/// An operation of an Argo CD application.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Operation {
    /// Running, Terminating, Failed, Error, Succeeded.
    pub phase: String,
    /// When it began; retries do not begin it anew.
    pub started: Option<Timestamp>,
    /// It changed nothing.
    pub dry_run: bool,
    /// It waits for a retry.
    pub retrying: bool,
    /// The revisions that it synced, joined by a comma.
    pub revision: Option<String>,
    /// What it says, cut short.
    pub message: String,
}

/// A Flux object of any kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Flux {
    /// A person stopped it.
    pub suspended: bool,
    /// A Helm repository of type `oci`: no controller looks at it.
    pub fixed: bool,
    /// How often it is reconciled.
    pub interval: Option<SignedDuration>,
    /// How long one reconciliation may take.
    pub timeout: Option<SignedDuration>,
    /// Where it comes from.
    pub source: Option<Reference>,
    /// The generation that last succeeded, or stalled; -1 from birth and through every failure.
    pub observed: Option<i64>,
    /// The condition Ready.
    pub ready: Option<Condition>,
    /// The condition Reconciling is True.
    pub reconciling: bool,
    /// The condition Stalled, when True: it will not be tried again.
    pub stalled: Option<Condition>,
    /// The revision of a source's artifact, or the one last applied.
    pub revision: Option<String>,
    /// The revision last tried.
    pub attempted: Option<String>,
    /// The digest of the artifact that a Helm release last tried, where its source has one.
    pub attempted_digest: Option<String>,
    /// The Kustomization that made it.
    pub applied_by: Option<Reference>,
    /// When a source's artifact last changed.
    pub artifact_updated: Option<Timestamp>,
    /// When a Kustomization was last applied: its heartbeat.
    pub reconciled: Option<Timestamp>,
    /// How that ended: ReconciliationSucceeded, HealthCheckFailed, ReconciliationFailed.
    pub reconciled_status: Option<String>,
    /// The token of the last request to reconcile.
    pub requested: Option<String>,
    /// The token that was last handled, well or not.
    pub handled: Option<String>,
}

/// A condition of a Flux object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Condition {
    /// True, False, Unknown.
    pub status: String,
    /// Why, in one word.
    pub reason: String,
    /// Why, cut short.
    pub message: String,
    /// The generation that it speaks of.
    pub generation: Option<i64>,
    /// When its status last changed: moves on every retry, so it is no "since".
    pub changed: Option<Timestamp>,
}

/// Another Flux object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Its kind; not every kind is watched.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Flux {
    /// When its controller was last seen to do something with it, as far as the object itself tells.
    pub(super) fn sign_of_life(&self) -> Option<Timestamp> {
        let handled = self.handled.as_deref().and_then(token_time);
        let changed = self.ready.as_ref().and_then(|ready| ready.changed);
        [handled, changed, self.artifact_updated].into_iter().flatten().max()
    }

    /// Whether what it last applied, or last tried, is this revision of its source.
    pub(super) fn is_at(&self, kind: Kind, revision: &str) -> bool {
        if kind != Kind::HelmRelease {
            return self.revision.as_deref() == Some(revision);
        }
        // As its controller compares: an OCI artifact by its digest, a chart by its version.
        match (revision.rsplit_once('@').map_or(revision, |(_, digest)| digest), &self.attempted_digest) {
            (digest, Some(attempted)) => attempted == digest,
            (digest, None) if digest.contains(':') => false,
            (version, None) => self.attempted.as_deref() == Some(version),
        }
    }

    /// Its heartbeat: for a Kustomization its last reconciliation, for what has no heartbeat the last sign of life.
    pub fn heartbeat(&self, kind: Kind) -> Option<Timestamp> {
        if kind == Kind::Kustomization { self.reconciled } else { self.sign_of_life() }
    }
}

/// The time that a token of a request to reconcile stands for: the tools of Flux write the time itself.
pub(super) fn token_time(token: &str) -> Option<Timestamp> {
    token.parse().ok().or_else(|| {
        // `date +%s`, as many scripts do.
        token.parse().ok().filter(|s: &i64| *s > 1_000_000_000).and_then(|s| Timestamp::from_second(s).ok())
    })
}

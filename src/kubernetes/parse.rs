//! From JSON to an [`Object`]: only the fields that count, and a clear word about the first that cannot be read.

use serde_json::Value;

use super::{
    Application, Backup, Condition, Detail, Due, Flux, Kind, Location, Object, Operation, Pod, Reference,
    Restore, Schedule,
    reader::{Reader, Unreadable},
};

/// Messages of controllers may be pages long.
const LONGEST: usize = 200;
/// Conditions may repeat.
const MOST_ERRORS: usize = 8;

fn short(text: String) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

impl Object {
    /// Reads an object. What it does not know it leaves out; what is missing stays missing.
    ///
    /// # Errors
    /// Names the first field of a wrong type.
    pub fn parse(kind: Kind, value: &Value) -> Result<Self, Unreadable> {
        let r = Reader::new(value);
        let namespace = r.text("metadata.namespace")?.unwrap_or_default();
        let detail = match kind {
            Kind::Pod => Detail::Pod(pod(&r)?),
            Kind::Backup => Detail::Backup(backup(&r)?),
            Kind::Schedule => Detail::Schedule(schedule(&r)?),
            Kind::BackupStorageLocation => Detail::Location(location(&r)?),
            Kind::Restore => Detail::Restore(restore(&r)?),
            Kind::Application => Detail::Application(Box::new(application(&r)?)),
            Kind::Kustomization
            | Kind::HelmRelease
            | Kind::GitRepository
            | Kind::OciRepository
            | Kind::HelmRepository
            | Kind::Bucket
            | Kind::HelmChart
            | Kind::ExternalArtifact => Detail::Flux(Box::new(flux(kind, &namespace, &r)?)),
        };
        Ok(Self {
            kind,
            namespace,
            name: r.text("metadata.name")?.unwrap_or_default(),
            created: r.time("metadata.creationTimestamp")?,
            deleting: r.exists("metadata.deletionTimestamp")?,
            generation: r.int("metadata.generation")?,
            detail,
        })
    }

    /// Reads an object; one that cannot be read says so as its detail, and is judged unknown.
    pub fn read(kind: Kind, value: &Value) -> Self {
        Self::parse(kind, value).unwrap_or_else(|error| {
            let text = |key| {
                value.get("metadata").and_then(|m| m.get(key)).and_then(Value::as_str).unwrap_or_default()
            };
            Self {
                kind,
                namespace: text("namespace").to_owned(),
                name: text("name").to_owned(),
                created: None,
                deleting: false,
                generation: None,
                detail: Detail::Unreadable(error),
            }
        })
    }
}

fn pod(r: &Reader<'_>) -> Result<Pod, Unreadable> {
    let mut pod = Pod { phase: r.text("status.phase")?, ..Pod::default() };
    for condition in r.list("status.conditions")? {
        if condition.text("type")?.as_deref() == Some("Ready") {
            pod.ready = condition.text("status")?;
        }
    }
    for list in ["status.initContainerStatuses", "status.containerStatuses"] {
        for container in r.list(list)? {
            pod.restarts += container.int("restartCount")?.unwrap_or(0);
            pod.waiting = container.text("state.waiting.reason")?.or(pod.waiting);
        }
    }
    Ok(pod)
}

/// Why something failed: its reason, or what its validation found.
fn failure(r: &Reader<'_>) -> Result<Option<String>, Unreadable> {
    if let Some(reason) = r.text("status.failureReason")? {
        return Ok(Some(short(reason)));
    }
    let errors = r.texts("status.validationErrors")?;
    Ok((!errors.is_empty()).then(|| short(errors.join("; "))))
}

fn backup(r: &Reader<'_>) -> Result<Backup, Unreadable> {
    let label = |key| r.entry("metadata.labels", key);
    Ok(Backup {
        schedule: label("velero.io/schedule-name")?,
        location: match r.text("spec.storageLocation")? {
            Some(location) if !location.is_empty() => Some(location),
            _ => label("velero.io/storage-location")?,
        },
        phase: r.text("status.phase")?.filter(|p| !p.is_empty()),
        started: r.time("status.startTimestamp")?,
        completed: r.time("status.completionTimestamp")?,
        expires: r.time("status.expiration")?,
        failure: failure(r)?,
    })
}

fn schedule(r: &Reader<'_>) -> Result<Schedule, Unreadable> {
    let cron = r.text("spec.schedule")?.unwrap_or_default();
    Ok(Schedule {
        interval: Due::parse(&cron).ok().and_then(|due| due.interval()),
        cron,
        paused: r.bool("spec.paused")?.unwrap_or(false),
        location: r.text("spec.template.storageLocation")?.filter(|l| !l.is_empty()),
        phase: r.text("status.phase")?.filter(|p| !p.is_empty()),
        last_backup: r.time("status.lastBackup")?,
        last_skipped: r.time("status.lastSkipped")?,
        failure: failure(r)?,
    })
}

fn location(r: &Reader<'_>) -> Result<Location, Unreadable> {
    let text = |path| r.text(path).map(Option::unwrap_or_default);
    Ok(Location {
        phase: r.text("status.phase")?.filter(|p| !p.is_empty()),
        validated: r.time("status.lastValidationTime")?,
        synced: r.time("status.lastSyncedTime")?,
        validation_period: r.duration("spec.validationFrequency")?,
        sync_period: r.duration("spec.backupSyncPeriod")?,
        provider: text("spec.provider")?,
        bucket: text("spec.objectStorage.bucket")?,
        prefix: text("spec.objectStorage.prefix")?.trim_matches('/').to_owned(),
        // S3 by its address; on Azure containers of one name are told apart by their account.
        endpoint: match text("spec.config.s3Url")? {
            url if url.is_empty() => text("spec.config.storageAccount")?,
            url => without_credentials(&url),
        },
        read_only: text("spec.accessMode")? == "ReadOnly",
        default: r.bool("spec.default")?.unwrap_or(false),
    })
}

/// An address as it may be shown.
fn without_credentials(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(host_end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    if scheme.is_empty() { format!("{host}{path}") } else { format!("{scheme}://{host}{path}") }
}

fn restore(r: &Reader<'_>) -> Result<Restore, Unreadable> {
    Ok(Restore {
        phase: r.text("status.phase")?.filter(|p| !p.is_empty()),
        started: r.time("status.startTimestamp")?,
        completed: r.time("status.completionTimestamp")?,
        items: r.int("status.progress.itemsRestored")?,
        warnings: r.int("status.warnings")?.unwrap_or(0),
        failure: failure(r)?,
    })
}

/// One text, or the texts of a list, joined: applications have one source or several.
fn one_or_many(one: Option<String>, many: Vec<String>) -> Option<String> {
    if many.is_empty() {
        return one.filter(|t| !t.is_empty());
    }
    many.iter().any(|t| !t.is_empty()).then(|| many.join(","))
}

fn application(r: &Reader<'_>) -> Result<Application, Unreadable> {
    let text = |path| r.text(path).map(Option::unwrap_or_default);
    let sources = r.list("spec.sources")?;
    let each = |field: &str| {
        sources.iter().map(|s| Ok(s.text(field)?.unwrap_or_default())).collect::<Result<Vec<_>, Unreadable>>()
    };
    let shown = |url: &str| without_credentials(url.strip_suffix(".git").unwrap_or(url));
    let joined = |field: &str| {
        let one = r.text(&format!("spec.source.{field}"))?;
        Ok::<_, Unreadable>(one_or_many(one, each(field)?).unwrap_or_default())
    };
    let repos = each("repoURL")?.iter().map(|url| shown(url)).collect();
    let cluster = match text("spec.destination.server")? {
        server if server.is_empty() => text("spec.destination.name")?,
        server => server,
    };
    let mut errors = Vec::new();
    for condition in r.list("status.conditions")? {
        let kind = condition.text("type")?.unwrap_or_default();
        if kind.ends_with("Error") && errors.len() < MOST_ERRORS {
            errors.push((kind, short(condition.text("message")?.unwrap_or_default())));
        }
    }
    let operation = match r.text("status.operationState.phase")? {
        None => None,
        Some(phase) => Some(Operation {
            phase,
            started: r.time("status.operationState.startedAt")?,
            dry_run: r.bool("status.operationState.operation.sync.dryRun")?.unwrap_or(false),
            retrying: r.exists("status.operationState.finishedAt")?
                && r.exists("status.operationState.retryCount")?,
            revision: one_or_many(
                r.text("status.operationState.syncResult.revision")?,
                r.texts("status.operationState.syncResult.revisions")?,
            ),
            message: short(text("status.operationState.message")?),
        }),
    };
    Ok(Application {
        project: text("spec.project")?,
        repo: one_or_many(Some(shown(&text("spec.source.repoURL")?)), repos).unwrap_or_default(),
        target: joined("targetRevision")?,
        path: joined("path")?,
        chart: joined("chart")?,
        destination: format!("{cluster}/{}", text("spec.destination.namespace")?),
        cluster,
        autosync: r.exists("spec.syncPolicy.automated")?
            && r.bool("spec.syncPolicy.automated.enabled")?.unwrap_or(true),
        seen: r.exists("status")?,
        reconciled: r.time("status.reconciledAt")?,
        sync: r.text("status.sync.status")?,
        revision: one_or_many(r.text("status.sync.revision")?, r.texts("status.sync.revisions")?),
        health: r.text("status.health.status")?,
        errors,
        resources: r.count("status.resources")?.unwrap_or(0),
        operation,
        requested: r.exists("operation")?,
    })
}

fn reference(r: &Reader<'_>, path: &str, namespace: &str) -> Result<Option<Reference>, Unreadable> {
    let text = |field: &str| r.text(&format!("{path}.{field}"));
    let (Some(kind), Some(name)) = (text("kind")?, text("name")?) else { return Ok(None) };
    let namespace = text("namespace")?.unwrap_or_else(|| namespace.to_owned());
    Ok(Some(Reference { kind, namespace, name }))
}

/// The Kustomization that made an object, as its controller labels what it applies.
fn applied_by(r: &Reader<'_>) -> Result<Option<Reference>, Unreadable> {
    let label = |key: &str| r.entry("metadata.labels", &format!("kustomize.toolkit.fluxcd.io/{key}"));
    let (Some(namespace), Some(name)) = (label("namespace")?, label("name")?) else { return Ok(None) };
    Ok(Some(Reference { kind: Kind::Kustomization.as_str().to_owned(), namespace, name }))
}

fn flux(kind: Kind, namespace: &str, r: &Reader<'_>) -> Result<Flux, Unreadable> {
    let mut flux = Flux {
        suspended: r.bool("spec.suspend")?.unwrap_or(false),
        fixed: kind == Kind::HelmRepository && r.text("spec.type")?.as_deref() == Some("oci"),
        interval: r.duration("spec.interval")?,
        timeout: r.duration("spec.timeout")?,
        source: reference(r, "spec.sourceRef", namespace)?,
        observed: r.int("status.observedGeneration")?,
        attempted: r.text("status.lastAttemptedRevision")?,
        attempted_digest: r.text("status.lastAttemptedRevisionDigest")?.filter(|d| !d.is_empty()),
        applied_by: applied_by(r)?,
        artifact_updated: r.time("status.artifact.lastUpdateTime")?,
        requested: r.entry("metadata.annotations", "reconcile.fluxcd.io/requestedAt")?,
        handled: r.text("status.lastHandledReconcileAt")?,
        ..Flux::default()
    };
    match kind {
        Kind::Kustomization => {
            flux.revision = r.text("status.lastAppliedRevision")?;
            if let Some(newest) = r.list("status.history")?.first() {
                flux.reconciled = newest.time("lastReconciled")?;
                flux.reconciled_status = newest.text("lastReconciledStatus")?;
            }
        }
        Kind::HelmRelease => {
            flux.source = match reference(r, "spec.chartRef", namespace)? {
                Some(chart) => Some(chart),
                // The chart that the controller made from spec.chart, as "namespace/name".
                None => r.text("status.helmChart")?.and_then(|chart| {
                    let (namespace, name) = chart.split_once('/')?;
                    let kind = Kind::HelmChart.as_str().to_owned();
                    Some(Reference { kind, namespace: namespace.to_owned(), name: name.to_owned() })
                }),
            };
            if let Some(newest) = r.list("status.history")?.first() {
                flux.revision = newest.text("chartVersion")?;
            }
        }
        _ => flux.revision = r.text("status.artifact.revision")?,
    }
    for condition in r.list("status.conditions")? {
        let status = condition.text("status")?.unwrap_or_default();
        match condition.text("type")?.as_deref() {
            Some("Ready") => flux.ready = Some(self::condition(&condition, status)?),
            Some("Reconciling") => flux.reconciling = status == "True",
            Some("Stalled") if status == "True" => {
                flux.stalled = Some(self::condition(&condition, status)?);
            }
            _ => {}
        }
    }
    Ok(flux)
}

fn condition(r: &Reader<'_>, status: String) -> Result<Condition, Unreadable> {
    Ok(Condition {
        status,
        reason: r.text("reason")?.unwrap_or_default(),
        message: short(r.text("message")?.unwrap_or_default()),
        generation: r.int("observedGeneration")?,
        changed: r.time("lastTransitionTime")?,
    })
}

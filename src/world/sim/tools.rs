//! What runs in the simulated clusters beside the runners: Velero, Argo CD, Flux, the exporter that shows them, and the
//! cluster's API. Their objects are judged by the product's own judgement.

use super::State;
use crate::{
    kubernetes::{
        Application, Backup, Condition, Detail, Flux, Kind, KindState, Limits, Location, Object, Operation,
        Reason, Reference, Schedule, Snapshot, Verdict, judge, schedule_backups,
    },
    model::{ClusterName, Question, SignedDuration, Timestamp},
};

const APPLICATION_EVERY: SignedDuration = SignedDuration::from_mins(3);
const KUSTOMIZATION_EVERY: SignedDuration = SignedDuration::from_mins(10);
const SOURCE_EVERY: SignedDuration = SignedDuration::from_mins(1);
/// How often somebody asks the source to reconcile: nothing else proves that its controller lives.
const ASKED_EVERY: SignedDuration = SignedDuration::from_mins(3);
const BACKUP_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// How long a backup runs.
const BACKUP_TAKES: SignedDuration = SignedDuration::from_mins(5);
/// How long something may be on its way.
const STUCK: SignedDuration = SignedDuration::from_mins(15);
const NAMESPACE: &str = "flux-system";
const NAME: &str = "apps";
const REVISION: &str = "main@sha1:7f3a";
const OLDER: &str = "main@sha1:52c0";
const SCHEDULE: &str = "hourly";
const LOCATION: &str = "default";
/// So many backups after the last good one are looked at.
const RECENT: i64 = 3;

/// What runs in a cluster beside the runners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tool {
    /// Makes a backup every hour.
    Velero,
    /// Runs outside, and keeps one application in the cluster.
    Argocd,
    /// Runs inside, and keeps one Kustomization from one Git repository.
    Flux,
    /// Switchyard's own, which shows all of this to Prometheus.
    Exporter,
    /// The cluster's API.
    Api,
}

impl Tool {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Velero, Self::Argocd, Self::Flux, Self::Exporter, Self::Api];
    /// Those that a cluster may do without.
    pub const INSTALLED: [Self; 3] = [Self::Velero, Self::Argocd, Self::Flux];

    /// The word in stories.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Velero => "velero",
            Self::Argocd => "argocd",
            Self::Flux => "flux",
            Self::Exporter => "exporter",
            Self::Api => "api",
        }
    }

    /// What can be wrong with it.
    pub fn faults(self) -> &'static [ToolFault] {
        match self {
            Self::Velero => &[ToolFault::Dead, ToolFault::Failing, ToolFault::Suspended],
            Self::Argocd => &[
                ToolFault::Dead,
                ToolFault::Failing,
                ToolFault::Manual,
                ToolFault::SyncFailed,
                ToolFault::SyncFailedBefore,
                ToolFault::Retrying,
                ToolFault::OperationWaits,
            ],
            Self::Flux => &[
                ToolFault::Dead,
                ToolFault::Failing,
                ToolFault::Suspended,
                ToolFault::GenerationBehind,
                ToolFault::ApplyFails,
            ],
            Self::Exporter | Self::Api => &[ToolFault::Dead],
        }
    }
}

/// What can be wrong with a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ToolFault {
    /// It does not run, or does not answer: what it said last stands for ever.
    Dead,
    /// It runs and fails: backups fail, the workload is degraded, the source cannot be had.
    Failing,
    /// A person stopped the schedule, or the Kustomization.
    Suspended,
    /// The application does not sync by itself any more.
    Manual,
    /// The last operation failed on the revision that is wanted; what was compared is in sync and well.
    SyncFailed,
    /// The last operation failed on an older revision; since then all came into sync.
    SyncFailedBefore,
    /// An operation failed and waits for its next try.
    Retrying,
    /// Somebody patched an operation in while the controller was dead: it waits for it, without end.
    OperationWaits,
    /// The wanted state was changed; the condition Ready still speaks of the one before, whatever the status says.
    GenerationBehind,
    /// Each request to reconcile is handled, and what it applies is refused.
    ApplyFails,
}

impl ToolFault {
    /// The word in stories.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Failing => "failing",
            Self::Suspended => "suspended",
            Self::Manual => "manual",
            Self::SyncFailed => "sync-failed",
            Self::SyncFailedBefore => "sync-failed-before",
            Self::Retrying => "retrying",
            Self::OperationWaits => "operation-waits",
            Self::GenerationBehind => "generation-behind",
            Self::ApplyFails => "apply-fails",
        }
    }
}

/// One tool in one cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Works {
    fault: Option<ToolFault>,
    /// What was wrong with it: from, and to.
    wrong: Vec<(Timestamp, Option<Timestamp>, ToolFault)>,
}

impl Works {
    fn set(&mut self, fault: Option<ToolFault>, now: Timestamp) {
        if let Some((_, to @ None, _)) = self.wrong.last_mut() {
            *to = Some(now);
        }
        self.wrong.extend(fault.map(|fault| (now, None, fault)));
        self.fault = fault;
    }

    /// When it last did what it does every so often, and what one of these faults keeps it from.
    fn last(&self, now: Timestamp, every: SignedDuration, stops: &[ToolFault]) -> Timestamp {
        let mut at = tick(now, every);
        for (from, to, fault) in self.wrong.iter().rev() {
            if stops.contains(fault) && at > *from && to.is_none_or(|to| at < to) {
                at = tick(*from, every);
            }
        }
        at
    }

    fn fault_at(&self, at: Timestamp) -> Option<ToolFault> {
        let mut then = self.wrong.iter().filter(|(from, to, _)| at > *from && to.is_none_or(|to| at < to));
        then.next().map(|(.., fault)| *fault)
    }
}

/// The last full hour, or what the period is, before or at this time.
fn tick(at: Timestamp, every: SignedDuration) -> Timestamp {
    let every = every.as_secs().max(1);
    Timestamp::from_second(at.as_second().div_euclid(every) * every).unwrap_or(at)
}

impl State {
    /// From now on the tool has the fault in this cluster; none mends it.
    pub fn break_tool(&mut self, cluster: &ClusterName, tool: Tool, fault: Option<ToolFault>) {
        let now = self.now;
        self.works.entry((cluster.clone(), tool)).or_default().set(fault, now);
    }

    /// Nothing is wrong with the tool any more, in any cluster.
    pub fn mend_tool(&mut self, tool: Tool) {
        let now = self.now;
        for works in
            self.works.iter_mut().filter(|((_, t), w)| *t == tool && w.fault.is_some()).map(|(_, w)| w)
        {
            works.set(None, now);
        }
    }

    pub(super) fn tools_are_whole(&self) -> bool {
        self.works.values().all(|works| works.fault.is_none())
    }

    fn fault_of(&self, cluster: &ClusterName, tool: Tool) -> Option<ToolFault> {
        self.works.get(&(cluster.clone(), tool))?.fault
    }

    /// What the exporter of a cluster has Prometheus answer; none for what it does not show.
    pub(super) fn readiness(&self, cluster: &ClusterName, question: Question) -> Option<f64> {
        if self.fault_of(cluster, Tool::Exporter).is_some() {
            return None;
        }
        let answers = self.fault_of(cluster, Tool::Api).is_none();
        match question {
            Question::ClusterApi => Some(f64::from(u8::from(answers))),
            Question::GitopsBroken => self.gitops_broken(cluster, answers),
            // Nobody commits anything: there is one revision, and it has arrived.
            Question::Convergence => self.gitops_broken(cluster, answers).map(|_| 0.0),
            Question::BackupAge => self.backups(cluster).map(|(age, _)| age.as_secs_f64()),
            Question::BackupsOverdue => {
                self.backups(cluster).map(|(_, overdue)| f64::from(u8::from(overdue)))
            }
            Question::Alive | Question::Able | Question::AbleCount | Question::GitlabUnreachable => None,
        }
    }

    /// How old the newest good backup is, as the product sees it, and whether that is too old.
    fn backups(&self, cluster: &ClusterName) -> Option<(SignedDuration, bool)> {
        if !self.tools.contains(&Tool::Velero) {
            return None;
        }
        let objects = self.velero(cluster);
        let limits = Limits::default();
        let rows = schedule_backups(&objects, self.now, &limits);
        let row = rows.iter().find(|row| row.schedule == SCHEDULE)?;
        let age = self.now.duration_since(row.newest?);
        Some((age, row.rpo.is_some_and(|rpo| age > rpo)))
    }

    /// Velero's objects. What was read before the API died stands, and ages.
    fn velero(&self, cluster: &ClusterName) -> Snapshot {
        let idle = Works::default();
        let works = self.works.get(&(cluster.clone(), Tool::Velero)).unwrap_or(&idle);
        let stopped = [ToolFault::Dead, ToolFault::Suspended];
        let every = BACKUP_EVERY;
        let over = self.now.checked_sub(BACKUP_TAKES).unwrap_or(self.now);
        let good = works.last(over, every, &[ToolFault::Dead, ToolFault::Suspended, ToolFault::Failing]);
        let mut objects = Snapshot::default();
        for kind in [Kind::Backup, Kind::Schedule, Kind::BackupStorageLocation] {
            objects.set_state(kind, KindState::Synced);
        }
        let location = Location {
            phase: Some("Available".to_owned()),
            validated: Some(self.now),
            synced: Some(self.now),
            bucket: "backups".to_owned(),
            default: true,
            ..Location::default()
        };
        objects.insert(named(Kind::BackupStorageLocation, LOCATION, Detail::Location(location)));
        let schedule = Schedule {
            cron: "0 * * * *".to_owned(),
            interval: Some(every),
            paused: self.fault_of(cluster, Tool::Velero) == Some(ToolFault::Suspended),
            phase: Some("Enabled".to_owned()),
            // It submits one in time, whatever becomes of it.
            last_backup: Some(works.last(self.now, every, &stopped)),
            ..Schedule::default()
        };
        objects.insert(named(Kind::Schedule, SCHEDULE, Detail::Schedule(schedule)));
        let mut backup = |started: Timestamp, phase: &str| {
            let completed = started.checked_add(BACKUP_TAKES).ok().filter(|_| phase != "InProgress");
            let backup = Backup {
                schedule: Some(SCHEDULE.to_owned()),
                location: Some(LOCATION.to_owned()),
                phase: Some(phase.to_owned()),
                started: Some(started),
                // On failure, too.
                completed,
                ..Backup::default()
            };
            let name = format!("{SCHEDULE}-{}", started.as_second());
            let mut object = named(Kind::Backup, &name, Detail::Backup(backup));
            object.created = Some(started);
            objects.insert(object);
        };
        backup(good, "Completed");
        let newest = tick(self.now, every);
        for back in 0..RECENT {
            let Ok(started) = newest.checked_sub(every.saturating_mul(i32::try_from(back).unwrap_or(0)))
            else {
                continue;
            };
            match works.fault_at(started) {
                _ if started <= good => {}
                Some(ToolFault::Dead | ToolFault::Suspended) => {}
                _ if started > over => backup(started, "InProgress"),
                Some(ToolFault::Failing) if back % 2 == 0 => backup(started, "Failed"),
                Some(ToolFault::Failing) => backup(started, "PartiallyFailed"),
                _ => backup(started, "Completed"),
            }
        }
        objects
    }

    /// When the tool last did what it does every so often, unless one of these faults kept it from that.
    fn last(
        &self,
        cluster: &ClusterName,
        tool: Tool,
        every: SignedDuration,
        stops: &[ToolFault],
    ) -> Timestamp {
        let works = self.works.get(&(cluster.clone(), tool));
        works.map_or_else(|| tick(self.now, every), |works| works.last(self.now, every, stops))
    }

    /// Whether something has been wrong with the tool for so long that what is still on its way does not arrive.
    fn stuck(&self, cluster: &ClusterName, tool: Tool) -> bool {
        let works = self.works.get(&(cluster.clone(), tool));
        let since = works.and_then(|works| works.wrong.last()).filter(|(_, to, _)| to.is_none());
        since.is_some_and(|(from, ..)| self.now.duration_since(*from) >= STUCK)
    }

    /// As the shipped rules count: objects that are unhealthy or unknown, those that have been on their way for too long, and
    /// kinds that nobody can read.
    fn gitops_broken(&self, cluster: &ClusterName, answers: bool) -> Option<f64> {
        let mut objects = Snapshot::default();
        let mut unread = 0;
        for kind in [Kind::Application, Kind::GitRepository, Kind::Kustomization] {
            objects.set_state(kind, KindState::Synced);
        }
        if self.tools.contains(&Tool::Argocd) {
            objects.insert(self.application(cluster));
        }
        if self.tools.contains(&Tool::Flux) {
            objects.insert(self.source(cluster));
            objects.insert(self.kustomization(cluster));
            if !answers {
                for kind in [Kind::GitRepository, Kind::Kustomization] {
                    objects.set_state(kind, KindState::Failed("the API does not answer".to_owned()));
                    unread += 1;
                }
            }
        }
        let limits = Limits::default();
        let judge = |o| (o, judge(o, &objects, self.now, &limits));
        let mut judged = objects.all().map(judge).peekable();
        judged.peek()?;
        let broken = judged.filter(|(object, judged)| {
            let tool = if object.kind == Kind::Application { Tool::Argocd } else { Tool::Flux };
            match judged.verdict {
                Verdict::Unhealthy | Verdict::Unknown => judged.reason != Reason::NotReconciled,
                Verdict::Progressing => self.stuck(cluster, tool),
                Verdict::Healthy => false,
            }
        });
        Some((broken.count() + unread) as f64)
    }

    fn application(&self, cluster: &ClusterName) -> Object {
        let fault = self.fault_of(cluster, Tool::Argocd);
        // It compares and finds what there is to find: its heartbeat goes on.
        let stops = [ToolFault::Dead, ToolFault::OperationWaits];
        let at = self.last(cluster, Tool::Argocd, APPLICATION_EVERY, &stops);
        let health = if fault == Some(ToolFault::Failing) { "Degraded" } else { "Healthy" };
        let (phase, revision, message) = match fault {
            Some(ToolFault::SyncFailed) => ("Failed", REVISION, "a hook failed"),
            Some(ToolFault::SyncFailedBefore) => ("Failed", OLDER, "a hook failed"),
            Some(ToolFault::Retrying) => ("Running", REVISION, "Retrying attempt #2"),
            _ => ("Succeeded", REVISION, ""),
        };
        let operation = Operation {
            phase: phase.to_owned(),
            retrying: fault == Some(ToolFault::Retrying),
            revision: Some(revision.to_owned()),
            message: message.to_owned(),
            ..Operation::default()
        };
        let application = Application {
            autosync: fault != Some(ToolFault::Manual),
            seen: true,
            reconciled: Some(at),
            sync: Some("Synced".to_owned()),
            revision: Some(REVISION.to_owned()),
            health: Some(health.to_owned()),
            resources: 1,
            operation: Some(operation),
            requested: fault == Some(ToolFault::OperationWaits),
            ..Application::default()
        };
        named(Kind::Application, NAME, Detail::Application(Box::new(application)))
    }

    fn source(&self, cluster: &ClusterName) -> Object {
        let fault = self.fault_of(cluster, Tool::Flux);
        let handled = self.last(cluster, Tool::Flux, ASKED_EVERY, &[ToolFault::Dead]);
        let fails = fault == Some(ToolFault::Failing);
        let flux = Flux {
            interval: Some(SOURCE_EVERY),
            observed: Some(1),
            ready: Some(condition(if fails { Err("GitOperationFailed") } else { Ok(()) }, None)),
            revision: Some(REVISION.to_owned()),
            requested: Some(tick(self.now, ASKED_EVERY).to_string()),
            handled: Some(handled.to_string()),
            ..Flux::default()
        };
        named(Kind::GitRepository, NAME, Detail::Flux(Box::new(flux)))
    }

    /// It stays ready while its source fails, and while nobody looks at it.
    fn kustomization(&self, cluster: &ClusterName) -> Object {
        let fault = self.fault_of(cluster, Tool::Flux);
        let stops = [ToolFault::Dead, ToolFault::Suspended];
        let reconciled = self.last(cluster, Tool::Flux, KUSTOMIZATION_EVERY, &stops);
        let asked = self.last(cluster, Tool::Flux, ASKED_EVERY, &stops);
        let source = Reference {
            kind: Kind::GitRepository.as_str().to_owned(),
            namespace: NAMESPACE.to_owned(),
            name: NAME.to_owned(),
        };
        let refused = fault == Some(ToolFault::ApplyFails);
        let word = if refused { "ReconciliationFailed" } else { "ReconciliationSucceeded" };
        let ready = condition(if refused { Err(word) } else { Ok(()) }, refused.then_some(reconciled));
        let behind = fault == Some(ToolFault::GenerationBehind);
        let flux = Flux {
            suspended: fault == Some(ToolFault::Suspended),
            interval: Some(KUSTOMIZATION_EVERY),
            source: Some(source),
            // The status claims to have seen the change, as that of a suspended one does.
            observed: Some(if behind { 2 } else { 1 }),
            ready: Some(ready),
            revision: Some(REVISION.to_owned()),
            attempted: Some(REVISION.to_owned()),
            reconciled: Some(reconciled),
            reconciled_status: Some(word.to_owned()),
            requested: refused.then(|| asked.to_string()),
            handled: refused.then(|| asked.to_string()),
            ..Flux::default()
        };
        let mut object = named(Kind::Kustomization, NAME, Detail::Flux(Box::new(flux)));
        object.generation = Some(if behind { 2 } else { 1 });
        object
    }
}

fn condition(ready: Result<(), &str>, changed: Option<Timestamp>) -> Condition {
    Condition {
        status: if ready.is_ok() { "True" } else { "False" }.to_owned(),
        reason: ready.err().unwrap_or("Succeeded").to_owned(),
        message: String::new(),
        generation: Some(1),
        changed,
    }
}

fn named(kind: Kind, name: &str, detail: Detail) -> Object {
    Object {
        kind,
        namespace: NAMESPACE.to_owned(),
        name: name.to_owned(),
        created: None,
        deleting: false,
        generation: Some(1),
        detail,
    }
}

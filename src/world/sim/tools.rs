//! What runs in the simulated clusters beside the runners: Velero, Argo CD, Flux, the exporter that shows them, and the
//! cluster's API. The objects of Argo CD and Flux are judged by the product's own judgement.

use super::State;
use crate::{
    kubernetes::{
        Application, Condition, Detail, Flux, Kind, KindState, Limits, Object, Reason, Reference, Snapshot,
        Verdict, judge,
    },
    model::{ClusterName, Question, SignedDuration, Timestamp},
};

const APPLICATION_EVERY: SignedDuration = SignedDuration::from_mins(3);
const KUSTOMIZATION_EVERY: SignedDuration = SignedDuration::from_mins(10);
const SOURCE_EVERY: SignedDuration = SignedDuration::from_mins(1);
/// How often somebody asks the source to reconcile: nothing else proves that its controller lives.
const ASKED_EVERY: SignedDuration = SignedDuration::from_mins(3);
const BACKUP_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// When an hourly backup is overdue: its interval, and the tolerance.
const BACKUP_OVERDUE: SignedDuration = SignedDuration::from_hours(3);
/// How long a backup runs.
const BACKUP_TAKES: SignedDuration = SignedDuration::from_mins(5);
const NAMESPACE: &str = "flux-system";
const NAME: &str = "apps";
const REVISION: &str = "main@sha1:7f3a";

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
            Self::Argocd => &[ToolFault::Dead, ToolFault::Failing, ToolFault::Manual],
            Self::Flux => &[ToolFault::Dead, ToolFault::Failing, ToolFault::Suspended],
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
}

impl ToolFault {
    /// The word in stories.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Failing => "failing",
            Self::Suspended => "suspended",
            Self::Manual => "manual",
        }
    }
}

/// One tool in one cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Works {
    fault: Option<ToolFault>,
    /// When it did nothing: from, and to.
    idle: Vec<(Timestamp, Option<Timestamp>)>,
}

impl Works {
    fn set(&mut self, fault: Option<ToolFault>, now: Timestamp) {
        if let Some((_, to @ None)) = self.idle.last_mut() {
            *to = Some(now);
        }
        self.idle.extend(fault.map(|_| (now, None)));
        self.fault = fault;
    }

    /// When it last did what it does every so often.
    fn last(&self, now: Timestamp, every: SignedDuration) -> Timestamp {
        let mut at = tick(now, every);
        for (from, to) in self.idle.iter().rev() {
            if at > *from && to.is_none_or(|to| at < to) {
                at = tick(*from, every);
            }
        }
        at
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
            Question::BackupAge => self.backup_age(cluster).map(|age| age.as_secs_f64()),
            Question::BackupsOverdue => {
                self.backup_age(cluster).map(|age| f64::from(u8::from(age > BACKUP_OVERDUE)))
            }
            Question::Alive | Question::Able | Question::AbleCount | Question::GitlabUnreachable => None,
        }
    }

    /// What was read of backups before the API died stands, and ages.
    fn backup_age(&self, cluster: &ClusterName) -> Option<SignedDuration> {
        let over = self.now.checked_sub(BACKUP_TAKES).unwrap_or(self.now);
        let installed = self.tools.contains(&Tool::Velero);
        installed.then(|| self.now.duration_since(self.last(cluster, Tool::Velero, over, BACKUP_EVERY)))
    }

    fn last(&self, cluster: &ClusterName, tool: Tool, now: Timestamp, every: SignedDuration) -> Timestamp {
        self.works
            .get(&(cluster.clone(), tool))
            .map_or_else(|| tick(now, every), |works| works.last(now, every))
    }

    /// As the shipped rule counts: objects that are unhealthy or unknown, and kinds that nobody can read.
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
        let mut judged = objects.all().map(|o| judge(o, &objects, self.now, &Limits::default())).peekable();
        judged.peek()?;
        let broken = judged.filter(|judged| {
            matches!(judged.verdict, Verdict::Unhealthy | Verdict::Unknown)
                && judged.reason != Reason::NotReconciled
        });
        Some((broken.count() + unread) as f64)
    }

    fn application(&self, cluster: &ClusterName) -> Object {
        let fault = self.fault_of(cluster, Tool::Argocd);
        // It compares and finds the workload degraded, or that a person has to sync: its heartbeat goes on.
        let at = match fault {
            Some(ToolFault::Dead) => self.last(cluster, Tool::Argocd, self.now, APPLICATION_EVERY),
            _ => tick(self.now, APPLICATION_EVERY),
        };
        let health = if fault == Some(ToolFault::Failing) { "Degraded" } else { "Healthy" };
        let application = Application {
            autosync: fault != Some(ToolFault::Manual),
            seen: true,
            reconciled: Some(at),
            sync: Some("Synced".to_owned()),
            revision: Some(REVISION.to_owned()),
            health: Some(health.to_owned()),
            resources: 1,
            ..Application::default()
        };
        object(Kind::Application, Detail::Application(Box::new(application)))
    }

    fn source(&self, cluster: &ClusterName) -> Object {
        let fault = self.fault_of(cluster, Tool::Flux);
        let handled = match fault {
            Some(ToolFault::Dead) => self.last(cluster, Tool::Flux, self.now, ASKED_EVERY),
            _ => tick(self.now, ASKED_EVERY),
        };
        let fails = fault == Some(ToolFault::Failing);
        let flux = Flux {
            interval: Some(SOURCE_EVERY),
            ready: Some(condition(!fails)),
            revision: Some(REVISION.to_owned()),
            requested: Some(tick(self.now, ASKED_EVERY).to_string()),
            handled: Some(handled.to_string()),
            ..Flux::default()
        };
        object(Kind::GitRepository, Detail::Flux(Box::new(flux)))
    }

    /// It stays ready while its source fails, and while nobody looks at it.
    fn kustomization(&self, cluster: &ClusterName) -> Object {
        let fault = self.fault_of(cluster, Tool::Flux);
        let reconciled = match fault {
            Some(ToolFault::Dead | ToolFault::Suspended) => {
                self.last(cluster, Tool::Flux, self.now, KUSTOMIZATION_EVERY)
            }
            _ => tick(self.now, KUSTOMIZATION_EVERY),
        };
        let source = Reference {
            kind: Kind::GitRepository.as_str().to_owned(),
            namespace: NAMESPACE.to_owned(),
            name: NAME.to_owned(),
        };
        let flux = Flux {
            suspended: fault == Some(ToolFault::Suspended),
            interval: Some(KUSTOMIZATION_EVERY),
            source: Some(source),
            ready: Some(condition(true)),
            revision: Some(REVISION.to_owned()),
            attempted: Some(REVISION.to_owned()),
            reconciled: Some(reconciled),
            reconciled_status: Some("ReconciliationSucceeded".to_owned()),
            ..Flux::default()
        };
        object(Kind::Kustomization, Detail::Flux(Box::new(flux)))
    }
}

fn condition(ready: bool) -> Condition {
    Condition {
        status: if ready { "True" } else { "False" }.to_owned(),
        reason: if ready { "Succeeded" } else { "GitOperationFailed" }.to_owned(),
        message: String::new(),
        generation: Some(1),
        changed: None,
    }
}

fn object(kind: Kind, detail: Detail) -> Object {
    Object {
        kind,
        namespace: NAMESPACE.to_owned(),
        name: NAME.to_owned(),
        created: None,
        deleting: false,
        generation: Some(1),
        detail,
    }
}

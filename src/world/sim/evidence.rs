//! What the simulated Prometheus servers answer.

use std::collections::{BTreeMap, BTreeSet};

use super::State;
use crate::model::{
    Answer, Asked, ClusterName, Evidence, FleetEvidence, FleetName, Question, Sample, Timestamp, Topology,
};

/// What is wrong with a Prometheus server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PrometheusFault {
    /// It does not answer, evaluates no rule and sends no alert.
    Down,
    /// It answers and has no samples: its targets are gone from its configuration.
    Silent,
    /// It answers with what it last scraped, and evaluates no rule.
    Stale,
    /// It says the opposite of what is so.
    Contradicts,
    /// Its samples are NaN.
    Nan,
    /// A store behind it is out of reach: it answers with what it has, and says so.
    Partial,
}

/// The samples of one moment, by question.
pub type Samples = BTreeMap<(FleetName, Question), BTreeMap<ClusterName, Sample>>;

/// A Prometheus server.
#[derive(Debug, Clone)]
pub struct SimPrometheus {
    /// Its address.
    pub name: String,
    fault: Option<(PrometheusFault, Option<ClusterName>)>,
    frozen: Samples,
}

impl SimPrometheus {
    /// A server without fault: `p0`, `p1`, …
    pub fn new(index: usize) -> Self {
        Self { name: format!("p{index}"), fault: None, frozen: BTreeMap::new() }
    }

    /// Whether it evaluates rules and sends alerts.
    pub fn evaluates(&self) -> bool {
        !matches!(self.fault, Some((PrometheusFault::Down | PrometheusFault::Stale, _)))
    }

    /// What is wrong with it.
    pub fn fault(&self) -> Option<PrometheusFault> {
        self.fault.as_ref().map(|(fault, _)| *fault)
    }
}

impl State {
    /// From now on this server has the fault, about one cluster or about all; none mends it.
    pub fn break_prometheus(
        &mut self,
        index: usize,
        fault: Option<PrometheusFault>,
        about: Option<&ClusterName>,
    ) {
        let frozen = self.samples(&Question::ALL);
        if let Some(server) = self.prometheus.get_mut(index) {
            server.fault = fault.map(|fault| (fault, about.cloned()));
            server.frozen = frozen;
        }
    }

    /// What a server without fault would answer to these questions.
    pub fn samples(&self, questions: &[Question]) -> Samples {
        let at = self.now.checked_sub(self.sample_age).unwrap_or(Timestamp::MIN);
        let mut pools: BTreeMap<(&FleetName, &ClusterName), [u32; 4]> = BTreeMap::new();
        for runner in &self.runners {
            let [all, up, well, unreachable] = pools.entry((&runner.fleet, &runner.cluster)).or_default();
            *all += 1;
            *up += u32::from(runner.shows_up());
            *well += u32::from(runner.shows_well());
            *unreachable += u32::from(runner.shows_unreachable());
        }
        let mut samples = Samples::new();
        for ((fleet, cluster), [all, up, well, unreachable]) in pools {
            let share = |part: u32, whole: u32| (whole > 0).then(|| f64::from(part) / f64::from(whole));
            for &question in questions {
                let value = match question {
                    Question::Alive => share(up, all),
                    Question::Able => share(well, all),
                    Question::AbleCount => Some(f64::from(well)),
                    Question::GitlabUnreachable => share(unreachable, up),
                    Question::ClusterApi
                    | Question::GitopsBroken
                    | Question::BackupsOverdue
                    | Question::BackupAge
                    | Question::Convergence => self.readiness(cluster, question),
                };
                if let Some(value) = value {
                    let samples = samples.entry((fleet.clone(), question)).or_default();
                    samples.insert(cluster.clone(), Sample { value, at });
                }
            }
        }
        samples
    }

    /// What one server answers about every cluster of a fleet, when one without fault would answer with these samples.
    pub fn answer(&self, samples: &Samples, server: usize, fleet: &FleetName, question: Question) -> Answer {
        let SimPrometheus { name, fault, frozen } = &self.prometheus[server];
        let key = (fleet.clone(), question);
        let mut now = samples.get(&key).cloned().unwrap_or_default();
        let Some((fault, about)) = fault else {
            return Answer { server: name.clone(), result: Ok(now) };
        };
        let meant = |cluster: &ClusterName| about.as_ref().is_none_or(|about| about == cluster);
        match fault {
            PrometheusFault::Down => {
                return Answer { server: name.clone(), result: Err("connection refused".to_owned()) };
            }
            PrometheusFault::Partial => {
                let why = "answered with a warning, so that a part may be missing: a store is out of reach";
                return Answer { server: name.clone(), result: Err(why.to_owned()) };
            }
            PrometheusFault::Silent => now.retain(|cluster, _| !meant(cluster)),
            PrometheusFault::Stale => {
                let old = frozen.get(&key);
                now.retain(|cluster, _| !meant(cluster));
                now.extend(
                    old.into_iter()
                        .flatten()
                        .filter(|(c, _)| meant(c))
                        .map(|(c, sample)| (c.clone(), *sample)),
                );
            }
            PrometheusFault::Contradicts => {
                for (_, sample) in now.iter_mut().filter(|(cluster, _)| meant(cluster)) {
                    sample.value = match question {
                        Question::AbleCount | Question::GitopsBroken | Question::BackupsOverdue => {
                            if sample.value > 0.0 { 0.0 } else { 2.0 }
                        }
                        Question::BackupAge | Question::Convergence => sample.value + 1e9,
                        Question::Alive
                        | Question::Able
                        | Question::GitlabUnreachable
                        | Question::ClusterApi => 1.0 - sample.value,
                    };
                }
            }
            PrometheusFault::Nan => {
                for (_, sample) in now.iter_mut().filter(|(cluster, _)| meant(cluster)) {
                    sample.value = f64::NAN;
                }
            }
        }
        Answer { server: name.clone(), result: Ok(now) }
    }

    fn vetoed(&self, cluster: &ClusterName) -> bool {
        self.vetoes.get(cluster).is_some_and(|until| until.is_none_or(|until| self.now < until))
    }

    pub(super) fn evidence(&self, topology: &Topology) -> Evidence {
        let asked = |q: &Question| topology.fleets.values().any(|fleet| fleet.require.asks(*q));
        let questions: Vec<Question> = Question::ALL.into_iter().filter(asked).collect();
        let mut samples = self.samples(&questions);
        // A rule of the team's own stands in the queries, not in the alerts.
        for ((_, question), clusters) in &mut samples {
            if matches!(question, Question::Able | Question::AbleCount) {
                clusters.retain(|cluster, _| !self.vetoed(cluster));
            }
        }
        let samples = samples;
        let mut evidence = Evidence::default();
        let answering = self.prometheus.iter().filter(|p| p.fault() != Some(PrometheusFault::Down));
        evidence.clocks = answering.map(|p| (p.name.clone(), self.clock_ahead)).collect();
        for (fleet, configured) in &topology.fleets {
            let mut about = FleetEvidence::default();
            for question in Question::ALL.into_iter().filter(|q| configured.require.asks(*q)) {
                let answers = (0..self.prometheus.len())
                    .map(|server| self.answer(&samples, server, fleet, question))
                    .collect();
                about.asked.insert(question, Asked { query: question.as_str().to_owned(), answers });
            }
            let told = self.prometheus.iter().any(SimPrometheus::evaluates);
            for runner in self.runners.iter().filter(|r| told && r.fleet == *fleet && r.shows_up()) {
                let clusters: &mut BTreeSet<ClusterName> =
                    about.managers.entry(format!("s_{}", runner.record.id)).or_default();
                clusters.insert(runner.cluster.clone());
            }
            evidence.fleets.insert(fleet.clone(), about);
        }
        evidence
    }
}

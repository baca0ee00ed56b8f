//! Answers of PromQL queries, and what they prove.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{ClusterName, FleetName};

/// How far a Prometheus server's clock may be ahead.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(5);
/// Beyond this, ages and times of alerts cannot be trusted: a quarter of the default `limits.evidence_max_age`.
pub const CLOCK_OFF: SignedDuration = SignedDuration::from_secs(30);

/// What is asked about every cluster of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// The share of the runner processes that answer Prometheus.
    Alive,
    /// The share of the runner processes that poll GitLab well.
    Able,
    /// How many runner processes poll GitLab well.
    AbleCount,
    /// The share of the live runner processes that get no usable answer from GitLab.
    GitlabUnreachable,
    /// Whether the cluster's API answers: 1 or 0.
    ClusterApi,
    /// How many objects of Argo CD and Flux are not well, or not known to be.
    GitopsBroken,
    /// How many Velero schedules have no completed backup that is young enough for them.
    BackupsOverdue,
    /// The age of the oldest of the newest completed backups per schedule, in seconds.
    BackupAge,
    /// How long the change that is longest on its way into the cluster has been, in seconds.
    Convergence,
}

impl Question {
    /// Every question.
    pub const ALL: [Self; 9] = [
        Self::Alive,
        Self::Able,
        Self::AbleCount,
        Self::GitlabUnreachable,
        Self::ClusterApi,
        Self::GitopsBroken,
        Self::BackupsOverdue,
        Self::BackupAge,
        Self::Convergence,
    ];

    /// The largest value that makes sense.
    fn most(self) -> f64 {
        match self {
            Self::Alive | Self::Able | Self::GitlabUnreachable | Self::ClusterApi => 1.0,
            Self::AbleCount
            | Self::GitopsBroken
            | Self::BackupsOverdue
            | Self::BackupAge
            | Self::Convergence => f64::MAX,
        }
    }

    /// The word used in the configuration and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Able => "able",
            Self::AbleCount => "able_count",
            Self::GitlabUnreachable => "gitlab_unreachable",
            Self::ClusterApi => "cluster_api",
            Self::GitopsBroken => "gitops_broken",
            Self::BackupsOverdue => "backups_overdue",
            Self::BackupAge => "backup_age",
            Self::Convergence => "convergence",
        }
    }
}

/// One number about one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The value; may be NaN.
    pub value: f64,
    /// When Prometheus recorded it.
    pub at: Timestamp,
}

/// What one Prometheus server said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The server's address.
    pub server: String,
    /// A sample per cluster, or why there is none at all.
    pub result: Result<BTreeMap<ClusterName, Sample>, String>,
}

/// One question as asked of every server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The query as sent.
    pub query: String,
    /// One answer per server.
    pub answers: Vec<Answer>,
}

/// All that was asked about one fleet.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FleetEvidence {
    /// The answers by question.
    pub asked: BTreeMap<Question, Asked>,
    /// Which cluster each runner manager (`system_id`) polls from, as Prometheus sees it.
    pub managers: BTreeMap<String, std::collections::BTreeSet<ClusterName>>,
}

/// All that was asked in one pass.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// By fleet.
    pub fleets: BTreeMap<FleetName, FleetEvidence>,
    /// How far this machine's clock is ahead of each server's that tells the time, or behind it (negative).
    #[serde(default)]
    pub clocks: BTreeMap<String, SignedDuration>,
}

impl Evidence {
    /// The server whose clock is the nearest to this machine's, and by how far that is ahead, when even that is too far:
    /// then it is this machine's clock that is wrong, or nobody can tell.
    pub fn clock_off(&self) -> Option<(&str, SignedDuration)> {
        let (server, ahead) = self.clocks.iter().min_by_key(|(_, ahead)| ahead.abs())?;
        (ahead.abs() > CLOCK_OFF).then_some((server.as_str(), *ahead))
    }
}

/// One number that counts, or why none does.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// The fresh numbers, one per server that had one.
    Fresh(Vec<f64>),
    /// Nothing to go by, and why.
    Inconclusive(String),
}

/// What evidence proves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "why")]
pub enum Verdict {
    /// Positive evidence, fresh and without contradiction.
    Healthy,
    /// Negative evidence, fresh and without contradiction.
    Unhealthy,
    /// No data, NaN, stale, error or contradiction: it counts for nothing.
    Inconclusive(String),
}

impl Asked {
    /// The fresh numbers about one cluster that answer `question`.
    fn reading(
        &self,
        question: Question,
        cluster: &ClusterName,
        now: Timestamp,
        max_age: SignedDuration,
    ) -> Reading {
        let mut fresh = Vec::new();
        let mut why = Vec::new();
        for answer in &self.answers {
            match &answer.result {
                Err(error) => why.push(format!("{}: {error}", answer.server)),
                Ok(samples) => match samples.get(cluster) {
                    None => why.push(format!("{}: no data", answer.server)),
                    Some(sample) if !(0.0..=question.most()).contains(&sample.value) => {
                        why.push(format!("{}: {} is no answer", answer.server, sample.value));
                    }
                    Some(sample) if sample.at.duration_since(now) > CLOCK_TOLERANCE => {
                        why.push(format!("{}: from the future", answer.server));
                    }
                    Some(sample) if now.duration_since(sample.at) > max_age => why.push(format!(
                        "{}: stale, {:.0} s old",
                        answer.server,
                        now.duration_since(sample.at).as_secs_f64()
                    )),
                    Some(sample) => fresh.push(sample.value),
                },
            }
        }
        if fresh.is_empty() {
            let why = if why.is_empty() { "no Prometheus was asked".to_owned() } else { why.join("; ") };
            Reading::Inconclusive(why)
        } else {
            Reading::Fresh(fresh)
        }
    }
}

impl FleetEvidence {
    /// The fresh numbers that answer `question` about `cluster`.
    pub fn reading(
        &self,
        question: Question,
        cluster: &ClusterName,
        now: Timestamp,
        max_age: SignedDuration,
    ) -> Reading {
        match self.asked.get(&question) {
            Some(asked) => asked.reading(question, cluster, now, max_age),
            None => Reading::Inconclusive(format!("{} was not asked", question.as_str())),
        }
    }
}

impl Reading {
    /// Judges every number alike; servers that disagree make the verdict inconclusive.
    pub fn judge(&self, healthy: impl Fn(f64) -> bool) -> Verdict {
        match self {
            Self::Inconclusive(why) => Verdict::Inconclusive(why.clone()),
            Self::Fresh(values) => {
                let well = values.iter().filter(|v| healthy(**v)).count();
                if well == values.len() {
                    Verdict::Healthy
                } else if well == 0 {
                    Verdict::Unhealthy
                } else {
                    Verdict::Inconclusive(format!("the Prometheus servers disagree: {values:?}"))
                }
            }
        }
    }

    /// The lowest fresh number.
    pub fn low(&self) -> Option<f64> {
        match self {
            Self::Fresh(values) => values.iter().copied().reduce(f64::min),
            Self::Inconclusive(_) => None,
        }
    }

    /// The highest fresh number.
    pub fn high(&self) -> Option<f64> {
        match self {
            Self::Fresh(values) => values.iter().copied().reduce(f64::max),
            Self::Inconclusive(_) => None,
        }
    }

    /// For people: the value, or why there is none.
    pub fn describe(&self) -> String {
        match self {
            Self::Inconclusive(why) => format!("inconclusive ({why})"),
            Self::Fresh(values) => {
                let values: Vec<String> = values.iter().map(|v| format!("{v:.2}")).collect();
                values.join(", ")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(answers: &[Result<(f64, i64), &str>]) -> Asked {
        let blue: ClusterName = "blue".parse().unwrap();
        Asked {
            query: "q".into(),
            answers: answers
                .iter()
                .enumerate()
                .map(|(i, a)| Answer {
                    server: format!("p{i}"),
                    result: match a {
                        Ok((value, at)) => Ok(BTreeMap::from([(
                            blue.clone(),
                            Sample { value: *value, at: Timestamp::from_second(*at).unwrap() },
                        )])),
                        Err(why) => Err((*why).to_owned()),
                    },
                })
                .collect(),
        }
    }

    fn verdict(answers: &[Result<(f64, i64), &str>]) -> Verdict {
        let now = Timestamp::from_second(1000).unwrap();
        asked(answers)
            .reading(Question::Alive, &"blue".parse().unwrap(), now, SignedDuration::from_secs(60))
            .judge(|v| v >= 0.5)
    }

    #[test]
    fn a_clock_is_wrong_when_no_server_agrees_with_it() {
        let off = |ahead: &[i64]| {
            let clock = |(i, ahead): (usize, &i64)| (format!("p{i}"), SignedDuration::from_secs(*ahead));
            let evidence =
                Evidence { clocks: ahead.iter().enumerate().map(clock).collect(), ..Evidence::default() };
            evidence.clock_off().map(|(server, ahead)| (server.to_owned(), ahead.as_secs()))
        };
        assert_eq!(off(&[]), None, "nobody tells the time");
        assert_eq!(off(&[30, 300]), None, "one agrees: the other one's clock is wrong");
        assert_eq!(off(&[300, -31]), Some(("p1".to_owned(), -31)));
        assert_eq!(off(&[240]), Some(("p0".to_owned(), 240)));
    }

    #[test]
    fn missing_stale_nan_and_contradicting_answers_prove_nothing() {
        assert_eq!(verdict(&[Ok((1.0, 990))]), Verdict::Healthy);
        assert_eq!(verdict(&[Ok((0.0, 990))]), Verdict::Unhealthy);
        assert_eq!(verdict(&[]), Verdict::Inconclusive("no Prometheus was asked".into()));
        assert_eq!(verdict(&[Ok((0.0, 900))]), Verdict::Inconclusive("p0: stale, 100 s old".into()));
        assert_eq!(verdict(&[Ok((f64::NAN, 990))]), Verdict::Inconclusive("p0: NaN is no answer".into()));
        for nonsense in [f64::INFINITY, f64::NEG_INFINITY, -0.5, 1.5] {
            assert!(matches!(verdict(&[Ok((nonsense, 990))]), Verdict::Inconclusive(_)), "{nonsense}");
        }
        assert_eq!(verdict(&[Ok((1.0, 1010))]), Verdict::Inconclusive("p0: from the future".into()));
        assert_eq!(verdict(&[Err("refused")]), Verdict::Inconclusive("p0: refused".into()));
        assert!(matches!(verdict(&[Ok((0.0, 990)), Ok((1.0, 990))]), Verdict::Inconclusive(_)));
        assert_eq!(verdict(&[Err("refused"), Ok((0.0, 990))]), Verdict::Unhealthy);
    }
}

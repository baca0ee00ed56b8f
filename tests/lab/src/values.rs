//! Plain values for the tests of pure functions: one fleet, its clusters, and what is said about them.

use std::collections::{BTreeMap, BTreeSet};

use switchyard::{
    decide::{FleetPass, Input, Judges, decide, draining, judges},
    model::{
        Action, Answer, Approval, Asked, Budget, ClusterName, Decision, DnsRecord, DnsView, Epoch, Evidence,
        Failback, Fleet, FleetEvidence, FleetName, Generation, Leadership, Limits, Manager, MoveKind,
        MoveState, Observation, Override, OverrideKind, Park, Pipeline, Pool, PoolSelector, Proposal,
        Question, RecordSet, RecordType, Request, Require, Runner, RunnerId, Sample, Seen, Signal, SignalKey,
        SignalState, SignedDuration, Thresholds, Timestamp, Topology,
    },
};

/// 1,000 seconds after the beginning of `at(0)`.
pub const NOW: i64 = 1_000;

/// A time of the story, in seconds.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("within the calendar")
}

/// A cluster's name.
pub fn cluster(name: &str) -> ClusterName {
    name.parse().expect("a valid name")
}

/// The fleet's name.
pub fn rnd() -> FleetName {
    "rnd".parse().expect("a valid name")
}

/// The home tag of a cluster's pool.
pub fn home_tag(cluster: &str) -> String {
    format!("home-{cluster}")
}

/// What the DNS name says while this cluster holds the fleet.
pub fn record_set(cluster: &str) -> RecordSet {
    RecordSet { ttl: 30, values: BTreeSet::from([format!("ingress.{cluster}.company.test.")]) }
}

/// One fleet `rnd` over these clusters, best first, with a DNS name.
pub fn topology(clusters: &[&str]) -> Topology {
    let pools = clusters.iter().map(|name| {
        let selector = PoolSelector::HomeTag(home_tag(name).parse().expect("a valid tag"));
        (cluster(name), Pool { selector, dns: record_set(name).values })
    });
    let fleet = Fleet {
        name: rnd(),
        enabled: true,
        routing_tag: "rnd-runner".parse().expect("a valid tag"),
        prefer: clusters.iter().map(|c| cluster(c)).collect(),
        pools: pools.collect(),
        failback: Failback::Manual,
        park: Park::Untag,
        dns: Some(DnsRecord {
            name: "runner.company.test.".to_owned(),
            record_type: RecordType::Cname,
            ttl: 30,
            provider: "bind".to_owned(),
        }),
        thresholds: Thresholds { failover: 0.5, able: 0.8, failback: 0.9, margin: 0.2 },
        min_able: 1,
        require: Require::default(),
        signal_hold: SignedDuration::from_secs(15),
        cool_down: SignedDuration::from_mins(30),
        move_deadline: SignedDuration::from_mins(10),
        approval: Approval::NotRequired,
        window: None,
        drain: None,
    };
    Topology {
        fleets: BTreeMap::from([(rnd(), fleet)]),
        limits: Limits {
            budget: Budget { moves: 3, window: SignedDuration::from_hours(1) },
            signal_max_age: SignedDuration::from_mins(15),
            watchdog_max_age: SignedDuration::from_mins(10),
            evidence_max_age: SignedDuration::from_mins(2),
        },
    }
}

/// A runner record of a cluster's pool, with or without the routing tag.
pub fn runner(id: u64, cluster: &str, routing: bool) -> Runner {
    let mut tags = BTreeSet::from([home_tag(cluster).parse().expect("a valid tag")]);
    if routing {
        tags.insert("rnd-runner".parse().expect("a valid tag"));
    }
    Runner {
        id: RunnerId(id),
        description: format!("{cluster}-{id}"),
        tags,
        paused: false,
        contacted_at: Some(at(0)),
        managers: vec![Manager { system_id: format!("s_{id}"), contacted_at: Some(at(0)) }],
    }
}

/// A pause of one fleet, or of all, until it is lifted.
pub fn pause(fleet: Option<FleetName>, since: Timestamp) -> Override {
    let (reason, author) = ("network works".to_owned(), "ada".to_owned());
    Override { fleet, kind: OverrideKind::Pause, reason, author, since, until: None }
}

/// A signal that began to fire at this second.
pub fn signal(action: Action, cluster_name: Option<&str>, since: i64, state: SignalState) -> Signal {
    let fleet = (action != Action::Watchdog).then(rnd);
    Signal {
        key: SignalKey {
            source: "alertmanager".to_owned(),
            fingerprint: format!("{action}-{}", cluster_name.unwrap_or("all")),
            starts_at: at(since),
        },
        action,
        fleet,
        cluster: cluster_name.map(cluster),
        target: None,
        state,
        ends_at: (state == SignalState::Resolved).then(|| at(since + 1)),
        labels: BTreeMap::from([("alertname".to_owned(), "SwitchyardFailover".to_owned())]),
        annotations: BTreeMap::new(),
        first_seen: at(since + 1),
        last_seen: at(NOW - 5),
    }
}

/// What one Prometheus says about every cluster.
pub fn asked(server: &str, values: &[(&str, f64)], second: i64) -> Asked {
    let samples = values.iter().map(|(c, value)| (cluster(c), Sample { value: *value, at: at(second) }));
    Asked {
        query: "q".to_owned(),
        answers: vec![Answer { server: server.to_owned(), result: Ok(samples.collect()) }],
    }
}

/// Everything a decision depends on; by default blue holds the fleet, blue is dead, green is able, and the failover
/// alert has been firing long enough: every gate is open.
#[derive(Debug, Clone)]
pub struct Case {
    /// What is configured.
    pub topology: Topology,
    /// What was received.
    pub signals: Vec<Signal>,
    /// What was seen.
    pub observation: Observation,
    /// What was decided.
    pub decisions: BTreeMap<FleetName, Decision>,
    /// Recent moves.
    pub moves: Vec<Decision>,
    /// What people set.
    pub overrides: Vec<Override>,
    /// What people ask for.
    pub requests: Vec<Request>,
    /// Whether this process may decide.
    pub leadership: Leadership,
    /// What waits for a person.
    pub proposals: Vec<Proposal>,
    /// Pipelines in flight, by fleet.
    pub in_flight: BTreeMap<FleetName, Seen<Vec<Pipeline>>>,
    /// Which gates judge which moves.
    pub judges: Judges,
    /// The time.
    pub now: Timestamp,
}

impl Case {
    /// Two clusters, blue dead and green able.
    pub fn blue_dies() -> Self {
        let mut case = Self::blue_holds();
        case.says(Question::Alive, &[("blue", 0.0), ("green", 1.0)]);
        case.says(Question::Able, &[("blue", 0.0), ("green", 1.0)]);
        case.says(Question::AbleCount, &[("blue", 0.0), ("green", 2.0)]);
        case.says(Question::GitlabUnreachable, &[("green", 0.0)]);
        case.signals.push(signal(Action::Failover, Some("blue"), NOW - 60, SignalState::Firing));
        case
    }

    /// Two clusters, both well, blue holds.
    pub fn blue_holds() -> Self {
        let topology = topology(&["blue", "green"]);
        let runners = vec![
            runner(1, "blue", true),
            runner(2, "blue", true),
            runner(3, "green", false),
            runner(4, "green", false),
        ];
        let view = DnsView {
            primary: Seen::Known(record_set("blue")),
            marker: Seen::Absent,
            servers: BTreeMap::from([("127.0.0.1:53".to_owned(), Seen::Known(record_set("blue")))]),
            obstacle: None,
        };
        let mut case = Self {
            topology,
            signals: vec![signal(Action::Watchdog, None, 0, SignalState::Firing)],
            observation: Observation {
                at: at(NOW),
                runners: Seen::Known(runners),
                dns: BTreeMap::from([(rnd(), view)]),
                evidence: Evidence {
                    fleets: BTreeMap::from([(rnd(), FleetEvidence::default())]),
                    clocks: BTreeMap::new(),
                },
            },
            decisions: BTreeMap::from([(
                rnd(),
                decision(1, MoveKind::Adopt, None, "blue", 0, MoveState::Done),
            )]),
            moves: Vec::new(),
            overrides: Vec::new(),
            requests: Vec::new(),
            judges,
            leadership: Leadership::Alone { epoch: Epoch(1) },
            proposals: Vec::new(),
            in_flight: BTreeMap::new(),
            now: at(NOW),
        };
        for question in Question::ALL {
            let value = match question {
                Question::Alive | Question::Able => 1.0,
                Question::AbleCount => 2.0,
                Question::GitlabUnreachable => 0.0,
                // Not asked by a fleet that requires nothing.
                Question::ClusterApi
                | Question::GitopsBroken
                | Question::BackupsOverdue
                | Question::BackupAge
                | Question::Convergence => continue,
            };
            case.says(question, &[("blue", value), ("green", value)]);
        }
        case
    }

    /// Replaces what Prometheus says.
    pub fn says(&mut self, question: Question, values: &[(&str, f64)]) {
        self.evidence().asked.insert(question, asked("p0", values, NOW - 5));
    }

    /// The evidence about `rnd`.
    pub fn evidence(&mut self) -> &mut FleetEvidence {
        self.observation.evidence.fleets.entry(rnd()).or_default()
    }

    /// The fleet `rnd`.
    pub fn fleet(&mut self) -> &mut Fleet {
        self.topology.fleets.get_mut(&rnd()).expect("the fleet")
    }

    /// The runner records.
    pub fn runners(&mut self) -> &mut Vec<Runner> {
        match &mut self.observation.runners {
            Seen::Known(runners) => runners,
            Seen::Absent | Seen::Unknown(_) => panic!("the runners are not known"),
        }
    }

    /// A person asks for a planned move.
    pub fn request(&mut self, from: Option<&str>, to: &str) {
        self.requests.push(Request {
            id: 1,
            fleet: rnd(),
            to: cluster(to),
            expected: from.map(cluster),
            reason: "maintenance".to_owned(),
            author: "ada".to_owned(),
            at: self.now,
            overrides: Vec::new(),
            waiting_since: None,
        });
    }

    /// The pass for `rnd`.
    pub fn decide(&self) -> FleetPass {
        self.given(|input| decide(input).remove(&rnd())).expect("every fleet has a pass")
    }

    /// Where `rnd` would go if it had drained: only then pipelines are looked for.
    pub fn draining(&self) -> Vec<String> {
        self.given(|input| {
            draining(input).get(&rnd()).into_iter().flatten().map(ToString::to_string).collect()
        })
    }

    fn given<T>(&self, judge: impl FnOnce(Input<'_>) -> T) -> T {
        judge(Input {
            topology: &self.topology,
            signals: &self.signals,
            observation: &self.observation,
            runners: &self.topology.assign(&self.observation.runners),
            decisions: &self.decisions,
            moves: &self.moves,
            overrides: &self.overrides,
            requests: &self.requests,
            leadership: &self.leadership,
            judges: self.judges,
            proposals: &self.proposals,
            in_flight: &self.in_flight,
            now: self.now,
        })
    }
}

/// A decision made at this second.
pub fn decision(
    generation: u64,
    kind: MoveKind,
    from: Option<&str>,
    to: &str,
    second: i64,
    state: MoveState,
) -> Decision {
    Decision {
        fleet: rnd(),
        generation: Generation(generation),
        kind,
        from: from.map(cluster),
        to: cluster(to),
        reason: "a test".to_owned(),
        author: "switchyard".to_owned(),
        signal: None,
        gates: Vec::new(),
        overridden: Vec::new(),
        proposal: None,
        decided_at: at(second),
        state,
        finished_at: (state != MoveState::Moving).then(|| at(second + 5)),
        acknowledged_at: None,
        cool_down_lifted_at: None,
    }
}

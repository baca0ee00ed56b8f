//! The gates: each one a pure verdict with what it saw.

use crate::model::{
    Action, CLOCK_OFF, ClusterName, Gate, GateReport, MoveKind, MoveState, Override, Park, Question, Reading,
    Seen, Signal, SignalState, SignedDuration, Timestamp, Verdict,
};

use super::{Asked, Gates, View, fresh};

/// Which gates judge which moves: [`judges`], except where a test proves what a gate is good for.
pub type Judges = fn(MoveKind, Gate) -> bool;

/// Whether a gate judges moves of this kind. A planned move by a person is not asked for by a signal, and the person
/// answers for its time; it still goes only to a cluster that is proven able, and never beside another move.
pub fn judges(kind: MoveKind, gate: Gate) -> bool {
    match kind {
        MoveKind::Adopt => false,
        // What runs on a dead cluster is not waited for.
        MoveKind::Failover => gate != Gate::Drained,
        // Home need not be better than the holder, only well.
        MoveKind::Failback => gate != Gate::TargetStronger,
        MoveKind::Switchover => matches!(
            gate,
            Gate::Enabled
                | Gate::Leader
                | Gate::SingleFlight
                | Gate::NotLatched
                | Gate::GitlabReachable
                | Gate::TargetAble
                | Gate::Window
                | Gate::Drained
        ),
    }
}

/// Gates that are closed when nothing asks for a move, and hold nothing then.
fn only_when_asked(gate: Gate) -> bool {
    matches!(
        gate,
        Gate::SignalHeld
            | Gate::Confirmed
            | Gate::TargetStronger
            | Gate::Window
            | Gate::Drained
            | Gate::Approved
    )
}

/// A verdict, what it saw, and when time alone may change it.
pub(super) struct Judged {
    pub(super) open: bool,
    pub(super) saw: String,
    pub(super) recheck: Option<Timestamp>,
    pub(super) query: Option<String>,
}

pub(super) fn judged(open: bool, saw: impl Into<String>) -> Judged {
    Judged { open, saw: saw.into(), recheck: None, query: None }
}

/// Open once `age` has reached `wanted`; otherwise says when.
fn after(since: Timestamp, wanted: SignedDuration, now: Timestamp, what: &str) -> Judged {
    let age = now.duration_since(since);
    let open = age >= wanted;
    let recheck = (!open).then(|| since.checked_add(wanted).ok()).flatten();
    Judged { open, saw: format!("{what} {:#} ago, {:#} wanted", whole(age), wanted), recheck, query: None }
}

fn whole(duration: SignedDuration) -> SignedDuration {
    SignedDuration::from_secs(duration.as_secs())
}

impl View<'_> {
    /// Every gate for a move, and when to look again.
    pub(super) fn gates(&self, asked: Asked<'_>) -> Gates {
        let Asked { kind, from, to, signal, .. } = asked;
        let mut recheck: Option<Timestamp> = None;
        let reports = Gate::ALL
            .into_iter()
            .map(|gate| {
                let judged = match gate {
                    Gate::Enabled => self.enabled(),
                    Gate::Leader => judged(self.input.leadership.leads(), self.input.leadership.to_string()),
                    Gate::NotPaused => self.not_paused(),
                    Gate::SingleFlight => self.single_flight(),
                    Gate::NotLatched => self.not_latched(),
                    Gate::EyesOpen => self.eyes_open(),
                    Gate::GitlabReachable => self.gitlab_reachable(kind),
                    Gate::NotCommonCause => self.not_common_cause(),
                    Gate::SignalHeld => self.signal_held(kind, signal),
                    Gate::Confirmed => self.confirmed(kind, from, to, signal),
                    Gate::TargetAble => self.target_able(kind, to),
                    Gate::TargetStronger => self.target_stronger(from, to),
                    Gate::CooledDown => self.cooled_down(),
                    Gate::Budget => self.budget(),
                    Gate::Window => self.window(asked),
                    Gate::Drained => self.drained(asked),
                    Gate::Approved => self.approved(asked),
                };
                recheck = match (recheck, judged.recheck) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
                let idle = asked.idle && !judged.open && only_when_asked(gate);
                GateReport { gate, open: judged.open, idle, saw: judged.saw, query: judged.query }
            })
            .collect();
        (reports, recheck)
    }

    fn enabled(&self) -> Judged {
        if self.fleet.enabled {
            judged(true, "enabled = true")
        } else {
            judged(false, "enabled = false: the fleet is watched and nothing is moved")
        }
    }

    fn not_paused(&self) -> Judged {
        match Override::pause(self.input.overrides, &self.fleet.name, self.input.now) {
            None => judged(true, "no pause"),
            Some(pause) => Judged { open: false, saw: pause.told(), recheck: pause.until, query: None },
        }
    }

    fn single_flight(&self) -> Judged {
        match self.latest.filter(|d| d.state == MoveState::Moving) {
            None => judged(true, "no move under way"),
            Some(d) => judged(
                false,
                format!("the {} to {} is under way (generation {})", d.kind, d.to, d.generation),
            ),
        }
    }

    fn not_latched(&self) -> Judged {
        match self.latest.filter(|d| d.latched()) {
            None => judged(true, "the last move did not fail"),
            Some(d) => judged(
                false,
                format!(
                    "the {} to {} failed (generation {}) and nobody has acknowledged it",
                    d.kind, d.to, d.generation
                ),
            ),
        }
    }

    fn eyes_open(&self) -> Judged {
        // Before anything that is judged by its age.
        if let Some((server, ahead)) = self.input.observation.evidence.clock_off() {
            let side = if ahead.is_positive() { "ahead of" } else { "behind" };
            let saw = format!(
                "the clock of this machine is {:#} {side} that of {server}, and no Prometheus agrees with it; {CLOCK_OFF:#} allowed",
                whole(ahead.abs())
            );
            return judged(false, saw);
        }
        let limits = &self.input.topology.limits;
        let watchdog = self
            .input
            .signals
            .iter()
            .filter(|s| s.action == Action::Watchdog && s.state == SignalState::Firing)
            .map(|s| s.last_seen)
            .max();
        let Some(seen) = watchdog else {
            return judged(false, "no watchdog alert has been received");
        };
        let age = self.input.now.duration_since(seen);
        if !fresh(self.input.now, seen, limits.watchdog_max_age) {
            return judged(
                false,
                format!(
                    "the last watchdog alert is {:#} old, {:#} allowed",
                    whole(age),
                    limits.watchdog_max_age
                ),
            );
        }
        let fresh =
            self.fleet.prefer.iter().any(|c| matches!(self.reading(Question::Alive, c), Reading::Fresh(_)));
        if fresh {
            judged(
                true,
                format!("the last watchdog alert is {:#} old, and Prometheus has fresh samples", whole(age)),
            )
        } else {
            let why: Vec<String> = self
                .fleet
                .prefer
                .iter()
                .map(|c| format!("{c}: {}", self.reading(Question::Alive, c).describe()))
                .collect();
            judged(false, format!("no fresh sample about any cluster; {}", why.join("; ")))
        }
    }

    fn gitlab_reachable(&self, kind: MoveKind) -> Judged {
        if let Seen::Unknown(why) = &self.input.observation.runners {
            return judged(false, format!("GitLab could not be read: {why}"));
        }
        let verdicts: Vec<(&ClusterName, Reading)> =
            self.fleet.prefer.iter().map(|c| (c, self.reading(Question::GitlabUnreachable, c))).collect();
        let told = verdicts.iter().any(|(_, reading)| matches!(reading, Reading::Fresh(_)));
        let reached =
            verdicts.iter().any(|(_, reading)| reading.judge(|share| share < 0.5) == Verdict::Healthy);
        let shown: Vec<String> =
            verdicts.iter().map(|(c, reading)| format!("{c}: {}", reading.describe())).collect();
        let shown = shown.join("; ");
        // Nothing automatic without evidence; a person may know better than a Prometheus that says nothing.
        let open = reached || (!told && !kind.automatic());
        let saw = match (open, told) {
            (true, _) => "GitLab answers".to_owned(),
            (false, true) => {
                format!("the runners of no cluster are proven to reach GitLab; not reaching it: {shown}")
            }
            (false, false) => format!("no sample of whether runners reach GitLab; {shown}"),
        };
        Judged { open, saw, recheck: None, query: self.query(Question::GitlabUnreachable) }
    }

    /// Over all fleets: most clusters dead at once says more about the observer than about the clusters.
    fn not_common_cause(&self) -> Judged {
        let mut verdicts = std::collections::BTreeMap::<&ClusterName, bool>::new();
        for (name, fleet) in &self.input.topology.fleets {
            let Some(evidence) = self.input.observation.evidence.fleets.get(name) else { continue };
            for cluster in fleet.pools.keys() {
                let max_age = self.input.topology.limits.evidence_max_age;
                let reading = evidence.reading(Question::Alive, cluster, self.input.now, max_age);
                match reading.judge(|v| v >= fleet.thresholds.failover) {
                    // Where the runners of any fleet live, the cluster lives.
                    Verdict::Healthy => {
                        verdicts.insert(cluster, false);
                    }
                    Verdict::Unhealthy => {
                        verdicts.entry(cluster).or_insert(true);
                    }
                    Verdict::Inconclusive(_) => {}
                }
            }
        }
        let dead = verdicts.values().filter(|dead| **dead).count();
        let saw = format!("{dead} of {} clusters with fresh samples look dead", verdicts.len());
        let open = !verdicts.is_empty() && dead * 2 <= verdicts.len();
        Judged { open, saw, recheck: None, query: self.query(Question::Alive) }
    }

    fn signal_held(&self, kind: MoveKind, signal: Option<&Signal>) -> Judged {
        let Some(signal) = signal else {
            return judged(false, "no alert asks for a move");
        };
        let wanted = match (kind, self.fleet.failback) {
            (MoveKind::Failback, crate::model::Failback::After(dwell)) => dwell,
            _ => self.fleet.signal_hold,
        };
        let name = signal.labels.get("alertname").map_or("the alert", String::as_str);
        after(signal.key.starts_at, wanted, self.input.now, &format!("{name} began to fire"))
    }

    /// Prometheus is asked again now. GitLab having heard from the cluster's runners since the alert began
    /// contradicts a death; that it has not heard from them proves nothing (it lags for idle runners).
    fn confirmed(
        &self,
        kind: MoveKind,
        from: Option<&ClusterName>,
        to: Option<&ClusterName>,
        signal: Option<&Signal>,
    ) -> Judged {
        let thresholds = &self.fleet.thresholds;
        if kind == MoveKind::Failback {
            let Some(to) = to else { return judged(false, "the fleet has no home") };
            let reading = self.reading(Question::Able, to);
            let open = reading.judge(|v| v >= thresholds.failback) == Verdict::Healthy;
            let saw = format!("{to} polls well: {}, {} wanted", reading.describe(), thresholds.failback);
            return Judged { open, saw, recheck: None, query: self.query(Question::Able) };
        }
        let Some(from) = from else { return judged(false, "nobody holds the fleet") };
        let reading = self.reading(Question::Alive, from);
        let dead = reading.judge(|v| v >= thresholds.failover) == Verdict::Unhealthy;
        let mut saw = format!("{from} alive: {}, below {} is dead", reading.describe(), thresholds.failover);
        let mut open = dead;
        if let (true, Some(signal), Some(runners)) = (dead, signal, self.runners) {
            let pool = runners.pools.get(from).map(Vec::as_slice).unwrap_or_default();
            let heard: Vec<Option<Timestamp>> = pool
                .iter()
                .flat_map(|r| match r.managers.as_slice() {
                    [] => vec![r.contacted_at],
                    managers => managers.iter().map(|m| m.contacted_at).collect(),
                })
                .collect();
            // Contacts of minutes ago contradict no longer: the cluster may have died again since.
            let recent = |at: &&Timestamp| {
                **at > signal.key.starts_at
                    && self.input.now.duration_since(**at) <= self.input.topology.limits.evidence_max_age
            };
            let since = heard.iter().flatten().filter(recent).count();
            if since > 0 && since as f64 >= thresholds.failover * heard.len() as f64 {
                open = false;
                saw = format!(
                    "{saw}; but GitLab has heard from {since} of its {} runners since the alert began",
                    heard.len()
                );
            }
        }
        Judged { open, saw, recheck: None, query: self.query(Question::Alive) }
    }

    fn target_able(&self, kind: MoveKind, to: Option<&ClusterName>) -> Judged {
        let Some(to) = to else { return judged(false, "there is no other cluster to go to") };
        let (open, saw) = self.able(kind, to);
        Judged { open, saw, recheck: None, query: self.query(Question::Able) }
    }

    /// Whether a cluster is proven able to hold the fleet, and what was seen.
    pub(super) fn able(&self, kind: MoveKind, to: &ClusterName) -> (bool, String) {
        let thresholds = &self.fleet.thresholds;
        let share = self.reading(Question::Able, to);
        let count = self.reading(Question::AbleCount, to);
        let well = share.judge(|v| v >= thresholds.able) == Verdict::Healthy;
        let enough = count.judge(|v| v >= f64::from(self.fleet.min_able)) == Verdict::Healthy;
        let mut saw = format!(
            "{to} polls well: {}, {} wanted; runner processes: {}, {} wanted",
            share.describe(),
            thresholds.able,
            count.describe(),
            self.fleet.min_able
        );
        // An alert that contradicts the samples blocks automatic moves. A person may have mended the cluster minutes ago,
        // while `keep_firing_for` still holds the alert.
        if kind.automatic() && self.firing(Action::Failover, to).is_some() {
            return (false, format!("{saw}; a failover alert about {to} fires"));
        }
        let Some(runners) = self.runners else {
            return (false, format!("{saw}; GitLab could not be read"));
        };
        let pool = runners.pools.get(to).map(Vec::as_slice).unwrap_or_default();
        let usable = pool.iter().filter(|r| !r.paused || self.fleet.park == Park::Pause).count();
        saw = format!("{saw}; {usable} of {} records in GitLab can take jobs", pool.len());
        let mut required = true;
        for (question, what, well) in self.required() {
            let reading = self.reading(question, to);
            required &= reading.judge(well) == Verdict::Healthy;
            saw = format!("{saw}; {what}: {}", reading.describe());
        }
        (well && enough && usable > 0 && required, saw)
    }

    /// What the fleet asks of a cluster beside its runners: the question, the words, and which value is well.
    fn required(&self) -> impl Iterator<Item = (Question, String, impl Fn(f64) -> bool)> {
        let require = &self.fleet.require;
        let (oldest, longest) = (require.backup_max_age, require.convergence);
        Question::ALL.into_iter().filter(|q| require.asks(*q)).filter_map(move |question| {
            let (what, most) = match question {
                Question::Alive | Question::Able | Question::AbleCount | Question::GitlabUnreachable => {
                    return None;
                }
                Question::ClusterApi => ("its API (1 wanted)".to_owned(), None),
                Question::GitopsBroken => ("GitOps objects not well (0 wanted)".to_owned(), Some(0.0)),
                Question::BackupsOverdue => {
                    ("Velero schedules without a backup young enough (0 wanted)".to_owned(), Some(0.0))
                }
                Question::BackupAge => {
                    let oldest = oldest?.as_secs_f64();
                    (format!("age of its oldest backup in seconds (at most {oldest} wanted)"), Some(oldest))
                }
                Question::Convergence => {
                    let longest = longest?.as_secs_f64();
                    (format!("seconds of its slowest change (at most {longest} wanted)"), Some(longest))
                }
            };
            Some((question, what, move |value: f64| most.map_or(value >= 1.0, |most| value <= most)))
        })
    }

    fn target_stronger(&self, from: Option<&ClusterName>, to: Option<&ClusterName>) -> Judged {
        let (Some(from), Some(to)) = (from, to) else {
            return judged(false, "there are no two clusters to compare");
        };
        let (weak, strong) = (self.reading(Question::Able, from), self.reading(Question::Able, to));
        let margin = self.fleet.thresholds.margin;
        // Never at equality, whatever the margin: the target must be strictly better.
        let open = match (weak.high(), strong.low()) {
            (Some(weak), Some(strong)) => strong > weak && strong - weak >= margin,
            _ => false,
        };
        let saw = format!(
            "{to} polls well: {}, {from}: {}, a difference of {margin} wanted",
            strong.describe(),
            weak.describe()
        );
        Judged { open, saw, recheck: None, query: self.query(Question::Able) }
    }

    /// When the last move ended, and when a person lifted its cool-down.
    fn last_move(&self) -> Option<(Timestamp, Option<Timestamp>)> {
        let own = self.input.moves.iter().filter(|m| m.fleet == self.fleet.name && m.kind != MoveKind::Adopt);
        // Not by time: the clock may have been set back since.
        let last = own.max_by_key(|m| m.generation)?;
        Some((last.finished_at.unwrap_or(last.decided_at), last.cool_down_lifted_at))
    }

    /// When the cool-down of the last move ends or ended.
    pub(super) fn cooled_down_at(&self) -> Option<Timestamp> {
        match self.last_move()? {
            (_, Some(lifted)) => Some(lifted),
            (at, None) => at.checked_add(self.fleet.cool_down).ok(),
        }
    }

    fn cooled_down(&self) -> Judged {
        match self.last_move() {
            None => judged(true, "no recent move"),
            Some((_, Some(lifted))) => judged(true, format!("a person lifted the cool-down at {lifted}")),
            Some((at, None)) => after(at, self.fleet.cool_down, self.input.now, "the last move ended"),
        }
    }

    fn budget(&self) -> Judged {
        let budget = &self.input.topology.limits.budget;
        let saw =
            format!("{} of {} automatic moves used within {:#}", self.spent, budget.moves, budget.window);
        let oldest = self
            .input
            .moves
            .iter()
            .filter(|m| m.kind.automatic() && self.input.now.duration_since(m.decided_at) < budget.window)
            .map(|m| m.decided_at)
            .min();
        let open = self.spent < budget.moves;
        let recheck = oldest.filter(|_| !open).and_then(|at| at.checked_add(budget.window).ok());
        Judged { open, saw, recheck, query: None }
    }

    fn reading(&self, question: Question, cluster: &ClusterName) -> Reading {
        self.evidence.reading(question, cluster, self.input.now, self.input.topology.limits.evidence_max_age)
    }

    fn query(&self, question: Question) -> Option<String> {
        self.evidence.asked.get(&question).map(|asked| asked.query.clone())
    }
}

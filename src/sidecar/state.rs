//! What a gitlab-runner is doing, told from its metrics page alone: pure.
//!
//! The last change of each counter decides, not a rate: inside a rate's window the order of a good and a bad answer is
//! lost.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::reading::{Reading, Section};
use crate::model::{Moment, SignedDuration, Timestamp};

/// What a runner process, or one section of it, is doing. In the order in which they are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The page did not answer several times in a row.
    Dead,
    /// It has just started and has not asked for a job yet.
    Starting,
    /// It shuts down, or was told to drain: it takes no new jobs.
    Draining,
    /// It stopped asking after three refusals, by default for an hour.
    Asleep,
    /// It runs as many jobs as it may, and does not ask for more.
    Full,
    /// GitLab answers its requests for jobs.
    Polling,
    /// GitLab refuses its requests (a 4xx other than 429): its token, or the runner is gone.
    Refused,
    /// GitLab does not answer (-1), fails (5xx) or asks to slow down (429).
    GitlabUnreachable,
    /// A request for a job waits for longer than GitLab holds one.
    Stuck,
    /// It neither asks nor is kept from asking: the loop of its workers stands still.
    Blocked,
    /// It has not been watched for long enough.
    Unknown,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Dead,
        Self::Starting,
        Self::Draining,
        Self::Asleep,
        Self::Full,
        Self::Polling,
        Self::Refused,
        Self::GitlabUnreachable,
        Self::Stuck,
        Self::Blocked,
        Self::Unknown,
    ];

    /// The word in metrics, answers and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Starting => "starting",
            Self::Draining => "draining",
            Self::Asleep => "asleep",
            Self::Full => "full",
            Self::Polling => "polling",
            Self::Refused => "refused",
            Self::GitlabUnreachable => "gitlab_unreachable",
            Self::Stuck => "stuck",
            Self::Blocked => "blocked",
            Self::Unknown => "unknown",
        }
    }

    /// Whether to leave the process alone. Only a process that does not answer is to be restarted: an outage of GitLab
    /// must not restart every runner there is.
    pub fn live(self) -> bool {
        self != Self::Dead
    }

    /// Whether it takes jobs, or will when one of its own ends.
    pub fn ready(self) -> bool {
        matches!(self, Self::Full | Self::Polling)
    }

    /// What it means, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Dead => "its metrics page does not answer",
            Self::Starting => "it has just started and has not asked for a job yet",
            Self::Draining => "it shuts down and takes no new jobs",
            Self::Asleep => {
                "it sleeps after GitLab refused it (unhealthy_interval, an hour by default); mend the cause, then send \
                 it SIGHUP or restart it"
            }
            Self::Full => "it runs as many jobs as it may",
            Self::Polling => "GitLab answers its requests for jobs",
            Self::Refused => {
                "GitLab refuses its requests for jobs: look at its token and whether it still exists"
            }
            Self::GitlabUnreachable => "GitLab does not answer it; restarting it would not help",
            Self::Stuck => "a request for a job has been waiting for longer than GitLab holds one",
            Self::Blocked => "it has stopped asking for jobs without a reason that it shows",
            Self::Unknown => "it has not been watched for long enough to say",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the runner is configured, and how it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The runner's `check_interval`.
    pub check_interval: SignedDuration,
    /// How long GitLab may hold a request for a job open.
    pub hold: SignedDuration,
    /// The time between two looks.
    pub period: SignedDuration,
    /// How long the page may take.
    pub timeout: SignedDuration,
    /// So many looks in a row without an answer mean dead.
    pub tries: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            check_interval: SignedDuration::from_secs(3),
            hold: SignedDuration::from_secs(50),
            period: SignedDuration::from_secs(2),
            timeout: SignedDuration::from_secs(5),
            tries: 3,
        }
    }
}

impl Limits {
    /// After this long without a finished request, the runner does not ask.
    pub fn quiet(&self) -> SignedDuration {
        self.hold + self.check_interval * 2 + self.period
    }

    /// A runner that has not asked for this long after a refusal sleeps.
    fn asleep(&self) -> SignedDuration {
        self.check_interval * 2 + self.period
    }
}

/// What one look found.
#[derive(Debug, Clone, PartialEq)]
pub enum Look {
    /// The runner's page.
    Page(Reading),
    /// Somebody is there, and no page of a runner could be read: a page that broke off or came too slowly, one of a newer
    /// version, a wrong address. No proof of death: none of these is mended by restarting the runner for ever.
    Puzzle(String),
    /// Nobody answered.
    Silence(String),
}

/// The looks so far, folded.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Looks in a row that failed.
    failures: u32,
    /// Why the last one did.
    why: Option<String>,
    /// Why it could not be read, when the last answer was no page of a runner.
    puzzle: Option<String>,
    /// When this process was seen first.
    since: Option<Moment>,
    /// The last page.
    reading: Option<Reading>,
    changes: BTreeMap<String, Changes>,
    /// Told to drain; until the process is another one.
    drained: bool,
}

/// When the counters of a section moved last.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Changes {
    /// When the section was seen first.
    since: Option<Moment>,
    request: Option<(Moment, String)>,
    fed: Option<Moment>,
    not_fed: Option<Moment>,
    exceeded: Option<Moment>,
}

/// What the runner is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// The process: the state of the section that is worst off.
    pub state: State,
    /// Every section, by the start of its token.
    pub sections: BTreeMap<String, State>,
    /// In words.
    pub sentence: String,
}

impl Memory {
    /// Takes a look in.
    pub fn look(&mut self, look: Look, now: Moment, limits: &Limits) {
        let new = match look {
            Look::Page(new) => new,
            Look::Puzzle(what) => {
                (self.failures, self.why, self.puzzle) = (0, None, Some(what));
                return;
            }
            Look::Silence(why) => {
                self.failures = self.failures.saturating_add(1);
                self.why = Some(why);
                return;
            }
        };
        (self.failures, self.why, self.puzzle) = (0, None, None);
        let before = self.reading.take().filter(|old| old.started == new.started && !went_back(old, &new));
        if before.is_none() {
            *self = Self { since: Some(now), ..Self::default() };
        }
        // Of a young process, all that was counted was counted just now. One that began in the future is not young: a clock
        // was set.
        let young =
            new.started.is_some_and(|started| now.wall.duration_since(started).abs() < limits.quiet());
        let nothing = Section::default();
        for (runner, section) in new.configured() {
            let old = match &before {
                Some(before) => before.sections.get(runner).unwrap_or(&nothing),
                None if young => &nothing,
                None => section,
            };
            let changes = self.changes.entry(runner.clone()).or_default();
            changes.since.get_or_insert(now);
            changes.note(old, section, now);
        }
        let configured: BTreeSet<&String> = new.configured().map(|(runner, _)| runner).collect();
        self.changes.retain(|runner, _| configured.contains(runner));
        self.reading = Some(new);
    }

    /// The runner is about to be stopped: from now on it counts as draining. For runners that do not show it themselves.
    pub fn drain(&mut self) {
        self.drained = true;
    }

    /// When each section's last request for a job ended, and with what status.
    pub fn requests(&self) -> impl Iterator<Item = (&str, Timestamp, &str)> {
        self.changes.iter().filter_map(|(runner, changes)| {
            let (at, status) = changes.request.as_ref()?;
            Some((runner.as_str(), at.wall, status.as_str()))
        })
    }

    /// Judges what was seen.
    pub fn judge(&self, now: Moment, limits: &Limits) -> Judgement {
        let whole = |state: State, sentence: String| Judgement { state, sections: BTreeMap::new(), sentence };
        if self.failures >= limits.tries.max(1) {
            let why = self.why.as_deref().unwrap_or("no answer");
            return whole(State::Dead, format!("{} ({why}, {} times)", State::Dead.meaning(), self.failures));
        }
        if let Some(what) = &self.puzzle {
            return whole(State::Unknown, format!("it answers, and no page of a runner can be read: {what}"));
        }
        let Some(reading) = &self.reading else {
            let why = self.why.as_deref().unwrap_or("nobody has looked yet");
            return whole(State::Unknown, format!("nothing is known yet: {why}"));
        };
        let process = match reading.state.as_deref() {
            _ if self.drained => Some(State::Draining),
            Some("starting") => Some(State::Starting),
            Some("running") | None => None,
            Some(_) => Some(State::Draining),
        };
        if let Some(state) = process {
            return whole(state, state.meaning().to_owned());
        }
        let sections: BTreeMap<String, State> = reading
            .configured()
            .map(|(runner, section)| (runner.clone(), self.section(reading, runner, section, now, limits)))
            .collect();
        // One that takes no jobs must not hide behind one that does.
        let worst = sections.iter().max_by_key(|(_, state)| (!state.ready(), **state == State::Full));
        let (state, sentence) = match worst {
            Some((runner, state)) if sections.len() > 1 => {
                (*state, format!("runner {runner}: {}", state.meaning()))
            }
            Some((_, state)) => (*state, state.meaning().to_owned()),
            None if self.young(reading, now, limits) => {
                (State::Starting, State::Starting.meaning().to_owned())
            }
            None => (State::Unknown, "its page shows no [[runners]] section".to_owned()),
        };
        Judgement { state, sections, sentence }
    }

    fn section(
        &self,
        reading: &Reading,
        runner: &str,
        section: &Section,
        now: Moment,
        limits: &Limits,
    ) -> State {
        let quiet = limits.quiet();
        let changes = self.changes.get(runner).cloned().unwrap_or_default();
        let within = |at: Moment, limit| now.since(at).is_some_and(|age| age <= limit);
        let recent = |at: Option<Moment>| at.is_some_and(|at| within(at, quiet));
        if section.requests.is_empty() && self.young(reading, now, limits) {
            return State::Starting;
        }
        let last = changes.request.as_ref().map(|(at, status)| (*at, Answer::of(status)));
        let answered_at = last.filter(|(_, answer)| *answer == Answer::Good).map(|(at, _)| at);
        let boot = |at: Option<Moment>| at.map(|at| at.boot);
        if recent(changes.not_fed) && boot(changes.not_fed) > boot(answered_at).max(boot(changes.fed)) {
            return State::Asleep;
        }
        // Before 15.11 nothing counts what is not fed.
        if let Some((at, status)) = &changes.request
            && status == "403"
            && section.feed_failures.is_none()
            && !within(*at, limits.asleep())
        {
            return State::Asleep;
        }
        // Those of a section that was taken out of the configuration run on.
        let jobs: f64 = reading.sections.values().map(|s| s.jobs).sum();
        let full = reading.concurrent.is_some_and(|most| most > 0.0 && jobs >= most)
            || section.limit.is_some_and(|most| most > 0.0 && section.jobs >= most);
        if full {
            return State::Full;
        }
        match last {
            Some((at, Answer::Good)) if within(at, quiet) => State::Polling,
            Some((_, Answer::Unreachable)) => State::GitlabUnreachable,
            Some((at, Answer::Refused)) if within(at, quiet) => State::Refused,
            None if recent(changes.since) => State::Unknown,
            _ if section.in_flight >= 1.0 && recent(changes.exceeded) => State::Stuck,
            _ if recent(changes.fed) || recent(changes.not_fed) => State::Unknown,
            _ => State::Blocked,
        }
    }

    /// Whether the process may not have asked for its first job yet.
    fn young(&self, reading: &Reading, now: Moment, limits: &Limits) -> bool {
        let youth = limits.check_interval * 2 + limits.hold;
        // When it started is told by the time of day, which may be set back; for how long it was watched is not.
        let watched = self.since.and_then(|since| now.since(since));
        watched.is_some_and(|watched| watched < youth)
            && reading.started.is_none_or(|started| now.wall.duration_since(started) < youth)
    }
}

/// What an answer to a request for a job means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Good,
    Refused,
    Unreachable,
}

impl Answer {
    fn of(status: &str) -> Self {
        match status {
            "201" | "204" => Self::Good,
            "429" => Self::Unreachable,
            s if s.starts_with('4') => Self::Refused,
            _ => Self::Unreachable,
        }
    }

    /// Of two that came between two looks nobody knows the order: the worse one counts until the next look.
    fn rank(status: &str) -> u8 {
        match Self::of(status) {
            Self::Good => 0,
            Self::Unreachable => 1,
            Self::Refused => 2,
        }
    }
}

impl Changes {
    fn note(&mut self, old: &Section, new: &Section, now: Moment) {
        let moved = |(status, count): (&String, &f64)| {
            (*count > old.requests.get(status).copied().unwrap_or_default()).then(|| status.clone())
        };
        if let Some(status) = new.requests.iter().filter_map(moved).max_by_key(|status| Answer::rank(status))
        {
            self.request = Some((now, status));
        }
        let note = |at: &mut Option<Moment>, old: Option<f64>, new: Option<f64>| {
            if new.unwrap_or_default() > old.unwrap_or_default() {
                *at = Some(now);
            }
        };
        note(&mut self.fed, old.feeds, new.feeds);
        note(&mut self.not_fed, old.feed_failures, new.feed_failures);
        note(&mut self.exceeded, old.exceeded, new.exceeded);
    }
}

/// Whether a counter fell: another process answers, although it does not say when it started.
fn went_back(old: &Reading, new: &Reading) -> bool {
    old.sections.iter().any(|(runner, old)| {
        let Some(new) = new.sections.get(runner) else { return false };
        let fell = |old: Option<f64>, new: Option<f64>| new.unwrap_or_default() < old.unwrap_or_default();
        fell(old.feeds, new.feeds)
            || fell(old.feed_failures, new.feed_failures)
            || old.requests.iter().any(|(s, c)| new.requests.get(s).copied().unwrap_or_default() < *c)
    })
}

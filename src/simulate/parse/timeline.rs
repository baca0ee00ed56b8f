//! The lines that begin with `at`: what happens to the world, and when.

use super::{
    super::story::{
        AlertmanagerFault, CrashAt, DnsFault, Event, Fate, GitlabFault, Happening, Part, Story, Who,
    },
    from_one,
};
use crate::{
    model::{ClusterName, FleetName, RunnerId, SignedDuration},
    simulate::words::{Parsed, Words},
    world::sim::{PrometheusFault, RateLimit, Tool, ToolFault, WriteFault},
};

/// A story goes on for so long after the last thing that happens.
const EPILOGUE: SignedDuration = SignedDuration::from_mins(5);
/// How long a runner sleeps after three refusals.
const SLEEP: SignedDuration = SignedDuration::from_hours(1);

pub(super) const HAPPENINGS: [&str; 18] = [
    "kill",
    "revive",
    "partition",
    "heal",
    "slow",
    "sleep",
    "wake",
    "fault",
    "rate-limit",
    "mend",
    "human",
    "crash",
    "stop",
    "start",
    "lead",
    "clock",
    "expect",
    "end",
];
pub(super) const WRITES: [&str; 5] =
    ["timeout-after-commit", "lost-reply", "lost-request", "refused", "error"];
/// GitLab's answers have more shapes than those of a DNS server.
pub(super) const SHAPES: [&str; 3] = ["refused-in-fields", "refused-in-html", "html-instead"];
pub(super) const GITLAB: [&str; 7] = [
    "down",
    "rate-limit",
    "rate-limit-in-json",
    "rate-limit-in-html",
    "graphql-refused",
    "stale-reads",
    "slow",
];
pub(super) const SERVER: [&str; 2] = ["down", "behind"];
pub(super) const PROMETHEUS: [&str; 6] = ["down", "silent", "stale", "contradicts", "nan", "partial"];
pub(super) const ALERTMANAGER: [&str; 7] =
    ["down", "duplicates", "reorder", "late", "lost-resolve", "lost-firing", "wrong-credential"];
pub(super) const LEAD: [&str; 2] = ["elsewhere", "again"];
pub(super) const PARTITION: [&str; 2] = ["gitlab", "prometheus"];
pub(super) const SIDES: [&str; 2] = ["before", "after"];

pub(super) struct Timeline {
    pub(super) story: Story,
    end: Option<SignedDuration>,
}

impl Timeline {
    pub(super) fn new(story: Story) -> Self {
        Self { story, end: None }
    }

    pub(super) fn finish(self) -> Story {
        let Self { mut story, end } = self;
        // Stable: what is written first happens first.
        story.events.sort_by_key(|event| event.at);
        let last = story.events.last().map_or(SignedDuration::ZERO, |event| event.at);
        let expects = matches!(story.events.last(), Some(Event { what: Happening::Expect(..), .. }));
        story.end = end.unwrap_or(if expects { last } else { last + EPILOGUE });
        story
    }

    pub(super) fn read(&mut self, mut words: Words<'_>) -> Parsed<()> {
        words.expect("at")?;
        let at = words.lasting()?;
        let text = words.ahead().to_owned();
        let line = words.line;
        let push = |story: &mut Story, at, text: String, what| {
            story.events.push(Event { at, line, text, what });
        };
        let kind = words.choose(&HAPPENINGS)?;
        if kind == "end" {
            words.end()?;
            self.end = Some(at);
            return Ok(());
        }
        let (what, mend) = match kind {
            "fault" | "rate-limit" => self.fault(kind, &mut words)?,
            "human" => (self.human(&mut words)?, None),
            "expect" => {
                let (fleet, claim) = self.claim(&mut words)?;
                (Happening::Expect(fleet, claim), None)
            }
            "mend" => (Happening::Mend(part(&mut words)?), None),
            "crash" => (Happening::Crash(crash(&mut words)?), None),
            "stop" => (Happening::Running(false), None),
            "start" => (Happening::Running(true), None),
            "lead" => (Happening::Lead(words.choose(&LEAD)? == "again"), None),
            "clock" => {
                words.expect("jumps")?;
                (Happening::Clock(words.duration()?), None)
            }
            fate => (self.fate(fate, &mut words)?, None),
        };
        let lasts = if mend.is_some() && words.take("for") { Some(words.lasting()?) } else { None };
        words.end()?;
        push(&mut self.story, at, text, what);
        if let (Some(part), Some(lasts)) = (mend, lasts) {
            push(&mut self.story, at + lasts, format!("mend {}", part_name(part)), Happening::Mend(part));
        }
        Ok(())
    }

    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.story.topology.fleets.values().flat_map(|f| &f.prefer).map(ClusterName::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    pub(super) fn cluster(&self, words: &mut Words<'_>) -> Parsed<ClusterName> {
        let name = words.choose(&self.names())?;
        name.parse().map_err(|error| words.problem(format!("{error}")))
    }

    pub(super) fn fleet_named(&self, words: &mut Words<'_>) -> Parsed<FleetName> {
        let names: Vec<&str> = self.story.topology.fleets.keys().map(FleetName::as_str).collect();
        let name = words.choose(&names)?;
        name.parse().map_err(|error| words.problem(format!("{error}")))
    }

    /// The fleet after this word; without it the only one, or the first.
    pub(super) fn fleet(&self, words: &mut Words<'_>, after: &str) -> Parsed<FleetName> {
        if words.take(after) {
            return self.fleet_named(words);
        }
        self.story
            .topology
            .fleets
            .keys()
            .next()
            .cloned()
            .ok_or_else(|| words.problem("the story has no fleet"))
    }

    pub(super) fn runner(&self, words: &mut Words<'_>) -> Parsed<RunnerId> {
        words.expect("runner")?;
        Ok(RunnerId(words.parse("a runner's number")?))
    }

    fn who(&self, words: &mut Words<'_>) -> Parsed<Who> {
        if words.peek() == Some("runner") {
            return Ok(Who::Runner(self.runner(words)?));
        }
        let mut allowed = self.names();
        allowed.push("runner");
        let name = words.choose(&allowed)?;
        let cluster = name.parse().map_err(|error| words.problem(format!("{error}")))?;
        let share = if words.peek().is_some_and(|w| w.ends_with('%')) { words.percent()? } else { 100 };
        Ok(Who::Cluster(cluster, share))
    }

    fn fate(&self, kind: &str, words: &mut Words<'_>) -> Parsed<Happening> {
        let who = self.who(words)?;
        let fate = match kind {
            "kill" => Fate::Kill,
            "revive" => Fate::Revive,
            "heal" => Fate::Heal,
            "slow" => Fate::Slow,
            "wake" => Fate::Wake,
            "sleep" => Fate::Sleep(if words.take("for") { words.lasting()? } else { SLEEP }),
            _ if words.take("from") => match words.choose(&PARTITION)? {
                "gitlab" => Fate::PartitionFromGitlab,
                _ => Fate::PartitionFromPrometheus,
            },
            _ => Fate::Partition,
        };
        Ok(Happening::Runners(who, fate))
    }

    fn fault(&self, kind: &str, words: &mut Words<'_>) -> Parsed<(Happening, Option<Part>)> {
        if kind == "rate-limit" {
            return Ok((Happening::Gitlab(GitlabFault::RateLimit(RateLimit::Text)), Some(Part::Gitlab)));
        }
        let mut allowed = vec!["gitlab", "dns", "prometheus", "alertmanager"];
        allowed.extend(Tool::ALL.map(Tool::as_str));
        let word = words.choose(&allowed)?;
        if let Some(tool) = Tool::ALL.into_iter().find(|tool| tool.as_str() == word) {
            words.expect("in")?;
            let cluster = self.cluster(words)?;
            return Ok((Happening::Tool(tool, cluster, tool_fault(tool, words)?), Some(Part::Tool(tool))));
        }
        Ok(match word {
            "gitlab" => (Happening::Gitlab(gitlab(words)?), Some(Part::Gitlab)),
            "dns" => (Happening::Dns(self.dns(words)?), Some(Part::Dns)),
            "prometheus" => (self.prometheus(words)?, Some(Part::Prometheus)),
            _ => (Happening::Alertmanager(alertmanager(words)?), Some(Part::Alertmanager)),
        })
    }

    fn dns(&self, words: &mut Words<'_>) -> Parsed<DnsFault> {
        let servers: Vec<String> = (1..=self.story.dns).map(|n| format!("ns{n}")).collect();
        let mut allowed = vec!["down"];
        allowed.extend(WRITES);
        allowed.extend(servers.iter().map(String::as_str));
        let word = words.choose(&allowed)?;
        if let Some(server) = servers.iter().position(|server| server == word) {
            return Ok(match words.choose(&SERVER)? {
                "down" => DnsFault::Down(Some(server)),
                _ => DnsFault::Behind(server),
            });
        }
        match word {
            "down" => Ok(DnsFault::Down(None)),
            word => Ok(DnsFault::Writes(write_fault(word), chance(words)?)),
        }
    }

    fn prometheus(&self, words: &mut Words<'_>) -> Parsed<Happening> {
        let servers: Vec<String> = (0..self.story.prometheus).map(|n| format!("p{n}")).collect();
        let server = words.peek().and_then(|word| servers.iter().position(|server| server == word));
        if server.is_some() {
            words.word("a server")?;
        }
        let mut allowed = PROMETHEUS.to_vec();
        if server.is_none() {
            allowed.extend(servers.iter().map(String::as_str));
        }
        let fault = match words.choose(&allowed)? {
            "down" => PrometheusFault::Down,
            "silent" => PrometheusFault::Silent,
            "stale" => PrometheusFault::Stale,
            "contradicts" => PrometheusFault::Contradicts,
            "partial" => PrometheusFault::Partial,
            _ => PrometheusFault::Nan,
        };
        let about = if words.take("about") { Some(self.cluster(words)?) } else { None };
        Ok(Happening::Prometheus(server, fault, about))
    }
}

/// The parts that can be mended, by name.
pub(super) fn parts() -> Vec<(&'static str, Part)> {
    let mut parts = vec![
        ("gitlab", Part::Gitlab),
        ("dns", Part::Dns),
        ("prometheus", Part::Prometheus),
        ("alertmanager", Part::Alertmanager),
    ];
    parts.extend(Tool::ALL.map(|tool| (tool.as_str(), Part::Tool(tool))));
    parts.push(("everything", Part::Everything));
    parts
}

fn part(words: &mut Words<'_>) -> Parsed<Part> {
    let parts = parts();
    let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
    let name = words.choose(&names)?;
    Ok(parts.iter().find(|(known, _)| *known == name).map_or(Part::Everything, |(_, part)| *part))
}

fn part_name(part: Part) -> &'static str {
    parts().iter().find(|(_, known)| *known == part).map_or("everything", |(name, _)| name)
}

fn tool_fault(tool: Tool, words: &mut Words<'_>) -> Parsed<ToolFault> {
    let names: Vec<&str> = tool.faults().iter().map(|fault| fault.as_str()).collect();
    let name = words.choose(&names)?;
    let fault = tool.faults().iter().find(|fault| fault.as_str() == name);
    fault.copied().ok_or_else(|| words.problem("there is no such fault"))
}

fn write_fault(word: &str) -> WriteFault {
    match word {
        "timeout-after-commit" => WriteFault::TimeoutAfterCommit,
        "lost-reply" => WriteFault::LostReply,
        "lost-request" => WriteFault::LostRequest,
        "refused" => WriteFault::Refused,
        "refused-in-fields" => WriteFault::RefusedInFields,
        "refused-in-html" => WriteFault::RefusedInHtml,
        "html-instead" => WriteFault::HtmlInstead,
        _ => WriteFault::Error,
    }
}

/// All of them, when no percentage is given.
fn chance(words: &mut Words<'_>) -> Parsed<u8> {
    if words.peek().is_some_and(|w| w != "for") { words.percent() } else { Ok(100) }
}

fn gitlab(words: &mut Words<'_>) -> Parsed<GitlabFault> {
    let mut allowed = GITLAB.to_vec();
    allowed.extend(WRITES.into_iter().chain(SHAPES));
    Ok(match words.choose(&allowed)? {
        "down" => GitlabFault::Down,
        "rate-limit" => GitlabFault::RateLimit(RateLimit::Text),
        "rate-limit-in-json" => GitlabFault::RateLimit(RateLimit::Json),
        "rate-limit-in-html" => GitlabFault::RateLimit(RateLimit::Html),
        "graphql-refused" => GitlabFault::GraphqlRefused,
        "stale-reads" => GitlabFault::StaleReads,
        "slow" => GitlabFault::Slow(words.lasting()?),
        word => GitlabFault::Writes(write_fault(word), chance(words)?),
    })
}

fn alertmanager(words: &mut Words<'_>) -> Parsed<AlertmanagerFault> {
    Ok(match words.choose(&ALERTMANAGER)? {
        "down" => AlertmanagerFault::Down,
        "duplicates" => AlertmanagerFault::Duplicates,
        "reorder" => AlertmanagerFault::Reorder,
        "late" => AlertmanagerFault::Late(words.lasting()?),
        "lost-resolve" => AlertmanagerFault::LostResolve,
        "wrong-credential" => AlertmanagerFault::WrongCredential,
        _ => AlertmanagerFault::LostFiring,
    })
}

fn crash(words: &mut Words<'_>) -> Parsed<CrashAt> {
    if words.is_empty() {
        return Ok(CrashAt::Now);
    }
    let before = words.choose(&SIDES)? == "before";
    let what = if before { words.choose(&["step"])? } else { words.choose(&["step", "record"])? };
    let number = from_one(words)?;
    Ok(match (before, what) {
        (true, _) => CrashAt::BeforeStep(number),
        (false, "step") => CrashAt::AfterStep(number),
        (false, _) => CrashAt::AfterRecord(number.into()),
    })
}

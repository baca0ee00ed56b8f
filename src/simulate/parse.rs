//! A story's text becomes values, or the list of all that is wrong with it. One file: the whole grammar reads from top to
//! bottom, as docs/simulate.md does.

use std::{collections::BTreeMap, path::Path};

use super::{
    story::{
        AlertmanagerFault, Claim, CrashAt, Deed, DnsFault, Event, Fate, GitlabFault, Happening, Part,
        Property, Start, Story, Who,
    },
    words::{Parsed, Problem, Problems, Words},
};
use crate::{
    config::Config,
    model::{ClusterName, Consent, Fleet, FleetName, Gate, RunnerId, SignedDuration},
    world::sim::{PrometheusFault, WriteFault},
};

/// A story goes on for so long after the last thing that happens.
const EPILOGUE: SignedDuration = SignedDuration::from_mins(5);
/// How long a runner sleeps after three refusals.
const SLEEP: SignedDuration = SignedDuration::from_hours(1);

const HEADER: [&str; 7] = ["fleet", "set", "seed", "prometheus", "dns", "poll", "at"];
const HAPPENINGS: [&str; 17] = [
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
    "clock",
    "expect",
    "end",
];

/// A fleet as its line says it.
struct FleetLine {
    line: usize,
    name: String,
    clusters: Vec<String>,
    runners: usize,
    dns: bool,
    holder: Option<Option<String>>,
}

#[derive(Default)]
struct Header {
    fleets: Vec<FleetLine>,
    /// Keys of the configuration: line, key, value.
    set: Vec<(usize, String, String)>,
    seed: u64,
    prometheus: Option<usize>,
    dns: Option<usize>,
    poll: Option<Option<SignedDuration>>,
}

/// Reads a story.
///
/// # Errors
/// All that is wrong, in the order of the lines.
pub fn parse(text: &str) -> Result<Story, Problems> {
    let mut header = Header::default();
    let mut timeline = Vec::new();
    let mut problems = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let words = Words::new(i + 1, line);
        if words.is_empty() {
            continue;
        }
        if words.peek() == Some("at") {
            timeline.push(words);
        } else if let Err(problem) = header.read(words, !timeline.is_empty()) {
            problems.push(problem);
        }
    }
    if header.fleets.is_empty() {
        header.fleets.push(FleetLine {
            line: 1,
            name: "rnd".to_owned(),
            clusters: vec!["blue".to_owned(), "green".to_owned()],
            runners: 2,
            dns: true,
            holder: None,
        });
    }
    let config = match header.config() {
        Ok(config) => config,
        Err(wrong) => {
            problems.extend(wrong);
            // The rest is read against what can be read of the header.
            header.set.clear();
            match header.config() {
                Ok(config) => config,
                Err(_) => return Err(sorted(problems)),
            }
        }
    };
    let mut starts = BTreeMap::new();
    for (fleet, line) in config.topology.fleets.values().filter_map(|f| Some((f, header.line_of(f)?))) {
        let holder = match &line.holder {
            None => fleet.home().cloned(),
            Some(None) => None,
            Some(Some(name)) => fleet.prefer.iter().find(|c| c.as_str() == name).cloned(),
        };
        starts.insert(fleet.name.clone(), Start { runners: line.runners, holder });
    }
    let story = Story {
        seed: header.seed,
        period: config.pace.period,
        poll: header.poll.unwrap_or(Some(config.alertmanager.poll)),
        prometheus: header.prometheus.unwrap_or(1),
        dns: header.dns.unwrap_or(2),
        topology: config.topology,
        starts,
        events: Vec::new(),
        end: SignedDuration::ZERO,
    };
    let mut reader = Timeline { story, end: None };
    for words in timeline {
        if let Err(problem) = reader.read(words) {
            problems.push(problem);
        }
    }
    if !problems.is_empty() {
        return Err(sorted(problems));
    }
    Ok(reader.finish())
}

fn sorted(mut problems: Vec<Problem>) -> Problems {
    problems.sort_by_key(|p| (p.line, p.column));
    Problems(problems)
}

impl Header {
    fn line_of(&self, fleet: &Fleet) -> Option<&FleetLine> {
        self.fleets.iter().find(|line| line.name == fleet.name.as_str())
    }

    fn read(&mut self, mut words: Words<'_>, late: bool) -> Parsed<()> {
        let kind = words.choose(&HEADER)?;
        if late {
            return Err(words.problem(format!("`{kind}` must come before the first `at`")));
        }
        match kind {
            "fleet" => {
                let line = self.fleet(&mut words)?;
                self.fleets.push(line);
            }
            "set" => {
                let key = words.word("a key of the configuration, such as cool_down")?.to_owned();
                words.expect("=")?;
                let value = words.rest().to_owned();
                if value.is_empty() {
                    words.word("a value as in the configuration file, such as \"10m\"")?;
                }
                let whole = ["limits.", "loop.", "alertmanager."].iter().any(|p| key.starts_with(p));
                let key = match self.fleets.last() {
                    _ if whole => key,
                    Some(fleet) => format!("fleets.{}.{key}", fleet.name),
                    None => format!("fleets.rnd.{key}"),
                };
                self.set.push((words.line, key, value));
            }
            "seed" => self.seed = words.parse("a number")?,
            "prometheus" => self.prometheus = Some(count(&mut words)?),
            "dns" => self.dns = Some(count(&mut words)?),
            _ => {
                let never = words.take("never");
                self.poll = Some(if never { None } else { Some(words.lasting()?) });
            }
        }
        words.end()
    }

    fn fleet(&self, words: &mut Words<'_>) -> Parsed<FleetLine> {
        let name = words.word("the fleet's name")?.to_owned();
        if self.fleets.iter().any(|f| f.name == name) {
            return Err(words.problem(format!("there is a fleet `{name}` already")));
        }
        words.expect("on")?;
        let mut clusters = Vec::new();
        while words.peek().is_some_and(|w| !["with", "without", "held"].contains(&w)) {
            clusters.push(words.word("a cluster")?.to_owned());
        }
        if clusters.is_empty() {
            words.word("the clusters, best first")?;
        }
        let mut line = FleetLine { line: words.line, name, clusters, runners: 2, dns: true, holder: None };
        while !words.is_empty() {
            match words.choose(&["with", "without", "held"])? {
                "with" => {
                    line.runners = count(words)?;
                    words.choose(&["runners", "runner"])?;
                }
                "without" => {
                    words.expect("dns")?;
                    line.dns = false;
                }
                _ => {
                    words.expect("by")?;
                    let mut allowed: Vec<&str> = line.clusters.iter().map(String::as_str).collect();
                    allowed.push("nobody");
                    let holder = words.choose(&allowed)?;
                    line.holder = Some((holder != "nobody").then(|| holder.to_owned()));
                }
            }
        }
        Ok(line)
    }

    /// The configuration file that says what the header says.
    fn config(&self) -> Result<Config, Vec<Problem>> {
        let mut keys: Vec<(usize, String, String)> = self.set.clone();
        let mut default = |line: usize, key: String, value: String| {
            let taken = keys.iter().any(|(_, set, _)| {
                *set == key || set.starts_with(&format!("{key}.")) || key.starts_with(&format!("{set}."))
            });
            if !taken {
                keys.push((line, key, value));
            }
        };
        let quoted = |text: &str| format!("{text:?}");
        for (key, value) in [
            ("gitlab.url", "https://gitlab.example.com"),
            ("prometheus.urls", "http://127.0.0.1:9090"),
            ("alertmanager.urls", "http://127.0.0.1:9093"),
            ("store.url", "sqlite://simulated.db"),
            ("dns.providers.sim.type", "rfc2136"),
            ("dns.providers.sim.server", "127.0.0.1:53"),
            ("dns.providers.sim.zone", "company.test."),
            ("dns.providers.sim.tsig_name", "sim"),
        ] {
            let value = if key.ends_with("urls") { format!("[{value:?}]") } else { quoted(value) };
            default(1, key.to_owned(), value);
        }
        for FleetLine { line, name, clusters, dns, .. } in &self.fleets {
            let mut fleet = |key: &str, value: String| default(*line, format!("fleets.{name}.{key}"), value);
            let prefer: Vec<String> = clusters.iter().map(|c| quoted(c)).collect();
            fleet("enabled", "true".to_owned());
            fleet("routing_tag", quoted(&format!("{name}-runner")));
            fleet("prefer", format!("[{}]", prefer.join(", ")));
            if *dns {
                fleet("dns.name", quoted(&format!("{name}.company.test.")));
                fleet("dns.type", quoted("CNAME"));
                fleet("dns.ttl", quoted("30s"));
                fleet("dns.provider", quoted("sim"));
            }
            for cluster in clusters {
                fleet(&format!("pools.{cluster}.home_tag"), quoted(&format!("{name}-{cluster}")));
                if *dns {
                    let target = format!("ingress.{cluster}.company.test.");
                    fleet(&format!("pools.{cluster}.dns"), quoted(&target));
                }
            }
        }
        let text: Vec<String> = keys.iter().map(|(_, key, value)| format!("{key} = {value}")).collect();
        // Secrets are refused in a file.
        let secrets = [
            ("SWITCHYARD__GITLAB__TOKEN", "simulated"),
            ("SWITCHYARD__DNS__PROVIDERS__SIM__TSIG_SECRET", "hmac-sha256:sim:c2ltdWxhdGVk"),
        ];
        let env = secrets.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Config::from_toml(&text.join("\n"), Path::new(""), env).map_err(|problems| {
            let at = |path: &str| {
                let set = keys.iter().filter(|(_, key, _)| path.starts_with(key) || key.starts_with(path));
                set.map(|(line, ..)| *line).max().unwrap_or(1)
            };
            problems
                .0
                .iter()
                .map(|p| Problem { line: at(&p.path), column: 1, what: format!("{p}") })
                .collect()
        })
    }
}

fn count(words: &mut Words<'_>) -> Parsed<usize> {
    let number: usize = words.parse("a number")?;
    if (1..=50).contains(&number) {
        Ok(number)
    } else {
        Err(words.problem("a number from 1 to 50 is expected here"))
    }
}

struct Timeline {
    story: Story,
    end: Option<SignedDuration>,
}

impl Timeline {
    fn finish(self) -> Story {
        let Self { mut story, end } = self;
        // Stable: what is written first happens first.
        story.events.sort_by_key(|event| event.at);
        let last = story.events.last().map_or(SignedDuration::ZERO, |event| event.at);
        let expects = matches!(story.events.last(), Some(Event { what: Happening::Expect(..), .. }));
        story.end = end.unwrap_or(if expects { last } else { last + EPILOGUE });
        story
    }

    fn read(&mut self, mut words: Words<'_>) -> Parsed<()> {
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
            "human" => (Happening::Human(self.deed(&mut words)?), None),
            "expect" => {
                let (fleet, claim) = self.claim(&mut words)?;
                (Happening::Expect(fleet, claim), None)
            }
            "mend" => {
                let parts = ["gitlab", "dns", "prometheus", "alertmanager", "everything"];
                let part = match words.choose(&parts)? {
                    "gitlab" => Part::Gitlab,
                    "dns" => Part::Dns,
                    "prometheus" => Part::Prometheus,
                    "alertmanager" => Part::Alertmanager,
                    _ => Part::Everything,
                };
                (Happening::Mend(part), None)
            }
            "crash" => (Happening::Crash(crash(&mut words)?), None),
            "stop" => (Happening::Running(false), None),
            "start" => (Happening::Running(true), None),
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
            let name = match part {
                Part::Gitlab => "mend gitlab",
                Part::Dns => "mend dns",
                Part::Prometheus => "mend prometheus",
                Part::Alertmanager => "mend alertmanager",
                Part::Everything => "mend everything",
            };
            push(&mut self.story, at + lasts, name.to_owned(), Happening::Mend(part));
        }
        Ok(())
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.story.topology.fleets.values().flat_map(|f| &f.prefer).map(ClusterName::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn cluster(&self, words: &mut Words<'_>) -> Parsed<ClusterName> {
        let name = words.choose(&self.names())?;
        name.parse().map_err(|error| words.problem(format!("{error}")))
    }

    fn fleet_named(&self, words: &mut Words<'_>) -> Parsed<FleetName> {
        let names: Vec<&str> = self.story.topology.fleets.keys().map(FleetName::as_str).collect();
        let name = words.choose(&names)?;
        name.parse().map_err(|error| words.problem(format!("{error}")))
    }

    /// The fleet after this word; without it the only one, or the first.
    fn fleet(&self, words: &mut Words<'_>, after: &str) -> Parsed<FleetName> {
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

    fn runner(&self, words: &mut Words<'_>) -> Parsed<RunnerId> {
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
            _ if words.take("from") => match words.choose(&["gitlab", "prometheus"])? {
                "gitlab" => Fate::PartitionFromGitlab,
                _ => Fate::PartitionFromPrometheus,
            },
            _ => Fate::Partition,
        };
        Ok(Happening::Runners(who, fate))
    }

    fn fault(&self, kind: &str, words: &mut Words<'_>) -> Parsed<(Happening, Option<Part>)> {
        if kind == "rate-limit" {
            return Ok((Happening::Gitlab(GitlabFault::RateLimit), Some(Part::Gitlab)));
        }
        Ok(match words.choose(&["gitlab", "dns", "prometheus", "alertmanager"])? {
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
            return Ok(match words.choose(&["down", "behind"])? {
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
        let mut allowed = vec!["down", "silent", "stale", "contradicts", "nan", "partial"];
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

    fn deed(&self, words: &mut Words<'_>) -> Parsed<Deed> {
        const DEEDS: [&str; 18] = [
            "retags",
            "pauses",
            "unpauses",
            "fills",
            "deletes",
            "registers",
            "shares",
            "edits",
            "resumes",
            "approves",
            "rejects",
            "runs",
            "ends",
            "acks",
            "switches",
            "silences",
            "enables",
            "disables",
        ];
        Ok(match words.choose(&DEEDS)? {
            "retags" => Deed::Retag(self.runner(words)?),
            "pauses" if words.peek() == Some("runner") => Deed::PauseRunner(self.runner(words)?, true),
            "unpauses" => Deed::PauseRunner(self.runner(words)?, false),
            "fills" => {
                words.expect("tags")?;
                words.expect("of")?;
                Deed::FillTags(self.runner(words)?)
            }
            "deletes" => Deed::Delete(self.runner(words)?),
            "registers" => {
                let runner = self.runner(words)?;
                words.expect("in")?;
                let cluster = self.cluster(words)?;
                let fleet = self.fleet(words, "of")?;
                let tagged = words.take("tagged");
                Deed::Register(runner, fleet, cluster, tagged)
            }
            "shares" => {
                words.expect("token")?;
                words.expect("of")?;
                let one = self.cluster(words)?;
                words.expect("with")?;
                let other = self.cluster(words)?;
                Deed::ShareToken(self.fleet(words, "of")?, one, other)
            }
            "edits" => {
                words.expect("dns")?;
                let fleet = self.fleet(words, "of")?;
                words.expect("to")?;
                let to = words.word("a cluster, or a host name")?.to_owned();
                let cluster =
                    self.names().iter().find(|name| **name == to).and_then(|name| name.parse().ok());
                Deed::EditDns(fleet, cluster, to)
            }
            "pauses" => {
                let fleet = self.maybe_all(words)?;
                Deed::Pause(fleet, if words.take("for") { Some(words.lasting()?) } else { None })
            }
            "resumes" => Deed::Resume(self.maybe_all(words)?),
            "acks" => Deed::Ack(self.named_or_first(words)?),
            "approves" => Deed::Consent(self.named_or_first(words)?, Consent::Approved),
            "rejects" => Deed::Consent(self.named_or_first(words)?, Consent::Rejected),
            verb @ ("runs" | "ends") => {
                words.expect("pipeline")?;
                Deed::Pipeline(words.parse("a pipeline's number")?, verb == "runs")
            }
            "switches" => {
                let fleet = self.named_or_first(words)?;
                words.expect("from")?;
                let from = if words.take("nobody") { None } else { Some(self.cluster(words)?) };
                words.expect("to")?;
                Deed::Switch(fleet, from, self.cluster(words)?)
            }
            "silences" => {
                let cluster = self.cluster(words)?;
                words.expect("for")?;
                Deed::Silence(cluster, words.lasting()?)
            }
            "enables" => Deed::Enable(self.named_or_first(words)?, true),
            _ => Deed::Enable(self.named_or_first(words)?, false),
        })
    }

    fn maybe_all(&self, words: &mut Words<'_>) -> Parsed<Option<FleetName>> {
        match words.peek() {
            Some("all") => {
                words.word("all")?;
                Ok(None)
            }
            Some(_) => self.named_or_first(words).map(Some),
            None => self.fleet(words, "of").map(Some),
        }
    }

    fn named_or_first(&self, words: &mut Words<'_>) -> Parsed<FleetName> {
        match words.peek() {
            None | Some("from" | "for") => self.fleet(words, "of"),
            Some(_) => self.fleet_named(words),
        }
    }

    fn claim(&self, words: &mut Words<'_>) -> Parsed<(FleetName, Claim)> {
        const CLAIMS: [&str; 12] = [
            "holder", "decided", "dns", "outcome", "answer", "gate", "moves", "not", "latched", "moving",
            "paused", "drift",
        ];
        let claim = match words.choose(&CLAIMS)? {
            "holder" if words.take("nobody") => Claim::Holder(Vec::new()),
            "holder" => {
                let mut holders = vec![self.cluster(words)?];
                while words.take("and") {
                    holders.push(self.cluster(words)?);
                }
                holders.sort();
                Claim::Holder(holders)
            }
            "decided" => Claim::Decided(self.cluster(words)?),
            "dns" => Claim::Dns(self.cluster(words)?),
            "outcome" => {
                Claim::Outcome(words.word("an outcome such as steady or held:confirmed")?.to_owned())
            }
            "gate" => {
                let names = Gate::ALL.map(Gate::as_str);
                let name = words.choose(&names)?;
                let gate = Gate::ALL.into_iter().find(|gate| gate.as_str() == name);
                let gate = gate.ok_or_else(|| words.problem("there is no such gate"))?;
                Claim::Gate(gate, words.choose(&["open", "closed"])? == "open")
            }
            "answer" => {
                Claim::Answer(words.word("an outcome such as decided or held:target_able")?.to_owned())
            }
            "moves" => Claim::Moves(words.parse("a number")?),
            "not" => {
                let property = words.choose(&CLAIMS[8..])?;
                Claim::Is(is(property), false)
            }
            property => Claim::Is(is(property), true),
        };
        Ok((self.fleet(words, "of")?, claim))
    }
}

fn is(word: &str) -> Property {
    match word {
        "latched" => Property::Latched,
        "moving" => Property::Moving,
        "paused" => Property::Paused,
        _ => Property::Drift,
    }
}

const WRITES: [&str; 5] = ["timeout-after-commit", "lost-reply", "lost-request", "refused", "error"];

fn write_fault(word: &str) -> WriteFault {
    match word {
        "timeout-after-commit" => WriteFault::TimeoutAfterCommit,
        "lost-reply" => WriteFault::LostReply,
        "lost-request" => WriteFault::LostRequest,
        "refused" => WriteFault::Refused,
        _ => WriteFault::Error,
    }
}

/// All of them, when no percentage is given.
fn chance(words: &mut Words<'_>) -> Parsed<u8> {
    if words.peek().is_some_and(|w| w != "for") { words.percent() } else { Ok(100) }
}

fn gitlab(words: &mut Words<'_>) -> Parsed<GitlabFault> {
    let mut allowed = vec!["down", "rate-limit", "stale-reads", "slow"];
    allowed.extend(WRITES);
    Ok(match words.choose(&allowed)? {
        "down" => GitlabFault::Down,
        "rate-limit" => GitlabFault::RateLimit,
        "stale-reads" => GitlabFault::StaleReads,
        "slow" => GitlabFault::Slow(words.lasting()?),
        word => GitlabFault::Writes(write_fault(word), chance(words)?),
    })
}

fn alertmanager(words: &mut Words<'_>) -> Parsed<AlertmanagerFault> {
    let allowed = ["down", "duplicates", "reorder", "late", "lost-resolve", "lost-firing"];
    Ok(match words.choose(&allowed)? {
        "down" => AlertmanagerFault::Down,
        "duplicates" => AlertmanagerFault::Duplicates,
        "reorder" => AlertmanagerFault::Reorder,
        "late" => AlertmanagerFault::Late(words.lasting()?),
        "lost-resolve" => AlertmanagerFault::LostResolve,
        _ => AlertmanagerFault::LostFiring,
    })
}

fn crash(words: &mut Words<'_>) -> Parsed<CrashAt> {
    if words.is_empty() {
        return Ok(CrashAt::Now);
    }
    let before = words.choose(&["before", "after"])? == "before";
    let what = if before { words.choose(&["step"])? } else { words.choose(&["step", "record"])? };
    let number: u32 = words.parse("a number from 1")?;
    if number == 0 {
        return Err(words.problem("a number from 1 is expected here"));
    }
    Ok(match (before, what) {
        (true, _) => CrashAt::BeforeStep(number),
        (false, "step") => CrashAt::AfterStep(number),
        (false, _) => CrashAt::AfterRecord(number.into()),
    })
}

//! The lines before the first `at`: who there is, and what Switchyard is configured with.

use std::{collections::BTreeSet, path::Path};

use super::{count, file};
use crate::{
    config::{self, Config},
    model::{Fleet, SignedDuration},
    simulate::{
        story::Start,
        words::{Parsed, Problem, Words},
    },
    world::sim::Tool,
};

pub(super) const LINES: [&str; 9] =
    ["fleet", "set", "config", "tools", "seed", "prometheus", "dns", "poll", "at"];
/// What a fleet's line may go on with.
pub(super) const FLEET: [&str; 4] = ["with", "without", "held", "below"];
/// Keys that do not belong to a fleet.
const WHOLE: [&str; 4] = ["limits.", "loop.", "alertmanager.", "evidence."];
/// The name of the DNS provider that a story without a configuration file has.
const PROVIDER: &str = "sim";

/// A fleet as its line says it.
struct FleetLine {
    line: usize,
    name: String,
    /// None for a fleet of the configuration file.
    clusters: Vec<String>,
    runners: usize,
    dns: bool,
    /// Who holds it, and the column that says so.
    holder: Option<(usize, Option<String>)>,
    /// Its runners are registered below the group that Switchyard looks at.
    below: bool,
}

#[derive(Default)]
pub(super) struct Header {
    fleets: Vec<FleetLine>,
    /// Keys of the configuration: line, key, value.
    set: Vec<(usize, String, String)>,
    /// The line that names a configuration file, and what is in it.
    file: Option<(usize, file::Settings)>,
    tools: Option<BTreeSet<Tool>>,
    pub(super) seed: u64,
    pub(super) prometheus: Option<usize>,
    pub(super) dns: Option<usize>,
    pub(super) poll: Option<Option<SignedDuration>>,
}

impl Header {
    pub(super) fn read(
        &mut self,
        mut words: Words<'_>,
        late: bool,
        open: &impl Fn(&str) -> Result<String, String>,
    ) -> Parsed<()> {
        let kind = words.choose(&LINES)?;
        if late {
            return Err(words.problem(format!("`{kind}` must come before the first `at`")));
        }
        match kind {
            "fleet" => {
                let line = self.fleet(&mut words)?;
                self.fleets.push(line);
            }
            "set" => self.set(&mut words)?,
            "config" => self.config_file(&mut words, open)?,
            "tools" => {
                let mut tools = BTreeSet::new();
                if !words.take("none") {
                    let names = Tool::INSTALLED.map(Tool::as_str);
                    loop {
                        let name = words.choose(&names)?;
                        tools.extend(Tool::INSTALLED.into_iter().filter(|tool| tool.as_str() == name));
                        if words.is_empty() {
                            break;
                        }
                    }
                }
                self.tools = Some(tools);
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

    fn set(&mut self, words: &mut Words<'_>) -> Parsed<()> {
        let key = words.word("a key of the configuration, such as cool_down")?.to_owned();
        words.expect("=")?;
        let value = words.rest().to_owned();
        if value.is_empty() {
            words.word("a value as in the configuration file, such as \"10m\"")?;
        }
        if !config::is_value(&value) {
            return Err(words.problem(format!(
                "`{value}` is no value of a configuration file: text stands in quotes, such as \"10m\""
            )));
        }
        let whole = WHOLE.iter().any(|p| key.starts_with(p));
        let fleet = match (self.fleets.last(), &self.file) {
            (Some(fleet), _) => fleet.name.clone(),
            (None, Some((_, file))) => file.fleets.first().cloned().unwrap_or_default(),
            (None, None) => "rnd".to_owned(),
        };
        let key = if whole { key } else { format!("fleets.{fleet}.{key}") };
        self.set.push((words.line, key, value));
        Ok(())
    }

    fn config_file(
        &mut self,
        words: &mut Words<'_>,
        open: &impl Fn(&str) -> Result<String, String>,
    ) -> Parsed<()> {
        let path = words.word("a configuration file")?;
        if self.file.is_some() {
            return Err(words.problem("the story has a configuration file already"));
        }
        if !self.fleets.is_empty() || !self.set.is_empty() {
            return Err(
                words.problem("`config` must come before `fleet` and `set`, which may change what it says")
            );
        }
        let text = open(path).map_err(|why| words.problem(format!("`{path}` cannot be read: {why}")))?;
        let settings = file::read(&text).map_err(|why| words.problem(format!("`{path}`: {why}")))?;
        if settings.fleets.is_empty() {
            return Err(words.problem(format!("`{path}` has no fleet: nothing would be watched")));
        }
        self.file = Some((words.line, settings));
        Ok(())
    }

    fn fleet(&self, words: &mut Words<'_>) -> Parsed<FleetLine> {
        let name = words.word("the fleet's name")?.to_owned();
        if self.fleets.iter().any(|f| f.name == name) {
            return Err(words.problem(format!("there is a fleet `{name}` already")));
        }
        let filed = self.file.as_ref().is_some_and(|(_, file)| file.fleets.contains(&name));
        let mut clusters = Vec::new();
        if filed && words.peek() == Some("on") {
            words.expect("on")?;
            return Err(words.problem(format!(
                "the configuration file says which clusters `{name}` has: leave `on` out"
            )));
        }
        if !filed {
            words.expect("on")?;
            while words.peek().is_some_and(|w| !FLEET.contains(&w)) {
                clusters.push(words.word("a cluster")?.to_owned());
            }
            if clusters.is_empty() {
                words.word("the clusters, best first")?;
            }
        }
        let mut line =
            FleetLine { line: words.line, name, clusters, runners: 2, dns: true, holder: None, below: false };
        while !words.is_empty() {
            match words.choose(if filed { &["with", "held", "below"] } else { &FLEET })? {
                "with" => {
                    line.runners = count(words)?;
                    words.choose(&["runners", "runner"])?;
                }
                "without" => {
                    words.expect("dns")?;
                    line.dns = false;
                }
                "below" => {
                    words.expect("the")?;
                    words.expect("group")?;
                    line.below = true;
                }
                _ => {
                    words.expect("by")?;
                    let holder = words.word("a cluster of the fleet, or `nobody`")?;
                    line.holder = Some((words.column(), (holder != "nobody").then(|| holder.to_owned())));
                }
            }
        }
        Ok(line)
    }

    /// A story without a fleet has one.
    pub(super) fn complete(&mut self) {
        if self.fleets.is_empty() && self.file.is_none() {
            self.fleets.push(FleetLine {
                line: 1,
                name: "rnd".to_owned(),
                clusters: vec!["blue".to_owned(), "green".to_owned()],
                runners: 2,
                dns: true,
                holder: None,
                below: false,
            });
        }
    }

    /// What is wrong may be in what was set.
    pub(super) fn forget_settings(&mut self) {
        self.set.clear();
    }

    /// What runs in every cluster beside the runners.
    pub(super) fn tools(&self) -> BTreeSet<Tool> {
        self.tools.clone().unwrap_or_else(|| Tool::INSTALLED.into())
    }

    /// The line that brings a fleet.
    pub(super) fn line_of(&self, fleet: &Fleet) -> usize {
        let own = self.fleets.iter().find(|line| line.name == fleet.name.as_str()).map(|line| line.line);
        own.or(self.file.as_ref().map(|(line, _)| *line)).unwrap_or(1)
    }

    /// What a fleet begins with.
    pub(super) fn start(&self, fleet: &Fleet) -> Parsed<Start> {
        let home = fleet.home().cloned();
        let Some(line) = self.fleets.iter().find(|line| line.name == fleet.name.as_str()) else {
            return Ok(Start { runners: 2, holder: home, below_the_group: false });
        };
        let holder = match &line.holder {
            None => home,
            Some((_, None)) => None,
            Some((column, Some(name))) => {
                let known = fleet.prefer.iter().find(|c| c.as_str() == name).cloned();
                let all: Vec<&str> = fleet.prefer.iter().map(|c| c.as_str()).collect();
                Some(known.ok_or_else(|| Problem {
                    line: line.line,
                    column: *column,
                    what: format!(
                        "`{name}` is no cluster of {}; allowed: {}, nobody",
                        fleet.name,
                        all.join(", ")
                    ),
                })?)
            }
        };
        Ok(Start { runners: line.runners, holder, below_the_group: line.below })
    }

    /// The configuration file that says what the header says.
    pub(super) fn config(&self) -> Result<Config, Vec<Problem>> {
        let mut keys: Vec<(usize, String, String)> = self.set.clone();
        // A key, one above it or one below it has been said before.
        let mut default = |line: usize, key: String, value: String| {
            let taken = keys.iter().any(|(_, set, _)| {
                *set == key || set.starts_with(&format!("{key}.")) || key.starts_with(&format!("{set}."))
            });
            if !taken {
                keys.push((line, key, value));
            }
        };
        let mut providers = vec![PROVIDER.to_owned()];
        if let Some((line, file)) = &self.file {
            for (key, value) in &file.keys {
                default(*line, key.clone(), value.clone());
            }
            providers.extend(file.providers.iter().filter(|name| *name != PROVIDER).cloned());
        }
        let quoted = |text: &str| format!("{text:?}");
        for (key, value) in [
            ("gitlab.url", quoted("https://gitlab.example.com")),
            ("prometheus.urls", "[\"http://127.0.0.1:9090\"]".to_owned()),
            ("alertmanager.urls", "[\"http://127.0.0.1:9093\"]".to_owned()),
            ("store.url", quoted("sqlite://simulated.db")),
        ] {
            default(1, key.to_owned(), value);
        }
        for provider in &providers {
            for (key, value) in [
                ("type", "rfc2136"),
                ("server", "127.0.0.1:53"),
                ("zone", "company.test."),
                ("tsig_name", "sim"),
            ] {
                default(1, format!("dns.providers.{provider}.{key}"), quoted(value));
            }
        }
        for FleetLine { line, name, clusters, dns, .. } in
            self.fleets.iter().filter(|f| !f.clusters.is_empty())
        {
            let mut fleet = |key: &str, value: String| default(*line, format!("fleets.{name}.{key}"), value);
            let prefer: Vec<String> = clusters.iter().map(|c| quoted(c)).collect();
            fleet("enabled", "true".to_owned());
            fleet("routing_tag", quoted(&format!("{name}-runner")));
            fleet("prefer", format!("[{}]", prefer.join(", ")));
            if *dns {
                fleet("dns.name", quoted(&format!("{name}.company.test.")));
                fleet("dns.type", quoted("CNAME"));
                fleet("dns.ttl", quoted("30s"));
                fleet("dns.provider", quoted(PROVIDER));
            }
            for cluster in clusters {
                // A pool is chosen in one way.
                if !self
                    .set
                    .iter()
                    .any(|(_, key, _)| *key == format!("fleets.{name}.pools.{cluster}.runners"))
                {
                    fleet(&format!("pools.{cluster}.home_tag"), quoted(&format!("{name}-{cluster}")));
                }
                if *dns {
                    let target = format!("ingress.{cluster}.company.test.");
                    fleet(&format!("pools.{cluster}.dns"), quoted(&target));
                }
            }
        }
        let text: Vec<String> = keys.iter().map(|(_, key, value)| format!("{key} = {value}")).collect();
        // Secrets are refused in a file.
        let mut env = vec![("SWITCHYARD__GITLAB__TOKEN".to_owned(), "simulated".to_owned())];
        env.extend(providers.iter().map(|provider| {
            let key = format!("SWITCHYARD__DNS__PROVIDERS__{provider}__TSIG_SECRET");
            (key, "hmac-sha256:sim:c2ltdWxhdGVk".to_owned())
        }));
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

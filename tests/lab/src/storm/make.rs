//! Makes random stories of all that a story can say: `tests/storms` holds it against the parser's own tables.

use std::fmt::Write as _;

use fastrand::Rng;
use switchyard::{model::Gate, world::sim::Tool};

/// What happens, happens within so many minutes; then all is mended.
const STORM: [u32; 3] = [10, 15, 30];
/// In as many more everything has to be at rest. What comes to pass meanwhile differs little: every second storm waits for it.
const CALM: u32 = 21;

const WRITES: [&str; 5] = ["timeout-after-commit", "lost-reply", "lost-request", "refused", "error"];
/// What only GitLab answers.
const SHAPES: [&str; 3] = ["refused-in-fields", "refused-in-html", "html-instead"];
/// The story begins on a Friday at 08:00.
const WINDOWS: [&str; 4] =
    ["daily 08:05-08:20", "Fri 08:12-12:00", "Mon-Fri 07:00-08:10", "Sat,Sun 08:00-20:00"];
const WINDOWED: [&str; 3] =
    ["[\"failover\", \"failback\", \"switchover\"]", "[\"failover\"]", "[\"failback\", \"switchover\"]"];
const REASONS: [&str; 4] = ["", " by eve", " because it burns", " by eve because of the maintenance"];

/// Seconds after it began, and what happens then.
type Lines = Vec<(u32, String)>;

struct Storm {
    rng: Rng,
    clusters: Vec<&'static str>,
    fleets: Vec<&'static str>,
    prometheus: u32,
    dns: u32,
    runners: u32,
    /// The clock's jumps, in minutes.
    ahead: i64,
}

impl Storm {
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.usize(0..from.len())]
    }

    /// One time in `n`.
    fn once_in(&mut self, n: u8) -> bool {
        self.rng.u8(0..n) == 0
    }

    fn cluster(&mut self) -> &'static str {
        let all = self.clusters.clone();
        self.pick(&all)
    }

    fn fleet(&mut self) -> &'static str {
        let all = self.fleets.clone();
        self.pick(&all)
    }

    fn runner(&mut self) -> u32 {
        self.rng.u32(1..=self.runners)
    }

    fn who(&mut self) -> String {
        match self.rng.u8(0..5) {
            0 => format!("runner {}", self.runner()),
            1 => format!("{} 50%", self.cluster()),
            _ => self.cluster().to_owned(),
        }
    }

    fn minutes(&mut self, most: u32) -> u32 {
        self.rng.u32(1..=most)
    }

    fn lasting(&mut self) -> String {
        if self.once_in(3) { String::new() } else { format!(" for {}m", self.minutes(11)) }
    }

    fn writes(&mut self) -> String {
        let fault = self.pick(&WRITES);
        format!("{fault} {}%", self.rng.u32(10..=100))
    }

    fn fault(&mut self) -> String {
        let lasts = self.lasting();
        let fault = match self.rng.u8(0..22) {
            0 => "gitlab down".to_owned(),
            1 => {
                let refused = ["rate-limit", "rate-limit-in-json", "rate-limit-in-html", "graphql-refused"];
                format!("gitlab {}", self.pick(&refused))
            }
            2 => "gitlab stale-reads".to_owned(),
            3 => format!("gitlab slow {}s", self.rng.u32(1..15)),
            4..=5 => format!("gitlab {}", self.writes()),
            6 => format!("gitlab {} {}%", self.pick(&SHAPES), self.rng.u32(10..=100)),
            7 => "dns down".to_owned(),
            8 => format!("dns ns{} {}", self.rng.u32(1..=self.dns), self.pick(&["down", "behind"])),
            9 => format!("dns {}", self.writes()),
            10..=12 => {
                let what = self.pick(&["down", "silent", "stale", "contradicts", "nan", "partial"]);
                // Without a server all of them.
                let server = match self.rng.u32(0..=self.prometheus) {
                    all if all == self.prometheus => String::new(),
                    server => format!("p{server} "),
                };
                let about =
                    if self.rng.bool() { format!(" about {}", self.cluster()) } else { String::new() };
                format!("prometheus {server}{what}{about}")
            }
            13..=15 => {
                let late = format!("late {}m", self.minutes(9));
                let faults = [
                    "down",
                    "duplicates",
                    "reorder",
                    "lost-resolve",
                    "lost-firing",
                    "wrong-credential",
                    &late,
                ];
                format!("alertmanager {}", self.pick(&faults))
            }
            16 => return format!("rate-limit{lasts}"),
            _ => {
                let tool = self.pick(&Tool::ALL);
                let fault = self.pick(tool.faults());
                format!("{} in {} {}", tool.as_str(), self.cluster(), fault.as_str())
            }
        };
        format!("fault {fault}{lasts}")
    }

    fn mend(&mut self) -> String {
        let mut parts = vec!["gitlab", "dns", "prometheus", "alertmanager", "everything"];
        parts.extend(Tool::ALL.map(Tool::as_str));
        format!("mend {}", self.pick(&parts))
    }

    /// What a person does by hand, in GitLab, DNS and Alertmanager.
    fn meddling(&mut self) -> String {
        let (fleet, cluster, other, runner) = (self.fleet(), self.cluster(), self.cluster(), self.runner());
        match self.rng.u8(0..12) {
            0..=1 => format!("human retags runner {runner}"),
            2 => {
                // In the midst of Switchyard's own write, at times.
                let before =
                    if self.rng.bool() { format!(" before step {}", self.minutes(4)) } else { String::new() };
                let tag = self.pick(&["somebody-elses", "rnd-runner", "build-runner"]);
                match self.rng.bool() {
                    true => format!("human gives runner {runner} tag {tag}{before}"),
                    false => format!("human takes tag {tag} from runner {runner}{before}"),
                }
            }
            3 => format!("human pauses runner {runner}{}", self.pick(&["", " in bulk"])),
            4 => format!("human unpauses runner {runner}{}", self.pick(&["", " in bulk"])),
            5 => format!("human fills tags of runner {runner}"),
            6 => format!("human deletes runner {runner}"),
            7 => {
                let tagged = self.pick(&["", " tagged"]);
                format!("human registers runner {} in {cluster} of {fleet}{tagged}", 40 + runner)
            }
            8 if cluster != other => format!("human shares token of {cluster} with {other} of {fleet}"),
            8 | 9 => {
                let to = self.pick(&[cluster, "elsewhere.company.test"]);
                format!("human edits dns of {fleet} to {to}")
            }
            _ => format!("human silences {cluster} for {}m", self.minutes(20)),
        }
    }

    /// Over a closed gate, at times.
    fn forced(&mut self) -> String {
        if !self.once_in(3) {
            return String::new();
        }
        let gates: Vec<Gate> = Gate::ALL.into_iter().filter(|gate| gate.overridable()).collect();
        let one = self.pick(&gates);
        let second = if self.once_in(4) { format!(" {}", self.pick(&gates)) } else { String::new() };
        format!(" force overriding {one}{second}")
    }

    fn asks(&mut self, fleet: &str) -> String {
        let expected = if self.once_in(12) { "nobody" } else { self.cluster() };
        let (to, forced, reason) = (self.cluster(), self.forced(), self.pick(&REASONS));
        if self.once_in(4) {
            format!("human fails back {fleet} from {expected}{forced}{reason}")
        } else {
            format!("human switches {fleet} from {expected} to {to}{forced}{reason}")
        }
    }

    /// Whom a person takes for the holder who has not looked, at times.
    fn believing(&mut self) -> String {
        if !self.once_in(4) {
            return String::new();
        }
        let holder = if self.once_in(4) { "nobody" } else { self.cluster() };
        format!(" believing {holder}")
    }

    /// What people do by Switchyard's own means.
    fn people(&mut self) -> Lines {
        let (fleet, cluster) = (self.fleet(), self.cluster());
        let all = if self.once_in(4) { "all".to_owned() } else { format!("{fleet}{}", self.believing()) };
        let soon = self.rng.u32(5..400);
        let now = |line: String| vec![(0, line)];
        match self.rng.u8(0..17) {
            0 => now(format!("human pauses {all}{}", self.lasting())),
            1 => now(format!("human resumes {all}")),
            2..=3 => now(format!("human acks {fleet}{}", self.believing())),
            4..=7 => now(self.asks(fleet)),
            8..=10 => {
                // Drains: pipelines run when somebody asks, and end, or not.
                let pipeline = self.rng.u32(1..4);
                let mut lines = vec![(0, format!("human runs pipeline {pipeline}"))];
                let asked = self.rng.u32(0..120);
                lines.push((asked, self.asks(fleet)));
                if !self.once_in(3) {
                    lines.push((asked + soon, format!("human ends pipeline {pipeline}")));
                }
                lines
            }
            11..=13 => {
                let mut lines = Vec::new();
                for _ in 0..self.rng.u32(1..3) {
                    let (verb, at) = (self.pick(&["approves", "approves", "rejects"]), self.rng.u32(0..300));
                    let believing = self.believing();
                    lines.push((at, format!("human {verb} {fleet}{believing}{}", self.pick(&REASONS))));
                }
                lines
            }
            14 => {
                let mut lines = now(format!("human vetoes {cluster}{}", self.lasting()));
                if self.rng.bool() {
                    lines.push((soon, format!("human allows {cluster}")));
                }
                lines
            }
            15 => now(self.meddling()),
            _ => {
                let mut lines = now(format!("human disables {fleet}"));
                if self.rng.bool() {
                    lines.push((soon, format!("human enables {fleet}")));
                }
                lines
            }
        }
    }

    /// What happens to Switchyard itself.
    fn process(&mut self) -> Lines {
        let soon = self.rng.u32(5..600);
        match self.rng.u8(0..11) {
            0..=4 => {
                let place = match self.rng.u8(0..4) {
                    0 => String::new(),
                    1 => format!(" before step {}", self.rng.u32(1..6)),
                    2 => format!(" after step {}", self.rng.u32(1..6)),
                    _ => format!(" after record {}", self.rng.u32(1..12)),
                };
                vec![(0, format!("crash{place}"))]
            }
            5..=6 => vec![(0, "stop".to_owned()), (soon, "start".to_owned())],
            7..=8 => vec![(0, "lead elsewhere".to_owned()), (soon, "lead again".to_owned())],
            _ => {
                let by = self.pick(&[-60_i64, -5, -1, 1, 5, 60]);
                self.ahead += by;
                vec![(0, format!("clock jumps {by}m"))]
            }
        }
    }

    fn happening(&mut self) -> Lines {
        let line = match self.rng.u8(0..28) {
            0..=5 => format!("kill {}", self.who()),
            6..=7 => format!("revive {}", self.who()),
            8 => format!("partition {}{}", self.who(), self.pick(&["", " from gitlab", " from prometheus"])),
            9 => format!("{} {}", self.pick(&["heal", "slow", "wake"]), self.who()),
            10 => format!("sleep {}{}", self.who(), self.lasting()),
            11..=15 => self.fault(),
            16 => self.mend(),
            17..=18 => self.meddling(),
            19..=23 => return self.people(),
            _ => return self.process(),
        };
        vec![(0, line)]
    }

    /// What a fleet is configured with.
    fn settings(&mut self, text: &mut String) {
        let mut set = |key: &str, value: &str| {
            let _ = writeln!(text, "set {key} = {value}");
        };
        if self.once_in(12) {
            set("enabled", "false");
        }
        if self.rng.bool() {
            set("failback", "{ after = \"1m\" }");
        }
        if self.once_in(3) {
            set("park", "\"pause\"");
        }
        if self.once_in(3) {
            set("sticky", "true");
            set("drain_deadline", self.pick(&["\"2m\"", "\"6m\"", "\"20m\""]));
            set("drain_policy", self.pick(&["\"hold\"", "\"move\""]));
        }
        if self.once_in(3) {
            set("approval", "\"required\"");
            set("approval_timeout", self.pick(&["\"2m\"", "\"10m\"", "\"1h\""]));
        }
        if self.once_in(6) {
            set("window.times", &format!("[\"{}\"]", self.pick(&WINDOWS)));
            if self.rng.bool() {
                set("window.applies_to", self.pick(&WINDOWED));
            }
            if self.once_in(3) {
                set("window.time_zone", self.pick(&["\"Europe/Berlin\"", "\"America/New_York\""]));
            }
        }
        if self.once_in(4) {
            let (key, value) = self.pick(&[
                ("require.api", "true"),
                ("require.gitops", "true"),
                ("require.backups", "true"),
                ("require.backup_max_age", "\"2h\""),
                ("require.convergence", "\"5m\""),
            ]);
            set(key, value);
        }
        if self.once_in(4) {
            let (key, value) = self.pick(&[
                ("min_able", "2"),
                ("thresholds.failover", "0.3"),
                ("thresholds.able", "0.6"),
                ("thresholds.failback", "1"),
                ("thresholds.margin", "0.5"),
            ]);
            set(key, value);
        }
        if self.once_in(8) {
            set("signal_hold", self.pick(&["\"0s\"", "\"2m\""]));
        }
        let cool_down = self.pick(&["\"1m\"", "\"5m\"", "\"30m\""]);
        set("cool_down", cool_down);
        set("move_deadline", "\"5m\"");
    }
}

/// The story of this seed.
pub fn story(seed: u64) -> String {
    let mut rng = Rng::with_seed(seed);
    let clusters = if rng.u8(0..4) == 0 { vec!["blue", "green", "red"] } else { vec!["blue", "green"] };
    let fleets = if rng.u8(0..4) == 0 { vec!["build", "deploy"] } else { vec!["rnd"] };
    let (prometheus, dns) = (rng.u32(1..=2), rng.u32(1..=3));
    let each = rng.u32(1..=3);
    let runners = each * clusters.len() as u32 * fleets.len() as u32;
    let mut storm = Storm { rng, clusters, fleets, prometheus, dns, runners, ahead: 0 };
    let mut text = format!("# storm {seed}\nseed {seed}\nprometheus {prometheus}\ndns {dns}\n");
    if storm.once_in(6) {
        let _ = writeln!(text, "tools {}", storm.pick(&["none", "flux", "velero argocd"]));
    }
    let poll = storm.pick(&["never", "2m", "5m"]);
    let _ = writeln!(text, "poll {poll}");
    for fleet in storm.fleets.clone() {
        let _ = write!(text, "fleet {fleet} on {} with {each} runners", storm.clusters.join(" "));
        if storm.once_in(12) {
            text.push_str(" without dns");
        }
        if storm.once_in(12) {
            let holder = storm.pick(&["nobody", storm.clusters[1]]);
            let _ = write!(text, " held by {holder}");
        }
        if storm.once_in(12) {
            text.push_str(" below the group");
        }
        text.push('\n');
        storm.settings(&mut text);
    }
    // What nobody rings for is looked at seldom, and costs the most.
    let period = storm.pick(&["1m", "3m", "5m"]);
    let _ = writeln!(text, "set loop.period = \"{period}\"");
    if storm.once_in(2) {
        let limits = [
            "moves = 1",
            "moves = 1",
            "window = \"10m\"",
            "signal_max_age = \"6m\"",
            "watchdog_max_age = \"3m\"",
            "evidence_max_age = \"30s\"",
        ];
        let _ = writeln!(text, "set limits.{}", storm.pick(&limits));
    }
    let lasts = storm.pick(&STORM);
    let mut events: Lines = Vec::new();
    // Most storms begin with a death: without one little moves.
    if !storm.once_in(8) {
        let first = storm.cluster();
        events.push((60 * storm.rng.u32(1..6), format!("kill {first}")));
    }
    for _ in 0..storm.rng.u32(1..12) {
        // Many of them while the first death is being dealt with.
        let last = if storm.rng.bool() { 600 } else { lasts * 60 };
        let at = storm.rng.u32(60..last);
        let lines = storm.happening();
        events.extend(lines.into_iter().map(|(after, line)| ((at + after).min(lasts * 60), line)));
    }
    // Stable: what begins and ends at once does so in this order.
    events.sort_by_key(|(at, _)| *at);
    for (at, what) in &events {
        let _ = writeln!(text, "at {at}s {what}");
    }
    for line in storm.calm(&events) {
        let _ = writeln!(text, "at {lasts}m30s {line}");
    }
    let calm = if storm.rng.bool() { 1 } else { CALM };
    let _ = writeln!(text, "at {}m end", lasts + calm);
    text
}

impl Storm {
    /// Sets right what happened, so that everything can come to rest.
    fn calm(&self, events: &Lines) -> Vec<String> {
        let mut lines = vec!["mend everything".to_owned()];
        if self.ahead != 0 {
            lines.push(format!("clock jumps {}m", -self.ahead));
        }
        let happened = |line: &str| events.iter().any(|(_, what)| what.starts_with(line));
        lines.extend(happened("stop").then(|| "start".to_owned()));
        lines.extend(happened("lead elsewhere").then(|| "lead again".to_owned()));
        for cluster in &self.clusters {
            lines.push(format!("revive {cluster}"));
            lines.extend(
                happened(&format!("human vetoes {cluster}")).then(|| format!("human allows {cluster}")),
            );
        }
        lines
    }
}

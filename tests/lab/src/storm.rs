//! Storms: random stories, and the smallest story that still goes wrong.

use std::fmt::Write as _;

use fastrand::Rng;
use switchyard::simulate::{Parts, PlayError, Report, parse, play_with};

/// What happens, happens within these minutes; then all is mended.
const STORM: u32 = 30;
/// By then everything has to be at rest.
const CALM: u32 = 55;

const WRITES: [&str; 5] = ["timeout-after-commit", "lost-reply", "lost-request", "refused", "error"];

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

    fn lasting(&mut self) -> String {
        match self.rng.u8(0..3) {
            0 => String::new(),
            _ => format!(" for {}m", self.rng.u32(1..12)),
        }
    }

    fn writes(&mut self) -> String {
        let fault = self.pick(&WRITES);
        format!("{fault} {}%", self.rng.u32(10..=100))
    }

    fn fault(&mut self) -> String {
        let lasts = self.lasting();
        let fault = match self.rng.u8(0..16) {
            0 => "gitlab down".to_owned(),
            1 => "gitlab rate-limit".to_owned(),
            2 => "gitlab stale-reads".to_owned(),
            3 => format!("gitlab slow {}s", self.rng.u32(1..15)),
            4..=6 => format!("gitlab {}", self.writes()),
            7 => "dns down".to_owned(),
            8 => format!("dns ns{} {}", self.rng.u32(1..=self.dns), self.pick(&["down", "behind"])),
            9 => format!("dns {}", self.writes()),
            10..=12 => {
                let what = self.pick(&["down", "silent", "stale", "contradicts", "nan", "partial"]);
                let server = self.rng.u32(0..self.prometheus);
                let about =
                    if self.rng.bool() { format!(" about {}", self.cluster()) } else { String::new() };
                format!("prometheus p{server} {what}{about}")
            }
            _ => {
                let late = format!("late {}m", self.rng.u32(1..10));
                let faults = ["down", "duplicates", "reorder", "lost-resolve", "lost-firing", &late];
                format!("alertmanager {}", self.pick(&faults))
            }
        };
        format!("fault {fault}{lasts}")
    }

    fn human(&mut self) -> String {
        let (fleet, cluster, other, runner) = (self.fleet(), self.cluster(), self.cluster(), self.runner());
        match self.rng.u8(0..13) {
            0..=1 => format!("human retags runner {runner}"),
            2 => format!("human pauses runner {runner}"),
            3 => format!("human fills tags of runner {runner}"),
            4 => format!("human registers runner {} in {cluster} of {fleet} tagged", 40 + runner),
            5 => format!("human edits dns of {fleet} to {cluster}"),
            6 => format!("human pauses {fleet}{}", self.lasting()),
            7 => format!("human resumes {fleet}"),
            8..=9 => format!("human acks {fleet}"),
            10..=11 => format!("human switches {fleet} from {cluster} to {other}"),
            _ => format!("human silences {cluster} for {}m", self.rng.u32(1..20)),
        }
    }

    fn happening(&mut self) -> String {
        match self.rng.u8(0..20) {
            0..=4 => format!("kill {}", self.who()),
            5..=6 => format!("revive {}", self.who()),
            7 => format!("partition {}{}", self.who(), self.pick(&["", " from gitlab", " from prometheus"])),
            8 => format!("{} {}", self.pick(&["heal", "slow", "sleep", "wake"]), self.who()),
            9..=12 => self.fault(),
            13..=15 => self.human(),
            16..=18 => {
                let place = match self.rng.u8(0..4) {
                    0 => String::new(),
                    1 => format!(" before step {}", self.rng.u32(1..6)),
                    2 => format!(" after step {}", self.rng.u32(1..6)),
                    _ => format!(" after record {}", self.rng.u32(1..12)),
                };
                format!("crash{place}")
            }
            _ => {
                let by = self.pick(&[-60_i64, -5, -1, 1, 5, 60]);
                self.ahead += by;
                format!("clock jumps {by}m")
            }
        }
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
    let poll = storm.pick(&["never", "1m", "2m"]);
    let _ = writeln!(text, "poll {poll}");
    for fleet in storm.fleets.clone() {
        let _ = writeln!(text, "fleet {fleet} on {} with {each} runners", storm.clusters.join(" "));
        if storm.rng.bool() {
            text.push_str("set failback = { after = \"1m\" }\n");
        }
        if storm.rng.u8(0..3) == 0 {
            text.push_str("set park = \"pause\"\n");
        }
        let cool_down = storm.pick(&["1m", "5m", "30m"]);
        let _ = writeln!(text, "set cool_down = \"{cool_down}\"\nset move_deadline = \"5m\"");
    }
    text.push_str("set loop.period = \"1m\"\n");
    if storm.rng.u8(0..4) == 0 {
        text.push_str("set limits.moves = 1\n");
    }
    let mut events: Vec<(u32, String)> = Vec::new();
    // Most storms begin with a death: without one nothing moves.
    let first = storm.cluster();
    events.push((60 * storm.rng.u32(1..6), format!("kill {first}")));
    for _ in 0..storm.rng.u32(1..10) {
        // Many of them while the first death is being dealt with.
        let at = if storm.rng.bool() { storm.rng.u32(60..600) } else { storm.rng.u32(60..STORM * 60) };
        let what = storm.happening();
        events.push((at, what));
    }
    events.sort();
    for (at, what) in events {
        let _ = writeln!(text, "at {at}s {what}");
    }
    let _ = writeln!(text, "at {STORM}m30s mend everything");
    if storm.ahead != 0 {
        let _ = writeln!(text, "at {STORM}m30s clock jumps {}m", -storm.ahead);
    }
    for cluster in storm.clusters.clone() {
        let _ = writeln!(text, "at {STORM}m30s revive {cluster}");
    }
    let _ = writeln!(text, "at {CALM}m end");
    text
}

/// Plays a story as text.
///
/// # Errors
/// When it cannot be played; a story that cannot be read is a bug of whoever wrote it.
pub async fn play_text(text: &str, parts: &Parts) -> Result<Report, PlayError> {
    let story = parse(text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    play_with(&story, parts).await
}

/// The promises that a story breaks; none when it cannot be read.
async fn breaks(text: &str, parts: &Parts) -> Vec<u8> {
    let Ok(story) = parse(text) else { return Vec::new() };
    match play_with(&story, parts).await {
        Ok(report) => report.broken.iter().map(|broken| broken.promise).collect(),
        Err(_) => Vec::new(),
    }
}

/// A story that breaks `promise` without any line, or any two lines, that could be left out.
pub async fn shrink(text: &str, promise: u8, parts: &Parts) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    loop {
        let before = lines.len();
        for at in (0..before).rev() {
            if let Some(fewer) = without(&lines, &[at], promise, parts).await {
                lines = fewer;
            }
        }
        // What is broken and mended again goes together.
        if lines.len() == before {
            let pairs = (0..before).flat_map(|one| (0..one).map(move |other| [one, other]));
            for pair in pairs {
                if let Some(fewer) = without(&lines, &pair, promise, parts).await {
                    lines = fewer;
                    break;
                }
            }
        }
        if lines.len() == before {
            return lines.join("\n") + "\n";
        }
    }
}

/// The lines without these, if they still break the promise.
async fn without(lines: &[String], left_out: &[usize], promise: u8, parts: &Parts) -> Option<Vec<String>> {
    let left = lines.iter().enumerate().filter(|(at, _)| !left_out.contains(at));
    let fewer: Vec<String> = left.map(|(_, line)| line.clone()).collect();
    breaks(&fewer.join("\n"), parts).await.contains(&promise).then_some(fewer)
}

/// Plays the storm of a seed: its report, or a minimal story that breaks a promise, with its transcript.
///
/// # Errors
/// The text to show.
pub async fn storm(seed: u64) -> Result<Report, String> {
    storm_with(seed, &Parts::default()).await
}

/// The same with these parts, which may be broken.
///
/// # Errors
/// The text to show.
pub async fn storm_with(seed: u64, parts: &Parts) -> Result<Report, String> {
    let text = story(seed);
    let report = play_text(&text, parts).await.map_err(|error| format!("{error:?}\n{text}"))?;
    let Some(broken) = report.broken.first() else { return Ok(report) };
    let small = shrink(&text, broken.promise, parts).await;
    let told = play_text(&small, parts).await.map(|report| report.to_string()).unwrap_or_default();
    Err(format!(
        "storm {seed} breaks {broken}\n\n--- a story for tests/stories:\n{small}\n--- its transcript:\n{told}"
    ))
}

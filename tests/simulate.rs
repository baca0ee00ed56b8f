//! Stories: each is played, and its transcript is compared with the one beside it. `UPDATE_TRANSCRIPTS=1` writes them
//! anew; read what changed before you commit it.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::{fs, path::PathBuf};

use switchyard::{
    decide::{Judges, judges},
    model::{Gate, Leadership, MoveKind},
    simulate::{Entry, Kind, Report, Story, parse, parse_with, play},
};
use switchyard_lab::values::{Case, pause};

fn stories() -> Vec<(PathBuf, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "story"))
        .collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

fn read(path: &std::path::Path, text: &str) -> Story {
    let open = |name: &str| fs::read_to_string(path.with_file_name(name)).map_err(|error| error.to_string());
    parse_with(text, open).unwrap_or_else(|problems| panic!("{}:\n{problems}", path.display()))
}

#[tokio::test]
async fn every_story_goes_as_its_transcript_says() {
    let update = std::env::var_os("UPDATE_TRANSCRIPTS").is_some();
    let mut wrong = Vec::new();
    let stories = stories();
    assert!(!stories.is_empty());
    for (path, text) in stories {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let report: Report = play(&read(&path, &text), judges).await.unwrap();
        let told = report.to_string();
        if !report.is_good() {
            wrong.push(format!("{name} went wrong:\n{told}"));
        }
        let beside = path.with_extension("transcript");
        if update {
            fs::write(&beside, &told).unwrap();
        } else if fs::read_to_string(&beside).unwrap_or_default() != told {
            wrong.push(format!("{name} differs from its transcript:\n{told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn the_same_story_gives_the_same_bytes() {
    let text =
        "seed 7\nprometheus 2\nat 5m fault gitlab timeout-after-commit 50%\nat 6m kill blue\nat 30m end\n";
    let story = parse(text).unwrap();
    let first = play(&story, judges).await.unwrap().to_string();
    for _ in 0..3 {
        assert_eq!(play(&story, judges).await.unwrap().to_string(), first);
    }
}

#[test]
fn a_bad_story_says_where_and_what_is_allowed() {
    let text = "\
flet rnd on blue green
fleet a on blue green with x runners
set cool_down = \"soon\"
at 10 kill blue
at 10m kil blue
at 10m kill blu
at 10m fault gitlab lost-reply 300%
at 10m expect gat confirmed open
at 1h human switches from blue to green now
at 1h crash before
prometheus 2
at 1h human switches from blue to green force overriding single_flight
at 1h human switches from blue to green force overriding tired
at 1h human switches from blue to green force target_able
at 1h human fails back to blue
at 1h human acks by
at 1h fault flux in green manual
at 1h fault velero in red dead
at 1h expect gate confirmed open saw
at 1h expect metric switchyard_fleet_latched{fleet=\"rnd\"} yes
at 1h lead here
at 1h human gives runner 3 tag
at 1h human takes tag gpu from runner 3 before step 0
at 1h human unpauses runner 3 in bulks
at 1h fault gitlab refused-in-htm
at 1h fault alertmanager wrong-credentials for 10m
at 1h expect runner 3 takes job
at 1h expect tags of runner 3
tools helm
config nowhere.toml
";
    let said = parse(text).unwrap_err().to_string();
    let expected = include_str!("fixtures/bad.story.expected");
    assert_eq!(said, expected.trim_end(), "{said}");
}

#[test]
fn a_setting_without_quotes_is_named_where_it_stands() {
    let said = parse("fleet rnd on blue green\nset cool_down = 10m\nset approval = required\n")
        .unwrap_err()
        .to_string();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].starts_with("line 2, column 17: `10m` is no value"), "{said}");
    assert!(lines[1].starts_with("line 3, column 16: `required` is no value"), "{said}");
}

#[test]
fn a_configuration_file_that_cannot_be_simulated_says_why() {
    let file =
        "[fleets.rnd]\nrouting_tag = 3\n[fleets.rnd.pools.blue]\ndescription = \"blue-.*\"\ncolour = 1\n";
    let text = "config a.toml\nfleet rnd on blue\nfleet rnd held by red\nconfig b.toml\n";
    let said =
        parse_with(
            text,
            |name| {
                if name == "a.toml" { Ok(file.to_owned()) } else { Ok("[fleets".to_owned()) }
            },
        );
    let expected = include_str!("fixtures/bad-config.story.expected");
    let said = said.unwrap_err().to_string();
    assert_eq!(said, expected.trim_end(), "{said}");
}

/// `docs/safety.md` has every property with a story of its own, and every story and test that it names exists.
#[test]
fn the_safety_page_names_what_proves_it() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/safety.md")).unwrap();
    let quoted =
        |line: &str| -> Vec<String> { line.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    // What proves a row stands in its last cell.
    let proofs = |row: &str| quoted(row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default());
    let rows = |section: &str| -> Vec<String> {
        let (_, section) = page.split_once(&format!("\n## {section}\n")).unwrap();
        let section = section.split("\n## ").next().unwrap_or_default();
        section.lines().filter(|line| line.starts_with("| ")).skip(1).map(str::to_owned).collect()
    };
    let (properties, traps, incidents) = (rows("Properties"), rows("Traps"), rows("Incidents"));
    assert_eq!((properties.len(), incidents.len()), (35, 2));
    assert!(traps.len() >= 26, "{}", traps.len());
    for (row, number) in properties.iter().zip(1..) {
        assert!(row.starts_with(&format!("| {number} |")), "row {number} is {row}");
        let prefix = format!("check-{number:02}-");
        assert!(proofs(row).iter().any(|name| name.starts_with(&prefix)), "no story of its own: {row}");
    }
    let stories: Vec<String> =
        stories().iter().map(|(path, _)| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let mut named = Vec::new();
    for row in properties.iter().chain(&traps).chain(&incidents) {
        let proofs = proofs(row);
        assert!(proofs.iter().any(|name| stories.contains(name)), "no story shows this: {row}");
        for name in &proofs {
            let Some((file, test)) = name.contains('/').then(|| name.split_once(": ").unwrap_or((name, "")))
            else {
                assert!(stories.contains(name), "{name} is no story");
                continue;
            };
            let text = fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(test.is_empty() || text.contains(&format!("fn {test}(")), "{file} has no test {test}");
        }
        named.extend(proofs);
    }
    for story in stories {
        let belongs = ["check-", "trap-", "github-"].iter().any(|prefix| story.starts_with(prefix));
        assert!(!belongs || named.contains(&story), "docs/safety.md does not name {story}");
    }
}

/// All gates but the `N`-th.
fn without<const N: usize>(kind: MoveKind, gate: Gate) -> bool {
    Gate::ALL.get(N) != Some(&gate) && judges(kind, gate)
}

macro_rules! without {
    ($($n:literal)*) => { [$(without::<$n> as Judges),*] };
}

const WITHOUT: [Judges; 24] = without!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23);

/// A story with its name: one that is not there is an error of the compiler.
macro_rules! story {
    ($name:literal) => {
        ($name, include_str!(concat!("stories/", $name, ".story")))
    };
}

/// The story that goes wrong when nothing but this gate is open always. A new gate needs one.
fn guarded(gate: Gate) -> ((&'static str, &'static str), Wrong) {
    match gate {
        Gate::Enabled => (story!("check-14-opt-in"), Wrong::Acts),
        // What another replica's loop does, too, only the store can refuse.
        Gate::Leader => (story!("check-28-stands-by"), Wrong::IsRefused),
        // The store takes no decision beside a move, whoever asks, and none that a pause holds.
        Gate::NotPaused => (story!("gate-not_paused"), Wrong::IsRefused),
        Gate::SingleFlight => (story!("gate-single_flight"), Wrong::IsRefused),
        Gate::NotLatched => (story!("gate-not_latched"), Wrong::Acts),
        Gate::EyesOpen => (story!("check-34-own-eyes"), Wrong::Acts),
        Gate::GitlabReachable => (story!("gate-gitlab_reachable"), Wrong::Acts),
        Gate::NotCommonCause => (story!("gate-not_common_cause"), Wrong::Acts),
        Gate::SignalHeld => (story!("gate-signal_held"), Wrong::Acts),
        Gate::Confirmed => (story!("gate-confirmed"), Wrong::Acts),
        Gate::TargetAble => (story!("check-02-target-not-proven"), Wrong::Acts),
        Gate::TargetStronger => (story!("not-strictly-better"), Wrong::Acts),
        Gate::CooledDown => (story!("check-09-cool-down"), Wrong::Acts),
        Gate::Budget => (story!("check-13-budget"), Wrong::Acts),
        Gate::Window => (story!("gate-window"), Wrong::Acts),
        Gate::Drained => (story!("gate-drained"), Wrong::Acts),
        Gate::Approved => (story!("gate-approved-rejected"), Wrong::Acts),
    }
}

/// What a loop does that does not look at a gate, and no other does at that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    /// It decides a move, or takes a step.
    Acts,
    /// It decides, and the store, which guards the same once more, refuses.
    IsRefused,
}

impl Wrong {
    fn is(self, entry: &Entry) -> bool {
        match self {
            Self::Acts => matches!(entry.kind, Kind::Decision | Kind::Step),
            Self::IsRefused => {
                entry.text.starts_with("[fenced] refused from a former leader: the decision")
                    || entry.text.contains("was not decided, because meanwhile")
            }
        }
    }
}

/// A gate that nobody misses is not there. Its verdict alone is in `tests/decide`.
#[tokio::test]
async fn switching_off_any_single_gate_makes_a_story_go_wrong() {
    assert!(Gate::ALL.len() <= WITHOUT.len(), "make WITHOUT longer");
    let mut unnoticed = Vec::new();
    for (gate, judges_without) in Gate::ALL.into_iter().zip(WITHOUT) {
        let ((name, text), wrong) = guarded(gate);
        let story = parse(text).unwrap();
        let (with, without) =
            (play(&story, judges).await.unwrap(), play(&story, judges_without).await.unwrap());
        let only = |entry: &&Entry| wrong.is(entry) && !with.entries.contains(entry);
        if !with.is_good() || without.entries.iter().find(only).is_none() {
            unnoticed.push(format!("{gate}: {name} goes as with it:\n{without}"));
        }
    }
    assert!(unnoticed.is_empty(), "{}", unnoticed.join("\n"));
}

/// Whoever leads and whether somebody has paused is looked at by the store once more: the judgement holds without it.
#[test]
fn the_judgement_alone_holds_what_the_store_guards_as_well() {
    for (gate, judges_without) in Gate::ALL.into_iter().zip(WITHOUT) {
        let mut case = Case::blue_dies();
        match gate {
            Gate::Leader => case.leadership = Leadership::StandsBy { leader: None },
            Gate::NotPaused => case.overrides.push(pause(None, case.now)),
            _ => continue,
        }
        assert!(case.decide().decision.is_none());
        case.judges = judges_without;
        assert!(case.decide().decision.is_some(), "{gate} is not what held");
    }
}

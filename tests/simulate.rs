//! Stories: each is played, and its transcript is compared with the one beside it. `UPDATE_TRANSCRIPTS=1` writes them
//! anew; read what changed before you commit it.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::{fs, path::PathBuf};

use switchyard::{
    decide::{Judges, judges},
    model::{Gate, Leadership, MoveKind, Override, OverrideKind},
    simulate::{Report, Story, parse, play},
};
use switchyard_lab::values::Case;

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
    parse(text).unwrap_or_else(|problems| panic!("{}:\n{problems}", path.display()))
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
";
    let said = parse(text).unwrap_err().to_string();
    let expected = include_str!("fixtures/bad.story.expected");
    assert_eq!(said, expected.trim_end(), "{said}");
}

/// All gates but the `N`-th.
fn without<const N: usize>(kind: MoveKind, gate: Gate) -> bool {
    Gate::ALL.get(N) != Some(&gate) && judges(kind, gate)
}

macro_rules! without {
    ($($n:literal)*) => { [$(without::<$n> as Judges),*] };
}

const WITHOUT: [Judges; 24] = without!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23);

/// A gate that nobody misses is not there.
#[tokio::test]
async fn switching_off_any_single_gate_is_noticed() {
    assert!(Gate::ALL.len() <= WITHOUT.len(), "make WITHOUT longer");
    let stories = stories();
    let mut unnoticed = Vec::new();
    for (gate, judges) in Gate::ALL.into_iter().zip(WITHOUT) {
        // A simulated store has one process, and the transaction of a decision looks for a pause once more: these two are
        // proven by the pure judgement.
        let mut case = Case::blue_dies();
        match gate {
            Gate::Leader => case.leadership = Leadership::StandsBy { leader: None },
            Gate::NotPaused => case.overrides.push(Override {
                fleet: None,
                kind: OverrideKind::Pause,
                reason: "network works".into(),
                author: "ada".into(),
                since: case.now,
                until: None,
            }),
            _ => {}
        }
        if matches!(gate, Gate::Leader | Gate::NotPaused) {
            assert!(case.decide().decision.is_none());
            case.judges = judges;
            assert!(case.decide().decision.is_some(), "{gate} is not what held");
            continue;
        }
        let mut noticed = false;
        for (path, text) in stories.iter().filter(|(path, text)| {
            text.contains(gate.as_str()) || path.ends_with(format!("gate-{gate}.story"))
        }) {
            let report = play(&read(path, text), judges).await.unwrap();
            if !report.is_good() {
                noticed = true;
                break;
            }
        }
        if !noticed {
            unnoticed.push(gate.as_str());
        }
    }
    assert!(
        unnoticed.is_empty(),
        "no story goes wrong without {}: add one to tests/stories with `expect outcome held:GATE`",
        unnoticed.join(", ")
    );
}

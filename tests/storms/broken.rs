//! What watches the promises can see each of them broken: with one part of Switchyard, of its disk or of its world broken
//! on purpose, a story breaks the promise that the part keeps, and the report says which.

use switchyard::{
    decide::judges,
    model::Gate,
    simulate::{Parts, parse},
};
use switchyard_lab::storm;

use super::{disk, world};

/// One way to break a promise.
struct Case {
    promise: u8,
    /// What the report says of it.
    says: &'static str,
    parts: Parts,
    story: &'static str,
}

macro_rules! without {
    ($gate:ident) => {
        Parts { judges: |kind, gate| gate != Gate::$gate && judges(kind, gate), ..Parts::default() }
    };
}

fn in_world(world: fn(switchyard::world::SimWorld) -> switchyard::simulate::Outside) -> Parts {
    Parts { world, ..Parts::default() }
}

fn on_disk(disk: fn(&std::path::Path)) -> Parts {
    Parts { disk, ..Parts::default() }
}

fn cases() -> Vec<Case> {
    let case = |promise, says, parts, story| Case { promise, says, parts, story };
    vec![
        case(
            1,
            "rnd goes to green, which is not proven able: [0.5]",
            without!(TargetAble),
            "at 4m kill green 50%\nat 10m kill blue\nat 14m end",
        ),
        case(
            1,
            "it left rnd without a runner that takes jobs",
            in_world(world::pretends),
            "at 10m kill blue\nat 14m end",
        ),
        case(
            2,
            "rnd was moved while the watchdog was",
            without!(EyesOpen),
            "at 5m human pauses\nat 10m kill blue\nat 14m fault alertmanager down\nat 26m human resumes\nat 28m end",
        ),
        case(
            2,
            "rnd left blue, which was not proven dead: [1.0]",
            without!(Confirmed),
            "set signal_hold = \"1m\"\nat 10m kill blue\nat 11m30s revive blue\nat 14m end",
        ),
        case(
            2,
            "rnd left blue, which was not proven dead: []",
            in_world(world::guesses),
            "set signal_hold = \"1m\"\nat 10m kill blue\nat 11m20s fault prometheus nan about blue\nat 14m end",
        ),
        case(
            3,
            "rnd was moved while GitLab could not be read",
            in_world(world::remembers),
            "at 10m kill blue\nat 11m20s rate-limit\nat 14m end",
        ),
        case(
            3,
            "rnd was moved while no Prometheus answered",
            in_world(world::remembers),
            "at 10m kill blue\nat 11m20s fault prometheus down\nat 14m end",
        ),
        case(
            3,
            "no move is under way",
            in_world(world::replays),
            "at 10m kill blue\nat 12m crash\nat 14m end",
        ),
        case(
            3,
            "rnd was moved to green, and no request for that was open",
            on_disk(disk::forgets_answers),
            "at 10m fault prometheus silent\nat 10m10s human switches from blue to green\n\
             at 10m20s mend prometheus\nat 10m30s crash\nat 14m end",
        ),
        case(
            3,
            "rnd was moved for a request that expects Some(ClusterName(\"green\")), and Some(ClusterName(\"blue\")) held it",
            on_disk(disk::mistakes_the_holder),
            "fleet rnd on blue green red\nat 9m stop\nat 10m human switches from green to red\nat 10m10s start\n\
             at 10m10s crash\nat 14m end",
        ),
        case(
            3,
            "rnd was moved for a request of 2027-01-15T08:10:00Z, which waits since Some(2027-01-15T08:10:00",
            on_disk(disk::forgets_how_long),
            "set sticky = true\nset drain_deadline = \"5m\"\nat 5m human runs pipeline 7\n\
             at 10m human switches from blue to green\nat 11m crash\nat 11m stop\n\
             at 25m human ends pipeline 7\nat 30m start\nat 33m end",
        ),
        case(
            3,
            "rnd was moved to green, and nobody approved it",
            without!(Approved),
            "set approval = \"required\"\nat 10m kill blue\nat 14m end",
        ),
        case(
            3,
            "rnd was moved to green, and its approval stands no more: Some(ProposalAnswer { consent: Rejected",
            on_disk(disk::mistakes_the_answer),
            "set approval = \"required\"\nat 10m kill blue\nat 13m human rejects\nat 14m crash\nat 18m end",
        ),
        case(
            4,
            "rnd was moved again after",
            without!(CooledDown),
            "at 10m kill blue\nat 12m revive blue\nat 20m kill green\nat 25m end",
        ),
        case(
            4,
            "2 automatic moves within 1h",
            without!(Budget),
            "set cool_down = \"1m\"\nset limits.moves = 1\nat 10m kill blue\nat 12m revive blue\nat 20m kill green\nat 25m end",
        ),
        case(
            4,
            "although 2 had failed and nobody acknowledged it",
            without!(NotLatched),
            "set cool_down = \"1m\"\nset move_deadline = \"5m\"\nat 9m fault dns refused\nat 10m kill blue\n\
             at 12m revive blue\nat 25m kill green\nat 35m end",
        ),
        case(
            4,
            "rnd was moved and is not enabled",
            without!(Enabled),
            "set enabled = false\nat 10m kill blue\nat 14m end",
        ),
        case(
            4,
            "for generation 1, and 2 is the latest",
            in_world(world::late),
            "at 10m kill blue\nat 14m end",
        ),
        case(
            5,
            "generation 2 of rnd failed with nothing in its way",
            in_world(world::deaf),
            "set move_deadline = \"5m\"\nat 9m crash after step 1\nat 10m kill blue\nat 20m end",
        ),
        case(
            5,
            "taken again, it changed what takes jobs for rnd",
            in_world(world::redoes),
            "at 10m kill blue\nat 11m20s fault gitlab stale-reads for 1m\nat 14m end",
        ),
        case(
            5,
            "was accepted as firing and forgotten",
            on_disk(disk::loses_its_log),
            "at 10m kill blue\nat 11m20s crash\nat 14m end",
        ),
        case(
            5,
            "the store forgot a decision about rnd",
            on_disk(disk::loses_its_log),
            "at 10m kill blue\nat 11m crash after step 1\nat 14m end",
        ),
        case(
            6,
            "green shall hold rnd, and",
            in_world(world::keeps),
            "at 10m kill blue\nat 15m revive blue\nat 16m human registers runner 9 in blue tagged\nat 40m end",
        ),
        case(6, "green shall hold rnd", in_world(world::returns), "at 10m kill blue\nat 14m end"),
        case(
            7,
            "rnd went home after",
            without!(SignalHeld),
            "set failback = { after = \"40m\" }\nset cool_down = \"1m\"\nat 10m kill blue\nat 15m revive blue\nat 40m end",
        ),
        case(
            7,
            "rnd went home to blue, which was not well: [0.875]",
            without!(Confirmed),
            "fleet rnd on blue green with 8 runners\nset failback = { after = \"12m\" }\nset cool_down = \"1m\"\n\
             at 10m kill blue\nat 15m revive blue\nat 30m fault alertmanager lost-resolve\nat 31m kill runner 1\nat 42m end",
        ),
        case(
            8,
            "generation 2 of rnd is called done, and what GitLab showed is",
            in_world(world::pretends),
            "at 10m kill blue\nat 14m end",
        ),
        case(8, "the runner is not there", in_world(world::wrong_runner), "at 10m kill blue\nat 14m end"),
        case(8, "the tag is not the fleet's", in_world(world::wrong_tag), "at 10m kill blue\nat 14m end"),
    ]
}

#[tokio::test]
async fn every_promise_can_be_seen_broken() {
    let cases = cases();
    for promise in 1..=8 {
        assert!(cases.iter().any(|case| case.promise == promise), "nothing breaks promise {promise}");
    }
    let mut unseen = Vec::new();
    for Case { promise, says, parts, story } in cases {
        let kept = storm::play_text(story, &Parts::default()).await.unwrap();
        assert!(kept.broken.is_empty(), "with every part whole:\n{kept}");
        let report = storm::play_text(story, &parts).await.unwrap();
        let told = report.to_string();
        let line = told
            .lines()
            .any(|line| line.contains(&format!(" BROKEN promise {promise}: ")) && line.contains(says));
        if !line {
            unseen.push(format!("promise {promise}, {says:?} is not in\n{told}"));
        }
    }
    assert!(unseen.is_empty(), "{}", unseen.join("\n"));
}

/// What does not matter goes: single lines, and what belongs together.
#[tokio::test]
async fn a_story_that_breaks_a_promise_is_made_small() {
    const NOISE: [&str; 4] = [
        "seed 3",
        "at 2m fault alertmanager duplicates for 1m",
        "at 8m clock jumps 1m",
        "at 9m clock jumps -1m",
    ];
    // Which promise it is makes no difference.
    for promise in [1, 8] {
        let Case { parts, story, .. } = cases().into_iter().find(|case| case.promise == promise).unwrap();
        let [seed, events @ ..] = NOISE;
        let small = storm::shrink(&format!("{seed}\n{story}\n{}", events.join("\n")), promise, &parts).await;
        assert!(NOISE.iter().all(|noise| !small.contains(noise)), "promise {promise}:\n{small}");
        assert!(parse(&small).is_ok() && small.contains("kill blue"), "promise {promise}:\n{small}");
    }
}

/// Storms find it, too: what is shown is the seed, the promise, the smallest story and its transcript.
#[tokio::test]
async fn a_storm_that_breaks_a_promise_is_shown_small() {
    for promise in [1, 5, 6] {
        let Case { parts, .. } = cases().into_iter().rfind(|case| case.promise == promise).unwrap();
        let mut seed = 0;
        loop {
            let report = storm::play_text(&storm::story(seed), &parts).await.unwrap();
            if report.broken.first().is_some_and(|broken| broken.promise == promise) {
                break;
            }
            seed += 1;
            assert!(seed < 100, "a hundred storms do not break promise {promise}");
        }
        let shown = storm::storm_with(seed, &parts).await.unwrap_err();
        assert!(shown.starts_with(&format!("storm {seed} breaks promise {promise}: ")), "{shown}");
        let (_, small) = shown.split_once("--- a story for tests/stories:\n").unwrap();
        let (small, transcript) = small.split_once("--- its transcript:\n").unwrap();
        assert!(transcript.contains(&format!(" BROKEN promise {promise}: ")), "{shown}");
        assert!(small.lines().count() <= 6, "{shown}");
        assert_eq!(storm::play_text(small, &parts).await.unwrap().to_string(), transcript);
    }
}

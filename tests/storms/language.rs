//! Storms say all that a story can say: a new word that no storm knows fails here.

use std::collections::BTreeSet;

use switchyard::simulate::{parse, vocabulary};
use switchyard_lab::storm;

/// What belongs to stories that somebody writes.
const WRITTEN: [&str; 1] = ["expect"];

/// What the stories' lines say before the first `at`, beside names and numbers.
const SETTINGS: [&str; 23] = [
    "tools none",
    "without dns",
    "held by",
    "below the group",
    "poll never",
    "set failback",
    "set park",
    "set sticky",
    "set drain_deadline",
    "set drain_policy = \"hold\"",
    "set drain_policy = \"move\"",
    "set approval = \"required\"",
    "set approval_timeout",
    "set window.times",
    "set window.applies_to",
    "set require.api",
    "set require.gitops",
    "set require.backups",
    "set require.backup_max_age",
    "set signal_hold",
    "set cool_down",
    "set move_deadline",
    "set limits.moves",
];

#[test]
fn storms_say_all_that_a_story_can_say() {
    let mut missing: BTreeSet<(String, &str)> =
        vocabulary().into_iter().filter(|(_, word)| !WRITTEN.contains(word)).collect();
    assert!(missing.len() > 100, "the parser has lost its words");
    let mut settings: BTreeSet<&str> = SETTINGS.into();
    for seed in 0..1_500 {
        let text = storm::story(seed);
        if let Err(problems) = parse(&text) {
            panic!("{problems}\n{text}");
        }
        settings.retain(|setting| !text.contains(setting));
        for line in text.lines().filter_map(|line| line.strip_prefix("at ")?.split_once(' ')) {
            missing.retain(|(begins, word)| {
                let rest = line.1.strip_prefix(begins.as_str());
                !rest.is_some_and(|rest| rest.split(' ').any(|said| said == *word))
            });
        }
    }
    assert!(missing.is_empty(), "no storm says {missing:?}: see tests/lab/src/storm/make.rs");
    assert!(settings.is_empty(), "no storm has {settings:?}");
}

/// Whoever has to understand a storm can: one line for each thing, and not too many.
#[test]
fn a_storm_can_be_read() {
    for seed in 0..300 {
        let text = storm::story(seed);
        let events = text.lines().filter(|line| line.starts_with("at ")).count();
        assert!(events <= 50, "{text}");
    }
}

//! Storms say all that a story can say: a new word that no storm knows fails here.

use std::collections::BTreeSet;

use switchyard::simulate::{parse, vocabulary};
use switchyard_lab::storm;

/// What belongs to stories that somebody writes: what they expect, and files beside them, which say what `set` says.
const WRITTEN: [&str; 2] = ["expect", "config"];

/// Keys of the documentation that no storm sets.
const UNSET: [&str; 14] = [
    // Who is who: the line of the fleet says it.
    "routing_tag",
    "mode",
    "prefer",
    "dns.name",
    "dns.type",
    "dns.ttl",
    "dns.provider",
    "pools.<cluster>.home_tag",
    "pools.<cluster>.runners",
    "pools.<cluster>.description",
    "pools.<cluster>.dns",
    // The simulated Prometheus knows questions, and no PromQL.
    "evidence.",
    // A pipeline of a story is found however old it is.
    "drain_look_back",
    // Beside its line `poll`, all about Alertmanager is simulated.
    "alertmanager.",
];

/// The keys that a story can set, as `docs/configuration.md` has them.
fn keys() -> BTreeSet<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let page = std::fs::read_to_string(page).unwrap();
    let keys = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    keys.filter_map(|key| match key.strip_prefix("fleets.<fleet>.") {
        Some(key) => Some(key),
        None => ["limits.", "loop.", "alertmanager.", "evidence."]
            .iter()
            .any(|p| key.starts_with(p))
            .then_some(key),
    })
    .filter(|key| !UNSET.iter().any(|unset| key == unset || unset.ends_with('.') && key.starts_with(unset)))
    .map(str::to_owned)
    .collect()
}

#[test]
fn storms_say_all_that_a_story_can_say() {
    let mut missing: BTreeSet<(String, &str)> =
        vocabulary().into_iter().filter(|(_, word)| !WRITTEN.contains(word)).collect();
    assert!(missing.len() > 150, "the parser has lost its words");
    let mut unset = keys();
    assert!(unset.len() > 25, "{unset:?}");
    let mut policies = BTreeSet::from(["hold", "move"]);
    for seed in 0..1_500 {
        let text = storm::story(seed);
        if let Err(problems) = parse(&text) {
            panic!("{problems}\n{text}");
        }
        policies.retain(|policy| !text.contains(&format!("set drain_policy = {policy:?}")));
        for line in text.lines() {
            // When it happens is no word.
            let timed = line.strip_prefix("at ").and_then(|line| line.split_once(' '));
            let line = timed.map_or(line.to_owned(), |(_, what)| format!("at {what}"));
            missing.retain(|(begins, word)| {
                let rest = line.strip_prefix(begins.as_str());
                !rest.is_some_and(|rest| rest.split(' ').any(|said| said == *word))
            });
            if let Some((key, _)) = line.strip_prefix("set ").and_then(|line| line.split_once(" = ")) {
                unset.remove(key);
            }
        }
    }
    assert!(missing.is_empty(), "no storm says {missing:?}: see tests/lab/src/storm/make.rs");
    assert!(unset.is_empty(), "no storm sets {unset:?}");
    assert!(policies.is_empty(), "no storm has {policies:?}");
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

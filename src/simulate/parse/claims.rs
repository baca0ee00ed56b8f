//! What can be expected.

use std::collections::BTreeSet;

use super::timeline::Timeline;
use crate::{
    model::{FleetName, Gate, RunnerId},
    simulate::{
        story::{Claim, Property},
        words::{Parsed, Words},
    },
};

impl Timeline {
    pub(super) fn claim(&self, words: &mut Words<'_>) -> Parsed<(FleetName, Claim)> {
        const CLAIMS: [&str; 18] = [
            "holder", "decided", "dns", "outcome", "answer", "gate", "moves", "not", "latched", "moving",
            "paused", "drift", "steps", "history", "plan", "metric", "tags", "runner",
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
                let open = words.choose(&["open", "closed"])? == "open";
                let fleet = self.fleet(words, "of")?;
                let saw = if words.take("saw") { Some(text(words, "what the gate saw")?) } else { None };
                return Ok((fleet, Claim::Gate(gate, open, saw)));
            }
            "answer" => {
                Claim::Answer(words.word("an outcome such as decided or held:target_able")?.to_owned())
            }
            "tags" => {
                words.expect("of")?;
                let runner = self.runner(words)?;
                let mut tags = BTreeSet::new();
                if !words.take("none") {
                    tags.insert(words.parse("a tag, or `none`")?);
                    while !words.is_empty() {
                        tags.insert(words.parse("a tag")?);
                    }
                }
                Claim::Tags(runner, tags)
            }
            "runner" => {
                let runner = RunnerId(words.parse("a runner's number")?);
                words.expect("takes")?;
                let takes = !words.take("no");
                words.expect("jobs")?;
                Claim::TakesJobs(runner, takes)
            }
            "moves" => Claim::Moves(words.parse("a number")?),
            "steps" => Claim::Steps(words.parse("a number")?),
            "history" => return Ok((self.fleet(words, "of")?, Claim::History(text(words, "a text")?, true))),
            "plan" => return Ok((self.fleet(words, "of")?, Claim::Plan(text(words, "a text")?, true))),
            "metric" => {
                let series =
                    words.word("a series, such as switchyard_fleet_latched{fleet=\"rnd\"}")?.to_owned();
                Claim::Metric(series, words.parse("a number")?)
            }
            "not" => match words.choose(&["latched", "moving", "paused", "drift", "history", "plan"])? {
                "history" => {
                    return Ok((self.fleet(words, "of")?, Claim::History(text(words, "a text")?, false)));
                }
                "plan" => return Ok((self.fleet(words, "of")?, Claim::Plan(text(words, "a text")?, false))),
                property => Claim::Is(is(property), false),
            },
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

/// All words that are left.
fn text(words: &mut Words<'_>, what: &str) -> Parsed<String> {
    let first = words.word(what)?;
    Ok([first, words.rest()].join(" ").trim_end().to_owned())
}

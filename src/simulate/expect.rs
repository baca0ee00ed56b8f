//! Whether what is expected is so.

use std::collections::BTreeSet;

use super::{
    engine::Player,
    story::{Claim, Event, Happening, Property},
    transcript::{Entry, Kind},
};
use crate::model::{ClusterName, FleetName, Tag};

impl Player<'_> {
    pub(super) fn expects(&mut self, event: &Event) {
        let Happening::Expect(fleet, claim) = &event.what else { return };
        let wrong = self.wrong(fleet, claim);
        let kind = if wrong.is_some() { Kind::Unmet } else { Kind::Met };
        let seen = wrong.map(|seen| format!(": {seen}")).unwrap_or_default();
        *(if seen.is_empty() { &mut self.report.met } else { &mut self.report.unmet }) += 1;
        self.say(kind, Some(fleet), format!("{}{seen}", event.text));
    }

    /// What is so instead, if the claim does not hold.
    fn wrong(&self, name: &FleetName, claim: &Claim) -> Option<String> {
        let fleet = self.topology.fleets.get(name)?;
        let status = self.status.borrow();
        let Some(told) = status.fleets.get(name) else { return Some("no pass was taken".to_owned()) };
        let differs = |wanted: String, is: String| (wanted != is).then_some(format!("it is {is}"));
        match claim {
            Claim::Holder(wanted) => {
                let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
                differs(wanted.join(" and "), self.world.holders(fleet).join(" and "))
            }
            Claim::Decided(wanted) => {
                let is = told.intended_holder.as_ref().map_or("nobody", ClusterName::as_str);
                differs(wanted.to_string(), is.to_owned())
            }
            Claim::Dns(wanted) => {
                let wanted = fleet.record_set(wanted).map(|set| set.values.into_iter().collect::<Vec<_>>());
                differs(wanted.unwrap_or_default().join(" "), self.world.dns(name))
            }
            Claim::Outcome(wanted) => {
                let is = told.outcome.to_string();
                (*wanted != is).then(|| format!("it is {is}: {}", told.sentence))
            }
            Claim::Answer(wanted) => differs(wanted.clone(), self.answer.clone()),
            Claim::Gate(gate, open, saw) => match told.gates.iter().find(|report| report.gate == *gate) {
                None => Some("it was not judged".to_owned()),
                Some(report) => {
                    let seen = saw.as_ref().is_none_or(|saw| report.saw.contains(saw));
                    (report.open != *open || !seen).then(|| report.saw.clone())
                }
            },
            Claim::Steps(wanted) => differs(wanted.to_string(), self.seen_sent.to_string()),
            Claim::Tags(id, wanted) => {
                let text = |tags: &BTreeSet<Tag>| tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(" ");
                match self.world.state().runner(*id) {
                    None => Some("there is no such runner".to_owned()),
                    Some(runner) => differs(text(wanted), text(&runner.record.tags)),
                }
            }
            Claim::TakesJobs(id, wanted) => match self.world.state().runner(*id) {
                None => Some("there is no such runner".to_owned()),
                Some(runner) => (runner.takes_jobs() != *wanted)
                    .then(|| if *wanted { "it takes none" } else { "it takes jobs" }.to_owned()),
            },
            Claim::History(text, there) => {
                let mine = |about: &Option<FleetName>| about.as_ref().is_none_or(|about| about == name);
                let mut entries =
                    self.history.iter().filter(|(about, _)| mine(about)).map(|(_, entry)| entry);
                match (entries.find(|entry| entry.contains(text)), there) {
                    (None, true) => Some("no entry says so".to_owned()),
                    (Some(entry), false) => Some(entry.clone()),
                    _ => None,
                }
            }
            Claim::Plan(text, there) => {
                let plan = told.plan.as_ref().map(ToString::to_string).unwrap_or_default();
                let plan = format!("{}\n{plan}", told.sentence);
                (plan.contains(text) != *there).then(|| plan.trim_end().replace('\n', " |"))
            }
            Claim::Metric(series, wanted) => match self.metrics.page().write(false) {
                Err(_) => Some("the metrics cannot be written".to_owned()),
                Ok(page) => {
                    let of =
                        |line: &str| line.strip_prefix(series.as_str())?.strip_prefix(' ').map(str::to_owned);
                    match page.lines().find_map(of) {
                        None => Some("there is no such series".to_owned()),
                        Some(value) => {
                            (value.parse::<f64>().ok() != Some(*wanted)).then(|| format!("it is {value}"))
                        }
                    }
                }
            },
            Claim::Moves(wanted) => {
                let mine = |e: &&Entry| e.kind == Kind::Decision && e.fleet.as_ref() == Some(name);
                let decisions = self.report.entries.iter().filter(mine);
                let moves = decisions.filter(|e| !e.text.contains(": adopt ")).count();
                differs(wanted.to_string(), moves.to_string())
            }
            Claim::Is(property, wanted) => {
                let is = match property {
                    Property::Latched => told.latched,
                    Property::Moving => told.moving,
                    Property::Paused => told.paused,
                    Property::Drift => told.drift,
                };
                (is != *wanted).then(|| told.sentence.clone())
            }
        }
    }
}

//! What people do.

use super::{from_one, timeline::Timeline};
use crate::{
    model::{ClusterName, Consent, FleetName, Gate},
    simulate::{
        story::{Bulk, Deed, Happening, Signature},
        words::{Parsed, Words},
    },
};

/// Who does what people do, and why, when the story does not say it.
const PERSON: &str = "ada";
const REASON: &str = "a story";

pub(super) const DEEDS: [&str; 23] = [
    "retags",
    "gives",
    "takes",
    "pauses",
    "unpauses",
    "fills",
    "deletes",
    "registers",
    "shares",
    "edits",
    "resumes",
    "approves",
    "rejects",
    "runs",
    "ends",
    "acks",
    "switches",
    "fails",
    "vetoes",
    "allows",
    "silences",
    "enables",
    "disables",
];

impl Timeline {
    pub(super) fn human(&self, words: &mut Words<'_>) -> Parsed<Happening> {
        let deed = self.deed(words)?;
        let author = if words.take("by") { words.word("a person's name")? } else { PERSON };
        let reason = if words.take("because") {
            let first = words.word("the reason")?;
            [first, words.rest()].join(" ").trim_end().to_owned()
        } else {
            REASON.to_owned()
        };
        Ok(Happening::Human(deed, Signature { author: author.to_owned(), reason }))
    }

    fn deed(&self, words: &mut Words<'_>) -> Parsed<Deed> {
        Ok(match words.choose(&DEEDS)? {
            "retags" => Deed::Retag(self.runner(words)?),
            "pauses" if words.peek() == Some("runner") => {
                Deed::PauseRunner(self.runner(words)?, true, bulk(words)?)
            }
            "unpauses" => Deed::PauseRunner(self.runner(words)?, false, bulk(words)?),
            "gives" => {
                let runner = self.runner(words)?;
                words.expect("tag")?;
                Deed::Tag(runner, words.parse("a tag")?, true, before(words)?)
            }
            "takes" => {
                words.expect("tag")?;
                let tag = words.parse("a tag")?;
                words.expect("from")?;
                Deed::Tag(self.runner(words)?, tag, false, before(words)?)
            }
            "fills" => {
                words.expect("tags")?;
                words.expect("of")?;
                Deed::FillTags(self.runner(words)?)
            }
            "deletes" => Deed::Delete(self.runner(words)?),
            "registers" => {
                let runner = self.runner(words)?;
                words.expect("in")?;
                let cluster = self.cluster(words)?;
                let fleet = self.fleet(words, "of")?;
                let tagged = words.take("tagged");
                Deed::Register(runner, fleet, cluster, tagged)
            }
            "shares" => {
                words.expect("token")?;
                words.expect("of")?;
                let one = self.cluster(words)?;
                words.expect("with")?;
                let other = self.cluster(words)?;
                Deed::ShareToken(self.fleet(words, "of")?, one, other)
            }
            "edits" => {
                words.expect("dns")?;
                let fleet = self.fleet(words, "of")?;
                words.expect("to")?;
                let to = words.word("a cluster, or a host name")?.to_owned();
                let cluster =
                    self.names().iter().find(|name| **name == to).and_then(|name| name.parse().ok());
                Deed::EditDns(fleet, cluster, to)
            }
            "pauses" => {
                let fleet = self.maybe_all(words)?;
                let held = if fleet.is_some() { self.believed(words)? } else { None };
                Deed::Pause(fleet, if words.take("for") { Some(words.lasting()?) } else { None }, held)
            }
            "resumes" => {
                let fleet = self.maybe_all(words)?;
                let held = if fleet.is_some() { self.believed(words)? } else { None };
                Deed::Resume(fleet, held)
            }
            "acks" => Deed::Ack(self.named_or_first(words)?, self.believed(words)?),
            verb @ ("approves" | "rejects") => {
                let consent = if verb == "approves" { Consent::Approved } else { Consent::Rejected };
                Deed::Consent(self.named_or_first(words)?, consent, self.believed(words)?)
            }
            verb @ ("runs" | "ends") => {
                words.expect("pipeline")?;
                Deed::Pipeline(words.parse("a pipeline's number")?, verb == "runs")
            }
            "switches" => {
                let fleet = self.named_or_first(words)?;
                words.expect("from")?;
                let from = if words.take("nobody") { None } else { Some(self.cluster(words)?) };
                words.expect("to")?;
                let to = self.cluster(words)?;
                Deed::Switch(fleet, from, to, overriding(words)?)
            }
            "fails" => {
                words.expect("back")?;
                let fleet = self.named_or_first(words)?;
                words.expect("from")?;
                let from = if words.take("nobody") { None } else { Some(self.cluster(words)?) };
                Deed::Failback(fleet, from, overriding(words)?)
            }
            "vetoes" => {
                let cluster = self.cluster(words)?;
                Deed::Veto(cluster, if words.take("for") { Some(words.lasting()?) } else { None }, true)
            }
            "allows" => Deed::Veto(self.cluster(words)?, None, false),
            "silences" => {
                let cluster = self.cluster(words)?;
                words.expect("for")?;
                Deed::Silence(cluster, words.lasting()?)
            }
            "enables" => Deed::Enable(self.named_or_first(words)?, true),
            _ => Deed::Enable(self.named_or_first(words)?, false),
        })
    }

    /// Whom the person believes to hold the fleet, if the story says so.
    fn believed(&self, words: &mut Words<'_>) -> Parsed<Option<Option<ClusterName>>> {
        if !words.take("believing") {
            return Ok(None);
        }
        Ok(Some(if words.take("nobody") { None } else { Some(self.cluster(words)?) }))
    }

    fn maybe_all(&self, words: &mut Words<'_>) -> Parsed<Option<FleetName>> {
        match words.peek() {
            Some("all") => {
                words.word("all")?;
                Ok(None)
            }
            _ => self.named_or_first(words).map(Some),
        }
    }

    fn named_or_first(&self, words: &mut Words<'_>) -> Parsed<FleetName> {
        match words.peek() {
            None | Some("from" | "for" | "by" | "because" | "believing") => self.fleet(words, "of"),
            Some(_) => self.fleet_named(words),
        }
    }
}

fn bulk(words: &mut Words<'_>) -> Parsed<Bulk> {
    let bulk = words.take("in");
    if bulk {
        words.expect("bulk")?;
    }
    Ok(bulk)
}

/// The number of steps that this happens before, if it does not happen now.
fn before(words: &mut Words<'_>) -> Parsed<Option<u32>> {
    if !words.take("before") {
        return Ok(None);
    }
    words.expect("step")?;
    from_one(words).map(Some)
}

/// The closed gates that shall not hold a move.
fn overriding(words: &mut Words<'_>) -> Parsed<Vec<Gate>> {
    let mut gates = Vec::new();
    if !words.take("force") {
        return Ok(gates);
    }
    words.expect("overriding")?;
    let names: Vec<&str> = Gate::ALL.into_iter().filter(|g| g.overridable()).map(Gate::as_str).collect();
    loop {
        if let Some(never) = words.peek().and_then(Gate::named).filter(|gate| !gate.overridable()) {
            words.word("a gate")?;
            return Err(words.problem(format!("`{never}` can never be overridden: two would act at once")));
        }
        let name = words.choose(&names)?;
        gates.extend(Gate::named(name));
        if words.peek().is_none_or(|next| matches!(next, "by" | "because")) {
            return Ok(gates);
        }
    }
}

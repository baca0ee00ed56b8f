//! What a pass did, told in the transcript, and the promises watched.

use std::collections::BTreeMap;

use super::{
    engine::{PlayError, Player},
    promises::Around,
    transcript::{Entry, Kind},
};
use crate::{
    model::{ClusterName, Decision, MoveState, RunnerId, StepOutcome},
    store::HistoryEntry,
    world::World as _,
};

/// More history is never written in one pass.
const HISTORY: u32 = 200;

impl Player<'_> {
    /// Tells what the pass did, and watches the promises.
    pub(super) async fn watch(&mut self, wrote: bool) -> Result<(), PlayError> {
        let (clock, ahead) = (self.world.now(), self.world.state().clock_ahead);
        let first = self.report.entries.len();
        let mut news = Vec::new();
        if wrote {
            news = self.store.history(None, HISTORY).await?;
            news.retain(|entry| entry.id() > self.seen_entry);
            news.sort_by_key(HistoryEntry::id);
        }
        if let Some(last) = news.last() {
            self.seen_entry = last.id();
        }
        let look = {
            let state = self.world.state();
            self.watcher.weather(&state);
            state.last_look.clone()
        };
        for entry in &news {
            let at = entry.at().checked_sub(ahead).unwrap_or(entry.at());
            match entry {
                HistoryEntry::Decision { decision, .. } => {
                    if let Some(look) = &look {
                        let around = Around {
                            topology: &self.topology,
                            look,
                            watchdog: self.watchdog,
                            now: decision.decided_at,
                        };
                        self.watcher.decided(decision, &around);
                    }
                    self.touched.remove(&decision.fleet);
                    let text = format!("generation {}: {}", decision.generation, told(decision));
                    let fleet = Some(decision.fleet.clone());
                    self.history.push((fleet, format!("{text}; {}", grounds(decision))));
                    self.say_at(at, Kind::Decision, Some(&decision.fleet), text);
                }
                HistoryEntry::Event { event, .. } => {
                    let end = match event.outcome.as_str() {
                        "move_done" => Some(MoveState::Done),
                        "move_failed" => Some(MoveState::Failed),
                        _ => None,
                    };
                    if let (Some(end), Some(fleet)) = (end, &event.fleet) {
                        let (topology, look) = (&self.topology, look.as_ref());
                        self.watcher.ended(fleet, end, event.at, topology, look);
                    }
                    let kind = if event.author.is_some() { Kind::Answer } else { Kind::Outcome };
                    let text = format!("[{}] {}", event.outcome, event.sentence);
                    let author = event.author.as_deref().unwrap_or("switchyard");
                    self.history.push((event.fleet.clone(), format!("{text} ({author})")));
                    self.say_at(at, kind, event.fleet.as_ref(), text);
                }
                HistoryEntry::Step(step) => {
                    let outcome = step.outcome.as_ref().map_or("under way", StepOutcome::as_str);
                    let why = match &step.outcome {
                        Some(StepOutcome::Failed { why, .. } | StepOutcome::Unknown(why)) => {
                            format!(": {why}")
                        }
                        _ => String::new(),
                    };
                    let text = format!("{} {}: {outcome}{why}", step.phase.as_str(), step.sentence);
                    self.history.push((Some(step.fleet.clone()), text));
                }
            }
        }
        self.steps();
        // Stable: what happened at once stays in its order.
        self.report.entries[first..].sort_by_key(|entry| entry.at);
        if wrote {
            let state = self.store.load(clock).await?;
            self.watcher.stored(&state.decisions, clock);
            if self.watcher.awaits() {
                self.watcher.unanswered(&self.store.open_requests().await?);
            }
        }
        self.answers(first);
        self.tell_broken();
        Ok(())
    }

    pub(super) fn tell_broken(&mut self) {
        for broken in self.watcher.take() {
            self.say(Kind::Broken, None, broken.to_string());
            self.report.broken.push(broken);
        }
    }

    fn steps(&mut self) {
        let (sent, runners, stale) = {
            let state = self.world.state();
            let runners: BTreeMap<RunnerId, ClusterName> =
                state.runners.iter().map(|r| (r.record.id, r.cluster.clone())).collect();
            (state.sent[self.seen_sent..].to_vec(), runners, state.gitlab.stale.is_some())
        };
        self.seen_sent += sent.len();
        for sent in sent {
            if self.led_elsewhere {
                self.watcher.breaks(4, format!("{}: another process leads", sent.step));
            }
            self.watcher.sent(&self.topology, &sent, &runners, stale);
            let outcome = match &sent.outcome {
                None => "it happened, and nobody was told".to_owned(),
                Some(StepOutcome::Done) => "done".to_owned(),
                Some(StepOutcome::Failed { why, .. }) => format!("failed: {why}"),
                Some(StepOutcome::Unknown(why)) => {
                    let really = if sent.happened { "it happened" } else { "it did not happen" };
                    format!("unknown: {why} ({really})")
                }
            };
            let at = sent.at.duration_since(self.beginning);
            let text = format!("{}: {outcome}", sent.step);
            let fleet = Some(sent.fence.fleet.clone());
            self.report.repeated(Entry { at, kind: Kind::Step, fleet, text, again: None });
        }
    }

    fn answers(&mut self, first: usize) {
        let status = self.status.borrow().clone();
        for (id, answer) in &status.answers {
            if self.requests.remove(id) {
                self.answer = answer.outcome.to_string();
                let text = format!("[{}] {}", answer.outcome, answer.sentence);
                // A refusal is in the history, too.
                if !self.report.entries[first..].iter().any(|entry| entry.text == text) {
                    self.say(Kind::Answer, None, text);
                }
            }
        }
    }
}

/// Why a decision was taken: the alert, and what each gate saw and asked.
fn grounds(decision: &Decision) -> String {
    let alert = decision.signal.as_ref().map_or("no alert".to_owned(), |signal| {
        format!("alert {} firing since {}", signal.fingerprint, signal.starts_at)
    });
    let gates = decision.gates.iter().map(|gate| {
        let open = if gate.open { "open" } else { "closed" };
        let asked = gate.query.as_ref().map(|query| format!(" [{query}]")).unwrap_or_default();
        format!("; {} {open}: {}{asked}", gate.gate, gate.saw)
    });
    format!("by {}, on {alert}{}", decision.author, gates.collect::<String>())
}

/// A decision in words.
fn told(decision: &Decision) -> String {
    let Decision { kind, from, to, reason, author, .. } = decision;
    let from = from.as_ref().map_or(String::new(), |from| format!("from {from} "));
    let by = if author == "switchyard" { String::new() } else { format!(" ({author})") };
    format!("{kind} {from}to {to}: {reason}{by}")
}

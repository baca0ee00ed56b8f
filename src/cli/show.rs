//! The API's answers for people.

use std::borrow::Cow;

use serde_json::Value;

use crate::model::one_line;

/// A text of the answer, on its line.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> Cow<'a, str> {
    one_line(value.get(key).and_then(Value::as_str).unwrap_or_default())
}

/// Columns as wide as their widest cell; the last one is not padded. A cell stays on its line.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<Cow<'_, str>>> =
        rows.iter().map(|row| row.iter().map(|cell| one_line(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |i: usize| rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        for (i, cell) in row.iter().enumerate() {
            let pad = if i + 1 == row.len() { 0 } else { widths[i] + 2 - cell.chars().count() };
            out.push_str(cell);
            out.extend(std::iter::repeat_n(' ', pad));
        }
        out.push('\n');
    }
    out
}

/// What a pass came to, and what else a person should know.
pub(super) fn head(fleet: &Value) -> Vec<String> {
    let mut head = vec![text(fleet, "sentence").into_owned()];
    head.extend(warnings(fleet).map(|warning| format!("warning: {}", one_line(warning))));
    head
}

/// What a person should know beside the sentence.
pub(super) fn warnings(fleet: &Value) -> impl Iterator<Item = &str> {
    fleet.get("warnings").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

pub(super) fn plan(fleets: &[Value]) -> String {
    fleets
        .iter()
        .map(|fleet| {
            let plan = fleet.get("text").and_then(Value::as_str).unwrap_or_default();
            let plan = if plan.is_empty() { "nothing is decided yet\n" } else { plan };
            format!("{}\n{plan}", head(fleet).join("\n"))
        })
        .collect::<Vec<_>>()
        .join("\n")
}

pub(super) fn explain(fleets: &[Value]) -> String {
    fleets
        .iter()
        .map(|fleet| {
            let mut rows = Vec::new();
            for gate in fleet.get("gates").and_then(Value::as_array).into_iter().flatten() {
                let open = gate.get("open").and_then(Value::as_bool).unwrap_or(false);
                let idle = gate.get("idle").and_then(Value::as_bool).unwrap_or(false);
                let verdict = match (open, idle) {
                    (true, _) => "open",
                    (false, true) => "idle",
                    (false, false) => "CLOSED",
                };
                rows.push(vec![
                    format!("  {verdict}"),
                    text(gate, "gate").into_owned(),
                    text(gate, "saw").into_owned(),
                ]);
                if let Some(query) = gate.get("query").and_then(Value::as_str) {
                    rows.push(vec![String::new(), String::new(), format!("asked: {query}")]);
                }
                if let Some(runbook) =
                    gate.get("runbook").and_then(Value::as_str).filter(|_| verdict == "CLOSED")
                {
                    rows.push(vec![String::new(), String::new(), format!("see: {runbook}")]);
                }
            }
            let mut head = head(fleet);
            if let Some(proposal) = fleet.get("proposal").filter(|proposal| proposal.is_object()) {
                let (kind, to, until) =
                    (text(proposal, "kind"), text(proposal, "to"), text(proposal, "until"));
                head.push(format!(
                    "proposal {}: {kind} to {to}, waits for a person until {until}",
                    proposal["id"]
                ));
            }
            if let Some(waiting) = fleet.get("waiting").filter(|waiting| waiting.is_object()) {
                head.push(format!("request {}: {}", waiting["request"], text(waiting, "sentence")));
            }
            format!("{}\n{}{}", head.join("\n"), table(&rows), pages(fleet))
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Where the page of each gate is, of those that are open, too.
fn pages(fleet: &Value) -> String {
    let gates = fleet.get("gates").and_then(Value::as_array).into_iter().flatten();
    let mut pages =
        gates.filter_map(|gate| text(gate, "runbook").strip_suffix(&*text(gate, "gate")).map(str::to_owned));
    pages.next().map(|page| format!("what each gate asks, and what to do: {page}GATE\n")).unwrap_or_default()
}

/// Oldest first, so that the story reads downwards.
pub(super) fn history(entries: &[Value]) -> String {
    let rows: Vec<Vec<String>> = entries.iter().rev().map(story).collect();
    if rows.is_empty() { "nothing has happened yet".to_owned() } else { table(&rows) }
}

/// When, fleet, generation, what, outcome, in words. The fields of the three kinds of entries differ.
fn story(entry: &Value) -> Vec<String> {
    let kind = entry["entry"].as_str().unwrap_or_default();
    let inner = if kind == "step" { entry } else { &entry[kind] };
    let cell = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let (at, outcome, words) = match kind {
        "decision" => {
            let (from, to) = (inner["from"].as_str().unwrap_or("nobody"), cell(&inner["to"]));
            let mut words =
                format!("{} from {from} to {to}: {}", cell(&inner["kind"]), cell(&inner["reason"]));
            let overridden = inner["overridden"].as_array().map(Vec::as_slice).unwrap_or_default();
            if !overridden.is_empty() {
                let gates: Vec<String> = overridden.iter().map(cell).collect();
                words = format!("{words} (overriding {})", gates.join(", "));
            }
            if let Some(proposal) = inner["proposal"].as_i64() {
                words = format!("{words} (approved as proposal {proposal})");
            }
            (&inner["decided_at"], cell(&inner["state"]), words)
        }
        "step" => {
            let outcome = inner["outcome"]["outcome"].as_str().unwrap_or("begun").to_owned();
            let mut words = format!("{}: {}", cell(&inner["phase"]), cell(&inner["sentence"]));
            if let Some(why) = inner["outcome"]["why"].as_str() {
                words = format!("{words} ({why})");
            }
            (&inner["started_at"], outcome, words)
        }
        _ => (&inner["at"], cell(&inner["outcome"]), cell(&inner["sentence"])),
    };
    let words = match inner["author"].as_str() {
        Some(author) if author != "switchyard" => format!("{words} (by {author})"),
        _ => words,
    };
    // To the millisecond: a move's steps are that close.
    let at = cell(at);
    let at = at.split_once('.').map_or(at.clone(), |(whole, rest)| format!("{whole}.{:.3}Z", rest));
    vec![at, cell(&inner["fleet"]), cell(&inner["generation"]), kind.to_owned(), outcome, words]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn every_kind_of_entry_tells_its_story() {
        let entries = [
            json!({"entry": "event", "id": 3, "event": {"at": "T3", "fleet": null, "outcome": "paused",
                "sentence": "All fleets are paused.", "author": "ada"}}),
            json!({"entry": "step", "id": 2, "fleet": "rnd", "generation": 2, "phase": "switch", "sentence": "switch it",
                "step": {"kind": "dns"}, "started_at": "T2.123456Z", "finished_at": null, "outcome": null}),
            json!({"entry": "decision", "id": 1, "decision": {"fleet": "rnd", "generation": 2, "kind": "failover",
                "from": "blue", "to": "green", "reason": "blue died", "author": "switchyard", "decided_at": "T1",
                "state": "moving"}}),
        ];
        let lines: Vec<String> = entries.iter().rev().map(|entry| super::story(entry).join("|")).collect();
        let wanted = [
            "T1|rnd|2|decision|moving|failover from blue to green: blue died",
            "T2.123Z|rnd|2|step|begun|switch: switch it",
            "T3|||event|paused|All fleets are paused. (by ada)",
        ];
        assert_eq!(lines, wanted);
    }

    #[test]
    fn gates_are_shown_with_what_they_saw() {
        let fleets = [json!({"sentence": "rnd is held by blue.", "warnings": ["two are one."], "gates": [
            {"gate": "enabled", "open": true, "saw": "enabled = true"},
            {"gate": "confirmed", "open": false, "idle": true, "saw": "blue alive: 1.00", "runbook": "gates#confirmed"},
            {"gate": "target_able", "open": false, "saw": "green polls well: 0.00", "query": "up",
             "runbook": "gates#target_able"}]})];
        let wanted = "rnd is held by blue.\nwarning: two are one.\n  open    enabled      enabled = true\n  idle    confirmed    blue alive: \
                      1.00\n  CLOSED  target_able  green polls well: 0.00\n                       asked: up\n              \
                      \u{20}        see: gates#target_able\nwhat each gate asks, and what to do: gates#GATE\n";
        assert_eq!(super::explain(&fleets), wanted);
    }
}

//! The API's answers for people.

use serde_json::Value;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Columns as wide as their widest cell; the last one is not padded.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |i: usize| rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        for (i, cell) in row.iter().enumerate() {
            let pad = if i + 1 == row.len() { 0 } else { widths[i] + 2 - cell.chars().count() };
            out.push_str(cell);
            out.extend(std::iter::repeat_n(' ', pad));
        }
        out.push('\n');
    }
    out
}

pub(super) fn plan(fleets: &[Value]) -> String {
    fleets
        .iter()
        .map(|fleet| {
            let plan = text(fleet, "text");
            let plan = if plan.is_empty() { "nothing is decided yet\n" } else { plan };
            format!("{}\n{plan}", text(fleet, "sentence"))
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
                let verdict = if open { "open" } else { "CLOSED" };
                rows.push(vec![format!("  {verdict}"), text(gate, "gate").into(), text(gate, "saw").into()]);
                if let Some(query) = gate.get("query").and_then(Value::as_str) {
                    rows.push(vec![String::new(), String::new(), format!("asked: {query}")]);
                }
            }
            format!("{}\n{}", text(fleet, "sentence"), table(&rows))
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Oldest first, so that the story reads downwards.
pub(super) fn history(entries: &[Value]) -> String {
    let rows: Vec<Vec<String>> = entries
        .iter()
        .rev()
        .map(|entry| {
            let cell = |key: &str| match entry.get(key) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Number(number)) => number.to_string(),
                _ => String::new(),
            };
            vec![cell("at"), cell("fleet"), cell("generation"), cell("entry"), cell("outcome"), cell("text")]
        })
        .collect();
    if rows.is_empty() { "nothing has happened yet".to_owned() } else { table(&rows) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn gates_are_shown_with_what_they_saw() {
        let fleets = [json!({"sentence": "rnd is held by blue.", "gates": [
            {"gate": "enabled", "open": true, "saw": "enabled = true"},
            {"gate": "target_able", "open": false, "saw": "green polls well: 0.00", "query": "up"}]})];
        let wanted = "rnd is held by blue.\n  open    enabled      enabled = true\n  CLOSED  target_able  green polls \
                      well: 0.00\n                       asked: up\n";
        assert_eq!(super::explain(&fleets), wanted);
    }
}

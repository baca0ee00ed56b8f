//! `docs/metrics.md` against what a role shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A row: type and labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `gauge`, `counter` or `histogram`.
    pub kind: String,
    /// The labels, without `le`.
    pub labels: BTreeSet<String>,
}

/// The rows of the section of this role (`serve`, `sidecar`, …) and of those that every role has. Without a role, all.
///
/// # Panics
/// When the page cannot be read, or has a metric twice in the sections asked for.
pub fn documented(role: Option<&str>) -> BTreeMap<String, Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let text = fs::read_to_string(path).expect("docs/metrics.md");
    let mut rows = BTreeMap::new();
    let mut wanted = false;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let ours = |role| heading == format!("`switchyard {role}`");
            wanted = heading == "Every role" || role.is_none_or(ours);
        }
        let Some((name, rest)) = line.strip_prefix("| `").and_then(|rest| rest.split_once('`')) else {
            continue;
        };
        if !wanted {
            continue;
        }
        let cells: Vec<&str> = rest.split('|').map(str::trim).collect();
        let labels = cells[2].split(',').map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect();
        let row = Row { kind: cells[1].to_owned(), labels };
        assert_eq!(rows.insert(name.to_owned(), row), None, "{name} is documented twice");
    }
    rows
}

/// The family of a sample: without what histograms add.
fn family(page: &str, sample: &str) -> String {
    ["_bucket", "_sum", "_count"]
        .iter()
        .filter_map(|suffix| sample.strip_suffix(suffix))
        .find(|name| page.contains(&format!("# TYPE {name} histogram")))
        .unwrap_or(sample)
        .to_owned()
}

fn samples(page: &str) -> impl Iterator<Item = (String, &str)> {
    let own = page.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    own.map(|line| (family(page, line.split(['{', ' ']).next().unwrap_or_default()), line))
}

/// The families with a sample on a page.
pub fn exposed(page: &str) -> BTreeSet<String> {
    samples(page).map(|(family, _)| family).collect()
}

/// Documentation and page (in the classic format) must know the same metrics, types and labels; `quiet` ones need not
/// be on it.
///
/// # Panics
/// When they do not.
pub fn compare(role: &str, page: &str, quiet: &[&str]) {
    let rows = documented(Some(role));
    let exposed = exposed(page);
    let missing: Vec<_> =
        rows.keys().filter(|name| !exposed.contains(*name) && !quiet.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "documented and not exposed: {missing:?}");
    let unknown: Vec<_> = exposed.iter().filter(|name| !rows.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "exposed and not documented: {unknown:?}");
    for name in &exposed {
        let kind = &rows[name].kind;
        assert!(page.contains(&format!("# TYPE {name} {kind}\n")), "{name} is no {kind}");
    }
    for (family, line) in samples(page) {
        let inner =
            line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(inner, _)| inner);
        let found: BTreeSet<String> = inner
            .split("\",")
            .filter_map(|label| label.split_once("=\"").map(|(l, _)| l.to_owned()))
            .filter(|label| label != "le")
            .collect();
        assert_eq!(found, rows[&family].labels, "{line}");
    }
}

//! The dashboards: what they are made of, whether Grafana's types take them, and whether every question has an answer.

#![expect(clippy::unwrap_used, reason = "a broken laboratory ends the test")]

mod files;
mod objects;
mod queries;
mod schema;

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::Value;

/// Where the dashboards are.
fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards"))
}

/// Every dashboard by its file's name without the ending.
fn dashboards() -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for path in fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()) {
        if path.extension().is_some_and(|ending| ending == "json") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            found.insert(name, serde_json::from_slice(&fs::read(&path).unwrap()).unwrap());
        }
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), ["clusters", "fleet", "overview", "self"]);
    found
}

/// The elements of an array.
fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A text that must be there.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The panels that show something.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(&dashboard["panels"]).filter(|panel| panel["type"] != "row")
}

/// Every question of panels and annotations, with the place where it is asked.
fn questions(dashboard: &Value) -> Vec<(String, String)> {
    let title = text(&dashboard["title"]);
    let mut found = Vec::new();
    for panel in panels(dashboard) {
        let asked = list(&panel["targets"]);
        found.extend(
            asked.map(|target| {
                (format!("{title}: {}", text(&panel["title"])), text(&target["expr"]).to_owned())
            }),
        );
    }
    for mark in list(&dashboard["annotations"]["list"]) {
        found.push((format!("{title}: {}", text(&mark["name"])), text(&mark["target"]["expr"]).to_owned()));
    }
    found
}

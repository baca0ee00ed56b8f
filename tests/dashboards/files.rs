//! What every dashboard has, without a Grafana.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;
use switchyard_lab::{packages::run, parts::or_skip};

use super::{dashboards, folder, list, panels, questions, text};

const DATASOURCE: &str = "${datasource}";

#[test]
fn they_are_what_the_generator_writes() {
    if let Err(error) = Command::new("python3").arg("--version").output() {
        let part = format!("python3 ({error})");
        or_skip::<()>(Err(switchyard_lab::parts::Missing { part, mend: "scripts/setup demo" }.into()));
        return;
    }
    let mut check = Command::new("python3");
    check.arg(folder().join("generate.py")).arg("--check");
    run(&mut check).unwrap();
}

/// Every value with this key, however deep.
fn deep<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get(key));
            fields.values().for_each(|inner| deep(inner, key, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| deep(inner, key, found)),
        _ => {}
    }
}

#[test]
fn no_data_source_is_written_down() {
    for (name, dashboard) in dashboards() {
        let mut sources = Vec::new();
        deep(&dashboard, "datasource", &mut sources);
        assert!(sources.len() > panels(&dashboard).count(), "{name}");
        for source in sources {
            assert_eq!(source["uid"], DATASOURCE, "{name}");
        }
    }
}

#[test]
fn every_panel_says_what_it_shows() {
    for (name, dashboard) in dashboards() {
        let mut ids = BTreeSet::new();
        let mut titles = BTreeSet::new();
        for panel in list(&dashboard["panels"]) {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: {} twice", panel["id"]);
            assert!(!text(&panel["title"]).is_empty(), "{name}: {panel}");
        }
        for panel in panels(&dashboard) {
            let title = text(&panel["title"]);
            assert!(titles.insert(title), "{name}: {title} twice");
            assert!(text(&panel["description"]).ends_with('.'), "{name}: {title} says nothing about itself");
            assert!(
                !text(&panel["fieldConfig"]["defaults"]["unit"]).is_empty(),
                "{name}: {title} has no unit"
            );
            assert_eq!(panel["datasource"]["uid"], DATASOURCE, "{name}: {title}");
            let targets: Vec<_> = list(&panel["targets"]).collect();
            assert!(!targets.is_empty(), "{name}: {title} asks nothing");
            let refs: BTreeSet<_> = targets.iter().map(|target| text(&target["refId"])).collect();
            assert_eq!(refs.len(), targets.len(), "{name}: {title}");
            // A column that is coloured or linked is one that is there.
            let headings: BTreeSet<_> = list(&panel["transformations"])
                .filter_map(|step| step["options"]["renameByName"].as_object())
                .flat_map(|names| names.values().map(text))
                .collect();
            for override_ in list(&panel["fieldConfig"]["overrides"]).filter(|_| panel["type"] == "table") {
                let column = text(&override_["matcher"]["options"]);
                assert!(headings.contains(column), "{name}: {title} has no column {column}");
            }
        }
    }
}

#[test]
fn panels_do_not_cover_each_other() {
    for (name, dashboard) in dashboards() {
        let mut taken = BTreeMap::new();
        for panel in list(&dashboard["panels"]) {
            let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            let (x, y, w, h) = (at("x"), at("y"), at("w"), at("h"));
            assert!(x + w <= 24, "{name}: {} is too wide", panel["title"]);
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                let other = taken.insert(cell, &panel["title"]);
                assert_eq!(other, None, "{name}: {} covers it", panel["title"]);
            }
        }
    }
}

#[test]
fn variables_are_there_and_used_and_links_keep_them() {
    let all = dashboards();
    let uids: BTreeSet<_> = all.values().map(|dashboard| text(&dashboard["uid"])).collect();
    assert_eq!(uids.len(), all.len());
    for (name, dashboard) in &all {
        assert!(dashboard["schemaVersion"].as_u64() >= Some(39), "{name}");
        assert_eq!(dashboard.get("id"), None, "{name}: an id belongs to one Grafana");
        let variables: BTreeMap<_, _> = list(&dashboard["templating"]["list"])
            .map(|variable| (text(&variable["name"]), variable))
            .collect();
        assert_eq!(variables["datasource"]["type"], "datasource", "{name}");
        for multi in ["job", "instance"] {
            assert_eq!(variables[multi]["multi"], true, "{name}: {multi}");
            assert_eq!(variables[multi]["includeAll"], true, "{name}: {multi}");
        }
        let asked: String = questions(dashboard).into_iter().map(|(_, question)| question + "\n").collect();
        for variable in variables.keys().filter(|&&variable| variable != "datasource") {
            assert!(asked.contains(&format!("=~\"${variable}\"")), "{name}: nobody uses {variable}");
        }
        let marks: Vec<_> = list(&dashboard["annotations"]["list"]).map(|mark| text(&mark["name"])).collect();
        assert!(marks.contains(&"Moves"), "{name}: {marks:?}");

        let links: Vec<_> = list(&dashboard["links"]).collect();
        assert_eq!(links.len(), all.len() - 1, "{name} leads to every other");
        let mut urls = Vec::new();
        deep(dashboard, "url", &mut urls);
        for url in urls {
            let (uid, query) = text(url).strip_prefix("/d/").and_then(|rest| rest.split_once('?')).unwrap();
            assert!(uids.contains(uid), "{name}: {url}");
            assert!(query.contains("${datasource:queryparam}"), "{name}: {url}");
            // A variable that is not there would stay in the address as it is written.
            for used in query.split("${").skip(1).filter_map(|rest| rest.split([':', '}', '.']).next()) {
                assert!(used.starts_with("__") || variables.contains_key(used), "{name}: {url}");
            }
        }
        assert!(links.iter().all(|link| link["keepTime"] == true), "{name}");
    }
}

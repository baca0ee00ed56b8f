//! A module imports only from a lower layer.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The layers, lowest first, as in ARCHITECTURE.md.
const LAYERS: &[&[&str]] = &[
    &["model"],
    &["alert", "clock", "config", "decide", "plan", "telemetry", "transport"],
    &["alertmanager", "dns", "gitlab", "kubernetes", "prometheus", "status", "store"],
    &["metrics", "world"],
    &["exporter", "intake", "reconcile", "web"],
    &["http", "simulate"],
    &["sidecar"],
    &["app"],
    &["cli"],
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

fn files(below: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).expect("src is readable") {
        let path = entry.expect("src is readable").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The modules of the crate that a source text names, by `crate::module` and inside `crate::{…}`.
fn imports(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    for (at, _) in source.match_indices("crate::") {
        let rest = &source[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut item = true;
        for (i, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => item = true,
                c if item && depth == 0 && c.is_alphabetic() => {
                    found.insert(word(&list[i..]));
                    item = false;
                }
                _ => {}
            }
        }
    }
    found
}

/// Comments may speak of anything.
fn without_comments(source: &str) -> String {
    source.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_reader_of_imports_sees_lists_and_paths() {
    let source =
        "use crate::{decide::{FleetPass, Input}, model::Tag,\n  store};\nlet x = crate::http::Access;";
    let wanted = ["decide", "http", "model", "store"].map(String::from);
    assert_eq!(imports(source), BTreeSet::from(wanted));
}

#[test]
fn modules_import_only_from_lower_layers() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&src, &mut found);
    let mut wrong = Vec::new();
    let mut modules = BTreeSet::new();
    for file in found {
        let inside = file.strip_prefix(&src).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        if ["lib", "main"].contains(&first) {
            continue;
        }
        modules.insert(first.to_owned());
        let Some(own) = layer(first) else {
            wrong.push(format!("{first} is in no layer"));
            continue;
        };
        for other in imports(&without_comments(&fs::read_to_string(&file).unwrap())) {
            match layer(&other) {
                _ if other == first => {}
                Some(layer) if layer < own => {}
                Some(_) => {
                    wrong.push(format!("{} imports {other}, which is not below {first}", inside.display()))
                }
                None => wrong.push(format!("{} imports {other}, which is in no layer", inside.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let named: BTreeSet<String> = LAYERS.iter().flat_map(|l| l.iter().map(|m| (*m).to_owned())).collect();
    assert_eq!(modules, named, "every module is in a layer, and every name there is a module");
}

#[test]
fn lib_lists_the_modules_in_layer_order() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let layers: Vec<usize> = lib
        .lines()
        .filter_map(|l| l.strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(|module| layer(module).unwrap_or_else(|| panic!("{module} is in no layer")))
        .collect();
    assert!(layers.is_sorted(), "{layers:?}");
}

//! What `deploy/` ships: the chart in every variant against a real API server, the rules and rights in it, its pods and its route
//! by the Prometheus operator's own code, the compose folder as Compose reads it and as it runs, the units, the image.

#![expect(clippy::unwrap_used, reason = "a broken laboratory ends the test")]

mod chart;
mod cluster;
mod compose;
mod compose_run;
mod flags;
mod machine;
mod pods;
mod route;
mod selectors;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use switchyard_lab::parts::{Flavour, or_skip};

/// The version of the API server in the laboratory.
const KUBE_VERSION: &str = "1.36.3";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn chart() -> PathBuf {
    root().join("deploy/helm/switchyard")
}

/// The values of every variant, by name.
fn variants() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(chart().join("ci")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    files
}

fn helm(args: &[&str]) -> Option<Output> {
    let helm = or_skip(Flavour::Pinned.find("helm", "helm").map_err(Into::into))?;
    Some(Command::new(helm).args(args).output().unwrap())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// What the chart makes of these values, as text, or why it refuses them.
fn template(more: &[&str]) -> Option<Result<String, String>> {
    let chart = chart().display().to_string();
    let args = ["template", "sy", &chart, "--namespace", "switchyard", "--kube-version", KUBE_VERSION];
    let output = helm(&[&args[..], more].concat())?;
    if !output.status.success() {
        return Some(Err(said(&output)));
    }
    Some(Ok(String::from_utf8(output.stdout).unwrap()))
}

/// The objects that the chart makes of these values.
fn rendered(more: &[&str]) -> Option<Result<Vec<Value>, String>> {
    Some(template(more)?.map(|text| documents(&text)))
}

/// The objects in a text of several documents; an empty one is none.
fn documents(text: &str) -> Vec<Value> {
    let objects: Vec<Option<Value>> = serde_saphyr::from_multiple(text).unwrap();
    objects.into_iter().flatten().collect()
}

/// A plain manifest that is shipped.
fn manifest(name: &str) -> PathBuf {
    root().join(format!("deploy/manifests/{name}.yaml"))
}

fn yaml(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn variant(values: &Path) -> Option<Vec<Value>> {
    Some(
        rendered(&["-f", &values.display().to_string()])?
            .unwrap_or_else(|why| panic!("{}: {why}", values.display())),
    )
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The first block in a language after these words of a page.
fn block<'a>(page: &'a str, after: &str, language: &str) -> &'a str {
    let (_, section) = page.split_once(after).unwrap();
    let (_, block) = section.split_once(&format!("```{language}\n")).unwrap();
    block.split_once("```").unwrap().0
}

/// The commands in the `sh` blocks of a page, as words.
fn commands(page: &str) -> Vec<Vec<String>> {
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    let lines = blocks.flat_map(|block| {
        let whole = block.replace("\\\n", " ");
        whole.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    let lines = lines.filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    // Quotes hold words together; nothing here nests them.
    let words = |line: String| {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '\'' | '"' => quoted = !quoted,
                c if c.is_whitespace() && !quoted => words.push(String::new()),
                c => words.last_mut().unwrap().push(c),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    };
    lines.map(words).collect()
}

//! `switchyard verdict`: what is to be thought of objects that `kubectl get -o json` printed. Asks nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{IsTerminal as _, Read as _},
    path::PathBuf,
};

use clap::Args;
use serde_json::{Value, json};

use super::{Exit, Output, OutputFormat, complain, judging::Judging, say, say_json, show};
use crate::{
    kubernetes::{Found, Judgement, Kind, KindState, Object, Snapshot, Verdict as Word, judge},
    model::Timestamp,
};

/// The file that is standard input.
const STDIN: &str = "-";
/// On a terminal nothing comes by itself.
const HINT: &str = "reading objects as JSON from the terminal until Ctrl-D; \
                    meant is: kubectl get -o json KIND… | switchyard verdict";

/// So many objects that were not given are named.
const MOST_MISSING: usize = 10;

#[derive(Debug, Args)]
pub(super) struct Verdict {
    /// What `kubectl get -o json` printed: objects or lists, one after the other; `-` or none is standard input. What an
    /// object depends on is looked for in all of them.
    files: Vec<PathBuf>,
    /// Judge as of this time, such as 2026-11-21T06:00:00Z; without it, now.
    #[arg(long)]
    at: Option<Timestamp>,
    /// The files are a part of the cluster: what is not in them may exist. Without it they are all there is, as it is for the
    /// exporter, and what is not in them does not exist.
    #[arg(long)]
    partial: bool,
    #[command(flatten)]
    judging: Judging,
    #[command(flatten)]
    pub(super) output: Output,
}

#[expect(clippy::disallowed_methods, reason = "a command begins now")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Ends with Done when everything is healthy, Failed when something is not, Usage when nothing could be judged.
pub(super) fn run(args: &Verdict) -> Exit {
    let mut found = Found::default();
    let stdin = [PathBuf::from(STDIN)];
    let files = if args.files.is_empty() { &stdin[..] } else { &args.files };
    if files.iter().any(|file| file.as_os_str() == STDIN) && std::io::stdin().is_terminal() {
        complain(HINT);
    }
    for file in files {
        if let Err(wrong) = read(file, &mut found) {
            let name =
                if file.as_os_str() == STDIN { "standard input".into() } else { file.to_string_lossy() };
            return nothing(args, &format!("{name}: {wrong}"));
        }
    }
    let mut skipped: BTreeMap<String, usize> = BTreeMap::new();
    for kind in found.skipped {
        *skipped.entry(kind).or_default() += 1;
    }
    for (kind, count) in skipped {
        complain(&format!("{count} of {kind} left out: this kind is not judged"));
    }
    let limits = match args.judging.clone().limits() {
        Ok(limits) => limits,
        Err(wrong) => return nothing(args, &wrong),
    };
    let mut snapshot = Snapshot::default();
    found.objects.into_iter().for_each(|object| snapshot.insert(object));
    if !args.partial {
        Kind::ALL.into_iter().for_each(|kind| snapshot.set_state(kind, KindState::Synced));
    }
    missing(&snapshot, args.partial);
    let at = args.at.unwrap_or_else(now);
    let judged: Vec<(&Object, Judgement)> =
        snapshot.all().map(|object| (object, judge(object, &snapshot, at, &limits))).collect();
    if judged.is_empty() {
        return nothing(args, "there is nothing to judge");
    }
    match args.output.output {
        OutputFormat::Json => say_json(&Value::from_iter(judged.iter().map(as_json)).to_string()),
        OutputFormat::Table => say(&table(&judged, at)),
    }
    if judged.iter().all(|(_, j)| j.verdict == Word::Healthy) { Exit::Done } else { Exit::Failed }
}

/// Says which objects others depend on were not given: what they would say is not known here.
fn missing(snapshot: &Snapshot, partial: bool) {
    let judged = match partial {
        true => "it was not looked at",
        false => "judged as if it did not exist: give it, too, or say --partial",
    };
    let missing = snapshot.missing();
    for (what, by) in missing.iter().take(MOST_MISSING) {
        complain(&format!("not among the objects: {what}, which {by} needs; {judged}"));
    }
    if missing.len() > MOST_MISSING {
        complain(&format!("and {} more are not among the objects", missing.len() - MOST_MISSING));
    }
}

/// Nothing could be judged.
fn nothing(args: &Verdict, why: &str) -> Exit {
    if args.output.output == OutputFormat::Json {
        say_json(&json!({"title": "Failed", "detail": why}));
    }
    complain(why);
    Exit::Usage
}

fn read(file: &PathBuf, found: &mut Found) -> Result<(), String> {
    let mut text = String::new();
    if file.as_os_str() == STDIN {
        std::io::stdin().read_to_string(&mut text).map_err(|e| e.to_string())?;
    } else {
        text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    }
    let mut documents = 0;
    for document in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        documents += 1;
        let document = document.map_err(|e| format!("not JSON ({e}); ask kubectl for it with `-o json`"))?;
        found.take(&document).map_err(|wrong| format!("document {documents}: {wrong}"))?;
    }
    if documents == 0 {
        Err("it is empty; ask kubectl for objects with `-o json`".to_owned())
    } else {
        Ok(())
    }
}

fn as_json((object, judgement): &(&Object, Judgement)) -> Value {
    json!({
        "kind": object.kind.as_str(),
        "namespace": object.namespace,
        "name": object.name,
        "verdict": judgement.verdict,
        "reason": judgement.reason.as_str(),
        "sentence": judgement.sentence,
    })
}

fn table(judged: &[(&Object, Judgement)], at: Timestamp) -> String {
    let heading = ["VERDICT", "KIND", "NAMESPACE", "NAME", "REASON", "WHY"].map(str::to_owned).to_vec();
    let rows = judged.iter().map(|(object, judgement)| {
        vec![
            judgement.verdict.to_string(),
            object.kind.to_string(),
            object.namespace.clone(),
            object.name.clone(),
            judgement.reason.to_string(),
            // One line each: messages of controllers have several.
            judgement.sentence.split_whitespace().collect::<Vec<_>>().join(" "),
        ]
    });
    let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
    let verdicts: BTreeSet<Word> = judged.iter().map(|(_, j)| j.verdict).collect();
    let counts: Vec<String> = verdicts
        .into_iter()
        .map(|verdict| {
            let count = judged.iter().filter(|(_, j)| j.verdict == verdict).count();
            format!("{count} {verdict}")
        })
        .collect();
    format!("{}at {at}: {}", show::table(&rows), counts.join(", "))
}

//! Every flag of the roles is within reach of the chart, and its README says by what.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use super::{
    chart,
    pods::{containers, list, pods, text},
    variants, yaml,
};

type Flags = BTreeSet<String>;

/// The flags that the program itself lists. The file of `serve` is no other role's, though all take the flag.
fn of_the_program(role: &str) -> Flags {
    let output =
        Command::new(env!("CARGO_BIN_EXE_switchyard")).args([role, "--help"]).env("COLUMNS", "300").output();
    let help = String::from_utf8(output.unwrap().stdout).unwrap();
    let flags = help.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("-h, ").unwrap_or(line);
        line.starts_with("--").then(|| line.split([' ', '=']).next().unwrap().to_owned())
    });
    flags.filter(|flag| flag != "--help" && (role == "serve" || flag != "--config.file")).collect()
}

/// What the README says of each role: the flags that the chart makes of values, and those that are for `extraArgs`.
fn of_the_readme() -> BTreeMap<String, [Flags; 2]> {
    let page = fs::read_to_string(chart().join("README.md")).unwrap();
    let (_, section) = page.split_once("## Flags").unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [role, made, extra] = cells[..] else { panic!("{row}") };
        let flags = |cell: &str| {
            let words = cell.split('`').filter(|word| word.starts_with("--"));
            words.map(str::to_owned).collect::<Flags>()
        };
        (role.trim_matches('`').to_owned(), [flags(made), flags(extra)])
    })
    .collect()
}

/// The flags that the chart's pods get in all variants together, but those that the values name as they are.
fn of_the_chart() -> Option<BTreeMap<String, Flags>> {
    let mut extra = BTreeSet::new();
    for values in variants().iter().map(|path| yaml(path)) {
        for list_of in ["/responder", "/exporter", "/runner/sidecar"] {
            let more = values.pointer(list_of).into_iter().flat_map(|part| list(part, "extraArgs"));
            extra.extend(more.map(|arg| text(arg).to_owned()));
        }
    }
    assert!(extra.len() > 2, "{extra:?}");
    let mut found = BTreeMap::<String, Flags>::new();
    for (_, pod) in pods()? {
        for container in containers(&pod).filter(|container| container["name"] != "runner") {
            let mut args = list(container, "args").map(text);
            let flags = found.entry(args.next().unwrap().to_owned()).or_default();
            flags.extend(
                args.filter(|arg| !extra.contains(*arg)).map(|arg| arg.split('=').next().unwrap().to_owned()),
            );
        }
    }
    Some(found)
}

#[test]
fn the_readme_says_how_every_flag_is_given() {
    let readme = of_the_readme();
    let Some(chart) = of_the_chart() else { return };
    assert_eq!(readme.keys().collect::<Vec<_>>(), ["exporter", "serve", "sidecar"]);
    assert_eq!(chart.keys().collect::<Vec<_>>(), readme.keys().collect::<Vec<_>>());
    for (role, [made, extra]) in &readme {
        let all = of_the_program(role);
        assert!(all.len() > 7, "{role}: {all:?}");
        assert_eq!(made, &chart[role], "{role}: what values make");
        assert!(made.is_disjoint(extra), "{role}: a flag that is given twice is refused");
        assert_eq!(&made.union(extra).cloned().collect::<Flags>(), &all, "{role}: all of them");
    }
}

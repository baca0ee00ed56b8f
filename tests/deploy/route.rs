//! The Alertmanager route, as a file and as an AlertmanagerConfig: who hears of each alert that is shipped. The operator's own
//! code makes Alertmanager's configuration of the object, amtool says where alerts go.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::LazyLock,
};

use serde_json::Value;
use switchyard_lab::{
    parts::{Flavour, or_skip},
    rules,
};

use super::{block, chart, of_kind, root, said, variant, yaml};

type Labels = BTreeMap<String, String>;
type Heard = BTreeMap<String, BTreeSet<String>>;

/// Every alert of `alerts/`, with the labels that its rule gives it.
static ALERTS: LazyLock<BTreeMap<String, Labels>> = LazyLock::new(|| {
    let mut alerts = BTreeMap::new();
    for path in rules::files().unwrap() {
        let rules = yaml(&path);
        for rule in rules["groups"].as_array().unwrap().iter().flat_map(|g| g["rules"].as_array().unwrap()) {
            let Some(name) = rule["alert"].as_str() else { continue };
            let mut labels = Labels::from([("alertname".to_owned(), name.to_owned())]);
            for (label, value) in rule["labels"].as_object().into_iter().flatten() {
                labels.insert(label.clone(), value.as_str().unwrap().to_owned());
            }
            // One name, several rules: all of them must say the same to the route.
            let known = alerts.insert(name.to_owned(), labels.clone());
            assert!(known.is_none_or(|known: Labels| known.get("switchyard") == labels.get("switchyard")));
        }
    }
    assert!(alerts.len() > 30, "{}", alerts.len());
    alerts
});

/// Who hears of each alert by this configuration.
fn heard(config: &Path, more: &[&str]) -> Option<Heard> {
    let mut all = None;
    for flavour in [Flavour::Pinned, Flavour::Debian] {
        let amtool = or_skip(flavour.find("amtool", "amtool").map_err(Into::into))?;
        let check = Command::new(&amtool).arg("check-config").arg(config).output().unwrap();
        assert!(check.status.success(), "{}", said(&check));
        let mut heard = Heard::new();
        for (name, labels) in &*ALERTS {
            let output = Command::new(&amtool)
                .args(["config", "routes", "test", "--config.file"])
                .arg(config)
                .args(labels.iter().map(|(label, value)| format!("{label}={value}")))
                .args(more)
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", said(&output));
            // What it complains about goes elsewhere.
            let receivers = String::from_utf8(output.stdout).unwrap();
            heard.insert(name.clone(), receivers.trim().split(',').map(str::to_owned).collect());
        }
        assert!(all.is_none_or(|other| other == heard), "amtool of both versions says the same");
        all = Some(heard);
    }
    all
}

/// What is to be heard: by Switchyard, by its heartbeat, by people.
fn wanted(failover: &[&str], watchdog: &[&str], others: &[&str]) -> Heard {
    let of = |labels: &Labels| match labels.get("switchyard").map(String::as_str) {
        Some("failover" | "failback") => failover,
        Some("watchdog") => watchdog,
        None => others,
        Some(other) => panic!("{other}: where does it go?"),
    };
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let heard: Heard = ALERTS.iter().map(|(name, labels)| (name.clone(), set(of(labels)))).collect();
    for name in ["SwitchyardFailover", "SwitchyardFailback", "SwitchyardWatchdog", "SwitchyardDown"] {
        assert!(heard.contains_key(name), "{name}");
    }
    heard
}

const PEOPLE: &[&str] = &["people"];

#[test]
fn the_plain_route_brings_switchyard_its_alerts_and_people_all_but_the_heartbeat() {
    let Some(heard) = heard(&root().join("alerts/alertmanager-route.yml"), &[]) else { return };
    assert_eq!(heard, wanted(&["switchyard", "people"], &["switchyard-watchdog"], PEOPLE));
}

/// The configuration that the operator makes: of this base, and of the AlertmanagerConfig of the chart in the namespace
/// `switchyard`.
fn operators(base: &str, strategy: &str, namespace: &str) -> Option<tempfile::NamedTempFile> {
    let tool = or_skip(Flavour::Pinned.find("operator-route", "operator-route").map_err(Into::into))?;
    let objects = variant(&chart().join("ci/everything-values.yaml"))?;
    let [config] = of_kind(&objects, "AlertmanagerConfig")[..] else { panic!("one AlertmanagerConfig") };
    let mut config = config.clone();
    // A CA of its own is one more Secret, and changes no route.
    for receiver in config["spec"]["receivers"].as_array_mut().unwrap() {
        receiver["webhookConfigs"][0]["httpConfig"].as_object_mut().unwrap().remove("tlsConfig").unwrap();
    }
    let mut child = Command::new(tool)
        .args([strategy, namespace])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // JSON is YAML.
    child.stdin.take().unwrap().write_all(format!("{base}\n---\n{config}").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let mut made = tempfile::NamedTempFile::new().unwrap();
    made.write_all(&output.stdout).unwrap();
    Some(made)
}

/// The base that the chart's README tells people to write.
fn from_the_readme() -> String {
    let page = fs::read_to_string(chart().join("README.md")).unwrap();
    block(&page, "## Alertmanager\n", "yaml").to_owned()
}

#[test]
fn the_alertmanagerconfig_does_what_the_readme_says_of_it() {
    const HOOK: &str = "switchyard/sy/switchyard";
    const HEARTBEAT: &str = "switchyard/sy/switchyard-watchdog";
    let root_only = "route: { receiver: people }\nreceivers: [{ name: people }]";
    let last_route = "route: { receiver: nobody, routes: [{ receiver: people }] }\n\
                      receivers: [{ name: people }, { name: nobody }]";
    let readme = from_the_readme();

    for (what, base, strategy, namespace, more, expected) in [
        // The trap: no alert of a fleet has the namespace of this object.
        ("by default", &*readme, "OnNamespace", "monitoring", &[][..], wanted(PEOPLE, &["nobody"], PEOPLE)),
        (
            "in another namespace than Alertmanager's",
            &readme,
            "OnNamespaceExceptForAlertmanagerNamespace",
            "monitoring",
            &[],
            wanted(PEOPLE, &["nobody"], PEOPLE),
        ),
        // Its ways out.
        (
            "with type None",
            &readme,
            "None",
            "monitoring",
            &[],
            wanted(&[HOOK, "people"], &[HEARTBEAT], PEOPLE),
        ),
        (
            "in Alertmanager's own namespace",
            &readme,
            "OnNamespaceExceptForAlertmanagerNamespace",
            "switchyard",
            &[],
            wanted(&[HOOK, "people"], &[HEARTBEAT], PEOPLE),
        ),
        (
            "with the label",
            &readme,
            "OnNamespace",
            "monitoring",
            &["namespace=switchyard"],
            wanted(&[HOOK, "people"], &[HEARTBEAT], PEOPLE),
        ),
        // Why the README's base looks as it does.
        ("people as the root", root_only, "None", "monitoring", &[], wanted(&[HOOK], &[HEARTBEAT], PEOPLE)),
        (
            "people without a matcher",
            last_route,
            "None",
            "monitoring",
            &[],
            wanted(&[HOOK, "people"], &[HEARTBEAT, "people"], PEOPLE),
        ),
    ] {
        let Some(config) = operators(base, strategy, namespace) else { return };
        let Some(heard) = heard(config.path(), more) else { return };
        assert_eq!(heard, expected, "{what}");
    }
}

/// Both forms wait, group and repeat alike; what the operator makes is compared as Alertmanager reads it.
#[test]
fn both_forms_of_the_route_are_alike() {
    let Some(made) = operators(&from_the_readme(), "None", "monitoring") else { return };
    let (made, plain) = (yaml(made.path()), yaml(&root().join("alerts/alertmanager-route.yml")));
    let [ours, people] = &made["route"]["routes"].as_array().unwrap()[..] else { panic!("two routes") };
    assert_eq!(people["receiver"], "people");
    let ways = [(&plain["route"]["routes"][0], &ours["routes"][0]), (&plain["route"]["routes"][1], ours)];
    for (file, object) in ways {
        for key in ["group_by", "group_wait", "group_interval", "repeat_interval"] {
            assert!(!file[key].is_null());
            assert_eq!(file[key], object[key], "{key}");
        }
    }
    for name in ["switchyard", "switchyard-watchdog"] {
        let hook = |config: &Value, name: &str| {
            let receivers = config["receivers"].as_array().unwrap();
            let found = receivers.iter().find(|receiver| receiver["name"] == name).unwrap();
            found["webhook_configs"][0].clone()
        };
        let (file, object) = (hook(&plain, name), hook(&made, &format!("switchyard/sy/{name}")));
        for key in ["send_resolved", "max_alerts"] {
            // What is not there is 0.
            let value = |hook: &Value| hook.get(key).cloned().filter(|value| value != 0);
            assert_eq!(value(&file), value(&object), "{name}: {key}");
        }
        assert_eq!(object["http_config"]["authorization"]["credentials"], "secret", "{name}");
    }
}

//! The compose file: its Prometheus and Alertmanager take the files beside it, which find each other by its names.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use switchyard_lab::parts::{Flavour, or_skip};

use super::{root, said, yaml};

pub(crate) fn here() -> PathBuf {
    root().join("deploy/compose")
}

pub(crate) fn service(name: &str) -> Value {
    let service = yaml(&here().join("compose.yml"))["services"][name].clone();
    assert!(service.is_object(), "no service {name}");
    service
}

/// What a service sees of this repository: every bind mount at its place. Secrets are the user's own.
fn mounted(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for volume in service(name)["volumes"].as_array().unwrap() {
        let (source, target) = match volume.as_str() {
            Some(short) => short.strip_suffix(":ro").unwrap_or(short).split_once(':').unwrap(),
            None => (volume["source"].as_str().unwrap(), volume["target"].as_str().unwrap()),
        };
        let target = dir.path().join(target.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        if source.starts_with("./secrets") {
            fs::write(&target, "secret").unwrap();
        } else if source.starts_with('.') {
            let source = here().join(source);
            assert!(source.exists(), "{} is not there", source.display());
            symlink(source, &target).unwrap();
        }
    }
    dir
}

/// Where a part listens, as the others name it.
fn known_as(address: &str) -> bool {
    ["switchyard:9797", "prometheus:9090", "alertmanager:9093"]
        .iter()
        .any(|known| address == *known || address == format!("http://{known}"))
}

fn checked(tool: &str, args: &[&str], file: &Path) {
    for flavour in [Flavour::Pinned, Flavour::Debian] {
        let Some(tool) = or_skip(flavour.find(tool, tool).map_err(Into::into)) else { return };
        let output = Command::new(tool).args(args).arg(file).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[test]
fn prometheus_takes_its_file_and_loads_every_rule() {
    let dir = mounted("prometheus");
    let file = dir.path().join("etc/prometheus/prometheus.yml");
    let text = service("prometheus")["command"].to_string();
    assert!(text.contains("--config.file=/etc/prometheus/prometheus.yml"), "{text}");
    checked("promtool", &["check", "config"], &file);

    let config = yaml(&file);
    let rules = fs::read_dir(dir.path().join("etc/prometheus/alerts")).unwrap();
    let rules =
        rules.filter(|entry| entry.as_ref().unwrap().path().to_string_lossy().ends_with(".rules.yml"));
    assert!(rules.count() > 3);
    assert_eq!(config["rule_files"][0], "alerts/*.rules.yml");
    let alertmanager = &config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"][0];
    assert!(known_as(alertmanager.as_str().unwrap()), "{alertmanager}");
    let jobs = config["scrape_configs"].as_array().unwrap();
    for (job, target) in [("switchyard", "switchyard:9797"), ("alertmanager", "alertmanager:9093")] {
        let job = jobs.iter().find(|entry| entry["job_name"] == job).unwrap();
        assert_eq!(job["static_configs"][0]["targets"][0], target);
    }
    // The labels that the rules join by, spelled as in switchyard.toml.
    let runners = jobs.iter().find(|entry| entry["job_name"] == "gitlab-runner").unwrap();
    let clusters: Vec<&Value> =
        runners["static_configs"].as_array().unwrap().iter().map(|group| &group["labels"]).collect();
    for labels in clusters {
        assert_eq!(labels["fleet"], "rnd");
        assert!(["blue", "green"].contains(&labels["runner_cluster"].as_str().unwrap()));
    }
}

/// One route, whatever it is installed with.
#[test]
fn alertmanager_takes_its_file_which_is_the_route_of_alerts() {
    let dir = mounted("alertmanager");
    let file = dir.path().join("etc/alertmanager/alertmanager.yml");
    checked("amtool", &["check-config"], &file);
    let shipped = fs::read_to_string(root().join("alerts/alertmanager-route.yml")).unwrap();
    let wanted: Value =
        serde_saphyr::from_str(&shipped.replace("http://127.0.0.1:9797", "http://switchyard:9797")).unwrap();
    let config = yaml(&file);
    assert_eq!(config, wanted);
    let token =
        &config["receivers"][0]["webhook_configs"][0]["http_config"]["authorization"]["credentials_file"];
    assert!(file.with_file_name(token.as_str().unwrap()).exists(), "{token} is not mounted");
}

#[test]
fn switchyard_takes_its_file_and_knows_the_others_by_name() {
    let service = service("switchyard");
    let dir = mounted("switchyard");
    let place = service["environment"]["SWITCHYARD_CONFIG_FILE"].as_str().unwrap();
    let text = fs::read_to_string(dir.path().join(place.trim_start_matches('/'))).unwrap();
    let secrets = tempfile::tempdir().unwrap();
    for name in ["gitlab-token", "webhook-token", "api-token"] {
        fs::write(secrets.path().join(name), name).unwrap();
    }
    let secret = service["volumes"].as_array().unwrap().iter().find(|volume| volume["source"] == "./secrets");
    let mounted = secret.unwrap()["target"].as_str().unwrap();
    assert!(text.contains(mounted), "{mounted}");
    let text = text.replace(mounted, &secrets.path().display().to_string());
    let config = switchyard::config::Config::from_toml(&text, Path::new("/"), []).unwrap();
    for url in config.prometheus.urls.iter().chain(&config.alertmanager.urls) {
        assert!(known_as(url.as_str().trim_end_matches('/')), "{url}");
    }
    // The store lies on the volume.
    assert!(text.contains("url = \"sqlite:///var/lib/switchyard/"), "{text}");
    let volumes = service["volumes"].to_string();
    assert!(volumes.contains("store:/var/lib/switchyard"), "{volumes}");
}

/// Prometheus and Alertmanager are those that the tests run.
#[test]
fn the_versions_are_those_of_the_tests() {
    let tested = |tool: &str| {
        let text = fs::read_to_string(root().join(format!("tests/tools/{tool}/go.mod"))).unwrap();
        let prefix = format!("github.com/prometheus/{tool} v0.");
        let line =
            text.lines().find_map(|line| line.trim().strip_prefix(&prefix).map(str::to_owned)).unwrap();
        line.split(' ').next().unwrap().to_owned()
    };
    let image = |name: &str| service(name)["image"].as_str().unwrap().to_owned();
    assert_eq!(image("alertmanager"), format!("prom/alertmanager:v0.{}", tested("alertmanager")));
    // Prometheus 3.15.0 is the Go module v0.315.0.
    let module = tested("prometheus");
    let version = module.strip_prefix('3').unwrap();
    assert_eq!(image("prometheus"), format!("prom/prometheus:v3.{version}"));
}

/// As `docker compose` reads it, by the library that it reads it with.
#[test]
fn compose_understands_every_line() {
    let Some(tool) = or_skip(Flavour::Pinned.find("compose-check", "compose-check").map_err(Into::into))
    else {
        return;
    };
    let check = |file: &Path| {
        let output = Command::new(&tool).arg(file).current_dir(here()).output().unwrap();
        (output.status.success(), said(&output))
    };
    let (good, text) = check(&here().join("compose.yml"));
    assert!(good, "{text}");
    let read: Value = serde_saphyr::from_str(&text).unwrap();
    let services = yaml(&here().join("compose.yml"))["services"].clone();
    for (name, service) in services.as_object().unwrap() {
        let read = &read["services"][name];
        assert_eq!(read["image"], service["image"], "{name}");
        assert_eq!(read["command"], service["command"], "{name}");
        let count = |value: &Value| value["volumes"].as_array().unwrap().len();
        assert_eq!(count(read), count(service), "{name}");
        for volume in read["volumes"].as_array().unwrap().iter().filter(|volume| volume["type"] == "bind") {
            let source = volume["source"].as_str().unwrap();
            assert!(source.contains("/secrets") || Path::new(source).exists(), "{source} is not there");
            assert_eq!(volume["read_only"], true, "{source}");
        }
    }
    // It looks: at names, and at what refers to what.
    let text = fs::read_to_string(here().join("compose.yml")).unwrap();
    for (from, to, why) in [
        ("read_only: true\n", "readonly: true\n", "readonly"),
        ("store-owner: {", "store-owners: {", "store-owners"),
        ("store:/var/lib", "stores:/var/lib", "stores"),
    ] {
        let wrong = tempfile::Builder::new().suffix(".yml").tempfile().unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(wrong.path(), text.replace(from, to)).unwrap();
        let (good, said) = check(wrong.path());
        assert!(!good && said.contains(why), "{from}: {said}");
    }
}

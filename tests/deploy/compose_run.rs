//! The compose folder as it runs: every service by its own command line on the files that are mounted into it, started by
//! hand, for want of an engine. Only names and places are others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use switchyard_lab::{
    gitlab::{self, RunnerSpec, Simulator, TokenSpec},
    http,
    parts::{Flavour, or_skip},
    ports,
    process::{Process, Program},
    rules,
    runner::{self, Setup},
    wait::{PATIENCE, until},
};

use super::{
    compose::{here, service},
    root,
};

/// What has another name or place here than in the containers.
struct Elsewhere {
    dir: PathBuf,
    addresses: BTreeMap<String, SocketAddr>,
}

impl Elsewhere {
    /// A text with every name of a container, machine and directory as it is here.
    fn put(&self, text: &str, places: &BTreeMap<String, PathBuf>) -> String {
        let mut text = text.to_owned();
        for (name, address) in &self.addresses {
            text = text.replace(name, &address.to_string());
        }
        for (there, here) in places {
            // A place begins a word, a value or a URL's path; `/prometheus` is also the end of another.
            for before in ["=", "\"", "sqlite://"] {
                text = text.replace(&format!("{before}{there}"), &format!("{before}{}", here.display()));
            }
            if let Some(rest) = text.strip_prefix(there.as_str()) {
                text = format!("{}{rest}", here.display());
            }
        }
        // The same at another pace.
        text.replace("_interval: 15s", "_interval: 1s")
    }

    /// The directory of a service, with all that is mounted into it; by the place in the container, where it is here.
    fn mounted(&self, name: &str) -> Result<BTreeMap<String, PathBuf>> {
        let mut places = BTreeMap::new();
        let mut files = Vec::new();
        for volume in service(name)["volumes"].as_array().into_iter().flatten() {
            let (source, target) = match volume.as_str() {
                Some(short) => {
                    short.strip_suffix(":ro").unwrap_or(short).split_once(':').context("a pair")?
                }
                None => (
                    volume["source"].as_str().context("a source")?,
                    volume["target"].as_str().context("a target")?,
                ),
            };
            let place = self.dir.join(name).join(target.trim_start_matches('/'));
            fs::create_dir_all(place.parent().context("a parent")?)?;
            match source {
                "./secrets" => {
                    fs::create_dir_all(&place)?;
                    for token in ["gitlab-token", "webhook-token", "api-token"] {
                        fs::copy(self.dir.join(token), place.join(token))?;
                    }
                }
                "./secrets/webhook-token" => drop(fs::copy(self.dir.join("webhook-token"), &place)?),
                "../../alerts" => std::os::unix::fs::symlink(root().join("alerts"), &place)?,
                file if file.starts_with("./") => files.push((here().join(file), place.clone())),
                _volume => fs::create_dir_all(&place)?,
            }
            places.insert(target.to_owned(), place);
        }
        for (source, place) in files {
            fs::write(&place, self.put(&fs::read_to_string(source)?, &places))?;
        }
        Ok(places)
    }

    /// The program with the words of the service's `command`.
    fn program(&self, name: &str, binary: &Path) -> Result<Program> {
        let (service, places) = (service(name), self.mounted(name)?);
        let mut program = Program::new(name, binary).dir(self.dir.join(name));
        for word in service["command"].as_array().context("a command")? {
            program = program.arg(self.put(word.as_str().context("a word")?, &places));
        }
        for (key, value) in service["environment"].as_object().into_iter().flatten() {
            program = program.env(key, self.put(value.as_str().context("a value")?, &places));
        }
        Ok(program)
    }
}

async fn ready(process: &mut Process, address: SocketAddr) -> Result<()> {
    let url = format!("http://{address}/-/ready");
    process
        .ready(PATIENCE, async || Ok(http::client().get(&url).send().await?.error_for_status().map(drop)?))
        .await
}

/// Every alert fires, with the rest of its rule as it is shipped: each link that people get of Alertmanager opens, at the section that
/// it names.
async fn every_alert_leads_to_its_page(there: &Elsewhere) -> Result<()> {
    let place = there.dir.join("prometheus/etc/prometheus/alerts");
    fs::remove_file(&place)?;
    fs::create_dir(&place)?;
    let mut names = BTreeSet::new();
    for path in rules::files()? {
        let mut rules: Value = serde_saphyr::from_str(&fs::read_to_string(&path)?)?;
        for group in rules["groups"].as_array_mut().context("groups")? {
            let rules = group["rules"].as_array_mut().context("rules")?;
            rules.retain(|rule| rule["alert"].is_string());
            for rule in rules {
                names.insert(rule["alert"].as_str().context("a name")?.to_owned());
                // One of them speaks of a gate.
                rule["expr"] = "label_replace(vector(1), \"gate\", \"target_able\", \"\", \"\")".into();
                let rule = rule.as_object_mut().context("a rule")?;
                rule.remove("for");
                rule.remove("keep_firing_for");
            }
        }
        fs::write(place.join(path.file_name().context("a name")?), rules.to_string())?;
    }
    let (prometheus, alertmanager) =
        (there.addresses["prometheus:9090"], there.addresses["alertmanager:9093"]);
    http::client().post(format!("http://{prometheus}/-/reload")).send().await?.error_for_status()?;

    let alerts = format!("http://{alertmanager}/api/v2/alerts");
    let served = format!("http://{}/docs/", there.addresses["switchyard:9797"]);
    let links = until(PATIENCE, "every alert is at Alertmanager with its link", async || {
        let mut links = BTreeMap::new();
        let firing: Value = http::client().get(&alerts).send().await?.json().await?;
        for alert in firing.as_array().context("alerts")? {
            let name = alert["labels"]["alertname"].as_str().context("a name")?;
            let link = alert["annotations"]["runbook_url"].as_str().with_context(|| alert.to_string())?;
            ensure!(link.starts_with(&served), "{name}: {link}");
            links.insert(name.to_owned(), link.to_owned());
        }
        let missing: Vec<_> = names.iter().filter(|name| !links.contains_key(*name)).collect();
        ensure!(missing.is_empty(), "{missing:?}");
        Ok(links)
    })
    .await?;
    ensure!(links.len() > 30, "{links:?}");
    for (name, link) in links {
        let (_, section) = link.split_once('#').with_context(|| format!("{name}: {link}"))?;
        let page = http::client().get(&link).send().await?.error_for_status()?.text().await?;
        ensure!(page.contains(&format!("<h2 id=\"{section}\">")), "{name}: nothing at {link}");
    }
    Ok(())
}

/// A person follows `deploy/README.md`, and the `explain` at its end says what README.md promises: every gate is open but
/// those that wait for a death, and the one that is closed until Switchyard is enabled.
#[tokio::test]
async fn every_service_starts_by_its_command_and_they_find_each_other() -> Result<()> {
    let Some(prometheus) = or_skip(Flavour::Pinned.find("prometheus", "prometheus").map_err(Into::into))
    else {
        return Ok(());
    };
    let found = Flavour::Pinned.find("alertmanager", "prometheus-alertmanager");
    let Some(alertmanager) = or_skip(found.map_err(Into::into)) else { return Ok(()) };
    let switchyard = Path::new(env!("CARGO_BIN_EXE_switchyard"));
    let dir = tempfile::Builder::new().prefix("switchyard-compose-").tempdir()?;

    let gitlab = Simulator::start(gitlab::Config::default());
    let admin = gitlab.admin();
    let mut runners = Vec::new();
    for (cluster, tags) in [("blue", &["runner-a", "rnd-runner"][..]), ("green", &["runner-b"])] {
        let record = admin.create_runner(RunnerSpec::new(cluster, tags));
        let setup = Setup::new(cluster, &gitlab.url(), &record.token).check_interval(0.2);
        runners.push(runner::Process::start(setup, dir.path()).await?);
    }
    let mut addresses = BTreeMap::from([
        ("switchyard:9797".to_owned(), ports::free_address()?),
        ("prometheus:9090".to_owned(), ports::free_address()?),
        ("alertmanager:9093".to_owned(), ports::free_address()?),
    ]);
    for (cluster, runner) in ["blue", "green"].iter().zip(&runners) {
        for number in [1, 2] {
            addresses.insert(format!("runner-{number}.{cluster}.example.com:9252"), runner.metrics_addr());
        }
        addresses.insert(format!("exporter.{cluster}.example.com:9799"), ports::free_address()?);
    }
    let own = addresses["switchyard:9797"];
    // Where it listens is a port of the container; GitLab is a name in the file.
    addresses.insert("0.0.0.0:9797".to_owned(), own);
    addresses.insert("https://gitlab.example.com".to_owned(), gitlab.address());
    let there = Elsewhere { dir: dir.path().to_owned(), addresses };
    let token = admin.create_token(TokenSpec::admin("switchyard", &["read_api", "manage_runner"]));
    fs::write(dir.path().join("gitlab-token"), token)?;
    for token in ["webhook-token", "api-token"] {
        fs::write(dir.path().join(token), format!("the {token} of this test\n").replace(' ', "-"))?;
    }

    let listen = |name: &str| format!("--web.listen-address={}", there.addresses[name]);
    let mut processes = Vec::new();
    for (name, program) in [
        ("alertmanager:9093", there.program("alertmanager", &alertmanager)?.arg("--cluster.listen-address=")),
        ("prometheus:9090", there.program("prometheus", &prometheus)?),
    ] {
        let mut process = program.arg(listen(name)).start(dir.path())?;
        ready(&mut process, there.addresses[name]).await?;
        processes.push(process);
    }
    let url = format!("http://{own}");
    // As people set it: where they reach Switchyard.
    let program = there.program("switchyard", switchyard)?.env("SWITCHYARD__WEB__URL", &url);
    let file = there.dir.join("switchyard/etc/switchyard/switchyard.toml");
    let text = fs::read_to_string(&file)?;
    // An address alone is no URL.
    fs::write(
        &file,
        text.replace(&format!("{:?}", gitlab.address().to_string()), &format!("{:?}", gitlab.url())),
    )?;
    let mut process = program.start(dir.path())?;
    ready(&mut process, own).await?;
    processes.push(process);

    let ask = async |args: &[&str]| {
        let output = tokio::process::Command::new(switchyard)
            .args(args)
            .env("SWITCHYARD_CONFIG_FILE", &file)
            .kill_on_drop(true)
            .output()
            .await?;
        Ok::<_, anyhow::Error>((output.status.code(), super::said(&output)))
    };
    // The steps of the page. In the container Switchyard is where its configuration says; here it is elsewhere.
    let (code, said) = ask(&["check"]).await?;
    assert_eq!(code, Some(0), "{said}");
    let waiting = ["signal_held", "confirmed", "target_stronger"];
    until(PATIENCE, "every gate says what the README promises", async || {
        let fleet: Value =
            http::client().get(format!("{url}/api/v1/fleets/rnd")).send().await?.json().await?;
        let gates = fleet["gates"].as_array().with_context(|| fleet.to_string())?;
        ensure!(gates.len() > 12, "{fleet}");
        for gate in gates {
            let state = match (gate["open"] == true, gate["idle"] == true) {
                (true, _) => "open",
                (false, true) => "idle",
                (false, false) => "closed",
            };
            let name = gate["gate"].as_str().context("a gate")?;
            let wanted = match name {
                "enabled" => "closed",
                name if waiting.contains(&name) => "idle",
                _ => "open",
            };
            ensure!(state == wanted, "{name} is {state}: {gate}");
        }
        Ok(())
    })
    .await
    .with_context(|| processes.iter().map(Process::tail).collect::<Vec<_>>().join("\n"))?;

    let (code, said) = ask(&["explain", "--url", &url]).await?;
    assert!(code == Some(0) && said.contains("eyes_open"), "{said}");

    // Prometheus reads all that it is told to, and every rule.
    let query = format!("http://{}/api/v1/query", there.addresses["prometheus:9090"]);
    for (promql, wanted) in [
        ("min(up{job=~\"gitlab-runner|switchyard|alertmanager\"})", "1"),
        ("sum(prometheus_rule_evaluation_failures_total) or vector(0)", "0"),
    ] {
        let answer: Value =
            http::client().get(&query).query(&[("query", promql)]).send().await?.json().await?;
        assert_eq!(answer["data"]["result"][0]["value"][1], wanted, "{promql}: {answer}");
    }
    every_alert_leads_to_its_page(&there).await?;
    for process in processes.iter_mut().rev() {
        let status = process.terminate(PATIENCE).await?;
        assert!(status.success(), "{status}: {}", process.tail());
    }
    Ok(())
}

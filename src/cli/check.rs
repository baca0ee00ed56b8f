//! `switchyard check`: the file, then every credential and every address in it. Changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use futures::future::join_all;
use secrecy::ExposeSecret as _;

use super::{Check, Exit, OutputFormat, load, say, say_json};
use crate::{
    app::setup,
    config::{Config, Problems},
    gitlab::Wanted,
    model::{Asked, Finding, PoolSelector, Question, RecordSet, Severity, one_line},
    store::Store,
    web::Security,
};

/// A finding and the key it is about.
#[derive(Debug, serde::Serialize)]
struct About {
    path: String,
    #[serde(flatten)]
    finding: Finding,
}

fn about(path: impl Into<String>, finding: Finding) -> About {
    About { path: path.into(), finding }
}

pub(super) async fn check(config_file: &Path, args: &Check) -> Exit {
    crate::app::install_crypto();
    let web = Security::load(args.web_config.as_deref()).err().map(|problems| problems.0).unwrap_or_default();
    let loaded = match load(config_file) {
        Ok(config) if web.is_empty() => Ok(config),
        Ok(_) => Err(Problems(web)),
        Err(problems) => Err(Problems(problems.0.into_iter().chain(web).collect())),
    };
    let config = match loaded {
        Ok(config) => config,
        Err(problems) => {
            if args.output.output == OutputFormat::Json {
                let found: Vec<About> = problems
                    .0
                    .into_iter()
                    .map(|p| about(p.path, Finding::new(Severity::Error, p.wrong, p.mend)))
                    .collect();
                say_json(&serde_json::json!(found).to_string());
            } else {
                let lines = problems.0.iter().map(|p| format!("ERROR   {p}\n"));
                say(&format!("{}{}", lines.collect::<String>(), counted(problems.0.len(), "error")));
            }
            return Exit::Usage;
        }
    };
    let mut found: Vec<About> = config
        .warnings()
        .iter()
        .map(|w| about(&w.path, Finding::new(Severity::Warning, &w.wrong, &w.mend)))
        .collect();
    if let Some(file) = &args.web_config {
        found.push(about(file.display().to_string(), Finding::ok("can be used")));
    }
    if !args.offline {
        let (gitlab, dns, prometheus, alertmanager) =
            tokio::join!(gitlab(&config), dns(&config), prometheus(&config), alertmanager(&config));
        found.push(store(&config).await);
        found.extend(gitlab.into_iter().chain(dns).chain(prometheus).chain(alertmanager));
    }
    let count = |severity| found.iter().filter(|f| f.finding.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    match args.output.output {
        OutputFormat::Json => say_json(&serde_json::json!(found).to_string()),
        OutputFormat::Table => {
            let lines: String = found.iter().map(|about| line(about) + "\n").collect();
            say(&format!(
                "{lines}{}, {}, {}",
                counted(config.topology.fleets.len(), "fleet"),
                counted(errors, "error"),
                counted(warnings, "warning")
            ));
        }
    }
    if errors > 0 { Exit::Failed } else { Exit::Done }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn line(About { path, finding }: &About) -> String {
    let word = match finding.severity {
        Severity::Ok => "ok     ",
        Severity::Warning => "WARNING",
        Severity::Error => "ERROR  ",
    };
    let mend = if finding.mend.is_empty() { String::new() } else { format!("; {}", finding.mend) };
    format!("{word} {}", one_line(&format!("{path}: {}{mend}", finding.what)))
}

/// Whether the store can be written. That a running Switchyard has it is as it should be.
async fn store(config: &Config) -> About {
    let finding = match Store::check(config.store.url.expose_secret()).await {
        Ok(()) => Finding::ok("can be opened"),
        Err(crate::store::Error::InUse { path, holder }) => {
            Finding::ok(format!("the store {} is in use by {holder}", path.display()))
        }
        Err(error) => Finding::new(Severity::Error, super::chain(&error), ""),
    };
    about("store.url", finding)
}

/// The token, and whether every pool is found.
async fn gitlab(config: &Config) -> Vec<About> {
    let nobody: crate::gitlab::Observer = Arc::new(|_| {});
    let client = match crate::gitlab::Client::new(setup::gitlab_settings(config), nobody) {
        Ok(client) => client,
        Err(error) => {
            let what = super::chain(&error);
            return vec![about(
                "gitlab",
                Finding::new(Severity::Error, what, "correct gitlab.url or gitlab.ca_file"),
            )];
        }
    };
    let mut found: Vec<About> = client.check().await.into_iter().map(|f| about("gitlab", f)).collect();
    let runners = match client.runners(&Wanted::of(&config.topology)).await {
        Ok(runners) => runners,
        Err(error) => {
            // Most reasons have been found and said already.
            if found.iter().all(|about| about.finding.severity != Severity::Error) {
                let what = format!("the runners cannot be read: {}", super::chain(&error));
                found.push(about(
                    "gitlab",
                    Finding::new(Severity::Error, what, "nothing is moved until they can"),
                ));
            }
            return found;
        }
    };
    for fleet in config.topology.fleets.values() {
        let assigned = fleet.assign(&runners);
        for (cluster, pool) in &assigned.pools {
            let path = format!("fleets.{}.pools.{cluster}", fleet.name);
            let selector = &fleet.pools[cluster].selector;
            found.push(about(
                path,
                if pool.is_empty() {
                    let mend = match selector {
                        PoolSelector::HomeTag(tag) => {
                            format!("give the cluster's runners the tag {tag}, or correct it")
                        }
                        PoolSelector::Runners(_) => "correct the numbers, or the token's scope".to_owned(),
                        PoolSelector::Description(_) => {
                            "correct the pattern, or the token's scope".to_owned()
                        }
                    };
                    Finding::new(Severity::Error, format!("{selector} finds no runner in GitLab"), mend)
                } else {
                    let tagged = pool.iter().filter(|r| r.tags.contains(&fleet.routing_tag)).count();
                    Finding::ok(format!(
                        "{selector} finds {} runners; {tagged} carry {}",
                        pool.len(),
                        fleet.routing_tag
                    ))
                },
            ));
        }
        for runner in assigned.pools.values().flatten() {
            if runner.tags.iter().all(|tag| *tag == fleet.routing_tag) && !runner.tags.is_empty() {
                found.push(about(
                    format!("fleets.{}.pools", fleet.name),
                    Finding::new(
                        Severity::Warning,
                        format!(
                            "runner {} has no tag but {}, which could not be taken from it: GitLab keeps no runner without \
                             tags that takes no untagged jobs",
                            runner.id, fleet.routing_tag
                        ),
                        "give it a tag of its own, such as a home tag",
                    ),
                ));
            }
        }
        for (runner, clusters) in &assigned.shared {
            let clusters: Vec<&str> = clusters.iter().map(|c| c.as_str()).collect();
            found.push(about(
                format!("fleets.{}.pools", fleet.name),
                Finding::new(
                    Severity::Error,
                    format!("runner {runner} is in the pools of {}", clusters.join(" and ")),
                    "give each cluster runner records of its own",
                ),
            ));
        }
        if let Some(cloned) = assigned.cloned_system() {
            found.push(about(
                format!("fleets.{}.pools", fleet.name),
                Finding::new(
                    Severity::Warning,
                    cloned.to_string(),
                    "give each machine its own machine-id, and its runner a new .runner_system_id",
                ),
            ));
        }
        for runner in &assigned.foreign {
            found.push(about(
                format!("fleets.{}.routing_tag", fleet.name),
                Finding::new(
                    Severity::Warning,
                    format!("runner {} ({}) carries it and is in no pool", runner.id, runner.description),
                    "it takes jobs whoever holds the fleet, and Switchyard never touches it: add it to a pool, or take \
                     the tag away",
                ),
            ));
        }
    }
    found
}

/// Every name at every authoritative address, and the right to change it.
async fn dns(config: &Config) -> Vec<About> {
    let providers = match setup::providers(config) {
        Ok(providers) => providers,
        Err(error) => {
            let what = super::chain(&error);
            return vec![about(
                "dns.providers",
                Finding::new(Severity::Error, what, "correct the provider's settings"),
            )];
        }
    };
    let checks = config.topology.fleets.values().filter_map(|fleet| {
        let record = fleet.dns.as_ref()?;
        let provider = providers.get(&record.provider)?;
        let sets: Vec<RecordSet> =
            fleet.pools.keys().filter_map(|cluster| fleet.record_set(cluster)).collect();
        Some(async move {
            let found = provider.check(&record.name, record.record_type, &sets).await;
            found.into_iter().map(|f| about(format!("fleets.{}.dns", fleet.name), f)).collect::<Vec<_>>()
        })
    });
    join_all(checks).await.into_iter().flatten().collect()
}

/// Every server, and whether the evidence that gates need is there.
async fn prometheus(config: &Config) -> Vec<About> {
    let servers = match setup::prometheus(config) {
        Ok(servers) => servers,
        Err(error) => {
            let what = super::chain(&error);
            return vec![about(
                "prometheus",
                Finding::new(Severity::Error, what, "correct prometheus.ca_file"),
            )];
        }
    };
    let now = crate::world::Live::clock();
    let evidence = servers.evidence(&config.queries, now).await;
    let dead = dead(evidence.fleets.values().flat_map(|fleet| fleet.asked.values()));
    let mut found: Vec<About> = dead
        .iter()
        .map(|(server, why)| {
            let mend = "see that it is reachable from here, or correct prometheus.urls";
            about("prometheus.urls", Finding::new(Severity::Error, format!("{server}: {why}"), mend))
        })
        .collect();
    for (fleet, evidence) in &evidence.fleets {
        for (question, asked) in &evidence.asked {
            let path = format!("fleets.{fleet}.evidence.{}", question.as_str());
            // A cluster without a live runner has no sample of what its live runners see.
            let everywhere = *question != Question::GitlabUnreachable;
            let pools = config.topology.fleets.get(fleet).filter(|_| everywhere).map(|f| f.pools.keys());
            for answer in asked.answers.iter().filter(|answer| !dead.contains_key(answer.server.as_str())) {
                found.push(about(
                    &path,
                    evidence_finding(answer, &asked.query, pools.clone().into_iter().flatten()),
                ));
            }
        }
    }
    found
}

/// The servers that gave one and the same error to everything: that is said once.
fn dead<'a>(asked: impl Iterator<Item = &'a Asked>) -> BTreeMap<&'a str, &'a str> {
    let mut said = BTreeMap::<&str, BTreeSet<Option<&str>>>::new();
    for answer in asked.flat_map(|asked| &asked.answers) {
        let why = answer.result.as_ref().err().map(String::as_str);
        said.entry(&answer.server).or_default().insert(why);
    }
    let same = said.into_iter().filter_map(|(server, said)| match Vec::from_iter(said)[..] {
        [Some(why)] => Some((server, why)),
        _ => None,
    });
    same.collect()
}

fn evidence_finding<'a>(
    answer: &crate::model::Answer,
    query: &str,
    clusters: impl Iterator<Item = &'a crate::model::ClusterName>,
) -> Finding {
    let server = &answer.server;
    match &answer.result {
        Err(why) => Finding::new(
            Severity::Error,
            format!("{server}: {why}"),
            format!("the query is {query}; see that the server is reachable and has the rules of alerts/"),
        ),
        Ok(samples) => {
            let missing: Vec<&str> =
                clusters.filter(|c| !samples.contains_key(*c)).map(|c| c.as_str()).collect();
            if missing.is_empty() {
                Finding::ok(format!("{server} has a sample for every cluster"))
            } else {
                Finding::new(
                    Severity::Warning,
                    format!("{server} has no sample for {}", missing.join(" and ")),
                    format!("{query} must give one series per runner_cluster; load the rules of alerts/"),
                )
            }
        }
    }
}

async fn alertmanager(config: &Config) -> Vec<About> {
    let clients = match setup::alertmanager_clients(config) {
        Ok(clients) => clients,
        Err(error) => {
            let what = super::chain(&error);
            return vec![about(
                "alertmanager",
                Finding::new(Severity::Error, what, "correct alertmanager.ca_file"),
            )];
        }
    };
    let checks = clients.iter().map(|client| async {
        let url = client.url();
        match client.status().await {
            Ok(status) => Finding::ok(format!(
                "{url} answers: Alertmanager {}, cluster {}",
                status.version_info.version, status.cluster.status
            )),
            Err(error) => Finding::new(
                Severity::Error,
                format!("{url}: {}", super::chain(&error)),
                "without the catch-up poll a lost webhook is lost: correct alertmanager.urls",
            ),
        }
    });
    join_all(checks).await.into_iter().map(|f| about("alertmanager", f)).collect()
}

//! Every question of every panel, variable and annotation, asked of a real Prometheus that saw a failover, and the
//! exporter and a sidecar beside it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Result, ensure};
use serde_json::Value;
use switchyard_lab::{
    gitlab::{RateLimit, RateLimitShape},
    http, metric_docs,
    parts::or_skip,
    ports,
    process::{Process, Program},
    prometheus::{Prometheus, PrometheusConfig, Target},
    rules,
    scene::{Scene, SceneConfig},
    wait::{PATIENCE, until},
};

use super::{dashboards, list, objects::Inside, questions, text};

const BINARY: &str = env!("CARGO_BIN_EXE_switchyard");

/// What a `GET` of Prometheus' API answers.
async fn ask(prometheus: &Prometheus, path: &str, name: &str, value: &str) -> Result<Value> {
    let url = format!("{}/api/v1/{path}", prometheus.url());
    let answer: Value = http::client().get(url).query(&[(name, value)]).send().await?.json().await?;
    ensure!(answer["status"] == "success", "{value}: {answer}");
    Ok(answer["data"].clone())
}

/// A sidecar beside a runner of the scene.
async fn sidecar(scene: &Scene) -> (Process, Target) {
    let address = ports::free_address().unwrap();
    let runner = scene.runner_metrics("green").unwrap()[0];
    let program = Program::new("sidecar", BINARY)
        .args(["sidecar", "--period=100ms"])
        .arg(format!("--web.listen-address={address}"))
        .arg(format!("--runner.url=http://{runner}/metrics"));
    let process = program.start(scene.dir()).unwrap();
    (process, Target::new("switchyard-sidecar", address, []))
}

/// A question with everything in it that Grafana replaces.
fn filled(question: &str, variables: &BTreeMap<String, String>) -> String {
    let mut filled = question.replace("$__rate_interval", "10s").replace("$__interval", "5s");
    for (name, value) in variables {
        filled = filled.replace(&format!("\"${name}\""), &format!("\"{value}\""));
    }
    assert!(!filled.contains('$'), "{filled}");
    filled
}

/// The values of a dashboard's variables, each asked with those before it, as Grafana writes several into a question.
async fn variables(prometheus: &Prometheus, dashboard: &Value) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    for variable in list(&dashboard["templating"]["list"]).filter(|variable| variable["type"] == "query") {
        let name = text(&variable["name"]).to_owned();
        let asked = filled(text(&variable["query"]["query"]), &known);
        let inner = asked.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
        let (selector, label) = inner.rsplit_once(", ").unwrap();
        let values = until(PATIENCE, &asked, async || {
            let found = ask(prometheus, &format!("label/{label}/values"), "match[]", selector).await?;
            let values: Vec<String> = list(&found).map(|value| text(value).replace('.', "\\\\.")).collect();
            ensure!(!values.is_empty(), "{}: {name} has no value", dashboard["title"]);
            Ok(values)
        })
        .await
        .unwrap();
        let value =
            if variable["multi"] == true { format!("({})", values.join("|")) } else { values[0].clone() };
        known.insert(name, value);
    }
    known
}

/// Whether a question has had an answer that is a number since the beginning of the scene. An error ends the test.
async fn answered(prometheus: &Prometheus, question: &str) -> bool {
    let over_all_the_time = format!("last_over_time((({question}) >= -Inf)[15m:1s])");
    !prometheus.query(&over_all_the_time).await.unwrap().is_empty()
}

#[tokio::test]
async fn every_question_has_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let Some(inside) = Inside::start(dir.path()).await else { return };
    let config = SceneConfig { switchyard: Some(BINARY.into()), ..SceneConfig::default() };
    let Some(mut scene) = or_skip(Scene::start(config).await) else { return };
    let (_sidecar, beside) = sidecar(&scene).await;
    let more = [Target::new("switchyard-exporter", inside.exporter.address(), []), beside];
    scene.prometheus.reload(|config| config.targets.extend(more)).await.unwrap();
    scene.settled().await.unwrap();
    // A GitLab that limits says what is left.
    let limit = RateLimit { requests: 100_000, window: Duration::from_secs(60), shape: RateLimitShape::Text };
    scene.gitlab.admin().rate_limit(Some(limit));
    inside.change().await;
    scene.kill("blue").await.unwrap();
    scene.moved_to("green").await.unwrap();
    // Only once it has been seen on its way.
    scene.prometheus.until("switchyard_gitops_convergence_seconds{state=\"open\"}").await.unwrap();
    inside.arrive().await;

    let mut open = Vec::new();
    for dashboard in dashboards().values() {
        let variables = variables(&scene.prometheus, dashboard).await;
        for (place, question) in questions(dashboard) {
            open.push((place, filled(&question, &variables)));
        }
    }
    assert!(open.len() > 100, "{}", open.len());
    until(PATIENCE, "every question has an answer", async || {
        let mut still = Vec::new();
        for (place, question) in &open {
            if !answered(&scene.prometheus, question).await {
                still.push(format!("{place}: {question}"));
            }
        }
        ensure!(still.is_empty(), "no answer:\n{}", still.join("\n"));
        Ok(())
    })
    .await
    .unwrap();
    // The way of asking can fail.
    assert!(!answered(&scene.prometheus, "switchyard_no_such_metric").await);
    assert!(!answered(&scene.prometheus, "0 * up / 0").await, "NaN is no answer");

    // What is named beside our own exists, too: runners show it.
    let page =
        ask(&scene.prometheus, "label/__name__/values", "match[]", "{job=\"gitlab-runner\"}").await.unwrap();
    let shown: BTreeSet<&str> = list(&page).map(text).collect();
    let foreign =
        named(&scene.prometheus).await.into_iter().filter(|name| name.starts_with("gitlab_runner_"));
    let missing: Vec<_> = foreign.filter(|name| !shown.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "no runner shows {missing:?}");
}

/// The metrics that rules and dashboards name, as Prometheus itself reads them.
async fn named(prometheus: &Prometheus) -> BTreeSet<String> {
    let mut asked: Vec<String> = rules_of(prometheus).await.into_iter().map(|(_, query)| query).collect();
    for dashboard in dashboards().values() {
        let quiet = |name: &Value| (text(&name["name"]).to_owned(), "x".to_owned());
        let variables = list(&dashboard["templating"]["list"]).map(quiet).collect();
        asked.extend(questions(dashboard).into_iter().map(|(_, question)| filled(&question, &variables)));
        for variable in list(&dashboard["templating"]["list"]).filter(|variable| variable["type"] == "query")
        {
            let asked_for = filled(text(&variable["query"]["query"]), &variables);
            let inner = asked_for.trim_start_matches("label_values(").rsplit_once(", ").unwrap().0.to_owned();
            asked.push(inner);
        }
    }
    let mut names = BTreeSet::new();
    for question in asked {
        selectors(&ask(prometheus, "parse_query", "query", &question).await.unwrap(), &mut names);
    }
    names
}

fn selectors(node: &Value, names: &mut BTreeSet<String>) {
    match node {
        Value::Object(fields) => {
            if fields.get("type").is_some_and(|kind| kind == "vectorSelector" || kind == "matrixSelector") {
                names.insert(text(&node["name"]).to_owned());
            }
            fields.values().for_each(|inner| selectors(inner, names));
        }
        Value::Array(items) => items.iter().for_each(|inner| selectors(inner, names)),
        _ => {}
    }
}

/// Name and query of every rule.
async fn rules_of(prometheus: &Prometheus) -> Vec<(String, String)> {
    let found = ask(prometheus, "rules", "", "").await.unwrap();
    let rules = list(&found["groups"]).flat_map(|group| list(&group["rules"]));
    rules.map(|rule| (text(&rule["name"]).to_owned(), text(&rule["query"]).to_owned())).collect()
}

#[tokio::test]
async fn rules_and_dashboards_name_only_metrics_that_exist() {
    let config = PrometheusConfig { rules: rules::fast().unwrap(), ..PrometheusConfig::default() };
    let Some(prometheus) = or_skip(Prometheus::start(config).await) else { return };
    let recorded: BTreeSet<String> = rules_of(&prometheus)
        .await
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name.contains(':'))
        .collect();
    let documented = metric_docs::documented(None);
    let names = named(&prometheus).await;
    assert!(names.len() > 60, "{names:?}");
    for name in names {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let ours = documented.contains_key(&name)
            || family.and_then(|family| documented.get(family)).is_some_and(|row| row.kind == "histogram");
        // Runners' own are looked for where there are runners.
        let foreign = ["up", "ALERTS"].contains(&name.as_str()) || name.starts_with("gitlab_runner_");
        // What a person says, by a rule of their own.
        let said = name.ends_with(":switchyard_given_up:group");
        assert!(ours || foreign || said || recorded.contains(&name), "nobody shows {name}");
    }
}

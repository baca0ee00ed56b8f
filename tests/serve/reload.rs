//! Another configuration is taken over whole, or not at all.

use std::fs;

use anyhow::ensure;
use reqwest::Method;
use serde_json::{Value, json};
use switchyard_lab::{
    gitlab::RunnerSpec,
    switchyard::Switchyard,
    wait::{PATIENCE, until},
};

use crate::stage::{API_TOKEN, Answer, Stage, WEBHOOK_TOKEN, alert, message};

async fn reload(stage: &Stage, method: Method) -> Answer {
    stage.send(method, "/-/reload", API_TOKEN, Vec::new()).await.unwrap()
}

/// The same, and a second fleet of runners that GitLab has.
fn with_a_second_fleet(stage: &Stage) -> Value {
    let create = |name: &str, tags: &[&str]| stage.gitlab.admin().create_runner(RunnerSpec::new(name, tags));
    create("deploy-blue", &["deploy-a", "deploy"]);
    create("deploy-green", &["deploy-b"]);
    let mut settings = stage.settings.clone();
    settings["fleets"]["deploy"] = json!({
        "routing_tag": "deploy", "prefer": ["blue", "green"],
        "pools": { "blue": { "home_tag": "deploy-a" }, "green": { "home_tag": "deploy-b" } },
    });
    settings
}

async fn fleets_are(stage: &Stage, wanted: &[&str]) {
    until(PATIENCE, &format!("the fleets are {wanted:?}"), async || {
        let answer = stage.get("/api/v1/fleets").await.json();
        let fleets: Vec<&str> =
            answer.as_array().unwrap().iter().filter_map(|f| f["name"].as_str()).collect();
        ensure!(fleets == wanted, "{fleets:?}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_good_file_is_taken_over_by_request_and_by_signal_and_what_vanishes_is_gone() {
    let stage = Stage::new().await;
    let mut switchyard: Switchyard = stage.start().await;
    fleets_are(&stage, &["rnd"]).await;
    let two = with_a_second_fleet(&stage);
    switchyard.configure(&two).unwrap();
    let answer = reload(&stage, Method::POST).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    fleets_are(&stage, &["deploy", "rnd"]).await;
    let runners = [("fleet", "deploy"), ("runner_cluster", "blue"), ("state", "serving")];
    stage.metric_until("switchyard_runners", &runners, 1.0).await;
    let mut about_deploy = alert("f", "failover", "blue", None);
    about_deploy["labels"]["fleet"] = json!("deploy");
    assert_eq!(stage.alert(&message(&[about_deploy.clone()])).await.json()["accepted"], 1);

    // Without it again, at another Alertmanager, with another credential for webhooks.
    let mut other = stage.settings.clone();
    let old_alertmanager = format!("{}/", stage.standins.url());
    stage.metric_until("switchyard_alertmanager_up", &[("server", &old_alertmanager)], 1.0).await;
    other["alertmanager"]["urls"] = json!(["http://127.0.0.1:9"]);
    fs::write(stage.dir().join("webhook"), "another-webhook-secret").unwrap();
    switchyard.configure(&other).unwrap();
    switchyard.process().hangup().unwrap();
    fleets_are(&stage, &["rnd"]).await;
    stage.metric_until("switchyard_alertmanager_up", &[("server", "http://127.0.0.1:9/")], 0.0).await;
    assert_eq!(stage.metric("switchyard_alertmanager_up", &[("server", &old_alertmanager)]).await, None);
    let page = stage.page().await;
    let left: Vec<&str> = page
        .text()
        .lines()
        .filter(|line| line.contains(r#"fleet="deploy""#))
        .filter(|line| !line.starts_with("switchyard_decisions_total"))
        .collect();
    assert!(left.is_empty(), "what has happened stays counted, what is no more is gone: {left:#?}");
    let body = message(&[about_deploy]).to_string().into_bytes();
    let old = stage.send(Method::POST, "/api/v1/alerts", WEBHOOK_TOKEN, body.clone()).await.unwrap();
    assert_eq!(old.status, 401);
    let new = stage.send(Method::POST, "/api/v1/alerts", "another-webhook-secret", body).await.unwrap();
    assert_eq!(new.json(), json!({"accepted": 0, "ignored": 1}), "nobody knows that fleet any more");
}

#[tokio::test]
async fn a_bad_file_is_refused_whole_and_the_old_one_stays() {
    let stage = Stage::new().await;
    let mut switchyard = stage.start().await;
    let since = stage.metric("switchyard_config_last_reload_success_timestamp_seconds", &[]).await.unwrap();
    assert_eq!(stage.metric("switchyard_config_last_reload_successful", &[]).await, Some(1.0));

    let mut bad = with_a_second_fleet(&stage);
    bad["fleets"]["deploy"]["routing_tag"] = json!("rnd-runner");
    bad["fleets"]["rnd"]["thresholds"] = json!({"failover": 2});
    bad["nonsense"] = json!({"key": 1});
    switchyard.configure(&bad).unwrap();
    let detail = reload(&stage, Method::PUT).await.problem(422);
    for key in ["fleets.rnd.thresholds.failover", "nonsense", "routing_tag"] {
        assert!(detail.contains(key), "{key} is not in: {detail}");
    }
    assert_eq!(stage.metric("switchyard_config_last_reload_successful", &[]).await, Some(0.0));
    assert_eq!(
        stage.metric("switchyard_config_last_reload_success_timestamp_seconds", &[]).await,
        Some(since)
    );
    assert!(stage.log("switchyard").contains("the configuration was refused; the old one stays"));
    fleets_are(&stage, &["rnd"]).await;

    // By signal nobody hears an answer, but the log and the metric say it.
    let refused = || stage.log("switchyard").matches("the configuration was refused").count();
    let before = refused();
    switchyard.process().hangup().unwrap();
    until(PATIENCE, "the log says it", async || {
        ensure!(refused() > before);
        Ok(())
    })
    .await
    .unwrap();

    // The store is open and stays where it is.
    let mut elsewhere = stage.settings.clone();
    elsewhere["store"]["url"] = json!(format!("sqlite://{}", stage.dir().join("other.db").display()));
    switchyard.configure(&elsewhere).unwrap();
    assert!(reload(&stage, Method::POST).await.problem(422).contains("store.url"));
    assert!(!stage.dir().join("other.db").exists());

    switchyard.configure(&stage.settings).unwrap();
    assert_eq!(reload(&stage, Method::POST).await.status, 200);
    assert_eq!(stage.metric("switchyard_config_last_reload_successful", &[]).await, Some(1.0));
    let passes = stage.metric("switchyard_passes_total", &[]).await.unwrap();
    until(PATIENCE, "it goes on", async || {
        ensure!(stage.metric("switchyard_passes_total", &[]).await > Some(passes + 1.0));
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_reload_needs_the_token_for_actions() {
    let stage = Stage::new().await;
    let _switchyard = stage.start().await;
    for token in ["", "wrong", WEBHOOK_TOKEN] {
        let answer = stage.send(Method::POST, "/-/reload", token, Vec::new()).await.unwrap();
        answer.problem(401);
    }
}

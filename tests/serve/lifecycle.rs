//! Starting, a clean run, and what is never shown.

use std::fmt::Write as _;

use reqwest::Method;
use serde_json::json;
use switchyard_lab::{
    gitlab::{Fault, Kind, Match},
    wait::PATIENCE,
};

use crate::stage::{API_TOKEN, READ_TOKEN, Stage, WEBHOOK_TOKEN, alert, ended, message};

#[tokio::test]
async fn a_second_one_on_the_same_store_says_who_has_it() {
    let stage = Stage::new().await;
    let mut switchyard = stage.start().await;
    let config = switchyard.config().display().to_string();
    let other = switchyard_lab::ports::free_address().unwrap().to_string();
    let args = ["serve", "--config.file", &config, "--web.listen-address", &other];
    assert_eq!(ended(&mut stage.launch("second", &args)).await, 1);
    let said = stage.log("second");
    for who in [format!("process {} ", switchyard.process().id()), stage.address.to_string()] {
        assert!(said.contains(&who), "{who:?} is not in: {said}");
    }

    // And one at the same address says that.
    let here = stage.address.to_string();
    let args = ["serve", "--config.file", &config, "--web.listen-address", &here];
    assert_eq!(ended(&mut stage.launch("third", &args)).await, 1);
    assert!(stage.log("third").contains(&format!("cannot listen on {here}")), "{}", stage.log("third"));

    // The first one noticed nothing, and leaves the store to the next.
    assert_eq!(stage.get("/-/ready").await.status, 200);
    switchyard.terminate().await.unwrap();
    switchyard.restart().await.unwrap();
}

#[tokio::test]
async fn a_bad_configuration_is_told_whole_and_starts_nothing() {
    let stage = Stage::new().await;
    let path = stage.dir().join("bad.toml");
    std::fs::write(&path, "[loop]\nperiod = \"soon\"\n[webhok]\n[fleets.rnd]\nrouting_tag = 7\n").unwrap();
    let path = path.display().to_string();
    for command in ["serve", "check"] {
        assert_eq!(ended(&mut stage.launch(command, &[command, "--config.file", &path])).await, 2);
        let said = stage.log(command);
        for key in ["gitlab.url", "gitlab.token", "loop.period", "webhok", "fleets.rnd.routing_tag"] {
            assert!(said.contains(key), "{command}: {key} is not in: {said}");
        }
    }
    assert!(!stage.database().exists());
    let nowhere = stage.dir().join("nowhere.toml").display().to_string();
    assert_eq!(ended(&mut stage.launch("none", &["serve", "--config.file", &nowhere])).await, 2);
    assert!(stage.log("none").contains("nowhere.toml"), "{}", stage.log("none"));
}

#[tokio::test]
async fn a_clean_run_complains_of_nothing() {
    let stage = Stage::new().await;
    let mut switchyard = stage.start().await;
    let begun = stage.metric("switchyard_passes_total", &[]).await.unwrap();
    assert_eq!(stage.alert(&message(&[alert("w", "watchdog", "", None)])).await.status, 200);
    for path in
        ["/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/explain", "/api/v1/plan", "/api/v1/history"]
    {
        assert_eq!(stage.get(path).await.status, 200, "{path}");
    }
    switchyard_lab::wait::until(PATIENCE, "three more passes", async || {
        let passes = stage.metric("switchyard_passes_total", &[]).await;
        anyhow::ensure!(passes >= Some(begun + 4.0), "{passes:?}");
        Ok(())
    })
    .await
    .unwrap();
    switchyard.terminate().await.unwrap();
    let log = stage.log("switchyard");
    // First sight of the fleet is a decision, and every decision is worth a warning.
    let loud: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("level=warn") || line.contains("level=error"))
        .filter(|line| !line.contains("kind=adopt"))
        .collect();
    assert!(loud.is_empty(), "{loud:#?}");
    assert!(log.contains("level=info") && log.contains("Switchyard has ended"), "{log}");
}

#[tokio::test]
async fn no_secret_is_ever_shown() {
    let mut stage = Stage::new().await;
    let standin_tokens = ["prometheus-secret-55ee", "alertmanager-secret-66ff"];
    stage.settings["prometheus"]["token_file"] = json!(stage.secret("prometheus", standin_tokens[0]));
    stage.settings["alertmanager"]["token_file"] = json!(stage.secret("alertmanager", standin_tokens[1]));
    stage.settings["api"]["read_token_file"] = json!(stage.secret("read", READ_TOKEN));
    let mut switchyard = stage.start().await;
    let body = message(&[alert("f", "failover", "green", None)]).to_string().into_bytes();
    let mut shown = String::new();
    // With the right tokens, and with wrong ones that come close.
    for token in [READ_TOKEN, API_TOKEN, WEBHOOK_TOKEN, "wrong"] {
        for (method, path) in [
            (Method::GET, "/metrics"),
            (Method::GET, "/api/v1/fleets"),
            (Method::GET, "/api/v1/explain"),
            (Method::GET, "/api/v1/plan"),
            (Method::GET, "/api/v1/history"),
            (Method::POST, "/api/v1/alerts"),
            (Method::POST, "/api/v1/pause"),
            (Method::POST, "/-/reload"),
        ] {
            let answer = stage.send(method, path, token, body.clone()).await.unwrap();
            writeln!(shown, "{answer:?}").unwrap();
        }
    }
    // GitLab refuses, Prometheus and Alertmanager go away, and the command line talks of all of it.
    let refused = r#"{"message":"401 Unauthorized"}"#.to_owned();
    let refused = Kind::Status { status: 401, body: refused };
    stage.gitlab.admin().fault(Fault::new(Match::any(), refused));
    stage.fleet_until("GitLab refuses", |fleet| fleet["outcome"] == "blind").await;
    for args in
        [&["check"][..], &["check", "--output", "json"], &["explain"], &["history", "--output", "json"]]
    {
        let answer = stage.cli(args).await;
        writeln!(shown, "{answer:?}").unwrap();
    }
    switchyard.terminate().await.unwrap();
    shown.push_str(&stage.log("switchyard"));
    let secrets = [
        stage.gitlab_token.as_str(),
        WEBHOOK_TOKEN,
        API_TOKEN,
        READ_TOKEN,
        standin_tokens[0],
        standin_tokens[1],
    ];
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret} is shown");
    }
    // They were in use.
    let seen = stage.standins.says().credentials.clone();
    assert!(standin_tokens.iter().all(|token| seen.contains(&format!("Bearer {token}"))), "{seen:?}");
}

//! What the API answers to requests of its own kind, beyond what the command line asks.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::stage::{API_TOKEN, METHOD_NOT_ALLOWED, READ_TOKEN, Stage, WEBHOOK_TOKEN};

#[tokio::test]
async fn every_error_is_a_problem_document() {
    let stage = Stage::new().await;
    let _switchyard = stage.start().await;
    for (method, path, body, status) in [
        (Method::GET, "/nowhere", "", 404),
        (Method::GET, "/api/v1/fleets/nobody", "", 404),
        (Method::GET, "/api/v1/plan?fleet=nobody", "", 404),
        (Method::GET, "/api/v1/explain?fleet=nobody", "", 404),
        (Method::GET, "/api/v1/history?limit=many", "", 400),
        (Method::GET, "/api/v1/history?limit=-1", "", 400),
        (Method::GET, "/api/v1/plan?flet=rnd", "", 400),
        (Method::POST, "/api/v1/fleets", "{}", METHOD_NOT_ALLOWED),
        (Method::GET, "/api/v1/fleets/rnd/switch", "", METHOD_NOT_ALLOWED),
        (Method::POST, "/metrics", "", METHOD_NOT_ALLOWED),
        (Method::POST, "/api/v1/fleets/rnd/switch", "", 400),
        (Method::POST, "/api/v1/fleets/rnd/switch", r#"{"to":"green"}"#, 400),
        (
            Method::POST,
            "/api/v1/fleets/rnd/switch",
            r#"{"to":"GREEN!","from":null,"reason":"r","author":"a"}"#,
            400,
        ),
        (
            Method::POST,
            "/api/v1/fleets/rnd/switch",
            r#"{"to":"green","from":"blue","reason":" ","author":"a"}"#,
            400,
        ),
        (
            Method::POST,
            "/api/v1/fleets/rnd/switch",
            r#"{"to":"red","from":"blue","reason":"r","author":"a"}"#,
            404,
        ),
        (
            Method::POST,
            "/api/v1/fleets/nobody/switch",
            r#"{"to":"green","from":"blue","reason":"r","author":"a"}"#,
            404,
        ),
        (
            Method::POST,
            "/api/v1/fleets/rnd/pause",
            r#"{"expected_holder":"blue","reason":"r","author":"a","for":"-1h"}"#,
            400,
        ),
        (
            Method::POST,
            "/api/v1/pause",
            r#"{"expected_holders":{"rnd":"blue"},"reason":"r","author":"a","for":"99999999h"}"#,
            400,
        ),
        (Method::POST, "/api/v1/pause", r#"{"reason":"r","author":"a","forr":"1h"}"#, 400),
    ] {
        let answer = stage.send(method.clone(), path, API_TOKEN, body.as_bytes().to_vec()).await.unwrap();
        assert_eq!(answer.status, status, "{method} {path} {body}: {answer:?}");
        assert!(!answer.problem(status).is_empty(), "{method} {path} {body}");
    }
    assert!(stage.written().is_empty());
}

#[tokio::test]
async fn a_switch_answers_with_its_generation_or_with_the_outcome() {
    let stage = Stage::new().await;
    let _switchyard = stage.start().await;
    let answer = stage.switch("green", "blue").await;
    answer.problem(409);
    assert_eq!(answer.json()["outcome"], "unexpected_holder");
    stage.standins.says().well.insert("green", 0.5);
    let answer = stage.switch("blue", "green").await;
    answer.problem(409);
    assert_eq!(answer.json()["outcome"], "held:target_able");
    stage.standins.says().well.insert("green", 1.0);
    let answer = stage.switch("blue", "green").await;
    assert_eq!((answer.status, &answer.json()["generation"]), (200, &json!(2)), "{answer:?}");
    stage.fleet_until("green holds", |fleet| fleet["decision"]["state"] == "done").await;
    let history = stage.get("/api/v1/history?fleet=rnd&limit=1000").await.json();
    let decision =
        history.as_array().unwrap().iter().find(|e| e["decision"]["generation"] == 2).unwrap().clone();
    assert_eq!(decision["decision"]["author"], "ada");
    let newest = stage.get("/api/v1/history?limit=1").await.json();
    assert_eq!(newest.as_array().unwrap().len(), 1);
    assert_eq!(newest[0], history[0], "newest first");
}

#[tokio::test]
async fn many_who_ask_at_once_get_one_move() {
    let stage = Stage::new().await;
    let _switchyard = stage.start().await;
    let answers = futures::future::join_all((0..8).map(|_| stage.switch("blue", "green"))).await;
    let decided = answers.iter().filter(|a| a.status == 200 && !a.json()["generation"].is_null()).count();
    assert_eq!(decided, 1, "{answers:#?}");
    for answer in answers.iter().filter(|a| a.status != 200) {
        answer.problem(409);
    }
    stage
        .fleet_until("green holds", |fleet| fleet["decision"]["state"] == "done" && fleet["generation"] == 2)
        .await;
    assert_eq!(stage.written().len(), 4, "two got the tag, two lost it, each once");
}

#[tokio::test]
async fn reading_needs_its_token_when_there_is_one() {
    let mut stage = Stage::new().await;
    stage.settings["api"]["read_token_file"] = json!(stage.secret("read", READ_TOKEN));
    let _switchyard = stage.start().await;
    let paths = [
        "/api/v1/fleets",
        "/api/v1/fleets/rnd",
        "/api/v1/holders",
        "/api/v1/plan",
        "/api/v1/explain",
        "/api/v1/history",
    ];
    for path in paths {
        for (token, status) in [("", 401), (WEBHOOK_TOKEN, 401), (READ_TOKEN, 200), (API_TOKEN, 200)] {
            let answer = stage.send(Method::GET, path, token, Vec::new()).await.unwrap();
            assert_eq!(answer.status, status, "{path} with {token:?}");
        }
    }
    let body = br#"{"expected_holders":{"rnd":"blue"},"reason":"r","author":"a"}"#.to_vec();
    let answer = stage.send(Method::POST, "/api/v1/pause", READ_TOKEN, body).await.unwrap();
    answer.problem(401);
    for path in ["/metrics", "/-/healthy", "/-/ready"] {
        assert_eq!(stage.get(path).await.status, 200, "{path} is for machines");
    }
}

#[tokio::test]
async fn it_is_ready_after_the_first_look_and_not_before() {
    let mut stage = Stage::new().await;
    // GitLab accepts and never answers: the first look takes until its limit.
    let hangs = switchyard_lab::gitlab::Fault::new(
        switchyard_lab::gitlab::Match::any(),
        switchyard_lab::gitlab::Kind::Hang,
    );
    stage.gitlab.admin().fault(hangs);
    stage.settings["gitlab"]["timeout"] = json!("5s");
    stage.configure();
    let config = stage.dir().join("switchyard.toml").display().to_string();
    let here = stage.address.to_string();
    let mut process =
        stage.launch("serve", &["serve", "--config.file", &config, "--web.listen-address", &here]);
    let probe = async || Ok(stage.send(Method::GET, "/-/ready", "", Vec::new()).await?);
    let first = process.ready(Duration::from_secs(60), probe).await.unwrap();
    assert_eq!(first.header("retry-after"), "1");
    first.problem(503);
    assert_eq!(stage.get("/-/healthy").await.status, 200);
    // Nothing is known yet, which is not the same as nothing is there.
    for path in ["/api/v1/fleets", "/api/v1/fleets/rnd", "/api/v1/explain?fleet=rnd"] {
        stage.get(path).await.problem(503);
    }
    stage.switch("blue", "green").await.problem(503);
    // Who holds it as decided is known all the same, nobody, and a person can stop what may come.
    assert_eq!(stage.get("/api/v1/holders").await.json(), json!({"rnd": null}));
    for args in [&["pause", "rnd"][..], &["pause", "--all"], &["resume", "--all"]] {
        let said = stage.cli(&[args, &["--reason", "early"]].concat()).await;
        assert!(said.code == 0 && said.stderr.contains("rnd is held by nobody"), "{args:?}: {said:?}");
    }
    stage.gitlab.admin().clear_faults();
    stage.fleet_until("it has looked", |fleet| fleet["paused"] == true).await;
    assert_eq!(stage.get("/-/ready").await.status, 200);
}

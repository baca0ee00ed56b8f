//! Token files that are replaced, emptied and removed while the program runs.

use std::fs;

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::json;
use switchyard_lab::{
    gitlab::TokenSpec,
    wait::{PATIENCE, until},
};

use crate::stage::{API_TOKEN, READ_TOKEN, Stage, WEBHOOK_TOKEN, alert, message};

struct Asked {
    key: &'static str,
    file: &'static str,
    method: Method,
    path: &'static str,
    body: serde_json::Value,
    token: &'static str,
}

fn asked() -> Vec<Asked> {
    vec![
        Asked {
            key: "webhook.token_file",
            file: "webhook",
            method: Method::POST,
            path: "/api/v1/alerts",
            body: message(&[alert("f", "failback", "green", None)]),
            token: WEBHOOK_TOKEN,
        },
        Asked {
            key: "api.token_file",
            file: "api",
            method: Method::POST,
            path: "/api/v1/resume",
            body: json!({"expected_holders": {"rnd": "blue"}, "reason": "test", "author": "ada"}),
            token: API_TOKEN,
        },
        Asked {
            key: "api.read_token_file",
            file: "read",
            method: Method::GET,
            path: "/api/v1/fleets",
            body: json!(null),
            token: READ_TOKEN,
        },
    ]
}

async fn status(stage: &Stage, asked: &Asked, token: &str) -> Result<u16> {
    let body = asked.body.to_string().into_bytes();
    let answer = stage.send(asked.method.clone(), asked.path, token, body).await?;
    // Who is told to come again may reach another replica.
    ensure!(
        (answer.status == 503) == (answer.header("connection") == "close"),
        "{}",
        answer.header("connection")
    );
    Ok(answer.status)
}

async fn answers(stage: &Stage, asked: &Asked, token: &str, wanted: u16) {
    until(PATIENCE, &format!("{} answers {wanted}", asked.path), async || {
        let status = status(stage, asked, token).await?;
        ensure!(status == wanted, "{status}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_replaced_token_counts_at_once_and_the_old_one_no_more() {
    let mut stage = Stage::new().await;
    stage.settings["api"]["read_token_file"] = json!(stage.secret("read", READ_TOKEN));
    let mut process = stage.serve_clear(&[]).await;
    stage.fleet_until("it runs", |_| true).await;
    for asked in asked() {
        let good = [("credential", asked.key)];
        answers(&stage, &asked, asked.token, 200).await;
        stage.metric_until("switchyard_credential_file_good", &good, 1.0).await;

        let rotated = format!("rotated-{}", asked.file);
        stage.secret(asked.file, &format!("{rotated}\n"));
        answers(&stage, &asked, &rotated, 200).await;
        assert_eq!(status(&stage, &asked, asked.token).await.unwrap(), 401, "{}", asked.key);

        // Broken: nobody is let in, not even with nothing.
        let refused = if asked.file == "read" { 401 } else { 503 };
        stage.secret(asked.file, "\n");
        answers(&stage, &asked, &rotated, refused).await;
        assert_eq!(status(&stage, &asked, "").await.unwrap(), refused);
        stage.metric_until("switchyard_credential_file_good", &good, 0.0).await;
        fs::remove_file(stage.dir().join(asked.file)).unwrap();
        let gone = format!("cannot read {}", stage.dir().join(asked.file).display());
        until(PATIENCE, "the log says that it is gone", async || {
            ensure!(stage.log("switchyard").contains(&gone));
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(status(&stage, &asked, &rotated).await.unwrap(), refused);

        stage.secret(asked.file, asked.token);
        answers(&stage, &asked, asked.token, 200).await;
        stage.metric_until("switchyard_credential_file_good", &good, 1.0).await;
        assert_eq!(status(&stage, &asked, &rotated).await.unwrap(), 401);
    }
    assert!(process.exited().unwrap().is_none());
    let log = stage.log("switchyard");
    for secret in [WEBHOOK_TOKEN, API_TOKEN, READ_TOKEN, "rotated-"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    let said = log.lines().filter(|line| line.contains("a token cannot be read")).count();
    assert_eq!(said, 6, "once for each thing that is wrong:\n{log}");
}

#[tokio::test]
async fn gitlabs_token_is_replaced_without_a_restart() {
    let stage = Stage::new().await;
    let _process = stage.serve_clear(&[]).await;
    stage.metric_until("switchyard_gitlab_up", &[], 1.0).await;
    // An unreadable file changes nothing: the token in use is still good.
    stage.secret("gitlab", "");
    let good = [("credential", "gitlab.token_file")];
    stage.metric_until("switchyard_credential_file_good", &good, 0.0).await;
    let passes = stage.metric("switchyard_passes_total", &[]).await.unwrap();
    until(PATIENCE, "a pass has gone by", async || {
        ensure!(stage.metric("switchyard_passes_total", &[]).await.unwrap() > passes + 1.0);
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(stage.metric("switchyard_gitlab_up", &[]).await, Some(1.0));

    let next = stage.gitlab.admin().create_token(TokenSpec::admin("next", &["read_api", "manage_runner"]));
    stage.secret("gitlab", &next);
    stage.metric_until("switchyard_credential_file_good", &good, 1.0).await;
    assert_eq!(stage.switch("blue", "green").await.status, 200);
    stage.fleet_until("the move is done", |fleet| fleet["decision"]["state"] == "done").await;
    let changes = stage.gitlab.admin().changes();
    assert!(changes.iter().all(|change| change.token == "next") && !changes.is_empty(), "{changes:?}");
    assert!(!stage.log("switchyard").contains(&next));
}

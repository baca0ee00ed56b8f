//! What the webhook answers, as `docs/api.md` says it, and what is kept of what it took.

use std::collections::BTreeMap;

use anyhow::ensure;
use reqwest::Method;
use serde_json::json;
use sqlx::{Connection, SqliteConnection};
use switchyard_lab::{
    parts::skipped,
    wait::{PATIENCE, until},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::stage::{METHOD_NOT_ALLOWED, Stage, WEBHOOK_TOKEN, alert, message};

const PATH: &str = "/api/v1/alerts";

/// Sends bytes as they are and gives the status of the answer.
async fn raw(stage: &Stage, headers: &str, body: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: switchyard\r\nAuthorization: Bearer {WEBHOOK_TOKEN}\r\n{headers}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()["HTTP/1.1 ".len()..].parse().unwrap()
}

#[tokio::test]
async fn every_webhook_has_its_documented_answer_and_is_counted() {
    let stage = Stage::new().await;
    let _switchyard = stage.start().await;
    let mut wanted: BTreeMap<u16, f64> = BTreeMap::new();
    let firing = message(&[alert("f1", "failover", "green", None)]).to_string();
    let wrong_version = firing.replace(r#""version":"4""#, r#""version":"5""#);
    for (what, method, token, body, status) in [
        ("firing", Method::POST, WEBHOOK_TOKEN, firing.as_str(), 200),
        ("a duplicate", Method::POST, WEBHOOK_TOKEN, &firing, 200),
        ("no credential", Method::POST, "", &firing, 401),
        ("a wrong credential", Method::POST, "webhook-secret-3f9d", &firing, 401),
        ("no body", Method::POST, WEBHOOK_TOKEN, "", 400),
        ("half a message", Method::POST, WEBHOOK_TOKEN, &firing[..firing.len() / 2], 400),
        ("other JSON", Method::POST, WEBHOOK_TOKEN, "[]", 400),
        ("another version", Method::POST, WEBHOOK_TOKEN, &wrong_version, 400),
        ("a method for reading", Method::GET, WEBHOOK_TOKEN, "", METHOD_NOT_ALLOWED),
        ("another method", Method::PUT, WEBHOOK_TOKEN, &firing, METHOD_NOT_ALLOWED),
    ] {
        let answer = stage.send(method, PATH, token, body.as_bytes().to_vec()).await.unwrap();
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        if status != 200 {
            assert!(!answer.problem(status).is_empty(), "{what}");
        }
        match status {
            401 => assert_eq!(answer.header("www-authenticate"), "Bearer", "{what}"),
            METHOD_NOT_ALLOWED => assert_eq!(answer.header("allow"), "POST", "{what}"),
            _ => {}
        }
        *wanted.entry(status).or_default() += 1.0;
    }

    // Too large: as announced, before any of it is read, and in chunks that announce nothing.
    assert_eq!(raw(&stage, "Content-Length: 65537", b"").await, 413);
    let chunk = [format!("{:x}\r\n", 65537).as_bytes(), &[b' '; 65537], b"\r\n"].concat();
    assert_eq!(raw(&stage, "Transfer-Encoding: chunked", &chunk).await, 413);
    *wanted.entry(413).or_default() += 2.0;
    let largest = format!("{firing}{}", " ".repeat(65536 - firing.len()));
    let answer = stage.send(Method::POST, PATH, WEBHOOK_TOKEN, largest.into_bytes()).await.unwrap();
    assert_eq!(answer.status, 200, "the limit itself is allowed");
    *wanted.entry(200).or_default() += 1.0;

    // Cut short: the connection ends in the middle, which is no fault of the message. It may come again at once.
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: switchyard\r\nAuthorization: Bearer {WEBHOOK_TOKEN}\r\n\
         Content-Length: {}\r\n\r\n",
        firing.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&firing.as_bytes()[..50]).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    *wanted.entry(503).or_default() += 1.0;

    for (status, count) in wanted {
        let code = status.to_string();
        stage.metric_until("switchyard_webhook_requests_total", &[("code", &code)], count).await;
    }
    assert_eq!(stage.signals().await, [("f1".to_owned(), "firing".to_owned())]);
    for (outcome, count) in [("new", 1.0), ("unchanged", 2.0)] {
        let labels = [("action", "failover"), ("outcome", outcome)];
        assert_eq!(stage.metric("switchyard_alerts_received_total", &labels).await, Some(count), "{outcome}");
    }
}

#[tokio::test]
async fn what_is_not_for_switchyard_is_answered_and_counted_by_reason() {
    let stage = Stage::new().await;
    let _switchyard = stage.start().await;
    let mut alerts = Vec::new();
    for (label, value) in [
        ("switchyard", json!("")),
        ("switchyard", json!("reboot")),
        ("fleet", json!("")),
        ("runner_cluster", json!("")),
        ("fleet", json!("nobody")),
        ("runner_cluster", json!("red")),
        ("target", json!("red")),
    ] {
        let mut wrong = alert("f", "failover", "blue", None);
        wrong["labels"][label] = value;
        alerts.push(wrong);
    }
    alerts.push(alert("", "failover", "blue", None));
    for (key, value) in [("startsAt", json!("soon")), ("status", json!("perhaps"))] {
        let mut wrong = alert("f", "failover", "blue", None);
        wrong[key] = value;
        alerts.push(wrong);
    }
    alerts.push(alert("good", "watchdog", "", None));
    let answer = stage.alert(&message(&alerts)).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"accepted": 1, "ignored": 10})));
    for (outcome, count) in [
        ("not_for_us", 1.0),
        ("unknown_action", 1.0),
        ("missing_label", 2.0),
        ("unknown_fleet", 1.0),
        ("unknown_cluster", 1.0),
        ("unknown_target", 1.0),
        ("bad_timestamp", 1.0),
        ("unknown_status", 1.0),
        ("malformed", 1.0),
    ] {
        let labels = [("action", "none"), ("outcome", outcome)];
        assert_eq!(stage.metric("switchyard_alerts_received_total", &labels).await, Some(count), "{outcome}");
    }
    assert_eq!(
        stage.signals().await,
        [("good".to_owned(), "firing".to_owned())],
        "one bad one spoils nothing"
    );
}

#[tokio::test]
async fn news_in_any_order_ends_the_same_and_old_news_reopens_nothing() {
    let stage = Stage::new().await;
    let _switchyard = stage.start().await;
    let (firing, resolved) =
        (alert("a", "failover", "green", None), alert("a", "failover", "green", Some(60)));
    for told in [&resolved, &firing, &resolved, &firing] {
        assert_eq!(stage.alert(&message(std::slice::from_ref(told))).await.status, 200);
    }
    // In one message, too.
    let (firing, resolved) =
        (alert("b", "failover", "green", None), alert("b", "failover", "green", Some(60)));
    assert_eq!(stage.alert(&message(&[resolved, firing])).await.status, 200);
    let told = stage.signals().await;
    assert_eq!(told, ["a", "b"].map(|name| (name.to_owned(), "resolved".to_owned())));
    let late = [("action", "failover"), ("outcome", "late")];
    assert_eq!(stage.metric("switchyard_alerts_received_total", &late).await, Some(3.0));
}

#[tokio::test]
async fn what_was_answered_200_survives_a_kill() {
    let stage = Stage::new().await;
    let mut switchyard = stage.start().await;
    let sent = (0..40).map(async |number| {
        let alerts = [alert(&format!("f{number:02}"), "failback", "green", None)];
        stage.alert(&message(&alerts)).await.status
    });
    let answers = futures::future::join_all(sent).await;
    switchyard.kill9().await.unwrap();
    assert_eq!(answers, [200; 40]);
    switchyard.restart().await.unwrap();
    let kept: Vec<String> = stage.signals().await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(kept, (0..40).map(|number| format!("f{number:02}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_failover_alert_taken_before_a_kill_moves_the_fleet_after_it() {
    let stage = Stage::new().await;
    let mut switchyard = stage.start().await;
    // Blind as long as there is no watchdog: the alert is taken and nothing moves.
    stage.standins.says().well.insert("blue", 0.0);
    assert_eq!(stage.alert(&message(&[alert("f", "failover", "blue", None)])).await.status, 200);
    stage.fleet_until("it is held", |fleet| fleet["outcome"] == "held:eyes_open").await;
    switchyard.kill9().await.unwrap();
    switchyard.restart().await.unwrap();
    assert_eq!(stage.alert(&message(&[alert("w", "watchdog", "", None)])).await.status, 200);
    stage
        .fleet_until("green holds", |fleet| {
            fleet["decision"]["state"] == "done" && fleet["decision"]["to"] == "green"
        })
        .await;
    assert_eq!(stage.gitlab.admin().holders("rnd-runner"), stage.green);
}

#[tokio::test]
async fn a_truncated_message_sends_switchyard_to_alertmanager_at_once() {
    let stage = Stage::new().await;
    let _switchyard = stage.start().await;
    stage.metric_until("switchyard_alertmanager_up", &[], 1.0).await;
    let polls = stage.standins.says().polls;
    let mut left_out = alert("left-out", "failover", "green", None);
    left_out["status"] = json!({"state": "active", "silencedBy": [], "inhibitedBy": []});
    left_out["updatedAt"] = json!("2026-01-01T00:00:01Z");
    stage.standins.says().alerts = vec![left_out];

    let whole = message(&[alert("told", "failover", "green", None)]);
    assert_eq!(stage.alert(&whole).await.status, 200);
    assert_eq!(stage.alert(&whole).await.status, 200);
    assert_eq!(stage.standins.says().polls, polls, "a whole message asks nobody");

    let mut cut = whole;
    cut["truncatedAlerts"] = json!(1);
    assert_eq!(stage.alert(&cut).await.status, 200);
    // The next regular poll is an hour away.
    until(PATIENCE, "the alert that was left out is stored", async || {
        let signals = stage.signals().await;
        ensure!(signals.iter().any(|(name, _)| name == "left-out"), "{signals:?}");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(stage.standins.says().polls, polls + 1);
}

#[tokio::test]
async fn without_a_credential_the_webhook_is_for_loopback_only() {
    let mut stage = Stage::new().await;
    stage.settings["webhook"].as_object_mut().unwrap().remove("token_file");
    let port = stage.address.port();
    stage.address = ([0, 0, 0, 0], port).into();
    let _switchyard = stage.start().await;
    stage.address = ([127, 0, 0, 1], port).into();
    let body = message(&[alert("f", "failover", "green", None)]).to_string().into_bytes();
    let answer = stage.send(Method::POST, PATH, "", body.clone()).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");

    // Nothing is sent: this only asks the kernel for the address of this machine.
    let probe = tokio::net::UdpSocket::bind("0.0.0.0:0").await.unwrap();
    let own = match probe.connect("192.0.2.1:9").await {
        Ok(()) => probe.local_addr().unwrap().ip(),
        Err(error) => return skipped(&format!("this machine has no address but loopback: {error}")),
    };
    stage.address = (own, port).into();
    let answer = stage.send(Method::POST, PATH, "", body).await.unwrap();
    assert!(answer.problem(403).contains("webhook.token_file"), "{answer:?}");
    stage.metric_until("switchyard_webhook_requests_total", &[("code", "403")], 1.0).await;
}

#[tokio::test]
async fn while_the_store_cannot_write_the_sender_is_asked_to_come_again() {
    let stage = Stage::new().await;
    let _switchyard = stage.start().await;
    // Somebody looks into the file with a tool that locks it, for longer than Switchyard waits.
    let mut other: SqliteConnection = stage.open_store().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let told = message(&[alert("f", "failover", "green", None)]);
    let answer = stage.alert(&told).await;
    assert!(answer.problem(503).contains("try again"), "{answer:?}");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(stage.get("/-/healthy").await.status, 200);
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    assert_eq!(stage.signals().await, [], "503 means that nothing was taken");
    assert_eq!(stage.alert(&told).await.status, 200);
    assert_eq!(stage.signals().await.len(), 1);
    stage.metric_until("switchyard_webhook_requests_total", &[("code", "503")], 1.0).await;
}

//! Faults, outages, rate limits: how a GitLab breaks.

use std::time::Duration;

use serde_json::json;
use switchyard_lab::{
    gitlab::{
        Admin, Config, Fault, Kind, Match, Outage, RateLimit, RateLimitShape, RunnerSpec, Simulator,
        TokenSpec,
    },
    wait::PATIENCE,
};

use crate::client::{Client, start};

#[tokio::test]
async fn a_write_can_be_done_and_its_answer_lost() {
    let (gitlab, client) = start();
    let admin = gitlab.admin();
    let id = admin.create_runner(RunnerSpec::new("blue", &["a"])).id;
    let url = format!("{}/api/v4/runners/{id}", gitlab.url());
    let put = async |tags: &str| {
        let body = json!({ "tag_list": tags }).to_string();
        client.try_send("PUT", url.clone(), "application/json", &body).await
    };
    admin.fault(Fault::new(Match::operation("^update_runner$"), Kind::ResetBefore).times(1));
    assert!(put("b").await.is_err());
    assert_eq!(admin.tags(id), ["a"]);
    admin.fault(Fault::new(Match::path("PUT", "/runners/"), Kind::ResetAfterCommit).times(1));
    assert!(put("c").await.is_err());
    assert_eq!(admin.tags(id), ["c"]);
    admin.fault(Fault::new(Match { body: Some("timeout".into()), ..Match::any() }, Kind::TimeoutAfterCommit));
    let committed = admin.until("committed", PATIENCE, |admin| (admin.tags(id) == ["timeout"]).then_some(()));
    tokio::select! {
        answer = put("timeout") => panic!("{answer:?}"),
        () = committed => {}
    }
    let given_up = async |name: &str| {
        let logged =
            |admin: &Admin| admin.requests().iter().any(|l| l.fault.as_deref() == Some(name)).then_some(());
        admin.until("given up", PATIENCE, logged).await;
        assert_eq!(admin.held_requests(), 0);
    };
    given_up("timeout_after_commit").await;
    assert_eq!(admin.tags(id), ["timeout"]);
    admin.fault(Fault::new(Match { body: Some("hang".into()), ..Match::any() }, Kind::Hang));
    // Held for as long as the client waits.
    let held = admin.until("held", PATIENCE, |admin| (admin.held_requests() == 1).then_some(()));
    tokio::select! {
        answer = put("hang") => panic!("{answer:?}"),
        () = held => {}
    }
    given_up("hang").await;
    assert_eq!(admin.tags(id), ["timeout"]);
    assert_eq!(put("d").await.unwrap().status, 200);
    let log = admin.requests();
    let seen: Vec<_> = log.iter().map(|l| (l.status, l.fault.as_deref())).collect();
    let lost = |name| (0, Some(name));
    let expected = [
        lost("reset_before"),
        lost("reset_after_commit"),
        lost("timeout_after_commit"),
        lost("hang"),
        (200, None),
    ];
    assert_eq!(seen, expected);
    assert_eq!((admin.count("update_runner"), log[0].token.as_str()), (5, "switchyard"));
}

#[tokio::test]
async fn bodies_are_not_always_json() {
    let (gitlab, client) = start();
    let admin = gitlab.admin();
    let get = async || client.get("/runners/all").await;
    for (kind, status, part) in [
        (Kind::BadGateway, 502, "<center><h1>502 Bad Gateway</h1></center>"),
        (Kind::Unavailable, 503, "503 Service Temporarily Unavailable"),
        (Kind::NonJson, 200, "<html>"),
        (Kind::Forbidden, 403, "403 Forbidden"),
        (Kind::Status { status: 418, body: "teapot".into() }, 418, "teapot"),
        (Kind::RateLimitedText { retry_after: 7 }, 429, "Retry later"),
        (Kind::RateLimitedJson, 429, "This endpoint has been requested too many times"),
        (Kind::RateLimitedJsonRetryAfter { retry_after: 7 }, 429, "This endpoint"),
    ] {
        admin.fault(Fault::new(Match::any(), kind.clone()).times(1));
        let answer = get().await;
        assert_eq!(answer.status, status, "{kind:?}");
        assert!(answer.text.contains(part), "{kind:?}: {}", answer.text);
        let after = answer.headers.get("retry-after").map(|v| v.to_str().unwrap());
        let expected = match kind {
            Kind::RateLimitedText { .. } | Kind::RateLimitedJsonRetryAfter { .. } => Some("7"),
            _ => None,
        };
        assert_eq!(after, expected, "{kind:?}");
    }
    assert_eq!(get().await.status, 200);
    admin.fault(Fault::new(Match::any(), Kind::TruncatedBody).times(1));
    let url = format!("{}/api/v4/runners/all", gitlab.url());
    assert!(client.try_send("GET", url, "application/json", "").await.is_err());
    admin.fault(Fault::new(Match::any(), Kind::SlowBody { ms: 1 }).times(1));
    assert_eq!(get().await.json(), json!([]));
}

#[tokio::test]
async fn faults_have_chance_count_and_patience() {
    let (gitlab, client) = start();
    let admin = gitlab.admin();
    let statuses = async || {
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(client.get("/runners/all").await.status);
        }
        seen
    };
    admin.fault(Fault::new(Match::operation("list_all_runners"), Kind::Unavailable).after(1).times(2));
    assert_eq!(statuses().await, [200, 503, 503, 200]);
    admin.fault(Fault::new(Match::any(), Kind::Unavailable).with_probability(0.0));
    assert_eq!(statuses().await, [200; 4]);
    // The same over HTTP.
    let fault = json!({ "match": { "operation": "list_all" }, "kind": "status", "status": 500, "count": 1 });
    assert_eq!(client.lab_post("/faults", json!([fault])).await.status, 200);
    assert_eq!(statuses().await, [500, 200, 200, 200]);
    let wrong = json!({ "match": { "colour": "red" }, "kind": "hang" });
    assert_eq!(client.lab_post("/faults", wrong).await.status, 400);
}

#[tokio::test]
async fn a_replica_lags_by_writes_or_seconds() {
    let (gitlab, client) = start();
    let admin = gitlab.admin();
    let id = admin.create_runner(RunnerSpec::new("blue", &["a"])).id;
    let query = "{ runners { nodes { tagList contactedAt } } }";
    let read = async || client.graphql(query, json!({})).await.json()["data"]["runners"]["nodes"].clone();
    admin.fault(Fault::new(Match::any(), Kind::StaleReplica { writes: 1, seconds: 0 }));
    assert_eq!(read().await, json!([]));
    client.put(&format!("/runners/{id}"), json!({ "tag_list": "a,b" })).await;
    admin.heartbeat(id, "s_1");
    let row = read().await[0].clone();
    assert_eq!(row["tagList"], json!(["a"]));
    // Contacts come from Redis: never late.
    assert!(row["contactedAt"].is_string());
    // The detail of one runner is read from the primary.
    assert_eq!(client.get(&format!("/runners/{id}")).await.json()["tag_list"], json!(["a", "b"]));
    assert_eq!(client.ids("/runners/all?tag_list=b").await, [0u64; 0]);
    admin.clear_faults();
    assert_eq!(read().await[0]["tagList"], json!(["a", "b"]));
    admin.fault(Fault::new(Match::any(), Kind::StaleReplica { writes: 0, seconds: 60 }));
    assert_eq!(read().await, json!([]));
    admin.advance(jiff::SignedDuration::from_secs(61));
    assert_eq!(read().await[0]["tagList"], json!(["a", "b"]));
}

#[tokio::test]
async fn the_whole_instance_can_go_away_and_come_back() {
    let (gitlab, client) = start();
    let admin = gitlab.admin();
    admin.outage(Outage::BadGateway);
    assert_eq!(client.get("/runners/all").await.status, 502);
    assert_eq!(client.graphql("{ currentUser { id } }", json!({})).await.status, 502);
    admin.outage(Outage::Refuse);
    let url = format!("{}/api/v4/version", gitlab.url());
    let get = async || client.try_send("GET", url.clone(), "application/json", "").await;
    admin
        .until("refused", PATIENCE, |_| std::net::TcpStream::connect(gitlab.address()).err().map(|_| ()))
        .await;
    assert!(get().await.is_err());
    admin.outage(Outage::None);
    admin.until("back", PATIENCE, |_| std::net::TcpStream::connect(gitlab.address()).ok()).await;
    assert_eq!(get().await.unwrap().status, 200);
    let address = gitlab.address();
    drop(gitlab);
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[tokio::test]
async fn a_rate_limit_counts_per_token_and_names_its_reset() {
    let (gitlab, client) = start();
    let admin = gitlab.admin();
    let limit = |shape| RateLimit { requests: 2, window: Duration::from_secs(60), shape };
    admin.rate_limit(Some(limit(RateLimitShape::Text)));
    let number = |answer: &crate::client::Answer, name: &str| -> i64 {
        answer.headers.get(name).unwrap_or_else(|| panic!("{name}")).to_str().unwrap().parse().unwrap()
    };
    let first = client.get("/runners/all").await;
    assert_eq!((number(&first, "ratelimit-limit"), number(&first, "ratelimit-remaining")), (2, 1));
    let reset = number(&first, "ratelimit-reset");
    let now = admin.now().as_second();
    assert!((now + 55..=now + 62).contains(&reset), "an absolute time: {reset} at {now}");
    assert_eq!(client.get("/runners/all").await.status, 200);
    let refused = client.get("/runners/all").await;
    assert_eq!((refused.status, refused.text.as_str()), (429, "Retry later\n"));
    assert_eq!(number(&refused, "ratelimit-remaining"), 0);
    assert!((1..=61).contains(&number(&refused, "retry-after")));
    admin.advance(jiff::SignedDuration::from_secs(61));
    assert_eq!(client.get("/runners/all").await.status, 200);
    admin.rate_limit(Some(limit(RateLimitShape::Json)));
    for _ in 0..2 {
        assert!(client.get("/runners/all").await.headers.get("ratelimit-limit").is_none());
    }
    let refused = client.get("/runners/all").await;
    assert_eq!(refused.status, 429);
    assert!(refused.headers.get("retry-after").is_none() && refused.json()["message"]["error"].is_string());
}

/// The clock of the simulator is the one in its answers.
#[tokio::test]
async fn the_date_header_moves_with_the_clock() {
    let (gitlab, client) = start();
    gitlab.admin().advance(jiff::SignedDuration::from_hours(24 * 400));
    let answer = client.get("/version").await;
    let date = jiff::fmt::rfc2822::parse(answer.headers["date"].to_str().unwrap()).unwrap().timestamp();
    assert!(gitlab.admin().now().duration_since(date).abs() < jiff::SignedDuration::from_secs(10));
}

/// One switch: what reads goes on, what writes does not, by whichever way.
#[tokio::test]
async fn maintenance_mode_reads_and_does_not_write() {
    let (gitlab, client) = start();
    let admin = gitlab.admin();
    let blue = admin.create_runner(RunnerSpec::new("blue", &["a"]));
    assert_eq!(client.lab_post("/outage", json!({ "mode": "maintenance" })).await.status, 200);
    let text = "You cannot perform write operations on a read-only instance";
    let path = format!("/runners/{}", blue.id);
    let put = async || client.put(&path, json!({ "paused": true })).await;
    let begun = |_: &Admin| Some(()).filter(|()| admin.state()["outage"] == "maintenance");
    admin.until("the switch is thrown", PATIENCE, begun).await;
    let refused = put().await;
    assert_eq!((refused.status, refused.json()), (503, json!({ "message": text })));
    assert_eq!(client.get("/runners/all").await.status, 200);
    assert_eq!(
        client.graphql("{ runners { count } }", json!({})).await.json()["data"]["runners"]["count"],
        1
    );
    let pause = format!(
        "mutation {{ runnerUpdate(input: {{ id: \"gid://gitlab/Ci::Runner/{}\", paused: true }}) {{ errors }} }}",
        blue.id
    );
    let mutation = client.graphql(&pause, json!({})).await;
    assert_eq!((mutation.status, mutation.json()), (200, json!({ "errors": [{ "message": text }] })));
    let poll = async || client.post("/jobs/request", json!({ "token": blue.token })).await.status;
    assert_eq!(poll().await, 503);
    // What puts runners to sleep is a 403 on their polls.
    admin.fault(Fault::new(Match::operation("^request_job$"), Kind::Forbidden).times(1));
    assert_eq!(poll().await, 403);
    assert!(!admin.runner(blue.id).unwrap().paused && admin.changes().is_empty());
    admin.outage(Outage::None);
    assert_eq!((put().await.status, poll().await), (200, 204));
}

#[tokio::test]
async fn a_graphql_query_that_takes_too_long_is_an_error_with_200() {
    let limit = Duration::from_secs(2);
    let gitlab = Simulator::start(Config { graphql_timeout: limit, ..Config::default() });
    let token = gitlab.admin().create_token(TokenSpec::admin("root", &["api"]));
    let client = Client::new(&gitlab, &token);
    let ask = async || client.graphql("{ runners { count } }", json!({})).await;
    let slow = |ms| Fault::new(Match::operation("^graphql_query$"), Kind::Latency { ms }).times(1);
    gitlab.admin().fault(slow(5));
    assert_eq!(ask().await.json()["data"]["runners"]["count"], 0);
    gitlab.admin().fault(slow(600_000));
    let late = ask().await;
    assert_eq!((late.status, late.json()["data"].is_null()), (200, true), "{}", late.text);
    assert!(late.json()["errors"][0]["message"].as_str().unwrap().starts_with("Timeout"), "{}", late.text);
}

//! What people do, against the running program: approving, breaking the glass, sending home, draining, watching.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use anyhow::ensure;
use serde_json::{Value, json};
use switchyard_lab::{
    gitlab::{Fault, JobTemplate, Kind, Match},
    wait::{PATIENCE, until},
};
use tokio::{io::AsyncReadExt as _, sync::Notify};

use crate::stage::{READ_TOKEN, Stage, alert, message};

const WHY: [&str; 2] = ["--reason", "a test"];

/// Blue dies, and the alert comes in.
async fn blue_dies(stage: &Stage) {
    stage.standins.says().well.insert("blue", 0.0);
    let told = [alert("w", "watchdog", "", None), alert("f", "failover", "blue", None)];
    assert_eq!(stage.alert(&message(&told)).await.status, 200);
}

#[tokio::test]
async fn a_failover_waits_for_a_person_who_approves_it() {
    let mut stage = Stage::new().await;
    stage.settings["fleets"]["rnd"]["approval"] = json!("required");
    stage.settings["api"]["read_token_file"] = json!(stage.secret("read", READ_TOKEN));
    stage.settings["web"]["runbook_url"] = json!("https://runbook.test/gates");
    let _switchyard = stage.start().await;
    blue_dies(&stage).await;
    let waits = |fleet: &Value| fleet["outcome"] == "held:approved" && !fleet["proposal"].is_null();
    let fleet = stage.fleet_until("it is proposed", waits).await;
    let id = fleet["proposal"]["id"].to_string();
    assert_eq!((&fleet["proposal"]["from"], &fleet["proposal"]["to"]), (&json!("blue"), &json!("green")));
    stage.metric_until("switchyard_fleet_proposal_pending", &[("fleet", "rnd")], 1.0).await;
    let gate = [("fleet", "rnd"), ("gate", "approved")];
    stage.metric_until("switchyard_gate_open", &gate, 0.0).await;
    let said = stage.cli(&["explain", "rnd"]).await;
    for part in [&format!("proposal {id}: failover to green"), "see: https://runbook.test/gates#approved"] {
        assert!(said.stdout.contains(part), "{part:?} is not in: {}", said.stdout);
    }

    let approve = |holder: &'static str, id: &str| -> Vec<String> {
        ["approve", "rnd", "--proposal", id, "--holder", holder, "--reason", "a test"]
            .map(str::to_owned)
            .into()
    };
    let cli = async |args: Vec<String>| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        stage.cli(&args).await
    };
    let said = cli(approve("green", &id)).await;
    assert!(
        said.code == 1 && said.stderr.contains("rnd is held by blue, not by whom you expect"),
        "{said:?}"
    );
    let said = cli(approve("blue", "999999")).await;
    assert!(said.code == 1 && said.stderr.contains("has no proposal 999999"), "{said:?}");
    let body =
        json!({"proposal": fleet["proposal"]["id"], "expected_holder": "blue", "reason": "r", "author": "a"});
    let path = "/api/v1/fleets/rnd/approve";
    let answer =
        stage.send(reqwest::Method::POST, path, READ_TOKEN, body.to_string().into_bytes()).await.unwrap();
    answer.problem(401);
    let body = json!({"proposal": fleet["proposal"]["id"], "reason": "r", "author": "a"});
    let detail = stage.act(path, body).await.problem(400);
    assert!(detail.contains("`expected_holder` is missing"), "{detail}");
    assert!(stage.written().is_empty(), "nobody has approved it yet");

    let said = cli(approve("blue", &id)).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains(&format!("proposal {id}, the failover to green, is approved")), "{said:?}");
    assert!(said.stderr.contains("runners "), "progress, line by line: {said:?}");
    assert_eq!(stage.gitlab.admin().holders("rnd-runner"), stage.green);
    let story = stage.cli(&["history", "rnd"]).await.stdout;
    assert!(story.contains("(by ada)") && story.contains(&format!("approved as proposal {id}")), "{story}");
}

/// Every address of an action, with what it takes beside the holder.
fn actions() -> [(&'static str, &'static str, Value); 9] {
    [
        ("fleets/rnd/switch", "from", json!({"to": "green"})),
        ("fleets/rnd/failback", "from", json!({})),
        ("fleets/rnd/approve", "expected_holder", json!({"proposal": 1})),
        ("fleets/rnd/reject", "expected_holder", json!({"proposal": 1})),
        ("fleets/rnd/ack", "expected_holder", json!({})),
        ("fleets/rnd/pause", "expected_holder", json!({})),
        ("fleets/rnd/resume", "expected_holder", json!({})),
        ("pause", "expected_holders", json!({})),
        ("resume", "expected_holders", json!({})),
    ]
}

#[tokio::test]
async fn every_action_names_the_holder_and_the_history_says_whom() {
    let mut stage = Stage::new().await;
    let ops = json!({
        "routing_tag": "ops-runner", "prefer": ["green", "blue"],
        "pools": { "blue": { "home_tag": "ops-a" }, "green": { "home_tag": "ops-b" } },
    });
    stage.settings["fleets"]["ops"] = ops;
    let _switchyard = stage.start().await;
    let now = json!({"ops": null, "rnd": "blue"});
    assert_eq!(stage.get("/api/v1/holders").await.json(), now);
    for (path, key, mut body) in actions() {
        let url = format!("/api/v1/{path}");
        (body["reason"], body["author"]) = (json!(format!("{path} for a reason")), json!("eve"));
        let detail = stage.act(&url, body.clone()).await.problem(400);
        assert!(detail.contains(&format!("`{key}` is missing")), "{path}: {detail}");
        let all = key == "expected_holders";
        let bodies = [
            (
                if all { json!({"ops": null, "rnd": "green"}) } else { json!("green") },
                "rnd is held by blue, not by",
            ),
            (
                if all { json!({"rnd": "blue"}) } else { json!(null) },
                if all { "ops is not named" } else { "rnd is held by blue" },
            ),
            (
                if all { json!({"ops": null, "qa": null, "rnd": "blue"}) } else { json!("green") },
                if all { "qa is not configured" } else { "rnd" },
            ),
        ];
        for (i, (wrong, why)) in bodies.into_iter().enumerate() {
            body["reason"] = json!(format!("{path} for reason {i}"));
            body[key] = wrong;
            let answer = stage.act(&url, body.clone()).await;
            let detail = answer.problem(409);
            assert!(detail.contains(why) && detail.ends_with("nothing was done."), "{path}: {detail}");
            assert_eq!(answer.json()["outcome"], "unexpected_holder", "{path}");
            if key != "from" {
                assert_eq!(answer.json()["holders"]["rnd"], "blue", "{path}: {answer:?}");
            }
        }
        body[key] = json!({"rnd": 1});
        stage.act(&url, body.clone()).await.problem(400);
        // One key is not taken for the other.
        let other = if all { "expected_holder" } else { "expected_holders" };
        body[other] = json!("blue");
        stage.act(&url, body).await.problem(400);
    }
    let fleet = stage.get("/api/v1/fleets/rnd").await.json();
    assert_eq!((&fleet["paused"], &fleet["generation"]), (&json!(false), &json!(1)), "nothing was done");
    assert!(stage.written().is_empty());

    // As the command line shows it: what was refused, and then what was done.
    let story = stage.cli(&["history", "--limit", "1000"]).await.stdout;
    for (path, _, _) in actions() {
        for i in 0..3 {
            let reason = format!(" {path} for reason {i} ");
            let told = story.lines().filter(|line| {
                line.contains("(by eve)") && line.contains("expecting ") && line.contains(&reason)
            });
            assert_eq!(told.count(), 1, "{reason:?} is not told: {story}");
        }
    }
    for (args, part) in [
        (
            &["pause", "--all"][..],
            "set pause on all fleets until lifted, expecting ops at nobody and rnd at blue",
        ),
        (
            &["resume", "--all", "--holders", "rnd=blue,ops=none"],
            "lifted pause from all fleets, expecting ops at",
        ),
        (&["pause", "rnd"], "set pause on fleet rnd until lifted, expecting rnd at blue: a test (by ada)"),
        (
            &["resume", "rnd", "--holder", "blue"],
            "lifted pause from fleet rnd, expecting rnd at blue: a test (by ada)",
        ),
        (
            &["pause", "ops", "--holder", "none"],
            "set pause on fleet ops until lifted, expecting ops at nobody",
        ),
    ] {
        let said = stage.cli(&[args, &WHY].concat()).await;
        assert_eq!(said.code, 0, "{args:?}: {said:?}");
        let asked = !args.iter().any(|arg| arg.starts_with("--holder"));
        assert_eq!(said.stderr.contains("rnd is held by blue\n"), asked, "{args:?}: {said:?}");
        let story = stage.cli(&["history"]).await.stdout;
        assert!(story.contains(part), "{part} is not in: {story}");
    }
}

/// Answers `/api/v1/holders` as it was before the fleet moved, so many times; all else comes from Switchyard itself.
async fn out_of_date(stage: &Stage, times: u32) -> (String, Arc<AtomicU32>) {
    let (base, http) = (format!("http://{}", stage.address), reqwest::Client::new());
    let (looks, counted) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let count = counted.clone();
    let front = axum::Router::new().fallback(async move |request: axum::extract::Request| {
        let path = request.uri().path().to_owned();
        if path == "/api/v1/holders" {
            count.fetch_add(1, Ordering::Relaxed);
            if looks.fetch_add(1, Ordering::Relaxed) < times {
                return (axum::http::StatusCode::OK, json!({"rnd": "green"}).to_string());
            }
        }
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let request = http.request(parts.method, format!("{base}{path}")).headers(parts.headers).body(body);
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, front).await.unwrap() });
    (url, counted)
}

#[tokio::test]
async fn a_fleet_that_moves_meanwhile_keeps_nobody_from_stopping_it() {
    let stage = Stage::new().await;
    let _switchyard = stage.start().await;
    for (which, told) in [("rnd", "expecting rnd at blue"), ("--all", "expecting rnd at blue")] {
        for verb in ["pause", "resume"] {
            let (url, looks) = out_of_date(&stage, 2).await;
            let said = stage.cli(&[&[verb, which, "--url", &url][..], &WHY].concat()).await;
            assert_eq!((said.code, looks.load(Ordering::Relaxed)), (0, 3), "{said:?}");
            assert!(said.stderr.ends_with("rnd is held by green\nrnd is held by blue\n"), "{said:?}");
            let story = stage.cli(&["history"]).await.stdout;
            assert!(story.contains(told), "{story}");
        }
    }
    // It gives up some time, and whoever names the holder gets one try.
    let (url, looks) = out_of_date(&stage, u32::MAX).await;
    let said = stage.cli(&[&["pause", "rnd", "--url", &url][..], &WHY].concat()).await;
    assert_eq!((said.code, looks.load(Ordering::Relaxed)), (1, 5), "{said:?}");
    assert!(said.stderr.contains("rnd is held by blue, not by whom you expect"), "{said:?}");
    let said = stage.cli(&[&["pause", "rnd", "--holder", "green"][..], &WHY].concat()).await;
    assert!(said.code == 1 && said.stderr.contains("rnd is held by blue"), "{said:?}");
    stage.fleet_until("it is not paused", |fleet| fleet["paused"] == false).await;
}

#[tokio::test]
async fn a_failover_that_a_person_rejects_does_not_go() {
    let mut stage = Stage::new().await;
    stage.settings["fleets"]["rnd"]["approval"] = json!("required");
    let _switchyard = stage.start().await;
    blue_dies(&stage).await;
    let fleet = stage.fleet_until("it is proposed", |fleet| !fleet["proposal"].is_null()).await;
    let id = fleet["proposal"]["id"].to_string();
    let reject = ["reject", "rnd", "--proposal", &id, "--holder", "blue", "--reason", "blue is rebooted"];
    let said = stage.cli(&reject).await;
    assert!(said.code == 0 && said.stdout.contains("is rejected"), "{said:?}");
    let rejected = |fleet: &Value| fleet["sentence"].as_str().unwrap().contains("was rejected by ada");
    stage.fleet_until("it says so", rejected).await;
    let said = stage.cli(&reject).await;
    assert!(said.code == 1 && said.stderr.contains("was rejected by ada"), "{said:?}");
    assert!(stage.written().is_empty());
}

#[tokio::test]
async fn breaking_the_glass_names_each_gate_and_sending_home_names_the_holder() {
    let stage = Stage::new().await;
    let _switchyard = stage.start().await;
    stage.standins.says().well.insert("green", 0.5);
    let switch = ["switch", "rnd", "--from", "blue", "--to", "green"];
    for (more, code, part) in [
        (&[][..], 3, "held by target_able"),
        (&["--force"], 2, "name each gate with --override GATE"),
        (&["--override", "target_able"], 2, "--force"),
        (
            &["--force", "--override", "target_bale"],
            1,
            "\"target_bale\" is no gate; there are enabled, not_paused",
        ),
        (&["--force", "--override", "single_flight"], 1, "single_flight can never be overridden"),
        (&["--force", "--override", "leader"], 1, "leader can never be overridden"),
        (
            &["--force", "--override", "target_able,window"],
            1,
            "window is open, so there is nothing to override",
        ),
        (&["--force", "--override", "budget"], 1, "budget does not judge a switchover"),
    ] {
        let said = stage.cli(&[&switch[..], more, &WHY].concat()).await;
        assert!(said.code == code && said.stderr.contains(part), "{more:?}: {said:?}");
    }
    assert!(stage.written().is_empty());
    let said = stage.cli(&[&switch[..], &["--force", "--override", "target_able"], &WHY].concat()).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(stage.gitlab.admin().holders("rnd-runner"), stage.green);
    let story = stage.cli(&["history", "rnd"]).await.stdout;
    for part in ["(overriding target_able)", "overrode target_able (green polls well"] {
        assert!(story.contains(part), "{part:?} is not in: {story}");
    }
    assert!(stage.log("switchyard").contains("overrode target_able"), "it is in the log");

    let said = stage.cli(&[&["failback", "rnd", "--from", "blue"][..], &WHY].concat()).await;
    assert!(said.code == 1 && said.stderr.contains("not by blue as the request expects"), "{said:?}");
    let said = stage.cli(&[&["failback", "rnd", "--from", "green"][..], &WHY].concat()).await;
    assert_eq!(said.code, 0, "{said:?}");
    let fleet = stage.fleet_until("blue holds", |fleet| fleet["generation"] == 3).await;
    assert_eq!(fleet["intended_holder"], "blue");
    assert_eq!(fleet["progress"]["runners_moved"], fleet["progress"]["runners"]);
    let said = stage.cli(&["watch", "rnd"]).await;
    assert!(said.code == 0 && said.stdout.contains("rnd is held by blue"), "{said:?}");
    let said = stage.cli(&[&["ack", "rnd", "--holder", "blue"][..], &WHY].concat()).await;
    assert!(said.code == 0 && said.stdout.contains("the cool-down after generation 3 is lifted"), "{said:?}");
}

#[tokio::test]
async fn a_sticky_fleet_drains_and_can_be_watched_from_another_terminal() {
    let mut stage = Stage::new().await;
    stage.settings["fleets"]["rnd"]["sticky"] = json!(true);
    let _switchyard = stage.start().await;
    let (admin, url) = (stage.gitlab.admin(), stage.gitlab.url());
    let blue = admin.holders("rnd-runner")[0];
    let token = admin.reset_runner_token(blue).unwrap();
    admin.create_job(JobTemplate::new(&["rnd-runner"], "make"));
    let http = reqwest::Client::new();
    let poll = json!({ "token": token, "system_id": "s_1", "info": { "version": "19.4.0" } });
    let job = http.post(format!("{url}/api/v4/jobs/request")).json(&poll).send().await.unwrap();
    let job: Value = job.json().await.unwrap();

    let switch = ["switch", "rnd", "--from", "blue", "--to", "green", "--reason", "a test"];
    let watching = tokio::sync::Notify::new();
    let watch = async || {
        stage.fleet_until("it waits", |fleet| !fleet["waiting"].is_null()).await;
        stage.metric_until("switchyard_fleet_request_waiting", &[("fleet", "rnd")], 1.0).await;
        stage.cli_until(&["watch", "rnd"], &[("drain: pipelines in flight 1", &watching)]).await
    };
    let drain = async || {
        let waits = |fleet: &Value| fleet["in_flight"] == 1 && !fleet["waiting"].is_null();
        stage.fleet_until("one pipeline is in flight", waits).await;
        assert!(stage.written().is_empty(), "nothing moves while it runs");
        watching.notified().await;
        let done = json!({ "token": job["token"], "state": "success" });
        let answer = http.put(format!("{url}/api/v4/jobs/{}", job["id"])).json(&done).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    };
    let (asked, watched, ()) = tokio::join!(stage.cli(&switch), watch(), drain());
    for said in [&asked, &watched] {
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.stderr.contains("drain: pipelines in flight 1"), "{said:?}");
    }
    assert_eq!(admin.holders("rnd-runner"), stage.green);
}

#[tokio::test]
async fn a_move_is_followed_while_its_server_is_started_again() {
    let stage = Stage::new().await;
    let switchyard = stage.start().await;
    let writes = Match::operation("^update_runner$");
    stage.gitlab.admin().fault(Fault::new(writes, Kind::Forbidden));
    let (begun, again) = ([Notify::new(), Notify::new()], [Notify::new(), Notify::new()]);
    let parts = |i: usize| [("runners ", &begun[i]), ("trying again for 60 s", &again[i])];
    let asked = async {
        let switch = ["switch", "rnd", "--from", "blue", "--to", "green", "--reason", "a test"];
        stage.cli_until(&switch, &parts(0)).await
    };
    let watched = async {
        stage.fleet_until("it moves", |fleet| fleet["moving"] == true).await;
        stage.cli_until(&["watch", "rnd"], &parts(1)).await
    };
    let restart = async {
        for begun in &begun {
            begun.notified().await;
        }
        drop(switchyard);
        for again in &again {
            again.notified().await;
        }
        stage.gitlab.admin().clear_faults();
        stage.start().await
    };
    let (asked, watched, _switchyard) = tokio::join!(asked, watched, restart);
    for said in [asked, watched] {
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(said.stderr.matches("trying again").count(), 1, "it is said once: {said:?}");
    }
    assert_eq!(stage.gitlab.admin().holders("rnd-runner"), stage.green);
}

/// Takes one request, whole, and hangs up.
async fn hangs_up() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let (mut got, mut piece) = (Vec::new(), [0; 4096]);
        while !got.ends_with(b"}") {
            let read = client.read(&mut piece).await.unwrap();
            assert!(read > 0, "it is cut off: {got:?}");
            got.extend_from_slice(&piece[..read]);
        }
    });
    url
}

#[tokio::test]
async fn what_was_sent_and_not_answered_has_not_failed() {
    let stage = Stage::new().await;
    stage.configure();
    let actions: [&[&str]; 7] = [
        &["switch", "rnd", "--from", "blue", "--to", "green"],
        &["switch", "rnd", "--from", "blue", "--to", "green", "--no-wait"],
        &["failback", "rnd", "--from", "green"],
        &["approve", "rnd", "--proposal", "1", "--holder", "blue"],
        &["reject", "rnd", "--proposal", "1", "--holder", "blue"],
        &["pause", "rnd", "--holder", "blue"],
        &["ack", "rnd", "--holder", "blue"],
    ];
    for args in actions {
        let said = stage.cli(&[args, &["--url", &hangs_up().await, "--output", "json"], &WHY].concat()).await;
        assert_eq!(said.code, 4, "{args:?}: {said:?}");
        for part in ["may go on all the same", "`switchyard watch FLEET`", "`switchyard history`"] {
            assert!(said.stderr.contains(part), "{args:?}: {part:?} is not in {said:?}");
        }
        assert_eq!(serde_json::from_str::<Value>(&said.stdout).unwrap()["title"], "Not known", "{said:?}");
        // Nobody is there: nothing was asked for.
        let said = stage.cli(&[args, &WHY].concat()).await;
        assert!(said.code == 1 && !said.stderr.contains("may go on"), "{args:?}: {said:?}");
    }
    let said = stage.cli(&["plan", "--url", &hangs_up().await]).await;
    assert_eq!(said.code, 1, "nothing comes of reading: {said:?}");
}

#[tokio::test]
async fn a_request_that_no_pass_has_judged_yet_is_followed() {
    let mut stage = Stage::new().await;
    stage.settings["prometheus"]["timeout"] = json!("10m");
    let _switchyard = stage.start().await;
    let slow = async || {
        stage.standins.be_silent();
        until(PATIENCE, "a pass is under way that does not end", async || {
            ensure!(stage.standins.says().unanswered > 0);
            Ok(())
        })
        .await
        .unwrap();
    };
    slow().await;
    let recorded = Notify::new();
    let asked = async {
        let switch = ["switch", "rnd", "--from", "blue", "--to", "green", "--reason", "a test"];
        stage.cli_until(&switch, &[("waits for the pass that judges it", &recorded)]).await
    };
    let ends = async {
        recorded.notified().await;
        assert!(stage.written().is_empty());
        stage.standins.says().silent = false;
    };
    let (said, ()) = tokio::join!(asked, ends);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains("is recorded, and no pass has judged it yet"), "{said:?}");
    assert_eq!(stage.gitlab.admin().holders("rnd-runner"), stage.green);

    // Who does not wait gets the number.
    slow().await;
    let home = ["failback", "rnd", "--from", "green", "--no-wait", "--output", "json"];
    let said = stage.cli(&[&home[..], &WHY].concat()).await;
    stage.standins.says().silent = false;
    assert!(said.code == 4 && said.stderr.contains("may go on all the same"), "{said:?}");
    let problem: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(problem["status"], 504);
    let path = format!("/api/v1/requests/{}", problem["request"]);
    assert_eq!(stage.get(&path).await.json()["to"], "blue");
    stage.fleet_until("blue holds", |fleet| fleet["generation"] == 3).await;
}

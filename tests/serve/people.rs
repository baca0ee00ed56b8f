//! What people do, against the running program: approving, breaking the glass, sending home, draining, watching.

use serde_json::{Value, json};
use switchyard_lab::gitlab::JobTemplate;

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
        stage.cli_until(&["watch", "rnd"], "drain: pipelines in flight 1", &watching).await
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

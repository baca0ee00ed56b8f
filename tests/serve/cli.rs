//! The command line against a running program, with its exit codes: 0 done, 1 failed, 2 wrong usage, 3 held.

use axum::{Router, http::StatusCode, routing::get};
use serde_json::{Value, json};
use switchyard_lab::gitlab::RunnerSpec;

use crate::stage::{Stage, alert, message};

const WHY: [&str; 2] = ["--reason", "a test"];

fn with_why<'a>(args: &[&'a str]) -> Vec<&'a str> {
    args.iter().copied().chain(WHY).collect()
}

#[tokio::test]
async fn check_tries_everything_and_says_what_is_wrong() {
    let mut stage = Stage::new().await;
    // Its configuration file is there once it has been started.
    stage.start().await.terminate().await.unwrap();
    let said = stage.cli(&["check"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    for part in
        ["GitLab accepts the access token", "finds 2 runners; 2 carry rnd-runner", "Alertmanager 0.28.0"]
    {
        assert!(said.stdout.contains(part), "{part:?} is not in: {}", said.stdout);
    }
    assert!(said.stdout.ends_with("1 fleet, 0 errors, 0 warnings\n"), "{}", said.stdout);
    assert!(said.stdout.contains("ok      store.url: can be opened"), "{}", said.stdout);
    assert_eq!(stage.cli(&["check", "--offline"]).await.code, 0);

    // One that could not give the tag away, chosen by its number.
    let alone = stage.gitlab.admin().create_runner(RunnerSpec::new("alone", &["rnd-runner"])).id;
    let pool = stage.settings["fleets"]["rnd"]["pools"]["blue"].take();
    stage.settings["fleets"]["rnd"]["pools"]["blue"] = json!({ "runners": [alone] });
    stage.configure();
    let said = stage.cli(&["check"]).await;
    let wanted = format!("WARNING fleets.rnd.pools: runner {alone} has no tag but rnd-runner");
    assert!(said.code == 0 && said.stdout.contains(&wanted), "{said:?}");
    stage.gitlab.admin().set_tags(alone, &["spare"]);
    stage.settings["fleets"]["rnd"]["pools"]["blue"] = pool;
    stage.configure();

    stage.secret("gitlab", "glpat-wrong");
    let said = stage.cli(&["check"]).await;
    assert_eq!(said.code, 1);
    assert!(said.stdout.contains("GitLab does not accept the access token"), "{}", said.stdout);
    let said = stage.cli(&["check", "--output", "json"]).await;
    assert_eq!(said.code, 1);
    let found: Vec<Value> = serde_json::from_str(&said.stdout).unwrap();
    assert!(found.iter().any(|f| f["path"] == "gitlab" && f["severity"] == "error"), "{found:?}");
    assert_eq!(stage.cli(&["check", "--offline"]).await.code, 0, "offline asks nobody");

    let here = stage.settings["store"]["url"].clone();
    stage.settings["store"]["url"] = json!("sqlite:///nowhere/switchyard.db");
    stage.configure();
    let said = stage.cli(&["check"]).await;
    let wanted = "ERROR   store.url: the directory /nowhere for the store does not exist";
    assert!(said.code == 1 && said.stdout.contains(wanted), "{said:?}");
    stage.settings["store"]["url"] = here;

    // Nobody is there.
    stage.settings["prometheus"]["urls"] = json!(["http://127.0.0.1:9"]);
    stage.settings["alertmanager"]["urls"] = json!(["http://127.0.0.1:9"]);
    stage.settings["gitlab"]["url"] = json!("http://127.0.0.1:9");
    stage.configure();
    let said = stage.cli(&["check"]).await;
    assert_eq!(said.code, 1);
    for part in
        ["GitLab cannot be asked", "ERROR   alertmanager", "ERROR   prometheus.urls: http://127.0.0.1:9"]
    {
        assert!(said.stdout.contains(part), "{part:?} is not in: {}", said.stdout);
    }
    assert_eq!(
        said.stdout.matches("http://127.0.0.1:9: ").count(),
        1,
        "one dead Prometheus: {}",
        said.stdout
    );
}

#[tokio::test]
async fn what_can_be_read_is_shown_to_people_and_to_programs() {
    let stage = Stage::new().await;
    let _switchyard = stage.start().await;
    for (args, parts) in [
        (&["plan"][..], &["rnd", "blue"][..]),
        (&["plan", "rnd"], &["rnd"]),
        (&["explain", "rnd"], &["open    enabled", "CLOSED  eyes_open"]),
        (&["history"], &["adopt", "blue"]),
        (&["history", "rnd", "--limit", "1"], &["rnd"]),
    ] {
        let said = stage.cli(args).await;
        assert_eq!(said.code, 0, "{args:?}: {said:?}");
        for part in parts {
            assert!(said.stdout.contains(part), "{args:?}: {part:?} is not in:\n{}", said.stdout);
        }
        let args: Vec<&str> = args.iter().copied().chain(["--output", "json"]).collect();
        let said = stage.cli(&args).await;
        let rows: Vec<Value> = serde_json::from_str(&said.stdout).unwrap();
        assert!(said.code == 0 && !rows.is_empty(), "{args:?}: {said:?}");
    }
    let said = stage.cli(&["explain", "rnd"]).await;
    let link = said.stdout.lines().find_map(|line| line.trim().strip_prefix("see: ")).unwrap().to_owned();
    assert_eq!(link, format!("http://{}/docs/gates.md#eyes_open", stage.address));
    // The page of every gate, as the answer has it and as people read it.
    let page = reqwest::get(&link).await.unwrap().text().await.unwrap();
    assert!(page.contains("SwitchyardWatchdog"), "{page}");
    let all: Value =
        serde_json::from_str(&stage.cli(&["explain", "rnd", "--output", "json"]).await.stdout).unwrap();
    let gates = all[0]["gates"].as_array().unwrap();
    assert_eq!(gates.len(), switchyard::model::Gate::ALL.len());
    for gate in gates {
        let name = gate["gate"].as_str().unwrap();
        assert_eq!(gate["runbook"], link.replace("eyes_open", name));
        assert!(page.contains(&format!("<h2 id=\"{name}\">")), "{name}");
    }
    assert!(said.stdout.contains(&format!(": {}\n", link.replace("eyes_open", "GATE"))), "{}", said.stdout);
    assert_eq!(stage.get("/docs/nothing.md").await.status, 404);
    for what in ["plan", "explain", "history"] {
        let said = stage.cli(&[what, "nobody", "--output", "json"]).await;
        assert_eq!(said.code, 1, "{what}: {said:?}");
        assert!(said.stderr.contains("There is no fleet \"nobody\""), "{what}: {said:?}");
        let problem: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(problem["status"], 404, "{what}: {said:?}");
    }
    let said = stage.cli(&["history", "--limit", "0"]).await;
    assert!(said.code == 2 && said.stderr.contains("1..=1000"), "{said:?}");
    let said = stage.cli(&["check"]).await;
    assert!(said.code == 0 && said.stdout.contains("ok      store.url: the store"), "who has it: {said:?}");
}

#[tokio::test]
async fn a_person_moves_a_fleet_and_what_is_wrong_is_refused() {
    let stage = Stage::new().await;
    let _switchyard = stage.start().await;
    for (args, code, part) in [
        (["switch", "nobody", "--from", "blue", "--to", "green"], 1, "There is no fleet \"nobody\""),
        (["switch", "rnd", "--from", "blue", "--to", "red"], 1, "red"),
        (["switch", "rnd", "--from", "green", "--to", "blue"], 1, "expects"),
        (["switch", "rnd", "--from", "none", "--to", "green"], 1, "expects"),
    ] {
        let said = stage.cli(&with_why(&args)).await;
        assert_eq!(said.code, code, "{args:?}: {said:?}");
        assert!(said.stderr.contains(part), "{args:?}: {said:?}");
    }
    let said = stage.cli(&["switch", "rnd", "--from", "blue", "--to", "green"]).await;
    assert!(said.code == 2 && said.stderr.contains("--reason"), "nothing is done without a reason: {said:?}");
    assert!(stage.written().is_empty());

    // Green is not able: the gate says so, and nothing moves.
    stage.standins.says().well.insert("green", 0.0);
    let said = stage.cli(&with_why(&["switch", "rnd", "--from", "blue", "--to", "green"])).await;
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.stderr.contains("target_able"), "{said:?}");
    assert!(stage.written().is_empty());

    stage.standins.says().well.insert("green", 1.0);
    let said = stage.cli(&with_why(&["switch", "rnd", "--from", "blue", "--to", "green"])).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(stage.gitlab.admin().holders("rnd-runner"), stage.green);

    // And back, without waiting, for a program.
    let home = ["switch", "rnd", "--from", "green", "--to", "blue", "--no-wait", "--output", "json"];
    let said = stage.cli(&with_why(&home)).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(serde_json::from_str::<Value>(&said.stdout).unwrap()["generation"], 3);
    stage
        .fleet_until("blue holds", |fleet| fleet["decision"]["state"] == "done" && fleet["generation"] == 3)
        .await;
    let story = stage.cli(&["history", "rnd"]).await.stdout;
    assert!(story.contains("ada") || story.contains("a test"), "who and why is recorded:\n{story}");
}

#[tokio::test]
async fn a_pause_holds_alerts_until_it_is_lifted() {
    let stage = Stage::new().await;
    let _switchyard = stage.start().await;
    for args in [&["pause", "rnd", "--for", "2h"][..], &["pause", "--all"]] {
        let said = stage.cli(&with_why(args)).await;
        assert!(said.code == 0 && said.stdout.contains("automatic moves are paused"), "{args:?}: {said:?}");
    }
    stage.standins.says().well.insert("blue", 0.0);
    let told = [alert("w", "watchdog", "", None), alert("f", "failover", "blue", None)];
    assert_eq!(stage.alert(&message(&told)).await.status, 200);
    let held = |fleet: &Value| fleet["outcome"] == "held:not_paused" && fleet["paused"] == true;
    stage.fleet_until("the pause holds it", held).await;
    stage.metric_until("switchyard_fleet_paused", &[("fleet", "rnd")], 1.0).await;

    // What somebody else stopped until it is lifted does not end with a shorter pause, and the answer says so.
    let shorter = with_why(&["pause", "--all", "--for", "10m", "--author", "bob"]);
    for (args, part) in [
        (shorter, "All fleets: automatic moves are paused until resumed, as they were paused by ada since "),
        (with_why(&["resume", "--all"]), "All fleets: the pause is lifted, but rnd is paused by ada since "),
        (with_why(&["pause", "--all"]), "All fleets: automatic moves are paused until resumed."),
        (
            with_why(&["resume", "rnd", "--holder", "blue"]),
            "rnd: the pause is lifted, but all fleets are paused by ada since ",
        ),
        (
            with_why(&["resume", "rnd", "--holder", "blue"]),
            "rnd: there was no pause to lift, but all fleets are paused by ada since ",
        ),
    ] {
        let said = stage.cli(&args).await;
        assert!(said.code == 0 && said.stdout.contains(part), "{args:?}: {said:?}");
    }
    stage.fleet_until("the pause of all fleets holds it", held).await;
    assert!(stage.written().is_empty());
    let said = stage.cli(&with_why(&["resume", "--all", "--author", "bob"])).await;
    let part = "All fleets: automatic moves are allowed again. Lifted is what was paused by ada since ";
    assert!(said.code == 0 && said.stdout.contains(part), "{said:?}");
    stage
        .fleet_until("green holds", |fleet| fleet["decision"]["state"] == "done" && fleet["generation"] == 2)
        .await;

    let said = stage.cli(&with_why(&["ack", "rnd", "--holder", "green"])).await;
    assert!(said.code == 0 && said.stdout.contains("the cool-down after generation 2 is lifted"), "{said:?}");
    for (args, code, part) in [
        (&["ack"][..], 2, "<FLEET>"),
        (&["ack", "rnd"], 2, "--holder"),
        (&["ack", "nobody", "--holder", "blue"], 1, "There is no fleet"),
        (&["ack", "rnd", "--holder", "blue"], 1, "rnd is held by green, not by whom you expect"),
        (&["pause", "rnd", "--holder", "blue"], 1, "rnd is held by green, not by whom you expect"),
        (&["pause", "nobody"], 1, "There is no fleet"),
        (&["pause", "rnd", "--for=-1h"], 2, "longer than nothing"),
        (&["pause", "rnd", "--for", "soon"], 2, "it is no duration: write it like 30s, 45m or 2h"),
        (&["pause"], 2, "required arguments were not provided:\n  <FLEET|--all>"),
        (&["resume"], 2, "required arguments were not provided:\n  <FLEET|--all>"),
        (&["pause", "rnd", "--all"], 2, "cannot be used with"),
        (&["pause", "--all", "--holder", "green"], 2, "cannot be used with"),
        (&["pause", "rnd", "--holders", "rnd=green"], 2, "cannot be used with"),
        (&["pause", "--all", "--holders", "rnd"], 2, "write it as FLEET=CLUSTER, or FLEET=none"),
        (&["pause", "--all", "--holders", "rnd=blue"], 1, "rnd is held by green, not by whom you expect"),
        (&["resume", "--all", "--holders", "ops=none"], 1, "rnd is not named, ops is not configured"),
    ] {
        let said = stage.cli(&with_why(args)).await;
        assert!(said.code == code && said.stderr.contains(part), "{args:?}: {said:?}");
    }
}

#[tokio::test]
async fn a_failed_move_latches_until_it_is_acknowledged() {
    let mut stage = Stage::new().await;
    stage.settings["fleets"]["rnd"]["move_deadline"] = json!("1s");
    let _switchyard = stage.start().await;
    let refused = switchyard_lab::gitlab::Kind::Forbidden;
    let writes = switchyard_lab::gitlab::Match::operation("^update_runner$");
    stage.gitlab.admin().fault(switchyard_lab::gitlab::Fault::new(writes, refused));
    let said = stage.cli(&with_why(&["switch", "rnd", "--from", "blue", "--to", "green"])).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.contains("switchyard ack rnd"), "{said:?}");
    stage.metric_until("switchyard_fleet_latched", &[("fleet", "rnd")], 1.0).await;
    stage.gitlab.admin().clear_faults();
    let again = ["switch", "rnd", "--from", "green", "--to", "green"];
    let said = stage.cli(&with_why(&again)).await;
    assert!(said.code == 3 && said.stderr.contains("not_latched"), "{said:?}");
    let said = stage.cli(&with_why(&["ack", "rnd", "--holder", "green"])).await;
    assert!(said.code == 0 && said.stdout.contains("is acknowledged"), "{said:?}");
    stage.metric_until("switchyard_fleet_latched", &[("fleet", "rnd")], 0.0).await;
    let said = stage.cli(&with_why(&again)).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(stage.gitlab.admin().holders("rnd-runner"), stage.green);
}

#[tokio::test]
async fn without_the_right_token_nobody_acts() {
    let mut stage = Stage::new().await;
    stage.settings.as_object_mut().unwrap().remove("api");
    let _switchyard = stage.start().await;
    let pause = with_why(&["pause", "rnd"]);
    let said = stage.cli(&pause).await;
    assert!(said.code == 1 && said.stderr.contains("set api.token_file"), "{said:?}");
    assert_eq!(stage.cli(&["plan"]).await.code, 0, "reading is open");
    drop(_switchyard);

    let mut stage = Stage::new().await;
    let _switchyard = stage.start().await;
    let wrong = stage.secret("wrong", "wrong").display().to_string();
    let said = stage.cli(&[&pause[..], &["--token-file", &wrong]].concat()).await;
    assert!(said.code == 1 && said.stderr.contains("missing or wrong"), "{said:?}");
    let said = stage.cli(&[&pause[..], &["--token-file", "/nowhere"]].concat()).await;
    assert!(said.code == 2 && said.stderr.contains("--token-file /nowhere"), "{said:?}");
    assert_eq!(stage.cli(&pause).await.code, 0, "the configuration names the right one");
    stage.settings = json!({});
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let stage = Stage::new().await;
    stage.configure();
    let said = stage.cli(&["plan"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.contains(&stage.address.to_string()), "{said:?}");
    // And one that is something else.
    let said = stage.cli(&["plan", "--url", &stage.gitlab.url()]).await;
    assert!(said.code == 1 && said.stderr.contains(&stage.gitlab.url()), "{said:?}");
}

/// Clears the screen, writes a line of its own, turns the writing round.
const FORGED: &str = "well\n2026-01-01T00:00:00Z  rnd  9  decision  done  forged\u{1b}[2J\u{9b}1m\r\u{202e}";
const SHOWN: &str =
    "well\\n2026-01-01T00:00:00Z  rnd  9  decision  done  forged\\u{1b}[2J\\u{9b}1m\\r\\u{202e}";

#[tokio::test]
async fn nobody_writes_to_the_terminal_of_another_or_forges_a_line() {
    let stage = Stage::new().await;
    stage.configure();
    let gates =
        json!([{"gate": "enabled", "open": false, "saw": FORGED, "query": FORGED, "runbook": FORGED}]);
    let fleet = json!({"fleet": FORGED, "sentence": FORGED, "warnings": [FORGED], "gates": gates, "text": FORGED,
        "proposal": {"id": 1, "kind": FORGED, "to": FORGED, "until": FORGED}});
    let decision = json!({"fleet": "rnd", "generation": 2, "kind": "switchover", "from": FORGED, "to": FORGED,
        "reason": FORGED, "author": FORGED, "decided_at": "T1", "state": "done", "overridden": [FORGED]});
    let history = json!([
        {"entry": "event", "id": 3, "event": {"at": "T3", "fleet": "rnd", "outcome": "paused",
            "sentence": FORGED, "author": FORGED}},
        {"entry": "step", "id": 2, "fleet": "rnd", "generation": 2, "phase": "switch", "sentence": FORGED,
            "started_at": "T2", "outcome": {"outcome": "failed", "why": FORGED}},
        {"entry": "decision", "id": 1, "decision": decision},
    ]);
    let fleets = json!([fleet]).to_string();
    let still = json!({"generation": 1, "sentence": FORGED, "warnings": [FORGED]}).to_string();
    let refused = json!({"status": 409, "detail": FORGED}).to_string();
    let says = |text: String| get(async move || text);
    let router = Router::new()
        .route("/api/v1/history", says(history.to_string()))
        .route("/api/v1/explain", says(fleets.clone()))
        .route("/api/v1/plan", says(fleets))
        .route("/api/v1/fleets/rnd", says(still))
        .fallback(async move || (StatusCode::CONFLICT, refused));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    for (args, lines) in [
        (&["history"][..], 3),
        (&["explain"], 6),
        (&["watch", "rnd"], 2),
        (&["ack", "rnd", "--holder", "blue", "--reason", "a test"], 1),
    ] {
        let said = stage.cli(&[args, &["--url", &url]].concat()).await;
        let shown = format!("{}{}", said.stdout, said.stderr);
        assert_eq!(shown.lines().count(), lines, "{args:?}: {shown}");
        assert!(shown.contains(SHOWN), "{args:?}: {shown}");
        assert!(!shown.chars().any(|c| c != '\n' && switchyard::model::is_control(c)), "{args:?}: {shown:?}");
    }
    // The plan is a text of several lines.
    let said = stage.cli(&["plan", "--url", &url]).await;
    assert!(!said.stdout.chars().any(|c| c != '\n' && switchyard::model::is_control(c)), "{said:?}");
    // A program gets what was said.
    let said = stage.cli(&["history", "--url", &url, "--output", "json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&said.stdout).unwrap(), history);
}

#[tokio::test]
async fn a_reason_is_one_line_without_control_characters() {
    let stage = Stage::new().await;
    let _switchyard = stage.start().await;
    for (key, text) in [
        ("reason", "works\nrnd is held by green"),
        ("reason", "\u{1b}[2J"),
        ("reason", "\u{9b}2J"),
        ("reason", "tab\there"),
        ("author", "ada\u{202e}"),
        ("author", "ada\u{7f}"),
    ] {
        let mut body = json!({"expected_holder": "blue", "reason": "works", "author": "ada"});
        body[key] = json!(text);
        for verb in ["pause", "resume", "ack"] {
            let detail = stage.act(&format!("/api/v1/fleets/rnd/{verb}"), body.clone()).await.problem(400);
            assert!(detail.contains("write them in one line, without U+"), "{detail}");
        }
        let mut body = json!({"from": "blue", "to": "green", "reason": "works", "author": "ada"});
        body[key] = json!(text);
        stage.act("/api/v1/fleets/rnd/switch", body).await.problem(400);
    }
    let said = stage.cli(&["pause", "rnd", "--reason", "two\nlines"]).await;
    assert!(said.code == 1 && said.stderr.contains("without U+000A"), "{said:?}");
    let fleet = stage.get("/api/v1/fleets/rnd").await.json();
    assert_eq!((&fleet["paused"], &fleet["generation"]), (&json!(false), &json!(1)), "nothing was done");
    let said = stage.cli(&["pause", "rnd", "--reason", "Wartung, \"größer\": 保守 👩\u{200d}🚀"]).await;
    assert_eq!(said.code, 0, "{said:?}");
}

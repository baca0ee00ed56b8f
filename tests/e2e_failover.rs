//! A fleet fails over and comes home: real Prometheus, Alertmanager and BIND, a simulated GitLab, runner processes
//! that are killed, and the program itself.

#![expect(clippy::unwrap_used, reason = "a broken laboratory ends the test")]

use std::{fmt::Write as _, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use switchyard_lab::{
    gitlab::{JobStatus, Outage},
    http,
    parts::{Flavour, or_skip},
    postgres::Postgres,
    scene::{FLEET, READ_TOKEN, Scene, SceneConfig, TAG},
    secrets::Secrets,
    wait::{PATIENCE, until},
};

/// A scene in which blue holds the fleet and every runner polls well. None when a part is missing.
async fn scene(flavour: Flavour, settings: Value) -> Option<Scene> {
    scene_with(SceneConfig { flavour, settings, ..SceneConfig::default() }).await
}

async fn scene_with(config: SceneConfig) -> Option<Scene> {
    let switchyard = Some(PathBuf::from(env!("CARGO_BIN_EXE_switchyard")));
    let config = SceneConfig { switchyard, ..config };
    let scene = or_skip(Scene::start(config).await)?;
    scene.settled().await.unwrap();
    scene.unmoved().await.unwrap();
    Some(scene)
}

/// Runs a job with the routing tag and says on which cluster it ran.
async fn runs_on(scene: &Scene, job: u64) -> Result<String> {
    let job = scene.finished(job).await?;
    ensure!(job.status == JobStatus::Success, "{:?}: {}", job.status, job.log());
    let cluster = scene.ran_on(&job).context("nobody ran it")?;
    // What the job printed, which only the runner's own process can have done.
    ensure!(job.log().contains("six times seven is 42"), "{}", job.log());
    Ok(cluster.to_owned())
}

fn job(scene: &Scene) -> u64 {
    scene.job(&[TAG], "echo six times seven is $((6 * 7))")
}

async fn alert_fires(scene: &Scene) {
    until(PATIENCE, "the failover alert is at Alertmanager", async || {
        let alerts = scene.alertmanager.alerts().await?;
        let failover = alerts.iter().find(|a| a.labels.get("switchyard").is_some_and(|l| l == "failover"));
        let alert = failover.context("no such alert")?;
        ensure!(alert.labels["runner_cluster"] == "blue" && alert.labels["fleet"] == FLEET, "{alert:?}");
        Ok(())
    })
    .await
    .unwrap();
}

async fn gate(scene: &Scene, gate: &str, open: bool) {
    until(PATIENCE, &format!("the gate {gate} is {}", if open { "open" } else { "closed" }), async || {
        let value = scene.metric("switchyard_gate_open", &[("fleet", FLEET), ("gate", gate)]).await?;
        ensure!((value == 1.0) == open, "{value}");
        Ok(())
    })
    .await
    .unwrap();
}

/// The steps of the story as (phase, kind, cluster or name, outcome).
fn steps(history: &[Value]) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let steps = history.iter().filter(|entry| entry["entry"] == "step");
    steps.map(|s| (text(&s["phase"]), text(&s["step"]["kind"]), text(&s["outcome"]["outcome"]))).collect()
}

/// As talkative as can be, with every credential there is, on SQLite or PostgreSQL.
async fn blue_dies_and_comes_back(flavour: Flavour, postgres: bool) {
    let mut settings = json!({
        "fleets": { FLEET: { "cool_down": "0s" } },
        "api": { "read_token_file": READ_TOKEN },
        "prometheus": { "token_file": "prometheus-token" },
        "alertmanager": { "token_file": "alertmanager-token" },
    });
    let mut secrets = Secrets::default();
    for name in [READ_TOKEN, "prometheus-token", "alertmanager-token"] {
        secrets.add(name, format!("{name}/of+the-laboratory="));
    }
    let mut server = None;
    if postgres {
        let Some(started) = or_skip(Postgres::start().await) else { return };
        let password = "the/pass+word of 'the' database";
        let url = started.guarded_database(password).await.unwrap();
        settings["store"] = json!({ "url": url, "password_file": "database-password" });
        secrets.add("database-password", password);
        let database = url.rsplit('/').next().unwrap().to_owned();
        server = Some((started, database));
    }
    let config = SceneConfig { flavour, settings, secrets, level: "trace", ..SceneConfig::default() };
    let Some(mut scene) = scene_with(config).await else { return };
    assert_eq!(runs_on(&scene, job(&scene)).await.unwrap(), "blue");

    // Blue dies; a job waits for the tag that nobody alive carries.
    scene.kill("blue").await.unwrap();
    let waiting = job(&scene);
    scene.moved_to("green").await.unwrap();
    assert_eq!(runs_on(&scene, waiting).await.unwrap(), "green");

    let history = scene.history().await.unwrap();
    let decisions: Vec<_> =
        history.iter().filter(|e| e["entry"] == "decision").map(|e| &e["decision"]).collect();
    assert_eq!(decisions.len(), 2, "{decisions:?}");
    let failover = decisions[1];
    assert_eq!(
        (&failover["kind"], &failover["from"], &failover["to"]),
        (&json!("failover"), &json!("blue"), &json!("green"))
    );
    assert_eq!(failover["author"], "switchyard");
    assert!(failover["signal"].is_object() || failover["signal"].is_string(), "{failover}");
    let done = |phase: &str, what: &str| (phase.to_owned(), what.to_owned(), "done".to_owned());
    let expected = [
        done("prepare", "tag"),
        done("prepare", "tag"),
        done("switch", "dns"),
        done("retire", "tag"),
        done("retire", "tag"),
    ];
    assert_eq!(steps(&history), expected);
    for phase in ["detect", "decide", "move", "verify", "total"] {
        let labels = [("fleet", FLEET), ("phase", phase)];
        assert_eq!(
            scene.metric("switchyard_failover_duration_seconds_count", &labels).await.unwrap(),
            1.0,
            "{phase}"
        );
    }

    // Blue comes back, polls well, and takes nothing.
    scene.revive("blue").await.unwrap();
    scene.all_well().await.unwrap();
    scene.passes(5).await.unwrap();
    scene.moved_to("green").await.unwrap();
    assert_eq!(runs_on(&scene, job(&scene)).await.unwrap(), "green");

    // A person sends the fleet home. The wrong idea of where it is changes nothing.
    let wrong = ["switch", FLEET, "--to", "blue", "--from", "blue", "--reason", "home", "--author", "ada"];
    let answer = scene.product().unwrap().cli(&wrong).await.unwrap();
    assert!(answer.code == 1 && answer.stderr.contains("held by green, not by blue"), "{answer:?}");
    assert_eq!(scene.moves().await.unwrap().len(), 1);
    let home =
        ["switch", FLEET, "--to", "blue", "--from", "green", "--reason", "blue is mended", "--author", "ada"];
    until(PATIENCE, "nothing speaks against blue any more", async || {
        let answer = scene.switchyard.as_ref().context("none")?.cli(&home).await?;
        // A refusal is the gate `target_able`: what Prometheus knows of blue may be older than its return.
        ensure!(answer.code == 0, "{answer:?}");
        Ok(())
    })
    .await
    .unwrap();
    scene.moved_to("blue").await.unwrap();
    assert_eq!(runs_on(&scene, job(&scene)).await.unwrap(), "blue");
    let told = scene.product().unwrap().cli(&["history", FLEET]).await.unwrap();
    assert!(told.stdout.contains("blue is mended") && told.stdout.contains("ada"), "{told:?}");

    let answers = shown(&scene).await.unwrap();
    let switchyard = scene.product().unwrap();
    switchyard.terminate().await.unwrap();
    let (commands, log) = (switchyard.said(), switchyard.log().unwrap());
    let store = match &server {
        Some((server, database)) => server.dump(database).await.unwrap(),
        None => scene.stored().unwrap(),
    };
    // It is the whole run that is looked at, in every place: from the start to the end, right and wrong credentials.
    for (part, holds) in [
        (&answers, &["200 OK", "401 Unauthorized", "# TYPE switchyard_", "blue is mended"][..]),
        (&commands, &["level=trace", "blue is mended", "held by green, not by blue"]),
        (&log, &["the configuration was taken over", "level=trace", "is listening", "has ended"]),
        (&store, &["blue is mended", "runner_cluster"]),
    ] {
        for text in holds {
            assert!(part.contains(text), "no {text}");
        }
    }
    let output = [answers, commands, log, store].concat();
    let seen = scene.secrets.shown_in(&output);
    assert!(seen.is_empty(), "in {} bytes: {seen:#?}", output.len());
    for (name, text) in scene.secrets.iter() {
        assert!(!scene.secrets.shown_in(text).is_empty(), "{name} would be found");
    }
}

/// What Switchyard answers to everybody who asks for anything.
async fn shown(scene: &Scene) -> Result<String> {
    let url = format!("http://{}", scene.switchyard_address());
    let mut output = String::new();
    for (method, path) in [
        (Method::GET, "/"),
        (Method::GET, "/metrics"),
        (Method::GET, "/-/healthy"),
        (Method::GET, "/-/ready"),
        (Method::GET, "/-/leader"),
        (Method::GET, "/api/v1/fleets"),
        (Method::GET, "/api/v1/fleets/rnd"),
        (Method::GET, "/api/v1/plan"),
        (Method::GET, "/api/v1/explain"),
        (Method::GET, "/api/v1/history?limit=1000"),
        (Method::GET, "/api/v1/leader"),
        (Method::GET, "/api/v1/requests/1"),
        (Method::GET, "/nowhere"),
        (Method::POST, "/api/v1/alerts"),
        (Method::POST, "/api/v1/fleets/rnd/switch"),
        (Method::POST, "/api/v1/fleets/rnd/ack"),
        (Method::POST, "/api/v1/pause"),
        (Method::POST, "/-/reload"),
    ] {
        // Every secret as the token, the right one among them; and none.
        for token in scene.secrets.iter().map(|(_, text)| text).chain([""]) {
            let request = http::client().request(method.clone(), format!("{url}{path}"));
            let request = if token.is_empty() { request } else { request.bearer_auth(token) };
            let answer = request.header("content-type", "application/json").body("{}").send().await?;
            writeln!(output, "{method} {path}: {} {:?}", answer.status(), answer.headers())?;
            writeln!(output, "{}", answer.text().await?)?;
        }
    }
    let switchyard = scene.switchyard.as_ref().context("none")?;
    for args in [
        &["check"][..],
        &["check", "--output", "json"],
        &["plan"],
        &["explain", "--output", "json"],
        &["history", "--output", "json"],
        &["switch", FLEET, "--to", "green", "--from", "green", "--reason", "x", "--author", "ada"],
    ] {
        switchyard.cli(args).await?;
    }
    Ok(output)
}

#[tokio::test]
async fn promise_1_and_6_blue_dies_and_comes_back_with_the_pinned_versions_and_no_secret_is_shown() {
    blue_dies_and_comes_back(Flavour::Pinned, false).await;
}

#[tokio::test]
async fn promise_1_and_6_blue_dies_and_comes_back_with_the_packaged_versions_and_no_secret_is_shown() {
    blue_dies_and_comes_back(Flavour::Debian, true).await;
}

async fn a_gitlab_outage_moves_nothing(flavour: Flavour) {
    let Some(mut scene) = scene(flavour, json!({})).await else { return };
    // Long enough that every runner is known not to reach GitLab, and then some passes more.
    scene.gitlab.admin().outage(Outage::BadGateway);
    scene.prometheus.until("count(fleet_runner_cluster:gitlab_unreachable:ratio == 1) == 2").await.unwrap();
    gate(&scene, "gitlab_reachable", false).await;
    scene.passes(5).await.unwrap();
    scene.unmoved().await.unwrap();

    // Even when the holder dies meanwhile and the alert fires.
    scene.kill("blue").await.unwrap();
    alert_fires(&scene).await;
    scene.passes(5).await.unwrap();
    scene.unmoved().await.unwrap();

    // The signal is not lost: once GitLab answers and green is proven well, the fleet moves.
    scene.gitlab.admin().outage(Outage::None);
    scene.moved_to("green").await.unwrap();
    assert_eq!(scene.moves().await.unwrap().len(), 1);
}

#[tokio::test]
async fn promise_3_a_gitlab_outage_moves_nothing_with_the_pinned_versions() {
    a_gitlab_outage_moves_nothing(Flavour::Pinned).await;
}

#[tokio::test]
async fn promise_3_a_gitlab_outage_moves_nothing_with_the_packaged_versions() {
    a_gitlab_outage_moves_nothing(Flavour::Debian).await;
}

async fn a_dying_prometheus_moves_nothing(flavour: Flavour) {
    let Some(mut scene) = scene(flavour, json!({})).await else { return };
    // A pause holds the failover back while the alert fires.
    let pause = ["pause", FLEET, "--reason", "maintenance", "--author", "ada"];
    let answer = scene.product().unwrap().cli(&pause).await.unwrap();
    assert_eq!(answer.code, 0, "{answer:?}");
    scene.kill("blue").await.unwrap();
    alert_fires(&scene).await;
    gate(&scene, "not_paused", false).await;
    scene.passes(3).await.unwrap();
    scene.unmoved().await.unwrap();

    // Prometheus dies. Alertmanager takes the alert for resolved, which says nothing about blue.
    scene.prometheus.kill9().await.unwrap();
    until(PATIENCE, "Alertmanager takes the alert for resolved", async || {
        let alerts = scene.alertmanager.alerts().await?;
        ensure!(alerts.is_empty(), "{alerts:?}");
        Ok(())
    })
    .await
    .unwrap();
    gate(&scene, "eyes_open", false).await;
    let resume = ["resume", FLEET, "--holder", "blue", "--reason", "done", "--author", "ada"];
    let answer = scene.product().unwrap().cli(&resume).await.unwrap();
    assert_eq!(answer.code, 0, "{answer:?}");
    gate(&scene, "not_paused", true).await;
    scene.passes(5).await.unwrap();
    scene.unmoved().await.unwrap();

    // With its eyes open again, Switchyard does what it could not.
    scene.prometheus.restart().await.unwrap();
    scene.moved_to("green").await.unwrap();
    assert_eq!(scene.moves().await.unwrap().len(), 1);
}

#[tokio::test]
async fn promise_2_and_3_a_dying_prometheus_moves_nothing_with_the_pinned_versions() {
    a_dying_prometheus_moves_nothing(Flavour::Pinned).await;
}

#[tokio::test]
async fn promise_2_and_3_a_dying_prometheus_moves_nothing_with_the_packaged_versions() {
    a_dying_prometheus_moves_nothing(Flavour::Debian).await;
}

//! Every secret that there is, in use, refused and wrong: none is ever shown.

use std::{fmt::Write as _, path::Path, process::Stdio};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use switchyard::config;
use switchyard_lab::{
    gitlab::{Fault, Kind, Match},
    secrets::Secrets,
    switchyard::stored,
    wait::{PATIENCE, until},
};

use crate::{
    stage::{API_TOKEN, BINARY, READ_TOKEN, WEBHOOK_TOKEN, alert, message},
    standins::Form,
    tls::{PASSWORD, Tls, hash},
};

const TSIG: &str = "a1E3bWFya2VydHNpZ2tRN21hcmtlcnRzaWcrbWFya2Vy";
const PROMETHEUS: &str = "kQ7-marker-prometheus";
const ALERTMANAGER: &str = "kQ7-marker-alertmanager";
const DATABASE: &str = "kQ7-marker-database";

async fn run(tls: &Tls, args: &[&str], env: &[(&str, &str)]) -> String {
    let mut command = tokio::process::Command::new(BINARY);
    command.args(args).args(["--log.level", "trace"]).envs(env.iter().copied()).env("USER", "ada");
    command.arg("--config.file").arg(tls.stage.dir().join("switchyard.toml"));
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    format!(
        "{args:?}: {}\n{}\n{}\n",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[tokio::test]
async fn no_secret_is_shown_at_any_level_in_any_answer_or_error() {
    let mut tls = Tls::new().await;
    let hashed = hash(PASSWORD);
    let key = std::fs::read_to_string(tls.stage.dir().join("server.key")).unwrap();
    let cert = std::fs::read_to_string(tls.stage.dir().join("server.crt")).unwrap();
    tls.web = json!({
        "tls_server_config": { "cert": cert, "key": key },
        "basic_auth_users": { "ali": hashed },
    });
    let secret = |name: &str, text: &str| json!(tls.stage.secret(name, text));
    let (prometheus, alertmanager) = (secret("prometheus", PROMETHEUS), secret("alertmanager", ALERTMANAGER));
    let (read, tsig, password) =
        (secret("read", READ_TOKEN), secret("tsig", TSIG), secret("password", PASSWORD));
    let settings = &mut tls.stage.settings;
    settings["prometheus"]["token_file"] = prometheus;
    settings["alertmanager"]["token_file"] = alertmanager;
    settings["alertmanager"]["poll"] = json!("1s");
    settings["api"]["read_token_file"] = read;
    settings["web"] =
        json!({ "url": tls.base, "ca_file": "ca.pem", "user": "ali", "password_file": password });
    // Nobody listens there.
    settings["dns"] = json!({ "providers": { "bind": {
        "type": "rfc2136", "server": "127.0.0.1:1", "zone": "company.test.", "tsig_name": "failover",
        "tsig_algorithm": "hmac-sha256", "tsig_secret_file": tsig,
    } } });
    let fleet = &mut settings["fleets"]["rnd"];
    fleet["dns"] = json!({ "name": "runner.company.test.", "type": "CNAME", "provider": "bind" });
    fleet["pools"]["blue"]["dns"] = json!("blue.company.test.");
    fleet["pools"]["green"]["dns"] = json!("green.company.test.");

    let mut shown = String::new();
    let mut process = tls.start_with(&["--log.level", "trace"]).await;
    let firing = message(&[alert("f", "failover", "green", None)]);
    let switch = json!({"to": "green", "from": "blue", "reason": "test", "author": "ada"});
    for (method, path, body) in [
        (Method::GET, "/", &Value::Null),
        (Method::GET, "/metrics", &Value::Null),
        (Method::GET, "/api/v1/fleets", &Value::Null),
        (Method::GET, "/api/v1/explain", &Value::Null),
        (Method::GET, "/api/v1/plan", &Value::Null),
        (Method::GET, "/api/v1/history", &Value::Null),
        (Method::GET, "/api/v1/leader", &Value::Null),
        (Method::POST, "/api/v1/alerts", &firing),
        (Method::POST, "/api/v1/alerts", &Value::Null),
        (Method::POST, "/api/v1/fleets/rnd/switch", &switch),
        (Method::POST, "/-/reload", &Value::Null),
    ] {
        for (user, token) in [
            (Some(PASSWORD), ""),
            (Some("wrong"), ""),
            (None, READ_TOKEN),
            (None, API_TOKEN),
            (None, WEBHOOK_TOKEN),
            (None, "wrong"),
        ] {
            let request = tls.client.request(method.clone(), format!("{}{path}", tls.base)).json(body);
            let request = match user {
                Some(password) => request.basic_auth("ali", Some(password)),
                None => request.bearer_auth(token),
            };
            let answer = request.send().await.unwrap();
            writeln!(shown, "{:?} {:?}", answer.status(), answer.headers()).unwrap();
            shown.push_str(&answer.text().await.unwrap());
        }
    }
    // Prometheus and Alertmanager refuse, and show the request as some proxies do.
    for (status, form, of_prometheus) in [
        (StatusCode::UNAUTHORIZED, Form::Html, "HTTP 401, and not Prometheus"),
        (StatusCode::FORBIDDEN, Form::Json, "forbidden: Authorization: Bearer [token] is refused"),
    ] {
        tls.stage.standins.says().refusal = Some((status, form));
        let of_alertmanager = format!("HTTP {}: ", status.as_u16());
        until(PATIENCE, &format!("both refuse with {status}"), async || {
            let log = tls.stage.log("switchyard");
            for part in [of_prometheus, &of_alertmanager] {
                anyhow::ensure!(log.contains(part), "no {part}");
            }
            Ok(())
        })
        .await
        .unwrap();
        shown.push_str(&run(&tls, &["check"], &[]).await);
        shown.push_str(&run(&tls, &["explain"], &[]).await);
        // An Alertmanager that stays away is told of once: it answers before it refuses again. Its second answer shows that
        // the first was noted.
        let before = {
            let mut says = tls.stage.standins.says();
            says.refusal = None;
            says.polls
        };
        until(PATIENCE, "Alertmanager answers again", async || {
            let polls = tls.stage.standins.says().polls;
            anyhow::ensure!(polls >= before + 2, "{polls} polls, {before} before");
            Ok(())
        })
        .await
        .unwrap();
    }
    assert!(shown.contains("Bearer [token] is refused"), "what they say is shown, without the credential");
    // So does GitLab.
    let html = format!("<html>Authorization: Bearer {}</html>", tls.stage.gitlab_token);
    let own = json!({ "error": "insufficient_scope", "message": html }).to_string();
    for (status, body) in [(401, html), (403, own)] {
        tls.stage.gitlab.admin().clear_faults();
        tls.stage.gitlab.admin().fault(Fault::new(Match::any(), Kind::Status { status, body }));
        until(PATIENCE, "GitLab refuses", async || {
            let answer =
                tls.client.get(format!("{}/api/v1/fleets", tls.base)).bearer_auth(READ_TOKEN).send().await?;
            let text = answer.text().await?;
            anyhow::ensure!(text.contains(&format!("answered {status}")), "{text}");
            shown.push_str(&text);
            Ok(())
        })
        .await
        .unwrap();
        shown.push_str(&run(&tls, &["check"], &[]).await);
    }
    let web = tls.stage.dir().join("web.yml").display().to_string();
    for args in [
        &["check", "--web.config.file", &web][..],
        &["check", "--output", "json"],
        &["plan"],
        &["explain"],
        &["explain", "--output", "json"],
        &["history", "--output", "json"],
        &["switch", "rnd", "--to", "green", "--from", "green", "--reason", "x"],
    ] {
        shown.push_str(&run(&tls, args, &[]).await);
    }
    // A story that takes its fleets from this configuration.
    let story =
        tls.stage.secret("day.story", "config switchyard.toml\nfleet rnd\nat 1m kill blue\nat 10m end\n");
    let played = run(&tls, &["simulate", &story.display().to_string()], &[]).await;
    assert!(played.contains("exit status: 0") && played.contains("kill blue"), "{played}");
    shown.push_str(&played);
    let loaded = config::load(&tls.stage.dir().join("switchyard.toml"), []).unwrap();
    writeln!(shown, "{loaded:?}").unwrap();
    writeln!(shown, "{:?}", config::load_web(Path::new(&web)).0).unwrap();
    tls.stage.secret("web.yml", &format!("{}\nx: 1\n", tls.web["tls_server_config"]["key"]));
    until(PATIENCE, "the broken web file is seen", async || {
        anyhow::ensure!(tls.stage.log("switchyard").contains("the web file was refused"));
        Ok(())
    })
    .await
    .unwrap();
    shown.push_str(&run(&tls, &["check", "--offline", "--web.config.file", &web], &[]).await);

    // A database that is not there, its password in the environment, in the address, and where it must not be.
    let address = format!("postgres://switchyard:{DATABASE}@127.0.0.1:1/switchyard");
    for (url, env) in [
        ("postgres://switchyard@127.0.0.1:1/switchyard", ("SWITCHYARD__STORE__PASSWORD", DATABASE)),
        ("sqlite::memory:", ("SWITCHYARD__STORE__URL", address.as_str())),
        (address.as_str(), ("UNUSED", "")),
    ] {
        tls.stage.settings["store"]["url"] = json!(url);
        tls.stage.configure();
        shown.push_str(&run(&tls, &["check"], &[env]).await);
    }
    // Secrets in the file itself, where they are refused.
    for (section, key, text) in
        [("gitlab", "token", tls.stage.gitlab_token.clone()), ("api", "token", API_TOKEN.to_owned())]
    {
        tls.stage.settings[section][key] = json!(text);
    }
    tls.stage.configure();
    shown.push_str(&run(&tls, &["check"], &[]).await);
    shown.push_str(&run(&tls, &["serve"], &[]).await);
    let _ = process.terminate(PATIENCE).await;
    shown.push_str(&tls.stage.log("switchyard"));
    let stored = stored(tls.stage.database().parent().unwrap()).unwrap();
    assert!(stored.contains("runner_cluster"), "the alert is in it");
    shown.push_str(&stored);

    let mut secrets = Secrets::default();
    secrets.add("GitLab", &tls.stage.gitlab_token);
    for (name, secret) in [
        ("webhook", WEBHOOK_TOKEN),
        ("actions", API_TOKEN),
        ("reads", READ_TOKEN),
        ("password", PASSWORD),
        ("hash", &hashed),
        ("TSIG", TSIG),
        ("Prometheus", PROMETHEUS),
        ("Alertmanager", ALERTMANAGER),
        ("database", DATABASE),
    ] {
        secrets.add(name, secret);
    }
    // What follows in its third line is the public half, which the certificate shows.
    for (number, line) in key.lines().filter(|line| !line.starts_with('-')).take(2).enumerate() {
        secrets.add(&format!("line {number} of the key"), line);
    }
    let seen = secrets.shown_in(&shown);
    assert!(seen.is_empty(), "{seen:#?}");
    let seen = tls.stage.standins.says().credentials.clone();
    for token in [PROMETHEUS, ALERTMANAGER] {
        assert!(seen.contains(&format!("Bearer {token}")), "{token} was in use: {seen:?}");
    }
}

//! Token files that are replaced, emptied and removed while the program runs.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
};

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::json;
use switchyard_lab::{
    gitlab::TokenSpec,
    http,
    wait::{PATIENCE, until},
};

use crate::{
    stage::{API_TOKEN, READ_TOKEN, Stage, WEBHOOK_TOKEN, alert, message},
    tls::hash,
};

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

/// A directory of secrets as the kubelet makes it: every file is a link by way of `..data`, which is swapped at once.
struct Mount {
    dir: PathBuf,
    versions: usize,
}

impl Mount {
    fn new(stage: &Stage, files: &[(&str, &str)]) -> Self {
        let mut mount = Self { dir: stage.dir().join("mount"), versions: 0 };
        fs::create_dir(&mount.dir).unwrap();
        mount.show(files);
        for (name, _) in files {
            symlink(format!("..data/{name}"), mount.path(name)).unwrap();
        }
        mount
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn show(&mut self, files: &[(&str, &str)]) {
        let old = self.dir.join(format!("..{}", self.versions));
        self.versions += 1;
        let version = format!("..{}", self.versions);
        fs::create_dir(self.dir.join(&version)).unwrap();
        for (name, text) in files {
            let path = self.dir.join(&version).join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        symlink(&version, self.dir.join("..data_tmp")).unwrap();
        fs::rename(self.dir.join("..data_tmp"), self.dir.join("..data")).unwrap();
        if old.is_dir() {
            fs::remove_dir_all(old).unwrap();
        }
    }
}

#[tokio::test]
async fn every_token_is_rotated_as_kubernetes_does_it_and_emptied_in_between() {
    const FILES: [(&str, &str); 6] = [
        ("webhook", "webhook"),
        ("api", "api"),
        ("api", "read"),
        ("gitlab", "gitlab"),
        ("prometheus", "prometheus"),
        ("alertmanager", "alertmanager"),
    ];
    let mut stage = Stage::new().await;
    let gitlab: Vec<String> = (0..3)
        .map(|n| {
            let spec = TokenSpec::admin(&format!("gitlab-{n}"), &["read_api", "manage_runner"]);
            stage.gitlab.admin().create_token(spec)
        })
        .collect();
    let token = |file: &str, round: usize| match file {
        "gitlab" => gitlab[round].clone(),
        file => format!("{file}-{round}"),
    };
    let tokens: Vec<Vec<String>> =
        (0..3).map(|round| FILES.map(|(_, file)| token(file, round) + "\n").to_vec()).collect();
    let files = |texts: &'static str, round: usize| -> Vec<(&str, String)> {
        let text = |n: usize| if texts == "full" { tokens[round][n].clone() } else { String::new() };
        FILES.iter().enumerate().map(|(n, (_, file))| (*file, text(n))).collect()
    };
    let mut mount = Mount::new(&stage, &borrowed(&files("full", 0)));
    for (section, file) in FILES {
        let key = if file == "read" { "read_token_file" } else { "token_file" };
        stage.settings[section][key] = json!(mount.path(file));
    }
    stage.settings["alertmanager"]["poll"] = "200ms".into();
    let mut process = stage.serve_clear(&[]).await;
    let asked = asked();
    for round in 0..3 {
        if round > 0 {
            mount.show(&borrowed(&files("full", round)));
        }
        for asked in &asked {
            answers(&stage, asked, &token(asked.file, round), 200).await;
            if round > 0 {
                let old = status(&stage, asked, &token(asked.file, round - 1)).await.unwrap();
                assert_eq!(old, 401, "{}", asked.key);
            }
        }
        shown(&stage, round).await;

        // The answer to a rotation that is not finished: nobody is let in, and what others are shown stays.
        mount.show(&borrowed(&files("empty", round)));
        for asked in &asked {
            let refused = if asked.file == "read" { 401 } else { 503 };
            answers(&stage, asked, &token(asked.file, round), refused).await;
            assert_eq!(status(&stage, asked, "").await.unwrap(), refused, "{}", asked.key);
        }
        for key in ["gitlab.token_file", "prometheus.token_file", "alertmanager.token_file"] {
            stage.metric_until("switchyard_credential_file_good", &[("credential", key)], 0.0).await;
        }
        shown(&stage, round).await;
    }
    let expected: BTreeSet<String> = ["prometheus", "alertmanager"]
        .iter()
        .flat_map(|file| (0..3).map(move |round| format!("Bearer {file}-{round}")))
        .collect();
    let credentials: BTreeSet<String> = stage.standins.says().credentials.iter().cloned().collect();
    assert_eq!(credentials, expected, "nothing else was ever shown");
    assert!(process.exited().unwrap().is_none());
    let log = stage.log("switchyard");
    for secret in tokens.concat() {
        assert!(!log.contains(secret.trim()), "{secret} is in the log");
    }
}

fn borrowed<'a>(files: &'a [(&'a str, String)]) -> Vec<(&'a str, &'a str)> {
    files.iter().map(|(name, text)| (*name, text.as_str())).collect()
}

/// Waits until all three are shown the token of this round from now on.
async fn shown(stage: &Stage, round: usize) {
    stage.gitlab.admin().forget_requests();
    stage.standins.says().credentials.retain(|seen| !seen.ends_with(&format!("-{round}")));
    until(PATIENCE, "the token is shown", async || {
        let requests = stage.gitlab.admin().requests();
        ensure!(requests.iter().any(|r| r.token == format!("gitlab-{round}") && r.status == 200));
        let seen = stage.standins.says().credentials.clone();
        for server in ["prometheus", "alertmanager"] {
            ensure!(seen.contains(&format!("Bearer {server}-{round}")), "{seen:?}");
        }
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(stage.metric("switchyard_gitlab_up", &[]).await, Some(1.0));
}

#[tokio::test]
async fn the_users_of_the_web_file_are_rotated_as_kubernetes_does_it() {
    let stage = Stage::new().await;
    let users = |password: &str| json!({ "basic_auth_users": { "ali": hash(password) } }).to_string();
    let mut mount = Mount::new(&stage, &[("web.yml", &users("sesame-0"))]);
    let file = mount.path("web.yml");
    let login = async |password: &str| -> Result<u16> {
        let request = http::client().get(format!("http://{}/metrics", stage.address));
        Ok(request.basic_auth("ali", Some(password)).send().await?.status().as_u16())
    };
    let flags = ["--web.config.file", file.to_str().unwrap()];
    let _process = stage
        .serve(&flags, async || {
            ensure!(login("sesame-0").await? == 200);
            Ok(())
        })
        .await;
    // Whether what the file says now could be taken over. Asking needs the good password.
    let seen = async |good: u8| {
        until(PATIENCE, "the file is looked at", async || {
            let request = http::client().get(format!("http://{}/metrics", stage.address));
            let page = request.basic_auth("ali", Some("sesame-1")).send().await?.text().await?;
            ensure!(page.contains(&format!("switchyard_web_config_last_reload_successful {good}\n")));
            Ok(())
        })
        .await
        .unwrap();
    };
    let counts = async |password: &str| {
        until(PATIENCE, "the new password counts", async || {
            let status = login(password).await?;
            ensure!(status == 200, "{password}: {status}");
            Ok(())
        })
        .await
        .unwrap();
    };
    mount.show(&[("web.yml", &users("sesame-1"))]);
    counts("sesame-1").await;
    assert_eq!(login("sesame-0").await.unwrap(), 401);
    // Empty, half written, and gone: the last good users stay, and nobody else is let in.
    for broken in ["", "basic_auth_users:\n", "basic_auth_users:\n  ali: $2y$04$"] {
        mount.show(&[("web.yml", broken)]);
        seen(0).await;
        for password in ["sesame-0", ""] {
            assert_eq!(login(password).await.unwrap(), 401, "{broken}");
        }
        assert_eq!(stage.get("/metrics").await.status, 401, "{broken}");
        mount.show(&[("web.yml", &users("sesame-1"))]);
        seen(1).await;
    }
    fs::remove_file(mount.path("..data")).unwrap();
    seen(0).await;
    assert_eq!(login("sesame-0").await.unwrap(), 401);
    mount.show(&[("web.yml", &users("sesame-2"))]);
    counts("sesame-2").await;
    assert_eq!(login("sesame-1").await.unwrap(), 401);
}

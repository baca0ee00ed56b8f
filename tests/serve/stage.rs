//! Everything around the program: GitLab, the stand-ins, a directory with secrets and a configuration.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use switchyard::world::Live;
use switchyard_lab::{
    exposition::Page,
    gitlab::{Config, RunnerSpec, Simulator, TokenSpec},
    http, ports,
    process::{Process, Program},
    switchyard::{Answer as Said, Switchyard},
    wait::{PATIENCE, until},
};

use crate::standins::StandIns;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_switchyard");
pub(crate) const WEBHOOK_TOKEN: &str = "webhook-secret-3f9c";
pub(crate) const API_TOKEN: &str = "actions-secret-77aa";
pub(crate) const READ_TOKEN: &str = "reading-secret-19bd";

pub(crate) struct Stage {
    pub(crate) gitlab: Simulator,
    pub(crate) standins: StandIns,
    pub(crate) green: Vec<u64>,
    pub(crate) settings: Value,
    pub(crate) address: SocketAddr,
    pub(crate) gitlab_token: String,
    dir: tempfile::TempDir,
}

/// What came back over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The detail of a problem document of this status.
    pub(crate) fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.json()["status"], status, "{self:?}");
        self.json()["detail"].as_str().unwrap().to_owned()
    }
}

/// Blue holds the fleet, green stands by, both are well.
impl Stage {
    pub(crate) async fn new() -> Self {
        let gitlab = Simulator::start(Config::default());
        let gitlab_token =
            gitlab.admin().create_token(TokenSpec::admin("switchyard", &["read_api", "manage_runner"]));
        let create = |name: &str, tags: &[&str]| gitlab.admin().create_runner(RunnerSpec::new(name, tags)).id;
        let blue =
            [create("blue-1", &["runner-a", "rnd-runner"]), create("blue-2", &["runner-a", "rnd-runner"])];
        let green = vec![create("green-1", &["runner-b"]), create("green-2", &["runner-b"])];
        // Before any alert began: a later contact contradicts a death.
        let contacted = "2025-12-31T00:00:00Z".parse().unwrap();
        for runner in blue.iter().chain(&green) {
            gitlab.admin().set_contacted_at(*runner, Some(contacted));
        }
        let standins = StandIns::start().await;
        let address = ports::free_address().unwrap();
        let dir = tempfile::Builder::new().prefix("switchyard-serve-").tempdir().unwrap();
        let mut stage = Self {
            gitlab,
            standins,
            green,
            settings: json!({}),
            address,
            gitlab_token: gitlab_token.clone(),
            dir,
        };
        let url = stage.standins.url();
        // One server by two names: more than one is what a sound set-up has.
        let again = url.replace("127.0.0.1", "localhost");
        stage.settings = json!({
            "gitlab": { "url": stage.gitlab.url(), "token_file": stage.secret("gitlab", &gitlab_token) },
            "prometheus": { "urls": [url, again] },
            "alertmanager": { "urls": [url], "poll": "1h" },
            "webhook": { "token_file": stage.secret("webhook", WEBHOOK_TOKEN), "max_body": "64KiB" },
            "api": { "token_file": stage.secret("api", API_TOKEN) },
            "store": { "url": format!("sqlite://{}", stage.database().display()) },
            "web": { "url": format!("http://{address}") },
            "loop": { "period": "1s" },
            "fleets": { "rnd": fleet() },
        });
        stage
    }

    /// A file with a secret that nobody else can read.
    pub(crate) fn secret(&self, name: &str, secret: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, secret).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.dir.path().join("switchyard.db")
    }

    /// Starts the program and waits until it has taken blue as the holder.
    pub(crate) async fn start(&self) -> Switchyard {
        let switchyard = Switchyard::start(Path::new(BINARY), self.address, &self.settings, self.dir.path())
            .await
            .unwrap();
        self.fleet_until("blue is the holder", |fleet| fleet["generation"].as_u64() >= Some(1)).await;
        switchyard
    }

    /// Writes the configuration file without starting anything.
    pub(crate) fn configure(&self) {
        switchyard_lab::switchyard::write_config(&self.dir.path().join("switchyard.toml"), &self.settings)
            .unwrap();
    }

    /// Starts the program with more flags, and waits until `probe` likes what it finds.
    pub(crate) async fn serve(&self, flags: &[&str], probe: impl AsyncFn() -> Result<()>) -> Process {
        self.configure();
        let config = self.dir.path().join("switchyard.toml");
        let address = self.address.to_string();
        let mut args = vec!["serve", "--config.file", config.to_str().unwrap()];
        args.extend(["--web.listen-address", &address]);
        if !flags.contains(&"--log.level") {
            args.extend(["--log.level", "info,switchyard=debug"]);
        }
        args.extend(flags);
        let mut process = self.launch("switchyard", &args);
        process.ready(PATIENCE, || probe()).await.unwrap();
        process
    }

    /// The same over clear text, until the first look at the world is finished.
    pub(crate) async fn serve_clear(&self, flags: &[&str]) -> Process {
        self.serve(flags, async || {
            let answer = self.send(Method::GET, "/-/ready", "", Vec::new()).await?;
            ensure!(answer.status == 200, "{answer:?}");
            Ok(())
        })
        .await
    }

    /// Starts the program with other arguments, without waiting for anything. Its log is `NAME.log`.
    pub(crate) fn launch(&self, name: &str, args: &[&str]) -> Process {
        Program::new(name, BINARY).args(args).start(self.dir.path()).unwrap()
    }

    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(format!("{name}.log"))).unwrap_or_default()
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Vec<u8>,
    ) -> Result<Answer> {
        let mut request = http::client()
            .request(method, format!("http://{}{path}", self.address))
            .timeout(PATIENCE)
            .header("content-type", "application/json")
            .body(body);
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Answer { status, headers, body: answer.text().await? })
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "", Vec::new()).await.unwrap()
    }

    pub(crate) async fn act(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, API_TOKEN, body.to_string().into_bytes()).await.unwrap()
    }

    /// A person asks for a move of the fleet.
    pub(crate) async fn switch(&self, from: &str, to: &str) -> Answer {
        let body = json!({"to": to, "from": from, "reason": "maintenance", "author": "ada"});
        self.act("/api/v1/fleets/rnd/switch", body).await
    }

    /// Sends a webhook as Alertmanager would.
    pub(crate) async fn alert(&self, message: &Value) -> Answer {
        let body = message.to_string().into_bytes();
        self.send(Method::POST, "/api/v1/alerts", WEBHOOK_TOKEN, body).await.unwrap()
    }

    pub(crate) async fn page(&self) -> Page {
        Page::parse(&self.get("/metrics").await.body)
    }

    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.page().await.value(name, labels)
    }

    pub(crate) async fn metric_until(&self, name: &str, labels: &[(&str, &str)], wanted: f64) {
        until(PATIENCE, &format!("{name} is {wanted}"), async || {
            let value = self.metric(name, labels).await;
            ensure!(value == Some(wanted), "it is {value:?}");
            Ok(())
        })
        .await
        .unwrap();
    }

    pub(crate) async fn fleet_until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        until(PATIENCE, what, async || {
            let answer = self.send(Method::GET, "/api/v1/fleets/rnd", READ_TOKEN, Vec::new()).await?;
            ensure!(answer.status == 200 && is(&answer.json()), "{}", answer.body);
            Ok(answer.json())
        })
        .await
        .unwrap()
    }

    pub(crate) async fn open_store(&self) -> SqliteConnection {
        SqliteConnection::connect(&format!("sqlite://{}", self.database().display())).await.unwrap()
    }

    /// Runs a command of the program to its end, with the stage's configuration file.
    pub(crate) async fn cli(&self, args: &[&str]) -> Said {
        let mut command = tokio::process::Command::new(BINARY);
        command.args(args).arg("--config.file").arg(self.dir.path().join("switchyard.toml"));
        command.env("USER", "ada").stdin(std::process::Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
        Said {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The same for a command that tells how far it is: notifies when it has told each of these on standard error.
    pub(crate) async fn cli_until(&self, args: &[&str], parts: &[(&str, &tokio::sync::Notify)]) -> Said {
        use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
        let mut command = tokio::process::Command::new(BINARY);
        command.args(args).arg("--config.file").arg(self.dir.path().join("switchyard.toml"));
        command.env("USER", "ada").stdin(std::process::Stdio::null()).kill_on_drop(true);
        let mut child = command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let follow = async {
            let mut stderr = String::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                parts.iter().filter(|(part, _)| line.contains(part)).for_each(|(_, told)| told.notify_one());
                stderr.push_str(&line);
                stderr.push('\n');
            }
            let mut stdout = String::new();
            child.stdout.take().unwrap().read_to_string(&mut stdout).await.unwrap();
            Said { code: child.wait().await.unwrap().code().unwrap(), stdout, stderr }
        };
        tokio::time::timeout(PATIENCE, follow).await.unwrap()
    }

    /// Fingerprint and state of everything that was heard, in order.
    pub(crate) async fn signals(&self) -> Vec<(String, String)> {
        let mut store = self.open_store().await;
        sqlx::query_as("SELECT fingerprint, state FROM signal ORDER BY fingerprint, starts_at")
            .fetch_all(&mut store)
            .await
            .unwrap()
    }

    /// Outcome and sentence of every step in the journal, in order.
    pub(crate) async fn journal(&self) -> Vec<(Option<String>, String)> {
        let mut store = self.open_store().await;
        sqlx::query_as("SELECT outcome, sentence FROM step ORDER BY id").fetch_all(&mut store).await.unwrap()
    }

    /// The runners whose record Switchyard changed, in order.
    pub(crate) fn written(&self) -> Vec<u64> {
        let changes = self.gitlab.admin().changes();
        changes.iter().filter(|c| c.token == "switchyard").map(|c| c.runner_id).collect()
    }
}

/// Two pools and no DNS name.
pub(crate) fn fleet() -> Value {
    json!({
        "enabled": true, "routing_tag": "rnd-runner", "prefer": ["blue", "green"], "signal_hold": "0s",
        "pools": { "blue": { "home_tag": "runner-a" }, "green": { "home_tag": "runner-b" } },
    })
}

/// An alert as Alertmanager sends it; `ended` is seconds ago.
pub(crate) fn alert(fingerprint: &str, action: &str, cluster: &str, ended: Option<i64>) -> Value {
    let ago = |seconds: i64| (Live::clock() - jiff::SignedDuration::from_secs(seconds)).to_string();
    json!({
        "status": if ended.is_some() { "resolved" } else { "firing" },
        "labels": { "alertname": "X", "switchyard": action, "fleet": "rnd", "runner_cluster": cluster },
        "annotations": {},
        // One episode, however often it is told.
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": ended.map_or("0001-01-01T00:00:00Z".to_owned(), ago),
        "fingerprint": fingerprint,
    })
}

pub(crate) fn message(alerts: &[Value]) -> Value {
    json!({ "version": "4", "status": "firing", "receiver": "switchyard", "truncatedAlerts": 0, "alerts": alerts })
}

/// Waits for the program to end, and gives its exit code.
pub(crate) async fn ended(process: &mut Process) -> i32 {
    until(PATIENCE, "the program has ended", async || {
        process.exited()?.context("it runs")?.code().context("it was killed")
    })
    .await
    .unwrap_or_else(|error| panic!("{error:?}\n{}", process.tail()))
}

/// Asks a program to end, and does not wait.
pub(crate) fn terminate(process: &Process) {
    let id = process.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
}

pub(crate) const METHOD_NOT_ALLOWED: u16 = StatusCode::METHOD_NOT_ALLOWED.as_u16();

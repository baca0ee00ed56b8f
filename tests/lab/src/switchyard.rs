//! The product itself, as a process with a configuration file.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    exposition::Page,
    http,
    process::{Process, Program},
    wait,
};

/// A running Switchyard.
#[derive(Debug)]
pub struct Switchyard {
    binary: PathBuf,
    address: SocketAddr,
    config: PathBuf,
    logs: PathBuf,
    level: String,
    /// What it is shown to read the API, when that is closed.
    bearer: String,
    /// All that commands of the CLI printed.
    said: Mutex<String>,
    process: Process,
}

/// How talkative it is where a test does not say: its own doings.
pub const LEVEL: &str = "info,switchyard=debug";

/// What a command of the CLI printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The exit code: 0 done, 1 failed, 2 wrong usage, 3 held back by a gate, 4 nobody could be asked how a move ends.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Switchyard {
    /// Starts `binary serve` with the configuration and waits until it is ready. Its files are in `dir`.
    pub async fn start(binary: &Path, address: SocketAddr, config: &Value, dir: &Path) -> Result<Self> {
        Self::start_with(binary, address, config, dir, LEVEL, "").await
    }

    /// As [`start`](Self::start), with the level of its log and the token that it wants to see from readers.
    pub async fn start_with(
        binary: &Path,
        address: SocketAddr,
        config: &Value,
        dir: &Path,
        level: &str,
        bearer: &str,
    ) -> Result<Self> {
        let path = dir.join("switchyard.toml");
        write_config(&path, config)?;
        let process = serve(binary, address, &path, level).start(dir)?;
        let (binary, logs, said) = (binary.to_owned(), dir.to_owned(), Mutex::default());
        let (level, bearer) = (level.to_owned(), bearer.to_owned());
        let mut switchyard = Self { binary, address, config: path, logs, level, bearer, said, process };
        switchyard.ready().await?;
        Ok(switchyard)
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&mut self) -> Result<()> {
        let url = format!("{}/-/ready", self.url());
        let probe = async || {
            let answer = http::client().get(&url).send().await?;
            let status = answer.status();
            ensure!(status.is_success(), "{status}: {}", answer.text().await?);
            Ok(())
        };
        self.process.ready(wait::PATIENCE, probe).await
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Writes another configuration file in its place. It counts from the next reload or start on.
    pub fn configure(&self, config: &Value) -> Result<()> {
        write_config(&self.config, config)
    }

    /// The program.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The process: for its log, or to freeze it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it without notice.
    pub async fn kill9(&mut self) -> Result<()> {
        self.process.kill9().await
    }

    /// Asks it to end, and takes it ill when it does not end well.
    pub async fn terminate(&mut self) -> Result<()> {
        let status = self.process.terminate(Duration::from_secs(20)).await?;
        ensure!(status.success(), "switchyard ended with {status}\n{}", self.process.tail());
        Ok(())
    }

    /// Starts it again after [`kill9`](Self::kill9) or [`terminate`](Self::terminate), with its store.
    pub async fn restart(&mut self) -> Result<()> {
        self.process = serve(&self.binary, self.address, &self.config, &self.level).start(&self.logs)?;
        self.ready().await
    }

    /// What the API answers to a `GET`.
    pub async fn api(&self, path: &str) -> Result<Value> {
        let request = http::client().get(format!("{}/api/v1/{path}", self.url()));
        let request = if self.bearer.is_empty() { request } else { request.bearer_auth(&self.bearer) };
        let answer = request.send().await?;
        let status = answer.status();
        let body = answer.text().await?;
        ensure!(status.is_success(), "GET {path}: {status}: {body}");
        serde_json::from_str(&body).with_context(|| format!("GET {path}: {body}"))
    }

    /// Its metrics page.
    pub async fn metrics(&self) -> Result<Page> {
        let answer = http::client().get(format!("{}/metrics", self.url())).send().await?;
        Ok(Page::parse(&answer.error_for_status()?.text().await?))
    }

    /// Runs a command of the CLI against it, with its configuration file.
    pub async fn cli(&self, args: &[&str]) -> Result<Answer> {
        let mut command = tokio::process::Command::new(&self.binary);
        command.args(args).arg("--config.file").arg(&self.config).args(["--url", &self.url()]);
        if self.level != LEVEL {
            command.args(["--log.level", &self.level]);
        }
        let output = command.stdin(std::process::Stdio::null()).kill_on_drop(true).output().await?;
        let answer = Answer {
            code: output.status.code().context("the command was killed")?,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        let said = format!("{args:?}: {}\n{}\n{}\n", answer.code, answer.stdout, answer.stderr);
        self.said.lock().unwrap_or_else(PoisonError::into_inner).push_str(&said);
        Ok(answer)
    }

    /// All that it has logged, over every start.
    pub fn log(&self) -> Result<String> {
        self.process.logged()
    }

    /// All that commands of the CLI have printed.
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Every byte that it has put into its SQLite database in this folder.
pub fn stored(dir: &Path) -> Result<String> {
    let mut stored = String::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.to_string_lossy().contains("switchyard.db") {
            stored.push_str(&String::from_utf8_lossy(&fs::read(path)?));
        }
    }
    ensure!(!stored.is_empty(), "there is no database");
    Ok(stored)
}

/// Lays `over` over the configuration `base`, table by table.
pub fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

/// Writes a configuration file.
pub fn write_config(path: &Path, config: &Value) -> Result<()> {
    Ok(fs::write(path, toml::to_string_pretty(config)?)?)
}

fn serve(binary: &Path, address: SocketAddr, config: &Path, level: &str) -> Program {
    Program::new("switchyard", binary)
        .arg("serve")
        .arg("--config.file")
        .arg(config)
        .args(["--web.listen-address", &address.to_string()])
        .args(["--log.level", level])
}

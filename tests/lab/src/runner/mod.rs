//! Runner processes: the real job protocol, the real metrics, killable.
//!
//! The job itself (request, log, artifacts, cancel) is carried by the library `gitlab-runner`; around it stand the
//! poll loop, the metrics page, the sleep after three 403s and the signals of a gitlab-runner 19. With
//! `SWITCHYARD_LAB_RUNNER=/path/to/gitlab-runner` the same fixture starts that program instead.
//!
//! ```no_run
//! # async fn example(gitlab: switchyard_lab::gitlab::Simulator, dir: &std::path::Path) -> anyhow::Result<()> {
//! use switchyard_lab::{gitlab::{JobTemplate, RunnerSpec}, runner::{Process, Setup}, wait::PATIENCE};
//! let record = gitlab.admin().create_runner(RunnerSpec::new("blue", &["runner-a", "rnd-runner"]));
//! let mut blue = Process::start(Setup::new("blue", &gitlab.url(), &record.token), dir).await?;
//! let job = gitlab.admin().create_job(JobTemplate::new(&["rnd-runner"], "echo here"));
//! println!("{}", gitlab.admin().job_over(job, PATIENCE).await.log());
//! blue.kill9().await?;
//! # Ok(()) }
//! ```

pub mod agent;
mod executor;
mod metrics;
mod proxy;

pub(crate) use metrics::short_token;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::OnceCell;

use crate::exposition::Page;
use crate::process::Program;
use crate::{http, parts, ports, process, wait};

/// The version that the laboratory's runner reports.
pub const VERSION: &str = "19.4.0";
/// The revision that the laboratory's runner reports.
pub const REVISION: &str = "1ab00000";

/// Environment variable with the path of a real gitlab-runner.
pub const REAL: &str = "SWITCHYARD_LAB_RUNNER";

const GRACE: Duration = Duration::from_secs(40);

/// How to start a runner process.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Name of the process, of its log file, and label `runner_name` of the first section.
    pub name: String,
    /// GitLab's address.
    pub url: String,
    /// Runner authentication token of the first section.
    pub token: String,
    /// Names and tokens of further `[[runners]]` sections of the same process.
    pub sections: Vec<(String, String)>,
    /// Its manager row in GitLab: `s_` or `r_` and twelve letters or digits.
    pub system_id: String,
    /// Where its metrics are; a free port otherwise.
    pub metrics: Option<SocketAddr>,
    /// Seconds between polls. A real gitlab-runner knows whole seconds only.
    pub check_interval: f64,
    /// Jobs at the same time.
    pub concurrent: usize,
    /// Sleep after three 403s.
    pub unhealthy_interval: Duration,
}

impl Setup {
    /// One job at a time, a poll each second, GitLab's own hour of sleep. The `system_id` follows from the name.
    #[must_use]
    pub fn new(name: &str, url: &str, token: &str) -> Self {
        let letters = name.chars().filter(char::is_ascii_alphanumeric).chain(std::iter::repeat('0')).take(12);
        Self {
            name: name.to_owned(),
            url: url.to_owned(),
            token: token.to_owned(),
            sections: Vec::new(),
            system_id: format!("s_{}", letters.collect::<String>()),
            metrics: None,
            check_interval: 1.0,
            concurrent: 1,
            unhealthy_interval: Duration::from_secs(3600),
        }
    }

    /// One more section in the same process. One loop polls for all of them, and they share the slots.
    #[must_use]
    pub fn section(mut self, name: &str, token: &str) -> Self {
        self.sections.push((name.to_owned(), token.to_owned()));
        self
    }

    /// Seconds between polls.
    #[must_use]
    pub fn check_interval(mut self, seconds: f64) -> Self {
        self.check_interval = seconds;
        self
    }

    /// Jobs at the same time.
    #[must_use]
    pub fn concurrent(mut self, jobs: usize) -> Self {
        self.concurrent = jobs;
        self
    }

    /// Sleep after three 403s.
    #[must_use]
    pub fn unhealthy_interval(mut self, interval: Duration) -> Self {
        self.unhealthy_interval = interval;
        self
    }

    async fn program(&self, metrics: SocketAddr, dir: &Path) -> Result<Program> {
        if let Some(real) = std::env::var_os(REAL) {
            return self.real(PathBuf::from(real), metrics, dir);
        }
        let (names, tokens): (Vec<&str>, Vec<&str>) = self.all_sections().unzip();
        Ok(Program::new(&self.name, binary().await?)
            .args(["--url", &self.url, "--system-id", &self.system_id, "--name", &names.join(",")])
            .args(["--metrics-listen", &metrics.to_string()])
            .args(["--check-interval", &self.check_interval.to_string()])
            .args(["--concurrent", &self.concurrent.to_string()])
            .args(["--unhealthy-interval", &self.unhealthy_interval.as_secs_f64().to_string()])
            .arg("--stay")
            .arg(self.stay(dir))
            .env("RUNNER_TOKEN", tokens.join(","))
            // The library asks the environment for a proxy, even for its own loopback door.
            .env("NO_PROXY", "*"))
    }

    fn stay(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.stay", self.name))
    }

    fn all_sections(&self) -> impl Iterator<Item = (&str, &str)> {
        let more = self.sections.iter().map(|(name, token)| (name.as_str(), token.as_str()));
        std::iter::once((self.name.as_str(), self.token.as_str())).chain(more)
    }

    /// A real gitlab-runner, with its configuration in a directory of its own.
    fn real(&self, path: PathBuf, metrics: SocketAddr, dir: &Path) -> Result<Program> {
        let home = dir.join(&self.name);
        std::fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        std::fs::write(home.join("config.toml"), self.real_config(metrics, &home)?)?;
        // Where a gitlab-runner keeps its own name: beside its configuration.
        std::fs::write(home.join(".runner_system_id"), &self.system_id)?;
        Ok(Program::new(&self.name, path)
            .args(["run", "--config"])
            .arg(home.join("config.toml"))
            .arg("--working-directory")
            .arg(&home)
            .env("NO_PROXY", "*"))
    }

    /// The `config.toml` of a real gitlab-runner. It counts intervals in whole seconds.
    fn real_config(&self, metrics: SocketAddr, home: &Path) -> Result<String> {
        let whole = |seconds: f64| seconds.ceil().max(1.0) as u64;
        let sections: Vec<_> = self
            .all_sections()
            .map(|(name, token)| {
                serde_json::json!({
                    "name": name,
                    "url": self.url,
                    "token": token,
                    "executor": "shell",
                    "builds_dir": home.join("builds"),
                    "cache_dir": home.join("cache"),
                    "unhealthy_interval": format!("{}s", whole(self.unhealthy_interval.as_secs_f64())),
                })
            })
            .collect();
        let config = serde_json::json!({
            "listen_address": metrics.to_string(),
            "check_interval": whole(self.check_interval),
            "concurrent": self.concurrent,
            "shutdown_timeout": 30,
            "runners": sections,
        });
        toml::to_string(&config).context("cannot write config.toml")
    }
}

/// The laboratory's runner, built once per process when cargo is at hand.
async fn binary() -> Result<PathBuf> {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let built = BUILT.get_or_try_init(|| parts::workspace_program("runner")).await;
    built.cloned()
}

/// A runner process in a group of its own. Dropping it kills it and its jobs.
#[derive(Debug)]
pub struct Process {
    setup: Setup,
    metrics: SocketAddr,
    dir: PathBuf,
    process: process::Process,
}

impl Process {
    /// Starts it and waits until its metrics answer. Its log is `NAME.log` in `dir`.
    ///
    /// # Errors
    /// When it cannot start; with the end of its log.
    pub async fn start(setup: Setup, dir: &Path) -> Result<Self> {
        let metrics = match setup.metrics {
            Some(address) => address,
            None => ports::address(ports::free()?),
        };
        let process = setup.program(metrics, dir).await?.start(dir)?;
        let mut this = Self { setup, metrics, dir: dir.to_owned(), process };
        this.ready().await?;
        Ok(this)
    }

    async fn ready(&mut self) -> Result<()> {
        let url = format!("http://{}/metrics", self.metrics);
        let probe = async || {
            let answer = http::client().get(&url).send().await?;
            ensure!(answer.status().is_success(), "{}", answer.status());
            Ok(())
        };
        self.process.ready(wait::PATIENCE, probe).await
    }

    /// Dies at once, like a machine; the same log goes on after [`Process::revive`].
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn kill9(&mut self) -> Result<()> {
        self.process.kill9().await
    }

    /// SIGTERM: kills its jobs, reports them failed, ends.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.process.terminate(GRACE).await
    }

    /// SIGQUIT: takes no new job; [`Process::ended`] waits for the end.
    ///
    /// # Errors
    /// When it is not running.
    pub fn drain(&mut self) -> Result<()> {
        ensure!(self.process.exited()?.is_none(), "{} is not running", self.setup.name);
        let pid = Pid::from_raw(self.process.id()).context("no process id")?;
        kill_process(pid, Signal::QUIT).context("cannot signal")
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it has not within `limit`; with the end of its log.
    pub async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} ends", self.setup.name);
        let ended = wait::until(limit, &what, async || self.process.exited()?.context("still running")).await;
        ended.with_context(|| self.process.tail())
    }

    /// SIGHUP: loads its configuration again, which ends a sleep after 403s.
    ///
    /// # Errors
    /// When it is not running.
    pub fn hangup(&self) -> Result<()> {
        self.process.hangup()
    }

    /// Takes a further section out of its configuration and lets it load that. What it counted of it stays on its page.
    ///
    /// # Errors
    /// When there is no such section, or it is not running.
    pub fn take_out(&mut self, section: &str) -> Result<()> {
        let before = self.setup.sections.len();
        self.setup.sections.retain(|(name, _)| name != section);
        ensure!(self.setup.sections.len() < before, "no further section {section}");
        if let Some(real) = std::env::var_os(REAL) {
            self.setup.real(PathBuf::from(real), self.metrics, &self.dir)?;
        } else {
            let names: Vec<&str> = self.setup.all_sections().map(|(name, _)| name).collect();
            std::fs::write(self.setup.stay(&self.dir), names.join(",")).context("cannot write")?;
        }
        self.hangup()
    }

    /// Starts it again as it was, with the same metrics address.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub async fn revive(&mut self) -> Result<()> {
        self.process.kill9().await?;
        self.process = self.setup.program(self.metrics, &self.dir).await?.start(&self.dir)?;
        self.ready().await
    }

    /// Where `/metrics` is.
    #[must_use]
    pub fn metrics_addr(&self) -> SocketAddr {
        self.metrics
    }

    /// Its metrics page.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<Page> {
        let answer = http::client().get(format!("http://{}/metrics", self.metrics)).send().await?;
        Ok(Page::parse(&answer.error_for_status()?.text().await?))
    }

    /// How it was started.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Process id, log file, freezing.
    #[must_use]
    pub fn process(&self) -> &process::Process {
        &self.process
    }

    /// The last lines of its log, for messages.
    #[must_use]
    pub fn tail(&self) -> String {
        self.process.tail()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a real gitlab-runner is given: its own keys, one section for each token, and its name beside.
    #[test]
    fn a_real_runner_gets_its_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let setup = Setup::new("blue", "http://127.0.0.1:8080", "glrt-t1_first")
            .section("blue-2", "glrt-t1_second")
            .check_interval(0.1)
            .concurrent(4)
            .unhealthy_interval(Duration::from_millis(2500));
        let metrics = "127.0.0.1:9252".parse().unwrap();
        let program = setup.real(PathBuf::from("/opt/gitlab-runner"), metrics, dir.path()).unwrap();
        let home = dir.path().join("blue");
        let shown = home.display();
        assert_eq!(
            program.command_line(),
            format!("/opt/gitlab-runner run --config {shown}/config.toml --working-directory {shown}")
        );
        let expected = format!(
            r#"
check_interval = 1
concurrent = 4
listen_address = "127.0.0.1:9252"
shutdown_timeout = 30

[[runners]]
builds_dir = "{shown}/builds"
cache_dir = "{shown}/cache"
executor = "shell"
name = "blue"
token = "glrt-t1_first"
unhealthy_interval = "3s"
url = "http://127.0.0.1:8080"

[[runners]]
builds_dir = "{shown}/builds"
cache_dir = "{shown}/cache"
executor = "shell"
name = "blue-2"
token = "glrt-t1_second"
unhealthy_interval = "3s"
url = "http://127.0.0.1:8080"
"#
        );
        assert_eq!(std::fs::read_to_string(home.join("config.toml")).unwrap(), expected.trim_start());
        assert_eq!(std::fs::read_to_string(home.join(".runner_system_id")).unwrap(), "s_blue00000000");
    }
}

//! What Prometheus and Alertmanager have in common: a configuration file, `/-/ready`, `/-/reload`, and a data directory.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::{
    exposition::Page,
    http,
    process::{Process, Program},
    wait,
};

/// A running program of the Prometheus family.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    address: SocketAddr,
    program: Program,
    process: Process,
    dir: TempDir,
}

/// A directory for the files of a program.
pub(crate) fn directory(name: &str) -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix(&format!("switchyard-{name}-")).tempdir()?)
}

impl Server {
    /// Starts `binary` with its configuration file `NAME.yml` in `dir`, data beside it under the flag `storage`, and
    /// `args`. Returns when it is ready.
    pub(crate) async fn start(
        name: &'static str,
        binary: &Path,
        dir: TempDir,
        address: SocketAddr,
        storage: &str,
        args: impl IntoIterator<Item = String>,
    ) -> Result<Self> {
        let program = Program::new(name, binary)
            .arg(format!("--config.file={}", dir.path().join(name).with_extension("yml").display()))
            .arg(format!("--{storage}={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(args);
        let process = program.start(dir.path())?;
        let mut server = Self { name, address, program, process, dir };
        server.ready().await?;
        Ok(server)
    }

    async fn ready(&mut self) -> Result<()> {
        let url = format!("{}/-/ready", self.url());
        let probe = async || Ok(http::client().get(&url).send().await?.error_for_status().map(drop)?);
        self.process.ready(wait::PATIENCE, probe).await
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where its files are.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The process: for its log, or to freeze it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it without notice.
    pub async fn kill9(&mut self) -> Result<()> {
        self.process.kill9().await
    }

    /// Starts it again after [`kill9`](Self::kill9), with its data, on the same port.
    pub async fn restart(&mut self) -> Result<()> {
        self.process = self.program.start(self.dir.path())?;
        self.ready().await
    }

    /// Reads its configuration again.
    pub(crate) async fn load(&self) -> Result<()> {
        let answer = http::client().post(format!("{}/-/reload", self.url())).send().await?;
        let (name, status) = (self.name, answer.status());
        ensure!(status.is_success(), "{name} does not take it: {}", answer.text().await?);
        Ok(())
    }

    /// Its metrics page.
    pub async fn metrics(&self) -> Result<Page> {
        let answer = http::client().get(format!("{}/metrics", self.url())).send().await?;
        Ok(Page::parse(&answer.error_for_status()?.text().await?))
    }
}

/// Writes the configuration file of the program `name` in `dir`.
pub(crate) fn configure(dir: &Path, name: &str, text: impl AsRef<[u8]>) -> Result<()> {
    Ok(fs::write(dir.join(name).with_extension("yml"), text)?)
}

//! The product in its role as exporter, as a process.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{
    exposition::Page,
    http, ports,
    process::{Process, Program},
    wait::{PATIENCE, until},
};

/// A running exporter.
#[derive(Debug)]
pub struct Exporter {
    address: SocketAddr,
    process: Process,
}

impl Exporter {
    /// Starts `binary exporter` with `arguments` and waits until it is ready. Its log is in `logs`.
    pub async fn start(binary: &Path, arguments: &[String], logs: &Path) -> Result<Self> {
        let address = ports::free_address()?;
        let program = Program::new("exporter", binary)
            .arg("exporter")
            .args(["--web.listen-address", &address.to_string()])
            .args(arguments);
        let process = program.start(logs)?;
        let mut exporter = Self { address, process };
        exporter.ready().await?;
        Ok(exporter)
    }

    async fn ready(&mut self) -> Result<()> {
        let url = format!("http://{}/-/ready", self.address);
        let probe = async || {
            let answer = http::client().get(&url).send().await?;
            let status = answer.status();
            ensure!(status.is_success(), "{status}: {}", answer.text().await?);
            Ok(())
        };
        self.process.ready(PATIENCE, probe).await
    }

    /// Where it shows its metrics.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process: for its log and its memory.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// All that it has logged, and what it answers to everybody.
    pub async fn shown(&self) -> Result<String> {
        let mut shown = self.process.logged()?;
        for path in ["/", "/metrics", "/-/healthy", "/-/ready", "/nowhere"] {
            let answer = http::client().get(format!("http://{}{path}", self.address)).send().await?;
            shown.push_str(&format!("{path}: {} {:?}\n", answer.status(), answer.headers()));
            shown.push_str(&answer.text().await?);
        }
        Ok(shown)
    }

    /// Its metrics page.
    pub async fn metrics(&self) -> Result<Page> {
        let answer = http::client().get(format!("http://{}/metrics", self.address)).send().await?;
        Ok(Page::parse(&answer.error_for_status()?.text().await?))
    }

    /// Waits until the sum over the samples of `name` with these labels is `wanted`; none: there is no such sample.
    pub async fn until(&self, name: &str, labels: &[(&str, &str)], wanted: Option<f64>) -> Result<Page> {
        let what = format!("{name}{labels:?} is {wanted:?}");
        let seen = until(PATIENCE, &what, async || {
            let page = self.metrics().await?;
            let value = page.value(name, labels);
            ensure!(value == wanted, "it is {value:?}");
            Ok(page)
        });
        seen.await.with_context(|| self.process.tail())
    }

    /// Asks it to end, and takes it ill when it does not end well.
    pub async fn terminate(&mut self) -> Result<()> {
        let status = self.process.terminate(Duration::from_secs(20)).await?;
        ensure!(status.success(), "the exporter ended with {status}\n{}", self.process.tail());
        Ok(())
    }
}

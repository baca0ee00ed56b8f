//! A real BIND: one primary that takes signed updates, and on request a secondary that transfers from it.
//!
//! Needs `named`, `tsig-keygen`, `dig` and `nsupdate` (Debian: `bind9`, `bind9-dnsutils`). Listens on free ports of
//! 127.0.0.1, keeps its files in a temporary directory and ends when dropped.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::{
    parts::packaged_program,
    ports,
    process::{Process, Program},
    wait,
};

/// What to serve.
#[derive(Debug, Clone)]
pub struct BindConfig {
    /// The zone, with the final dot.
    pub zone: String,
    /// Lines of the zone file below SOA and NS.
    pub records: Vec<String>,
    /// What the key may change: the part of a `grant` line of `update-policy` behind the key's name.
    pub grants: Vec<String>,
    /// Whether to start a secondary too.
    pub secondary: bool,
    /// Whether the primary tells the secondary about changes at once. Without, it lags for an hour.
    pub notify: bool,
}

impl Default for BindConfig {
    /// `runner.company.test. 30 CNAME ingress.blue.company.test.`, which the key may change with its owner marker.
    fn default() -> Self {
        Self {
            zone: "company.test.".to_owned(),
            records: vec![
                "ingress.blue  300 IN A 192.0.2.10".to_owned(),
                "ingress.green 300 IN A 192.0.2.20".to_owned(),
                "runner 30 IN CNAME ingress.blue.company.test.".to_owned(),
            ],
            grants: vec![
                "name runner.company.test. CNAME A AAAA".to_owned(),
                "name _failover-owner.runner.company.test. TXT".to_owned(),
            ],
            secondary: false,
            notify: true,
        }
    }
}

/// One `named` process.
#[derive(Debug)]
struct Named {
    address: SocketAddr,
    program: Program,
    process: Process,
    dir: PathBuf,
}

/// A running BIND.
#[derive(Debug)]
pub struct Bind {
    zone: String,
    dig: PathBuf,
    nsupdate: PathBuf,
    key_text: String,
    secret: String,
    primary: Named,
    secondary: Option<Named>,
    dir: TempDir,
}

const KEY_NAME: &str = "switchyard-key";

impl Bind {
    /// Starts the servers and waits until they answer for the zone. Fails with [`Missing`](crate::parts::Missing) when
    /// BIND is not installed.
    pub async fn start(config: BindConfig) -> Result<Self> {
        let (dig, nsupdate) = (packaged_program("dig")?, packaged_program("nsupdate")?);
        let dir = tempfile::Builder::new().prefix("switchyard-bind-").tempdir()?;
        let keygen = packaged_program("tsig-keygen")?;
        let keygen = Command::new(keygen).args(["-a", "hmac-sha256", KEY_NAME]).output().await?;
        ensure!(keygen.status.success(), "tsig-keygen: {}", String::from_utf8_lossy(&keygen.stderr));
        let key_text = String::from_utf8(keygen.stdout)?;
        let secret =
            key_text.split('"').nth(3).context("tsig-keygen printed a key in an unknown form")?.to_owned();
        fs::write(dir.path().join("tsig.key"), &key_text)?;

        let (address, second) = (ports::free_address()?, ports::free_address()?);
        let notify = if config.secondary && config.notify {
            format!("notify explicit; also-notify {{ {}; }}; notify-delay 0;", bind_address(second))
        } else {
            "notify no;".to_owned()
        };
        let grants: String =
            config.grants.iter().map(|grant| format!("    grant {KEY_NAME} {grant};\n")).collect();
        let zone = config.zone.trim_end_matches('.');
        let statement = format!(
            "zone \"{zone}\" {{\n  type primary; file \"zone\"; {notify}\n  \
             allow-transfer {{ key {KEY_NAME}; }};\n  update-policy {{\n{grants}  }};\n}};\n"
        );
        let primary = Named::start("primary", dir.path(), address, &statement, Some(zone_file(&config)))?;
        let mut bind = Self {
            zone: config.zone.clone(),
            dig,
            nsupdate,
            key_text,
            secret,
            primary,
            secondary: None,
            dir,
        };
        bind.primary.ready(&bind.dig, zone).await?;

        if config.secondary {
            let statement = format!(
                "zone \"{zone}\" {{\n  type secondary; file \"zone\"; masterfile-format text; notify no;\n  \
                 primaries {{ {} key {KEY_NAME}; }};\n}};\n",
                bind_address(address)
            );
            let secondary = Named::start("secondary", bind.dir.path(), second, &statement, None)?;
            bind.secondary.insert(secondary).ready(&bind.dig, zone).await?;
        }
        Ok(bind)
    }

    /// `address:port` of the server that takes updates.
    pub fn server(&self) -> String {
        self.primary.address.to_string()
    }

    /// `address:port` of the secondary, if there is one.
    pub fn secondary(&self) -> Option<String> {
        self.secondary.as_ref().map(|named| named.address.to_string())
    }

    /// Every authoritative `address:port`.
    pub fn servers(&self) -> Vec<String> {
        std::iter::once(self.server()).chain(self.secondary()).collect()
    }

    /// The zone, with the final dot.
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// The name of the key.
    pub fn tsig_name(&self) -> &'static str {
        KEY_NAME
    }

    /// The algorithm of the key.
    pub fn tsig_algorithm(&self) -> &'static str {
        "hmac-sha256"
    }

    /// The key's secret, in Base64.
    pub fn tsig_secret(&self) -> &str {
        &self.secret
    }

    /// The key as `tsig-keygen` printed it.
    pub fn key_text(&self) -> &str {
        &self.key_text
    }

    /// The file that holds [`key_text`](Self::key_text).
    pub fn key_file(&self) -> PathBuf {
        self.dir.path().join("tsig.key")
    }

    /// What the primary logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.primary.process.log()).unwrap_or_default()
    }

    /// Kills the primary, as if its machine had died.
    pub async fn kill9(&mut self) -> Result<()> {
        self.primary.process.kill9().await
    }

    /// Starts a killed primary again, on the same port and with the zone as it was.
    pub async fn restart(&mut self) -> Result<()> {
        self.primary.process.kill9().await?;
        self.primary.process = self.primary.program.start(&self.primary.dir)?;
        self.primary.ready(&self.dig, self.zone.trim_end_matches('.')).await
    }

    /// Freezes the primary: it takes connections and answers nothing. Returns when it stands still: a signal
    /// does not stop all threads at once.
    pub async fn pause(&self) -> Result<()> {
        self.primary.process.pause()?;
        let tasks = format!("/proc/{}/task", self.primary.process.id());
        wait::until(wait::PATIENCE, "named stands still", async || {
            for task in fs::read_dir(&tasks)? {
                let stat = fs::read_to_string(task?.path().join("stat"))?;
                let state = stat.rsplit(')').next().unwrap_or_default().trim();
                ensure!(state.starts_with('T'), "a thread is in state {state:.1}");
            }
            Ok(())
        })
        .await
    }

    /// Lets a frozen primary go on.
    pub fn resume(&self) -> Result<()> {
        self.primary.process.resume()
    }

    /// What `dig` prints when it asks the primary, without recursion.
    pub async fn dig(&self, arguments: &[&str]) -> Result<String> {
        dig(&self.dig, self.primary.address, arguments).await
    }

    /// What `dig` prints when it asks the secondary.
    pub async fn dig_secondary(&self, arguments: &[&str]) -> Result<String> {
        let secondary = self.secondary.as_ref().context("no secondary was asked for")?;
        dig(&self.dig, secondary.address, arguments).await
    }

    /// Feeds commands (`update add …`) to `nsupdate` with the key of this server: somebody else's hand.
    pub async fn nsupdate(&self, commands: &str) -> Result<()> {
        let mut child = Command::new(&self.nsupdate)
            .arg("-k")
            .arg(self.key_file())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (ip, port) = (self.primary.address.ip(), self.primary.address.port());
        let script = format!("server {ip} {port}\nzone {}\n{commands}\nsend\nquit\n", self.zone);
        let mut stdin = child.stdin.take().context("nsupdate has no standard input")?;
        stdin.write_all(script.as_bytes()).await?;
        drop(stdin);
        let output = child.wait_with_output().await?;
        ensure!(output.status.success(), "nsupdate: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for named in std::iter::once(&self.primary).chain(&self.secondary) {
                let _ = writeln!(std::io::stderr(), "{}", named.process.tail());
            }
        }
    }
}

impl Named {
    fn start(
        name: &str,
        parent: &Path,
        address: SocketAddr,
        zone: &str,
        zone_file: Option<String>,
    ) -> Result<Self> {
        let dir = parent.join(name);
        fs::create_dir(&dir)?;
        if let Some(text) = zone_file {
            fs::write(dir.join("zone"), text)?;
        }
        let shown = dir.display();
        let conf = format!(
            "include \"{shown}/../tsig.key\";\ncontrols {{ }};\noptions {{\n  directory \"{shown}\";\n  \
             pid-file \"{shown}/named.pid\";\n  session-keyfile \"{shown}/session.key\";\n  \
             listen-on port {} {{ {}; }};\n  listen-on-v6 {{ none; }};\n  recursion no;\n  \
             dnssec-validation no;\n}};\n{zone}",
            address.port(),
            address.ip(),
        );
        let conf_file = dir.join("named.conf");
        fs::write(&conf_file, conf)?;
        let program = Program::new(format!("named-{name}"), packaged_program("named")?)
            .args(["-g", "-n", "1", "-c"])
            .arg(conf_file);
        let process = program.start(&dir)?;
        Ok(Self { address, program, process, dir })
    }

    async fn ready(&mut self, dig: &Path, zone: &str) -> Result<()> {
        let address = self.address;
        let probe = || async move {
            let soa = self::dig(dig, address, &["+short", zone, "SOA"]).await?;
            if soa.contains("hostmaster") { Ok(()) } else { bail!("no SOA of {zone} yet: {soa:?}") }
        };
        self.process.ready(wait::PATIENCE, probe).await
    }
}

async fn dig(program: &Path, server: SocketAddr, arguments: &[&str]) -> Result<String> {
    let (ip, port) = (format!("@{}", server.ip()), server.port().to_string());
    let output = Command::new(program)
        .args([ip.as_str(), "-p", port.as_str(), "+norec", "+time=1", "+tries=1"])
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(output.status.success(), "dig {}: {text}", arguments.join(" "));
    Ok(text)
}

/// An address as `named.conf` has it.
fn bind_address(address: SocketAddr) -> String {
    format!("{} port {}", address.ip(), address.port())
}

fn zone_file(config: &BindConfig) -> String {
    // 127.0.0.77: nothing listens there at port 53, whatever the machine.
    let mut text = format!(
        "$ORIGIN {}\n$TTL 300\n@ IN SOA ns1 hostmaster 1 3600 600 86400 60\n@ IN NS ns1\nns1 IN A 127.0.0.77\n",
        config.zone
    );
    for record in &config.records {
        text.push_str(record);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::or_skip;

    #[tokio::test]
    async fn a_signed_update_reaches_the_secondary() {
        let config = BindConfig { secondary: true, ..BindConfig::default() };
        let Some(mut bind) = or_skip(Bind::start(config).await) else { return };
        let asked = ["+short", "runner.company.test.", "CNAME"];
        assert_eq!(bind.dig(&asked).await.unwrap(), "ingress.blue.company.test.");

        let update = "update delete runner.company.test. CNAME\n\
                      update add runner.company.test. 30 CNAME ingress.green.company.test.";
        bind.nsupdate(update).await.unwrap();
        assert_eq!(bind.dig(&asked).await.unwrap(), "ingress.green.company.test.");
        wait::until(wait::PATIENCE, "the secondary has the new record", async || {
            let answer = bind.dig_secondary(&asked).await?;
            ensure!(answer == "ingress.green.company.test.", "{answer}");
            Ok(())
        })
        .await
        .unwrap();

        let refused = bind.nsupdate("update add other.company.test. 30 A 192.0.2.1").await.unwrap_err();
        assert!(refused.to_string().contains("REFUSED"), "{refused}");

        bind.kill9().await.unwrap();
        assert!(bind.dig(&asked).await.is_err());
        bind.restart().await.unwrap();
        assert_eq!(bind.dig(&asked).await.unwrap(), "ingress.green.company.test.");
    }
}

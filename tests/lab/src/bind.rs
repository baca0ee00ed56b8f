//! A real BIND: one primary that takes signed updates, and on request a secondary that transfers from it.
//!
//! Needs `named`, `tsig-keygen`, `dig` and `nsupdate` (Debian: `bind9`, `bind9-dnsutils`). Listens on free ports of
//! 127.0.0.1, keeps its files in a temporary directory and ends when dropped.

use std::{
    fs,
    io::Write as _,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

/// How long `named` may take until it answers.
const READY: Duration = Duration::from_secs(20);

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
    name: &'static str,
    dir: PathBuf,
    port: u16,
    child: Option<Child>,
}

/// A running BIND.
#[derive(Debug)]
pub struct Bind {
    zone: String,
    key_text: String,
    secret: String,
    primary: Named,
    secondary: Option<Named>,
    dir: TempDir,
}

const KEY_NAME: &str = "switchyard-key";

impl Bind {
    /// Starts the servers and waits until they answer for the zone.
    pub async fn start(config: BindConfig) -> anyhow::Result<Self> {
        // A port found free may be taken a moment later: `named` then says so in its log.
        for _ in 0..4 {
            match Self::try_start(&config).await {
                Err(error) if format!("{error:#}").contains("address in use") => {}
                other => return other,
            }
        }
        bail!("found no free port for named in 4 attempts")
    }

    async fn try_start(config: &BindConfig) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("switchyard-bind-").tempdir()?;
        let keygen = Command::new(find("tsig-keygen")).args(["-a", "hmac-sha256", KEY_NAME]).output();
        let keygen = keygen.context("tsig-keygen (Debian: bind9)")?;
        ensure!(keygen.status.success(), "tsig-keygen: {}", String::from_utf8_lossy(&keygen.stderr));
        let key_text = String::from_utf8(keygen.stdout)?;
        let secret =
            key_text.split('"').nth(3).context("tsig-keygen printed a key in an unknown form")?.to_owned();
        fs::write(dir.path().join("tsig.key"), &key_text)?;

        let (port, second_port) = (free_port()?, free_port()?);
        let notify = match (config.secondary, config.notify) {
            (true, true) => {
                format!("notify explicit; also-notify {{ 127.0.0.1 port {second_port}; }}; notify-delay 0;")
            }
            _ => "notify no;".to_owned(),
        };
        let grants: String =
            config.grants.iter().map(|grant| format!("    grant {KEY_NAME} {grant};\n")).collect();
        let zone = config.zone.trim_end_matches('.');
        let primary_zone = format!(
            "zone \"{zone}\" {{\n  type primary; file \"zone\"; {notify}\n  \
             allow-transfer {{ key {KEY_NAME}; }};\n  update-policy {{\n{grants}  }};\n}};\n"
        );
        let mut primary = Named::new("primary", dir.path(), port)?;
        fs::write(primary.dir.join("zone"), zone_file(config))?;
        primary.configure(&primary_zone)?;
        primary.spawn()?;
        let mut bind = Self { zone: config.zone.clone(), key_text, secret, primary, secondary: None, dir };
        bind.primary.ready(zone).await?;

        if config.secondary {
            let mut secondary = Named::new("secondary", bind.dir.path(), second_port)?;
            secondary.configure(&format!(
                "zone \"{zone}\" {{\n  type secondary; file \"zone\"; masterfile-format text; notify no;\n  \
                 primaries {{ 127.0.0.1 port {port} key {KEY_NAME}; }};\n}};\n"
            ))?;
            secondary.spawn()?;
            bind.secondary.insert(secondary).ready(zone).await?;
        }
        Ok(bind)
    }

    /// `address:port` of the server that takes updates.
    pub fn server(&self) -> String {
        self.primary.address()
    }

    /// `address:port` of the secondary, if there is one.
    pub fn secondary(&self) -> Option<String> {
        self.secondary.as_ref().map(Named::address)
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
        self.primary.log()
    }

    /// Kills the primary, as if its machine had died.
    pub fn stop(&mut self) {
        self.primary.stop();
    }

    /// Starts a stopped primary again, on the same port and with the zone as it was.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.primary.stop();
        self.primary.spawn()?;
        self.primary.ready(self.zone.trim_end_matches('.')).await
    }

    /// What `dig` prints when it asks the primary, without recursion.
    pub async fn dig(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.primary.dig(arguments).await
    }

    /// What `dig` prints when it asks the secondary.
    pub async fn dig_secondary(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.secondary.as_ref().context("no secondary was asked for")?.dig(arguments).await
    }

    /// Feeds commands (`update add …`) to `nsupdate` with the key of this server: somebody else's hand.
    pub async fn nsupdate(&self, commands: &str) -> anyhow::Result<()> {
        let mut child = tokio::process::Command::new("nsupdate")
            .arg("-k")
            .arg(self.key_file())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("nsupdate (Debian: bind9-dnsutils)")?;
        let script =
            format!("server 127.0.0.1 {}\nzone {}\n{commands}\nsend\nquit\n", self.primary.port, self.zone);
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
                let log = named.log();
                let tail: Vec<&str> = log.lines().rev().take(40).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                let _ = writeln!(std::io::stderr(), "--- named ({}):\n{}", named.name, tail.join("\n"));
            }
        }
    }
}

impl Named {
    fn new(name: &'static str, parent: &Path, port: u16) -> anyhow::Result<Self> {
        let dir = parent.join(name);
        fs::create_dir(&dir)?;
        Ok(Self { name, dir, port, child: None })
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Told apart from any other server by what it says its version is.
    fn identity(&self) -> String {
        self.dir.display().to_string()
    }

    fn configure(&self, zone: &str) -> anyhow::Result<()> {
        let dir = self.dir.display();
        let conf = format!(
            "include \"{dir}/../tsig.key\";\ncontrols {{ }};\noptions {{\n  directory \"{dir}\";\n  \
             pid-file \"{dir}/named.pid\";\n  session-keyfile \"{dir}/session.key\";\n  \
             version \"{}\";\n  listen-on port {} {{ 127.0.0.1; }};\n  listen-on-v6 {{ none; }};\n  \
             recursion no;\n  dnssec-validation no;\n}};\n{zone}",
            self.identity(),
            self.port,
        );
        Ok(fs::write(self.dir.join("named.conf"), conf)?)
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        let log = fs::File::create(self.dir.join("log"))?;
        let child = Command::new(find("named"))
            .args(["-g", "-n", "1", "-c"])
            .arg(self.dir.join("named.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Its own process group: the interrupt key of a terminal ends the demo, and the demo ends this.
            .process_group(0)
            .spawn()
            .context("named (Debian: bind9)")?;
        self.child = Some(child);
        Ok(())
    }

    async fn ready(&mut self, zone: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY;
        loop {
            let exited = match &mut self.child {
                Some(child) => child.try_wait()?.is_some(),
                None => true,
            };
            let log = self.log();
            if exited || Instant::now() > deadline || log.contains("address in use") {
                bail!("named ({}) does not answer for {zone}; its log says:\n{log}", self.name);
            }
            let version = self.dig(&["+short", "version.bind", "CH", "TXT"]).await.unwrap_or_default();
            let soa = self.dig(&["+short", zone, "SOA"]).await.unwrap_or_default();
            if version.contains(&self.identity()) && soa.contains("hostmaster") {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn dig(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = tokio::process::Command::new("dig")
            .args(["@127.0.0.1", "-p", &self.port.to_string(), "+norec", "+time=1", "+tries=1"])
            .args(arguments)
            .kill_on_drop(true)
            .output()
            .await
            .context("dig (Debian: bind9-dnsutils)")?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        ensure!(output.status.success(), "dig {}: {text}", arguments.join(" "));
        Ok(text)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Servers live where a user's search path often does not look.
fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| PathBuf::from(program))
}

/// A port of 127.0.0.1 that is free for TCP and UDP.
fn free_port() -> anyhow::Result<u16> {
    for _ in 0..32 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of 127.0.0.1 is free for TCP and UDP")
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

    #[tokio::test]
    async fn a_signed_update_reaches_the_secondary() {
        let mut bind = Bind::start(BindConfig { secondary: true, ..BindConfig::default() }).await.unwrap();
        let asked = ["+short", "runner.company.test.", "CNAME"];
        assert_eq!(bind.dig(&asked).await.unwrap(), "ingress.blue.company.test.");

        let update = "update delete runner.company.test. CNAME\n\
                      update add runner.company.test. 30 CNAME ingress.green.company.test.";
        bind.nsupdate(update).await.unwrap();
        assert_eq!(bind.dig(&asked).await.unwrap(), "ingress.green.company.test.");
        let deadline = Instant::now() + Duration::from_secs(20);
        while bind.dig_secondary(&asked).await.unwrap() != "ingress.green.company.test." {
            assert!(Instant::now() < deadline, "the secondary still has the old record");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }

        let refused = bind.nsupdate("update add other.company.test. 30 A 192.0.2.1").await.unwrap_err();
        assert!(refused.to_string().contains("REFUSED"), "{refused}");

        bind.stop();
        assert!(bind.dig(&asked).await.is_err());
        bind.restart().await.unwrap();
        assert_eq!(bind.dig(&asked).await.unwrap(), "ingress.green.company.test.");
    }
}

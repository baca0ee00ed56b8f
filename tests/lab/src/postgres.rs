//! A real PostgreSQL with a fresh directory, on a free port of 127.0.0.1.
//!
//! Needs `initdb` and `postgres` (Debian: `postgresql`). They refuse to run as root: then they run as `nobody`.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, Result, ensure};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use tokio::{process::Command, sync::Mutex};

use crate::{
    clock::WallClock,
    parts::{Missing, packaged_program},
    ports,
    process::{Process, Program},
    wait,
};

/// The numbers of Debian's `nobody` and `nogroup`.
const NOBODY: u32 = 65_534;

/// The role that the server lets in with any password, or none.
const ROLE: &str = "switchyard";
/// Roles of this group are asked for their password.
const ASKED: &str = "asked";

/// What a server shows to those who connect by TLS, and whom it believes; all PEM.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Its certificate.
    pub certificate: String,
    /// The key of that.
    pub key: String,
    /// Who signs the certificates of clients.
    pub clients: String,
}

/// Nobody gets in without TLS; the role `certified` needs a certificate of that name.
const TLS_ONLY: &str = "hostssl all certified 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 trust\n";

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    address: SocketAddr,
    databases: AtomicU32,
    clock: Option<WallClock>,
    _dir: TempDir,
}

impl Postgres {
    /// Makes a cluster of databases and starts its server.
    pub async fn start() -> Result<Self> {
        Self::start_with(None, false).await
    }

    /// The same with a clock that can be [set](Self::clock).
    pub async fn start_with_clock() -> Result<Self> {
        Self::start_with(None, true).await
    }

    /// The same for a server that takes connections by TLS only.
    pub async fn start_with_tls(tls: &Tls) -> Result<Self> {
        Self::start_with(Some(tls), false).await
    }

    async fn start_with(tls: Option<&Tls>, settable: bool) -> Result<Self> {
        let (initdb, postgres) = (program("initdb")?, program("postgres")?);
        let dir = tempfile::Builder::new().prefix("switchyard-postgres-").tempdir()?;
        // The server must get through to its own directory below.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let data = dir.path().join("data");
        fs::create_dir(&data)?;
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700))?;
        let root = rustix::process::getuid().is_root();
        if root {
            chown(&data, Some(NOBODY), Some(NOBODY))?;
        }
        let mut init = command(root, &initdb);
        init.args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "--username", ROLE, "-D"])
            .arg(&data);
        let made = init.current_dir(&data).stdin(Stdio::null()).kill_on_drop(true).output().await?;
        ensure!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr));

        let rules = data.join("pg_hba.conf");
        let trusting = fs::read_to_string(&rules)?;
        fs::write(&rules, format!("host all +{ASKED} 127.0.0.1/32 scram-sha-256\n{trusting}"))?;

        let mut settings = vec![
            "listen_addresses=127.0.0.1",
            "max_connections=200",
            "fsync=off",
            // In its directory, which goes with it.
            "dynamic_shared_memory_type=mmap",
            "log_min_messages=warning",
        ];
        if let Some(tls) = tls {
            fs::write(data.join("pg_hba.conf"), TLS_ONLY)?;
            for (name, pem) in
                [("server.crt", &tls.certificate), ("server.key", &tls.key), ("clients.crt", &tls.clients)]
            {
                let path = data.join(name);
                fs::write(&path, pem)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
                if root {
                    chown(&path, Some(NOBODY), Some(NOBODY))?;
                }
            }
            settings.extend(["ssl=on", "ssl_ca_file=clients.crt"]);
        }
        let address = ports::free_address()?;
        let clock = settable.then(|| WallClock::new(dir.path(), "clock")).transpose()?;
        // For the server alone: what it shares with its processes must be made by its own user.
        let env = clock.iter().flat_map(WallClock::env).map(|(name, value)| format!("{name}={value}"));
        let mut args = command_line(root, Path::new("/usr/bin/env"));
        args.extend(env.chain([postgres.display().to_string()]));
        args.extend(["-D".to_owned(), data.display().to_string()]);
        args.extend(["-k".to_owned(), data.display().to_string()]);
        args.extend(["-p".to_owned(), address.port().to_string()]);
        for setting in settings {
            args.extend(["-c".to_owned(), setting.to_owned()]);
        }
        let (program, args) = args.split_first().context("a command has a program")?;
        let mut process = Program::new("postgres", program).args(args).dir(&data).start(dir.path())?;
        let url = url(address, "postgres");
        process.ready(wait::PATIENCE, async || Ok(PgConnection::connect(&url).await?.close().await?)).await?;
        let mut connection = PgConnection::connect(&url).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE ROLE {ASKED}"))).execute(&mut connection).await?;
        connection.close().await?;
        Ok(Self { process, address, databases: AtomicU32::new(0), clock, _dir: dir })
    }

    /// The server that the tests of this process share; it ends with the last of them.
    pub async fn shared() -> Result<Arc<Self>> {
        static SERVER: Mutex<Weak<Postgres>> = Mutex::const_new(Weak::new());
        let mut server = SERVER.lock().await;
        if let Some(running) = server.upgrade() {
            return Ok(running);
        }
        let started = Arc::new(Self::start().await?);
        *server = Arc::downgrade(&started);
        Ok(started)
    }

    /// Makes an empty database and gives its address.
    pub async fn database(&self) -> Result<String> {
        let name = self.create("").await?;
        Ok(url(self.address, &name))
    }

    /// The same for a role that has to show this password. The address does not hold it.
    pub async fn guarded_database(&self, password: &str) -> Result<String> {
        let name = self.create(password).await?;
        Ok(format!("postgres://{name}@{}/{name}", self.address))
    }

    /// A database, and a role of the same name when there is a password.
    async fn create(&self, password: &str) -> Result<String> {
        let name = format!("switchyard_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(&url(self.address, "postgres")).await?;
        let mut run = async |sql: String| sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await;
        if password.is_empty() {
            run(format!("CREATE DATABASE {name}")).await?;
        } else {
            let password = password.replace('\'', "''");
            run(format!("CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE {ASKED}")).await?;
            run(format!("CREATE DATABASE {name} OWNER {name}")).await?;
        }
        connection.close().await?;
        Ok(name)
    }

    /// All rows of all tables of a database, as text.
    pub async fn dump(&self, database: &str) -> Result<String> {
        let mut connection = PgConnection::connect(&url(self.address, database)).await?;
        let tables: Vec<String> =
            sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
                .fetch_all(&mut connection)
                .await?;
        let mut all = String::new();
        for table in tables {
            let rows = AssertSqlSafe(format!("SELECT t::text FROM \"{table}\" AS t"));
            let rows: Vec<String> = sqlx::query_scalar(rows).fetch_all(&mut connection).await?;
            all.extend([table, rows.join("\n")]);
        }
        connection.close().await?;
        Ok(all)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its wall clock, when that can be set.
    pub fn clock(&self) -> Option<&WallClock> {
        self.clock.as_ref()
    }

    /// The process: to freeze it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn url(address: SocketAddr, database: &str) -> String {
    format!("postgres://{ROLE}@{address}/{database}")
}

/// Debian keeps the programs of each version in a directory of its own.
fn program(name: &str) -> Result<PathBuf, Missing> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.is_file()).collect();
    found.sort();
    match found.pop() {
        Some(path) => Ok(path),
        None => packaged_program(name).map_err(|missing| Missing { mend: "scripts/setup test", ..missing }),
    }
}

/// How to run `program` as somebody else than root.
fn command_line(root: bool, program: &Path) -> Vec<String> {
    let program = program.display().to_string();
    if !root {
        return vec![program];
    }
    let nobody = NOBODY.to_string();
    let user = ["setpriv", "--reuid", &nobody, "--regid", &nobody, "--clear-groups", "--", &program];
    user.map(str::to_owned).to_vec()
}

fn command(root: bool, program: &Path) -> Command {
    let line = command_line(root, program);
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]);
    command
}

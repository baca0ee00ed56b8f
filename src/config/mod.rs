//! The configuration: defaults, then a TOML file, then the environment, validated into types.
//!
//! [`load`] lists *all* problems, each with its key, what is wrong and the mend. Unknown keys are problems. What is
//! legal but risky is in [`Config::warnings`].
//!
//! - `SWITCHYARD__A__B` sets the key `a.b`. Only texts, numbers, switches and lists of one can be set so; every
//!   variable with this prefix is ours, a misspelt one is a problem. Values are never guessed at: a token that looks
//!   like a number stays as it is.
//! - A secret is read from the file that `…_file` names (trailing line ends are cut off), or set directly in the
//!   environment, which wins. It is refused in the configuration file. It is never printed.
//! - Relative paths start at the directory of the configuration file.
//! - Durations are jiff's friendly form (`30s`, `10m`, `1h 30m`, `400d`); a day is 24 hours, a week 7 days.

mod fleets;
mod problem;
mod sections;
mod store;
mod values;
mod walk;
mod web;

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use config::{Environment, File, FileFormat, Map};
use jiff::SignedDuration;
use secrecy::SecretString;
use url::Url;

pub use problem::{Problem, Problems};
pub use sections::read_secret;
pub use walk::Key;
pub use web::{CIPHER_SUITES, CURVES, ClientAuth, Contents, WebFile, WebTls, load_web, read_web};

use crate::model::{FleetName, Question, Topology};
use walk::Walk;

/// The whole configuration, validated.
#[derive(Debug, Clone)]
pub struct Config {
    /// GitLab.
    pub gitlab: Gitlab,
    /// The Prometheus servers.
    pub prometheus: Prometheus,
    /// The Alertmanagers.
    pub alertmanager: Alertmanager,
    /// The webhook that Alertmanager calls.
    pub webhook: Webhook,
    /// The API.
    pub api: Api,
    /// Where Switchyard itself is reached.
    pub web: Web,
    /// The store.
    pub store: Store,
    /// The decision loop.
    pub pace: Pace,
    /// The DNS providers by name.
    pub dns: BTreeMap<String, DnsProvider>,
    /// Fleets and limits.
    pub topology: Topology,
    /// What Prometheus is asked, by fleet.
    pub queries: BTreeMap<FleetName, Queries>,
    warnings: Vec<Problem>,
}

/// `[gitlab]`
#[derive(Debug, Clone)]
pub struct Gitlab {
    /// Where it is.
    pub url: Url,
    /// Access token.
    pub token: SecretString,
    /// The file that it came from, which may change.
    pub token_file: Option<PathBuf>,
    /// Whose runners are looked at.
    pub scope: Scope,
    /// Requests in flight at once.
    pub concurrency: usize,
    /// Limit of one request.
    pub timeout: Duration,
    /// PEM text of the authorities to trust beside the system's.
    pub ca: Option<String>,
}

/// Whose runners are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All of the instance (an administrator's token).
    Instance,
    /// Those of a group, by its full path.
    Group(String),
    /// Those of a project, by its full path.
    Project(String),
}

/// `[prometheus]`
#[derive(Debug, Clone)]
pub struct Prometheus {
    /// Every server; all are asked.
    pub urls: Vec<Url>,
    /// Limit for everything that one server is asked in one pass.
    pub timeout: Duration,
    /// Queries in flight at once, per server.
    pub concurrency: usize,
    /// Sent as Bearer token.
    pub token: Option<SecretString>,
    /// The file it came from; none when it came from the environment.
    pub token_file: Option<PathBuf>,
    /// PEM text of the authorities to trust beside the system's.
    pub ca: Option<String>,
}

/// `[alertmanager]`
#[derive(Debug, Clone)]
pub struct Alertmanager {
    /// Every peer.
    pub urls: Vec<Url>,
    /// How often they are asked for alerts whose webhook got lost.
    pub poll: SignedDuration,
    /// How long one must have been up, and an alert unheard of, before its absence from a list is an end.
    pub settle: SignedDuration,
    /// Limit of one request.
    pub timeout: Duration,
    /// Sent as Bearer token.
    pub token: Option<SecretString>,
    /// The file it came from; none when it came from the environment.
    pub token_file: Option<PathBuf>,
    /// PEM text of the authorities to trust beside the system's.
    pub ca: Option<String>,
}

/// `[webhook]`
#[derive(Debug, Clone)]
pub struct Webhook {
    /// The Bearer token that Alertmanager must send; without it only loopback may call.
    pub token: Option<SecretString>,
    /// The file that it came from, which may change.
    pub token_file: Option<PathBuf>,
    /// The longest body taken, in bytes.
    pub max_body: usize,
}

/// `[api]`
#[derive(Debug, Clone)]
pub struct Api {
    /// The Bearer token of people who act; without it actions are refused.
    pub token: Option<SecretString>,
    /// The file that it came from, which may change.
    pub token_file: Option<PathBuf>,
    /// The Bearer token of those who only look; without it reading is open.
    pub read_token: Option<SecretString>,
    /// The file that it came from, which may change.
    pub read_token_file: Option<PathBuf>,
}

/// `[web]`
#[derive(Debug, Clone)]
pub struct Web {
    /// Where people and the command line reach Switchyard.
    pub url: Url,
    /// The page with a section for each gate; its address is printed with a gate's name as the anchor.
    pub runbook_url: String,
    /// What the command line shows and believes there.
    pub client: WebClient,
}

/// How the command line reaches a Switchyard that speaks TLS or has users.
#[derive(Debug, Clone, Default)]
pub struct WebClient {
    /// PEM text of the authorities to trust beside the system's.
    pub ca: Option<String>,
    /// The client's certificate and its key, PEM.
    pub identity: Option<SecretString>,
    /// User and password.
    pub user: Option<(String, SecretString)>,
}

/// `[store]`
#[derive(Debug, Clone)]
pub struct Store {
    /// `sqlite:…` or `postgres:…`, the latter with its password.
    pub url: SecretString,
    /// How long a time as leader lasts unless it is renewed; for PostgreSQL.
    pub lease: Duration,
    /// How long finished things are kept.
    pub retention: SignedDuration,
}

/// `[loop]`
#[derive(Debug, Clone)]
pub struct Pace {
    /// How often the loop looks at the world when nothing wakes it.
    pub period: SignedDuration,
}

/// One of `[dns.providers]`.
#[derive(Debug, Clone)]
pub enum DnsProvider {
    /// A server that takes signed dynamic updates.
    Rfc2136(Rfc2136),
}

impl DnsProvider {
    /// The zone that it may write in: absolute, lower case, with the final dot.
    pub fn zone(&self) -> &str {
        match self {
            Self::Rfc2136(provider) => &provider.zone,
        }
    }
}

/// A server that takes RFC 2136 updates, signed with TSIG.
#[derive(Debug, Clone)]
pub struct Rfc2136 {
    /// The primary that takes updates.
    pub server: SocketAddr,
    /// The zone: absolute, lower case, with the final dot.
    pub zone: String,
    /// The key's name; may stand beside the secret instead.
    pub tsig_name: Option<String>,
    /// The key's algorithm; may stand beside the secret instead.
    pub tsig_algorithm: Option<TsigAlgorithm>,
    /// The key: Base64, a key as `tsig-keygen` prints it, or `algorithm:name:secret`.
    pub tsig_secret: SecretString,
    /// Further authoritative servers that must show a new record before a move goes on.
    pub verify: Vec<SocketAddr>,
    /// The word in the owner marker.
    pub owner: String,
    /// Limit of one exchange.
    pub timeout: Duration,
}

/// What signs a DNS update. MD5 and SHA-1 are not supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TsigAlgorithm {
    /// SHA-256.
    HmacSha256,
    /// SHA-384.
    HmacSha384,
    /// SHA-512.
    HmacSha512,
}

impl TsigAlgorithm {
    /// The name as in the protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }
}

/// What Prometheus is asked about one fleet: PromQL, ready to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queries {
    /// By question; every question is present. Each answer has one series per cluster, told by `runner_cluster`.
    pub questions: BTreeMap<Question, String>,
    /// Which cluster each runner manager polls from: series told by `system_id` and `runner_cluster`.
    pub managers: String,
}

impl Config {
    /// What is legal but risky.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Reads a configuration from text; relative paths start at `dir`, `env` is as in [`load`].
    ///
    /// # Errors
    /// All that is wrong.
    pub fn from_toml(
        text: &str,
        dir: &Path,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Problems> {
        let root = merge(text, env)?;
        let walk = Walk::new(dir.to_owned());
        let config = sections::read(&walk, walk.root(root));
        let (problems, warnings, _) = walk.finish();
        match config {
            Some(config) if problems.is_empty() => Ok(Self { warnings, ..config }),
            _ => Err(Problems(problems)),
        }
    }
}

/// Reads the configuration from a file and the environment variables `SWITCHYARD__…` among `env`.
///
/// # Errors
/// All that is wrong.
pub fn load(path: &Path, env: impl IntoIterator<Item = (String, String)>) -> Result<Config, Problems> {
    let shown = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| {
        Problems::one(&shown, format!("cannot be read: {error}"), "name the file with --config.file")
    })?;
    let dir = path.parent().unwrap_or(Path::new(""));
    Config::from_toml(&text, dir, env)
}

/// Every key there is: what it takes and its default. Names that the user gives stand as `<name>`.
pub fn keys() -> BTreeMap<String, Key> {
    // One of each named table is enough to be asked for every key in it.
    let sample = "[dns.providers.x]\n[fleets.x.dns]\n[fleets.x.window]\n[fleets.x.pools.x]\n";
    let walk = Walk::new(Path::new("").to_owned());
    if let Ok(root) = merge(sample, []) {
        sections::read(&walk, walk.root(root));
    }
    walk.finish().2
}

/// Whether a text is a value as the file takes it.
pub fn is_value(text: &str) -> bool {
    merge(&format!("value = {text}"), []).is_ok()
}

fn merge(
    text: &str,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Map<String, config::Value>, Problems> {
    let env: Map<String, String> = env.into_iter().collect();
    // No `try_parsing`: it rewrites a secret that looks like a number.
    let environment = Environment::with_prefix("SWITCHYARD").prefix_separator("__").separator("__");
    config::Config::builder()
        .add_source(File::from_str(text, FileFormat::Toml))
        .add_source(environment.source(Some(env)))
        .build()
        .and_then(|merged| merged.cache.into_table())
        .map_err(|error| {
            // The lines between are an excerpt of the file, which may show a secret.
            let text = error.to_string();
            let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
            let wrong = match lines.as_slice() {
                [] => "cannot be read".to_owned(),
                [one] => (*one).to_owned(),
                [first, .., last] => format!("{first}: {last}"),
            };
            Problems::one("configuration", wrong, "mend the syntax: nothing else was looked at")
        })
}

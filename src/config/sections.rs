//! The sections beside the fleets.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use super::{
    Alertmanager, Api, Config, DnsProvider, Gitlab, Pace, Prometheus, Rfc2136, Scope, Web, WebClient,
    Webhook,
    fleets::{self, Provider},
    problem::Complaint,
    store,
    values::{Bytes, Count, DnsName, List, Owner, Positive, Servers, urls},
    walk::{Table, Walk, from_environment},
};
use crate::model::{Budget, Limits, MOVES_KNOWN, Topology};

/// Reads all sections. None only when something is wrong, and then it is among the problems.
pub(super) fn read(walk: &Walk, root: Table<'_>) -> Option<Config> {
    let gitlab = gitlab(&root.table("gitlab"));
    let prometheus = prometheus(&root.table("prometheus"));
    let alertmanager = alertmanager(&root.table("alertmanager"));
    let webhook = webhook(&root.table("webhook"));
    let api = api(&root.table("api"));
    if let Some(webhook) = &webhook.token {
        let same = |other: &Option<SecretString>| {
            other.as_ref().is_some_and(|other| other.expose_secret() == webhook.expose_secret())
        };
        for (key, _) in [("api.token_file", &api.token), ("api.read_token_file", &api.read_token)]
            .iter()
            .filter(|(_, other)| same(other))
        {
            let mend = "give Alertmanager a token of its own";
            walk.problem("webhook.token_file", format!("holds the same token as {key}"), mend);
        }
    }
    let web = web(&root.table("web"));
    let store = store::read(&root.table("store"), gitlab.as_ref());
    let pace = Pace { period: root.table("loop").default::<Positive>("period", "10s").0 };
    let limits = limits(&root.table("limits"));
    let (providers, dns) = dns(&root.table("dns"));
    let fleets = fleets::read(&root, &providers);
    Some(Config {
        gitlab: gitlab?,
        prometheus,
        alertmanager,
        webhook,
        api,
        web,
        store: store?,
        pace,
        dns,
        topology: Topology { fleets: fleets.fleets, limits },
        queries: fleets.queries,
        warnings: Vec::new(),
    })
}

fn gitlab(table: &Table<'_>) -> Option<Gitlab> {
    let url: Option<Url> = table.required("url");
    if let Some(url) = &url {
        warn_clear_text(table, "url", url);
    }
    let (token, token_file) = kept(table, "token", "token_file");
    if token.is_none() && !table.has("token") && !table.has("token_file") {
        table.problem("token_file", "is missing", "name the file that holds GitLab's access token");
    }
    let scope = table.default::<Scope>("scope", "instance");
    let concurrency = table.default::<Count>("concurrency", "16").0.get() as usize;
    let timeout = table.default::<Duration>("timeout", "10s");
    let ca = ca(table);
    Some(Gitlab { url: url?, token: token?, token_file, scope, concurrency, timeout, ca })
}

fn prometheus(table: &Table<'_>) -> Prometheus {
    let urls = servers(table);
    match urls.len() {
        0 if !table.has("urls") => {
            table.problem(
                "urls",
                "is missing",
                "name every Prometheus server: without evidence nothing moves",
            );
        }
        1 => table.warn(
            "urls",
            "names only one server",
            "add one outside of the clusters it judges, or the evidence dies with its cluster",
        ),
        _ => {}
    }
    let (token, token_file) = kept(table, "token", "token_file");
    warn_token_in_clear(table, &urls, token.as_ref());
    Prometheus {
        urls,
        timeout: table.default("timeout", "5s"),
        concurrency: table.default::<Count>("concurrency", "8").0.get() as usize,
        token,
        token_file,
        ca: ca(table),
    }
}

fn alertmanager(table: &Table<'_>) -> Alertmanager {
    let urls = servers(table);
    if !table.has("urls") {
        table.warn(
            "urls",
            "is not set: a lost webhook is a lost failover",
            "name every Alertmanager, so that alerts are also fetched",
        );
    }
    let (token, token_file) = kept(table, "token", "token_file");
    warn_token_in_clear(table, &urls, token.as_ref());
    Alertmanager {
        urls,
        poll: table.default::<Positive>("poll", "30s").0,
        settle: table.default::<Positive>("settle", "2m").0,
        timeout: table.default("timeout", "5s"),
        token,
        token_file,
        ca: ca(table),
    }
}

fn webhook(table: &Table<'_>) -> Webhook {
    let (token, token_file) = kept(table, "token", "token_file");
    if token.is_none() {
        table.warn(
            "token_file",
            "is not set: webhooks are taken from this machine only",
            "name the file that holds Alertmanager's Bearer token",
        );
    }
    Webhook { token, token_file, max_body: table.default::<Bytes>("max_body", "8MiB").0 }
}

fn api(table: &Table<'_>) -> Api {
    let (token, token_file) = kept(table, "token", "token_file");
    if token.is_none() {
        table.warn(
            "token_file",
            "is not set: people's actions are refused",
            "name the file that holds the token for switch, pause, resume and ack",
        );
    }
    let (read_token, read_token_file) = kept(table, "read_token", "read_token_file");
    if let (Some(act), Some(read)) = (&token, &read_token)
        && act.expose_secret() == read.expose_secret()
    {
        table.problem(
            "read_token_file",
            "holds the same token as api.token_file",
            "use another one: who may look must not be able to act",
        );
    }
    Api { token, token_file, read_token, read_token_file }
}

fn web(table: &Table<'_>) -> Web {
    let url: Url = table.default("url", "http://127.0.0.1:9797");
    let (certificate, key) = (pem_file(table, "client_cert_file"), pem_file(table, "client_key_file"));
    let identity = certificate.zip(key).map(|(certificate, key)| format!("{certificate}\n{key}").into());
    let user: Option<String> = table.optional("user");
    let password = secret(table, "password", "password_file");
    for (one, other, has) in [
        ("client_cert_file", "client_key_file", table.has("client_key_file")),
        ("client_key_file", "client_cert_file", table.has("client_cert_file")),
        ("user", "password_file", table.has("password") || table.has("password_file")),
    ] {
        if table.has(one) && !has {
            table.problem(one, format!("stands without {other}"), "set both or none");
        }
    }
    if !table.has("user") && (table.has("password") || table.has("password_file")) {
        table.problem("user", "is missing beside the password", "set both or none");
    }
    let own = |url: &Url| format!("{}/docs/gates.md", url.as_str().trim_end_matches('/'));
    let runbook_url = table.optional("runbook_url").unwrap_or_else(|| own(&url));
    Web { url, runbook_url, client: WebClient { ca: ca(table), identity, user: user.zip(password) } }
}

/// Certificates or a key; nothing about a key's content is ever said.
fn pem_file(table: &Table<'_>, key: &'static str) -> Option<String> {
    let path = table.walk.dir.join(table.optional::<PathBuf>(key)?);
    pem_at(&path).map_err(|wrong| table.problem(key, wrong, "put it there as PEM")).ok()
}

/// What a file of PEM holds, or what is wrong with it.
pub(super) fn pem_at(path: &Path) -> Result<String, String> {
    match fs::read_to_string(path) {
        Ok(text) if text.contains("-----BEGIN ") => Ok(text),
        Ok(_) => Err(format!("{} is not PEM", path.display())),
        Err(error) => Err(unreadable(&error, path)),
    }
}

fn limits(table: &Table<'_>) -> Limits {
    let (moves, window) = (table.default("moves", "3"), table.default::<Positive>("window", "1h").0);
    if window > MOVES_KNOWN {
        table.problem("window", "is longer than moves are known for", "make it at most 7d");
    }
    Limits {
        budget: Budget { moves, window },
        signal_max_age: table.default::<Positive>("signal_max_age", "15m").0,
        watchdog_max_age: table.default::<Positive>("watchdog_max_age", "10m").0,
        evidence_max_age: table.default::<Positive>("evidence_max_age", "2m").0,
    }
}

fn dns(table: &Table<'_>) -> (BTreeMap<String, Provider>, BTreeMap<String, DnsProvider>) {
    let mut seen = BTreeMap::new();
    let mut providers = BTreeMap::new();
    for (name, table) in table.named("providers", "<provider>") {
        let kind: Option<String> = table.required("type");
        if let Some(other) = kind.as_deref().filter(|kind| *kind != "rfc2136") {
            table.problem("type", format!("{other:?} is not supported"), "use \"rfc2136\"");
        }
        let provider = rfc2136(&table);
        seen.insert(name.clone(), Provider { zone: provider.as_ref().map(|p| p.zone.clone()) });
        if let Some(provider) = provider {
            providers.insert(name, DnsProvider::Rfc2136(provider));
        }
    }
    (seen, providers)
}

fn rfc2136(table: &Table<'_>) -> Option<Rfc2136> {
    let server: Option<SocketAddr> = table.required("server");
    let zone = table.required::<DnsName>("zone");
    let tsig_name = table.optional::<DnsName>("tsig_name").map(|name| name.0);
    let tsig_algorithm = table.optional("tsig_algorithm");
    let tsig_secret = secret(table, "tsig_secret", "tsig_secret_file");
    if tsig_secret.is_none() && !table.has("tsig_secret") && !table.has("tsig_secret_file") {
        table.problem("tsig_secret_file", "is missing", "name the file that holds the TSIG key");
    }
    let verify = table.optional::<Servers>("verify").map(|servers| servers.0).unwrap_or_default();
    let owner = table.default::<Owner>("owner", "switchyard").0;
    let timeout = table.default("timeout", "3s");
    Some(Rfc2136 {
        server: server?,
        zone: zone?.0,
        tsig_name,
        tsig_algorithm,
        tsig_secret: tsig_secret?,
        verify,
        owner,
        timeout,
    })
}

/// The key `urls`.
fn servers(table: &Table<'_>) -> Vec<Url> {
    let Some(List(list)) = table.optional("urls") else { return Vec::new() };
    if list.is_empty() {
        table.problem("urls", "names no server", "name at least one");
    }
    let mut seen = BTreeSet::new();
    let mut good = Vec::new();
    for (index, url) in urls(&list).into_iter().enumerate() {
        match url {
            Err(Complaint { wrong, mend }) => {
                table.problem("urls", format!("entry {} {wrong}", index + 1), mend)
            }
            Ok(url) if !seen.insert(url.clone()) => {
                table.problem("urls", format!("names {url} twice"), "name every server once");
            }
            Ok(url) => good.push(url),
        }
    }
    good
}

pub(super) fn loopback(url: &Url) -> bool {
    match url.host() {
        // Addresses of other schemes than HTTP are not told apart from names.
        Some(Host::Domain(name)) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn warn_clear_text(table: &Table<'_>, key: &str, url: &Url) {
    if url.scheme() == "http" && !loopback(url) {
        table.warn(key, format!("sends the token to {url} in clear text"), "use https://");
    }
}

fn warn_token_in_clear(table: &Table<'_>, urls: &[Url], token: Option<&SecretString>) {
    if token.is_some() {
        urls.iter().for_each(|url| warn_clear_text(table, "urls", url));
    }
}

pub(super) fn unreadable(error: &io::Error, path: &Path) -> String {
    let why = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "this user may not read it".to_owned(),
        io::ErrorKind::InvalidData => "it is not text".to_owned(),
        _ => error.to_string(),
    };
    format!("cannot read {}: {why}", path.display())
}

/// A secret, from the environment or from a file. Nothing about its content is ever said.
pub(super) fn secret(table: &Table<'_>, key: &'static str, file_key: &'static str) -> Option<SecretString> {
    kept(table, key, file_key).0
}

/// A secret, and the file that it came from.
fn kept(
    table: &Table<'_>,
    key: &'static str,
    file_key: &'static str,
) -> (Option<SecretString>, Option<PathBuf>) {
    let file = table.optional::<PathBuf>(file_key).map(|file| table.walk.dir.join(file));
    let from_file = file.clone().filter(|_| !table.has(key));
    (value(table, key, file_key, file), from_file)
}

fn value(
    table: &Table<'_>,
    key: &'static str,
    file_key: &'static str,
    file: Option<PathBuf>,
) -> Option<SecretString> {
    if let Some(value) = table.raw(key, "a secret, by environment only") {
        if !from_environment(value) {
            table.problem(
                key,
                "is a secret and must not stand in the file",
                format!("use {file_key}, or set {}", table.variable(key)),
            );
            return None;
        }
        return usable(table, key, value.clone().into_string().unwrap_or_default());
    }
    let path = file?;
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            let mend = format!("put the secret there, or set {}", table.variable(key));
            table.problem(file_key, unreadable(&error, &path), mend);
            return None;
        }
    };
    if let Ok(metadata) = fs::metadata(&path)
        && metadata.permissions().mode() & 0o004 != 0
    {
        table.warn(
            file_key,
            format!("{} can be read by everybody", path.display()),
            "take the right away (chmod o-r; in Kubernetes: defaultMode 0440)",
        );
    }
    usable(table, file_key, text)
}

/// Reads a token's file again, by the rules of the configuration.
///
/// # Errors
/// What is wrong with it, in words. Nothing about its content is said.
pub fn read_secret(path: &Path) -> Result<SecretString, String> {
    let text = fs::read_to_string(path).map_err(|error| unreadable(&error, path))?;
    token("token", &text).map_err(|Complaint { wrong, .. }| format!("{}: {wrong}", path.display()))
}

fn usable(table: &Table<'_>, key: &str, text: String) -> Option<SecretString> {
    match token(key, &text) {
        Ok(secret) => Some(secret),
        Err(Complaint { wrong, mend }) => {
            table.problem(key, wrong, mend);
            None
        }
    }
}

fn token(key: &str, text: &str) -> Result<SecretString, Complaint> {
    let text = text.trim_end_matches(['\r', '\n']);
    if text.trim().is_empty() {
        return Err(Complaint::new("the secret is empty", "write the secret into it"));
    }
    // A key as tsig-keygen prints it has several lines; everything else goes into a header.
    let spaces = key.starts_with("password");
    if !key.starts_with("tsig") && text.chars().any(|c| c.is_control() || (c == ' ' && !spaces)) {
        return Err(Complaint::new(
            "the secret holds spaces or several lines",
            "leave only the secret in it",
        ));
    }
    Ok(text.to_owned().into())
}

/// The key `ca_file`.
fn ca(table: &Table<'_>) -> Option<String> {
    let path = table.walk.dir.join(table.optional::<PathBuf>("ca_file")?);
    match fs::read_to_string(&path) {
        Err(error) => {
            table.problem("ca_file", unreadable(&error, &path), "put the certificates there as PEM");
            None
        }
        Ok(pem) if !pem.contains("-----BEGIN CERTIFICATE-----") => {
            table.problem("ca_file", format!("{} holds no certificate", path.display()), "write them as PEM");
            None
        }
        Ok(pem) => Some(pem),
    }
}

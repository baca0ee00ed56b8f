//! The section about the store.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{
    Gitlab, Store,
    sections::{loopback, pem_at, secret},
    values::Positive,
    walk::Table,
};
use crate::model::MOVES_KNOWN;

/// The shortest term: below it, a busy machine loses the lease for nothing.
const SHORTEST: Duration = Duration::from_secs(2);
/// What may stand after `?` in the address. Others would be ignored, and shown in the log.
const PARAMETERS: [&str; 7] =
    ["sslmode", "sslrootcert", "sslcert", "sslkey", "host", "user", "application_name"];
/// Those that name a file with PEM.
const FILES: [&str; 3] = ["sslrootcert", "sslcert", "sslkey"];

pub(super) fn read(table: &Table<'_>, gitlab: Option<&Gitlab>) -> Option<Store> {
    let url = table.default::<String>("url", "sqlite:///var/lib/switchyard/switchyard.db");
    let retention = table.default::<Positive>("retention", "400d").0;
    if retention < MOVES_KNOWN {
        table.problem(
            "retention",
            "forgets moves that cool-downs and the budget count",
            "make it at least 7d",
        );
    }
    let lease = table.default::<Duration>("lease", "30s");
    let password = secret(table, "password", "password_file");
    if url.starts_with("sqlite:") {
        if password.is_some() {
            table.warn("password_file", "is not used: SQLite knows no passwords", "remove it");
        }
        return Some(Store { url: url.into(), lease, retention });
    }
    let url = postgres(table, &url, password.as_ref())?;
    if lease < SHORTEST {
        table.problem("lease", format!("is shorter than {SHORTEST:?}"), "make it \"30s\"");
    } else if let Some(gitlab) = gitlab
        && lease < 3 * gitlab.timeout
    {
        table.warn(
            "lease",
            "leaves a step less time than gitlab.timeout: a step may take a third of it",
            format!("make it at least three times as long as gitlab.timeout, {:?}", 3 * gitlab.timeout),
        );
    }
    Some(Store { url, lease, retention })
}

/// The address of a PostgreSQL with its password. What is wrong with it is said without repeating it: it may hold one.
fn postgres(table: &Table<'_>, given: &str, password: Option<&SecretString>) -> Option<SecretString> {
    const MEND: &str = "write it as \"sqlite:///var/lib/switchyard/switchyard.db\" or \
                        \"postgres://switchyard@db.example.com/switchyard?sslmode=verify-full\"";
    let authority =
        given.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next()).unwrap_or_default();
    if authority.rsplit('@').next().unwrap_or_default().contains(',') {
        let mend = "name one address that always leads to the primary, such as that of a proxy or a service";
        table.problem("url", "names several hosts", mend);
        return None;
    }
    let parsed = Url::parse(given).ok().filter(|url| matches!(url.scheme(), "postgres" | "postgresql"));
    let Some(mut url) = parsed else {
        table.problem("url", "is neither SQLite nor PostgreSQL", MEND);
        return None;
    };
    if let Some((key, _)) = url.query_pairs().find(|(key, _)| !PARAMETERS.contains(&&**key)) {
        let known = PARAMETERS.join(", ");
        let (wrong, mend) = if key == "password" {
            ("holds a password", "use password_file".to_owned())
        } else {
            ("has a parameter that is not known", format!("leave it out; known are {known}"))
        };
        table.problem("url", wrong, mend);
        return None;
    }
    let in_file = table.in_file("url");
    if url.password().is_some() && in_file {
        let mend =
            format!("use password_file, or set {} or {}", table.variable("password"), table.variable("url"));
        table.problem("url", "holds a password, which must not stand in the file", mend);
        return None;
    }
    let parameter =
        |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    if url.path().trim_matches('/').is_empty() {
        table.problem("url", "names no database", MEND);
        return None;
    }
    let socket = url.host().is_none() || parameter("host").is_some_and(|host| host.starts_with('/'));
    match parameter("sslmode").as_deref() {
        Some("verify-full" | "verify-ca") => {}
        None | Some("disable" | "allow" | "prefer" | "require") => {
            if !socket && !loopback(&url) {
                table.warn(
                    "url",
                    "does not make sure that it talks to the right database, or even encrypts",
                    "add ?sslmode=verify-full",
                );
            }
        }
        Some(_) => {
            table.problem("url", "has an sslmode that is not known", "use sslmode=verify-full");
            return None;
        }
    }
    if parameter("sslcert").is_some() != parameter("sslkey").is_some() {
        table.problem("url", "names only one of sslcert and sslkey", "name both or none");
        return None;
    }
    let named: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    if named.iter().any(|(key, _)| FILES.contains(&key.as_str())) {
        url.query_pairs_mut().clear();
        for (key, value) in named {
            let value = if FILES.contains(&key.as_str()) { file(table, &key, &value)? } else { value };
            url.query_pairs_mut().append_pair(&key, &value);
        }
    }
    if let Some(password) = password {
        if url.host().is_some() {
            // `set_password` takes a `%` for the begin of what is encoded already. Only an address without host refuses one.
            let encoded: String = password
                .expose_secret()
                .bytes()
                .map(|byte| match byte {
                    b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => {
                        char::from(byte).to_string()
                    }
                    other => format!("%{other:02X}"),
                })
                .collect();
            let _ = url.set_password(Some(&encoded));
        } else {
            url.query_pairs_mut().append_pair("password", password.expose_secret());
        }
    }
    Some(String::from(url).into())
}

/// The path of a parameter that names a file; relative ones begin where the configuration is, as everywhere.
fn file(table: &Table<'_>, key: &str, value: &str) -> Option<String> {
    if value.contains("-----BEGIN ") {
        table.problem("url", format!("holds PEM as its {key}"), "write it into a file, and name that");
        return None;
    }
    let path = table.walk.dir.join(value);
    match pem_at(&path) {
        Ok(_) => Some(path.display().to_string()),
        Err(wrong) => {
            table.problem("url", format!("{key}: {wrong}"), "put it there as PEM");
            None
        }
    }
}

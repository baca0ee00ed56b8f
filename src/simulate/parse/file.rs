//! What a story takes from a configuration file: the fleets and how they are judged. Addresses, credentials and files are
//! left where they are: a story contacts nobody.

use std::collections::BTreeMap;

use config::{Config, File, FileFormat, Value, ValueKind};

/// What a story takes from a configuration file.
#[derive(Default)]
pub(super) struct Settings {
    /// Keys and their values, as TOML.
    pub(super) keys: Vec<(String, String)>,
    /// The fleets.
    pub(super) fleets: Vec<String>,
    /// The DNS providers.
    pub(super) providers: Vec<String>,
}

/// Reads a configuration file's text.
///
/// # Errors
/// What is wrong with its syntax.
pub(super) fn read(text: &str) -> Result<Settings, String> {
    let root = Config::builder()
        .add_source(File::from_str(text, FileFormat::Toml))
        .build()
        .and_then(|merged| merged.cache.into_table())
        // The lines between are an excerpt of the file, which may show a secret.
        .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())?;
    let mut settings = Settings::default();
    for (section, value) in sorted(root) {
        match (section.as_str(), value.kind) {
            ("limits" | "loop" | "evidence", kind) => settings.take(&section, &kind),
            ("fleets", ValueKind::Table(fleets)) => {
                for (name, fleet) in sorted(fleets) {
                    settings.take(&format!("fleets.{}", key(&name)), &fleet.kind);
                    settings.fleets.push(name);
                }
            }
            ("alertmanager", ValueKind::Table(table)) => {
                if let Some(poll) = table.get("poll") {
                    settings.take("alertmanager.poll", &poll.kind);
                }
            }
            ("dns", ValueKind::Table(dns)) => {
                let Some(ValueKind::Table(providers)) = dns.get("providers").map(|p| &p.kind) else {
                    continue;
                };
                for (name, provider) in sorted(providers.clone()) {
                    if let ValueKind::Table(provider) = provider.kind
                        && let Some(zone) = provider.get("zone")
                    {
                        settings.take(&format!("dns.providers.{}.zone", key(&name)), &zone.kind);
                    }
                    settings.providers.push(name);
                }
            }
            _ => {}
        }
    }
    Ok(settings)
}

impl Settings {
    /// Takes a value with all that is in it.
    fn take(&mut self, path: &str, value: &ValueKind) {
        match value {
            ValueKind::Table(table) => {
                for (name, value) in sorted(table.clone()) {
                    self.take(&format!("{path}.{}", key(&name)), &value.kind);
                }
            }
            // A key without a value is as if it were not there.
            ValueKind::Nil => {}
            value => self.keys.push((path.to_owned(), written(value))),
        }
    }
}

/// In a stable order, so that problems are.
fn sorted(table: impl IntoIterator<Item = (String, Value)>) -> BTreeMap<String, Value> {
    table.into_iter().collect()
}

/// One part of a key, as TOML wants it.
fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { quoted(name) }
}

/// A text as TOML wants it: what JSON escapes, TOML reads alike.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn written(value: &ValueKind) -> String {
    match value {
        ValueKind::String(text) => quoted(text),
        ValueKind::Array(values) => {
            let values: Vec<String> = values.iter().map(|value| written(&value.kind)).collect();
            format!("[{}]", values.join(", "))
        }
        ValueKind::Table(table) => {
            let pairs: Vec<String> = sorted(table.clone())
                .iter()
                .map(|(name, value)| format!("{} = {}", key(name), written(&value.kind)))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

//! The secrets of a test: what is in this list must never be seen, in whatever dress.

use std::{collections::BTreeMap, fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use anyhow::{Context as _, Result};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};

/// Secrets by name.
#[derive(Debug, Clone, Default)]
pub struct Secrets(BTreeMap<String, String>);

impl Secrets {
    /// One more.
    pub fn add(&mut self, name: &str, text: impl Into<String>) {
        self.0.insert(name.to_owned(), text.into());
    }

    /// One more, in the file `name` of `dir`, for its owner alone as the files of a real installation are.
    pub fn write(&mut self, dir: &Path, name: &str, text: impl Into<String>) -> Result<()> {
        let text = text.into();
        let path = dir.join(name);
        let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        self.add(name, text);
        Ok(())
    }

    /// The text of one.
    pub fn get(&self, name: &str) -> Result<&str> {
        self.0.get(name).map(String::as_str).with_context(|| format!("no secret {name}"))
    }

    /// Name and text of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// What of it can be seen in an output: which secret in which dress, with what stands before it.
    pub fn shown_in(&self, output: &str) -> Vec<String> {
        let mut shown = Vec::new();
        for (name, text) in self.iter() {
            for (dress, form) in forms(text) {
                if let Some(at) = output.find(&form) {
                    let before: Vec<char> = output[..at].chars().rev().take(200).collect();
                    let before: String = before.into_iter().rev().collect();
                    shown.push(format!("{name} ({dress}) after {before:?}"));
                }
            }
        }
        shown
    }
}

/// The texts by which a secret could be read.
fn forms(secret: &str) -> Vec<(&'static str, String)> {
    let mut forms = vec![("as it is", secret.to_owned())];
    let escaped = format!("{secret:?}");
    forms.push(("escaped", escaped.trim_matches('"').to_owned()));
    forms.extend(encoded(secret.as_bytes()));
    // A key that is written in base64 is known by its bytes, too.
    if let Ok(key) = BASE64_STANDARD.decode(secret)
        && key.len() >= 8
    {
        forms.extend(encoded(&key));
    }
    forms
}

fn encoded(secret: &[u8]) -> Vec<(&'static str, String)> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    // Some encoders leave these as they are, and some do not.
    let percent = |kept: &[u8]| -> String {
        let one = |byte: &u8| match *byte {
            plain if plain.is_ascii_alphanumeric() || kept.contains(&plain) => char::from(plain).to_string(),
            other => format!("%{other:02X}"),
        };
        secret.iter().map(one).collect()
    };
    let (percent, strict) = (percent(b"-_.~"), percent(b""));
    let mut forms = vec![
        ("percent-encoded", percent.clone()),
        ("percent-encoded in lower case", lower_escapes(&percent)),
        ("percent-encoded, strictly", strict.clone()),
        ("percent-encoded, strictly, in lower case", lower_escapes(&strict)),
        ("hexadecimal", hex.clone()),
        ("hexadecimal in capitals", hex.to_uppercase()),
        ("as a list of bytes", secret.iter().map(u8::to_string).collect::<Vec<_>>().join(", ")),
    ];
    // Base64 of a longer text has the secret at one of three places of its groups; what is shared with neighbours is cut off.
    for before in 0..3 {
        let text = [vec![0; before], secret.to_vec()].concat();
        let from = [0, 2, 3][before];
        for engine in [&BASE64_STANDARD_NO_PAD, &BASE64_URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&text);
            let to = encoded.len() - usize::from(text.len() % 3 != 0);
            forms.push(("in base64", encoded[from..to].to_owned()));
        }
    }
    forms
}

/// `%2F` as `%2f`; what is not an escape keeps its case.
fn lower_escapes(text: &str) -> String {
    let mut parts = text.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let (escape, rest) = part.split_at(part.len().min(2));
        format!("{text}%{}{rest}", escape.to_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_dress() {
        let mut secrets = Secrets::default();
        secrets.add("token", "s3cr/et+wörd=\"x");
        for output in [
            "token=s3cr/et+wörd=\"x",
            r#"{"token":"s3cr/et+wörd=\"x"}"#,
            "GET /?token=s3cr%2Fet%2Bw%C3%B6rd%3D%22x",
            "GET /?token=s3cr%2fet%2bw%c3%b6rd%3d%22x",
            "733363722f65742b77c3b672643d2278",
            "733363722F65742B77C3B672643D2278",
            "[115, 51, 99, 114, 47, 101, 116, 43, 119, 195, 182, 114, 100, 61, 34, 120]",
        ] {
            assert!(!secrets.shown_in(output).is_empty(), "{output}");
        }
        for before in ["", "a", "ab", "abc", "ali:"] {
            for after in ["", "d", "de", "def"] {
                let text = format!("{before}s3cr/et+wörd=\"x{after}");
                for engine in [&BASE64_STANDARD_NO_PAD, &BASE64_URL_SAFE_NO_PAD] {
                    let output = format!("Basic {}", engine.encode(&text));
                    assert!(!secrets.shown_in(&output).is_empty(), "{text}: {output}");
                }
            }
        }
        assert_eq!(secrets.shown_in("token=s3cr/et+word, s3cr, dzZXQ"), Vec::<String>::new());
    }

    #[test]
    fn the_bytes_of_a_key_in_base64_are_a_secret_too() {
        let mut secrets = Secrets::default();
        secrets.add("key", "AAECAwQFBgcICQ==");
        assert!(!secrets.shown_in("key 00010203040506070809").is_empty());
        assert!(!secrets.shown_in("[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]").is_empty());
        assert_eq!(secrets.shown_in("0001020304"), Vec::<String>::new());
    }
}

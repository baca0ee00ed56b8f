//! TSIG keys in the three forms people have them.

use domain::{
    base::Name,
    tsig::{Algorithm, Key},
    utils::base64,
};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};

/// Why a TSIG key cannot be used. Never contains the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Weak or unknown algorithm.
    #[error("TSIG algorithm {0:?} is not supported: use hmac-sha256, hmac-sha384 or hmac-sha512")]
    Algorithm(String),
    /// The key's name is no domain name, or missing.
    #[error("TSIG key name {0:?} is not a domain name")]
    Name(String),
    /// The secret is in none of the known forms.
    #[error(
        "the TSIG secret is neither Base64, nor a key as tsig-keygen prints it, nor algorithm:name:secret"
    )]
    Secret,
    /// The secret brings a name or an algorithm along that differs from the setting.
    #[error("the TSIG {what} is {configured:?} in the settings and {brought:?} beside the secret")]
    Contradiction {
        /// `name` or `algorithm`.
        what: &'static str,
        /// As configured.
        configured: String,
        /// As found beside the secret.
        brought: String,
    },
}

/// What stands beside a secret.
struct Bundle<'a> {
    name: Option<&'a str>,
    algorithm: Option<&'a str>,
    secret: &'a str,
}

/// Puts a key together. An empty `name` or `algorithm` is taken from beside the secret.
pub(super) fn key(name: &str, algorithm: &str, secret: &SecretString) -> Result<Key, KeyError> {
    let bundle = unbundle(secret.expose_secret().trim())?;
    let name = agree("name", name, bundle.name, "")?;
    let algorithm = agree("algorithm", algorithm, bundle.algorithm, "hmac-sha256")?;
    let algorithm = match algorithm.as_str() {
        "hmac-sha256" => Algorithm::Sha256,
        "hmac-sha384" => Algorithm::Sha384,
        "hmac-sha512" => Algorithm::Sha512,
        _ => return Err(KeyError::Algorithm(algorithm)),
    };
    let octets: Zeroizing<Vec<u8>> =
        Zeroizing::new(base64::decode(bundle.secret).map_err(|_| KeyError::Secret)?);
    if octets.is_empty() {
        return Err(KeyError::Secret);
    }
    let key_name = match name.parse::<Name<_>>() {
        Ok(key_name) if !name.is_empty() => key_name,
        _ => return Err(KeyError::Name(name)),
    };
    Key::new(algorithm, &octets, key_name, None, None).map_err(|_| KeyError::Secret)
}

/// Names and algorithms are compared as domain names are: without regard to case and final dot.
fn agree(
    what: &'static str,
    configured: &str,
    brought: Option<&str>,
    default: &str,
) -> Result<String, KeyError> {
    let plain = |text: &str| text.trim().trim_end_matches('.').to_ascii_lowercase();
    let configured = plain(configured);
    match brought.map(plain) {
        Some(brought) if configured.is_empty() => Ok(brought),
        Some(brought) if brought != configured => Err(KeyError::Contradiction { what, configured, brought }),
        _ if configured.is_empty() => Ok(default.to_owned()),
        _ => Ok(configured),
    }
}

fn unbundle(text: &str) -> Result<Bundle<'_>, KeyError> {
    if text.starts_with("key") && text.contains('{') {
        return key_file(text).ok_or(KeyError::Secret);
    }
    match text.split(':').collect::<Vec<_>>()[..] {
        [secret] => Ok(Bundle { name: None, algorithm: None, secret }),
        [algorithm, name, secret] => Ok(Bundle { name: Some(name), algorithm: Some(algorithm), secret }),
        _ => Err(KeyError::Secret),
    }
}

/// `key "name" { algorithm hmac-sha256; secret "…"; };`
fn key_file(text: &str) -> Option<Bundle<'_>> {
    let (head, body) = text.split_once('{')?;
    let body = body.split_once('}')?.0;
    fn unquoted(text: &str) -> &str {
        text.trim().trim_matches('"')
    }
    let statement = |key: &str| {
        body.split(';').find_map(|s| s.trim().strip_prefix(key)?.strip_prefix(char::is_whitespace))
    };
    Some(Bundle {
        name: Some(unquoted(head.trim().strip_prefix("key")?)),
        algorithm: Some(unquoted(statement("algorithm")?)),
        secret: unquoted(statement("secret")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3I=";

    fn of(name: &str, algorithm: &str, secret: &str) -> Result<(String, Algorithm), KeyError> {
        let key = key(name, algorithm, &secret.to_owned().into())?;
        Ok((key.name().to_string(), key.algorithm()))
    }

    #[test]
    fn the_three_forms_of_a_key_are_the_same_key() {
        let file = format!("key \"Failover\" {{\n\talgorithm hmac-sha512;\n\tsecret \"{SECRET}\";\n}};\n");
        let expected = Ok(("failover".to_owned(), Algorithm::Sha512));
        assert_eq!(of("failover.", "HMAC-SHA512", SECRET), expected);
        assert_eq!(of("", "", &file), expected);
        assert_eq!(of("failover", "hmac-sha512", &file), expected);
        assert_eq!(of("", "", &format!("hmac-sha512:failover:{SECRET}\n")), expected);
        assert_eq!(of("k", "", SECRET), Ok(("k".to_owned(), Algorithm::Sha256)));
    }

    #[test]
    fn an_unusable_key_is_refused_without_showing_the_secret() {
        assert_eq!(of("k", "hmac-md5", SECRET), Err(KeyError::Algorithm("hmac-md5".into())));
        assert_eq!(of("k", "hmac-sha1", SECRET), Err(KeyError::Algorithm("hmac-sha1".into())));
        assert_eq!(of("", "hmac-sha256", SECRET), Err(KeyError::Name(String::new())));
        assert_eq!(of("a..b", "hmac-sha256", SECRET), Err(KeyError::Name("a..b".into())));
        for secret in ["", "not base64!", "a:b", "key \"x\" { secret \"AAAA\"; }", "key {"] {
            let error = of("k", "", secret).unwrap_err();
            assert_eq!(error, KeyError::Secret, "{secret}");
        }
        let error = of("other", "", &format!("hmac-sha512:failover:{SECRET}")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the TSIG name is \"other\" in the settings and \"failover\" beside the secret"
        );
    }
}

//! Names and numbers of things.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A name that is not allowed, with the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a valid {what}: {rule}")]
pub struct InvalidName {
    value: String,
    what: &'static str,
    rule: &'static str,
}

fn dns_label(value: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    !value.is_empty()
        && value.len() <= 63
        && value.bytes().all(inner)
        && !value.starts_with('-')
        && !value.ends_with('-')
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;
            fn from_str(value: &str) -> Result<Self, InvalidName> {
                let check: fn(&str) -> bool = $check;
                if check(value) {
                    Ok(Self(value.to_owned()))
                } else {
                    Err(InvalidName { value: value.to_owned(), what: $what, rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(value: String) -> Result<Self, InvalidName> {
                value.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// A fleet: the runners that serve one routing tag.
    FleetName,
    "fleet name",
    "use 1 to 63 of a-z, 0-9 and '-', not at the ends",
    dns_label
);
name!(
    /// A cluster, as in the label `runner_cluster`.
    ClusterName,
    "cluster name",
    "use 1 to 63 of a-z, 0-9 and '-', not at the ends",
    dns_label
);
name!(
    /// A GitLab runner tag: case-sensitive, at most 255 characters, no comma (GitLab splits there).
    Tag,
    "runner tag",
    "use 1 to 255 characters, no comma, no space at the ends",
    |v| !v.is_empty() && v.chars().count() <= 255 && !v.contains(',') && v.trim() == v
);

/// The number of a runner record in GitLab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunnerId(pub u64);

impl fmt::Display for RunnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a fleet's decision: it only grows. 0 means "nothing decided yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_wrong() {
        let error = "Blue".parse::<ClusterName>().unwrap_err().to_string();
        assert_eq!(
            error,
            "\"Blue\" is not a valid cluster name: use 1 to 63 of a-z, 0-9 and '-', not at the ends"
        );
        assert!("a,b".parse::<Tag>().is_err());
        assert!("".parse::<FleetName>().is_err());
        assert_eq!("rnd-runner".parse::<Tag>().unwrap().as_str(), "rnd-runner");
    }
}

//! The forms a value can take.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
    time::Duration,
};

use config::{Value, ValueKind};
use jiff::{SignedDuration, Span, SpanRelativeTo, tz::TimeZone};
use url::Url;

use super::{
    Scope, TsigAlgorithm,
    problem::Complaint,
    walk::{Setting, from_environment, kind_of, nearest},
};
use crate::model::{DrainPolicy, Failback, MoveKind, Park, RecordType, Tag, WeeklyTime};

fn expected<T: Setting>(value: &Value) -> Complaint {
    Complaint::new(format!("is {}", kind_of(value)), format!("set it to {}", T::KIND))
}

fn text<T: Setting>(value: &Value) -> Result<&str, Complaint> {
    match &value.kind {
        ValueKind::String(text) => Ok(text),
        _ => Err(expected::<T>(value)),
    }
}

pub(super) fn one_of<T: Copy>(what: &str, given: &str, all: &[(&str, T)]) -> Result<T, Complaint> {
    if let Some((_, value)) = all.iter().find(|(word, _)| *word == given) {
        return Ok(*value);
    }
    let words: Vec<&str> = all.iter().map(|(word, _)| *word).collect();
    let mend = match nearest(given, words.iter().copied()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("use {}", words.join(" or ")),
    };
    Err(Complaint::new(format!("{given:?} is no {what}"), mend))
}

impl Setting for String {
    const KIND: &'static str = "a text";
    fn read(value: &Value) -> Result<Self, Complaint> {
        match text::<Self>(value)? {
            text if text.trim().is_empty() => Err(Complaint::new("is empty", "give it a value or remove it")),
            text => Ok(text.to_owned()),
        }
    }
}

impl Setting for PathBuf {
    const KIND: &'static str = "a path";
    fn read(value: &Value) -> Result<Self, Complaint> {
        match text::<Self>(value)? {
            "" => Err(Complaint::new("is empty", "name a file or remove it")),
            path => Ok(path.into()),
        }
    }
}

impl Setting for bool {
    const KIND: &'static str = "true or false";
    fn read(value: &Value) -> Result<Self, Complaint> {
        match &value.kind {
            ValueKind::Boolean(value) => Ok(*value),
            ValueKind::String(text) if from_environment(value) => text.parse().map_err(|_| {
                Complaint::new(format!("{text:?} is neither true nor false"), "set it to true or false")
            }),
            _ => Err(expected::<Self>(value)),
        }
    }
}

fn whole<T: Setting + TryFrom<i128>>(value: &Value) -> Result<T, Complaint> {
    let number = match &value.kind {
        ValueKind::I64(number) => Some(i128::from(*number)),
        ValueKind::U64(number) => Some(i128::from(*number)),
        ValueKind::I128(number) => Some(*number),
        ValueKind::String(text) if from_environment(value) => text.parse().ok(),
        _ => return Err(expected::<T>(value)),
    };
    number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
        let given = value.kind.to_string();
        Complaint::new(format!("{given} is not {}", T::KIND), format!("set it to {}", T::KIND))
    })
}

impl Setting for u32 {
    const KIND: &'static str = "a whole number";
    fn read(value: &Value) -> Result<Self, Complaint> {
        whole(value)
    }
}

/// A whole number from 1.
pub(super) struct Count(pub(super) NonZeroU32);

impl TryFrom<i128> for Count {
    type Error = ();
    fn try_from(number: i128) -> Result<Self, ()> {
        u32::try_from(number).ok().and_then(NonZeroU32::new).map(Self).ok_or(())
    }
}

impl Setting for Count {
    const KIND: &'static str = "a whole number from 1";
    fn read(value: &Value) -> Result<Self, Complaint> {
        whole(value)
    }
}

/// A share: 0 to 1.
pub(super) struct Ratio(pub(super) f64);

impl Setting for Ratio {
    const KIND: &'static str = "a number from 0 to 1";
    fn read(value: &Value) -> Result<Self, Complaint> {
        let number = match &value.kind {
            ValueKind::Float(number) => *number,
            ValueKind::I64(number) => *number as f64,
            ValueKind::String(text) if from_environment(value) => text.parse().unwrap_or(f64::NAN),
            _ => return Err(expected::<Self>(value)),
        };
        if (0.0..=1.0).contains(&number) {
            Ok(Self(number))
        } else {
            Err(Complaint::new(format!("{} is not a share", value.kind), format!("set it to {}", Self::KIND)))
        }
    }
}

/// A time, 0 allowed. Days and weeks are 24 hours and 7 days.
impl Setting for SignedDuration {
    const KIND: &'static str = "a duration";
    fn read(value: &Value) -> Result<Self, Complaint> {
        const MEND: &str = r#"write it as "30s", "10m", "1h 30m" or "400d""#;
        let ValueKind::String(text) = &value.kind else {
            return Err(Complaint::new(format!("is {}", kind_of(value)), MEND));
        };
        text.parse::<Span>()
            .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
            .ok()
            .filter(|duration| !duration.is_negative())
            .ok_or_else(|| Complaint::new(format!("{text:?} is not a duration"), MEND))
    }
}

/// A time longer than 0.
pub(super) struct Positive(pub(super) SignedDuration);

impl Setting for Positive {
    const KIND: &'static str = "a duration above 0";
    fn read(value: &Value) -> Result<Self, Complaint> {
        match SignedDuration::read(value)? {
            duration if duration.is_positive() => Ok(Self(duration)),
            _ => Err(Complaint::new("is 0", "make it longer than 0s")),
        }
    }
}

/// A time longer than 0, for the edges where the standard library's type is wanted.
impl Setting for Duration {
    const KIND: &'static str = Positive::KIND;
    fn read(value: &Value) -> Result<Self, Complaint> {
        let Positive(duration) = Positive::read(value)?;
        Ok(duration.unsigned_abs())
    }
}

/// A number of bytes.
pub(super) struct Bytes(pub(super) usize);

impl Setting for Bytes {
    const KIND: &'static str = "a size";
    fn read(value: &Value) -> Result<Self, Complaint> {
        const MEND: &str = r#"write it as "8MiB", "512KiB" or "1000B""#;
        let text = match &value.kind {
            ValueKind::String(text) => text,
            _ => return Err(Complaint::new(format!("is {}", kind_of(value)), MEND)),
        };
        let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let factor = match unit.trim() {
            "B" => Some(1_usize),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            _ => None,
        };
        factor
            .zip(digits.parse::<usize>().ok())
            .and_then(|(factor, number)| number.checked_mul(factor))
            .filter(|bytes| *bytes > 0)
            .map(Self)
            .ok_or_else(|| Complaint::new(format!("{text:?} is not a size"), MEND))
    }
}

/// A list of texts; one text is a list of one, so that the environment can set it.
pub(super) struct List(pub(super) Vec<String>);

impl Setting for List {
    const KIND: &'static str = "a text or a list of texts";
    fn read(value: &Value) -> Result<Self, Complaint> {
        let ValueKind::Array(items) = &value.kind else {
            return if matches!(value.kind, ValueKind::String(_)) {
                Ok(Self(vec![String::read(value)?]))
            } else {
                Err(expected::<Self>(value))
            };
        };
        items
            .iter()
            .map(|item| match &item.kind {
                ValueKind::String(text) if !text.trim().is_empty() => Ok(text.clone()),
                ValueKind::String(_) => Err(Complaint::new("holds an empty text", "remove it")),
                _ => Err(Complaint::new(format!("holds {}", kind_of(item)), "use texts only")),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// A list of runner ids.
pub(super) struct Ids(pub(super) Vec<u64>);

impl Setting for Ids {
    const KIND: &'static str = "a list of runner ids";
    fn read(value: &Value) -> Result<Self, Complaint> {
        let ValueKind::Array(items) = &value.kind else { return Err(expected::<Self>(value)) };
        items
            .iter()
            .map(|item| match item.kind {
                ValueKind::I64(id) if id > 0 => Ok(id.unsigned_abs()),
                ValueKind::String(ref text) => Err(Complaint::new(
                    format!("{text:?} is text, and a runner id is a number"),
                    "use the numbers GitLab shows, without quotes",
                )),
                _ => Err(Complaint::new(
                    format!("{} is not a runner id", item.kind),
                    "use the numbers GitLab shows",
                )),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Setting for Url {
    const KIND: &'static str = "an http:// or https:// address";
    fn read(value: &Value) -> Result<Self, Complaint> {
        let text = text::<Self>(value)?;
        let url = Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            // What does not parse may hold a password as well: it is not repeated.
            .ok_or_else(|| Complaint::new("is not an address", format!("set it to {}", Self::KIND)))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Complaint::new("holds a user name or password", "remove it: addresses are logged"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(Complaint::new("holds a query or fragment", "end it before '?' or '#'"));
        }
        Ok(url)
    }
}

/// Reads a list of addresses; shared by the sections that ask several servers.
pub(super) fn urls(list: &[String]) -> Vec<Result<Url, Complaint>> {
    list.iter().map(|text| Url::read(&Value::new(None, text.as_str()))).collect()
}

impl Setting for Tag {
    const KIND: &'static str = "a runner tag";
    fn read(value: &Value) -> Result<Self, Complaint> {
        let text = text::<Self>(value)?;
        text.parse().map_err(|_| {
            Complaint::new(
                format!("{text:?} is not a runner tag"),
                "use 1 to 255 characters, no comma, no space at the ends",
            )
        })
    }
}

impl Setting for Scope {
    const KIND: &'static str = r#""instance", "group:PATH" or "project:PATH""#;
    fn read(value: &Value) -> Result<Self, Complaint> {
        let text = text::<Self>(value)?;
        let path = |path: &str| {
            let path = path.trim_matches('/');
            (!path.is_empty()).then(|| path.to_owned())
        };
        match text.split_once(':') {
            None if text == "instance" => Some(Self::Instance),
            Some(("group", rest)) => path(rest).map(Self::Group),
            Some(("project", rest)) => path(rest).map(Self::Project),
            _ => None,
        }
        .ok_or_else(|| {
            Complaint::new(format!("{text:?} is not a scope"), format!("set it to {}", Self::KIND))
        })
    }
}

impl Setting for Failback {
    const KIND: &'static str = r#""manual" or { after = "30m" }"#;
    fn read(value: &Value) -> Result<Self, Complaint> {
        let complaint = |wrong: String| Complaint::new(wrong, format!("set it to {}", Self::KIND));
        match &value.kind {
            ValueKind::String(text) if text == "manual" => Ok(Self::Manual),
            ValueKind::String(text) => Err(complaint(format!("{text:?} is no way home"))),
            ValueKind::Table(table) => match (table.get("after"), table.len()) {
                (Some(after), 1) => Positive::read(after).map(|Positive(after)| Self::After(after)),
                _ => Err(complaint("is a table with other keys than \"after\"".into())),
            },
            _ => Err(complaint(format!("is {}", kind_of(value)))),
        }
    }
}

/// Only one holder at a time, so far.
pub(super) struct Mode;

impl Setting for Mode {
    const KIND: &'static str = r#""exclusive""#;
    fn read(value: &Value) -> Result<Self, Complaint> {
        match text::<Self>(value)? {
            "exclusive" => Ok(Self),
            "shared" => Err(Complaint::new(
                "\"shared\" (every able cluster holds the fleet) is not supported",
                "use \"exclusive\": one cluster holds the fleet at a time",
            )),
            other => Err(Complaint::new(format!("{other:?} is no mode"), "use \"exclusive\"")),
        }
    }
}

impl Setting for Park {
    const KIND: &'static str = r#""untag" or "pause""#;
    fn read(value: &Value) -> Result<Self, Complaint> {
        let all = [("untag", Self::Untag), ("pause", Self::Pause)];
        one_of("way to park a pool", text::<Self>(value)?, &all)
    }
}

/// Whether something is asked for.
pub(super) struct Required(pub(super) bool);

impl Setting for Required {
    const KIND: &'static str = r#""none" or "required""#;
    fn read(value: &Value) -> Result<Self, Complaint> {
        one_of("kind of approval", text::<Self>(value)?, &[("none", false), ("required", true)]).map(Self)
    }
}

impl Setting for DrainPolicy {
    const KIND: &'static str = r#""hold" or "move""#;
    fn read(value: &Value) -> Result<Self, Complaint> {
        let all = [("hold", Self::Hold), ("move", Self::Move)];
        one_of("drain policy", text::<Self>(value)?, &all)
    }
}

/// Weekly times.
pub(super) struct Times(pub(super) Vec<WeeklyTime>);

impl Setting for Times {
    const KIND: &'static str = r#"times such as "Mon-Fri 22:00-05:00""#;
    fn read(value: &Value) -> Result<Self, Complaint> {
        let List(items) = List::read(value)?;
        if items.is_empty() {
            return Err(Complaint::new("is empty: the window would never open", "name a time"));
        }
        let time = |text: &String| {
            text.parse().map_err(|why| {
                Complaint::new(
                    format!("{text:?} is no weekly time: {why}"),
                    "write it as \"Mon-Fri 22:00-05:00\", \"Sat,Sun 00:00-24:00\" or \"daily 01:00-04:00\"",
                )
            })
        };
        items.iter().map(time).collect::<Result<_, _>>().map(Self)
    }
}

impl Setting for TimeZone {
    const KIND: &'static str = "a time zone";
    fn read(value: &Value) -> Result<Self, Complaint> {
        let text = text::<Self>(value)?;
        Self::get(text).map_err(|_| {
            Complaint::new(
                format!("{text:?} is no time zone"),
                "use a name of the IANA database, such as \"Europe/Berlin\" or \"UTC\"",
            )
        })
    }
}

/// Kinds of moves.
pub(super) struct Kinds(pub(super) BTreeSet<MoveKind>);

impl Setting for Kinds {
    const KIND: &'static str = r#"any of "failover", "failback" and "switchover""#;
    fn read(value: &Value) -> Result<Self, Complaint> {
        let all = [MoveKind::Failover, MoveKind::Failback, MoveKind::Switchover];
        let all: Vec<(&str, MoveKind)> = all.into_iter().map(|kind| (kind.as_str(), kind)).collect();
        let List(items) = List::read(value)?;
        items.iter().map(|text| one_of("kind of move", text, &all)).collect::<Result<_, _>>().map(Self)
    }
}

impl Setting for RecordType {
    const KIND: &'static str = r#""CNAME", "A" or "AAAA""#;
    fn read(value: &Value) -> Result<Self, Complaint> {
        let all = [("CNAME", Self::Cname), ("A", Self::A), ("AAAA", Self::Aaaa)];
        one_of("record type that can follow a fleet", text::<Self>(value)?, &all)
    }
}

impl Setting for TsigAlgorithm {
    const KIND: &'static str = r#""hmac-sha256", "hmac-sha384" or "hmac-sha512""#;
    fn read(value: &Value) -> Result<Self, Complaint> {
        let all = [
            ("hmac-sha256", Self::HmacSha256),
            ("hmac-sha384", Self::HmacSha384),
            ("hmac-sha512", Self::HmacSha512),
        ];
        one_of("supported TSIG algorithm", text::<Self>(value)?, &all)
    }
}

/// An absolute DNS name: lower case, with the final dot (added when it is missing).
pub(super) struct DnsName(pub(super) String);

impl DnsName {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        (name.len() <= 253 && name.split('.').all(label)).then(|| Self(format!("{name}.")))
    }
}

impl Setting for DnsName {
    const KIND: &'static str = "a DNS name";
    fn read(value: &Value) -> Result<Self, Complaint> {
        let text = text::<Self>(value)?;
        Self::parse(text).ok_or_else(|| {
            Complaint::new(
                format!("{text:?} is not a DNS name"),
                "write it whole, as \"runner.company.test.\"",
            )
        })
    }
}

/// `address:port` of a DNS server; port 53 when none is given. A name would need the very DNS that is to be mended.
impl Setting for SocketAddr {
    const KIND: &'static str = "an IP address, with or without port";
    fn read(value: &Value) -> Result<Self, Complaint> {
        let text = text::<Self>(value)?;
        let with_port = text.parse::<Self>();
        with_port.or_else(|_| text.parse::<IpAddr>().map(|ip| Self::new(ip, 53))).map_err(|_| {
            Complaint::new(
                format!("{text:?} is not an IP address"),
                "write it as \"10.0.0.53\", \"10.0.0.53:53\" or \"[2001:db8::53]:53\"",
            )
        })
    }
}

/// Several DNS servers.
pub(super) struct Servers(pub(super) Vec<SocketAddr>);

impl Setting for Servers {
    const KIND: &'static str = "IP addresses, with or without port";
    fn read(value: &Value) -> Result<Self, Complaint> {
        let List(items) = List::read(value)?;
        items
            .iter()
            .map(|text| SocketAddr::read(&Value::new(None, text.as_str())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Who may change a DNS name: a word that stands in the owner marker.
pub(super) struct Owner(pub(super) String);

impl Setting for Owner {
    const KIND: &'static str = "a word";
    fn read(value: &Value) -> Result<Self, Complaint> {
        let text = text::<Self>(value)?;
        let ok = (1..=63).contains(&text.len())
            && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c));
        ok.then(|| Self(text.to_owned())).ok_or_else(|| {
            Complaint::new(format!("{text:?} is not a word"), "use 1 to 63 letters, digits, '.', '_' or '-'")
        })
    }
}

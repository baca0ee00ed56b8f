//! Reads fields of a JSON object by path: what is missing or null is none, what has the wrong type is an error that
//! names the path.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// A field that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} is {found}, which is not {wanted}")]
pub struct Unreadable {
    /// Where, such as `status.conditions[2].status`.
    pub path: String,
    /// What would have been right.
    pub wanted: &'static str,
    /// What is there, cut short.
    pub found: String,
}

#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    value: &'a Value,
    prefix: String,
}

impl<'a> Reader<'a> {
    pub(super) fn new(value: &'a Value) -> Self {
        Self { value, prefix: String::new() }
    }

    fn wrong(&self, path: &str, wanted: &'static str, value: &Value) -> Unreadable {
        let found = match value {
            Value::Null => "null".to_owned(),
            Value::Object(_) => "an object".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            Value::String(text) if text.chars().count() > 40 => {
                format!("{:?}…", text.chars().take(40).collect::<String>())
            }
            other => other.to_string(),
        };
        Unreadable { path: format!("{}{path}", self.prefix), wanted, found }
    }

    fn find(&self, path: &str) -> Result<Option<&'a Value>, Unreadable> {
        let mut value = self.value;
        let mut end = 0;
        for key in path.split('.') {
            let Value::Object(fields) = value else {
                let so_far = path[..end].trim_end_matches('.');
                return Err(self.wrong(so_far, "an object", value));
            };
            match fields.get(key) {
                None | Some(Value::Null) => return Ok(None),
                Some(inner) => value = inner,
            }
            end += key.len() + 1;
        }
        Ok(Some(value))
    }

    fn read<T>(
        &self,
        path: &str,
        wanted: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Unreadable> {
        let Some(value) = self.find(path)? else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.wrong(path, wanted, value))
    }

    pub(super) fn text(&self, path: &str) -> Result<Option<String>, Unreadable> {
        self.read(path, "a text", |v| v.as_str().map(str::to_owned))
    }

    pub(super) fn bool(&self, path: &str) -> Result<Option<bool>, Unreadable> {
        self.read(path, "true or false", Value::as_bool)
    }

    pub(super) fn int(&self, path: &str) -> Result<Option<i64>, Unreadable> {
        self.read(path, "a whole number", Value::as_i64)
    }

    pub(super) fn time(&self, path: &str) -> Result<Option<Timestamp>, Unreadable> {
        self.read(path, "a time as RFC 3339 has it", |v| v.as_str()?.parse().ok())
    }

    /// A duration as Go writes it, such as `10m0s`.
    pub(super) fn duration(&self, path: &str) -> Result<Option<SignedDuration>, Unreadable> {
        self.read(path, "a duration such as 10m0s", |v| duration(v.as_str()?))
    }

    pub(super) fn exists(&self, path: &str) -> Result<bool, Unreadable> {
        Ok(self.find(path)?.is_some())
    }

    /// The items of a list; none when it is missing.
    pub(super) fn list(&self, path: &str) -> Result<Vec<Self>, Unreadable> {
        let items = self.read(path, "a list", Value::as_array)?;
        let item = |(i, value)| Self { value, prefix: format!("{}{path}[{i}].", self.prefix) };
        Ok(items.into_iter().flatten().enumerate().map(item).collect())
    }

    /// The texts of a list; none when it is missing.
    pub(super) fn texts(&self, path: &str) -> Result<Vec<String>, Unreadable> {
        let all = |v: &Value| v.as_array()?.iter().map(|t| t.as_str().map(str::to_owned)).collect();
        Ok(self.read(path, "a list of texts", all)?.unwrap_or_default())
    }

    /// How many items a list has; none when it is missing.
    pub(super) fn count(&self, path: &str) -> Result<Option<usize>, Unreadable> {
        self.read(path, "a list", |v| v.as_array().map(Vec::len))
    }

    /// One entry of a map whose keys hold dots, such as labels.
    pub(super) fn entry(&self, path: &str, key: &str) -> Result<Option<String>, Unreadable> {
        let Some(map) = self.find(path)? else { return Ok(None) };
        let inner = Self { value: map, prefix: format!("{}{path}.", self.prefix) };
        let Value::Object(fields) = map else { return Err(self.wrong(path, "an object", map)) };
        match fields.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(inner.wrong(key, "a text", other)),
        }
    }
}

/// A duration as Go's `time.ParseDuration` reads it: numbers with a unit each, and `0`.
pub(super) fn duration(text: &str) -> Option<SignedDuration> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    let mut sum = SignedDuration::ZERO;
    loop {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let (number, after) = rest.split_at(rest.find(|c| !is_number(c))?);
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        let unit: i64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        // Of a fraction, what is below a nanosecond of an hour counts nothing.
        let fraction = &fraction[..fraction.len().min(15)];
        let digits: i128 = if fraction.is_empty() { 0 } else { fraction.parse::<u64>().ok()?.into() };
        let part = i128::from(unit) * digits / 10_i128.pow(fraction.len() as u32);
        let nanos = whole.checked_mul(unit)?.checked_add(i64::try_from(part).ok()?)?;
        sum = sum.checked_add(SignedDuration::from_nanos(nanos))?;
        if after.is_empty() {
            return Some(sum * sign);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_is_none_and_what_is_wrong_names_its_path() {
        let value =
            json!({"status": {"phase": 3, "at": "soon", "none": null, "list": [{"a": []}], "text": "x"}});
        let reader = Reader::new(&value);
        assert_eq!(reader.text("status.missing.deeper"), Ok(None));
        assert_eq!(reader.time("status.none"), Ok(None));
        let said = |error: Unreadable| error.to_string();
        assert_eq!(said(reader.text("status.phase").unwrap_err()), "status.phase is 3, which is not a text");
        assert_eq!(
            said(reader.time("status.at").unwrap_err()),
            "status.at is \"soon\", which is not a time as RFC 3339 has it"
        );
        assert_eq!(
            said(reader.text("status.text.inner").unwrap_err()),
            "status.text is \"x\", which is not an object"
        );
        let items = reader.list("status.list").unwrap();
        assert_eq!(
            said(items[0].int("a").unwrap_err()),
            "status.list[0].a is a list, which is not a whole number"
        );
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, seconds) in
            [("10m0s", 600), ("1h30m0s", 5400), ("60s", 60), ("0s", 0), ("0", 0), ("720h0m0s", 2_592_000)]
        {
            assert_eq!(duration(text), Some(SignedDuration::from_secs(seconds)), "{text}");
        }
        assert_eq!(duration("1.5h"), Some(SignedDuration::from_mins(90)));
        assert_eq!(duration("-1.5s250ms"), Some(SignedDuration::from_millis(-1750)));
        for text in ["soon", "", "-", "90", "1d", "1h 30m", "1 hour", "PT1H", ".h", "1.2.3s", "999999999999h"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}

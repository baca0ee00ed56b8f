//! Walks the merged tree key by key, so that every problem is found and not only the first.
//!
//! Whatever is asked for is a known key; what is left over when a table is dropped is an unknown one. The same record
//! of what was asked for is the list of keys that the documentation is checked against.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use config::{Value, ValueKind};

use super::problem::{Complaint, Problem};

/// What a key takes and what holds without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// What it takes, for people.
    pub kind: &'static str,
    /// What holds without it; none when it is required or simply may be absent.
    pub default: Option<&'static str>,
    /// Whether it must be there.
    pub required: bool,
}

/// A value that can stand in the configuration.
pub(super) trait Setting: Sized {
    /// What it takes, for people, with an article.
    const KIND: &'static str;

    fn read(value: &Value) -> Result<Self, Complaint>;
}

/// What a walk gathers.
#[derive(Default)]
pub(super) struct Walk {
    /// Where relative paths start.
    pub(super) dir: PathBuf,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
    keys: RefCell<BTreeMap<String, Key>>,
    claims: RefCell<BTreeMap<(&'static str, String), String>>,
}

impl Walk {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, ..Self::default() }
    }

    pub(super) fn root(&self, values: impl IntoIterator<Item = (String, Value)>) -> Table<'_> {
        Table::new(self, String::new(), String::new(), values.into_iter().collect())
    }

    pub(super) fn problem(&self, path: &str, wrong: impl Into<String>, mend: impl Into<String>) {
        self.problems.borrow_mut().push(Problem {
            path: path.into(),
            wrong: wrong.into(),
            mend: mend.into(),
        });
    }

    pub(super) fn warn(&self, path: &str, wrong: impl Into<String>, mend: impl Into<String>) {
        self.warnings.borrow_mut().push(Problem {
            path: path.into(),
            wrong: wrong.into(),
            mend: mend.into(),
        });
    }

    /// Notes that `path` uses something only one may use; a second user is a problem.
    pub(super) fn claim(&self, what: &'static str, value: &str, path: &str, mend: &str) {
        let mut claims = self.claims.borrow_mut();
        match claims.get(&(what, value.to_owned())) {
            Some(other) => {
                self.problem(path, format!("the {what} {value:?} is already taken by {other}"), mend);
            }
            None => {
                claims.insert((what, value.to_owned()), path.to_owned());
            }
        }
    }

    pub(super) fn finish(self) -> (Vec<Problem>, Vec<Problem>, BTreeMap<String, Key>) {
        (self.problems.into_inner(), self.warnings.into_inner(), self.keys.into_inner())
    }
}

/// One table on the way.
pub(super) struct Table<'w> {
    pub(super) walk: &'w Walk,
    path: String,
    pattern: String,
    values: BTreeMap<String, Value>,
    known: RefCell<BTreeSet<&'static str>>,
    /// A table whose keys are names that the user gives.
    named: bool,
}

fn join(path: &str, key: &str) -> String {
    let key = if !key.is_empty() && key.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_<>".contains(&c)) {
        key.to_owned()
    } else {
        format!("{key:?}")
    };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// What a value is, for people.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value.kind {
        ValueKind::Nil => "nothing",
        ValueKind::Boolean(_) => "true or false",
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => "a whole number",
        ValueKind::Float(_) => "a number",
        ValueKind::String(_) => "a text",
        ValueKind::Table(_) => "a table",
        ValueKind::Array(_) => "a list",
    }
}

/// Whether a value came from the environment, where everything is text.
pub(super) fn from_environment(value: &Value) -> bool {
    value.origin().is_some()
}

impl<'w> Table<'w> {
    fn new(walk: &'w Walk, path: String, pattern: String, values: BTreeMap<String, Value>) -> Self {
        Self { walk, path, pattern, values, known: RefCell::default(), named: false }
    }

    /// The whole path of a key of this table.
    pub(super) fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// The path of this table.
    pub(super) fn here(&self) -> &str {
        &self.path
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// Whether a key stands in the file.
    pub(super) fn in_file(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|value| !from_environment(value))
    }

    pub(super) fn problem(&self, key: &str, wrong: impl Into<String>, mend: impl Into<String>) {
        let mut path = self.path(key);
        if self.values.get(key).is_some_and(from_environment) {
            path = format!("{path} (from {})", self.variable(key));
        }
        self.walk.problem(&path, wrong, mend);
    }

    pub(super) fn warn(&self, key: &str, wrong: impl Into<String>, mend: impl Into<String>) {
        self.walk.warn(&self.path(key), wrong, mend);
    }

    /// The environment variable that sets a key.
    pub(super) fn variable(&self, key: &str) -> String {
        format!("SWITCHYARD__{}", self.path(key).replace('.', "__").to_uppercase())
    }

    fn note(&self, key: &'static str, kind: &'static str, default: Option<&'static str>, required: bool) {
        self.known.borrow_mut().insert(key);
        self.walk.keys.borrow_mut().insert(join(&self.pattern, key), Key { kind, default, required });
    }

    fn read<T: Setting>(&self, key: &str) -> Option<T> {
        match T::read(self.values.get(key)?) {
            Ok(value) => Some(value),
            Err(Complaint { wrong, mend }) => {
                self.problem(key, wrong, mend);
                None
            }
        }
    }

    /// A value that may be absent.
    pub(super) fn optional<T: Setting>(&self, key: &'static str) -> Option<T> {
        self.note(key, T::KIND, None, false);
        self.read(key)
    }

    /// A value that must be there.
    pub(super) fn required<T: Setting>(&self, key: &'static str) -> Option<T> {
        self.note(key, T::KIND, None, true);
        if !self.has(key) {
            self.problem(key, "is missing", format!("set it to {}", T::KIND));
        }
        self.read(key)
    }

    /// A value with a default, given as it would stand in the file.
    pub(super) fn default<T: Setting>(&self, key: &'static str, default: &'static str) -> T {
        self.note(key, T::KIND, Some(default), false);
        // The default as if from the environment: all readers take text from there.
        let text = Value::new(Some(&"default".to_owned()), default);
        self.read(key).unwrap_or_else(|| {
            T::read(&text).expect("a built-in default is valid: the test of `keys` reads every one")
        })
    }

    /// The raw value of a key that takes one of several forms.
    pub(super) fn raw(&self, key: &'static str, kind: &'static str) -> Option<&Value> {
        self.note(key, kind, None, false);
        self.values.get(key)
    }

    fn entries(&self, key: &str) -> BTreeMap<String, Value> {
        match self.values.get(key).map(|value| (&value.kind, value)) {
            None => BTreeMap::new(),
            Some((ValueKind::Table(table), _)) => table.clone().into_iter().collect(),
            Some((_, value)) => {
                self.problem(key, format!("is {}", kind_of(value)), "make it a table");
                BTreeMap::new()
            }
        }
    }

    /// A table with fixed keys; empty when absent.
    pub(super) fn table(&self, key: &'static str) -> Table<'w> {
        self.known.borrow_mut().insert(key);
        Table::new(self.walk, self.path(key), join(&self.pattern, key), self.entries(key))
    }

    /// A table whose keys are names, each with a table under it.
    pub(super) fn named(&self, key: &'static str, placeholder: &'static str) -> Vec<(String, Table<'w>)> {
        let mut group = self.table(key);
        group.named = true;
        let pattern = join(&group.pattern, placeholder);
        group
            .values
            .keys()
            .map(|name| {
                (name.clone(), Table::new(self.walk, group.path(name), pattern.clone(), group.entries(name)))
            })
            .collect()
    }
}

impl Drop for Table<'_> {
    fn drop(&mut self) {
        if self.named {
            return;
        }
        let known = self.known.borrow();
        for key in self.values.keys().filter(|key| !known.contains(key.as_str())) {
            let mend = match nearest(key, known.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => {
                    let known: Vec<&str> = known.iter().copied().collect();
                    format!("remove it; known here: {}", known.join(", "))
                }
            };
            self.problem(key, "is not a key that Switchyard knows", mend);
        }
    }
}

/// The candidate that `word` most likely meant.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= 2.max(candidate.len() / 4) && *distance < candidate.len()
        })
        .min()
        .map(|(_, candidate)| candidate)
}

//! Objects as `kubectl get -o json` prints them, changed field by field.

use std::{fs, path::PathBuf};

use serde_json::Value;
use switchyard::{
    kubernetes::{Found, Judgement, Kind, KindState, Limits, Object, Reason, Snapshot, judge},
    model::Timestamp,
};

/// A few minutes after everything in the files was well.
pub(crate) const NOW: &str = "2026-11-21T03:00:00Z";

pub(crate) fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kubernetes").join(name)
}

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

#[derive(Debug, Clone)]
pub(crate) struct Scene {
    objects: Vec<Value>,
    /// How much is known of every kind.
    pub(crate) state: KindState,
    pub(crate) now: Timestamp,
    pub(crate) limits: Limits,
}

impl Scene {
    /// Everything in a file; nothing else exists.
    pub(crate) fn of(name: &str) -> Self {
        let text = fs::read_to_string(file(name)).expect("the fixture is there");
        let document: Value = serde_json::from_str(&text).expect("it is JSON");
        let objects = match document.get("items") {
            Some(items) => items.as_array().expect("a list").clone(),
            None => vec![document],
        };
        Self { objects, state: KindState::Synced, now: time(NOW), limits: Limits::default() }
    }

    fn position(&self, what: &str) -> usize {
        let (kind, name) = what.split_once('/').expect("kind/name");
        let fits = |o: &Value| o["kind"] == kind && o["metadata"]["name"] == name;
        self.objects.iter().position(fits).unwrap_or_else(|| panic!("no {what}"))
    }

    /// Sets a field by its JSON pointer, making what is missing on the way; null removes it.
    pub(crate) fn set(&mut self, what: &str, pointer: &str, value: Value) -> &mut Self {
        let index = self.position(what);
        let mut at = &mut self.objects[index];
        let keys: Vec<String> =
            pointer[1..].split('/').map(|key| key.replace("~1", "/").replace("~0", "~")).collect();
        let (last, way) = keys.split_last().expect("a pointer");
        for key in way {
            at = match key.parse::<usize>() {
                Ok(index) => &mut at[index],
                Err(_) => &mut at[key.as_str()],
            };
        }
        match (last.parse::<usize>(), value) {
            (Ok(index), Value::Null) => drop(at.as_array_mut().expect("a list").remove(index)),
            (Ok(index), value) => at[index] = value,
            (Err(_), Value::Null) => drop(at.as_object_mut().expect("an object").remove(last)),
            (Err(_), value) => at[last.as_str()] = value,
        }
        self
    }

    pub(crate) fn value(&self, what: &str) -> &Value {
        &self.objects[self.position(what)]
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = Value> + '_ {
        self.objects.iter().cloned()
    }

    pub(crate) fn add(&mut self, value: Value) -> &mut Self {
        self.objects.push(value);
        self
    }

    /// The same object under another name.
    pub(crate) fn copy(&mut self, what: &str, name: &str) -> &mut Self {
        let mut copy = self.value(what).clone();
        copy["metadata"]["name"] = name.into();
        self.add(copy)
    }

    pub(crate) fn remove(&mut self, what: &str) -> &mut Self {
        let index = self.position(what);
        self.objects.remove(index);
        self
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for kind in Kind::ALL {
            snapshot.set_state(kind, self.state.clone());
        }
        for object in self.read() {
            snapshot.insert(object);
        }
        snapshot
    }

    pub(crate) fn read(&self) -> Vec<Object> {
        let mut found = Found::default();
        for object in &self.objects {
            found.take(object).expect("an object");
        }
        assert!(found.skipped.is_empty(), "{:?}", found.skipped);
        found.objects
    }

    pub(crate) fn judge(&self, what: &str) -> Judgement {
        let (kind, name) = what.split_once('/').expect("kind/name");
        let snapshot = self.snapshot();
        let object = snapshot
            .all()
            .find(|o| o.kind.as_str() == kind && o.name == name)
            .unwrap_or_else(|| panic!("no {what}"));
        judge(object, &snapshot, self.now, &self.limits)
    }

    /// The reason, after these changes.
    pub(crate) fn after(&self, what: &str, changes: &[(&str, Value)]) -> Reason {
        let mut scene = self.clone();
        for (pointer, value) in changes {
            scene.set(what, pointer, value.clone());
        }
        scene.judge(what).reason
    }
}

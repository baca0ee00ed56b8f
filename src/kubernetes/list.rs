//! What `kubectl get -o json` prints: an object, or a list of objects.

use serde_json::Value;

use super::{Kind, Object};

/// Objects that were found in a document.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// What can be judged.
    pub objects: Vec<Object>,
    /// What is of a kind that is not judged, as `apiVersion/kind`.
    pub skipped: Vec<String>,
}

impl Found {
    /// Takes in the objects of a document. The items of a typed list need not say their kind.
    ///
    /// # Errors
    /// Says what in it is no object of Kubernetes.
    pub fn take(&mut self, document: &Value) -> Result<(), String> {
        let (api_version, kind) =
            type_of(document).ok_or("not an object of Kubernetes: it has no apiVersion or kind")?;
        let Some(items) = document.get("items").and_then(Value::as_array).filter(|_| kind.ends_with("List"))
        else {
            return self.one(document, api_version, kind);
        };
        let item_kind = kind.trim_end_matches("List");
        for (index, item) in items.iter().enumerate() {
            let (api_version, kind) = match type_of(item) {
                Some(own) => own,
                None if !item_kind.is_empty() => (api_version, item_kind),
                None => return Err(format!("items[{index}] has no apiVersion or kind")),
            };
            self.one(item, api_version, kind).map_err(|wrong| format!("items[{index}]: {wrong}"))?;
        }
        Ok(())
    }

    fn one(&mut self, value: &Value, api_version: &str, kind: &str) -> Result<(), String> {
        let Some(kind) = Kind::of(api_version, kind) else {
            self.skipped.push(format!("{api_version}/{kind}"));
            return Ok(());
        };
        let name = value.get("metadata").and_then(|m| m.get("name")).and_then(Value::as_str);
        if name.is_none_or(str::is_empty) {
            return Err(format!("the {kind} has no metadata.name"));
        }
        self.objects.push(Object::read(kind, value));
        Ok(())
    }
}

fn type_of(value: &Value) -> Option<(&str, &str)> {
    let text = |key| value.get(key).and_then(Value::as_str);
    Some((text("apiVersion")?, text("kind")?))
}

//! A change of a runner, from REST or GraphQL: parameters, validation, replacement.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::model::Runner;
use super::reply::{Failure, Params};
use super::state::State;

pub(super) type ModelErrors = BTreeMap<&'static str, Vec<String>>;

/// The wanted change of a runner, from REST or GraphQL.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) description: Option<String>,
    pub(super) paused: Option<bool>,
    pub(super) tags: Option<Vec<String>>,
    pub(super) run_untagged: Option<bool>,
    pub(super) locked: Option<bool>,
    pub(super) ref_protected: Option<bool>,
    pub(super) maximum_timeout: Option<u64>,
    pub(super) maintenance_note: Option<String>,
}

const CHANGEABLE: [&str; 9] = [
    "description",
    "active",
    "paused",
    "tag_list",
    "run_untagged",
    "locked",
    "access_level",
    "maximum_timeout",
    "maintenance_note",
];

impl Change {
    pub(super) fn from_params(params: &Params) -> Result<Self, Failure> {
        if !CHANGEABLE.iter().any(|key| params.has(key)) {
            let keys = CHANGEABLE.join(", ");
            return Err(Failure::grape(&format!(
                "{keys} are missing, at least one parameter must be provided"
            )));
        }
        Self::optional(params)
    }

    pub(super) fn optional(params: &Params) -> Result<Self, Failure> {
        if params.has("active") && params.has("paused") {
            return Err(Failure::grape("active, paused are mutually exclusive"));
        }
        let paused = match params.flag("active")? {
            Some(active) => Some(!active),
            None => params.flag("paused")?,
        };
        let level = params.one_of("access_level", &["not_protected", "ref_protected"])?;
        Ok(Self {
            description: params.text("description"),
            paused,
            tags: params.tags("tag_list")?,
            run_untagged: params.flag("run_untagged")?,
            locked: params.flag("locked")?,
            ref_protected: level.map(|l| l == "ref_protected"),
            maximum_timeout: params.number("maximum_timeout")?,
            maintenance_note: params.text("maintenance_note"),
        })
    }

    pub(super) fn check(&self, old: &Runner) -> Result<(), ModelErrors> {
        let mut errors = ModelErrors::new();
        let mut refuse = |key, text: &str| errors.entry(key).or_default().push(text.to_owned());
        if let Some(tags) = self.tags.as_ref().filter(|tags| **tags != old.tags) {
            if tags.len() > 50 {
                refuse("tags_list", "Too many tags specified. Please limit the number of tags to 50");
            }
            // The words for a long name are not proven on a real GitLab; that it is refused is.
            if tags.iter().any(|t| t.chars().count() > 255) {
                refuse("tags", "is invalid");
            }
        }
        let tags = self.tags.as_ref().unwrap_or(&old.tags);
        if tags.is_empty() && !self.run_untagged.unwrap_or(old.run_untagged) {
            refuse("tags_list", "can not be empty when runner is not allowed to pick untagged jobs");
        }
        for (key, text) in [("description", &self.description), ("maintenance_note", &self.maintenance_note)]
        {
            if text.as_ref().is_some_and(|t| t.chars().count() > 1024) {
                refuse(key, "is too long (maximum is 1024 characters)");
            }
        }
        if self.maximum_timeout.is_some_and(|t| t < 600) {
            refuse("maximum_timeout", "needs to be at least 10 minutes");
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    pub(super) fn write(&self, row: &mut Runner) {
        let put = |slot: &mut bool, value: Option<bool>| *slot = value.unwrap_or(*slot);
        put(&mut row.paused, self.paused);
        put(&mut row.run_untagged, self.run_untagged);
        put(&mut row.locked, self.locked);
        put(&mut row.ref_protected, self.ref_protected);
        if let Some(text) = &self.description {
            row.description.clone_from(text);
        }
        if let Some(tags) = &self.tags {
            row.tags.clone_from(tags);
        }
        row.maximum_timeout = self.maximum_timeout.or(row.maximum_timeout);
        if let Some(note) = &self.maintenance_note {
            row.maintenance_note = Some(note.clone());
        }
    }
}

/// Validate, replace, tick: also when nothing changes.
pub(super) fn apply(
    state: &mut State,
    id: u64,
    change: &Change,
    actor: &str,
    via: &str,
) -> Result<Arc<Runner>, ModelErrors> {
    let Some(old) = state.runners.get(&id).cloned() else { return Err(ModelErrors::new()) };
    change.check(&old)?;
    let mut row = Runner::clone(&old);
    change.write(&mut row);
    let row = state.write_runner(row, actor, via);
    state.tick(id);
    Ok(row)
}

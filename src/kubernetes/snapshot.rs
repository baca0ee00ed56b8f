//! What is known of one cluster's objects at one moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Backup, Detail, Kind, Object, Schedule};

/// How much of a kind is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum KindState {
    /// Nobody has looked, or the first list is not complete: an object that is not here may exist.
    #[default]
    Unseen,
    /// Everything of the kind is here, in the namespaces that are read: an object that is not here does not exist.
    Synced,
    /// The cluster does not know the kind.
    Absent,
    /// It cannot be read; what is here may be old.
    Failed(String),
}

pub(super) type Name = (String, String);

/// What is known of one cluster's objects at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    objects: BTreeMap<Kind, BTreeMap<Name, Arc<Object>>>,
    states: BTreeMap<Kind, KindState>,
    /// In which objects are read; all when empty.
    namespaces: BTreeSet<String>,
    /// Backups that were deleted on purpose since this was last asked.
    retired: BTreeSet<Name>,
}

impl Snapshot {
    /// Takes an object in, in place of the one of the same kind, namespace and name.
    pub fn insert(&mut self, object: impl Into<Arc<Object>>) {
        let object = object.into();
        let name = (object.namespace.clone(), object.name.clone());
        self.objects.entry(object.kind).or_default().insert(name, object);
    }

    /// Forgets an object.
    pub fn remove(&mut self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let object = self.objects.get_mut(&kind)?.remove(&(namespace.to_owned(), name.to_owned()))?;
        if object.is_being_retired() {
            self.retire(object.namespace.clone(), object.name.clone());
        }
        Some(object)
    }

    /// Says that a backup is deleted on purpose.
    pub fn retire(&mut self, namespace: String, name: String) {
        self.retired.insert((namespace, name));
    }

    /// Backups that were deleted on purpose since this was last called: their last phase was Deleting.
    pub(super) fn take_retired(&mut self) -> BTreeSet<Name> {
        std::mem::take(&mut self.retired)
    }

    /// Forgets every object of a kind, such as when its CRD is gone.
    pub fn clear(&mut self, kind: Kind) {
        self.objects.remove(&kind);
    }

    /// One object.
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Object> {
        self.objects.get(&kind)?.get(&(namespace.to_owned(), name.to_owned())).map(Arc::as_ref)
    }

    /// The objects of a kind, by namespace and name.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        self.objects.get(&kind).into_iter().flat_map(BTreeMap::values).map(Arc::as_ref)
    }

    /// The objects of a kind in a namespace, by name.
    pub fn within<'a>(&'a self, kind: Kind, namespace: &'a str) -> impl Iterator<Item = &'a Object> {
        let from = (namespace.to_owned(), String::new());
        let all = self.objects.get(&kind);
        all.into_iter()
            .flat_map(move |all| all.range(from.clone()..).map(|(_, object)| object.as_ref()))
            .take_while(move |object| object.namespace == namespace)
    }

    /// The backup location that a schedule or backup uses; without a name, the default one.
    pub(super) fn location<'a>(&'a self, namespace: &'a str, name: Option<&str>) -> Option<&'a Object> {
        let kind = Kind::BackupStorageLocation;
        match name {
            Some(name) => self.get(kind, namespace, name),
            None => self
                .within(kind, namespace)
                .find(|l| matches!(&l.detail, Detail::Location(l) if l.default))
                .or_else(|| self.get(kind, namespace, "default")),
        }
    }

    /// Every object.
    pub fn all(&self) -> impl Iterator<Item = &Object> {
        self.objects.values().flat_map(BTreeMap::values).map(Arc::as_ref)
    }

    /// How many objects of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.objects.get(&kind).map_or(0, BTreeMap::len)
    }

    /// What objects need and is not here, each with one that needs it.
    pub fn missing(&self) -> BTreeMap<String, String> {
        let mut missing = BTreeMap::new();
        for object in self.all() {
            let namespace = &object.namespace;
            let needed = match &object.detail {
                Detail::Flux(flux) if [Kind::Kustomization, Kind::HelmRelease].contains(&object.kind) => {
                    flux.source.as_ref().and_then(|source| {
                        let kind = Kind::of_flux(&source.kind)?;
                        let here = self.get(kind, &source.namespace, &source.name).is_some();
                        (!here).then(|| format!("{kind} {}/{}", source.namespace, source.name))
                    })
                }
                Detail::Schedule(Schedule { location, .. }) | Detail::Backup(Backup { location, .. }) => {
                    let here = self.location(namespace, location.as_deref()).is_some();
                    let name = location.as_deref().unwrap_or("default");
                    (!here).then(|| format!("{} {namespace}/{name}", Kind::BackupStorageLocation))
                }
                _ => None,
            };
            let backups = (object.kind == Kind::Schedule
                && self.within(Kind::Backup, namespace).next().is_none())
            .then(|| format!("any {} in {namespace}", Kind::Backup));
            for what in needed.into_iter().chain(backups) {
                missing.entry(what).or_insert_with(|| format!("{} {namespace}/{}", object.kind, object.name));
            }
        }
        missing
    }

    /// Whether everything of a kind in a namespace is here: an object that is not does not exist.
    pub(super) fn is_whole(&self, kind: Kind, namespace: &str) -> bool {
        match self.state(kind) {
            KindState::Absent => true,
            KindState::Synced => self.namespaces.is_empty() || self.namespaces.contains(namespace),
            KindState::Unseen | KindState::Failed(_) => false,
        }
    }

    /// Says in which namespaces objects are read; all when there is none.
    pub fn set_namespaces(&mut self, namespaces: BTreeSet<String>) {
        self.namespaces = namespaces;
    }

    /// Says how much of a kind is known.
    pub fn set_state(&mut self, kind: Kind, state: KindState) {
        self.states.insert(kind, state);
    }

    /// How much of a kind is known.
    pub fn state(&self, kind: Kind) -> &KindState {
        self.states.get(&kind).unwrap_or(&KindState::Unseen)
    }
}

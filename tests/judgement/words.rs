//! Words that others build on.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};
use switchyard::kubernetes::{Kind, KindState, Object, Reason, Verdict, judge};

use crate::scene::Scene;

#[test]
fn every_reason_is_documented_with_its_verdict_and_no_other() {
    let doc = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/verdicts.md")).unwrap();
    let documented: BTreeSet<(String, String)> = doc
        .lines()
        .filter(|line| line.contains("| `"))
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            Some((cells.get(1)?.to_string(), cells.get(2)?.trim_matches('`').to_owned()))
        })
        .filter(|(verdict, _)| Verdict::ALL.iter().any(|v| v.as_str() == verdict))
        .collect();
    let known: BTreeSet<(String, String)> =
        Reason::ALL.iter().map(|r| (r.verdict().to_string(), r.to_string())).collect();
    assert_eq!(documented, known);
    assert_eq!(known.len(), Reason::ALL.len(), "a word is used twice");
    let healthy: Vec<_> = Reason::ALL.iter().filter(|r| r.verdict() == Verdict::Healthy).collect();
    assert_eq!(healthy, [&Reason::Ok], "there is one way to be well");
}

#[test]
fn kinds_are_found_by_group_and_kind_whatever_the_version() {
    for kind in Kind::ALL {
        let group = if kind.group().is_empty() { String::new() } else { format!("{}/", kind.group()) };
        for version in kind.versions() {
            assert_eq!(Kind::of(&format!("{group}{version}"), kind.as_str()), Some(kind));
        }
    }
    // Knative, or an operator of the same word.
    assert_eq!(Kind::of("postgresql.cnpg.io/v1", "Backup"), None);
    assert_eq!(Kind::of("v1", "Backup"), None);
    assert_eq!(Kind::OciRepository.crd().as_deref(), Some("ocirepositories.source.toolkit.fluxcd.io"));
    assert_eq!(Kind::Pod.crd(), None);
}

#[test]
fn an_object_without_anything_is_never_healthy_and_has_no_time() {
    for kind in Kind::ALL {
        let object = Object::read(kind, &json!({"metadata": {"name": "bare", "namespace": "x"}}));
        let scene = Scene::of("flux.json");
        let judged = judge(&object, &scene.snapshot(), scene.now, &scene.limits);
        assert!(matches!(judged.verdict, Verdict::Unknown), "{kind}: {judged:?}");
        // An age of 56 years would be a time read as 0.
        assert!(!judged.sentence.contains("1970") && !judged.sentence.contains("20778d"), "{judged:?}");
    }
}

#[test]
fn a_field_of_a_wrong_type_names_its_path_and_is_unknown() {
    let cases = [
        (
            "velero.json",
            "Backup/daily-20261121020044",
            "/status/startTimestamp",
            json!(0),
            "status.startTimestamp is 0",
        ),
        (
            "velero.json",
            "Schedule/daily",
            "/status/lastBackup",
            json!("yesterday"),
            "status.lastBackup is \"yesterday\"",
        ),
        (
            "velero.json",
            "BackupStorageLocation/default",
            "/status",
            json!("x"),
            "status is \"x\", which is not an object",
        ),
        ("argocd.json", "Application/web", "/status/sync", json!([]), "status.sync is a list"),
        ("argocd.json", "Application/web", "/status/conditions", json!({}), "status.conditions is an object"),
        ("flux.json", "Kustomization/apps", "/spec/interval", json!("often"), "spec.interval is \"often\""),
        (
            "flux.json",
            "Kustomization/apps",
            "/status/conditions/0/observedGeneration",
            json!("5"),
            "status.conditions[0].observedGeneration is \"5\"",
        ),
        ("flux.json", "GitRepository/apps", "/spec/suspend", json!("yes"), "spec.suspend is \"yes\""),
        (
            "pods.json",
            "Pod/gitlab-runner-6c8c5b7d9f-x2x4z",
            "/status/containerStatuses/0/restartCount",
            json!("2"),
            "status.containerStatuses[0].restartCount is \"2\"",
        ),
    ];
    for (file, what, pointer, value, said) in cases {
        let mut scene = Scene::of(file);
        let judged = scene.set(what, pointer, value).judge(what);
        assert_eq!(judged.reason, Reason::Unreadable, "{what} {pointer}");
        assert!(judged.sentence.starts_with(said), "{}", judged.sentence);
    }
}

#[test]
fn what_cannot_be_watched_is_unknown_however_well_it_was() {
    for file in ["velero.json", "argocd.json", "flux.json", "pods.json"] {
        let mut scene = Scene::of(file);
        scene.state = KindState::Failed("403".to_owned());
        let snapshot = scene.snapshot();
        for object in snapshot.all() {
            assert_eq!(judge(object, &snapshot, scene.now, &scene.limits).reason, Reason::NotWatched);
        }
    }
}

#[test]
fn what_depends_on_what_cannot_be_watched_is_unknown_too() {
    for (file, blind, what, reason) in [
        ("velero.json", Kind::Backup, Kind::Schedule, Reason::RelatedUnseen),
        ("velero.json", Kind::BackupStorageLocation, Kind::Schedule, Reason::LocationUnknown),
        ("velero.json", Kind::BackupStorageLocation, Kind::Backup, Reason::LocationUnknown),
        ("flux.json", Kind::GitRepository, Kind::Kustomization, Reason::SourceUnknown),
        ("flux.json", Kind::HelmChart, Kind::HelmRelease, Reason::SourceUnknown),
    ] {
        let scene = Scene::of(file);
        let mut snapshot = scene.snapshot();
        snapshot.set_state(blind, KindState::Failed("403".to_owned()));
        for object in snapshot.of(what) {
            let judged = judge(object, &snapshot, scene.now, &scene.limits);
            assert_eq!(judged.reason, reason, "{what} without {blind}: {}", judged.sentence);
        }
    }
}

#[test]
fn everything_is_unknown_once_its_controllers_have_been_dead_for_long() {
    for file in ["velero.json", "argocd.json", "flux.json"] {
        let mut scene = Scene::of(file);
        scene.now = crate::scene::time("2026-11-25T03:00:00Z");
        let snapshot = scene.snapshot();
        for object in snapshot.all().filter(|o| o.kind != Kind::Restore) {
            let judged = judge(object, &snapshot, scene.now, &scene.limits);
            assert_eq!(judged.verdict, Verdict::Unknown, "{} {}: {judged:?}", object.kind, object.name);
        }
    }
}

#[test]
fn what_is_being_deleted_is_on_its_way() {
    for (file, what) in [("flux.json", "Kustomization/apps"), ("argocd.json", "Application/web")] {
        let gone = json!("2026-11-21T02:59:59Z");
        assert_eq!(Scene::of(file).after(what, &[("/metadata/deletionTimestamp", gone)]), Reason::Deleting);
    }
}

/// Pointers to everything below a value.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(fields) => {
            fields.iter().map(|(k, v)| (k.replace('~', "~0").replace('/', "~1"), v)).collect()
        }
        Value::Array(items) => items.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        _ => return,
    };
    for (key, value) in inner {
        let pointer = format!("{at}/{key}");
        pointers(value, &pointer, found);
        found.push(pointer);
    }
}

#[test]
fn whatever_an_object_holds_it_is_judged_and_the_dead_are_not_healthy() {
    let odd = [
        json!(null),
        json!(0),
        json!(-1),
        json!(""),
        json!("x"),
        json!([]),
        json!({}),
        json!([{}]),
        json!(true),
        json!("9999-12-30T22:00:00Z"),
        json!("-009999-01-02T01:59:59Z"),
        json!("-1s"),
        json!("9223372036854775807s"),
        json!("-9223372036854775808s"),
        json!("@every 9223372036854775807s"),
    ];
    let dead = crate::scene::time("2027-11-21T03:00:00Z");
    for file in ["velero.json", "argocd.json", "flux.json", "pods.json"] {
        let scene = Scene::of(file);
        let snapshot = scene.snapshot();
        for (value, object) in scene.values().zip(scene.read()) {
            let mut all = Vec::new();
            for part in ["spec", "status", "metadata"] {
                pointers(&value[part], &format!("/{part}"), &mut all);
                all.push(format!("/{part}"));
            }
            let named = |pointer: &&String| !["/metadata", "/metadata/name"].contains(&pointer.as_str());
            for (pointer, odd) in all.iter().filter(named).flat_map(|p| odd.iter().map(move |o| (p, o))) {
                let mut changed = value.clone();
                *changed.pointer_mut(pointer).unwrap() = odd.clone();
                let changed = Object::read(object.kind, &changed);
                let mut related = snapshot.clone();
                related.insert(changed.clone());
                // That it is judged at all is asked.
                judge(&changed, &related, scene.now, &scene.limits);
                let judged = judge(&changed, &related, dead, &scene.limits);
                let heartbeat = ![Kind::Pod, Kind::Restore].contains(&object.kind);
                // Nothing need be heard of it for longer than a year.
                let told = ["/spec/interval", "/spec/timeout"].contains(&pointer.as_str());
                assert!(
                    !heartbeat || told || judged.verdict != Verdict::Healthy,
                    "{} {} with {pointer} = {odd}, a year later: {judged:?}",
                    object.kind,
                    object.name
                );
            }
        }
    }
}

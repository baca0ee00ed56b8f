//! The exporter and `switchyard verdict` think the same of the same objects.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use switchyard::{
    kubernetes::{Found, Kind, KindState, Limits, Snapshot},
    model::SignedDuration,
};

use crate::{
    metrics::{Owned, shown},
    scene::{Scene, time},
    verdict,
};

const TIMES: [&str; 4] =
    ["2026-11-21T02:30:00Z", "2026-11-21T03:00:00Z", "2026-11-21T03:09:00Z", "2026-11-21T09:00:00Z"];

fn changes() -> Vec<(&'static str, &'static str, Value)> {
    let failed = json!({
        "type": "Ready", "status": "False", "reason": "GitOperationFailed", "message": "x", "observedGeneration": 1,
        "lastTransitionTime": "2026-11-21T02:59:00Z",
    });
    vec![
        ("Kustomization/apps", "/spec/sourceRef/name", json!("elsewhere")),
        ("Kustomization/apps", "/spec/sourceRef/kind", json!("ExternalArtifact")),
        ("Kustomization/apps", "/spec/suspend", json!(true)),
        ("GitRepository/apps", "/status/conditions/0", failed),
        ("GitRepository/apps", "/status/lastHandledReconcileAt", Value::Null),
        ("HelmRelease/runner", "/status/helmChart", json!("flux-system/other")),
        ("Application/web", "/status/health/status", json!("Degraded")),
        ("Application/web", "/spec/syncPolicy", Value::Null),
        ("Application/web", "/spec/destination/server", json!("https://green.example.com")),
        (
            "Application/web",
            "/status/operationState",
            json!({"phase": "Running", "startedAt": "2026-11-21T02:50:00Z"}),
        ),
        ("Schedule/daily", "/spec/template/storageLocation", json!("other")),
        ("Schedule/daily", "/spec/schedule", json!("*/90 * * * *")),
        ("Backup/daily-20261121020044", "/status/phase", json!("Failed")),
        ("BackupStorageLocation/default", "/status/phase", json!("Unavailable")),
        ("BackupStorageLocation/default", "/spec/validationFrequency", Value::Null),
    ]
}

/// Everything of all the files.
fn everything() -> Vec<Value> {
    ["velero.json", "argocd.json", "flux.json", "pods.json"]
        .into_iter()
        .flat_map(|file| Scene::of(file).values().collect::<Vec<_>>())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_objects_get_the_same_verdicts(
        chosen in prop::collection::vec(prop::bool::weighted(0.7), everything().len()),
        changed in prop::collection::vec(prop::bool::weighted(0.15), changes().len()),
        absent in any::<u16>(),
        at in 0..TIMES.len(),
        (missed, resync, operation, validation) in (1..5_i32, 1..10_i64, 1..30_i64, 1..10_i64),
        (tolerance, rpo) in (0..3_i64, prop::option::of(1..48_i64)),
        (manual, silent, mapped) in any::<(bool, bool, bool)>(),
    ) {
        let mut scene = Scene::of("velero.json");
        for file in ["argocd.json", "flux.json", "pods.json"] {
            for value in Scene::of(file).values() {
                scene.add(value);
            }
        }
        for ((what, pointer, value), _) in changes().into_iter().zip(&changed).filter(|(_, yes)| **yes) {
            scene.set(what, pointer, value);
        }
        let chosen: Vec<Value> =
            scene.values().zip(&chosen).filter(|(_, yes)| **yes).map(|(value, _)| value).collect();
        prop_assume!(!chosen.is_empty());

        let mut limits = Limits {
            missed,
            application_interval: SignedDuration::from_mins(resync),
            operation: SignedDuration::from_mins(operation),
            location_interval: SignedDuration::from_mins(validation),
            rpo_tolerance: SignedDuration::from_hours(tolerance),
            accept_manual_sync: manual,
            accept_silent: silent,
            ..Limits::default()
        };
        let mut flags = vec![
            "--at".to_owned(), TIMES[at].to_owned(), "--output".to_owned(), "json".to_owned(),
            format!("--missed-heartbeats={missed}"), format!("--argocd-resync={resync}m"),
            format!("--argocd-operation={operation}m"), format!("--velero-validation={validation}m"),
            format!("--velero-rpo-tolerance={tolerance}h"),
        ];
        if let Some(hours) = rpo {
            let daily = ("velero".to_owned(), "daily".to_owned());
            limits.rpo.insert(daily, Some(SignedDuration::from_hours(hours)));
            flags.push(format!("--velero-rpo=velero/daily={hours}h"));
        }
        if mapped {
            limits.destinations.insert("https://green.example.com", "green".to_owned());
            flags.push("--argocd-destination=https://green.example.com=green".to_owned());
        }
        flags.extend(manual.then(|| "--accept-manual-sync".to_owned()));
        flags.extend(silent.then(|| "--accept-silent".to_owned()));

        // As the exporter knows a cluster: every kind completely, or its CRD is not installed.
        let mut found = Found::default();
        let mut snapshot = Snapshot::default();
        for value in &chosen {
            found.take(value).expect("an object");
        }
        found.objects.into_iter().for_each(|object| snapshot.insert(object));
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            let absent = kind.crd().is_some() && snapshot.count(kind) == 0 && absent & 1 << index != 0;
            snapshot.set_state(kind, if absent { KindState::Absent } else { KindState::Synced });
        }
        let page = shown(vec![Owned { name: "blue", snapshot, ..Owned::default() }], &limits, time(TIMES[at]));
        let label = |line: &str, name: &str| {
            let value = line.split(&format!("{name}=\"")).nth(1).expect("the label");
            value.split('"').next().expect("its end").to_owned()
        };
        let names = [",kind", "namespace", ",name", "verdict", "reason"];
        let exporter: BTreeSet<[String; 5]> = page
            .text()
            .lines()
            .filter(|line| line.starts_with("switchyard_object_verdict{"))
            .map(|line| names.map(|name| label(line, name)))
            .collect();

        let list = json!({"apiVersion": "v1", "kind": "List", "items": chosen}).to_string();
        let (_, out, err) = verdict::run(&flags.iter().map(String::as_str).collect::<Vec<_>>(), &list);
        let said: Vec<Value> = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
        let offline: BTreeSet<[String; 5]> = said
            .iter()
            .map(|o| {
                ["kind", "namespace", "name", "verdict", "reason"]
                    .map(|name| o[name].as_str().expect("a text").to_owned())
            })
            .collect();
        prop_assert_eq!(exporter, offline);
    }
}

//! What the exporter shows of clusters, and that the documentation knows the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use prometheus_client::{
    collector::Collector as Collect, encoding::DescriptorEncoder, encoding::text, registry::Registry,
};
use serde_json::{Value, json};
use switchyard::{
    exporter::{
        Collector, Probe, Reason,
        families::{FAMILIES, Type},
        metrics::{View, encode},
    },
    kubernetes::{Destinations, Detail, History, Kind, KindState, Limits, Snapshot},
    model::Timestamp,
};
use switchyard_lab::exposition::Page;

use crate::scene::{NOW, Scene, time};

/// One cluster that owns what it shows.
#[derive(Debug, Default)]
pub(crate) struct Owned {
    pub(crate) name: &'static str,
    pub(crate) snapshot: Snapshot,
    pub(crate) history: History,
    pub(crate) probe: Probe,
    pub(crate) collectors: BTreeMap<Kind, Collector>,
}

#[derive(Debug)]
struct Shown(Vec<Owned>, Limits, Timestamp);

impl Collect for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let views: Vec<View<'_>> = self
            .0
            .iter()
            .map(|owned| View {
                name: owned.name,
                snapshot: &owned.snapshot,
                history: &owned.history,
                probe: &owned.probe,
                collectors: owned.collectors.clone(),
            })
            .collect();
        encode(&views, self.2, &self.1, &mut encoder)
    }
}

fn page(clusters: Vec<Owned>) -> Page {
    shown(clusters, &Limits::default(), time(NOW))
}

pub(crate) fn shown(clusters: Vec<Owned>, limits: &Limits, now: Timestamp) -> Page {
    let mut registry = Registry::with_prefix("switchyard");
    registry.register_collector(Box::new(Shown(clusters, limits.clone(), now)));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("it can be written");
    Page::parse(&text)
}

fn synced() -> Snapshot {
    let mut snapshot = Snapshot::default();
    for kind in Kind::ALL {
        snapshot.set_state(kind, KindState::Synced);
    }
    snapshot
}

fn add(snapshot: &mut Snapshot, scene: &Scene) {
    for mut object in scene.read() {
        if let Detail::Pod(pod) = &mut object.detail {
            pod.fleets = ["rnd".to_owned(), "ci".to_owned()].into();
        }
        snapshot.insert(object);
    }
}

fn of(files: &[&str]) -> Owned {
    let mut owned = Owned { name: "blue", snapshot: synced(), ..Owned::default() };
    for file in files {
        add(&mut owned.snapshot, &Scene::of(file));
    }
    owned
}

const ALL: [&str; 4] = ["velero.json", "argocd.json", "flux.json", "pods.json"];

/// A cluster of which everything is to be said.
fn full() -> Owned {
    let mut owned = of(&ALL);
    let mut before = Scene::of("flux.json");
    before.set("GitRepository/apps", "/status/artifact/revision", json!("main@sha1:older"));
    before.set("Kustomization/apps", "/status/lastAppliedRevision", json!("main@sha1:older"));
    let mut earlier = synced();
    add(&mut earlier, &before);
    add(&mut earlier, &Scene::of("velero.json"));
    owned.history.fold(&mut earlier, &Destinations::default(), time("2026-11-21T02:58:00Z"));
    owned.history.fold(&mut owned.snapshot, &Destinations::default(), time("2026-11-21T02:59:00Z"));
    owned.probe = Probe {
        up: Some(true),
        took: Duration::from_millis(12),
        last_success: Some(time(NOW)),
        failure: None,
    };
    for kind in Kind::ALL {
        let installed = kind.crd().map(|_| true);
        let collector = Collector {
            up: true,
            last_success: Some(time(NOW)),
            installed,
            errors: BTreeMap::from([(Reason::Gone, 3)]),
        };
        owned.collectors.insert(kind, collector);
    }
    owned
}

fn exposed(page: &Page) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in page.text().lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once('{').expect("every sample has labels");
        let labels = rest.rsplit_once('}').expect("closed").0;
        let mut labels: BTreeSet<String> =
            labels.split("\",").filter_map(|l| Some(l.split_once("=\"")?.0.to_owned())).collect();
        // The parts of a histogram.
        let parts = ["_bucket", "_sum", "_count"].into_iter().find_map(|part| name.strip_suffix(part));
        let name = parts.unwrap_or(name);
        labels.remove("le");
        let before = found.insert(name.to_owned(), labels);
        assert!(before.is_none_or(|before| before == found[name]), "labels differ: {line}");
    }
    found
}

#[test]
fn table_documentation_and_page_know_the_same() {
    let doc = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    let section = doc.split("## `switchyard exporter`").nth(1).expect("the exporter's section");
    let section = section.split("\n## ").next().expect("its end");
    let rows: Vec<(String, String, BTreeSet<String>)> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|line| {
            let (name, rest) = line.split_once('`').unwrap();
            let cells: Vec<&str> = rest.split('|').map(str::trim).collect();
            let labels = cells[2].split(',').map(|l| l.trim().to_owned()).collect();
            (name.to_owned(), cells[1].to_owned(), labels)
        })
        .collect();
    let known: Vec<(String, String, BTreeSet<String>)> = FAMILIES
        .iter()
        .map(|family| {
            let kind = match family.kind {
                Type::Counter => "counter",
                Type::Histogram => "histogram",
                Type::Gauge | Type::Info => "gauge",
            };
            let labels = std::iter::once("runner_cluster").chain(family.labels.iter().copied());
            (family.name(), kind.to_owned(), labels.map(str::to_owned).collect())
        })
        .collect();
    assert_eq!(rows, known, "docs/metrics.md has the rows of exporter::families, in their order");

    let shown = exposed(&page(vec![full()]));
    let wanted: BTreeMap<String, BTreeSet<String>> =
        known.into_iter().map(|(name, _, labels)| (name, labels)).collect();
    assert_eq!(shown, wanted);
}

#[test]
fn a_cluster_is_shown() {
    let page = page(vec![full()]);
    let value = |name: &str, labels: &[(&str, &str)]| {
        let all: Vec<_> = labels.iter().copied().chain([("runner_cluster", "blue")]).collect();
        page.value(&format!("switchyard_{name}"), &all)
    };
    let at = |text: &str| Some(time(text).as_second() as f64);
    let kustomization = [("kind", "Kustomization"), ("namespace", "flux-system"), ("name", "apps")];
    let verdict = |verdict, reason| {
        let labels: Vec<_> =
            kustomization.iter().copied().chain([("verdict", verdict), ("reason", reason)]).collect();
        value("object_verdict", &labels)
    };
    assert_eq!(verdict("healthy", "ok"), Some(1.0));
    assert_eq!(value("object_verdict", &[]), Some(11.0), "one series per object");
    assert_eq!(value("cluster_api_up", &[]), Some(1.0));

    let pods = [("fleet", "rnd"), ("namespace", "gitlab-runner"), ("phase", "Running"), ("ready", "true")];
    assert_eq!(value("runner_pods", &pods), Some(1.0));
    assert_eq!(value("runner_pods", &[("fleet", "ci")]), Some(1.0));
    let pod = [("fleet", "rnd"), ("pod", "gitlab-runner-6c8c5b7d9f-x2x4z")];
    assert_eq!(value("runner_pod_restarts", &pod), Some(2.0));

    let schedule = [("namespace", "velero"), ("schedule", "daily")];
    let newest = [("namespace", "velero"), ("schedule", "daily"), ("location", "default")];
    let name = "velero_last_completed_backup_start_timestamp_seconds";
    assert_eq!(value(name, &newest), at("2026-11-21T02:00:44Z"), "by its start");
    assert_eq!(value("velero_backups", &[("schedule", "daily"), ("phase", "Completed")]), Some(2.0));
    let stream = [newest[0], newest[1], newest[2], ("bucket", "velero"), ("prefix", "blue")];
    assert_eq!(value(name, &stream), at("2026-11-21T02:00:44Z"));
    assert_eq!(value("velero_rpo_seconds", &stream), Some(26.0 * 3600.0));
    assert_eq!(value("velero_rpo_unknown_seconds", &[]), Some(26.0 * 3600.0));
    let standing: Vec<_> = stream.into_iter().chain([("standing", "active")]).collect();
    assert_eq!(value("velero_schedule_standing", &standing), Some(1.0));
    assert_eq!(value("velero_backups_stuck", &schedule), Some(0.0));
    assert_eq!(value("velero_backups_vanished_total", &newest), Some(0.0));
    assert_eq!(value("velero_schedule_paused", &schedule), Some(0.0));
    assert_eq!(value("velero_schedule_interval_seconds", &schedule), Some(86400.0));
    assert_eq!(value("velero_schedule_last_backup_timestamp_seconds", &schedule), at("2026-11-21T02:00:44Z"));
    let place = [("namespace", "velero"), ("location", "default")];
    assert_eq!(value("velero_backup_location_available", &place), Some(1.0));
    assert_eq!(
        value("velero_backup_location_validated_timestamp_seconds", &place),
        at("2026-11-21T02:59:20Z")
    );
    assert_eq!(value("velero_backup_location_synced_timestamp_seconds", &place), at("2026-11-21T02:59:21Z"));
    assert_eq!(value("velero_backup_location_writers", &place), Some(1.0));
    assert_eq!(value("velero_backup_location_emptied", &place), Some(0.0));
    assert_eq!(value("velero_backup_location_backups", &place), Some(2.0));
    let info = [
        ("provider", "aws"),
        ("bucket", "velero"),
        ("prefix", "blue"),
        ("endpoint", "https://s3.example.com"),
        ("store", "aws:https://s3.example.com/velero/blue"),
        ("access_mode", "ReadWrite"),
        ("default", "true"),
    ];
    assert_eq!(value("velero_backup_location_info", &info), Some(1.0));
    assert_eq!(value("velero_restores", &[("phase", "Completed")]), Some(1.0));

    let app = [
        ("namespace", "argocd"),
        ("name", "web"),
        ("project", "default"),
        ("health", "Healthy"),
        ("sync", "Synced"),
        ("operation_phase", "Succeeded"),
        ("autosync", "true"),
        ("repo", "https://git.example.com/apps"),
        ("target_revision", "main"),
        ("path", "web"),
        ("chart", ""),
        ("object_cluster", "blue"),
        ("destination", "https://kubernetes.default.svc/web"),
    ];
    assert_eq!(value("argocd_application_info", &app), Some(1.0));
    let name = "argocd_application_reconciled_timestamp_seconds";
    assert_eq!(value(name, &[("name", "web")]), at("2026-11-21T02:58:31Z"));

    assert_eq!(value("flux_object_ready", &kustomization), Some(1.0));
    assert_eq!(value("flux_object_generation_current", &kustomization), Some(1.0));
    assert_eq!(value("flux_object_suspended", &kustomization), Some(0.0));
    assert_eq!(value("flux_object_interval_seconds", &kustomization), Some(600.0));
    assert_eq!(value("flux_object_reconciled_timestamp_seconds", &kustomization), at("2026-11-21T02:53:10Z"));
    let git = value("flux_object_reconciled_timestamp_seconds", &[("kind", "GitRepository")]).unwrap();
    assert!((git - (at("2026-11-21T02:58:00Z").unwrap() + 0.123456)).abs() < 0.001, "the answered request");
    let joined = [
        ("name", "apps"),
        ("source_kind", "GitRepository"),
        ("source_namespace", "flux-system"),
        ("source_name", "apps"),
        ("revision", "main@sha1:4f1c2d7a9b0e6c5d8f3a2b1c0d9e8f7a6b5c4d3e"),
    ];
    assert_eq!(value("flux_object_info", &joined), Some(1.0));

    let flux = [("tool", "flux"), ("source", "GitRepository/flux-system/apps")];
    let state = |state| [flux[0], flux[1], ("state", state)];
    assert_eq!(value("gitops_convergence_seconds", &state("done")), Some(0.0));
    assert_eq!(value("gitops_convergence_seconds", &state("open")), None);
    assert_eq!(value("gitops_convergence_duration_seconds_count", &flux), Some(1.0));
    let quarter = [flux[0], flux[1], ("le", "900.0")];
    assert_eq!(value("gitops_convergence_duration_seconds_bucket", &quarter), Some(1.0));
    // Without it no quantile can be computed.
    let all = [flux[0], flux[1], ("le", "+Inf")];
    assert_eq!(value("gitops_convergence_duration_seconds_bucket", &all), Some(1.0));

    assert_eq!(value("exporter_collector_up", &[("collector", "backups")]), Some(1.0));
    assert_eq!(
        value("exporter_collector_errors_total", &[("collector", "backups"), ("reason", "gone")]),
        Some(3.0)
    );
    assert_eq!(
        value("exporter_collector_errors_total", &[("collector", "backups"), ("reason", "timeout")]),
        Some(0.0)
    );
    assert_eq!(value("exporter_crd_installed", &[("crd", "backups.velero.io")]), Some(1.0));
    assert_eq!(value("exporter_objects", &[("kind", "Backup")]), Some(2.0));
}

#[test]
fn what_is_absent_has_no_series_and_never_zero() {
    let mut owned = Owned { name: "blue", snapshot: synced(), ..Owned::default() };
    for (file, what) in [
        ("velero.json", "Backup/daily-20261121020044"),
        ("velero.json", "Schedule/daily"),
        ("velero.json", "BackupStorageLocation/default"),
        ("velero.json", "Restore/drill"),
        ("argocd.json", "Application/web"),
        ("flux.json", "Kustomization/apps"),
        ("flux.json", "GitRepository/apps"),
    ] {
        let mut scene = Scene::of(file);
        scene.set(what, "/status", Value::Null);
        let kind = what.split('/').next().unwrap();
        for object in scene.read().into_iter().filter(|o| o.kind.as_str() == kind) {
            if object.name == what.split('/').nth(1).unwrap() {
                owned.snapshot.insert(object);
            }
        }
    }
    let page = page(vec![owned]);
    let text = page.text();
    let with_timestamp: Vec<&str> =
        text.lines().filter(|l| !l.starts_with('#') && l.contains("timestamp")).collect();
    assert!(with_timestamp.is_empty(), "{with_timestamp:?}");
    assert_eq!(page.value("switchyard_flux_object_ready", &[]), None);
    assert_eq!(
        page.value("switchyard_velero_backup_location_available", &[]),
        Some(0.0),
        "as Velero counts it"
    );
    assert_eq!(page.value("switchyard_velero_backups", &[("phase", "New")]), Some(1.0));
    assert_eq!(page.value("switchyard_object_verdict", &[("verdict", "healthy")]), None);
    assert_eq!(page.value("switchyard_cluster_api_up", &[]), None, "nobody has asked it yet");
}

#[test]
fn what_vanishes_vanishes_and_what_cannot_be_read_is_unknown() {
    let mut owned = full();
    owned.snapshot.remove(Kind::Application, "argocd", "web");
    let page_without = page(vec![owned]);
    assert!(!page_without.text().contains("switchyard_argocd"), "{}", page_without.text());

    let mut blind = full();
    for kind in Kind::ALL {
        blind.snapshot.set_state(kind, KindState::Failed("403".to_owned()));
    }
    let page = page(vec![blind]);
    assert_eq!(
        page.value("switchyard_object_verdict", &[("verdict", "unknown"), ("reason", "not_watched")]),
        Some(11.0)
    );
    for name in [
        "runner_pods",
        "velero_backups",
        "velero_backups_stuck",
        "velero_schedule_paused",
        "velero_schedule_standing",
        "velero_rpo_seconds",
        "velero_last_completed_backup_start_timestamp_seconds",
        "argocd_application_info",
        "flux_object_ready",
    ] {
        assert_eq!(page.value(&format!("switchyard_{name}"), &[]), None, "{name}");
    }
}

#[test]
fn stuck_old_and_foreign_backups_are_told_apart() {
    let mut scene = Scene::of("velero.json");
    scene.copy("Backup/daily-20261121020044", "by-hand");
    scene.set("Backup/by-hand", "/metadata/labels", Value::Null);
    scene.set("Backup/by-hand", "/status/phase", json!("PartiallyFailed"));
    scene.copy("Backup/daily-20261121020044", "stuck");
    scene.set(
        "Backup/stuck",
        "/status",
        json!({"phase": "InProgress", "startTimestamp": "2026-11-20T20:00:00Z"}),
    );
    // One that began in the future would never grow old.
    scene.copy("Backup/daily-20261121020044", "ahead");
    scene.set("Backup/ahead", "/status/startTimestamp", json!("2036-11-21T02:00:44Z"));
    // The newest is failed, and the one before it being deleted: the age is of what can be restored.
    scene.set("Backup/daily-20261121020044", "/status/phase", json!("Deleting"));
    let mut owned = Owned { name: "blue", snapshot: synced(), ..Owned::default() };
    add(&mut owned.snapshot, &scene);
    let page = page(vec![owned]);
    assert_eq!(page.value("switchyard_velero_backups_stuck", &[("schedule", "daily")]), Some(1.0));
    assert_eq!(page.value("switchyard_velero_backups_stuck", &[("schedule", "")]), Some(0.0));
    assert_eq!(
        page.value("switchyard_velero_backups", &[("schedule", ""), ("phase", "PartiallyFailed")]),
        Some(1.0)
    );
    let newest = page.value("switchyard_velero_last_completed_backup_start_timestamp_seconds", &[]);
    assert_eq!(newest, Some(time("2026-11-20T02:00:44Z").as_second() as f64));
}

#[test]
fn two_clusters_that_write_to_one_bucket_are_seen() {
    let (blue, mut green) = (of(&["velero.json"]), of(&["velero.json"]));
    green.name = "green";
    let both = page(vec![blue, green]);
    for cluster in ["blue", "green"] {
        let labels = [("runner_cluster", cluster), ("location", "default")];
        assert_eq!(both.value("switchyard_velero_backup_location_writers", &labels), Some(2.0));
    }
    // A family is named once, however many clusters there are.
    let types: Vec<&str> = both.text().lines().filter(|l| l.starts_with("# TYPE")).collect();
    let once: BTreeSet<&&str> = types.iter().collect();
    assert_eq!(types.len(), once.len());

    // A bucket of the same name in another store; an address of each cluster's own; one that is only written otherwise.
    for (blue_url, green_url, writers) in [
        ("https://s3.example.com", "https://s3.other.example.com", 1.0),
        ("http://minio.minio.svc:9000", "http://minio.minio.svc:9000", 1.0),
        ("https://s3.example.com", "https://S3.example.com:443/", 2.0),
    ] {
        let clusters = [("blue", blue_url), ("green", green_url)].map(|(name, url)| {
            let mut scene = Scene::of("velero.json");
            scene.set("BackupStorageLocation/default", "/spec/config/s3Url", json!(url));
            let mut owned = Owned { name, snapshot: synced(), ..Owned::default() };
            add(&mut owned.snapshot, &scene);
            owned
        });
        let page = page(clusters.into());
        let green = [("runner_cluster", "green")];
        let count = page.value("switchyard_velero_backup_location_writers", &green);
        assert_eq!(count, Some(writers), "{blue_url} {green_url}");
    }

    let mut standby = Scene::of("velero.json");
    standby.set("BackupStorageLocation/default", "/spec/accessMode", json!("ReadOnly"));
    let mut green = Owned { name: "green", snapshot: synced(), ..Owned::default() };
    add(&mut green.snapshot, &standby);
    let page = page(vec![of(&["velero.json"]), green]);
    assert_eq!(
        page.value("switchyard_velero_backup_location_writers", &[("runner_cluster", "blue")]),
        Some(1.0)
    );
    // The standby shows the primary's backups, with the primary's times.
    let labels = [("runner_cluster", "green"), ("schedule", "daily")];
    let name = "switchyard_velero_last_completed_backup_start_timestamp_seconds";
    assert_eq!(page.value(name, &labels), Some(time("2026-11-21T02:00:44Z").as_second() as f64));
}

#[test]
fn an_open_convergence_shows_how_long_it_lasts() {
    let mut owned = of(&["flux.json"]);
    owned.history.fold(&mut owned.snapshot, &Destinations::default(), time("2026-11-21T02:30:00Z"));
    let mut scene = Scene::of("flux.json");
    scene.set("GitRepository/apps", "/status/artifact/revision", json!("main@sha1:new"));
    add(&mut owned.snapshot, &scene);
    owned.history.fold(&mut owned.snapshot, &Destinations::default(), time("2026-11-21T02:40:00Z"));
    let page = page(vec![owned]);
    let value = |state| page.value("switchyard_gitops_convergence_seconds", &[("state", state)]);
    assert_eq!((value("open"), value("done")), (Some(1200.0), None));
}

#[test]
fn what_a_hub_says_of_other_clusters_counts_there() {
    let mut limits = Limits::default();
    for (destination, cluster) in [("https://green.example.com:443/", "green"), ("the-green-one", "green")] {
        assert!(limits.destinations.insert(destination, cluster.to_owned()));
    }
    assert!(
        !limits.destinations.clone().insert("https://green.example.com", "red".to_owned()),
        "it is green"
    );

    // A hub with an application for itself, two for green, one for nobody knows whom; and an Argo CD in green of its own.
    let mut scene = Scene::of("argocd.json");
    for (name, destination) in [
        ("near", json!({"name": "in-cluster", "namespace": "web"})),
        ("far", json!({"server": "https://green.example.com", "namespace": "web"})),
        ("far-by-name", json!({"name": "the-green-one", "namespace": "web"})),
        ("stray", json!({"server": "https://10.9.8.7:6443", "namespace": "web"})),
    ] {
        scene.copy("Application/web", name);
        scene.set(&format!("Application/{name}"), "/spec/destination", destination);
    }
    let fold = |owned: &mut Owned, scene: &Scene, at: &str| {
        add(&mut owned.snapshot, scene);
        owned.history.fold(&mut owned.snapshot, &limits.destinations, time(at));
    };
    let mut hub = Owned { name: "hub", snapshot: synced(), ..Owned::default() };
    fold(&mut hub, &scene, "2026-11-21T02:30:00Z");
    scene.set("Application/far", "/status/health/status", json!("Degraded"));
    scene.set("Application/far-by-name", "/status/sync/revision", json!("b"));
    fold(&mut hub, &scene, "2026-11-21T02:40:00Z");
    let mut green = Owned { name: "green", snapshot: synced(), ..Owned::default() };
    let mut own = Scene::of("argocd.json");
    own.copy("Application/web", "far");
    fold(&mut green, &own, "2026-11-21T02:40:00Z");

    let page = shown(vec![hub, green], &limits, time(NOW));
    let verdict = |cluster, name, verdict, reason| {
        let labels = [
            ("runner_cluster", cluster),
            ("object_cluster", "hub"),
            ("name", name),
            ("verdict", verdict),
            ("reason", reason),
        ];
        page.value("switchyard_object_verdict", &labels)
    };
    assert_eq!(verdict("hub", "web", "healthy", "ok"), Some(1.0));
    assert_eq!(verdict("hub", "near", "healthy", "ok"), Some(1.0));
    assert_eq!(verdict("green", "far", "unhealthy", "degraded"), Some(1.0));
    assert_eq!(verdict("green", "far-by-name", "healthy", "ok"), Some(1.0));
    // Nobody is told that it is well before it is known whom it is about.
    assert_eq!(verdict("hub", "stray", "unknown", "destination_unmapped"), Some(1.0));
    let all = |labels: &[(&str, &str)]| page.value("switchyard_object_verdict", labels);
    assert_eq!(all(&[("runner_cluster", "hub")]), Some(3.0));
    // What green says itself is beside it: an application of the same name is another one.
    assert_eq!(all(&[("runner_cluster", "green")]), Some(4.0));
    assert_eq!(all(&[("runner_cluster", "green"), ("object_cluster", "green"), ("name", "far")]), Some(1.0));
    for name in ["application_info", "application_reconciled_timestamp_seconds"] {
        let labels = [("runner_cluster", "green"), ("object_cluster", "hub"), ("name", "far")];
        assert!(page.value(&format!("switchyard_argocd_{name}"), &labels).is_some(), "{name}");
    }
    let open = |cluster| {
        let labels = [("runner_cluster", cluster), ("object_cluster", "hub"), ("state", "open")];
        page.value("switchyard_gitops_convergence_seconds", &labels)
    };
    assert_eq!((open("hub"), open("green")), (None, Some(1200.0)), "it is green that waits");
    // Every series is there once.
    let series: Vec<&str> =
        page.text().lines().filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series).collect();
    let once: BTreeSet<&&str> = series.iter().filter(|s| !s.starts_with('#')).collect();
    assert_eq!(series.iter().filter(|s| !s.starts_with('#')).count(), once.len());
}

#[test]
fn labels_of_many_sources_have_an_end() {
    let mut owned = of(&[]);
    let mut scene = Scene::of("argocd.json");
    let source = |number: usize| {
        json!({
            "repoURL": format!("https://git.example.com/{number}"), "path": "p".repeat(20), "targetRevision": "main",
        })
    };
    scene.set("Application/web", "/spec/sources", (0..50).map(source).collect());
    let chart = json!({"repoURL": "https://charts.example.com", "chart": "web", "targetRevision": "1.4.2"});
    scene.copy("Application/web", "chart").set("Application/chart", "/spec/sources", json!([chart]));
    add(&mut owned.snapshot, &scene);
    let page = page(vec![owned]);
    let line = page.text().lines().find(|line| line.contains("name=\"web\"") && line.contains("repo="));
    let line = line.expect("it is shown");
    assert!(line.len() < 1500 && line.contains('…'), "{line}");
    let labels = [
        ("name", "chart"),
        ("repo", "https://charts.example.com"),
        ("chart", "web"),
        ("target_revision", "1.4.2"),
        ("path", ""),
    ];
    assert_eq!(page.value("switchyard_argocd_application_info", &labels), Some(1.0));
}

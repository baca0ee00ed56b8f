//! What only several looks can tell.

use serde_json::{Value, json};
use switchyard::{
    kubernetes::{Convergence, Destinations, History, Kind, KindState, Object, Snapshot},
    model::{SignedDuration, Timestamp},
};

use crate::scene::{Scene, time};

const APPS: &str = "Kustomization/apps";
const GIT: &str = "GitRepository/apps";
const WEB: &str = "Application/web";

fn minute(minute: i64) -> Timestamp {
    time("2026-11-21T03:00:00Z") + SignedDuration::from_mins(minute)
}

/// One look at a scene.
fn look(history: &mut History, scene: &Scene, at: Timestamp) -> Option<Convergence> {
    history.fold(&mut scene.snapshot(), &scene.limits.destinations, at);
    first(history)
}

/// The Git repository of Flux, or what there is of Argo CD.
fn first(history: &History) -> Option<Convergence> {
    of(history, "GitRepository/flux-system/apps").or_else(|| of(history, "https://git.example.com/apps@main"))
}

fn of(history: &History, source: &str) -> Option<Convergence> {
    history.convergence().find(|(key, _)| key.source == source).map(|(_, convergence)| convergence)
}

fn minutes(minutes: i64) -> Option<SignedDuration> {
    Some(SignedDuration::from_mins(minutes))
}

fn revision(scene: &mut Scene, what: &str, pointer: &str, name: &str) {
    scene.set(what, pointer, json!(format!("main@sha1:{name}")));
}

#[test]
fn flux_converges_when_everything_is_ready_on_the_sources_revision() {
    let (mut history, mut scene) = (History::default(), Scene::of("flux.json"));
    scene.copy(APPS, "more");
    let quiet = Some(Convergence { last: None, open: None });
    assert_eq!(look(&mut history, &scene, minute(0)), quiet, "it arrived before anybody looked");
    assert_eq!(look(&mut history, &scene, minute(0)), quiet, "however often");

    revision(&mut scene, GIT, "/status/artifact/revision", "b");
    let open = Some(Convergence { last: None, open: Some(minute(1)) });
    assert_eq!(look(&mut history, &scene, minute(1)), open);
    revision(&mut scene, APPS, "/status/lastAppliedRevision", "b");
    assert_eq!(look(&mut history, &scene, minute(2)), open, "one of two");
    revision(&mut scene, "Kustomization/more", "/status/lastAppliedRevision", "b");
    scene.set("Kustomization/more", "/status/conditions/0/status", json!("False"));
    assert_eq!(look(&mut history, &scene, minute(3)), open, "applied, and not ready");
    scene.set("Kustomization/more", "/status/conditions/0/status", json!("True"));
    scene.set("Kustomization/more", "/status/conditions/0/observedGeneration", json!(4));
    assert_eq!(look(&mut history, &scene, minute(4)), open, "ready about an older spec");
    scene.set("Kustomization/more", "/status/conditions/0/observedGeneration", json!(5));
    let done = Some(Convergence { last: minutes(5), open: None });
    assert_eq!(look(&mut history, &scene, minute(6)), done);

    // The flicker of every interval opens nothing.
    scene.set(APPS, "/status/conditions/0/status", json!("Unknown"));
    assert_eq!(look(&mut history, &scene, minute(7)), done);
    // The key names the source.
    let (key, _) = history.convergence().next().unwrap();
    assert_eq!((key.tool.as_str(), key.source.as_str()), ("flux", "GitRepository/flux-system/apps"));
    // What vanishes vanishes.
    scene.remove(GIT);
    assert_eq!(look(&mut history, &scene, minute(8)), None);
}

#[test]
fn nobody_waits_for_what_a_person_stopped() {
    const MORE: &str = "Kustomization/more";
    let (mut history, mut scene) = (History::default(), Scene::of("flux.json"));
    scene.copy(APPS, "more");
    look(&mut history, &scene, minute(0));
    revision(&mut scene, GIT, "/status/artifact/revision", "b");
    revision(&mut scene, APPS, "/status/lastAppliedRevision", "b");
    let open = Some(Convergence { last: None, open: Some(minute(1)) });
    assert_eq!(look(&mut history, &scene, minute(1)), open);
    scene.set(MORE, "/spec/suspend", json!(true));
    let done = Some(Convergence { last: minutes(2), open: None });
    assert_eq!(look(&mut history, &scene, minute(3)), done, "the rest has arrived");
    // Resumed, it is late from then on, not since the commit.
    scene.set(MORE, "/spec/suspend", json!(false));
    let open = Some(Convergence { last: minutes(2), open: Some(minute(60)) });
    assert_eq!(look(&mut history, &scene, minute(60)), open);
    revision(&mut scene, MORE, "/status/lastAppliedRevision", "b");
    assert_eq!(look(&mut history, &scene, minute(61)), Some(Convergence { last: minutes(1), open: None }));

    // All of it is stopped while something is under way: the window ends, and no time is counted.
    revision(&mut scene, GIT, "/status/artifact/revision", "c");
    assert!(look(&mut history, &scene, minute(70)).expect("it is there").open.is_some());
    for what in [APPS, MORE] {
        scene.set(what, "/spec/suspend", json!(true));
    }
    let quiet = Some(Convergence { last: minutes(1), open: None });
    assert_eq!(look(&mut history, &scene, minute(71)), quiet);
    revision(&mut scene, GIT, "/status/artifact/revision", "d");
    assert_eq!(look(&mut history, &scene, minute(5000)), quiet, "nor is a revision that comes meanwhile");
    for what in [APPS, MORE] {
        scene.set(what, "/spec/suspend", json!(false));
    }
    let open = Some(Convergence { last: minutes(1), open: Some(minute(6000)) });
    assert_eq!(look(&mut history, &scene, minute(6000)), open);
    for what in [APPS, MORE] {
        revision(&mut scene, what, "/status/lastAppliedRevision", "d");
    }
    assert_eq!(look(&mut history, &scene, minute(6004)), Some(Convergence { last: minutes(4), open: None }));
    let (_, took) = history.took().next().expect("some arrived");
    assert_eq!(took.counts.iter().sum::<u64>(), 3);

    // A release waits neither while it is stopped, nor while the Kustomization that made it is.
    for stopped in [APPS, "HelmRelease/runner"] {
        let (mut history, mut scene) = (History::default(), Scene::of("flux.json"));
        let labels = json!({
            "kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
        });
        scene.set("HelmRelease/runner", "/metadata/labels", labels);
        look(&mut history, &scene, minute(0));
        scene.set(stopped, "/spec/suspend", json!(true));
        revision(&mut scene, GIT, "/status/artifact/revision", "b");
        if stopped != APPS {
            revision(&mut scene, APPS, "/status/lastAppliedRevision", "b");
            scene.set(stopped, "/status/conditions/0/status", json!("False"));
        }
        look(&mut history, &scene, minute(1));
        let after = look(&mut history, &scene, minute(60)).expect("it is there");
        assert_eq!(after.open, None, "{stopped}");
    }

    // An application that a person syncs from now on.
    let (mut history, mut scene) = (History::default(), Scene::of("argocd.json"));
    look(&mut history, &scene, minute(0));
    scene.set(WEB, "/status/sync", json!({"revision": "b", "status": "OutOfSync"}));
    assert!(look(&mut history, &scene, minute(1)).expect("it is there").open.is_some());
    scene.set(WEB, "/spec/syncPolicy", Value::Null);
    assert_eq!(look(&mut history, &scene, minute(2)), None);
}

#[test]
fn an_application_in_sync_of_which_something_is_suspended_has_arrived() {
    let (mut history, mut scene) = (History::default(), Scene::of("argocd.json"));
    let quiet = Some(Convergence { last: None, open: None });
    scene.set(WEB, "/status/health/status", json!("Suspended"));
    assert_eq!(look(&mut history, &scene, minute(0)), quiet, "a Deployment that was paused before");
    scene.set(WEB, "/status/sync", json!({"revision": "b", "status": "OutOfSync"}));
    let open = Some(Convergence { last: None, open: Some(minute(1)) });
    assert_eq!(look(&mut history, &scene, minute(1)), open, "the new commit is not applied");
    scene.set(WEB, "/status/sync/status", json!("Synced"));
    let done = Some(Convergence { last: minutes(2), open: None });
    assert_eq!(look(&mut history, &scene, minute(3)), done);
}

#[test]
fn a_release_arrives_with_its_chart_and_with_what_its_kustomization_applied() {
    const RELEASE: &str = "HelmRelease/runner";
    let chart = "HelmChart/flux-system/gitlab-runner-runner";
    let (mut history, mut scene) = (History::default(), Scene::of("flux.json"));
    scene.set(
        RELEASE,
        "/metadata/labels",
        json!({
            "kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
        }),
    );
    look(&mut history, &scene, minute(0));
    let quiet = Some(Convergence { last: None, open: None });
    assert_eq!(of(&history, chart), quiet);

    // A commit changes its values: it is applied in a moment, and rolled out later.
    revision(&mut scene, GIT, "/status/artifact/revision", "b");
    revision(&mut scene, APPS, "/status/lastAppliedRevision", "b");
    scene.set(RELEASE, "/metadata/generation", json!(3));
    let open = |at| Some(Convergence { last: None, open: Some(minute(at)) });
    assert_eq!(look(&mut history, &scene, minute(1)), open(1), "the release is behind its spec");
    assert_eq!(of(&history, chart), quiet, "it has arrived with this chart before");
    scene.set(RELEASE, "/status/conditions/0/observedGeneration", json!(3));
    assert_eq!(look(&mut history, &scene, minute(4)), Some(Convergence { last: minutes(3), open: None }));

    // A newer chart.
    scene.set("HelmChart/gitlab-runner-runner", "/status/artifact/revision", json!("0.85.0"));
    assert_eq!(scene.judge(RELEASE).reason, switchyard::kubernetes::Reason::RevisionBehind);
    look(&mut history, &scene, minute(5));
    assert_eq!(of(&history, chart), open(5));
    scene.set(RELEASE, "/status/lastAttemptedRevision", json!("0.85.0"));
    scene.set(RELEASE, "/status/conditions/0/status", json!("False"));
    look(&mut history, &scene, minute(6));
    assert_eq!(of(&history, chart), open(5), "tried, and failed");
    scene.set(RELEASE, "/status/conditions/0/status", json!("True"));
    look(&mut history, &scene, minute(25));
    assert_eq!(of(&history, chart), Some(Convergence { last: minutes(20), open: None }));
    let (_, took) = history.took().find(|(key, _)| key.source == chart).expect("it arrived");
    let above: u64 = switchyard::kubernetes::BUCKETS
        .iter()
        .zip(took.counts)
        .filter(|(b, _)| **b > 900.0)
        .map(|(_, n)| n)
        .sum();
    assert_eq!((took.sum, above), (1200.0, 1), "longer than a quarter of an hour");
}

#[test]
fn a_chart_from_a_registry_is_told_by_its_digest() {
    let mut scene = Scene::of("flux.json");
    let (release, chart) = ("HelmRelease/runner", "HelmChart/gitlab-runner-runner");
    scene.set(chart, "/kind", json!("OCIRepository"));
    let source = "OCIRepository/gitlab-runner-runner";
    scene.set(source, "/status/artifact/revision", json!("0.84.0@sha256:abc"));
    scene.set(release, "/spec/chart", Value::Null);
    let reference =
        json!({ "kind": "OCIRepository", "name": "gitlab-runner-runner", "namespace": "flux-system" });
    scene.set(release, "/spec/chartRef", reference);
    scene.set(release, "/status/lastAttemptedRevision", json!("0.84.0+abc"));
    scene.set(release, "/status/lastAttemptedRevisionDigest", json!("sha256:abc"));
    assert_eq!(scene.judge(release).reason, switchyard::kubernetes::Reason::Ok);
    // A tag that was moved.
    scene.set(source, "/status/artifact/revision", json!("0.84.0@sha256:def"));
    assert_eq!(scene.judge(release).reason, switchyard::kubernetes::Reason::RevisionBehind);
}

#[test]
fn revisions_that_follow_each_other_do_not_hide_a_cluster_that_never_arrives() {
    let (mut history, mut scene) = (History::default(), Scene::of("flux.json"));
    look(&mut history, &scene, minute(0));
    for (at, name) in [(1, "b"), (11, "c"), (21, "d")] {
        revision(&mut scene, GIT, "/status/artifact/revision", name);
        let open = Some(Convergence { last: None, open: Some(minute(1)) });
        assert_eq!(look(&mut history, &scene, minute(at)), open);
    }
    revision(&mut scene, APPS, "/status/lastAppliedRevision", "d");
    let done = Some(Convergence { last: minutes(2), open: None });
    assert_eq!(look(&mut history, &scene, minute(23)), done, "the last one's own time");
}

#[test]
fn what_is_under_way_at_the_first_look_began_before_it() {
    let (mut history, mut scene) = (History::default(), Scene::of("flux.json"));
    revision(&mut scene, GIT, "/status/artifact/revision", "b");
    scene.set(GIT, "/status/artifact/lastUpdateTime", json!("2026-11-21T02:50:00Z"));
    let open = Some(Convergence { last: None, open: Some(minute(-10)) });
    assert_eq!(look(&mut history, &scene, minute(0)), open, "an exporter that was restarted");
    // Something that joins later opens it again.
    revision(&mut scene, APPS, "/status/lastAppliedRevision", "b");
    assert_eq!(look(&mut history, &scene, minute(2)), Some(Convergence { last: minutes(12), open: None }));
    scene.copy(APPS, "more").set("Kustomization/more", "/status", Value::Null);
    let open = Some(Convergence { last: minutes(12), open: Some(minute(3)) });
    assert_eq!(look(&mut history, &scene, minute(3)), open);
}

#[test]
fn what_is_not_completely_known_is_left_as_it_was() {
    let (mut history, mut scene) = (History::default(), Scene::of("flux.json"));
    look(&mut history, &scene, minute(0));
    revision(&mut scene, GIT, "/status/artifact/revision", "b");
    let open = look(&mut history, &scene, minute(1));
    let before = history.clone();
    for state in [KindState::Unseen, KindState::Failed("403".to_owned()), KindState::Absent] {
        let mut empty = Scene::of("flux.json");
        empty.state = state;
        for what in [APPS, GIT] {
            empty.remove(what);
        }
        assert_eq!(look(&mut history, &empty, minute(2)), open);
        assert_eq!(history, before);
    }
}

#[test]
fn argocd_converges_when_all_that_follow_a_branch_are_synced_and_healthy() {
    let (mut history, mut scene) = (History::default(), Scene::of("argocd.json"));
    scene.copy(WEB, "api").copy(WEB, "manual").set("Application/manual", "/spec/syncPolicy", Value::Null);
    assert_eq!(look(&mut history, &scene, minute(0)), Some(Convergence { last: None, open: None }));
    let (key, _) = history.convergence().next().unwrap();
    assert_eq!((key.tool.as_str(), key.source.as_str()), ("argocd", "https://git.example.com/apps@main"));

    // The first one to be compared with the new commit opens it.
    scene.set(WEB, "/status/sync", json!({"revision": "b", "status": "OutOfSync"}));
    let open = Some(Convergence { last: None, open: Some(minute(1)) });
    assert_eq!(look(&mut history, &scene, minute(1)), open);
    scene.set(WEB, "/status/sync/status", json!("Synced"));
    assert_eq!(look(&mut history, &scene, minute(2)), open, "the other is at the old commit");
    scene.set("Application/api", "/status/sync", json!({"revision": "b", "status": "Synced"}));
    scene.set("Application/api", "/status/health/status", json!("Progressing"));
    assert_eq!(look(&mut history, &scene, minute(3)), open, "not rolled out");
    // Git is down: the revision is a branch's name, and no news. What had not arrived has not, whatever the others say.
    let mut down = scene.clone();
    down.set("Application/api", "/status/sync", json!({"revision": "main", "status": "Unknown"}));
    down.set("Application/api", "/status/health/status", json!("Healthy"));
    assert_eq!(look(&mut history, &down, minute(4)), open);
    down.set(WEB, "/status/sync", json!({"revision": "main", "status": "Unknown"}));
    assert_eq!(look(&mut history, &down, minute(4)), open, "nobody can be compared");
    scene.set("Application/api", "/status/health/status", json!("Healthy"));
    let done = Some(Convergence { last: minutes(4), open: None });
    assert_eq!(look(&mut history, &scene, minute(5)), done);

    // Back to an older commit, everywhere.
    for what in [WEB, "Application/api"] {
        scene.set(what, "/status/sync", json!({"revision": "a", "status": "Synced"}));
    }
    assert_eq!(look(&mut history, &scene, minute(6)), Some(Convergence { last: minutes(0), open: None }));
    for what in [WEB, "Application/api", "Application/manual"] {
        scene.remove(what);
    }
    assert_eq!(look(&mut history, &scene, minute(7)), None);
}

#[test]
fn an_application_that_cannot_be_compared_is_waited_for() {
    const API: &str = "Application/api";
    let (mut history, mut scene) = (History::default(), Scene::of("argocd.json"));
    look(&mut history, &scene, minute(0));
    // A new one, whose path is not in the repository: Unknown and Healthy, for ever.
    scene.copy(WEB, "api").set(API, "/status/sync", json!({"revision": "main", "status": "Unknown"}));
    let open = Some(Convergence { last: None, open: Some(minute(1)) });
    assert_eq!(look(&mut history, &scene, minute(1)), open);
    scene.set(WEB, "/status/sync", json!({"revision": "b", "status": "Synced"}));
    assert_eq!(look(&mut history, &scene, minute(20)), open, "the other has arrived");
    // One that no controller has looked at.
    scene.set(API, "/status", Value::Null);
    assert_eq!(look(&mut history, &scene, minute(30)), open);
    // Two that arrived stay there while git is down: nothing new is wanted.
    let arrived =
        json!({"reconciledAt": "2026-11-21T02:59:00Z", "health": {"status": "Healthy"}, "resources": []});
    scene.set(API, "/status", arrived);
    scene.set(API, "/status/sync", json!({"revision": "b", "status": "Synced"}));
    let done = Some(Convergence { last: minutes(20), open: None });
    assert_eq!(look(&mut history, &scene, minute(40)), done);
    for what in [WEB, API] {
        scene.set(what, "/status/sync", json!({"revision": "main", "status": "Unknown"}));
    }
    assert_eq!(look(&mut history, &scene, minute(50)), done);
    // An exporter that is started now knows of no revision at all.
    assert_eq!(look(&mut History::default(), &scene, minute(50)), None);
}

/// What an exporter that was restarted sees first may have been on its way for long, and objects of Argo CD do not say since when.
#[test]
fn what_began_before_the_first_look_is_open_and_not_measured() {
    let counted =
        |history: &History| history.took().map(|(_, took)| took.counts.iter().sum::<u64>()).sum::<u64>();
    let (mut history, mut scene) = (History::default(), Scene::of("argocd.json"));
    scene.set(WEB, "/status/sync", json!({"revision": "b", "status": "OutOfSync"}));
    let open = Some(Convergence { last: None, open: Some(minute(0)) });
    assert_eq!(look(&mut history, &scene, minute(0)), open);
    let unmeasured = |history: &History| history.unmeasured().map(|(_, since)| since).next();
    assert_eq!(unmeasured(&history), Some(minute(0)), "it says so");
    scene.set(WEB, "/status/sync/status", json!("Synced"));
    let quiet = Some(Convergence { last: None, open: None });
    assert_eq!(look(&mut history, &scene, minute(1)), quiet);
    assert_eq!((counted(&history), unmeasured(&history)), (0, None), "it began before");
    scene.set(WEB, "/status/sync", json!({"revision": "c", "status": "OutOfSync"}));
    look(&mut history, &scene, minute(2));
    assert_eq!(unmeasured(&history), None);
    scene.set(WEB, "/status/sync/status", json!("Synced"));
    let done = Some(Convergence { last: minutes(1), open: None });
    assert_eq!((look(&mut history, &scene, minute(3)), counted(&history)), (done, 1), "the next one did not");

    // A Kustomization that has this revision and is not ready at this moment, as in each interval.
    let (mut history, mut scene) = (History::default(), Scene::of("flux.json"));
    scene.set(APPS, "/status/conditions/0/status", json!("Unknown"));
    assert_eq!(look(&mut history, &scene, minute(0)), open, "not since the commit");
    scene.set(APPS, "/status/conditions/0/status", json!("True"));
    assert_eq!((look(&mut history, &scene, minute(1)), counted(&history)), (quiet, 0));
    // A new one from an old commit.
    let (mut history, mut scene) = (History::default(), Scene::of("flux.json"));
    scene.copy(APPS, "more").set("Kustomization/more", "/status", Value::Null);
    scene.set("Kustomization/more", "/metadata/creationTimestamp", json!("2026-11-21T02:57:00Z"));
    let began = Some(Convergence { last: None, open: Some(minute(-3)) });
    assert_eq!(look(&mut history, &scene, minute(0)), began);
}

#[test]
fn what_comes_after_the_first_look_is_measured_from_then_on() {
    // Nothing of Argo CD is there, or its CRD is not: then a cluster is built.
    for state in [KindState::Synced, KindState::Absent] {
        let mut empty = Scene::of("argocd.json");
        empty.remove(WEB);
        empty.state = state;
        let mut history = History::default();
        assert_eq!(look(&mut history, &empty, minute(0)), None);
        let mut scene = Scene::of("argocd.json");
        scene.set(WEB, "/status", Value::Null);
        assert_eq!(look(&mut history, &scene, minute(1)), None, "no revision is known");
        let mut scene = Scene::of("argocd.json");
        scene.set(WEB, "/status/sync", json!({"revision": "b", "status": "OutOfSync"}));
        assert!(look(&mut history, &scene, minute(2)).expect("it is there").open.is_some());
        scene.set(WEB, "/status/sync/status", json!("Synced"));
        let done = Some(Convergence { last: minutes(10), open: None });
        assert_eq!(look(&mut history, &scene, minute(12)), done);
    }
    // The same of Flux: a commit of long ago is new here.
    let mut empty = Scene::of("flux.json");
    empty.remove(APPS);
    let mut history = History::default();
    look(&mut history, &empty, minute(0));
    let mut scene = Scene::of("flux.json");
    scene.set(APPS, "/status", Value::Null);
    let open = Some(Convergence { last: None, open: Some(minute(1)) });
    assert_eq!(look(&mut history, &scene, minute(1)), open);
}

#[test]
fn charts_of_one_repository_have_versions_of_their_own() {
    let (mut history, mut scene) = (History::default(), Scene::of("argocd.json"));
    scene.copy(WEB, "api");
    for (what, chart, version) in [(WEB, "web", "1.4.0"), ("Application/api", "api", "2.0.1")] {
        scene.set(what, "/spec/source/chart", json!(chart));
        scene.set(what, "/status/sync", json!({"revision": version, "status": "Synced"}));
    }
    look(&mut history, &scene, minute(0));
    let sources: Vec<_> = history.convergence().map(|(key, c)| (key.source.as_str(), c.open)).collect();
    assert_eq!(
        sources,
        [("https://git.example.com/apps/api@main", None), ("https://git.example.com/apps/web@main", None)]
    );
}

/// A look by events, as the watches bring them.
struct Watched {
    history: History,
    snapshot: Snapshot,
}

impl Watched {
    fn of(scene: &Scene) -> Self {
        let mut watched = Self { history: History::default(), snapshot: scene.snapshot() };
        watched.look(0);
        watched
    }

    fn look(&mut self, at: i64) -> (u64, bool) {
        self.history.fold(&mut self.snapshot, &Destinations::default(), minute(at));
        let vanished = self.history.vanished().map(|(_, count)| count).sum();
        (vanished, self.history.locations().any(|(.., emptied)| emptied))
    }

    fn remove(&mut self, name: &str) {
        self.snapshot.remove(Kind::Backup, "velero", name).expect("it was there");
    }
}

#[test]
fn backups_that_vanish_are_counted_and_an_emptied_bucket_is_an_alarm() {
    let scene = Scene::of("velero.json");
    let mut watched = Watched::of(&scene);
    assert_eq!(watched.look(1), (0, false));
    watched.remove("daily-20261120020044");
    assert_eq!(watched.look(2), (1, false));
    watched.remove("daily-20261121020044");
    assert_eq!(watched.look(3), (2, true));
    assert_eq!(watched.look(4), (2, true), "until a backup is there again");
    let new = Object::read(Kind::Backup, scene.value("Backup/daily-20261121020044"));
    watched.snapshot.insert(new);
    assert_eq!(watched.look(5), (2, false));
    let (vanished, _) = watched.history.vanished().next().unwrap();
    assert_eq!(
        (vanished.namespace.as_str(), vanished.schedule.as_str(), vanished.location.as_str()),
        ("velero", "daily", "default")
    );
}

#[test]
fn what_expires_or_is_deleted_has_not_vanished() {
    let mut scene = Scene::of("velero.json");
    scene.set("Backup/daily-20261120020044", "/status/expiration", json!("2026-11-21T03:01:00Z"));
    let mut watched = Watched::of(&scene);
    watched.remove("daily-20261120020044");
    assert_eq!(watched.look(2), (0, false), "expired");
    // `velero backup delete`: it says Deleting, and is gone before anybody looks again.
    let mut deleting = scene.clone();
    deleting.set("Backup/daily-20261121020044", "/status/phase", json!("Deleting"));
    let object = Object::read(Kind::Backup, deleting.value("Backup/daily-20261121020044"));
    watched.snapshot.insert(object);
    watched.remove("daily-20261121020044");
    assert_eq!(watched.look(3), (0, false), "deleted on purpose");
}

#[test]
fn an_empty_location_is_new_until_something_was_in_it() {
    let mut scene = Scene::of("velero.json");
    scene.remove("Backup/daily-20261120020044").remove("Backup/daily-20261121020044");
    assert_eq!(Watched::of(&scene).look(1), (0, false));
    // Failed ones were never there to be restored: they stay when the bucket is emptied.
    let mut failed = Scene::of("velero.json");
    failed.set("Backup/daily-20261121020044", "/status/phase", json!("Failed"));
    let mut watched = Watched::of(&failed);
    watched.remove("daily-20261120020044");
    assert_eq!(watched.look(1), (1, true));
    // The location is gone, and with it what is said of it.
    watched.snapshot.remove(Kind::BackupStorageLocation, "velero", "default");
    assert_eq!(watched.look(2), (0, false));
    // Nothing vanishes while nothing can be read.
    let mut watched = Watched::of(&Scene::of("velero.json"));
    watched.snapshot.set_state(Kind::Backup, KindState::Failed("timeout".to_owned()));
    watched.snapshot.clear(Kind::Backup);
    assert_eq!(watched.look(1), (0, false));
}

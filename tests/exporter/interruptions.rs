//! Whatever interrupts a watch: it goes on, misses nothing, and in between nothing old is shown as fresh.

use std::path::Path;

use serde_json::json;
use switchyard_lab::{clock::WallClock, kubernetes::Crds, parts::or_skip, tcp::Relay};

use super::{BLUE, exporter, exporter_as, kubernetes, objects::application};

#[tokio::test]
async fn a_cut_watch_goes_on_and_a_silent_one_is_not_believed() {
    let Some(kubernetes) = kubernetes(&[Crds::ArgoCd]).await else { return };
    kubernetes.namespace("argocd").await.unwrap();
    let relay = Relay::start(kubernetes.address()).await.unwrap();
    let mut app = application("shop", 5);
    kubernetes.apply(&app).await.unwrap();
    let contexts = [(BLUE, relay.address(), kubernetes.admin_token())];
    let quick =
        ["--stale-after", "6s", "--probe-interval", "1s", "--probe-timeout", "1s", "--tools", "argocd"];
    let running = exporter(&contexts, &kubernetes.ca_file(), &quick).await;
    let api = [("runner_cluster", BLUE)];
    running.judged(&app, "healthy", "ok").await;
    running.until("switchyard_cluster_api_up", &api, Some(1.0)).await;

    // Cut: the probe tells at once. What changed meanwhile is seen afterwards.
    relay.cut();
    running.until("switchyard_cluster_api_up", &api, Some(0.0)).await;
    app["status"]["sync"]["status"] = json!("OutOfSync");
    kubernetes.apply(&app).await.unwrap();
    relay.mend();
    running.judged(&app, "unhealthy", "out_of_sync").await;
    running.until("switchyard_cluster_api_up", &api, Some(1.0)).await;
    assert!(running.errors(BLUE, "applications", "connection").await > 0.0);

    // Silent: every connection stays open and nothing arrives. The last state is not shown as one of now.
    app["status"]["sync"]["status"] = json!("Synced");
    kubernetes.apply(&app).await.unwrap();
    running.judged(&app, "healthy", "ok").await;
    relay.silence();
    running.until("switchyard_cluster_api_up", &api, Some(0.0)).await;
    running.collector_up(BLUE, "applications", false).await;
    running.judged(&app, "unknown", "not_watched").await;
    running.until("switchyard_argocd_application_info", &api, None).await;
    app["status"]["health"]["status"] = json!("Degraded");
    kubernetes.apply(&app).await.unwrap();
    relay.mend();
    running.judged(&app, "unhealthy", "degraded").await;
    running.collector_up(BLUE, "applications", true).await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_makes_no_silent_api_fresh() {
    let Some(kubernetes) = kubernetes(&[Crds::ArgoCd]).await else { return };
    let dir = tempfile::tempdir().unwrap();
    let Some(clock) = or_skip(WallClock::new(dir.path(), "time")) else { return };
    let program = dir.path().join("exporter");
    clock.wrap(Path::new(env!("CARGO_BIN_EXE_switchyard")), &program).unwrap();
    kubernetes.namespace("argocd").await.unwrap();
    let relay = Relay::start(kubernetes.address()).await.unwrap();
    let app = application("shop", 5);
    kubernetes.apply(&app).await.unwrap();
    let contexts = [(BLUE, relay.address(), kubernetes.admin_token())];
    let quick = ["--stale-after", "6s", "--tools", "argocd"];
    let running = exporter_as(&program, &contexts, &kubernetes.ca_file(), &quick).await;
    running.judged(&app, "healthy", "ok").await;
    running.collector_up(BLUE, "applications", true).await;

    relay.silence();
    clock.set("-1h").unwrap();
    running.collector_up(BLUE, "applications", false).await;
    running.judged(&app, "unknown", "not_watched").await;
    // It was set.
    let success = [("runner_cluster", BLUE), ("collector", "applications")];
    let page = running.exporter.metrics().await.unwrap();
    let told = page.value("switchyard_exporter_collector_last_success_timestamp_seconds", &success).unwrap();
    relay.mend();
    running.collector_up(BLUE, "applications", true).await;
    let page = running.exporter.metrics().await.unwrap();
    let later = page.value("switchyard_exporter_collector_last_success_timestamp_seconds", &success).unwrap();
    assert!(later < told, "its clock was not set back: {told}, {later}");
}

#[tokio::test]
async fn the_probe_sees_a_dead_path_that_old_connections_do_not() {
    let Some(kubernetes) = kubernetes(&[Crds::ArgoCd]).await else { return };
    kubernetes.namespace("argocd").await.unwrap();
    let relay = Relay::start(kubernetes.address()).await.unwrap();
    let mut app = application("shop", 5);
    kubernetes.apply(&app).await.unwrap();
    let contexts = [(BLUE, relay.address(), kubernetes.admin_token())];
    // The watch keeps its connection for minutes.
    let quick = ["--probe-interval", "1s", "--tools", "argocd"];
    let running = exporter(&contexts, &kubernetes.ca_file(), &quick).await;
    let api = [("runner_cluster", BLUE)];
    running.judged(&app, "healthy", "ok").await;
    running.collector_up(BLUE, "applications", true).await;
    running.until("switchyard_cluster_api_up", &api, Some(1.0)).await;

    relay.close();
    running.until("switchyard_cluster_api_up", &api, Some(0.0)).await;
    app["status"]["health"]["status"] = json!("Degraded");
    kubernetes.apply(&app).await.unwrap();
    running.judged(&app, "unhealthy", "degraded").await;
    assert_eq!(running.errors(BLUE, "applications", "connection").await, 0.0, "the watch never broke");
    relay.mend();
    running.until("switchyard_cluster_api_up", &api, Some(1.0)).await;
}

#[tokio::test]
async fn a_restarted_api_server_that_forgot_the_past_is_listed_again() {
    let Some(mut kubernetes) = kubernetes(&[Crds::ArgoCd]).await else { return };
    kubernetes.namespace("argocd").await.unwrap();
    let relay = Relay::start(kubernetes.address()).await.unwrap();
    let (gone, kept) = (application("gone", 5), application("kept", 5));
    for app in [&gone, &kept] {
        kubernetes.apply(app).await.unwrap();
    }
    let contexts = [(BLUE, relay.address(), kubernetes.admin_token())];
    let quick = ["--probe-interval", "1s", "--tools", "argocd", "--page-size", "1"];
    let running = exporter(&contexts, &kubernetes.ca_file(), &quick).await;
    running.judged(&gone, "healthy", "ok").await;
    running.judged(&kept, "healthy", "ok").await;
    running.collector_up(BLUE, "applications", true).await;

    // A restart alone.
    kubernetes.kill9().await.unwrap();
    running.until("switchyard_cluster_api_up", &[], Some(0.0)).await;
    kubernetes.restart().await.unwrap();
    let new = application("new", 5);
    kubernetes.apply(&new).await.unwrap();
    running.judged(&new, "healthy", "ok").await;
    running.until("switchyard_cluster_api_up", &[], Some(1.0)).await;

    // The version to go on from is forgotten: 410 Gone. What vanished meanwhile must not stay for ever.
    relay.cut();
    kubernetes.delete(&gone).await.unwrap();
    kubernetes.apply(&application("newer", 5)).await.unwrap();
    kubernetes.compact().await.unwrap();
    kubernetes.kill9().await.unwrap();
    kubernetes.restart().await.unwrap();
    let before = running.errors(BLUE, "applications", "gone").await;
    relay.mend();
    running.judged(&gone, "", "").await;
    running.judged(&application("newer", 5), "healthy", "ok").await;
    running.judged(&kept, "healthy", "ok").await;
    assert!(running.errors(BLUE, "applications", "gone").await > before);
    running.collector_up(BLUE, "applications", true).await;
}

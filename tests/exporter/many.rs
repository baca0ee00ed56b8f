//! Thousands of objects: whole they are in memory only page by page.

use std::time::Instant;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use switchyard_lab::{kubernetes::Crds, tcp::Relay};

use super::{BLUE, exporter, kubernetes, objects::application};

const MANY: usize = 5000;
/// Whole they are about 16 kB each, 80 MB together, and several times that once parsed.
const BOUND_MIB: u64 = 160;

/// An application with the resources and the managed fields that real ones have.
fn large(number: usize) -> Value {
    let name = format!("app-{number:04}");
    let mut app = application(&name, 5);
    let resources = (0..40).map(|r| {
        json!({
            "kind": "ConfigMap", "version": "v1", "namespace": name, "name": format!("resource-{r:02}-of-{name}"),
            "status": "Synced", "health": { "status": "Healthy", "message": "x".repeat(100) },
        })
    });
    app["status"]["resources"] = resources.collect();
    app
}

#[tokio::test]
async fn five_thousand_applications_fit() {
    let Some(mut kubernetes) = kubernetes(&[Crds::ArgoCd]).await else { return };
    let relay = Relay::start(kubernetes.address()).await.unwrap();
    kubernetes.namespace("argocd").await.unwrap();
    let began = Instant::now();
    stream::iter((0..MANY).map(|number| kubernetes.create(large(number))))
        .buffer_unordered(16)
        .try_for_each(|()| async { Ok(()) })
        .await
        .unwrap();
    let written = began.elapsed();

    let contexts = [(BLUE, relay.address(), kubernetes.admin_token())];
    let began = Instant::now();
    let mut running = exporter(&contexts, &kubernetes.ca_file(), &["--tools", "argocd"]).await;
    let all = [("kind", "Application"), ("verdict", "healthy")];
    running.until("switchyard_object_verdict", &all, Some(MANY as f64)).await;
    let read = began.elapsed();
    let began = Instant::now();
    let page = running.exporter.metrics().await.unwrap();
    let scraped = began.elapsed();

    let peak = peak(&mut running);
    println!(
        "{MANY} applications: written in {written:.1?}, read in {read:.1?}, one scrape of {} kB took {scraped:.1?}, \
         at most {peak} MiB resident",
        page.text().len() / 1024
    );
    assert!(peak < BOUND_MIB, "{peak} MiB");

    // Still alive to changes.
    let mut one = large(4711);
    one["status"]["health"]["status"] = json!("Degraded");
    kubernetes.apply(&one).await.unwrap();
    running.judged(&one, "unhealthy", "degraded").await;

    // The API forgets the past: all is listed again, while what is known is kept until the new list is whole.
    relay.cut();
    kubernetes.apply(&large(MANY)).await.unwrap();
    kubernetes.compact().await.unwrap();
    kubernetes.kill9().await.unwrap();
    kubernetes.restart().await.unwrap();
    let before = running.errors(BLUE, "applications", "gone").await;
    relay.mend();
    running.judged(&large(MANY), "healthy", "ok").await;
    running.until("switchyard_object_verdict", &all, Some(MANY as f64)).await;
    assert!(running.errors(BLUE, "applications", "gone").await > before, "it was not listed again");
    let peak = self::peak(&mut running);
    println!("listed again: at most {peak} MiB resident");
    assert!(peak < BOUND_MIB, "{peak} MiB");
}

/// The most memory that the exporter ever had resident, in MiB.
fn peak(running: &mut super::Running) -> u64 {
    running.exporter.process().peak_kib().unwrap() / 1024
}

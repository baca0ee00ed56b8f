//! An API whose watches are opened and are none: they bring nothing but errors, end at once, break, or stay silent. No real one
//! does so when asked, so this one is made of the few answers that a watch needs.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::State, http::Uri, response::Response};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use switchyard_lab::wait::{PATIENCE, until};

use super::{BLUE, Running, exporter_of, objects::application};

/// What becomes of every watch; another number: it brings an error of this code, and ends.
const IN_ITS_TIME: u16 = 0;
const ENDS: u16 = 1;
const BREAKS: u16 = 2;
const SILENT: u16 = 3;

#[derive(Debug, Default)]
struct Api {
    /// What becomes of watches. Nothing ever happens on one.
    watch: AtomicU16,
    /// Lists are refused.
    closed: AtomicBool,
    /// The application is.
    degraded: AtomicBool,
    lists: AtomicUsize,
}

async fn answer(State(api): State<Arc<Api>>, uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default();
    let mut status = 200;
    let body = if uri.path() == "/readyz" {
        Body::from("ok")
    } else if query.contains("watch=true") {
        let seconds = query.split('&').find_map(|p| p.strip_prefix("timeoutSeconds=")).unwrap();
        let time = Duration::from_secs(seconds.parse().unwrap());
        match api.watch.load(Ordering::SeqCst) {
            IN_ITS_TIME => Body::from_stream(stream::once(async move {
                tokio::time::sleep(time).await;
                Ok::<_, io::Error>(Vec::new())
            })),
            ENDS => Body::empty(),
            // In the middle of an event.
            BREAKS => Body::from_stream(stream::iter([false, true]).then(async |late| {
                tokio::time::sleep(Duration::from_millis(if late { 100 } else { 0 })).await;
                if late { Err(io::Error::other("broken")) } else { Ok(r#"{"type":"MODIFIED","object":{"#) }
            })),
            SILENT => Body::from_stream(stream::pending::<io::Result<Vec<u8>>>().boxed()),
            code => {
                let status = json!({
                    "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "message": "no",
                    "reason": "Expired", "code": code,
                });
                Body::from(format!("{{\"type\":\"ERROR\",\"object\":{status}}}\n"))
            }
        }
    } else if api.closed.load(Ordering::SeqCst) {
        status = 503;
        Body::empty()
    } else {
        api.lists.fetch_add(1, Ordering::SeqCst);
        let mut shop = application("shop", 1);
        if api.degraded.load(Ordering::SeqCst) {
            shop["status"]["health"]["status"] = json!("Degraded");
        }
        let list = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationList", "metadata": { "resourceVersion": "1" },
            "items": [shop],
        });
        Body::from(list.to_string())
    };
    Response::builder().status(status).header("content-type", "application/json").body(body).unwrap()
}

/// An exporter of an API whose application is well, and whose watches end in their time.
async fn started() -> (Arc<Api>, Running) {
    let api = Arc::new(Api::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer).with_state(api.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });

    let config: Value = json!({
        "clusters": [{ "name": BLUE, "cluster": { "server": format!("http://{address}") } }],
        "users": [{ "name": BLUE, "user": { "token": "x" } }],
        "contexts": [{ "name": BLUE, "context": { "cluster": BLUE, "user": BLUE } }],
    });
    let binary = Path::new(env!("CARGO_BIN_EXE_switchyard"));
    let more = ["--tools", "argocd", "--stale-after", "6s"];
    let running = exporter_of(binary, &[BLUE], &config.to_string(), &more).await;
    running.judged(&application("shop", 1), "healthy", "ok").await;
    running.collector_up(BLUE, "applications", true).await;
    (api, running)
}

#[tokio::test]
async fn a_watch_that_only_brings_errors_is_no_sign_of_life() {
    let (api, running) = started().await;
    let app = application("shop", 1);
    // One that fails, and one that forgets again and again, however often its list can be read.
    for (refusal, reason) in [(500, "server_error"), (410, "gone")] {
        api.watch.store(refusal, Ordering::SeqCst);
        running.collector_up(BLUE, "applications", false).await;
        running.judged(&app, "unknown", "not_watched").await;
        assert!(running.errors(BLUE, "applications", reason).await > 0.0);
        api.watch.store(IN_ITS_TIME, Ordering::SeqCst);
        running.collector_up(BLUE, "applications", true).await;
        running.judged(&app, "healthy", "ok").await;
    }
}

/// Nothing old is shown as healthy: either a list says how things are, or nobody knows it.
async fn only_lists_tell(watch: u16) {
    let (api, running) = started().await;
    let app = application("shop", 1);
    api.watch.store(watch, Ordering::SeqCst);
    api.degraded.store(true, Ordering::SeqCst);
    running.judged(&app, "unhealthy", "degraded").await;
    running.collector_up(BLUE, "applications", true).await;

    api.closed.store(true, Ordering::SeqCst);
    running.collector_up(BLUE, "applications", false).await;
    running.judged(&app, "unknown", "not_watched").await;

    api.degraded.store(false, Ordering::SeqCst);
    api.closed.store(false, Ordering::SeqCst);
    running.judged(&app, "healthy", "ok").await;
    api.watch.store(IN_ITS_TIME, Ordering::SeqCst);
    running.collector_up(BLUE, "applications", true).await;
}

#[tokio::test]
async fn a_watch_that_ends_at_once_is_no_sign_of_life() {
    only_lists_tell(ENDS).await;
}

#[tokio::test]
async fn a_watch_that_breaks_is_no_sign_of_life() {
    only_lists_tell(BREAKS).await;
}

#[tokio::test]
async fn a_watch_that_stays_silent_is_no_sign_of_life() {
    only_lists_tell(SILENT).await;
}

#[tokio::test]
async fn a_watch_on_which_nothing_happens_is_no_failure() {
    let (api, mut running) = started().await;
    until(PATIENCE, "lists tell that nothing happens", async || {
        let lists = api.lists.load(Ordering::SeqCst);
        anyhow::ensure!(lists > 3, "{lists} lists");
        Ok(())
    })
    .await
    .unwrap();
    running.collector_up(BLUE, "applications", true).await;
    let log = running.log();
    assert!(!log.contains("not watched") && !log.contains("watched again"), "{log}");
}

//! An API that opens every watch and brings nothing but errors on it. No real one does so when asked, so this one is made of the
//! few answers that a watch needs.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::State, http::Uri, response::Response};
use futures::stream;
use serde_json::{Value, json};

use super::{BLUE, exporter_of, objects::application};

/// With what every watch ends at once; 0: it ends in its time, and nothing happens.
type Code = Arc<AtomicU16>;

async fn answer(State(code): State<Code>, uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default();
    let body = if uri.path() == "/readyz" {
        Body::from("ok")
    } else if query.contains("watch=true") {
        match code.load(Ordering::SeqCst) {
            0 => {
                let seconds = query.split('&').find_map(|p| p.strip_prefix("timeoutSeconds=")).unwrap();
                let time = Duration::from_secs(seconds.parse().unwrap());
                Body::from_stream(stream::once(async move {
                    tokio::time::sleep(time).await;
                    Ok::<_, std::io::Error>(Vec::new())
                }))
            }
            code => {
                let status = json!({
                    "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "message": "no",
                    "reason": "Expired", "code": code,
                });
                Body::from(format!("{{\"type\":\"ERROR\",\"object\":{status}}}\n"))
            }
        }
    } else {
        let list = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationList", "metadata": { "resourceVersion": "1" },
            "items": [application("shop", 1)],
        });
        Body::from(list.to_string())
    };
    Response::builder().header("content-type", "application/json").body(body).unwrap()
}

#[tokio::test]
async fn a_watch_that_only_brings_errors_is_no_sign_of_life() {
    let code = Code::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer).with_state(code.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });

    let config: Value = json!({
        "clusters": [{ "name": BLUE, "cluster": { "server": format!("http://{address}") } }],
        "users": [{ "name": BLUE, "user": { "token": "x" } }],
        "contexts": [{ "name": BLUE, "context": { "cluster": BLUE, "user": BLUE } }],
    });
    let binary = Path::new(env!("CARGO_BIN_EXE_switchyard"));
    let more = ["--tools", "argocd", "--stale-after", "6s"];
    let running = exporter_of(binary, &[BLUE], &config.to_string(), &more).await;

    let app = application("shop", 1);
    running.judged(&app, "healthy", "ok").await;
    running.collector_up(BLUE, "applications", true).await;
    // One that fails, and one that forgets again and again, however often its list can be read.
    for (refusal, reason) in [(500, "server_error"), (410, "gone")] {
        code.store(refusal, Ordering::SeqCst);
        running.collector_up(BLUE, "applications", false).await;
        running.judged(&app, "unknown", "not_watched").await;
        assert!(running.errors(BLUE, "applications", reason).await > 0.0);
        code.store(0, Ordering::SeqCst);
        running.collector_up(BLUE, "applications", true).await;
        running.judged(&app, "healthy", "ok").await;
    }
}

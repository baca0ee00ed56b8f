//! Numbers, sizes, times, limits and secrets: what holds for every request.

use std::{
    future::IntoFuture as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse as _,
};
use serde_json::{Value, json};
use switchyard::{
    gitlab::{Client, Error, Settings},
    model::{RunnerId, StepOutcome, TagChange, TagStep},
};
use switchyard_lab::gitlab::{Fault, Kind, Match, RateLimit};

use crate::{Bench, by_id, observer, settings, tag, tagged};

const TOKEN: &str = "glpat-very-secret-0123456789";

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, router).into_future());
    url
}

fn client(url: &str) -> Client {
    Client::new(settings(url, TOKEN), observer().0).unwrap()
}

fn empty_page() -> Json<Value> {
    Json(
        json!({ "data": { "runners": { "nodes": [], "pageInfo": { "hasNextPage": false, "endCursor": null } } } }),
    )
}

#[tokio::test]
async fn no_more_requests_run_at_once_than_allowed() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let url = serve(Router::new().fallback(move || {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            empty_page()
        }
    }))
    .await;
    let client = Client::new(Settings { concurrency: 3, ..settings(&url, TOKEN) }, observer().0).unwrap();
    let tags: Vec<String> = (0..20).map(|n| format!("t{n}")).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    assert!(client.runners(&tagged(&tags)).await.unwrap().is_empty());
    assert_eq!(seen.load(Ordering::SeqCst), 3, "the streams run in parallel, and three at most");
}

#[tokio::test]
async fn requests_name_themselves_and_keep_the_path_of_the_address() {
    let seen: Arc<Mutex<Vec<(String, HeaderMap)>>> = Arc::default();
    let sink = Arc::clone(&seen);
    let url = serve(Router::new().fallback(move |request: Request| {
        sink.lock().unwrap().push((request.uri().path().to_owned(), request.headers().clone()));
        async { empty_page() }
    }))
    .await;
    client(&format!("{url}/gitlab/")).runners(&tagged(&["x"])).await.unwrap();
    client(&format!("{url}/gitlab")).runners(&tagged(&["x"])).await.unwrap();
    for (path, headers) in seen.lock().unwrap().iter() {
        assert_eq!(path, "/gitlab/api/graphql");
        assert_eq!(headers[header::USER_AGENT], concat!("switchyard/", env!("CARGO_PKG_VERSION")));
        assert_eq!(headers[header::AUTHORIZATION], format!("Bearer {TOKEN}"));
    }
}

#[tokio::test]
async fn connections_are_kept() {
    let bench = Bench::new();
    bench.runner("blue", &["runner-a"]);
    let peers: Arc<Mutex<std::collections::BTreeSet<u16>>> = Arc::default();
    let sink = Arc::clone(&peers);
    let router = Router::new().fallback(
        move |axum::extract::ConnectInfo(peer): axum::extract::ConnectInfo<std::net::SocketAddr>| {
            sink.lock().unwrap().insert(peer.port());
            async { empty_page() }
        },
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = router.into_make_service_with_connect_info::<std::net::SocketAddr>();
    tokio::spawn(axum::serve(listener, service).into_future());
    let client = client(&url);
    for _ in 0..5 {
        client.runners(&tagged(&["x"])).await.unwrap();
    }
    assert_eq!(peers.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_endless_body_is_cut_off() {
    let url = serve(Router::new().fallback(|| async {
        let chunk = axum::body::Bytes::from(vec![b' '; 1 << 20]);
        Body::from_stream(futures::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone())))
    }))
    .await;
    let error = client(&url).runners(&tagged(&["x"])).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
}

/// A proxy that shows the request in its page, in every way a page can come.
#[tokio::test]
async fn the_token_is_in_no_text() {
    let status = Arc::new(Mutex::new(StatusCode::OK));
    let now = Arc::clone(&status);
    let url = serve(Router::new().fallback(move |headers: HeaderMap| {
        let status = *now.lock().unwrap();
        let shown = format!("{:?} {}", headers, headers[header::AUTHORIZATION].to_str().unwrap());
        async move { (status, [(header::LOCATION, format!("/x?{TOKEN}"))], shown).into_response() }
    }))
    .await;
    let client = client(&url);
    let step = TagStep {
        cluster: "blue".parse().unwrap(),
        runner: RunnerId(1),
        tag: tag("x"),
        change: TagChange::Add,
        paused: None,
    };
    let mut texts = vec![format!("{client:?}"), format!("{:?}", settings(&url, TOKEN))];
    for code in [200, 302, 400, 401, 403, 404, 429, 500, 502] {
        *status.lock().unwrap() = StatusCode::from_u16(code).unwrap();
        let error = client.runners(&by_id([RunnerId(1)])).await.unwrap_err();
        texts.extend([error.to_string(), error.chain(), format!("{error:?}")]);
        texts.push(format!("{:?}", client.apply(&step).await));
        texts.push(format!("{:?}", client.check().await));
    }
    assert!(texts.iter().any(|t| t.contains("[token]")), "the pages were not looked at");
    for text in texts {
        assert!(!text.contains(TOKEN) && !text.contains("very-secret"), "{text}");
    }
}

#[tokio::test]
async fn a_redirect_is_an_error_and_is_not_followed() {
    let hits = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&hits);
    let url = serve(Router::new().fallback(move || {
        count.fetch_add(1, Ordering::SeqCst);
        async { (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, "https://elsewhere.test/")]) }
    }))
    .await;
    let error = client(&url).runners(&tagged(&["x"])).await.unwrap_err();
    assert!(!error.is_transient());
    let text = "GitLab answered 301: a redirect to https://elsewhere.test/; is the URL right?";
    assert!(error.to_string().ends_with(text), "{error}");
    assert_eq!(hits.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn html_and_other_text_is_shown_in_short() {
    let bench = Bench::new();
    bench.admin().fault(Fault::new(Match::any(), Kind::NonJson).times(1));
    let error = bench.client.runners(&tagged(&["x"])).await.unwrap_err();
    assert!(matches!(&error, Error::NotJson { status: 200, .. }), "{error:?}");
    assert!(error.to_string().contains("<title>Sign in</title>"), "{error}");
    bench.admin().fault(Fault::new(Match::any(), Kind::Status { status: 502, body: "x".repeat(5000) }));
    let error = bench.client.runners(&tagged(&["x"])).await.unwrap_err();
    assert!(
        matches!(&error, Error::Status { status: 502, message, .. } if message.len() == 200),
        "{error:?}"
    );
}

#[tokio::test]
async fn after_a_429_the_next_request_waits_as_long_as_it_says() {
    for (kind, wait) in [
        (Kind::RateLimitedText { retry_after: 1 }, 1),
        (Kind::RateLimitedJsonRetryAfter { retry_after: 2 }, 2),
        (Kind::RateLimitedJson, 1),
    ] {
        let bench = Bench::new();
        bench.admin().fault(Fault::new(Match::any(), kind.clone()).times(1));
        let before = Instant::now();
        let error = bench.client.runners(&tagged(&["x"])).await.unwrap_err();
        assert!(matches!(error, Error::RateLimited { .. }) && error.is_transient(), "{error:?}");
        bench.client.runners(&tagged(&["x"])).await.unwrap();
        assert!(before.elapsed() >= Duration::from_secs(wait), "{kind:?}");
    }
}

#[tokio::test]
async fn a_long_retry_after_is_handed_on_without_asking_again() {
    let bench = Bench::new();
    let blue = bench.runner("blue", &["runner-a"]);
    let kind = Kind::RateLimitedText { retry_after: 40 };
    bench.admin().fault(Fault::new(Match::any(), kind).times(1));
    let error = bench.client.runners(&tagged(&["x"])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "listing the runners: GitLab limits the request rate (wait 40 s): Retry later"
    );
    let error = bench.client.runners(&tagged(&["x"])).await.unwrap_err();
    assert!(matches!(error, Error::RateLimited { .. }), "{error:?}");
    let step = TagStep {
        cluster: "blue".parse().unwrap(),
        runner: blue,
        tag: tag("rnd-runner"),
        change: TagChange::Add,
        paused: None,
    };
    let outcome = bench.client.apply(&step).await;
    assert!(matches!(outcome, StepOutcome::Failed { transient: true, .. }), "{outcome:?}");
    assert_eq!(bench.admin().requests().len(), 1);
}

#[tokio::test]
async fn a_used_up_budget_is_waited_for_and_never_overdrawn() {
    let bench = Bench::new();
    let limit = RateLimit { requests: 3, window: Duration::from_secs(2), shape: Default::default() };
    bench.admin().rate_limit(Some(limit));
    for _ in 0..7 {
        bench.client.runners(&tagged(&["x"])).await.unwrap();
    }
    let events = bench.events.lock().unwrap();
    assert!(events.iter().all(|e| e.code == "200"), "{events:?}");
    assert!(events.iter().all(|e| e.rate_limit_remaining.is_some_and(|left| left < 3)), "{events:?}");
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    for (change, text) in [
        (Settings { url: "gitlab".into(), ..settings("", TOKEN) }, "is not a URL"),
        (Settings { url: "ftp://gitlab.test".into(), ..settings("", TOKEN) }, "is not an http or https URL"),
        (
            Settings { url: "https://a:b@gitlab.test".into(), ..settings("", TOKEN) },
            "must not hold credentials",
        ),
        (Settings { concurrency: 0, ..settings("https://gitlab.test", TOKEN) }, "concurrency"),
        (
            Settings { ca_pem: Some(b"junk".into()), ..settings("https://gitlab.test", TOKEN) },
            "no certificate",
        ),
        (settings("https://gitlab.test", "two\nlines"), "characters that no token has"),
    ] {
        let error = Client::new(change, observer().0).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert!(!format!("{error:?}").contains("two"));
    }
}

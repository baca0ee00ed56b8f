//! Prometheus as asked by Switchyard: a real one for what it really answers, a made-up one for what goes wrong.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use switchyard::{
    config::Queries,
    model::{Evidence, FleetEvidence, Question, Reading, Verdict},
    prometheus::{Client, Error, Servers},
};
use switchyard_lab::{
    parts::{Flavour, or_skip},
    prometheus::{Prometheus, PrometheusConfig},
    values::{at, cluster, rnd},
    wait,
};
use url::Url;

const PATIENCE: Duration = Duration::from_secs(30);

type Asked = BTreeMap<String, String>;
type Answer = fn(Asked, HeaderMap) -> BoxFuture<'static, Response>;

/// A server that answers every query as `answer` says.
async fn server(answer: Answer) -> Url {
    let handle = async |State(answer): State<Answer>, headers: HeaderMap, body: Bytes| {
        let asked = url::form_urlencoded::parse(&body).into_owned().collect();
        answer(asked, headers).await
    };
    let router = Router::new().route("/prefix/api/v1/query", post(handle)).with_state(answer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/prefix/", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

fn client(url: &Url) -> Client {
    Client::new(url, PATIENCE, None, None).unwrap()
}

fn vector(result: serde_json::Value) -> Response {
    axum::Json(json!({ "status": "success", "data": { "resultType": "vector", "result": result } }))
        .into_response()
}

fn reply(status: u16, body: &'static str) -> Response {
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}

fn queries(change: &[(Question, &str)]) -> Queries {
    let mut questions: BTreeMap<Question, String> =
        Question::ALL.into_iter().map(|q| (q, format!("fleet_{}", q.as_str()))).collect();
    for (question, query) in change {
        questions.insert(*question, (*query).to_owned());
    }
    Queries { questions, managers: "polls".to_owned() }
}

async fn ask(urls: &[Url], timeout: Duration, queries: Queries, at: Timestamp) -> FleetEvidence {
    let servers = Servers::new(urls, timeout, 2, None, None).unwrap();
    let Evidence { mut fleets, .. } = servers.evidence(&BTreeMap::from([(rnd(), queries)]), at).await;
    fleets.remove(&rnd()).unwrap()
}

/// What server number `index` said to a question.
fn said(evidence: &FleetEvidence, question: Question, index: usize) -> Result<Vec<(String, f64)>, String> {
    let samples = evidence.asked[&question].answers[index].result.clone()?;
    Ok(samples.into_iter().map(|(cluster, sample)| (cluster.to_string(), sample.value)).collect())
}

#[tokio::test]
async fn every_form_of_number_and_remark_is_read() {
    let url = server(|asked, headers| {
        Box::pin(async move {
            assert_eq!(asked["query"], "up{a=\"b\"} & more");
            assert_eq!(asked["time"], "2027-01-15T08:00:00Z");
            assert_eq!(asked["timeout"], "30000ms");
            assert_eq!(headers["authorization"], "Bearer t0ken");
            axum::Json(json!({
                "status": "success", "infos": ["i"], "warnings": ["w"], "newer": 1,
                "data": { "resultType": "vector", "result": [
                    { "metric": { "n": "1" }, "value": [1_800_000_000.25, "NaN"] },
                    { "metric": {}, "value": [1_800_000_000, "+Inf"] },
                    { "metric": {}, "value": [1_800_000_000, "-Inf"] },
                    { "metric": {}, "value": [1_800_000_000, "1e-3"] },
                ]},
            }))
            .into_response()
        })
    })
    .await;
    let client = Client::new(&url, PATIENCE, Some(&"t0ken".to_owned().into()), None).unwrap();
    let vector = client.instant("up{a=\"b\"} & more", at(0)).await.unwrap();
    let values: Vec<f64> = vector.series.iter().map(|s| s.value).collect();
    assert!(values[0].is_nan());
    assert_eq!(values[1..], [f64::INFINITY, f64::NEG_INFINITY, 0.001]);
    assert_eq!(vector.series[0].at, at(0) + SignedDuration::from_millis(250));
    assert_eq!(vector.series[0].labels["n"], "1");
    assert_eq!((vector.warnings, vector.infos), (vec!["w".to_owned()], vec!["i".to_owned()]));
    assert!(!format!("{client:?}").contains("t0ken"));
}

#[tokio::test]
async fn every_refusal_is_typed_and_says_whether_it_passes() {
    let url = server(|asked, _| {
        Box::pin(async move {
            match asked["query"].as_str() {
                "bad" => reply(400, r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#),
                "execution" => {
                    reply(422, r#"{"status":"error","errorType":"execution","error":"many-to-many"}"#)
                }
                "slow" => reply(503, r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#),
                "proxy" => reply(502, "<html>\n  Bad Gateway </html>"),
                "login" => reply(401, "who are you?"),
                "redirect" => (StatusCode::FOUND, [("location", "http://127.0.0.1:1/")]).into_response(),
                "scalar" => axum::Json(
                    json!({ "status": "success", "data": { "resultType": "scalar", "result": [1, "1"] } }),
                )
                .into_response(),
                "histogram" => vector(json!([{ "metric": {}, "histogram": [1, { "count": "1" }] }])),
                "word" => vector(json!([{ "metric": {}, "value": [1, "many"] }])),
                "far" => vector(json!([{ "metric": {}, "value": [1e300, "1"] }])),
                "huge" => reply(200, Box::leak("x".repeat((16 << 20) + 1).into_boxed_str())),
                other => panic!("{other}"),
            }
        })
    })
    .await;
    let client = client(&url);
    for (query, transient, text) in [
        ("bad", false, "bad_data: parse error"),
        ("execution", false, "execution: many-to-many"),
        ("slow", true, "timeout: query timed out"),
        ("proxy", true, "HTTP 502, and not Prometheus' JSON: <html> Bad Gateway </html>"),
        ("login", false, "HTTP 401, and not Prometheus' JSON: who are you?"),
        ("redirect", false, "HTTP 302, and not Prometheus' JSON: "),
        ("scalar", false, "the query gives a scalar, not one number per series"),
        ("histogram", false, "a series cannot be read: it has no plain value (a histogram?)"),
        ("word", false, "a series cannot be read: the value \"many\" is not a number"),
        ("far", false, &format!("a series cannot be read: the time {} is out of range", 1e300)),
        ("huge", false, "the answer is longer than 16777216 bytes"),
    ] {
        let error = client.instant(query, at(0)).await.expect_err(query);
        assert_eq!((error.to_string().as_str(), error.is_transient()), (text, transient));
    }
    assert!(matches!(client.instant("bad", at(0)).await, Err(Error::Refused { status: 400, .. })));
}

#[tokio::test]
async fn a_series_that_names_no_cluster_or_one_twice_spoils_its_answer() {
    let url = server(|asked, _| {
        Box::pin(async move {
            let blue = json!({ "metric": { "runner_cluster": "blue" }, "value": [1_800_000_000, "1"] });
            vector(match asked["query"].trim_start_matches("timestamp(").trim_end_matches("\n)") {
                "fleet_alive" => json!([blue, blue]),
                "fleet_able" => json!([blue, { "metric": { "job": "x" }, "value": [1, "1"] }]),
                "fleet_able_count" => {
                    json!([{ "metric": { "runner_cluster": "Not a name" }, "value": [1, "1"] }])
                }
                "fleet_gitlab_unreachable" => json!([]),
                "polls" => json!([
                    { "metric": { "runner_cluster": "blue", "system_id": "s_1" }, "value": [1, "1"] },
                    { "metric": { "runner_cluster": "green", "system_id": "s_1" }, "value": [1, "1"] },
                    { "metric": { "system_id": "s_2" }, "value": [1, "1"] },
                ]),
                other => panic!("{other}"),
            })
        })
    })
    .await;
    let evidence = ask(&[url], PATIENCE, queries(&[]), at(0)).await;
    assert_eq!(
        said(&evidence, Question::Alive, 0),
        Err("two series for the cluster blue: aggregate by (runner_cluster)".into())
    );
    assert_eq!(
        said(&evidence, Question::Able, 0),
        Err("a series has no label runner_cluster: {\"job\": \"x\"}".into())
    );
    assert!(
        said(&evidence, Question::AbleCount, 0)
            .unwrap_err()
            .starts_with("label runner_cluster: \"Not a name\"")
    );
    assert_eq!(said(&evidence, Question::GitlabUnreachable, 0), Ok(vec![]));
    assert_eq!(evidence.managers.len(), 1);
    assert_eq!(evidence.managers["s_1"].len(), 2, "one token, two clusters");
}

/// The Date of an answer tells a wrong clock; a server that does not answer tells nothing, and an old answer neither.
#[tokio::test]
async fn the_clock_of_every_server_that_answers_is_compared() {
    static DATE: std::sync::Mutex<Option<String>> = std::sync::Mutex::new(None);
    let url = server(|_, _| {
        Box::pin(async {
            let mut response = vector(json!([]));
            if let Some(date) = DATE.lock().unwrap().clone() {
                response.headers_mut().insert("date", date.parse().unwrap());
            }
            response
        })
    })
    .await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let servers = Servers::new(&[url.clone(), gone], PATIENCE, 2, None, None).unwrap();
    let asked = BTreeMap::from([(rnd(), queries(&[]))]);
    let clocks = async || servers.evidence(&asked, clock()).await;

    let honest = clocks().await;
    assert_eq!(honest.clocks.len(), 1, "{honest:?}");
    assert_eq!(honest.clock_off(), None, "the server says the time of this machine");
    let behind = clock() - SignedDuration::from_mins(4);
    *DATE.lock().unwrap() = Some(behind.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
    let off = clocks().await;
    let (name, ahead) = off.clock_off().expect("four minutes");
    assert_eq!(name, url.as_str().trim_end_matches('/'));
    assert!(ahead >= SignedDuration::from_secs(230), "{ahead:?}");
    *DATE.lock().unwrap() = Some("noon".to_owned());
    assert_eq!(clocks().await.clocks.len(), 0, "no time at all");
}

/// As Thanos answers with `partial_response` while a store is out of reach, Prometheus with a broken remote read, and
/// Prometheus about its own query.
#[tokio::test]
async fn an_answer_with_a_warning_is_no_evidence_and_a_remark_spoils_nothing() {
    let url = server(|asked, _| {
        Box::pin(async move {
            let query = asked["query"].trim_start_matches("timestamp(").trim_end_matches("\n)");
            let stamps = asked["query"].starts_with("timestamp(");
            let mut body = json!({ "status": "success", "data": { "resultType": "vector", "result": [
                { "metric": { "runner_cluster": "green", "system_id": "s_1" }, "value": [1_800_000_000, "1"] },
            ]}});
            match query {
                "fleet_alive" => body["warnings"] = json!([
                    "receive series from Addr: 10.0.0.7:10901 LabelSets: {prometheus=\"blue\"} MinTime: 0 MaxTime: 1: rpc error: \
                     code = Unavailable desc = connection error"
                ]),
                "fleet_able" => body["warnings"] = json!(["remote_read: remote server returned 503"]),
                // Only one of the two queries is partial.
                "fleet_able_count" if stamps => body["warnings"] = json!(["No StoreAPIs matched for this query"]),
                "fleet_gitlab_unreachable" => {
                    body["warnings"] = json!(["PromQL info: metric might not be a counter: \"fleet\" (1:1)"]);
                }
                "fleet_cluster_api" => {
                    body["infos"] = json!(["PromQL info: metric might not be a counter: \"fleet\" (1:1)"]);
                    body["warnings"] = serde_json::Value::Null;
                }
                "polls" => body["warnings"] = json!(["a store is out of reach"]),
                _ => {}
            }
            axum::Json(body).into_response()
        })
    })
    .await;
    let evidence = ask(&[url], PATIENCE, queries(&[]), at(0)).await;
    for (question, warning) in [
        (Question::Alive, "receive series from Addr: 10.0.0.7:10901"),
        (Question::Able, "remote_read: remote server returned 503"),
        (Question::AbleCount, "No StoreAPIs matched for this query"),
    ] {
        let why = said(&evidence, question, 0).unwrap_err();
        assert!(why.starts_with("answered with a warning, so that a part may be missing: "), "{why}");
        assert!(why.contains(warning), "{why}");
        let reading =
            evidence.reading(question, &cluster("green"), at(0), SignedDuration::from_hours(24 * 365 * 60));
        assert!(matches!(reading.judge(|_| true), Verdict::Inconclusive(why) if why.contains(warning)));
    }
    let green = Ok(vec![("green".to_owned(), 1.0)]);
    assert_eq!(
        said(&evidence, Question::GitlabUnreachable, 0),
        green,
        "a remark, as Prometheus before 2.54 sends it"
    );
    assert_eq!(said(&evidence, Question::ClusterApi, 0), green, "a remark");
    assert_eq!(said(&evidence, Question::GitopsBroken, 0), green, "nothing beside it");
    assert_eq!(
        evidence.managers["s_1"],
        [cluster("green")].into(),
        "what is there can only find more that share a token"
    );
}

#[tokio::test]
async fn a_server_that_hangs_or_is_gone_delays_no_other_and_is_named() {
    let good = server(|asked, _| {
        Box::pin(async move {
            let value = if asked["query"].starts_with("timestamp(") { "1799999990" } else { "0.5" };
            vector(json!([{ "metric": { "runner_cluster": "blue" }, "value": [1_800_000_000, value] }]))
        })
    })
    .await;
    static HUNG: AtomicUsize = AtomicUsize::new(0);
    let hangs = server(|_, _| {
        HUNG.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::pending())
    })
    .await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);

    // Nine queries at two at a time: were the time-out counted for each, all nine would reach the server, and the pass
    // would take five times as long.
    let timeout = Duration::from_secs(2);
    let evidence = ask(&[hangs, good.clone(), gone], timeout, queries(&[]), at(0)).await;
    assert!((1..9).contains(&HUNG.load(Ordering::SeqCst)), "{HUNG:?}");
    for question in Question::ALL {
        let answers = &evidence.asked[&question].answers;
        assert_eq!(answers.len(), 3, "every server has its say");
        assert_eq!(answers[0].result, Err("no answer within 2 s".into()));
        assert_eq!(answers[1].server, good.as_str().trim_end_matches('/'));
        let sample = answers[1].result.as_ref().unwrap()[&cluster("blue")];
        assert_eq!((sample.value, sample.at), (0.5, at(-10)), "as old as it says");
        let error = answers[2].result.as_ref().unwrap_err();
        assert!(error.starts_with("no connection: "), "{error}");
    }
    let blue = cluster("blue");
    let reading = evidence.reading(Question::Alive, &blue, at(0), SignedDuration::from_secs(15));
    assert_eq!(reading, Reading::Fresh(vec![0.5]));
    let reading = evidence.reading(Question::Alive, &blue, at(0), SignedDuration::from_secs(5));
    assert!(matches!(reading.judge(|_| true), Verdict::Inconclusive(_)));
}

const RULES: &str = r#"
groups:
  - name: fleet
    interval: 1s
    rules:
      - { record: fleet_alive, expr: vector(1), labels: { fleet: rnd, runner_cluster: blue } }
      - { record: fleet_alive, expr: vector(0), labels: { fleet: rnd, runner_cluster: green } }
      - { record: polls, expr: vector(1), labels: { fleet: rnd, runner_cluster: blue, system_id: s_1 } }
"#;

#[expect(clippy::disallowed_methods, reason = "a real Prometheus keeps the real time")]
fn clock() -> Timestamp {
    Timestamp::now()
}

async fn with_a_real_one(flavour: Flavour) {
    let config = PrometheusConfig { flavour, rules: vec![RULES.to_owned()], ..PrometheusConfig::default() };
    let Some(prometheus) = or_skip(Prometheus::start(config).await) else { return };
    let url: Url = prometheus.url().parse().unwrap();
    wait::until(wait::PATIENCE, "the rules are evaluated", async || {
        anyhow::ensure!(prometheus.query("polls").await?.len() == 1, "not yet");
        Ok(())
    })
    .await
    .unwrap();

    let now = clock();
    let queries = queries(&[
        (Question::Alive, r#"fleet_alive{fleet="rnd"} # with a comment"#),
        (Question::Able, "fleet_alive * 2"),
        (Question::AbleCount, "sum("),
        (Question::GitlabUnreachable, "vector(1)"),
    ]);
    let evidence = ask(std::slice::from_ref(&url), PATIENCE, queries.clone(), now).await;
    assert_eq!(said(&evidence, Question::Alive, 0), Ok(vec![("blue".into(), 1.0), ("green".into(), 0.0)]));
    assert_eq!(said(&evidence, Question::Able, 0), Ok(vec![("blue".into(), 2.0), ("green".into(), 0.0)]));
    assert!(said(&evidence, Question::AbleCount, 0).unwrap_err().starts_with("bad_data: "));
    assert!(said(&evidence, Question::GitlabUnreachable, 0).unwrap_err().contains("no label runner_cluster"));
    assert_eq!(evidence.managers["s_1"], [cluster("blue")].into());

    // As of two minutes later nothing newer is there: a plain selector tells the sample's age, an expression does not.
    let later = now + SignedDuration::from_mins(2);
    let evidence = ask(std::slice::from_ref(&url), PATIENCE, queries, later).await;
    let at_of = |question| evidence.asked[&question].answers[0].result.as_ref().unwrap()[&cluster("blue")].at;
    assert!(later.duration_since(at_of(Question::Alive)) > SignedDuration::from_secs(60));
    assert_eq!(later.duration_since(at_of(Question::Able)).as_secs(), 0);

    let client = client(&url);
    assert!(matches!(client.instant("1", now).await, Err(Error::NotAVector(kind)) if kind == "scalar"));
    assert!(matches!(client.instant("up[1m]", now).await, Err(Error::NotAVector(_) | Error::Refused { .. })));
    let error = client.instant("fleet_alive * on () fleet_alive", now).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { kind, .. } if kind == "execution"), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_current_prometheus_answers_as_expected() {
    with_a_real_one(Flavour::Pinned).await;
}

#[tokio::test]
async fn an_older_prometheus_answers_as_expected() {
    with_a_real_one(Flavour::Debian).await;
}

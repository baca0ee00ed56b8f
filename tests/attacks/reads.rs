//! Clients that only read, and mean harm: they carry no credential, and ask for as much as the API gives. Passes go on, a webhook is
//! taken, and a person is heard.

use anyhow::ensure;
use reqwest::Method;
use switchyard_lab::wait::{PATIENCE, until};
use tokio::{io::AsyncWriteExt as _, task::JoinSet};

use crate::{
    connections::{connect, goes_on, passes, victim},
    protocols::{END_HEADERS, END_STREAM, PREFACE, get, settings},
    stage::{API_TOKEN, Stage},
};

const HISTORY: &str = "/api/v1/history?limit=1000";

/// A story as long as that of months.
async fn live_long(stage: &Stage) {
    let mut store = stage.open_store().await;
    let events = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) \
                  INSERT INTO event (id, at, outcome, sentence) \
                  SELECT -i, strftime('%Y-%m-%dT%H:%M:%S.000000000Z', 'now'), 'told', \
                  'what happened then, in a sentence of some length' FROM n";
    sqlx::raw_sql(events).execute(&mut store).await.unwrap();
}

async fn refused(stage: &Stage) -> f64 {
    stage.metric("switchyard_reads_refused_total", &[]).await.unwrap()
}

/// A person pauses everything, by the command that first asks who holds what.
async fn pauses(stage: &Stage) {
    let said = stage.cli(&["pause", "--all", "--reason", "an attack"]).await;
    assert!(said.code == 0 && said.stdout.contains("automatic moves are paused"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_reads_stop_neither_the_loop_nor_a_person() {
    const CLIENTS: usize = 20;
    const EACH: usize = 100;
    let mut stage = victim().await;
    stage.settings["loop"]["period"] = "2s".into();
    let _process = stage.serve_clear(&[]).await;
    live_long(&stage).await;
    let mut attack = JoinSet::new();
    for client in 0..CLIENTS {
        let http = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();
        for stream in 0..EACH {
            // Most ask for what costs most; some for all else that is shown to everybody.
            let all = [HISTORY, "/metrics", "/api/v1/explain", "/docs/metrics.md", "/api/v1/holders", "/"];
            let path = if client % 5 == 0 { all[stream % all.len()] } else { HISTORY };
            let request = http.get(format!("http://{}{path}", stage.address));
            attack.spawn(async move {
                loop {
                    if let Ok(answer) = request.try_clone().unwrap().send().await {
                        let _ = answer.bytes().await;
                    }
                }
            });
        }
    }
    until(PATIENCE, "more come than are let in", async || {
        let refused = refused(&stage).await;
        ensure!(refused >= CLIENTS as f64 * EACH as f64, "{refused}");
        Ok(())
    })
    .await
    .unwrap();
    let before = passes(&stage).await;
    pauses(&stage).await;
    goes_on(&stage, "during").await;
    until(PATIENCE, "passes go by", async || {
        let now = passes(&stage).await;
        ensure!(now >= before + 5.0, "{now} of {before} + 5");
        Ok(())
    })
    .await
    .unwrap();
    attack.shutdown().await;
    goes_on(&stage, "after").await;
    assert_eq!(stage.metric("switchyard_pass_failures_total", &[]).await, Some(0.0));
    let log = stage.log("switchyard");
    assert!(!log.contains("the store failed") && !log.contains("pool timed out"), "{log}");
    let memory = stage.metric("process_resident_memory_bytes", &[]).await.unwrap();
    assert!(memory < 300e6, "{memory} bytes");
}

/// What is not taken keeps its place, so that it does not pile up; and it keeps nobody out who may act.
#[tokio::test]
async fn who_does_not_take_what_it_reads_holds_no_place_of_a_person() {
    let stage = victim().await;
    let _process = stage.serve_clear(&["--web.slow-timeout=10m"]).await;
    live_long(&stage).await;
    let read = async |token| stage.send(Method::GET, HISTORY, token, Vec::new()).await.unwrap();
    assert_eq!(read("").await.status, 200);
    assert_eq!(refused(&stage).await, 0.0);

    // A window of a single byte: the whole answer could be waiting for the next one.
    let mut held = connect(&stage).await;
    let asked: Vec<u8> = (0..50).flat_map(|n| get(HISTORY, 2 * n + 1, END_STREAM | END_HEADERS)).collect();
    held.write_all(&[PREFACE, &settings(1), &asked].concat()).await.unwrap();
    let answer = until(PATIENCE, "no place is left", async || {
        let answer = read("").await;
        ensure!(answer.status != 200, "it was let in");
        Ok(answer)
    })
    .await
    .unwrap();
    assert!(answer.problem(503).contains("try again"), "{answer:?}");
    assert_eq!(answer.header("retry-after"), "1");
    assert!(refused(&stage).await >= 1.0);
    assert_eq!(read(API_TOKEN).await.status, 200);
    pauses(&stage).await;
    goes_on(&stage, "during").await;

    drop(held);
    until(PATIENCE, "the places are free again", async || {
        let answer = read("").await;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    })
    .await
    .unwrap();
}

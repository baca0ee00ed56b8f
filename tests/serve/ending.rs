//! How the program ends: asked once, asked twice, with a client that hangs.

use anyhow::ensure;
use reqwest::Method;
use switchyard_lab::{
    gitlab::{Fault, Kind, Match},
    switchyard::Switchyard,
    wait::{PATIENCE, until},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::stage::{API_TOKEN, Stage, WEBHOOK_TOKEN, ended, terminate};

/// Breaks writes, asks for a move to green, and waits until both writes are on their way to GitLab.
async fn with_steps_in_flight(stage: &Stage, kind: Kind) -> Switchyard {
    let switchyard = stage.start().await;
    stage.gitlab.admin().fault(Fault::new(Match::operation("^update_runner$"), kind));
    // Each write is preceded by a read of its record, and nothing stands between the two.
    let reads = stage.gitlab.admin().count("get_runner");
    let asked = {
        let body = br#"{"to":"green","from":"blue","reason":"maintenance","author":"ada"}"#.to_vec();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}/api/v1/fleets/rnd/switch", stage.address);
        let request = client.request(Method::POST, url).bearer_auth(API_TOKEN);
        request.header("content-type", "application/json").body(body).send()
    };
    // The answer comes after the steps, or never: nobody waits for it.
    let asking = tokio::spawn(asked);
    until(PATIENCE, "two writes are on their way", async || {
        let (journal, reads) = (stage.journal().await, stage.gitlab.admin().count("get_runner") - reads);
        ensure!(journal.len() == 2 && reads == 2, "{journal:?}, {reads} reads");
        Ok(())
    })
    .await
    .unwrap();
    assert!(stage.journal().await.iter().all(|(outcome, _)| outcome.is_none()), "they are not answered yet");
    drop(asking);
    switchyard
}

#[tokio::test]
async fn asked_once_it_finishes_and_records_the_step_in_flight_and_takes_no_other() {
    let stage = Stage::new().await;
    let mut switchyard = with_steps_in_flight(&stage, Kind::Latency { ms: 3000 }).await;
    terminate(switchyard.process());
    assert_eq!(ended(switchyard.process()).await, 0, "{}", stage.log("switchyard"));
    let mut written = stage.written();
    written.sort_unstable();
    assert_eq!(written, stage.green, "the steps in flight, and no other");
    let outcomes: Vec<_> = stage.journal().await.into_iter().map(|(outcome, _)| outcome).collect();
    assert_eq!(outcomes, [Some("done".to_owned()), Some("done".to_owned())]);

    // The next start ends the move.
    stage.gitlab.admin().clear_faults();
    switchyard.restart().await.unwrap();
    stage.fleet_until("the move is done", |fleet| fleet["decision"]["state"] == "done").await;
    assert_eq!(stage.gitlab.admin().holders("rnd-runner"), stage.green);
    assert_eq!(stage.written().len(), 4, "two got the tag, two lost it, each once");
    switchyard.terminate().await.unwrap();
}

#[tokio::test]
async fn asked_twice_it_ends_at_once_and_the_next_start_finds_out_what_happened() {
    let mut stage = Stage::new().await;
    // So long that only the second signal can end it.
    stage.settings["gitlab"]["timeout"] = "10m".into();
    let mut switchyard = with_steps_in_flight(&stage, Kind::TimeoutAfterCommit).await;
    terminate(switchyard.process());
    until(PATIENCE, "the first signal is heard", async || {
        ensure!(stage.log("switchyard").contains("a second signal aborts"));
        Ok(())
    })
    .await
    .unwrap();
    assert!(switchyard.process().exited().unwrap().is_none(), "it waits for the steps");
    terminate(switchyard.process());
    assert_eq!(ended(switchyard.process()).await, 1);
    assert!(stage.log("switchyard").contains("the next start sees what became of it"));

    stage.gitlab.admin().clear_faults();
    switchyard.restart().await.unwrap();
    assert!(stage.log("switchyard").contains("steps were under way when the last run ended"));
    stage.fleet_until("the move is done", |fleet| fleet["decision"]["state"] == "done").await;
    let first: Vec<_> = stage.journal().await.into_iter().take(2).map(|(outcome, _)| outcome).collect();
    assert_eq!(first, [Some("unknown".to_owned()), Some("unknown".to_owned())]);
    assert_eq!(stage.written().len(), 4, "two got the tag, two lost it, each once");
}

#[tokio::test]
async fn clients_that_hang_do_not_keep_it_alive() {
    let stage = Stage::new().await;
    let mut switchyard = stage.start().await;
    let mut half = TcpStream::connect(stage.address).await.unwrap();
    let request = format!(
        "POST /api/v1/alerts HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer {WEBHOOK_TOKEN}\r\nContent-Length: 900\r\n\r\n{{"
    );
    half.write_all(request.as_bytes()).await.unwrap();
    let mut less = TcpStream::connect(stage.address).await.unwrap();
    less.write_all(b"GET /metrics HT").await.unwrap();
    let _nothing = TcpStream::connect(stage.address).await.unwrap();
    // Answered after them, so they have been accepted.
    assert_eq!(stage.get("/-/healthy").await.status, 200);
    terminate(switchyard.process());
    assert_eq!(ended(switchyard.process()).await, 0, "{}", stage.log("switchyard"));
}

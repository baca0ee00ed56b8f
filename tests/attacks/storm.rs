//! More webhooks than the store takes.

use std::{collections::BTreeSet, time::Duration};

use anyhow::ensure;
use futures::future::join_all;
use switchyard_lab::wait::{PATIENCE, until};

use crate::stage::{Stage, WEBHOOK_TOKEN, alert, message};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_store_cannot_take_is_refused_at_once_and_taken_when_sent_again() {
    const CLIENTS: usize = 92;
    const EACH: usize = 100;
    let stage = Stage::new().await;
    let _switchyard = stage.start().await;
    let mut lock = stage.open_store().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap();

    // As many requests as a connection of HTTP/2 takes at once, on enough connections. Everybody comes again after a 503.
    let url = format!("http://{}/api/v1/alerts", stage.address);
    let sent = (0..CLIENTS).map(|client| {
        let http = reqwest::Client::builder().http2_prior_knowledge().timeout(PATIENCE).no_proxy().build();
        let (http, url) = (http.unwrap(), url.clone());
        join_all((0..EACH).map(move |number| {
            let name = format!("{client}-{number}");
            let body = message(&[alert(&name, "failback", "green", None)]).to_string();
            let request = http.post(&url).bearer_auth(WEBHOOK_TOKEN).body(body);
            async move {
                let mut refused = 0_u32;
                loop {
                    match request.try_clone().unwrap().send().await.map(|answer| answer.status().as_u16()) {
                        Ok(200) => return (name, refused),
                        Ok(503) => refused += 1,
                        // On a slow machine the last of so many wait for long, and come again like the others.
                        Err(error) if error.is_timeout() => {}
                        other => panic!("{name} got {other:?}"),
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }))
    });
    // Once some were refused, the lock goes.
    let full = async {
        until(PATIENCE, "some were refused", async || {
            let refused = stage.metric("switchyard_store_refused_total", &[]).await;
            ensure!(refused > Some(0.0), "{refused:?}");
            Ok(())
        })
        .await
        .unwrap();
        sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
    };
    let (answers, ()) = tokio::join!(join_all(sent), full);
    let answers: Vec<(String, u32)> = answers.into_iter().flatten().collect();
    let refused: u32 = answers.iter().map(|(_, refused)| refused).sum();
    assert!(refused > 0);
    let counted = stage.metric("switchyard_webhook_requests_total", &[("code", "503")]).await;
    assert!(counted >= Some(f64::from(refused)), "{counted:?}, {refused} seen");
    let kept: BTreeSet<String> = stage.signals().await.into_iter().map(|(name, _)| name).collect();
    let sent: BTreeSet<String> = answers.into_iter().map(|(name, _)| name).collect();
    assert_eq!(kept, sent, "what was answered 200 is stored");
}

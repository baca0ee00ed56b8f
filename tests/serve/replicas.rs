//! Two of the program on one real PostgreSQL: whatever happens to the one that leads, never do both act, and the other
//! brings the move to its end.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::ensure;
use reqwest::Method;
use serde_json::{Value, json};
use switchyard::model::SignedDuration;
use switchyard_lab::{
    clock::WallClock,
    parts::or_skip,
    postgres::Postgres,
    wait::{PATIENCE, until},
};

use crate::{
    pair::Pair,
    stage::{API_TOKEN, BINARY, READ_TOKEN, Stage, WEBHOOK_TOKEN, alert, message},
};

#[tokio::test]
async fn a_standby_shows_everything_and_does_nothing_until_the_leader_gives_the_lease_back() {
    let Some(mut pair) = Pair::new().await else { return };
    let standby = &pair.b;
    for path in ["/metrics", "/-/healthy", "/-/ready", "/api/v1/fleets", "/api/v1/explain", "/api/v1/history"]
    {
        assert_eq!(standby.get(path).await.0, 200, "{path}");
    }
    let leader = format!("listening on {}", pair.a.switchyard.url().trim_start_matches("http://"));
    let who: Value = serde_json::from_str(&standby.get("/api/v1/leader").await.1).unwrap();
    assert_eq!((&who["role"], &who["leader"]["epoch"]), (&json!("stands_by"), &json!(1)));
    assert!(who["leader"]["name"].as_str().unwrap().contains(&leader), "{who}");
    let alerts = message(&[alert("f", "failover", "blue", None)]);
    let why = json!({"reason": "work", "author": "ada"});
    for (path, token, body) in [
        ("/api/v1/alerts", WEBHOOK_TOKEN, &alerts),
        ("/api/v1/pause", API_TOKEN, &why),
        ("/api/v1/fleets/rnd/ack", API_TOKEN, &why),
    ] {
        let (status, said) = standby.send(Method::POST, path, token, body).await.unwrap();
        assert_eq!(status, 503, "{path}: {said}");
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["outcome"], "held:leader");
        assert!(said["detail"].as_str().unwrap().contains(&leader), "{said}");
        // Who may not act is told that first.
        assert_eq!(standby.send(Method::POST, path, "wrong", body).await.unwrap().0, 401, "{path}");
    }
    assert_eq!(standby.send(Method::POST, "/-/reload", API_TOKEN, &why).await.unwrap().0, 200, "for itself");
    let page = standby.switchyard.metrics().await.unwrap();
    let value = |name| page.value(name, &[]);
    assert_eq!((value("switchyard_leader"), value("switchyard_lease_epoch")), (Some(0.0), Some(1.0)));
    let gate = page.value("switchyard_gate_open", &[("fleet", "rnd"), ("gate", "leader")]);
    assert_eq!(gate, Some(0.0));
    let page = pair.a.switchyard.metrics().await.unwrap();
    assert_eq!(page.value("switchyard_leader", &[]), Some(1.0));

    // It ends: nobody has to wait for the end of the lease.
    pair.a.switchyard.terminate().await.unwrap();
    let log = fs::read_to_string(pair.stage.dir().join("replica-a/switchyard.log")).unwrap();
    assert!(log.contains("gave the lease back"), "{log}");
    pair.taken_over().await;
    pair.b.switch("green", "blue");
    pair.finished_by_the_survivor().await;
    pair.never_two_acted().await;
    let log = fs::read_to_string(pair.stage.dir().join("replica-b/switchyard.log")).unwrap();
    assert!(!log.contains("level=error"), "{log}");
}

#[tokio::test]
async fn promise_5_a_leader_killed_in_the_middle_of_a_move_and_the_survivor_finishes_it() {
    let Some(mut pair) = Pair::new().await else { return };
    pair.slow("^update_runner$", Duration::from_millis(700));
    pair.a.switch("green", "blue");
    until(PATIENCE, "steps are under way", async || {
        let steps = pair.steps().await;
        ensure!(!steps.is_empty(), "none yet");
        Ok(())
    })
    .await
    .unwrap();
    pair.a.switchyard.kill9().await.unwrap();
    pair.taken_over().await;
    pair.finished_by_the_survivor().await;
    pair.never_two_acted().await;
    let steps = pair.steps().await;
    let interrupted = |(epoch, outcome, detail): &(i64, Option<String>, Option<String>)| {
        (*epoch, outcome.as_deref(), detail.as_deref()) == (1, Some("unknown"), Some("interrupted"))
    };
    assert!(steps.iter().any(interrupted) && steps.iter().any(|(epoch, ..)| *epoch == 2), "{steps:?}");

    // It comes back as the one that stands by.
    pair.a.switchyard.restart().await.unwrap();
    assert!(!pair.a.leads().await.unwrap() && pair.b.leads().await.unwrap());
}

/// Frozen between the look at a record and the write to it: the most dangerous moment there is.
#[tokio::test]
async fn a_leader_frozen_in_the_middle_of_a_plan_does_not_act_when_it_thaws() {
    // The answer to the look is there when it thaws, and no time-out of the client comes before it.
    let Some(mut pair) = Pair::with([Path::new(BINARY); 2], "1m").await else { return };
    pair.slow("^get_runner$", Duration::from_millis(1000));
    let looked = pair.stage.gitlab.admin().count("get_runner");
    pair.a.switch("green", "blue");
    until(PATIENCE, "both records are looked at", async || {
        // Counted when the answer leaves, so the journal has to say that the look has begun.
        let steps = pair.steps().await;
        ensure!(steps.len() == 2 && pair.stage.gitlab.admin().count("get_runner") == looked, "{steps:?}");
        Ok(())
    })
    .await
    .unwrap();
    pair.a.switchyard.process().pause().unwrap();
    pair.taken_over().await;
    pair.finished_by_the_survivor().await;
    let before = pair.stage.gitlab.admin().audit().len();
    pair.a.switchyard.process().resume().unwrap();

    // What it was about to tell the journal is refused there, and that is written down.
    let refused = until(PATIENCE, "the former leader was refused", async || {
        let refused = pair.refused().await;
        ensure!(!refused.is_empty(), "not yet");
        Ok(refused)
    })
    .await
    .unwrap();
    assert!(refused[0].starts_with("refused from a former leader: the outcome of step "), "{refused:?}");
    assert!(refused[0].contains("epoch 1 is over") && refused[0].contains("(epoch 2)"), "{refused:?}");
    pair.a
        .fleet_until("it stands by", |fleet| {
            fleet["gates"]
                .as_array()
                .unwrap()
                .iter()
                .any(|gate| gate["gate"] == "leader" && gate["open"] == false)
        })
        .await;
    assert!(!pair.a.leads().await.unwrap());
    let changes = pair.stage.gitlab.admin().audit();
    assert_eq!(changes.len(), before, "it wrote after it was thawed: {changes:?}");
    assert!(changes.iter().all(|c| c.token != pair.a.name), "all was done by the other one: {changes:?}");
    pair.never_two_acted().await;
}

#[tokio::test]
async fn a_leader_cut_off_from_the_database_stops_before_its_lease_can_end_elsewhere() {
    let Some(mut pair) = Pair::new().await else { return };
    pair.slow("^update_runner$", Duration::from_millis(700));
    pair.a.switch("green", "blue");
    until(PATIENCE, "something was written", async || {
        let written = pair.stage.gitlab.admin().audit().iter().any(|c| c.token == pair.a.name);
        ensure!(written, "not yet");
        Ok(())
    })
    .await
    .unwrap();
    // Packets vanish: nobody is told that the connections are dead.
    pair.a.relay.silence();
    until(PATIENCE, "the leader has stopped", async || {
        ensure!(!pair.a.leads().await?, "it leads");
        Ok(())
    })
    .await
    .unwrap();
    let (epoch, _) = Pair::term(&pair.database).await.unwrap();
    assert_eq!(epoch, 1, "it stopped while the lease was its own");
    pair.taken_over().await;
    pair.finished_by_the_survivor().await;
    pair.never_two_acted().await;
    let page = pair.a.switchyard.metrics().await.unwrap();
    assert_eq!(page.value("switchyard_leader", &[]), Some(0.0));
    assert!(page.value("switchyard_lease_renewal_failures_total", &[]) >= Some(1.0));
    // Its page says how things were; it lives.
    assert_eq!(pair.a.get("/-/healthy").await.0, 200);

    pair.a.relay.mend();
    until(PATIENCE, "it knows the new leader", async || {
        let (_, who) = pair.a.send(Method::GET, "/api/v1/leader", READ_TOKEN, &Value::Null).await?;
        let who: Value = serde_json::from_str(&who)?;
        ensure!(who["leader"]["epoch"] == 2, "{who}");
        Ok(())
    })
    .await
    .unwrap();
    assert!(pair.b.leads().await.unwrap() && !pair.a.leads().await.unwrap());
}

/// The clocks of both jump ahead by more than a lease, and back, while the leader is in the middle of a plan; then it dies.
#[tokio::test]
async fn clocks_that_jump_in_the_middle_of_a_move_change_nobodys_lease_and_the_survivor_finishes_it() {
    let dir = tempfile::tempdir().unwrap();
    let clocks = ["a.time", "b.time"].map(|name| or_skip(WallClock::new(dir.path(), name)));
    let [Some(a), Some(b)] = clocks else { return };
    let programs = ["a", "b"].map(|name| dir.path().join(name));
    a.wrap(Path::new(BINARY), &programs[0]).unwrap();
    b.wrap(Path::new(BINARY), &programs[1]).unwrap();
    let Some(mut pair) = Pair::with([&programs[0], &programs[1]], "2s").await else { return };
    let real = switchyard::world::Live::clock();
    pair.half_moved().await;
    for (first, second) in [("+2h", "-1d"), ("-3d", "+2h")] {
        a.set(first).unwrap();
        b.set(second).unwrap();
        let tried = pair.steps().await.len();
        pair.renewed_for_a_term().await;
        assert_eq!(Pair::term(&pair.database).await.unwrap().0, 1, "{first} {second}: somebody took over");
        assert!(pair.a.leads().await.unwrap() && !pair.b.leads().await.unwrap());
        until(PATIENCE, "the leader goes on trying", async || {
            let steps = pair.steps().await;
            ensure!(steps.len() > tried, "{steps:?}");
            Ok(())
        })
        .await
        .unwrap();
    }
    let page = pair.b.switchyard.metrics().await.unwrap();
    let pass = page.value("switchyard_pass_last_timestamp_seconds", &[]).unwrap();
    let jumped = pass as i64 - real.as_second();
    assert!(jumped > 90 * 60, "its clock did not jump: {jumped} s");
    pair.a.fleet_until("the move is under way", |fleet| fleet["decision"]["state"] == "moving").await;

    pair.a.switchyard.kill9().await.unwrap();
    pair.taken_over().await;
    pair.stage.gitlab.admin().clear_faults();
    pair.finished_by_the_survivor().await;
    pair.never_two_acted().await;
    assert!(pair.writes().iter().any(|write| write.token == pair.b.name));
}

/// The lease is judged by this clock. Neither does it end early by it, nor does it last for an hour.
#[tokio::test]
async fn a_database_whose_clock_jumps_in_the_middle_of_a_move_lets_never_two_act() {
    let Some(server) = or_skip(Postgres::start_with_clock().await) else { return };
    let mut pair = Pair::at(Stage::new().await, [Path::new(BINARY); 2], Arc::new(server)).await;
    let mut sql = pair.sql().await;
    pair.half_moved().await;
    for (to, hours) in [("+2h", 2), ("-1h", -1)] {
        pair.server.clock().unwrap().set(to).unwrap();
        let says: i64 = sqlx::query_scalar("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS BIGINT)")
            .fetch_one(&mut sql)
            .await
            .unwrap();
        let ahead = says - switchyard::world::Live::clock().as_second();
        assert!((ahead - hours * 3600).abs() < 1000, "its clock did not jump: {ahead} s");
        pair.renewed_for_a_term().await;
        assert_eq!(Pair::term(&pair.database).await.unwrap().0, 1, "{to}: somebody took over");
        assert!(pair.a.leads().await.unwrap() && !pair.b.leads().await.unwrap());
    }
    pair.a.fleet_until("the move is under way", |fleet| fleet["decision"]["state"] == "moving").await;

    // It jumps once more while nobody renews: what the row says of its term is an hour away from the truth.
    pair.a.switchyard.process().pause().unwrap();
    pair.server.clock().unwrap().set("-2h").unwrap();
    pair.ahead = SignedDuration::from_hours(-2);
    pair.taken_over().await;
    pair.stage.gitlab.admin().clear_faults();
    pair.finished_by_the_survivor().await;
    let written = pair.writes().len();
    pair.a.switchyard.process().resume().unwrap();
    until(PATIENCE, "it stands by", async || {
        let (_, who) = pair.a.send(Method::GET, "/api/v1/leader", READ_TOKEN, &Value::Null).await?;
        let who: Value = serde_json::from_str(&who)?;
        ensure!(who["role"] == "stands_by" && who["leader"]["epoch"] == 2, "{who}");
        Ok(())
    })
    .await
    .unwrap();
    pair.never_two_acted().await;
    assert_eq!(pair.writes().len(), written, "it wrote after it was thawed");
}

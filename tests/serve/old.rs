//! Passes that cannot be finished: what is shown is old, and says so.

use serde_json::{Value, json};
use switchyard_lab::{gitlab::Outage, parts::or_skip, postgres::Postgres, tcp::Relay};

use crate::stage::Stage;

fn warned(fleet: &Value) -> bool {
    let warnings = fleet["warnings"].as_array().unwrap();
    warnings.iter().any(|warning| warning.as_str().unwrap().starts_with("what is shown here was seen at "))
}

/// Everything that shows what a pass saw says that it is old, and why.
async fn shown_as_old(stage: &Stage, why: &str) {
    let fleet = stage.fleet_until("it says that it is old", warned).await;
    let warning = fleet["warnings"][0].as_str().unwrap();
    assert!(warning.contains("failed since ") && warning.contains(why), "{warning}");
    for path in ["/api/v1/fleets", "/api/v1/explain?fleet=rnd", "/api/v1/plan"] {
        let answer = stage.get(path).await;
        assert!(answer.status == 200 && warned(&answer.json()[0]), "{path}: {answer:?}");
    }
    for args in [&["explain", "rnd"][..], &["plan", "rnd"], &["watch", "rnd"]] {
        let said = stage.cli(args).await;
        let wanted = "warning: what is shown here was seen at ";
        assert!(
            said.code == 0 && said.stdout.contains(wanted) && said.stdout.contains(why),
            "{args:?}: {said:?}"
        );
    }
    let page = stage.get("/").await.body;
    assert!(
        page.contains("<strong>Warning: what is shown here was seen at ") && page.contains(why),
        "{page}"
    );
}

async fn shown_as_new(stage: &Stage) {
    stage.fleet_until("it is new again", |fleet| !warned(fleet)).await;
    let page = stage.get("/").await.body;
    assert!(!page.contains("Warning"), "{page}");
}

#[tokio::test]
async fn while_the_database_file_is_locked_what_is_shown_says_that_it_is_old() {
    let stage = Stage::new().await;
    let _switchyard = stage.start().await;
    stage.fleet_until("a pass saw nothing new", |fleet| fleet["outcome"] == "steady" && !warned(fleet)).await;
    let mut other = stage.open_store().await;
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
    // What a pass has to write down.
    stage.gitlab.admin().outage(Outage::BadGateway);
    shown_as_old(&stage, "the store failed: ").await;
    let fleet = stage.get("/api/v1/fleets/rnd").await.json();
    assert_eq!(fleet["outcome"], "steady", "as it was before");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    let fleet = stage.fleet_until("the outage is shown", |fleet| fleet["outcome"] == "blind").await;
    assert!(!warned(&fleet), "{fleet}");
    shown_as_new(&stage).await;
    // What could not be written down then is in the history now.
    let history = stage.get("/api/v1/history?limit=5").await.json();
    let blind =
        history.as_array().unwrap().iter().filter(|entry| entry["event"]["outcome"] == "blind").count();
    assert_eq!(blind, 1, "{history}");
}

#[tokio::test]
async fn while_the_database_server_is_gone_what_is_shown_says_that_it_is_old() {
    let Some(server) = or_skip(Postgres::shared().await) else { return };
    let mut stage = Stage::new().await;
    let database = server.database().await.unwrap();
    let relay = Relay::start(server.address()).await.unwrap();
    let (here, there) = (server.address().to_string(), relay.address().to_string());
    assert!(database.contains(&here), "{database}");
    stage.settings["store"]["url"] = json!(database.replace(&here, &there));
    let _switchyard = stage.start().await;
    relay.cut();
    shown_as_old(&stage, "the store failed: ").await;
    relay.mend();
    shown_as_new(&stage).await;
}

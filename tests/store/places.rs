//! Where a store can be, and who can read it.

use std::{os::unix::fs::PermissionsExt, process::Command};

use sqlx::Connection as _;
use switchyard::{
    model::{Fence, Generation, MoveState, StepOutcome},
    store::{Committed, Error, Started, Store},
};

use switchyard_lab::parts::{Missing, or_skip};

use crate::{Place, at, decision, ended, event, firing, fleet, open_url, resolved, step, url};

#[tokio::test]
async fn files_are_for_their_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_url(&url(&directory)).await.unwrap();
    store.upsert_signals(vec![firing("f", 0, 0)]).await.unwrap();
    let mut seen = 0;
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
        seen += 1;
    }
    assert_eq!(seen, 4, "database, log, index, lock");
}

#[tokio::test]
async fn wrong_places_are_named_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing/switchyard.db");
    let error = open_url(&format!("sqlite://{}", missing.display())).await.unwrap_err().to_string();
    assert!(
        error.contains(missing.parent().unwrap().to_str().unwrap()) && error.contains("create it"),
        "{error}"
    );
    for url in ["mysql://x", "sqlite://", "sqlite://:memory:", "sqlite:///var/lib/", "sqlite://a.db?mode=ro"]
    {
        let error = open_url(url).await.unwrap_err();
        assert!(matches!(error, Error::Url { .. }) && error.to_string().contains(url), "{error}");
    }
    let error = open_url(&format!("sqlite://{}", directory.path().display())).await.unwrap_err();
    assert!(matches!(error, Error::File { .. }), "a directory is no file: {error}");
    let odd = directory.path().join("with space?.db".replace('?', "#"));
    open_url(&format!("sqlite://{}", odd.display())).await.unwrap().close().await.unwrap();
    assert!(odd.exists());
    let error = open_url(&format!("sqlite://{}/100%41.db", directory.path().display())).await.unwrap_err();
    assert!(matches!(error, Error::Url { .. }), "{error}");
}

/// A story, told while Switchyard runs.
async fn story(store: &Store) {
    store.upsert_signals(vec![firing("f00d", 0, 1), resolved("f00d", 0, 9, 10)]).await.unwrap();
    assert_eq!(store.commit_decision(&decision(1, 2)).await.unwrap(), Committed::Yes);
    let fence = Fence::new(fleet(), Generation(1));
    let Started::Yes(ids) = store.steps_started(&fence, &[step(7)], at(3)).await.unwrap() else {
        panic!("refused")
    };
    let unknown = StepOutcome::Unknown("timeout".into());
    store.steps_finished(&[(ids[0], unknown)], at(4)).await.unwrap();
    store.record_event(&event(5, Some(fleet()))).await.unwrap();
    store.finish_decision(&fleet(), Generation(1), MoveState::Done, &ended(6)).await.unwrap();
}

const STORY: [&str; 7] = [
    "2027-01-15T08:00:01Z|rnd||alert|failover asked for by alert f00d about blue, firing since 2027-01-15T08:00:00Z|alertmanager",
    "2027-01-15T08:00:02Z|rnd|1|decision|failover from blue to green: blue is dead|switchyard",
    "2027-01-15T08:00:03Z|rnd|1|step|prepare: add tag rnd-runner to runner 7 of green: unknown (timeout)|",
    "2027-01-15T08:00:05Z|rnd||event|blue is held|",
    "2027-01-15T08:00:06Z|rnd|1|move|failover to green done|",
    "2027-01-15T08:00:06Z|rnd||event|rnd: it was seen done|",
    "2027-01-15T08:00:09Z|rnd||alert|failover no longer asked for by alert f00d about blue|alertmanager",
];

/// What a program of people prints about it, line by line; none when it is not there and nobody insists.
fn printed(program: &mut Command) -> Option<Vec<String>> {
    let output = match program.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let part = program.get_program().to_string_lossy().into_owned();
            return or_skip(Err(Missing { part, mend: "scripts/setup test" }.into()));
        }
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
}

#[tokio::test]
async fn people_read_it_with_sqlite3() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_url(&url(&directory)).await.unwrap();
    story(&store).await;
    let database = directory.path().join("switchyard.db");
    let mut sqlite3 = Command::new("sqlite3");
    if let Some(lines) = printed(sqlite3.arg("-readonly").arg(&database).arg("select * from history")) {
        assert_eq!(lines, STORY);
    }
}

#[tokio::test]
async fn people_read_it_with_psql() {
    let Some(place) = Place::postgres().await else { return };
    story(&place.open().await).await;
    let mut psql = Command::new("psql");
    if let Some(lines) = printed(psql.args([&place.url(), "-XAtc", "select * from history"])) {
        assert_eq!(lines, STORY);
    }
}

#[tokio::test]
async fn a_database_that_does_not_let_us_in_is_named_without_its_password() {
    let Some(place) = Place::postgres().await else { return };
    let nowhere =
        place.url().replace("postgres://switchyard@", "postgres://switchyard:hidden@") + "_that_is_missing";
    let refused = open_url(&nowhere).await.unwrap_err();
    assert!(matches!(refused, Error::Unreachable { .. }) && !refused.is_transient(), "{refused:?}");
    let nobody = format!("postgres://switchyard:hidden@{}/x", switchyard_lab::ports::free_address().unwrap());
    let silent = open_url(&nobody).await.unwrap_err();
    assert!(silent.is_transient(), "{silent:?}");
    for (error, url) in [(refused, nowhere), (silent, nobody)] {
        let said = format!("{error} {error:?} {}", anyhow::Error::from(error.clone()).root_cause());
        let place = url.split_once('@').unwrap().1;
        assert!(said.contains(place) && !said.contains("hidden"), "{said}");
    }
    assert!(Store::check(&place.url()).await.is_ok());
    let database = place.url();
    let mut root = sqlx::PgConnection::connect(&database).await.unwrap();
    sqlx::raw_sql("CREATE ROLE guest LOGIN; REVOKE CREATE ON SCHEMA public FROM public")
        .execute(&mut root)
        .await
        .unwrap();
    let guest = database.replace("switchyard@", "guest@");
    let error = Store::check(&guest).await.unwrap_err();
    assert!(matches!(error, Error::NoRights { .. }), "{error:?}");
}

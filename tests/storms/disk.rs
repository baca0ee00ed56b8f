//! Disks that do not keep what was written.

use std::path::Path;

use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};

/// What was promised to be on the disk was in a log that is gone.
pub(crate) fn loses_its_log(store: &Path) {
    let _ = std::fs::remove_file(store.join("simulated.db-wal"));
}

/// The answers to requests are gone.
pub(crate) fn forgets_answers(store: &Path) {
    change(
        store,
        "UPDATE request SET outcome = NULL, sentence = NULL, answered_at = NULL, generation = NULL",
    );
}

/// A request waits for pipelines only since nearly half an hour after the beginning.
pub(crate) fn forgets_how_long(store: &Path) {
    change(store, "UPDATE request SET waiting_since = '2027-01-15T08:29:00.000000000Z'");
}

/// Every request expects blue.
pub(crate) fn mistakes_the_holder(store: &Path) {
    change(store, "UPDATE request SET expected = 'blue'");
}

/// A rejection becomes an approval.
pub(crate) fn mistakes_the_answer(store: &Path) {
    change(store, "UPDATE proposal SET consent = 'approved'");
}

fn change(store: &Path, statement: &'static str) {
    let options = SqliteConnectOptions::new().filename(store.join("simulated.db"));
    let change = async move {
        let mut database = options.connect().await.unwrap();
        sqlx::query(statement).execute(&mut database).await.unwrap();
        database.close().await.unwrap();
    };
    // A disk does not wait for anybody, so it has a runtime of its own.
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(change);
    std::thread::scope(|scope| scope.spawn(run).join()).unwrap();
}

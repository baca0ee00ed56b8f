//! The store's own file, from outside: how much of a move it holds, and a stop before any row of it.
//!
//! A trigger that never comes to its end runs inside the transaction of the process that writes the row: that process
//! stands still, with all earlier rows committed and none later, until it is killed.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use sqlx::{AssertSqlSafe, ConnectOptions as _, SqliteConnection, sqlite::SqliteConnectOptions};
use switchyard_lab::wait::{PATIENCE, until};

/// What writes a fact of a move, and which.
const FACTS: [(&str, &str); 5] = [
    ("INSERT ON decision", "TRUE"),
    ("INSERT ON step", "TRUE"),
    ("UPDATE OF finished_at ON step", "TRUE"),
    ("UPDATE OF finished_at ON decision", "TRUE"),
    ("INSERT ON event", "NEW.outcome = 'move_done'"),
];

pub(crate) struct Journal(SqliteConnection);

impl Journal {
    pub(crate) async fn open(file: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new().filename(file).busy_timeout(Duration::from_secs(5));
        let mut conn = options.connect().await?;
        let forever = "CREATE VIEW lab_forever AS \
                       WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
        sqlx::query(forever).execute(&mut conn).await?;
        Ok(Self(conn))
    }

    /// Counts from now on, and stops whoever writes fact number `row`.
    pub(crate) async fn stop_before(&mut self, row: i64) -> Result<()> {
        let last: i64 =
            sqlx::query_scalar("SELECT max(generation) FROM decision").fetch_one(&mut self.0).await?;
        let of =
            |table| format!("(SELECT count(*) + count(finished_at) FROM {table} WHERE generation > {last})");
        let mut sql = format!(
            "BEGIN IMMEDIATE; DROP VIEW IF EXISTS lab_facts; \
             CREATE VIEW lab_facts AS SELECT {} + {} AS facts;",
            of("decision"),
            of("step")
        );
        for (number, (event, condition)) in FACTS.iter().enumerate() {
            sql += &format!(
                "CREATE TRIGGER lab_stop_{number} BEFORE {event} \
                 WHEN {condition} AND (SELECT facts FROM lab_facts) = {row} - 1 \
                 BEGIN SELECT i FROM lab_forever WHERE i < 0; END;"
            );
        }
        sql += "COMMIT";
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.0).await?;
        Ok(())
    }

    /// How many facts of the move are committed.
    pub(crate) async fn facts(&mut self) -> Result<i64> {
        Ok(sqlx::query_scalar("SELECT facts FROM lab_facts").fetch_one(&mut self.0).await?)
    }

    /// Waits until this many facts are committed, and the process that writes does not get on.
    pub(crate) async fn stopped(&mut self, facts: i64) -> Result<()> {
        until(PATIENCE, &format!("{facts} facts are in the journal"), async || {
            let seen = self.facts().await?;
            ensure!(seen == facts, "{seen} are");
            // Whoever holds the lock for all this time stands still: a commit takes a few milliseconds.
            sqlx::query("PRAGMA busy_timeout = 400").execute(&mut self.0).await?;
            let locked = sqlx::query("BEGIN IMMEDIATE").execute(&mut self.0).await;
            if locked.is_ok() {
                sqlx::query("ROLLBACK").execute(&mut self.0).await?;
            }
            sqlx::query("PRAGMA busy_timeout = 5000").execute(&mut self.0).await?;
            ensure!(locked.is_err(), "nobody writes");
            Ok(())
        })
        .await
    }

    /// Takes the stop away. The process that stood there must be dead.
    pub(crate) async fn go_on(&mut self) -> Result<()> {
        for number in 0..FACTS.len() {
            let sql = format!("DROP TRIGGER lab_stop_{number}");
            sqlx::query(AssertSqlSafe(sql)).execute(&mut self.0).await.context("the stop is gone")?;
        }
        Ok(())
    }
}

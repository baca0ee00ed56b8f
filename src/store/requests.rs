//! What people ask the loop for: kept until a pass has answered.

use jiff::Timestamp;
use sqlx::AnyConnection;

use super::{
    Error,
    operations::numbers,
    rows::{self, time},
    writer::Operation,
};
use crate::model::{ClusterName, FleetName, Request};

/// A planned move that a person asks for, before it has a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRequest {
    /// The fleet.
    pub fleet: FleetName,
    /// Where it shall go.
    pub to: ClusterName,
    /// Who holds it now, as the person believes; none for nobody.
    pub expected: Option<ClusterName>,
    /// Why.
    pub reason: String,
    /// Who asks.
    pub author: String,
    /// When.
    pub at: Timestamp,
}

pub(super) struct AddRequest(pub(super) NewRequest);

impl Operation for AddRequest {
    type Output = i64;

    async fn apply(&self, conn: &mut AnyConnection) -> Result<i64, Error> {
        let request = &self.0;
        let id = numbers(conn, 1).await?;
        sqlx::query(
            "INSERT INTO request (id, fleet, to_cluster, expected, reason, author, at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(id)
        .bind(request.fleet.to_string())
        .bind(request.to.to_string())
        .bind(request.expected.as_ref().map(ToString::to_string))
        .bind(request.reason.clone())
        .bind(request.author.clone())
        .bind(time(request.at))
        .execute(conn)
        .await?;
        Ok(id)
    }
}

pub(super) struct AnswerRequest {
    pub(super) id: i64,
    pub(super) outcome: String,
    pub(super) sentence: String,
    pub(super) at: Timestamp,
}

impl Operation for AnswerRequest {
    type Output = ();

    async fn apply(&self, conn: &mut AnyConnection) -> Result<(), Error> {
        sqlx::query(
            "UPDATE request SET outcome = $1, sentence = $2, answered_at = $3 WHERE id = $4 AND answered_at IS NULL",
        )
        .bind(self.outcome.clone())
        .bind(self.sentence.clone())
        .bind(time(self.at))
        .bind(self.id)
        .execute(conn)
        .await?;
        Ok(())
    }
}

pub(super) async fn open_requests(conn: &mut AnyConnection) -> Result<Vec<Request>, Error> {
    let rows =
        sqlx::query("SELECT * FROM request WHERE answered_at IS NULL ORDER BY id").fetch_all(conn).await?;
    rows.iter().map(rows::request).collect()
}

//! What people ask the loop for: kept until a pass has answered.

use jiff::Timestamp;
use sqlx::AnyConnection;

use super::{
    Error, Event, RequestRecord,
    operations::{insert_event, numbers},
    rows::{self, json, number, time},
    writer::Operation,
};
use crate::model::{ClusterName, FleetName, Gate, Generation, Holders, Request};

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
    /// The closed gates that shall not hold it.
    pub overrides: Vec<Gate>,
}

pub(super) struct AddRequest(pub(super) NewRequest);

impl Operation for AddRequest {
    type Output = i64;

    async fn apply(&self, conn: &mut AnyConnection) -> Result<i64, Error> {
        let request = &self.0;
        let id = numbers(conn, 1).await?;
        sqlx::query(
            "INSERT INTO request (id, fleet, to_cluster, expected, reason, author, at, overrides) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(id)
        .bind(request.fleet.to_string())
        .bind(request.to.to_string())
        .bind(request.expected.as_ref().map(ToString::to_string))
        .bind(request.reason.clone())
        .bind(request.author.clone())
        .bind(time(request.at))
        .bind(json("overrides", &request.overrides)?)
        .execute(&mut *conn)
        .await?;
        let NewRequest { fleet, to, expected, reason, author, at, overrides } = request;
        let over: Vec<&str> = overrides.iter().map(|gate| gate.as_str()).collect();
        let over = if over.is_empty() { String::new() } else { format!(", overriding {}", over.join(", ")) };
        let expected = Holders::of(fleet.clone(), expected.clone());
        let sentence = format!("asked for a move to {to}{over}, expecting {expected}: {reason}");
        let (outcome, author) = ("requested".to_owned(), Some(author.clone()));
        insert_event(conn, &Event { at: *at, fleet: Some(fleet.clone()), outcome, sentence, author }).await?;
        Ok(id)
    }
}

pub(super) struct AnswerRequest {
    pub(super) id: i64,
    pub(super) outcome: String,
    pub(super) sentence: String,
    pub(super) generation: Option<Generation>,
    pub(super) at: Timestamp,
}

impl Operation for AnswerRequest {
    type Output = ();

    async fn apply(&self, conn: &mut AnyConnection) -> Result<(), Error> {
        sqlx::query(
            "UPDATE request SET outcome = $1, sentence = $2, answered_at = $3, generation = $4 \
             WHERE id = $5 AND answered_at IS NULL",
        )
        .bind(self.outcome.clone())
        .bind(self.sentence.clone())
        .bind(time(self.at))
        .bind(self.generation.map(number))
        .bind(self.id)
        .execute(conn)
        .await?;
        Ok(())
    }
}

impl AnswerRequest {
    /// Since when the request has waited for its fleet to drain.
    pub(super) async fn waiting_since(&self, conn: &mut AnyConnection) -> Result<Option<Timestamp>, Error> {
        let row = sqlx::query("SELECT waiting_since FROM request WHERE id = $1")
            .bind(self.id)
            .fetch_optional(conn)
            .await?;
        row.map_or(Ok(None), |row| rows::parse_opt(&row, "waiting_since"))
    }
}

/// Writes down that a request waits, the first time.
pub(super) struct HoldRequest {
    pub(super) id: i64,
    pub(super) event: Event,
}

impl Operation for HoldRequest {
    type Output = bool;

    async fn apply(&self, conn: &mut AnyConnection) -> Result<bool, Error> {
        let held = sqlx::query(
            "UPDATE request SET waiting_since = $1 WHERE id = $2 AND waiting_since IS NULL AND answered_at IS NULL",
        )
        .bind(time(self.event.at))
        .bind(self.id)
        .execute(&mut *conn)
        .await?;
        if held.rows_affected() == 0 {
            return Ok(false);
        }
        insert_event(conn, &self.event).await?;
        Ok(true)
    }
}

pub(super) async fn request(conn: &mut AnyConnection, id: i64) -> Result<Option<RequestRecord>, Error> {
    let row = sqlx::query("SELECT * FROM request WHERE id = $1").bind(id).fetch_optional(conn).await?;
    row.as_ref().map(rows::request_record).transpose()
}

pub(super) async fn open_requests(conn: &mut AnyConnection) -> Result<Vec<Request>, Error> {
    let rows =
        sqlx::query("SELECT * FROM request WHERE answered_at IS NULL ORDER BY id").fetch_all(conn).await?;
    rows.iter().map(rows::request).collect()
}

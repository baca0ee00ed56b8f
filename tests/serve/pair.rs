//! Two of the program on one real PostgreSQL, each with a way of its own to the database, and what shall hold of both.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use switchyard::model::{SignedDuration, Timestamp};
use switchyard_lab::{
    gitlab::{Audit, Fault, Kind, Match, TokenSpec},
    http,
    parts::or_skip,
    ports,
    postgres::Postgres,
    switchyard::Switchyard,
    tcp::Relay,
    wait::{PATIENCE, until},
};

use crate::stage::{API_TOKEN, BINARY, READ_TOKEN, Stage};

/// Long enough for a busy machine to renew in time, short enough to wait for its end.
pub(crate) const LEASE: Duration = Duration::from_secs(6);

pub(crate) struct Replica {
    /// The name of its GitLab token, too.
    pub(crate) name: &'static str,
    pub(crate) switchyard: Switchyard,
    /// Its way to the database.
    pub(crate) relay: Relay,
}

impl Replica {
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: &Value,
    ) -> Result<(u16, String)> {
        let request = http::client().request(method, format!("{}{path}", self.switchyard.url()));
        let answer = request.timeout(PATIENCE).bearer_auth(token).json(body).send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await?))
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.switchyard.config().with_file_name("switchyard.log")).unwrap_or_default()
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.send(Method::GET, path, READ_TOKEN, &Value::Null).await.unwrap()
    }

    pub(crate) async fn leads(&self) -> Result<bool> {
        Ok(self.send(Method::GET, "/-/leader", "", &Value::Null).await?.0 == 200)
    }

    pub(crate) async fn fleet_until(&self, what: &str, is: impl Fn(&Value) -> bool) {
        until(PATIENCE, &format!("{}: {what}", self.name), async || {
            let (_, body) = self.send(Method::GET, "/api/v1/fleets/rnd", READ_TOKEN, &Value::Null).await?;
            ensure!(is(&serde_json::from_str(&body)?), "{body}");
            Ok(())
        })
        .await
        .unwrap();
    }

    /// A person asks for a move; nobody waits for the answer.
    pub(crate) fn switch(&self, to: &str, from: &str) {
        let url = format!("{}/api/v1/fleets/rnd/switch", self.switchyard.url());
        let body = json!({"to": to, "from": from, "reason": "maintenance", "author": "ada"});
        let request = http::client().post(url).timeout(PATIENCE).bearer_auth(API_TOKEN).json(&body);
        tokio::spawn(request.send());
    }
}

pub(crate) struct Pair {
    pub(crate) stage: Stage,
    pub(crate) database: String,
    /// Leads in the beginning.
    pub(crate) a: Replica,
    pub(crate) b: Replica,
    /// Who led since when.
    pub(crate) terms: Vec<(&'static str, Timestamp)>,
    /// How far the clock of the database is ahead.
    pub(crate) ahead: SignedDuration,
    pub(crate) server: Arc<Postgres>,
}

/// Blue holds the fleet, green stands by.
impl Pair {
    pub(crate) async fn new() -> Option<Self> {
        Self::with([Path::new(BINARY); 2], "2s").await
    }

    pub(crate) async fn with(binaries: [&Path; 2], gitlab_timeout: &str) -> Option<Self> {
        let mut stage = Stage::new().await;
        stage.settings["gitlab"]["timeout"] = gitlab_timeout.into();
        Self::on(stage, binaries).await
    }

    pub(crate) async fn on(stage: Stage, binaries: [&Path; 2]) -> Option<Self> {
        let server = or_skip(Postgres::shared().await)?;
        Some(Self::at(stage, binaries, server).await)
    }

    pub(crate) async fn at(stage: Stage, [a, b]: [&Path; 2], server: Arc<Postgres>) -> Self {
        let database = server.database().await.unwrap();
        let a = replica(&stage, &server, &database, "replica-a", a).await;
        let first = Pair::term(&database).await.unwrap();
        let b = replica(&stage, &server, &database, "replica-b", b).await;
        a.fleet_until("blue is the holder", |fleet| fleet["generation"] == 1).await;
        assert!(a.leads().await.unwrap() && !b.leads().await.unwrap());
        let terms = vec![(a.name, first.1)];
        Self { stage, database, a, b, terms, ahead: SignedDuration::ZERO, server }
    }

    pub(crate) async fn sql(&self) -> PgConnection {
        PgConnection::connect(&self.database).await.unwrap()
    }

    /// Epoch and beginning of the term of whoever led last, by the clock of the database.
    pub(crate) async fn term(database: &str) -> Result<(i64, Timestamp)> {
        let mut sql = PgConnection::connect(database).await?;
        let (epoch, since): (i64, i64) =
            sqlx::query_as("SELECT epoch, since FROM lease").fetch_one(&mut sql).await?;
        Ok((epoch, Timestamp::from_millisecond(since)?))
    }

    /// Waits until the leader has renewed its lease for more than a term.
    pub(crate) async fn renewed_for_a_term(&self) {
        let mut sql = self.sql().await;
        let mut renewals = async || -> Result<i64> {
            Ok(sqlx::query_scalar("SELECT renewals FROM lease").fetch_one(&mut sql).await?)
        };
        let before = renewals().await.unwrap();
        until(PATIENCE, "the lease is renewed", async || {
            // Six are one term.
            ensure!(renewals().await? >= before + 7, "not yet");
            Ok(())
        })
        .await
        .unwrap();
    }

    /// Lets the person's move stop half-way: GitLab refuses the tag for one of the new holder's records.
    pub(crate) async fn half_moved(&self) {
        let stuck = Match::path("PUT", &format!("/runners/{}$", self.stage.green[1]));
        self.stage.gitlab.admin().fault(Fault::new(stuck, Kind::Unavailable));
        self.a.switch("green", "blue");
        until(PATIENCE, "the move is half done", async || {
            let written = self.writes();
            ensure!(written.iter().any(|write| write.token == self.a.name), "{written:?}");
            Ok(())
        })
        .await
        .unwrap();
    }

    /// Waits until the second one leads. At no time do both say so.
    pub(crate) async fn taken_over(&mut self) {
        let (a, b) = (&self.a, &self.b);
        until(PATIENCE, "the survivor leads", async || {
            // A process that is dead or frozen does not say that it leads.
            let first = tokio::time::timeout(Duration::from_millis(300), a.leads()).await;
            let first = matches!(first, Ok(Ok(true)));
            let second = b.leads().await?;
            assert!(!(first && second && a.leads().await.unwrap_or(false)), "both lead");
            ensure!(second, "the first one leads: {first}");
            Ok(())
        })
        .await
        .unwrap();
        let (epoch, since) = Self::term(&self.database).await.unwrap();
        assert_eq!(usize::try_from(epoch).unwrap(), self.terms.len() + 1, "one after the other");
        self.terms.push((self.b.name, since - self.ahead));
    }

    /// The survivor has brought the move to green to its end, and it was one move.
    pub(crate) async fn finished_by_the_survivor(&self) {
        let done = |fleet: &Value| fleet["decision"]["to"] == "green" && fleet["decision"]["state"] == "done";
        self.b.fleet_until("the move is done", done).await;
        assert_eq!(self.stage.gitlab.admin().holders("rnd-runner"), self.stage.green);
        let mut sql = self.sql().await;
        let moves: i64 = sqlx::query_scalar("SELECT count(*) FROM decision WHERE kind <> 'adopt'")
            .fetch_one(&mut sql)
            .await
            .unwrap();
        assert_eq!(moves, 1);
    }

    /// The writes of either replica, in order.
    pub(crate) fn writes(&self) -> Vec<Audit> {
        let changes = self.stage.gitlab.admin().audit();
        changes.into_iter().filter(|change| change.token.starts_with("replica-")).collect()
    }

    /// Every write in GitLab was made by the replica that led at that moment; and the journal knows under which epoch.
    pub(crate) async fn never_two_acted(&self) {
        let writes = self.writes();
        assert!(!writes.is_empty());
        // The number of the term in which something was written, from 1 on.
        let term = |write: &Audit| self.terms.iter().take_while(|(_, since)| *since <= write.at).count();
        for write in &writes {
            let leader = term(write).checked_sub(1).map(|term| self.terms[term].0);
            assert_eq!(leader, Some(write.token.as_str()), "{write:?}\nterms: {:?}", self.terms);
        }
        let steps = self.steps().await;
        for (epoch, number) in (1..).zip(1..=self.terms.len()) {
            let journaled = steps.iter().filter(|(of, ..)| *of == epoch).count();
            let written = writes.iter().filter(|write| term(write) == number).count();
            assert!(written <= journaled, "epoch {epoch}: {written} writes for {journaled} steps: {steps:?}");
        }
        assert!(
            steps.iter().all(|(_, outcome, _)| outcome.is_some()),
            "what is not known is unknown: {steps:?}"
        );
    }

    /// Epoch, outcome and detail of every step.
    pub(crate) async fn steps(&self) -> Vec<(i64, Option<String>, Option<String>)> {
        sqlx::query_as("SELECT epoch, outcome, detail FROM step ORDER BY id")
            .fetch_all(&mut self.sql().await)
            .await
            .unwrap()
    }

    /// What was refused because it came from a former leader.
    pub(crate) async fn refused(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT sentence FROM event WHERE outcome = 'fenced' ORDER BY id")
            .fetch_all(&mut self.sql().await)
            .await
            .unwrap()
    }

    pub(crate) fn slow(&self, operation: &str, latency: Duration) {
        let ms = latency.as_millis().try_into().unwrap();
        self.stage.gitlab.admin().fault(Fault::new(Match::operation(operation), Kind::Latency { ms }));
    }
}

async fn replica(
    stage: &Stage,
    server: &Postgres,
    database: &str,
    name: &'static str,
    binary: &Path,
) -> Replica {
    let relay = Relay::start(server.address()).await.unwrap();
    let dir = stage.dir().join(name);
    fs::create_dir(&dir).unwrap();
    let address = ports::free_address().unwrap();
    let token = stage.gitlab.admin().create_token(TokenSpec::admin(name, &["read_api", "manage_runner"]));
    let mut settings = stage.settings.clone();
    settings["gitlab"]["token_file"] = json!(stage.secret(&format!("{name}-token"), &token));
    settings["web"]["url"] = format!("http://{address}").into();
    let url = database.replace(&server.address().to_string(), &relay.address().to_string());
    settings["store"] = json!({ "url": url, "lease": format!("{LEASE:?}") });
    let switchyard = Switchyard::start(binary, address, &settings, &dir).await.unwrap();
    Replica { name, switchyard, relay }
}

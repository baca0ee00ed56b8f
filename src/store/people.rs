//! What people do: set and lift, acknowledge, approve and reject. Each is done only while the fleet is held by whom the
//! person expects, and is recorded with its author and reason.

use jiff::{SignedDuration, Timestamp};
use sqlx::AnyConnection;

use super::{
    Acknowledged, Acted, Error, Event, OverrideLifted, OverrideSet, Person, ProposalAnswered,
    operations::{insert_event, latest, latest_generation, numbers},
    read,
    rows::{self, json, number, scope, time},
    writer::Operation,
};
use crate::model::{
    ClusterName, Consent, FleetName, Generation, Holders, MoveKind, MoveState, Override, OverrideKind,
    Proposal, ProposalAnswer, Proposed,
};

/// Looks at whom the person expects to hold the fleets that the act concerns. When it is another, as decided, that is
/// written down, and the act is not done. A fleet of the act that the person does not name is held by another.
async fn unexpected(
    conn: &mut AnyConnection,
    fleet: Option<&FleetName>,
    act: &str,
    person: &Person,
) -> Result<Option<Holders>, Error> {
    let Person { author, reason, at, expected } = person;
    let mut others = Holders::default();
    let unnamed = fleet.into_iter().filter(|fleet| !expected.0.contains_key(*fleet));
    for name in expected.0.keys().chain(unnamed) {
        let holder = match latest(conn, name).await? {
            Some(row) => Some(rows::parse(&row, "to_cluster")?),
            None => None,
        };
        if expected.0.get(name) != Some(&holder) {
            others.0.insert(name.clone(), holder);
        }
    }
    if others.is_empty() {
        return Ok(None);
    }
    let sentence = format!("refused to {act}, expecting {expected}: it is {others}; {reason}");
    insert_event(conn, &event(fleet, "unexpected_holder", sentence, author, *at)).await?;
    Ok(Some(others))
}

fn event(fleet: Option<&FleetName>, outcome: &str, sentence: String, author: &str, at: Timestamp) -> Event {
    let (outcome, author) = (outcome.to_owned(), Some(author.to_owned()));
    Event { at, fleet: fleet.cloned(), outcome, sentence, author }
}

fn everything(fleet: Option<&FleetName>) -> String {
    fleet.map_or_else(|| "all fleets".to_owned(), |fleet| format!("fleet {fleet}"))
}

pub(super) struct Acknowledge {
    pub(super) fleet: FleetName,
    pub(super) cool_down: SignedDuration,
    pub(super) person: Person,
}

impl Operation for Acknowledge {
    type Output = Acted<Acknowledged>;

    async fn apply(&self, conn: &mut AnyConnection) -> Result<Self::Output, Error> {
        let Self { fleet, cool_down, person } = self;
        if let Some(others) = unexpected(conn, Some(fleet), "acknowledge", person).await? {
            return Ok(Acted::HeldBy(others));
        }
        let mut done = Acknowledged::default();
        let Some(row) = latest(conn, fleet).await? else {
            self.nothing(conn).await?;
            return Ok(Acted::Yes(done));
        };
        let generation = rows::generation(&row)?;
        let state: MoveState = rows::word(&row, "state")?;
        let acknowledged: Option<Timestamp> = rows::parse_opt(&row, "acknowledged_at")?;
        if state == MoveState::Failed && acknowledged.is_none() {
            let sentence = format!(
                "acknowledged that the move of generation {generation} failed, expecting {}: {}",
                person.expected, person.reason
            );
            self.mark(conn, "acknowledged_at", generation, "acknowledged", sentence).await?;
            done.latch = Some(generation);
        }
        let ended: Option<Timestamp> = rows::parse_opt(&row, "finished_at")?;
        let lifted: Option<Timestamp> = rows::parse_opt(&row, "cool_down_lifted_at")?;
        let adopted = rows::word::<MoveKind>(&row, "kind")? == MoveKind::Adopt;
        let cooling = ended.is_some_and(|ended| person.at.duration_since(ended) < *cool_down);
        if cooling && lifted.is_none() && !adopted {
            let sentence = format!(
                "lifted the cool-down that the move of generation {generation} began, expecting {}: {}",
                person.expected, person.reason
            );
            self.mark(conn, "cool_down_lifted_at", generation, "cool_down_lifted", sentence).await?;
            done.cool_down = Some(generation);
        }
        if done == Acknowledged::default() {
            self.nothing(conn).await?;
        }
        Ok(Acted::Yes(done))
    }
}

impl Acknowledge {
    async fn nothing(&self, conn: &mut AnyConnection) -> Result<(), Error> {
        let Person { author, reason, at, expected } = &self.person;
        let sentence =
            format!("acknowledged, expecting {expected}, and there was no latch and no cool-down: {reason}");
        insert_event(conn, &event(Some(&self.fleet), "nothing_to_acknowledge", sentence, author, *at)).await
    }

    async fn mark(
        &self,
        conn: &mut AnyConnection,
        column: &'static str,
        generation: Generation,
        outcome: &str,
        sentence: String,
    ) -> Result<(), Error> {
        let statement = match column {
            "acknowledged_at" => {
                "UPDATE decision SET acknowledged_at = $1 WHERE fleet = $2 AND generation = $3"
            }
            _ => "UPDATE decision SET cool_down_lifted_at = $1 WHERE fleet = $2 AND generation = $3",
        };
        sqlx::query(statement)
            .bind(time(self.person.at))
            .bind(self.fleet.to_string())
            .bind(number(generation))
            .execute(&mut *conn)
            .await?;
        let Person { author, at, .. } = &self.person;
        insert_event(conn, &event(Some(&self.fleet), outcome, sentence, author, *at)).await
    }
}

pub(super) struct SetOverride {
    pub(super) set: Override,
    pub(super) expected: Holders,
}

impl Operation for SetOverride {
    type Output = Acted<OverrideSet>;

    async fn apply(&self, conn: &mut AnyConnection) -> Result<Self::Output, Error> {
        let Self { set, expected } = self;
        let (kind, fleet) = (set.kind.as_str(), set.fleet.as_ref());
        let (author, reason) = (set.author.clone(), set.reason.clone());
        let person = Person { author, reason, at: set.since, expected: expected.clone() };
        let act = format!("set {kind} on {}", everything(fleet));
        if let Some(others) = unexpected(conn, fleet, &act, &person).await? {
            return Ok(Acted::HeldBy(others));
        }
        let event = |sentence| event(fleet, &format!("{kind}_set"), sentence, &set.author, set.since);
        let until = until(set);
        let mut sentence = format!("{act} {until}, expecting {expected}: {}", set.reason);
        let mut before = read::in_force(conn, set.since).await?.into_iter();
        let before = before.find(|o| (o.kind, &o.fleet) == (set.kind, &set.fleet));
        if let Some(before) = &before {
            let of = format!("that of {} {}", before.author, self::until(before));
            if before.author != set.author && !set.outlasts(before) {
                sentence = format!("{sentence}; {of} stays in force");
                insert_event(conn, &event(sentence)).await?;
                return Ok(Acted::Yes(OverrideSet::Kept(before.clone())));
            }
            sentence = format!("{sentence}; in place of {of}");
        }
        sqlx::query(
            "INSERT INTO overrides (scope, kind, reason, author, since, until) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (scope, kind) DO UPDATE SET reason = excluded.reason, author = excluded.author, \
             since = excluded.since, until = excluded.until",
        )
        .bind(scope(set.fleet.as_ref()))
        .bind(set.kind.as_str())
        .bind(set.reason.clone())
        .bind(set.author.clone())
        .bind(time(set.since))
        .bind(set.until.map(time))
        .execute(&mut *conn)
        .await?;
        insert_event(conn, &event(sentence)).await?;
        Ok(Acted::Yes(before.map_or(OverrideSet::Alone, OverrideSet::InPlaceOf)))
    }
}

fn until(set: &Override) -> String {
    set.until.map_or_else(|| "until lifted".to_owned(), |until| format!("until {until}"))
}

pub(super) struct LiftOverride {
    pub(super) fleet: Option<FleetName>,
    pub(super) kind: OverrideKind,
    pub(super) person: Person,
}

impl Operation for LiftOverride {
    type Output = Acted<OverrideLifted>;

    async fn apply(&self, conn: &mut AnyConnection) -> Result<Self::Output, Error> {
        let Person { author, reason, at, expected } = &self.person;
        let (kind, fleet) = (self.kind.as_str(), self.fleet.as_ref());
        let act = format!("lift {kind} from {}", everything(fleet));
        if let Some(others) = unexpected(conn, fleet, &act, &self.person).await? {
            return Ok(Acted::HeldBy(others));
        }
        // What holds one fleet is its own or that of all; whoever resumes all of them is told which stay paused by name.
        let concerns = |set: &Override| match (fleet, &set.fleet) {
            (Some(_), None) => true,
            (Some(fleet), Some(other)) => fleet == other,
            (None, other) => other.as_ref().is_none_or(|other| expected.0.contains_key(other)),
        };
        let all = read::in_force(conn, *at).await?.into_iter();
        let all = all.filter(|set| set.kind == self.kind && concerns(set));
        let (mut lifted, still): (Vec<_>, Vec<_>) = all.partition(|set| set.fleet == self.fleet);
        let lifted = lifted.pop();
        if lifted.is_some() {
            sqlx::query("DELETE FROM overrides WHERE scope = $1 AND kind = $2")
                .bind(scope(self.fleet.as_ref()))
                .bind(self.kind.as_str())
                .execute(&mut *conn)
                .await?;
        }
        let (outcome, none) =
            if lifted.is_some() { ("lifted", "") } else { ("not_set", ", and there was none") };
        let mut sentence =
            format!("lifted {kind} from {}, expecting {expected}{none}: {reason}", everything(fleet));
        if let Some(lifted) = lifted.as_ref().filter(|lifted| lifted.author != *author) {
            sentence = format!("{sentence}; it was that of {} {}", lifted.author, until(lifted));
        }
        insert_event(conn, &event(fleet, &format!("{kind}_{outcome}"), sentence, author, *at)).await?;
        Ok(Acted::Yes(OverrideLifted { lifted, still }))
    }
}

pub(super) struct Propose {
    pub(super) what: Proposed,
    pub(super) reason: String,
    pub(super) at: Timestamp,
    pub(super) until: Timestamp,
}

impl Operation for Propose {
    type Output = Proposal;

    async fn apply(&self, conn: &mut AnyConnection) -> Result<Proposal, Error> {
        let Self { what, reason, at, until } = self;
        let id = numbers(conn, 1).await?;
        let signal = what.signal.as_ref().map(|key| json("signal", key)).transpose()?;
        sqlx::query(
            "INSERT INTO proposal (id, fleet, generation, kind, from_cluster, to_cluster, signal, reason, at, until) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(id)
        .bind(what.fleet.to_string())
        .bind(number(what.generation))
        .bind(what.kind.as_str())
        .bind(what.from.as_ref().map(ToString::to_string))
        .bind(what.to.to_string())
        .bind(signal)
        .bind(reason.clone())
        .bind(time(*at))
        .bind(time(*until))
        .execute(&mut *conn)
        .await?;
        let from = what.from.as_ref().map_or("nobody", ClusterName::as_str);
        let sentence = format!(
            "proposal {id}: {} from {from} to {}, because {reason}; waits for a person until {until}",
            what.kind, what.to
        );
        let (fleet, outcome) = (Some(what.fleet.clone()), "proposed".to_owned());
        insert_event(conn, &Event { at: *at, fleet, outcome, sentence, author: None }).await?;
        let (what, reason) = (what.clone(), reason.clone());
        Ok(Proposal { id, what, reason, at: *at, until: *until, answer: None })
    }
}

pub(super) struct AnswerProposal {
    pub(super) fleet: FleetName,
    pub(super) id: i64,
    pub(super) consent: Consent,
    pub(super) person: Person,
}

impl Operation for AnswerProposal {
    type Output = Acted<ProposalAnswered>;

    async fn apply(&self, conn: &mut AnyConnection) -> Result<Self::Output, Error> {
        let Self { fleet, id, consent, person } = self;
        let Person { author, reason, at, expected } = person;
        let act =
            format!("{} proposal {id}", if *consent == Consent::Approved { "approve" } else { "reject" });
        if let Some(others) = unexpected(conn, Some(fleet), &act, person).await? {
            return Ok(Acted::HeldBy(others));
        }
        let row = sqlx::query("SELECT * FROM proposal WHERE id = $1 AND fleet = $2")
            .bind(*id)
            .bind(fleet.to_string())
            .fetch_optional(&mut *conn)
            .await?;
        let Some(mut proposal) = row.as_ref().map(rows::proposal).transpose()? else {
            self.in_vain(conn, &act, "the fleet has no such proposal").await?;
            return Ok(Acted::Yes(ProposalAnswered::Unknown));
        };
        let taken = latest_generation(latest(conn, fleet).await?.as_ref())?;
        if proposal.until <= *at || proposal.what.generation <= taken {
            self.in_vain(conn, &act, "it has expired").await?;
            return Ok(Acted::Yes(ProposalAnswered::Expired(proposal)));
        }
        let revokes =
            |before: &ProposalAnswer| before.consent == Consent::Approved && *consent == Consent::Rejected;
        if let Some(before) = proposal.answer.take().filter(|before| !revokes(before)) {
            let why = format!("{} has {} it before", before.author, before.consent.as_str());
            self.in_vain(conn, &act, &why).await?;
            return Ok(Acted::Yes(ProposalAnswered::Already(before)));
        }
        sqlx::query(
            "UPDATE proposal SET consent = $1, answer_author = $2, answer_reason = $3, answered_at = $4 WHERE id = $5",
        )
        .bind(consent.as_str())
        .bind(author.clone())
        .bind(reason.clone())
        .bind(time(*at))
        .bind(*id)
        .execute(&mut *conn)
        .await?;
        let word = consent.as_str();
        let sentence = format!(
            "{word} proposal {id}, the {} to {}, expecting {expected}: {reason}",
            proposal.what.kind, proposal.what.to
        );
        insert_event(conn, &event(Some(fleet), word, sentence, author, *at)).await?;
        let (author, reason) = (author.clone(), reason.clone());
        proposal.answer = Some(ProposalAnswer { consent: *consent, author, reason, at: *at });
        Ok(Acted::Yes(ProposalAnswered::Yes(proposal)))
    }
}

impl AnswerProposal {
    /// An answer that changes nothing is written down, too.
    async fn in_vain(&self, conn: &mut AnyConnection, act: &str, why: &str) -> Result<(), Error> {
        let Person { author, reason, at, .. } = &self.person;
        let sentence = format!("could not {act}, because {why}; {reason}");
        insert_event(conn, &event(Some(&self.fleet), "not_answered", sentence, author, *at)).await
    }
}

/// Whether a proposal stands approved.
pub(super) async fn approved(conn: &mut AnyConnection, id: i64, at: Timestamp) -> Result<bool, Error> {
    let row = sqlx::query("SELECT 1 FROM proposal WHERE id = $1 AND consent = 'approved' AND until > $2")
        .bind(id)
        .bind(time(at))
        .fetch_optional(conn)
        .await?;
    Ok(row.is_some())
}

pub(super) struct ExpireProposals {
    pub(super) at: Timestamp,
}

impl Operation for ExpireProposals {
    type Output = u64;

    async fn apply(&self, conn: &mut AnyConnection) -> Result<u64, Error> {
        let over = sqlx::query(
            "SELECT * FROM proposal WHERE expired_at IS NULL AND until <= $1 \
             AND (consent IS NULL OR consent = 'approved') AND generation > \
             (SELECT COALESCE(MAX(generation), 0) FROM decision WHERE decision.fleet = proposal.fleet) ORDER BY id",
        )
        .bind(time(self.at))
        .fetch_all(&mut *conn)
        .await?;
        for row in &over {
            let proposal = rows::proposal(row)?;
            sqlx::query("UPDATE proposal SET expired_at = $1 WHERE id = $2")
                .bind(time(self.at))
                .bind(proposal.id)
                .execute(&mut *conn)
                .await?;
            let Proposed { fleet, kind, to, .. } = proposal.what;
            let how = if proposal.answer.is_some() { "approved and not carried out" } else { "unanswered" };
            let sentence = format!("proposal {}, the {kind} to {to}, expired {how}", proposal.id);
            let (fleet, outcome) = (Some(fleet), "expired".to_owned());
            insert_event(conn, &Event { at: self.at, fleet, outcome, sentence, author: None }).await?;
        }
        Ok(over.len() as u64)
    }
}

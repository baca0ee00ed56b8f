//! Everything that changes the database. Each operation decides in code and leaves its neighbours in the transaction
//! alone; only what nobody foresaw comes out as an error.

use jiff::Timestamp;
use sqlx::{AnyConnection, any::AnyRow};

use super::{
    Committed, Ending, Error, Event, Started, Upserted,
    merge::merge,
    people, read,
    requests::AnswerRequest,
    rows::{self, json, number, time},
    writer::Operation,
};
use crate::model::{
    CLOCK_OFF, Decision, Epoch, Fence, FleetName, Generation, MoveState, Override, Signal, SignalState, Step,
    StepOutcome,
};

/// Takes `count` numbers of the story and gives the first.
pub(super) async fn numbers(conn: &mut AnyConnection, count: usize) -> Result<i64, Error> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let last: i64 =
        sqlx::query_scalar("UPDATE sequence SET value = value + $1 WHERE name = 'entry' RETURNING value")
            .bind(count)
            .fetch_one(conn)
            .await?;
    Ok(last - count + 1)
}

pub(super) async fn latest(conn: &mut AnyConnection, fleet: &FleetName) -> Result<Option<AnyRow>, Error> {
    Ok(sqlx::query(
        "SELECT generation, state, kind, to_cluster, finished_at, acknowledged_at, cool_down_lifted_at FROM decision \
         WHERE fleet = $1 ORDER BY generation DESC LIMIT 1",
    )
    .bind(fleet.to_string())
    .fetch_optional(conn)
    .await?)
}

pub(super) fn latest_generation(row: Option<&AnyRow>) -> Result<Generation, Error> {
    row.map_or(Ok(Generation::default()), rows::generation)
}

pub(super) async fn insert_event(conn: &mut AnyConnection, event: &Event) -> Result<(), Error> {
    write_event(conn, event, None).await
}

/// By the leader of this epoch, or by the one that leads.
async fn write_event(conn: &mut AnyConnection, event: &Event, epoch: Option<Epoch>) -> Result<(), Error> {
    let id = numbers(conn, 1).await?;
    sqlx::query(
        "INSERT INTO event (id, at, fleet, outcome, sentence, author, epoch) \
         VALUES ($1, $2, $3, $4, $5, $6, COALESCE($7, (SELECT epoch FROM lease)))",
    )
    .bind(id)
    .bind(time(event.at))
    .bind(event.fleet.as_ref().map(ToString::to_string))
    .bind(event.outcome.clone())
    .bind(event.sentence.clone())
    .bind(event.author.clone())
    .bind(epoch.map(|epoch| epoch.0))
    .execute(conn)
    .await?;
    Ok(())
}

/// The journal's row about a write that came too late: the former leader's.
pub(super) async fn record_refusal(
    conn: &mut AnyConnection,
    at: Timestamp,
    sentence: String,
    epoch: Epoch,
) -> Result<(), Error> {
    let event = Event { at, fleet: None, outcome: "fenced".to_owned(), sentence, author: None };
    write_event(conn, &event, Some(epoch)).await
}

pub(super) struct UpsertSignals(pub(super) Vec<Signal>);

impl Operation for UpsertSignals {
    type Output = Vec<Upserted>;

    // Reports of the same episode in any order and number end in the same row, whoever brings them.
    const FENCED: bool = false;

    fn weight(&self) -> u32 {
        u32::try_from(self.0.len() / 250).unwrap_or(u32::MAX).saturating_add(1)
    }

    async fn apply(&self, conn: &mut AnyConnection) -> Result<Vec<Upserted>, Error> {
        let mut outcomes = Vec::with_capacity(self.0.len());
        for signal in &self.0 {
            outcomes.push(upsert_signal(conn, signal).await?);
        }
        Ok(outcomes)
    }
}

async fn upsert_signal(conn: &mut AnyConnection, new: &Signal) -> Result<Upserted, Error> {
    let stored =
        sqlx::query("SELECT * FROM signal WHERE source = $1 AND fingerprint = $2 AND starts_at = $3")
            .bind(new.key.source.clone())
            .bind(new.key.fingerprint.clone())
            .bind(time(new.key.starts_at))
            .fetch_optional(&mut *conn)
            .await?
            .as_ref()
            .map(rows::signal)
            .transpose()?;
    let old = stored.clone().map(|old| heard_by_now(old, new.first_seen));
    let merged = merge(old.as_ref().unwrap_or(new), new);
    let outcome = match &old {
        None => Upserted::New,
        Some(old) if old.state == SignalState::Resolved && new.state == SignalState::Firing => {
            Upserted::Late { ended_at: old.ends_at }
        }
        Some(old) => {
            let heard = Signal { first_seen: merged.first_seen, last_seen: merged.last_seen, ..old.clone() };
            if heard == merged { Upserted::Unchanged } else { Upserted::Updated }
        }
    };
    if stored.as_ref() != Some(&merged) {
        write_signal(conn, &merged).await?;
    }
    Ok(outcome)
}

/// What was heard of by a clock that has been set back since would count for nothing until that time comes.
fn heard_by_now(old: Signal, now: Timestamp) -> Signal {
    let ahead = old.last_seen.duration_since(now);
    let last_seen = if ahead > CLOCK_OFF { now } else { old.last_seen };
    Signal { last_seen, ..old }
}

async fn write_signal(conn: &mut AnyConnection, signal: &Signal) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO signal (source, fingerprint, starts_at, action, fleet, cluster, target, state, ends_at, labels, \
         annotations, first_seen, last_seen) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
         ON CONFLICT (source, fingerprint, starts_at) DO UPDATE SET action = excluded.action, fleet = excluded.fleet, \
         cluster = excluded.cluster, target = excluded.target, state = excluded.state, ends_at = excluded.ends_at, \
         labels = excluded.labels, annotations = excluded.annotations, first_seen = excluded.first_seen, \
         last_seen = excluded.last_seen",
    )
    .bind(signal.key.source.clone())
    .bind(signal.key.fingerprint.clone())
    .bind(time(signal.key.starts_at))
    .bind(signal.action.as_str())
    .bind(signal.fleet.as_ref().map(ToString::to_string))
    .bind(signal.cluster.as_ref().map(ToString::to_string))
    .bind(signal.target.as_ref().map(ToString::to_string))
    .bind(signal.state.as_str())
    .bind(signal.ends_at.map(time))
    .bind(json("labels", &signal.labels)?)
    .bind(json("annotations", &signal.annotations)?)
    .bind(time(signal.first_seen))
    .bind(time(signal.last_seen))
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) struct EndSignals(pub(super) Vec<Ending>);

impl Operation for EndSignals {
    type Output = Vec<bool>;

    fn weight(&self) -> u32 {
        u32::try_from(self.0.len() / 250).unwrap_or(u32::MAX).saturating_add(1)
    }

    async fn apply(&self, conn: &mut AnyConnection) -> Result<Vec<bool>, Error> {
        let mut ended = Vec::with_capacity(self.0.len());
        for Ending { key, last_seen, event } in &self.0 {
            let done = sqlx::query(
                "UPDATE signal SET state = 'resolved', ends_at = $1 WHERE source = $2 AND fingerprint = $3 \
                 AND starts_at = $4 AND state = 'firing' AND last_seen = $5",
            )
            .bind(time(event.at))
            .bind(key.source.clone())
            .bind(key.fingerprint.clone())
            .bind(time(key.starts_at))
            .bind(time(*last_seen))
            .execute(&mut *conn)
            .await?;
            let done = done.rows_affected() > 0;
            if done {
                insert_event(conn, event).await?;
            }
            ended.push(done);
        }
        Ok(ended)
    }
}

/// Whether a pause is in force at that time, of those that were set at `since` or later.
async fn paused(
    conn: &mut AnyConnection,
    fleet: &FleetName,
    at: Timestamp,
    since: Timestamp,
) -> Result<bool, Error> {
    let set = read::in_force(conn, at).await?;
    Ok(Override::pauses(&set, fleet, at).any(|pause| pause.since >= since))
}

pub(super) struct CommitDecision {
    pub(super) decision: Decision,
    /// The answer to the request that it carries out: nobody shall find the one without the other.
    pub(super) answer: Option<AnswerRequest>,
}

impl Operation for CommitDecision {
    type Output = Committed;

    async fn apply(&self, conn: &mut AnyConnection) -> Result<Committed, Error> {
        let decision = &self.decision;
        let row = latest(conn, &decision.fleet).await?;
        let generation = latest_generation(row.as_ref())?;
        // The first decision may begin higher: the store may be newer than what earlier decisions left in DNS.
        if row.is_some() && decision.generation != generation.next() {
            return Ok(Committed::Superseded { latest: generation });
        }
        if let Some(row) = &row
            && rows::word::<MoveState>(row, "state")? == MoveState::Moving
        {
            return Ok(Committed::InFlight { generation });
        }
        // A pause that was answered before this transaction holds for it, and ends what has waited since before it.
        let since = match &self.answer {
            _ if decision.kind.automatic() => Some(Timestamp::MIN),
            Some(answer) => answer.waiting_since(conn).await?,
            None => None,
        };
        if let Some(since) = since
            && paused(conn, &decision.fleet, decision.decided_at, since).await?
        {
            return Ok(Committed::Paused);
        }
        // Nor does an approval count that was taken back or has expired before this transaction.
        if let Some(id) = decision.proposal
            && !people::approved(conn, id, decision.decided_at).await?
        {
            return Ok(Committed::NotApproved);
        }
        let signal = decision.signal.as_ref().map(|key| json("signal", key)).transpose()?;
        let id = numbers(conn, 1).await?;
        // Where several processes share a database, the primary key is what makes this a compare-and-set.
        let inserted = sqlx::query(
            "INSERT INTO decision (fleet, generation, id, kind, from_cluster, to_cluster, reason, author, signal, gates, \
             decided_at, state, finished_at, acknowledged_at, overridden, proposal, cool_down_lifted_at, epoch) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, \
             (SELECT epoch FROM lease)) \
             ON CONFLICT (fleet, generation) DO NOTHING",
        )
        .bind(decision.fleet.to_string())
        .bind(number(decision.generation))
        .bind(id)
        .bind(decision.kind.as_str())
        .bind(decision.from.as_ref().map(ToString::to_string))
        .bind(decision.to.to_string())
        .bind(decision.reason.clone())
        .bind(decision.author.clone())
        .bind(signal)
        .bind(json("gates", &decision.gates)?)
        .bind(time(decision.decided_at))
        .bind(decision.state.as_str())
        .bind(decision.finished_at.map(time))
        .bind(decision.acknowledged_at.map(time))
        .bind(json("overridden", &decision.overridden)?)
        .bind(decision.proposal)
        .bind(decision.cool_down_lifted_at.map(time))
        .execute(&mut *conn)
        .await?;
        if inserted.rows_affected() == 0 {
            return Ok(Committed::Superseded { latest: decision.generation });
        }
        if let Some(answer) = &self.answer {
            answer.apply(conn).await?;
        }
        Ok(Committed::Yes)
    }

    fn refused(&self) -> Option<(Timestamp, String)> {
        let Decision { fleet, generation, kind, to, .. } = &self.decision;
        Some((
            self.decision.decided_at,
            format!("the decision of a {kind} of {fleet} to {to} (generation {generation})"),
        ))
    }
}

pub(super) struct FinishDecision {
    pub(super) fleet: FleetName,
    pub(super) generation: Generation,
    pub(super) state: MoveState,
    pub(super) told: Event,
}

impl Operation for FinishDecision {
    type Output = bool;

    async fn apply(&self, conn: &mut AnyConnection) -> Result<bool, Error> {
        if self.state == MoveState::Moving {
            return Ok(false);
        }
        let done = sqlx::query(
            "UPDATE decision SET state = $1, finished_at = $2 \
             WHERE fleet = $3 AND generation = $4 AND state = 'moving'",
        )
        .bind(self.state.as_str())
        .bind(time(self.told.at))
        .bind(self.fleet.to_string())
        .bind(number(self.generation))
        .execute(&mut *conn)
        .await?;
        let done = done.rows_affected() > 0;
        if done {
            insert_event(conn, &self.told).await?;
        }
        Ok(done)
    }

    fn refused(&self) -> Option<(Timestamp, String)> {
        let Self { fleet, generation, state, told } = self;
        Some((told.at, format!("that the move of {fleet} (generation {generation}) is {}", state.as_str())))
    }
}

pub(super) struct StepsStarted {
    pub(super) fence: Fence,
    pub(super) steps: Vec<Step>,
    pub(super) at: Timestamp,
}

impl Operation for StepsStarted {
    type Output = Started;

    async fn apply(&self, conn: &mut AnyConnection) -> Result<Started, Error> {
        let Fence { fleet, generation, .. } = &self.fence;
        let row = latest(conn, fleet).await?;
        let latest = latest_generation(row.as_ref())?;
        let Some(row) = row.filter(|_| latest == *generation) else {
            return Ok(Started::Superseded { latest });
        };
        // A move under way goes on; a pause that was answered before this transaction holds back corrections.
        let moving = rows::word::<MoveState>(&row, "state")? == MoveState::Moving;
        if !moving && paused(conn, fleet, self.at, Timestamp::MIN).await? {
            return Ok(Started::Paused);
        }
        let mut id = numbers(conn, self.steps.len()).await?;
        let mut ids = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            sqlx::query(
                "INSERT INTO step (id, fleet, generation, phase, kind, target, sentence, step, started_at, epoch) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, (SELECT epoch FROM lease))",
            )
            .bind(id)
            .bind(fleet.to_string())
            .bind(number(*generation))
            .bind(step.phase().as_str())
            .bind(step.kind())
            .bind(step.target())
            .bind(step.to_string())
            .bind(json("step", step)?)
            .bind(time(self.at))
            .execute(&mut *conn)
            .await?;
            ids.push(id);
            id += 1;
        }
        Ok(Started::Yes(ids))
    }

    fn refused(&self) -> Option<(Timestamp, String)> {
        let steps: Vec<String> = self.steps.iter().map(ToString::to_string).collect();
        let Fence { fleet, generation, .. } = &self.fence;
        let steps = steps.join(", ");
        Some((
            self.at,
            format!("steps of {fleet} (generation {generation}), none of which was taken: {steps}"),
        ))
    }
}

pub(super) struct StepsFinished {
    pub(super) outcomes: Vec<(i64, StepOutcome)>,
    pub(super) at: Timestamp,
}

impl Operation for StepsFinished {
    type Output = ();

    async fn apply(&self, conn: &mut AnyConnection) -> Result<(), Error> {
        for (id, outcome) in &self.outcomes {
            let (detail, transient) = match outcome {
                StepOutcome::Done => (None, None),
                StepOutcome::Failed { why, transient } => (Some(why.clone()), Some(i64::from(*transient))),
                StepOutcome::Unknown(why) => (Some(why.clone()), None),
            };
            sqlx::query(
                "UPDATE step SET finished_at = $1, outcome = $2, detail = $3, transient = $4 \
                 WHERE id = $5 AND finished_at IS NULL",
            )
            .bind(time(self.at))
            .bind(outcome.as_str())
            .bind(detail)
            .bind(transient)
            .bind(*id)
            .execute(&mut *conn)
            .await?;
        }
        Ok(())
    }

    fn refused(&self) -> Option<(Timestamp, String)> {
        let told = self.outcomes.iter().map(|(id, outcome)| match outcome {
            StepOutcome::Done => format!("step {id}: done"),
            StepOutcome::Failed { why, .. } => format!("step {id}: failed ({why})"),
            StepOutcome::Unknown(why) => format!("step {id}: unknown ({why})"),
        });
        Some((self.at, format!("the outcome of {}", told.collect::<Vec<_>>().join(", "))))
    }
}

pub(super) struct MarkInterrupted {
    pub(super) at: Timestamp,
}

impl Operation for MarkInterrupted {
    type Output = u64;

    async fn apply(&self, conn: &mut AnyConnection) -> Result<u64, Error> {
        let marked = sqlx::query(
            "UPDATE step SET finished_at = $1, outcome = 'unknown', detail = 'interrupted' WHERE finished_at IS NULL",
        )
        .bind(time(self.at))
        .execute(conn)
        .await?;
        Ok(marked.rows_affected())
    }
}

pub(super) struct RecordEvent(pub(super) Event);

impl Operation for RecordEvent {
    type Output = ();

    async fn apply(&self, conn: &mut AnyConnection) -> Result<(), Error> {
        insert_event(conn, &self.0).await
    }
}

pub(super) struct Prune {
    pub(super) before: Timestamp,
}

/// In this order: what an episode was overtaken by must outlive it. Steps go with their decision. What the safety of a fleet
/// rests on stays however old it looks, for the clock may be wrong: its newest decisions (latch, cool-down, budget), what a
/// person set, and answers to proposals of the decision that it would take next.
const PRUNE: [&str; 6] = [
    "DELETE FROM signal WHERE state = 'firing' AND last_seen < $1 AND EXISTS (SELECT 1 FROM signal AS other \
     WHERE other.source = signal.source AND other.fingerprint = signal.fingerprint \
     AND other.last_seen > signal.last_seen AND (other.starts_at > signal.starts_at OR other.state = 'firing' \
     OR other.ends_at > signal.starts_at))",
    "DELETE FROM signal WHERE state = 'resolved' AND last_seen < $1",
    "DELETE FROM decision WHERE decided_at < $1 AND state <> 'moving' AND generation <= \
     (SELECT MAX(newer.generation) FROM decision AS newer WHERE newer.fleet = decision.fleet) - 100",
    "DELETE FROM event WHERE at < $1",
    "DELETE FROM request WHERE answered_at < $1",
    "DELETE FROM proposal WHERE until < $1 AND generation <= \
     (SELECT COALESCE(MAX(decision.generation), 0) FROM decision WHERE decision.fleet = proposal.fleet)",
];

impl Operation for Prune {
    type Output = u64;

    async fn apply(&self, conn: &mut AnyConnection) -> Result<u64, Error> {
        let mut deleted = 0;
        for statement in PRUNE {
            let result = sqlx::query(statement).bind(time(self.before)).execute(&mut *conn).await?;
            deleted += result.rows_affected();
        }
        Ok(deleted)
    }
}

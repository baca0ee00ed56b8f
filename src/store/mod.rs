//! What must survive: signals, decisions, what people set, and the journal of steps.
//!
//! A SQLite file for one process, or a PostgreSQL for several: the same SQL, chosen by the URL. Everything is plain text in
//! tables that anybody can read: `sqlite3 switchyard.db 'select * from history'` (or `psql`) tells the story.
//!
//! **Durability.** A call that changes something returns after its transaction is on the disk. One task writes, and puts
//! all that waits into one transaction, so that many alerts at once cost few disk writes. An operation that loses (a
//! decision that came second) changes nothing and does not disturb its neighbours. When the connection to a PostgreSQL
//! breaks in a commit, nobody knows whether it was written: [`Error::Unknown`]; what is read next is the truth.
//!
//! **Exclusive.** A file `<database>.lock` is locked for as long as the process lives and says who has it. The database
//! must be on a local disk: network file systems neither carry the write-ahead log nor lock reliably. Processes that share
//! a PostgreSQL take turns by a [lease](Lease); what a process writes that no longer leads is refused. Their
//! transactions that write come one after the other, held apart by the lock on one row.
//!
//! **Episodes.** A signal is one episode of one alert: source, fingerprint and `startsAt`. Reports may come in any order
//! and any number, see [`merge`]. Alertmanager moves `startsAt` earlier when a second Prometheus server began to fire
//! before the first; the same episode is then stored under both, and [`Store::load`] gives the one heard of last.

mod error;
mod lease;
mod lock;
mod merge;
mod operations;
mod people;
mod postgres;
mod read;
mod records;
mod requests;
mod rows;
mod schema;
mod writer;

use std::{sync::atomic::Ordering, time::Duration};

use jiff::{SignedDuration, Timestamp};
use sqlx::{AnyConnection, AnyPool};

pub use error::Error;
pub use lease::{Lease, Standing, Term};
pub use merge::merge;
pub use records::{
    Acknowledged, Acted, Committed, Ending, Event, HistoryEntry, Holder, OverrideLifted, OverrideSet, Person,
    ProposalAnswered, RequestRecord, Started, State, Stats, StepRecord, Upserted,
};
pub use requests::NewRequest;

use crate::model::{
    Consent, Decision, Epoch, Fence, FleetName, Generation, Holders, Leader, MoveState, Override,
    OverrideKind, Proposal, Proposed, Request, Signal, Step, StepOutcome,
};
use writer::{Hold, Writer, in_time};

/// A handle on the store; clones share it.
#[derive(Clone)]
pub struct Store {
    writer: Writer,
    read: AnyPool,
    show: AnyPool,
    patience: Option<Duration>,
    /// The term on whose behalf it writes; that of the moment when there is none.
    pinned: Option<Epoch>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store and brings its tables to this version.
    ///
    /// `sqlite:///path/file.db` or `sqlite://relative.db` is for this process alone; what follows `sqlite://` is the path as
    /// it is. A missing file is created for its owner alone, a missing directory is an error.
    ///
    /// `postgres://user:password@host/database?sslmode=verify-full` may be shared. The process competes for the lease, whose
    /// terms last `term` unless renewed; until [`Lease::term`] says that it leads, it can read, and take signals.
    pub async fn open(url: &str, holder: &Holder, term: Duration) -> Result<Self, Error> {
        let (pools, lease, hold) = if postgres::is_meant(url) {
            let (pools, lease, kept) = postgres::open(url, holder, term).await?;
            (pools, lease, Hold::Lease(kept))
        } else {
            let (pools, lease, lock) = schema::open(url, holder).await?;
            (pools, lease, Hold::File(lock))
        };
        let (read, show, patience) = (pools.read.clone(), pools.show.clone(), pools.patience);
        Ok(Self { writer: Writer::start(pools, lease, hold), read, show, patience, pinned: None })
    }

    /// Who leads.
    pub fn lease(&self) -> &Lease {
        &self.writer.lease
    }

    /// The same store, for writes on behalf of one term only: what it writes in a later one is refused.
    #[must_use]
    pub fn pinned(&self, term: Term) -> Self {
        Self { pinned: Some(term.epoch), ..self.clone() }
    }

    /// The same store, for what is shown to whoever asks: its reads have connections of their own, and however many there
    /// are, the loop and people's actions wait for none of them.
    #[must_use]
    pub fn to_show(&self) -> Self {
        Self { read: self.show.clone(), ..self.clone() }
    }

    /// Whether this process could open the store of `url`, without opening it or leaving anything behind.
    ///
    /// # Errors
    /// What would keep it from that; [`Error::InUse`] when a process has it.
    pub async fn check(url: &str) -> Result<(), Error> {
        if postgres::is_meant(url) {
            return postgres::check(url).await;
        }
        schema::check(url)
    }

    /// Takes reports of alerts, all in one transaction, and says what each changed. [`Error::Busy`] at once when too many
    /// writes wait, or one for a database that takes nothing: the sender shall come again.
    pub async fn upsert_signals(&self, signals: Vec<Signal>) -> Result<Vec<Upserted>, Error> {
        self.writer.try_write(self.pinned, operations::UpsertSignals(signals)).await
    }

    /// Ends firing episodes, all in one transaction, each with its event in the story. Says which ended: one that was
    /// heard of meanwhile goes on.
    pub async fn end_signals(&self, endings: Vec<Ending>) -> Result<Vec<bool>, Error> {
        self.writer.write(self.pinned, operations::EndSignals(endings)).await
    }

    /// Who holds each fleet that has a decision: what a person's act is compared with.
    pub async fn holders(&self) -> Result<Holders, Error> {
        self.read(async |conn| read::holders(conn).await).await
    }

    /// Every episode that fires.
    pub async fn firing_signals(&self) -> Result<Vec<Signal>, Error> {
        self.read(async |conn| read::firing_signals(conn).await).await
    }

    /// All that a pass starts from, as of one moment.
    pub async fn load(&self, now: Timestamp) -> Result<State, Error> {
        self.read(async |conn| read::load(conn, now).await).await
    }

    /// Takes up a decision, if it follows the fleet's latest and no move of the fleet is under way.
    pub async fn commit_decision(&self, decision: &Decision) -> Result<Committed, Error> {
        let decision = decision.clone();
        self.writer.write(self.pinned, operations::CommitDecision { decision, answer: None }).await
    }

    /// The same for the decision that a person asked for; the request is answered in the same transaction.
    pub async fn commit_request(
        &self,
        decision: &Decision,
        request: i64,
        outcome: &str,
        sentence: &str,
    ) -> Result<Committed, Error> {
        let (outcome, sentence) = (outcome.to_owned(), sentence.to_owned());
        let (generation, at) = (Some(decision.generation), decision.decided_at);
        let answer = Some(requests::AnswerRequest { id: request, outcome, sentence, generation, at });
        let decision = decision.clone();
        self.writer.write(self.pinned, operations::CommitDecision { decision, answer }).await
    }

    /// Ends a move as done or failed, and writes down the event that tells of it. False when it was not moving.
    pub async fn finish_decision(
        &self,
        fleet: &FleetName,
        generation: Generation,
        state: MoveState,
        told: &Event,
    ) -> Result<bool, Error> {
        let (fleet, told) = (fleet.clone(), told.clone());
        self.writer.write(self.pinned, operations::FinishDecision { fleet, generation, state, told }).await
    }

    /// Clears the latch that a failed move left on its fleet, and lifts a cool-down of this length, and records each with
    /// who did it.
    pub async fn acknowledge(
        &self,
        fleet: &FleetName,
        cool_down: SignedDuration,
        person: &Person,
    ) -> Result<Acted<Acknowledged>, Error> {
        let (fleet, person) = (fleet.clone(), person.clone());
        self.writer.write(self.pinned, people::Acknowledge { fleet, cool_down, person }).await
    }

    /// Sets an override and records who did. It takes the place of one of the same kind on the same fleet, unless that is
    /// another author's and does not end earlier: nobody ends by accident what another one has stopped.
    pub async fn set_override(
        &self,
        set: &Override,
        expected: &Holders,
    ) -> Result<Acted<OverrideSet>, Error> {
        let (set, expected) = (set.clone(), expected.clone());
        self.writer.write(self.pinned, people::SetOverride { set, expected }).await
    }

    /// Lifts an override and records who did; says what is still in force.
    pub async fn lift_override(
        &self,
        fleet: Option<&FleetName>,
        kind: OverrideKind,
        person: &Person,
    ) -> Result<Acted<OverrideLifted>, Error> {
        let (fleet, person) = (fleet.cloned(), person.clone());
        self.writer.write(self.pinned, people::LiftOverride { fleet, kind, person }).await
    }

    /// Writes down a move that waits for a person, and gives it its number.
    pub async fn propose(
        &self,
        what: &Proposed,
        reason: &str,
        at: Timestamp,
        until: Timestamp,
    ) -> Result<Proposal, Error> {
        let (what, reason) = (what.clone(), reason.to_owned());
        self.writer.write(self.pinned, people::Propose { what, reason, at, until }).await
    }

    /// Answers a proposal of a fleet. An approval can be taken back by rejecting for as long as the move was not decided.
    pub async fn answer_proposal(
        &self,
        fleet: &FleetName,
        id: i64,
        consent: Consent,
        person: &Person,
    ) -> Result<Acted<ProposalAnswered>, Error> {
        let (fleet, person) = (fleet.clone(), person.clone());
        self.writer.write(self.pinned, people::AnswerProposal { fleet, id, consent, person }).await
    }

    /// Ends the proposals whose time is over, and says so in the story; a rejection stands. Says how many there were.
    pub async fn expire_proposals(&self, at: Timestamp) -> Result<u64, Error> {
        self.writer.write(self.pinned, people::ExpireProposals { at }).await
    }

    /// Takes a person's request for a planned move and gives its number.
    pub async fn add_request(&self, request: &NewRequest) -> Result<i64, Error> {
        self.writer.write(self.pinned, requests::AddRequest(request.clone())).await
    }

    /// Requests that no pass has answered, oldest first.
    pub async fn open_requests(&self) -> Result<Vec<Request>, Error> {
        self.read(async |conn| requests::open_requests(conn).await).await
    }

    /// Answers a request. One that has an answer keeps it.
    pub async fn answer_request(
        &self,
        id: i64,
        outcome: &str,
        sentence: &str,
        generation: Option<Generation>,
        at: Timestamp,
    ) -> Result<(), Error> {
        let (outcome, sentence) = (outcome.to_owned(), sentence.to_owned());
        self.writer
            .write(self.pinned, requests::AnswerRequest { id, outcome, sentence, generation, at })
            .await
    }

    /// Writes down that a request waits. False when that was written down before.
    pub async fn hold_request(&self, id: i64, event: &Event) -> Result<bool, Error> {
        self.writer.write(self.pinned, requests::HoldRequest { id, event: event.clone() }).await
    }

    /// A request, open or answered.
    pub async fn request(&self, id: i64) -> Result<Option<RequestRecord>, Error> {
        self.read(async |conn| requests::request(conn, id).await).await
    }

    /// Writes down steps before they act, unless a newer decision has come.
    pub async fn steps_started(
        &self,
        fence: &Fence,
        steps: &[Step],
        at: Timestamp,
    ) -> Result<Started, Error> {
        let (fence, steps) = (fence.clone(), steps.to_vec());
        self.writer.write(self.pinned, operations::StepsStarted { fence, steps, at }).await
    }

    /// Writes down what came of steps. A step that has an outcome keeps it.
    pub async fn steps_finished(&self, outcomes: &[(i64, StepOutcome)], at: Timestamp) -> Result<(), Error> {
        self.writer.write(self.pinned, operations::StepsFinished { outcomes: outcomes.to_vec(), at }).await
    }

    /// Steps that were started and have no outcome, oldest first.
    pub async fn unfinished_steps(&self) -> Result<Vec<StepRecord>, Error> {
        self.read(async |conn| read::unfinished_steps(conn).await).await
    }

    /// Gives every step without an outcome the outcome *unknown*, and says how many there were. For the start of the
    /// process: what was under way when the last one ended may or may not have happened.
    pub async fn mark_interrupted(&self, at: Timestamp) -> Result<u64, Error> {
        self.writer.write(self.pinned, operations::MarkInterrupted { at }).await
    }

    /// Adds a sentence to the story.
    pub async fn record_event(&self, event: &Event) -> Result<(), Error> {
        self.writer.write(self.pinned, operations::RecordEvent(event.clone())).await
    }

    /// The newest entries of the story, newest first; of one fleet (with what concerns all fleets), or of all.
    pub async fn history(&self, fleet: Option<&FleetName>, limit: u32) -> Result<Vec<HistoryEntry>, Error> {
        self.read(async |conn| read::history(conn, fleet, limit).await).await
    }

    /// Deletes what is older, and says how many rows that were, steps not counted. Kept: the 100 latest decisions of every
    /// fleet, moves under way, episodes that fire, overrides, answers to proposals that may come again. Keep at least the 7
    /// days that [`State::moves`] covers.
    pub async fn prune(&self, before: Timestamp) -> Result<u64, Error> {
        self.writer.write(self.pinned, operations::Prune { before }).await
    }

    /// Waits until all that was asked for before is written, or has failed.
    pub async fn written(&self) -> Result<(), Error> {
        self.writer.written().await
    }

    /// For stories, on a file: another process takes the lease, as a replica would. This one finds out when its next write
    /// is refused.
    pub async fn lead_elsewhere(&self, name: &str, at: Timestamp) -> Result<(), Error> {
        let epoch = self.writer.write(None, lease::TakeEpoch { name: name.to_owned(), at }).await?;
        self.lease().led_by(Leader { name: name.to_owned(), epoch, since: at });
        Ok(())
    }

    /// For stories, on a file: this process takes itself for the leader from now on, however often it is refused.
    pub fn insist_on_leading(&self) {
        self.lease().insist();
    }

    /// For stories, on a file: this process takes the lease again.
    pub async fn lead_again(&self, at: Timestamp) -> Result<(), Error> {
        let name = self.lease().name().to_owned();
        let epoch = self.writer.write(None, lease::TakeEpoch { name, at }).await?;
        self.lease().regained(epoch);
        Ok(())
    }

    /// Counts for metrics.
    pub fn stats(&self) -> Stats {
        let counters = &self.writer.counters;
        Stats {
            commits: counters.commits.load(Ordering::Relaxed),
            operations: counters.operations.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            queue_depth: self.writer.depth(),
            leads: self.lease().term().is_some(),
            epoch: self.lease().highest_epoch(),
            renewal_failures: self.lease().failures(),
        }
    }

    /// Reads on a connection of its own; one that is silent is closed.
    async fn read<T>(
        &self,
        read: impl AsyncFnOnce(&mut AnyConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut conn = self.read.acquire().await?;
        let result = in_time(self.patience, read(&mut conn)).await;
        if matches!(result, Err(Error::Silent)) {
            drop(conn.detach());
        }
        result
    }

    /// Writes what waits, closes the database, and lets go of the lock or gives the lease back. Calls on other handles fail from now on.
    pub async fn close(self) -> Result<(), Error> {
        self.writer.close().await
    }
}

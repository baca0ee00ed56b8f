//! What must survive: signals, decisions, what people set, and the journal of steps.
//!
//! One SQLite file, held by one process. Everything is plain text in tables that anybody can read:
//! `sqlite3 switchyard.db 'select * from history'` tells the story.
//!
//! **Durability.** A call that changes something returns after its transaction is on the disk (`synchronous=FULL`).
//! One task writes, and puts all that waits into one transaction, so that many alerts at once cost few disk writes.
//! An operation that loses (a decision that came second) changes nothing and does not disturb its neighbours.
//!
//! **Exclusive.** The file `<database>.lock` is locked for as long as the process lives and says who has it. The file
//! must be on a local disk: network file systems neither carry the write-ahead log nor lock reliably.
//!
//! **Episodes.** A signal is one episode of one alert: source, fingerprint and `startsAt`. Reports may come in any order
//! and any number, see [`merge`]. Alertmanager moves `startsAt` earlier when a second Prometheus server began to fire
//! before the first; the same episode is then stored under both, and [`Store::load`] gives the one heard of last.

mod error;
mod lock;
mod merge;
mod operations;
mod read;
mod records;
mod requests;
mod rows;
mod schema;
mod writer;

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use sqlx::AnyPool;

pub use error::Error;
pub use merge::merge;
pub use records::{Committed, Event, HistoryEntry, Holder, Started, State, Stats, StepRecord, Upserted};
pub use requests::NewRequest;

use crate::model::{
    Decision, Fence, FleetName, Generation, MoveState, Override, OverrideKind, Phase, Request, Signal, Step,
    StepOutcome,
};
use writer::Writer;

/// A handle on the store; clones share it.
#[derive(Clone)]
pub struct Store {
    writer: Writer,
    read: AnyPool,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store for this process alone and brings its tables to this version. The URL is
    /// `sqlite:///path/file.db` or `sqlite://relative.db`; what follows `sqlite://` is the path as it is. A missing file
    /// is created for its owner alone, a missing directory is an error.
    pub async fn open(url: &str, holder: &Holder) -> Result<Self, Error> {
        let (pools, lock) = schema::open(url, holder).await?;
        let read = pools.read.clone();
        Ok(Self { writer: Writer::start(pools, lock), read })
    }

    /// Whether this process could open the store of `url`, without opening it or leaving anything behind.
    ///
    /// # Errors
    /// What would keep it from that; [`Error::InUse`] when a process has it.
    pub fn check(url: &str) -> Result<(), Error> {
        schema::check(url)
    }

    /// Takes reports of alerts, all in one transaction, and says what each changed. [`Error::Busy`] at once when too many
    /// writes wait: the sender shall come again.
    pub async fn upsert_signals(&self, signals: Vec<Signal>) -> Result<Vec<Upserted>, Error> {
        self.writer.try_write(operations::UpsertSignals(signals)).await
    }

    /// All that a pass starts from, as of one moment.
    pub async fn load(&self, now: Timestamp) -> Result<State, Error> {
        read::load(&self.read, now).await
    }

    /// Takes up a decision, if it follows the fleet's latest and no move of the fleet is under way.
    pub async fn commit_decision(&self, decision: &Decision) -> Result<Committed, Error> {
        self.writer.write(operations::CommitDecision(decision.clone())).await
    }

    /// Ends a move as done or failed. False when it was not moving.
    pub async fn finish_decision(
        &self,
        fleet: &FleetName,
        generation: Generation,
        state: MoveState,
        at: Timestamp,
    ) -> Result<bool, Error> {
        let fleet = fleet.clone();
        self.writer.write(operations::FinishDecision { fleet, generation, state, at }).await
    }

    /// Clears the latch that a failed move left on its fleet, and records who did. None when nothing was latched.
    pub async fn acknowledge(
        &self,
        fleet: &FleetName,
        author: &str,
        reason: &str,
        at: Timestamp,
    ) -> Result<Option<Generation>, Error> {
        let (fleet, author, reason) = (fleet.clone(), author.to_owned(), reason.to_owned());
        self.writer.write(operations::Acknowledge { fleet, author, reason, at }).await
    }

    /// Sets an override, in place of one of the same kind on the same fleet, and records who did.
    pub async fn set_override(&self, set: &Override) -> Result<(), Error> {
        self.writer.write(operations::SetOverride(set.clone())).await
    }

    /// Lifts an override and records who did. False when none was in force.
    pub async fn lift_override(
        &self,
        fleet: Option<&FleetName>,
        kind: OverrideKind,
        author: &str,
        reason: &str,
        at: Timestamp,
    ) -> Result<bool, Error> {
        let (fleet, author, reason) = (fleet.cloned(), author.to_owned(), reason.to_owned());
        self.writer.write(operations::LiftOverride { fleet, kind, author, reason, at }).await
    }

    /// Takes a person's request for a planned move and gives its number.
    pub async fn add_request(&self, request: &NewRequest) -> Result<i64, Error> {
        self.writer.write(requests::AddRequest(request.clone())).await
    }

    /// Requests that no pass has answered, oldest first.
    pub async fn open_requests(&self) -> Result<Vec<Request>, Error> {
        requests::open_requests(&self.read).await
    }

    /// Answers a request. One that has an answer keeps it.
    pub async fn answer_request(
        &self,
        id: i64,
        outcome: &str,
        sentence: &str,
        at: Timestamp,
    ) -> Result<(), Error> {
        let (outcome, sentence) = (outcome.to_owned(), sentence.to_owned());
        self.writer.write(requests::AnswerRequest { id, outcome, sentence, at }).await
    }

    /// Writes down steps before they act, unless a newer decision has come.
    pub async fn steps_started(
        &self,
        fence: &Fence,
        phase: Phase,
        steps: &[Step],
        at: Timestamp,
    ) -> Result<Started, Error> {
        let (fence, steps) = (fence.clone(), steps.to_vec());
        self.writer.write(operations::StepsStarted { fence, phase, steps, at }).await
    }

    /// Writes down what came of steps. A step that has an outcome keeps it.
    pub async fn steps_finished(&self, outcomes: &[(i64, StepOutcome)], at: Timestamp) -> Result<(), Error> {
        self.writer.write(operations::StepsFinished { outcomes: outcomes.to_vec(), at }).await
    }

    /// Steps that were started and have no outcome, oldest first.
    pub async fn unfinished_steps(&self) -> Result<Vec<StepRecord>, Error> {
        read::unfinished_steps(&self.read).await
    }

    /// Gives every step without an outcome the outcome *unknown*, and says how many there were. For the start of the
    /// process: what was under way when the last one ended may or may not have happened.
    pub async fn mark_interrupted(&self, at: Timestamp) -> Result<u64, Error> {
        self.writer.write(operations::MarkInterrupted { at }).await
    }

    /// Adds a sentence to the story.
    pub async fn record_event(&self, event: &Event) -> Result<(), Error> {
        self.writer.write(operations::RecordEvent(event.clone())).await
    }

    /// The newest entries of the story, newest first; of one fleet (with what concerns all fleets), or of all.
    pub async fn history(&self, fleet: Option<&FleetName>, limit: u32) -> Result<Vec<HistoryEntry>, Error> {
        read::history(&self.read, fleet, limit).await
    }

    /// Deletes what is older, and says how many rows that were, steps not counted. Kept: every fleet's latest decision,
    /// moves under way, episodes that fire, overrides in force. Keep at least the 7 days that [`State::moves`] covers.
    pub async fn prune(&self, before: Timestamp) -> Result<u64, Error> {
        self.writer.write(operations::Prune { before }).await
    }

    /// Counts for metrics.
    pub fn stats(&self) -> Stats {
        let counters = &self.writer.counters;
        Stats {
            commits: counters.commits.load(Ordering::Relaxed),
            operations: counters.operations.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            queue_depth: self.writer.depth(),
        }
    }

    /// Writes what waits, closes the database, and lets go of the lock. Calls on other handles fail from now on.
    pub async fn close(self) -> Result<(), Error> {
        self.writer.close().await
    }
}

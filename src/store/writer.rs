//! The one task that writes: whatever waits goes into one transaction.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use sqlx::{Any, AnyConnection, AnyPool, Connection, Transaction};
use tokio::sync::{mpsc, oneshot};

use super::{
    Error, error,
    lease::{Kept, Lease},
    lock::Lock,
    operations,
    rows::{get, get_epoch},
};
use crate::model::Epoch;

/// How many operations may wait before the store says that it is busy: more than a large Alertmanager has groups. Thousands of
/// senders that are told to come again come at once and together, and leave less time for the work itself.
const QUEUE: usize = 8192;
/// How many operations share a transaction at most.
const BATCH: usize = 256;

/// Begins every transaction that writes: those of all processes that share the database come one after the other, so
/// that each sees what the ones before it did, and that no other process becomes the leader in the midst of one.
pub(super) const MUTEX: &str = "UPDATE sequence SET value = value WHERE name = 'entry'";

/// How often a transaction that collided with another one is begun again.
const ATTEMPTS: u32 = 5;

/// One change of the database. It may run more than once, each time in a transaction that sees none of its earlier runs.
pub(super) trait Operation: Send + Sync + 'static {
    type Output: Send + 'static;

    /// Whether only the leader may do it.
    const FENCED: bool = true;

    fn apply(&self, conn: &mut AnyConnection) -> impl Future<Output = Result<Self::Output, Error>> + Send;

    /// How many times as long as others it may take.
    fn weight(&self) -> u32 {
        1
    }

    /// When it was asked for and what it is, for the journal's row about its refusal because another process leads; none
    /// when that is not worth a row.
    fn refused(&self) -> Option<(Timestamp, String)> {
        None
    }
}

/// Who leads, as the transaction sees it.
struct Current {
    epoch: Epoch,
    holder: Option<String>,
}

/// An operation with the caller who waits for it.
trait Job: Send {
    fn apply<'a>(
        &'a mut self,
        conn: &'a mut AnyConnection,
        current: &'a Current,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

    fn weight(&self) -> u32;

    fn answer(self: Box<Self>, result: Result<(), Error>);
}

struct Pending<O: Operation> {
    operation: O,
    /// On whose behalf it writes.
    epoch: Epoch,
    lease: Lease,
    /// What came of it; it may have been refused without disturbing its neighbours.
    output: Option<Result<O::Output, Error>>,
    reply: oneshot::Sender<Result<O::Output, Error>>,
}

impl<O: Operation> Job for Pending<O> {
    fn apply<'a>(
        &'a mut self,
        conn: &'a mut AnyConnection,
        current: &'a Current,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>> {
        Box::pin(async move {
            if !O::FENCED || self.epoch == current.epoch {
                self.output = Some(Ok(self.operation.apply(conn).await?));
                return Ok(());
            }
            let leader = current.holder.as_deref().unwrap_or("nobody");
            let why = format!("epoch {} is over, {leader} leads (epoch {})", self.epoch, current.epoch);
            if let Some((at, what)) = self.operation.refused() {
                let sentence = format!("refused from a former leader: {what}; {why}");
                operations::record_refusal(conn, at, sentence, self.epoch).await?;
            }
            self.output = Some(Err(Error::Fenced(why)));
            Ok(())
        })
    }

    fn weight(&self) -> u32 {
        self.operation.weight()
    }

    fn answer(self: Box<Self>, result: Result<(), Error>) {
        let Self { output, reply, epoch, lease, .. } = *self;
        let result = result.and_then(|()| output.unwrap_or(Err(Error::Closed)));
        if matches!(result, Err(Error::Fenced(_))) {
            lease.lost(epoch);
        }
        // A caller who gave up needs no answer; the operation stands all the same.
        let _ = reply.send(result);
    }
}

enum Message {
    Do(Box<dyn Job>),
    /// Answer when all that came before is written.
    Written(oneshot::Sender<()>),
    Close(oneshot::Sender<Result<(), Error>>),
}

type Queued<T> = (Message, oneshot::Receiver<Result<T, Error>>);

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) commits: AtomicU64,
    pub(super) operations: AtomicU64,
    pub(super) refused: AtomicU64,
    /// The database took nothing, the last time.
    stalled: AtomicBool,
}

/// The way to the writer task.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    pub(super) counters: Arc<Counters>,
    pub(super) lease: Lease,
}

/// What makes this process the only one that writes, until it ends.
pub(super) enum Hold {
    /// The file is locked.
    File(Lock),
    /// A lease is kept.
    Lease(Kept),
}

impl Writer {
    /// Starts the task. It ends, and lets go of `hold`, on [`Self::close`] or when the last handle is dropped.
    pub(super) fn start(pools: Pools, lease: Lease, hold: Hold) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let counters = Arc::new(Counters::default());
        tokio::spawn(run(pools, hold, waiting, counters.clone()));
        Self { queue, counters, lease }
    }

    /// Waits for a place in the queue, then for the commit.
    pub(super) async fn write<O: Operation>(
        &self,
        epoch: Option<Epoch>,
        operation: O,
    ) -> Result<O::Output, Error> {
        let (job, answer) = self.pending(epoch, operation)?;
        self.queue.send(job).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Waits for the commit, but not for a place in the queue; nor for a database that takes nothing, as long as somebody
    /// else does: callers who wait in vain hold places that others need.
    pub(super) async fn try_write<O: Operation>(
        &self,
        epoch: Option<Epoch>,
        operation: O,
    ) -> Result<O::Output, Error> {
        let (job, answer) = self.pending(epoch, operation)?;
        let busy = || {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            Error::Busy
        };
        if self.counters.stalled.load(Ordering::Relaxed) && self.depth() > 0 {
            return Err(busy());
        }
        self.queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => busy(),
            mpsc::error::TrySendError::Closed(_) => Error::Closed,
        })?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Waits until all that was asked for before is written, or has failed.
    pub(super) async fn written(&self) -> Result<(), Error> {
        let (reply, written) = oneshot::channel();
        self.queue.send(Message::Written(reply)).await.map_err(|_| Error::Closed)?;
        written.await.map_err(|_| Error::Closed)
    }

    /// Takes no more, writes what waits, and closes the database.
    pub(super) async fn close(&self) -> Result<(), Error> {
        let (reply, closed) = oneshot::channel();
        self.queue.send(Message::Close(reply)).await.map_err(|_| Error::Closed)?;
        closed.await.map_err(|_| Error::Closed)?
    }

    fn pending<O: Operation>(&self, epoch: Option<Epoch>, operation: O) -> Result<Queued<O::Output>, Error> {
        // Without a pinned epoch it is that of the moment.
        let epoch = match epoch.or_else(|| self.lease.own_epoch()) {
            Some(epoch) => epoch,
            None if O::FENCED => return Err(Error::Fenced(self.lease.leadership().to_string())),
            None => Epoch(0),
        };
        let (reply, answer) = oneshot::channel();
        let lease = self.lease.clone();
        Ok((Message::Do(Box::new(Pending { operation, epoch, lease, output: None, reply })), answer))
    }

    /// How many operations wait.
    pub(super) fn depth(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}

/// The connections: one that writes, some that read, and others that read for whoever asks.
#[derive(Debug, Clone)]
pub(super) struct Pools {
    pub(super) write: AnyPool,
    pub(super) read: AnyPool,
    pub(super) show: AnyPool,
    /// How long the database may take; none for a file.
    pub(super) patience: Option<Duration>,
    /// A file that this process has for itself.
    pub(super) file: bool,
}

async fn run(pools: Pools, hold: Hold, mut waiting: mpsc::Receiver<Message>, counters: Arc<Counters>) {
    let mut messages = Vec::with_capacity(BATCH);
    let (mut closers, mut waiters) = (Vec::new(), Vec::new());
    while waiting.recv_many(&mut messages, BATCH).await > 0 {
        let mut jobs = Vec::with_capacity(messages.len());
        for message in messages.drain(..) {
            match message {
                Message::Do(job) => jobs.push(job),
                Message::Written(reply) => waiters.push(reply),
                Message::Close(reply) => {
                    waiting.close();
                    closers.push(reply);
                }
            }
        }
        commit(&pools, jobs, &counters).await;
        for reply in waiters.drain(..) {
            let _ = reply.send(());
        }
    }
    let result = finish(&pools).await;
    match hold {
        Hold::File(lock) => drop(lock),
        Hold::Lease(kept) => kept.release().await,
    }
    for reply in closers {
        let _ = reply.send(result.clone());
    }
}

/// Commits all jobs together. When one of them breaks the transaction by what it asks, each gets its own.
async fn commit(pools: &Pools, mut jobs: Vec<Box<dyn Job>>, counters: &Counters) {
    if jobs.is_empty() {
        return;
    }
    counters.operations.fetch_add(jobs.len() as u64, Ordering::Relaxed);
    let result = transaction(pools, &mut jobs, counters).await;
    counters.stalled.store(matches!(&result, Err(error) if error.is_transient()), Ordering::Relaxed);
    match result {
        Err(error) if jobs.len() > 1 && !error.is_transient() => {
            for mut job in jobs {
                let result = transaction(pools, std::slice::from_mut(&mut job), counters).await;
                job.answer(result);
            }
        }
        result => {
            for job in jobs {
                job.answer(result.clone());
            }
        }
    }
}

async fn transaction(pools: &Pools, jobs: &mut [Box<dyn Job>], counters: &Counters) -> Result<(), Error> {
    let mut attempt = 1;
    loop {
        let result = attempt_once(pools, jobs).await;
        match &result {
            Ok(()) => {
                counters.commits.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) if attempt < ATTEMPTS && error::collided(error) => {
                attempt += 1;
                continue;
            }
            Err(_) => {}
        }
        return result;
    }
}

async fn attempt_once(pools: &Pools, jobs: &mut [Box<dyn Job>]) -> Result<(), Error> {
    let mut conn = pools.write.acquire().await?;
    let mut committing = false;
    let applied = apply(&mut conn, jobs, pools.patience, &mut committing).await;
    let Err(error) = applied else { return Ok(()) };
    // A transaction may have ended by itself or not: only a new connection is in a known state. One that is silent is
    // not waited for.
    let closing = conn.close();
    let _ = in_time(pools.patience.map(|_| Duration::from_millis(100)), async { Ok(closing.await?) }).await;
    let broken = !matches!(&error, Error::Database(e) if e.as_database_error().is_some());
    Err(if committing && broken && !pools.file { Error::Unknown } else { error })
}

/// Gives up after a while, if there is a limit.
pub(super) async fn in_time<T>(
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match limit {
        None => work.await,
        Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or(Err(Error::Silent)),
    }
}

/// Each part has its own time: many signals take longer than few, and a database that is silent is noticed all the same.
async fn apply(
    conn: &mut AnyConnection,
    jobs: &mut [Box<dyn Job>],
    patience: Option<Duration>,
    committing: &mut bool,
) -> Result<(), Error> {
    let (mut tx, current) = in_time(patience, begin(conn)).await?;
    for job in jobs {
        let limit = patience.map(|patience| patience * job.weight());
        in_time(limit, job.apply(&mut tx, &current)).await?;
    }
    *committing = true;
    in_time(patience, async { Ok(tx.commit().await?) }).await
}

async fn begin(conn: &mut AnyConnection) -> Result<(Transaction<'_, Any>, Current), Error> {
    let mut tx = conn.begin().await?;
    sqlx::query(MUTEX).execute(&mut *tx).await?;
    let row =
        sqlx::query("SELECT epoch, holder FROM lease WHERE name = 'leader'").fetch_one(&mut *tx).await?;
    let current = Current { epoch: get_epoch(&row)?, holder: get(&row, "holder")? };
    Ok((tx, current))
}

async fn finish(pools: &Pools) -> Result<(), Error> {
    // Readers hold back the checkpoint, so they go first.
    pools.show.close().await;
    pools.read.close().await;
    let result = if pools.file { super::schema::checkpoint(&pools.write).await } else { Ok(()) };
    pools.write.close().await;
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Event, Holder, operations::RecordEvent, schema};

    fn event(sentence: &str) -> Event {
        let (at, outcome) = (jiff::Timestamp::UNIX_EPOCH, String::new());
        Event { at, fleet: None, outcome, sentence: sentence.to_owned(), author: None }
    }

    /// Writes, and then breaks in a way that nobody foresaw.
    struct Breaks;

    impl Operation for Breaks {
        type Output = ();

        async fn apply(&self, conn: &mut AnyConnection) -> Result<(), Error> {
            RecordEvent(event("broken")).apply(conn).await?;
            sqlx::query("INSERT INTO event (id) VALUES (1)").execute(conn).await?;
            Ok(())
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_operation_that_breaks_leaves_its_neighbours_alone() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("s.db").display());
        let holder = Holder { listen: String::new(), now: jiff::Timestamp::UNIX_EPOCH };
        let (pools, lease, lock) = schema::open(&url, &holder).await.unwrap();
        let writer = Writer::start(pools.clone(), lease, Hold::File(lock));
        // One poll of each before the writer runs: all three are in one batch.
        let (before, broken, after) = tokio::join!(
            writer.write(None, RecordEvent(event("before"))),
            writer.write(None, Breaks),
            writer.write(None, RecordEvent(event("after"))),
        );
        before.unwrap();
        after.unwrap();
        assert!(matches!(broken, Err(error @ Error::Database(_)) if !error.is_transient()));
        let said: Vec<String> = sqlx::query_scalar("SELECT sentence FROM event ORDER BY id")
            .fetch_all(&pools.read)
            .await
            .unwrap();
        assert_eq!(said, ["before", "after"]);
        assert_eq!(writer.counters.operations.load(Ordering::Relaxed), 3);
        assert_eq!(writer.counters.commits.load(Ordering::Relaxed), 2, "each on its own");

        let (before, after) = tokio::join!(
            writer.write(None, RecordEvent(event("a"))),
            writer.write(None, RecordEvent(event("b")))
        );
        before.unwrap();
        after.unwrap();
        assert_eq!(writer.counters.commits.load(Ordering::Relaxed), 3, "together");
        writer.close().await.unwrap();
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_cannot_be_served_soon_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("s.db").display());
        let holder = Holder { listen: String::new(), now: jiff::Timestamp::UNIX_EPOCH };
        let (pools, lease, lock) = schema::open(&url, &holder).await.unwrap();
        let writer = Writer::start(pools, lease, Hold::File(lock));
        // One poll of each before the writer runs.
        let many = |count: usize| {
            futures::future::join_all((0..count).map(|_| writer.try_write(None, RecordEvent(event("one")))))
        };
        let busy = |results: Vec<Result<_, Error>>| results.iter().filter(|r| r.is_err()).count();
        assert_eq!(busy(many(QUEUE + 2).await), 2, "the queue is full");
        writer.counters.stalled.store(true, Ordering::Relaxed);
        assert_eq!(busy(many(3).await), 2, "the database took nothing: one tries");
        assert_eq!(busy(many(3).await), 0, "it does again");
        assert_eq!(writer.counters.refused.load(Ordering::Relaxed), 4);
        writer.close().await.unwrap();
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_database_that_took_nothing_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.db");
        let holder = Holder { listen: String::new(), now: jiff::Timestamp::UNIX_EPOCH };
        let (pools, lease, lock) =
            schema::open(&format!("sqlite://{}", path.display()), &holder).await.unwrap();
        let writer = Writer::start(pools, lease, Hold::File(lock));
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
        let mut other = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
        let result = writer.try_write(None, RecordEvent(event("in vain"))).await;
        assert!(matches!(&result, Err(error) if error.is_transient()), "{:?}", result.err());
        assert!(writer.counters.stalled.load(Ordering::Relaxed));
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
        writer.try_write(None, RecordEvent(event("taken"))).await.unwrap();
        assert!(!writer.counters.stalled.load(Ordering::Relaxed));
        writer.close().await.unwrap();
    }
}

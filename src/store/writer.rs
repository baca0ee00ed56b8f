//! The one task that writes: whatever waits goes into one transaction.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use sqlx::{AnyConnection, AnyPool, Connection};
use tokio::sync::{mpsc, oneshot};

use super::{Error, lock::Lock};

/// How many operations may wait before the store says that it is busy.
const QUEUE: usize = 1024;
/// How many operations share a transaction at most.
const BATCH: usize = 256;

/// One change of the database. It may run more than once, each time in a transaction that sees none of its earlier runs.
pub(super) trait Operation: Send + Sync + 'static {
    type Output: Send + 'static;

    fn apply(&self, conn: &mut AnyConnection) -> impl Future<Output = Result<Self::Output, Error>> + Send;
}

/// An operation with the caller who waits for it.
trait Job: Send {
    fn apply<'a>(
        &'a mut self,
        conn: &'a mut AnyConnection,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

    fn answer(self: Box<Self>, result: Result<(), Error>);
}

struct Pending<O: Operation> {
    operation: O,
    output: Option<O::Output>,
    reply: oneshot::Sender<Result<O::Output, Error>>,
}

impl<O: Operation> Job for Pending<O> {
    fn apply<'a>(
        &'a mut self,
        conn: &'a mut AnyConnection,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>> {
        Box::pin(async move {
            self.output = Some(self.operation.apply(conn).await?);
            Ok(())
        })
    }

    fn answer(self: Box<Self>, result: Result<(), Error>) {
        let Self { output, reply, .. } = *self;
        // A caller who gave up needs no answer; the operation stands all the same.
        let _ = reply.send(result.and_then(|()| output.ok_or(Error::Closed)));
    }
}

enum Message {
    Do(Box<dyn Job>),
    Close(oneshot::Sender<Result<(), Error>>),
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) commits: AtomicU64,
    pub(super) operations: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// The way to the writer task.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    pub(super) counters: Arc<Counters>,
}

impl Writer {
    /// Starts the task. It ends, and lets go of `lock`, on [`Self::close`] or when the last handle is dropped.
    pub(super) fn start(pools: Pools, lock: Lock) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let counters = Arc::new(Counters::default());
        tokio::spawn(run(pools, lock, waiting, counters.clone()));
        Self { queue, counters }
    }

    /// Waits for a place in the queue, then for the commit.
    pub(super) async fn write<O: Operation>(&self, operation: O) -> Result<O::Output, Error> {
        let (job, answer) = pending(operation);
        self.queue.send(job).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Waits for the commit, but not for a place in the queue.
    pub(super) async fn try_write<O: Operation>(&self, operation: O) -> Result<O::Output, Error> {
        let (job, answer) = pending(operation);
        self.queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                Error::Busy
            }
            mpsc::error::TrySendError::Closed(_) => Error::Closed,
        })?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Takes no more, writes what waits, and closes the database.
    pub(super) async fn close(&self) -> Result<(), Error> {
        let (reply, closed) = oneshot::channel();
        self.queue.send(Message::Close(reply)).await.map_err(|_| Error::Closed)?;
        closed.await.map_err(|_| Error::Closed)?
    }

    /// How many operations wait.
    pub(super) fn depth(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}

fn pending<O: Operation>(operation: O) -> (Message, oneshot::Receiver<Result<O::Output, Error>>) {
    let (reply, answer) = oneshot::channel();
    (Message::Do(Box::new(Pending { operation, output: None, reply })), answer)
}

/// The connections: one that writes, some that read.
#[derive(Debug, Clone)]
pub(super) struct Pools {
    pub(super) write: AnyPool,
    pub(super) read: AnyPool,
}

async fn run(pools: Pools, lock: Lock, mut waiting: mpsc::Receiver<Message>, counters: Arc<Counters>) {
    let mut messages = Vec::with_capacity(BATCH);
    let mut closers = Vec::new();
    while waiting.recv_many(&mut messages, BATCH).await > 0 {
        let mut jobs = Vec::with_capacity(messages.len());
        for message in messages.drain(..) {
            match message {
                Message::Do(job) => jobs.push(job),
                Message::Close(reply) => {
                    waiting.close();
                    closers.push(reply);
                }
            }
        }
        commit(&pools.write, jobs, &counters).await;
    }
    let result = finish(&pools).await;
    drop(lock);
    for reply in closers {
        let _ = reply.send(result.clone());
    }
}

/// Commits all jobs together. When one of them breaks the transaction by what it asks, each gets its own.
async fn commit(pool: &AnyPool, mut jobs: Vec<Box<dyn Job>>, counters: &Counters) {
    if jobs.is_empty() {
        return;
    }
    counters.operations.fetch_add(jobs.len() as u64, Ordering::Relaxed);
    match transaction(pool, &mut jobs, counters).await {
        Err(error) if jobs.len() > 1 && !error.is_transient() => {
            for mut job in jobs {
                let result = transaction(pool, std::slice::from_mut(&mut job), counters).await;
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

async fn transaction(pool: &AnyPool, jobs: &mut [Box<dyn Job>], counters: &Counters) -> Result<(), Error> {
    let mut conn = pool.acquire().await?;
    match apply(&mut conn, jobs).await {
        Ok(()) => {
            counters.commits.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        Err(error) => {
            // SQLite ends the transaction by itself on some errors and not on others: only a new connection is in a
            // known state.
            let _ = conn.close().await;
            Err(error)
        }
    }
}

async fn apply(conn: &mut AnyConnection, jobs: &mut [Box<dyn Job>]) -> Result<(), Error> {
    let mut tx = conn.begin().await?;
    for job in jobs {
        job.apply(&mut tx).await?;
    }
    Ok(tx.commit().await?)
}

async fn finish(pools: &Pools) -> Result<(), Error> {
    // Readers hold back the checkpoint, so they go first.
    pools.read.close().await;
    let result = super::schema::checkpoint(&pools.write).await;
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
        let (pools, lock) = schema::open(&url, &holder).await.unwrap();
        let writer = Writer::start(pools.clone(), lock);
        // One poll of each before the writer runs: all three are in one batch.
        let (before, broken, after) = tokio::join!(
            writer.write(RecordEvent(event("before"))),
            writer.write(Breaks),
            writer.write(RecordEvent(event("after"))),
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

        let (before, after) =
            tokio::join!(writer.write(RecordEvent(event("a"))), writer.write(RecordEvent(event("b"))));
        before.unwrap();
        after.unwrap();
        assert_eq!(writer.counters.commits.load(Ordering::Relaxed), 3, "together");
        writer.close().await.unwrap();
    }
}

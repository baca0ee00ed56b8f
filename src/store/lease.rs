//! Who leads: the one process that may decide and act.
//!
//! A SQLite store has one process by its file lock. Processes that share a PostgreSQL compete for one row with holder,
//! epoch and term. What makes it safe does not depend on anybody's time of day:
//!
//! - The row's term is judged by the clock of the database alone.
//! - Whoever wants the row must also have *seen it unchanged* for a whole term, on a clock of its own that nobody can
//!   set: a clock of the database that jumps ends no term early. One that jumped back does not make it endless either.
//! - The leader counts its term from *before* it sent the renewal, on a clock that goes on while the machine sleeps, and
//!   gives a tenth of it away. So its term ends here before it can end anywhere else.
//! - A step begins only when a third of a term is left, is given up after that third, and no write of it is sent later.
//! - Every write to the store carries the epoch and is refused inside its transaction when the epoch is over.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use sqlx::{AnyConnection, AnyPool, Connection};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Error,
    rows::{get, get_epoch},
    writer::{MUTEX, Operation},
};
use crate::{
    clock::{boot_time, passed},
    model::{BootTime, Epoch, Leader, Leadership},
    transport::chain,
};

/// The clock of the database: the one that moves on inside a transaction.
const NOW: &str = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
/// Whether the term is over. One that begins in the future was written by a clock that has jumped back since.
const OVER: &str = "(holder IS NULL OR {now} >= renewed_at + lasts OR {now} < renewed_at)";

/// One time as leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// Its number.
    pub epoch: Epoch,
}

/// The standing of this process changed, or what it knows about the leader.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    own: Option<Own>,
    leader: Option<Leader>,
    /// The highest that was seen.
    epoch: Epoch,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Own {
    epoch: Epoch,
    /// None for ever.
    until: Option<BootTime>,
}

/// What this process knows about who leads; clones share it.
#[derive(Debug, Clone)]
pub struct Lease {
    standing: Arc<watch::Sender<Standing>>,
    failures: Arc<AtomicU64>,
    /// Whether it takes itself for the leader whatever it is told.
    stubborn: Arc<AtomicBool>,
    /// How long a term is; none when it does not end.
    length: Option<Duration>,
    name: Arc<str>,
}

impl Lease {
    /// For the one process of a store.
    pub(super) fn alone(epoch: Epoch, name: &str) -> Self {
        Self::new(Standing { own: Some(Own { epoch, until: None }), leader: None, epoch }, None, name)
    }

    fn new(standing: Standing, length: Option<Duration>, name: &str) -> Self {
        let standing = Arc::new(watch::Sender::new(standing));
        Self { standing, failures: Arc::default(), stubborn: Arc::default(), length, name: name.into() }
    }

    /// This process, as the others see it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The term of this process, if it leads.
    pub fn term(&self) -> Option<Term> {
        let own = self.standing.borrow().own?;
        (!passed(own.until)).then_some(Term { epoch: own.epoch })
    }

    /// Whether this process may decide and act, and who may otherwise.
    pub fn leadership(&self) -> Leadership {
        self.leadership_in(self.term())
    }

    /// The same for somebody who began when this was the term.
    pub fn leadership_in(&self, term: Option<Term>) -> Leadership {
        match (term, self.length) {
            (Some(Term { epoch }), None) => Leadership::Alone { epoch },
            (Some(Term { epoch }), Some(_)) => Leadership::Leads { epoch },
            (None, _) => {
                let standing = self.standing.borrow();
                // Its own name with a term that has run out is nobody.
                Leadership::StandsBy { leader: standing.leader.clone().filter(|_| standing.own.is_none()) }
            }
        }
    }

    /// How long a step may take; none when nothing limits it.
    pub fn step_limit(&self) -> Option<Duration> {
        self.length.map(|length| length / 3)
    }

    /// Until when a step that begins now may write, none meaning without limit.
    ///
    /// # Errors
    /// Why it may not begin.
    pub fn step_deadline(&self, term: Term) -> Result<Option<BootTime>, String> {
        let own = self.standing.borrow().own.filter(|own| own.epoch == term.epoch);
        let Some(own) = own else {
            return Err(format!("the time of this process as leader (epoch {}) is over", term.epoch));
        };
        let (Some(until), Some(limit)) = (own.until, self.step_limit()) else { return Ok(None) };
        let deadline = boot_time().after(limit);
        if deadline <= until {
            Ok(Some(deadline))
        } else {
            Err(format!("the lease (epoch {}) ends too soon for another step", term.epoch))
        }
    }

    /// Tells of every change of who leads.
    pub fn subscribe(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Waits until this process leads.
    pub async fn acquired(&self) -> Term {
        let mut standing = self.subscribe();
        loop {
            standing.borrow_and_update();
            if let Some(term) = self.term() {
                return term;
            }
            // The sender lives as long as this handle.
            let _ = standing.changed().await;
        }
    }

    /// The epoch that writes carry: that of the last term, even if it has run out meanwhile. The database knows.
    pub(super) fn own_epoch(&self) -> Option<Epoch> {
        self.standing.borrow().own.map(|own| own.epoch)
    }

    /// The highest epoch that this process has seen.
    pub(super) fn highest_epoch(&self) -> Epoch {
        self.standing.borrow().epoch
    }

    /// Renewals that failed.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// The database has refused a write of this epoch.
    pub(super) fn lost(&self, epoch: Epoch) {
        if self.stubborn.load(Ordering::Relaxed) {
            return;
        }
        self.standing.send_if_modified(|standing| {
            let lost = standing.own.is_some_and(|own| own.epoch == epoch);
            if lost {
                standing.own = None;
            }
            lost
        });
    }

    /// From now on it takes itself for the leader, whatever it is told.
    pub(super) fn insist(&self) {
        self.stubborn.store(true, Ordering::Relaxed);
    }

    /// Somebody else leads; what this process believes of itself stays until it is refused.
    pub(super) fn led_by(&self, leader: Leader) {
        self.set(|standing| (standing.epoch, standing.leader) = (leader.epoch, Some(leader)));
    }

    /// This process leads again, for ever.
    pub(super) fn regained(&self, epoch: Epoch) {
        self.set(|standing| {
            *standing = Standing { own: Some(Own { epoch, until: None }), leader: None, epoch };
        });
    }

    fn set(&self, change: impl FnOnce(&mut Standing)) {
        self.standing.send_if_modified(|standing| {
            let before = standing.clone();
            change(standing);
            // A mere renewal is no news.
            before.own.map(|own| own.epoch) != standing.own.map(|own| own.epoch)
                || before.leader != standing.leader
        });
    }
}

/// What the row says.
struct Row {
    epoch: Epoch,
    renewals: i64,
    holder: Option<String>,
    since: Timestamp,
    lasts: Duration,
    /// By the clock of the database.
    over: bool,
}

/// Renews the lease, or waits for its end to take it.
pub(super) struct Keeper {
    pool: AnyPool,
    name: String,
    length: Duration,
    lease: Lease,
    /// The row as it was seen last, and since when it has not changed.
    seen: Option<(Epoch, i64, BootTime)>,
    failing: bool,
}

/// The task that keeps the lease.
pub(super) struct Kept {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Kept {
    /// Gives the lease back, so that nobody has to wait for its end.
    pub(super) async fn release(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

impl Keeper {
    /// Starts to compete. `pool` is for this alone, so that no other work delays a renewal.
    pub(super) fn start(pool: AnyPool, name: String, length: Duration) -> (Lease, Kept) {
        let lease = Lease::new(Standing { own: None, leader: None, epoch: Epoch(0) }, Some(length), &name);
        let keeper = Self { pool, name, length, lease: lease.clone(), seen: None, failing: false };
        let stop = CancellationToken::new();
        let task = tokio::spawn(keeper.run(stop.clone()));
        (lease, Kept { stop, task })
    }

    async fn run(mut self, stop: CancellationToken) {
        loop {
            let wait = tokio::select! {
                wait = self.step() => wait,
                () = stop.cancelled() => break,
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => break,
            }
        }
        if let Some(epoch) = self.lease.own_epoch() {
            self.lease.lost(epoch);
            match tokio::time::timeout(self.length / 6, self.release(epoch)).await {
                Ok(Ok(())) => info!(%epoch, "gave the lease back"),
                _ => {
                    warn!(%epoch, "the lease could not be given back: another process has to wait for its end")
                }
            }
        }
        self.pool.close().await;
    }

    /// Looks, renews or takes, and says when to do it again.
    async fn step(&mut self) -> Duration {
        let own = self.lease.own_epoch();
        let patience = self.length / 6;
        let result = match tokio::time::timeout(patience, async {
            match own {
                Some(epoch) => self.renew(epoch).await,
                None => self.campaign().await,
            }
        })
        .await
        {
            Ok(result) => result,
            Err(_) => Err(Error::Silent),
        };
        if let Err(error) = &result {
            self.lease.failures.fetch_add(1, Ordering::Relaxed);
            if !self.failing {
                warn!(
                    error = %chain(error),
                    "the lease could not be looked after; trying again"
                );
            }
        }
        self.failing = result.is_err();
        match (own, self.failing) {
            (Some(_), false) => patience,
            _ => self.length / 12,
        }
    }

    async fn connection(&self) -> Result<Connected, Error> {
        Ok(Connected(Some(self.pool.acquire().await?)))
    }

    async fn renew(&mut self, epoch: Epoch) -> Result<(), Error> {
        let mut conn = self.connection().await?;
        let sent = boot_time();
        let sql = format!(
            "UPDATE lease SET renewals = renewals + 1, renewed_at = {NOW}, lasts = $1 \
             WHERE name = 'leader' AND epoch = $2 AND holder IS NOT NULL"
        );
        let renewed = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(millis(self.length))
            .bind(epoch.0)
            .execute(conn.get()?)
            .await?;
        conn.keep();
        if renewed.rows_affected() == 0 {
            warn!(%epoch, "another process has taken the lease: this one decides and acts no more");
            self.lease.lost(epoch);
            self.seen = None;
        } else {
            self.hold(epoch, sent);
        }
        Ok(())
    }

    fn hold(&self, epoch: Epoch, sent: BootTime) {
        let until = Some(sent.after(self.length - self.length / 10));
        self.lease.set(|standing| standing.own = Some(Own { epoch, until }));
    }

    async fn campaign(&mut self) -> Result<(), Error> {
        let mut conn = self.connection().await?;
        let row = look(conn.get()?).await?;
        // Read after the answer: the row cannot have changed earlier than it was seen changed.
        let now = boot_time();
        let since = match self.seen {
            Some((epoch, renewals, since)) if (epoch, renewals) == (row.epoch, row.renewals) => since,
            _ => now,
        };
        self.seen = Some((row.epoch, row.renewals, since));
        let leader = row.holder.clone().filter(|_| !row.over);
        let leader = leader.map(|name| Leader { name, epoch: row.epoch, since: row.since });
        if leader.is_some() || (row.holder.is_some() && now.since(since) < row.lasts) {
            conn.keep();
            self.lease.set(|standing| (standing.leader, standing.epoch) = (leader, row.epoch));
            return Ok(());
        }
        let sent = boot_time();
        let taken = self.take(conn.get()?, &row).await?;
        conn.keep();
        if let Some((epoch, since)) = taken {
            info!(%epoch, name = self.name, "this process leads");
            let leader = Leader { name: self.name.clone(), epoch, since };
            let until = Some(sent.after(self.length - self.length / 10));
            self.lease.set(|standing| {
                *standing = Standing { own: Some(Own { epoch, until }), leader: Some(leader), epoch }
            });
            self.seen = None;
        }
        Ok(())
    }

    /// Takes the lease if it is as it was seen and its term is over. Writes that are under way end first.
    async fn take(&self, conn: &mut AnyConnection, seen: &Row) -> Result<Option<(Epoch, Timestamp)>, Error> {
        let mut tx = conn.begin().await?;
        sqlx::query(MUTEX).execute(&mut *tx).await?;
        let over = OVER.replace("{now}", NOW);
        let sql = format!(
            "UPDATE lease SET epoch = epoch + 1, renewals = renewals + 1, holder = $1, since = {NOW}, renewed_at = {NOW}, \
             lasts = $2 WHERE name = 'leader' AND epoch = $3 AND renewals = $4 AND {over} RETURNING epoch, since"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(self.name.clone())
            .bind(millis(self.length))
            .bind(seen.epoch.0)
            .bind(seen.renewals)
            .fetch_optional(&mut *tx)
            .await?;
        let taken =
            row.map(|row| Ok::<_, Error>((get_epoch(&row)?, timestamp(get(&row, "since")?)))).transpose()?;
        tx.commit().await?;
        Ok(taken)
    }

    async fn release(&self, epoch: Epoch) -> Result<(), Error> {
        let mut conn = self.connection().await?;
        sqlx::query(
            "UPDATE lease SET holder = NULL, renewals = renewals + 1 WHERE name = 'leader' AND epoch = $1",
        )
        .bind(epoch.0)
        .execute(conn.get()?)
        .await?;
        conn.keep();
        Ok(())
    }
}

/// A connection that goes back to its pool only when all went well: one that was left in the middle is closed.
struct Connected(Option<sqlx::pool::PoolConnection<sqlx::Any>>);

impl Connected {
    fn get(&mut self) -> Result<&mut AnyConnection, Error> {
        self.0.as_deref_mut().ok_or(Error::Closed)
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        if let Some(conn) = self.0.take() {
            drop(conn.detach());
        }
    }
}

async fn look(conn: &mut AnyConnection) -> Result<Row, Error> {
    let over = OVER.replace("{now}", NOW);
    let sql = format!(
        "SELECT epoch, renewals, holder, since, lasts, {over} AS over FROM lease WHERE name = 'leader'"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_one(conn).await?;
    Ok(Row {
        epoch: get_epoch(&row)?,
        renewals: get(&row, "renewals")?,
        holder: get(&row, "holder")?,
        since: timestamp(get(&row, "since")?),
        lasts: Duration::from_millis(u64::try_from(get::<i64>(&row, "lasts")?).unwrap_or_default()),
        over: get(&row, "over")?,
    })
}

/// Takes the next epoch of a store that has one process.
pub(super) struct TakeEpoch {
    pub(super) name: String,
    pub(super) at: Timestamp,
}

impl Operation for TakeEpoch {
    type Output = Epoch;

    const FENCED: bool = false;

    async fn apply(&self, conn: &mut AnyConnection) -> Result<Epoch, Error> {
        next_epoch(conn, &self.name, self.at).await
    }
}

/// The one process of a store takes the next epoch.
pub(super) async fn next_epoch(conn: &mut AnyConnection, name: &str, now: Timestamp) -> Result<Epoch, Error> {
    let row = sqlx::query(
        "UPDATE lease SET epoch = epoch + 1, renewals = renewals + 1, holder = $1, since = $2, renewed_at = $2 \
         WHERE name = 'leader' RETURNING epoch",
    )
    .bind(name.to_owned())
    .bind(now.as_millisecond())
    .fetch_one(conn)
    .await?;
    get_epoch(&row)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

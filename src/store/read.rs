//! Everything that only reads.

use jiff::{SignedDuration, Timestamp};
use sqlx::{AnyConnection, Connection};

use super::{
    Error, HistoryEntry, State, StepRecord,
    rows::{self, time},
};
use crate::model::{FleetName, Holders, MOVES_KNOWN, Override, Signal};

const RESOLVED_KEPT: SignedDuration = SignedDuration::from_hours(24);

// Alertmanager knows one alert per fingerprint at a time. A firing episode is over, although nobody said so, when the same
// alert was heard of later as a newer episode, as firing under another start (merged to the earlier start of two
// Prometheus servers), or as one that ended after this one began.
macro_rules! firing {
    () => {
        "(state = 'firing' AND NOT EXISTS (SELECT 1 FROM signal AS other WHERE other.source = signal.source \
         AND other.fingerprint = signal.fingerprint AND other.last_seen > signal.last_seen \
         AND (other.starts_at > signal.starts_at OR other.state = 'firing' OR other.ends_at > signal.starts_at)))"
    };
}

const FIRING: &str = concat!("SELECT * FROM signal WHERE ", firing!());

const SIGNALS: &str = concat!(
    "SELECT * FROM signal WHERE (state = 'resolved' AND last_seen >= $1) OR ",
    firing!(),
    " ORDER BY starts_at, source, fingerprint"
);

const LATEST: &str = "SELECT * FROM decision WHERE generation = \
     (SELECT MAX(newer.generation) FROM decision AS newer WHERE newer.fleet = decision.fleet)";

fn ago(now: Timestamp, kept: SignedDuration) -> String {
    time(now.checked_sub(kept).unwrap_or(Timestamp::MIN))
}

/// What people set and what has not ended by itself.
pub(super) async fn in_force(conn: &mut AnyConnection, at: Timestamp) -> Result<Vec<Override>, Error> {
    let set = sqlx::query("SELECT * FROM overrides WHERE until IS NULL OR until > $1 ORDER BY scope, kind")
        .bind(time(at))
        .fetch_all(conn)
        .await?;
    set.iter().map(rows::override_).collect()
}

pub(super) async fn load(conn: &mut AnyConnection, now: Timestamp) -> Result<State, Error> {
    // One transaction, one moment.
    let mut tx = conn.begin().await?;
    let mut state = State::default();
    for row in sqlx::query(SIGNALS).bind(ago(now, RESOLVED_KEPT)).fetch_all(&mut *tx).await? {
        state.signals.push(rows::signal(&row)?);
    }
    for row in sqlx::query(LATEST).fetch_all(&mut *tx).await? {
        let decision = rows::decision(&row)?;
        state.decisions.insert(decision.fleet.clone(), decision);
    }
    let moves = sqlx::query("SELECT * FROM decision WHERE kind <> 'adopt' AND decided_at >= $1 ORDER BY id")
        .bind(ago(now, MOVES_KNOWN))
        .fetch_all(&mut *tx)
        .await?;
    for row in moves {
        state.moves.push(rows::decision(&row)?);
    }
    state.overrides = in_force(&mut tx, now).await?;
    // What a fleet would decide next: proposals of the past have a generation that is taken.
    let proposals = sqlx::query(
        "SELECT * FROM proposal WHERE expired_at IS NULL AND generation > \
         (SELECT COALESCE(MAX(generation), 0) FROM decision WHERE decision.fleet = proposal.fleet) ORDER BY id",
    )
    .fetch_all(&mut *tx)
    .await?;
    for row in proposals {
        state.proposals.push(rows::proposal(&row)?);
    }
    tx.commit().await?;
    Ok(state)
}

pub(super) async fn holders(conn: &mut AnyConnection) -> Result<Holders, Error> {
    let rows = sqlx::query(LATEST).fetch_all(conn).await?;
    let holder = |row| Ok((rows::parse(row, "fleet")?, Some(rows::parse(row, "to_cluster")?)));
    rows.iter().map(holder).collect::<Result<_, Error>>().map(Holders)
}

pub(super) async fn firing_signals(conn: &mut AnyConnection) -> Result<Vec<Signal>, Error> {
    sqlx::query(FIRING).fetch_all(conn).await?.iter().map(rows::signal).collect()
}

pub(super) async fn history(
    conn: &mut AnyConnection,
    fleet: Option<&FleetName>,
    limit: u32,
) -> Result<Vec<HistoryEntry>, Error> {
    let fleet = fleet.map(ToString::to_string);
    let mut tx = conn.begin().await?;
    let mut entries = Vec::new();
    let decisions = sqlx::query(
        "SELECT * FROM decision WHERE $1 IS NULL OR fleet = $1 ORDER BY decided_at DESC, id DESC LIMIT $2",
    )
    .bind(fleet.clone())
    .bind(i64::from(limit))
    .fetch_all(&mut *tx)
    .await?;
    for row in decisions {
        entries.push(HistoryEntry::Decision {
            id: rows::get(&row, "id")?,
            epoch: rows::get_epoch(&row)?,
            decision: rows::decision(&row)?,
        });
    }
    let steps = sqlx::query(
        "SELECT * FROM step WHERE $1 IS NULL OR fleet = $1 ORDER BY started_at DESC, id DESC LIMIT $2",
    )
    .bind(fleet.clone())
    .bind(i64::from(limit))
    .fetch_all(&mut *tx)
    .await?;
    for row in steps {
        entries.push(HistoryEntry::Step(rows::step(&row)?));
    }
    // What concerns all fleets is part of every fleet's story.
    let events = sqlx::query(
        "SELECT * FROM event WHERE $1 IS NULL OR fleet IS NULL OR fleet = $1 ORDER BY at DESC, id DESC LIMIT $2",
    )
    .bind(fleet)
    .bind(i64::from(limit))
    .fetch_all(&mut *tx)
    .await?;
    for row in events {
        entries.push(HistoryEntry::Event {
            id: rows::get(&row, "id")?,
            epoch: rows::get_epoch(&row)?,
            event: rows::event(&row)?,
        });
    }
    tx.commit().await?;
    entries.sort_by_key(|entry| std::cmp::Reverse((entry.at(), entry.id())));
    entries.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(entries)
}

pub(super) async fn unfinished_steps(conn: &mut AnyConnection) -> Result<Vec<StepRecord>, Error> {
    let rows =
        sqlx::query("SELECT * FROM step WHERE finished_at IS NULL ORDER BY id").fetch_all(conn).await?;
    rows.iter().map(rows::step).collect()
}

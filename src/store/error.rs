//! What can go wrong with the store.

use std::{io, path::PathBuf, sync::Arc};

use sqlx::sqlite::SqliteError;

/// What can go wrong with the store. Cheap to clone: every caller of a failed transaction gets its own.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL names no database that the store can use.
    #[error("{url:?} is not a usable store URL ({why}): write sqlite:///path/to/switchyard.db")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The directory of the database file is missing.
    #[error("the directory {} for the store does not exist: create it, owned by the user that runs Switchyard", .0.display())]
    NoDirectory(PathBuf),
    /// A file of the store cannot be opened or created.
    #[error("cannot open {}: it must be a file that the user who runs Switchyard may read and write", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// Another process has the store.
    #[error("the store {} is in use by {holder}: stop that one first, or give this one a store of its own", .path.display())]
    InUse {
        /// The database file.
        path: PathBuf,
        /// Who has it, as that process wrote down itself.
        holder: String,
    },
    /// The file system cannot carry a write-ahead log, as network file systems cannot.
    #[error("{} cannot have a write-ahead log (the journal mode stayed {mode:?}): put it on a local disk", .path.display())]
    NoWriteAheadLog {
        /// The database file.
        path: PathBuf,
        /// What SQLite uses instead.
        mode: String,
    },
    /// The tables cannot be brought to this version.
    #[error("cannot bring the store to this version's tables")]
    Migrate(#[source] Arc<sqlx::migrate::MigrateError>),
    /// Too many operations wait already.
    #[error("the store is busy: too many writes wait already")]
    Busy,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The database refused or failed.
    #[error("the database failed")]
    Database(#[source] Arc<sqlx::Error>),
    /// A stored value cannot be read.
    #[error("column {column} of the store holds something unreadable: {why}")]
    Unreadable {
        /// Which column.
        column: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

impl Error {
    /// Whether the same call may succeed later: the queue is full, the disk is full, the store is closing.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Busy | Self::Closed => true,
            Self::Database(error) => database_is_transient(error),
            _ => false,
        }
    }
}

fn database_is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => match error.try_downcast_ref::<SqliteError>() {
            // The low byte is the primary code: BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN.
            Some(_) => error
                .code()
                .and_then(|code| code.parse::<u32>().ok())
                .is_some_and(|code| matches!(code & 0xff, 5 | 6 | 7 | 8 | 10 | 13 | 14)),
            None => false,
        },
        _ => false,
    }
}

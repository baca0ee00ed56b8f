//! What can go wrong with the store.

use std::{io, path::PathBuf, sync::Arc};

use sqlx::sqlite::SqliteError;

/// What can go wrong with the store. Cheap to clone: every caller of a failed transaction gets its own.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL names no database that the store can use.
    #[error(
        "{url:?} is not a usable store URL ({why}): write sqlite:///path/to/switchyard.db, or postgres://user@host/database"
    )]
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
    /// The database server does not let us in, or cannot be reached.
    #[error("cannot open the database {place}{}", mend(.source))]
    Unreachable {
        /// Where it is, without user and password.
        place: String,
        /// Why.
        source: Arc<sqlx::Error>,
    },
    /// The database has no tables, and lets us make none.
    #[error(
        "{place} lets its user make no tables: GRANT CREATE ON SCHEMA public TO that user, or make it the owner of the database"
    )]
    NoRights {
        /// Where it is, without user and password.
        place: String,
    },
    /// The tables cannot be brought to this version.
    #[error("cannot bring the store to this version's tables")]
    Migrate(#[source] Arc<sqlx::migrate::MigrateError>),
    /// Too many operations wait already, or one waits for a database that takes nothing.
    #[error("the store is busy: others wait for it already")]
    Busy,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// Another process leads those that share the store: this one may not write.
    #[error("not written: {0}")]
    Fenced(String),
    /// The database did not answer in time. Nothing was written.
    #[error("the database does not answer")]
    Silent,
    /// The connection broke while a transaction was committed.
    #[error("the connection to the database broke during a commit: nobody knows whether it was written")]
    Unknown,
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
            Self::Busy | Self::Closed | Self::Fenced(_) | Self::Silent | Self::Unknown => true,
            Self::Database(error) | Self::Unreachable { source: error, .. } => database_is_transient(error),
            _ => false,
        }
    }
}

fn database_is_transient(error: &sqlx::Error) -> bool {
    match error {
        // A connection that is cut while it is made ends as a breach of the protocol, or of TLS.
        sqlx::Error::Io(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => match error.try_downcast_ref::<SqliteError>() {
            // The low byte is the primary code: BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN.
            Some(_) => error
                .code()
                .and_then(|code| code.parse::<u32>().ok())
                .is_some_and(|code| matches!(code & 0xff, 5 | 6 | 7 | 8 | 10 | 13 | 14)),
            None => error.code().is_some_and(|state| postgres_is_transient(&state)),
        },
        _ => false,
    }
}

/// What to do about a database that does not let us in, where that is sure.
fn mend(error: &sqlx::Error) -> &'static str {
    use rustls::CertificateError as Wrong;
    if let sqlx::Error::Io(error) = error
        && let Some(rustls::Error::InvalidCertificate(wrong)) =
            error.get_ref().and_then(|error| error.downcast_ref())
    {
        return match wrong {
            Wrong::UnknownIssuer | Wrong::BadSignature => {
                " (nobody who is trusted has signed its certificate: name the authority's file as sslrootcert)"
            }
            Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => {
                " (its certificate is for another name: use a name of the certificate as the host)"
            }
            _ => "",
        };
    }
    let said = error.as_database_error().map(|error| (error.code(), error.message()));
    match said {
        Some((Some(code), text)) if code == "28000" && text.contains("no encryption") => {
            " (it takes no connections in clear text: say sslmode=verify-full)"
        }
        _ => "",
    }
}

/// Connection, rollback by contention, resources, operator; read-only as after a failover of the server; idle too long.
fn postgres_is_transient(state: &str) -> bool {
    ["08", "40", "53", "57"].iter().any(|class| state.starts_with(class))
        || matches!(state, "25006" | "25P03" | "55P03")
}

/// Whether the same transaction, begun again at once, is likely to succeed: it collided with another one.
pub(super) fn collided(error: &Error) -> bool {
    let Error::Database(error) = error else { return false };
    error.as_database_error().and_then(|e| e.code()).is_some_and(|code| matches!(&*code, "40001" | "40P01"))
}

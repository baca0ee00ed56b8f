//! Opening a database file, and its tables. All that is special to SQLite is here; `postgres` is the other kind.

use std::{
    borrow::Cow,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sqlx::{
    AnyPool, ConnectOptions, SqlSafeStr,
    any::{AnyConnectOptions, AnyPoolOptions},
    migrate::{Migration, MigrationType, Migrator},
    sqlite::SqliteConnectOptions,
};

use super::{
    Error, Holder,
    lease::{Lease, next_epoch},
    lock::{self, Lock},
    writer::Pools,
};

/// Connections for the reads of the loop and of people's actions.
pub(super) const READERS: u32 = 4;
/// Connections for what is shown to whoever asks.
pub(super) const SHOWERS: u32 = 2;

// FULL: a commit is on the disk, not only with the operating system, before anybody is told.
const WRITER: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                      PRAGMA foreign_keys = ON";
const READER: &str = "PRAGMA busy_timeout = 5000; PRAGMA query_only = ON";

/// Opens the database file that `url` names: for this process alone, with the tables of this version.
pub(super) async fn open(url: &str, holder: &Holder) -> Result<(Pools, Lease, Lock), Error> {
    let path = create(&path(url)?)?;
    let lock = Lock::take(&path, holder)?;
    let options = connect_options(url, &path)?;
    sqlx::any::install_default_drivers();
    let write = pool(&options, 1, WRITER).await?;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&write).await?;
    if mode != "wal" {
        return Err(Error::NoWriteAheadLog { path, mode });
    }
    migrator().run(&write).await.map_err(|error| Error::Migrate(Arc::new(error)))?;
    let read = pool(&options, READERS, READER).await?;
    let show = pool(&options, SHOWERS, READER).await?;
    let name = holder.name();
    let epoch = next_epoch(&mut *write.acquire().await?, &name, holder.now).await?;
    Ok((Pools { write, read, show, patience: None, file: true }, Lease::alone(epoch, &name), lock))
}

/// Brings the write-ahead log into the database file, so that a copy of the file alone is whole.
pub(super) async fn checkpoint(pool: &AnyPool) -> Result<(), Error> {
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(pool).await?;
    Ok(())
}

fn path(url: &str) -> Result<PathBuf, Error> {
    let wrong = |why| Error::Url { url: url.to_owned(), why };
    let path = url.strip_prefix("sqlite://").ok_or_else(|| wrong("unknown scheme"))?;
    if path.is_empty() || path.ends_with('/') {
        return Err(wrong("it names no file"));
    }
    if path == ":memory:" {
        return Err(wrong("what is in memory does not survive"));
    }
    if path.contains('?') {
        return Err(wrong("it takes no parameters"));
    }
    Ok(PathBuf::from(path))
}

/// Whether [`open`] would find what it needs.
pub(super) fn check(url: &str) -> Result<(), Error> {
    let path = path(url)?;
    let directory = directory(&path)?;
    let refused = |path: &Path| {
        let path = path.to_owned();
        |source| Error::File { path, source: Arc::new(source) }
    };
    // A file without a name: what SQLite writes beside the database can be created.
    tempfile::tempfile_in(directory).map_err(refused(directory))?;
    if path.exists() {
        fs::OpenOptions::new().read(true).write(true).open(&path).map_err(refused(&path))?;
        let path = fs::canonicalize(&path).map_err(refused(&path))?;
        Lock::check(&path)?;
    }
    Ok(())
}

fn directory(path: &Path) -> Result<&Path, Error> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if directory.is_dir() { Ok(directory) } else { Err(Error::NoDirectory(directory.to_owned())) }
}

/// Creates the file if it is not there, and gives its one true path: the lock must not depend on the spelling.
fn create(path: &Path) -> Result<PathBuf, Error> {
    directory(path)?;
    // SQLite gives its log and index files the mode of the database file.
    lock::open_private(path)?;
    fs::canonicalize(path).map_err(|source| Error::File { path: path.to_owned(), source: Arc::new(source) })
}

fn connect_options(url: &str, path: &Path) -> Result<AnyConnectOptions, Error> {
    let encoded = SqliteConnectOptions::new().filename(path).to_url_lossy();
    if SqliteConnectOptions::from_url(&encoded)?.get_filename() != path {
        return Err(Error::Url { url: url.to_owned(), why: "use plain characters in the path" });
    }
    Ok(AnyConnectOptions::from_url(&encoded)?)
}

async fn pool(options: &AnyConnectOptions, size: u32, set_up: &'static str) -> Result<AnyPool, Error> {
    let pool = AnyPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(Duration::from_secs(10))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_connect(move |conn, _| {
            Box::pin(async move {
                sqlx::raw_sql(set_up).execute(conn).await?;
                Ok(())
            })
        });
    Ok(pool.connect_with(options.clone()).await?)
}

pub(super) fn migrator() -> Migrator {
    let migration = |version, description, sql: &'static str| {
        Migration::new(version, Cow::Borrowed(description), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(vec![
        migration(1, "start", include_str!("migrations/0001_start.sql")),
        migration(2, "lease", include_str!("migrations/0002_lease.sql")),
        migration(3, "people", include_str!("migrations/0003_people.sql")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn commits_reach_the_disk_and_readers_cannot_write() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("s.db").display());
        let holder = Holder { listen: String::new(), now: jiff::Timestamp::UNIX_EPOCH };
        let (pools, _, _lock) = open(&url, &holder).await.unwrap();
        for (pragma, expected) in
            [("PRAGMA synchronous", 2), ("PRAGMA foreign_keys", 1), ("PRAGMA busy_timeout", 5000)]
        {
            let value: i64 = sqlx::query_scalar(pragma).fetch_one(&pools.write).await.unwrap();
            assert_eq!(value, expected, "{pragma}");
        }
        for reads in [&pools.read, &pools.show] {
            assert!(sqlx::query("DELETE FROM sequence").execute(reads).await.is_err());
            sqlx::query("SELECT * FROM history").fetch_all(reads).await.unwrap();
        }
    }
}

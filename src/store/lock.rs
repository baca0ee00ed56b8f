//! One process per database file.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Error, Holder};

/// Holds the database file for this process. The kernel releases it when the process ends, however it ends.
///
/// The lock is advisory and lies on a file of its own, because SQLite uses locks on the database file itself.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of `database`, or says who has it.
    pub(super) fn take(database: &Path, holder: &Holder) -> Result<Self, Error> {
        let path = lock_of(database);
        let mut file = open_private(&path)?;
        lock(&mut file, database)?;
        let text = format!("{}, since {}\n", holder.name(), holder.now);
        file.set_len(0)
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(|source| Error::File { path, source: Arc::new(source) })?;
        Ok(Self { file })
    }

    /// Whether the lock of `database` is free; it is not taken.
    pub(super) fn check(database: &Path) -> Result<(), Error> {
        match OpenOptions::new().read(true).write(true).open(lock_of(database)) {
            Ok(mut file) => lock(&mut file, database),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(Error::File { path: lock_of(database), source: Arc::new(source) }),
        }
    }
}

fn lock_of(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    PathBuf::from(path)
}

fn lock(file: &mut File, database: &Path) -> Result<(), Error> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // The holder writes after it locks, so the text may not be there yet.
            let holder = match file.read_to_string(&mut text) {
                Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
                _ => "another process".to_owned(),
            };
            Err(Error::InUse { path: database.to_owned(), holder })
        }
        Err(TryLockError::Error(source)) => {
            Err(Error::File { path: lock_of(database), source: Arc::new(source) })
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The text is for people only: an old one must not look like a holder. The lock itself goes with the file.
        let _ = self.file.set_len(0);
    }
}

/// Opens a file for reading and writing; a new one is for its owner alone.
pub(super) fn open_private(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| Error::File { path: path.to_owned(), source: Arc::new(source) })
}

pub(super) fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "this host".to_owned())
}

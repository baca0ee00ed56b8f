//! Where the simulated store lies, and what a killed process leaves there.

use std::{fs, io, path::Path};

use tempfile::TempDir;

const DATABASE: &str = "simulated.db";
/// What the process has for itself: the database, and the log of what no checkpoint has brought into it yet. The index of
/// the log is shared memory, and the lock goes with the process.
const FILES: [&str; 2] = [DATABASE, "simulated.db-wal"];

/// A directory with the store in it: in memory, where the system has such a place. What a power cut would take is not
/// simulated.
pub(super) struct Disk {
    directory: TempDir,
}

impl Disk {
    pub(super) fn new() -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        let prefix = format!("switchyard-simulate-{}-", std::process::id());
        builder.prefix(&prefix);
        let directory = match builder.tempdir_in(Path::new("/dev/shm")) {
            Ok(directory) => directory,
            Err(_) => builder.tempdir()?,
        };
        Ok(Self { directory })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn url(&self) -> String {
        format!("sqlite://{}", self.path().join(DATABASE).display())
    }

    /// What is there when the process is killed now: its files as they are. No connection has been closed, nothing was
    /// brought from the log into the database for the end.
    pub(super) fn as_it_is(&self) -> io::Result<Self> {
        let copy = Self::new()?;
        for file in FILES {
            match fs::copy(self.path().join(file), copy.path().join(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(copy)
    }
}

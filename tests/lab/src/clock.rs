//! A wall clock that a test can set, for one program and nobody else.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{parts::Missing, process};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// What the clock shows, as a file that `libfaketime` reads.
#[derive(Debug, Clone)]
pub struct WallClock {
    file: PathBuf,
}

impl WallClock {
    /// One that is right, kept in the file `name` of `dir`, which the program must be able to read.
    pub fn new(dir: &Path, name: &str) -> Result<Self> {
        if !Path::new(LIBRARY).is_file() {
            return Err(Missing { part: LIBRARY.to_owned(), mend: "scripts/setup test" }.into());
        }
        let clock = Self { file: dir.join(name) };
        clock.set("+0")?;
        Ok(clock)
    }

    /// Lets it jump to so much after the true time: `+2h`, `-3d`.
    pub fn set(&self, to: &str) -> Result<()> {
        fs::write(&self.file, to).with_context(|| format!("cannot write {}", self.file.display()))
    }

    /// Writes the program `script`, which is `binary` with this clock.
    pub fn wrap(&self, binary: &Path, script: &Path) -> Result<()> {
        let env: String = self.env().map(|(name, value)| format!("{name}={value} ")).concat();
        process::script(script, &format!("exec env {env}{} \"$@\"", binary.display()))
    }

    /// The environment in which a program sees it. Clocks that nobody can set stay as they are.
    pub fn env(&self) -> [(&'static str, String); 4] {
        [
            ("LD_PRELOAD", LIBRARY.to_owned()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }
}

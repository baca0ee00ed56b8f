//! Where the real programs are, and what to do about a missing one.

use std::{
    fmt::Display,
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use tokio::{process::Command, sync::Mutex};

/// A program that is not there, and the command that mends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part} is missing: run {mend}")]
pub struct Missing {
    /// The program.
    pub part: String,
    /// The command.
    pub mend: &'static str,
}

/// Where a program comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// A current version, pinned in `tests/tools` and built from Go modules into `target/tools`.
    Pinned,
    /// The distribution's package: older, and there at once.
    Debian,
}

impl Flavour {
    /// The pinned program `pinned`, or the packaged one called `packaged`.
    pub fn find(self, pinned: &str, packaged: &str) -> Result<PathBuf, Missing> {
        match self {
            Self::Pinned => {
                let path = tools_dir().join(pinned);
                let missing = || Missing { part: path.display().to_string(), mend: "scripts/setup test" };
                path.is_file().then(|| path.clone()).ok_or_else(missing)
            }
            Self::Debian => packaged_program(packaged),
        }
    }
}

/// A program of a distribution package. Servers lie in /usr/sbin, which is not on an ordinary user's PATH.
pub fn packaged_program(name: &str) -> Result<PathBuf, Missing> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    dirs.map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| Missing { part: name.to_owned(), mend: "scripts/setup demo" })
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The directory of build results.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A program of this workspace. Run by cargo, it is built first: `cargo test` builds those of the tested package only.
pub async fn workspace_program(name: &str) -> Result<PathBuf> {
    static BUILDING: Mutex<()> = Mutex::const_new(());
    let own = std::env::current_exe().context("cannot find out who I am")?;
    let mut dir = own.parent().context("I am nowhere")?;
    if dir.ends_with("deps") || dir.ends_with("examples") {
        dir = dir.parent().context("deps is nowhere")?;
    }
    let profile = match dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    if let Some(cargo) = std::env::var_os("CARGO") {
        let _one_at_a_time = BUILDING.lock().await;
        let mut build = Command::new(cargo);
        // Build scripts that watch what cargo tells this test about its package would build everything again.
        for (name, _) in std::env::vars_os() {
            if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|own| name.to_string_lossy().starts_with(own)) {
                build.env_remove(name);
            }
        }
        // The whole workspace: one set of features, so that nothing is built twice.
        build.args(["build", "--quiet", "--workspace", "--bin", name, "--profile", profile]);
        let output = build.current_dir(root()).stdin(Stdio::null()).kill_on_drop(true).output().await?;
        ensure!(output.status.success(), "cannot build {name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let path = dir.join(name);
    ensure!(path.is_file(), "{} is missing: run cargo build --workspace --bins", path.display());
    Ok(path)
}

fn tools_dir() -> PathBuf {
    target_dir().join("tools")
}

/// For tests: the value, or `None` after a loud line when a part is missing. Under `CI` nothing may be missing.
///
/// # Panics
/// On every other error, and on a missing part when the variable `CI` is set.
#[expect(clippy::panic, reason = "this is how a test says that it did not run")]
pub fn or_skip<T>(result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => match error.downcast_ref::<Missing>() {
            Some(missing) if std::env::var_os("CI").is_none() => {
                skipped(missing);
                None
            }
            _ => panic!("{error:?}"),
        },
    }
}

/// Says what a test did not look at, and why. It is seen although the test passes: the harness keeps back what tests print
/// by macros, and not this. `make test` says it again at its end, from a file.
pub fn skipped(why: &dyn Display) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("SKIPPED: {why} ({test})\n");
    // What cannot be written down can still be seen.
    let _ = std::io::stderr().write_all(line.as_bytes());
    let file = OpenOptions::new().create(true).append(true).open(target_dir().join("skipped"));
    let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
}

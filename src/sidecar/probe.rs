//! The sidecar's answers as an exec probe: one look, added to what earlier probes saw.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Judgement, Look, Memory, Runner};
use crate::model::Moment;

/// Why the memory of earlier probes cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: name a file on a volume that can be written with --state-file", .path.display())]
pub struct ProbeError {
    path: PathBuf,
    source: std::io::Error,
    /// Whether somebody answered: then the runner is alive, whatever was seen before.
    pub answered: bool,
}

/// What the file has.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// When process 1 began, in ticks since the machine's start: in a container, which container it is. A volume outlives
    /// it, and its silences say nothing about the next one.
    container: Option<u64>,
    memory: Memory,
}

/// Field 22 of `/proc/1/stat`; the second one, a name in parentheses, may have spaces.
fn container() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/1/stat").ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Looks once and judges with what the file remembers, then writes that back. Probes that run at the same time lose a
/// look, nothing more; a file that cannot be read, or is of another container, counts as none.
///
/// # Errors
/// When the file cannot be written.
pub async fn probe(runner: &Runner, file: &Path, now: Moment) -> Result<Judgement, ProbeError> {
    let text = std::fs::read(file).unwrap_or_default();
    let kept: Kept = serde_json::from_slice(&text).unwrap_or_default();
    let container = container();
    let mut memory = if kept.container == container { kept.memory } else { Memory::default() };
    let look = runner.look().await;
    let answered = !matches!(look, Look::Silence(_));
    memory.look(look, now, &runner.limits);
    let failed = |source| ProbeError { path: file.to_owned(), source, answered };
    let directory = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    let kept = Kept { container, memory };
    let text = serde_json::to_vec(&kept).map_err(|error| failed(error.into()))?;
    new.write_all(&text).map_err(failed)?;
    new.persist(file).map_err(|error| failed(error.error))?;
    Ok(kept.memory.judge(now, &runner.limits))
}

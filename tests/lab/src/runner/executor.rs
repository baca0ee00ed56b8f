//! Runs a job's script with a shell in a directory of its own.

use std::borrow::Cow;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use futures::io::Cursor;
use gitlab_runner::job::Job;
use gitlab_runner::{CancellableJobHandler, JobResult, Phase, UploadableFile};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{ChildStdin, Command};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::proxy::Gate;

/// One job in a shell. Dropping it gives the worker slot back.
pub(super) struct Shell {
    job: Job,
    directory: PathBuf,
    gate: Arc<Gate>,
    /// The process is told to end: jobs fail at once.
    killed: CancellationToken,
    failure: Option<&'static str>,
    _slot: OwnedSemaphorePermit,
}

/// The script's group ends with its job, however that ends: also when this process dies by `kill -9`.
const LIFELINE: &str =
    r#"exec 3<&0 </dev/null; (exec >/dev/null 2>&1; read -r _ <&3; kill -KILL 0) & exec "$@" 3<&-"#;

struct Group {
    pid: Option<Pid>,
    _lifeline: Option<ChildStdin>,
}

impl Drop for Group {
    fn drop(&mut self) {
        // The watcher keeps the group's number taken until now.
        if let Some(pid) = self.pid {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Shell {
    pub(super) async fn start(
        job: Job,
        gate: Arc<Gate>,
        killed: CancellationToken,
        slot: OwnedSemaphorePermit,
    ) -> Result<Self, ()> {
        gate.metrics.job_started();
        let directory = job.build_dir().join("work");
        let mut this = Self { job, directory, gate, killed, failure: None, _slot: slot };
        this.job.trace(format!("Running with gitlab-runner {} (laboratory)\n", super::VERSION));
        let prepared = this.prepare().await;
        if let Err(error) = prepared {
            this.job.trace(format!("ERROR: Job failed (system failure): {error}\n"));
            this.fail("runner_system_failure");
            return Err(());
        }
        Ok(this)
    }

    fn fail(&mut self, reason: &'static str) {
        self.failure = Some(reason);
        self.gate.job_failed(self.job.id(), reason);
    }

    async fn prepare(&self) -> Result<(), String> {
        tokio::fs::create_dir_all(&self.directory).await.map_err(|e| e.to_string())?;
        for dependency in self.job.dependencies() {
            let Some(mut artifact) = dependency.download().await.map_err(|e| e.to_string())? else {
                continue;
            };
            for index in 0..artifact.len() {
                let Some(mut file) = artifact.by_index(index) else { continue };
                let Some(path) = file.path() else { continue };
                let mut content = Vec::new();
                file.read_to_end(&mut content).map_err(|e| e.to_string())?;
                let target = self.directory.join(path);
                let parent = target.parent().unwrap_or(&self.directory).to_owned();
                std::fs::create_dir_all(parent).map_err(|e| e.to_string())?;
                std::fs::write(target, content).map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }

    async fn run(&mut self, script: &[String]) -> Result<(), String> {
        let text: String = script.iter().map(|line| format!("echo '$ '{}\n{line}\n", quoted(line))).collect();
        let mut command = Command::new("sh");
        command.args(["-c", LIFELINE, "job", "sh", "-e", "-c"]).arg(text).current_dir(&self.directory);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        for variable in self.job.variables() {
            command.env(variable.key(), variable.value());
        }
        let mut child = command.kill_on_drop(true).spawn().map_err(|e| e.to_string())?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let group = Group { pid, _lifeline: child.stdin.take() };
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let ended = async {
            let status = child.wait().await;
            // What the script left in the background holds the pipes open.
            drop(group);
            status
        };
        let (status, (), ()) = tokio::join!(ended, self.copy(output), self.copy(errors));
        let status = status.map_err(|e| e.to_string())?;
        if status.success() { Ok(()) } else { Err(status.to_string()) }
    }

    async fn copy(&self, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let mut buffer = vec![0; 8192];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            self.job.trace(&buffer[..count]);
        }
    }
}

fn quoted(line: &str) -> String {
    format!("'{}'", line.replace('\'', r"'\''"))
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.gate.metrics.job_ended(self.failure);
    }
}

/// A file of the working directory, by its path inside it.
pub(super) struct WorkFile {
    root: PathBuf,
    path: String,
}

#[async_trait::async_trait]
impl UploadableFile for WorkFile {
    type Data<'a> = Cursor<Vec<u8>>;

    fn get_path(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.path)
    }

    async fn get_data(&self) -> Result<Self::Data<'_>, ()> {
        tokio::fs::read(self.root.join(&self.path)).await.map(Cursor::new).map_err(|_| ())
    }
}

fn files(root: &Path, directory: &Path, found: &mut Vec<WorkFile>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files(root, &entry.path(), found)?;
        } else if let Ok(path) = entry.path().strip_prefix(root) {
            found.push(WorkFile { root: root.to_owned(), path: path.to_string_lossy().into_owned() });
        }
    }
    Ok(())
}

#[async_trait::async_trait]
impl CancellableJobHandler<WorkFile> for Shell {
    async fn step(&mut self, script: &[String], _phase: Phase, cancelled: &CancellationToken) -> JobResult {
        let killed = self.killed.clone();
        let ended = tokio::select! {
            ended = self.run(script) => Some(ended),
            () = killed.cancelled() => None,
            () = cancelled.cancelled() => return Ok(()),
        };
        match ended {
            Some(Ok(())) => {
                self.job.trace("Job succeeded\n");
                Ok(())
            }
            Some(Err(why)) => {
                self.job.trace(format!("ERROR: Job failed: {why}\n"));
                self.fail("script_failure");
                Err(())
            }
            None => {
                self.job.trace("ERROR: Job failed (system failure): aborted: terminated\n");
                self.fail("runner_system_failure");
                Err(())
            }
        }
    }

    async fn get_uploadable_files(&mut self) -> Result<Box<dyn Iterator<Item = WorkFile> + Send>, ()> {
        let mut found = Vec::new();
        files(&self.directory, &self.directory, &mut found).map_err(|_| ())?;
        Ok(Box::new(found.into_iter()))
    }
}

//! One way to start a program and to be sure that it is gone afterwards.
//!
//! Every child leads a process group of its own; dropping its [`Process`] kills the whole group. A watcher in the same
//! group reads a pipe whose other end only this process holds: when this process dies, even by `kill -9`, the pipe
//! ends and the watcher takes the group with it.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions},
    future::Future,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, ChildStdin, Command};

use crate::wait;

/// Background jobs of a shell without job control read from /dev/null, hence descriptor 3.
const LIFELINE: &str = r#"exec 3<&0 </dev/null; (read -r _ <&3; kill -KILL 0) & exec "$@" 3<&-"#;

/// Writes a shell script that can be started.
pub fn script(path: &Path, text: &str) -> Result<()> {
    fs::write(path, format!("#!/bin/sh\n{text}\n"))
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Program {
    name: String,
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
}

impl Program {
    /// The program at `path`; `name` is what log file and messages call it.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), path: path.into(), args: Vec::new(), env: Vec::new(), dir: None }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// One more environment variable.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The working directory; that of this process otherwise.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// The program and its arguments in one line, for messages.
    pub fn command_line(&self) -> String {
        let words = std::iter::once(self.path.as_os_str()).chain(self.args.iter().map(OsString::as_os_str));
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    /// Starts it, with its output appended to `NAME.log` in `logs`.
    pub fn start(&self, logs: &Path) -> Result<Process> {
        fs::create_dir_all(logs).with_context(|| format!("cannot make {}", logs.display()))?;
        let log = logs.join(format!("{}.log", self.name));
        let output = open(&log)?;
        let errors = output.try_clone().with_context(|| format!("cannot share {}", log.display()))?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", LIFELINE, &self.name]).arg(&self.path).args(&self.args);
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command.stdin(Stdio::piped()).stdout(output).stderr(errors).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", self.path.display()))?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
            .with_context(|| format!("{} has no process id", self.name))?;
        let lifeline = child.stdin.take();
        Ok(Process { program: self.clone(), child, pid, log, lifeline })
    }
}

fn open(log: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot open {}", log.display()))
}

/// A running program. Dropping it kills its whole process group.
#[derive(Debug)]
pub struct Process {
    program: Program,
    child: Child,
    pid: Pid,
    log: PathBuf,
    lifeline: Option<ChildStdin>,
}

impl Process {
    /// What was started.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Its process id, which is that of its group, too.
    pub fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// The file with its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// All of its output so far, over every start.
    pub fn logged(&self) -> Result<String> {
        fs::read_to_string(&self.log).with_context(|| format!("cannot read {}", self.log.display()))
    }

    /// The most memory that it ever had resident, in KiB.
    pub fn peak_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        Ok(peak.trim().trim_end_matches(" kB").parse()?)
    }

    /// The last lines of its output, with its name: for messages.
    pub fn tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.len().saturating_sub(40);
        format!("--- {} ({})\n{}", self.program.name, self.log.display(), lines[last..].join("\n"))
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot ask for {}", self.program.name))
    }

    /// Waits until `probe` succeeds. Fails with the end of the log when the program ends first or `deadline` passes.
    pub async fn ready<F, Fut, T>(&mut self, deadline: Duration, mut probe: F) -> Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let name = self.program.name.clone();
        let mut ended = None;
        let ready = wait::until(deadline, &format!("{name} is ready"), async || {
            ended = self.child.try_wait().with_context(|| format!("cannot ask for {name}"))?;
            match ended {
                Some(_) => Ok(None),
                None => probe().await.map(Some),
            }
        })
        .await;
        match ready {
            Ok(Some(value)) => Ok(value),
            Ok(None) => bail!("{name} ended with {}\n{}", ended.unwrap_or_default(), self.tail()),
            Err(error) => Err(error.context(self.tail())),
        }
    }

    /// Kills the whole group at once, like a machine that dies.
    pub async fn kill9(&mut self) -> Result<()> {
        self.kill_group();
        self.child.wait().await.with_context(|| format!("{} does not end", self.program.name))?;
        Ok(())
    }

    /// Asks the program to end and waits; after `grace` its group is killed. Returns how it ended.
    pub async fn terminate(&mut self, grace: Duration) -> Result<ExitStatus> {
        self.end_with(Signal::TERM, grace).await
    }

    async fn end_with(&mut self, signal: Signal, grace: Duration) -> Result<ExitStatus> {
        self.signal(signal)?;
        let ended = tokio::time::timeout(grace, self.child.wait()).await;
        self.kill_group();
        match ended {
            Ok(status) => status.with_context(|| format!("{} does not end", self.program.name)),
            Err(_) => bail!("{} did not end within {grace:?}\n{}", self.program.name, self.tail()),
        }
    }

    /// Interrupts the program, not its group, as Ctrl-C does, and waits until it has ended.
    pub async fn interrupt(&mut self, grace: Duration) -> Result<ExitStatus> {
        self.end_with(Signal::INT, grace).await
    }

    /// Freezes the program: its connections stay open and nothing answers.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a frozen program go on.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Sends the program, not its group, a hangup: most servers read their configuration again.
    pub fn hangup(&self) -> Result<()> {
        self.signal(Signal::HUP)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // A reaped child's number may belong to somebody else by now.
        if self.child.id().is_none() {
            bail!("{} is not running", self.program.name);
        }
        kill_process(self.pid, signal).with_context(|| format!("cannot signal {}", self.program.name))
    }

    /// The group's number stays taken while its watcher lives, and the watcher dies with this call.
    fn kill_group(&mut self) {
        if let Some(lifeline) = self.lifeline.take() {
            let _ = kill_process_group(self.pid, Signal::KILL);
            drop(lifeline);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_group();
    }
}

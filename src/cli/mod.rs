//! Arguments, output and exit codes.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 held back by a gate, 4 nobody could be asked how a move ends.

mod check;
mod client;
mod exporter;
mod judging;
mod show;
mod sidecar;
mod simulate;
mod verdict;
mod watch;

use std::{path::PathBuf, process::ExitCode};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::{
    app,
    config::{self, Config},
    model::{SignedDuration, lines},
    telemetry,
    transport::chain,
    web,
};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Held = 3,
    Unknown = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Moves a GitLab Runner fleet to a healthy Kubernetes cluster when Prometheus says its own has died.
#[derive(Debug, Parser)]
#[command(name = "switchyard", version, max_term_width = 110)]
struct Cli {
    /// The configuration file.
    #[arg(
        long = "config.file",
        global = true,
        default_value = "switchyard.toml",
        env = "SWITCHYARD_CONFIG_FILE"
    )]
    config_file: PathBuf,
    /// What is logged: error, warn, info, debug, trace, or a filter such as info,switchyard=debug.
    #[arg(long = "log.level", global = true, default_value = "info")]
    log_level: String,
    /// How log lines look: logfmt or json.
    #[arg(long = "log.format", global = true, default_value_t)]
    log_format: telemetry::Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the responder: webhook receiver, decision loop, metrics and API.
    Serve(Serve),
    /// Run the exporter of a cluster: runner pods, Velero, Argo CD and Flux, judged, and a probe of the API.
    Exporter(exporter::Exporter),
    /// Validate the configuration and try every credential; lists all problems. Changes nothing.
    Check(Check),
    /// Say what is to be thought of Kubernetes objects, as `kubectl get -o json` prints them, and why. Asks nobody.
    Verdict(verdict::Verdict),
    /// Play a story: what would happen if, through the real loop on a simulated world.
    Simulate(simulate::Simulate),
    /// Show the steps that a running Switchyard would take now, and those it withholds.
    Plan(Read),
    /// Show every gate of a fleet with its verdict, what it saw and the query it asked.
    Explain(Read),
    /// Show what happened: decisions, steps, events.
    History(History),
    /// Move a fleet as planned by a person, and show how far it is until it is done.
    Switch(Switch),
    /// Send a fleet home: a planned move to its preferred cluster.
    Failback(Failback),
    /// Approve an automatic move that waits for a person.
    Approve(Answer),
    /// Reject an automatic move that waits for a person, or take an approval back.
    Reject(Answer),
    /// Show how far a fleet's move is, from whatever terminal it was begun.
    Watch(Watch),
    /// Stop automatic moves of a fleet, or of all fleets.
    Pause(Pause),
    /// Allow automatic moves again: of a fleet, or end the pause of all; fleets paused by their names stay so.
    Resume(Resume),
    /// Acknowledge a failed move, and lift the cool-down after a move, so that the fleet may be moved again.
    Ack(Ack),
    /// Watch the gitlab-runner beside it: probes for kubelet, metrics for Prometheus.
    Sidecar(sidecar::Sidecar),
    /// Ask the gitlab-runner beside it, as an exec probe: exit code 0 for yes, 1 for no.
    Probe(sidecar::Probe),
}

impl Command {
    /// How the answer shall be printed.
    fn output(&self) -> OutputFormat {
        match self {
            Self::Serve(_) | Self::Exporter(_) | Self::Sidecar(_) | Self::Probe(_) => OutputFormat::Table,
            Self::Check(args) => args.output.output,
            Self::Verdict(args) => args.output.output,
            Self::Simulate(args) => args.output.output,
            Self::Plan(Read { remote, .. })
            | Self::Explain(Read { remote, .. })
            | Self::History(History { remote, .. })
            | Self::Switch(Switch { planned: Planned { remote, .. }, .. })
            | Self::Failback(Failback { planned: Planned { remote, .. }, .. })
            | Self::Approve(Answer { remote, .. })
            | Self::Reject(Answer { remote, .. })
            | Self::Watch(Watch { remote, .. })
            | Self::Pause(Pause { remote, .. })
            | Self::Resume(Resume { remote, .. })
            | Self::Ack(Ack { remote, .. }) => remote.output.output,
        }
    }
}

#[derive(Debug, Args)]
struct Serve {
    /// The address to listen on.
    #[arg(long = "web.listen-address", default_value = "127.0.0.1:9797")]
    listen: String,
    /// A file with certificates and users, in the format of Prometheus' exporter-toolkit.
    #[arg(long = "web.config.file")]
    web_config: Option<PathBuf>,
    /// The most connections of clients at once.
    #[arg(long = "web.max-connections", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: u32,
    /// How long a client may take for the head of a request or a TLS handshake, or leave an answer lying.
    #[arg(long = "web.slow-timeout", default_value = "10s", value_parser = positive)]
    slow_timeout: SignedDuration,
    /// How long a connection may wait for its next request.
    #[arg(long = "web.idle-timeout", default_value = "2m", value_parser = positive)]
    idle_timeout: SignedDuration,
}

impl Serve {
    fn listening(self) -> app::Listening {
        let Self { listen, web_config, max_connections, slow_timeout, idle_timeout } = self;
        let limits = web::Limits {
            connections: usize::try_from(max_connections).unwrap_or(usize::MAX),
            slow: slow_timeout.unsigned_abs(),
            idle: idle_timeout.unsigned_abs(),
        };
        app::Listening { address: listen, web_config, limits }
    }
}

/// A duration above 0.
fn positive(text: &str) -> Result<SignedDuration, String> {
    let duration: SignedDuration =
        text.parse().map_err(|_| "it is no duration: write it like 30s, 45m or 2h".to_owned())?;
    if duration.is_positive() { Ok(duration) } else { Err("it must be longer than nothing".to_owned()) }
}

#[derive(Debug, Args)]
struct Check {
    /// Validate this file with certificates and users, too, as it is given to `serve`.
    #[arg(long = "web.config.file")]
    web_config: Option<PathBuf>,
    /// Only read the file; contact nobody.
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct Output {
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    output: OutputFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// For people.
    Table,
    /// As the API says it.
    Json,
}

#[derive(Debug, Args)]
struct Remote {
    /// The running Switchyard; by default web.url of the configuration.
    #[arg(long, env = "SWITCHYARD_URL")]
    url: Option<String>,
    /// A file with the Bearer token; by default the configuration's token for actions or reads.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// Certificates (PEM) to trust beside the system's; by default web.ca_file of the configuration.
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// The certificate (PEM) to show to the server; by default web.client_cert_file of the configuration.
    #[arg(long, requires = "client_key_file")]
    client_cert_file: Option<PathBuf>,
    /// Its key (PEM); by default web.client_key_file of the configuration.
    #[arg(long, requires = "client_cert_file")]
    client_key_file: Option<PathBuf>,
    /// The user to read as when there is no token; by default web.user of the configuration.
    #[arg(long, requires = "password_file")]
    user: Option<String>,
    /// A file with the user's password; by default web.password_file of the configuration.
    #[arg(long, requires = "user")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct Read {
    /// Only this fleet.
    fleet: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
struct History {
    /// Only this fleet.
    fleet: Option<String>,
    /// How many entries: the newest ones. The table ends with the newest; JSON begins with it.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
struct Why {
    /// Why; it is recorded.
    #[arg(long)]
    reason: String,
    /// Who asks; it is recorded. By default $USER, or $LOGNAME.
    #[arg(long, env = "USER")]
    author: Option<String>,
}

#[derive(Debug, Args)]
struct Switch {
    /// The fleet.
    fleet: String,
    /// The cluster that shall hold it.
    #[arg(long)]
    to: String,
    #[command(flatten)]
    planned: Planned,
}

#[derive(Debug, Args)]
struct Failback {
    /// The fleet.
    fleet: String,
    #[command(flatten)]
    planned: Planned,
}

/// What every planned move says.
#[derive(Debug, Args)]
struct Planned {
    /// The cluster that holds it now, as you believe, or `none`; if that is wrong, nothing is done.
    #[arg(long, visible_alias = "holder")]
    from: String,
    /// Break the glass: go although the gates named with --override are closed.
    #[arg(long)]
    force: bool,
    /// A closed gate that shall not hold the move; several with commas, or repeated. It is recorded.
    #[arg(long = "override", value_name = "GATE", value_delimiter = ',', requires = "force")]
    overrides: Vec<String>,
    /// Return once the move is decided, without watching it.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
struct Answer {
    /// The fleet.
    fleet: String,
    /// The number of the proposal, as `explain` shows it.
    #[arg(long)]
    proposal: i64,
    /// The cluster that holds the fleet now, as you believe, or `none`; if that is wrong, nothing is done.
    #[arg(long)]
    holder: String,
    /// Return at once, without watching the move.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
struct Watch {
    /// The fleet.
    fleet: String,
    #[command(flatten)]
    remote: Remote,
}

/// One fleet, or all of them, and who holds them.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").args(["fleet", "all"]).required(true))]
struct Which {
    /// The fleet; for all of them say --all instead.
    fleet: Option<String>,
    /// All fleets.
    #[arg(long)]
    all: bool,
    /// The cluster that holds the fleet now, as you believe, or `none`; if that is wrong, nothing is done. Without it, the
    /// fleet is asked for first, and whoever holds it then is shown and named.
    #[arg(long, conflicts_with = "all")]
    holder: Option<String>,
    /// The same for all fleets, every one of them: rnd=blue,ops=none.
    #[arg(long, conflicts_with = "fleet", value_name = "FLEET=CLUSTER", value_delimiter = ',', value_parser = pair)]
    holders: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (fleet, holder) = text.split_once('=').ok_or("write it as FLEET=CLUSTER, or FLEET=none")?;
    Ok((fleet.to_owned(), holder.to_owned()))
}

#[derive(Debug, Args)]
struct Pause {
    #[command(flatten)]
    which: Which,
    /// How long, such as 2h; without it, until resumed.
    #[arg(long = "for", value_parser = positive)]
    lasts: Option<SignedDuration>,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
struct Resume {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
struct Ack {
    /// The fleet.
    fleet: String,
    /// The cluster that holds the fleet now, as you believe, or `none`; if that is wrong, nothing is done.
    #[arg(long)]
    holder: String,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    remote: Remote,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    // A story's transcript says more than the loop's log, whose times are not the story's.
    let quiet = matches!(cli.command, Command::Simulate(_)) && cli.log_level == "info";
    let level = if quiet { "off" } else { &cli.log_level };
    if let Err(error) = telemetry::init(level, cli.log_format) {
        complain(&format!("--log.level: {error}"));
        return Exit::Usage.into();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("the runtime does not start: {error}"));
            return Exit::Failed.into();
        }
    };
    let exit = runtime.block_on(run(cli));
    // A name look-up that hangs must not keep the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    exit.into()
}

async fn run(cli: Cli) -> Exit {
    let Cli { config_file, command, log_level: _, log_format: _ } = cli;
    match command {
        Command::Serve(args) => ended(app::serve(&config_file, args.listening()).await),
        Command::Verdict(args) => verdict::run(&args),
        Command::Simulate(args) => simulate::simulate(args).await,
        Command::Exporter(args) => exporter::run(args).await,
        Command::Check(args) => check::check(&config_file, &args).await,
        Command::Sidecar(args) => sidecar::sidecar(args).await,
        Command::Probe(args) => sidecar::probe(args).await,
        command => client::run(&config_file, command).await,
    }
}

/// How a role ended.
fn ended(ended: Result<(), app::Error>) -> Exit {
    match ended {
        Ok(()) => Exit::Done,
        Err(app::Error::Config(problems)) => {
            complain(&problems.to_string());
            Exit::Usage
        }
        Err(error) => {
            complain(&chain(&error));
            Exit::Failed
        }
    }
}

#[expect(clippy::print_stderr, reason = "a command's complaint goes to standard error")]
fn complain(text: &str) {
    eprintln!("switchyard: {}", lines(text));
}

/// What a person should see beside the answer.
#[expect(clippy::print_stderr, reason = "standard output is for the answer")]
fn remark(text: &str) {
    eprintln!("{}", lines(text));
}

/// Says it to people. Whoever wrote what is shown must not reach their terminal with it.
fn say(text: &str) {
    print(&lines(text));
}

/// Says it to programs.
fn say_json(value: &impl std::fmt::Display) {
    print(&format!("{value:#}"));
}

/// A reader that went away, such as `head`, has read enough.
fn print(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

fn load(path: &std::path::Path) -> Result<Config, config::Problems> {
    config::load(path, std::env::vars())
}

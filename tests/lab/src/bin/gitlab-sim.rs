//! The simulated GitLab as a process, for the demo and for other languages.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use switchyard_lab::gitlab::{Config, Simulator, TokenSpec};

/// A simulated GitLab in memory. `/-/lab` sets it up and breaks it.
#[derive(Parser)]
struct Args {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8929")]
    listen: SocketAddr,
    /// How long polls are held, in seconds; GitLab's packages use 50.
    #[arg(long, default_value_t = 0)]
    long_poll: u64,
    /// Secret of an administrator's token with the scopes `api`, `read_api` and `manage_runner`.
    #[arg(long, env = "GITLAB_SIM_TOKEN")]
    admin_token: Option<String>,
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let args = Args::parse();
    let gitlab = Simulator::try_start(Config {
        listen: args.listen,
        long_poll: Duration::from_secs(args.long_poll),
        ..Config::default()
    })?;
    if let Some(secret) = args.admin_token {
        let scopes = ["api", "read_api", "manage_runner", "create_runner"];
        let _ = gitlab
            .admin()
            .create_token(TokenSpec { value: Some(secret), ..TokenSpec::admin("root", &scopes) });
    }
    tracing::info!(url = gitlab.url(), "simulated GitLab");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => Ok(()),
            interrupted = tokio::signal::ctrl_c() => interrupted,
        }
    })?;
    Ok(())
}

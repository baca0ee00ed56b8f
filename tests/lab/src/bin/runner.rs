//! A runner process: the real job protocol, the metrics and the signals of a gitlab-runner.

use clap::Parser;
use switchyard_lab::runner::agent::{Options, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Another crate of this process may have chosen one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    run(Options::parse()).await
}

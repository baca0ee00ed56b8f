//! `switchyard sidecar` and `switchyard probe`: what the gitlab-runner beside it is doing.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use url::Url;

use super::{Exit, OutputFormat, chain, complain, ended, say, say_json};
use crate::{
    app, clock,
    metrics::WebMetrics,
    model::SignedDuration,
    sidecar::{self, Runner},
    web::Limits,
    world::Live,
};

/// Where the runner is and how it is configured.
#[derive(Debug, Args)]
struct Watched {
    /// The runner's metrics page: its `listen_address`.
    #[arg(
        long = "runner.url",
        default_value = "http://127.0.0.1:9252/metrics",
        env = "SWITCHYARD_RUNNER_URL"
    )]
    url: Url,
    /// The runner's `check_interval`.
    #[arg(long = "runner.check-interval", default_value = "3s")]
    check_interval: SignedDuration,
    /// How long GitLab holds a request for a job open: GitLab's long polling, 50s unless it was changed.
    #[arg(long = "runner.hold", default_value = "50s")]
    hold: SignedDuration,
    /// How long the page may take. One that has begun by then is an answer, though one that cannot be read.
    #[arg(long, default_value = "5s")]
    scrape_timeout: SignedDuration,
    /// So many looks in a row without an answer mean that the runner is dead.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    tries: u32,
}

impl Watched {
    fn runner(self, period: SignedDuration) -> Result<Runner, Exit> {
        let limits = sidecar::Limits {
            check_interval: self.check_interval,
            hold: self.hold,
            period,
            timeout: self.scrape_timeout,
            tries: self.tries,
        };
        for (flag, value) in [
            ("--runner.check-interval", limits.check_interval),
            ("--runner.hold", limits.hold),
            ("--period", period),
            ("--scrape-timeout", limits.timeout),
        ] {
            if value <= SignedDuration::ZERO {
                complain(&format!("{flag} must be longer than nothing, such as 3s"));
                return Err(Exit::Usage);
            }
        }
        if !matches!(self.url.scheme(), "http" | "https") {
            complain(&format!("--runner.url: {:?} is neither http nor https", self.url.scheme()));
            return Err(Exit::Usage);
        }
        app::install_crypto();
        Runner::new(&self.url, limits).map_err(|error| {
            complain(&format!("--runner.url: {}", chain(&error)));
            Exit::Usage
        })
    }
}

#[derive(Debug, Args)]
pub(super) struct Sidecar {
    /// The address to listen on. kubelet asks the pod's own address: in a pod, use 0.0.0.0:9798.
    #[arg(long = "web.listen-address", default_value = "127.0.0.1:9798")]
    listen: String,
    /// A file with certificates and users, in the format of Prometheus' exporter-toolkit. kubelet's probes of /livez and
    /// /readyz need no user; they have no certificate to show.
    #[arg(long = "web.config.file")]
    web_config: Option<PathBuf>,
    /// The time between two looks.
    #[arg(long, default_value = "2s")]
    period: SignedDuration,
    #[command(flatten)]
    watched: Watched,
}

#[derive(Debug, Args)]
pub(super) struct Probe {
    /// What is asked.
    #[arg(value_enum)]
    aspect: Asked,
    /// What earlier probes saw: a file on a volume that can be written.
    #[arg(long, default_value_os_t = std::env::temp_dir().join("switchyard-probe.json"))]
    state_file: PathBuf,
    /// The time between two probes: the probe's `periodSeconds`.
    #[arg(long, default_value = "10s")]
    period: SignedDuration,
    #[command(flatten)]
    watched: Watched,
    #[command(flatten)]
    output: super::Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Asked {
    /// Is the process alive?
    Live,
    /// Does it take jobs?
    Ready,
}

pub(super) async fn sidecar(args: Sidecar) -> Exit {
    let runner = match args.watched.runner(args.period) {
        Ok(runner) => runner,
        Err(exit) => return exit,
    };
    let sidecar = sidecar::Sidecar::new(runner, Live::clock);
    let metrics = WebMetrics::default();
    let routes =
        app::role::Routes { open: sidecar.clone().probes(), closed: sidecar.clone().router(&metrics) };
    let work = |end: tokio_util::sync::CancellationToken| async move {
        sidecar.watch(end.cancelled_owned()).await;
    };
    let listening =
        app::Listening { address: args.listen, web_config: args.web_config, limits: Limits::default() };
    ended(app::role::run("sidecar", listening, metrics, routes, work).await)
}

pub(super) async fn probe(args: Probe) -> Exit {
    let runner = match args.watched.runner(args.period) {
        Ok(runner) => runner,
        Err(exit) => return exit,
    };
    let judgement = match sidecar::probe(&runner, &args.state_file, clock::moment(Live::clock)).await {
        Ok(judgement) => judgement,
        Err(error) => {
            complain(&chain(&error));
            // A full disk must not make kubelet restart a runner that has just answered.
            return if args.aspect == Asked::Live && error.answered { Exit::Done } else { Exit::Usage };
        }
    };
    match args.output.output {
        OutputFormat::Table => say(&format!("{}: {}", judgement.state, judgement.sentence)),
        OutputFormat::Json => say_json(&serde_json::json!(judgement).to_string()),
    }
    let yes = match args.aspect {
        Asked::Live => judgement.state.live(),
        Asked::Ready => judgement.state.ready(),
    };
    if yes { Exit::Done } else { Exit::Failed }
}

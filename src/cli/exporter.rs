//! `switchyard exporter`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::{
    Exit, chain, complain, ended,
    judging::{Judging, at_least, signed},
};
use crate::{
    app,
    exporter::{self, Access, Context, RunnerPods, Settings},
    kubernetes::{Limits, Tool},
    metrics::WebMetrics,
    model::ClusterName,
    web,
    world::Live,
};

#[derive(Debug, Args)]
pub(super) struct Exporter {
    /// The address to listen on. Prometheus asks the pod's own address: in a pod, use 0.0.0.0:9799.
    #[arg(long = "web.listen-address", default_value = "127.0.0.1:9799")]
    listen: String,
    /// A file with certificates and users, in the format of Prometheus' exporter-toolkit.
    #[arg(long = "web.config.file")]
    web_config: Option<PathBuf>,
    /// The cluster that is read: the label runner_cluster. Needed unless each --context has its name.
    #[arg(long, value_name = "NAME", env = "SWITCHYARD_RUNNER_CLUSTER")]
    runner_cluster: Option<ClusterName>,
    /// A context of the kubeconfig, and its cluster's name where that is another one. May be given several times:
    /// one process reads all of them. Without it, the current context of --kubeconfig or, outside a pod, of KUBECONFIG;
    /// otherwise the cluster that this process runs in.
    #[arg(long = "context", value_name = "CONTEXT[=NAME]")]
    contexts: Vec<Context>,
    /// The kubeconfig. With --context it is by default what KUBECONFIG names, or the one in the home directory.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Read Velero, Argo CD and Flux objects of this namespace only. May be given several times.
    #[arg(long = "namespace", value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// Whose objects are read.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "velero,argocd,flux")]
    tools: Vec<Part>,
    /// Where the runner pods of a fleet are, such as rnd=gitlab-runner/app=gitlab-runner. May be given several times.
    #[arg(long, value_name = "FLEET=NAMESPACE/SELECTOR")]
    runner_pods: Vec<RunnerPods>,
    /// Without a sign of life from the API for so long, what was read counts as unknown.
    #[arg(long, value_name = "DURATION", default_value = "3m", value_parser = at_least::<6>)]
    stale_after: Duration,
    /// How often the API of each cluster is probed.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = at_least::<1>)]
    probe_interval: Duration,
    /// Limit of one probe.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = at_least::<1>)]
    probe_timeout: Duration,
    /// How often what is not installed or not allowed is looked for again.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = at_least::<1>)]
    recheck: Duration,
    /// Objects in one page of a list: whole objects are in memory page by page only.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=5000))]
    page_size: u32,
    #[command(flatten)]
    judging: Judging,
    /// How long ago the newest completed backup of a schedule may have begun where no exporter knows the schedule: on a
    /// standby whose active cluster has none.
    #[arg(long, value_name = "DURATION", default_value = "26h", value_parser = at_least::<1>)]
    velero_rpo_unknown: Duration,
}

/// A tool, as on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Velero,
    Argocd,
    Flux,
}

impl From<Part> for Tool {
    fn from(part: Part) -> Self {
        match part {
            Part::Velero => Self::Velero,
            Part::Argocd => Self::Argocd,
            Part::Flux => Self::Flux,
        }
    }
}

pub(super) async fn run(args: Exporter) -> Exit {
    let Exporter {
        listen,
        web_config,
        runner_cluster,
        contexts,
        kubeconfig,
        namespaces,
        tools,
        runner_pods,
        stale_after,
        probe_interval,
        probe_timeout,
        recheck,
        page_size,
        judging,
        velero_rpo_unknown,
    } = args;
    let limits = match judging.limits() {
        Ok(limits) => Limits { rpo_unknown: signed(velero_rpo_unknown), ..limits },
        Err(wrong) => {
            complain(&wrong);
            return Exit::Usage;
        }
    };
    let settings = Settings {
        access: Access { kubeconfig, contexts, runner_cluster },
        namespaces: namespaces.into_iter().collect(),
        tools: tools.into_iter().map(Tool::from).collect(),
        runner_pods,
        stale_after,
        probe_interval,
        probe_timeout,
        recheck,
        page: page_size,
        limits,
    };
    app::install_crypto();
    let exporter = match exporter::Exporter::new(settings).await {
        Ok(exporter) => exporter,
        Err(error) => {
            complain(&chain(&error));
            return Exit::Usage;
        }
    };
    let metrics = WebMetrics::default();
    let router = exporter.router(Live::clock, &metrics);
    let listening = app::Listening { address: listen, web_config, limits: web::Limits::default() };
    let routes = app::role::Routes { closed: router, ..Default::default() };
    ended(app::role::run("exporter", listening, metrics, routes, |end| exporter.run(Live::clock, end)).await)
}

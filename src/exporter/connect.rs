//! Which clusters there are, and how they are reached.

use std::{collections::BTreeSet, path::PathBuf, str::FromStr, time::Duration};

use axum::http::{HeaderValue, header::USER_AGENT};
use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::failure::chain;
use crate::model::{ClusterName, FleetName};

/// A context of a kubeconfig, and the name of its cluster: `CONTEXT` or `CONTEXT=CLUSTER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The context.
    pub context: String,
    /// The label `runner_cluster`; the context's own name where none is given.
    pub cluster: Option<ClusterName>,
}

impl FromStr for Context {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (context, cluster) = match text.rsplit_once('=') {
            Some((context, cluster)) => (context, Some(cluster.parse().map_err(|e| format!("{e}"))?)),
            None => (text, None),
        };
        if context.is_empty() {
            return Err("the context has no name".to_owned());
        }
        Ok(Self { context: context.to_owned(), cluster })
    }
}

/// Where the runner pods of a fleet are: `FLEET=NAMESPACE/SELECTOR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerPods {
    /// The fleet.
    pub fleet: FleetName,
    /// The namespace.
    pub namespace: String,
    /// A label selector, as `kubectl -l` takes it.
    pub labels: String,
}

impl FromStr for RunnerPods {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form =
            || format!("{text:?} is not FLEET=NAMESPACE/SELECTOR, such as rnd=gitlab-runner/app=runner");
        let (fleet, rest) = text.split_once('=').ok_or_else(form)?;
        let (namespace, labels) = rest.split_once('/').ok_or_else(form)?;
        if namespace.is_empty() || namespace.contains(['=', ',']) || labels.trim().is_empty() {
            return Err(form());
        }
        let fleet = fleet.parse().map_err(|e| format!("{e}"))?;
        Ok(Self { fleet, namespace: namespace.to_owned(), labels: labels.to_owned() })
    }
}

/// How the clusters are reached.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The kubeconfig; without it, `KUBECONFIG` or the one in the home directory.
    pub kubeconfig: Option<PathBuf>,
    /// The contexts to use; without one, the cluster that this process runs in, or the current context.
    pub contexts: Vec<Context>,
    /// The name of the only cluster.
    pub runner_cluster: Option<ClusterName>,
}

/// Why a cluster cannot be reached, known at the start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no name for the cluster.
    #[error(
        "which cluster this is must be said: --runner-cluster NAME, or --context CONTEXT=NAME for each of several"
    )]
    NoName,
    /// One name for several clusters.
    #[error(
        "--runner-cluster names one cluster, and there are several contexts: use --context CONTEXT=NAME for each"
    )]
    OneName,
    /// Two contexts have one name.
    #[error("two contexts are called {0}: give each a name of its own with --context CONTEXT=NAME")]
    Twice(ClusterName),
    /// One context, two names.
    #[error(
        "the context {0:?} is given twice: one cluster would be shown as two; name another context, or leave one out"
    )]
    SameContext(String),
    /// A context's name is no cluster's name.
    #[error("the context {context:?} cannot be a cluster's name ({why}): use --context {context}=NAME")]
    Name {
        /// The context.
        context: String,
        /// Why not.
        why: String,
    },
    /// The kubeconfig does not have the context.
    #[error("the kubeconfig has no context {context:?}; it has: {known}")]
    NoContext {
        /// The context.
        context: String,
        /// Those that there are.
        known: String,
    },
    /// The kubeconfig cannot be used.
    #[error(
        "the kubeconfig cannot be used: {0}; correct it, or name another with --kubeconfig, or another of its contexts with --context"
    )]
    Kubeconfig(String),
    /// Neither in a cluster nor with a kubeconfig.
    #[error(
        "this is no pod with a service account ({0}): name a kubeconfig with --kubeconfig, and --context"
    )]
    NotInCluster(String),
    /// No client can be made.
    #[error("no client for the cluster {0}: {1}")]
    Client(ClusterName, String),
}

impl Access {
    /// The clusters by name.
    ///
    /// # Errors
    /// Says what to write instead.
    pub async fn clusters(&self) -> Result<Vec<(ClusterName, Config)>, Error> {
        if self.contexts.len() > 1 && self.runner_cluster.is_some() {
            return Err(Error::OneName);
        }
        if self.contexts.is_empty() {
            let name = self.runner_cluster.clone().ok_or(Error::NoName)?;
            let outside = self.kubeconfig.is_some() || std::env::var_os("KUBERNETES_SERVICE_HOST").is_none();
            let config = if outside && (self.kubeconfig.is_some() || std::env::var_os("KUBECONFIG").is_some())
            {
                self.config(&self.read()?, None).await?
            } else {
                Config::incluster().map_err(|error| Error::NotInCluster(chain(&error)))?
            };
            return Ok(vec![(name, adjusted(config))]);
        }
        let kubeconfig = self.read()?;
        let (mut names, mut contexts) = (BTreeSet::new(), BTreeSet::new());
        let mut clusters = Vec::new();
        for Context { context, cluster } in &self.contexts {
            let name = match cluster.as_ref().or(self.runner_cluster.as_ref()) {
                Some(name) => name.clone(),
                None => context
                    .parse()
                    .map_err(|error| Error::Name { context: context.clone(), why: format!("{error}") })?,
            };
            if !names.insert(name.clone()) {
                return Err(Error::Twice(name));
            }
            if !contexts.insert(context) {
                return Err(Error::SameContext(context.clone()));
            }
            if !kubeconfig.contexts.iter().any(|known| known.name == *context) {
                let known: Vec<&str> = kubeconfig.contexts.iter().map(|known| known.name.as_str()).collect();
                return Err(Error::NoContext { context: context.clone(), known: known.join(", ") });
            }
            clusters.push((name, adjusted(self.config(&kubeconfig, Some(context)).await?)));
        }
        Ok(clusters)
    }

    fn read(&self) -> Result<Kubeconfig, Error> {
        let read = match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        read.map_err(|error| Error::Kubeconfig(chain(&error)))
    }

    async fn config(&self, kubeconfig: &Kubeconfig, context: Option<&str>) -> Result<Config, Error> {
        let options =
            KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
        Config::from_custom_kubeconfig(kubeconfig.clone(), &options)
            .await
            .map_err(|error| Error::Kubeconfig(chain(&error)))
    }
}

/// One request is one request: how often it is repeated is decided by who asks.
fn adjusted(mut config: Config) -> Config {
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(10));
    config
        .headers
        .push((USER_AGENT, HeaderValue::from_static(concat!("switchyard/", env!("CARGO_PKG_VERSION")))));
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_and_selectors_are_read_as_people_write_them() {
        let context: Context = "arn:aws:eks:eu-central-1:1:cluster/blue=blue".parse().unwrap();
        assert_eq!(context.context, "arn:aws:eks:eu-central-1:1:cluster/blue");
        assert_eq!(context.cluster, Some("blue".parse().unwrap()));
        assert_eq!("green".parse::<Context>().unwrap().cluster, None);
        assert!("=green".parse::<Context>().is_err());

        let pods: RunnerPods =
            "rnd=gitlab-runner/app.kubernetes.io/name=runner,tier in (a,b)".parse().unwrap();
        assert_eq!((pods.fleet.as_str(), pods.namespace.as_str()), ("rnd", "gitlab-runner"));
        assert_eq!(pods.labels, "app.kubernetes.io/name=runner,tier in (a,b)");
        for wrong in ["rnd", "rnd=ns", "rnd=/app=x", "rnd=ns/", "=ns/app=x", "rnd=app=x/y"] {
            assert!(wrong.parse::<RunnerPods>().is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn what_is_missing_or_contradictory_is_said_with_the_mend() {
        let name = |name: &str| Some(name.parse().unwrap());
        let file = tempfile::NamedTempFile::new().unwrap();
        let config = r#"{"contexts": [{"name": "a", "context": {"cluster": "c"}}, {"name": "b/x", "context": {"cluster": "c"}}],
            "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}]}"#;
        std::fs::write(file.path(), config).unwrap();
        let says = async |contexts: &[&str], runner_cluster: Option<ClusterName>| {
            let contexts = contexts.iter().map(|c| c.parse().unwrap()).collect();
            let access = Access { kubeconfig: Some(file.path().to_owned()), contexts, runner_cluster };
            match access.clusters().await {
                Ok(clusters) => clusters.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" "),
                Err(error) => error.to_string(),
            }
        };
        assert_eq!(says(&["a", "b/x=blue"], None).await, "a blue");
        assert_eq!(says(&["a"], name("blue")).await, "blue");
        assert!(says(&[], None).await.contains("--runner-cluster NAME"));
        assert!(says(&["a", "b/x=b"], name("blue")).await.contains("--context CONTEXT=NAME"));
        assert!(says(&["a", "a"], None).await.contains("two contexts are called a"));
        assert!(says(&["a", "a=b"], None).await.contains("\"a\" is given twice"));
        assert!(says(&["c"], None).await.contains("no context \"c\"; it has: a, b/x"));
        assert!(says(&["b/x"], None).await.contains("--context b/x=NAME"), "{}", says(&["b/x"], None).await);
        assert!(says(&[], name("blue")).await.contains("cannot be used"), "no current context");
    }
}

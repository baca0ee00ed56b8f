//! The exporter against a real API server with the real CRDs.
//!
//! Nobody but the test writes there: no controller runs, so every status is what the test says it is.

#![expect(clippy::unwrap_used, reason = "a broken laboratory ends the test")]

mod crds;
mod interruptions;
mod many;
mod objects;
mod odd;
mod probe;
mod refused;
mod rights;
mod start;

use std::{fs, path::Path};

use serde_json::Value;
use switchyard_lab::{
    exporter::Exporter,
    kubernetes::{Crds, Kubernetes, kubeconfig},
    parts::or_skip,
};
use tempfile::TempDir;

/// The cluster's name in every test that has only one.
const BLUE: &str = "blue";

/// An API server with CRDs. None when it is not installed.
async fn kubernetes(crds: &[Crds]) -> Option<Kubernetes> {
    let kubernetes = or_skip(Kubernetes::start().await)?;
    kubernetes.install(crds).await.unwrap();
    Some(kubernetes)
}

/// An exporter with its kubeconfig and log.
struct Running {
    exporter: Exporter,
    dir: TempDir,
}

/// Starts the exporter with contexts `(name, where, token)` that all trust `ca`.
async fn exporter(contexts: &[(&str, std::net::SocketAddr, &str)], ca: &Path, more: &[&str]) -> Running {
    exporter_as(Path::new(env!("CARGO_BIN_EXE_switchyard")), contexts, ca, more).await
}

/// The same, with another program for it.
async fn exporter_as(
    binary: &Path,
    contexts: &[(&str, std::net::SocketAddr, &str)],
    ca: &Path,
    more: &[&str],
) -> Running {
    let names: Vec<&str> = contexts.iter().map(|(name, ..)| *name).collect();
    exporter_of(binary, &names, &kubeconfig(contexts, ca), more).await
}

/// The same with a kubeconfig, of which these contexts are used.
async fn exporter_of(binary: &Path, contexts: &[&str], kubeconfig: &str, more: &[&str]) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kubeconfig");
    fs::write(&file, kubeconfig).unwrap();
    let mut arguments = vec!["--kubeconfig".to_owned(), file.display().to_string()];
    for name in contexts {
        arguments.extend(["--context".to_owned(), (*name).to_owned()]);
    }
    arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    let exporter = Exporter::start(binary, &arguments, dir.path()).await.unwrap();
    Running { exporter, dir }
}

impl Running {
    /// Waits until an object is judged so. An empty verdict: it is not shown at all.
    async fn judged(&self, object: &Value, verdict: &str, reason: &str) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
        let namespace = text(&object["metadata"]["namespace"]);
        let mut labels = vec![("kind", kind.as_str()), ("namespace", &namespace), ("name", &name)];
        let mut wanted = None;
        if !verdict.is_empty() {
            labels.extend([("verdict", verdict), ("reason", reason)]);
            wanted = Some(1.0);
        }
        self.exporter.until("switchyard_object_verdict", &labels, wanted).await.unwrap();
    }

    async fn until(&self, name: &str, labels: &[(&str, &str)], wanted: Option<f64>) {
        self.exporter.until(name, labels, wanted).await.unwrap();
    }

    async fn collector_up(&self, cluster: &str, collector: &str, up: bool) {
        let labels = [("runner_cluster", cluster), ("collector", collector)];
        self.until("switchyard_exporter_collector_up", &labels, Some(f64::from(u8::from(up)))).await;
    }

    async fn errors(&self, cluster: &str, collector: &str, reason: &str) -> f64 {
        let labels = [("runner_cluster", cluster), ("collector", collector), ("reason", reason)];
        let page = self.exporter.metrics().await.unwrap();
        page.value("switchyard_exporter_collector_errors_total", &labels).unwrap_or(0.0)
    }

    fn log(&mut self) -> String {
        self.exporter.process().logged().unwrap()
    }
}

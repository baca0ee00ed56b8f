//! Objects of Velero, Argo CD and Flux and a runner pod in an API server, and the exporter that reads them.

use std::{fs, path::Path};

use serde_json::{Value, json};
use switchyard::world::Live;
use switchyard_lab::{
    exporter::Exporter,
    kubernetes::{Crds, Kubernetes, kubeconfig},
    parts::or_skip,
};

/// As real controllers wrote them; what belongs to their own API server is left out.
fn objects() -> Vec<Value> {
    let mut found = Vec::new();
    for file in ["pods", "velero", "argocd", "flux"] {
        let path = format!("{}/tests/fixtures/kubernetes/{file}.json", env!("CARGO_MANIFEST_DIR"));
        let read: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        match read["items"].as_array() {
            Some(items) => found.extend(items.iter().cloned()),
            None => found.push(read),
        }
    }
    for object in &mut found {
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.retain(|key, _| ["name", "namespace", "labels", "annotations"].contains(&key.as_str()));
        first_generation(object);
        // A Velero that looks at its bucket. What is in one that nobody looks at has no age.
        if object["kind"] == "BackupStorageLocation" {
            let now = Live::clock().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            for time in ["lastValidationTime", "lastSyncedTime"] {
                object["status"][time] = json!(now);
            }
        }
    }
    found
}

/// The objects are new here.
fn first_generation(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(key, inner)| {
            if key == "observedGeneration" {
                *inner = json!(1);
            }
            first_generation(inner);
        }),
        Value::Array(items) => items.iter_mut().for_each(first_generation),
        _ => {}
    }
}

/// The cluster blue with its objects, and an exporter that reads it, and that may not read green.
pub(crate) struct Inside {
    /// The exporter.
    pub(crate) exporter: Exporter,
    kubernetes: Kubernetes,
}

impl Inside {
    /// None when the API server is not installed.
    pub(crate) async fn start(dir: &Path) -> Option<Self> {
        let kubernetes = or_skip(Kubernetes::start().await)?;
        kubernetes.install(&Crds::ALL).await.unwrap();
        for object in objects() {
            kubernetes.namespace(object["metadata"]["namespace"].as_str().unwrap()).await.unwrap();
            kubernetes.apply(&object).await.unwrap();
        }
        let config = dir.join("kubeconfig");
        let contexts = [
            ("blue", kubernetes.address(), kubernetes.admin_token()),
            ("green", kubernetes.address(), "of-nobody"),
        ];
        fs::write(&config, kubeconfig(&contexts, &kubernetes.ca_file())).unwrap();
        let config = config.display().to_string();
        let arguments = [
            ["--kubeconfig", &config],
            ["--context", "blue"],
            ["--context", "green"],
            ["--runner-pods", "rnd=gitlab-runner/app=gitlab-runner"],
            ["--probe-interval", "1s"],
            ["--velero-validation", "1h"],
        ];
        let arguments: Vec<_> =
            arguments.as_flattened().iter().map(|&argument| argument.to_owned()).collect();
        let exporter =
            Exporter::start(Path::new(env!("CARGO_BIN_EXE_switchyard")), &arguments, dir).await.unwrap();
        exporter
            .until("switchyard_flux_object_ready", &[("kind", "Kustomization"), ("name", "apps")], Some(1.0))
            .await
            .unwrap();
        Some(Self { exporter, kubernetes })
    }

    /// A new revision is in the source, and nothing has applied it yet.
    pub(crate) async fn change(&self) {
        self.say("GitRepository", "/status/artifact/revision").await;
    }

    /// The new revision is applied.
    pub(crate) async fn arrive(&self) {
        self.say("Kustomization", "/status/lastAppliedRevision").await;
    }

    async fn say(&self, kind: &str, field: &str) {
        let mut object = objects()
            .into_iter()
            .find(|object| object["kind"] == kind && object["metadata"]["name"] == "apps")
            .unwrap();
        *object.pointer_mut(field).unwrap() = json!("main@sha1:0000000000000000000000000000000000000001");
        self.kubernetes.apply(&object).await.unwrap();
    }
}

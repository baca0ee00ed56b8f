//! A real API server takes what the chart renders.

use std::{collections::BTreeSet, fs};

use serde_json::json;
use switchyard_lab::{
    kubernetes::{Crds, Kubernetes, kubeconfig},
    parts::or_skip,
};

use super::{chart, helm, of_kind, said, variant, variants};

/// Every object of every variant as the API server judges it, then installed by Helm itself.
#[tokio::test]
async fn a_real_api_server_takes_every_variant() {
    let Some(kubernetes) = or_skip(Kubernetes::start().await) else { return };
    kubernetes.install(&[Crds::PrometheusOperator]).await.unwrap();
    for namespace in ["switchyard", "gitlab-runner", "deploy"] {
        kubernetes.namespace(namespace).await.unwrap();
    }
    let mut kinds = BTreeSet::new();
    for values in variants() {
        let Some(objects) = variant(&values) else { return };
        for object in objects {
            kinds.insert(object["kind"].as_str().unwrap().to_owned());
            kubernetes
                .dry_run(&object)
                .await
                .unwrap_or_else(|error| panic!("{}: {error:#}\n{object:#}", values.display()));
        }
    }
    for kind in [
        "AlertmanagerConfig",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "PodMonitor",
        "PrometheusRule",
        "ServiceMonitor",
    ] {
        assert!(kinds.contains(kind), "{kind} is in no variant: {kinds:?}");
    }

    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("kubeconfig");
    let context = [("lab", kubernetes.address(), kubernetes.admin_token())];
    fs::write(&config, kubeconfig(&context, &kubernetes.ca_file())).unwrap();
    let (chart, config) = (chart().display().to_string(), config.display().to_string());
    for (number, values) in variants().iter().enumerate() {
        let (release, values) = (format!("sy{number}"), values.display().to_string());
        let place = ["--kubeconfig", &config, "--namespace", "switchyard"];
        for verb in
            [&["install", &release, &chart, "-f", &values][..], &["upgrade", &release, &chart, "-f", &values]]
        {
            let Some(output) = helm(&[verb, &place].concat()) else { return };
            assert!(output.status.success(), "{verb:?}: {}", said(&output));
        }
    }
    let path = "/apis/apps/v1/namespaces/switchyard/deployments";
    let deployed = kubernetes.get(path).await.unwrap()["items"].as_array().unwrap().len();
    let rendered: usize =
        variants().iter().filter_map(|values| variant(values)).map(|o| of_kind(&o, "Deployment").len()).sum();
    assert_eq!(deployed, rendered, "all of the responders, exporters and runners");
}

/// The strictest of the pod security standards, as the API server enforces it.
#[tokio::test]
async fn every_pod_may_run_in_a_restricted_namespace() {
    let Some(kubernetes) = or_skip(Kubernetes::start().await) else { return };
    let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
    let metadata = json!({ "name": "switchyard", "labels": labels });
    kubernetes
        .apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }))
        .await
        .unwrap();
    let mut tried = 0;
    for values in variants() {
        let Some(objects) = variant(&values) else { return };
        for deployment in of_kind(&objects, "Deployment") {
            let mut pod = deployment["spec"]["template"].clone();
            pod["apiVersion"] = json!("v1");
            pod["kind"] = json!("Pod");
            pod["metadata"]["namespace"] = json!("switchyard");
            pod["metadata"]["name"] = json!("pod");
            kubernetes.dry_run(&pod).await.unwrap_or_else(|error| panic!("{error:#}\n{pod:#}"));
            // It looks: one right more, and the pod is refused.
            pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
            let why = kubernetes.dry_run(&pod).await.unwrap_err().to_string();
            assert!(why.contains("violates PodSecurity"), "{why}");
            tried += 1;
        }
    }
    assert!(tried > 4, "{tried}");
}

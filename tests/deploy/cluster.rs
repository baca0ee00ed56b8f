//! A real API server takes what the chart renders.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use serde_json::{Value, json};
use switchyard_lab::{
    exporter::Exporter,
    kubernetes::{Crds, Kubernetes, kubeconfig},
    parts::{or_skip, skipped},
    process,
};

use super::{
    KUBE_VERSION, block, chart, commands, documents, helm, manifest, of_kind,
    pods::{list, shipped, text},
    rendered, root, said, variants,
};

/// Every object of every variant and of the plain manifests as the API server judges it, then installed by Helm itself.
#[tokio::test]
async fn a_real_api_server_takes_every_variant() {
    let Some(shipped) = shipped() else { return };
    let Some(kubernetes) = or_skip(Kubernetes::start().await) else { return };
    kubernetes.install(&[Crds::PrometheusOperator]).await.unwrap();
    for namespace in ["switchyard", "gitlab-runner", "deploy", "456"] {
        kubernetes.namespace(namespace).await.unwrap();
    }
    let mut kinds = BTreeSet::new();
    for (path, objects) in shipped {
        for object in objects {
            kinds.insert(object["kind"].as_str().unwrap().to_owned());
            kubernetes
                .dry_run(object)
                .await
                .unwrap_or_else(|error| panic!("{}: {error:#}\n{object:#}", path.display()));
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
    let variants = variants();
    for (number, values) in variants.iter().enumerate() {
        let values = values.display().to_string();
        // What YAML would take for a number is a name like others.
        let digits = format!("12{number}");
        let digits = (digits.clone(), "456", format!("nameOverride={digits},fullnameOverride="));
        for (release, namespace, set) in [(format!("sy{number}"), "switchyard", String::new()), digits] {
            let place = ["--kubeconfig", &config, "--namespace", namespace, "--set-string", &set];
            for verb in ["install", "upgrade"] {
                let verb = [verb, &release, &chart, "-f", &values];
                let Some(output) = helm(&[&verb[..], &place].concat()) else { return };
                assert!(output.status.success(), "{verb:?}: {}", said(&output));
            }
        }
    }
    let path = "/apis/apps/v1/namespaces/switchyard/deployments";
    let deployed = kubernetes.get(path).await.unwrap()["items"].as_array().unwrap().len();
    let rendered = shipped.iter().filter(|(path, _)| variants.contains(path));
    let rendered: usize = rendered.map(|(_, objects)| of_kind(objects, "Deployment").len()).sum();
    assert_eq!(deployed, rendered, "all of the responders, exporters and runners");
}

/// The strictest of the pod security standards, as the API server enforces it.
#[tokio::test]
async fn every_pod_may_run_in_a_restricted_namespace() {
    let Some(shipped) = shipped() else { return };
    let Some(kubernetes) = or_skip(Kubernetes::start().await) else { return };
    let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
    let metadata = json!({ "name": "switchyard", "labels": labels });
    kubernetes
        .apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }))
        .await
        .unwrap();
    let mut tried = 0;
    for (_, objects) in shipped {
        for deployment in of_kind(objects, "Deployment") {
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

/// As the chart's README says it: the rights, the kubeconfig with its files, the arguments that the chart makes. The real
/// exporter reads both clusters with them, and lacks no right.
#[tokio::test]
async fn one_exporter_reads_several_clusters_as_the_readme_says() {
    let Some(kubernetes) = or_skip(Kubernetes::start().await) else { return };
    kubernetes.install(&Crds::ALL).await.unwrap();
    kubernetes.apply_file(&root().join("deploy/rbac/exporter.yaml")).await.unwrap();
    let page = fs::read_to_string(chart().join("README.md")).unwrap();
    let section = "## Several clusters from one exporter";
    let config = block(&page, section, "yaml");
    let (_, section) = page.split_once(section).unwrap();

    // The Secret as kubelet mounts it.
    let dir = tempfile::tempdir().unwrap();
    let mut config = config.to_owned();
    for cluster in ["blue", "green"] {
        let there = format!("https://api.{cluster}.example.com:6443");
        assert!(config.contains(&there), "{config}");
        config = config.replace(&there, &format!("https://{}", kubernetes.address()));
        let token = kubernetes.token("switchyard", "switchyard-exporter").await.unwrap();
        fs::write(dir.path().join(format!("{cluster}-token")), token).unwrap();
        fs::copy(kubernetes.ca_file(), dir.path().join(format!("{cluster}-ca.crt"))).unwrap();
    }
    fs::write(dir.path().join("kubeconfig"), config).unwrap();

    let install = commands(section).into_iter().find(|words| words[0] == "helm").unwrap();
    let more: Vec<&str> = install.iter().skip_while(|word| *word != "--set").map(String::as_str).collect();
    let Some(objects) = rendered(&more) else { return };
    let objects = objects.unwrap();
    assert!(of_kind(&objects, "ClusterRole").is_empty(), "no rights where it reads nothing");
    let pod = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "switchyard-clusters");
    let mount = pod["containers"][0]["volumeMounts"][0]["mountPath"].as_str().unwrap();
    let place = dir.path().display().to_string();
    let args: Vec<String> = arguments(pod).map(|arg| arg.replace(mount, &place)).collect();

    let logs = tempfile::tempdir().unwrap();
    let mut exporter =
        Exporter::start(Path::new(env!("CARGO_BIN_EXE_switchyard")), &args, logs.path()).await.unwrap();
    for cluster in ["blue", "green"] {
        reads_everything(&exporter, cluster).await;
    }
    exporter.terminate().await.unwrap();
}

/// The plain manifest as `kubectl apply` takes it, and its pod's process: it finds the API by the variables of kubelet, with the
/// account's token at kubelet's place, and has the rights that the manifest gives to that account.
#[tokio::test]
async fn the_exporter_in_its_own_cluster_has_the_rights_that_the_manifest_gives_it() {
    // The place is the same on every machine: it gets a /run of its own.
    let alone = ["--user", "--map-root-user", "--mount"];
    let may = Command::new("unshare").args(alone).args(["mount", "-t", "tmpfs", "none", "/run"]).output();
    if !may.as_ref().is_ok_and(|output| output.status.success()) {
        return skipped(&format!("the exporter in its own cluster: no namespaces here: {may:?}"));
    }
    let Some(kubernetes) = or_skip(Kubernetes::start().await) else { return };
    kubernetes.install(&Crds::ALL).await.unwrap();
    kubernetes.namespace("gitlab-runner").await.unwrap();
    let manifest = manifest("exporter");
    kubernetes.apply_file(&manifest).await.unwrap();
    let objects = documents(&fs::read_to_string(&manifest).unwrap());
    let pod = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"];
    let account = pod["serviceAccountName"].as_str().unwrap();

    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("token"), kubernetes.token("switchyard", account).await.unwrap()).unwrap();
    fs::write(dir.path().join("namespace"), "switchyard").unwrap();
    fs::copy(kubernetes.ca_file(), dir.path().join("ca.crt")).unwrap();
    let script = dir.path().join("exporter");
    let (place, binary) = (dir.path().display(), env!("CARGO_BIN_EXE_switchyard"));
    let inner = format!(
        "mount -t tmpfs none /run; mkdir -p /var/run/secrets/kubernetes.io; \
         ln -s {place} /var/run/secrets/kubernetes.io/serviceaccount; exec {binary} \"$@\""
    );
    let text = format!(
        "export KUBERNETES_SERVICE_HOST={} KUBERNETES_SERVICE_PORT={}\n\
         exec unshare {} sh -ec '{inner}' sh \"$@\"",
        kubernetes.address().ip(),
        kubernetes.address().port(),
        alone.join(" ")
    );
    process::script(&script, &text).unwrap();

    let args: Vec<String> = arguments(pod).map(str::to_owned).collect();
    let logs = tempfile::tempdir().unwrap();
    let mut exporter = Exporter::start(&script, &args, logs.path()).await.unwrap();
    reads_everything(&exporter, "blue").await;
    exporter.terminate().await.unwrap();
}

/// The exporter's arguments in a pod, but those that the laboratory gives it by itself.
fn arguments(pod: &Value) -> impl Iterator<Item = &str> {
    let own = ["exporter", "--web.listen-address=0.0.0.0:9799"];
    list(&pod["containers"][0], "args").map(text).filter(move |arg| !own.contains(arg))
}

/// Its API answers, and no right is missing.
async fn reads_everything(exporter: &Exporter, cluster: &str) {
    let of = [("runner_cluster", cluster)];
    exporter.until("switchyard_cluster_api_up", &of, Some(1.0)).await.unwrap();
    let page = exporter.metrics().await.unwrap();
    let collectors = page.text().lines().filter(|line| line.starts_with("switchyard_exporter_collector_up{"));
    let count = collectors.filter(|line| line.contains(&format!("{cluster:?}"))).count();
    assert!(count > 8, "{count}");
    exporter.until("switchyard_exporter_collector_up", &of, Some(count as f64)).await.unwrap();
}

/// The commands of the chart's README, as far as they are Helm's: the chart takes their values.
#[test]
fn the_helm_commands_of_the_readme_work() {
    let page = fs::read_to_string(chart().join("README.md")).unwrap();
    let installs: Vec<Vec<String>> =
        commands(&page).into_iter().filter(|words| words[0] == "helm" && words[1] == "install").collect();
    assert!(installs.len() >= 4, "{installs:?}");
    let dir = tempfile::tempdir().unwrap();
    // What the README says that this file holds.
    let text = fs::read_to_string(root().join("deploy/config/switchyard.toml")).unwrap();
    let values = json!({ "responder": { "config": text, "existingSecret": "switchyard" } });
    fs::write(dir.path().join("responder.yaml"), values.to_string()).unwrap();
    for install in installs {
        let words = install.iter().map(|word| match word.as_str() {
            "install" => "template".to_owned(),
            "deploy/helm/switchyard" => chart().display().to_string(),
            "responder.yaml" => dir.path().join("responder.yaml").display().to_string(),
            other => other.to_owned(),
        });
        let mut words: Vec<String> = words.skip(1).collect();
        words.push(format!("--kube-version={KUBE_VERSION}"));
        let Some(output) = helm(&words.iter().map(String::as_str).collect::<Vec<_>>()) else { return };
        assert!(output.status.success(), "{install:?}: {}", said(&output));
    }
}

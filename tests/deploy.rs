//! What `deploy/` ships: the chart in every variant against a real API server, the rules and rights in it, the units.

#![expect(clippy::unwrap_used, reason = "a broken laboratory ends the test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};
use switchyard_lab::{
    kubernetes::{Crds, Kubernetes, kubeconfig},
    parts::{Flavour, or_skip},
};

/// The version of the API server in the laboratory.
const KUBE_VERSION: &str = "1.36.3";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn chart() -> PathBuf {
    root().join("deploy/helm/switchyard")
}

/// The values of every variant, by name.
fn variants() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(chart().join("ci")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    files
}

fn helm(args: &[&str]) -> Option<Output> {
    let helm = or_skip(Flavour::Pinned.find("helm", "helm").map_err(Into::into))?;
    Some(Command::new(helm).args(args).output().unwrap())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// The objects that the chart makes of these values.
fn rendered(more: &[&str]) -> Option<Result<Vec<Value>, String>> {
    let chart = chart().display().to_string();
    let args = ["template", "sy", &chart, "--namespace", "switchyard", "--kube-version", KUBE_VERSION];
    let output = helm(&[&args[..], more].concat())?;
    if !output.status.success() {
        return Some(Err(said(&output)));
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let objects: Vec<Option<Value>> = serde_saphyr::from_multiple(&text).unwrap();
    Some(Ok(objects.into_iter().flatten().collect()))
}

fn variant(values: &Path) -> Option<Vec<Value>> {
    Some(
        rendered(&["-f", &values.display().to_string()])?
            .unwrap_or_else(|why| panic!("{}: {why}", values.display())),
    )
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

#[test]
fn helm_finds_nothing_to_complain_about() {
    for values in variants() {
        let (chart, values) = (chart().display().to_string(), values.display().to_string());
        let Some(output) = helm(&["lint", "--strict", &chart, "-f", &values]) else { return };
        assert!(output.status.success(), "{values}: {}", said(&output));
    }
}

#[test]
fn what_is_missing_or_misspelt_is_refused_with_the_mend() {
    for (set, part) in [
        ("responder.replicas=1", "responder.config or responder.existingConfigMap"),
        ("responder.config=x,responder.replicas=2", "several need PostgreSQL"),
        ("responder.config=x,responder.replica=2", "replica"),
        ("responder.enabled=false,exporter.enabled=true", "exporter.runnerCluster"),
        ("responder.enabled=false,exporter.enabled=true,exporter.tools={argo}", "exporter"),
        ("responder.config=x,alertmanagerConfig.enabled=true", "alertmanagerConfig.tokenSecret.name"),
        ("responder.config=x,podMonitor.enabled=true", "podMonitor.selector"),
        ("responder.config=x,image.digest=sha256:12", "digest"),
    ] {
        let Some(result) = rendered(&["--set", set]) else { return };
        let why = result.expect_err(set);
        assert!(why.contains(part), "{set}: {part:?} is not in {why}");
    }
}

/// One text of rules: what Prometheus loads from files is what the operator gets.
#[test]
fn the_rules_in_the_chart_are_those_of_alerts() {
    let Some(objects) = variant(&chart().join("ci/everything-values.yaml")) else { return };
    let mut files: Vec<PathBuf> = fs::read_dir(root().join("alerts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".rules.yml"))
        .collect();
    files.sort();
    let groups: Vec<Value> = files
        .iter()
        .map(|file| serde_saphyr::from_str::<Value>(&fs::read_to_string(file).unwrap()).unwrap())
        .flat_map(|file| file["groups"].as_array().unwrap().clone())
        .collect();
    assert!(groups.len() > 4);
    let [rule] = of_kind(&objects, "PrometheusRule")[..] else { panic!("one PrometheusRule") };
    assert_eq!(rule["spec"]["groups"], json!(groups));
}

#[test]
fn the_dashboards_in_the_chart_are_those_of_dashboards() {
    let Some(objects) = variant(&chart().join("ci/everything-values.yaml")) else { return };
    let mut found = BTreeMap::new();
    for map in of_kind(&objects, "ConfigMap") {
        if map["metadata"]["labels"]["grafana_dashboard"] == "1" {
            for (name, text) in map["data"].as_object().unwrap() {
                found.insert(name.clone(), serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap());
            }
        }
    }
    let mut wanted = BTreeMap::new();
    for path in fs::read_dir(root().join("dashboards")).unwrap().map(|entry| entry.unwrap().path()) {
        if path.extension().is_some_and(|ending| ending == "json") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            wanted.insert(name, serde_json::from_slice::<Value>(&fs::read(&path).unwrap()).unwrap());
        }
    }
    assert_eq!(wanted.len(), 4);
    assert_eq!(found, wanted);
    // What writes them stays at home.
    let package = tempfile::tempdir().unwrap();
    let output =
        helm(&["package", &chart().display().to_string(), "-d", &package.path().display().to_string()]);
    let Some(output) = output else { return };
    assert!(output.status.success(), "{}", said(&output));
    let archive = fs::read_dir(package.path()).unwrap().next().unwrap().unwrap().path();
    let listed = Command::new("tar").arg("-tzf").arg(archive).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("files/dashboards/overview.json"), "{listed}");
    assert!(!listed.contains(".py") && !listed.contains("dashboards/README.md"), "{listed}");
}

#[test]
fn the_exporters_rights_in_the_chart_are_those_of_deploy_rbac() {
    let set = "responder.enabled=false,exporter.enabled=true,exporter.runnerCluster=blue";
    let pods = "exporter.runnerPods[0].fleet=rnd,exporter.runnerPods[0].namespace=runners,exporter.runnerPods[0].selector=a=b";
    let Some(objects) = rendered(&["--set", set, "--set", pods]) else { return };
    let objects = objects.unwrap();
    let text = fs::read_to_string(root().join("deploy/rbac/exporter.yaml")).unwrap();
    let shipped: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let roles: Vec<&Value> = of_kind(&shipped, "ClusterRole").iter().map(|role| &role["rules"]).collect();
    assert_eq!(
        [&of_kind(&objects, "ClusterRole")[0]["rules"], &of_kind(&objects, "Role")[0]["rules"]],
        roles[..],
        "for the cluster, and for the runners' namespaces"
    );
}

#[test]
fn every_pod_runs_without_rights() {
    for values in variants() {
        let Some(objects) = variant(&values) else { return };
        for deployment in of_kind(&objects, "Deployment") {
            let name = &deployment["metadata"]["name"];
            let pod = &deployment["spec"]["template"]["spec"];
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
            let container = &pod["containers"][0];
            let security = &container["securityContext"];
            assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(security["capabilities"]["drop"], json!(["ALL"]), "{name}");
            if container["args"][0] == "serve" {
                assert_eq!(pod["automountServiceAccountToken"], false, "{name} asks no API server");
            }
            // Every flag exists, and is given once.
            let args: Vec<&str> =
                container["args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
            let output =
                Command::new(env!("CARGO_BIN_EXE_switchyard")).args([args[0], "--help"]).output().unwrap();
            let help = said(&output);
            let mut given = BTreeSet::new();
            for arg in &args[1..] {
                let flag = arg.split('=').next().unwrap();
                assert!(given.insert(flag) || flag == "--runner-pods", "{name}: {flag} is given twice");
                assert!(help.contains(flag), "{name}: {flag} is no flag of {}", args[0]);
            }
        }
    }
}

#[test]
fn the_configuration_of_the_examples_loads() {
    let Some(objects) = variant(&chart().join("ci/sqlite-values.yaml")) else { return };
    let [map] = of_kind(&objects, "ConfigMap")[..] else { panic!("one ConfigMap") };
    let secrets = tempfile::tempdir().unwrap();
    for name in ["gitlab-token", "webhook-token", "api-token"] {
        fs::write(secrets.path().join(name), name).unwrap();
    }
    let text = map["data"]["switchyard.toml"].as_str().unwrap();
    let text = text.replace("/etc/switchyard/secrets", &secrets.path().display().to_string());
    let config = switchyard::config::Config::from_toml(&text, Path::new("/"), []).unwrap();
    assert_eq!(config.topology.fleets.len(), 1);
}

#[test]
fn the_plain_manifests_are_what_the_chart_says() {
    for name in ["responder", "exporter"] {
        let path = root().join(format!("deploy/manifests/{name}.yaml"));
        let values = root().join(format!("deploy/manifests/{name}.values.yaml")).display().to_string();
        let (chart, namespace) = (chart().display().to_string(), "--namespace=switchyard");
        let kube = format!("--kube-version={KUBE_VERSION}");
        let Some(output) = helm(&["template", "switchyard", &chart, namespace, &kube, "-f", &values]) else {
            return;
        };
        assert!(output.status.success(), "{}", said(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        if std::env::var_os("SWITCHYARD_BLESS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "SWITCHYARD_BLESS=1 writes {}", path.display());
    }
}

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
    let example = fs::read_to_string(root().join("deploy/examples/runner-with-sidecar.yaml")).unwrap();
    for object in serde_saphyr::from_multiple::<Value>(&example).unwrap() {
        kubernetes.dry_run(&object).await.unwrap_or_else(|error| panic!("{error:#}\n{object:#}"));
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
    assert_eq!(deployed, 4, "responder, exporter, and both");
}

/// What `systemd-analyze security` says of a unit: its exposure, from 0 (safe) to 10.
#[test]
fn the_systemd_units_are_hardened() {
    for unit in ["switchyard.service", "switchyard-exporter.service"] {
        let path = root().join("deploy/systemd").join(unit);
        let analyze = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", "--threshold=20"])
            .arg(&path)
            .output();
        let missing = || {
            anyhow::Error::new(switchyard_lab::parts::Missing {
                part: "systemd-analyze".to_owned(),
                mend: "apt-get install systemd",
            })
        };
        let Some(output) = or_skip(analyze.map_err(|_| missing())) else { return };
        // --threshold: exit code 1 above an exposure of 2.0.
        assert!(output.status.success(), "{unit}: {}", said(&output));
    }
}

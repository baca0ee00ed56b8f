//! The chart: what it renders, refuses and packs.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::{Value, json};
use switchyard_lab::rules;

use super::{
    KUBE_VERSION, chart, documents, helm, manifest, of_kind, rendered, root, said, template, variant,
    variants, yaml,
};

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
        (
            "responder.enabled=false,exporter.enabled=true,exporter.clusters[0].context=a,exporter.clusters[0].runnerCluster=blue",
            "exporter.kubeconfigSecret",
        ),
        (
            "responder.enabled=false,exporter.enabled=true,exporter.runnerCluster=blue,exporter.kubeconfigSecret=clusters",
            "exporter.kubeconfigSecret and exporter.clusters",
        ),
        (
            "responder.enabled=false,exporter.enabled=true,exporter.runnerCluster=blue,exporter.kubeconfigSecret=a,exporter.clusters[0].context=a,exporter.clusters[0].runnerCluster=a",
            "leave exporter.runnerCluster empty",
        ),
        (
            "responder.enabled=false,exporter.enabled=true,exporter.kubeconfigSecret=a,exporter.clusters[0].context=a,exporter.clusters[0].runnerCluster=blue,exporter.clusters[1].context=b,exporter.clusters[1].runnerCluster=blue",
            "two contexts have one runnerCluster",
        ),
        (
            "responder.enabled=false,exporter.enabled=true,exporter.runnerCluster=hub,exporter.argocdDestinations[0].destination=a,exporter.argocdDestinations[0].runnerCluster=blue,exporter.argocdDestinations[1].destination=a,exporter.argocdDestinations[1].runnerCluster=green",
            "one destination is named twice",
        ),
        (
            "exporter.argocdDestinations[0].destination=a,exporter.argocdDestinations[0].runnerCluster=G",
            "/exporter/argocdDestinations/0/runnerCluster",
        ),
        (
            "responder.enabled=false,runner.enabled=true,runner.configSecret=a,runner.sidecar.scheme=HTTPS",
            "runner.sidecar.webConfigSecret",
        ),
        ("exporter.clusters[0].context=a", "runnerCluster"),
        (
            "exporter.clusters[0].context=a,exporter.clusters[0].runnerCluster=A",
            "/exporter/clusters/0/runnerCluster",
        ),
        ("exporter.extraEnv[0].name=A,exporter.extraEnv[0].valuefrom=b", "'valuefrom' not allowed"),
        (
            "responder.enabled=false,podMonitor.enabled=true,podMonitor.fleet=rnd,podMonitor.selector.a=b",
            "podMonitor.runnerCluster",
        ),
        ("responder.enabled=false,exporter.enabled=true,exporter.tools={argo}", "exporter"),
        ("responder.config=x,alertmanagerConfig.enabled=true", "alertmanagerConfig.tokenSecret.name"),
        ("responder.config=x,podMonitor.enabled=true", "podMonitor.selector"),
        ("responder.config=x,image.digest=sha256:12", "digest"),
        ("responder.enabled=false,runner.enabled=true", "runner.configSecret"),
        // Names are checked as Kubernetes and Switchyard check them: at once, not by a pod that does not start.
        ("responder.config=x,exporter.runnerCluster=Blue", "runnerCluster"),
        (
            "exporter.runnerPods[0].fleet=R&D,exporter.runnerPods[0].namespace=a,exporter.runnerPods[0].selector=a=b",
            "/exporter/runnerPods/0/fleet",
        ),
        (
            "exporter.runnerPods[0].fleet=a,exporter.runnerPods[0].namespace=a.b,exporter.runnerPods[0].selector=a=b",
            "/exporter/runnerPods/0/namespace",
        ),
        ("podMonitor.fleet=-rnd", "/podMonitor/fleet"),
        ("podMonitor.namespaces={Runners}", "/podMonitor/namespaces/0"),
        ("podMonitor.sidecarPort=a-name-that-is-long", "/podMonitor/sidecarPort"),
        ("responder.existingSecret=my_secret", "/responder/existingSecret"),
        ("responder.existingConfigMap=Config", "/responder/existingConfigMap"),
        ("responder.webConfigSecret=web/tls", "/responder/webConfigSecret"),
        ("exporter.webConfigSecret=web.", "/exporter/webConfigSecret"),
        ("runner.configSecret=a b", "/runner/configSecret"),
        ("alertmanagerConfig.tokenSecret.name=-", "/alertmanagerConfig/tokenSecret/name"),
        ("alertmanagerConfig.tokenSecret.key=a/b", "/alertmanagerConfig/tokenSecret/key"),
        ("imagePullSecrets[0].name=Registry", "/imagePullSecrets/0/name"),
        ("responder.persistence.size=big", "/responder/persistence/size"),
        ("responder.podDisruptionBudget.minAvailable=half", "minAvailable"),
        ("responder.service.port=0", "/responder/service/port"),
        ("responder.nodeSelector.disk=fast disk", "/responder/nodeSelector/disk"),
        ("commonLabels.team=a/b", "/commonLabels/team"),
        ("fullnameOverride=9-lives", "/fullnameOverride"),
        ("image.repository=My Registry", "/image/repository"),
        ("networkPolicy.gitlab.ports={0}", "/networkPolicy/gitlab/ports/0"),
        ("networkPolicy.gitlab.port=443", "'port' not allowed"),
        ("serviceMonitor.interval=15", "/serviceMonitor/interval"),
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
    let files = rules::files().unwrap();
    let groups: Vec<Value> =
        files.iter().flat_map(|file| yaml(file)["groups"].as_array().unwrap().clone()).collect();
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
    let shipped = documents(&text);
    let roles: Vec<&Value> = of_kind(&shipped, "ClusterRole").iter().map(|role| &role["rules"]).collect();
    assert_eq!(
        [&of_kind(&objects, "ClusterRole")[0]["rules"], &of_kind(&objects, "Role")[0]["rules"]],
        roles[..],
        "for the cluster, and for the runners' namespaces"
    );
}

/// With a web.yml every way to the listener follows: the file, the probes, who scrapes, who sends.
#[test]
fn tls_of_responder_and_exporter_reaches_all_who_ask_them() {
    let Some(objects) = variant(&chart().join("ci/everything-values.yaml")) else { return };
    for (deployment, secret) in [("sy", "switchyard-web"), ("sy-exporter", "switchyard-exporter-web")] {
        let pod = of_kind(&objects, "Deployment")
            .into_iter()
            .find(|object| object["metadata"]["name"] == deployment)
            .map(|object| &object["spec"]["template"]["spec"])
            .unwrap();
        let container = &pod["containers"][0];
        let args = container["args"].as_array().unwrap();
        assert!(
            args.contains(&json!("--web.config.file=/etc/switchyard/web/web.yml")),
            "{deployment}: {args:?}"
        );
        let mount = json!({ "name": "web", "mountPath": "/etc/switchyard/web", "readOnly": true });
        assert!(container["volumeMounts"].as_array().unwrap().contains(&mount), "{deployment}");
        let volumes = pod["volumes"].as_array().unwrap();
        assert!(volumes.iter().any(|volume| volume["secret"]["secretName"] == secret), "{deployment}");
        for probe in ["livenessProbe", "readinessProbe"] {
            assert_eq!(container[probe]["tcpSocket"], json!({ "port": "http" }), "{deployment}");
        }
    }
    let monitors = of_kind(&objects, "ServiceMonitor");
    assert_eq!(monitors.len(), 2);
    for monitor in monitors {
        let endpoint = &monitor["spec"]["endpoints"][0];
        assert_eq!(endpoint["scheme"], "https", "{monitor:#}");
        assert!(endpoint["tlsConfig"]["serverName"].as_str().unwrap().starts_with("sy"), "{monitor:#}");
    }
    let [route] = of_kind(&objects, "AlertmanagerConfig")[..] else { panic!("one AlertmanagerConfig") };
    let hook = &route["spec"]["receivers"][0]["webhookConfigs"][0];
    assert_eq!(hook["url"], "https://sy.switchyard.svc:443/api/v1/alerts");
    assert_eq!(hook["httpConfig"]["tlsConfig"]["ca"]["secret"]["name"], "switchyard-web");
}

/// Each destination is named, and nothing else is open: every port that the policies let through, by component.
#[test]
fn the_network_policy_names_every_destination() {
    let ports = |objects: &[Value]| -> BTreeMap<String, Vec<Vec<u64>>> {
        let policy = |object: &&Value| {
            let spec = &object["spec"];
            assert_eq!(spec["policyTypes"], json!(["Ingress", "Egress"]));
            let port = |port: &Value| port["port"].as_u64().unwrap();
            let rule = |rule: &Value| rule["ports"].as_array().unwrap().iter().map(port).collect();
            let component = &spec["podSelector"]["matchLabels"]["app.kubernetes.io/component"];
            (
                component.as_str().unwrap().to_owned(),
                spec["egress"].as_array().unwrap().iter().map(rule).collect(),
            )
        };
        of_kind(objects, "NetworkPolicy").iter().map(policy).collect()
    };
    let set = "exporter.enabled=true,exporter.runnerCluster=blue,responder.config=x,networkPolicy.enabled=true,\
               runner.enabled=true,runner.configSecret=a";
    let Some(defaults) = rendered(&["--set", set]) else { return };
    let defaults = defaults.unwrap();
    // DNS by UDP and TCP; the API server; GitLab, Prometheus, Alertmanager, PostgreSQL.
    let wanted = [
        ("exporter".to_owned(), vec![vec![53, 53], vec![443, 6443]]),
        ("responder".to_owned(), vec![vec![53, 53], vec![443], vec![9090], vec![9093], vec![5432]]),
        ("runner".to_owned(), vec![vec![53, 53], vec![443], vec![443, 6443]]),
    ];
    assert_eq!(ports(&defaults), BTreeMap::from(wanted));

    // Without ports a destination is closed, and peers limit it.
    let (set, peers) = (
        format!("{set},networkPolicy.postgresql.ports=null"),
        r#"networkPolicy.gitlab.peers=[{"ipBlock":{"cidr":"10.1.0.0/24"}}]"#,
    );
    let Some(limited) = rendered(&["--set", &set, "--set-json", peers]) else { return };
    let limited = limited.unwrap();
    assert_eq!(ports(&limited)["responder"], [vec![53, 53], vec![443], vec![9090], vec![9093]]);
    let gitlab = of_kind(&limited, "NetworkPolicy")
        .iter()
        .flat_map(|policy| policy["spec"]["egress"].as_array().unwrap())
        .find(|rule| rule["ports"][0]["port"] == 443 && !rule["to"].is_null())
        .map(|rule| rule["to"].clone());
    assert_eq!(gitlab, Some(json!([{ "ipBlock": { "cidr": "10.1.0.0/24" } }])));
}

/// The sidecar is there before the runner and asked for it; Prometheus finds both.
#[test]
fn the_example_of_a_runner_is_probed_and_scraped_through_its_sidecar() {
    let Some(objects) = variant(&chart().join("ci/runner-values.yaml")) else { return };
    let [deployment] = of_kind(&objects, "Deployment")[..] else { panic!("one Deployment") };
    let template = &deployment["spec"]["template"];
    let (sidecar, runner) = (&template["spec"]["initContainers"][0], &template["spec"]["containers"][0]);
    assert_eq!(sidecar["restartPolicy"], "Always");
    let port = &sidecar["ports"][0]["containerPort"];
    assert!(
        sidecar["args"].as_array().unwrap().contains(&json!(format!("--web.listen-address=0.0.0.0:{port}")))
    );
    let manifest = documents(&fs::read_to_string(manifest("runner")).unwrap());
    let plain = of_kind(&manifest, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0].clone();
    for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        // With certificates, and in the plain manifest without.
        assert_eq!(runner[probe]["httpGet"], json!({ "path": path, "port": port, "scheme": "HTTPS" }));
        assert_eq!(plain[probe]["httpGet"], json!({ "path": path, "port": port }));
    }
    for (runner, scheme) in [(runner, "https"), (&plain, "http")] {
        let drain = runner["lifecycle"]["preStop"]["exec"]["command"][2].as_str().unwrap();
        assert!(drain.contains(&format!(" {scheme}://127.0.0.1:{port}/drain")), "{drain}");
        assert_eq!(drain.contains("--no-check-certificate"), scheme == "https", "{drain}");
    }

    let [monitor] = of_kind(&objects, "PodMonitor")[..] else { panic!("one PodMonitor") };
    let labels = template["metadata"]["labels"].as_object().unwrap();
    for (label, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(labels.get(label), Some(value), "{label}");
    }
    let names = [&runner["ports"][0]["name"], &sidecar["ports"][0]["name"]];
    let scraped = monitor["spec"]["podMetricsEndpoints"].as_array().unwrap().iter();
    assert_eq!(scraped.map(|endpoint| &endpoint["port"]).collect::<Vec<_>>(), names);
    assert_eq!(monitor["spec"]["podMetricsEndpoints"][1]["scheme"], "https");
    assert!(monitor["spec"]["podMetricsEndpoints"][0]["scheme"].is_null(), "the runner's own page is plain");

    // A sidecar among the init containers would block the pod for ever where it is not known.
    let path = chart().join("ci/runner-values.yaml").display().to_string();
    let Some(result) = rendered(&["-f", &path, "--kube-version", "1.28.9"]) else { return };
    let why = result.unwrap_err();
    assert!(why.contains("needs Kubernetes 1.29"), "{why}");
}

/// Every value with a name of its own, as `values.schema.json` lists them.
fn named_values(schema: &Value, path: &str, found: &mut Vec<String>) {
    for (name, part) in schema["properties"].as_object().unwrap() {
        let path = format!("{path}/{name}");
        // Helm's own, for charts within charts.
        if path == "/global" {
        } else if part["properties"].is_object() {
            named_values(part, &path, found);
        } else {
            found.push(path);
        }
    }
}

fn without(mut values: Value, path: &str) -> Value {
    let (parent, name) = path.rsplit_once('/').unwrap();
    values.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
    values
}

/// No value is without effect, none is untried: in one of the variants at least it is set, and without it that variant is
/// another one (or none).
#[test]
fn every_value_is_tried_in_a_variant_and_changes_it() {
    let schema = yaml(&chart().join("values.schema.json"));
    let mut names = Vec::new();
    named_values(&schema, "", &mut names);
    assert!(names.len() > 80, "{names:?}");
    let defaults = yaml(&chart().join("values.yaml"));
    let unknown: Vec<_> = names.iter().filter(|name| defaults.pointer(name).is_none()).collect();
    assert!(unknown.is_empty(), "not in values.yaml: {unknown:?}");

    let render = |path: &Path| template(&["-f", &path.display().to_string()]);
    let mut tried: Vec<(Value, Result<String, String>)> =
        variants().iter().filter_map(|path| Some((yaml(path), render(path)?))).collect();
    // The small ones first: they are rendered sooner.
    tried.sort_by_key(|(_, text)| text.as_ref().map_or(0, String::len));
    let idle = |name: &&String| {
        let dir = tempfile::tempdir().unwrap();
        let changed = dir.path().join("values.yaml");
        !tried.iter().any(|(values, text)| {
            let value = values.pointer(name);
            value.is_some() && value != defaults.pointer(name) && {
                fs::write(&changed, without(values.clone(), name).to_string()).unwrap();
                render(&changed).is_none_or(|result| result != *text)
            }
        })
    };
    // Two at a time: a program is started for each.
    let (one, other) = names.split_at(names.len() / 2);
    let idle: Vec<&String> = std::thread::scope(|scope| {
        let rest = scope.spawn(|| other.iter().filter(idle).collect::<Vec<_>>());
        let mut found: Vec<&String> = one.iter().filter(idle).collect();
        found.extend(rest.join().unwrap());
        found
    });
    assert!(idle.is_empty(), "no variant in ci/ shows what these do: {idle:?}");
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
    for (name, namespace) in
        [("responder", "switchyard"), ("exporter", "switchyard"), ("runner", "gitlab-runner")]
    {
        let path = manifest(name);
        let values = path.with_extension("values.yaml").display().to_string();
        let (chart, namespace) = (chart().display().to_string(), format!("--namespace={namespace}"));
        let kube = format!("--kube-version={KUBE_VERSION}");
        let Some(output) = helm(&["template", "switchyard", &chart, &namespace, &kube, "-f", &values]) else {
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

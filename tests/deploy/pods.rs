//! Every pod that is shipped, by the chart in every variant and as plain manifests: what it may do, and whether the binary
//! takes its flags. Every Secret is somebody else's.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command, sync::LazyLock};

use serde_json::{Value, json};

use super::{chart, documents, manifest, of_kind, said, variant, variants, yaml};

/// Files with the objects that they come to.
type Shipped = Vec<(PathBuf, Vec<Value>)>;

/// The objects of every variant and of every plain manifest; None when they cannot be rendered here.
pub(super) fn shipped() -> Option<&'static Shipped> {
    static SHIPPED: LazyLock<Option<Shipped>> = LazyLock::new(|| {
        let plain = ["responder", "exporter", "runner"].map(manifest).into_iter().map(|path| {
            let objects = documents(&fs::read_to_string(&path).unwrap());
            Some((path, objects))
        });
        let rendered = variants().into_iter().map(|values| {
            let objects = variant(&values)?;
            Some((values, objects))
        });
        rendered.chain(plain).collect()
    });
    SHIPPED.as_ref()
}

/// Every pod with what to call it.
pub(super) fn pods() -> Option<Vec<(String, Value)>> {
    let mut pods = Vec::new();
    for (path, objects) in shipped()? {
        for object in objects {
            let kind = object["kind"].as_str().unwrap();
            let name = format!("{kind} {} of {}", object["metadata"]["name"], path.display());
            // A kind with pods that nobody looks at would be the hole.
            assert!(
                object["spec"]["template"].is_null() || kind == "Deployment",
                "{name}: look at its pods, too"
            );
            if kind == "Deployment" {
                pods.push((name, object["spec"]["template"]["spec"].clone()));
            }
        }
    }
    Some(pods)
}

pub(super) fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

pub(super) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    list(pod, "initContainers").chain(list(pod, "containers"))
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

#[test]
fn every_pod_runs_without_rights_on_a_root_that_nobody_writes_to() {
    let Some(pods) = pods() else { return };
    for (name, pod) in &pods {
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        for key in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(pod[key].is_null(), "{name}: {key}");
        }
        let mut mounted = BTreeSet::new();
        for container in containers(pod) {
            let name = format!("{} in {name}", container["name"]);
            let security = &container["securityContext"];
            assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(security["capabilities"], json!({ "drop": ["ALL"] }), "{name}");
            assert!(security["privileged"].is_null(), "{name}");
            for mount in list(container, "volumeMounts") {
                let volume = list(pod, "volumes").find(|volume| volume["name"] == mount["name"]);
                let volume = volume.unwrap_or_else(|| panic!("{name}: no volume {}", mount["name"]));
                mounted.insert(text(&mount["name"]).to_owned());
                // What is written is lost with the pod, or lies on a claim; what is given is only read.
                let written = !volume["emptyDir"].is_null() || !volume["persistentVolumeClaim"].is_null();
                let given = !volume["secret"].is_null() || !volume["configMap"].is_null();
                assert!(written != given, "{name}: {volume}");
                assert_eq!(mount["readOnly"] == true, given, "{name}: {mount}");
            }
            for place in written(container) {
                let inside = list(container, "volumeMounts")
                    .any(|mount| mount["readOnly"] != true && place.starts_with(text(&mount["mountPath"])));
                assert!(inside, "{name} writes to {place}, where nothing can be written");
            }
        }
        let volumes: BTreeSet<String> =
            list(pod, "volumes").map(|volume| text(&volume["name"]).to_owned()).collect();
        assert_eq!(volumes, mounted, "{name}: a volume that nobody mounts");
    }
    assert!(pods.len() > 9, "{}", pods.len());
}

/// Where a container writes, by what it is.
fn written(container: &Value) -> Vec<&str> {
    match text(&container["args"][0]) {
        // Its system_id, its home, and what its shell needs.
        "run" => vec!["/etc/gitlab-runner/.runner_system_id", "/home/gitlab-runner", "/tmp"],
        "serve" if !list(container, "volumeMounts").any(|mount| mount["name"] == "store") => vec![],
        "serve" => vec!["/var/lib/switchyard/switchyard.db"],
        "exporter" | "sidecar" => vec![],
        other => panic!("{other}: where does it write?"),
    }
}

/// Every flag of every container of ours, as the program itself reads it.
#[test]
fn the_binary_takes_the_arguments_of_every_container() {
    let parse = |args: &[&str]| {
        // `--help` at the end: all before it was read and found good.
        let output =
            Command::new(env!("CARGO_BIN_EXE_switchyard")).args(args).arg("--help").output().unwrap();
        (output.status.success(), said(&output))
    };
    assert!(!parse(&["exporter", "--context==x"]).0, "it looks at values");
    assert!(!parse(&["exporter", "--contexts=x"]).0, "it looks at names");
    let Some(pods) = pods() else { return };
    let mut roles = BTreeSet::new();
    for (name, pod) in pods {
        for container in containers(&pod).filter(|container| container["name"] != "runner") {
            let args: Vec<&str> = list(container, "args").map(text).collect();
            let (good, said) = parse(&args);
            assert!(good, "{name}: {args:?}: {said}");
            let mut given = BTreeSet::new();
            for arg in &args[1..] {
                let flag = arg.split('=').next().unwrap();
                let many = ["--runner-pods", "--context", "--argocd-destination"].contains(&flag);
                assert!(given.insert(flag) || many, "{name}: {flag} is given twice");
            }
            roles.insert(args[0].to_owned());
        }
    }
    assert_eq!(roles.into_iter().collect::<Vec<_>>(), ["exporter", "serve", "sidecar"]);
}

/// Only the exporter in its own cluster asks an API server by its account; what a runner's executor may do is an account of
/// its own.
#[test]
fn tokens_of_the_api_server_are_only_where_they_are_used() {
    let Some(pods) = pods() else { return };
    for (name, pod) in pods {
        let account = !pod["serviceAccountName"].is_null();
        let args = pod["containers"][0]["args"].to_string();
        let (wanted, exporter) = match text(&pod["containers"][0]["name"]) {
            "switchyard" => (json!(false), false),
            "exporter" if args.contains("--kubeconfig") => (json!(false), true),
            "exporter" => (Value::Null, true),
            "runner" => (if account { Value::Null } else { json!(false) }, false),
            other => panic!("{other}"),
        };
        assert_eq!(pod["automountServiceAccountToken"], wanted, "{name}");
        assert!(!exporter || account, "{name}");
    }
}

/// Names of Secrets that an object refers to, wherever in it.
fn secrets(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| secrets(item, found)),
        Value::Object(fields) => {
            for (key, field) in fields {
                let name = match key.as_str() {
                    "secretName" => Some(field),
                    "secret" | "secretKeyRef" | "credentials" | "username" | "password" => field.get("name"),
                    _ => None,
                };
                found.extend(name.and_then(Value::as_str).map(str::to_owned));
                if key == "imagePullSecrets" {
                    found.extend(
                        list(&json!({ "all": field }), "all").map(|one| text(&one["name"]).to_owned()),
                    );
                }
                secrets(field, found);
            }
        }
        _ => {}
    }
}

#[test]
fn secrets_are_referred_to_and_never_made() {
    let Some(shipped) = shipped() else { return };
    let mut seen = 0;
    for (path, objects) in shipped {
        assert!(of_kind(objects, "Secret").is_empty(), "{}: a Secret with content", path.display());
        // A variant is its values; those of a manifest lie beside it.
        let beside = path.with_extension("values.yaml");
        let values = yaml(if beside.exists() { &beside } else { path }).to_string();
        let mut found = BTreeSet::new();
        objects.iter().for_each(|object| secrets(object, &mut found));
        for name in &found {
            assert!(values.contains(&format!("{name:?}")), "{}: who made {name}?", path.display());
        }
        seen += found.len();
        // A password as text would be in the API server for everybody who may read pods.
        for pod in of_kind(objects, "Deployment") {
            for container in containers(&pod["spec"]["template"]["spec"]) {
                for variable in list(container, "env").filter(|variable| !variable["value"].is_null()) {
                    let name = text(&variable["name"]);
                    let known = ["HOME", "HTTPS_PROXY"].contains(&name);
                    assert!(known, "{}: is {name} a secret?", path.display());
                }
            }
        }
    }
    assert!(seen > 8, "{seen}");
}

/// What has named values takes no others; what may hold anything is Kubernetes' own, which its API server checks.
#[test]
fn the_schema_refuses_every_value_that_it_does_not_name() {
    fn walk(schema: &Value, path: &str, open: &mut Vec<String>) {
        if schema["properties"].is_object() {
            assert_eq!(schema["additionalProperties"], false, "{path}");
            assert_eq!(schema["type"], "object", "{path}");
        } else if schema["type"] == "object" && schema["additionalProperties"].is_null() {
            open.push(path.to_owned());
        }
        for key in ["properties", "definitions"] {
            for (name, part) in schema[key].as_object().into_iter().flatten() {
                walk(part, &format!("{path}/{name}"), open);
            }
        }
        if schema["items"].is_object() {
            walk(&schema["items"], &format!("{path}[]"), open);
        }
    }
    let mut open = Vec::new();
    walk(&yaml(&chart().join("values.schema.json")), "", &mut open);
    open.sort();
    assert_eq!(open, ["/environment[]/valueFrom", "/global", "/map", "/objects[]"]);
}

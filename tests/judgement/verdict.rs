//! `switchyard verdict`, as a person runs it.

use std::{
    fs,
    io::Write as _,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::scene::{NOW, file};

pub(crate) fn run(args: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .arg("verdict")
        .args(args)
        .env_clear()
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // One that refuses its arguments does not read.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code().expect("a code"), text(stdout), text(stderr))
}

fn path(name: &str) -> String {
    file(name).display().to_string()
}

fn read(name: &str) -> String {
    fs::read_to_string(file(name)).expect("the fixture is there")
}

#[test]
fn a_list_in_a_file_is_judged_as_of_a_time() {
    let (code, out, err) = run(&["--at", NOW, &path("flux.json")], "");
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let mut lines = out.lines();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(lines.next().unwrap()), ["VERDICT", "KIND", "NAMESPACE", "NAME", "REASON", "WHY"]);
    let first = words(lines.next().unwrap());
    assert_eq!(first[..5], ["healthy", "Kustomization", "flux-system", "apps", "ok"]);
    assert_eq!(out.lines().last().unwrap(), "at 2026-11-21T03:00:00Z: 4 healthy");

    // The same a day later: nobody has been alive since.
    let (code, out, _) = run(&["--at", "2026-11-22T03:00:00Z", &path("flux.json")], "");
    assert_eq!(code, 1);
    assert!(out.contains("unknown") && out.contains("heartbeat_stale"), "{out}");
    // And now, whenever that is.
    let (code, out, _) = run(&[&path("flux.json")], "");
    assert_eq!(code, 1);
    assert!(!out.contains("\nhealthy"), "{out}");
}

#[test]
fn related_objects_come_from_all_files_and_standard_input() {
    let list: Value = serde_json::from_str(&read("velero.json")).unwrap();
    let pick = |wanted: &[&str]| {
        let items = list["items"].as_array().unwrap().iter();
        let items: Vec<&Value> = items.filter(|i| wanted.contains(&i["kind"].as_str().unwrap())).collect();
        json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
    };
    let schedules = pick(&["Schedule"]);
    // What is not given does not exist, and is named; in a part of a cluster it was not looked at.
    let (code, out, err) = run(&["--at", NOW, "-"], &schedules);
    assert!(code == 1 && out.contains("location_missing"), "{out}");
    let said = "switchyard: not among the objects: BackupStorageLocation velero/default, which Schedule velero/daily \
                needs; judged as if it did not exist: give it, too, or say --partial\n";
    assert!(err.starts_with(said) && err.contains("any Backup in velero"), "{err}");
    let (code, out, err) = run(&["--at", NOW, "--partial", "-"], &schedules);
    assert!(code == 1 && out.contains("related_unseen"), "{out}");
    assert!(
        err.contains("BackupStorageLocation velero/default") && err.contains("it was not looked at"),
        "{err}"
    );
    // Several documents, one after the other.
    let all = format!("{schedules}\n{}", pick(&["Backup", "BackupStorageLocation"]));
    let (code, out, _) = run(&["--at", NOW, "-"], &all);
    assert_eq!(code, 0, "{out}");
    let (code, out, _) = run(&["--at", NOW, "-", &path("velero.json")], &schedules);
    assert_eq!(code, 0, "{out}");
    // Without a file it is standard input, and a pipe needs no hint.
    let (code, out, err) = run(&["--at", NOW], &all);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
}

#[test]
fn json_says_the_same_and_typed_lists_are_read() {
    // As the API itself answers: the items do not say their kind.
    let mut app: Value = serde_json::from_str(&read("argocd.json")).unwrap();
    app.as_object_mut().unwrap().remove("kind");
    app.as_object_mut().unwrap().remove("apiVersion");
    app["status"]["health"]["status"] = json!("Degraded");
    let list =
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationList", "items": [app]}).to_string();
    let (code, out, err) = run(&["--at", NOW, "--output", "json", "-"], &list);
    assert_eq!((code, err.as_str()), (1, ""));
    let said: Value = serde_json::from_str(&out).unwrap();
    let wanted = json!([{
        "kind": "Application", "namespace": "argocd", "name": "web", "verdict": "unhealthy", "reason": "degraded",
        "sentence": "a workload is degraded"
    }]);
    assert_eq!(said, wanted);
}

#[test]
fn what_is_accepted_is_accepted() {
    let mut app: Value = serde_json::from_str(&read("argocd.json")).unwrap();
    app["spec"]["syncPolicy"] = Value::Null;
    let app = app.to_string();
    let (code, out, _) = run(&["--at", NOW, "-"], &app);
    assert!(code == 1 && out.contains("manual_sync"), "{out}");
    assert_eq!(run(&["--at", NOW, "--accept-manual-sync", "-"], &app).0, 0);

    let mut far: Value = serde_json::from_str(&read("argocd.json")).unwrap();
    far["spec"]["destination"] = json!({"name": "green", "namespace": "web"});
    let far = far.to_string();
    let (code, out, _) = run(&["--at", NOW, "-"], &far);
    assert!(code == 1 && out.contains("destination_unmapped"), "{out}");
    assert_eq!(run(&["--at", NOW, "--argocd-destination", "green=green", "-"], &far).0, 0);
    let twice = ["--argocd-destination", "green=green", "--argocd-destination", "green=red", "-"];
    let (code, _, err) = run(&twice, &far);
    assert!(code == 2 && err.contains("--argocd-destination names two clusters for green"), "{err}");
    assert_eq!(run(&["--argocd-destination", "green", "-"], &far).0, 2);

    let at = "2026-11-21T03:10:00Z";
    let (code, out, _) = run(&["--at", at, &path("flux.json")], "");
    assert!(code == 1 && out.contains("heartbeat_absent"), "{out}");
    assert_eq!(run(&["--at", at, "--accept-silent", &path("flux.json")], "").0, 0);
}

#[test]
fn other_kinds_are_named_and_left_out() {
    let mut list: Value = serde_json::from_str(&read("pods.json")).unwrap();
    let items = list["items"].as_array_mut().unwrap();
    let other = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}});
    items.extend([other.clone(), other]);
    let (code, out, err) = run(&["--at", NOW, "-"], &list.to_string());
    assert_eq!(code, 0, "{out}");
    assert_eq!(err, "switchyard: 2 of apps/v1/Deployment left out: this kind is not judged\n");
}

#[test]
fn bad_input_says_what_is_wrong_with_it() {
    let bad = |input: &str, wanted: &str| {
        let (code, out, err) = run(&["-"], input);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains(wanted), "{err}");
    };
    bad("", "standard input: it is empty; ask kubectl for objects with `-o json`");
    bad("NAME  READY\nweb   1/1\n", "standard input: not JSON (");
    bad("apiVersion: v1\nkind: List\n", "ask kubectl for it with `-o json`");
    bad("[]", "standard input: document 1: not an object of Kubernetes: it has no apiVersion or kind");
    bad(r#"{"apiVersion": "v1", "kind": "List", "items": [{"x": 1}]}"#, "items[0] has no apiVersion or kind");
    bad(r#"{"apiVersion": "velero.io/v1", "kind": "Backup"}"#, "the Backup has no metadata.name");
    bad(r#"{"apiVersion": "v1", "kind": "List", "items": []}"#, "there is nothing to judge");
    bad(r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}"#, "there is nothing to judge");
    let (code, out, err) = run(&["/nowhere/x.json", "--output", "json"], "");
    assert_eq!(code, 2);
    let said: Value = serde_json::from_str(&out).unwrap();
    assert!(said["detail"].as_str().unwrap().starts_with("/nowhere/x.json: No such file"), "{said}");
    assert!(err.contains("/nowhere/x.json"), "{err}");
    assert_eq!(run(&["--at", "yesterday", "-"], "").0, 2);
    let (code, _, err) = run(&[], "");
    assert!(code == 2 && err.contains("standard input: it is empty"), "{code}: {err}");
}

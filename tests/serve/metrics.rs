//! The metrics page: both formats, and that documentation, alerts and page know the same names.

use std::{collections::BTreeSet, fs, path::Path, process::Stdio};

use serde_json::Value;
use switchyard_lab::{exposition::Page, http, metric_docs, parts::Flavour};
use tokio::io::AsyncWriteExt;

use crate::stage::{Stage, alert, message};

/// A stage on which everything that counts has happened at least once.
async fn busy() -> (Stage, switchyard_lab::switchyard::Switchyard) {
    let stage = Stage::new().await;
    let switchyard = stage.start().await;
    stage.switch("green", "blue").await.problem(409);
    stage.standins.says().well.insert("blue", 0.0);
    let told = [
        alert("w", "watchdog", "", None),
        alert("f", "failover", "blue", None),
        alert("", "reboot", "", None),
    ];
    assert_eq!(stage.alert(&message(&told)).await.status, 200);
    let done = |fleet: &Value| fleet["decision"]["state"] == "done" && fleet["generation"] == 2;
    stage.fleet_until("green holds", done).await;
    (stage, switchyard)
}

async fn openmetrics(stage: &Stage) -> String {
    let asked = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
    let request = http::client().get(format!("http://{}/metrics", stage.address)).header("accept", asked);
    let answer = request.send().await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    answer.text().await.unwrap()
}

#[tokio::test]
async fn both_formats_are_well_formed_and_say_the_same() {
    let (stage, mut switchyard) = busy().await;
    let open = openmetrics(&stage).await;
    assert!(open.ends_with("# EOF\n"));
    let answer = stage.get("/metrics").await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(metric_docs::exposed(&open), metric_docs::exposed(&answer.body));
    for page in [&open, &answer.body] {
        let page = Page::parse(page);
        assert_eq!(page.value("switchyard_fleet_generation", &[("fleet", "rnd")]), Some(2.0));
        assert_eq!(page.value("switchyard_steps_total", &[("fleet", "rnd"), ("outcome", "done")]), Some(4.0));
        let holder = |cluster| page.value("switchyard_fleet_holder", &[("runner_cluster", cluster)]);
        assert_eq!((holder("blue"), holder("green")), (Some(0.0), Some(1.0)));
    }
    let mut seen = BTreeSet::new();
    for line in answer.body.lines().filter(|line| !line.starts_with('#')) {
        let series = line.rsplit_once(' ').unwrap().0;
        assert!(seen.insert(series), "twice: {series}");
    }

    let promtool = Flavour::Pinned
        .find("promtool", "promtool")
        .or_else(|_| Flavour::Debian.find("promtool", "promtool"));
    let Some(promtool) = switchyard_lab::parts::or_skip(promtool.map_err(Into::into)) else { return };
    let mut check = tokio::process::Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(answer.body.as_bytes()).await.unwrap();
    let output = check.wait_with_output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    switchyard.terminate().await.unwrap();
}

#[tokio::test]
async fn documentation_and_page_know_the_same_metrics() {
    let (stage, _switchyard) = busy().await;
    let page = stage.get("/metrics").await.body;
    // GitLab says it only when it limits; pipelines are looked for only when a sticky fleet is to be moved.
    let quiet = ["switchyard_gitlab_rate_limit_remaining", "switchyard_fleet_pipelines_in_flight"];
    metric_docs::compare("serve", &page, &quiet);
}

#[tokio::test]
async fn a_rate_limit_is_shown_once_gitlab_says_it() {
    let stage = Stage::new().await;
    let window = std::time::Duration::from_secs(60);
    let shape = switchyard_lab::gitlab::RateLimitShape::Text;
    let limit = switchyard_lab::gitlab::RateLimit { requests: 100_000, window, shape };
    stage.gitlab.admin().rate_limit(Some(limit));
    let _switchyard = stage.start().await;
    let left = stage.metric("switchyard_gitlab_rate_limit_remaining", &[]).await.unwrap();
    assert!((99_000.0..100_000.0).contains(&left), "{left}");
}

#[test]
fn alerts_and_documents_name_only_metrics_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = metric_docs::documented(None);
    let mut files: Vec<_> = ["README.md", "ARCHITECTURE.md"].map(|name| root.join(name)).into();
    for dir in ["alerts", "dashboards", "docs"] {
        files.extend(fs::read_dir(root.join(dir)).unwrap().map(|entry| entry.unwrap().path()));
    }
    let mut found = BTreeSet::new();
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "yml" || e == "md" || e == "json"))
    {
        let text = fs::read_to_string(file).unwrap();
        for (at, _) in text.match_indices("switchyard_") {
            // Recording rules carry a name in the middle, of ours or of their own; other words may end with it.
            if text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = &text[at..];
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let name = rest[..end].trim_end_matches('_');
            let known = names.contains_key(name)
                || ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|s| name.strip_suffix(s).is_some_and(|n| names.contains_key(n)));
            assert!(known, "{}: {name}", file.display());
            found.insert(name.to_owned());
        }
    }
    assert!(found.len() > 10, "{found:?}");
}

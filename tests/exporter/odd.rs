//! What a cluster's people do while the exporter runs: versions that go, rights that go and come, objects without measure.

use serde_json::{Value, json};
use switchyard_lab::kubernetes::Crds;

use super::{
    BLUE, exporter, kubernetes,
    objects::{ago, application},
    rights::{bind, roles},
};

#[tokio::test]
async fn a_kind_that_is_served_in_another_version_is_followed_there() {
    let Some(kubernetes) = kubernetes(&[Crds::Flux]).await else { return };
    kubernetes.namespace("flux-system").await.unwrap();
    let repository = |name: &str, version: &str| {
        json!({
            "apiVersion": format!("source.toolkit.fluxcd.io/{version}"), "kind": "GitRepository",
            "metadata": { "name": name, "namespace": "flux-system" },
            "spec": { "url": "https://git.example.com/apps", "interval": "1m0s", "suspend": true },
        })
    };
    kubernetes.apply(&repository("old", "v1")).await.unwrap();
    let contexts = [(BLUE, kubernetes.address(), kubernetes.admin_token())];
    let quick = ["--tools", "flux", "--recheck", "1s", "--stale-after", "6s"];
    let running = exporter(&contexts, &kubernetes.ca_file(), &quick).await;
    running.judged(&repository("old", "v1"), "unknown", "suspended").await;

    let path =
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gitrepositories.source.toolkit.fluxcd.io";
    let crd = kubernetes.get(path).await.unwrap();
    let mut versions = crd["spec"]["versions"].as_array().unwrap().clone();
    let mut other = versions.iter().find(|version| version["name"] == "v1").unwrap().clone();
    versions.retain(|version| version["name"] != "v1beta2");
    for version in &mut versions {
        (version["served"], version["storage"]) = (json!(false), json!(false));
    }
    (other["name"], other["served"], other["storage"]) = (json!("v1beta2"), json!(true), json!(true));
    versions.push(other);
    let mut change = crd.clone();
    change["spec"]["versions"] = json!(versions);
    change["metadata"] = json!({ "name": crd["metadata"]["name"] });
    change.as_object_mut().unwrap().remove("status");
    kubernetes.apply(&change).await.unwrap();
    let new = repository("new", "v1beta2");
    // The API server takes a moment to serve it.
    switchyard_lab::wait::until(switchyard_lab::wait::PATIENCE, "v1beta2 is served", async || {
        kubernetes.apply(&new).await.map(drop)
    })
    .await
    .unwrap();
    running.judged(&new, "unknown", "suspended").await;
    running.judged(&repository("old", "v1"), "unknown", "suspended").await;
    running.collector_up(BLUE, "gitrepositories", true).await;
}

#[tokio::test]
async fn a_right_that_is_taken_away_is_missed_and_one_that_comes_back_is_used() {
    let Some(kubernetes) = kubernetes(&[Crds::ArgoCd]).await else { return };
    kubernetes.namespace("argocd").await.unwrap();
    let roles = roles(&kubernetes).await;
    let token = kubernetes.service_account("switchyard", "changing").await.unwrap();
    bind(&kubernetes, "changing", "all", &roles[0]["rules"], None).await;
    let mut app = application("shop", 5);
    kubernetes.apply(&app).await.unwrap();
    let contexts = [(BLUE, kubernetes.address(), token.as_str())];
    let quick = ["--tools", "argocd", "--recheck", "1s", "--stale-after", "6s"];
    let running = exporter(&contexts, &kubernetes.ca_file(), &quick).await;
    running.judged(&app, "healthy", "ok").await;

    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": "changing-all" },
    });
    kubernetes.delete(&binding).await.unwrap();
    running.judged(&app, "unknown", "not_watched").await;
    running.collector_up(BLUE, "applications", false).await;
    assert!(running.errors(BLUE, "applications", "watch_forbidden").await > 0.0);
    app["status"]["health"]["status"] = json!("Degraded");
    app["status"]["reconciledAt"] = json!(ago(1));
    kubernetes.apply(&app).await.unwrap();
    bind(&kubernetes, "changing", "all", &roles[0]["rules"], None).await;
    running.judged(&app, "unhealthy", "degraded").await;
    running.collector_up(BLUE, "applications", true).await;
}

#[tokio::test]
async fn an_object_of_a_mebibyte_is_one_object() {
    let Some(kubernetes) = kubernetes(&[Crds::ArgoCd]).await else { return };
    kubernetes.namespace("argocd").await.unwrap();
    let large = |name: &str| -> Value {
        let mut app = application(name, 5);
        let condition = json!({ "type": "OrphanedResourceWarning", "message": "x".repeat(1 << 20) });
        app["status"]["conditions"] = json!([condition]);
        app
    };
    let mut before = large("before");
    kubernetes.apply(&before).await.unwrap();
    let contexts = [(BLUE, kubernetes.address(), kubernetes.admin_token())];
    let running = exporter(&contexts, &kubernetes.ca_file(), &["--tools", "argocd"]).await;
    running.judged(&before, "healthy", "ok").await;
    running.judged(&application("after", 5), "", "").await;
    kubernetes.apply(&large("after")).await.unwrap();
    running.judged(&application("after", 5), "healthy", "ok").await;
    before["status"]["health"]["status"] = json!("Degraded");
    kubernetes.apply(&before).await.unwrap();
    running.judged(&before, "unhealthy", "degraded").await;
    assert_eq!(running.errors(BLUE, "applications", "unreadable").await, 0.0);
}

//! The shipped roles are enough, every verb in them is needed, and there is nothing else in them.

use std::{collections::BTreeSet, fmt::Write as _, fs};

use serde_json::{Value, json};
use switchyard::kubernetes::Kind;
use switchyard_lab::{
    kubernetes::{Crds, Kubernetes},
    parts::root,
};

use super::{BLUE, exporter, kubernetes, objects::application};

const PODS: [&str; 2] = ["--runner-pods", "rnd=gitlab-runner/app=runner"];
const NAMESPACE: &str = "switchyard";

/// The shipped roles, as the API server has them.
pub(crate) async fn roles(kubernetes: &Kubernetes) -> Vec<Value> {
    kubernetes.apply_file(&root().join("deploy/rbac/exporter.yaml")).await.unwrap();
    let mut roles = Vec::new();
    for name in ["switchyard-exporter", "switchyard-exporter-runner-pods"] {
        let path = format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}");
        roles.push(kubernetes.get(&path).await.unwrap());
    }
    roles
}

/// Binds a role with these rules to a service account: everywhere, or in a namespace.
pub(crate) async fn bind(
    kubernetes: &Kubernetes,
    account: &str,
    role: &str,
    rules: &Value,
    namespace: Option<&str>,
) {
    let version = "rbac.authorization.k8s.io/v1";
    let name = format!("{account}-{role}");
    let role =
        json!({ "apiVersion": version, "kind": "ClusterRole", "metadata": { "name": name }, "rules": rules });
    kubernetes.apply(&role).await.unwrap();
    let mut metadata = json!({ "name": name });
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    let binding = json!({
        "apiVersion": version,
        "kind": if namespace.is_some() { "RoleBinding" } else { "ClusterRoleBinding" },
        "metadata": metadata,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
        "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": NAMESPACE }],
    });
    kubernetes.apply(&binding).await.unwrap();
}

/// Every single right of the rules: verb and resource (or path), with the rules that lack only it.
fn each_removed(rules: &Value) -> Vec<(String, String, Value)> {
    let mut cases = Vec::new();
    let list = |rule: &Value, key: &str| rule[key].as_array().cloned().unwrap_or_default();
    for (index, rule) in rules.as_array().unwrap().iter().enumerate() {
        let key = if rule.get("resources").is_some() { "resources" } else { "nonResourceURLs" };
        for resource in list(rule, key) {
            for verb in list(rule, "verbs") {
                let mut without = rules.clone();
                // The others of the rule keep everything, this one keeps its other verbs.
                let (mut others, mut own) = (rule.clone(), rule.clone());
                others[key] = list(rule, key).into_iter().filter(|r| *r != resource).collect();
                own[key] = json!([resource]);
                own["verbs"] = list(rule, "verbs").into_iter().filter(|v| *v != verb).collect();
                let without_list = without.as_array_mut().unwrap();
                without_list.remove(index);
                let kept = |rule: &Value, key: &str| !list(rule, key).is_empty();
                without_list.extend([others].into_iter().filter(|rule| kept(rule, key)));
                without_list.extend([own].into_iter().filter(|rule| kept(rule, "verbs")));
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                cases.push((text(&verb), text(&resource), without));
            }
        }
    }
    cases
}

#[tokio::test]
async fn the_shipped_roles_are_enough_and_no_more() {
    let Some(kubernetes) = kubernetes(&Crds::ALL).await else { return };
    let roles = roles(&kubernetes).await;
    // As in a hardened cluster: by default everybody may ask whether the API is ready.
    for name in ["system:public-info-viewer", "system:discovery"] {
        let version = "rbac.authorization.k8s.io/v1";
        let metadata = json!({ "name": name });
        let binding = json!({ "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": metadata });
        kubernetes.delete(&binding).await.unwrap();
    }
    let collectors: Vec<&str> = Kind::ALL.iter().map(|kind| kind.plural()).collect();

    // Enough.
    let token = kubernetes.token(NAMESPACE, "switchyard-exporter").await.unwrap();
    let mut contexts = vec![(BLUE.to_owned(), token.clone())];
    // No more: one right less, and something is missing. One process reads with all these tokens at once.
    let mut cases = Vec::new();
    for (role, rules) in roles.iter().map(|role| &role["rules"]).enumerate() {
        for (verb, resource, without) in each_removed(rules) {
            let account = format!("without-{}", cases.len());
            let token = kubernetes.service_account(NAMESPACE, &account).await.unwrap();
            let (all, pods) =
                if role == 0 { (&without, &roles[1]["rules"]) } else { (&roles[0]["rules"], &without) };
            bind(&kubernetes, &account, "all", all, None).await;
            bind(&kubernetes, &account, "pods", pods, Some("gitlab-runner")).await;
            contexts.push((account.clone(), token));
            cases.push((account, verb, resource));
        }
    }
    assert_eq!(cases.len(), 2 * Kind::ALL.len() + 1, "{cases:?}");
    let known: Vec<_> =
        contexts.iter().map(|(name, token)| (name.as_str(), kubernetes.address(), token.as_str())).collect();
    let mut running = exporter(&known, &kubernetes.ca_file(), &PODS).await;
    for collector in &collectors {
        running.collector_up(BLUE, collector, true).await;
    }
    running.until("switchyard_cluster_api_up", &[("runner_cluster", BLUE)], Some(1.0)).await;
    for (account, verb, resource) in &cases {
        if resource == "/readyz" {
            running.until("switchyard_cluster_api_up", &[("runner_cluster", account)], Some(0.0)).await;
            let why = [("runner_cluster", account.as_str()), ("reason", "forbidden")];
            running.until("switchyard_cluster_api_probe_failed", &why, Some(1.0)).await;
            let said = "may not get /readyz: give its role the verb";
            assert!(running.log().contains(said), "nobody said {said:?}:\n{}", running.log());
            continue;
        }
        running.collector_up(account, resource, false).await;
        let reason = format!("{verb}_forbidden");
        assert!(running.errors(account, resource, &reason).await > 0.0, "{account}: {verb} {resource}");
        let kind = Kind::ALL.into_iter().find(|kind| kind.plural() == resource).unwrap();
        let group = if kind.group().is_empty() { String::new() } else { format!(".{}", kind.group()) };
        let mut said = format!("may not {verb} {resource}{group}");
        write!(said, ": give its role the verb").unwrap();
        assert!(running.log().contains(&said), "nobody said {said:?}:\n{}", running.log());
        for other in collectors.iter().filter(|other| *other != resource) {
            running.collector_up(account, other, true).await;
        }
    }

    // And nothing that nobody would miss: what the account may do beyond what everybody may.
    let nobody = kubernetes.service_account(NAMESPACE, "nobody").await.unwrap();
    let everybody: BTreeSet<String> = rights(&kubernetes, &nobody, "gitlab-runner").await;
    let own: BTreeSet<String> =
        rights(&kubernetes, &token, "gitlab-runner").await.difference(&everybody).cloned().collect();
    let mut wanted: BTreeSet<String> = Kind::ALL
        .iter()
        .flat_map(|kind| ["list", "watch"].map(|verb| format!("{verb} {}/{}", kind.group(), kind.plural())))
        .collect();
    wanted.insert("get /readyz".to_owned());
    assert_eq!(own, wanted);
    let own: BTreeSet<String> =
        rights(&kubernetes, &token, "default").await.difference(&everybody).cloned().collect();
    assert!(!own.contains("list /pods"), "pods are read where the runners are and nowhere else: {own:?}");
    let text = fs::read_to_string(root().join("deploy/rbac/exporter.yaml")).unwrap();
    assert!(!text.contains('*'), "no wildcard");
}

#[tokio::test]
async fn the_roles_may_be_bound_in_single_namespaces() {
    let Some(kubernetes) = kubernetes(&[Crds::ArgoCd]).await else { return };
    let roles = roles(&kubernetes).await;
    for namespace in ["argocd", "team"] {
        kubernetes.namespace(namespace).await.unwrap();
    }
    let account = "narrow";
    let token = kubernetes.service_account(NAMESPACE, account).await.unwrap();
    bind(&kubernetes, account, "all", &roles[0]["rules"], Some("argocd")).await;
    let (mut app, mut hidden) = (application("shop", 5), application("hidden", 5));
    kubernetes.apply(&app).await.unwrap();
    hidden["metadata"]["namespace"] = json!("team");
    kubernetes.apply(&hidden).await.unwrap();
    let contexts = [(BLUE, kubernetes.address(), token.as_str())];
    let one = ["--tools", "argocd", "--namespace", "argocd", "--recheck", "1s"];
    let running = exporter(&contexts, &kubernetes.ca_file(), &one).await;
    running.judged(&app, "healthy", "ok").await;
    running.collector_up(BLUE, "applications", true).await;

    // A second namespace without the right: the collector is not up, because not everything is known.
    let two = [&one[..], &["--namespace", "team"]].concat();
    let running = exporter(&contexts, &kubernetes.ca_file(), &two).await;
    running.collector_up(BLUE, "applications", false).await;
    assert!(running.errors(BLUE, "applications", "list_forbidden").await > 0.0);
    app["status"]["health"]["status"] = json!("Degraded");
    kubernetes.apply(&app).await.unwrap();
    running.judged(&app, "unknown", "not_watched").await;
    // The right comes, and both are seen.
    bind(&kubernetes, account, "team", &roles[0]["rules"], Some("team")).await;
    running.judged(&hidden, "healthy", "ok").await;
    running.judged(&app, "unhealthy", "degraded").await;
    running.collector_up(BLUE, "applications", true).await;
}

/// Every single right of a token in a namespace, as the API server answers it.
async fn rights(kubernetes: &Kubernetes, token: &str, namespace: &str) -> BTreeSet<String> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": { "namespace": namespace }
    });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let answer = kubernetes.ask_as(token, path, &review).await.unwrap();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in answer["status"]["resourceRules"].as_array().unwrap() {
        for verb in texts(&rule["verbs"]) {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    rights.insert(format!("{verb} {group}/{resource}"));
                }
            }
        }
    }
    for rule in answer["status"]["nonResourceRules"].as_array().unwrap() {
        for verb in texts(&rule["verbs"]) {
            rights.extend(texts(&rule["nonResourceURLs"]).iter().map(|path| format!("{verb} {path}")));
        }
    }
    rights
}

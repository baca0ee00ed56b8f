//! What selects by labels and names finds what it means: a policy, a budget or a Service that selects nothing is taken by every
//! API server and does nothing.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    of_kind,
    pods::{containers, list, shipped, text},
};

/// What the labels select, among objects with these metadata.
fn selected<'a>(selector: &Value, from: &[(&'a str, &Value)]) -> Vec<&'a str> {
    let wanted = selector.as_object().unwrap();
    assert!(wanted.len() > 2, "{selector}: others have these labels, too");
    let found = from.iter().filter(|(_, metadata)| {
        wanted.iter().all(|(label, value)| metadata["labels"].get(label) == Some(value))
    });
    found.map(|(name, _)| *name).collect()
}

#[test]
fn every_selector_finds_the_one_workload_that_it_means() {
    let Some(shipped) = shipped() else { return };
    let mut budgets = BTreeSet::new();
    let mut tried = 0;
    for (path, objects) in shipped {
        let deployments = of_kind(objects, "Deployment");
        let pods: Vec<(&str, &Value)> = deployments
            .iter()
            .map(|object| (text(&object["metadata"]["name"]), &object["spec"]["template"]["metadata"]))
            .collect();
        let ports = |deployment: &str| -> BTreeSet<&str> {
            let object = deployments.iter().find(|object| object["metadata"]["name"] == deployment).unwrap();
            let all = containers(&object["spec"]["template"]["spec"]);
            all.flat_map(|one| list(one, "ports")).map(|port| text(&port["name"])).collect()
        };
        let services = of_kind(objects, "Service");
        for service in &services {
            let found = selected(&service["spec"]["selector"], &pods);
            assert_eq!(found, [text(&service["metadata"]["name"])], "{}", path.display());
            for port in list(&service["spec"], "ports") {
                assert!(ports(found[0]).contains(text(&port["targetPort"])), "{}: {port}", path.display());
            }
            tried += 1;
        }
        let named: Vec<(&str, &Value)> = services
            .iter()
            .map(|service| (text(&service["metadata"]["name"]), &service["metadata"]))
            .collect();
        for monitor in of_kind(objects, "ServiceMonitor") {
            let found = selected(&monitor["spec"]["selector"]["matchLabels"], &named);
            assert_eq!(found.len(), 1, "{}: {monitor}", path.display());
            let service = services.iter().find(|service| service["metadata"]["name"] == found[0]).unwrap();
            let known: Vec<&str> = list(&service["spec"], "ports").map(|port| text(&port["name"])).collect();
            for endpoint in list(&monitor["spec"], "endpoints") {
                assert!(known.contains(&text(&endpoint["port"])), "{}: {endpoint}", path.display());
            }
            tried += 1;
        }
        for deployment in &deployments {
            let found = selected(&deployment["spec"]["selector"]["matchLabels"], &pods);
            assert_eq!(found, [text(&deployment["metadata"]["name"])], "{}", path.display());
        }
        for budget in of_kind(objects, "PodDisruptionBudget") {
            let found = selected(&budget["spec"]["selector"]["matchLabels"], &pods);
            assert_eq!(found, [text(&budget["metadata"]["name"])], "{}", path.display());
            budgets.insert(
                text(&budget["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]).to_owned(),
            );
        }
        // Where policies are made, no pod is left open, and each is let through to its own ports.
        let policies = of_kind(objects, "NetworkPolicy");
        let mut closed = Vec::new();
        for policy in &policies {
            let found = selected(&policy["spec"]["podSelector"]["matchLabels"], &pods);
            assert_eq!(found.len(), 1, "{}: {policy}", path.display());
            let object = deployments.iter().find(|object| object["metadata"]["name"] == found[0]).unwrap();
            let listens: BTreeSet<u64> = containers(&object["spec"]["template"]["spec"])
                .flat_map(|one| list(one, "ports"))
                .map(|port| port["containerPort"].as_u64().unwrap())
                .collect();
            let through: BTreeSet<u64> = list(&policy["spec"], "ingress")
                .flat_map(|rule| list(rule, "ports"))
                .map(|port| port["port"].as_u64().unwrap())
                .collect();
            assert_eq!(through, listens, "{}: {}", path.display(), found[0]);
            closed.push(found[0]);
            tried += 1;
        }
        closed.sort_unstable();
        let mut all: Vec<&str> = pods.iter().map(|(name, _)| *name).collect();
        all.sort_unstable();
        assert!(policies.is_empty() || closed == all, "{}: {closed:?} of {all:?}", path.display());
    }
    assert_eq!(budgets.into_iter().collect::<Vec<_>>(), ["exporter", "responder", "runner"]);
    assert!(tried > 20, "{tried}");
}

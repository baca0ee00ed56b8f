//! What the live line says: looked up where it is true, not where it was ordered.

use std::fmt;

use serde_json::Value;
use switchyard_lab::scene::{FLEET, Scene};

/// One look at the scene.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// The clusters with the routing tag, as GitLab has it.
    pub(crate) tag: Vec<String>,
    /// The cluster that the name points at, as BIND has it.
    pub(crate) name: Option<String>,
    /// The failover alert is at Alertmanager, about this cluster.
    pub(crate) alert: Option<String>,
    /// Clusters whose runners are not running.
    pub(crate) dead: Vec<String>,
    /// The generation of the latest decision.
    pub(crate) generation: u64,
    /// Whether a move is under way, and its phase.
    pub(crate) moving: Option<String>,
    /// The latest decision's holder and reason.
    pub(crate) to: String,
    /// Why it was decided.
    pub(crate) reason: String,
    /// What the last pass came to, in one sentence.
    pub(crate) sentence: String,
}

impl View {
    /// Looks. What does not answer is left empty.
    pub(crate) async fn of(scene: &Scene) -> Self {
        let fleet = async {
            match &scene.switchyard {
                Some(switchyard) => switchyard.api(&format!("fleets/{FLEET}")).await.unwrap_or_default(),
                None => Value::Null,
            }
        };
        let (name, alerts, fleet) = tokio::join!(scene.dig(), scene.alertmanager.alerts(), fleet);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let alert = alerts.unwrap_or_default().into_iter().find_map(|mut alert| {
            let failover = alert.labels.get("switchyard").is_some_and(|action| action == "failover");
            alert.labels.remove("runner_cluster").filter(|_| failover)
        });
        let moving = (fleet["moving"] == true).then(|| text(&fleet["plan"]["phase"]));
        Self {
            tag: scene.holders(),
            name: name.ok(),
            alert,
            dead: scene.dead().into_iter().map(str::to_owned).collect(),
            generation: fleet["generation"].as_u64().unwrap_or_default(),
            moving,
            to: text(&fleet["decision"]["to"]),
            reason: text(&fleet["decision"]["reason"]),
            sentence: text(&fleet["sentence"]),
        }
    }

    /// Whether the fleet is wholly in `cluster` and nothing is under way.
    pub(crate) fn settled_in(&self, cluster: &str) -> bool {
        self.tag == [cluster]
            && self.name.as_deref() == Some(cluster)
            && self.to == cluster
            && self.moving.is_none()
    }

    /// The cluster that alone holds the fleet.
    pub(crate) fn holder(&self) -> Option<&str> {
        match self.tag.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    fn phase(&self) -> String {
        match (&self.moving, &self.alert) {
            (Some(phase), _) if phase.is_empty() => "moving: verify".to_owned(),
            (Some(phase), _) => format!("moving: {phase}"),
            (None, Some(_)) if self.holder() == self.alert.as_deref() => "alert fires".to_owned(),
            _ if self.holder().is_some_and(|holder| self.dead.iter().any(|dead| dead == holder)) => {
                "waiting for the alert".to_owned()
            }
            _ => "steady".to_owned(),
        }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |clusters: &[String]| {
            if clusters.is_empty() { "nobody".to_owned() } else { clusters.join(" + ") }
        };
        write!(f, "{:21} | tag: {:12} | ", self.phase(), list(&self.tag))?;
        write!(f, "DNS: {:6}", self.name.as_deref().unwrap_or("?"))?;
        if !self.dead.is_empty() {
            write!(f, " | dead: {}", self.dead.join(", "))?;
        }
        Ok(())
    }
}

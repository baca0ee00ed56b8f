//! Alertmanager's webhook messages, version 4.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::yard::{BLUE, FLEET};

/// One failover alert about blue, as the shipped rules and route send it.
pub(crate) fn failover(number: usize, starts_at: Timestamp, ends_at: Option<Timestamp>) -> String {
    let labels = json!({
        "alertname": "SwitchyardFailover", "switchyard": "failover", "severity": "critical",
        "fleet": FLEET, "runner_cluster": BLUE, "episode": number.to_string(),
    });
    let annotations = json!({
        "summary": "The cluster that holds a runner fleet has died.",
        "description": "0% of the runners of fleet rnd in cluster blue, which holds the fleet, can be scraped. \
                        Switchyard is asked to move the fleet.",
        "runbook_url": "docs/runbook.md#switchyardfailover",
    });
    // Half of a hash, such as Alertmanager's.
    let fingerprint = format!("{:016x}", (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    message("switchyard", labels, annotations, &fingerprint, starts_at, ends_at)
}

/// The heartbeat.
pub(crate) fn watchdog(now: Timestamp) -> String {
    let labels = json!({ "alertname": "SwitchyardWatchdog", "switchyard": "watchdog" });
    message("switchyard-watchdog", labels, json!({}), "00000000000000aa", now, None)
}

fn message(
    receiver: &str,
    labels: Value,
    annotations: Value,
    fingerprint: &str,
    starts_at: Timestamp,
    ends_at: Option<Timestamp>,
) -> String {
    let status = if ends_at.is_some() { "resolved" } else { "firing" };
    let alert = json!({
        "status": status,
        "labels": labels,
        "annotations": annotations,
        "startsAt": starts_at.to_string(),
        "endsAt": ends_at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| at.to_string()),
        "generatorURL": "http://prometheus.company.test:9090/graph?g0.expr=fleet_runner_cluster%3Agitlab_runner_up&g0.tab=1",
        "fingerprint": fingerprint,
    });
    let message = json!({
        "version": "4",
        "groupKey": format!("{{}}/{{switchyard=~\"failover|failback\"}}:{{fleet=\"{FLEET}\"}}"),
        "truncatedAlerts": 0,
        "status": status,
        "receiver": receiver,
        "groupLabels": { "fleet": FLEET },
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "http://alertmanager.company.test:9093",
        "alerts": [alert],
    });
    message.to_string()
}

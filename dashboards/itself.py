"""Switchyard's own health: serve, exporter, sidecar."""

from common import SELF, TITLES, OURS, SOON, variables, links, annotations
from grafana import (
    BLUE, GREEN, GREY, ORANGE, RED, UP, column, dashboard, query, row, series, stat, steps, table, timeline,
)


def itself():
    rate = lambda name, by: f"sum by ({by}) (rate({name}{{{OURS}}}[$__rate_interval]))"
    late = lambda name, by="": (
        f"histogram_quantile(0.95, sum by ({', '.join(filter(None, ['le', by]))})"
        f" (rate({name}_bucket{{{OURS}}}[$__rate_interval])))"
    )
    lowest = lambda name: f"min({name}{{{OURS}}})"
    rows = [
        row(
            "Can Switchyard see and act right now?", 4,
            stat(
                "Processes down", "Switchyard's processes (serve, exporter, sidecar) that Prometheus cannot scrape.",
                f"sum(up{{{OURS}}} == bool 0)", thresholds=SOON,
            ),
            stat(
                "Leaders", "Replicas that lead: exactly one decides and acts. 0: nobody looks after the fleets.",
                f"sum(switchyard_leader{{{OURS}}})", thresholds=steps(RED, (GREEN, 1), (RED, 2)),
            ),
            stat(
                "Last good pass", "How long ago a replica last looked after the fleets to the end.",
                f"time() - max(switchyard_pass_last_success_timestamp_seconds{{{OURS}}})",
                unit="s", thresholds=steps(GREEN, (ORANGE, 60), (RED, 300)),
            ),
            stat(
                "Heartbeat", "How long ago the watchdog alert last came from Prometheus through Alertmanager.",
                f"time() - max(switchyard_watchdog_last_timestamp_seconds{{{OURS}}})",
                unit="s", thresholds=steps(GREEN, (ORANGE, 300), (RED, 600)),
            ),
            stat(
                "GitLab", "Whether any replica could read the runners in its last pass.",
                f"max(switchyard_gitlab_up{{{OURS}}})", values=UP,
            ),
            stat(
                "Prometheus", "Whether every Prometheus server answered every replica in its last pass.",
                lowest("switchyard_prometheus_up"), values={1: ("up", GREEN), 0: ("down", ORANGE)},
            ),
            stat(
                "Alertmanager", "Whether every Alertmanager answered the last catch-up poll of every replica.",
                lowest("switchyard_alertmanager_up"), values={1: ("up", GREEN), 0: ("down", ORANGE)},
            ),
            stat(
                "Configuration", "Whether every replica took its last configuration over and can read its tokens.",
                f"min(switchyard_config_last_reload_successful{{{OURS}}})"
                f" * min(switchyard_credential_file_good{{{OURS}}})",
                values={1: ("good", GREEN), 0: ("refused", ORANGE)},
            ),
        ),
        row(
            "Processes", 8,
            table(
                "Processes", "What runs, its version, and since when.",
                [
                    query(f"max by (job, instance, version, revision) (switchyard_build_info{{{OURS}}})", table=True),
                    query(f"max by (job, instance) (up{{{OURS}}})", table=True),
                    query(f"time() - max by (job, instance) (process_start_time_seconds{{{OURS}}})", table=True),
                ],
                {
                    "job": "job", "instance": "instance", "version": "version", "revision": "revision",
                    "Value #B": "up", "Value #C": "runs for",
                },
                [column("up", values=UP), column("runs for", unit="s")], sort="job",
            ),
            series(
                "Memory", "Resident memory.",
                query(f"max by (job, instance) (process_resident_memory_bytes{{{OURS}}})", "{{job}} {{instance}}"),
                width=6, unit="bytes",
            ),
            series(
                "CPU", "CPU time per second.",
                query(rate("process_cpu_seconds_total", "job, instance"), "{{job}} {{instance}}"), width=6, unit="percentunit",
            ),
        ),
        row(
            "Alerts in", 8,
            series(
                "Webhook", "Requests by HTTP status. 503 from a replica that stands by is as it should be; 4xx never is.",
                query(rate("switchyard_webhook_requests_total", "code"), "{{code}}"), width=8, unit="reqps",
            ),
            series(
                "How long the webhook takes", "95 % of the requests are answered within this time.",
                query(late("switchyard_webhook_request_duration_seconds"), "95 %"), width=8, unit="s",
            ),
            table(
                "Alerts received", "What became of alerts since the processes began.",
                query(f"sum by (action, outcome) (switchyard_alerts_received_total{{{OURS}}})", table=True),
                {"action": "action", "outcome": "outcome", "Value": "alerts"}, width=8, sort="action",
            ),
        ),
        row(
            "Loop", 8,
            series(
                "Passes", "Passes of the loop, those that could not be finished, and periods in which none began.",
                [
                    query(rate("switchyard_passes_total", "instance"), "{{instance}}"),
                    query(rate("switchyard_pass_failures_total", "instance"), "{{instance}} failed"),
                    query(rate("switchyard_periods_missed_total", "instance"), "{{instance}} missed"),
                ],
                width=8, unit="ops",
            ),
            series(
                "How long a pass takes", "95 % of the passes end within this time.",
                query(late("switchyard_pass_duration_seconds", "instance"), "{{instance}}"), width=8, unit="s",
            ),
            timeline(
                "Who leads", "The replica that decides and acts; with SQLite the only one.",
                query(f"max by (instance) (switchyard_leader{{{OURS}}})", "{{instance}}"),
                {1: ("leads", BLUE), 0: ("stands by", GREY)}, width=8,
            ),
        ),
        row(
            "GitLab", 8,
            series(
                "Requests to GitLab", "By operation and answer.",
                query(rate("switchyard_gitlab_requests_total", "operation, code"), "{{operation}} {{code}}"),
                width=8, unit="reqps",
            ),
            series(
                "How long GitLab takes", "95 % of the requests are answered within this time.",
                query(late("switchyard_gitlab_request_duration_seconds", "operation"), "{{operation}}"), width=8, unit="s",
            ),
            series(
                "Rate limit", "Requests that GitLab last said are left. No data: GitLab does not limit.",
                query(f"min by (instance) (switchyard_gitlab_rate_limit_remaining{{{OURS}}})", "{{instance}}"), width=8,
            ),
        ),
        row(
            "Store", 8,
            series(
                "Transactions", "Transactions of the store, and the operations in them.",
                [
                    query(rate("switchyard_store_commits_total", "instance"), "{{instance}} transactions"),
                    query(rate("switchyard_store_operations_total", "instance"), "{{instance}} operations"),
                ],
                width=8, unit="ops",
            ),
            series(
                "Queue", "Operations that wait, and those that were refused since the process began.",
                [
                    query(f"max by (instance) (switchyard_store_queue_length{{{OURS}}})", "{{instance}} wait"),
                    query(f"max by (instance) (switchyard_store_refused_total{{{OURS}}})", "{{instance}} refused"),
                ],
                width=8,
            ),
            series(
                "Lease", "The number of the leader's term, and attempts to renew the lease that failed.",
                [
                    query(f"max by (instance) (switchyard_lease_epoch{{{OURS}}})", "{{instance}} term"),
                    query(f"max by (instance) (switchyard_lease_renewal_failures_total{{{OURS}}})", "{{instance}} failed"),
                ],
                width=8,
            ),
        ),
        row(
            "Listener", 8,
            series(
                "Connections", "Open connections of clients.",
                query(f"max by (job, instance) (switchyard_web_connections{{{OURS}}})", "{{job}} {{instance}}"),
            ),
            series(
                "Connections that ended", "By reason; client is the ordinary end.",
                query(rate("switchyard_web_connections_closed_total", "reason"), "{{reason}}"), unit="ops",
            ),
        ),
        row(
            "Exporter", 8,
            timeline(
                "Collectors", "Whether an exporter knows everything of a kind, and the API said so lately.",
                query(
                    f"max by (runner_cluster, collector) (switchyard_exporter_collector_up{{{OURS}}})",
                    "{{runner_cluster}} {{collector}}",
                ),
                UP | {0: ("blind", ORANGE)}, width=8,
            ),
            table(
                "Failures of collectors", "Since the exporter began, by reason.",
                query(
                    "sum by (runner_cluster, collector, reason)"
                    f" (switchyard_exporter_collector_errors_total{{{OURS}}})",
                    table=True,
                ),
                {"runner_cluster": "cluster", "collector": "collector", "reason": "reason", "Value": "failures"},
                width=8, sort="failures", descending=True,
            ),
            series(
                "Objects in memory", "By cluster and kind.",
                query(
                    f"max by (runner_cluster, kind) (switchyard_exporter_objects{{{OURS}}})", "{{runner_cluster}} {{kind}}"
                ),
                width=8,
            ),
        ),
        row(
            "Sidecar", 8,
            series(
                "What runners are doing", "Runner processes by state; docs/sidecar.md explains each.",
                query(f"sum by (state) (switchyard_sidecar_state{{{OURS}}})", "{{state}}"), width=8, stacked=True,
            ),
            timeline(
                "Runners that take jobs", "Ready or not, beside each runner.",
                query(f"max by (instance) (switchyard_sidecar_ready{{{OURS}}})", "{{instance}}"),
                {1: ("ready", GREEN), 0: ("not ready", ORANGE)}, width=8,
            ),
            series(
                "Last request for a job", "How long ago the last one ended, by HTTP status (-1: no answer).",
                query(
                    f"time() - max by (instance, status) (switchyard_sidecar_last_request_timestamp_seconds{{{OURS}}})",
                    "{{instance}} {{status}}",
                ),
                width=8, unit="s",
            ),
        ),
    ]
    return dashboard(
        SELF, TITLES[SELF], "Switchyard's own health: serve, exporter and sidecar.",
        variables("switchyard_build_info"), annotations('fleet!=""'), links(SELF), rows,
    )

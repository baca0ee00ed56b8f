"""Could each cluster take a fleet: its API, backups, GitOps, runner pods."""

from common import CLUSTERS, TITLES, OURS, OF_CLUSTER, ANY, SOON, variables, links, annotations, alerts
from grafana import (
    GREEN, GREY, ORANGE, RED, UP, WELL, column, dashboard, query, row, series, stat, steps, table, timeline,
    variable,
)

GITOPS = "Application|Kustomization|HelmRelease|GitRepository|OCIRepository|HelmRepository|HelmChart|Bucket|ExternalArtifact"


def clusters():
    here = 'runner_cluster=~"$runner_cluster"'
    newest = lambda name, by: f"max by ({by}) ({name}{{{OF_CLUSTER}}})"
    not_well = f'switchyard_object_verdict{{{OF_CLUSTER},verdict=~"unhealthy|unknown"}}'
    readiness = [
        query(f"min by (runner_cluster) (runner_cluster:switchyard_cluster_api_up:min{{{here}}})", table=True),
        query(f"max by (runner_cluster) (runner_cluster:switchyard_gitops_broken:count{{{here}}})", table=True),
        query(f"max by (runner_cluster) (runner_cluster:switchyard_velero_backup_age:seconds{{{here}}})", table=True),
        query(f"max by (runner_cluster) (runner_cluster:switchyard_velero_backups_overdue:count{{{here}}})", table=True),
        query(
            f'sum by (runner_cluster) (switchyard_runner_pods{{{OF_CLUSTER},phase="Running",ready="true"}})', table=True
        ),
    ]
    locations = [
        query(newest(f"switchyard_velero_backup_location_{name}", "runner_cluster, namespace, location"), table=True)
        for name in ("available", "writers", "emptied")
    ]
    locations.append(
        query(
            "time() - "
            + newest(
                "switchyard_velero_backup_location_validated_timestamp_seconds", "runner_cluster, namespace, location"
            ),
            table=True,
        )
    )
    rows = [
        row(
            "Could the clusters take a fleet right now?", 4,
            stat(
                "Clusters lost",
                "Clusters whose API does not answer the exporter. Argo CD goes on calling what is in them Healthy.",
                f"sum(runner_cluster:switchyard_cluster_api_up:min{{{here}}} == bool 0)", thresholds=ANY,
            ),
            stat(
                "Blind collectors",
                "Kinds of objects of which an exporter does not know everything: what they would say is unknown.",
                f"sum({newest('switchyard_exporter_collector_up', 'runner_cluster, collector')} == bool 0)",
                thresholds=SOON,
            ),
            stat(
                "GitOps objects not well",
                """Objects of Argo CD and Flux that are unhealthy, on their way for a quarter of an hour, or of which nobody knows:
                a dead controller leaves them green for ever. A kind that nobody can read counts as one. No data: there are none.""",
                f"""sum(runner_cluster:switchyard_gitops_broken:count{{{here}}} or count by (runner_cluster)
                (runner_cluster_object_cluster_collector:switchyard_gitops_blind:max{{{here}}}))""", thresholds=SOON,
            ),
            stat(
                "Slowest change",
                """How long the slowest change that is under way has been on its way into a cluster; 0 when none is. No data: there are no
                objects of Argo CD and Flux, or not all of them are known.""",
                f"max(runner_cluster:switchyard_gitops_convergence_open:seconds{{{here}}})",
                unit="s", thresholds=steps(GREEN, (ORANGE, 900)),
            ),
            stat(
                "Backups overdue",
                """Schedules whose newest completed backup, as a cluster knows it, is older than the schedule's interval and the
                tolerance, or that have none. No data: no schedule is known.""",
                f"sum(runner_cluster:switchyard_velero_backups_overdue:count{{{here}}})", thresholds=SOON,
            ),
            stat(
                "Schedules without a good backup",
                """Schedules of which no backup has ever completed or the last one failed, and those that make none: refused, overdue, paused, or
                without their location. No data: no schedule is known.""",
                f"""count(switchyard_object_verdict{{{OF_CLUSTER},kind="Schedule",
                reason=~"no_completed_backup|last_backup_failed|failed_validation|overdue|suspended|location_missing"}})
                or 0 * count(switchyard_object_verdict{{{OF_CLUSTER},kind="Schedule"}})""",
                thresholds=SOON,
            ),
            stat(
                "Locations unavailable", "Backup locations whose bucket could not be listed.",
                f"sum({newest('switchyard_velero_backup_location_available', 'runner_cluster, namespace, location')} == bool 0)",
                thresholds=SOON,
            ),
            stat(
                "Buckets emptied",
                "Backup locations from which all backups vanished without having expired. They still say Available.",
                f"sum({newest('switchyard_velero_backup_location_emptied', 'runner_cluster, namespace, location')})",
                thresholds=ANY,
            ),
        ),
        row(
            "Clusters", 8,
            table(
                "Readiness", "What a fleet may require of its target with [fleets.NAME.require], cluster by cluster.",
                readiness,
                {
                    "runner_cluster": "cluster", "Value #A": "API", "Value #B": "GitOps not well",
                    "Value #C": "backup age", "Value #D": "backups overdue", "Value #E": "ready runner pods",
                },
                [
                    column("API", values=UP), column("GitOps not well", thresholds=SOON),
                    column("backup age", unit="s"), column("backups overdue", thresholds=SOON),
                ],
                sort="cluster",
            ),
            alerts(
                "Firing alerts", "What fires about these clusters now. The runbook has a section for each.",
                f'alertname=~"Switchyard.*",{here}', 12, "runner_cluster", "name",
            ),
            timeline(
                "API of each cluster", "The exporter's own request to each cluster's API.",
                query(
                    f"min by (runner_cluster) (runner_cluster:switchyard_cluster_api_up:min{{{here}}})",
                    "{{runner_cluster}}",
                ),
                UP,
            ),
            series(
                "How long the API takes", "The last probe of each cluster's API.",
                query(newest("switchyard_cluster_api_probe_duration_seconds", "runner_cluster"), "{{runner_cluster}}"),
                unit="s",
            ),
        ),
        row(
            "What is not well, and why", 9,
            table(
                "Objects that are unhealthy or unknown",
                "Every watched object with its judgement and the reason; docs/verdicts.md explains each reason.",
                query(f"max by (runner_cluster, object_cluster, kind, namespace, name, verdict, reason) ({not_well})", table=True),
                {
                    "runner_cluster": "cluster", "object_cluster": "in", "kind": "kind", "namespace": "namespace", "name": "name",
                    "verdict": "verdict", "reason": "reason",
                },
                width=14, sort="verdict",
            ),
            series(
                "Judgements", "Watched objects by judgement.",
                query(
                    "count by (verdict) (max by (runner_cluster, object_cluster, kind, namespace, name, verdict)"
                    f" (switchyard_object_verdict{{{OF_CLUSTER}}}))",
                    "{{verdict}}",
                ),
                width=10, stacked=True,
            ),
        ),
        row(
            "Backups", 8,
            series(
                "Age of the newest completed backup", "By its start: what changed later may be missing from it.",
                query(
                    "max by (runner_cluster, store, schedule)"
                    f" (runner_cluster_store_schedule:switchyard_velero_backup_age:seconds{{{here}}})",
                    "{{runner_cluster}} {{store}} {{schedule}}",
                ),
                unit="s",
            ),
            table(
                "Backup locations",
                "Several writers to one place delete each other's backups. Not validated for long: the Velero server is dead.",
                locations,
                {
                    "runner_cluster": "cluster", "namespace": "namespace", "location": "location",
                    "Value #A": "available", "Value #B": "writers", "Value #C": "emptied", "Value #D": "validated ago",
                },
                [
                    column("available", values=WELL), column("writers", thresholds=steps(GREEN, (ORANGE, 2))),
                    column("emptied", values={1: ("emptied", RED), 0: ("–", GREY)}),
                    column("validated ago", unit="s", thresholds=steps(GREEN, (ORANGE, 300))),
                ],
                sort="cluster",
            ),
            series(
                "Backups by phase", "Backup objects that are there, of schedules and made by hand.",
                query(
                    f"sum by (runner_cluster, phase) (switchyard_velero_backups{{{OF_CLUSTER}}})",
                    "{{runner_cluster}} {{phase}}",
                ),
                width=8,
            ),
            table(
                "Schedules", "The longest time between two runs, whether somebody paused it, and backups that are stuck.",
                [
                    query(newest(f"switchyard_velero_{name}", "runner_cluster, namespace, schedule"), table=True)
                    for name in ("schedule_interval_seconds", "schedule_paused", "backups_stuck")
                ],
                {
                    "runner_cluster": "cluster", "namespace": "namespace", "schedule": "schedule",
                    "Value #A": "interval", "Value #B": "paused", "Value #C": "stuck",
                },
                [
                    column("interval", unit="s"), column("paused", values={1: ("paused", ORANGE), 0: ("–", GREY)}),
                    column("stuck", thresholds=SOON),
                ],
                width=8, sort="cluster",
            ),
            table(
                "Restores", "Restore objects by phase: a standby that restores regularly is one that can.",
                query(f"sum by (runner_cluster, phase) (switchyard_velero_restores{{{OF_CLUSTER}}})", table=True),
                {"runner_cluster": "cluster", "phase": "phase", "Value": "restores"}, width=8, sort="cluster",
            ),
        ),
        row(
            "GitOps", 8,
            series(
                "GitOps objects not well over time", "Objects of Argo CD and Flux: unhealthy, unknown, or on their way for a quarter of an hour.",
                query(
                    f"max by (runner_cluster) (runner_cluster:switchyard_gitops_broken:count{{{here}}})",
                    "{{runner_cluster}}",
                ),
            ),
            series(
                "From a change to its arrival",
                "From the first sight of a revision to everything being ready on it: the last one done, and the one open.",
                query(
                    newest("switchyard_gitops_convergence_seconds", "runner_cluster, object_cluster, source, state"),
                    "{{runner_cluster}} from {{object_cluster}}: {{source}} {{state}}",
                ),
                unit="s",
            ),
            series(
                "How long changes took",
                "Of the changes that arrived within the last day, half took no longer, and nine of ten. No data: none arrived.",
                [
                    query(
                        f"histogram_quantile({share}, sum by (le, runner_cluster)"
                        f" (increase(switchyard_gitops_convergence_duration_seconds_bucket{{{OF_CLUSTER}}}[1d])))",
                        "{{runner_cluster}} " + word,
                    )
                    for share, word in ((0.5, "half"), (0.9, "nine of ten"))
                ],
                unit="s",
            ),
            series(
                "GitOps objects not well, by reason",
                "Objects of Argo CD and Flux that are unhealthy, unknown or on their way; docs/verdicts.md explains each reason.",
                query(
                    "count by (kind, reason) (max by (runner_cluster, object_cluster, kind, namespace, name, reason)"
                    f" (switchyard_object_verdict{{{OF_CLUSTER},kind=~\"{GITOPS}\",verdict!=\"healthy\"}}))",
                    "{{kind}}: {{reason}}",
                ),
                stacked=True,
            ),
            table(
                "Argo CD applications",
                "What applications say of themselves, and when they were last compared. Green and old proves nothing.",
                [
                    query(
                        newest(
                            "switchyard_argocd_application_info",
                            "runner_cluster, object_cluster, namespace, name, health, sync, autosync",
                        ),
                        table=True,
                    ),
                    query(
                        "time() - "
                        + newest(
                            "switchyard_argocd_application_reconciled_timestamp_seconds",
                            "runner_cluster, object_cluster, namespace, name",
                        ),
                        table=True,
                    ),
                ],
                {
                    "runner_cluster": "cluster", "object_cluster": "in", "namespace": "namespace", "name": "name", "health": "health",
                    "sync": "sync", "autosync": "autosync", "Value #B": "compared ago",
                },
                [column("compared ago", unit="s")], sort="compared ago", descending=True,
            ),
            table(
                "Flux objects",
                "Ready about its current spec or not, suspended or not, and when its controller was last seen to act.",
                [
                    query(newest(f"switchyard_flux_object_{name}", "runner_cluster, kind, namespace, name"), table=True)
                    for name in ("ready", "generation_current", "suspended")
                ]
                + [
                    query(
                        "time() - "
                        + newest(
                            "switchyard_flux_object_reconciled_timestamp_seconds",
                            "runner_cluster, kind, namespace, name",
                        ),
                        table=True,
                    )
                ],
                {
                    "runner_cluster": "cluster", "kind": "kind", "namespace": "namespace", "name": "name",
                    "Value #A": "ready", "Value #B": "current", "Value #C": "suspended", "Value #D": "seen ago",
                },
                [
                    column("ready", values=WELL), column("current", values=WELL),
                    column("suspended", values={1: ("suspended", ORANGE), 0: ("–", GREY)}),
                    column("seen ago", unit="s"),
                ],
                sort="cluster",
            ),
        ),
        row(
            "Runner pods", 8,
            series(
                "Runner pods", "By fleet, phase and readiness, as the cluster's API says.",
                query(
                    f"sum by (runner_cluster, fleet, phase, ready) (switchyard_runner_pods{{{OF_CLUSTER}}})",
                    "{{runner_cluster}} {{fleet}} {{phase}}, ready: {{ready}}",
                ),
            ),
            series(
                "Restarts", "Restarts of the containers of each runner pod.",
                query(
                    newest("switchyard_runner_pod_restarts", "runner_cluster, namespace, pod"),
                    "{{runner_cluster}} {{pod}}",
                ),
            ),
        ),
    ]
    cluster = variable("runner_cluster", "Cluster", f"label_values(switchyard_cluster_api_up{{{OURS}}}, runner_cluster)")
    return dashboard(
        CLUSTERS, TITLES[CLUSTERS], "Whether each cluster could take a fleet: its API, backups, GitOps and runner pods.",
        variables("switchyard_cluster_api_up", cluster), annotations('fleet!=""'),
        links(CLUSTERS), rows,
    )

#!/usr/bin/env python3
"""Writes the dashboards beside it; with `--check` it only says whether they are what it would write."""

import json
import pathlib
import sys

sys.dont_write_bytecode = True
from grafana import (  # noqa: E402
    BLUE, GREEN, GREY, HOLDS, OPEN, ORANGE, PURPLE, RED, UP, WELL,
    annotation, column, dashboard, link_to, query, row, series, stat, steps, table, timeline, variable,
)

OVERVIEW, FLEET, CLUSTERS, SELF = (f"switchyard-{name}" for name in ("overview", "fleet", "clusters", "self"))
TITLES = {
    OVERVIEW: "Switchyard / Overview",
    FLEET: "Switchyard / Fleet",
    CLUSTERS: "Switchyard / Cluster DR readiness",
    SELF: "Switchyard / Switchyard itself",
}

# Labels of the scrape; and those together with whose it is. Several replicas show the same: hence `max by (fleet)`.
OURS = 'job=~"$job",instance=~"$instance"'
OF_FLEET = OURS + ',fleet=~"$fleet"'
OF_CLUSTER = OURS + ',runner_cluster=~"$runner_cluster"'
PLACE = 'fleet=~"$fleet",runner_cluster=~"$runner_cluster"'
GITOPS = 'kind=~"Application|Kustomization|HelmRelease|GitRepository|OCIRepository|HelmRepository|HelmChart|Bucket"'

ANY = steps(GREEN, (RED, 1))
SOON = steps(GREEN, (ORANGE, 1))


def variables(metric, *more):
    """`job` and `instance` of those that show this metric, and more."""
    return [
        variable("job", "Job", f"label_values({metric}, job)"),
        variable("instance", "Instance", f'label_values({metric}{{job=~"$job"}}, instance)'),
        *more,
    ]


def links(own):
    """Two dashboards show fleets and share all variables; the others are about other jobs."""
    fleets = ["datasource", "job", "instance", "fleet", "runner_cluster"]
    keeps = {OVERVIEW: fleets, FLEET: fleets, CLUSTERS: ["datasource", "runner_cluster"], SELF: ["datasource"]}
    common = lambda uid: [name for name in keeps[uid] if name in keeps[own]]
    return [link_to(uid, title.split(" / ")[1], common(uid)) for uid, title in TITLES.items() if uid != own]


def annotations(fleet):
    """Moves and the alerts that ask for them, on every time axis."""
    generation = f"max by (fleet) (switchyard_fleet_generation{{{fleet}}}"
    moved = f"{generation}) > {generation} offset $__interval)"
    return [
        annotation(
            "Moves",
            f"(max by (fleet, runner_cluster) (switchyard_fleet_intended_holder{{{fleet}}}) == 1) and on (fleet) ({moved})",
            "{{fleet}} → {{runner_cluster}}", "Switchyard decided a move.", PURPLE,
        ),
        annotation(
            "Failover alerts",
            'max by (fleet, runner_cluster) (ALERTS{alertstate="firing",switchyard="failover"})',
            "{{fleet}}: {{runner_cluster}} has died", "An alert asks for a failover.", RED,
        ),
    ]


def alerts(title, description, matchers, width, *labels):
    """The firing alerts with these labels as columns."""
    headings = {"alertname": "alert", "severity": "severity"} | {label: label for label in labels}
    by = ", ".join(headings)
    expr = f'max by ({by}) (ALERTS{{alertstate="firing",{matchers}}})'
    return table(title, description, query(expr, table=True), headings, width=width, sort="severity")


def overview():
    no_holder = 'sum(max by (fleet) (fleet_runner_cluster:switchyard_fleet_holder:max{fleet=~"$fleet"}) == bool 0)'
    flags = {
        "enabled": ("may move", WELL),
        "moving": ("moving", {1: ("moving", PURPLE), 0: ("–", GREY)}),
        "paused": ("paused", {1: ("paused", ORANGE), 0: ("–", GREY)}),
        "drift": ("drift", {1: ("drift", ORANGE), 0: ("–", GREY)}),
        "latched": ("failed", {1: ("failed", RED), 0: ("–", GREY)}),
    }
    fleets = [
        query(
            "max by (fleet, runner_cluster)"
            ' (fleet_runner_cluster:switchyard_fleet_holder:max{fleet=~"$fleet"}) == 1',
            table=True,
        ),
        query(f'max by (fleet) (switchyard_gate_open{{{OF_FLEET},gate="target_able"}})', table=True),
    ]
    fleets += [query(f"max by (fleet) (switchyard_fleet_{flag}{{{OF_FLEET}}})", table=True) for flag in flags]
    headings = {"fleet": "fleet", "runner_cluster": "held by", "Value #B": "standby able"}
    headings |= {f"Value #{chr(ord('C') + at)}": heading for at, (heading, _) in enumerate(flags.values())}
    open_fleet = f"/d/{FLEET}?var-fleet=${{__data.fields.fleet}}&${{datasource:queryparam}}&${{__url_time_range}}"
    columns = [column("fleet", link=open_fleet), column("standby able", values=WELL)]
    columns += [column(heading, values=values) for heading, values in flags.values()]
    rows = [
        row(
            "Am I safe right now?", 4,
            stat(
                "Critical alerts",
                """Critical alerts of Switchyard's rules that fire now: each one needs somebody now. No data: Prometheus
                has not loaded alerts/switchyard.rules.yml, or its heartbeat does not fire.""",
                """count(ALERTS{alertstate="firing",severity="critical",alertname=~"Switchyard.*"})
                or 0 * count(ALERTS{alertstate="firing",alertname="SwitchyardWatchdog"})""",
                thresholds=ANY,
            ),
            stat(
                "Fleets nobody holds",
                "Fleets whose routing tag no runner carries, as seen in GitLab: their jobs stay pending.",
                no_holder, thresholds=ANY,
            ),
            stat(
                "Moves that failed",
                "Fleets whose last move failed. Switchyard leaves them alone until a person acknowledges it.",
                f"sum(max by (fleet) (switchyard_fleet_latched{{{OF_FLEET}}}))", thresholds=ANY,
            ),
            stat(
                "Fleets without a standby",
                """Fleets for which the gate target_able is closed: if the holder died now, there would be no cluster to
                go to.""",
                f'sum(max by (fleet) (switchyard_gate_open{{{OF_FLEET},gate="target_able"}}) == bool 0)',
                thresholds=SOON,
            ),
            stat(
                "Alert path",
                """Whether the heartbeat from Prometheus through Alertmanager arrives and samples are fresh (the gate
                eyes_open of every fleet). While it does not, Switchyard moves nothing by itself.""",
                f'min(max by (fleet) (switchyard_gate_open{{{OF_FLEET},gate="eyes_open"}}))',
                values={1: ("sees", GREEN), 0: ("blind", RED)},
            ),
            stat(
                "GitLab", "Whether any replica of Switchyard could read the runners from GitLab in its last pass.",
                f"max(switchyard_gitlab_up{{{OURS}}})", values=UP,
            ),
            stat(
                "Last good pass", "How long ago a replica of Switchyard last looked after the fleets to the end.",
                f"time() - max(switchyard_pass_last_success_timestamp_seconds{{{OURS}}})",
                unit="s", thresholds=steps(GREEN, (ORANGE, 60), (RED, 300)),
            ),
            stat(
                "Clusters lost",
                """Clusters whose API does not answer the exporter. No data: there is no exporter, or its recording rules
                (alerts/clusters.rules.yml) are not loaded.""",
                'sum(runner_cluster:switchyard_cluster_api_up:min{runner_cluster=~"$runner_cluster"} == bool 0)',
                thresholds=ANY,
            ),
        ),
        row(
            "Fleets", 8,
            table(
                "Fleets",
                """Every fleet, who holds it as seen in GitLab, whether there is an able standby, and what keeps it from being
                moved. Open one by its name.""",
                fleets, headings, columns, width=14, sort="fleet",
            ),
            alerts(
                "Firing alerts", "What fires now, the heartbeat aside. The runbook has a section for each.",
                'alertname=~"Switchyard.*",alertname!="SwitchyardWatchdog"', 10, "fleet", "runner_cluster",
            ),
            timeline(
                "Who holds each fleet", "The cluster whose runners carry the fleet's routing tag, as seen in GitLab.",
                query(
                    f"max by (fleet, runner_cluster) (fleet_runner_cluster:switchyard_fleet_holder:max{{{PLACE}}})",
                    "{{fleet}} / {{runner_cluster}}",
                ),
                HOLDS,
            ),
            series(
                "Runners that poll well",
                "The share of a cluster's runner processes that ask GitLab for jobs and are answered.",
                query(
                    f"max by (fleet, runner_cluster) (fleet_runner_cluster:gitlab_runner_polls_well:ratio{{{PLACE}}})",
                    "{{fleet}} / {{runner_cluster}}",
                ),
                unit="percentunit", maximum=1,
            ),
        ),
        row(
            "Moves", 8,
            series(
                "Decisions", "The number of each fleet's decision: a step up is a move.",
                query(f"max by (fleet) (switchyard_fleet_generation{{{OF_FLEET}}})", "{{fleet}}"),
            ),
            table(
                "Steps", "What was changed in GitLab and DNS since the processes began, by outcome.",
                query(f"sum by (fleet, kind, outcome) (switchyard_steps_total{{{OF_FLEET}}})", table=True),
                {"fleet": "fleet", "kind": "kind", "outcome": "outcome", "Value": "steps"}, sort="fleet",
            ),
        ),
    ]
    more = [
        variable("fleet", "Fleet", f"label_values(switchyard_fleet_enabled{{{OURS}}}, fleet)"),
        variable(
            "runner_cluster", "Cluster",
            f"label_values(switchyard_fleet_preferred{{{OF_FLEET}}}, runner_cluster)",
        ),
    ]
    return dashboard(
        OVERVIEW, TITLES[OVERVIEW], "Whether the fleets are safe right now, and what moved them.",
        variables("switchyard_fleet_enabled", *more), annotations(OF_FLEET), links(OVERVIEW), rows,
    )


def fleet():
    ratio = lambda name: query(
        f"max by (runner_cluster) (fleet_runner_cluster:{name}:ratio{{{PLACE}}})", "{{runner_cluster}}"
    )
    threshold = lambda name: query(
        "max by (threshold)"
        f' (fleet_threshold:switchyard_fleet_threshold_ratio:max{{fleet=~"$fleet",threshold="{name}"}})',
        name,
    )
    flag = lambda name: f"max(switchyard_fleet_{name}{{{OF_FLEET}}})"
    rows = [
        row(
            "Is $fleet safe right now?", 4,
            stat(
                "Held by", "The cluster whose runners carry the routing tag, as seen in GitLab.",
                f"max by (runner_cluster) (switchyard_fleet_holder{{{OF_FLEET}}}) == 1",
                thresholds=steps(BLUE), legend="{{runner_cluster}}", name=True,
            ),
            stat(
                "Runners of the holder that poll well",
                "Share of the holder's runner processes that ask GitLab for jobs and are answered.",
                """max(fleet_runner_cluster:gitlab_runner_polls_well:ratio{fleet=~"$fleet"}
                and on (fleet, runner_cluster) (fleet_runner_cluster:switchyard_fleet_holder:max == 1))""",
                unit="percentunit", thresholds=steps(RED, (ORANGE, 0.5), (GREEN, 0.8)),
            ),
            stat(
                "Standby able", "Whether a cluster could take the fleet now: the gate target_able.",
                f'max(switchyard_gate_open{{{OF_FLEET},gate="target_able"}})', values=WELL,
            ),
            stat(
                "May move", "Whether the configuration lets Switchyard move the fleet.", flag("enabled"),
                values={1: ("enabled", GREEN), 0: ("watched only", ORANGE)},
            ),
            stat(
                "Pause", "Whether a person paused the fleet.", flag("paused"),
                values={1: ("paused", ORANGE), 0: ("not paused", GREEN)},
            ),
            stat(
                "Last move", "Failed: Switchyard leaves the fleet alone until a person acknowledges it.",
                f"clamp_max(2 * {flag('latched')} + {flag('moving')}, 2)",
                values={2: ("failed", RED), 1: ("moving", PURPLE), 0: ("done", GREEN)},
            ),
            stat(
                "Drift", "Whether what is seen in GitLab or DNS differs from what was decided and no move explains it.",
                flag("drift"), values={1: ("drift", ORANGE), 0: ("none", GREEN)},
            ),
            stat(
                "Waits for a person", "Whether an automatic move waits for its approval.", flag("proposal_pending"),
                values={1: ("approve", RED), 0: ("no", GREEN)},
            ),
        ),
        row(
            "Place", 8,
            timeline(
                "Holder: decided and seen",
                "Where Switchyard decided the fleet to be, and where the routing tag is in GitLab. They differ during a move.",
                [
                    query(
                        f"max by (runner_cluster) (switchyard_fleet_intended_holder{{{OF_FLEET}}})",
                        "{{runner_cluster}}, decided",
                    ),
                    query(f"max by (runner_cluster) (switchyard_fleet_holder{{{OF_FLEET}}})", "{{runner_cluster}}, seen"),
                ],
                HOLDS,
            ),
            alerts(
                "Firing alerts", "What fires about this fleet now. The runbook has a section for each.",
                'alertname=~"Switchyard.*",fleet=~"$fleet"', 12, "runner_cluster", "gate",
            ),
        ),
        row(
            "Gates", 12,
            timeline(
                "Would a failover pass?",
                """Every gate over time. Some are closed only because nothing asks for a move (signal_held, confirmed):
                switchyard explain says what each one saw.""",
                query(f"max by (gate) (switchyard_gate_open{{{OF_FLEET}}})", "{{gate}}"), OPEN, width=24,
            ),
        ),
        row(
            "Runners", 8,
            series(
                "Runners that can be scraped",
                "Below the dashed line the holder counts as dead, and a failover is asked for.",
                [ratio("gitlab_runner_up"), threshold("failover")],
                unit="percentunit", maximum=1, dashed=["failover"],
            ),
            series(
                "Runners that poll well", "A cluster is able to take the fleet at the dashed line or above.",
                [ratio("gitlab_runner_polls_well"), threshold("able")],
                unit="percentunit", maximum=1, dashed=["able"],
            ),
            timeline(
                "Runner processes", "Whether each process polls GitLab well: proven or not proven.",
                query(
                    f"max by (runner_cluster, instance) (instance:gitlab_runner_polls_well:bool{{{PLACE}}})",
                    "{{runner_cluster}} {{instance}}",
                ),
                {1: ("polls well", GREEN), 0: ("not proven", ORANGE)},
            ),
            series(
                "Runners that cannot reach GitLab",
                "Of the runners that are up. All of them at once is an outage of GitLab, and no reason to move.",
                ratio("gitlab_unreachable"),
                unit="percentunit", maximum=1,
            ),
            series(
                "Runner records", "Records in GitLab: serving (with the routing tag), parked, paused.",
                query(
                    f"max by (runner_cluster, state) (switchyard_runners{{{OF_FLEET},runner_cluster=~\"$runner_cluster\"}})",
                    "{{runner_cluster}} {{state}}",
                ),
            ),
            table(
                "Last contact of runner records",
                "When GitLab last heard from each record. It lags up to an hour for an idle runner: no sign of death.",
                query(
                    "time() - max by (runner_cluster, runner_id) (switchyard_runner_contacted_timestamp_seconds"
                    f'{{{OF_FLEET},runner_cluster=~"$runner_cluster"}})',
                    table=True,
                ),
                {"runner_cluster": "cluster", "runner_id": "runner", "Value": "last contact"},
                [column("last contact", unit="s")], unit="s", sort="last contact", descending=True,
            ),
        ),
        row(
            "Moves", 8,
            table(
                "How long failovers take",
                """The mean since the process began, by phase: detect (alert fires to received), decide, move (to the last
                step), verify (to seen done), total.""",
                query(
                    f"""sum by (phase) (switchyard_failover_duration_seconds_sum{{{OF_FLEET}}})
                    / sum by (phase) (switchyard_failover_duration_seconds_count{{{OF_FLEET}}})""",
                    table=True,
                ),
                {"phase": "phase", "Value": "mean"}, [column("mean", unit="s")], width=6, unit="s",
            ),
            table(
                "Steps", "What was changed in GitLab and DNS since the process began.",
                query(f"sum by (kind, outcome) (switchyard_steps_total{{{OF_FLEET}}})", table=True),
                {"kind": "kind", "outcome": "outcome", "Value": "steps"}, width=8, sort="kind",
            ),
            table(
                "Judgements",
                "What passes concluded since the process began; the reason is the gate that held, or the kind of move.",
                query(f"sum by (outcome, reason) (switchyard_decisions_total{{{OF_FLEET}}})", table=True),
                {"outcome": "outcome", "reason": "reason", "Value": "judgements"},
                width=10, sort="judgements", descending=True,
            ),
        ),
    ]
    more = [
        variable("fleet", "Fleet", f"label_values(switchyard_fleet_enabled{{{OURS}}}, fleet)", multi=False),
        variable(
            "runner_cluster", "Cluster",
            f"label_values(switchyard_fleet_preferred{{{OF_FLEET}}}, runner_cluster)",
        ),
    ]
    return dashboard(
        FLEET, TITLES[FLEET], "One fleet: who holds it, what could take it, what a failover would meet.",
        variables("switchyard_fleet_enabled", *more), annotations(OF_FLEET), links(FLEET), rows,
    )


def clusters():
    here = 'runner_cluster=~"$runner_cluster"'
    newest = lambda name, by: f"max by ({by}) ({name}{{{OF_CLUSTER}}})"
    not_well = f'switchyard_object_verdict{{{OF_CLUSTER},verdict=~"unhealthy|unknown"}}'
    readiness = [
        query(f"min by (runner_cluster) (runner_cluster:switchyard_cluster_api_up:min{{{here}}})", table=True),
        query(f"max by (runner_cluster) (runner_cluster:switchyard_gitops_broken:count{{{here}}})", table=True),
        query(f"max by (runner_cluster) (runner_cluster:switchyard_velero_backup_age:seconds{{{here}}})", table=True),
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
                """Objects of Argo CD and Flux that are unhealthy, or of which nobody knows: a dead controller leaves them green
                for ever. No data: there are none.""",
                f"sum(runner_cluster:switchyard_gitops_broken:count{{{here}}})", thresholds=SOON,
            ),
            stat(
                "Slowest change",
                "How long the slowest change that is under way has been on its way into a cluster; 0 when none is.",
                f"""max(switchyard_gitops_convergence_seconds{{{OF_CLUSTER},state="open"}})
                or 0 * max(switchyard_exporter_collector_up{{{OF_CLUSTER}}})""",
                unit="s", thresholds=steps(GREEN, (ORANGE, 900)),
            ),
            stat(
                "Oldest newest backup",
                "What a restore would lose at most: of all schedules the one whose newest completed backup is oldest.",
                f"max(runner_cluster_schedule:switchyard_velero_backup_age:seconds{{{here}}})",
                unit="s", thresholds=steps(GREEN, (ORANGE, 26 * 3600)),
            ),
            stat(
                "Schedules without a good backup",
                "Schedules of which no backup has ever completed, or the last one failed. No data: no schedule is known.",
                f"""count(switchyard_object_verdict{{{OF_CLUSTER},kind="Schedule",reason=~"no_completed_backup|last_backup_failed"}})
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
                    "Value #C": "backup age", "Value #D": "ready runner pods",
                },
                [
                    column("API", values=UP), column("GitOps not well", thresholds=SOON),
                    column("backup age", unit="s", thresholds=steps(GREEN, (ORANGE, 26 * 3600))),
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
                query(f"max by (runner_cluster, kind, namespace, name, verdict, reason) ({not_well})", table=True),
                {
                    "runner_cluster": "cluster", "kind": "kind", "namespace": "namespace", "name": "name",
                    "verdict": "verdict", "reason": "reason",
                },
                width=14, sort="verdict",
            ),
            series(
                "Judgements", "Watched objects by judgement.",
                query(
                    "count by (verdict) (max by (runner_cluster, kind, namespace, name, verdict)"
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
                    "max by (runner_cluster, schedule)"
                    f" (runner_cluster_schedule:switchyard_velero_backup_age:seconds{{{here}}})",
                    "{{runner_cluster}} {{schedule}}",
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
                "GitOps objects not well over time", "Unhealthy or unknown objects of Argo CD and Flux.",
                query(
                    f"max by (runner_cluster) (runner_cluster:switchyard_gitops_broken:count{{{here}}})",
                    "{{runner_cluster}}",
                ),
            ),
            series(
                "From a change to its arrival",
                "From the first sight of a revision to everything being ready on it: the last one done, and the one open.",
                query(
                    newest("switchyard_gitops_convergence_seconds", "runner_cluster, source, state"),
                    "{{runner_cluster}} {{source}} {{state}}",
                ),
                unit="s",
            ),
            table(
                "Argo CD applications",
                "What applications say of themselves, and when they were last compared. Green and old proves nothing.",
                [
                    query(
                        newest(
                            "switchyard_argocd_application_info",
                            "runner_cluster, namespace, name, health, sync, autosync",
                        ),
                        table=True,
                    ),
                    query(
                        "time() - "
                        + newest(
                            "switchyard_argocd_application_reconciled_timestamp_seconds",
                            "runner_cluster, namespace, name",
                        ),
                        table=True,
                    ),
                ],
                {
                    "runner_cluster": "cluster", "namespace": "namespace", "name": "name", "health": "health",
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
                "Passes", "Passes of the loop, and those that could not be finished.",
                [
                    query(rate("switchyard_passes_total", "instance"), "{{instance}}"),
                    query(rate("switchyard_pass_failures_total", "instance"), "{{instance}} failed"),
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


def main():
    stale = []
    for make in (overview, fleet, clusters, itself):
        made = make()
        path = pathlib.Path(__file__).resolve().parent / (made["uid"].removeprefix("switchyard-") + ".json")
        text = json.dumps(made, indent=2, ensure_ascii=False) + "\n"
        if "--check" not in sys.argv[1:]:
            path.write_text(text)
        elif not path.is_file() or path.read_text() != text:
            stale.append(path.name)
    if stale:
        sys.exit(f"run dashboards/generate.py: {', '.join(stale)} would be written anew")


if __name__ == "__main__":
    main()

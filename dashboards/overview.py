"""Are the fleets safe right now, and what moved them?"""

from common import OVERVIEW, FLEET, TITLES, OURS, OF_FLEET, PLACE, ANY, SOON, variables, links, annotations, alerts
from grafana import (
    GREEN, GREY, HOLDS, ORANGE, PURPLE, RED, UP, WELL, column, dashboard, query, row, series, stat, steps,
    table, timeline, variable,
)


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
        variables("switchyard_fleet_enabled", *more), annotations('fleet=~"$fleet"', OURS), links(OVERVIEW), rows,
    )

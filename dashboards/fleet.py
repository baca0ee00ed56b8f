"""One fleet: who holds it, what could take it, what a failover would meet."""

from common import FLEET, TITLES, OURS, OF_FLEET, PLACE, variables, links, annotations, alerts
from grafana import (
    BLUE, GREEN, HOLDS, OPEN, ORANGE, PURPLE, RED, WELL, column, dashboard, query, row, series, stat, steps,
    table, timeline, variable,
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
                "Held by", "The cluster whose runners carry the routing tag, as seen in GitLab. No data: nobody, or no Switchyard.",
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
        variables("switchyard_fleet_enabled", *more), annotations('fleet=~"$fleet"', OURS), links(FLEET), rows,
    )

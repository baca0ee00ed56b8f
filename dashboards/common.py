"""What the dashboards have in common: names, labels, variables, links, marks."""

from grafana import GREEN, ORANGE, PURPLE, RED, annotation, link_to, query, steps, table, variable

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


def annotations(fleet, scrape=""):
    """Moves of these fleets and the alerts that ask for them, on every time axis."""
    shown = f"{scrape},{fleet}" if scrape else fleet
    generation = f"max by (fleet) (switchyard_fleet_generation{{{shown}}}"
    moved = f"{generation}) > {generation} offset $__interval)"
    return [
        annotation(
            "Moves",
            f"(max by (fleet, runner_cluster) (switchyard_fleet_intended_holder{{{shown}}}) == 1) and on (fleet) ({moved})",
            "{{fleet}} → {{runner_cluster}}", "Switchyard decided a move.", PURPLE,
        ),
        annotation(
            "Failover alerts",
            f'max by (fleet, runner_cluster) (ALERTS{{alertstate="firing",switchyard="failover",{fleet}}})',
            "{{fleet}}: {{runner_cluster}} has died", "An alert asks for a failover.", RED,
        ),
    ]


def alerts(title, description, matchers, width, *labels):
    """The firing alerts with these labels as columns."""
    headings = {"alertname": "alert", "severity": "severity"} | {label: label for label in labels}
    by = ", ".join(headings)
    expr = f'max by ({by}) (ALERTS{{alertstate="firing",{matchers}}})'
    return table(title, description, query(expr, table=True), headings, width=width, sort="severity")

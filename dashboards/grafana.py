"""What Grafana needs beside the questions: panels, variables, links, layout. Standard library only."""

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

# Red: somebody must act now. Orange: in working hours. Blue and grey judge nothing.
GREEN, ORANGE, RED, BLUE, PURPLE, GREY = "green", "orange", "red", "blue", "purple", "#808080"

HOLDS = {1: ("holds", BLUE), 0: ("stands by", GREY)}
OPEN = {1: ("open", GREEN), 0: ("closed", GREY)}
UP = {1: ("up", GREEN), 0: ("down", RED)}
WELL = {1: ("yes", GREEN), 0: ("no", ORANGE)}


def mapped(values):
    """Words and colours instead of numbers."""
    options = {
        str(value): {"text": text, "color": color, "index": index}
        for index, (value, (text, color)) in enumerate(values.items())
    }
    return [{"type": "value", "options": options}]


def steps(*pairs):
    """`(GREEN, (ORANGE, 60), (RED, 300))`: a colour from a value on."""
    base, *rest = pairs
    found = [{"color": base, "value": None}] + [{"color": color, "value": value} for color, value in rest]
    return {"mode": "absolute", "steps": found}


def query(expr, legend="", instant=False, table=False):
    """One question to Prometheus; `table` gives its labels as columns."""
    found = {"datasource": DATASOURCE, "expr": " ".join(expr.split()), "legendFormat": legend or "__auto"}
    found |= {"instant": instant or table, "range": not (instant or table)}
    return found | {"format": "table" if table else "time_series"}


def _panel(kind, title, description, width, queries, defaults, options, overrides=(), **more):
    queries = [queries] if isinstance(queries, dict) else queries
    targets = [each | {"refId": chr(ord("A") + at)} for at, each in enumerate(queries)]
    return {
        "type": kind,
        "title": title,
        "description": " ".join(description.split()),
        "datasource": DATASOURCE,
        "gridPos": {"w": width},
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": list(overrides)},
        "options": options,
    } | more


def stat(title, description, expr, width=3, unit="none", thresholds=None, values=None, legend="", name=False):
    """One number or word, with a coloured background. Without data it says so, in grey."""
    defaults = {
        "unit": unit,
        "noValue": "no data",
        "color": {"mode": "thresholds"},
        "thresholds": thresholds or steps(GREY),
        "mappings": mapped(values) if values else [],
    }
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "orientation": "auto",
        "textMode": "name" if name else "value",
        "colorMode": "background",
        "graphMode": "none",
        "justifyMode": "center",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
    }
    return _panel("stat", title, description, width, query(expr, legend, instant=True), defaults, options)


def series(title, description, queries, width=12, unit="none", stacked=False, minimum=0, maximum=None, dashed=()):
    """Lines over time. `dashed` are the legends of thresholds."""
    custom = {
        "drawStyle": "line",
        "lineInterpolation": "stepAfter",
        "lineWidth": 1,
        "fillOpacity": 30 if stacked else 5,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
    }
    defaults = {"unit": unit, "color": {"mode": "palette-classic"}, "custom": custom, "min": minimum}
    if maximum is not None:
        defaults["max"] = maximum
    overrides = [
        {
            "matcher": {"id": "byName", "options": legend},
            "properties": [
                {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [10, 10]}},
                {"id": "custom.fillOpacity", "value": 0},
                {"id": "color", "value": {"mode": "fixed", "fixedColor": GREY}},
            ],
        }
        for legend in dashed
    ]
    options = {
        "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return _panel("timeseries", title, description, width, queries, defaults, options, overrides)


def timeline(title, description, queries, values, width=12):
    """States over time, one line per series."""
    defaults = {
        "unit": "none",
        "color": {"mode": "thresholds"},
        "thresholds": steps(GREY),
        "mappings": mapped(values),
        "custom": {"fillOpacity": 75, "lineWidth": 0},
    }
    options = {
        "alignValue": "left",
        "mergeValues": True,
        "rowHeight": 0.85,
        "showValue": "auto",
        "legend": {"showLegend": False, "displayMode": "list", "placement": "bottom", "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    return _panel("state-timeline", title, description, width, queries, defaults, options)


def column(name, unit=None, values=None, thresholds=None, link=None):
    """How the column with this heading is shown."""
    properties = []
    if unit:
        properties.append({"id": "unit", "value": unit})
    if values:
        properties.append({"id": "mappings", "value": mapped(values)})
    if thresholds:
        properties.append({"id": "thresholds", "value": thresholds})
    if values or thresholds:
        properties.append({"id": "custom.cellOptions", "value": {"type": "color-text"}})
    if link:
        properties.append({"id": "links", "value": [{"title": f"Open {name}", "url": link}]})
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


def table(title, description, queries, headings, columns=(), width=12, unit="none", sort=None, descending=False):
    """Labels and values now. `headings`: what the fields are called, in their order; other fields are left out."""
    defaults = {
        "unit": unit,
        "noValue": "none",
        "color": {"mode": "thresholds"},
        "thresholds": steps("text"),
        "custom": {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False},
    }
    options = {"showHeader": True, "cellHeight": "sm", "frameIndex": 0}
    if sort:
        options["sortBy"] = [{"displayName": sort, "desc": descending}]
    organize = {"indexByName": {name: at for at, name in enumerate(headings)}, "renameByName": headings}
    keep = {"include": {"names": list(headings)}}
    transformations = [
        {"id": "merge", "options": {}},
        {"id": "filterFieldsByName", "options": keep},
        {"id": "organize", "options": organize},
    ]
    return _panel(
        "table", title, description, width, queries, defaults, options, columns, transformations=transformations
    )


def row(title, height, *panels):
    """A heading and the panels below it, from left to right."""
    return {"title": title, "height": height, "panels": panels}


def variable(name, label, of, multi=True):
    """A choice among the values of a label."""
    found = {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "query": {"qryType": 1, "query": of, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "refresh": 2,
        "sort": 1,
        "multi": multi,
        "includeAll": multi,
    }
    if multi:
        # Not the list of now: pods had other names yesterday.
        found |= {"allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]}}
    return found


def annotation(name, expr, title, text, color):
    """Marks on every time axis of the dashboard."""
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": color,
        "target": {"refId": "Anno", "expr": " ".join(expr.split())},
        "titleFormat": title,
        "textFormat": text,
    }


def link_to(uid, title, variables):
    """A link that keeps the time and the variables that mean the same there."""
    return {
        "type": "link",
        "title": title,
        "url": f"/d/{uid}?" + "&".join("${%s:queryparam}" % name for name in variables),
        "tooltip": "",
        "icon": "dashboard",
        "tags": [],
        "asDropdown": False,
        "includeVars": False,
        "keepTime": True,
        "targetBlank": False,
    }


def dashboard(uid, title, description, variables, annotations, links, rows):
    """The whole, with the panels numbered and put in their places."""
    panels, y = [], 0
    for each in rows:
        panels.append(
            {
                "type": "row",
                "title": each["title"],
                "collapsed": False,
                "gridPos": {"h": 1, "w": 24, "x": 0, "y": y},
                "panels": [],
            }
        )
        y, x = y + 1, 0
        for panel in each["panels"]:
            width = panel["gridPos"]["w"]
            if x + width > 24:
                x, y = 0, y + each["height"]
            panels.append(panel | {"gridPos": {"h": each["height"], "w": width, "x": x, "y": y}})
            x += width
        y += each["height"]
    source = {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "regex": "",
        "refresh": 1,
        "multi": False,
        "includeAll": False,
    }
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["switchyard"],
        "schemaVersion": 41,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [source, *variables]},
        "annotations": {"list": annotations},
        "links": links,
        "panels": [{"id": number} | panel for number, panel in enumerate(panels, 1)],
    }

"""Dashboards as rows of panels, and the JSON that Grafana reads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

SCHEMA = 39  # Grafana 11
DATASOURCE: Json = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
COLUMNS = 24
GREEN, YELLOW, RED, GREY, BLUE = "green", "yellow", "red", "text", "blue"

STATES = {
    0: ("healthy", GREEN),
    1: ("degraded", YELLOW),
    2: ("unknown", GREY),
    3: ("unhealthy", RED),
    4: ("maintenance", BLUE),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture.

    Attributes:
        title: What it shows.
        help: What it means, and what to do when it looks bad.
        queries: Pairs of a legend and a query.
        unit: Grafana's name of the unit.
        kind: timeseries, stat, state-timeline or table.
        limits: Values from which it is coloured, ascending, with the colours.
        base: The colour below the first limit.
        stacked: Whether series are put on top of each other.
        most: The upper end of the axis; None for whatever is there.
        decimals: Digits after the point; None for as many as make sense.

    """

    title: str
    help: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    kind: str = "timeseries"
    limits: Sequence[tuple[float, str]] = ()
    base: str = GREEN
    stacked: bool = False
    most: float | None = None
    decimals: int | None = None

    @property
    def height(self) -> int:
        return 4 if self.kind == "stat" else 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels beside each other, under a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """Something to choose: a label's values, or (`values` empty) a text with a default."""

    name: str
    label: str
    values: str = ""
    default: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A page."""

    name: str
    title: str
    help: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = ()

    def json(self) -> Json:
        """Return what Grafana reads."""
        return {
            "uid": f"mainstay-{self.name}",
            "title": f"Mainstay: {self.title}",
            "description": self.help,
            "tags": ["mainstay"],
            "schemaVersion": SCHEMA,
            "editable": True,
            "graphTooltip": 1,  # one crosshair for all panels
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "timezone": "browser",
            "links": [_LINKS],
            "templating": {"list": [_SOURCE, *map(_variable, self.variables)]},
            "panels": list(self._panels()),
        }

    def _panels(self) -> Iterator[Json]:
        number, top = 0, 0
        for row in self.rows:
            number += 1
            place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
            yield {"id": number, "type": "row", "title": row.title, "gridPos": place, "panels": []}
            top += 1
            width = COLUMNS // len(row.panels)
            for column, panel in enumerate(row.panels):
                number += 1
                place = {"x": column * width, "y": top, "w": width, "h": panel.height}
                yield {"id": number, "gridPos": place, **_panel(panel)}
            top += max(panel.height for panel in row.panels)


_LINKS: Json = {
    "type": "dashboards",
    "title": "Mainstay",
    "tags": ["mainstay"],
    "asDropdown": False,
    "includeVars": True,
    "keepTime": True,
    "targetBlank": False,
}
_SOURCE: Json = {
    "name": "DS_PROMETHEUS",
    "label": "Data source",
    "type": "datasource",
    "query": "prometheus",
    "hide": 0,
}


def _variable(variable: Variable) -> Json:
    named = {"name": variable.name, "label": variable.label}
    if not variable.values:
        chosen = {"text": variable.default, "value": variable.default}
        return {**named, "type": "textbox", "query": variable.default, "current": chosen}
    return {
        **named,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": variable.values, "refId": variable.name},
        "definition": variable.values,
        "refresh": 2,  # when the time range changes
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panel(panel: Panel) -> Json:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": DATASOURCE,
        "targets": [_target(panel, *query) for query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
    }


def _target(panel: Panel, number: int, query: tuple[str, str]) -> Json:
    legend, expression = query
    at_once = panel.kind in {"stat", "table"}
    return {
        "refId": chr(ord("A") + number),
        "datasource": DATASOURCE,
        "expr": expression,
        "legendFormat": legend,
        "instant": at_once,
        "range": not at_once,
        "format": "table" if panel.kind == "table" else "time_series",
        # Points that lead to the trace of a slow call, where traces are recorded.
        "exemplar": "_duration_seconds_bucket" in expression and not at_once,
    }


def _defaults(panel: Panel) -> Json:
    steps: list[Json] = [{"color": panel.base, "value": None}]
    steps += [{"color": color, "value": value} for value, color in panel.limits]
    defaults: Json = {
        "unit": panel.unit,
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": steps},
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
    }
    if panel.most is not None:
        defaults["max"] = panel.most
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.unit == "state":
        options = {str(n): {"text": name, "color": color} for n, (name, color) in STATES.items()}
        defaults |= {"unit": "none", "mappings": [{"type": "value", "options": options}]}
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 25 if panel.stacked else 5,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if panel.limits else "off"},
        }
    return defaults


_OPTIONS: dict[str, Json] = {
    "timeseries": {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "colorMode": "background",
        "graphMode": "none",
        "textMode": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
    "state-timeline": {"showValue": "never", "mergeValues": True, "rowHeight": 0.8},
    "table": {"showHeader": True},
}

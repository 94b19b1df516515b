"""The queries of the dashboards and of the alert rules, and the names that they hang on."""

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
DASHBOARDS = DEPLOY / "grafana" / "dashboards"
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
PROMETHEUS_OWN = frozenset({"up", "ALERTS"})

Json = dict[str, Any]

_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
_LABELS_OF = re.compile(r"label_values\((?P<metric>[\w:]+), (?P<label>\w+)\)")
_TYPE = re.compile(r"^# TYPE (?P<name>\S+) (?P<type>\S+)$", re.MULTILINE)

# What stands in a query and is no selector: groupings with their labels, times, numbers.
_ASIDE = re.compile(
    r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)|\[\w[\w:]*\]|\boffset \w+"
)
_SELECTOR = re.compile(
    r"(?<![\w.:])(?P<name>[a-zA-Z_:][\w:]*)(?P<labels>\{(?:\"[^\"]*\"|[^\"}])*\})?(?!\s*\(|[\w:])"
)
_WORDS = frozenset({"and", "or", "unless", "bool"})


class Query(NamedTuple):
    """A query, where it stands, and the legend of its series."""

    place: str
    expression: str
    legend: str = ""

    @property
    def selectors(self) -> list[str]:
        """Return every metric that it reads, with the matchers."""
        bare = _ASIDE.sub(" ", self.expression)
        return [one.group() for one in _SELECTOR.finditer(bare) if one["name"] not in _WORDS]

    @property
    def names(self) -> set[str]:
        """Return the name of every metric that it reads."""
        return {selector.partition("{")[0] for selector in self.selectors}

    @property
    def labels(self) -> set[str]:
        """Return the labels that the legend shows."""
        return set(re.findall(r"\{\{(\w+)\}\}", self.legend))


def dashboards() -> list[Json]:
    """Return all dashboards, as Grafana reads them."""
    return [json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))]


def dashboard_queries() -> list[Query]:
    """Return every query of every dashboard and variable, as Grafana sends it."""
    found = []
    for dashboard in dashboards():
        variables = dashboard["templating"]["list"]
        values = {
            each["name"]: each.get("allValue") or each["current"]["value"]
            for each in variables
            if each["type"] != "datasource"
        }
        for each in variables:
            if values_of := _LABELS_OF.fullmatch(each.get("definition", "")):
                place = f"{dashboard['uid']}: ${each['name']}"
                expression = "count by ({label}) ({metric})".format(**values_of.groupdict())
                found.append(Query(place, expression))
        found += (
            Query(
                f"{dashboard['uid']}: {panel['title']}",
                _chosen(target["expr"], values),
                target["legendFormat"],
            )
            for panel in dashboard["panels"]
            for target in panel.get("targets", ())
        )
    return found


def _chosen(expression: str, values: Json) -> str:
    for name, value in {"__rate_interval": "5m", "__range": "5m", **values}.items():
        expression = re.sub(rf"\${name}\b", str(value), expression)
    return expression


@cache
def rules() -> list[Json]:
    """Return every rule, of records and of alerts."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def rule_queries() -> list[Query]:
    """Return what the rules ask."""
    return [Query(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]


def recorded_names() -> set[str]:
    """Return the names that rules give."""
    return {rule["record"] for rule in rules() if "record" in rule}


def names_in_scrape(text: str) -> set[str]:
    """Return the names of all samples that a scrape can have, whether it has some yet or not."""
    return {name for one in _TYPE.finditer(text) for name in names_of(one["name"], one["type"])}


def names_of(family: str, kind: str) -> Iterator[str]:
    """Yield the names of the samples of a family."""
    for suffix in _SUFFIXES.get(kind, ("",)):
        yield family if family.endswith(suffix) else f"{family}{suffix}"


def unknown_names(query: Query, known: Iterable[str]) -> set[str]:
    """Return the names in a query that nobody exports."""
    return query.names - {*known} - recorded_names() - PROMETHEUS_OWN

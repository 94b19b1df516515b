"""Reads `policies/ratelimit.yaml`."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from services.ratelimit.act import mistake_in
from services.ratelimit.policy import (
    CATCH_ALL,
    MAX_QUOTA,
    MAX_WINDOW,
    SECOND,
    Limit,
    Policy,
    Rule,
)
from shared.policy_file import PolicyReader, read_policy_text

_WHAT = "rate limit policy"
_VERSION = "1"
_UNLIMITED = "unlimited"
_UNITS = {"s": SECOND, "min": 60 * SECOND, "h": 3_600 * SECOND, "d": 86_400 * SECOND}
_LIMIT = re.compile(r"([0-9]{1,10})/([0-9]{1,8})?(s|min|h|d)")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


def load_policy(path: Path) -> Policy:
    """Read the policy file.

    Raises ConfigurationError naming the file and, for every mistake, the line and the field.
    """
    return parse_policy(read_policy_text(path, _WHAT), str(path))


def parse_policy(text: str, source: str) -> Policy:
    """Return the policy in `text`; `source` is the file's name for the messages.

    Raises ConfigurationError as `load_policy` does.
    """
    reader = _Reader()
    rules = reader.rules_of(text)
    reader.check(_WHAT, source)
    return Policy(rules)


class _Reader(PolicyReader):
    """Knows the parts of the rate limit policy."""

    def __init__(self) -> None:
        super().__init__()
        self._names: set[str] = set()
        self._endpoints: set[str] = set()

    def rules_of(self, text: str) -> Sequence[Rule]:
        fields = self.fields(self.document(text), "", required=("version", "limits"))
        if "version" in fields and self.text(fields["version"]) != _VERSION:
            self.note(fields["version"], "version", f"is not known; write {_VERSION}")
        return self._rules(fields["limits"]) if "limits" in fields else []

    def _rules(self, node: yaml.Node) -> Sequence[Rule]:
        rules: list[Rule] = []
        plan_nodes: list[tuple[yaml.Node, str, Rule]] = []
        for index, item in enumerate(self.items(node, "limits")):
            path = f"limits[{index}]"
            fields = self.fields(
                item, path, required=("name", "endpoints", "default"), optional=("plans",)
            )
            if fields.keys() >= {"name", "endpoints", "default"}:
                rules.append(self._rule(fields, path))
                if "plans" in fields:
                    plan_nodes.append((fields["plans"], f"{path}.plans", rules[-1]))
        self._demand_every_plan(plan_nodes)
        if CATCH_ALL not in self._endpoints:
            self.note(node, "limits", f'have no endpoint "{CATCH_ALL}", for what is left')
        return rules

    def _demand_every_plan(self, plan_nodes: Sequence[tuple[yaml.Node, str, Rule]]) -> None:
        """Refuse a forgotten plan: it would get the default by accident."""
        every = {plan for _, _, rule in plan_nodes for plan in rule.plans}
        for node, path, rule in plan_nodes:
            if missing := sorted(every - rule.plans.keys()):
                self.note(node, path, f"lacks {', '.join(missing)}, which other limits name")

    def _rule(self, fields: dict[str, yaml.Node], path: str) -> Rule:
        plans: dict[str, Limit | None] = {}
        if "plans" in fields:
            for plan, node in self.fields(fields["plans"], f"{path}.plans").items():
                if not _NAME.fullmatch(plan):
                    self.note(node, f"{path}.plans.{plan}", "is no name; write a-z 0-9 _")
                plans[plan] = self._limit(node, f"{path}.plans.{plan}")
        return Rule(
            name=self._name(fields["name"], f"{path}.name"),
            endpoints=tuple(self._each_endpoint(fields["endpoints"], f"{path}.endpoints")),
            default=self._limit(fields["default"], f"{path}.default"),
            plans=plans,
        )

    def _name(self, node: yaml.Node, path: str) -> str:
        name = self.text(node)
        if not _NAME.fullmatch(name):
            self.note(node, path, "is no name; write a-z 0-9 _, at most 64")
        elif name in self._names:
            self.note(node, path, f"is {name} a second time; names are unique")
        self._names.add(name)
        return name

    def _each_endpoint(self, node: yaml.Node, path: str) -> Iterator[str]:
        for index, item in enumerate(self.items(node, path)):
            endpoint = self.text(item)
            if mistake := mistake_in(endpoint):
                self.note(item, f"{path}[{index}]", mistake)
            elif "*" in endpoint[:-1]:
                self.note(item, f"{path}[{index}]", "has a star before its end; one may end it")
            elif endpoint in self._endpoints:
                self.note(item, f"{path}[{index}]", f"is {endpoint} a second time; keep one")
            self._endpoints.add(endpoint)
            yield endpoint

    def _limit(self, node: yaml.Node, path: str) -> Limit | None:
        text = self.text(node)
        if text == _UNLIMITED:
            return None
        match = _LIMIT.fullmatch(text)
        if match is None:
            said = f"is {text[:40]!r}" if text else "is no limit"
            self.note(node, path, f"{said}; write one such as 20/min or 5/5min, or {_UNLIMITED}")
            return None
        limit = Limit(quota=int(match[1]), window=int(match[2] or 1) * _UNITS[match[3]])
        if not 1 <= limit.quota <= MAX_QUOTA:
            self.note(node, path, f"admits {limit.quota}; give 1 to {MAX_QUOTA}")
        if not SECOND <= limit.window <= MAX_WINDOW:
            self.note(node, path, f"has the window {text.split('/')[1]}; give 1s to 366d")
        return limit

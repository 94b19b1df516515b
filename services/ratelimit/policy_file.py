"""Reads `policies/ratelimit.yaml`: accepted whole, or refused whole with its mistakes and lines.

What reads a part notes its mistakes and returns any value of the type: it is never used then.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from mainstay.errors import ConfigurationError
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

_VERSION = "1"
_UNLIMITED = "unlimited"
_UNITS = {"s": SECOND, "min": 60 * SECOND, "h": 3_600 * SECOND, "d": 86_400 * SECOND}
_LIMIT = re.compile(r"([0-9]{1,10})/([0-9]{1,8})?(s|min|h|d)")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


def load_policy(path: Path) -> Policy:
    """Read the policy file.

    Raises ConfigurationError naming the file and, for every mistake, the line and the field.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"the rate limit policy {path} cannot be read: {error.strerror}; "
            "MAINSTAY_POLICIES_DIR names its folder"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"the rate limit policy {path} is not UTF-8 text") from error
    return parse_policy(text, str(path))


def parse_policy(text: str, source: str) -> Policy:
    """Return the policy in `text`; `source` is the file's name for the messages.

    Raises ConfigurationError as `load_policy` does.
    """
    reader = _Reader()
    rules = reader.rules_of(text)
    if reader.mistakes:
        raise ConfigurationError(
            f"the rate limit policy {source} is refused: {reader.describe_mistakes()}"
        )
    return Policy(rules)


class _Reader:
    """Walks the nodes of a YAML document, which know their lines, and gathers the mistakes."""

    def __init__(self) -> None:
        self.mistakes: list[tuple[int, str]] = []
        self._names: set[str] = set()
        self._endpoints: set[str] = set()

    def rules_of(self, text: str) -> Sequence[Rule]:
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            self.mistakes.append(_syntax_mistake(error))
            return []
        fields = self._fields(root, "", required=("version", "limits"))
        if "version" in fields and self._text(fields["version"]) != _VERSION:
            self._note(fields["version"], "version", f"is not known; write {_VERSION}")
        return self._rules(fields["limits"]) if "limits" in fields else []

    def describe_mistakes(self) -> str:
        return "; ".join(f"line {line}: {what}" for line, what in sorted(self.mistakes))

    def _rules(self, node: yaml.Node) -> Sequence[Rule]:
        rules: list[Rule] = []
        plan_nodes: list[tuple[yaml.Node, str, Rule]] = []
        for index, item in enumerate(self._items(node, "limits")):
            path = f"limits[{index}]"
            fields = self._fields(
                item, path, required=("name", "endpoints", "default"), optional=("plans",)
            )
            if fields.keys() >= {"name", "endpoints", "default"}:
                rules.append(self._rule(fields, path))
                if "plans" in fields:
                    plan_nodes.append((fields["plans"], f"{path}.plans", rules[-1]))
        self._demand_every_plan(plan_nodes)
        if CATCH_ALL not in self._endpoints:
            self._note(node, "limits", f'have no endpoint "{CATCH_ALL}", for what is left')
        return rules

    def _demand_every_plan(self, plan_nodes: Sequence[tuple[yaml.Node, str, Rule]]) -> None:
        """Refuse a forgotten plan: it would get the default by accident."""
        every = {plan for _, _, rule in plan_nodes for plan in rule.plans}
        for node, path, rule in plan_nodes:
            if missing := sorted(every - rule.plans.keys()):
                self._note(node, path, f"lacks {', '.join(missing)}, which other limits name")

    def _rule(self, fields: dict[str, yaml.Node], path: str) -> Rule:
        plans: dict[str, Limit | None] = {}
        if "plans" in fields:
            for plan, node in self._fields(fields["plans"], f"{path}.plans").items():
                if not _NAME.fullmatch(plan):
                    self._note(node, f"{path}.plans.{plan}", "is no name; write a-z 0-9 _")
                plans[plan] = self._limit(node, f"{path}.plans.{plan}")
        return Rule(
            name=self._name(fields["name"], f"{path}.name"),
            endpoints=tuple(self._each_endpoint(fields["endpoints"], f"{path}.endpoints")),
            default=self._limit(fields["default"], f"{path}.default"),
            plans=plans,
        )

    def _name(self, node: yaml.Node, path: str) -> str:
        name = self._text(node)
        if not _NAME.fullmatch(name):
            self._note(node, path, "is no name; write a-z 0-9 _, at most 64")
        elif name in self._names:
            self._note(node, path, f"is {name} a second time; names are unique")
        self._names.add(name)
        return name

    def _each_endpoint(self, node: yaml.Node, path: str) -> Iterator[str]:
        for index, item in enumerate(self._items(node, path)):
            endpoint = self._text(item)
            if mistake := mistake_in(endpoint):
                self._note(item, f"{path}[{index}]", mistake)
            elif "*" in endpoint[:-1]:
                self._note(item, f"{path}[{index}]", "has a star before its end; one may end it")
            elif endpoint in self._endpoints:
                self._note(item, f"{path}[{index}]", f"is {endpoint} a second time; keep one")
            self._endpoints.add(endpoint)
            yield endpoint

    def _limit(self, node: yaml.Node, path: str) -> Limit | None:
        text = self._text(node)
        if text == _UNLIMITED:
            return None
        match = _LIMIT.fullmatch(text)
        if match is None:
            said = f"is {text[:40]!r}" if text else "is no limit"
            self._note(node, path, f"{said}; write one such as 20/min or 5/5min, or {_UNLIMITED}")
            return None
        limit = Limit(quota=int(match[1]), window=int(match[2] or 1) * _UNITS[match[3]])
        if not 1 <= limit.quota <= MAX_QUOTA:
            self._note(node, path, f"admits {limit.quota}; give 1 to {MAX_QUOTA}")
        if not SECOND <= limit.window <= MAX_WINDOW:
            self._note(node, path, f"has the window {text.split('/')[1]}; give 1s to 366d")
        return limit

    def _items(self, node: yaml.Node, path: str) -> Sequence[yaml.Node]:
        items: Sequence[yaml.Node] = node.value if isinstance(node, yaml.SequenceNode) else ()
        if not items:
            self._note(node, path, "is not a list with at least one item")
        return items

    def _fields(
        self,
        node: yaml.Node | None,
        path: str,
        *,
        required: Sequence[str] = (),
        optional: Sequence[str] = (),
    ) -> dict[str, yaml.Node]:
        """Return the fields of a mapping; of any name when none is required."""
        fields: dict[str, yaml.Node] = {}
        if not isinstance(node, yaml.MappingNode) or not node.value:
            self._note(node, path or "the file", "is not a mapping of names to values")
            return fields
        known = (*required, *optional)
        for key, value in node.value:
            name = self._text(key)[:80]
            field = f"{path}.{name}".lstrip(".")
            if name in fields:
                self._note(key, field, "is written twice; keep one")
            elif known and name not in known:
                self._note(key, field, f"is not known here; known are {', '.join(known)}")
            else:
                fields[name] = value
        for name in required:
            if name not in fields:
                self._note(node, f"{path}.{name}".lstrip("."), "is missing")
        return fields

    @staticmethod
    def _text(node: yaml.Node) -> str:
        return str(node.value) if isinstance(node, yaml.ScalarNode) else ""

    def _note(self, node: yaml.Node | None, path: str, what: str) -> None:
        line = node.start_mark.line + 1 if node is not None else 1
        self.mistakes.append((line, f"{path} {what}"))


def _syntax_mistake(error: yaml.YAMLError) -> tuple[int, str]:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return error.problem_mark.line + 1, f"the file is not YAML: {error.problem}"
    return 1, f"the file is not YAML: {error}"

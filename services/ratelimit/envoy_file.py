"""Reads the domains of Envoy from the policy."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

import yaml

from mainstay.errors import ValidationError
from services.ratelimit.act import mistake_in
from services.ratelimit.envoy_policy import EnvoyDomain, EnvoyNode, EnvoyTarget
from services.ratelimit.envoy_template import EnvoyTemplate
from shared.policy_file import PolicyReader
from shared.rpc.call import Tenant
from shared.rpc.metadata import check_tenant

MAX_DEPTH = 10
MAX_NODES = 1_000

# Rules that a message names: a policy may have thousands.
_TOLD = 20
_PARTS = ("value", "rule", "endpoint", "subject", "plan", "charge", "exempt", "descriptors")
_ENDS = ("rule", "endpoint", "exempt")
_ALWAYS = {"admitted": False, "always": True}

T = TypeVar("T")
Nodes = Mapping[str, yaml.Node]
Keys = tuple[str, ...]


def read_envoy(
    reader: PolicyReader,
    node: yaml.Node,
    path: str,
    rules: Collection[str],
    plans: Collection[str],
) -> Sequence[EnvoyDomain]:
    """Return the domains in a list of them; `rules` and `plans` are the names that may be used.

    Mistakes are noted with the reader.
    """
    return list(_Domains(reader, rules, plans).read(node, path))


class _Domains:
    """Walks the trees, with what is known of the rest of the policy."""

    def __init__(
        self, reader: PolicyReader, rules: Collection[str], plans: Collection[str]
    ) -> None:
        self._reader = reader
        self._rules = rules
        self._plans = plans
        self._read = 0

    def read(self, node: yaml.Node, path: str) -> Iterator[EnvoyDomain]:
        names: set[str] = set()
        for index, item in enumerate(self._reader.items(node, path)):
            here = f"{path}[{index}]"
            parts = self._reader.fields(
                item, here, required=("domain", "descriptors"), optional=("tenant",)
            )
            if parts.keys() >= {"domain", "descriptors"}:
                yield EnvoyDomain(
                    name=self._name(parts["domain"], f"{here}.domain", names),
                    tenant=self._tenant(parts.get("tenant"), f"{here}.tenant"),
                    root=EnvoyNode(nodes=self._nodes(parts["descriptors"], here, ())),
                )

    def _name(self, node: yaml.Node, path: str, names: set[str]) -> str:
        name = self._reader.text(node)
        if mistake := mistake_in(name):
            self._reader.note(node, path, mistake)
        elif name in names:
            self._reader.note(node, path, f"is {name} a second time; names are unique")
        names.add(name)
        return name

    def _tenant(self, node: yaml.Node | None, path: str) -> Tenant | None:
        if node is None:
            return None
        name = self._reader.text(node)
        try:
            if name:
                return check_tenant(name, wildcard=False)
        except ValidationError:
            pass
        what = "is no tenant; write 1 to 64 letters, digits, dots, dashes and underscores"
        self._reader.note(node, path, what)
        return None

    def _nodes(
        self, node: yaml.Node, path: str, keys: Keys
    ) -> dict[tuple[str, str | None], EnvoyNode]:
        path = f"{path}.descriptors"
        found: dict[tuple[str, str | None], EnvoyNode] = {}
        if len(keys) >= MAX_DEPTH:
            self._reader.note(node, path, f"are deeper than {MAX_DEPTH}; write fewer entries")
            return found
        for index, item in enumerate(self._reader.items(node, path)):
            self._read += 1
            if self._read > MAX_NODES:  # also what aliases make of a short text
                if self._read == MAX_NODES + 1:
                    what = f"are more than {MAX_NODES:,} in all; leave values open to take any"
                    self._reader.note(item, path, what)
                break
            here = f"{path}[{index}]"
            parts = self._reader.fields(item, here, required=("key",), optional=_PARTS)
            if "key" in parts:
                step = self._step(parts, here)
                if step in found:
                    what = f"is {' = '.join(filter(None, step))} a second time; keep one"
                    self._reader.note(item, here, what)
                found[step] = self._node(item, parts, here, (*keys, step[0]))
        return found

    def _step(self, parts: Nodes, path: str) -> tuple[str, str | None]:
        key = self._text(parts["key"], f"{path}.key")
        if "value" not in parts:
            return key, None
        value = self._text(parts["value"], f"{path}.value")
        if value.endswith("*"):
            what = "ends in a star, which is no pattern here; leave it out to take any value"
            self._reader.note(parts["value"], f"{path}.value", what)
        return key, value

    def _text(self, node: yaml.Node, path: str) -> str:
        text = self._reader.text(node)
        if not text:
            self._reader.note(node, path, "is empty; write what Envoy sends")
        return text

    def _node(self, node: yaml.Node, parts: Nodes, path: str, keys: Keys) -> EnvoyNode:
        ends = [part for part in _ENDS if part in parts]
        if len(ends) > 1:
            what = f"has {' and '.join(ends)}; keep one of them"
            self._reader.note(parts[ends[1]], path, what)
        if not ends and "descriptors" not in parts:
            what = "leads nowhere; give it a rule, an endpoint, descriptors, or exempt: true"
            self._reader.note(node, path, what)
        nodes = self._nodes(parts["descriptors"], path, keys) if "descriptors" in parts else {}
        return EnvoyNode(target=self._target(parts, path, keys), nodes=nodes)

    def _target(self, parts: Nodes, path: str, keys: Keys) -> EnvoyTarget | None:
        if "rule" not in parts and "endpoint" not in parts:
            self._check_no_target(parts, path)
            return None
        return EnvoyTarget(
            rule=self._rule(parts["rule"], f"{path}.rule") if "rule" in parts else "",
            endpoint=self._template(parts.get("endpoint"), f"{path}.endpoint", keys),
            subject=self._template(parts.get("subject"), f"{path}.subject", keys),
            plan=self._plan(parts.get("plan"), f"{path}.plan", keys),
            always=self._choice(parts.get("charge"), f"{path}.charge", _ALWAYS, otherwise=False),
        )

    def _check_no_target(self, parts: Nodes, path: str) -> None:
        for part in ("subject", "plan", "charge"):
            if part in parts:
                self._reader.note(parts[part], f"{path}.{part}", "needs a rule or an endpoint here")
        self._choice(parts.get("exempt"), f"{path}.exempt", {"true": True}, otherwise=True)

    def _rule(self, node: yaml.Node, path: str) -> str:
        name = self._reader.text(node)
        if name not in self._rules:
            known = ", ".join(islice(self._rules, _TOLD)) or "none"
            more = ", ..." if len(self._rules) > _TOLD else ""
            what = f"is no limit or budget of this file; known are {known}{more}"
            self._reader.note(node, path, what)
        return name

    def _plan(self, node: yaml.Node | None, path: str, keys: Keys) -> EnvoyTemplate | None:
        template = self._template(node, path, keys)
        if template is not None and not template.keys and template.texts[0] not in self._plans:
            known = ", ".join(self._plans) or "none"
            self._reader.note(node, path, f"is no plan of this file; known are {known}")
        return template

    def _template(self, node: yaml.Node | None, path: str, keys: Keys) -> EnvoyTemplate | None:
        if node is None:
            return None
        try:
            template = EnvoyTemplate.parse(self._text(node, path))
        except ValueError as fault:
            self._reader.note(node, path, str(fault))
            return None
        for key in template.keys:
            if keys.count(key) != 1:
                said = "twice on the way here" if key in keys else "not on the way here"
                what = f"names {key}, which is {said}; name one of {', '.join(keys)}"
                self._reader.note(node, path, what)
        return template

    def _choice(
        self, node: yaml.Node | None, path: str, choices: Mapping[str, T], *, otherwise: T
    ) -> T:
        if node is None:
            return otherwise
        text = self._reader.text(node)
        if text not in choices:
            self._reader.note(node, path, f"is {text[:40]!r}; write {' or '.join(choices)}")
        return choices.get(text, otherwise)

"""Reads the rules of the policy: `limits`, `concurrency` and `budgets`."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, TypeVar

import yaml

from services.ratelimit.act import mistake_in
from services.ratelimit.fixed_window import mistake_in_zone
from services.ratelimit.limit_grammar import UTC, LimitGrammar
from services.ratelimit.policy import (
    CATCH_ALL,
    MAX_QUOTA,
    UNLIMITED,
    Algorithm,
    FailureMode,
    Kind,
    Limits,
    Measure,
    Rule,
    TenantLimits,
)
from shared.policy_file import PolicyReader

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
NO_NAME = "is no name; write a-z 0-9 _, at most 64"

MAX_PLANS = 100
"""Of a policy: each is named by every rule that knows plans."""

_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BURST = re.compile(r"[0-9]{1,10}")
_MAX_ZONE = 64
_WHETHER = {"true": True, "false": False}
_RATES = (Algorithm.SLIDING_WINDOW, Algorithm.GCRA, Algorithm.FIXED_WINDOW)
_USAGES = (Measure.TOKENS, Measure.MONEY)
_SOMETIMES = ("plans", "tenants", "on_failure", "shadow")

Nodes = Mapping[str, yaml.Node]
E = TypeVar("E", bound=Enum)


class _Section(NamedTuple):
    """A list of rules in the policy, and the fields of each."""

    kind: Kind
    required: tuple[str, ...]
    optional: tuple[str, ...]


_SECTIONS = {
    "limits": _Section(
        Kind.RATE,
        ("name", "endpoints", "default"),
        (*_SOMETIMES, "algorithm", "burst", "time_zone"),
    ),
    "concurrency": _Section(Kind.CONCURRENCY, ("name", "endpoints", "default"), _SOMETIMES),
    "budgets": _Section(
        Kind.BUDGET, ("name", "measure", "default"), (*_SOMETIMES, "algorithm", "time_zone")
    ),
}
SECTIONS = tuple(_SECTIONS)


class _Named(NamedTuple):
    """Plans that a part names, and where."""

    node: yaml.Node
    path: str
    plans: Collection[str]


class RulesReader:
    """Reads rules and notes their mistakes; `on_failure` is what they do if they do not say."""

    def __init__(self, reader: PolicyReader, *, on_failure: FailureMode) -> None:
        self._reader = reader
        self._on_failure = on_failure
        self._names: set[str] = set()
        self._endpoints: dict[Kind, set[str]] = {kind: set() for kind in Kind}
        self._complete: list[_Named] = []
        self._partial: list[_Named] = []

    def read(self, section: str, node: yaml.Node) -> Iterator[Rule]:
        """Yield the rules of a section."""
        known = _SECTIONS[section]
        for index, item in enumerate(self._reader.items(node, section)):
            path = f"{section}[{index}]"
            fields = self._reader.fields(
                item, path, required=known.required, optional=known.optional
            )
            if fields.keys() >= set(known.required):
                yield self._rule(known.kind, fields, path)
        if known.kind is Kind.RATE and CATCH_ALL not in self._endpoints[Kind.RATE]:
            self._reader.note(node, section, f'have no endpoint "{CATCH_ALL}", for what is left')

    def check_plans(self, declared: Collection[str]) -> Sequence[str]:
        """Return the plans that there are: those declared, or else all that rules name.

        A rule that names some has to name all: a forgotten one would get the default by accident.
        """
        named = dict.fromkeys(plan for part in self._complete for plan in part.plans)
        known = [*(declared or named)]
        if len(known) > MAX_PLANS:
            if not declared:
                part = self._complete[0]
                what = f"and those of the other limits name {len(known):,} plans in all; "
                self._reader.note(part.node, part.path, f"{what}write at most {MAX_PLANS}")
            return known[:MAX_PLANS]
        for part in (*self._complete, *self._partial):
            if strange := [plan for plan in part.plans if plan not in known]:
                where = "`plans` does not declare" if declared else "no rule names"
                self._reader.note(
                    part.node, part.path, f"names {', '.join(strange)}, which {where}"
                )
        for part in self._complete:
            if missing := [plan for plan in known if plan not in part.plans]:
                what = f"lacks {', '.join(missing)}, which "
                what += "`plans` declares" if declared else "other limits name"
                self._reader.note(part.node, part.path, what)
        return known

    def _rule(self, kind: Kind, fields: Nodes, path: str) -> Rule:
        grammar = self._grammar(kind, fields, path)
        return Rule(
            name=self._name(fields["name"], f"{path}.name"),
            kind=kind,
            algorithm=grammar.algorithm,
            measure=grammar.measure,
            endpoints=tuple(self._each_endpoint(kind, fields, f"{path}.endpoints")),
            default=self._limits(grammar, fields["default"], f"{path}.default"),
            plans=self._plans(grammar, fields, path, self._complete),
            tenants=dict(self._tenants(grammar, fields, path)),
            on_failure=self._one_of(
                FailureMode, fields.get("on_failure"), f"{path}.on_failure", self._on_failure
            ),
            shadow=self._shadow(fields.get("shadow"), f"{path}.shadow"),
        )

    def _grammar(self, kind: Kind, fields: Nodes, path: str) -> LimitGrammar:
        algorithm, measure = Algorithm.CONCURRENCY, Measure.COST
        if kind is not Kind.CONCURRENCY:
            algorithm = self._one_of(
                Algorithm, fields.get("algorithm"), f"{path}.algorithm", _RATES[0], among=_RATES
            )
        if kind is Kind.BUDGET:
            measure = self._one_of(
                Measure, fields["measure"], f"{path}.measure", _USAGES[0], among=_USAGES
            )
        return LimitGrammar(
            algorithm=algorithm,
            measure=measure,
            burst=self._burst(fields.get("burst"), f"{path}.burst", algorithm),
            time_zone=self._time_zone(fields.get("time_zone"), f"{path}.time_zone", algorithm),
        )

    def _burst(self, node: yaml.Node | None, path: str, algorithm: Algorithm) -> int:
        if node is None:
            return 0
        text = self._reader.text(node)
        burst = int(text) if _BURST.fullmatch(text) else 0
        if algorithm is not Algorithm.GCRA:
            self._reader.note(node, path, "is for the algorithm gcra; leave it out")
        elif not 1 <= burst <= MAX_QUOTA:
            self._reader.note(node, path, f"is {text[:40]!r}; give 1 to {MAX_QUOTA}")
        return burst

    def _time_zone(self, node: yaml.Node | None, path: str, algorithm: Algorithm) -> str:
        if node is None:
            return UTC
        name = self._reader.text(node)
        if algorithm is not Algorithm.FIXED_WINDOW:
            self._reader.note(node, path, "is for the algorithm fixed_window; leave it out")
        elif mistake := mistake_in_zone(name[:_MAX_ZONE]):
            self._reader.note(node, path, f"says {mistake}")
        return name

    def _shadow(self, node: yaml.Node | None, path: str) -> bool:
        if node is None:
            return False
        text = self._reader.text(node)
        if text not in _WHETHER:
            self._reader.note(node, path, f"is {text[:40]!r}; write true or false")
        return _WHETHER.get(text, False)

    def _one_of(
        self,
        kind: type[E],
        node: yaml.Node | None,
        path: str,
        otherwise: E,
        *,
        among: Sequence[E] = (),
    ) -> E:
        return one_of(self._reader, kind, node, path, otherwise, among=among)

    def _name(self, node: yaml.Node, path: str) -> str:
        name = self._reader.text(node)
        if not NAME.fullmatch(name):
            self._reader.note(node, path, NO_NAME)
        elif name in self._names:
            self._reader.note(node, path, f"is {name} a second time; names are unique")
        self._names.add(name)
        return name

    def _each_endpoint(self, kind: Kind, fields: Nodes, path: str) -> Iterator[str]:
        if kind is Kind.BUDGET:
            return
        known = self._endpoints[kind]
        for index, item in enumerate(self._reader.items(fields["endpoints"], path)):
            endpoint, at = self._reader.text(item), f"{path}[{index}]"
            if mistake := mistake_in(endpoint):
                self._reader.note(item, at, mistake)
            elif "*" in endpoint[:-1]:
                self._reader.note(item, at, "has a star before its end; one may end it")
            elif endpoint in known:
                self._reader.note(item, at, f"is {endpoint} a second time; keep one")
            known.add(endpoint)
            yield endpoint

    def _plans(
        self, grammar: LimitGrammar, fields: Nodes, path: str, named: list[_Named]
    ) -> dict[str, Limits]:
        node, path = fields.get("plans"), f"{path}.plans"
        if node is None:
            return {}
        parts = self._reader.fields(node, path)
        plans: dict[str, Limits] = {}
        for plan, limits in parts.items():
            if not NAME.fullmatch(plan):
                self._reader.note(limits, f"{path}.{plan}", NO_NAME)
            plans[plan] = self._limits(grammar, limits, f"{path}.{plan}")
        named.append(_Named(node, path, plans))
        return plans

    def _tenants(
        self, grammar: LimitGrammar, fields: Nodes, path: str
    ) -> Iterator[tuple[str, TenantLimits]]:
        if "tenants" not in fields:
            return
        for tenant, node in self._reader.fields(fields["tenants"], f"{path}.tenants").items():
            at = f"{path}.tenants.{tenant}"
            if not _TENANT.fullmatch(tenant):
                self._reader.note(node, at, "is no tenant; write A-Z a-z 0-9 . _ -, at most 64")
            own = self._reader.fields(node, at, optional=("default", "plans"))
            default = own.get("default")
            limits = None if default is None else self._limits(grammar, default, f"{at}.default")
            plans = self._plans(grammar, own, at, self._partial)
            yield tenant, TenantLimits(default=limits, plans=plans)

    def _limits(self, grammar: LimitGrammar, node: yaml.Node, path: str) -> Limits:
        try:
            return grammar.read(self._reader.text(node))
        except ValueError as fault:
            self._reader.note(node, path, str(fault))
            return UNLIMITED


def one_of(
    reader: PolicyReader,
    kind: type[E],
    node: yaml.Node | None,
    path: str,
    otherwise: E,
    *,
    among: Sequence[E] = (),
) -> E:
    """Return the member of an enumeration that a field names by its value."""
    if node is None:
        return otherwise
    known = {member.value: member for member in among or kind}
    text = reader.text(node)
    if text not in known:
        reader.note(node, path, f"is {text[:40]!r}; write {' or '.join(known)}")
    return known.get(text, otherwise)

"""Reads the policy of the rate limits: `policies/ratelimit.yaml`, and the same text by API."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from services.ratelimit.envoy_file import read_envoy
from services.ratelimit.envoy_policy import EnvoyDomain
from services.ratelimit.policy import FailureMode, Kind, Plan, Policy, Rule
from services.ratelimit.prices_file import read_prices
from services.ratelimit.rules_file import MAX_PLANS, NAME, NO_NAME, SECTIONS, RulesReader, one_of
from shared.policy_file import Mistake, PolicyReader, read_policy_text

WHAT = "rate limit policy"
_VERSION = "1"
_REQUIRED = ("version", "limits")
_OPTIONAL = ("on_failure", "plans", "concurrency", "budgets", "prices", "envoy")

MAX_TEXT_BYTES = 2**20

Mistakes = tuple[Mistake, ...]
Nodes = Mapping[str, yaml.Node]


def load_policy(path: Path) -> Policy:
    """Read the policy file.

    Raises ConfigurationError naming the file and, for every mistake, the line and the field.
    """
    return parse_policy(read_policy_text(path, WHAT), str(path))


def parse_policy(text: str, source: str) -> Policy:
    """Return the policy in `text`; `source` is the file's name for the messages.

    Raises ConfigurationError as `load_policy` does.
    """
    reader = PolicyReader()
    policy = _read(reader, text)
    reader.check(WHAT, source)
    assert policy is not None, "what is missing is a mistake"
    return policy


def read_policy(text: str, *, version: int = 0) -> Policy | Mistakes:
    """Return the policy in `text`, or everything that is wrong with it, in the order of lines."""
    reader = PolicyReader()
    policy = _read(reader, text, version)
    if policy is None or reader.mistakes:
        return tuple(reader.mistakes)
    return policy


def _read(reader: PolicyReader, text: str, version: int = 0) -> Policy | None:
    if len(text.encode()) > MAX_TEXT_BYTES:
        reader.note(None, "the file", f"is larger than {MAX_TEXT_BYTES:,} bytes")
        return None
    fields = reader.fields(reader.document(text), "", required=_REQUIRED, optional=_OPTIONAL)
    if "version" in fields and reader.text(fields["version"]) != _VERSION:
        reader.note(fields["version"], "version", f"is not known; write {_VERSION}")
    declared = tuple(_plans(reader, fields["plans"])) if "plans" in fields else ()
    rules, known = _rules(reader, fields, [plan.name for plan in declared])
    prices = read_prices(reader, fields["prices"], "prices") if "prices" in fields else None
    envoy = _envoy(reader, fields, rules, known)
    if reader.mistakes:
        return None
    plans = declared or [Plan(name=plan) for plan in known]
    return Policy(rules, plans=plans, prices=prices, envoy=envoy, version=version)


def _plans(reader: PolicyReader, node: yaml.Node) -> Iterator[Plan]:
    plans = reader.fields(node, "plans")
    if not plans:
        reader.note(node, "plans", "names no plan; leave it out where there are none")
    elif len(plans) > MAX_PLANS:
        reader.note(node, "plans", f"names {len(plans):,} plans; write at most {MAX_PLANS}")
    for name, body in plans.items():
        path = f"plans.{name}"
        if not NAME.fullmatch(name):
            reader.note(body, path, NO_NAME)
        parts = reader.fields(body, path, optional=("features",))
        features = _features(reader, parts["features"], path) if "features" in parts else ()
        yield Plan(name=name, features=frozenset(features))


def _features(reader: PolicyReader, node: yaml.Node, path: str) -> Iterator[str]:
    known: set[str] = set()
    for index, item in enumerate(reader.items(node, f"{path}.features")):
        feature, at = reader.text(item), f"{path}.features[{index}]"
        if not NAME.fullmatch(feature):
            reader.note(item, at, NO_NAME)
        elif feature in known:
            reader.note(item, at, f"is {feature} a second time; keep one")
        known.add(feature)
        yield feature


def _rules(
    reader: PolicyReader, fields: Nodes, declared: Sequence[str]
) -> tuple[Sequence[Rule], Sequence[str]]:
    """Return the rules, and the names of the plans."""
    on_failure = one_of(
        reader, FailureMode, fields.get("on_failure"), "on_failure", FailureMode.LOCAL
    )
    rules_reader = RulesReader(reader, on_failure=on_failure)
    rules = [
        rule
        for section in SECTIONS
        if section in fields
        for rule in rules_reader.read(section, fields[section])
    ]
    return rules, rules_reader.check_plans(declared)


def _envoy(
    reader: PolicyReader, fields: Nodes, rules: Sequence[Rule], plans: Sequence[str]
) -> Sequence[EnvoyDomain]:
    if "envoy" not in fields:
        return ()
    # Envoy gives nothing back, and so cannot hold a place.
    usable = [rule.name for rule in rules if rule.kind is not Kind.CONCURRENCY]
    return read_envoy(reader, fields["envoy"], "envoy", usable, plans)

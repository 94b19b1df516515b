"""Reads `policies/cache.yaml`."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import yaml

from services.cache.event_template import EventTemplate
from services.cache.policy import CachePolicy, Quota, TtlClass
from services.cache.policy_values import (
    PERMANENT,
    UNLIMITED,
    count,
    duration_ms,
    early_refresh,
    jitter,
    size_bytes,
    ttl_ms,
)
from shared.policy_file import PolicyReader, read_policy_text

WHAT = "cache policy"
_CLASS_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_EVENT_TYPE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
_MAX_EVENT_TYPE = 100
_MAX_TEMPLATES = 50
_PARTS = ("soft_ttl", "negative_ttl", "jitter", "early_refresh", "near_cache", "max_bytes")

T = TypeVar("T")
Nodes = Mapping[str, yaml.Node]


def load_policy(path: Path) -> CachePolicy:
    """Read the policy file.

    Raises ConfigurationError naming the file and, for every mistake, the line and the field.
    """
    return parse_policy(read_policy_text(path, WHAT), str(path))


def parse_policy(text: str, source: str) -> CachePolicy:
    """Return the policy in `text`; `source` is the file's name for the messages.

    Raises ConfigurationError as `load_policy` does.
    """
    reader = _Reader()
    root = reader.document(text)
    parts = reader.fields(root, "", required=("classes", "default"), optional=("quotas", "events"))
    classes = dict(reader.classes(parts["classes"])) if "classes" in parts else {}
    default = reader.default(parts["default"], classes) if "default" in parts else None
    quota, quotas = reader.quotas(parts["quotas"]) if "quotas" in parts else (Quota(), {})
    events = dict(reader.events(parts["events"])) if "events" in parts else {}
    reader.check(WHAT, source)
    assert default is not None, "what is missing is a mistake"
    return CachePolicy(classes=classes, default=default, quota=quota, quotas=quotas, events=events)


class _Reader(PolicyReader):
    """Knows the parts of the cache policy."""

    def classes(self, node: yaml.Node) -> Iterator[tuple[str, TtlClass]]:
        for name, body in self.fields(node, "classes").items():
            path = f"classes.{name}"
            if not _CLASS_NAME.fullmatch(name):
                self.note(body, path, "is no name for a class; write a-z 0-9 _, at most 64")
            parts = self.fields(body, path, required=("ttl",), optional=_PARTS)
            if "ttl" in parts:
                yield name, self._class(name, path, parts)

    def _class(self, name: str, path: str, parts: Nodes) -> TtlClass:
        def read(part: str, how: Callable[[str], T], otherwise: T) -> T:
            return self._value(parts.get(part), f"{path}.{part}", how, otherwise)

        ttl_class = TtlClass(
            name=name,
            ttl_ms=read("ttl", ttl_ms, None),
            soft_ttl_ms=read("soft_ttl", duration_ms, None),
            negative_ttl_ms=read("negative_ttl", duration_ms, 30_000),
            jitter=read("jitter", jitter, 0.0),
            early_refresh=read("early_refresh", early_refresh, 1.0),
            near_max_age_ms=read("near_cache", duration_ms, None),
            max_bytes=read("max_bytes", size_bytes, None),
        )
        self._check_soft_ttl(ttl_class, path, parts)
        self._check_permanent(path, parts)
        return ttl_class

    def _check_soft_ttl(self, ttl_class: TtlClass, path: str, parts: Nodes) -> None:
        soft, ttl = ttl_class.soft_ttl_ms, ttl_class.ttl_ms
        if soft is not None and ttl is not None and soft >= ttl:
            said = self.text(parts["soft_ttl"])
            what = f"is {said}, not below the ttl; give less, or leave it out"
            self.note(parts["soft_ttl"], f"{path}.soft_ttl", what)

    def _check_permanent(self, path: str, parts: Nodes) -> None:
        permanent = self.text(parts["ttl"]) == PERMANENT
        if permanent and "max_bytes" not in parts:
            what = "is missing; say how much a tenant may hold before its least used entries go"
            self.note(parts["ttl"], f"{path}.max_bytes", what)
        if not permanent and "max_bytes" in parts:
            what = f"is for a ttl that is {PERMANENT}; for others there are quotas"
            self.note(parts["max_bytes"], f"{path}.max_bytes", what)

    def default(self, node: yaml.Node, classes: Mapping[str, TtlClass]) -> TtlClass | None:
        name = self.text(node)
        if name not in classes:
            known = ", ".join(sorted(classes)) or "none"
            self.note(node, "default", f"names no class of this file; known are {known}")
        return classes.get(name)

    def quotas(self, node: yaml.Node) -> tuple[Quota, dict[str, Quota]]:
        parts = self.fields(node, "quotas", required=("default",), optional=("tenants",))
        quota = Quota()
        if "default" in parts:
            quota = self._quota(parts["default"], "quotas.default", quota)
        tenants: Nodes = {}
        if "tenants" in parts:
            tenants = self.fields(parts["tenants"], "quotas.tenants")
        return quota, {
            tenant: self._quota(body, f"quotas.tenants.{tenant}", quota)
            for tenant, body in tenants.items()
        }

    def _quota(self, node: yaml.Node, path: str, otherwise: Quota) -> Quota:
        """Read a quota; what it leaves out is as in another."""
        parts = self.fields(node, path, optional=("entries", "bytes"))
        return Quota(
            max_entries=self._value(
                parts.get("entries"), f"{path}.entries", _or_unlimited(count), otherwise.max_entries
            ),
            max_bytes=self._value(
                parts.get("bytes"), f"{path}.bytes", _or_unlimited(size_bytes), otherwise.max_bytes
            ),
        )

    def events(self, node: yaml.Node) -> Iterator[tuple[str, tuple[EventTemplate, ...]]]:
        for kind, body in self.fields(node, "events").items():
            path = f"events.{kind}"
            if len(kind) > _MAX_EVENT_TYPE or not _EVENT_TYPE.fullmatch(kind):
                self.note(body, path, "is no type of event; write one such as video.updated")
            items = self.items(body, path)
            if len(items) > _MAX_TEMPLATES:
                self.note(body, path, f"has {len(items)} tags; write at most {_MAX_TEMPLATES}")
            templates = [
                self._value(item, f"{path}[{index}]", EventTemplate.parse, None)
                for index, item in enumerate(items)
            ]
            yield kind, tuple(template for template in templates if template is not None)

    def _value(self, node: yaml.Node | None, path: str, how: Callable[[str], T], otherwise: T) -> T:
        """Read a scalar, or note why it cannot be."""
        if node is None:
            return otherwise
        try:
            return how(self.text(node))
        except ValueError as fault:
            self.note(node, path, str(fault))
            return otherwise


def _or_unlimited(how: Callable[[str], int]) -> Callable[[str], int | None]:
    def read(text: str) -> int | None:
        if text == UNLIMITED:
            return None
        try:
            return how(text)
        except ValueError as fault:
            raise ValueError(f"{fault}, or {UNLIMITED}") from None

    return read

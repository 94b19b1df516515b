"""Reads `policies/cache.yaml`."""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from services.cache.limits import MAX_TTL_MS, MIN_TTL_MS
from services.cache.policy import CachePolicy, TtlClass
from shared.policy_file import PolicyReader, read_policy_text

_WHAT = "cache policy"
_PERMANENT = "permanent"
_CLASS_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_DURATION = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def load_policy(path: Path) -> CachePolicy:
    """Read the policy file.

    Raises ConfigurationError naming the file and, for every mistake, the line and the field.
    """
    return parse_policy(read_policy_text(path, _WHAT), str(path))


def parse_policy(text: str, source: str) -> CachePolicy:
    """Return the policy in `text`; `source` is the file's name for the messages.

    Raises ConfigurationError as `load_policy` does.
    """
    reader = _Reader()
    root = reader.document(text)
    parts = reader.fields(root, "", required=("classes", "default"))
    classes = dict(reader.classes(parts["classes"])) if "classes" in parts else {}
    default = reader.default(parts["default"], classes) if "default" in parts else None
    reader.check(_WHAT, source)
    assert default is not None, "what is missing is a mistake"
    return CachePolicy(classes=classes, default=default)


class _Reader(PolicyReader):
    """Knows the parts of the cache policy."""

    def classes(self, node: yaml.Node) -> Iterator[tuple[str, TtlClass]]:
        for name, body in self.fields(node, "classes").items():
            path = f"classes.{name}"
            if not _CLASS_NAME.fullmatch(name):
                self.note(body, path, "is no name for a class; write a-z 0-9 _, at most 64")
            parts = self.fields(body, path, required=("ttl",))
            if "ttl" in parts:
                yield name, TtlClass(name=name, ttl_ms=self._ttl(parts["ttl"], f"{path}.ttl"))

    def default(self, node: yaml.Node, classes: dict[str, TtlClass]) -> TtlClass | None:
        name = self.text(node)
        if name not in classes:
            known = ", ".join(sorted(classes)) or "none"
            self.note(node, "default", f"names no class of this file; known are {known}")
        return classes.get(name)

    def _ttl(self, node: yaml.Node, path: str) -> int | None:
        text = self.text(node)
        if text == _PERMANENT:
            return None
        match = _DURATION.fullmatch(text)
        if match is None:
            said = repr(text[:40]) if text else "no scalar"
            self.note(node, path, f"is {said}; write a whole number and ms, s, m, h or d")
            return None
        ttl_ms = int(match[1]) * _UNIT_MS[match[2]]
        if not MIN_TTL_MS <= ttl_ms <= MAX_TTL_MS:
            self.note(node, path, f"is {text}; give 1ms to 366d, or {_PERMANENT}")
        return ttl_ms

"""Reads `policies/cache.yaml`: accepted whole, or refused whole with every mistake and its line."""

import re
from collections.abc import Iterator

import yaml

from mainstay.errors import ConfigurationError
from services.cache.limits import MAX_TTL_MS, MIN_TTL_MS
from services.cache.policy import CachePolicy, TtlClass

_PERMANENT = "permanent"
_CLASS_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_DURATION = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def parse_policy(text: str, source: str) -> CachePolicy:
    """Return the policy in `text`; `source` is the file's name for the messages.

    Raises ConfigurationError naming the line and the field of every mistake.
    """
    return _Reader(source).read(text)


class _Reader:
    """Walks the nodes of a YAML document, which know their lines, and gathers the mistakes."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._mistakes: list[str] = []

    def read(self, text: str) -> CachePolicy:
        root = self._document(text)
        parts = dict(self._fields(root, "", known=("classes", "default")))
        classes = dict(self._classes(parts.get("classes"), root))
        default = self._default(parts.get("default"), root, classes)
        if self._mistakes or default is None:
            raise ConfigurationError(
                f"the cache policy {self._source} is refused: " + "; ".join(self._mistakes)
            )
        return CachePolicy(classes=classes, default=default)

    def _document(self, text: str) -> yaml.Node | None:
        try:
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ConfigurationError(
                f"the cache policy {self._source} is refused: line {line}: not YAML: "
                f"{error.problem}"
            ) from error
        except yaml.YAMLError as error:
            raise ConfigurationError(
                f"the cache policy {self._source} is refused: not YAML: {error}"
            ) from error

    def _classes(
        self, node: yaml.Node | None, root: yaml.Node | None
    ) -> Iterator[tuple[str, TtlClass]]:
        if node is None:
            self._mistake(root, "classes", "is missing; list at least one class with its ttl")
            return
        for name, body in self._fields(node, "classes"):
            field = f"classes.{name}"
            if not _CLASS_NAME.fullmatch(name):
                self._mistake(body, field, "is no name for a class; write a-z 0-9 _, at most 64")
            parts = dict(self._fields(body, field, known=("ttl",)))
            if "ttl" in parts:
                yield name, TtlClass(name=name, ttl_ms=self._ttl(parts["ttl"], f"{field}.ttl"))
            elif isinstance(body, yaml.MappingNode):
                self._mistake(body, f"{field}.ttl", "is missing; write one such as 5m")

    def _default(
        self, node: yaml.Node | None, root: yaml.Node | None, classes: dict[str, TtlClass]
    ) -> TtlClass | None:
        if node is None:
            self._mistake(root, "default", "is missing; name one of the classes")
            return None
        name = node.value if isinstance(node, yaml.ScalarNode) else None
        if name not in classes:
            known = ", ".join(sorted(classes)) or "none"
            self._mistake(node, "default", f"names no class of this file; known are {known}")
        return classes.get(name) if name else None

    def _ttl(self, node: yaml.Node, field: str) -> int | None:
        text = node.value if isinstance(node, yaml.ScalarNode) else ""
        if text == _PERMANENT:
            return None
        match = _DURATION.fullmatch(text)
        if match is None:
            said = repr(text[:40]) if text else "no scalar"
            self._mistake(node, field, f"is {said}; write a whole number and ms, s, m, h or d")
            return None
        ttl_ms = int(match[1]) * _UNIT_MS[match[2]]
        if not MIN_TTL_MS <= ttl_ms <= MAX_TTL_MS:
            self._mistake(node, field, f"is {text}; give 1ms to 366d, or {_PERMANENT}")
        return ttl_ms

    def _fields(
        self, node: yaml.Node | None, field: str, known: tuple[str, ...] = ()
    ) -> Iterator[tuple[str, yaml.Node]]:
        """Yield the fields of a mapping; a repeated or unknown one is a mistake, not a silence."""
        if not isinstance(node, yaml.MappingNode):
            self._mistake(node, field or "the file", "is not a mapping of names to values")
            return
        seen: set[str] = set()
        for name_node, value in node.value:
            name = str(name_node.value)[:80]
            path = f"{field}.{name}".lstrip(".")
            if name in seen:
                self._mistake(name_node, path, "is written twice; keep one")
            elif known and name not in known:
                self._mistake(name_node, path, f"is not known here; known are {', '.join(known)}")
            else:
                yield name, value
            seen.add(name)

    def _mistake(self, node: yaml.Node | None, field: str, what: str) -> None:
        line = node.start_mark.line + 1 if node is not None else 1
        self._mistakes.append(f"line {line}: {field} {what}")

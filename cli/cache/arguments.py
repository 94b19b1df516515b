"""What people type, as what the client takes; raises UsageError for what makes no sense."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.arguments import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An entry, or the beginning of the keys of several."""

    namespace: str
    key: str


def place(text: str, what: str = "KEY") -> Place:
    """Return the parts of NAMESPACE/KEY; the key may contain slashes itself."""
    namespace, slash, key = text.partition("/")
    if not (namespace and slash and key):
        raise UsageError(f"{text!r} should be NAMESPACE/{what}, such as video/42")
    return Place(namespace=namespace, key=key)


def places(texts: Sequence[str]) -> tuple[str, list[str]]:
    """Return the one namespace of several NAMESPACE/KEY, and the keys."""
    found = [place(text) for text in texts]
    namespaces = sorted({each.namespace for each in found})
    if len(namespaces) > 1:
        raise UsageError(
            f"the keys are of several namespaces ({', '.join(namespaces)}); "
            "invalidate those of one at a time"
        )
    return namespaces[0], [each.key for each in found]


def value(text: str | None) -> bytes:
    """Return the bytes to write: those of the argument, of `@file`, or of stdin."""
    if text is None or text == "-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode("utf-8", "surrogateescape")
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"{text[1:]!r} cannot be read ({reason}); name a file after @") from None


def data(pairs: Sequence[str]) -> dict[str, Any]:
    """Return the parts of an event given as NAME=VALUE; a dot leads into an object."""
    parts: dict[str, Any] = {}
    for pair in pairs:
        name, equals, part = pair.partition("=")
        if not (name and equals):
            raise UsageError(f"--data {pair!r} should be NAME=VALUE, such as user_id=42")
        *path, last = name.split(".")
        within = parts
        for step in path:
            within = within.setdefault(step, {})
            if not isinstance(within, dict):
                raise UsageError(f"--data {pair!r} goes into {step!r}, which is a value; give one")
        if last in within:
            raise UsageError(f"--data names {name!r} twice; give it once")
        within[last] = part
    return parts

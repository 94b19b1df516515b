"""How a history lies in the store: its marks as fields of a hash, its changes as records of a log.

A mark is a field such as `t:user:42`, `p:video:feed/` or `n:video` (a namespace contains no colon)
with its sequence as value, followed by `e` where an event set it. Fields without a colon are about
the history as a whole.

A record holds the previous sequence, the time in milliseconds, and a JSON object with what changed.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import orjson

from services.cache.history import Change, History

EPOCH = b"epoch"
BY_EVENT = b"e"
_SEQUENCE = re.compile(rb"[0-9]{1,16}")

MAX_LISTED_BYTES = 8 * 1024
"""What the entries of one record may take; of more, only their namespace is told."""


def mark_fields(
    tags: Iterable[str] = (),
    prefixes: Iterable[tuple[str, str]] = (),
    namespaces: Iterable[str] = (),
) -> list[str]:
    """Return the names of marks."""
    return [
        *(f"t:{tag}" for tag in tags),
        *(f"p:{namespace}:{prefix}" for namespace, prefix in prefixes),
        *(f"n:{namespace}" for namespace in namespaces),
    ]


def marked(history: History, fields: Iterable[tuple[bytes, bytes]]) -> None:
    """Put what the store holds into a history; fields of later versions are skipped."""
    for name, value in fields:
        by_event = value.endswith(BY_EVENT)
        digits = value.removesuffix(BY_EVENT)
        # What cannot be read may have been any time up to now.
        at = int(digits) if _SEQUENCE.fullmatch(digits) else history.sequence
        kind, _, rest = name.decode("utf-8", "replace").partition(":")
        match kind:
            case "t":
                history.mark_tag(rest, at, by_event=by_event)
            case "p":
                namespace, _, prefix = rest.partition(":")
                history.mark_prefix(namespace, prefix, at)
            case "n":
                history.mark_namespace(rest, at)
            case "floor":
                history.floor = at
            case "retired":
                history.retired = at
            case _:
                pass


def marks_record(
    tags: Sequence[str],
    prefixes: Sequence[tuple[str, str]],
    namespaces: Sequence[str],
    *,
    by_event: bool,
) -> bytes:
    """Return the record of an invalidation."""
    parts = {"t": tags, "x": prefixes, "n": namespaces, "e": by_event}
    return orjson.dumps({name: part for name, part in parts.items() if part})


def keys_record(namespace: str, keys: Sequence[str]) -> bytes:
    """Return the record of entries that were removed or replaced."""
    record = orjson.dumps({"k": [namespace, [*keys]]})
    return record if len(record) <= MAX_LISTED_BYTES else orjson.dumps({"c": [namespace]})


def retirement_record(retired: int, forgotten: int) -> bytes:
    """Return the record of what may no longer be written, and of marks that were dropped."""
    return orjson.dumps({"r": retired, "f": forgotten})


def change(
    sequence: int, previous: int, time_ms: int, record: bytes, *, everything: bool
) -> Change | None:
    """Return what a record says, or None for one that this version cannot read."""
    try:
        parts = orjson.loads(record)
        namespace, keys = parts.get("k", ("", ()))
        return Change(
            sequence=sequence,
            previous=previous,
            time_ms=time_ms,
            tags=tuple(parts.get("t", ())),
            by_event=parts.get("e", False),
            prefixes=tuple((where, prefix) for where, prefix in parts.get("x", ())),
            namespaces=tuple(parts.get("n", ())),
            entries=tuple((namespace, key) for key in keys),
            crowds=tuple(parts.get("c", ())),
            everything=everything,
            retired=parts.get("r", 0),
            forgotten=parts.get("f", 0),
        )
    except (ValueError, TypeError, AttributeError):
        return None


def logged(identifier: bytes, fields: Mapping[bytes, bytes]) -> Change | None:
    """Return the change of an item of the log, or None for one that this version cannot read."""
    try:
        return change(
            int(identifier.partition(b"-")[0]),
            int(fields[b"p"]),
            int(fields[b"m"]),
            fields[b"r"],
            everything=b"a" in fields,
        )
    except (KeyError, ValueError):
        return None

"""What `mainstay cache invalidate` is to make stale."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from cli.arguments import UsageError
from cli.cache.arguments import data, place, places
from mainstay.cache.client import CacheClient
from mainstay.cache.results import Invalidated


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What it is called, and the call that does it."""

    what: str
    invalidate: Callable[[CacheClient], Awaitable[Invalidated]]


def chosen(
    *,
    keys: Sequence[str],
    tags: Sequence[str],
    prefix: str | None,
    namespace: str | None,
    event: str | None,
    event_data: Sequence[str],
) -> Target:
    """Return the one target that was given; raises UsageError for none or several."""
    given = [
        target
        for target in (
            _keys(keys) if keys else None,
            _tags(tags) if tags else None,
            None if prefix is None else _prefix(prefix),
            None if namespace is None else _namespace(namespace),
            None if event is None else _event(event, event_data),
        )
        if target is not None
    ]
    if event is None and event_data:
        raise UsageError("--data belongs to an event; name its type with --event")
    if len(given) != 1:
        raise UsageError("give one of --key, --tag, --prefix, --namespace and --event")
    return given[0]


def _keys(texts: Sequence[str]) -> Target:
    namespace, keys = places(texts)
    return Target(
        what=f"{', '.join(texts)}",
        invalidate=lambda cache: cache.invalidate_keys(namespace, keys),
    )


def _tags(tags: Sequence[str]) -> Target:
    return Target(
        what=f"everything tagged {' or '.join(tags)}",
        invalidate=lambda cache: cache.invalidate_tags(tags),
    )


def _prefix(text: str) -> Target:
    at = place(text, "PREFIX")
    return Target(
        what=f"everything in {at.namespace} that begins with {at.key}",
        invalidate=lambda cache: cache.invalidate_prefix(at.namespace, at.key),
    )


def _namespace(name: str) -> Target:
    return Target(
        what=f"everything in {name}",
        invalidate=lambda cache: cache.invalidate_namespace(name),
    )


def _event(event: str, pairs: Sequence[str]) -> Target:
    parts = data(pairs)
    return Target(
        what=f"what {event} stands for",
        invalidate=lambda cache: cache.invalidate_event(event, parts),
    )

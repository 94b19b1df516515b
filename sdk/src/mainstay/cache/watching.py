"""What the stream of invalidations says."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from mainstay.cache import conversions
from mainstay.cache.v1 import cache_service_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The stream is up: what is invalidated from here on will be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invalidation:
    """What became stale.

    An entry whose `sequence` is not below the message's is not concerned, unless it is named.

    Attributes:
        entries: Namespace and key of what was deleted, replaced or invalidated by key.
        tags: Tags, in every namespace.
        prefixes: Namespaces with beginnings of keys.
        namespaces: Whole namespaces.
        everything: Whether all that the tenant has is concerned.
        invalidate_time: When it took place, in UTC by the store's clock.

    """

    entries: tuple[tuple[str, str], ...] = ()
    tags: tuple[str, ...] = ()
    prefixes: tuple[tuple[str, str], ...] = ()
    namespaces: tuple[str, ...] = ()
    everything: bool = False
    invalidate_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Discontinuity:
    """Something may have been missed, for a `cause`: drop every copy."""

    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Nothing was missed."""


WatchEvent: TypeAlias = Started | Invalidation | Discontinuity | Heartbeat


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One message of the stream.

    Attributes:
        epoch: Names the history that `sequence` counts in.
        sequence: The last invalidation that the receiver knows of after this message.
        previous_sequence: The last one before; one that the receiver does not know is a gap.
        event: What the message says.

    """

    epoch: str
    sequence: int
    previous_sequence: int
    event: WatchEvent


def watched(message: pb.WatchInvalidationsResponse) -> Watched:
    """Return a message of the stream; what only a newer service says is a discontinuity."""
    return Watched(
        epoch=message.epoch,
        sequence=message.sequence,
        previous_sequence=message.previous_sequence,
        event=_event(message),
    )


def _event(message: pb.WatchInvalidationsResponse) -> WatchEvent:
    match message.WhichOneof("event"):
        case "started":
            return Started()
        case "heartbeat":
            return Heartbeat()
        case "invalidation":
            return _invalidation(message.invalidation)
        case "discontinuity":
            return Discontinuity(cause=message.discontinuity.cause)
        case _:
            return Discontinuity(cause="a message that this version of the client does not know")


def _invalidation(message: pb.Invalidation) -> Invalidation:
    return Invalidation(
        entries=tuple((name.namespace, name.key) for name in message.entries),
        tags=tuple(message.tags),
        prefixes=tuple((target.namespace, target.prefix) for target in message.prefixes),
        namespaces=tuple(message.namespaces),
        everything=message.everything,
        invalidate_time=conversions.utc(message.invalidate_time),
    )

"""What GetOrLease answers: what can be given back now, and whether the caller is to compute."""

from dataclasses import dataclass
from typing import TypeAlias

from services.cache.entry import Entry, Kind, MissReason
from services.cache.lease import Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What all answers have: the lease if the caller is to compute, and whether it was held."""

    lease: Lease | None = None
    waited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh(_Answer):
    """An entry to use; with a lease it will be stale soon."""

    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale(_Answer):
    """An entry past its soft expiry; without a lease another computes, or nobody may just now."""

    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class NegativeKnown(_Answer):
    """The source is known to have nothing."""

    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class NotModified(_Answer):
    """The entry, fresh or stale, has the version that the caller holds."""

    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing(_Answer):
    """Nothing; without a lease another computes and the caller's wait is over."""

    reason: MissReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(_Answer):
    """The last computation failed, nothing can be served, and nobody computes for a while."""

    reason: MissReason
    error: str
    retry_after_ms: int


Answer: TypeAlias = Fresh | Stale | NegativeKnown | NotModified | Missing | Failed


def served(
    entry: Entry, *, stale: bool, held_version: int | None, lease: Lease | None, waited: bool
) -> Answer:
    """Return the answer of an entry that may be served, to who holds `held_version` of it."""
    if entry.kind is Kind.NEGATIVE:
        return NegativeKnown(entry=entry, lease=lease, waited=waited)
    if entry.version == held_version:
        return NotModified(entry=entry, lease=lease, waited=waited)
    kind = Stale if stale else Fresh
    return kind(entry=entry, lease=lease, waited=waited)

"""What operators decide: TTL classes, quotas, and which events make which entries stale.

A class is a name for a lifetime and its manners, so that the services which write entries of that
kind need no numbers of their own and operators can change them in one place.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from services.cache.event_template import EventTemplate


@dataclass(frozen=True, slots=True, kw_only=True)
class TtlClass:
    """A kind of data.

    Attributes:
        name: What writers call it.
        ttl_ms: How long its entries live; None where they stay until they make room for others.
        soft_ttl_ms: For how long they are fresh; None: until their end.
        negative_ttl_ms: How long it is believed that the source has nothing.
        jitter: By which share both TTLs are shortened at random, 0 to 0.5, so that what was written
            together does not end together.
        early_refresh: The beta of XFetch: 0 never refreshes early, 1 as its paper advises.
        near_max_age_ms: How long clients may keep a copy; None: not at all.
        max_bytes: For a permanent class: what one tenant may hold before its least recently used
            entries go; None for classes that end.

    """

    name: str
    ttl_ms: int | None
    soft_ttl_ms: int | None = None
    negative_ttl_ms: int = 30_000
    jitter: float = 0.0
    early_refresh: float = 1.0
    near_max_age_ms: int | None = None
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What one tenant may hold; None for no bound."""

    max_entries: int | None = None
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """One version of the policy file.

    Attributes:
        classes: Every class by its name, in the order of the file.
        default: The class of writes that give neither a TTL nor a class.
        quota: For tenants that `quotas` does not name.
        quotas: By tenant.
        events: By type: the templates of the tags that an event makes stale.

    """

    classes: Mapping[str, TtlClass]
    default: TtlClass
    quota: Quota = field(default_factory=Quota)
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    events: Mapping[str, tuple[EventTemplate, ...]] = field(default_factory=dict)

    def quota_of(self, tenant: str) -> Quota:
        """Return what `tenant` may hold."""
        return self.quotas.get(tenant, self.quota)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """A TTL that the writer gave itself."""

    ttl_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InClass:
    """A TTL by the name of a class, which may not exist."""

    name: str


Expiry: TypeAlias = Lifetime | InClass | None

"""The use case of people who ask what the cache holds, why it does not, and what it is good for.

Nothing here counts as a read or keeps an entry from being the next to go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from services.cache.checks import check_name, refuse
from services.cache.collection import bare_charge
from services.cache.entry import Entry, Kind, MissReason
from services.cache.frame import decode
from services.cache.keys import EntryName, entry_key
from services.cache.limits import namespace_fault, window_fault
from services.cache.policy import CachePolicy
from services.cache.ports import Histories, NowMs, Policies
from services.cache.quota import LIST_ITEM_OVERHEAD, SET_MEMBER_OVERHEAD, Holding
from services.cache.recollection import Recollection
from services.cache.statistics import OTHER, Group, Tally, total
from shared.rpc.call import Tenant

TARGET_HIT_RATE = 0.70
MAX_GROUPS = 200
DEFAULT_WINDOW_MS = 60 * 60 * 1000

_MINUTE_MS = 60 * 1000
_COLLECTIONS = (Kind.LIST, Kind.SET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What lies in the store under a key, unjudged.

    Attributes:
        frame: The bytes of the entry; None where nothing is.
        foreign: Whether something is there that is not even bytes.
        items: How many items or members lie beside it.
        lease_left_ms: How long somebody has still to compute it; None when nobody does.
        throttled: What the last computation failed with, while others are kept from trying.

    """

    frame: bytes | None
    foreign: bool
    items: int
    lease_left_ms: int | None
    throttled: str


class EntryProbe(Protocol):
    """Looks at entries without reading them."""

    async def look(self, name: EntryName) -> Found:
        """Return what is stored under a name; raises CacheError."""
        ...


class StatisticsSource(Protocol):
    """Knows what all replicas have counted."""

    async def read(self, tenant: Tenant, minutes: int) -> Mapping[Group, Tally]:
        """Return what was counted within the last minutes, by group; raises CacheError."""
        ...


class QuotaSource(Protocol):
    """Knows what tenants hold."""

    async def holdings(self, tenant: Tenant) -> Sequence[Holding]:
        """Return what a tenant holds and may hold; raises CacheError."""
        ...


class State(Enum):
    """Whether a read would find an entry."""

    FRESH = "fresh"
    STALE = "stale"
    NEGATIVE = "negative"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """All that is known of an entry. `miss_reason` says why a read would not find it.

    `entry` is what is stored even so, without its value; None for tombstones and what is no entry.
    """

    state: State
    miss_reason: MissReason | None
    entry: Entry | None
    age_ms: int
    value_bytes: int
    lease_left_ms: int | None
    throttled: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Statistics of a tenant: all together, and the most read groups."""

    total: Tally
    groups: Sequence[tuple[Group, Tally]]
    quotas: Sequence[Holding]
    target_hit_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyInForce:
    """The policy, and what is wrong with the file since."""

    policy: CachePolicy
    problem: str


class Administration:
    """Answers what people ask about the cache."""

    def __init__(
        self,
        *,
        probe: EntryProbe,
        histories: Histories,
        recollection: Recollection,
        statistics: StatisticsSource,
        quotas: QuotaSource,
        policies: Policies,
        now_ms: NowMs,
    ) -> None:
        self._probe = probe
        self._histories = histories
        self._recollection = recollection
        self._statistics = statistics
        self._quotas = quotas
        self._policies = policies
        self._now_ms = now_ms

    async def inspect(self, tenant: Tenant, namespace: str, key: str) -> Inspection:
        """Return all that is known of an entry; raises CacheError."""
        check_name(namespace, key)
        name = EntryName(tenant, namespace, key)
        found = await self._probe.look(name)
        entry = None if found.frame is None else decode(found.frame)
        now = self._now_ms()
        reason = await self._why_missing(name, found, entry, now)
        stored = None if entry is None or entry.kind is Kind.TOMBSTONE else entry
        return Inspection(
            state=_state(entry, reason, now),
            miss_reason=reason,
            entry=stored and stored._replace(value=b""),
            age_ms=max(0, now - entry.create_ms) if entry else 0,
            value_bytes=_value_bytes(name, found, entry),
            lease_left_ms=found.lease_left_ms,
            throttled=found.throttled,
        )

    async def _why_missing(
        self, name: EntryName, found: Found, entry: Entry | None, now: int
    ) -> MissReason | None:
        """Return why a read would find nothing, or None when it would."""
        if entry is None:
            if found.foreign or found.frame is not None:
                return MissReason.UNREADABLE
            return self._recollection.why_missing(entry_key(*name), now)
        if entry.kind is Kind.TOMBSTONE:
            return entry.last_miss or MissReason.COLD
        history = await self._histories.current(Tenant(name.tenant))
        dead = history.verdict(name.namespace, name.key, entry.tags, entry.stamp)
        return dead or _why_over(entry, found, now)

    async def stats(
        self, tenant: Tenant, *, namespace: str, ttl_class: str, window_ms: int
    ) -> Report:
        """Return what all replicas counted within the window, which is whole minutes."""
        wrong_namespace = namespace and namespace != OTHER and namespace_fault(namespace)
        refuse({"namespace": wrong_namespace or None, "window": window_fault(window_ms)})
        counted = await self._statistics.read(tenant, window_ms // _MINUTE_MS)
        quotas = await self._quotas.holdings(tenant)
        asked = [
            (group, tally)
            for group, tally in counted.items()
            if namespace in {"", group.namespace} and ttl_class in {"", group.ttl_class}
        ]
        if not asked and ttl_class:
            self._check_class(ttl_class)
        asked.sort(key=_most_read_first)
        return Report(
            total=total(tally for _, tally in asked),
            groups=asked[:MAX_GROUPS],
            quotas=quotas,
            target_hit_rate=TARGET_HIT_RATE,
        )

    def _check_class(self, name: str) -> None:
        """Refuse a class that is not, and was not lately: zeros would look like an answer."""
        classes = self._policies.current.classes
        if name not in classes:
            known = ", ".join(sorted(classes))
            refuse({"ttl_class": f"{name[:64]!r} is unknown; known are {known}"})

    def classes(self) -> PolicyInForce:
        """Return the policy; needs no store."""
        return PolicyInForce(policy=self._policies.current, problem=self._policies.problem)


def _why_over(entry: Entry, found: Found, now: int) -> MissReason | None:
    """Return why a read would not give back an entry that nothing has made stale."""
    if entry.expiry_ms is not None and entry.expiry_ms <= now:
        return MissReason.EXPIRED
    if entry.kind in _COLLECTIONS and not found.items:
        return MissReason.EVICTED  # the store took the items and left the entry
    return MissReason.NEGATIVE if entry.kind is Kind.NEGATIVE else None


def _state(entry: Entry | None, reason: MissReason | None, now: int) -> State:
    if reason is MissReason.NEGATIVE:
        return State.NEGATIVE
    if entry is None or reason is not None:
        return State.ABSENT
    soft = entry.soft_expiry_ms
    return State.STALE if soft is not None and soft <= now else State.FRESH


def _value_bytes(name: EntryName, found: Found, entry: Entry | None) -> int:
    if entry is None:
        return len(found.frame or b"")
    if entry.kind not in _COLLECTIONS:
        return len(entry.value)
    # What they count for is kept; adding up the items again would mean reading them all.
    each = LIST_ITEM_OVERHEAD if entry.kind is Kind.LIST else SET_MEMBER_OVERHEAD
    return max(0, entry.charged - bare_charge(name, entry) - found.items * each)


def _most_read_first(counted: tuple[Group, Tally]) -> tuple[int, Group]:
    group, tally = counted
    return -tally.reads, group

"""The methods of the client for people: statistics, classes, what is known of an entry."""

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from google.protobuf.duration_pb2 import Duration

from mainstay.cache import conversions
from mainstay.cache.calls import REPEATABLE, Calls
from mainstay.cache.results import Hit, MissReason
from mainstay.cache.v1 import cache_service_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was counted.

    Attributes:
        hits: Reads that gave back a value, stale ones and negatives included.
        stale_hits: Hits that were past their soft expiry.
        misses: Reads that did not.
        miss_counts: Misses by their reason.
        hit_rate: Hits by hits and misses, 0 to 1; 0 when there were none.
        computations: Fills that were stored.
        computations_saved: Hits on computed values, and callers that waited for another.
        time_saved: The time that those would have taken.
        fills_refused: Fills that were refused.

    """

    hits: int
    stale_hits: int
    misses: int
    miss_counts: dict[MissReason, int]
    hit_rate: float
    computations: int
    computations_saved: int
    time_saved: timedelta
    fills_refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsGroup:
    """What was counted for one namespace and class; the class is empty where none is known."""

    namespace: str
    ttl_class: str
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUsage:
    """What the tenant holds of something that is bounded; `limit` is None for no bound."""

    quota: str
    used: int
    limit: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Statistics over all replicas.

    Attributes:
        total: All that was asked for together.
        groups: By namespace and class, the most read first; at most 200.
        target_hit_rate: The hit rate to aim for, 0 to 1.
        quotas: What the tenant holds now and may hold.

    """

    total: Figures
    groups: tuple[StatsGroup, ...]
    target_hit_rate: float
    quotas: tuple[QuotaUsage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TtlClass:
    """One class of the cache policy.

    Attributes:
        name: What writes name it by.
        ttl: How long its entries live; None for permanent ones.
        soft_ttl: For how long they are fresh; None: until their end.
        negative_ttl: How long it is believed that the source has nothing; None: the class says
            nothing about it.
        jitter: By which share both are shortened at random, 0 to 0.5.
        early_refresh: How eagerly it is refreshed early; 0 never.
        near_max_age: How long copies may be kept near; None: not at all.
        max_bytes: For a permanent class: what a tenant may hold; None for no bound.

    """

    name: str
    ttl: timedelta | None
    soft_ttl: timedelta | None
    negative_ttl: timedelta | None
    jitter: float
    early_refresh: float
    near_max_age: timedelta | None
    max_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """The cache policy in force.

    Attributes:
        classes: In the order of the policy file.
        default_class: The class of writes that name none.
        event_types: The types of events that `invalidate_event` knows.
        policy_error: What is wrong with a change of the file that was refused; empty when nothing.

    """

    classes: tuple[TtlClass, ...]
    default_class: str
    event_types: tuple[str, ...]
    policy_error: str


class EntryState(Enum):
    """Whether a read would find an entry."""

    FRESH = "fresh"
    STALE = "stale"
    NEGATIVE = "negative"
    ABSENT = "absent"
    UNKNOWN = "unknown"


class EntryKind(Enum):
    """What an entry is; NONE when nothing is stored."""

    NONE = "none"
    VALUE = "value"
    COUNTER = "counter"
    LIST = "list"
    SET = "set"
    NEGATIVE = "negative"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """All that is known of an entry but its value.

    Attributes:
        state: Whether a read would find it now.
        miss_reason: Why a read would not; None when it would.
        entry: The entry with an empty value; None when nothing is stored.
        kind: What it is.
        age: Time since it was written or confirmed.
        value_bytes: The size of its value; for lists and sets of all their items.
        compute_duration: How long its computation took; zero for what was not computed.
        last_miss_reason: Why it was missed before it was computed; None if it was not.
        lease_remaining: How long the lease on it lasts; None when nobody computes it.
        computation_error: What the last computation failed with, while nobody may try again.

    """

    state: EntryState
    miss_reason: MissReason | None
    entry: Hit | None
    kind: EntryKind
    age: timedelta
    value_bytes: int
    compute_duration: timedelta
    last_miss_reason: MissReason | None
    lease_remaining: timedelta | None
    computation_error: str


_STATES = {
    pb.ENTRY_STATE_FRESH: EntryState.FRESH,
    pb.ENTRY_STATE_STALE: EntryState.STALE,
    pb.ENTRY_STATE_NEGATIVE: EntryState.NEGATIVE,
    pb.ENTRY_STATE_ABSENT: EntryState.ABSENT,
}
_KINDS = {
    pb.ENTRY_KIND_UNSPECIFIED: EntryKind.NONE,
    pb.ENTRY_KIND_VALUE: EntryKind.VALUE,
    pb.ENTRY_KIND_COUNTER: EntryKind.COUNTER,
    pb.ENTRY_KIND_LIST: EntryKind.LIST,
    pb.ENTRY_KIND_SET: EntryKind.SET,
    pb.ENTRY_KIND_NEGATIVE: EntryKind.NEGATIVE,
}


class Administration(Calls):
    """Answers people's questions about the cache; none of it counts as a read."""

    async def stats(
        self, *, namespace: str = "", ttl_class: str = "", window: timedelta | None = None
    ) -> Stats:
        """Return what was counted, of one namespace or class or of all.

        `window` goes back from now in whole minutes, from 1 minute to 24 hours; without, 1 hour.
        """
        request = pb.GetStatsRequest(
            namespace=namespace,
            ttl_class=ttl_class,
            window=conversions.optional_duration(window),
        )
        response = await self._channel.unary(self._stub.GetStats, request, **REPEATABLE)
        return Stats(
            total=_figures(response.total),
            groups=tuple(
                StatsGroup(
                    namespace=group.namespace,
                    ttl_class=group.ttl_class,
                    figures=_figures(group.stats),
                )
                for group in response.groups
            ),
            target_hit_rate=response.target_hit_rate,
            quotas=tuple(
                QuotaUsage(quota=usage.quota, used=usage.used, limit=usage.limit or None)
                for usage in response.quotas
            ),
        )

    async def classes(self) -> Classes:
        """Return the classes of the cache policy in force; works while the store is down."""
        response = await self._channel.unary(
            self._stub.ListClasses, pb.ListClassesRequest(), **REPEATABLE
        )
        return Classes(
            classes=tuple(_class(listed) for listed in response.classes),
            default_class=response.default_class,
            event_types=tuple(response.event_types),
            policy_error=response.policy_error,
        )

    async def inspect(self, namespace: str, key: str) -> Inspection:
        """Return all that is known of an entry but its value."""
        request = pb.InspectEntryRequest(namespace=namespace, key=key)
        response = await self._channel.unary(self._stub.InspectEntry, request, **REPEATABLE)
        return Inspection(
            state=_STATES.get(response.state, EntryState.UNKNOWN),
            miss_reason=_reason(response.miss_reason),
            entry=conversions.hit(response.entry) if response.HasField("entry") else None,
            kind=_KINDS.get(response.kind, EntryKind.UNKNOWN),
            age=response.age.ToTimedelta(),
            value_bytes=response.value_bytes,
            compute_duration=response.compute_duration.ToTimedelta(),
            last_miss_reason=_reason(response.last_miss_reason),
            lease_remaining=(
                response.lease_remaining.ToTimedelta()
                if response.HasField("lease_remaining")
                else None
            ),
            computation_error=response.computation_error,
        )


def _reason(number: pb.MissReason.ValueType) -> MissReason | None:
    return conversions.miss_reason(number) if number else None


def _figures(stats: pb.Stats) -> Figures:
    counts: Counter[MissReason] = Counter()
    for counted in stats.miss_counts:
        counts[conversions.miss_reason(counted.reason)] += counted.count
    return Figures(
        hits=stats.hits,
        stale_hits=stats.stale_hits,
        misses=stats.misses,
        miss_counts=dict(counts),
        hit_rate=stats.hit_rate,
        computations=stats.computations,
        computations_saved=stats.computations_saved,
        time_saved=stats.time_saved.ToTimedelta(),
        fills_refused=stats.fills_refused,
    )


def _class(listed: pb.TtlClass) -> TtlClass:
    return TtlClass(
        name=listed.name,
        ttl=_length(listed.ttl) if listed.HasField("ttl") else None,
        soft_ttl=_length(listed.soft_ttl) if listed.HasField("soft_ttl") else None,
        negative_ttl=_length(listed.negative_ttl) if listed.HasField("negative_ttl") else None,
        jitter=listed.jitter,
        early_refresh=listed.early_refresh,
        near_max_age=_length(listed.near_max_age) if listed.HasField("near_max_age") else None,
        max_bytes=listed.max_bytes or None,
    )


def _length(length: Duration) -> timedelta:
    return length.ToTimedelta()

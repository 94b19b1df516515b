"""Where something waits, and how much of it may start, as PostgreSQL knows it."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from services.jobs.caps import Begun, Budgets, Cap, Rate, rate_of
from services.jobs.dealing import Lane, Opening, Waiting
from services.jobs.function import VersionPolicy
from shared.postgres.pool import Connection
from shared.postgres.queries import load_queries
from shared.rpc.call import ALL_TENANTS

MAX_TENANTS = 500
"""Tenants of a function that one look finds; the next one begins behind the last."""
MAX_LANES = 100
"""Lanes of a tenant and version likewise."""
_ANY = 2**31

_QUERIES = load_queries("services.jobs", "sql/claims.sql")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the declaration that holds for a lane says of its turns; `owner` is whose it is."""

    owner: str
    version_policy: VersionPolicy
    timeout: timedelta | None
    hang_timeout: timedelta | None
    concurrency: int
    key_limit: int

    @property
    def capped(self) -> bool:
        """Return whether jobs that run have to be counted."""
        return self.concurrency > 0 or self.key_limit > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLane:
    """A lane in which something waits.

    Attributes:
        rate: What its starts have to be asked for; None for nothing.
        ready: Jobs in it, where it has a rate.
        begun: Those of them that go on and are first. While there are some, only they are given
            out: a start has to be asked for, they do not.

    """

    waiting: Waiting
    terms: Terms
    rate: Rate | None
    ready: int
    begun: Begun | None = None
    begun_jobs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look found.

    Attributes:
        held: Whether something waits in functions with a cap: each end of a job may let it start.
        behind: Whether it began behind lanes that another look had found.
        full: Whether there may be more tenants than it looked at.
        whole: Whether there is nothing that it did not look at.

    """

    lanes: tuple[FoundLane, ...] = ()
    held: bool = False
    behind: bool = False
    full: bool = False
    whole: bool = True


class LaneFinder:
    """Looks for lanes, and remembers where to go on when there are too many for one look."""

    def __init__(self, *, max_tenants: int = MAX_TENANTS, max_lanes: int = MAX_LANES) -> None:
        self._max_tenants = max_tenants
        self._max_lanes = max_lanes
        # By function the last tenant, and by function and tenant the last key, that was looked at.
        self._tenants: dict[str, str] = {}
        self._keys: dict[tuple[str, str], str] = {}

    async def find(self, connection: Connection, openings: Sequence[Opening], limit: int) -> Look:
        """Return where something waits that the openings could do, up to `limit` jobs of each."""
        if not openings:
            return Look()
        pairs = {
            (function, opening.tenant) for opening in openings for function in opening.functions
        }
        one = [pair for pair in pairs if pair[1] != ALL_TENANTS]
        every = [function for function, tenant in pairs if tenant == ALL_TENANTS]
        served = _served(openings)
        began, self._keys = self._keys, {}
        rows = await connection.fetch(
            _QUERIES["find_lanes"],
            [function for function, _ in one],
            [tenant for _, tenant in one],
            every,
            [self._tenants.pop(function, "") for function in every],
            self._max_tenants,
            [version for version, _ in served],
            [function for _, function in served],
            self._max_lanes,
            [function for function, _ in began],
            [tenant for _, tenant in began],
            list(began.values()),
            limit,
        )
        full = self._remember(rows)
        # A pair of function and tenant may be found in both ways.
        lanes = {lane.waiting.lane: lane for lane in _lanes(rows)}
        return Look(
            lanes=tuple(lanes.values()),
            held=any(row["concurrency"] or row["key_limit"] for row in rows),
            behind=bool(began),
            full=full,
            whole=not (full or began or self._keys),
        )

    def _remember(self, rows: Iterable[Row]) -> bool:
        """Note where the next look has to begin; returns whether there may be more tenants."""
        full = {
            row["function"]: row["tenant"] for row in rows if row["number"] == self._max_tenants
        }
        self._tenants |= full
        found = Counter((row["function"], row["tenant"], row["version"]) for row in rows)
        last: dict[tuple[str, str, str], str] = {}
        for row in rows:
            queue = row["function"], row["tenant"], row["version"]
            if found[queue] >= self._max_lanes and row["key"] is not None:
                last[queue] = max(last.get(queue, ""), row["key"])
        for (function, tenant, _), key in last.items():
            # Of its versions the one that came least far, or keys of that one would be left out.
            self._keys[function, tenant] = min(self._keys.get((function, tenant), key), key)
        return bool(full)


def _served(openings: Sequence[Opening]) -> list[tuple[str, str]]:
    """Return the versions that workers have, with the function; every worker can do any."""
    served = {("", function) for opening in openings for function in opening.functions}
    for opening in openings:
        served |= {(version, function) for function, version in opening.versions.items()}
    return sorted(served)


def _lanes(rows: Iterable[Row]) -> Iterable[FoundLane]:
    return (_lane(row) for row in rows if row["key"] is not None)


def _lane(row: Row) -> FoundLane:
    function, tenant, key = row["function"], row["tenant"], row["key"]
    terms = Terms(
        owner=row["owner"] or ALL_TENANTS,
        version_policy=VersionPolicy(row["version_policy"] or VersionPolicy.CONTINUE),
        timeout=row["timeout"],
        hang_timeout=row["hang_timeout"],
        concurrency=row["concurrency"],
        key_limit=row["key_limit"],
    )
    rate = None
    if row["rate_endpoint"]:
        rate = rate_of(row["rate_endpoint"], row["rate_subject"], tenant=tenant, key=key)
    lane = Lane(function, tenant, row["version"], key)
    begun = Begun(function, tenant, row["version"], key) if row["begun"] else None
    budgets = [
        *([Cap(terms.owner, function)] if terms.concurrency else ()),
        *([Cap(tenant, function, key)] if terms.key_limit else ()),
        *([begun] if begun else [rate] if rate else ()),
    ]
    return FoundLane(
        waiting=Waiting(lane=lane, rank=row["rank"], budgets=tuple(budgets)),
        terms=terms,
        rate=rate,
        ready=row["ready"] or 0,
        begun=begun,
        begun_jobs=row["begun"] or 0,
    )


async def count_caps(connection: Connection, lanes: Collection[FoundLane]) -> Budgets:
    """Return how many more jobs the caps of lanes allow; until the commit nobody else starts any.

    The functions stay locked, so that replicas that claim for the same one take turns.
    """
    capped = [lane for lane in lanes if lane.terms.capped]
    if not capped:
        return {}
    # In one order, so that replicas wait for each other instead of deadlocking.
    owners = sorted({(lane.terms.owner, lane.waiting.lane.function) for lane in capped})
    declared = await connection.fetch(
        _QUERIES["lock_caps"], [owner for owner, _ in owners], [name for _, name in owners]
    )
    limits = {(row["tenant"], row["name"]): row for row in declared}
    by_key = [lane for lane in capped if lane.terms.key_limit]
    counted = await connection.fetch(
        _QUERIES["count_capped"],
        sorted({function for _, function in owners}),
        *_columns({lane.waiting.lane for lane in by_key}),
    )
    running = {Cap(row["tenant"], row["function"], row["key"]): row["running"] for row in counted}
    budgets: Budgets = {}
    for lane in capped:
        limit = limits.get((lane.terms.owner, lane.waiting.lane.function))
        for cap in lane.waiting.budgets:
            if isinstance(cap, Cap):
                budgets[cap] = _allowed(limit, cap) - running.get(cap, 0)
    return budgets


def _allowed(limit: Row | None, cap: Cap) -> int:
    if limit is None:
        # Removed since it was found: the next look finds what holds then.
        return 0
    return limit["concurrency" if cap.key is None else "key_limit"] or _ANY


def _columns(lanes: Collection[Lane]) -> tuple[list[str], list[str], list[str]]:
    keys = sorted({(lane.function, lane.tenant, lane.key) for lane in lanes})
    return [key[0] for key in keys], [key[1] for key in keys], [key[2] for key in keys]

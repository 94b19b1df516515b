"""Claims in PostgreSQL: jobs into workers' hands."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from services.jobs import endings
from services.jobs.allotting import Places, allot
from services.jobs.caps import Budgets, Rate
from services.jobs.claim_rows import Row, assignment_from, changed_version, version_changed
from services.jobs.dealing import Allotment, Lane, Opening, startable
from services.jobs.endings import Ending
from services.jobs.function import VersionPolicy
from services.jobs.job import Assignment, JobId, SessionId
from services.jobs.ports import Claimed
from services.jobs.postgres_lanes import FoundLane, LaneFinder, Look, count_caps
from services.jobs.postgres_turns import close_leases, find_undoable, lock_leases
from services.jobs.reports import STEP_OVERHEAD, WAIT_OVERHEAD
from shared.postgres.pool import Connection, Postgres
from shared.postgres.queries import load_queries
from shared.rpc.call import ALL_TENANTS

MAX_PROMOTED = 1_000
MAX_BYTES = 16 * 1024 * 1024
"""Payloads that one claim takes; what is beyond waits for the next."""
TIMEOUT_GRACE = timedelta(seconds=5)
"""How much longer than its timeout a turn may take: the worker itself ends it at the timeout."""

_QUERIES = load_queries("services.jobs", "sql/claims.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What is to be claimed: places in lanes, out of what a look has found."""

    look: Look
    lanes: Mapping[Lane, FoundLane]
    allotments: Sequence[Allotment]
    waiting: Sequence[Lane]
    wanting: Mapping[Rate, int]


class PostgresClaims:
    """Implements ClaimStore."""

    def __init__(self, postgres: Postgres, finder: LaneFinder | None = None) -> None:
        self._postgres = postgres
        self._finder = finder or LaneFinder()

    async def claim(
        self,
        openings: Sequence[Opening],
        *,
        limit: int,
        places: Places,
        permits: Mapping[Rate, int],
        promote: bool,
    ) -> Claimed:
        """Assign ready jobs to openings.

        Not repeated after an error: what an unanswered commit has assigned would be assigned
        twice. Such jobs come back at the workers' next heartbeats.
        """
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            promoted, next_due = await _promote(connection) if promote else (0, None)
            look = await self._finder.find(connection, openings, limit)
            plan = await _plan(connection, openings, look, limit, places, permits)
            rows = await _assign(connection, plan)
            ended = await _end_changed(connection, rows, plan)
            gone = await _gone(connection, openings, plan.allotments, rows)
        served = _served(plan.allotments, rows)
        more = bool(gone) or _more(plan, rows)
        return Claimed(
            assignments=_assignments(plan, rows, ended),
            endings=ended,
            gone=gone,
            more=more,
            promoted=promoted,
            next_due=next_due,
            served=served,
            waiting=plan.waiting,
            spent=_spent(plan, served),
            wanting=plan.wanting,
            held=look.held,
            exhausted=look.whole and not (more or look.held or plan.wanting),
        )


async def _promote(connection: Connection) -> tuple[int, float | None]:
    promoted = await connection.fetchval(_QUERIES["promote_due"], MAX_PROMOTED)
    next_due = await connection.fetchval(_QUERIES["next_due"])
    return promoted, next_due


async def _plan(
    connection: Connection,
    openings: Sequence[Opening],
    look: Look,
    limit: int,
    places: Places,
    permits: Mapping[Rate, int],
) -> _Plan:
    lanes = {found.waiting.lane: found for found in look.lanes}
    permitted = [
        found
        for found in look.lanes
        if found.rate is None or found.begun is not None or permits.get(found.rate, 0)
    ]
    budgets: Budgets = {
        **await count_caps(connection, permitted),
        **dict(permits.items()),
        **{found.begun: found.begun_jobs for found in permitted if found.begun is not None},
    }
    able = startable(openings, [found.waiting for found in permitted], budgets)
    return _Plan(
        look=look,
        lanes=lanes,
        allotments=allot(openings, able, limit=limit, places=places, budgets=budgets),
        waiting=[each.lane for each in able],
        wanting=_wanting(openings, look.lanes, permits),
    )


def _wanting(
    openings: Sequence[Opening], lanes: Sequence[FoundLane], permits: Mapping[Rate, int]
) -> dict[Rate, int]:
    """Return how many starts there could be beyond those that are permitted."""
    wanting: Counter[Rate] = Counter()
    for found in lanes:
        if found.rate is not None:
            lane, terms = found.waiting.lane, found.terms
            room = sum(opening.room for opening in openings if opening.serves(lane))
            starting = found.ready - found.begun_jobs
            wanting[found.rate] += min(
                starting, room, terms.concurrency or room, terms.key_limit or room
            )
    return {
        rate: jobs - permits.get(rate, 0)
        for rate, jobs in wanting.items()
        if jobs > permits.get(rate, 0)
    }


async def _assign(connection: Connection, plan: _Plan) -> list[Row]:
    if not plan.allotments:
        return []
    lanes = [(each, plan.lanes[each.lane].terms) for each in plan.allotments]
    seats = {
        (opening.session_id, allotment.lane.function): opening
        for allotment in plan.allotments
        for opening in allotment.places
    }
    numbers = {seat: number for number, seat in enumerate(seats, 1)}
    taken = [
        numbers[opening.session_id, allotment.lane.function]
        for allotment in plan.allotments
        for opening in allotment.places
    ]
    rows: list[Row] = await connection.fetch(
        _QUERIES["assign"],
        [allotment.lane.function for allotment in plan.allotments],
        [allotment.lane.tenant for allotment in plan.allotments],
        [allotment.lane.version for allotment in plan.allotments],
        [allotment.lane.key for allotment in plan.allotments],
        [len(allotment.places) for allotment in plan.allotments],
        [terms.capped for _, terms in lanes],
        [terms.timeout for _, terms in lanes],
        [terms.hang_timeout for _, terms in lanes],
        [terms.version_policy is VersionPolicy.PIN for _, terms in lanes],
        taken,
        [opening.session_id for opening in seats.values()],
        [opening.stream for opening in seats.values()],
        [opening.versions.get(function, "") for (_, function), opening in seats.items()],
        MAX_BYTES,
        STEP_OVERHEAD,
        TIMEOUT_GRACE,
        WAIT_OVERHEAD,
    )
    return rows


async def _end_changed(
    connection: Connection, rows: Sequence[Row], plan: _Plan
) -> tuple[Ending, ...]:
    """End what must not go on with other code than it began with, as if the worker had said so."""
    changed: dict[SessionId, dict[JobId, Row]] = defaultdict(dict)
    for row in rows:
        if version_changed(row):
            lane = plan.allotments[row["number"] - 1].lane
            if plan.lanes[lane].terms.version_policy is VersionPolicy.FAIL:
                changed[row["session_id"]][row["job_id"]] = row
    ended: list[Ending] = []
    for session_id, jobs in changed.items():
        leases = await lock_leases(connection, session_id, list(jobs))
        undoable = await find_undoable(connection, list(jobs))
        for lease in leases:
            failure = changed_version(jobs[lease.job_id])
            ended.append(
                endings.failed(
                    lease,
                    failure,
                    asked_wait=None,
                    random=0.0,
                    undoable=lease.job_id in undoable,
                )
            )
    if ended:
        await close_leases(connection, ended)
    return tuple(ended)


async def _gone(
    connection: Connection,
    openings: Sequence[Opening],
    allotments: Sequence[Allotment],
    rows: Sequence[Row],
) -> frozenset[SessionId]:
    """Return the sessions that got nothing because they are gone."""
    if rows:
        return frozenset(rows[0]["gone"] or ())
    if not allotments:
        return frozenset()
    # Somebody else was faster, or nobody is there for whom the jobs were.
    found = await connection.fetch(
        _QUERIES["find_gone"],
        [opening.session_id for opening in openings],
        [opening.stream for opening in openings],
    )
    return frozenset(row["session_id"] for row in found)


def _assignments(
    plan: _Plan, rows: Sequence[Row], ended: Sequence[Ending]
) -> tuple[Assignment, ...]:
    over = {ending.lease.job_id for ending in ended}
    terms = [plan.lanes[allotment.lane].terms for allotment in plan.allotments]
    return tuple(
        assignment_from(
            row, terms[row["number"] - 1].timeout, terms[row["number"] - 1].hang_timeout
        )
        for row in rows
        if row["job_id"] not in over
    )


def _more(plan: _Plan, rows: Sequence[Row]) -> bool:
    """Return whether another claim may find more.

    A lane that filled all its places may hold more, unless that was all it is allowed.
    """
    found = Counter(row["number"] for row in rows)
    filled = any(
        not allotment.limited and found[number] == len(allotment.places)
        for number, allotment in enumerate(plan.allotments, 1)
    )
    cut = bool(rows) and rows[0]["cut"]
    # Where jobs went on, those that start come next.
    begun = any(plan.lanes[plan.allotments[number - 1].lane].begun for number in found)
    return filled or cut or begun or plan.look.behind or (plan.look.full and bool(rows))


def _served(allotments: Sequence[Allotment], rows: Sequence[Row]) -> dict[Lane, int]:
    found = Counter(row["number"] for row in rows)
    return {allotments[number - 1].lane: jobs for number, jobs in found.items()}


def _spent(plan: _Plan, served: Mapping[Lane, int]) -> dict[Rate, int]:
    spent: Counter[Rate] = Counter()
    for lane, jobs in served.items():
        found = plan.lanes[lane]
        if found.rate is not None and found.begun is None:
            spent[found.rate] += jobs
    return dict(spent)

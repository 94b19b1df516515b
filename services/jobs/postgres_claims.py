"""Claims and rescues in PostgreSQL: jobs into workers' hands, and out of those of dead ones."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.jobs import endings
from services.jobs.dealing import Allotment, Lane, Opening, allot
from services.jobs.job import Assignment, JobId
from services.jobs.ports import Claimed, Rescued
from services.jobs.postgres_rows import assignment_from, interval_of, lanes_from
from services.jobs.postgres_turns import close_leases, lock_leases
from services.jobs.reports import STEP_OVERHEAD
from shared.postgres.pool import Connection, Postgres
from shared.rpc.call import ALL_TENANTS

MAX_LANES = 1_000
MAX_PROMOTED = 1_000
_NO_TIME = interval_of(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A locked row of the queue, the number of its lane, and where its job goes."""

    queue_id: int
    job_id: JobId
    lane: int
    opening: Opening


class PostgresClaims:
    """Implements ClaimStore and RescueStore."""

    def __init__(
        self, postgres: Postgres, queries: Mapping[str, str], *, max_lanes: int = MAX_LANES
    ) -> None:
        self._postgres = postgres
        self._queries = queries
        self._max_lanes = max_lanes
        # By function: the last tenant that was looked at, where there were too many for one look.
        self._looked_at: dict[str, str] = {}

    async def claim(
        self, openings: Sequence[Opening], *, limit: int, turn: int, promote: bool
    ) -> Claimed:
        """Assign ready jobs to openings.

        Not repeated after an error: what an unanswered commit has assigned would be assigned
        twice. Such jobs come back at the workers' next heartbeats.
        """
        async with self._postgres.transaction(ALL_TENANTS) as connection:
            promoted, next_due = await self._promote(connection) if promote else (0, None)
            lanes = await self._find_lanes(connection, openings)
            allotments = allot(openings, lanes, limit=limit, turn=turn)
            places = await self._lock_ready(connection, allotments)
            assignments = await self._assign(connection, openings, places)
        served = {assignment.session_id for assignment in assignments}
        gone = frozenset(place.opening.session_id for place in places) - served
        return Claimed(
            assignments=tuple(assignments),
            gone=gone,
            # A lane that filled all its places may hold more; the others are empty for now.
            more=bool(gone) or _any_filled(allotments, places),
            promoted=promoted,
            next_due=next_due,
        )

    async def _promote(self, connection: Connection) -> tuple[int, float | None]:
        promoted = await connection.fetchval(self._queries["promote_due"], MAX_PROMOTED)
        next_due = await connection.fetchval(self._queries["next_due"])
        return promoted, next_due

    async def _find_lanes(self, connection: Connection, openings: Sequence[Opening]) -> list[Lane]:
        if not openings:
            return []
        pairs = {
            (function, opening.tenant) for opening in openings for function in opening.functions
        }
        one = [pair for pair in pairs if pair[1] != ALL_TENANTS]
        every = [function for function, tenant in pairs if tenant == ALL_TENANTS]
        rows = await connection.fetch(
            self._queries["find_lanes"],
            [function for function, _ in one],
            [tenant for _, tenant in one],
            every,
            [self._looked_at.pop(function, "") for function in every],
            self._max_lanes,
        )
        # Too many for one look: the next one begins behind the last.
        self._looked_at |= {
            row["function"]: row["tenant"] for row in rows if row["number"] == self._max_lanes
        }
        return lanes_from(rows)

    async def _lock_ready(
        self, connection: Connection, allotments: Sequence[Allotment]
    ) -> list[_Place]:
        if not allotments:
            return []
        rows = await connection.fetch(
            self._queries["lock_ready"],
            [allotment.lane.function for allotment in allotments],
            [allotment.lane.tenant for allotment in allotments],
            [len(allotment.places) for allotment in allotments],
        )
        places = [iter(allotment.places) for allotment in allotments]
        return [
            _Place(
                queue_id=row["id"],
                job_id=row["job_id"],
                lane=row["number"] - 1,
                opening=next(places[row["number"] - 1]),
            )
            for row in rows
        ]

    async def _assign(
        self, connection: Connection, openings: Sequence[Opening], places: Sequence[_Place]
    ) -> list[Assignment]:
        if not places:
            return []
        rows = await connection.fetch(
            self._queries["assign"],
            [place.queue_id for place in places],
            [place.job_id for place in places],
            [place.opening.session_id for place in places],
            [opening.session_id for opening in openings],
            [opening.stream for opening in openings],
            STEP_OVERHEAD,
        )
        return [assignment_from(row) for row in rows]

    async def rescue(self, *, max_crashes: int, limit: int) -> Rescued:
        """End sessions whose lease is over and put their jobs back."""

        async def work(connection: Connection) -> Rescued:
            rows = await connection.fetch(self._queries["lock_expired_sessions"], limit)
            expired = [row["session_id"] for row in rows]
            ended = []
            for session_id in expired:
                # Read after the session is locked: a claim for it that was just committed counts.
                held = await connection.fetch(self._queries["held_leases"], session_id, _NO_TIME)
                job_ids = [row["job_id"] for row in held]
                leases = await lock_leases(connection, self._queries, session_id, job_ids)
                ended += [endings.lost(lease, max_crashes=max_crashes) for lease in leases]
            await close_leases(connection, self._queries, ended)
            if expired:
                await connection.execute(self._queries["delete_sessions"], expired)
            next_expiry = await connection.fetchval(self._queries["next_expiry"])
            return Rescued(sessions=len(expired), endings=tuple(ended), next_expiry=next_expiry)

        return await self._postgres.run(ALL_TENANTS, work)


def _any_filled(allotments: Sequence[Allotment], places: Sequence[_Place]) -> bool:
    found = Counter(place.lane for place in places)
    return any(
        found[number] == len(allotment.places) for number, allotment in enumerate(allotments)
    )

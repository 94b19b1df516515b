"""Rescues in PostgreSQL: jobs out of the hands of workers that are gone."""

from services.jobs import endings
from services.jobs.endings import Ending
from services.jobs.job import SessionId
from services.jobs.ports import Rescued
from services.jobs.postgres_turns import close_leases, find_undoable, lock_leases
from services.jobs.settlement import Random
from shared.postgres.pool import Connection, Postgres
from shared.postgres.queries import load_queries
from shared.rpc.call import ALL_TENANTS

_QUERIES = load_queries("services.jobs", "sql/rescue.sql")


class PostgresRescue:
    """Implements RescueStore; `random` keeps jobs apart that have lost workers together."""

    def __init__(self, postgres: Postgres, random: Random) -> None:
        self._postgres = postgres
        self._random = random

    async def rescue(self, *, max_crashes: int, limit: int) -> Rescued:
        """End sessions whose lease is over and put their jobs back."""

        async def work(connection: Connection) -> Rescued:
            rows = await connection.fetch(_QUERIES["lock_expired_sessions"], limit)
            expired = [row["session_id"] for row in rows]
            ended = []
            for session_id in expired:
                ended += await self._lose(connection, session_id, max_crashes)
            await close_leases(connection, ended)
            if expired:
                await connection.execute(_QUERIES["delete_sessions"], expired)
            next_expiry = await connection.fetchval(_QUERIES["next_expiry"])
            return Rescued(sessions=len(expired), endings=tuple(ended), next_expiry=next_expiry)

        return await self._postgres.run(ALL_TENANTS, work)

    async def _lose(
        self, connection: Connection, session_id: SessionId, max_crashes: int
    ) -> list[Ending]:
        # Read after the session is locked: a claim for it that was just committed counts.
        held = await connection.fetch(_QUERIES["leases_of_session"], session_id)
        leases = await lock_leases(connection, session_id, [row["job_id"] for row in held])
        undoable = await find_undoable(connection, [lease.job_id for lease in leases])
        return [
            endings.lost(
                lease,
                max_crashes=max_crashes,
                random=self._random(),
                undoable=lease.job_id in undoable,
            )
            for lease in leases
        ]

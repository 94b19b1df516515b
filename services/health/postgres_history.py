"""Reads how targets were from PostgreSQL."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.health import uptime
from services.health.database import Database
from services.health.history import DAYS_KEPT, History, Incident
from services.health.postgres_records import incident_of
from services.health.prober import utc_now
from services.health.uptime import Slice, Sums
from shared.pages import forged
from shared.postgres.pool import Connection
from shared.postgres.queries import load_queries

_QUERIES = load_queries("services.health", "sql/history.sql")
_END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)
_FIRST_PLACE = (_END_OF_TIME, UUID(int=0))


class PostgresHistory:
    """The `HistoryStore` of production: what all observers wrote, averaged."""

    def __init__(self, database: Database, wall: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._wall = wall

    async def history(self, target: str) -> History:
        return (await self.histories([target]))[target]

    async def histories(self, targets: Collection[str]) -> Mapping[str, History]:
        """Return the histories of targets, in one transaction; raises DatabaseError.

        A query for each: the same work, but none that takes long.
        """
        now = self._wall()

        async def work(connection: Connection) -> Mapping[str, History]:
            return {target: await _history(connection, target, now) for target in targets}

        return await self._database.run(work)

    async def incidents(
        self, target: str, *, limit: int, before: tuple[str, ...] | None = None
    ) -> Sequence[Incident]:
        """Return a page of incidents; raises ValidationError for a cursor that is none."""
        place = _FIRST_PLACE if before is None else _place(before)
        oldest = self._wall() - timedelta(days=DAYS_KEPT)

        async def work(connection: Connection) -> Sequence[Incident]:
            rows = await connection.fetch(_QUERIES["list_incidents"], target, oldest, *place, limit)
            return [incident_of(row) for row in rows]

        return await self._database.run(work)

    async def newest_incidents(self, targets: Collection[str], limit: int) -> Sequence[Incident]:
        """Return the newest incidents of targets; raises DatabaseError."""

        async def work(connection: Connection) -> Sequence[Incident]:
            rows = await connection.fetch(_QUERIES["newest_incidents"], [*targets], limit)
            return [incident_of(row) for row in rows]

        return await self._database.run(work)


async def _history(connection: Connection, target: str, now: datetime) -> History:
    minutes = await _slices(connection, "sum_minutes", target, uptime.minute_cutoffs(now))
    hours = await _slices(connection, "sum_hours", target, uptime.hour_cutoffs(now))
    return uptime.history(target, minutes, hours, now)


async def _slices(
    connection: Connection, query: str, target: str, cutoffs: Sequence[datetime]
) -> Sequence[Slice]:
    rows = await connection.fetch(_QUERIES[query], target, cutoffs)
    return [
        Slice(
            start_time=start_time,
            sums=Sums(
                healthy=healthy, degraded=degraded, unhealthy=unhealthy, maintenance=maintenance
            ),
        )
        for start_time, healthy, degraded, unhealthy, maintenance in rows
    ]


def _place(before: tuple[str, ...]) -> tuple[datetime, UUID]:
    try:
        start_time, incident_id = before
        place = (datetime.fromisoformat(start_time), UUID(incident_id))
    except ValueError:
        raise forged() from None
    if place[0].tzinfo is None:
        raise forged()
    return place

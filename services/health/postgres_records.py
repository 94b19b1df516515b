"""Writes what an observer saw to PostgreSQL: minutes, hours and incidents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from services.health.database import LONGEST_RUN, Database
from services.health.history import Incident
from services.health.incidents import StoredIncident, merge
from services.health.minutes import Cell, Held, Tally
from services.health.state import State
from shared.postgres.pool import Connection
from shared.postgres.queries import load_queries

_QUERIES = load_queries("services.health", "sql/records.sql")
_MS = 1000.0
_LONGEST_TEXT = 500
_NOTHING = Held(State.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Minutes that are written together, and the id that keeps them from being added twice."""

    batch_id: UUID
    rows: Sequence[tuple[Cell, Tally]]


class PostgresRecords:
    """The `Records` of production, for one observer."""

    def __init__(self, database: Database, observer: str) -> None:
        self._database = database
        self._observer = observer

    async def write(
        self,
        batch: Batch | None,
        incidents: Sequence[Incident],
        well: Mapping[str, datetime],
        *,
        within: float = LONGEST_RUN,
    ) -> None:
        async def work(connection: Connection) -> None:
            if batch is not None:
                await connection.execute(
                    _QUERIES["add_minutes"], batch.batch_id, self._observer, *_columns(batch.rows)
                )
            if incidents:
                await connection.execute(_QUERIES["lock_incidents"])
            for incident in incidents:
                await self._note(connection, incident)
            await connection.execute(
                _QUERIES["end_incidents"], self._observer, [*well], [*well.values()]
            )

        await self._database.run(work, within=within)

    async def _note(self, connection: Connection, seen: Incident) -> None:
        row = await connection.fetchrow(
            _QUERIES["find_incident"], seen.target, seen.start_time, seen.end_time
        )
        if row is None:
            await connection.execute(
                _QUERIES["insert_incident"],
                seen.incident_id,
                seen.target,
                self._observer,
                seen.worst_state.value,
                seen.start_time,
                seen.end_time,
                seen.because,
                _storable(seen.message),
                _storable(seen.request_id),
            )
            return
        known = StoredIncident(
            incident=incident_of(row), observer=row["observer"], watched=row["watched"]
        )
        merged = merge(known, seen, self._observer)
        if merged.incident != known.incident or merged.observer != known.observer:
            await _update(connection, merged)


async def _update(connection: Connection, stored: StoredIncident) -> None:
    incident = stored.incident
    await connection.execute(
        _QUERIES["update_incident"],
        incident.incident_id,
        stored.observer,
        incident.worst_state.value,
        incident.start_time,
        incident.end_time,
        incident.because,
        _storable(incident.message),
        _storable(incident.request_id),
    )


def incident_of(row: asyncpg.Record) -> Incident:
    """Return an incident from its row."""
    return Incident(
        incident_id=str(row["incident_id"]),
        target=row["target"],
        worst_state=State(row["worst_state"]),
        start_time=row["start_time"],
        end_time=row["end_time"],
        because=tuple(row["because"]),
        message=row["message"],
        request_id=row["request_id"],
    )


def _columns(rows: Sequence[tuple[Cell, Tally]]) -> list[list[Any]]:
    """Return the rows as the arrays that the statement takes."""
    worst = [tally.worst or _NOTHING for _, tally in rows]
    return [
        [cell.target for cell, _ in rows],
        [cell.minute for cell, _ in rows],
        [tally.probes for _, tally in rows],
        [tally.failures for _, tally in rows],
        [tally.latency_sum * _MS for _, tally in rows],
        [tally.latency_max * _MS for _, tally in rows],
        *(
            [tally.seconds.get(state, 0.0) for _, tally in rows]
            for state in (
                State.HEALTHY,
                State.DEGRADED,
                State.UNHEALTHY,
                State.UNKNOWN,
                State.MAINTENANCE,
            )
        ),
        [held.state.value for held in worst],
        [_storable(held.message) for held in worst],
        [_storable(held.request_id) for held in worst],
    ]


def _storable(text: str) -> str:
    """Return a text as PostgreSQL takes it: no text there has NUL, and none is endless."""
    return text.replace("\0", "")[:_LONGEST_TEXT]

"""What is out of service on purpose, in PostgreSQL."""

import asyncpg

from services.health.database import Database
from services.health.maintenance import Maintenance, Maintenances, Mode
from shared.postgres.pool import Connection
from shared.postgres.queries import load_queries

_QUERIES = load_queries("services.health", "sql/maintenance.sql")


class PostgresMaintenance:
    """The `MaintenanceStore` of production."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> Maintenances:
        async def work(connection: Connection) -> Maintenances:
            rows = await connection.fetch(_QUERIES["load_maintenances"])
            return {row["target"]: _maintenance(row) for row in rows}

        return await self._database.run(work)

    async def put(self, maintenance: Maintenance) -> None:
        async def work(connection: Connection) -> None:
            await connection.execute(
                _QUERIES["put_maintenance"],
                maintenance.target,
                maintenance.mode.value,
                maintenance.start_time,
                maintenance.end_time,
                maintenance.reason,
            )

        await self._database.run(work)

    async def delete(self, target: str) -> None:
        async def work(connection: Connection) -> None:
            await connection.execute(_QUERIES["delete_maintenance"], target)

        await self._database.run(work)


def _maintenance(row: asyncpg.Record) -> Maintenance:
    return Maintenance(
        target=row["target"],
        mode=Mode(row["mode"]),
        start_time=row["start_time"],
        end_time=row["end_time"],
        reason=row["reason"],
    )

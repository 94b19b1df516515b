"""Contracts of events that were put by calls, in PostgreSQL."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.jobs.schema_book import StoredSchema, Version, WantedSchema
from shared.postgres.pool import Connection, Postgres
from shared.postgres.queries import load_queries
from shared.rpc.call import Tenant

_QUERIES = load_queries("services.jobs", "sql/schemas.sql")
_UNKNOWN = -1


class PostgresSchemas:
    """Implements SchemaStore."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def insert(self, tenant: Tenant, schema: StoredSchema) -> str:
        """Store a version unless it is there, and return the one that is."""

        async def work(connection: Connection) -> str:
            key = tenant, schema.name, schema.version
            await connection.execute(_QUERIES["insert_schema"], *key, schema.text)
            row = await connection.fetchrow(
                _QUERIES["find_schemas"], tenant, [schema.name], [schema.version], [_UNKNOWN]
            )
            text: str = row["schema"]
            return text

        return await self._postgres.run(tenant, work)

    async def find(
        self, tenant: Tenant, wanted: Sequence[WantedSchema]
    ) -> dict[Version, StoredSchema]:
        """Return those versions that there are, by what was wanted; the newest for version 0."""
        async with self._postgres.transaction(tenant) as connection:
            rows = await connection.fetch(
                _QUERIES["find_schemas"],
                tenant,
                [each.name for each in wanted],
                [each.version for each in wanted],
                [each.known or _UNKNOWN for each in wanted],
            )
        return {(row["name"], row["wanted"]): _schema(row) for row in rows}

    async def list(
        self, tenant: Tenant, name: str, after: tuple[str, int], limit: int
    ) -> list[StoredSchema]:
        """Return contracts by name and version, after one of them; of one event, or of all."""
        async with self._postgres.transaction(tenant) as connection:
            rows = await connection.fetch(_QUERIES["list_schemas"], tenant, name, *after, limit)
        return [_schema(row) for row in rows]

    async def names(self, tenant: Tenant, limit: int) -> Sequence[str]:
        """Return the names of events that have a contract."""
        async with self._postgres.transaction(tenant) as connection:
            rows = await connection.fetch(_QUERIES["list_schema_names"], tenant, limit)
        return [row["name"] for row in rows]


def _schema(row: Mapping[str, Any]) -> StoredSchema:
    return StoredSchema(name=row["name"], version=row["version"], text=row["schema"])

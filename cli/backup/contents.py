"""What of Mainstay is in a database: schemas, tables, rows, the ledger, and who is connected."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from cli.backup.errors import BackupError
from cli.backup.script import LEDGER
from cli.backup.target import APPLICATION, Target
from shared.postgres.errors import translate_connecting

SCHEMAS = ("cache", "health", "identity", "jobs", "ratelimit", "telemetry")
SERVICES_CALL_THEMSELVES = (
    "mainstay",
    "mainstay telemetry",
    "mainstay identity",
    "mainstay-health",
)
_CONNECT_TIMEOUT = 5.0
_SESSION = {
    "application_name": APPLICATION,
    "mainstay.tenant": "*",
    # Somebody's settings for all sessions are not meant for one that reads everything.
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}

# Leaves only: a partitioned table has no rows of its own.
_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) AS name,
    pg_has_role(c.relowner, 'USAGE') AS owned,
    coalesce(pg_partition_root(c.oid)::regclass::text, format('%I.%I', n.nspname, c.relname))
        AS whole
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r'
    AND (n.nspname = ANY ($1) OR c.oid = to_regclass($2))
ORDER BY 1
"""
_OTHERS = """
SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.oid = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass($1))
    AND c.oid <> to_regclass($1)
    AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with rows: a whole one, or a partition of one."""

    name: str
    whole: str
    owned: bool


@asynccontextmanager
async def connected(target: Target) -> AsyncIterator[asyncpg.Connection]:
    """Connect for as long as the block takes, to see the rows of all tenants."""
    try:
        connection = await asyncpg.connect(
            target.url, timeout=_CONNECT_TIMEOUT, server_settings=_SESSION
        )
    except Exception as error:
        raise translate_connecting(error) or error from error
    try:
        yield connection
    finally:
        await connection.close()


async def server_version(connection: asyncpg.Connection) -> int:
    """Return the major version of the server."""
    return int(await connection.fetchval("SHOW server_version_num")) // 10_000


async def present_schemas(connection: asyncpg.Connection) -> list[str]:
    """Return which of Mainstay's schemas there are."""
    rows = await connection.fetch(
        "SELECT nspname FROM pg_namespace WHERE nspname = ANY ($1) ORDER BY 1", list(SCHEMAS)
    )
    return [row["nspname"] for row in rows]


async def ledger_schema(connection: asyncpg.Connection) -> str | None:
    """Return the schema of the ledger of migrations; None without one."""
    schema: str | None = await connection.fetchval(
        "SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass($1)", LEDGER
    )
    return schema


async def tables(connection: asyncpg.Connection) -> Sequence[Table]:
    """Return the tables that have Mainstay's rows, the ledger among them."""
    rows = await connection.fetch(_TABLES, list(SCHEMAS), LEDGER)
    return [Table(name=row["name"], whole=row["whole"], owned=row["owned"]) for row in rows]


async def others(connection: asyncpg.Connection) -> Sequence[str]:
    """Return what else there is in the schema of the ledger, which is not ours to read."""
    return [row[0] for row in await connection.fetch(_OTHERS, LEDGER)]


async def count_rows(connection: asyncpg.Connection, names: Sequence[Table]) -> Mapping[str, int]:
    """Return how many rows each table has."""
    return {
        table.name: await connection.fetchval(f"SELECT count(*) FROM ONLY {table.name}")  # noqa: S608
        for table in names
    }


async def own_role(connection: asyncpg.Connection) -> str:
    """Return who is connected."""
    return str(await connection.fetchval("SELECT current_user"))


async def check_everything_is_seen(connection: asyncpg.Connection, found: Sequence[Table]) -> None:
    """Raise BackupError where row-level security would hide rows: partitions have no policies."""
    unbound = await connection.fetchval(
        "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
    )
    foreign = [table.name for table in found if not table.owned]
    if foreign and not unbound:
        raise BackupError(
            f"the role {await own_role(connection)} owns not all tables "
            f"({foreign[0]} is another's) and would not see all rows; connect as the role that "
            "migrates, or as one with BYPASSRLS"
        )


async def connected_services(connection: asyncpg.Connection) -> int:
    """Return how many connections services have to this database, as far as this role sees."""
    count: int = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = ANY ($1)",
        [*SERVICES_CALL_THEMSELVES],
    )
    return count

"""Restoring a backup: in one transaction, which counts before it commits."""

import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from cli.backup import contents
from cli.backup.errors import BackupError, RefusedError
from cli.backup.programs import Programs, Running
from cli.backup.saving import Progress, summed
from cli.backup.script import LEDGER, PassingScript, has_ledger, wanted
from cli.backup.target import Target
from cli.paths import shown
from shared.postgres.migrations import LOCK_KEY


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was restored: the rows of each table, partitions added up."""

    rows: Mapping[str, int]
    seconds: float


async def restore(
    url: str, file: Path, *, replace: bool, programs_in: Path | None, progress: Progress
) -> Restored:
    """Put a backup into a database; it is all there afterwards, or nothing has changed.

    Raises BackupError, and RefusedError where something would be lost that `replace` does not
    give up.
    """
    begun = time.monotonic()
    target = Target.of(url)
    async with contents.connected(target) as connection:
        server = await contents.server_version(connection)
        programs = await Programs.find(server=server, given=programs_in)
        entries = await _entries(programs, file, await contents.own_role(connection))
        await _check_nobody_is_there(connection)
        dropped = await _to_drop(connection, replace=replace)
        async with _transaction(programs, target) as psql:
            await psql.write(_beginning(dropped))
            rows = await _copy(programs, psql, file, entries, server, progress)
            progress("counting rows")
            await psql.write(_ending(rows))
            await psql.finish()
        progress("analysing")
        found = await contents.tables(connection)
        for name in sorted({table.whole for table in found}):
            await connection.execute(f"ANALYZE {name}")
        counted = await contents.count_rows(connection, found)
    return Restored(rows=summed(counted, found), seconds=time.monotonic() - begun)


async def _entries(programs: Programs, file: Path, role: str) -> Sequence[str]:
    listing = await programs.output("pg_restore", "--list", str(file))
    entries = wanted(listing, contents.SCHEMAS, role)
    if not has_ledger(entries):
        raise BackupError(f"{shown(file)} is a backup of something else: it has no {LEDGER}")
    return entries


async def _check_nobody_is_there(connection: asyncpg.Connection) -> None:
    if count := await contents.connected_services(connection):
        raise BackupError(
            f"services are connected to this database ({count} connections); stop all replicas "
            "of cache, ratelimit, jobs and health, and try again"
        )


async def _to_drop(connection: asyncpg.Connection, *, replace: bool) -> list[str]:
    """Return the statements that make room; raises RefusedError unless that was asked for."""
    schemas = await contents.present_schemas(connection)
    ledger = await contents.ledger_schema(connection)
    if not schemas and not ledger:
        return []
    if not replace:
        found = await contents.tables(connection)
        rows = sum((await contents.count_rows(connection, found)).values())
        raise RefusedError(
            f"the database has Mainstay's tables already, with {rows:,} rows; give --replace to "
            "delete them, or name another database in MAINSTAY_POSTGRES_URL"
        )
    drops = [f"DROP SCHEMA {schema} CASCADE;" for schema in schemas]
    return [*drops, f"DROP TABLE {ledger}.{LEDGER};"] if ledger else drops


@asynccontextmanager
async def _transaction(programs: Programs, target: Target) -> AsyncIterator[Running]:
    """Run psql for one transaction, which is rolled back unless its end is written.

    Not --single-transaction: that would commit when this process is killed half-way.
    """
    arguments = ("--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1")
    async with programs.running(
        "psql", *arguments, "--output=/dev/null", f"--dbname={target.shown}", target=target
    ) as psql:
        yield psql


def _beginning(drops: Sequence[str]) -> bytes:
    lines = [
        "BEGIN;",
        "SET client_min_messages = warning;",
        # A service that starts meanwhile waits with its migrations.
        f"SELECT pg_advisory_xact_lock({LOCK_KEY});",
        *drops,
        "",
    ]
    return "\n".join(lines).encode()


def _ending(rows: Mapping[str, int]) -> bytes:
    """Return the statements that commit if every table has the rows that were in the backup."""
    lines = ["SET row_security = on;"]
    for name, count in rows.items():
        lines += [
            "DO $$ BEGIN",
            f"IF (SELECT count(*) FROM ONLY {name}) <> {count} THEN",  # noqa: S608
            f"RAISE EXCEPTION '{name} did not get the {count} rows of the backup';",
            "END IF; END $$;",
        ]
    return "\n".join([*lines, "COMMIT;", ""]).encode()


async def _copy(
    programs: Programs,
    psql: Running,
    file: Path,
    entries: Sequence[str],
    server: int,
    progress: Progress,
) -> Mapping[str, int]:
    """Write the backup into the transaction; returns how many rows of each table there were."""
    script = PassingScript(server=server, on_table=progress)
    with tempfile.NamedTemporaryFile("w", prefix="mainstay-", suffix=".list") as listed:
        listed.write("\n".join(entries) + "\n")
        listed.flush()
        # Whoever restores owns it; who else may do what is part of the backup, since what only the
        # owner may call would otherwise be everybody's.
        arguments = ("--no-owner", "--enable-row-security", f"--use-list={listed.name}")
        async with programs.running("pg_restore", *arguments, "--file=-", str(file)) as restoring:
            async for chunk in restoring.chunks():
                await psql.write(script.feed(chunk))
            await restoring.finish()
    if not script.complete:
        raise BackupError(f"{shown(file)} ends before its end; nothing was changed")
    return script.rows

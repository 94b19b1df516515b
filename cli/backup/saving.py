"""Making a backup: one moment of the database as one file, which is read again before it counts."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from cli.backup import contents
from cli.backup.errors import BackupError, RefusedError
from cli.backup.programs import Programs, Running
from cli.backup.script import PassingScript
from cli.backup.target import Target
from cli.paths import shown

LOCK_WAIT = "30s"

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup that was made.

    Attributes:
        rows: Of each table, partitions added up.
        server: The major version of the server.

    """

    file: Path
    size: int
    rows: Mapping[str, int]
    server: int
    seconds: float


async def save(url: str, file: Path, *, programs_in: Path | None, progress: Progress) -> Backup:
    """Write a backup; services may go on. Raises BackupError, and leaves no file then."""
    begun = time.monotonic()
    target = Target.of(url)
    part = _reserved(file)
    try:
        async with contents.connected(target) as connection:
            server = await contents.server_version(connection)
            programs = await Programs.find(server=server, given=programs_in)
            async with _moment(connection) as snapshot:
                found = await _tables(connection)
                progress("counting rows")
                rows = await contents.count_rows(connection, found)
                arguments = await _arguments(connection, target, snapshot, part)
                await _dump(programs, arguments, target, progress)
        progress("reading it again")
        await _compare(programs, part, rows, server)
        size = _published(part, file)
    finally:
        part.unlink(missing_ok=True)
    return Backup(
        file=file,
        size=size,
        rows=summed(rows, found),
        server=server,
        seconds=time.monotonic() - begun,
    )


def _reserved(file: Path) -> Path:
    """Return where to write meanwhile, which nobody else on this machine may read."""
    if file.exists():
        raise RefusedError(f"{shown(file)} exists; name another file, or move it away")
    part = file.with_name(f"{file.name}.part")
    try:
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
    except OSError as error:
        raise BackupError(f"{shown(part)} cannot be written: {error.strerror}") from error
    return part


def _published(part: Path, file: Path) -> int:
    """Give the whole file its name, and return its size."""
    part.rename(file)
    return file.stat().st_size


def summed(rows: Mapping[str, int], tables: Sequence[contents.Table]) -> dict[str, int]:
    """Return the rows of whole tables."""
    total: dict[str, int] = {}
    for table in tables:
        total[table.whole] = total.get(table.whole, 0) + rows[table.name]
    return dict(sorted(total.items()))


@asynccontextmanager
async def _moment(connection: asyncpg.Connection) -> AsyncIterator[str]:
    """Hold a moment of the database, by whose name other connections see it too."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        yield await connection.fetchval("SELECT pg_export_snapshot()")


async def _tables(connection: asyncpg.Connection) -> Sequence[contents.Table]:
    found = await contents.tables(connection)
    if not await contents.present_schemas(connection) or not await contents.ledger_schema(
        connection
    ):
        raise BackupError(
            "there is nothing of Mainstay in this database; MAINSTAY_POSTGRES_URL should be the "
            "one that the services have"
        )
    await contents.check_everything_is_seen(connection, found)
    return found


async def _arguments(
    connection: asyncpg.Connection, target: Target, snapshot: str, part: Path
) -> list[str]:
    schemas = [*await contents.present_schemas(connection)]
    ledger = await contents.ledger_schema(connection)
    if ledger and ledger not in schemas:
        schemas.append(ledger)
    return [
        f"--dbname={target.shown}",
        f"--snapshot={snapshot}",
        f"--file={part}",
        f"--lock-wait-timeout={LOCK_WAIT}",
        "--format=custom",
        "--enable-row-security",
        "--no-password",
        "--verbose",
        *(f"--schema={schema}" for schema in schemas),
        # Who has tables of their own beside the ledger did not ask for a copy of those.
        *(f"--exclude-table={_pattern(name)}" for name in await contents.others(connection)),
    ]


def _pattern(name: str) -> str:
    """Return a pattern that fits one name and nothing else."""
    schema, _, table = name.partition(".")
    return f'"{schema.strip(chr(34))}"."{table.strip(chr(34))}"'


async def _dump(
    programs: Programs, arguments: Sequence[str], target: Target, progress: Progress
) -> None:
    async with programs.running("pg_dump", *arguments, target=target) as running:
        telling = asyncio.create_task(_tell(running, progress))
        try:
            await running.finish()
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)


async def _tell(running: Running, progress: Progress) -> None:
    while True:
        line = await running.lines.get()
        _, marker, table = line.partition("dumping contents of table ")
        if marker:
            progress(table.strip('"'))


async def _compare(programs: Programs, file: Path, rows: Mapping[str, int], server: int) -> None:
    """Read the file as a restore would; raises BackupError unless every row is in it."""
    script = PassingScript(server=server, on_table=lambda _: None)
    async with programs.running("pg_restore", "--data-only", "--file=-", str(file)) as running:
        async for chunk in running.chunks():
            script.feed(chunk)
        await running.finish()
    if not script.complete:
        raise BackupError("the backup ends before its end; it was discarded")
    for name, count in rows.items():
        if script.rows[name] != count:
            raise BackupError(
                f"the backup has {script.rows[name]:,} rows of {name} where the database had "
                f"{count:,}; it was discarded"
            )

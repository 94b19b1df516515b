"""The two commands, run as a person runs them, on databases of the test's own."""

import asyncio
import os
import re
import stat
from pathlib import Path
from typing import Protocol

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from cli.backup.contents import SCHEMAS
from cli.embedded.postgres import postgres_binaries
from cli.main import app

EVERY_TABLE = Path(__file__).with_name("every_table.sql")
# A trigger empties it at once: what replicas of the version before put there goes on elsewhere.
NEVER_FILLED = {"jobs.queue"}


class Mainstay(Protocol):
    """Runs a command on a database."""

    async def __call__(self, url: str, *arguments: str | Path) -> Result:
        """Return what it said and how it ended."""
        ...


class Wrap(Protocol):
    """Puts a script in the place of one of PostgreSQL's programs."""

    def __call__(self, program: str, script: str) -> Path:
        """Return the directory of all of them; `$REAL` is the one that was replaced."""
        ...


@pytest.fixture
def mainstay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mainstay:
    """Run commands in a thread, since they have a loop of their own, away from any suite here."""
    monkeypatch.chdir(tmp_path)

    async def run(url: str, *arguments: str | Path) -> Result:
        monkeypatch.setenv("MAINSTAY_POSTGRES_URL", url)
        return await asyncio.to_thread(CliRunner().invoke, app, [*map(str, arguments)])

    return run


@pytest.fixture
def wrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wrap:
    """Let a test change what a program does."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for program in ("pg_dump", "pg_restore", "psql"):
        (directory / program).symlink_to(postgres_binaries() / program)
    monkeypatch.setenv("MAINSTAY_PG_BIN", str(directory))

    def replace(program: str, script: str) -> Path:
        (directory / program).unlink()
        (directory / program).write_text(
            f'#!/bin/sh\nREAL="{postgres_binaries() / program}"\n'
            f'case "$1" in --version) exec "$REAL" --version;; esac\n{script}\n'
        )
        (directory / program).chmod(stat.S_IRWXU)
        return directory

    return replace


@pytest.fixture
async def filled_url(migrated_url: str) -> str:
    """Put rows into every table of a database."""
    connection = await asyncpg.connect(migrated_url)
    await connection.execute("SET mainstay.tenant = '*'")
    await connection.execute(EVERY_TABLE.read_text())
    await connection.close()
    return migrated_url


async def contents(url: str) -> dict[str, tuple[int, str]]:
    """Return how many rows each table has, partitions apart, and a checksum of all of them."""
    connection = await asyncpg.connect(url)
    await connection.execute("SET mainstay.tenant = '*'")
    tables = await connection.fetch(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
        "WHERE schemaname = ANY ($1) OR tablename = 'mainstay_migrations' ORDER BY 1",
        [*SCHEMAS],
    )
    found = {
        name: tuple(
            await connection.fetchrow(
                "SELECT count(*), coalesce(md5(string_agg(md5(t::text), '' ORDER BY t::text)), '') "
                f"FROM ONLY {name} AS t"
            )
        )
        for (name,) in tables
    }
    await connection.close()
    return found


async def schema_of(url: str) -> str:
    """Return all definitions of a database, as PostgreSQL writes them, but for brackets.

    It sets fewer of them around what it has read from itself.
    """
    process = await asyncio.create_subprocess_exec(
        postgres_binaries() / "pg_dump",
        "--schema-only",
        "--exclude-schema=public",
        f"--dbname={url}",
        stdout=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )
    said, _ = await process.communicate()
    # Each run has a word of its own there.
    lines = re.sub("[()]", "", said.decode()).splitlines()
    return "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))

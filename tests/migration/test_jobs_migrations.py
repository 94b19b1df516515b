"""Replicas of the version before beside new ones: their statements, as they were, on this schema.

`jobs_0001_queries.sql` holds what the version before says to the database.
"""

import re
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.jobs.database import MIGRATIONS, PLANNER
from shared.postgres.migrations import Migrations

_TEXT = Path(__file__).with_name("jobs_0001_queries.sql").read_text()
_NAMES, *_PARTS = re.split(r"^-- name: (\w+)\s*$", _TEXT, flags=re.MULTILINE)
OLD = dict(zip(_PARTS[::2], _PARTS[1::2], strict=True))
DATA = '{"video_id": "v-1"}'
SECOND = timedelta(seconds=1)


class OldReplica:
    """Does what a replica of the version before does, in the name of a tenant."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self.session = uuid4()

    async def start(self) -> None:
        """Declare a function and begin a session."""
        await self._connection.execute(
            OLD["declare_functions"],
            "acme",
            ["process-video"],
            ["video/upload.completed"],
            [3],
            [SECOND],
            [SECOND],
        )
        await self._connection.fetchval(
            OLD["insert_session"], "acme", self.session, "old-worker", timedelta(seconds=30)
        )

    async def accept(self) -> UUID:
        """Take an event and return the job that it starts."""
        event_id = uuid4()
        rows = await self._connection.fetch(
            OLD["insert_events"],
            "acme",
            "req-1",
            "",
            [event_id],
            ["video/upload.completed"],
            [1],
            [DATA],
        )
        job_id: UUID = rows[0]["job_id"]
        return job_id

    async def claim(self) -> list[Any]:
        """Claim what waits, as far as this replica sees it."""
        locked = await self._connection.fetch(OLD["lock_ready"], ["process-video"], ["acme"], [10])
        if not locked:
            return []
        rows: list[Any] = await self._connection.fetch(
            OLD["assign"],
            [row["id"] for row in locked],
            [row["job_id"] for row in locked],
            [self.session] * len(locked),
            [self.session],
            [1],
            64,
        )
        return rows

    async def close(self, job_id: UUID, state: str, *, wait: float = 0.0) -> None:
        """End the first turn at a job."""
        failed = state != "succeeded"
        await self._connection.execute(
            OLD["close_leases"],
            [job_id],
            [1],
            [self.session],
            [state],
            [wait],
            [0],
            [0],
            [None if failed else '{"ok": true}'],
            ["Broken" if failed else None],
            ["no" if failed else None],
            [False if failed else None],
            [1],
            [None],
            [None],
        )

    async def promote(self) -> int:
        """Make due jobs ready."""
        return int(await self._connection.fetchval(OLD["promote_due"], 100))


@pytest.fixture
def version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Migrations:
    """Return the migrations as they were."""
    name = f"jobs_version_1_{uuid4().hex}"
    folder = tmp_path / name / "sql" / "migrations"
    folder.mkdir(parents=True)
    (tmp_path / name / "__init__.py").touch()
    first = files("services.jobs").joinpath("sql/migrations/0001_jobs.sql")
    (folder / "0001_jobs.sql").write_text(first.read_text())
    monkeypatch.syspath_prepend(tmp_path)
    assert name not in sys.modules
    return Migrations(service="jobs", package=name)


@pytest.fixture
async def old(postgres_url: str, version_1: Migrations) -> AsyncIterator[OldReplica]:
    """Run a replica of the version before, on its schema."""
    await version_1.apply(postgres_url)
    connection = await asyncpg.connect(postgres_url, server_settings=PLANNER)
    await connection.execute("SET mainstay.tenant = '*'")
    replica = OldReplica(connection)
    await replica.start()
    yield replica
    await connection.close()


@pytest.fixture
async def database(postgres_url: str, old: OldReplica) -> AsyncIterator[asyncpg.Connection]:
    """Look into the database."""
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("SET mainstay.tenant = '*'")
    yield connection
    await connection.close()


async def ready(database: asyncpg.Connection) -> list[UUID]:
    """Return what new replicas may hand out."""
    return [row["job_id"] for row in await database.fetch("SELECT job_id FROM jobs.ready")]


class TestBefore:
    async def test_carried_over(
        self, old: OldReplica, database: asyncpg.Connection, postgres_url: str
    ) -> None:
        """What waited before the migration is ready after it, with its payload."""
        job_id = await old.accept()
        await MIGRATIONS.apply(postgres_url)
        job = await database.fetchrow("SELECT * FROM jobs.jobs WHERE job_id = $1", job_id)

        assert [job_id] == await ready(database)
        assert (DATA, "video/upload.completed", len(DATA)) == (
            job["data"],
            job["event_name"],
            job["bytes"],
        )

    async def test_dead_letter(
        self, old: OldReplica, database: asyncpg.Connection, postgres_url: str
    ) -> None:
        """A dead letter of before is listed as one after."""
        job_id = await old.accept()
        await old.claim()
        await old.close(job_id, "dead_lettered")
        await MIGRATIONS.apply(postgres_url)

        assert [(job_id, "Broken")] == [
            (row["job_id"], row["failure_kind"])
            for row in await database.fetch("SELECT * FROM jobs.dead_letters")
        ]

    async def test_over(
        self, old: OldReplica, database: asyncpg.Connection, postgres_url: str
    ) -> None:
        """What had ended well is in the history."""
        job_id = await old.accept()
        await old.claim()
        await old.close(job_id, "succeeded")
        await MIGRATIONS.apply(postgres_url)

        assert [job_id] == [
            row["job_id"] for row in await database.fetch("SELECT job_id FROM jobs.history")
        ]


class TestBeside:
    async def test_accepts(
        self, old: OldReplica, database: asyncpg.Connection, postgres_url: str
    ) -> None:
        """What it accepts is ready for the new ones, with its payload; it claims nothing itself."""
        await MIGRATIONS.apply(postgres_url)
        job_id = await old.accept()
        data = await database.fetchval("SELECT data FROM jobs.jobs WHERE job_id = $1", job_id)

        assert [] == await old.claim()
        assert ([job_id], DATA) == (await ready(database), data)

    async def test_ends_what_it_has(
        self, old: OldReplica, database: asyncpg.Connection, postgres_url: str
    ) -> None:
        """A job in its hands can end well; its record moves into the history."""
        job_id = await old.accept()
        await old.claim()
        await MIGRATIONS.apply(postgres_url)
        await old.close(job_id, "succeeded")
        over = await database.fetchrow("SELECT * FROM jobs.history")

        assert (job_id, "succeeded", '{"ok": true}') == (
            over["job_id"],
            over["state"],
            over["result"],
        )
        assert 0 == await database.fetchval("SELECT count(*) FROM jobs.jobs")

    async def test_buries(
        self, old: OldReplica, database: asyncpg.Connection, postgres_url: str
    ) -> None:
        """A job that ends badly in its hands is a dead letter that new ones list."""
        job_id = await old.accept()
        await old.claim()
        await MIGRATIONS.apply(postgres_url)
        await old.close(job_id, "dead_lettered")

        listed = await database.fetch("SELECT job_id, failure_kind FROM jobs.dead_letters")
        assert [(job_id, "Broken")] == [tuple(row) for row in listed]

    @pytest.mark.parametrize("wait", [0.0, 0.001])
    async def test_puts_back(
        self, old: OldReplica, database: asyncpg.Connection, postgres_url: str, wait: float
    ) -> None:
        """A job that failed in its hands is handed out again by the new ones, once it is due."""
        job_id = await old.accept()
        await old.claim()
        await MIGRATIONS.apply(postgres_url)
        await old.close(job_id, "retrying", wait=wait)
        promoted = await old.promote()

        assert int(wait > 0) == promoted
        assert [job_id] == await ready(database)
        assert 0 == await database.fetchval("SELECT count(*) FROM jobs.queue")

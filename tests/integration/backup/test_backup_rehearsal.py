"""A backup of every table, restored into another database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import asyncpg

from mainstay.jobs.v1 import job_pb2
from tests.integration.backup.conftest import NEVER_FILLED, Mainstay, contents, schema_of
from tests.integration.jobs.conftest import jobs_service
from tests.integration.jobs.producer import Producer, producer, video_event
from tests.integration.jobs.raw_worker import RawWorker, raw_workers


class TestRehearsal:
    async def test_has_rows_in_every_table(self, filled_url: str) -> None:
        """A table that is added has to have some in every_table.sql."""
        connection = await asyncpg.connect(filled_url)
        await connection.execute("SET mainstay.tenant = '*'")
        whole = await connection.fetch(
            "SELECT c.oid::regclass::text FROM pg_class AS c "
            "JOIN pg_namespace AS n ON n.oid = c.relnamespace "
            "WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' "
            "AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        )
        empty = {
            name
            for (name,) in whole
            if not await connection.fetchval(f"SELECT EXISTS (SELECT FROM {name})")
        }
        await connection.close()

        assert NEVER_FILLED == empty

    async def test_brings_everything_back(
        self, mainstay: Mainstay, filled_url: str, other_postgres_url: str, tmp_path: Path
    ) -> None:
        """Rows, whatever stands in them, definitions, comments, policies and rights."""
        file = tmp_path / "all.dump"
        saved = await mainstay(filled_url, "backup", "--output", file)
        restored = await mainstay(other_postgres_url, "restore", file)

        assert (0, 0) == (saved.exit_code, restored.exit_code), saved.output + restored.output
        assert await contents(filled_url) == await contents(other_postgres_url)
        assert await schema_of(filled_url) == await schema_of(other_postgres_url)

    async def test_goes_on_where_it_was(
        self, mainstay: Mainstay, filled_url: str, other_postgres_url: str, tmp_path: Path
    ) -> None:
        """A row that comes afterwards has a number that none had, days to come their partitions."""
        file = tmp_path / "all.dump"
        await mainstay(filled_url, "backup", "--output", file)
        await mainstay(other_postgres_url, "restore", file)
        connection = await asyncpg.connect(other_postgres_url)
        await connection.execute("SET mainstay.tenant = '*'")
        number = await connection.fetchval(
            "INSERT INTO jobs.signals (job_id, tenant, name, data) "
            "VALUES (gen_random_uuid(), 'acme', 'go', '2') RETURNING id"
        )
        made = [
            await connection.fetchval(f"SELECT {schema}.ensure_partitions(10)")
            for schema in ("jobs", "telemetry", "health")
        ]
        await connection.close()

        assert 3 == number
        assert all(made)

    async def test_leaves_nothing_to_migrate(
        self, mainstay: Mainstay, filled_url: str, other_postgres_url: str, tmp_path: Path
    ) -> None:
        """The ledger came too: a service that starts finds its migrations applied."""
        file = tmp_path / "all.dump"
        await mainstay(filled_url, "backup", "--output", file)
        restored = await mainstay(other_postgres_url, "restore", file)
        migrated = await mainstay(other_postgres_url, "migrate")

        assert "note:" not in restored.output
        assert 5 == migrated.output.count("nothing to apply")


class TestJobs:
    # What a lost worker had is given to others soon.
    SETTINGS: ClassVar = {
        "jobs_session_lease": 1.0,
        "jobs_heartbeat_interval": 0.4,
        "jobs_resume_window": 0.2,
    }

    async def test_go_on_from_a_backup_that_was_made_while_they_ran(
        self, mainstay: Mainstay, migrated_url: str, other_postgres_url: str, tmp_path: Path
    ) -> None:
        """What waited is executed, what was in somebody's hands too, and what was over is known."""
        file = tmp_path / "jobs.dump"
        async with self.suite(migrated_url) as (jobs, worker):
            over = await jobs.start_job(video_event(key="over"))
            await worker.complete((await worker.take_one()).token)
            await jobs.reaches(over, job_pb2.JOB_STATE_SUCCEEDED)
            held = await jobs.start_job(video_event(key="held"))
            await worker.take_one()
            waiting = await jobs.start_job(video_event(key="waiting"))
            saved = await mainstay(migrated_url, "backup", "--output", file)
        restored = await mainstay(other_postgres_url, "restore", file)
        async with self.suite(other_postgres_url) as (jobs, worker):
            taken = await worker.take(2)
            for job in taken:
                await worker.complete(job.token)
                await jobs.reaches(job.job_id, job_pb2.JOB_STATE_SUCCEEDED)
            known = await jobs.get(over)
            repeated = await jobs.start_job(video_event(key="over"))

        assert (0, 0) == (saved.exit_code, restored.exit_code), saved.output + restored.output
        assert {held, waiting} == {job.job_id for job in taken}
        assert (job_pb2.JOB_STATE_SUCCEEDED, over) == (known.state, repeated)

    @asynccontextmanager
    async def suite(self, url: str) -> AsyncIterator[tuple[Producer, RawWorker]]:
        """Run a replica with a producer and a worker."""
        async with (
            jobs_service(url, **self.SETTINGS).running() as service,
            producer(service.address, "acme") as jobs,
            raw_workers() as workers,
        ):
            yield jobs, await workers.connect(service.address)

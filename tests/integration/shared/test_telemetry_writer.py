"""The writer of rows: while PostgreSQL is there, while it is not, and when the service stops."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from prometheus_client import REGISTRY

from cli.embedded.postgres import PostgresServer
from shared.postgres.pool import Postgres
from shared.telemetry import request_log
from shared.telemetry.row_writer import BATCH, RowBuffer, RowWriter
from tests.integration.shared.conftest import ReadLog
from tests.integration.shared.telemetry_stage import (
    MIGRATIONS,
    call_row,
    connected,
    rows_metric,
    rows_of,
    until_rows,
)
from tests.integration.shared.waiting import PATIENCE, until

OFTEN = 0.05
LONGEST = 0.4
RARELY = 600.0
WAITS = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
    "AND application_name = 'mainstay telemetry' AND datname = current_database()"
)


class Stage:
    """A writer at work, and the buffer of its request log."""

    def __init__(self, url: str, *, interval: float, max_rows: int) -> None:
        postgres = Postgres(
            url, max_size=1, session_settings={"application_name": "mainstay telemetry"}
        )
        self.writer = RowWriter(postgres, interval=interval, longest_backoff=LONGEST)
        self.buffer: RowBuffer = self.writer.buffer(
            request_log.TABLE, lambda row: row, max_rows=max_rows
        )

    def add(self, *request_ids: str, **facts: Any) -> None:
        for request_id in request_ids:
            self.buffer.add(call_row(request_id, **facts))


@asynccontextmanager
async def writing(
    url: str, *, interval: float = OFTEN, max_rows: int = 1_000
) -> AsyncIterator[Stage]:
    """Run a writer within a block, which is closed as by a service that stops."""
    stage = Stage(url, interval=interval, max_rows=max_rows)
    task = asyncio.create_task(stage.writer.run())
    try:
        yield stage
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await stage.writer.close()


async def until_warned(read: ReadLog) -> str:
    """Wait for the warning that rows wait, and return its reason."""
    found: list[str] = []

    def warned() -> bool:
        found[:] = [line["error"] for line in read() if line["event"] == "telemetry_rows_waiting"]
        return bool(found)

    await until(warned)
    return found[0]


def transactions() -> float:
    """Return how many transactions this process has tried."""
    return REGISTRY.get_sample_value("mainstay_postgres_transaction_duration_seconds_count") or 0.0


class TestRows:
    async def test_are_written_every_few_seconds(self, postgres_url: str) -> None:
        """Whoever added them does not wait for that."""
        await MIGRATIONS.apply(postgres_url)
        before = rows_metric("written_total")
        async with writing(postgres_url) as stage:
            stage.add("req-1", "req-2")
            rows = await until_rows(postgres_url, 2)
            await until(lambda: rows_metric("waiting") == 0)

        assert {"req-1", "req-2"} == {row["request_id"] for row in rows}
        assert rows_metric("written_total") - before == 2

    async def test_are_written_when_there_are_many(self, postgres_url: str) -> None:
        """However long it is until the next time."""
        await MIGRATIONS.apply(postgres_url)
        async with writing(postgres_url, interval=RARELY, max_rows=10_000) as stage:
            await asyncio.sleep(0)
            stage.add(*(f"req-{number}" for number in range(BATCH + 1)))

            assert BATCH + 1 == len(await until_rows(postgres_url, BATCH + 1))

    async def test_that_are_refused_hold_up_no_others(
        self, postgres_url: str, log_lines: ReadLog
    ) -> None:
        """What will never be taken is given up and counted."""
        await MIGRATIONS.apply(postgres_url)
        before = rows_metric("dropped_total")
        async with writing(postgres_url, interval=RARELY) as stage:
            stage.buffer.add((*call_row("req-1")[:-2], 0, None))  # it stands for no call
            await stage.writer.write_once()
            stage.add("req-2")
            await stage.writer.write_once()

        assert ["req-2"] == [row["request_id"] for row in await rows_of(postgres_url)]
        assert rows_metric("dropped_total") - before == 1

    async def test_are_written_while_their_day_is_made(self, postgres_url: str) -> None:
        """A day that is missing is made under the eyes of those who write into no day."""
        await MIGRATIONS.apply(postgres_url)
        async with connected(postgres_url) as owner, connected(postgres_url) as watcher:
            await owner.execute(f"DROP TABLE telemetry.api_request_logs_{datetime.now(UTC):%Y%m%d}")
            async with writing(postgres_url, interval=RARELY) as stage:
                stage.add("req-1")
                async with owner.transaction():
                    await owner.execute("SELECT telemetry.ensure_partitions(0)")
                    written = asyncio.create_task(stage.writer.write_once())
                    async with asyncio.timeout(PATIENCE):
                        while not await watcher.fetchval(WAITS):
                            pass
                await written

        assert ["req-1"] == [row["request_id"] for row in await rows_of(postgres_url)]

    async def test_that_do_not_come_cost_no_transactions(self, postgres_url: str) -> None:
        """An idle service lets the database be; one that was never busy does not even connect."""
        await MIGRATIONS.apply(postgres_url)
        query = (
            "SELECT query_start FROM pg_stat_activity "
            "WHERE application_name = 'mainstay telemetry' AND datname = current_database()"
        )
        async with connected(postgres_url) as watcher, writing(postgres_url) as stage:
            await asyncio.sleep(4 * OFTEN)
            never_busy = await watcher.fetch(query)
            stage.add("req-1")
            await until_rows(postgres_url, 1)
            await until(lambda: rows_metric("waiting") == 0)
            before = await watcher.fetch(query)
            await asyncio.sleep(4 * OFTEN)
            after = await watcher.fetch(query)

        assert (0, 1, before) == (len(never_busy), len(before), after)


class TestWithoutTables:
    async def test_rows_wait_for_them(self, postgres_url: str, log_lines: ReadLog) -> None:
        """A service may come up before the one that makes them; it warns once."""
        async with writing(postgres_url) as stage:
            stage.add("req-1")
            reason = await until_warned(log_lines)
            tried = transactions()
            await until(lambda: transactions() >= tried + 2)
            await MIGRATIONS.apply(postgres_url)
            rows = await until_rows(postgres_url, 1)

        assert "start it, or run `mainstay migrate`" in reason
        assert ["req-1"] == [row["request_id"] for row in rows]
        assert [line["event"] for line in log_lines()].count("telemetry_rows_waiting") == 1


class TestWithoutPostgres:
    async def test_rows_wait_within_their_bound(
        self, private_postgres: PostgresServer, log_lines: ReadLog
    ) -> None:
        """The newest are written when it is back; the others were counted."""
        await MIGRATIONS.apply(private_postgres.url)
        before = rows_metric("dropped_total")
        async with writing(private_postgres.url, max_rows=10) as stage:
            stage.add("req-first")
            await until_rows(private_postgres.url, 1)
            await private_postgres.kill()
            stage.add(*(f"req-{number}" for number in range(30)))
            await until_warned(log_lines)
            waiting = rows_metric("waiting")
            dropped = rows_metric("dropped_total") - before
            await private_postgres.start()
            rows = await until_rows(private_postgres.url, 11)

        assert (10, 20) == (waiting, dropped)
        assert [row["request_id"] for row in rows] == [
            "req-first",
            *(f"req-{number}" for number in range(20, 30)),
        ]


class TestAService:
    async def test_that_stops_writes_what_is_left(self, postgres_url: str) -> None:
        """Also what came a moment ago."""
        await MIGRATIONS.apply(postgres_url)
        async with writing(postgres_url, interval=RARELY) as stage:
            stage.add("req-1")

        assert ["req-1"] == [row["request_id"] for row in await rows_of(postgres_url)]

    async def test_that_stops_waits_for_no_answer(
        self, private_postgres: PostgresServer, log_lines: ReadLog
    ) -> None:
        """A PostgreSQL that is frozen holds it up for two seconds; what is lost is counted."""
        await MIGRATIONS.apply(private_postgres.url)
        before = rows_metric("dropped_total")
        loop = asyncio.get_running_loop()
        async with writing(private_postgres.url, interval=RARELY) as stage:
            stage.add("req-1")
            await stage.writer.write_once()
            private_postgres.pause()
            stage.add("req-2")
            began = loop.time()
        took = loop.time() - began
        private_postgres.resume()

        assert took < 2.5
        assert rows_metric("dropped_total") - before == 1
        lost = [line["rows"] for line in log_lines() if line["event"] == "telemetry_rows_lost"]
        assert lost == [1]

    async def test_that_stops_waits_for_no_answer_to_what_it_began(
        self, private_postgres: PostgresServer, log_lines: ReadLog
    ) -> None:
        """Nor for one to the ROLLBACK of it."""
        await MIGRATIONS.apply(private_postgres.url)
        loop = asyncio.get_running_loop()
        url = private_postgres.url
        async with connected(url) as owner, connected(url) as watcher:
            await owner.execute("BEGIN; LOCK TABLE telemetry.api_request_logs")
            async with writing(url) as stage:
                stage.add("req-1")
                async with asyncio.timeout(PATIENCE):
                    while not await watcher.fetchval(WAITS):
                        pass
                private_postgres.pause()
                began = loop.time()
            took = loop.time() - began
            private_postgres.resume()

        assert took < 2.5

    async def test_that_stops_does_not_try_what_failed_before(
        self, private_postgres: PostgresServer, log_lines: ReadLog
    ) -> None:
        """Who has been away will hardly be back in this moment."""
        await MIGRATIONS.apply(private_postgres.url)
        await private_postgres.kill()
        loop = asyncio.get_running_loop()
        async with writing(private_postgres.url) as stage:
            stage.add("req-1")
            await until_warned(log_lines)
            began = loop.time()

        assert loop.time() - began < 0.5

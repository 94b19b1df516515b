"""What pages show of history: read each minute, at hand at once, and kept while nothing answers."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from cli.embedded.postgres import PostgresServer
from mainstay.errors import DatabaseError
from services.health.history import Incident
from services.health.history_book import HistoryBook
from services.health.postgres_history import PostgresHistory
from services.health.postgres_records import PostgresRecords
from services.health.state import State
from tests.integration.health.observing import batch, connected_database, row

TARGETS = ("cache", "suite")


class TestHistoryBook:
    async def test_keeps_what_was_read_while_the_database_is_away(
        self, private_postgres: PostgresServer
    ) -> None:
        """And reads again by itself once it is back."""
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(connected_database(private_postgres.url))
            book = HistoryBook(PostgresHistory(database), lambda: TARGETS, interval=0.05)
            now = datetime.now(UTC)
            empty = (dict(book.current), list(book.incidents))
            records = PostgresRecords(database, "one")
            seen = Incident(
                incident_id=str(uuid4()),
                target="cache",
                worst_state=State.DEGRADED,
                start_time=now,
                end_time=None,
                because=("cache",),
                message="Slow.",
                request_id="r-1",
            )
            earlier = now - timedelta(minutes=5)
            await records.write(
                batch(row("cache", earlier, healthy=30.0, unhealthy=30.0)), [seen], {}
            )
            await book.load_once()
            await private_postgres.kill()
            with pytest.raises(DatabaseError):
                await book.load_once()
            kept = book.current["cache"].uptimes[0].ratio
            task = asyncio.create_task(book.run())
            await private_postgres.start()
            await records.write(
                batch(row("cache", earlier - timedelta(minutes=1), healthy=60.0)), [], {}
            )
            try:
                async with asyncio.timeout(15):
                    while book.current["cache"].uptimes[0].ratio == kept:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)  # nobody is told of a reading
            finally:
                task.cancel()
                await asyncio.wait([task])

            assert ({}, []) == empty
            assert (0.5, 0.75) == (kept, book.current["cache"].uptimes[0].ratio)
            assert [seen] == book.incidents
            assert set(TARGETS) == book.current.keys()

"""Minute buckets in PostgreSQL, which may come and go as it likes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from cli.embedded.postgres import PostgresServer
from mainstay.errors import DatabaseError
from services.cache.entry import MissReason
from services.cache.postgres_statistics import MIGRATIONS, PostgresStatistics
from services.cache.statistics import Group, Tally
from shared.postgres.pool import Postgres

GROUP = Group("acme", "video", "general")
MINUTE = 60_000
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
TALLY = Tally(
    hits=5,
    stale_hits=2,
    misses={reason: 1 for reason in MissReason if reason is not MissReason.NEGATIVE},
    computations=4,
    computations_saved=6,
    saved_ms=700,
    fills_refused=1,
)


class Replica:
    """The history of one process, with a clock that the test sets."""

    def __init__(self, url: str, **options: Any) -> None:
        self.now = NOON
        self.history = PostgresStatistics(
            Postgres(url, migrations=MIGRATIONS, max_size=1),
            lambda: int(self.now.timestamp() * 1000),
            **options,
        )

    def count(self, *tallies: Tally, group: Group = GROUP) -> None:
        self.history.add([(group, tally) for tally in tallies])

    def pass_time(self, **length: int) -> None:
        self.now += timedelta(**length)


NewReplica = Callable[..., Replica]


@pytest.fixture
async def replica(postgres_url: str) -> AsyncIterator[NewReplica]:
    """Let a test have any number of replicas, which disconnect before the database goes."""
    async with AsyncExitStack() as stack:

        def new(url: str = postgres_url, **options: Any) -> Replica:
            made = Replica(url, **options)
            stack.push_async_callback(made.history.close)
            return made

        yield new


@asynccontextmanager
async def seen_as(url: str, tenant: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"SET mainstay.tenant = '{tenant}'")
        yield connection
    finally:
        await connection.close()


async def rows(url: str, tenant: str = "*") -> list[dict[str, Any]]:
    async with seen_as(url, tenant) as connection:
        found = await connection.fetch(
            "SELECT * FROM cache.cache_statistics ORDER BY tenant, namespace, minute"
        )
    return [dict(row) for row in found]


def dropped() -> float:
    return REGISTRY.get_sample_value("mainstay_cache_statistics_dropped_total") or 0.0


class TestBuckets:
    async def test_hold_all_that_was_counted(self, replica: NewReplica, postgres_url: str) -> None:
        """A column for every figure and every reason; the misses add up by themselves."""
        one = replica()
        one.count(TALLY)
        one.pass_time(minutes=1)
        await one.history.write_once()
        (row,) = await rows(postgres_url)
        update_time = row.pop("update_time")

        expected = {
            "tenant": "acme",
            "namespace": "video",
            "ttl_class": "general",
            "minute": NOON,
            "hits": 5,
            "stale_hits": 2,
            "computations": 4,
            "computations_saved": 6,
            "saved_ms": 700,
            "fills_refused": 1,
            "misses": len(TALLY.misses),
            **{f"miss_{reason.value}": 1 for reason in TALLY.misses},
        }
        assert expected == row
        assert datetime.now(UTC) - update_time < timedelta(minutes=1)

    async def test_of_two_replicas_add_up(self, replica: NewReplica, postgres_url: str) -> None:
        """Both write the same minutes, again and again, at the same time."""
        replicas = [replica() for _ in range(3)]
        for _ in range(3):
            for each in replicas:
                each.count(TALLY, TALLY)
                each.count(TALLY, group=Group("other", "video", ""))
            await asyncio.gather(*(each.history.write_once(everything=True) for each in replicas))
        found = {row["tenant"]: row["hits"] for row in await rows(postgres_url)}

        assert {"acme": 18 * TALLY.hits, "other": 9 * TALLY.hits} == found

    async def test_are_written_when_their_minute_is_over(
        self, replica: NewReplica, postgres_url: str
    ) -> None:
        """One write for a minute, not one for every flush within it."""
        one = replica()
        one.count(TALLY)
        one.pass_time(seconds=59)
        await one.history.write_once()
        before = await rows(postgres_url)
        one.count(TALLY)
        one.pass_time(seconds=1)
        await one.history.write_once()
        after = await rows(postgres_url)

        assert ([], [2 * TALLY.hits]) == (before, [row["hits"] for row in after])

    async def test_that_are_open_at_the_end_are_written_too(
        self, replica: NewReplica, postgres_url: str
    ) -> None:
        """A process that stops leaves nothing behind."""
        one = replica()
        await one.history.write_once()
        one.count(TALLY)
        await one.history.close()

        assert [TALLY.hits] == [row["hits"] for row in await rows(postgres_url)]

    async def test_of_thousands_of_groups(self, replica: NewReplica, postgres_url: str) -> None:
        """They go in several batches."""
        one = replica()
        for number in range(2_500):
            one.count(Tally(hits=1), group=Group("acme", f"ns{number}", ""))
        await one.history.write_once(everything=True)
        async with seen_as(postgres_url, "acme") as connection:
            total = await connection.fetchval("SELECT sum(hits) FROM cache.cache_statistics")

        assert 2_500 == total


class TestOnce:
    async def test_a_batch_that_was_added_is_not_added_again(
        self, replica: NewReplica, postgres_url: str
    ) -> None:
        """Its commit took effect, and the answer was lost."""
        one = replica()
        one.count(TALLY)
        await one.history.write_once()
        one.history._take(2**40)
        batch = one.history._batch
        await one.history.write_once()
        one.history._batch = batch
        await one.history.write_once()

        assert [TALLY.hits] == [row["hits"] for row in await rows(postgres_url)]


class TestPostgresGone:
    async def test_at_the_start(
        self, replica: NewReplica, private_postgres: PostgresServer
    ) -> None:
        """What is counted until it comes is written then, in the minutes in which it was."""
        url = private_postgres.url
        await private_postgres.stop()
        one = replica(url)
        await one.history.start()
        for _ in range(3):
            one.count(TALLY)
            one.pass_time(minutes=1)
            with pytest.raises(DatabaseError):
                await one.history.write_once()
        await private_postgres.start()
        await one.history.write_once()

        minutes = [NOON + timedelta(minutes=n) for n in range(3)]
        assert minutes == [row["minute"] for row in await rows(url)]

    async def test_later(self, replica: NewReplica, private_postgres: PostgresServer) -> None:
        """Nothing is lost and nothing counted twice, whatever it was doing."""
        one = replica(private_postgres.url)
        one.count(TALLY)
        one.pass_time(minutes=1)
        await one.history.write_once()
        await private_postgres.kill()
        one.count(TALLY)
        one.pass_time(minutes=1)
        with pytest.raises(DatabaseError):
            await one.history.write_once()
        one.count(TALLY)
        await private_postgres.start()
        await one.history.write_once(everything=True)

        found = [row["hits"] for row in await rows(private_postgres.url)]
        assert [TALLY.hits] * 3 == found

    async def test_for_too_long(self, replica: NewReplica) -> None:
        """The oldest buckets go, and somebody can see that they did."""
        one = replica("postgresql://mainstay@127.0.0.1:1/none", max_buckets=3)
        before = dropped()
        for _ in range(5):
            one.count(TALLY)
            one.pass_time(minutes=1)

        kept = [bucket.minute for bucket in one.history._buckets]
        first = int(NOON.timestamp()) // 60
        assert (2.0, [first + 2, first + 3, first + 4]) == (dropped() - before, kept)

    async def test_the_task_goes_on(
        self, replica: NewReplica, private_postgres: PostgresServer
    ) -> None:
        """It tries until PostgreSQL is there; a service whose task ended would end too."""
        await private_postgres.stop()
        one = replica(private_postgres.url, interval=0.01)
        one.now = datetime.now(UTC)  # or it would be deleted at once
        one.count(TALLY)
        one.pass_time(minutes=1)
        with capture_logs() as logs:
            task = asyncio.create_task(one.history.run())
            async with asyncio.timeout(20):
                while not logs:  # noqa: ASYNC110 - a line of the log is no event to wait for
                    await asyncio.sleep(0.01)
            await private_postgres.start()
            async with asyncio.timeout(20):
                while one.history._batch or one.history._buckets:  # noqa: ASYNC110 - likewise
                    await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

        warnings = [line for line in logs if line["log_level"] == "warning"]
        assert ["statistics_not_written"] == [line["event"] for line in warnings]
        assert [TALLY.hits] == [row["hits"] for row in await rows(private_postgres.url)]

    async def test_what_can_never_be_written_holds_up_nobody(
        self, replica: NewReplica, postgres_url: str
    ) -> None:
        """It is dropped and counted, and what comes after is written."""
        one, before = replica(), dropped()
        one.count(TALLY, group=Group("acme", "nul\0", ""))
        with pytest.raises(asyncpg.DataError):
            await one.history.write_once(everything=True)
        one.count(TALLY)
        await one.history.write_once(everything=True)

        assert 1.0 == dropped() - before
        assert ["video"] == [row["namespace"] for row in await rows(postgres_url)]


class TestOldRows:
    async def test_go_after_ninety_days(self, replica: NewReplica, postgres_url: str) -> None:
        """Also the ids of batches, after a day."""
        one = replica()
        for days in (100, 91, 89):
            one.now = datetime.now(UTC) - timedelta(days=days)
            one.count(TALLY)
        await one.history.write_once(everything=True)
        async with seen_as(postgres_url, "*") as connection:
            await connection.execute(
                "UPDATE cache.statistics_batches SET create_time = now() - interval '25 hours'"
            )
            deleted = await one.history.clean_once()
            batches = await connection.fetchval("SELECT count(*) FROM cache.statistics_batches")

        assert (2, 1, 0) == (deleted, len(await rows(postgres_url)), batches)


class TestTenants:
    async def test_see_their_own_rows(self, replica: NewReplica, postgres_url: str) -> None:
        """Row-level security holds for the history too."""
        one = replica()
        for tenant in ("acme", "other"):
            one.count(TALLY, group=Group(tenant, "video", ""))
        await one.history.write_once(everything=True)

        found = {
            tenant: [row["tenant"] for row in await rows(postgres_url, tenant)]
            for tenant in ("acme", "other", "nobody", "*")
        }

        expected = {"acme": ["acme"], "other": ["other"], "nobody": [], "*": ["acme", "other"]}
        assert expected == found

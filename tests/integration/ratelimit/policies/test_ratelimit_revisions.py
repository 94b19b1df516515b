"""Replicas learn of changes: by a hint at once, without one at their next look."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from structlog.testing import capture_logs

from cli.embedded.redis import RedisServer
from mainstay.errors import DatabaseError
from services.ratelimit.database import MIGRATIONS, Database
from services.ratelimit.revisions import PLANS, POLICY, Revisions, bump
from shared.postgres.pool import Connection, Postgres
from shared.redis.client import Redis
from shared.rpc.call import ALL_TENANTS
from tests.integration.shared.waiting import until


class Copy:
    """Something that is read anew when it has changed."""

    def __init__(self) -> None:
        self.read = 0
        self.fails = False

    async def load(self) -> None:
        self.read += 1
        if self.fails:
            raise DatabaseError("not now")


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    """Connect to a database that has its tables."""
    database = Database(Postgres(postgres_url, migrations=MIGRATIONS))
    await database.start()
    yield database
    await database.close()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """Connect to Redis."""
    redis = Redis(redis_url, timeout=5)
    await redis.start()
    yield redis
    await redis.close()


async def raise_revision(database: Database, name: str) -> None:
    async def work(connection: Connection) -> int:
        return await bump(connection, name)

    await database.run(ALL_TENANTS, work)


class TestLook:
    async def test_everything_is_read_once_at_the_beginning(
        self, database: Database, redis: Redis, redis_url: str
    ) -> None:
        """Also what was never changed."""
        copy, revisions = Copy(), Revisions(database, redis, redis_url)
        revisions.on_change(PLANS, copy.load)
        for _ in range(3):
            await revisions.run_once()

        assert 1 == copy.read

    async def test_what_was_raised_is_read_again(
        self, database: Database, redis: Redis, redis_url: str
    ) -> None:
        """And nothing else."""
        policy, plans = Copy(), Copy()
        revisions = Revisions(database, redis, redis_url)
        revisions.on_change(POLICY, policy.load)
        revisions.on_change(PLANS, plans.load)
        await revisions.run_once()
        await raise_revision(database, POLICY)
        await revisions.run_once()

        assert (2, 1) == (policy.read, plans.read)

    async def test_a_revision_that_went_back_is_a_change(
        self, database: Database, redis: Redis, redis_url: str, postgres_url: str
    ) -> None:
        """The database was restored from a copy of earlier times."""
        copy, revisions = Copy(), Revisions(database, redis, redis_url)
        revisions.on_change(POLICY, copy.load)
        await raise_revision(database, POLICY)
        await raise_revision(database, POLICY)
        await revisions.run_once()
        connection = await asyncpg.connect(postgres_url)
        await connection.execute("UPDATE ratelimit.revisions SET revision = 1")
        await connection.close()
        await revisions.run_once()

        assert 2 == copy.read

    async def test_what_could_not_be_read_is_tried_again(
        self, database: Database, redis: Redis, redis_url: str
    ) -> None:
        """It keeps nobody else from reading, and is logged once."""
        broken, fine = Copy(), Copy()
        broken.fails = True
        revisions = Revisions(database, redis, redis_url)
        revisions.on_change(POLICY, broken.load)
        revisions.on_change(POLICY, fine.load)
        revisions.on_change(PLANS, fine.load)
        with capture_logs() as lines:
            await revisions.run_once()
            await revisions.run_once()
        broken.fails = False
        await revisions.run_once()
        await revisions.run_once()

        assert (3, 2) == (broken.read, fine.read)
        assert [("change_not_taken_over", "policy")] == [
            (line["event"], line["changed"]) for line in lines
        ]

    async def test_what_was_given_up_is_read_again(
        self, database: Database, redis: Redis, redis_url: str
    ) -> None:
        """Though it did not change."""
        copy, revisions = Copy(), Revisions(database, redis, redis_url)
        revisions.on_change(POLICY, copy.load)
        await revisions.run_once()
        revisions.look_again(POLICY)
        await revisions.run_once()

        assert 2 == copy.read

    async def test_without_a_database_there_is_nothing_to_read(
        self, redis: Redis, redis_url: str
    ) -> None:
        """And no error."""
        copy, revisions = Copy(), Revisions(Database(None), redis, redis_url)
        revisions.on_change(POLICY, copy.load)
        await revisions.announce(POLICY)

        assert 0 == copy.read


class TestFollowing:
    async def test_a_hint_makes_replicas_look_at_once(
        self, database: Database, redis: Redis, redis_url: str
    ) -> None:
        """Long before their next look; who announces has read it when that returns."""
        here, there = Copy(), Copy()
        announcing = Revisions(database, redis, redis_url)
        announcing.on_change(POLICY, here.load)
        following = Revisions(database, redis, redis_url, interval=60)
        following.on_change(POLICY, there.load)
        task = asyncio.create_task(following.run())
        await until(lambda: following._subscription.live and there.read)
        await raise_revision(database, POLICY)
        await announcing.announce(POLICY)
        read_here = here.read
        await until(lambda: there.read == 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

        assert 1 == read_here

    async def test_without_redis_replicas_look_every_now_and_then(
        self, database: Database, private_redis: RedisServer
    ) -> None:
        """Hints are heard again when it is back."""
        url = private_redis.url
        await private_redis.stop()
        copy, redis = Copy(), Redis(url)
        revisions = Revisions(database, redis, url, interval=0.05)
        revisions.on_change(POLICY, copy.load)
        task = asyncio.create_task(revisions.run())
        await until(lambda: copy.read == 1)
        await raise_revision(database, POLICY)
        await revisions.announce(POLICY)
        await until(lambda: copy.read == 2)
        await private_redis.start()
        await until(lambda: revisions._subscription.live)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class TestBump:
    async def test_changes_are_committed_in_the_order_of_their_revisions(
        self, database: Database
    ) -> None:
        """Who comes second waits, or a reader could see 2 and never 1."""
        holds, release, order = asyncio.Event(), asyncio.Event(), []

        async def first(connection: Connection) -> None:
            order.append(await bump(connection, POLICY))
            holds.set()
            await release.wait()

        async def second(connection: Connection) -> None:
            order.append(await bump(connection, POLICY))

        one = asyncio.create_task(database.run(ALL_TENANTS, first))
        await holds.wait()
        two = asyncio.create_task(database.run(ALL_TENANTS, second))
        done, _ = await asyncio.wait({two}, timeout=0.1)
        release.set()
        await asyncio.gather(one, two)

        assert (set(), [1, 2]) == (done, order)

    async def test_a_change_that_was_given_up_raises_nothing(self, database: Database) -> None:
        """The revision belongs to the transaction."""

        async def work(connection: Connection) -> None:
            await bump(connection, POLICY)
            raise ValueError("given up")

        with pytest.raises(ValueError, match="given up"):
            await database.run(ALL_TENANTS, work)

        async def read(connection: Connection) -> int:
            return int(await connection.fetchval("SELECT count(*) FROM ratelimit.revisions"))

        assert 0 == await database.run(ALL_TENANTS, read)

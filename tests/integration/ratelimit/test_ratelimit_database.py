"""PostgreSQL behind the rate limits: awaited for a bounded time, and told of when it is away."""

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from cli.embedded.postgres import PostgresServer
from cli.embedded.redis import RedisServer
from mainstay.channel import Channel
from mainstay.errors import DatabaseError, RateLimitStoreError
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from mainstay.ratelimit.v1 import ratelimit_service_pb2_grpc as pb_grpc
from services.ratelimit.database import LONGEST_RUN, MIGRATIONS, Database
from shared.postgres.pool import Connection, Postgres
from shared.rpc.call import Tenant
from tests.integration.ratelimit.conftest import ServeRateLimit

ACME = Tenant("acme")


class Reports:
    """What operators were told, the newest last."""

    def __init__(self) -> None:
        self.told: list[str | None] = []

    def __call__(self, problem: str | None) -> None:
        self.told.append(problem)


@pytest.fixture
def reports() -> Reports:
    """Take reports."""
    return Reports()


@pytest.fixture
async def database(private_postgres: PostgresServer, reports: Reports) -> AsyncIterator[Database]:
    """Connect to a PostgreSQL that the test may freeze."""
    database = Database(Postgres(private_postgres.url, migrations=MIGRATIONS), report=reports)
    await database.start()
    yield database
    private_postgres.resume()
    await database.close()


async def _answers(database: Database) -> bool:
    try:
        return await database.run(ACME, _one) == 1
    except DatabaseError:
        return False


async def _one(connection: Connection) -> int:
    return int(await connection.fetchval("SELECT 1"))


class TestSilence:
    async def test_is_waited_for_no_longer_than_the_bound_and_told_of(
        self, private_postgres: PostgresServer, database: Database, reports: Reports
    ) -> None:
        """By every caller at the same time; and it is told when it is over."""
        await database.run(ACME, _one)
        private_postgres.pause()
        began = time.monotonic()
        found = await asyncio.gather(
            *(database.run(ACME, _one) for _ in range(5)), return_exceptions=True
        )
        took = time.monotonic() - began
        problem = reports.told[-1]
        private_postgres.resume()
        async with asyncio.timeout(30):
            while not await _answers(database):
                pass  # each attempt waits by itself

        assert [DatabaseError] * 5 == [type(error) for error in found]
        assert took < LONGEST_RUN + 1
        assert problem is not None
        assert problem.startswith("PostgreSQL does not answer: ")
        assert reports.told[-1] is None


class TestResetOnRecord:
    async def test_one_that_failed_is_not(
        self, private_redis: RedisServer, postgres_url: str, serve_ratelimit: ServeRateLimit
    ) -> None:
        """What could not be forgotten is not written down as if it had been."""
        async with serve_ratelimit(private_redis.url, postgres_url=postgres_url) as channel:
            await _reset(channel, "why first")
            await private_redis.kill()
            with pytest.raises(RateLimitStoreError):
                await _reset(channel, "why second")
            connection = await asyncpg.connect(postgres_url)
            await connection.execute("SET mainstay.tenant = '*'")
            rows = await connection.fetch(
                "SELECT reason FROM ratelimit.audit_log WHERE action = 'reset'"
            )
            await connection.close()

        assert [("why first",)] == [tuple(row) for row in rows]


async def _reset(channel: Channel, reason: str) -> None:
    stub = pb_grpc.RateLimitServiceStub(channel.raw)
    request = pb.ResetRequest(subject="ann", everything=True, reason=reason)
    await channel.unary(stub.Reset, request)

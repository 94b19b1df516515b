"""Reservations in a real Redis: settled once, by their tenant, until they end."""

import asyncio
import secrets
from collections.abc import Callable

import pytest
import redis.asyncio

from mainstay.errors import RateLimitStoreError
from services.ratelimit.redis_reservations import RedisReservations
from services.ratelimit.reservation import ID_BYTES, Held, reservation_fault
from shared.redis.client import Redis
from shared.rpc.call import Tenant
from tests.conftest import StartRedis
from tests.integration.ratelimit.lending.lender import ACME, MINUTE

HELD = Held(
    subject="user:é{}:1",
    plan="pro",
    consumed_at=1_760_000_000_123_456,
    amounts={("chat", 0): 40, ("chat", 1): 40, ("money", 0): 2**32},
)


def _numbered() -> Callable[[], bytes]:
    numbers = iter(range(1, 100))
    return lambda: next(numbers).to_bytes(ID_BYTES, "big")


@pytest.fixture
def reservations(link: Redis) -> RedisReservations:
    """Keep reservations whose names are numbers."""
    return RedisReservations(link, new_randomness=_numbered())


class TestSettlement:
    async def test_what_was_held_comes_back_as_it_was(
        self, reservations: RedisReservations
    ) -> None:
        """All that is needed to give it back, whatever stands in the names."""
        reservation = await reservations.hold(ACME, HELD, MINUTE)

        assert reservation_fault(reservation) is None
        assert await reservations.settle(ACME, reservation) == HELD

    async def test_it_is_settled_once(self, reservations: RedisReservations) -> None:
        """By one of fifty who ask at the same time."""
        reservation = await reservations.hold(ACME, HELD, MINUTE)
        told = await asyncio.gather(*(reservations.settle(ACME, reservation) for _ in range(50)))

        assert [HELD] == [held for held in told if held is not None]

    async def test_another_tenant_does_not_reach_it(self, reservations: RedisReservations) -> None:
        """And takes nothing away by trying."""
        reservation = await reservations.hold(ACME, HELD, MINUTE)

        assert await reservations.settle(Tenant("globex"), reservation) is None
        assert await reservations.settle(ACME, reservation) == HELD

    async def test_one_that_was_never_made(self, reservations: RedisReservations) -> None:
        """Is as one that was settled before."""
        assert await reservations.settle(ACME, "0" * 2 * ID_BYTES) is None


class TestRecords:
    async def test_it_ends_by_itself(
        self, reservations: RedisReservations, raw: "redis.asyncio.Redis"
    ) -> None:
        """After the time it was given, rounded up to milliseconds."""
        await reservations.hold(ACME, HELD, MINUTE + 1)
        (key,) = await raw.keys("rl:{acme}:~held:*")

        assert 59_000 < await raw.pttl(key) <= 60_001

    @pytest.mark.parametrize(
        "record", [b"", b"[]", b"{}", b"\xff", b'{"subject":"a","plan":"","at":1,"amounts":[1]}']
    )
    async def test_one_that_is_unreadable_counts_as_none(
        self, reservations: RedisReservations, raw: "redis.asyncio.Redis", record: bytes
    ) -> None:
        """Nothing is known that could be given back."""
        reservation = await reservations.hold(ACME, HELD, MINUTE)
        (key,) = await raw.keys("*")
        await raw.set(key, record)

        assert await reservations.settle(ACME, reservation) is None


class TestWithoutRedis:
    async def test_it_fails_in_the_rate_limits_own_words(self, start_redis: StartRedis) -> None:
        """Within a bounded time, and says what is missing."""
        server = await start_redis()
        link = Redis(server.url, timeout=0.2)
        await link.start()
        reservations = RedisReservations(link, new_randomness=lambda: secrets.token_bytes(ID_BYTES))
        await server.kill()
        for attempt in (
            reservations.hold(ACME, HELD, MINUTE),
            reservations.settle(ACME, "0" * 2 * ID_BYTES),
        ):
            with pytest.raises(RateLimitStoreError) as failed:
                async with asyncio.timeout(5):
                    await attempt

            assert failed.value.metadata["dependency"] == "redis"
        await link.close()

"""How many replicas share a limit, as far as Redis lets them know."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY

from cli.embedded.redis import RedisServer
from services.ratelimit import replicas as module
from services.ratelimit.replicas import ALIVE_MS, COUNTS, Replicas
from shared.redis.client import Redis
from tests.integration.shared.waiting import until

NOW_MS = 1_760_000_000_000


class Clock:
    """Redis's clock, as a test wants it."""

    def __init__(self) -> None:
        self.now = NOW_MS

    def __call__(self) -> int:
        return self.now


@pytest.fixture
async def shared(redis_url: str) -> AsyncIterator[Redis]:
    """Connect to a Redis that is only looked at."""
    connected = Redis(redis_url, timeout=5)
    await connected.start()
    yield connected
    await connected.close()


def nothing() -> bool:
    """Owe nothing."""
    return False


async def beat(replica: Replicas, times: int) -> None:
    for _ in range(times):
        await replica.beat()


class TestCount:
    async def test_is_of_those_that_beat_lately(self, shared: Redis) -> None:
        """Each learns of the others with its next beat."""
        one, two = (
            Replicas(shared, replica="one", owes=nothing),
            Replicas(shared, replica="two", owes=nothing),
        )
        await one.beat()
        alone = one.count
        await two.beat()
        await one.beat()

        assert 1 == alone
        assert (2, 2) == (one.count, two.count)
        assert 2.0 == REGISTRY.get_sample_value("mainstay_ratelimit_replicas")

    async def test_is_without_those_that_were_silent_for_long(self, shared: Redis) -> None:
        """Three beats in a row may be lost."""
        clock = Clock()
        one, gone = (
            Replicas(shared, replica=name, owes=nothing, clock=clock) for name in ("one", "gone")
        )
        await gone.beat()
        clock.now += ALIVE_MS
        await beat(one, COUNTS)
        still = one.count
        clock.now += 1
        await beat(one, COUNTS)

        assert (2, 1) == (still, one.count)

    async def test_is_not_smaller_for_a_redis_that_has_forgotten_everybody(
        self, shared: Redis
    ) -> None:
        """The others are heard again before the count of a moment is believed."""
        one, two = (
            Replicas(shared, replica="one", owes=nothing),
            Replicas(shared, replica="two", owes=nothing),
        )
        await two.beat()
        await one.beat()
        await shared.execute("DEL", module.KEY)
        await one.beat()
        alone = one.count
        await two.beat()
        await beat(one, COUNTS)

        assert (2, 2) == (alone, one.count)

    async def test_is_without_those_whose_clock_was_far_ahead(self, shared: Redis) -> None:
        """As after a failover to a server with another clock: who lives beats again."""
        clock = Clock()
        one, ahead = (
            Replicas(shared, replica=name, owes=nothing, clock=clock) for name in ("one", "ahead")
        )
        clock.now += 2 * ALIVE_MS
        await ahead.beat()
        clock.now -= 2 * ALIVE_MS
        await one.beat()

        assert 1 == one.count

    async def test_leaves_nothing_behind_when_nobody_beats(self, shared: Redis) -> None:
        """The set expires by itself."""
        await Replicas(shared, replica="one", owes=nothing).beat()

        assert 0 < await shared.execute("PTTL", module.KEY) <= ALIVE_MS

    async def test_is_without_a_replica_that_has_stopped(
        self, shared: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It takes leave."""
        monkeypatch.setattr(module, "INTERVAL", 0.01)
        one, two = (
            Replicas(shared, replica="one", owes=nothing),
            Replicas(shared, replica="two", owes=nothing),
        )
        beating, leaving = (asyncio.create_task(each.run()) for each in (one, two))
        await until(lambda: one.count == 2)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        left = await shared.execute("ZSCORE", module.KEY, "two")
        await until(lambda: one.count == 1)
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)

        assert left is None


class TestWhileRedisIsAway:
    async def test_the_last_count_holds(
        self, private_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody can tell whether replicas come or go. When it is back they count again."""
        monkeypatch.setattr(module, "INTERVAL", 0.01)
        monkeypatch.setattr(module, "LONGEST_MS", 100)
        shared = Redis(private_redis.url)
        await shared.start()
        one, two = (
            Replicas(shared, replica="one", owes=nothing),
            Replicas(shared, replica="two", owes=nothing),
        )
        await two.beat()
        beating = asyncio.create_task(one.run())
        await until(lambda: one.count == 2)
        await private_redis.kill()
        await until(lambda: not shared.connected)
        await asyncio.sleep(0.05)  # some beats that fail
        away, ended = one.count, beating.done()
        await private_redis.start()
        await until(lambda: one.count == 1)
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await shared.close()

        assert (2, False) == (away, ended)

    def test_before_the_first_beat_the_expected_number_holds(self) -> None:
        """A service that starts without Redis has heard of nobody."""
        shared = Redis("redis://127.0.0.1:1/0")

        assert 3 == Replicas(shared, replica="one", owes=nothing, expected=3).count

"""Masters that die or give way, in the middle of load."""

import asyncio
import time

import pytest

from mainstay.errors import UnavailableError
from shared.redis.client import Redis
from shared.telemetry import metrics
from tests.cluster.callers import MANY, Load, all_pages, connected
from tests.cluster.six_nodes import SixNodes
from tests.integration.shared.waiting import until

TIMEOUT = 0.5
DOCUMENTED = {"REDIS_TIMEOUT", "REDIS_UNAVAILABLE", "REDIS_BREAKER_OPEN", "REDIS_REFUSED"}


def breaker() -> float:
    """Return what the metric says: 1 while some commands fail at once."""
    return float(metrics.redis_breaker_open._value.get())


class TestAFailover:
    @pytest.mark.parametrize("how", ["killed", "frozen"])
    async def test_in_the_middle_of_load(self, cluster: SixNodes, how: str) -> None:
        """Only the lost master's keys fail, for the reasons documented, until its replica leads."""
        key = MANY[0]
        async with connected(cluster.url, timeout=TIMEOUT) as redis:
            await redis.execute_many([("SET", name, name) for name in MANY])
            assert await redis.execute("WAIT", 1, 1000) is not None
            lost = await cluster.master_of(key)
            theirs = {name for name in MANY if await cluster.master_of(name) is lost}
            async with Load(redis) as load:
                if how == "killed":
                    await lost.kill()
                else:
                    lost.pause()
                await until(lambda: not redis.connected)
                open_breaker = breaker()
                new = await cluster.promoted(key, instead_of=lost)
                began = time.monotonic()
                await load.answers_every_key()
                resumed = time.monotonic() - began
            healed = redis.connected, breaker()

        assert load.wrong == []
        assert {reason for _, reason in load.failed} <= DOCUMENTED
        assert {name for name, _ in load.failed} <= theirs
        assert load.failed
        assert load.slowest < TIMEOUT + 1
        assert resumed < 5
        assert (open_breaker, healed, new is lost) == (1, (True, 0), False)

    async def test_that_is_planned_is_not_noticed(self, cluster: SixNodes, filled: Redis) -> None:
        """A master that hands over to its replica sends those who come late there: no error."""
        async with Load(filled) as load:
            await cluster.hand_over(MANY[0])
            await load.answers_every_key()

        assert (load.wrong, load.failed) == ([], [])
        assert filled.connected

    async def test_a_client_that_starts_meanwhile(self, cluster: SixNodes) -> None:
        """It cannot begin yet, and says so in a way that is tried again; then it can."""
        lost = await cluster.kill_master_of(MANY[0])
        with pytest.raises(UnavailableError) as caught:
            async with connected(cluster.url, timeout=TIMEOUT):
                pass
        new = await cluster.promoted(MANY[0], instead_of=lost)
        async with connected(cluster.url, timeout=TIMEOUT) as redis:
            done = await redis.execute("SET", MANY[0], "x")

        assert (caught.value.transient, done) == (True, b"OK")
        assert await new.ask("GET", MANY[0]) == "x"

    async def test_of_all_nodes_at_once(self, cluster: SixNodes) -> None:
        """Nobody is left to ask until they come back; then it heals without a restart."""
        async with connected(cluster.url, timeout=TIMEOUT) as redis:
            await asyncio.gather(*(node.kill() for node in cluster.nodes))
            await until(lambda: not redis.connected)
            with pytest.raises(UnavailableError) as caught:
                await redis.execute("GET", MANY[0])
            await cluster.healthy()
            await until(lambda: redis.connected)
            replies = await redis.execute_many([("SET", key, key) for key in MANY])

        assert caught.value.reason in DOCUMENTED
        assert replies == [b"OK"] * len(MANY)

    async def test_ends_a_scan(self, cluster: SixNodes, filled: Redis) -> None:
        """Pages that came after would no longer be sure to hold all keys."""
        pages = filled.scan_pages(match="*", count=5)
        await anext(pages)
        lost = await cluster.kill_master_of(MANY[0])
        await cluster.promoted(MANY[0], instead_of=lost)
        await until(lambda: filled.connected)

        with pytest.raises(UnavailableError):
            await all_pages(pages)

"""Blocks of several clients that share the places of one rule, on the real service."""

import asyncio
import time
from datetime import timedelta

import pytest

from cli.embedded.redis import RedisServer
from mainstay.errors import NotFoundError, RateLimitError
from mainstay.ratelimit import FailureMode, RateLimitClient
from tests.integration.sdk_ratelimit.service.conftest import Connect

SUBJECT, ENDPOINT = "user:42", "video_processing"
PLACES = 3
BRIEF = timedelta(seconds=1)
PATIENCE = 20.0


async def place_is_there(limits: RateLimitClient) -> bool:
    """Tell whether there is a place, and leave it."""
    try:
        async with limits.concurrency(SUBJECT, ENDPOINT):
            return True
    except RateLimitError:
        return False


class TestPlaces:
    async def test_are_never_more_than_the_rule_gives(self, connect: Connect) -> None:
        """However many want one, from however many clients."""
        clients = [connect(), connect()]
        inside = most = served = 0

        async def work(number: int) -> None:
            nonlocal inside, most, served
            async with asyncio.timeout(PATIENCE):
                while True:
                    try:
                        async with clients[number % 2].concurrency(SUBJECT, ENDPOINT):
                            inside += 1
                            most = max(most, inside)
                            await asyncio.sleep(0.005)
                            inside -= 1
                        break
                    except RateLimitError:
                        await asyncio.sleep(0.01)
            served += 1

        await asyncio.gather(*(work(number) for number in range(20)))

        assert (PLACES, 20) == (most, served)

    async def test_come_back_when_blocks_end(self, limits: RateLimitClient) -> None:
        """At once, not when their time is over."""
        async with (
            limits.concurrency(SUBJECT, ENDPOINT),
            limits.concurrency(SUBJECT, ENDPOINT),
            limits.concurrency(SUBJECT, ENDPOINT),
        ):
            full = await place_is_there(limits)

        assert (False, True) == (full, await place_is_there(limits))

    async def test_are_kept_longer_than_their_time(self, limits: RateLimitClient) -> None:
        """Nobody else gets one meanwhile."""
        async with (
            limits.concurrency(SUBJECT, ENDPOINT, ttl=BRIEF) as place,
            limits.concurrency(SUBJECT, ENDPOINT, ttl=BRIEF),
            limits.concurrency(SUBJECT, ENDPOINT, ttl=BRIEF),
        ):
            ends = time.monotonic() + 2.5 * BRIEF.total_seconds()
            given = False
            while time.monotonic() < ends:
                given = given or await place_is_there(limits)
            lost = place.lost.is_set()

        assert (False, False) == (given, lost)

    async def test_of_who_dies_come_back(self, connect: Connect, limits: RateLimitClient) -> None:
        """After their time, without anybody giving them back."""
        dying = connect()
        for _ in range(PLACES):
            await dying.acquire_lease(SUBJECT, ENDPOINT, ttl=BRIEF)
        full = await place_is_there(limits)
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE):
            while not await place_is_there(limits):
                pass

        assert not full
        assert time.monotonic() - began <= 10

    async def test_that_were_given_to_somebody_else_are_lost(self, limits: RateLimitClient) -> None:
        """An operator forgot them: the block is told with its next renewal."""
        async with limits.concurrency(SUBJECT, ENDPOINT, ttl=BRIEF) as place:
            forgotten = await limits.reset(SUBJECT, endpoint=ENDPOINT)
            async with asyncio.timeout(PATIENCE):
                await place.lost.wait()

        assert ("transcoding",) == tuple(name for name in forgotten if name == "transcoding")

    async def test_of_a_plan_without_a_limit_are_endless(self, limits: RateLimitClient) -> None:
        """Nothing is counted."""
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(self._hold(limits))

    async def _hold(self, limits: RateLimitClient) -> None:
        async with limits.concurrency(SUBJECT, ENDPOINT, plan="pro") as place:
            assert place.decision.limit is None

    async def test_are_of_endpoints_that_a_rule_covers(self, limits: RateLimitClient) -> None:
        """Of others there are none."""
        with pytest.raises(NotFoundError):
            async with limits.concurrency(SUBJECT, "no_such_endpoint"):
                pytest.fail("no rule covers it")


class TestWithoutRedis:
    @pytest.fixture
    def redis_url(self, private_redis: RedisServer) -> str:
        """Use one that may be killed."""
        return private_redis.url

    async def test_blocks_run_as_the_rule_says(
        self, limits: RateLimitClient, private_redis: RedisServer
    ) -> None:
        """This one is local: the replica gives as many places as its share of the limit."""
        await private_redis.kill()
        async with (
            limits.concurrency(SUBJECT, ENDPOINT) as place,
            limits.concurrency(SUBJECT, ENDPOINT),
            limits.concurrency(SUBJECT, ENDPOINT),
        ):
            more = await place_is_there(limits)

        assert (True, FailureMode.LOCAL) == (place.decision.degraded, place.decision.failure_mode)
        assert (False, True) == (more, await place_is_there(limits))

    async def test_a_place_that_cannot_be_renewed_is_lost_with_its_time(
        self, limits: RateLimitClient, private_redis: RedisServer
    ) -> None:
        """Somebody else may have it from then on."""
        began = time.monotonic()
        async with limits.concurrency(SUBJECT, ENDPOINT, ttl=BRIEF) as place:
            await private_redis.kill()
            async with asyncio.timeout(PATIENCE):
                await place.lost.wait()

        assert BRIEF.total_seconds() <= time.monotonic() - began

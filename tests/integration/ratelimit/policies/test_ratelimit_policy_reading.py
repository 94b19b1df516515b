"""Policies that callers wrote are read one at a time, whoever waits or leaves."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from mainstay.errors import UnavailableError, ValidationError
from services.ratelimit.policy import Policy
from services.ratelimit.policy_file import Mistakes, read_policy
from services.ratelimit.policy_reading import PolicyReading
from services.ratelimit.previewing import MAX_WINDOW, Previewing
from services.ratelimit.traffic import Batch
from services.ratelimit.turns import MAX_WAITING
from tests.integration.ratelimit.policies.policy_replica import ACME, PolicyReplica, now_us
from tests.integration.shared.waiting import PATIENCE, until

TEXT = 'version: 1\nlimits:\n  - {name: api, endpoints: ["*"], default: 5/min}\n'


class Slow:
    """Reads in no time, once it may; knows how many were read at once."""

    def __init__(self) -> None:
        self.may_end = threading.Semaphore(0)
        self.begun = self.now = self.most = 0

    def __call__(self, text: str) -> Policy | Mistakes:
        self.begun, self.now = self.begun + 1, self.now + 1
        self.most = max(self.most, self.now)
        assert self.may_end.acquire(timeout=PATIENCE)
        self.now -= 1
        return read_policy(text)


@pytest.fixture
def slow() -> Slow:
    """Make a reader that waits for the test."""
    return Slow()


class TestReading:
    async def test_is_done_for_one_at_a_time(self, slow: Slow) -> None:
        """The others wait, and all get theirs."""
        reading = PolicyReading(read=slow)
        calls = [asyncio.create_task(reading.read(TEXT)) for _ in range(3)]
        for _ in calls:
            slow.may_end.release()
        policies = await asyncio.gather(*calls)

        assert (1, 3) == (slow.most, len({id(policy) for policy in policies}))

    async def test_lets_some_wait_and_sends_the_others_away(self, slow: Slow) -> None:
        """With a time to come back after; there is room again when one is done."""
        reading = PolicyReading(max_waiting=1, read=slow)
        calls = [asyncio.create_task(reading.read(TEXT)) for _ in range(2)]
        await until(lambda: slow.begun == 1)
        with pytest.raises(UnavailableError) as caught:
            await reading.read(TEXT)
        slow.may_end.release(3)
        await asyncio.gather(*calls)

        assert ("OVERLOADED", 5.0) == (caught.value.reason, caught.value.retry_after)
        assert isinstance(await reading.read(TEXT), Policy)

    async def test_goes_on_when_its_caller_leaves(self, slow: Slow) -> None:
        """A thread cannot be stopped: the next one waits for its end, not for that of the call."""
        reading = PolicyReading(read=slow)
        left = asyncio.create_task(reading.read(TEXT))
        await until(lambda: slow.begun == 1)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        follower = asyncio.create_task(reading.read(TEXT))
        await asyncio.wait({follower}, timeout=0.05)
        begun_meanwhile = slow.begun
        slow.may_end.release(2)
        await follower

        assert (True, 1, 1) == (left.cancelled(), begun_meanwhile, slow.most)

    async def test_of_what_cannot_be_a_policy_takes_no_turn(self, slow: Slow) -> None:
        """It is refused at once, however many wait."""
        reading = PolicyReading(max_waiting=0, read=slow)
        for text in ("", "a\0", "a" * (2**20 + 1)):
            with pytest.raises(ValidationError, match="give 1 to 1,048,576 bytes"):
                await reading.read(text)

        assert 0 == slow.begun


async def nothing_is_recent() -> None:
    """Write what is not there."""


class NoTraffic:
    """Nothing was recorded."""

    async def batches(self, since: int) -> AsyncIterator[Batch]:
        for nothing in list[Batch]():
            yield nothing


class TestPreviews:
    async def test_wait_their_turn_or_are_sent_away(self, slow: Slow, here: PolicyReplica) -> None:
        """Each of those that wait holds a megabyte."""
        previewing = Previewing(
            policies=here.policies,
            reading=PolicyReading(read=slow),
            traffic=NoTraffic(),
            overrides=here.book,
            write_recent=nothing_is_recent,
            now_us=now_us,
        )
        calls = [
            asyncio.create_task(previewing.preview(ACME, TEXT, window=MAX_WINDOW))
            for _ in range(1 + MAX_WAITING)
        ]
        await until(lambda: slow.begun == 1)
        with pytest.raises(UnavailableError) as caught:
            await previewing.preview(ACME, TEXT, window=MAX_WINDOW)
        slow.may_end.release(len(calls))
        done = await asyncio.gather(*calls)

        assert ("OVERLOADED", {0}) == (caught.value.reason, {it.preview.replayed for it in done})

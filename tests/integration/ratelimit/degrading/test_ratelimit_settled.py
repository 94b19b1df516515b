"""Whether every replica has charged Redis with what it admitted alone, as they tell each other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from cli.embedded.redis import RedisServer
from mainstay.errors import UnavailableError
from services.ratelimit import replicas as module
from services.ratelimit.replicas import COUNTS, KEY, LONGEST_MS, OWING_KEY, Replicas
from shared.redis.client import Redis
from tests.integration.shared.waiting import until

NOW_MS = 1_760_000_000_000


class Clock:
    """Redis's clock, as a test wants it."""

    def __init__(self) -> None:
        self.now = NOW_MS

    def __call__(self) -> int:
        return self.now


class Line(Redis):
    """The real client on a line that is cut for one replica alone, when a test says so."""

    def cut(self) -> None:
        self._losses += 1


@dataclass(kw_only=True)
class Member:
    """One of several replicas on one Redis; it owes when a test says so."""

    line: Line
    name: str
    clock: Clock
    expected: int = 1
    owes: bool = False

    def __post_init__(self) -> None:
        self.all = Replicas(
            self.line,
            replica=self.name,
            owes=lambda: self.owes,
            expected=self.expected,
            clock=self.clock,
        )

    async def beat(self) -> bool:
        """Beat, and return whether all are settled."""
        await self.all.beat()
        return self.all.settled


@asynccontextmanager
async def line_to(url: str) -> AsyncIterator[Line]:
    line = Line(url, timeout=5)
    await line.start()
    try:
        yield line
    finally:
        await line.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def lines(redis_url: str) -> AsyncIterator[list[Line]]:
    """Connect three replicas to a Redis that is empty."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(line_to(redis_url)) for _ in range(3)]


@pytest.fixture
async def members(lines: list[Line], clock: Clock) -> list[Member]:
    """Let two replicas hear of each other."""
    both = [
        Member(line=line, name=name, clock=clock)
        for line, name in zip(lines, ["one", "two"], strict=False)
    ]
    for each in (*both, *both):
        await each.beat()
    return both


class TestAReplicaThatWasCutOff:
    async def test_waits_for_all_that_it_had_heard_of(self, members: list[Member]) -> None:
        """Until the last of them is back and owes nothing."""
        one, two = members
        one.line.cut()
        two.line.cut()
        away = one.all.settled
        two.owes = True
        early = await one.beat()
        back = await two.beat()
        owing = await one.beat()
        two.owes = False
        last = await two.beat()
        paid = await one.beat()

        assert (False, False, False, False) == (away, early, back, owing)
        # One had to cross itself out again after two put it down.
        assert (True, True) == (last, paid)

    async def test_waits_also_for_who_comes_before_it(self, members: list[Member]) -> None:
        """In whatever order they find Redis again."""
        one, two = members
        for each in members:
            each.line.cut()
            each.owes = True
        told = [await one.beat(), await two.beat()]
        two.owes = False
        told.append(await two.beat())
        one.owes = False
        told.append(await one.beat())
        told.append(await two.beat())

        assert [False, False, False, True, True] == told

    async def test_waits_a_moment_for_one_that_was_not(self, members: list[Member]) -> None:
        """That one crosses itself out with its next beat and goes on as ever."""
        one, two = members
        one.line.cut()
        one.owes = True
        before = await one.beat()
        other = await two.beat()
        one.owes = False
        after = await one.beat()

        assert (False, True, True) == (before, other, after)

    async def test_does_not_wait_for_ever(self, members: list[Member], clock: Clock) -> None:
        """A replica that died in the outage takes with it what it owes."""
        one, _ = members
        one.line.cut()
        told = [await one.beat()]
        clock.now += LONGEST_MS
        told.append(await one.beat())
        clock.now += 1
        told.append(await one.beat())

        assert [False, False, True] == told

    async def test_waits_for_as_long_as_another_says_that_it_owes(
        self, members: list[Member], clock: Clock
    ) -> None:
        """Many counters take their time."""
        one, two = members
        for each in members:
            each.line.cut()
        two.owes = True
        for _ in range(4):
            await two.beat()
            still = await one.beat()
            clock.now += LONGEST_MS - 1
        two.owes = False
        await two.beat()

        assert not still
        assert await one.beat()

    async def test_takes_nothing_for_settled_that_was_said_before(
        self, members: list[Member], clock: Clock
    ) -> None:
        """What is late on the way names an entry that has been written anew since."""
        one, two = members
        one.line.cut()
        await one.beat()
        ((_, old),) = await _entries(one)
        one.line.cut()
        clock.now += 1
        await one.beat()
        late: list[str | int] = ["two", module.ALIVE_MS, clock.now, LONGEST_MS, old]
        await two.line.run_script(module._BEAT, [KEY, OWING_KEY], late)

        assert not await one.beat()
        assert ["two"] == [name for name, _ in await _entries(one)]

    async def test_remembers_meanwhile_of_how_many_it_had_heard(
        self, members: list[Member], clock: Clock
    ) -> None:
        """However often it looks: the shares stay as they are until the last is back."""
        one, _ = members
        await one.line.execute("DEL", KEY, OWING_KEY)
        one.line.cut()
        counts = set()
        for _ in range(2 * COUNTS):
            await one.beat()
            counts.add(one.all.count)
        clock.now += LONGEST_MS + 1
        for _ in range(COUNTS):
            await one.beat()

        assert {2} == counts
        assert 1 == one.all.count

    async def test_waits_no_longer_for_one_that_has_left(
        self, members: list[Member], clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Which it did after it had paid."""
        monkeypatch.setattr(module, "INTERVAL", 60.0)
        one, two = members
        one.line.cut()
        two.owes = True
        clock.now += 1
        leaving = asyncio.create_task(two.all.run())
        async with asyncio.timeout(10):
            while float(await one.line.execute("ZSCORE", KEY, "two")) != clock.now:  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # until it has beaten
        early = await one.beat()
        two.owes = False
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)

        assert not early
        assert await one.beat()


class TestAReplicaThatIsNew:
    async def test_waits_with_the_others(
        self, members: list[Member], lines: list[Line], clock: Clock
    ) -> None:
        """What they owe Redis does not tell it either; its share is one of all of theirs."""
        one, _ = members
        await one.line.execute("DEL", KEY)  # it comes back empty
        one.line.cut()
        await one.beat()
        new = Member(line=lines[2], name="new", clock=clock)
        early = await new.beat()
        share = new.all.count
        for each in members:
            await each.beat()

        assert (False, 3) == (early, share)
        assert await new.beat()

    async def test_is_settled_at_once_where_nobody_owes(
        self, members: list[Member], lines: list[Line], clock: Clock
    ) -> None:
        """As at nearly every start."""
        new = Member(line=lines[2], name="new", clock=clock)

        assert await new.beat()

    async def test_that_began_without_redis_waits_for_those_that_are_expected(
        self, lines: list[Line], clock: Clock
    ) -> None:
        """It has heard of nobody, and they have admitted their shares as well."""
        one, two = (
            Member(line=line, name=name, clock=clock, expected=2)
            for line, name in zip(lines, ["one", "two"], strict=False)
        )
        for each in (one, two):
            each.line.cut()
        two.owes = True
        told = [await one.beat(), await one.beat(), await two.beat(), await one.beat()]
        two.owes = False
        told += [await two.beat(), await one.beat()]

        assert [False, False, False, False, True, True] == told


class TestALossOfRedis:
    async def test_is_known_even_when_it_was_over_at_once(self, private_redis: RedisServer) -> None:
        """It counts before anybody is told of it."""
        async with line_to(private_redis.url) as line:
            one = Member(line=line, name="one", clock=Clock())
            before = await one.beat()
            await private_redis.kill()
            await until(lambda: not line.connected)
            gone = one.all.settled
            settling = one.all.settling
            await private_redis.start()
            await until(lambda: line.connected)
            back, settling_then = one.all.settled, one.all.settling
            after = await one.beat()

        assert (True, False, False, True) == (before, gone, back, after)
        assert (False, True) == (settling, settling_then)

    async def test_is_also_a_start_without_it(self, private_redis: RedisServer) -> None:
        """What is admitted until it is there is owed to it, by all that are expected."""
        await private_redis.stop()
        line = Line(private_redis.url, timeout=5)
        one = Member(line=line, name="one", clock=Clock(), expected=2)
        with pytest.raises(UnavailableError):
            await line.start()
        away = one.all.settled
        await private_redis.start()
        await line.start()
        settling = one.all.settling
        after = await one.beat()
        await line.close()

        assert (False, True, False) == (away, settling, after)

    async def test_makes_it_look_more_often(
        self, members: list[Member], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Long before the next beat is due."""
        monkeypatch.setattr(module, "INTERVAL", 60.0)
        monkeypatch.setattr(module, "LOOK", 0.01)
        one, two = members
        beating = [asyncio.create_task(each.all.run()) for each in members]
        for each in members:
            each.line.cut()
        await until(lambda: one.all.settled and two.all.settled)
        for task in beating:
            task.cancel()
        await asyncio.gather(*beating, return_exceptions=True)

        assert not await _entries(one)


class TestTheSecondSet:
    async def test_expires_by_itself(self, members: list[Member]) -> None:
        """When nobody is left to look at it."""
        one, _ = members
        one.line.cut()
        await one.beat()

        assert 0 < await one.line.execute("PTTL", OWING_KEY) <= LONGEST_MS

    async def test_keeps_nobody_waiting_longer_when_the_clock_steps_back(
        self, members: list[Member], clock: Clock
    ) -> None:
        """Not for as long as the step."""
        one, _ = members
        one.line.cut()
        await one.beat()
        clock.now -= 3_600_000
        await one.beat()
        clock.now += LONGEST_MS + 1

        assert await one.beat()


async def _entries(member: Member) -> list[tuple[str, str]]:
    """Return who may owe, by name."""
    found = await member.line.execute("ZRANGE", OWING_KEY, 0, -1, "WITHSCORES")
    pairs = found if found and isinstance(found[0], list) else zip(*[iter(found)] * 2, strict=True)
    return sorted((name.decode(), f"{float(score):.0f}") for name, score in pairs)

"""Decisions while Redis is back but not every replica has charged it with what it admitted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from cli.embedded.redis import RedisServer
from services.ratelimit.policy import FailureMode
from tests.integration.ratelimit.degrading.world import Replica, charge, pair
from tests.integration.shared.waiting import until

QUOTA = 10
SHARE = QUOTA // 2

Pair = tuple[Replica, Replica]


async def _freeze(server: RedisServer) -> None:
    server.pause()


async def _thaw(server: RedisServer) -> None:
    server.resume()


OUTAGES = [
    pytest.param(_freeze, _thaw, id="frozen"),
    pytest.param(RedisServer.kill, RedisServer.start, id="killed_and_restarted"),
]
Change = Callable[[RedisServer], Awaitable[None]]


@pytest.fixture
async def both(private_redis: RedisServer) -> AsyncIterator[Pair]:
    async with pair(private_redis.url) as replicas:
        yield replicas


async def lost(server: RedisServer, lose: Change, *replicas: Replica) -> None:
    """Lose Redis and wait until each replica knows that it waited in vain."""
    await lose(server)
    for each in replicas:
        await each.decide(charge(subject="nobody"), consume=False)
    await asyncio.gather(*(each.until_lost() for each in replicas))


async def found(*replicas: Replica) -> None:
    await asyncio.gather(*(each.until_connected() for each in replicas))
    for each in replicas:
        each.seconds.now += 60  # whoever waited for Redis in vain asks it again


async def admitted(one: Replica, tries: int, quota: int = QUOTA) -> int:
    return sum([(await one.decide(charge(quota))).admits for _ in range(tries)])


async def back_and_forth(server: RedisServer, *replicas: Replica) -> None:
    """Let Redis be lost and found, and nobody settled."""
    await lost(server, RedisServer.kill, *replicas)
    await server.start()
    await found(*replicas)


class TestAReplicaThatIsBackFirst:
    @pytest.mark.parametrize(("lose", "bring_back"), OUTAGES)
    async def test_admits_nothing_that_redis_alone_would(
        self, private_redis: RedisServer, both: Pair, lose: Change, bring_back: Change
    ) -> None:
        """Not before the last has paid; then Redis knows of everything and decides."""
        one, two = both
        await lost(private_redis, lose, one, two)
        apart = [await admitted(each, QUOTA) for each in both]
        await bring_back(private_redis)
        await found(one, two)
        await one.pay()
        for _ in range(5):
            await one.all.beat()
        known = await one.used(charge(QUOTA))
        early = [await one.decide(charge(QUOTA)) for _ in range(3)]
        await asyncio.gather(two.settle(), one.settle())
        late = [await each.decide(charge(QUOTA)) for each in both]

        assert [SHARE, SHARE] == apart
        assert SHARE == known
        assert {(False, FailureMode.LOCAL)} == {(each.admits, each.degraded) for each in early}
        assert [(False, None, QUOTA)] * 2 == [
            (each.admits, each.degraded, each.used) for each in late
        ]

    async def test_still_admits_its_share_and_owes_nothing_for_it(
        self, private_redis: RedisServer, both: Pair
    ) -> None:
        """Redis has counted each of them when it is answered."""
        one, two = both
        await lost(private_redis, RedisServer.kill, one, two)
        await admitted(two, QUOTA)
        await private_redis.start()
        await found(one, two)
        answers = [await one.decide(charge(QUOTA)) for _ in range(SHARE + 1)]
        known = await one.used(charge(QUOTA))
        await asyncio.gather(two.settle(), one.settle())

        assert [True] * SHARE + [False] == [each.admits for each in answers]
        assert [None] * SHARE + [FailureMode.LOCAL] == [each.degraded for each in answers]
        assert [6, 7, 8, 9, 10] == [each.used for each in answers[:SHARE]]
        assert SHARE == known
        assert not one.debts
        assert QUOTA == await one.used(charge(QUOTA))

    async def test_admits_no_more_to_callers_that_come_at_once(
        self, private_redis: RedisServer, both: Pair
    ) -> None:
        """While they wait for Redis together, too."""
        one, two = both
        await lost(private_redis, RedisServer.kill, one, two)
        await admitted(two, QUOTA)
        await private_redis.start()
        await found(one, two)
        answers = await asyncio.gather(*(one.decide(charge(QUOTA)) for _ in range(3 * QUOTA)))

        assert SHARE == sum(each.admits for each in answers)


class TestRedis:
    async def test_has_to_admit_as_well(self, private_redis: RedisServer, both: Pair) -> None:
        """What it counted before the outage it still knows."""
        one, two = both
        await admitted(one, QUOTA)
        await lost(private_redis, _freeze, one, two)
        await _thaw(private_redis)
        await found(one, two)
        answer = await one.decide(charge(QUOTA))

        assert not one.all.settled
        assert (False, None, QUOTA) == (answer.admits, answer.degraded, answer.used)

    async def test_that_denies_costs_nobody_his_share(
        self, private_redis: RedisServer, both: Pair
    ) -> None:
        """In the next outage all of it is there."""
        one, two = both
        await admitted(one, QUOTA)
        await lost(private_redis, _freeze, one, two)
        await _thaw(private_redis)
        await found(one, two)
        denied = await admitted(one, QUOTA)
        await lost(private_redis, _freeze, one)
        again = await admitted(one, QUOTA)
        private_redis.resume()

        assert (0, SHARE) == (denied, again)

    async def test_that_falls_silent_leaves_one_debt_for_one_call(
        self, private_redis: RedisServer, both: Pair
    ) -> None:
        """What was held for it is not consumed twice here."""
        one, _ = both
        await back_and_forth(private_redis, *both)
        private_redis.pause()
        first = await one.decide(charge(QUOTA))
        more = await admitted(one, QUOTA)
        private_redis.resume()

        assert (True, FailureMode.LOCAL) == (first.admits, first.degraded)
        assert SHARE - 1 == more
        assert 1 == len(one.debts)

    async def test_that_nobody_waits_for_any_more_costs_nobody_his_share(
        self, private_redis: RedisServer, both: Pair
    ) -> None:
        """A caller that has gone away was admitted nothing."""
        one, _ = both
        await back_and_forth(private_redis, *both)
        private_redis.pause()
        gone = [asyncio.create_task(one.decide(charge(QUOTA))) for _ in range(SHARE)]
        await until(lambda: len(one.local) == 1)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        await one.until_lost()
        later = await admitted(one, QUOTA)
        private_redis.resume()

        assert SHARE == later


class TestOtherModes:
    @pytest.mark.parametrize("mode", [FailureMode.OPEN, FailureMode.CLOSED])
    async def test_are_decided_by_redis_where_it_answers(
        self, private_redis: RedisServer, both: Pair, mode: FailureMode
    ) -> None:
        """They have no share; the one denies and the other admits where it does not."""
        one, _ = both
        await back_and_forth(private_redis, *both)
        answers = [await one.decide(charge(3, mode=mode)) for _ in range(4)]

        assert [(True, None)] * 3 + [(False, None)] == [
            (each.admits, each.degraded) for each in answers
        ]


class TestSeveralCharges:
    async def test_are_all_or_nothing(self, private_redis: RedisServer, both: Pair) -> None:
        """What one share denies no other counter is consumed for, here or in Redis."""
        one, _ = both
        await back_and_forth(private_redis, *both)
        small, large = charge(2, rule="small"), charge(QUOTA, rule="large")
        answers = [await one.store.decide([small, large], consume=True) for _ in range(3)]
        used = [await one.used(each) for each in (small, large)]
        alone = sum([(await one.decide(large)).admits for _ in range(QUOTA)])

        assert [[True, True], [False, True], [False, True]] == [
            [verdict.admits for verdict in verdicts] for verdicts in answers
        ]
        assert [1, 1] == used
        assert SHARE - 1 == alone

    async def test_of_checks_together_are_decided_in_their_order(
        self, private_redis: RedisServer, both: Pair
    ) -> None:
        """Each by its own counters."""
        one, _ = both
        await back_and_forth(private_redis, *both)
        checks = [[charge(4)], [charge(4)], [charge(4)], [charge(4, subject="user:43")]]
        answers = await one.store.decide_each(checks, consume=True)

        assert [True, True, False, True] == [verdict.admits for (verdict,) in answers]
        assert 2 == await one.used(charge(4))


class TestWhatElseConsumes:
    async def test_charges_count_in_the_share_too(
        self, private_redis: RedisServer, both: Pair
    ) -> None:
        """Once for a name."""
        one, _ = both
        await back_and_forth(private_redis, *both)
        for _ in range(2):
            await one.store.charge([charge(QUOTA, cost=SHARE - 1)], once="call-1")
        answers = [await admitted(one, 1), await admitted(one, 1)]

        assert [1, 0] == answers
        assert SHARE == await one.used(charge(QUOTA))

    async def test_what_is_lent_is_at_most_the_share(
        self, private_redis: RedisServer, both: Pair
    ) -> None:
        """And Redis knows of it, so that what is not spent can be given back."""
        one, _ = both
        await back_and_forth(private_redis, *both)
        (more,) = await one.store.lend([charge(QUOTA, cost=SHARE + 1)], least=1)
        (fits,) = await one.store.lend([charge(QUOTA, cost=SHARE)], least=1)

        assert (False, QUOTA - SHARE) == (more.admits, more.used)
        assert (True, None) == (fits.admits, fits.degraded)
        assert SHARE == await one.used(charge(QUOTA))

    async def test_a_look_consumes_nothing(self, private_redis: RedisServer, both: Pair) -> None:
        """But tells what the share leaves."""
        one, _ = both
        await back_and_forth(private_redis, *both)
        looks = [await one.decide(charge(QUOTA), consume=False) for _ in range(2 * QUOTA)]

        assert {(True, QUOTA - SHARE)} == {(each.admits, each.used) for each in looks}
        assert SHARE == await admitted(one, QUOTA)

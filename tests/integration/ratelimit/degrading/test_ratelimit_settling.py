"""What Redis learns, when it is back, of the time it was away."""

import asyncio

from cli.embedded.redis import RedisServer
from services.ratelimit.local_counters import name_of
from services.ratelimit.policy import FailureMode
from tests.integration.ratelimit.degrading.world import TENANT, Replica, charge, pair
from tests.integration.shared.waiting import until


class TestWhenRedisIsBack:
    async def test_it_is_charged_with_what_was_admitted(
        self, private_redis: RedisServer, one: Replica
    ) -> None:
        """From then on it decides, and knows what it did not see."""
        asked, let_pass = charge(5), charge(5, rule="open", mode=FailureMode.OPEN)
        await one.lose(private_redis)
        for _ in range(4):
            await one.decide(asked)
            await one.decide(let_pass)
        await private_redis.start()
        await one.until_connected()
        await one.settle()
        last, beyond = await one.decide(asked), await one.decide(asked)

        assert (True, None, 5) == (last.admits, last.degraded, last.used)
        assert (False, None) == (beyond.admits, beyond.degraded)
        assert 4 == await one.used(let_pass)

    async def test_whoever_is_owed_for_is_decided_here_until_then(
        self, private_redis: RedisServer, one: Replica
    ) -> None:
        """Asked before it was charged, Redis would admit as much again."""
        owing, fresh = charge(2, cost=2), charge(2, subject="user:43")
        await one.lose(private_redis)
        await one.decide(owing)
        await private_redis.start()
        await one.until_connected()
        early = await one.decide(owing)
        other = await one.decide(fresh)
        together = await one.store.decide_each([[fresh], [owing], [fresh]], consume=True)
        await one.settle()
        late = await one.decide(owing)

        assert (False, FailureMode.LOCAL) == (early.admits, early.degraded)
        assert other.degraded is None
        assert [(True, None), (False, FailureMode.LOCAL), (False, None)] == [
            (verdict.admits, verdict.degraded) for (verdict,) in together
        ]
        assert (False, None) == (late.admits, late.degraded)

    async def test_a_counter_whose_payment_is_on_its_way_is_redis_s_again(
        self, private_redis: RedisServer, one: Replica
    ) -> None:
        """A busy one would never be without a debt if it were decided here."""
        asked = charge(100)
        await one.lose(private_redis)
        await one.decide(asked)
        await private_redis.start()
        await one.until_connected()
        paying = asyncio.create_task(one.settling.run_once())
        while one.debts.is_due(name_of(asked)):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)
        verdict = await one.decide(asked)
        await paying

        assert verdict.degraded is None
        assert 2 == await one.used(asked)

    async def test_a_payment_whose_answer_was_lost_is_made_once(
        self, private_redis: RedisServer, one: Replica
    ) -> None:
        """Redis remembers its name."""
        asked = charge()
        await one.lose(private_redis)
        for _ in range(3):
            await one.decide(asked)
        await private_redis.start()
        await one.until_connected()
        one.inner.losing = True
        unanswered = await one.settling.run_once()
        one.inner.losing = False
        await one.settle()

        assert 0 == unanswered
        assert 3 == await one.used(asked)

    async def test_many_counters_are_paid_in_batches(
        self, private_redis: RedisServer, one: Replica
    ) -> None:
        """First a single one, to see whether Redis takes it; then a hundred at a time."""
        await one.lose(private_redis)
        for n in range(250):
            await one.decide(charge(subject=f"user:{n}"))
        await one.settling.run_once()
        await private_redis.start()
        await one.until_connected()
        left = []
        while one.debts:
            await one.settling.run_once()
            left.append(len(one.debts))

        assert [249, 149, 49, 0] == left

    async def test_a_replica_that_is_gone_again_admits_no_second_share(
        self, private_redis: RedisServer, one: Replica
    ) -> None:
        """What it admitted in the first outage counts in the second."""
        asked = charge(2)
        await one.lose(private_redis)
        first = [await one.decide(asked) for _ in range(3)]
        await private_redis.start()
        await one.until_connected()
        await one.settle()
        await one.lose(private_redis)
        second = await one.decide(asked)

        assert [True, True, False] == [verdict.admits for verdict in first]
        assert (False, FailureMode.LOCAL) == (second.admits, second.degraded)

    async def test_replicas_admit_their_shares_and_then_nothing(
        self, private_redis: RedisServer
    ) -> None:
        """Between them no more than the limit, during the outage and in its window after it."""
        async with pair(private_redis.url) as (one, two):
            await private_redis.kill()
            await asyncio.gather(one.until_lost(), two.until_lost())
            apart = [await each.decide(charge(10)) for each in (one, two) for _ in range(8)]
            await private_redis.start()
            await asyncio.gather(one.until_connected(), two.until_connected())
            await asyncio.gather(one.settle(), two.settle())
            together = [await each.decide(charge(10)) for each in (one, two)]

        assert 10 == sum(verdict.admits for verdict in apart)
        assert [(False, 10)] * 2 == [(verdict.admits, verdict.used) for verdict in together]


class TestChargesMeanwhile:
    async def test_are_made_when_redis_is_back(
        self, private_redis: RedisServer, one: Replica
    ) -> None:
        """In full, and once for a name, whoever repeats it and when."""
        named, plain = charge(5, cost=9, rule="named"), charge(5, cost=2, rule="plain")
        await one.lose(private_redis)
        first = await one.store.charge([named], once="call-1")
        again = await one.store.charge([named], once="call-1")
        await one.store.charge([plain])
        await private_redis.start()
        await one.until_connected()
        await one.settle()
        later = await one.store.charge([named], once="call-1")

        assert first is not None
        assert (False, FailureMode.LOCAL) == (first[0].admits, first[0].degraded)
        assert (None, None) == (again, later)
        assert (9, 2) == (await one.used(named), await one.used(plain))

    async def test_count_here_until_then(self, private_redis: RedisServer, one: Replica) -> None:
        """What was charged leaves no room for a check."""
        await one.lose(private_redis)
        await one.store.charge([charge(5, cost=5)], once="call-1")
        verdict = await one.decide(charge(5))

        assert not verdict.admits

    async def test_that_were_named_and_arrived_are_not_made_again(self, one: Replica) -> None:
        """Only the answer was lost."""
        asked = charge()
        one.inner.losing = True
        await one.store.charge([asked], once="call-1")
        one.inner.losing = False
        await one.settle()

        assert 1 == await one.used(asked)


class TestReset:
    async def test_forgets_also_what_is_owed(
        self, private_redis: RedisServer, one: Replica
    ) -> None:
        """Who was reset begins anew, here and in Redis."""
        asked, other = charge(2, cost=2), charge(2, cost=2, subject="user:43")
        await one.lose(private_redis)
        for each in (asked, other):
            await one.decide(each)
        await private_redis.start()
        await one.until_connected()
        forgotten = await one.store.reset(TENANT, [asked.rule], asked.subject)
        await one.settle()

        assert ["chat"] == forgotten
        assert (0, 2) == (await one.used(asked), await one.used(other))

    async def test_forgets_what_a_caller_has_named_too(
        self, private_redis: RedisServer, one: Replica
    ) -> None:
        """What others owe together with it is still paid."""
        asked, other = charge(9, cost=2), charge(9, cost=2, subject="user:43")
        await one.lose(private_redis)
        for each in (asked, other):
            await one.decide(each)
        await one.store.charge([asked, other], once="call-1")
        await private_redis.start()
        await one.until_connected()
        # What is kept here was dropped meanwhile, as when there are too many.
        one.local.drop(name_of(asked))
        await one.store.reset(TENANT, [asked.rule], asked.subject)
        await one.settle()

        assert (0, 4) == (await one.used(asked), await one.used(other))
        assert not one.debts


class TestWhatOperatorsAreTold:
    async def test_is_that_counters_are_away_and_then_owed_for(
        self, private_redis: RedisServer, one: Replica
    ) -> None:
        """And that all is well again."""
        settling = asyncio.create_task(one.settling.run())
        await one.lose(private_redis)
        await one.decide(charge())
        await _until_told(one, "cannot be reached; the rules' failure modes decide, and 1 ")
        await private_redis.start()
        await _until_told(one, "Redis is back")
        await until(lambda: not one.debts)
        await one.all.beat()
        await _until_told(one, None)
        settling.cancel()
        await asyncio.gather(settling, return_exceptions=True)

        assert 1 == await one.used(charge())

    async def test_a_replica_that_stops_pays_what_it_owes(
        self, private_redis: RedisServer, one: Replica
    ) -> None:
        """At once, however much that is."""
        await one.lose(private_redis)
        for n in range(150):
            await one.decide(charge(subject=f"user:{n}"))
        await private_redis.start()
        await one.until_connected()
        settling = asyncio.create_task(one.settling.run())
        while len(one.debts) == 150:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0)
        settling.cancel()
        await asyncio.gather(settling, return_exceptions=True)

        assert not one.debts


async def _until_told(one: Replica, part: str | None) -> None:
    async with asyncio.timeout(15):
        while not one.problems or not _says(one.problems[-1], part):  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # it is told between two turns of a task


def _says(problem: str | None, part: str | None) -> bool:
    return problem is None if part is None else part in (problem or "")

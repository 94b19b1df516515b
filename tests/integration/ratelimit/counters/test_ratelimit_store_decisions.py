"""What counters in a real Redis admit: of one limit and of several, by one caller and by many."""

import asyncio
from collections.abc import Sequence

import pytest
import redis.asyncio

from services.ratelimit.policy import SECOND, Algorithm, Limit
from services.ratelimit.ports import Charge
from services.ratelimit.redis_counters import CHUNK, RedisCounterStore
from services.ratelimit.verdict import Verdict
from shared.redis.client import Redis
from tests.integration.ratelimit.counters.charging import (
    COUNTED,
    FIXED,
    GCRA,
    MONTH,
    SLIDING,
    START,
    WIDTH,
    Clock,
    admits,
    charge_of,
    name_of,
    per_minute,
)


class TestConcurrentCallers:
    @pytest.mark.parametrize("limit", COUNTED, ids=name_of)
    async def test_two_replicas_and_fifty_callers_admit_exactly_the_limit(
        self, redis_url: str, limit: Limit
    ) -> None:
        """Nothing is read in one step and written in another."""
        links = [Redis(redis_url, timeout=5), Redis(redis_url, timeout=5)]
        stores = [RedisCounterStore(link) for link in links]
        for link in links:
            await link.start()

        async def call_ten_times(store: RedisCounterStore) -> int:
            return sum([(await admits(store, charge_of(limit)))[0] for _ in range(10)])

        admitted = await asyncio.gather(*(call_ten_times(stores[i % 2]) for i in range(50)))
        for link in links:
            await link.close()

        assert limit.quota == sum(admitted)


class TestSeparateCounters:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (("acme", "user:42"), ("globex", "user:42")),
            (("acme", "user:42"), ("acme", "user:43")),
            (("a", "b_c=d"), ("a_b", "c=d")),
            (("a", "{a}:b"), ("a}", "b")),
            (("*", "a"), ("a", "a")),
        ],
    )
    async def test_neither_charges_the_other(
        self, store: RedisCounterStore, one: tuple[str, str], other: tuple[str, str]
    ) -> None:
        """Whatever stands in the names of tenants and subjects."""
        await admits(store, charge_of(cost=10, tenant=one[0], subject=one[1]))
        charge = charge_of(tenant=other[0], subject=other[1])
        (verdict,) = await store.decide([charge], consume=True)

        assert 1 == verdict.used


class TestSeveralLimits:
    MIX = (SLIDING, GCRA, FIXED, MONTH)

    def _charges(self, tight: int, *, shadow: bool = False) -> list[Charge]:
        """Return four charges, of which one fits once only; that one may be in shadow."""
        return [
            charge_of(limit, 6, rule="tight", shadow=shadow)
            if n == tight
            else charge_of(limit, position=n)
            for n, limit in enumerate(self.MIX)
        ]

    @pytest.mark.parametrize("tight", range(4))
    async def test_when_one_denies_none_is_charged(
        self, store: RedisCounterStore, tight: int
    ) -> None:
        """All or nothing, in one step, whatever they count by."""
        first = await store.decide(self._charges(tight), consume=True)
        second = await store.decide(self._charges(tight), consume=True)

        assert [True] * 4 == [verdict.admits for verdict in first]
        assert [n != tight for n in range(4)] == [verdict.admits for verdict in second]
        assert [v.used for v in first] == [v.used for v in second]

    @pytest.mark.parametrize("tight", range(4))
    async def test_one_in_shadow_keeps_nobody_from_anything(
        self, store: RedisCounterStore, tight: int
    ) -> None:
        """It tells that it would have denied, and consumes only what it admits."""
        charges = self._charges(tight, shadow=True)
        told = [await store.decide(charges, consume=True) for _ in range(2)]
        used = [6 if n == tight else 2 for n in range(4)]

        assert [n != tight for n in range(4)] == [verdict.admits for verdict in told[1]]
        assert used == [verdict.used for verdict in told[1]]


class TestBatches:
    async def test_decide_in_their_order_however_many(self, store: RedisCounterStore) -> None:
        """Each script decides a part; what comes later knows of what came before."""
        checks = [[charge_of()] for _ in range(2 * CHUNK + 50)]
        told = await store.decide_each(checks, consume=True)
        admitted = [verdict.admits for (verdict,) in told]

        assert [True] * 10 + [False] * (len(checks) - 10) == admitted

    async def test_have_each_its_own_answer(self, store: RedisCounterStore) -> None:
        """Also where checks have several limits, and parts end in between."""
        costs = [n % 9 + 1 for n in range(3 * CHUNK)]
        checks = [
            [charge_of(None, cost, subject=f"user:{n}", position=p) for p in range(1 + n % 3)]
            for n, cost in enumerate(costs)
        ]
        told = await store.decide_each(checks, consume=True)

        assert [[cost] * len(check) for cost, check in zip(costs, checks, strict=True)] == [
            [verdict.used for verdict in verdicts] for verdicts in told
        ]

    async def test_leave_in_parts(
        self, store: RedisCounterStore, raw: "redis.asyncio.Redis"
    ) -> None:
        """Redis serves others in between: no script decides more than a hundred."""
        await admits(store, charge_of())
        await raw.config_resetstat()
        await store.decide_each([[charge_of(position=n % 3)] for n in range(1_000)], consume=True)
        scripts = (await raw.info("commandstats"))["cmdstat_evalsha"]

        assert 10 == scripts["calls"]

    async def test_of_nothing_ask_nobody(
        self, store: RedisCounterStore, raw: "redis.asyncio.Redis"
    ) -> None:
        """A check without limits is one that nobody denies."""
        await raw.config_resetstat()
        told = [
            *await store.decide_each([], consume=True),
            *await store.decide_each([[], []], consume=True),
        ]
        told += [await store.decide([], consume=True), await store.charge([]) or ()]
        refunded = await store.refund([], admitted_at=None)
        statistics = await raw.info("commandstats")

        assert [[]] * 4 == [[*verdicts] for verdicts in told]
        assert [] == [*refunded.amounts]
        assert "cmdstat_evalsha" not in statistics


class TestFaultsOfOthers:
    """What was found in other limiters, and must not come here."""

    async def test_a_cost_above_the_limit_is_not_admitted(self, store: RedisCounterStore) -> None:
        """Not even by an empty counter."""
        for n, limit in enumerate(COUNTED):
            (verdict,) = await store.decide([charge_of(limit, 50, position=n)], consume=True)

            assert (False, 0, None) == (verdict.admits, verdict.used, verdict.retry_at)

    async def test_two_bursts_around_a_clocks_boundary_are_not_both_admitted(
        self, link: Redis
    ) -> None:
        """Not a microsecond before and after a full minute, nor of one of our buckets."""
        for boundary in (1_760_000_040 * SECOND, START + WIDTH):
            clock = Clock(boundary - 1)
            store = RedisCounterStore(link, clock=clock)
            subject = f"user:{boundary}"
            before = await admits(store, charge_of(cost=10, subject=subject))
            clock.now = boundary
            after = await admits(store, charge_of(subject=subject))

            assert [True, False] == before + after

    async def test_a_denied_check_charges_no_sibling(self, store: RedisCounterStore) -> None:
        """However often it is repeated."""
        tight, roomy = charge_of(per_minute(1)), charge_of(per_minute(100), position=1)
        told: list[Sequence[Verdict]] = [
            await store.decide([tight, roomy], consume=True) for _ in range(5)
        ]

        assert [1] * 5 == [verdicts[1].used for verdicts in told]

    async def test_a_rate_that_is_no_whole_number_of_microseconds_is_not_exceeded(
        self, link: Redis
    ) -> None:
        """Of 7/s one comes every 142,858 us, never every 142,857."""
        clock = Clock()
        store = RedisCounterStore(link, clock=clock)
        limit = Limit(quota=7, window=SECOND, burst=1, algorithm=Algorithm.GCRA)
        first = await admits(store, charge_of(limit))
        clock.now += 142_858 - 1
        early = await admits(store, charge_of(limit))
        clock.now += 1
        in_time = await admits(store, charge_of(limit))

        assert [True, False, True] == first + early + in_time

"""Decisions while Redis is gone, silent or full."""

import asyncio
import statistics
import time

import pytest
import redis.asyncio

from cli.embedded.redis import RedisServer
from mainstay.errors import RateLimitStoreError
from services.ratelimit.keys import counter_key
from services.ratelimit.patience import HOLD_OFF
from services.ratelimit.policy import FailureMode
from services.ratelimit.ports import Charge
from shared.rpc.call import Tenant
from tests.integration.ratelimit.degrading.world import TENANT, TIMEOUT, Replica, charge

BUDGET_SECONDS = 0.01


def key_of(asked: Charge) -> str:
    return counter_key(tenant=asked.tenant, rule=asked.rule.name, position=0, subject=asked.subject)


class TestRedisIsGone:
    @pytest.mark.parametrize(
        ("mode", "admitted"),
        [(FailureMode.OPEN, 6), (FailureMode.CLOSED, 0), (FailureMode.LOCAL, 2)],
    )
    async def test_each_rule_decides_as_it_declares(
        self, private_redis: RedisServer, one: Replica, mode: FailureMode, admitted: int
    ) -> None:
        """And the verdict says which mode it was."""
        one.replicas = 2
        await one.lose(private_redis)
        verdicts = [await one.decide(charge(5, mode=mode)) for _ in range(6)]

        assert admitted == sum(verdict.admits for verdict in verdicts)
        assert {mode} == {verdict.degraded for verdict in verdicts}

    async def test_several_charges_are_all_or_nothing(
        self, private_redis: RedisServer, one: Replica
    ) -> None:
        """A rule that is closed keeps its siblings from being consumed."""
        await one.lose(private_redis)
        both = [charge(5, rule="local"), charge(5, rule="closed", mode=FailureMode.CLOSED)]
        verdicts = await one.store.decide(both, consume=True)

        assert [True, False] == [verdict.admits for verdict in verdicts]
        assert not one.debts

    async def test_independent_checks_are_each_decided(
        self, private_redis: RedisServer, one: Replica
    ) -> None:
        """In their order."""
        await one.lose(private_redis)
        checks = [[charge(2)], [charge(2)], [charge(2)], [charge(2, subject="user:43")]]
        answers = await one.store.decide_each(checks, consume=True)

        assert [True, True, False, True] == [verdict.admits for (verdict,) in answers]

    async def test_decisions_take_less_than_the_budget(
        self, private_redis: RedisServer, one: Replica
    ) -> None:
        """Far less, in fact: nobody is asked."""
        await one.lose(private_redis)
        took = []
        for n in range(500):
            began = time.perf_counter()
            await one.decide(charge(subject=f"user:{n}"))
            took.append(time.perf_counter() - began)

        assert statistics.median(took) < BUDGET_SECONDS / 10
        assert statistics.quantiles(took, n=10)[8] < BUDGET_SECONDS

    async def test_what_needs_the_counters_themselves_says_so(
        self, private_redis: RedisServer, one: Replica
    ) -> None:
        """A refund and a reset cannot be made up for later."""
        await one.lose(private_redis)
        asked = charge()
        with pytest.raises(RateLimitStoreError):
            await one.store.refund([asked], admitted_at=None)
        with pytest.raises(RateLimitStoreError):
            await one.store.reset(TENANT, [asked.rule], asked.subject)


class TestRedisIsSilent:
    async def test_only_the_first_waits_for_it(
        self, private_redis: RedisServer, one: Replica
    ) -> None:
        """Even when its connection comes back at once, and is silent again."""
        private_redis.pause()
        began = time.perf_counter()
        first = await one.decide(charge())
        waited = time.perf_counter() - began
        private_redis.resume()
        await one.until_connected()
        private_redis.pause()
        began = time.perf_counter()
        second = await one.decide(charge(subject="user:43"))
        at_once = time.perf_counter() - began
        private_redis.resume()

        assert (FailureMode.LOCAL, FailureMode.LOCAL) == (first.degraded, second.degraded)
        assert waited < 4 * TIMEOUT
        assert at_once < TIMEOUT / 2

    async def test_after_a_second_one_caller_tries_again(
        self, private_redis: RedisServer, one: Replica
    ) -> None:
        """Nobody else waits with it, and when it is answered all ask again."""
        private_redis.pause()
        await one.decide(charge())
        private_redis.resume()
        await one.until_connected()
        early = await one.decide(charge(subject="early"))
        one.seconds.now += HOLD_OFF
        both = await asyncio.gather(
            *(one.decide(charge(subject=subject)) for subject in ("tries", "does not"))
        )
        later = await one.decide(charge(subject="later"))

        assert FailureMode.LOCAL is early.degraded
        assert [None, FailureMode.LOCAL] == [verdict.degraded for verdict in both]
        assert later.degraded is None

    async def test_whoever_is_decided_here_anyway_takes_nobodys_turn(
        self, private_redis: RedisServer, one: Replica
    ) -> None:
        """The one that tries is one that asks."""
        owing = charge()
        private_redis.pause()
        await one.decide(owing)
        private_redis.resume()
        await one.until_connected()
        one.seconds.now += HOLD_OFF
        here = await one.decide(owing)
        batch = await one.store.decide_each([[owing]], consume=True)
        asks = await one.decide(charge(subject="asks"))

        assert FailureMode.LOCAL is here.degraded is batch[0][0].degraded
        assert asks.degraded is None

    async def test_other_tenants_are_asked_for_all_the_same(
        self, private_redis: RedisServer, one: Replica
    ) -> None:
        """Their counters may be on a node that answers."""
        private_redis.pause()
        await one.decide(charge())
        private_redis.resume()
        await one.until_connected()
        verdict = await one.decide(charge(tenant=Tenant("globex")))

        assert verdict.degraded is None


class TestRedisIsFull:
    async def test_it_still_denies_and_the_rest_is_decided_here(
        self, private_redis: RedisServer, one: Replica
    ) -> None:
        """A denial needs no memory. When there is memory again, what was admitted is charged."""
        used_up, fresh = charge(5, cost=5), charge(5, subject="user:43")
        await one.decide(used_up)
        async with redis.asyncio.Redis.from_url(private_redis.url) as raw:
            await raw.config_set("maxmemory", "1")
            denied = await one.decide(used_up)
            admitted = await one.decide(fresh)
            refused = await one.settling.run_once()
            await raw.config_set("maxmemory", "0")
        await one.settle()

        assert (False, None) == (denied.admits, denied.degraded)
        assert (True, FailureMode.LOCAL) == (admitted.admits, admitted.degraded)
        assert 0 == refused
        assert 1 == await one.used(fresh)


class TestSomethingElseUnderAKey:
    async def test_concerns_that_subject_alone(
        self, private_redis: RedisServer, one: Replica
    ) -> None:
        """Its debts are given up in the end, and cost nobody else a payment."""
        broken, fine = charge(subject="broken"), charge(subject="fine")
        async with redis.asyncio.Redis.from_url(private_redis.url) as raw:
            await raw.set(key_of(broken), "x")
        told = [await one.decide(each) for each in (broken, fine)]
        one.debts.add([fine], one.clock.now_us())
        await one.settle()

        assert [FailureMode.LOCAL, None] == [verdict.degraded for verdict in told]
        assert ["broken"] == one.forgotten
        assert 2 == await one.used(fine)

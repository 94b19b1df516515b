"""Counters on a Redis Cluster: one slot for all of a tenant, and different tenants elsewhere."""

import asyncio
from collections import Counter

import pytest

from services.ratelimit.keys import counter_key
from services.ratelimit.policy import SECOND, Algorithm, Calendar, Limit, Rule
from services.ratelimit.ports import Charge
from services.ratelimit.redis_counters import RedisCounterStore
from shared.redis.client import Redis
from shared.rpc.call import Tenant
from tests.cluster.callers import connected
from tests.cluster.six_nodes import SixNodes

HOUR = 3_600 * SECOND
RULE = Rule(name="chat", endpoints=(), default=())
MIX = (
    Limit(quota=10, window=HOUR),
    Limit(quota=10, window=HOUR, algorithm=Algorithm.GCRA),
    Limit(
        quota=10,
        window=HOUR,
        algorithm=Algorithm.FIXED_WINDOW,
        calendar=Calendar.MONTH,
        time_zone="Europe/Berlin",
    ),
)
TENANTS = [Tenant(f"tenant-{n}") for n in range(30)]

pytestmark = pytest.mark.timeout(120)


def charges(tenant: Tenant, subject: str = "user:42", cost: int = 1) -> list[Charge]:
    return [
        Charge(tenant, RULE, position, subject, limit, cost) for position, limit in enumerate(MIX)
    ]


class TestOneTenant:
    async def test_several_limits_are_decided_in_one_step(
        self, redis: Redis, cluster: SixNodes
    ) -> None:
        """Whatever they count by: tenants are spread over the masters, each is on one."""
        store = RedisCounterStore(redis)
        owners = {
            await cluster.master_of(
                counter_key(tenant=tenant, rule=RULE.name, position=0, subject="user:42")
            )
            for tenant in TENANTS
        }
        told = [await store.decide(charges(tenant, cost=6), consume=True) for tenant in TENANTS]
        denied = [await store.decide(charges(tenant, cost=6), consume=True) for tenant in TENANTS]

        assert 3 == len(owners)
        assert {(True, 6)} == {(v.admits, v.used) for verdicts in told for v in verdicts}
        assert {(False, 6)} == {(v.admits, v.used) for verdicts in denied for v in verdicts}

    async def test_every_act_reaches_the_same_counters(self, redis: Redis) -> None:
        """Batches, charges, refunds with their marks, and resets."""
        store = RedisCounterStore(redis)
        for tenant in TENANTS[:6]:
            checks = [charges(tenant, f"user:{n}") for n in range(100)]
            each = await store.decide_each(checks, consume=True)
            charged = await store.charge(charges(tenant, "user:7"), once="x")
            refunded = await store.refund(charges(tenant, "user:7"), admitted_at=None, once="x")
            forgotten = await store.reset(tenant, [RULE], "user:7")
            again = await store.charge(charges(tenant, "user:7"), once="x")

            assert {1} == {verdict.used for verdicts in each for verdict in verdicts}
            assert [2] * 3 == [verdict.used for verdict in charged or ()]
            assert [1] * 3 == [*refunded.amounts]
            assert ["chat"] == [*forgotten]
            assert again is None


class TestTwoReplicas:
    async def test_admit_exactly_the_limit(self, cluster: SixNodes) -> None:
        """Of every tenant, however many call at once."""
        async with connected(cluster.url) as here, connected(cluster.url) as there:
            stores = [RedisCounterStore(here), RedisCounterStore(there)]
            answers = await asyncio.gather(
                *(
                    stores[n % 2].decide(charges(tenant)[:1], consume=True)
                    for n in range(20)
                    for tenant in TENANTS
                )
            )

        admitted = Counter(verdict.admits for (verdict,) in answers)
        assert {True: 10 * len(TENANTS), False: 10 * len(TENANTS)} == admitted


class TestFailover:
    async def test_what_was_consumed_is_still_consumed(
        self, redis: Redis, cluster: SixNodes
    ) -> None:
        """A master that gives way takes nothing with it, and scripts are known anew."""
        store = RedisCounterStore(redis)
        for tenant in TENANTS:
            await store.decide(charges(tenant, cost=10), consume=True)
        key = counter_key(tenant=TENANTS[0], rule=RULE.name, position=0, subject="user:42")
        await cluster.hand_over(key)
        (verdict, *_) = await store.decide(charges(TENANTS[0]), consume=True)

        assert (False, 10) == (verdict.admits, verdict.used)

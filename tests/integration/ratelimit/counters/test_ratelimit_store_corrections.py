"""Counters in a real Redis that are charged unasked, refunded and reset."""

import pytest
import redis.asyncio

from services.ratelimit.policy import DAY, Limit, Rule
from services.ratelimit.redis_counters import RedisCounterStore
from shared.rpc.call import Tenant
from tests.integration.ratelimit.counters.charging import COUNTED, admits, charge_of, name_of


class TestCharges:
    async def test_consume_beyond_the_limit(self, store: RedisCounterStore) -> None:
        """It has taken place."""
        charges = [charge_of(limit, 7, position=n) for n, limit in enumerate(COUNTED)]
        told = [await store.charge(charges) for _ in range(2)]

        assert [[7] * 4, [14] * 4] == [[v.used for v in verdicts or ()] for verdicts in told]
        assert [False] * 4 == [verdict.admits for verdict in told[1] or ()]

    async def test_once_is_once(self, store: RedisCounterStore, raw: "redis.asyncio.Redis") -> None:
        """For a day; a refund of the same name is another act, and so is one of another tenant."""
        told = [await store.charge([charge_of()], once="name") for _ in range(2)]
        other = await store.charge([charge_of(tenant="globex")], once="name")
        refunded = await store.refund([charge_of()], admitted_at=None, once="name")
        keys = [key async for key in raw.scan_iter("rl:{acme}:~once:*")]
        lives = [await raw.pttl(key) / 1_000 for key in keys]
        (left,) = await store.decide([charge_of()], consume=False)

        assert [1, None] == [None if verdicts is None else verdicts[0].used for verdicts in told]
        assert other is not None
        assert [1] == list(refunded.amounts)
        assert 0 == left.used
        assert 2 == len(lives)
        assert all(86_000 < life <= 86_400 for life in lives)


class TestRefunds:
    @pytest.mark.parametrize("limit", COUNTED, ids=name_of)
    async def test_never_lift_what_remains_above_the_limit(
        self, store: RedisCounterStore, raw: "redis.asyncio.Redis", limit: Limit
    ) -> None:
        """Not one that comes first, not one that is too large."""
        first = await store.refund([charge_of(limit, 5)], admitted_at=None)
        await admits(store, charge_of(limit, 3))
        second = await store.refund([charge_of(limit, 5)], admitted_at=None)

        assert [[0], [3]] == [list(refunded.amounts) for refunded in (first, second)]
        assert [0, 0] == [refunded.verdicts[0].used for refunded in (first, second)]
        assert 0 == await raw.dbsize()

    @pytest.mark.parametrize("limit", COUNTED, ids=name_of)
    async def test_of_a_moment_before_give_nothing(
        self, store: RedisCounterStore, limit: Limit
    ) -> None:
        """What was admitted then has left."""
        (verdict,) = await store.decide([charge_of(limit, 3)], consume=True)
        long_ago = verdict.now - 400 * DAY
        refunded = await store.refund([charge_of(limit)], admitted_at=long_ago)
        now = await store.refund([charge_of(limit)], admitted_at=verdict.now)

        assert [[0], [1]] == [list(refunded.amounts), list(now.amounts)]

    async def test_once_is_once(self, store: RedisCounterStore) -> None:
        """The repetition says so, and how the limits are now."""
        await admits(store, charge_of(cost=5))
        told = [await store.refund([charge_of()], admitted_at=None, once="x") for _ in range(2)]

        assert [(False, [1]), (True, [0])] == [(each.repeated, [*each.amounts]) for each in told]
        assert [4, 4] == [each.verdicts[0].used for each in told]


class TestResets:
    async def test_forget_every_limit_of_the_rules(self, store: RedisCounterStore) -> None:
        """Of this subject, and of no other."""
        rules = [Rule(name=name, endpoints=(), default=()) for name in ("one", "two", "three")]
        for name, position in (("one", 0), ("three", 0), ("three", 7), ("other", 0)):
            await admits(store, charge_of(rule=name, position=position))
        await admits(store, charge_of(rule="one", subject="user:43"))
        told = [await store.reset(Tenant("acme"), rules, "user:42") for _ in range(2)]
        left = await store.decide(
            [
                charge_of(rule="one", subject="user:43"),
                charge_of(rule="other"),
                charge_of(rule="three"),
                charge_of(rule="three", position=7),
            ],
            consume=False,
        )

        assert [["one", "three"], []] == [[*names] for names in told]
        assert [1, 1, 0, 0] == [verdict.used for verdict in left]

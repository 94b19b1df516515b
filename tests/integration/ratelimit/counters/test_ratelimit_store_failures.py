"""Counters in a Redis that is gone or refuses."""

import asyncio

import pytest
import redis.asyncio

from mainstay.errors import RateLimitStoreError
from services.ratelimit.redis_counters import RedisCounterStore
from shared.redis.client import Redis
from shared.rpc.call import Tenant
from tests.integration.ratelimit.counters.charging import KEY, admits, charge_of


class TestTrouble:
    @pytest.fixture
    def gone(self) -> RedisCounterStore:
        """Use a client that is not connected."""
        return RedisCounterStore(Redis("redis://127.0.0.1:1"))

    async def test_without_redis_everything_says_so(self, gone: RedisCounterStore) -> None:
        """In the rate limits' own words, with what is away."""
        charges = [charge_of()]
        calls = [
            gone.decide(charges, consume=True),
            gone.decide_each([charges] * 300, consume=True),
            gone.charge(charges),
            gone.refund(charges, admitted_at=None),
            gone.reset(Tenant("acme"), [charges[0].rule], "user:42"),
        ]
        failed = await asyncio.gather(*calls, return_exceptions=True)

        assert [RateLimitStoreError] * 5 == [type(error) for error in failed]
        assert {"redis"} == {
            error.metadata["dependency"]
            for error in failed
            if isinstance(error, RateLimitStoreError)
        }

    async def test_what_redis_refuses_is_told_as_such(
        self, store: RedisCounterStore, raw: "redis.asyncio.Redis"
    ) -> None:
        """A counter that nobody of us has written."""
        await raw.set(KEY, "1234")
        with pytest.raises(RateLimitStoreError) as refused:
            await admits(store, charge_of())

        assert "ERR" == refused.value.metadata["cause"]

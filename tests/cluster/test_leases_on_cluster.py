"""Places and shares, lent by two replicas, on a Redis Cluster."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from mainstay import context
from services.ratelimit.keys import tenant_key
from services.ratelimit.lending_ports import Holder
from services.ratelimit.redis_leases import RedisLeases
from shared.rpc.call import Tenant
from tests.cluster.six_nodes import SixNodes
from tests.integration.ratelimit.lending.lender import ANN, MINUTE, SECOND, VIDEO, Lender, lender

TENANTS = [f"tenant-{number}" for number in range(12)]

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def replicas(cluster: SixNodes) -> AsyncIterator[list[Lender]]:
    """Run two replicas."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(lender(cluster.url)) for _ in range(2)]


class TestEveryMaster:
    async def test_lends_the_places_of_some_tenants(
        self, cluster: SixNodes, replicas: list[Lender]
    ) -> None:
        """No more than there are, to callers of both replicas, who give them back at the other."""
        here, there = replicas
        for tenant in TENANTS:
            with context.request(tenant=tenant):
                answers = await asyncio.gather(
                    *(replica.acquire() for replica in replicas for _ in range(5))
                )
                tokens = [each.lease.token for each in answers if each.HasField("lease")]
                renewed = [(await there.renew(token)).token for token in tokens]
                released = [await here.release(token) for token in tokens]
                again = await there.acquire()

            assert (3, tokens, [True] * 3) == (len(tokens), renewed, released)
            assert again.decision.limit.remaining == 2
        owners = {
            await cluster.master_of(tenant_key(Tenant(tenant), "").encode()) for tenant in TENANTS
        }
        assert len(owners) == 3

    async def test_lends_shares_and_takes_them_back(self, replicas: list[Lender]) -> None:
        """Of several limits in one step, once."""
        here, there = replicas
        for tenant in TENANTS:
            with context.request(tenant=tenant):
                share = (await here.reserve(25, endpoint="/burst")).reservation
                told = await asyncio.gather(
                    *(replica.give_back(share.token, 4) for replica in replicas for _ in range(3))
                )
                answer = await there.reserve(1, endpoint="/burst", ttl=None)

            assert (10, [0] * 5 + [4]) == (share.amount, sorted(told))
            assert [3, 23] == [state.remaining for state in answer.decision.limits]

    async def test_takes_over_leases_from_elsewhere(self, replicas: list[Lender]) -> None:
        """More of them than one script takes."""
        here, there = replicas
        seconds, _ = await here.redis.execute("TIME")
        ends = {b"%016d" % n: int(seconds) * SECOND + MINUTE + n for n in range(250)}
        for tenant in TENANTS[:3]:
            holder = Holder(Tenant(tenant), VIDEO.name, ANN)
            await RedisLeases(here.redis).adopt(holder, ends)
            with context.request(tenant=tenant):
                answer = await there.acquire()

            assert not answer.HasField("lease")
            assert answer.decision.limit.remaining == 0

"""Who was limited most, counted by two replicas on a Redis Cluster."""

import pytest

from services.ratelimit.policy import SECOND
from services.ratelimit.redis_top import RedisTop
from services.ratelimit.top_subjects import Subject
from shared.redis.client import Redis
from shared.rpc.call import ALL_TENANTS, Tenant
from tests.cluster.six_nodes import SixNodes

NOW = 1_777_636_800 * SECOND
TENANTS = [Tenant(f"tenant-{number}") for number in range(12)]

pytestmark = pytest.mark.timeout(120)


class TestEveryMaster:
    async def test_has_the_sketches_of_some_tenants(self, cluster: SixNodes, redis: Redis) -> None:
        """Those of one tenant are in one slot, those of all tenants together in another."""
        replicas = [RedisTop(redis, lambda: NOW, replica=name) for name in ("here", "there")]
        for times, replica in enumerate(replicas, 1):
            for tenant in TENANTS:
                for _ in range(times):
                    replica.limited(Subject(tenant, "chat", "", "user:1"))
            await replica.flush()
        spans = (3_600 * SECOND, 7_200 * SECOND)
        told = [
            await replicas[0].most_limited(tenant, span) for tenant in TENANTS for span in spans
        ]
        of_all = await replicas[1].most_limited(ALL_TENANTS, spans[0])
        owners = {
            await cluster.master_of(f"rl:{{{tenant}}}:~top:m:0".encode()) for tenant in TENANTS
        }

        assert {(3, 0)} == {count for summary in told for count in summary.counts.values()}
        assert (12, 3) == (len(of_all.counts), len(owners))

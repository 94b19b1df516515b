"""A master that dies takes only its own tenants' counters away."""

from services.ratelimit.keys import counter_prefix
from services.ratelimit.policy import FailureMode
from shared.rpc.call import Tenant
from tests.cluster.six_nodes import SixNodes
from tests.integration.ratelimit.degrading.world import charge, replica
from tests.integration.shared.waiting import until


class TestOneMasterDies:
    async def test_other_tenants_counters_go_on(self, cluster: SixNodes) -> None:
        """What was admitted meanwhile is charged where the counters are afterwards."""
        lost = await cluster.master_of(_key("acme"))
        elsewhere = await _tenant_elsewhere(cluster)
        async with replica(cluster.url) as one:
            mine, theirs = charge(10), charge(10, tenant=Tenant(elsewhere))
            await one.decide(mine)
            await lost.kill()
            await until(lambda: not one.redis.connected)
            degraded = [await one.decide(mine) for _ in range(3)]
            other = [await one.decide(theirs) for _ in range(3)]
            await cluster.promoted(_key("acme"), instead_of=lost)
            await one.until_connected()
            await one.settle()
            back = await one.decide(mine)

        assert {FailureMode.LOCAL} == {verdict.degraded for verdict in degraded}
        assert {None} == {verdict.degraded for verdict in other}
        assert back.degraded is None
        # The one before the failover may be lost with the master, the three after it are not.
        assert 4 <= back.used <= 5


def _key(tenant: str) -> str:
    return counter_prefix(Tenant(tenant), "chat", 0) + "user:42"


async def _tenant_elsewhere(cluster: SixNodes) -> str:
    """Return a tenant whose counters another master has."""
    lost = await cluster.master_of(_key("acme"))
    for n in range(100):
        if await cluster.master_of(_key(f"tenant-{n}")) is not lost:
            return f"tenant-{n}"
    raise AssertionError("one master has everything")

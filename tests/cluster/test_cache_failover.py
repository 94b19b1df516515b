"""The cache service while a master of its Redis Cluster dies."""

import asyncio
import time
from datetime import timedelta

import pytest

from mainstay.cache import CacheClient, Hit, MissReason
from mainstay.errors import CacheError
from services.cache.keys import EntryName, entry_key, tenant_key
from shared.rpc.call import Tenant
from tests.cluster.conftest import StartCache
from tests.cluster.six_nodes import PATIENCE, ClusterNode, SixNodes
from tests.faults.cache_load import LOADED_KEYS, CacheLoad, Ledger
from tests.faults.cache_load import NAMESPACE as LOADED

TENANT, NAMESPACE = "acme", "video"
KEYS = [f"k{number}" for number in range(30)]
TAGGED = timedelta(minutes=5)
HISTORY = tenant_key(TENANT, "head")
RESUMES_SECONDS = 6.0
DOCUMENTED = {"ok", "CACHE_UNAVAILABLE"}
TIMEOUT = 0.5

pytestmark = pytest.mark.timeout(120)


def where(key: str, namespace: str = NAMESPACE) -> bytes:
    return entry_key(*EntryName(Tenant(TENANT), namespace, key))


class TestAFailover:
    @pytest.mark.parametrize("whose", ["the_history", "an_entry"])
    async def test_under_load(self, cluster: SixNodes, start_cache: StartCache, whose: str) -> None:
        """Only what lies on the lost master fails, as documented, and soon nothing does.

        Redis passes writes on to replicas after it has acknowledged them, so that what came last
        before the failover may be lost. Answers are held to what is invalidated from then on.
        """
        history = await cluster.master_of(HISTORY)
        places = {key: await cluster.master_of(where(key, LOADED)) for key in LOADED_KEYS}
        lost = next(
            node for node in places.values() if (node is history) == (whose == "the_history")
        )
        clients = [
            CacheClient(await start_cache(cluster.url, redis_timeout=TIMEOUT)) for _ in range(2)
        ]
        load = CacheLoad(clients, Ledger())
        async with load.running():
            await load.every_worker(10)
            assert [] == load.ledger.violations
            began = time.monotonic()
            await lost.kill()
            await load.failure()
            await cluster.promoted(
                HISTORY if lost is history else _place(places, lost), instead_of=lost
            )
            promoted = time.monotonic()
            await load.every_worker(2)
            resumed = time.monotonic() - promoted
            await load.forget()
            await load.every_worker(20)
            last = time.monotonic()
            await load.every_worker(3)

        failed = [call for call in load.calls if call.outcome != "ok"]
        assert [] == load.ledger.violations
        assert {call.outcome for call in failed} <= DOCUMENTED
        assert resumed < RESUMES_SECONDS
        assert [] == [call for call in failed if not began - 1 < call.began < last]
        if whose == "an_entry":
            reads = {call.key for call in failed if call.operation in {"get", "set"}}
            assert {lost} == {places[key] for key in reads}

    async def test_that_loses_an_invalidation(
        self, cluster: SixNodes, start_cache: StartCache
    ) -> None:
        """A replica of ours that knew of it notices, and all that was before is dead, for all.

        The entry lies on a master that lives on, so that nothing but the history tells.
        """
        lost = await cluster.master_of(HISTORY)
        replica = await cluster.replica_of(lost)
        key = await _key_elsewhere(cluster, lost)
        here = CacheClient(await start_cache(cluster.url, redis_timeout=TIMEOUT))
        await here.set(NAMESPACE, key, b"old", ttl=TAGGED, tags=["t"])
        assert await _read(here, key) == b"old"
        await _until_replicated(lost)
        replica.pause()
        await lost.ask("CLIENT", "KILL", "TYPE", "replica")
        await here.invalidate_tags(["t"])
        before = await _read(here, key)
        await lost.kill()
        replica.resume()
        new = await cluster.promoted(HISTORY, instead_of=lost)
        marks = await new.ask("HGETALL", tenant_key(TENANT, "epochs"))
        after = await _until_answered(here, key)
        newcomer = CacheClient(await start_cache(cluster.url))
        told = await _read(newcomer, key)
        await newcomer.set(NAMESPACE, key, b"new", ttl=TAGGED, tags=["t"])
        anew = await _read(here, key)
        await newcomer.invalidate_tags(["t"])

        assert not any("t" == mark or mark.endswith(":t") for mark in marks[::2])
        assert MissReason.INVALIDATED_BY_TAG is before
        assert [MissReason.INVALIDATED_BY_NAMESPACE] * 2 == [after, told]
        assert (b"new", MissReason.INVALIDATED_BY_TAG) == (anew, await _read(here, key))


def _place(places: dict[str, ClusterNode], node: ClusterNode) -> bytes:
    """Return the Redis key of an entry that lies on a node."""
    return where(next(key for key, owner in places.items() if owner is node), LOADED)


async def _key_elsewhere(cluster: SixNodes, node: ClusterNode) -> str:
    """Return a key whose entry lies on another node."""
    owners = {key: await cluster.master_of(where(key)) for key in KEYS}
    return next(key for key, owner in owners.items() if owner is not node)


async def _until_replicated(master: ClusterNode) -> None:
    """Wait until the replica has all that its master has done."""
    async with asyncio.timeout(PATIENCE):
        while True:
            _, offset, ((_, _, replicated),) = await master.ask("ROLE")
            if int(replicated) >= int(offset):
                return
            await asyncio.sleep(0.05)  # a replica says how far it is once a second


async def _read(cache: CacheClient, key: str) -> bytes | MissReason:
    found = await cache.get(NAMESPACE, key)
    return found.value if isinstance(found, Hit) else found.reason


async def _until_answered(cache: CacheClient, key: str) -> bytes | MissReason:
    """Read until there is an answer."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await _read(cache, key)
            except CacheError:
                await asyncio.sleep(0.05)

"""Invalidations on a cluster: each tenant's history on one node, its entries on all."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.cache.entry import Entry, MissReason
from services.cache.frame import Header, encode
from services.cache.histories import RedisHistories
from services.cache.keys import EntryName, entry_key
from services.cache.redis_log import RedisLog
from services.cache.redis_sweep import RedisSweep
from services.cache.sweeper import Sweeper
from shared.redis.client import Redis
from shared.rpc.call import Tenant

TENANTS = [Tenant(f"tenant-{n}") for n in range(10)]
ENTRIES = 600


@asynccontextmanager
async def replica_on(redis: Redis) -> AsyncIterator[RedisHistories]:
    histories = RedisHistories(RedisLog(redis, new_epoch=lambda: secrets.token_hex(8)))
    try:
        yield histories
    finally:
        await histories.close()


class NoBooks:
    """Nothing is booked here."""

    def settle(self, name: EntryName, gone: Header | Entry) -> None: ...

    def found(self, name: EntryName, entry: Entry) -> None: ...


class TestInvalidation:
    async def test_is_felt_by_other_replicas(self, redis: Redis) -> None:
        """Of every tenant, whichever node it lives on; a new replica loads the same."""
        async with replica_on(redis) as here, replica_on(redis) as there:
            for tenant in TENANTS:
                stamp = (await there.current(tenant)).sequence
                await here.append(tenant, tags=["a"], prefixes=[("video", "p")])
                await here.append_keys(tenant, "video", ["k"])
                history = await there.current(tenant)

                assert history.verdict("video", "k", ("a",), stamp) is MissReason.TAG
                assert history.verdict("video", "pk", (), stamp) is MissReason.PREFIX
                async with replica_on(redis) as new:
                    assert history == await new.current(tenant)

    async def test_is_swept_from_all_nodes(self, redis: Redis) -> None:
        """The walk leads over every master; marks are forgotten after the second."""
        async with replica_on(redis) as histories:
            sweeper = Sweeper(
                RedisSweep(redis),
                histories,
                NoBooks(),
                owner="me",
                keys_per_second=1_000_000,
                settled_after=0,
                announced_for=0,
            )
            for n in range(ENTRIES):
                tenant = TENANTS[n % len(TENANTS)]
                stamp = (await histories.current(tenant)).sequence
                entry = Entry(b"v", "", n, 1, None, None, stamp, ("a",))
                await redis.execute("SET", entry_key(tenant, "video", f"{n}"), encode(entry))
            for tenant in TENANTS:
                await histories.append(tenant, tags=["a"])

            walk = await sweeper.run_once()
            await sweeper.run_once()

            assert walk is not None
            assert (ENTRIES, ENTRIES) == (walk.seen, walk.removed)
            assert [0] * len(TENANTS) == [(await histories.current(t)).size for t in TENANTS]

"""The cache service, two replicas of it, on a Redis Cluster."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict

from mainstay import context
from mainstay.cache import CacheClient, Hit, Item, Miss, MissReason, NearCacheOptions
from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.channel import Channel
from mainstay.errors import QuotaError
from services.cache.keys import EntryName, entry_key
from shared.rpc.call import Tenant
from tests.cluster.conftest import StartCache
from tests.cluster.six_nodes import SixNodes
from tests.integration.cache.test_cache_tenants import ATTACKS, Caller, Ours

TENANT, NAMESPACE = "acme", "video"
KEYS = [f"k{number}" for number in range(30)]
TAGGED, LEASE = timedelta(minutes=5), timedelta(milliseconds=200)
# Different at every time, on any Redis.
PASSING = {"version", "token", "sequence", "previousSequence", "epoch", "groups", "total", "age"}

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def here(cluster: SixNodes, start_cache: StartCache) -> CacheClient:
    """Return the client of a replica."""
    return CacheClient(await start_cache(cluster.url))


@pytest.fixture
async def there(cluster: SixNodes, start_cache: StartCache) -> CacheClient:
    """Return the client of another replica."""
    return CacheClient(await start_cache(cluster.url))


def where(key: str) -> bytes:
    return entry_key(*EntryName(Tenant(TENANT), NAMESPACE, key))


async def reads(cache: CacheClient) -> list[bytes | MissReason]:
    """Return the values of all keys, or why there are none, asked for one by one."""
    found = [await cache.get(NAMESPACE, key) for key in KEYS]
    return [one.value if isinstance(one, Hit) else one.reason for one in found]


async def write_all(cache: CacheClient) -> None:
    items = [Item(key=key, value=key.encode(), ttl=TAGGED, tags=("t",)) for key in KEYS]
    await cache.set_many(NAMESPACE, items)


class TestEveryMethod:
    async def test_answers_as_on_one_redis(
        self, cluster: SixNodes, redis_url: str, start_cache: StartCache
    ) -> None:
        """The same questions have the same answers."""
        one = await _answers(await start_cache(redis_url))
        many = await _answers(await start_cache(cluster.url))

        assert set(ATTACKS) == set(one)
        assert one == many


async def _answers(channel: Channel) -> dict[str, Any]:
    """Ask every method once, each for entries of its own, and return what does not pass."""
    caller, told = Caller(channel, TENANT), {}
    for method, ask in {**ATTACKS, "GetOrLease": _asks_without_waiting}.items():
        ours = await caller.prepare(f"{method}-")
        told[method] = _lasting(MessageToDict(await ask(caller, ours)))
    return told


async def _asks_without_waiting(caller: Caller, ours: Ours) -> Any:
    request = pb.GetOrLeaseRequest(namespace=NAMESPACE, key=ours.computing, wait=Duration())
    return await caller("GetOrLease", request)


def _lasting(answer: Any) -> Any:
    match answer:
        case dict():
            return {
                name: _lasting(part)
                for name, part in answer.items()
                if name not in PASSING and not name.endswith(("Time", "Remaining"))
            }
        case list():
            return [_lasting(part) for part in answer]
        case _:
            return answer


class TestTwoReplicas:
    async def test_read_what_the_other_has_written(
        self, here: CacheClient, there: CacheClient, cluster: SixNodes
    ) -> None:
        """One by one and in batches, wherever the entries lie."""
        await write_all(here)
        owners = {await cluster.master_of(where(key)) for key in KEYS}
        batch = await there.get_many(NAMESPACE, KEYS)

        assert [key.encode() for key in KEYS] == await reads(there)
        assert [key.encode() for key in KEYS] == [
            found.value for found in batch.values() if isinstance(found, Hit)
        ]
        assert len(owners) == 3

    @pytest.mark.parametrize(
        ("invalidate", "reason"),
        [
            (lambda c: c.invalidate_tags(["t"]), MissReason.INVALIDATED_BY_TAG),
            (lambda c: c.invalidate_prefix(NAMESPACE, "k"), MissReason.INVALIDATED_BY_PREFIX),
            (lambda c: c.invalidate_namespace(NAMESPACE), MissReason.INVALIDATED_BY_NAMESPACE),
            (lambda c: c.invalidate_keys(NAMESPACE, KEYS), MissReason.INVALIDATED_BY_KEY),
            (lambda c: c.delete_many(NAMESPACE, KEYS), MissReason.INVALIDATED_BY_KEY),
        ],
        ids=["tags", "prefix", "namespace", "keys", "delete"],
    )
    async def test_see_what_the_other_has_invalidated(
        self,
        here: CacheClient,
        there: CacheClient,
        invalidate: Callable[[CacheClient], Awaitable[object]],
        reason: MissReason,
    ) -> None:
        """At once, on whatever node the entry and the history are; and write anew."""
        await write_all(here)
        await reads(there)
        await invalidate(here)
        gone = await reads(there)
        await write_all(there)

        assert [reason] * len(KEYS) == gone
        assert [key.encode() for key in KEYS] == await reads(here)

    async def test_compute_once(self, here: CacheClient, there: CacheClient) -> None:
        """Whoever waits at one replica is woken by what is filled at the other."""
        for key in KEYS[:6]:
            lease = (await here.get_or_lease(NAMESPACE, key)).lease
            assert lease is not None
            waiting = [
                asyncio.create_task(cache.get_or_lease(NAMESPACE, key, wait=TAGGED / 10))
                for cache in (here, there)
            ]
            await there.classes()  # the questions are on their way before the answer is
            await here.fill(lease, key.encode())
            async with asyncio.timeout(10):
                answers = await asyncio.gather(*waiting)

            assert {None} == {answer.lease for answer in answers}
            assert {key.encode()} == {
                answer.found.value for answer in answers if isinstance(answer.found, Hit)
            }

    async def test_refuse_what_comes_late(self, here: CacheClient, there: CacheClient) -> None:
        """A lease passes on at its end, and a fill after that is not stored."""
        for key in KEYS[:6]:
            late = (await here.get_or_lease(NAMESPACE, key, lease_duration=LEASE)).lease
            next_one = (await there.get_or_lease(NAMESPACE, key, wait=10 * LEASE)).lease
            assert late is not None
            assert next_one is not None
            outcomes = [
                (await here.fill(late, b"late")).outcome.value,
                (await there.fill(next_one, b"in time")).outcome.value,
            ]

            assert ["lease_lost", "stored"] == outcomes

    async def test_share_a_quota(self, here: CacheClient, there: CacheClient) -> None:
        """What one has booked the other cannot book again, whatever nodes the entries are on."""
        with context.request(tenant="small"):
            for cache, key in zip((here, there, here), KEYS[:3], strict=True):
                await cache.set(NAMESPACE, key, b"v")
            with pytest.raises(QuotaError) as refused:
                await there.set(NAMESPACE, KEYS[3], b"v")

        assert {"entries"} == set(refused.value.violations)

    async def test_share_collections(self, here: CacheClient, there: CacheClient) -> None:
        """Counters, lists and sets are the same at both."""
        for key in KEYS[:6]:
            await here.increment(NAMESPACE, f"c{key}", 2)
            await here.push(NAMESPACE, f"l{key}", [b"a"])
            await here.add_members(NAMESPACE, f"s{key}", [b"a"])
            counter = await there.increment(NAMESPACE, f"c{key}", 3)
            await there.push(NAMESPACE, f"l{key}", [b"b"])
            added = await there.add_members(NAMESPACE, f"s{key}", [b"a", b"b"])

            assert (5, 2) == (counter.value, added.size)
            assert (b"a", b"b") == (await here.read_list(NAMESPACE, f"l{key}")).items
            members = [member async for member in here.members(NAMESPACE, f"s{key}")]
            assert {b"a", b"b"} == set(members)

    async def test_keep_near_copies_coherent(
        self, cluster: SixNodes, start_cache: StartCache, there: CacheClient
    ) -> None:
        """What is invalidated at one replica reaches copies that the other is watched for."""
        async with CacheClient(await start_cache(cluster.url), near=NearCacheOptions()) as near:
            await there.set(NAMESPACE, "k", b"old", ttl_class="near", tags=["t"])
            await _until_near(near)
            await there.invalidate_tags(["t"])
            async with asyncio.timeout(10):
                while isinstance(found := await near.get(NAMESPACE, "k"), Hit):
                    await there.classes()  # lets the stream be read
            figures = near.near_statistics()

        assert Miss(reason=MissReason.INVALIDATED_BY_TAG) == found
        assert figures is not None
        assert (1, 0) == (figures.streams, figures.flushes)


async def _until_near(cache: CacheClient) -> None:
    """Read until a copy answers."""
    async with asyncio.timeout(10):
        while (figures := cache.near_statistics()) and not figures.hits:
            await cache.get(NAMESPACE, "k")

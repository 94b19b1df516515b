"""Counters in a real Redis: what is written, when, how large, and for how long."""

import asyncio

import pytest
import redis.asyncio

from services.ratelimit.policy import MAX_QUOTA, SECOND, Limit
from services.ratelimit.ports import Charge
from services.ratelimit.redis_store import RedisCounterStore
from services.ratelimit.window import BUCKETS, Verdict, bucket_width
from shared.redis.client import Redis, Script
from shared.rpc.call import Tenant

WINDOW = 60 * SECOND
WIDTH = bucket_width(WINDOW)
START = 1_700_000_000 * WIDTH
KEY = "rl:{acme}:ai_chat:60000000:user:42"

SCRIPT = Script.load("services.ratelimit", "lua/sliding_window.lua")


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


def _charge(
    cost: int = 1, quota: int = 10, tenant: str = "acme", subject: str = "user:42"
) -> Charge:
    return Charge(
        tenant=Tenant(tenant),
        rule="ai_chat",
        subject=subject,
        limit=Limit(quota=quota, window=WINDOW),
        cost=cost,
    )


class TestConcurrentCallers:
    async def test_two_replicas_and_fifty_callers_admit_exactly_the_limit(
        self, redis_url: str
    ) -> None:
        """Nothing is read in one step and written in another."""
        links = [Redis(redis_url, timeout=5), Redis(redis_url, timeout=5)]
        stores = [RedisCounterStore(link) for link in links]
        for link in links:
            await link.start()

        async def call_ten_times(store: RedisCounterStore) -> list[Verdict]:
            return [await store.decide(_charge(quota=100), consume=True) for _ in range(10)]

        verdicts = await asyncio.gather(*(call_ten_times(stores[i % 2]) for i in range(50)))
        for link in links:
            await link.close()

        assert sum(verdict.admitted for told in verdicts for verdict in told) == 100


class TestTheServersClock:
    async def test_time_is_redis_own(self, link: Redis, raw: "redis.asyncio.Redis") -> None:
        """Not that of the replica that asks."""
        before = await _server_time(raw)
        verdict = await RedisCounterStore(link).decide(_charge(), consume=True)
        after = await _server_time(raw)

        assert before <= verdict.now <= after
        assert 0 < verdict.reset_at - verdict.now - (BUCKETS - 1) * WIDTH <= WIDTH


class TestWrites:
    async def test_a_denial_and_a_peek_write_nothing(
        self, link: Redis, raw: "redis.asyncio.Redis"
    ) -> None:
        """Not the value and not the time to live."""
        clock = Clock()
        store = RedisCounterStore(link, clock=clock)
        await store.decide(_charge(10), consume=True)
        value, life = await raw.get(KEY), await raw.pttl(KEY)
        clock.now += WIDTH
        denied = await store.decide(_charge(), consume=True)
        peeked = await store.decide(_charge(1, quota=20), consume=False)

        assert (denied.admitted, peeked.admitted) == (False, True)
        assert await raw.get(KEY) == value
        assert await raw.pttl(KEY) <= life

    async def test_a_first_peek_leaves_no_key(
        self, link: Redis, raw: "redis.asyncio.Redis"
    ) -> None:
        """Nor does a denial of a cost that never fits."""
        store = RedisCounterStore(link)
        await store.decide(_charge(), consume=False)
        await store.decide(_charge(11), consume=True)

        assert await raw.dbsize() == 0

    async def test_every_write_sets_the_time_to_live(
        self, link: Redis, raw: "redis.asyncio.Redis"
    ) -> None:
        """As long as the newest bucket counts, and not much longer."""
        clock = Clock()
        store = RedisCounterStore(link, clock=clock)
        lives = []
        for _ in range(3):
            clock.now += 20 * SECOND
            await store.decide(_charge(), consume=True)
            lives.append(await raw.pttl(KEY) / 1_000)

        assert all(59 < life <= BUCKETS * WIDTH / SECOND for life in lives)

    async def test_a_ring_from_a_clock_far_ahead_is_healed_by_the_first_look(
        self, link: Redis, raw: "redis.asyncio.Redis"
    ) -> None:
        """The healing must be kept, or every look would begin it anew."""
        clock = Clock()
        store = RedisCounterStore(link, clock=clock)
        clock.now += 86_400 * SECOND
        await store.decide(_charge(10), consume=True)
        clock.now = START
        denied = await store.decide(_charge(), consume=True)
        life = await raw.pttl(KEY) / 1_000
        clock.now = START + BUCKETS * WIDTH
        later = await store.decide(_charge(), consume=True)

        assert (denied.admitted, later.admitted) == (False, True)
        assert life <= BUCKETS * WIDTH / SECOND


class TestSize:
    async def test_a_full_ring_of_the_largest_counts_takes_400_bytes_at_most(
        self, link: Redis, raw: "redis.asyncio.Redis"
    ) -> None:
        """Key and all, however busy the subject and however long it goes on."""
        clock = Clock()
        store = RedisCounterStore(link, clock=clock)
        for _ in range(2 * BUCKETS):
            clock.now += WIDTH
            await store.decide(_charge(60_000_000, quota=MAX_QUOTA), consume=True)
        size = await raw.memory_usage(KEY, samples=0)

        assert size is not None
        assert 250 <= size <= 400

    async def test_a_quiet_subject_takes_less(
        self, link: Redis, raw: "redis.asyncio.Redis"
    ) -> None:
        """A ring is as long as what it remembers."""
        await RedisCounterStore(link).decide(_charge(), consume=True)
        size = await raw.memory_usage(KEY, samples=0)

        assert size is not None
        assert size <= 150


class TestSeparateCounters:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (("acme", "user:42"), ("globex", "user:42")),
            (("acme", "user:42"), ("acme", "user:43")),
            (("a", "b_c=d"), ("a_b", "c=d")),
            (("a", "{a}:b"), ("a}", "b")),
            (("*", "a"), ("a", "a")),
        ],
    )
    async def test_neither_charges_the_other(
        self, link: Redis, one: tuple[str, str], other: tuple[str, str]
    ) -> None:
        """Whatever stands in the names of tenants and subjects."""
        store = RedisCounterStore(link)
        await store.decide(_charge(10, tenant=one[0], subject=one[1]), consume=True)
        verdict = await store.decide(_charge(tenant=other[0], subject=other[1]), consume=True)

        assert verdict.used == 1


class TestSeveralLimitsInOneScript:
    async def test_when_one_denies_none_is_charged(self, link: Redis) -> None:
        """All or nothing, in one atomic step."""
        keys = ["{a}:roomy", "{a}:tight"]
        limits = (WIDTH, 10, 1, WIDTH, 2, 1)
        replies = [await link.run_script(SCRIPT, keys, (START, 1, *limits)) for _ in range(3)]
        freed = START + BUCKETS * WIDTH

        assert replies == [
            [1, START, 1, freed, 0, 1, freed, 0],
            [1, START, 2, freed, 0, 2, freed, 0],
            [0, START, 2, freed, 0, 2, freed, freed],
        ]


async def _server_time(raw: "redis.asyncio.Redis") -> int:
    seconds, microseconds = await raw.time()
    return int(seconds) * SECOND + int(microseconds)

"""What several replicas count, added up in one Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import count

import pytest
import redis.asyncio

from cli.embedded.redis import RedisServer
from mainstay.errors import CacheError
from services.cache.entry import Entry, MissReason
from services.cache.keys import EntryName
from services.cache.publishing import StatisticsPublisher
from services.cache.redis_statistics import MAX_GROUPS, RedisStatistics
from services.cache.statistics import OTHER, CacheStatistics, Counted, Group, Tally, total
from shared.redis.client import Redis
from shared.rpc.call import Tenant

ACME, OTHERS = Tenant("acme"), Tenant("others")
NAME = EntryName("acme", "video", "1")
GROUP = Group("acme", "video", "general")
ENTRY = Entry(b"v", "", 1, 1, None, None, 1, ttl_class="general", compute_ms=40)
MINUTE = 60_000
# In the middle of a minute, of ten, and of an hour.
NOON = 1_800_000_000_000 - 1_800_000_000_000 % (60 * MINUTE) + 34 * MINUTE + 30_000


class Replica:
    """One process that counts and publishes, with a clock that the test sets."""

    def __init__(self, client: Redis, name: str) -> None:
        self.now = NOON
        self.statistics = CacheStatistics()
        self.shared = RedisStatistics(client, lambda: self.now, replica=name)
        self.elsewhere: list[Counted] = []
        self.publisher = StatisticsPublisher(
            self.statistics, self.shared, [self._take], interval=0.01
        )

    def _take(self, counted: Sequence[Counted]) -> None:
        self.elsewhere += counted

    def hit(self, name: EntryName = NAME, times: int = 1) -> None:
        for _ in range(times):
            self.statistics.hit(name, ENTRY, stale=False)


NewReplica = Callable[[], Replica]


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    """Connect as a service does."""
    client = Redis(redis_url)
    await client.start()
    yield client
    await client.close()


@pytest.fixture
def replica(client: Redis) -> NewReplica:
    """Let a test have any number of replicas."""
    numbers = count()
    return lambda: Replica(client, f"replica{next(numbers)}")


class TestTwoReplicas:
    async def test_add_up(self, replica: NewReplica) -> None:
        """Whoever is asked answers for both."""
        one, two = replica(), replica()
        one.hit(times=2)
        two.hit(times=3)
        two.statistics.miss(NAME, "general", MissReason.TAG)
        await two.publisher.flush_once()

        answers = [await each.publisher.read(ACME, 60) for each in (one, two)]

        tally = Tally(
            hits=5, misses={MissReason.TAG: 1}, computations_saved=5, saved_ms=5 * ENTRY.compute_ms
        )
        assert [{GROUP: tally}] * 2 == answers

    async def test_flush_at_the_same_time(self, replica: NewReplica) -> None:
        """Neither overwrites what the other adds."""
        replicas = [replica() for _ in range(5)]
        for _ in range(4):
            for each in replicas:
                each.hit()
            await asyncio.gather(*(each.publisher.flush_once() for each in replicas))

        assert 20 == (await replicas[0].shared.read(ACME, 60))[GROUP].hits

    async def test_tenants_see_their_own(self, replica: NewReplica) -> None:
        """Also where namespaces and classes are called the same."""
        one = replica()
        one.hit(times=2)
        one.hit(EntryName("others", "video", "1"))

        assert {GROUP: 2} == hits(await one.publisher.read(ACME, 60))
        assert {Group("others", "video", "general"): 1} == hits(
            await one.publisher.read(OTHERS, 60)
        )


class TestWindows:
    async def test_hold_what_was_counted_within(self, replica: NewReplica) -> None:
        """To the minute up to an hour, to ten minutes beyond."""
        one = replica()
        for ago in (0, 1, 5, 59, 61, 300, 1439):
            one.now = NOON - ago * MINUTE
            one.hit()
            await one.publisher.flush_once()
        one.now = NOON

        found = {
            minutes: total((await one.shared.read(ACME, minutes)).values()).hits
            for minutes in (1, 4, 5, 58, 59, 60, 120, 299, 310, 1440)
        }

        assert {
            1: 2,
            4: 2,
            5: 3,
            58: 3,
            59: 4,
            60: 4,
            120: 5,
            299: 6,
            310: 6,
            1440: 7,
        } == found

    async def test_of_a_day_are_read_from_few_hashes(
        self, replica: NewReplica, store: "redis.asyncio.Redis"
    ) -> None:
        """A tenant that is always busy costs 210 hashes, which go by themselves."""
        one = replica()
        for ago in range(120):
            one.now = NOON - ago * MINUTE
            one.hit()
            await one.publisher.flush_once()
        keys = [key async for key in store.scan_iter(count=1_000)]
        ends = [await store.pttl(key) for key in keys if b"10m" in key]
        minutes = [await store.pttl(key) for key in keys if b"10m" not in key]

        assert {True} == {0 < end <= 65 * MINUTE for end in minutes}
        assert {True} == {24 * 60 * MINUTE < end <= (24 * 60 + 30) * MINUTE for end in ends}
        assert (120, 13) == (len(minutes), len(ends))


class TestBounds:
    async def test_a_tenant_with_many_namespaces(
        self, replica: NewReplica, store: "redis.asyncio.Redis"
    ) -> None:
        """Its hashes do not grow, whichever replica counts; every count is kept."""
        one, two = replica(), replica()
        for number in range(MAX_GROUPS):
            one.hit(EntryName("acme", f"ns{number}", "1"))
            two.hit(EntryName("acme", f"other{number}", "1"))
        await one.publisher.flush_once()
        answer = await two.publisher.read(ACME, 60)
        (biggest,) = {await store.hlen(key) async for key in store.scan_iter()}

        assert MAX_GROUPS + 1 == len(answer)
        assert MAX_GROUPS == answer[Group("acme", OTHER, "")].hits
        assert 2 * MAX_GROUPS == total(answer.values()).hits
        assert biggest < 6 * MAX_GROUPS


class TestRedisGone:
    async def test_nothing_is_lost(self, private_redis: RedisServer) -> None:
        """What cannot be written is kept, and counted once when Redis is back."""
        client = Redis(private_redis.url)
        await client.start()
        one = Replica(client, "replica")
        one.hit()
        await one.publisher.flush_once()
        await private_redis.stop()
        for _ in range(3):
            one.hit()
            with pytest.raises(CacheError):
                await one.publisher.flush_once()
        await private_redis.start()
        answer = await until_answered(one)
        await client.close()

        assert {GROUP: 4} == hits(answer)
        assert 4 == total(tally for _, tally in one.elsewhere).hits

    async def test_an_answer_that_is_lost_counts_once(
        self, replica: NewReplica, private_redis: RedisServer
    ) -> None:
        """A Redis that stands still takes what it was sent when it goes on; so it is sent again."""
        client = Redis(private_redis.url, timeout=0.1)
        await client.start()
        one = Replica(client, "replica")
        one.hit(times=5)
        # The script is known, so that it is the counting which is interrupted.
        await one.publisher.flush_once()
        one.hit(times=2)
        private_redis.pause()
        try:
            with pytest.raises(CacheError):
                await one.publisher.flush_once()
        finally:
            private_redis.resume()
        answer = await until_answered(one)
        await client.close()

        assert {GROUP: 7} == hits(answer)

    async def test_what_is_foreign_holds_up_nobody(
        self, replica: NewReplica, store: "redis.asyncio.Redis"
    ) -> None:
        """A key of another type costs the counts of that tenant and minute."""
        one = replica()
        await store.set(f"{{others:cache}}:stats:{NOON // MINUTE}", b"foreign")
        one.hit(EntryName("others", "video", "1"))
        one.hit()
        await one.publisher.flush_once()

        assert {GROUP: 1} == hits(await one.publisher.read(ACME, 1))


class TestTask:
    async def test_flushes_by_itself_and_at_the_end(
        self, replica: NewReplica, store: "redis.asyncio.Redis"
    ) -> None:
        """The last seconds of a process count too."""
        one, looker = replica(), replica()
        task = asyncio.create_task(one.publisher.run())
        one.hit()
        async with asyncio.timeout(10):
            while not await looker.shared.read(ACME, 1):  # noqa: ASYNC110 - another's flush
                await asyncio.sleep(0.01)
        one.hit()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

        assert {GROUP: 2} == hits(await looker.shared.read(ACME, 1))


def hits(answer: dict[Group, Tally]) -> dict[Group, int]:
    return {group: tally.hits for group, tally in answer.items()}


async def until_answered(replica: Replica) -> dict[Group, Tally]:
    """Ask until Redis is believed to be back."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await replica.publisher.read(ACME, 60)
            except CacheError:
                await asyncio.sleep(0.05)

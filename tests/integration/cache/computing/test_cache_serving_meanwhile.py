"""What is served while one computes, or while nobody can."""

import asyncio

import redis.asyncio

from cli.embedded.redis import RedisServer
from services.cache.answer import Failed, Fresh, Missing, NegativeKnown, NotModified, Stale
from services.cache.entry import MissReason
from services.cache.fill import FillState, Nothing
from services.cache.policy import InClass, Lifetime
from tests.integration.cache.computing.computing_replica import (
    WHERE,
    Replica,
    World,
    running,
)
from tests.integration.cache.computing.observing import (
    Store,
    holding,
    is_waited_for,
    until_gone,
)


class TestFailure:
    async def test_nothing_to_serve(self, one: Replica, other: Replica) -> None:
        """Who waits and who comes are told what failed, and nobody computes for a while."""
        lease = await one.lease()
        waiting = asyncio.create_task(other.ask())
        await holding(other)
        await one.abandon(lease, error="the source is down", throttle_ms=60_000)
        answers = [await waiting, await one.ask()]

        assert [type(answer) for answer in answers] == [Failed, Failed]
        for answer in answers:
            assert isinstance(answer, Failed)
            assert answer.error == "the source is down"
            assert 55_000 < answer.retry_after_ms <= 60_000
            assert answer.lease is None

    async def test_stale_on_error(self, one: Replica, other: Replica, world: World) -> None:
        """A stale value is served while the source fails, without a lease, to whom it is of use."""
        await one.fill(await one.lease())
        world.clock.ahead_ms = 61_000
        await one.abandon(await one.lease(), error="the source is down", throttle_ms=60_000)
        answer = await other.ask()

        assert isinstance(answer, Stale)
        assert answer.lease is None
        assert isinstance(await other.ask(fresh_only=True), Failed)

    async def test_of_the_scripts(self, private_redis: RedisServer, world: World) -> None:
        """Who has a stale value to give does not fail because no lease can be had."""
        async with (
            running(private_redis.url, world) as one,
            redis.asyncio.Redis.from_url(private_redis.url) as store,
        ):
            entry = (await one.fill(await one.lease())).entry
            assert entry is not None
            world.clock.ahead_ms = 61_000
            await store.acl_setuser("default", commands=["-eval", "-evalsha"])

            assert Stale(entry=entry) == await one.ask()

    async def test_until_its_end(self, one: Replica, other: Replica, store: Store) -> None:
        """When the throttle is over somebody may try again."""
        await one.abandon(await one.lease(), error="the source is down", throttle_ms=10)
        await until_gone(store)

        assert (await other.ask()).lease is not None


class TestStale:
    async def test_served_while_one_computes(
        self, one: Replica, other: Replica, world: World, store: Store
    ) -> None:
        """The first gets the stale value with the lease, the others without; nobody waits."""
        entry = (await one.fill(await one.lease())).entry
        assert entry is not None
        world.clock.ahead_ms = 61_000
        first, second = await one.ask(), await other.ask()

        assert Stale(entry=entry, lease=first.lease) == first
        assert Stale(entry=entry) == second
        assert first.lease is not None
        assert first.lease.stale_version == entry.version
        assert not await is_waited_for(store)
        await one.fill(first.lease, b"new")
        answer = await other.ask()
        assert isinstance(answer, Fresh)
        assert (answer.entry.value, answer.entry.last_miss) == (b"new", MissReason.EXPIRED)

    async def test_fresh_only(self, one: Replica, other: Replica, world: World) -> None:
        """Who has no use for a stale value waits for the fresh one."""
        await one.fill(await one.lease())
        world.clock.ahead_ms = 61_000
        lease = await one.lease()
        waiting = asyncio.create_task(other.ask(fresh_only=True))
        await holding(other)
        await one.fill(lease, b"new")
        answer = await waiting

        assert isinstance(answer, Fresh)
        assert (answer.entry.value, answer.waited) == (b"new", True)

    async def test_fresh_only_computes(self, one: Replica, world: World) -> None:
        """If nobody else does, it computes itself, and is told which version to compare with."""
        entry = (await one.fill(await one.lease())).entry
        assert entry is not None
        world.clock.ahead_ms = 61_000
        answer = await one.ask(fresh_only=True)

        assert isinstance(answer, Missing)
        assert answer.reason is MissReason.EXPIRED
        assert answer.lease is not None
        assert answer.lease.stale_version == entry.version

    async def test_statistics(self, one: Replica, other: Replica, world: World) -> None:
        """A stale value is a hit, and counted as stale."""
        await one.fill(await one.lease())
        world.clock.ahead_ms = 61_000
        await other.ask()
        await other.ask()
        counted = other.counted()

        assert (counted.hits, counted.stale_hits, counted.misses) == (2, 2, {})


class TestEarlyRefresh:
    async def test_when_chance_has_it(self, one: Replica, other: Replica, world: World) -> None:
        """One reader of a fresh value is to refresh it; the others do not, and nobody waits."""
        entry = (await one.fill(await one.lease(), compute_ms=60_000)).entry
        assert entry is not None
        world.chance = 0.7
        first, second = await one.ask(), await other.ask()

        assert Fresh(entry=entry, lease=first.lease) == first
        assert first.lease is not None
        assert first.lease.stale_version == entry.version
        assert Fresh(entry=entry) == second

    async def test_when_it_has_not(self, one: Replica, world: World) -> None:
        """Long before the end hardly anybody refreshes."""
        await one.fill(await one.lease(), compute_ms=60_000)
        world.chance = 0.5

        assert (await one.ask()).lease is None

    async def test_of_a_class_that_does_not(self, one: Replica, world: World) -> None:
        """The class of the entry decides, not that of the request."""
        await one.fill(await one.lease(), compute_ms=60_000, expiry=InClass(name="never_early"))
        world.chance = 0.999

        assert (await one.ask(ttl_class="general")).lease is None

    async def test_for_an_entry_without_a_class(self, one: Replica, world: World) -> None:
        """Where the entry has no class the request's decides, up to the entry's end."""
        await one.fill(await one.lease(), compute_ms=60_000, expiry=Lifetime(ttl_ms=60_000))
        world.chance = 0.999

        assert (await one.ask(ttl_class="never_early")).lease is None
        assert (await one.ask()).lease is not None


class TestNegative:
    async def test_known(self, one: Replica, other: Replica, store: Store) -> None:
        """That there is nothing is an answer for those who wait and those who come, for its TTL."""
        lease = await one.lease()
        waiting = asyncio.create_task(other.ask())
        await holding(other)
        filled = await one.fill(lease, found=Nothing(), compute_ms=40)

        assert filled.state is FillState.STORED
        assert filled.entry is not None
        assert NegativeKnown(entry=filled.entry, waited=True) == await waiting
        assert NegativeKnown(entry=filled.entry) == await one.ask()
        assert 25_000 < await store.pttl(WHERE) <= 30_000
        counted = one.counted()
        assert (counted.hits, counted.misses) == (1, {MissReason.COLD: 1})


class TestNotModified:
    async def test_fresh_and_stale(self, one: Replica, world: World) -> None:
        """Who holds the version that is there does not get its bytes again."""
        entry = (await one.fill(await one.lease())).entry
        assert entry is not None

        assert NotModified(entry=entry) == await one.ask(if_version=entry.version)
        assert Fresh(entry=entry) == await one.ask(if_version=entry.version + 1)
        world.clock.ahead_ms = 61_000
        stale = await one.ask(if_version=entry.version)
        assert NotModified(entry=entry, lease=stale.lease) == stale
        assert stale.lease is not None

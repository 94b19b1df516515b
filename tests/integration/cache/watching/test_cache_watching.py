"""Those who watch hear of everything, in order, and that nothing was missed."""

import asyncio
from contextlib import aclosing

import pytest
from prometheus_client import REGISTRY

from cli.embedded.redis import RedisServer
from mainstay.errors import CacheError, UnavailableError
from services.cache.history import Head
from services.cache.watcher import Heartbeat
from tests.integration.cache.watching.watched_replica import (
    ACME,
    OFTEN,
    OTHER,
    Replica,
    following,
    gap,
    replica,
    told,
    until_connected,
    watched,
)


class TestStream:
    async def test_tells_what_is_invalidated(self, here: Replica) -> None:
        """In order, each with what came before; by whatever means."""
        async with watched(here) as messages:
            begun = (await here.histories.current(ACME)).sequence
            first = await here.histories.append(ACME, tags=["a"], by_event=True)
            one = await told(messages)
            second = await here.histories.append_keys(ACME, "video", ["k"])
            two = await told(messages)
            third = await here.histories.append(ACME, prefixes=[("v", "p")], namespaces=["n"])
            three = await told(messages)

        assert [first, second, third] == [one.head.sequence, two.head.sequence, three.head.sequence]
        assert (begun, first) == (one.previous, one.change.sequence)
        assert ("a",) == one.change.tags
        assert (("video", "k"),) == two.change.entries
        assert ((("v", "p"),), ("n",)) == (three.change.prefixes, three.change.namespaces)

    async def test_tells_of_no_other_tenant(self, here: Replica) -> None:
        """Nor of what was before it began."""
        await here.histories.append(ACME, tags=["before"])
        async with watched(here) as messages:
            await here.histories.append(OTHER, tags=["theirs"])
            await here.histories.append(ACME, tags=["ours"])

            assert ("ours",) == (await told(messages)).change.tags

    async def test_tells_all_who_watch(self, here: Replica) -> None:
        """Each has a buffer of its own; one who leaves takes nobody along."""
        async with watched(here) as one, watched(here) as two:
            async with watched(here):
                pass
            await here.histories.append(ACME, tags=["a"])

            assert (("a",), ("a",)) == (
                (await told(one)).change.tags,
                (await told(two)).change.tags,
            )

    async def test_misses_nothing_that_happens_as_it_begins(self, redis_url: str) -> None:
        """What is acknowledged after `started` was sent is told, however tight."""
        async with replica(redis_url, interval=OFTEN) as here:
            for n in range(30):
                async with watched(here) as messages:
                    sequence = await here.histories.append(ACME, tags=[f"{n}"])

                    assert sequence == (await told(messages)).head.sequence

    async def test_misses_nothing_while_others_watch(self, here: Replica, redis_url: str) -> None:
        """The feed may be telling others of a change in the moment in which one more begins."""
        sequences: list[int] = []
        async with replica(redis_url) as there, watched(here):

            async def invalidate() -> None:
                while len(sequences) < 200:
                    sequences.append(await there.histories.append(ACME, tags=["a"]))

            async def hear() -> tuple[int, list[int]]:
                async with aclosing(here.watching.watch(ACME, None)) as messages:
                    started, heard = await following(messages), list[int]()
                    while not heard or heard[-1] != await last:
                        heard.append((await told(messages)).head.sequence)
                return started.head.sequence, heard

            last: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            hearing = []
            invalidating = asyncio.create_task(invalidate())
            for _ in range(20):
                hearing.append(asyncio.create_task(hear()))
                await asyncio.sleep(0.002)
            await invalidating
            last.set_result(await there.histories.append(ACME, tags=["last"]))
            results = await asyncio.gather(*hearing)

        for began, heard in results:
            assert [s for s in [*sequences, last.result()] if s > began] == heard

    async def test_leaves_nothing_behind(self, here: Replica) -> None:
        """A tenant that nobody watches any more is not looked at."""
        async with watched(here), watched(here, OTHER):
            assert {ACME, OTHER} == set(here.watching._feeds)

        assert ({}, 0) == (here.watching._feeds, here.watching._watchers)

    async def test_learns_what_many_did_at_once(self, here: Replica, redis_url: str) -> None:
        """Of several replicas, each change once and in the order of its sequence."""
        async with replica(redis_url) as there, watched(here) as messages:
            sequences = await asyncio.gather(
                *(
                    side.histories.append(ACME, tags=[f"{n}"])
                    for n in range(100)
                    for side in (here, there)
                )
            )

            heard = [(await told(messages)).head.sequence for _ in sequences]

        assert sorted(sequences) == heard


class TestDelay:
    async def test_is_measured_for_every_invalidation(self, here: Replica) -> None:
        """From Redis's time of it to the hand-over, which is what a copy may be old by."""
        before = _delays("count"), _delays("sum")
        here.watching._now_ms = lambda: 2_000_000_000_000 + 40
        async with watched(here) as messages:
            await here.histories.append(ACME, tags=["a"])
            one = await told(messages)
        after = _delays("count"), _delays("sum")

        expected = (2_000_000_000_000 + 40 - one.change.time_ms) / 1000
        assert 1 == after[0] - before[0]
        assert expected == pytest.approx(after[1] - before[1])


def _delays(part: str) -> float:
    return REGISTRY.get_sample_value(f"mainstay_cache_watch_delay_seconds_{part}") or 0.0


class TestHeartbeat:
    async def test_says_that_nothing_was_missed(self, redis_url: str) -> None:
        """Up to the head that the store had a moment ago."""
        async with replica(redis_url, interval=OFTEN) as here, watched(here) as messages:
            sequence = await here.histories.append(ACME, tags=["a"])
            await told(messages)
            beat = await following(messages)

        assert isinstance(beat, Heartbeat)
        assert (sequence, sequence) == (beat.previous, beat.head.sequence)

    async def test_stops_with_the_store(self, private_redis: RedisServer) -> None:
        """The stream ends: whoever keeps copies without it would serve what is stale."""
        async with (
            replica(private_redis.url, interval=OFTEN) as here,
            watched(here) as messages,
            watched(here) as others,
        ):
            assert isinstance(await following(messages), Heartbeat)
            await private_redis.stop()

            for each in (messages, others):
                with pytest.raises(CacheError):
                    await gap(each)
            with pytest.raises(CacheError):
                async with watched(here):
                    pass

    async def test_comes_again_when_the_store_is_back(self, private_redis: RedisServer) -> None:
        """For those who watch again; what became stale meanwhile they learn from the log."""
        async with replica(private_redis.url, interval=OFTEN) as here:
            sequence = await here.histories.append(ACME, tags=["a"])
            known = Head((await here.histories.current(ACME)).epoch, sequence)
            await private_redis.stop()
            await private_redis.start()
            await until_connected(here)
            async with watched(here, resume=known) as messages:
                assert isinstance(await following(messages), Heartbeat)
                await here.histories.append(ACME, tags=["b"])
                assert ("b",) == (await told(messages)).change.tags


class TestPlaces:
    async def test_are_bounded(self, redis_url: str) -> None:
        """One more than a replica serves is told so, and that it may come again."""
        async with replica(redis_url, max_watchers=2) as here:
            async with watched(here), watched(here, OTHER):
                with pytest.raises(UnavailableError) as caught:
                    async with watched(here):
                        pass
            async with watched(here):
                pass

        assert "TOO_MANY_WATCHERS" == caught.value.reason


class TestDraining:
    async def test_ends_every_stream(self, here: Replica) -> None:
        """And begins none: their readers go on at another replica."""
        async with watched(here) as one, watched(here, OTHER) as two:
            await here.watching.drain()

            for messages in (one, two):
                with pytest.raises(UnavailableError) as caught:
                    await following(messages)
                assert "DRAINING" == caught.value.reason
            with pytest.raises(UnavailableError):
                async with watched(here):
                    pass

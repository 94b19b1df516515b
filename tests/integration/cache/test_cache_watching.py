"""Those who keep copies are told what becomes stale, or that they may have missed something."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import pytest
import redis.asyncio as redis_py

from cli.embedded.redis import RedisServer
from mainstay.errors import CacheError, UnavailableError
from services.cache.channels import INVALIDATED
from services.cache.histories import RedisHistories
from services.cache.history import Head
from services.cache.keys import tenant_key
from services.cache.redis_log import RedisLog
from services.cache.watcher import Discontinuity, Heartbeat, Message, Started, Told
from services.cache.watching import Watching
from shared.redis.client import Redis
from shared.redis.subscription import Subscription
from shared.rpc.call import Tenant

ACME = Tenant("acme")
OTHER = Tenant("other")
NEVER = 3_600.0
OFTEN = 0.05
PATIENCE = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One process of the service, as far as invalidations go."""

    histories: RedisHistories
    watching: Watching
    redis: Redis


@asynccontextmanager
async def replica(
    url: str,
    *,
    interval: float = NEVER,
    hinted: bool = True,
    log_length: int = 10_000,
    max_watchers: int = 1_000,
    max_buffered: int = 1_000,
) -> AsyncIterator[Replica]:
    """Run one that looks for itself every `interval` seconds and hears hints, or not."""
    redis = Redis(url, timeout=5.0)
    await redis.start()
    log = RedisLog(redis, new_epoch=lambda: secrets.token_hex(8), log_length=log_length)
    watching = Watching(
        log, lambda: 0, interval=interval, max_watchers=max_watchers, max_buffered=max_buffered
    )
    subscription = Subscription(
        url,
        [INVALIDATED.decode()],
        on_message=lambda _, tenant: watching.hear(tenant),
        on_gap=watching.look,
    )
    histories = RedisHistories(log)
    if hinted:
        await subscription.start()
    try:
        yield Replica(histories=histories, watching=watching, redis=redis)
    finally:
        await subscription.close()
        await watching.close()
        await histories.close()
        await redis.close()


@asynccontextmanager
async def watched(
    replica: Replica, tenant: Tenant = ACME, resume: Head | None = None
) -> AsyncIterator[AsyncGenerator[Message]]:
    """Watch within the block, from the first message on."""
    async with aclosing(replica.watching.watch(tenant, resume)) as messages:
        first = await following(messages)
        assert isinstance(first, Started)
        yield messages


async def following(messages: AsyncGenerator[Message]) -> Message:
    async with asyncio.timeout(PATIENCE):
        return await anext(messages)


async def told(messages: AsyncGenerator[Message]) -> Told:
    """Return the next message that is not a heartbeat."""
    while isinstance(message := await following(messages), Heartbeat):
        pass
    assert isinstance(message, Told)
    return message


async def gap(messages: AsyncGenerator[Message]) -> Discontinuity:
    while not isinstance(message := await following(messages), Discontinuity):
        pass
    return message


@pytest.fixture
async def here(redis_url: str) -> AsyncIterator[Replica]:
    """Run a replica that only looks when it hears a hint."""
    async with replica(redis_url) as here:
        yield here


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator["redis_py.Redis"]:
    """Meddle with what lies in Redis."""
    async with redis_py.Redis.from_url(redis_url) as connection:
        yield connection


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


async def until_connected(replica: Replica) -> None:
    async with asyncio.timeout(PATIENCE):
        while not replica.redis.connected:  # noqa: ASYNC110 - it gives no signal
            await asyncio.sleep(0.005)


class TestLostHint:
    async def test_costs_a_moment(self, redis_url: str) -> None:
        """A replica that is cut off from pub/sub finds what was added by looking."""
        async with (
            replica(redis_url, hinted=False, interval=OFTEN) as deaf,
            replica(redis_url) as there,
            watched(deaf) as messages,
        ):
            for n in range(5):
                sequence = await there.histories.append(ACME, tags=[f"{n}"])

                assert sequence == (await told(messages)).head.sequence

    async def test_after_a_gap_is_looked_for(self, redis_url: str) -> None:
        """A subscription that broke says so, and every log is looked at."""
        async with (
            replica(redis_url, hinted=False) as deaf,
            watched(deaf) as messages,
            watched(deaf, OTHER) as others,
        ):
            await deaf.histories.append(ACME, tags=["a"])
            await deaf.histories.append(OTHER, tags=["b"])
            deaf.watching.look()

            assert ("a",) == (await told(messages)).change.tags
            assert ("b",) == (await told(others)).change.tags

    async def test_that_names_nobody_is_ignored(self, here: Replica) -> None:
        """Anybody may publish anything."""
        async with watched(here) as messages:
            for junk in (b"", b"\xff", b"nobody"):
                here.watching.hear(junk)
            await here.histories.append(ACME, tags=["a"])

            assert ("a",) == (await told(messages)).change.tags


class TestResume:
    async def test_goes_on_where_another_stream_ended(self, here: Replica) -> None:
        """What came since is told first, and then what comes."""
        known = await here.histories.append(ACME, tags=["known"])
        epoch = (await here.histories.current(ACME)).epoch
        since = [await here.histories.append(ACME, tags=[f"{n}"]) for n in range(600)]

        async with watched(here, resume=Head(epoch, known)) as messages:
            heard = [await told(messages) for _ in since]
            later = await here.histories.append(ACME, tags=["later"])
            last = await told(messages)

        assert since == [message.head.sequence for message in heard]
        assert [known, *since[:-1]] == [message.previous for message in heard]
        assert (later, since[-1]) == (last.head.sequence, last.previous)

    async def test_to_the_very_end_misses_nothing(self, here: Replica) -> None:
        """A stream may resume at the last thing that happened."""
        known = await here.histories.append(ACME, tags=["known"])
        epoch = (await here.histories.current(ACME)).epoch
        async with watched(here, resume=Head(epoch, known)) as messages:
            beat = await following(messages)

        assert Heartbeat(head=Head(epoch, known), previous=known) == beat

    async def test_beyond_the_log_is_a_discontinuity(self, redis_url: str) -> None:
        """What was trimmed nobody knows; from then on the stream is whole again."""
        async with replica(redis_url, log_length=10) as here:
            known = await here.histories.append(ACME, tags=["known"])
            epoch = (await here.histories.current(ACME)).epoch
            for n in range(300):
                last = await here.histories.append(ACME, tags=[f"{n}"])

            async with watched(here, resume=Head(epoch, known)) as messages:
                missed = await gap(messages)
                later = await here.histories.append(ACME, tags=["later"])
                then = await told(messages)

        assert Head(epoch, last) == missed.head
        assert (last, later) == (then.previous, then.head.sequence)

    @pytest.mark.parametrize(
        "resume", [Head("0123456789abcdef", 5), Head("0" * 16, 0), Head("f" * 16, 2**64 - 1)]
    )
    async def test_of_another_history_is_a_discontinuity(self, here: Replica, resume: Head) -> None:
        """Whatever a caller says it knows."""
        async with watched(here, resume=resume) as messages:
            missed = await gap(messages)

        assert (await here.histories.current(ACME)).head == missed.head.text

    async def test_of_what_has_not_happened_is_a_discontinuity(self, here: Replica) -> None:
        """And harms nobody: a caller who invents a sequence does not end the history."""
        epoch = (await here.histories.current(ACME)).epoch
        async with watched(here, resume=Head(epoch, 2**64 - 1)) as messages:
            missed = await gap(messages)

        assert epoch == missed.head.epoch == (await here.histories.current(ACME)).epoch


class TestDiscontinuity:
    async def test_follows_the_loss_of_the_history(
        self, redis_url: str, store: "redis_py.Redis"
    ) -> None:
        """Another epoch: the stream goes on in it."""
        async with replica(redis_url, interval=OFTEN) as here, watched(here) as messages:
            before = (await here.histories.current(ACME)).epoch
            await store.flushall()

            missed = await gap(messages)
            await here.histories.append(ACME, tags=["a"])
            then = await told(messages)

        assert before != missed.head.epoch == then.head.epoch
        assert missed.head.sequence == then.previous

    async def test_follows_a_failover_that_lost_something(
        self, redis_url: str, store: "redis_py.Redis"
    ) -> None:
        """What was told may not have happened; nobody can say what else has not."""
        parts = [tenant_key(ACME, part) for part in ("head", "log", "epochs")]
        async with replica(redis_url) as here, watched(here) as messages:
            await here.histories.append(ACME, tags=["a"])
            older = {part: await store.dump(part) or b"" for part in parts}
            sequence = await here.histories.append(ACME, tags=["b"])
            while (await told(messages)).head.sequence < sequence:
                pass
            for part, value in older.items():
                await store.restore(part, 0, value, replace=True)
            here.watching.look()

            missed = await gap(messages)

            assert missed.head.sequence > sequence
            assert (await here.histories.current(ACME)).epoch == missed.head.epoch

    async def test_follows_a_reader_who_is_too_slow(self, redis_url: str) -> None:
        """Its buffer is bounded; others are not held up."""
        async with (
            replica(redis_url, max_buffered=5) as here,
            watched(here) as slow,
            watched(here) as quick,
        ):
            for n in range(20):
                sequence = await here.histories.append(ACME, tags=[f"{n}"])
                assert sequence == (await told(quick)).head.sequence

            assert sequence >= (await gap(slow)).head.sequence


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

"""What was invalidated is known to every replica that reads afterwards, whatever gets lost."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import urlsplit

import pytest
import redis.asyncio as redis_py

from cli.embedded.redis import RedisServer
from mainstay.errors import CacheError, UnavailableError
from services.cache.entry import MissReason
from services.cache.histories import RedisHistories
from services.cache.history import Change, History
from services.cache.invalidation_metrics import history_reloads
from services.cache.keys import tenant_key
from services.cache.redis_log import RedisLog
from shared.redis.client import Redis
from shared.rpc.call import Tenant
from tests.integration.shared.tcp_proxy import TcpProxy
from tests.integration.shared.waiting import until

ACME = Tenant("acme")
OTHER = Tenant("other")
HEAD, LOG, MARKS = (tenant_key(ACME, part) for part in ("head", "log", "epochs"))
FAR_FUTURE = 7_000_000_000_000_000

Replica = Callable[..., AbstractAsyncContextManager[RedisHistories]]


@asynccontextmanager
async def replica_of(
    url: str, *, max_tenants: int = 1_000, max_marks: int = 100_000, log_length: int = 10_000
) -> AsyncIterator[RedisHistories]:
    """Be one replica: a memory and a connection of its own."""
    redis = Redis(url, timeout=5.0)
    await redis.start()
    log = RedisLog(
        redis,
        new_epoch=lambda: secrets.token_hex(8),
        max_marks=max_marks,
        log_length=log_length,
    )
    histories = RedisHistories(log, max_tenants=max_tenants)
    try:
        yield histories
    finally:
        await histories.close()
        await redis.close()


@pytest.fixture
async def here(redis_url: str) -> AsyncIterator[RedisHistories]:
    """One replica."""
    async with replica_of(redis_url) as histories:
        yield histories


@pytest.fixture
async def there(redis_url: str) -> AsyncIterator[RedisHistories]:
    """Another replica: nothing but the store connects the two."""
    async with replica_of(redis_url) as histories:
        yield histories


async def verdict(
    histories: RedisHistories,
    stamp: int,
    *tags: str,
    namespace: str = "video",
    key: str = "feed/1",
) -> MissReason | None:
    """Read as the service does, and judge an entry."""
    return (await histories.current(ACME)).verdict(namespace, key, tags, stamp)


async def commands(store: "redis_py.Redis") -> dict[str, int]:
    """Count the commands that Redis has carried out so far."""
    stats = await store.info("commandstats")
    return {name.removeprefix("cmdstat_"): int(stat["calls"]) for name, stat in stats.items()}


class TestInvalidation:
    async def test_is_known_to_a_read_that_begins_after_its_acknowledgement(
        self, here: RedisHistories, there: RedisHistories
    ) -> None:
        """On any replica, at once, without anybody telling it."""
        stamp = (await here.current(ACME)).sequence
        assert await verdict(there, stamp, "user:1") is None

        for n in range(100):
            sequence = await here.append(ACME, tags=[f"user:{n}"])

            assert await verdict(there, sequence - 1, f"user:{n}") is MissReason.TAG
            assert await verdict(there, sequence, f"user:{n}") is None
        assert await verdict(there, stamp, "user:100") is None

    async def test_by_every_means(self, here: RedisHistories, there: RedisHistories) -> None:
        """Tag, event, prefix and namespace, each for its own entries only."""
        stamp = (await there.current(ACME)).sequence
        await here.append(ACME, tags=["a", "b"])
        await here.append(ACME, tags=["c"], by_event=True)
        await here.append(ACME, prefixes=[("video", "feed/")])
        await here.append(ACME, namespaces=["session"])

        for histories in (here, there):
            assert await verdict(histories, stamp, "x", "b", key="z") is MissReason.TAG
            assert await verdict(histories, stamp, "c", key="z") is MissReason.EVENT
            assert await verdict(histories, stamp, key="feed/") is MissReason.PREFIX
            assert await verdict(histories, stamp, key="feed") is None
            assert await verdict(histories, stamp, namespace="vide", key="feed/1") is None
            assert await verdict(histories, stamp, namespace="session") is MissReason.NAMESPACE

    async def test_of_one_s_own_hides_none_of_others(
        self, here: RedisHistories, there: RedisHistories
    ) -> None:
        """A replica learns of its own at once, but only what comes right after what it knows."""
        stamp = (await here.current(ACME)).sequence
        await there.append(ACME, tags=["theirs"])
        await here.append(ACME, tags=["ours"])

        assert await verdict(here, stamp, "theirs") is MissReason.TAG
        assert await verdict(here, stamp, "ours") is MissReason.TAG

    async def test_concerns_no_other_tenant(self, here: RedisHistories) -> None:
        """Two tenants may use the same names."""
        stamp = (await here.current(OTHER)).sequence
        await here.append(ACME, tags=["a"], namespaces=["video"], prefixes=[("video", "f")])

        assert (await here.current(OTHER)).verdict("video", "f", ("a",), stamp) is None

    async def test_of_entries_leaves_no_mark(self, here: RedisHistories) -> None:
        """They are gone from the store already; only copies elsewhere have to be told."""
        stamp = (await here.current(ACME)).sequence
        sequence = await here.append_keys(ACME, "video", ["feed/1"])

        history = await here.current(ACME)
        assert (sequence, 0) == (history.sequence, history.size)
        assert history.verdict("video", "feed/1", (), stamp) is None

    async def test_at_the_same_time_by_many(
        self, here: RedisHistories, there: RedisHistories
    ) -> None:
        """Each gets a sequence of its own, and both replicas end with the same history."""
        works = [
            replica.append(ACME, tags=[f"{n % 17}"], prefixes=[("video", f"{n % 5}")])
            for n in range(200)
            for replica in (here, there)
        ]
        reads = [replica.current(ACME) for _ in range(50) for replica in (here, there)]

        sequences = await asyncio.gather(*works)
        await asyncio.gather(*reads)

        assert 400 == len(set(sequences))
        assert max(sequences) == (await here.current(ACME)).sequence
        assert await here.current(ACME) == await there.current(ACME)
        assert await there.current(ACME) == await loaded(there)

    async def test_costs_nothing_while_nothing_changes(
        self, here: RedisHistories, redis_url: str
    ) -> None:
        """A read asks for the head, and for nothing else."""
        await here.append(ACME, tags=["a"])
        await here.current(ACME)
        async with redis_py.Redis.from_url(redis_url) as store:
            before = await commands(store)
            for _ in range(10):
                await here.current(ACME)
            after = await commands(store)

        spent = {name: calls - before.get(name, 0) for name, calls in after.items()}
        assert {"get": 10, "info": 1} == {name: n for name, n in spent.items() if n}


async def loaded(histories: RedisHistories) -> History:
    """Load what the marks say, past the memory."""
    return await histories._store.load(ACME)


class TestSequence:
    async def test_grows_when_the_clock_goes_back(
        self, here: RedisHistories, there: RedisHistories, redis_url: str
    ) -> None:
        """It counts; the clock only ever pushes it forward."""
        stamp = (await here.current(ACME)).sequence
        async with redis_py.Redis.from_url(redis_url) as store:
            epoch = (await here.current(ACME)).epoch
            await store.set(HEAD, f"{epoch}-{FAR_FUTURE}")

        first = await here.append(ACME, tags=["a"])
        second = await there.append(ACME, tags=["a"])

        assert (FAR_FUTURE + 1, FAR_FUTURE + 2) == (first, second)
        assert await verdict(there, stamp, "a") is MissReason.TAG
        assert await verdict(here, first, "a") is MissReason.TAG
        assert await verdict(here, second, "a") is None

    @pytest.mark.parametrize("lost", [MARKS, HEAD])
    async def test_of_a_new_beginning_is_above_all_before(
        self, redis_url: str, store: "redis_py.Redis", lost: bytes
    ) -> None:
        """Also when the clock has gone back: what was written before must not live again."""
        async with replica_of(redis_url) as here:
            epoch = (await here.current(ACME)).epoch
        await store.set(HEAD, f"{epoch}-{FAR_FUTURE}")
        await store.hset(MARKS, "floor", str(FAR_FUTURE))
        await store.delete(lost)

        async with replica_of(redis_url) as new:
            assert FAR_FUTURE + 1 == (await new.current(ACME)).floor

    async def test_is_near_the_store_s_clock(self, here: RedisHistories, redis_url: str) -> None:
        """So that one that a failover set back is not used twice."""
        async with redis_py.Redis.from_url(redis_url) as store:
            seconds, micros = await store.time()
            sequence = await here.append(ACME, tags=["a"])
            later, more = await store.time()

        assert seconds * 1_000_000 + micros <= sequence <= later * 1_000_000 + more


class TestAsking:
    async def test_readers_of_one_turn_share_one_question(
        self, here: RedisHistories, redis_url: str
    ) -> None:
        """A thousand reads of a tenant at the same time ask for its head once."""
        await here.current(ACME)
        async with redis_py.Redis.from_url(redis_url) as store:
            before = await commands(store)
            await asyncio.gather(*(here.current(ACME) for _ in range(1_000)))
            after = await commands(store)

        assert 1 == after["get"] - before["get"]

    async def test_nobody_shares_a_question_that_has_left(self, here: RedisHistories) -> None:
        """Not even within the turn of the loop in which it left: an answer may be too old."""
        await here.current(ACME)
        loop = asyncio.get_running_loop()
        late: list[asyncio.Future[bytes | None]] = []

        # A write is due before we ask, so a callback may come between it and the end of the turn.
        other = here._store._redis.send("PING")
        loop.call_soon(lambda: late.append(here.ask(ACME)))
        first, again = here.ask(ACME), here.ask(ACME)
        await asyncio.gather(other, first)

        assert first is again
        assert first is not late[0]
        await late[0]

    async def test_tenants_ask_for_themselves(self, here: RedisHistories) -> None:
        """One's head says nothing of another's."""
        one, other = await here.current(ACME), await here.current(OTHER)

        assert (one.head, other.head) == (await here.ask(ACME), await here.ask(OTHER))
        assert here.known(ACME, other.head) is None

    async def test_one_caller_who_leaves_takes_nobody_along(self, here: RedisHistories) -> None:
        """What is shared is not cancelled with the first who loses patience."""
        impatient = asyncio.create_task(here.current(ACME))
        patient = asyncio.create_task(here.current(ACME))
        await asyncio.sleep(0)
        impatient.cancel()

        assert (await patient).head == await here.ask(ACME)
        assert impatient.cancelled()

    async def test_what_is_fetched_is_fetched_once(
        self, here: RedisHistories, there: RedisHistories, redis_url: str
    ) -> None:
        """A change makes one reader of many fetch it."""
        await there.current(ACME)
        await here.append(ACME, tags=["a"])
        async with redis_py.Redis.from_url(redis_url) as store:
            before = await commands(store)
            await asyncio.gather(*(there.current(ACME) for _ in range(100)))
            after = await commands(store)

        assert 1 == after["xrange"] - before.get("xrange", 0)

    async def test_a_flight_that_left_before_the_question_is_not_believed(
        self, here: RedisHistories, redis_url: str
    ) -> None:
        """Who asks while others fetch gets what was true when he asked, not when they did."""
        await here.append(ACME, tags=["a"])
        async with (
            TcpProxy.to(urlsplit(redis_url).port or 0) as proxy,
            replica_of(f"redis://127.0.0.1:{proxy.port}/0") as there,
        ):
            await there.current(ACME)
            await here.append(ACME, tags=["b"])
            # The answer to what is asked now lies in the proxy while more happens.
            proxy.delay, asked = 0.1, proxy.batches
            early = asyncio.create_task(there.catch_up(ACME, await here.ask(ACME)))
            await until(lambda: proxy.batches > asked)
            sequence = await here.append(ACME, tags=["c"])
            late = await there.catch_up(ACME, await here.ask(ACME))

            assert not early.done() or (await early) is late
            assert sequence == late.sequence


class TestMemory:
    async def test_is_loaded_whole_by_a_new_replica(
        self, here: RedisHistories, redis_url: str
    ) -> None:
        """A replica that starts knows as much as one that was there all the time."""
        stamp = (await here.current(ACME)).sequence
        for n in range(1_200):
            await here.append(ACME, tags=[f"user:{n}"], by_event=n % 2 == 1)

        async with replica_of(redis_url) as new:
            assert await verdict(new, stamp, "user:0") is MissReason.TAG
            assert await verdict(new, stamp, "user:1199") is MissReason.EVENT
            assert await verdict(new, stamp, "user:1200") is None
            assert await here.current(ACME) == await new.current(ACME)

    async def test_is_loaded_anew_when_the_log_does_not_reach_back(self, redis_url: str) -> None:
        """A replica that was cut off for long has missed more than the log still tells."""
        async with (
            replica_of(redis_url, log_length=10) as here,
            replica_of(redis_url) as there,
        ):
            stamp = (await there.current(ACME)).sequence
            for n in range(300):
                await here.append(ACME, tags=[f"user:{n}"])
            async with redis_py.Redis.from_url(redis_url) as store:
                assert await store.xlen(LOG) < 300

            assert await verdict(there, stamp, "user:0") is MissReason.TAG
            assert await here.current(ACME) == await there.current(ACME)

    async def test_follows_more_changes_than_one_page(
        self, here: RedisHistories, there: RedisHistories
    ) -> None:
        """Page after page, each taken in at once."""
        await there.current(ACME)
        sequences = [await here.append(ACME, tags=[f"{n % 7}"]) for n in range(1_234)]

        assert sequences[-1] == (await there.current(ACME)).sequence
        assert await here.current(ACME) == await there.current(ACME)

    async def test_keeps_the_tenants_read_last(self, redis_url: str) -> None:
        """The memory is bounded; a tenant that fell out is loaded again."""
        async with replica_of(redis_url, max_tenants=2) as histories:
            stamp = (await histories.current(ACME)).sequence
            await histories.append(ACME, tags=["a"])
            for n in range(5):
                await histories.current(Tenant(f"tenant-{n}"))

            assert histories.known(ACME, await histories.ask(ACME)) is None
            assert await verdict(histories, stamp, "a") is MissReason.TAG

    async def test_more_marks_than_are_kept_end_everything_before(self, redis_url: str) -> None:
        """The store's share is bounded: beyond, all that is older is dead, on every replica."""
        async with (
            replica_of(redis_url, max_marks=50) as here,
            replica_of(redis_url) as there,
        ):
            stamp = (await there.current(ACME)).sequence
            sequences = [await here.append(ACME, tags=[f"user:{n}"]) for n in range(60)]

            for histories in (here, there):
                assert await verdict(histories, stamp) is MissReason.NAMESPACE
                assert await verdict(histories, sequences[-1]) is None
                assert (await histories.current(ACME)).size < 50
            assert await here.current(ACME) == await loaded(there)


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator["redis_py.Redis"]:
    """Meddle with what lies in Redis."""
    async with redis_py.Redis.from_url(redis_url) as connection:
        yield connection


async def snapshot(store: "redis_py.Redis") -> dict[bytes, bytes]:
    """Keep what a replica of the store has got so far."""
    return {key: await store.dump(key) or b"" for key in (HEAD, LOG, MARKS)}


async def set_back(store: "redis_py.Redis", kept: dict[bytes, bytes]) -> None:
    """Go on with an older state, as after a failover."""
    for key, value in kept.items():
        await store.restore(key, 0, value, replace=True)


def reloads(cause: str) -> float:
    return float(history_reloads.labels(cause)._value.get())


class TestLostHistory:
    async def test_everything_is_dead_after_flushall(
        self, here: RedisHistories, there: RedisHistories, store: "redis_py.Redis"
    ) -> None:
        """Another history begins, above the one that was lost; nothing old can come back."""
        sequence = await here.append(ACME, tags=["a"])
        await there.current(ACME)
        await store.flushall()

        for histories in (here, there):
            history = await histories.current(ACME)
            assert history.verdict("video", "k", (), sequence) is MissReason.NAMESPACE
            assert history.sequence > sequence
        assert (await here.current(ACME)).epoch == (await there.current(ACME)).epoch

    @pytest.mark.parametrize("lost", [[HEAD], [MARKS], [HEAD, LOG], [MARKS, LOG]])
    async def test_a_history_in_pieces_is_not_relied_on(
        self, redis_url: str, store: "redis_py.Redis", lost: list[bytes]
    ) -> None:
        """A Redis that evicts may lose one key of three; nobody can tell what was in it."""
        async with replica_of(redis_url) as here:
            sequence = await here.append(ACME, tags=["a"])
        await store.delete(*lost)

        async with replica_of(redis_url) as new:
            assert await verdict(new, sequence) is MissReason.NAMESPACE

    async def test_the_log_alone_can_be_lost(
        self, here: RedisHistories, there: RedisHistories, store: "redis_py.Redis"
    ) -> None:
        """The marks hold the same."""
        stamp = (await there.current(ACME)).sequence
        await here.append(ACME, tags=["a"])
        await store.delete(LOG)
        sequence = await here.append(ACME, tags=["b"])

        assert await verdict(there, stamp, "a") is MissReason.TAG
        assert await verdict(there, sequence, "a") is None

    async def test_a_failover_that_lost_an_invalidation_ends_everything_before(
        self, here: RedisHistories, store: "redis_py.Redis"
    ) -> None:
        """The replica that remembers it cannot know what else was lost with it."""
        await here.current(ACME)
        await here.append(ACME, tags=["a"])
        older = await snapshot(store)
        sequence = await here.append(ACME, tags=["b"])
        await set_back(store, older)
        before = reloads("lost")

        history = await here.current(ACME)

        assert history.verdict("video", "k", (), sequence) is MissReason.NAMESPACE
        assert history.sequence > sequence
        assert 1 == reloads("lost") - before

    async def test_also_when_others_have_invalidated_since(
        self, here: RedisHistories, there: RedisHistories, store: "redis_py.Redis"
    ) -> None:
        """The head is ahead of what is remembered, but the chain goes around it."""
        older_sequence = await there.append(ACME, tags=["a"])
        older = await snapshot(store)
        await here.current(ACME)
        sequence = await here.append(ACME, tags=["b"])
        await set_back(store, older)
        await there.append(ACME, tags=["c"])
        before = reloads("lost")

        history = await here.current(ACME)

        assert history.verdict("video", "k", (), sequence) is MissReason.NAMESPACE
        assert history.verdict("video", "k", (), older_sequence) is MissReason.NAMESPACE
        assert 1 == reloads("lost") - before
        assert (await there.current(ACME)).epoch == history.epoch

    async def test_a_replica_that_was_behind_notices_nothing(
        self, there: RedisHistories, here: RedisHistories, store: "redis_py.Redis"
    ) -> None:
        """Only what was known can be missed: what a failover loses can be lost."""
        stamp = await there.append(ACME, tags=["a"])
        older = await snapshot(store)
        await here.append(ACME, tags=["b"])
        await set_back(store, older)

        assert await verdict(there, stamp, "b") is None

    async def test_what_another_program_left_there_is_replaced(
        self, here: RedisHistories, store: "redis_py.Redis"
    ) -> None:
        """Whatever its type."""
        await store.hset(HEAD, "a", "b")
        await store.set(LOG, "a")
        await store.rpush(MARKS, "a")

        sequence = await here.append(ACME, tags=["a"])

        assert await verdict(here, sequence - 1, "a") in {MissReason.TAG, MissReason.NAMESPACE}

    async def test_a_record_of_a_later_version_is_not_guessed_at(
        self, here: RedisHistories, there: RedisHistories, store: "redis_py.Redis"
    ) -> None:
        """What a reader cannot read it finds in the marks."""
        stamp = (await there.current(ACME)).sequence
        sequence = await here.append(ACME, tags=["a"])
        await store.delete(LOG)
        await store.xadd(LOG, {"p": stamp, "m": 0, "r": b"\x82\x00"}, id=f"{sequence}-0")

        assert await verdict(there, stamp, "a") is MissReason.TAG


class TestStoreGone:
    async def test_every_question_fails_in_the_cache_s_words(
        self, private_redis: RedisServer
    ) -> None:
        """And nothing hangs; with the store back, all goes on, restart or not."""
        async with replica_of(private_redis.url) as histories:
            stamp = (await histories.current(ACME)).sequence
            sequence = await histories.append(ACME, tags=["a"])
            await private_redis.stop()

            for question in (
                lambda: histories.current(ACME),
                lambda: histories.current(OTHER),
                lambda: histories.catch_up(ACME, None),
                lambda: histories.append(ACME, tags=["b"]),
                lambda: histories.append_keys(ACME, "video", ["k"]),
            ):
                with pytest.raises(CacheError):
                    await question()
            with pytest.raises(UnavailableError):
                await histories.ask(ACME)

            await private_redis.start()
            history = await eventually(histories)
            assert history.verdict("video", "k", ("a",), stamp) is MissReason.TAG
            assert history.verdict("video", "k", ("a",), sequence) is None


async def eventually(histories: RedisHistories) -> History:
    """Ask until the connection is back."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await histories.current(ACME)
            except CacheError:
                await asyncio.sleep(0.01)


class TestChange:
    async def test_is_in_the_log_as_it_was_made(self, here: RedisHistories) -> None:
        """With what came before it, and when it was by the store's clock."""
        before = (await here.current(ACME)).sequence
        first = await here.append(
            ACME, tags=["a"], by_event=True, prefixes=[("video", "f:")], namespaces=["session"]
        )
        second = await here.append_keys(ACME, "video", ["x:y", "€"])

        tail = await here._store.tail(ACME, before)

        assert [
            Change(
                first,
                before,
                tail.changes[0].time_ms,
                tags=("a",),
                by_event=True,
                prefixes=(("video", "f:"),),
                namespaces=("session",),
            ),
            Change(
                second,
                first,
                tail.changes[1].time_ms,
                entries=(("video", "x:y"), ("video", "€")),
            ),
        ] == list(tail.changes)
        assert first // 1_000 == tail.changes[0].time_ms

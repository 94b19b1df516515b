"""What was invalidated is known to every replica that reads afterwards, whatever gets lost."""

import asyncio
from urllib.parse import urlsplit

import pytest
import redis.asyncio as redis_py

from services.cache.entry import MissReason
from services.cache.histories import RedisHistories
from services.cache.history import Change
from shared.rpc.call import Tenant
from tests.integration.cache.remembering import (
    ACME,
    FAR_FUTURE,
    HEAD,
    LOG,
    MARKS,
    OTHER,
    commands,
    loaded,
    replica_of,
    verdict,
)
from tests.integration.shared.tcp_proxy import TcpProxy
from tests.integration.shared.waiting import until


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

"""A store that has lost or set back its history, or is gone, brings nothing back to life."""

import pytest
import redis.asyncio as redis_py

from cli.embedded.redis import RedisServer
from mainstay.errors import CacheError, UnavailableError
from services.cache.entry import MissReason
from services.cache.histories import RedisHistories
from tests.integration.cache.remembering import (
    ACME,
    HEAD,
    LOG,
    MARKS,
    OTHER,
    eventually,
    reloads,
    replica_of,
    set_back,
    snapshot,
    verdict,
)


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

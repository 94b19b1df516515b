"""What was missed is caught up with, or said to be missing."""

import pytest
import redis.asyncio as redis_py

from services.cache.history import Head
from services.cache.invalidation_metrics import discontinuities
from services.cache.keys import tenant_key
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
    watched,
)


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
            counted = discontinuities._value.get()
            await store.flushall()

            missed = await gap(messages)
            assert 1 == discontinuities._value.get() - counted
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

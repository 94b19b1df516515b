"""Stale values are served at once, and computed anew in the background."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator

import pytest

from mainstay.cache import CacheClient, computing
from mainstay.cache.v1 import cache_service_pb2 as pb
from tests.integration.sdk_cache.scripted_cache import (
    LEASE_LOST,
    STORED,
    ScriptedCache,
    entry,
    lease,
)
from tests.integration.sdk_cache.slow_computation import SlowComputation

NAME = ("video", "1")


def stale(seconds: float = 10.0) -> pb.GetOrLeaseResponse:
    """Return an entry past its soft expiry, to be refreshed by whoever gets it."""
    return pb.GetOrLeaseResponse(stale=entry(b"stale"), lease=lease(seconds=seconds))


Logged = Callable[[str], Awaitable[None]]


@pytest.fixture
def logged() -> Iterator[Logged]:
    """Wait until the SDK has logged a line."""
    lines: asyncio.Queue[str] = asyncio.Queue()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.put_nowait(record.getMessage())

    async def wait_for(line: str) -> None:
        async with asyncio.timeout(10):
            while await lines.get() != line:
                pass

    logger, handler = logging.getLogger("mainstay.cache"), Handler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield wait_for
    logger.setLevel(level)
    logger.removeHandler(handler)


@pytest.fixture
def serving_stale(peer: ScriptedCache) -> ScriptedCache:
    """Let the peer serve a stale value with a lease."""
    peer.answer("GetOrLease", stale())
    peer.answer("Fill", STORED)
    peer.answer("Abandon", pb.AbandonResponse(held=True))
    return peer


class TestRefresh:
    @pytest.mark.parametrize(
        "answer",
        [
            stale(),
            pb.GetOrLeaseResponse(hit=entry(b"stale"), lease=lease()),
        ],
        ids=["stale", "early"],
    )
    async def test_nobody_waits_for_it(
        self, cache: CacheClient, serving_stale: ScriptedCache, answer: pb.GetOrLeaseResponse
    ) -> None:
        """The old value is there at once; the new one is stored when it is computed."""
        serving_stale.answer("GetOrLease", answer)
        slow = SlowComputation(b"new")

        assert b"stale" == await cache.get_or_compute(*NAME, slow)
        slow.finish()
        (fill,) = await serving_stale.asked("Fill")
        assert (b"new", b"token-1") == (fill.value.value, fill.lease_token)

    async def test_a_caller_who_leaves_does_not_end_it(
        self, cache: CacheClient, serving_stale: ScriptedCache
    ) -> None:
        """It belongs to the client, not to the caller who happened to begin it."""
        slow = SlowComputation(b"new")
        caller = asyncio.create_task(cache.get_or_compute(*NAME, slow))
        await asyncio.wait({caller})
        caller.cancel()
        slow.finish()

        assert 1 == len(await serving_stale.asked("Fill"))

    async def test_too_many_at_once(
        self,
        cache: CacheClient,
        serving_stale: ScriptedCache,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The one that is too much is left to another process: its lease goes back."""
        monkeypatch.setattr(computing, "_MOST_REFRESHES", 1)
        slow = SlowComputation(b"new")
        await cache.get_or_compute("video", "1", slow)
        found = await cache.get_or_compute("video", "2", slow)
        (abandoned,) = await serving_stale.asked("Abandon")

        assert (b"stale", "2", "") == (found, abandoned.key, abandoned.error)
        assert 1 == slow.times

    async def test_one_that_fails(
        self,
        cache: CacheClient,
        serving_stale: ScriptedCache,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """It is reported to the service and logged with its traceback; callers do not feel it."""
        slow = SlowComputation(ValueError("broken"), done=True)

        assert b"stale" == await cache.get_or_compute(*NAME, slow)
        (abandoned,) = await serving_stale.asked("Abandon")
        await cache.close()
        assert "ValueError: broken" == abandoned.error
        (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert "could not refresh video/1" in record.getMessage()
        assert record.exc_info

    async def test_one_whose_lease_is_lost(
        self, cache: CacheClient, serving_stale: ScriptedCache
    ) -> None:
        """Nobody waits for a value that cannot be stored: it is not computed to its end."""
        serving_stale.answer("GetOrLease", stale(seconds=0.01))
        serving_stale.answer("Extend", pb.ExtendResponse(held=False))
        serving_stale.answer("Abandon", pb.AbandonResponse(held=False))
        slow = SlowComputation(b"new")
        await cache.get_or_compute(*NAME, slow)
        await serving_stale.asked("Abandon")

        assert slow.cancelled
        assert not serving_stale.requests["Fill"]

    async def test_the_client_is_closed(
        self, cache: CacheClient, serving_stale: ScriptedCache
    ) -> None:
        """What runs is cancelled, and its lease is back when `close` returns."""
        slow = SlowComputation(b"new")
        await cache.get_or_compute(*NAME, slow)
        await slow.begun()
        await cache.close()

        assert slow.cancelled
        assert 1 == len(serving_stale.requests["Abandon"])

    async def test_a_refused_fill(
        self, cache: CacheClient, serving_stale: ScriptedCache, logged: Logged
    ) -> None:
        """It is no error, and said in the log."""
        serving_stale.answer("Fill", LEASE_LOST)
        await cache.get_or_compute(*NAME, SlowComputation(b"new", done=True))

        await logged("video/1 was not stored: lease_lost")

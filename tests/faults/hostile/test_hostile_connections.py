"""Connections that speak no HTTP/2, never read, or come all at once.

After each of them an ordinary call works, and nothing that came back tells of the inside.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

import psutil
import pytest

from mainstay.cache.client import CacheClient
from mainstay.channel import Channel
from tests.faults.hostile.hostile_input import (
    ASKED,
    CACHE,
    INSIDE,
    PREFACE,
    REFLECT,
    SOON,
    WATCH,
    seconds_to_answer,
    send,
)
from tests.faults.http2_peer import Answer, Http2Peer, framed
from tests.integration.shared.service_process import ServiceProcess

pytestmark = [pytest.mark.hostile, pytest.mark.asyncio(loop_scope="module")]


class TestBytesThatAreNoHttp2:
    @pytest.mark.parametrize(
        "junk",
        [
            random.Random(1).randbytes(4_096),
            b"\x00" * 10_000,
            b"\xff" * 10_000,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.Random(2).randbytes(500),
            b"*1\r\n$4\r\nPING\r\n",
            PREFACE + b"\xff" * 1_000,
            PREFACE + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
            PREFACE[:10],
        ],
        ids=["random", "zeros", "ones", "TLS", "RESP", "bad frames", "endless frame", "half"],
    )
    async def test_close_the_connection(self, address: str, junk: bytes) -> None:
        """Whatever comes back is HTTP/2's own farewell."""
        answer = await send(address, junk)

        assert INSIDE.search(answer.decode("latin-1")) is None

    async def test_an_http1_request(self, address: str) -> None:
        """A browser or a health probe at the wrong port is told so or cut off."""
        answer = await send(address, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")

        assert b"200 OK" not in answer
        assert INSIDE.search(answer.decode("latin-1")) is None

    async def test_a_connection_that_says_nothing(self, address: str) -> None:
        """Two hundred of them hold up nobody."""
        host, _, port = address.rpartition(":")
        opened = [await asyncio.open_connection(host, int(port)) for _ in range(200)]
        took = await seconds_to_answer(address)
        for _, writer in opened:
            writer.transport.abort()

        assert took < SOON


def memory_of(service: ServiceProcess) -> int:
    """Return the MiB that the process occupies."""
    return int(psutil.Process(service.process.pid).memory_info().rss) >> 20


class TestAClientThatNeverReads:
    async def test_of_calls(self, address: str, service: ServiceProcess) -> None:
        """A window of 0 and as many calls as the connection may have: others are served."""
        value = b"x" * 200_000
        async with Channel(address, timeout=5) as channel:
            cache = CacheClient(channel)
            await cache.set("n", "k", value)
            before = memory_of(service)
            async with Http2Peer.connect(address, window=0) as stuck:
                for _ in range(500):
                    await stuck.call(f"{CACHE}/Get", framed(ASKED))
                for _ in range(20):
                    await cache.get("n", "k")
                grown = memory_of(service) - before
            await cache.delete("n", "k")

        assert grown < 300

    async def test_of_streams(self, address: str) -> None:
        """Nor can watchers and reflection calls that read nothing stop anything."""
        asked = framed(b"\x3a\x00")
        async with Http2Peer.connect(address, window=0) as stuck:
            for _ in range(200):
                await stuck.call(WATCH, framed(b""))
                await stuck.call(REFLECT, asked, end=False)
            took = await seconds_to_answer(address)

        assert took < SOON

    async def test_more_streams_than_it_may_have(self, address: str) -> None:
        """A connection that ignores the limit on streams is refused as many as it has too many."""
        async with Http2Peer.connect(address, window=0) as stuck:
            stuck.ignore_limits()
            answers = [await stuck.call(WATCH, framed(b"")) for _ in range(1_100)]
            refused = asyncio.create_task(_ended(answers, 100))
            closed = asyncio.create_task(stuck.closed.wait())
            done, _ = await asyncio.wait(
                {refused, closed}, timeout=10, return_when=asyncio.FIRST_COMPLETED
            )
            took = await seconds_to_answer(address)
            refused.cancel()
            closed.cancel()

        assert done
        assert took < SOON

    async def test_resets_in_a_row(self, address: str) -> None:
        """Opening and resetting streams as fast as it can keeps no one busy for long."""
        async with Http2Peer.connect(address) as rapid:
            for _ in range(2_000):
                await rapid.call_and_reset(f"{CACHE}/Get", framed(ASKED))
                if rapid.closed.is_set():
                    break
            took = await seconds_to_answer(address)

        assert took < SOON


class TestAllAtOnce:
    async def test_ordinary_callers_are_served_meanwhile(self, address: str) -> None:
        """A storm of everything above, and every polite call is answered."""
        chance = random.Random(3)

        async def garbage() -> None:
            await send(address, chance.randbytes(1_000))

        async def unknown() -> None:
            async with Http2Peer.connect(address) as peer:
                await peer.finished(await peer.call("/x.Y/Z", framed(b"")))

        async def broken() -> None:
            async with Http2Peer.connect(address) as peer:
                await peer.finished(await peer.call(f"{CACHE}/Set", framed(b"\xff" * 10)))

        async def stuck() -> None:
            async with Http2Peer.connect(address, window=0) as peer:
                for _ in range(20):
                    await peer.call(WATCH, framed(b""))

        async def polite(number: int) -> bytes:
            async with Channel(address, timeout=5) as channel:
                cache = CacheClient(channel)
                await cache.set("n", f"polite-{number}", b"%d" % number)
                entry = await cache.get("n", f"polite-{number}")
            return getattr(entry, "value", b"")

        rude: list[Callable[[], Awaitable[None]]] = [garbage, unknown, broken, stuck]
        storm = [asyncio.ensure_future(act()) for act in rude for _ in range(15)]
        values = await asyncio.gather(*(polite(n) for n in range(20)))
        await asyncio.gather(*storm)

        assert values == [b"%d" % n for n in range(20)]


async def _ended(answers: Sequence[Answer], number: int) -> None:
    """Wait until so many of the streams have ended."""
    waits = [asyncio.create_task(each.ended.wait()) for each in answers]
    try:
        for end in islice(asyncio.as_completed(waits), number):
            await end
    finally:
        for wait in waits:
            wait.cancel()

"""One process of the stampede: callers that all want the value that nobody has computed yet.

`python -m bench.cold_callers <contender> <address> <key>` connects, prints a line,
waits for one, lets the callers loose, and prints as JSON what they met. The address is that of the
service for ours and of Redis, as a URL, for the others. Times are by the clock that all processes
share.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias
from urllib.parse import urlsplit

import aiocache
import cashews
import uvloop
from aiocache.serializers import PickleSerializer

from bench.report import OURS
from mainstay.cache.client import CacheClient
from mainstay.channel import Channel

CALLERS = 25
COMPUTE_SECONDS = 1.0
NAMESPACE, VALUE = "bench", b"x" * 100

Compute: TypeAlias = Callable[[], Awaitable[bytes]]
Ask: TypeAlias = Callable[[], Awaitable[bytes | None]]


@asynccontextmanager
async def mainstay(address: str, key: str, compute: Compute) -> AsyncIterator[Ask]:
    """Through the service's leases."""
    async with Channel(address) as channel, CacheClient(channel) as client:
        await client.get(NAMESPACE, "another")  # connects
        yield lambda: client.get_or_compute(NAMESPACE, key, compute)


@asynccontextmanager
async def with_cashews(address: str, key: str, compute: Compute) -> AsyncIterator[Ask]:
    """As its documentation advises against stampedes: `lock=True`."""
    cache = cashews.Cache()
    cache.setup(address)
    await asyncio.gather(*(cache.get("another") for _ in range(CALLERS)))
    yield cache(ttl="1m", key=key, lock=True)(compute)
    await cache.close()


@asynccontextmanager
async def with_aiocache(address: str, key: str, compute: Compute) -> AsyncIterator[Ask]:
    """As its documentation advises against stampedes: `cached_stampede`, with its lease of 2 s."""
    where = urlsplit(address)
    decorate = aiocache.cached_stampede(
        lease=2,
        ttl=60,
        key=key,
        cache=aiocache.Cache.REDIS,
        endpoint=where.hostname,
        port=where.port,
        serializer=PickleSerializer(),
    )
    ask = decorate(compute)
    await asyncio.gather(*(ask.cache.get("another") for _ in range(CALLERS)))
    yield ask
    await ask.cache.close()


CONTENDERS = {OURS: mainstay, "cashews": with_cashews, "aiocache": with_aiocache}


async def main(contender: str, address: str, key: str) -> None:
    """Take part in one stampede."""
    computations = 0

    async def compute() -> bytes:
        nonlocal computations
        computations += 1
        await asyncio.sleep(COMPUTE_SECONDS)
        return VALUE

    async with CONTENDERS[contender](address, key, compute) as ask:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        began = time.monotonic()
        values = await asyncio.gather(*(ask() for _ in range(CALLERS)))
        ended = time.monotonic()
    right = sum(value == VALUE for value in values)
    sys.stdout.write(
        json.dumps({"computations": computations, "began": began, "ended": ended, "right": right})
    )


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))

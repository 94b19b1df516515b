"""Keys a second by BatchGet of 100 and by single Gets, both as fast as the same callers can."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from bench.cache_contenders import CONNECTIONS, NAMESPACE
from bench.report import OURS, Comparison, Findings
from bench.target import Connection, Target, cache_service
from mainstay.cache.client import CacheClient
from mainstay.cache.results import Item
from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.cache.v1 import cache_service_pb2_grpc as pb_grpc

BATCH = 100
KEYS = [f"key-{number}" for number in range(1_000)]
VALUE = b"x" * 100
CALLERS = 16
SECONDS = 1.5
ROUNDS = 5
BAR = 20.0


class Reader:
    """One connection, and the stub on it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = pb_grpc.CacheServiceStub(connection.raw)

    async def one(self, number: int) -> int:
        """Read one key and return how many were found."""
        request = pb.GetRequest(namespace=NAMESPACE, key=KEYS[number % len(KEYS)])
        response = await self._connection.unary(self._stub.Get, request)
        return int(response.HasField("hit"))

    async def many(self, number: int) -> int:
        """Read a batch of keys and return how many were found."""
        first = number * BATCH % len(KEYS)
        request = pb.BatchGetRequest(namespace=NAMESPACE, keys=KEYS[first : first + BATCH])
        response = await self._connection.unary(self._stub.BatchGet, request)
        return sum(result.HasField("hit") for result in response.results)


Read: TypeAlias = Callable[[Reader, int], Awaitable[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What one round found: keys a second, and the service's CPU for a key in microseconds."""

    keys: float
    cpu: float


async def run() -> Findings:
    """Alternate rounds, so that a busy neighbour disturbs both."""
    async with cache_service() as target, AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(Connection(target.address)) for _ in range(CONNECTIONS)
        ]
        items = [Item(key=key, value=VALUE, ttl=timedelta(hours=1)) for key in KEYS]
        await CacheClient(connections[0]).set_many(NAMESPACE, items)
        readers = [Reader(connection) for connection in connections]
        rounds = []
        for number in range(ROUNDS + 1):
            one = await _closed_loop(target, readers, Reader.one)
            many = await _closed_loop(target, readers, Reader.many)
            if number:  # the first warms up
                rounds.append((one, many))
    return _findings(rounds)


async def _closed_loop(target: Target, readers: list[Reader], read: Read) -> Speed:
    """Let every caller read again as soon as it was answered."""
    deadline = time.perf_counter() + SECONDS

    async def caller(number: int) -> int:
        found = 0
        while time.perf_counter() < deadline:
            found += await read(readers[number % len(readers)], number)
            number += CALLERS
        return found

    cpu, began = target.service.cpu_seconds(), time.perf_counter()
    done = sum(await asyncio.gather(*(caller(number) for number in range(CALLERS))))
    passed = time.perf_counter() - began
    return Speed(keys=done / passed, cpu=(target.service.cpu_seconds() - cpu) / done * 1e6)


def _findings(rounds: list[tuple[Speed, Speed]]) -> Findings:
    ratio = statistics.median(many.keys / one.keys for one, many in rounds)
    one, many = (_median(speeds) for speeds in zip(*rounds, strict=True))
    rows = [
        Comparison(
            what=f"BatchGet of {BATCH} / Gets",
            bar=f"≥ {BAR:g} ×",
            met=ratio >= BAR,
            figures={OURS: f"{ratio:.1f} ×"},
        ),
        Comparison(what="  CPU of a key, µs", figures={OURS: f"{many.cpu:.1f}"}),
    ]
    note = (
        f"Batch: {many.keys:,.0f} keys/s by BatchGet, {one.keys:,.0f} by Gets ({one.cpu:.0f} "
        f"µs of the service's CPU each); {CALLERS} callers of the stubs over {CONNECTIONS} "
        "connections in one process, each asking again once answered."
    )
    return Findings(rows=rows, note=note)


def _median(speeds: tuple[Speed, ...]) -> Speed:
    return Speed(
        keys=statistics.median(speed.keys for speed in speeds),
        cpu=statistics.median(speed.cpu for speed in speeds),
    )

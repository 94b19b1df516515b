"""What hostile callers send, and how nothing internal is found in what comes back."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc

from mainstay.cache.client import CacheClient
from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.channel import Channel
from mainstay.errors import UnavailableError
from mainstay.grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.faults.http2_peer import Answer

CACHE = "/mainstay.cache.v1.CacheService"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECT = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
ASKED = pb.GetRequest(namespace="n", key="k").SerializeToString()
INSIDE = re.compile(
    rf"{re.escape(str(Path(__file__).parents[3]))}/"
    r"|traceback|file \"|\.py\b|/usr/|site-packages|exception|grpc\.aio|asyncio|redis_store"
    r"|services\.|shared\.|object at 0x|DecodeError|NoneType|password",
    re.IGNORECASE,
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATIENCE = 15.0
AGAIN = 0.02
SOON = 3.0
"""Seconds in which an ordinary call and health are answered, with a flood or right after it.

Without one it is some milliseconds; but a busy machine has pauses of a second, and whatever holds
others up does so for 5 s, a call's deadline, at least.
"""


def check_says_nothing_internal(answer: Answer) -> None:
    found = INSIDE.search(answer.text)
    assert found is None, f"{found} in {answer.text}"


async def send(address: str, junk: bytes) -> bytes:
    """Put bytes on a fresh connection and read until the other end hangs up."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(PATIENCE):
            writer.write(junk)
            writer.write_eof()
            return await reader.read()
    except OSError:
        return b""
    finally:
        writer.transport.abort()


async def seconds_to_answer(address: str) -> float:
    """Make an ordinary call and ask for health; return after how long both were answered well.

    Whoever comes in the moment of a flood may be told to try again, and does.
    """
    began = time.monotonic()
    async with asyncio.timeout(PATIENCE), Channel(address, timeout=PATIENCE) as channel:
        cache, health = CacheClient(channel), health_pb2_grpc.HealthStub(channel.raw)
        await _answered(lambda: cache.get("n", "nothing"))
        await _answered(lambda: health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE))
    return time.monotonic() - began


async def _answered(ask: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await ask()
        except UnavailableError:
            await asyncio.sleep(AGAIN)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.CANCELLED:
                raise
            await asyncio.sleep(AGAIN)
        else:
            return

"""What hostile callers send, and how nothing internal is found in what comes back."""

import asyncio
import re

from mainstay.cache.v1 import cache_service_pb2 as pb
from tests.faults.http2_peer import Answer

CACHE = "/mainstay.cache.v1.CacheService"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECT = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
ASKED = pb.GetRequest(namespace="n", key="k").SerializeToString()
INSIDE = re.compile(
    r"traceback|file \"|\.py\b|/work|/usr/|site-packages|exception|grpc\.aio|asyncio|redis_store"
    r"|services\.|shared\.|object at 0x|DecodeError|NoneType|password",
    re.IGNORECASE,
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATIENCE = 15.0


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

"""A caller of the methods about what has become stale, and what it waits for."""

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import redis.asyncio as redis_py
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.cache.v1 import cache_service_pb2_grpc as pb_grpc
from mainstay.channel import Channel
from services.cache.entry import Entry
from services.cache.frame import encode
from services.cache.keys import entry_key
from tests.integration.cache.conftest import TENANT
from tests.integration.health.plain_http import ask

PATIENCE = 10.0


TOUCHED = ("hset", "set", "xadd", "publish", "del", "unlink", "scan", "sadd", "smembers", "expire")


class Caller:
    """One who calls one replica, as any language would."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._stub = pb_grpc.CacheServiceStub(channel.raw)

    async def call(self, method: str, request: Message) -> Any:
        return await self.channel.unary(getattr(self._stub, method), request)

    async def set(self, key: str, *tags: str, namespace: str = "video", **fields: Any) -> int:
        request = pb.SetRequest(namespace=namespace, key=key, value=b"v", tags=tags, **fields)
        return int((await self.call("Set", request)).version)

    async def get(self, key: str, *, namespace: str = "video") -> str:
        """Return the value, or why there is none."""
        response = await self.call("Get", pb.GetRequest(namespace=namespace, key=key))
        if response.HasField("hit"):
            return str(response.hit.value.decode())
        return pb.MissReason.Name(response.miss.reason).removeprefix("MISS_REASON_")

    async def invalidate(self, **target: Any) -> Any:
        return await self.call("Invalidate", pb.InvalidateRequest(**target))

    async def watch_head(self) -> int:
        """Return the sequence of the last invalidation."""
        async with aclosing(self.watch()) as messages:
            return (await anext(messages)).sequence

    async def watch(
        self, epoch: str = "", sequence: int = 0
    ) -> AsyncGenerator[pb.WatchInvalidationsResponse]:
        request = pb.WatchInvalidationsRequest(epoch=epoch, sequence=sequence)
        stream = self.channel.server_stream(self._stub.WatchInvalidations, request, timeout=60)
        async with aclosing(stream):
            async for message in stream:
                yield message


def event(kind: str, **data: Any) -> pb.EventTarget:
    struct = Struct()
    struct.update(data)
    return pb.EventTarget(type=kind, data=struct)


async def commands(store: "redis_py.Redis") -> dict[str, int]:
    stats = await store.info("commandstats")
    return {name.removeprefix("cmdstat_"): int(stat["calls"]) for name, stat in stats.items()}


async def fill(store: "redis_py.Redis", stamp: int, count: int) -> None:
    """Write entries with a tag, past the service: its own writes would take a minute."""
    async with store.pipeline(transaction=False) as pipeline:
        for n in range(count):
            entry = Entry(b"v", "", secrets.randbits(64), 1, None, None, stamp, ("all", f"t{n}"))
            pipeline.set(entry_key(TENANT, "video", f"e{n}"), encode(entry))
        await pipeline.execute()


async def following(
    messages: AsyncGenerator[pb.WatchInvalidationsResponse], *kinds: str
) -> pb.WatchInvalidationsResponse:
    """Return the next message of one of some kinds."""
    async with asyncio.timeout(PATIENCE):
        while (message := await anext(messages)).WhichOneof("event") not in kinds:
            pass
    return message


def edit(path: Path, text: str) -> None:
    path.write_text(text)


async def eventually_ready(port: int, *also: str) -> dict[str, Any]:
    """Wait until the operations port shows conditions, or none."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await ask(port, "/readyz")
            status: dict[str, Any] = json.loads(answer.body)
            if {"service", "status", *also} == set(status):
                return status
            await asyncio.sleep(0.05)

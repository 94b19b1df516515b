"""The four services as processes, one after the other, and a way to send them anything."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf import json_format
from google.protobuf.message import Message

from mainstay.errors import MainstayError
from mainstay.errors_wire import translate
from mainstay.grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.conftest import _database
from tests.integration.shared.service_process import ServiceProcess, service_process
from tests.property.messages.contract import SERVERS, Contract
from tests.property.messages.exceptions import PATIENT, SLOWEST
from tests.property.messages.exemplars import HELLO

PATIENCE = 10.0
WATCHES = 0.5
"""How long a stream is listened to for its first message, in seconds."""


_SETTINGS: Mapping[str, Mapping[str, object]] = {
    "health": {"health_http_port": 0},
    # Without the services beside it, which these calls do not need.
    "ratelimit": {"ratelimit_cache_address": "", "ratelimit_jobs_address": ""},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What became of a request; `error` is None where it was served."""

    code: grpc.StatusCode
    error: MainstayError | None
    seconds: float

    @property
    def fields(self) -> Mapping[str, str]:
        """Return the fields that it names as wrong."""
        return getattr(self.error, "fields", {})

    def __str__(self) -> str:
        return f"{self.code.name} {self.error.message[:150] if self.error else ''}"


class Server:
    """A service that runs, and one connection to it."""

    def __init__(self, name: str, process: ServiceProcess, channel: grpc.aio.Channel) -> None:
        self.name = name
        self.process = process
        self._channel = channel

    async def send(
        self, contract: Contract, *requests: Message, patience: float = PATIENCE
    ) -> Answered:
        """Send a request, or several on a stream, and wait for the answer, or the first of many."""
        began = time.monotonic()
        raw = [each.SerializeToString() for each in requests]
        code, error = grpc.StatusCode.OK, None
        try:
            await self._send(contract, raw, patience)
        except grpc.aio.AioRpcError as failure:
            code, error = failure.code(), translate(failure)
        return Answered(code=code, error=error, seconds=time.monotonic() - began)

    async def _send(self, contract: Contract, raw: list[bytes], patience: float) -> None:
        # Without serializers everything is bytes, which the annotations do not know.
        channel: Any = self._channel
        if not contract.streams:
            await channel.unary_unary(contract.path)(raw[0], timeout=patience)
            return
        if contract.descriptor.client_streaming:
            async for _ in channel.stream_stream(contract.path)(iter(raw), timeout=patience):
                pass  # it ends soon after the requests have
            return
        call = channel.unary_stream(contract.path)(raw[0], timeout=patience)
        with suppress(TimeoutError):
            async with asyncio.timeout(WATCHES):
                await call.read()
        call.cancel()

    async def is_healthy(self) -> bool:
        """Ask whether it serves."""
        stub = health_pb2_grpc.HealthStub(self._channel)
        checked = await stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        return bool(checked.status == health_pb2.HealthCheckResponse.SERVING)

    def complaints(self) -> list[str]:
        """Return what its log has that nobody expected."""
        loud = {"error", "fatal", "critical"}
        return [str(line)[:2_000] for line in self.process.lines if line["level"] in loud]


def patience_with(contract: Contract) -> float:
    """Return how long to wait: where the caller says how long to hold a call, not for long."""
    return SLOWEST / 2 if contract.name in PATIENT else PATIENCE


def opening(contract: Contract, request: Message) -> list[Message]:
    """Return what a stream has to begin with."""
    if not contract.descriptor.client_streaming or request.HasField("hello"):
        return []
    return [json_format.ParseDict({"hello": HELLO}, contract.request())]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=SERVERS)
async def server(
    request: pytest.FixtureRequest,
    session_redis_url: str,
    session_postgres_url: str,
    migrated_template: str,
) -> AsyncIterator[Server]:
    """Start one service on a Redis and a database with all tables."""
    name: str = request.param
    settings = {f"{name}_port": 0, f"{name}_ops_port": 0, **_SETTINGS.get(name, {})}
    async with _database(session_postgres_url, template=migrated_template) as url:
        stores = {"redis_url": session_redis_url, "postgres_url": url}
        async with service_process(name, **stores, **settings) as process:
            ready = await process.line("service_ready")
            async with grpc.aio.insecure_channel(
                ready["address"], options=[("grpc.use_local_subchannel_pool", 1)]
            ) as channel:
                yield Server(name, process, channel)

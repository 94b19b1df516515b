"""Real things to probe: a gRPC server with the standard health protocol, and one that hangs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import grpc

from mainstay.grpc_health.v1 import health_pb2 as pb
from mainstay.grpc_health.v1 import health_pb2_grpc as pb_grpc


class GrpcTarget(pb_grpc.HealthServicer):
    """A gRPC server on a port of its own, that can be stopped and started again."""

    def __init__(self) -> None:
        self.status = pb.HealthCheckResponse.SERVING
        self.request_ids: list[str] = []
        self.peers: list[str] = []
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.port = 0
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def Check(
        self, request: pb.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.HealthCheckResponse:
        metadata = dict(context.invocation_metadata() or ())
        self.request_ids.append(str(metadata["x-request-id"]))
        self.peers.append(context.peer())
        self.asked.set()
        await self.may_answer.wait()
        return pb.HealthCheckResponse(status=self.status)

    async def List(
        self, request: pb.HealthListRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.HealthListResponse:
        return pb.HealthListResponse()

    async def Watch(
        self, request: pb.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.HealthCheckResponse]:
        yield pb.HealthCheckResponse(status=self.status)

    async def start(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        pb_grpc.add_HealthServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()


class SilentListener:
    """Accepts connections and never says a word: what a hung process looks like."""

    def __init__(self) -> None:
        self.connected = asyncio.Event()
        self.left = asyncio.Event()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._peers: dict[asyncio.StreamWriter, asyncio.Task[Any] | None] = {}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peers[writer] = asyncio.current_task()
        self.connected.set()
        with suppress(ConnectionResetError):
            await reader.read()
        self.left.set()
        writer.close()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._peers:
            writer.close()
        await asyncio.gather(*(task for task in self._peers.values() if task))
        await self._server.wait_closed()

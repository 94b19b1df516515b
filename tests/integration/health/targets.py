"""Real things to probe: a gRPC server that can stand for any service, and one that hangs."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import grpc

from mainstay.grpc_health.v1 import health_pb2 as pb
from mainstay.grpc_health.v1 import health_pb2_grpc as pb_grpc
from mainstay.jobs.v1 import job_service_pb2 as jobs_pb


class GrpcTarget(pb_grpc.HealthServicer):
    """A gRPC server on a port of its own, that can be stopped and started again.

    It speaks the health protocol and, of the jobs service, what that is asked about its queues.
    """

    def __init__(self) -> None:
        self.depth = jobs_pb.GetDepthResponse()
        self.depth_asked: list[dict[str, str]] = []
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

    async def GetDepth(
        self, request: jobs_pb.GetDepthRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> jobs_pb.GetDepthResponse:
        metadata = context.invocation_metadata() or ()
        self.depth_asked.append({name: str(value) for name, value in metadata})
        return self.depth

    def _jobs(self) -> grpc.GenericRpcHandler:
        depth = grpc.unary_unary_rpc_method_handler(
            self.GetDepth,
            request_deserializer=jobs_pb.GetDepthRequest.FromString,
            response_serializer=jobs_pb.GetDepthResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(
            "mainstay.jobs.v1.JobService", {"GetDepth": depth}
        )

    async def start(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self._jobs(),))
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


def unused_address() -> str:
    """Return an address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"

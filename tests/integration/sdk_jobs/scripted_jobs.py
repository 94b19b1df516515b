"""A jobs service for producers and operators that answers as a test says, over real gRPC."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from mainstay.errors import MainstayError
from mainstay.errors_wire import to_trailing_metadata
from mainstay.jobs.v1 import job_service_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["JobService"]

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class End:
    """Ends a call with this status."""

    code: grpc.StatusCode
    details: str = ""


Answer = Message | End | MainstayError
"""What a call hears: a message, or how it ends."""


class ScriptedJobs:
    """Answers call after call of each method from its script, and keeps the requests."""

    def __init__(self) -> None:
        self.address = ""
        self._scripts: dict[str, list[Sequence[Answer]]] = defaultdict(list)
        self._asked: dict[str, list[Any]] = defaultdict(list)

    def will(self, method: str, *answers: Answer | Sequence[Answer]) -> None:
        """Add to a method's script: for each call an answer, or those of a stream."""
        self._scripts[method] += [
            answer if isinstance(answer, Sequence) else (answer,) for answer in answers
        ]

    def asked(self, method: str) -> list[Any]:
        """Return the requests of a method so far."""
        return self._asked[method]

    def handlers(self) -> Iterator[tuple[str, Any]]:
        """Yield every method of the contract with what answers it."""
        for method in SERVICE.methods:
            streams = method.server_streaming
            handler = (
                grpc.unary_stream_rpc_method_handler
                if streams
                else grpc.unary_unary_rpc_method_handler
            )
            yield (
                method.name,
                handler(
                    self._stream(method.name) if streams else self._unary(method.name),
                    request_deserializer=GetMessageClass(method.input_type).FromString,
                    response_serializer=GetMessageClass(method.output_type).SerializeToString,
                ),
            )

    def _unary(self, name: str) -> Any:
        async def answer(request: Any, context: Context) -> Message:
            (said,) = self._next(name, request)
            return await _said(said, context)

        return answer

    def _stream(self, name: str) -> Any:
        async def answer(request: Any, context: Context) -> AsyncIterator[Message]:
            for said in self._next(name, request):
                yield await _said(said, context)

        return answer

    def _next(self, name: str, request: Any) -> Sequence[Answer]:
        self._asked[name].append(request)
        return self._scripts[name].pop(0)


async def _said(answer: Answer, context: Context) -> Message:
    if isinstance(answer, End):
        await context.abort(answer.code, answer.details)
    if isinstance(answer, MainstayError):
        trailing = to_trailing_metadata(answer, request_id="r")
        await context.abort(answer.code, answer.message, trailing)
    return answer


@asynccontextmanager
async def scripted_jobs_service() -> AsyncIterator[ScriptedJobs]:
    """Serve on a free port within the block."""
    service = ScriptedJobs()
    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler(SERVICE.full_name, dict(service.handlers()))
    server.add_generic_rpc_handlers((handler,))
    service.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield service
    finally:
        await server.stop(None)

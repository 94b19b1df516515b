"""Calls any method of the contract by its name, with the credentials of one principal."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from mainstay.errors import MainstayError
from mainstay.errors_wire import translate
from tests.integration.tenants.contract import METHODS

PATIENCE = 10.0
Pairs = Sequence[tuple[str, str]]


class Caller:
    """A principal, connected to every service."""

    def __init__(
        self, channels: dict[str, grpc.aio.Channel], *, token: str = "", tenant: str = ""
    ) -> None:
        """`tenant` is named in each call; a principal of one tenant need not name it."""
        self._channels = channels
        self._token = token
        self._tenant = tenant

    def naming(self, tenant: str) -> "Caller":
        """Return the same principal, who names a tenant."""
        return Caller(self._channels, token=self._token, tenant=tenant)

    async def ask(
        self, method: str, request: Message | None = None, *, seconds: float = PATIENCE
    ) -> Any:
        """Return the answer of a call, of a stream all of its messages; raises our errors."""
        found = METHODS[method]
        sent = request if request is not None else GetMessageClass(found.input_type)()
        try:
            if found.server_streaming:
                return [message async for message in self._streamed(found, sent, seconds)]
            return await self._kind(found)(sent, metadata=self._metadata(), timeout=seconds)
        except grpc.aio.AioRpcError as error:
            raise translate(error) from error

    async def refusal(
        self, method: str, request: Message | None = None
    ) -> tuple[grpc.StatusCode, str]:
        """Return the code and the reason with which a call fails; OK when it does not."""
        try:
            await self.ask(method, request)
        except MainstayError as error:
            return error.code, error.reason
        return grpc.StatusCode.OK, ""

    @asynccontextmanager
    async def stream(self, method: str, *requests: Message) -> AsyncIterator[Any]:
        """Open a stream within the block and send its first messages."""
        found = METHODS[method]
        if found.client_streaming:
            call = self._kind(found)(metadata=self._metadata(), timeout=PATIENCE)
            for request in requests:
                await call.write(request)
        else:
            (request,) = requests
            call = self._kind(found)(request, metadata=self._metadata(), timeout=PATIENCE)
        try:
            yield call
        except grpc.aio.AioRpcError as error:
            raise translate(error) from error
        finally:
            call.cancel()

    async def _streamed(
        self, method: MethodDescriptor, request: Message, seconds: float
    ) -> AsyncIterator[Message]:
        sent: Any = iter((request,)) if method.client_streaming else request
        call = self._kind(method)(sent, metadata=self._metadata(), timeout=seconds)
        async for message in call:
            yield message

    def _kind(self, method: MethodDescriptor) -> Any:
        service = method.containing_service.full_name
        channel = self._channels[service]
        kind = {
            (False, False): channel.unary_unary,
            (False, True): channel.unary_stream,
            (True, True): channel.stream_stream,
        }[method.client_streaming, method.server_streaming]
        return kind(
            f"/{service}/{method.name}",
            request_serializer=GetMessageClass(method.input_type).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )

    def _metadata(self) -> Pairs:
        metadata = [("x-request-id", "tenants")]
        if self._token:
            metadata.append(("authorization", f"Bearer {self._token}"))
        if self._tenant:
            metadata.append(("x-mainstay-tenant", self._tenant))
        return metadata

"""A server that notes by which certificate it is called."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from mainstay.channel import Channel
from shared.config import CommonSettings
from shared.tls import ServerTls
from tests.integration.tls.certificates import serial_of

SERVICE = "test.Witness"
Context = grpc.aio.ServicerContext[bytes, bytes]


class Witness:
    """Has a method that answers at once, and one that streams until it may end."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.names: list[str] = []
        self.serials: list[int] = []
        self.may_end = asyncio.Event()

    async def call(self, channel: Channel) -> int:
        """Call, and return the serial number of the certificate that the server saw."""
        await channel.unary(channel.raw.unary_unary(f"/{SERVICE}/Call"), b"")
        return self.serials[-1]

    async def stream(self, channel: Channel) -> AsyncGenerator[bytes, None]:
        """Open a stream, whose first word comes at once."""
        method: Any = channel.raw.unary_stream(f"/{SERVICE}/Stream")
        async for word in channel.server_stream(method, b"", timeout=30):
            yield word

    def see(self, context: Context) -> None:
        """Note who calls."""
        seen: Any = context.auth_context()
        self.names.append(seen["x509_subject_alternative_name"][0].decode())
        self.serials.append(serial_of(seen["x509_pem_cert"][0]))


@asynccontextmanager
async def witness(**settings: Any) -> AsyncIterator[Witness]:
    """Serve with the credentials that a service with these settings has."""
    tls = ServerTls.from_settings(CommonSettings(**settings))
    assert tls is not None
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", tls.rpc_credentials())
    seen = Witness(f"127.0.0.1:{port}")

    async def call(_: bytes, context: Context) -> bytes:
        seen.see(context)
        return b""

    async def stream(_: bytes, context: Context) -> AsyncIterator[bytes]:
        seen.see(context)
        yield b"begun"
        await seen.may_end.wait()
        yield b"ended"

    handlers: dict[str, Any] = {
        "Call": grpc.unary_unary_rpc_method_handler(call),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    await server.start()
    try:
        yield seen
    finally:
        await server.stop(0)

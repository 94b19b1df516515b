"""A receiver of webhooks that answers as the test says, and verifies what it gets."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

HANG = b"hang"
DRIP = b"drip"
OK = b"HTTP/1.1 204 No Content\r\n\r\n"
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"


def failure(status: int = 500, *headers: str) -> bytes:
    """Return an answer that is not 2xx."""
    lines = [f"HTTP/1.1 {status} Something", "Content-Length: 0", *headers, "", ""]
    return "\r\n".join(lines).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def webhook_id(self) -> str:
        """Return the id to deduplicate by."""
        return self.headers["webhook-id"]

    @property
    def data(self) -> dict[str, Any]:
        """Return what happened."""
        found: dict[str, Any] = json.loads(self.body)["data"]
        return found


def verifies(received: Received, secret: str) -> bool:
    """Verify as the specification says, independently of the code that signs."""
    key = base64.b64decode(secret.split("_", 1)[1])
    identifier, timestamp = received.headers["webhook-id"], received.headers["webhook-timestamp"]
    content = f"{identifier}.{timestamp}.".encode() + received.body
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    for signature in received.headers["webhook-signature"].split(" "):
        version, _, value = signature.partition(",")
        if version == "v1" and hmac.compare_digest(value, expected):
            return True
    return False


@dataclass(slots=True)
class ReceiverServer:
    """Answers in the order given, then well."""

    answers: list[bytes]
    received: list[Received] = field(default_factory=list)
    port: int = 0
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        """Return where to send, with something in it that nobody should see."""
        return f"http://user:hidden-password@127.0.0.1:{self.port}/hidden-path?token=hidden-token"

    async def wait_for(self, count: int) -> Sequence[Received]:
        """Return once so many requests have come."""
        async with asyncio.timeout(15), self._came:
            await self._came.wait_for(lambda: len(self.received) >= count)
        return self.received

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request on a connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, path, _ = head[0].split(" ")
            pairs = (line.split(": ", 1) for line in head[1:] if line)
            headers = {name.lower(): value for name, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            answer = self.answers.pop(0) if self.answers else OK
            async with self._came:
                self.received.append(Received(method=method, path=path, headers=headers, body=body))
                self._came.notify_all()
            await self._answer(answer, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side has gone
        finally:
            writer.close()

    @staticmethod
    async def _answer(
        answer: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if answer == HANG:
            await reader.read()  # until the other side gives up
        elif answer == DRIP:
            writer.write(b"HTTP/1.1 200 OK\r\n")
            while True:
                writer.write(b"x-more: 1\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        else:
            writer.write(answer)
            await writer.drain()


@asynccontextmanager
async def receiving(*answers: bytes) -> AsyncIterator[ReceiverServer]:
    """Run a receiver."""
    receiver = ReceiverServer([*answers])
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()

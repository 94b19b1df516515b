"""HTTP as a load balancer speaks it: bytes on a socket, nothing followed, nothing guessed."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back, to the last byte before the connection closed."""

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Return the answer that these bytes are."""
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        return cls(status=int(first.split()[1]), headers=headers, body=body)

    def document(self) -> Any:
        """Return the body, parsed."""
        return json.loads(self.body)


async def ask(
    port: int,
    path: str,
    *,
    method: str = "GET",
    version: str = "1.1",
    host: str | None = "health",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request and read until the server closes the connection."""
    sent = {**({"Host": host} if host else {}), "Connection": "close", **(headers or {})}
    lines = [
        f"{method} {path} HTTP/{version}",
        *(f"{name}: {value}" for name, value in sent.items()),
    ]
    return await send(port, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))


async def send(port: int, request: bytes) -> Answer:
    """Send these bytes and read one answer, as long as its head says or to the connection's end."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answer = await read_answer(reader, bodiless=request.startswith(b"HEAD "))
        writer.close()
        await writer.wait_closed()
    return answer


async def read_answer(reader: asyncio.StreamReader, *, bodiless: bool = False) -> Answer:
    """Read one answer from a connection that may go on."""
    head = await reader.readuntil(b"\r\n\r\n")
    answer = Answer.parse(head)
    if bodiless:
        return answer
    length = answer.headers.get("content-length")
    body = await (reader.read() if length is None else reader.readexactly(int(length)))
    return Answer.parse(head + body)

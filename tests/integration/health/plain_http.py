"""HTTP as a load balancer speaks it: bytes on a socket, nothing followed, nothing guessed."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back, to the last byte before the connection closed."""

    status: int
    headers: dict[str, str]
    body: bytes

    def document(self) -> Any:
        """Return the body, parsed."""
        return json.loads(self.body)


async def ask(port: int, path: str, *, method: str = "GET", version: str = "1.1") -> Answer:
    """Send one request and read until the server closes the connection."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = f"{method} {path} HTTP/{version}\r\nHost: health\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        raw = await reader.read()
        writer.close()
        await writer.wait_closed()
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return Answer(status=int(first.split()[1]), headers=headers, body=body)

"""A TCP proxy that counts what passes, and meddles when a test says so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class TcpProxy:
    """Stands between a client and a server on loopback.

    Attributes:
        batches: How often bytes came from clients, one for each segment or so.
        sent: What came from clients.
        delay: Seconds that each answer is held back.
        connections: How many clients have connected.

    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.batches = 0
        self.sent = b""
        self.delay = 0.0
        self.connections = 0
        self.port = 0

    @classmethod
    @asynccontextmanager
    async def to(cls, port: int) -> AsyncIterator["TcpProxy"]:
        """Listen on a free port within the block."""
        proxy = cls(port)
        server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            server.close()
            for task in proxy._tasks:
                task.cancel()
            await asyncio.gather(*proxy._tasks, return_exceptions=True)
            proxy.cut()

    def inject(self, junk: bytes) -> None:
        """Send bytes to the client of the last connection that the server never sent."""
        self._writers[-2].write(junk)

    def cut(self) -> None:
        """Break every connection."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, answers = await asyncio.open_connection("127.0.0.1", self._target)
        self.connections += 1
        self._writers += [writer, answers]
        for pump in (self._to_server(reader, answers), self._to_client(there, writer)):
            task = asyncio.create_task(pump)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _to_server(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 20):
                self.batches += 1
                self.sent += data
                writer.write(data)
        writer.transport.abort()

    async def _to_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 20):
                if self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(data)
        writer.transport.abort()

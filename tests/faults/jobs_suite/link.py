"""A stretch of network of the suite's own, which cuts, swallows, loses, delays, drips."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from enum import Enum, auto


class Mode(Enum):
    """How a connection fares."""

    PASSES = auto()
    """What is sent arrives."""
    LOSES_REPLIES = auto()
    """What the server says is lost: what it does, it does, and the client does not learn of it."""
    SWALLOWS = auto()
    """Half-open: nothing arrives on either side, and no side is told so."""
    HALF_CLOSED = auto()
    """The server has said its last: the client is told so, and what it sends still arrives."""


class Connection:
    """One client's connection, through to the server."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.mode = Mode.PASSES
        self._writers = (client, server)

    def half_close(self) -> None:
        """Let the client see the end of what the server says."""
        client, _ = self._writers
        self.mode = Mode.HALF_CLOSED
        with suppress(OSError, RuntimeError):
            client.write_eof()

    def cut(self) -> None:
        """Break both halves."""
        for writer in self._writers:
            writer.transport.abort()


class Link:
    """Listens on `port` and connects each client to the next of the `targets` that can be reached.

    `delay` is how long, in seconds, everything on it is held back; `rate` how many bytes a second
    each half of a connection carries, None as many as come.
    """

    def __init__(self, targets: Sequence[int]) -> None:
        self.port = 0
        self.delay = 0.0
        self.rate: float | None = None
        self._severed = False
        self._targets = targets
        self._turn = itertools.count()
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def to(cls, *targets: int) -> AsyncIterator["Link"]:
        """Listen within the block, on a free port of loopback."""
        link = cls(targets)
        server = await asyncio.start_server(link._accept, "127.0.0.1", 0)
        link.port = server.sockets[0].getsockname()[1]
        try:
            yield link
        finally:
            server.close()
            for task in link._tasks:
                task.cancel()
            await asyncio.gather(*link._tasks, return_exceptions=True)
            link.cut()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break every connection."""
        for connection in [*self._connections]:
            connection.cut()
        self._connections.clear()

    def half_close(self) -> None:
        """End what the servers say on the connections of this moment; new ones pass."""
        for connection in self._connections:
            if connection.mode is Mode.PASSES:
                connection.half_close()

    def sever(self) -> None:
        """Swallow everything, on new connections too, until `mend`."""
        self._severed = True
        for connection in self._connections:
            connection.mode = Mode.SWALLOWS

    def mend(self) -> None:
        """Let new connections pass, unhindered, and break those that have lost something."""
        self._severed, self.delay, self.rate = False, 0.0, None
        for connection in [*self._connections]:
            if connection.mode is not Mode.PASSES:
                connection.cut()

    async def lose_replies(self, seconds: float) -> None:
        """Lose what the server says for so long, then break these connections."""
        await self._spoil(Mode.LOSES_REPLIES, seconds)

    async def swallow(self, seconds: float) -> None:
        """Leave the connections of this moment half-open for so long; new ones pass."""
        await self._spoil(Mode.SWALLOWS, seconds)

    async def _spoil(self, mode: Mode, seconds: float) -> None:
        spoilt = [each for each in self._connections if each.mode is Mode.PASSES]
        for connection in spoilt:
            connection.mode = mode
        await asyncio.sleep(seconds)
        for connection in spoilt:
            connection.cut()

    async def _accept(self, client: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached = await self._reach()
        if reached is None:
            writer.transport.abort()
            return
        server, to_server = reached
        connection = Connection(writer, to_server)
        if self._severed:
            connection.mode = Mode.SWALLOWS
        self._connections.add(connection)
        pumps = (
            self._pump(connection, client, to_server, replies=False),
            self._pump(connection, server, writer, replies=True),
        )
        task = asyncio.create_task(self._carry(connection, *map(asyncio.create_task, pumps)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        first = next(self._turn)
        for number in range(len(self._targets)):
            target = self._targets[(first + number) % len(self._targets)]
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", target)
        return None

    async def _carry(self, connection: Connection, *pumps: "asyncio.Task[None]") -> None:
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if connection.mode is Mode.SWALLOWS:
                await asyncio.wait(pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            connection.cut()
            self._connections.discard(connection)

    async def _pump(
        self,
        connection: Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        replies: bool,
    ) -> None:
        with suppress(OSError, RuntimeError):
            while data := await reader.read(1 << 16):
                if self.delay:
                    await asyncio.sleep(self.delay)
                for part in self._parts(data):
                    if _arrives(connection.mode, replies=replies):
                        writer.write(part)
                        await writer.drain()
                    if self.rate is not None:
                        await asyncio.sleep(len(part) / self.rate)

    def _parts(self, data: bytes) -> Iterator[bytes]:
        """Cut data into what a slow link carries in a twentieth of a second."""
        if self.rate is None:
            yield data
            return
        size = max(1, int(self.rate / 20))
        for begin in range(0, len(data), size):
            yield data[begin : begin + size]


def _arrives(mode: Mode, *, replies: bool) -> bool:
    if replies:
        return mode is Mode.PASSES
    return mode is not Mode.SWALLOWS

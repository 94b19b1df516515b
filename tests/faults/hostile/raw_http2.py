"""A connection of HTTP/2 frames made by hand: no library that would refuse to send them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
)

from tests.faults.hostile.hostile_input import CACHE, PREFACE

Header = tuple[str, str]
PATIENCE = 15.0
CALL: tuple[Header, ...] = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", f"{CACHE}/Get"),
    (":authority", "probe"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)


def literal(name: str, value: str, *, indexed: bool = False) -> bytes:
    """Return a header as HPACK has it in full; an `indexed` one stays in the peer's table."""
    return (b"\x40" if indexed else b"\x00") + _text(name) + _text(value)


def _text(text: str) -> bytes:
    raw, length = text.encode(), len(text.encode())
    if length < 127:
        return bytes([length]) + raw
    prefix, rest = bytearray([127]), length - 127
    while rest >= 128:
        prefix.append(rest % 128 + 128)
        rest //= 128
    prefix.append(rest)
    return bytes(prefix) + raw


def block(headers: Sequence[Header] = CALL) -> bytes:
    """Return the header block of a call."""
    return b"".join(literal(name, value) for name, value in headers)


def headers(stream: int, data: bytes, *flags: str) -> bytes:
    """Return a HEADERS frame, by default one that goes on."""
    return HeadersFrame(stream, data, flags=flags).serialize()


def data(stream: int, payload: bytes = b"", *flags: str) -> bytes:
    """Return a DATA frame."""
    return DataFrame(stream, payload, flags=flags).serialize()


class RawConnection:
    """One connection; what comes back is read and thrown away, unless it `reads` nothing."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, reads: bool
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._reading = asyncio.create_task(self._read() if reads else asyncio.sleep(0))
        self.closed = asyncio.Event()
        self._more = asyncio.Event()
        self.ended: set[int] = set()
        self.goodbye: int | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, address: str, *, reads: bool = True) -> AsyncIterator["RawConnection"]:
        """Connect, and say what every client says first."""
        host, _, port = address.rpartition(":")
        connection = cls(*await asyncio.open_connection(host, int(port)), reads=reads)
        try:
            await connection.send(PREFACE + SettingsFrame(0).serialize())
            yield connection
        finally:
            connection._reading.cancel()
            await asyncio.gather(connection._reading, return_exceptions=True)
            connection._writer.transport.abort()

    async def send(self, raw: bytes) -> None:
        """Write, for as long as the other end takes it; one that hangs up is an answer too."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                self._writer.write(raw)
                await self._writer.drain()

    async def hung_up(self) -> bool:
        """Wait until the other end hangs up."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self.closed.wait()
        except TimeoutError:
            return False
        return True

    async def end_of(self, stream: int) -> None:
        """Wait until a stream ends, or the connection."""
        while stream not in self.ended and not self.closed.is_set():
            self._more.clear()
            await self._more.wait()

    async def _read(self) -> None:
        buffer = b""
        with suppress(OSError):
            while received := await self._reader.read(65_536):
                buffer = self._take(buffer + received)
                self._more.set()
        self.closed.set()
        self._more.set()

    def _take(self, buffer: bytes) -> bytes:
        while len(buffer) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(buffer[:9]))
            if len(buffer) < 9 + length:
                break
            frame.parse_body(memoryview(buffer[9 : 9 + length]))
            buffer = buffer[9 + length :]
            if isinstance(frame, GoAwayFrame):
                self.goodbye = frame.error_code
            elif isinstance(frame, RstStreamFrame) or "END_STREAM" in frame.flags:
                self.ended.add(frame.stream_id)
        return buffer

"""A connection that begins calls whether or not earlier ones were answered, at a few µs each.

HTTP/2 by hand: an ordinary client costs more than the server that it is to overload. It tells calls
that were served from those that were shed, and has every answer's time.
"""

import asyncio
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
ACK = END_STREAM = 1
END_HEADERS = 4
PUSHBACK = b"grpc-retry-pushback-ms"
_HEAD = struct.Struct(">BHBBL")
_WIDE = 2**31 - 1 - 65_535
_LEAST_WINDOW = 65_535


@dataclass(slots=True)
class Tally:
    """Milliseconds from when a call was due to the end of its answer, by what became of it."""

    served: list[float] = field(default_factory=list)
    shed: list[float] = field(default_factory=list)
    failed: int = 0
    pushed_back: int = 0
    unsent: int = 0


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one HTTP/2 frame."""
    return _HEAD.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def literal(name: str, value: str) -> bytes:
    """Return a header as HPACK has it without tables and without compression."""
    return b"\x00" + b"".join(
        bytes([len(text)]) + text.encode() if len(text) < 127 else _long(text)
        for text in (name, value)
    )


def _long(text: str) -> bytes:
    return bytes([127, len(text) - 127]) + text.encode()


class Peer(asyncio.Protocol):
    """One connection; every call is the same, but for the tenant it names."""

    def __init__(self, path: str, message: bytes, *, most: int, timeout: str = "5S") -> None:
        self.tally = Tally()
        self.opened = asyncio.get_running_loop().create_future()
        self._message = struct.pack(">BI", 0, len(message)) + message
        self._fixed = b"".join(
            literal(name, value)
            for name, value in (
                (":method", "POST"),
                (":scheme", "http"),
                (":path", path),
                (":authority", "bench"),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("grpc-timeout", timeout),
            )
        )
        self._most = most
        self._stream = -1
        self._window = _LEAST_WINDOW
        self._open: dict[int, tuple[float, bool]] = {}
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self.on_end: Callable[[], None] = lambda: None

    @property
    def under_way(self) -> int:
        """Return how many calls have no answer yet."""
        return len(self._open) + len(self._waiting)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)
        # No table: what comes back can be looked at without a decoder.
        settings = struct.pack(">HLHL", 1, 0, 4, _WIDE)
        transport.write(
            PREFACE
            + frame(SETTINGS, 0, 0, settings)
            + frame(WINDOW, 0, 0, struct.pack(">L", _WIDE))
        )

    def call(self, due: float, extra: bytes = b"") -> None:
        """Begin a call that was due then; `extra` are more headers of it."""
        if self._transport is None or self._transport.is_closing():
            self.tally.unsent += 1
        elif len(self._open) < self._most and self._window >= len(self._message):
            self._begin(due, extra)
        else:
            self._waiting.append((due, extra))

    def _begin(self, due: float, extra: bytes) -> None:
        assert self._transport is not None
        self._stream += 2
        self._open[self._stream] = (due, False)
        self._window -= len(self._message)
        self._transport.write(
            frame(HEADERS, END_HEADERS, self._stream, self._fixed + extra)
            + frame(DATA, END_STREAM, self._stream, self._message)
        )

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        at, buffer = 0, self._buffer
        while len(buffer) - at >= 9:
            high, low, kind, flags, stream = _HEAD.unpack_from(buffer, at)
            end = at + 9 + (high << 16 | low)
            if len(buffer) < end:
                break
            self._take(kind, flags, stream, memoryview(bytes(buffer[at + 9 : end])))
            at = end
        del buffer[:at]
        while self._waiting and len(self._open) < self._most and self._window >= len(self._message):
            self._begin(*self._waiting.popleft())

    def _take(self, kind: int, flags: int, stream: int, payload: memoryview) -> None:
        match kind:
            case 0:
                if stream in self._open:
                    self._open[stream] = (self._open[stream][0], True)
            case 1:
                if flags & END_STREAM:
                    self._end(stream, bytes(payload))
            case 3:
                self._end(stream, None)
            case 4 | 6 if not flags & ACK:
                assert self._transport is not None
                self._transport.write(frame(kind, ACK, 0, bytes(payload) if kind == PING else b""))
                if not self.opened.done():
                    self.opened.set_result(None)
            case 8 if stream == 0:
                self._window += struct.unpack(">L", payload)[0]
            case _:
                pass

    def _end(self, stream: int, trailers: bytes | None) -> None:
        begun = self._open.pop(stream, None)
        if begun is None:
            return
        due, had_data = begun
        took = (time.perf_counter() - due) * 1000
        if had_data:
            self.tally.served.append(took)
        elif trailers is None:
            self.tally.failed += 1
        else:
            self.tally.shed.append(took)
            self.tally.pushed_back += PUSHBACK in trailers
        self.on_end()

    def connection_lost(self, exc: Exception | None) -> None:
        self.tally.failed += len(self._open)
        self._open.clear()

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

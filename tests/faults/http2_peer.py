"""A gRPC caller made of raw HTTP/2 frames: it does what no well-behaved client would."""

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

Header = tuple[str | bytes, str | bytes]
PATIENCE = 10.0


def framed(message: bytes, *, compressed: int = 0) -> bytes:
    """Return a message as gRPC sends it: a flag, the length, the bytes."""
    return struct.pack(">BI", compressed, len(message)) + message


@dataclass(slots=True)
class Answer:
    """What came back on one stream so far."""

    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    reset: int | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def status(self) -> str | None:
        """Return the gRPC status, wherever it stands: an error alone has no trailers."""
        return self.trailers.get("grpc-status", self.headers.get("grpc-status"))

    @property
    def message(self) -> str:
        """Return the words that go with the status, wherever they stand."""
        return (self.headers | self.trailers)["grpc-message"]

    @property
    def text(self) -> str:
        """Return everything that came, to search for what must not be in it."""
        return f"{self.headers} {self.trailers} {self.data!r}"


class Http2Peer:
    """One connection; with `window` 0 the other end may send headers but no data."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, window: int
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._h2 = H2Connection(
            H2Configuration(
                header_encoding="utf-8",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._opens_window = window > 0
        self._answers: dict[int, Answer] = {}
        self.closed = asyncio.Event()
        self.greeted = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, address: str, *, window: int = 65_535, polite: bool = True
    ) -> AsyncIterator["Http2Peer"]:
        """Connect and read in the background until the end of the block.

        One that is not `polite` begins before it knows what the other end allows.
        """
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        peer = cls(reader, writer, window)
        peer._h2.initiate_connection()
        peer._h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        # Compressing a mebibyte in Python takes minutes.
        encode = partial(peer._h2.encoder.encode, huffman=False)
        peer._h2.encoder.encode = encode  # type: ignore[method-assign]
        await peer.flush()
        reading = asyncio.create_task(peer._read())
        if polite:
            async with asyncio.timeout(PATIENCE):
                await peer.greeted.wait()
        try:
            yield peer
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            writer.transport.abort()

    async def call(
        self,
        path: str,
        body: bytes | None = None,
        *,
        headers: Sequence[Header] = (),
        end: bool = True,
        content_type: str = "application/grpc",
    ) -> Answer:
        """Begin a call; `body` is sent as it is, None sends headers alone."""
        stream = self._h2.get_next_available_stream_id()
        answer = self._answers[stream] = Answer()
        fixed: list[Header] = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "probe"),
            ("te", "trailers"),
            ("content-type", content_type),
        ]
        self._h2.send_headers(stream, [*fixed, *headers], end_stream=end and body is None)
        if body is not None:
            await self._send(stream, body, end=end)
        await self.flush()
        return answer

    def ignore_limits(self) -> None:
        """Forget how many streams the other end allows."""
        settings = self._h2.remote_settings
        settings.max_concurrent_streams = 2**31 - 1
        settings.acknowledge()

    async def call_and_reset(self, path: str, body: bytes) -> None:
        """Begin a call and take it back in the same breath."""
        await self.call(path, body, end=False)
        with suppress(ProtocolError):
            self._h2.reset_stream(max(self._answers))
        await self.flush()

    async def _send(self, stream: int, body: bytes, *, end: bool) -> None:
        while body:
            room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
            if room <= 0:
                await self.flush()
                await asyncio.sleep(0)
                if self.closed.is_set() or self._answers[stream].ended.is_set():
                    return
                continue
            chunk, body = body[:room], body[room:]
            self._h2.send_data(stream, chunk, end_stream=end and not body)

    async def send_raw(self, junk: bytes) -> None:
        """Put bytes on the connection past all rules."""
        self._writer.write(junk)
        await self._writer.drain()

    async def finished(self, answer: Answer) -> Answer:
        """Wait until the stream or the connection ends."""
        waits = [asyncio.create_task(event.wait()) for event in (answer.ended, self.closed)]
        done, rest = await asyncio.wait(
            waits, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
        )
        for wait in rest:
            wait.cancel()
        assert done, f"neither an answer nor a closed connection within {PATIENCE:g} s"
        return answer

    async def flush(self) -> None:
        """Write what the protocol has to say."""
        self._writer.write(self._h2.data_to_send())
        try:
            await self._writer.drain()
        except ConnectionError:
            self.closed.set()

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(65_536):
                for event in self._h2.receive_data(data):
                    self._take(event)
                await self.flush()
                self.greeted.set()
        except (ConnectionError, ProtocolError):
            pass  # a connection that is cut is one of the answers a test may expect
        finally:
            self.closed.set()

    def _take(self, event: object) -> None:
        match event:
            case ResponseReceived(stream_id=stream, headers=headers):
                self._answers[stream].headers |= _as_dict(headers)
            case TrailersReceived(stream_id=stream, headers=headers):
                self._answers[stream].trailers |= _as_dict(headers)
            case DataReceived(stream_id=stream, data=data, flow_controlled_length=size):
                self._answers[stream].data += data
                if self._opens_window and size:
                    self._h2.acknowledge_received_data(size, stream)
            case StreamEnded(stream_id=stream):
                self._answers[stream].ended.set()
            case StreamReset(stream_id=stream, error_code=code):
                self._answers[stream].reset = int(code)
                self._answers[stream].ended.set()
            case ConnectionTerminated():
                self.closed.set()
            case _:
                pass


def _as_dict(headers: Sequence[tuple[object, object]]) -> dict[str, str]:
    return {str(name): str(value) for name, value in headers}

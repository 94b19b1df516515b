"""Floods of frames, and frames that have no business where they are.

After each of them an ordinary call and health are answered at once, no slot is taken, and the
process is about as large as before.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from hyperframe.frame import (
    ContinuationFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.faults.hostile.hostile_input import ASKED, PATIENCE, SOON, seconds_to_answer
from tests.faults.hostile.raw_http2 import CALL, RawConnection, block, data, headers, literal
from tests.faults.hostile.test_hostile_connections import memory_of
from tests.faults.http2_peer import framed
from tests.integration.health.plain_http import ask
from tests.integration.shared.service_process import ServiceProcess, port_of

pytestmark = [pytest.mark.hostile, pytest.mark.asyncio(loop_scope="module")]

MANY = 10_000
GROWTH = 64
"""MiB by which a flood may make the process larger."""

ENDED = ("END_HEADERS", "END_STREAM")
INDEXED_AGAIN = b"\xbe"  # the newest entry of the dynamic table


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def unmoved(service: ServiceProcess, address: str) -> AsyncIterator[None]:
    """Compare the process before and after the test."""
    before = memory_of(service)
    yield
    took = await seconds_to_answer(address)
    async with asyncio.timeout(PATIENCE):
        while not await _is_empty(service):  # noqa: ASYNC110 - another process tells of no events
            await asyncio.sleep(0.02)

    assert took < SOON
    assert memory_of(service) - before < GROWTH


async def _is_empty(service: ServiceProcess) -> bool:
    operations = str(service.events("service_ready")[0]["operations"])
    scraped = (await ask(port_of(operations), "/metrics")).body
    return b"mainstay_rpc_server_calls_in_flight 0.0" in scraped


def rapid_resets() -> bytes:
    """Return calls that are taken back in the same breath."""
    begun, call = block(), framed(ASKED)
    return b"".join(
        headers(stream, begun, "END_HEADERS")
        + data(stream, call, "END_STREAM")
        + RstStreamFrame(stream, error_code=8).serialize()
        for stream in range(1, 2 * MANY, 2)
    )


def resets_without_a_message() -> bytes:
    """Return calls that are taken back before they say anything."""
    begun = block()
    return b"".join(
        headers(stream, begun, "END_HEADERS") + RstStreamFrame(stream, error_code=8).serialize()
        for stream in range(1, 2 * MANY, 2)
    )


def continuations() -> bytes:
    """Return headers that never end, 32 MiB of them."""
    part = ContinuationFrame(1, literal("x-more", "x" * 16_000)).serialize()
    return headers(1, block()) + part * 2_000


def empty_continuations() -> bytes:
    """Return headers that never end and say nothing."""
    return headers(1, block()) + ContinuationFrame(1, b"").serialize() * MANY


def settings() -> bytes:
    """Return settings, each of which wants to be acknowledged."""
    return SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 65_535}).serialize() * MANY


def pings() -> bytes:
    """Return pings, each of which wants an answer."""
    return PingFrame(0, b"12345678").serialize() * MANY


def priorities() -> bytes:
    """Return a tree of priorities of streams that there are none of."""
    return b"".join(
        PriorityFrame(stream, depends_on=stream - 2 if stream > 1 else 0).serialize()
        for stream in range(1, 2 * MANY, 2)
    )


def window_updates() -> bytes:
    """Return more and more room, in the smallest portions."""
    return WindowUpdateFrame(0, window_increment=1).serialize() * MANY


def empty_data() -> bytes:
    """Return a body of nothing that never ends."""
    return headers(1, block(), "END_HEADERS") + data(1) * MANY


def padded_data() -> bytes:
    """Return a body that is all padding."""
    return (
        headers(1, block(), "END_HEADERS")
        + b"\x00\x01\x00\x00\x08\x00\x00\x00\x01\xff"
        + (b"\x00" * 255)
    )


def bomb() -> bytes:
    """Return one large header that is named ten thousand times: 40 MB in 10 kB."""
    large = literal("x-large", "x" * 4_000, indexed=True)
    return headers(1, block() + large + INDEXED_AGAIN * MANY, *ENDED)


def bombs() -> bytes:
    """Return the same on many streams, each below what one may have."""
    large = literal("x-large", "x" * 3_000, indexed=True)
    first = headers(1, block() + large, *ENDED)
    begun = block()
    return first + b"".join(
        headers(stream, begun + INDEXED_AGAIN * 2, *ENDED) for stream in range(3, 2_000, 2)
    )


FLOODS: list[Callable[[], bytes]] = [
    rapid_resets,
    resets_without_a_message,
    continuations,
    empty_continuations,
    settings,
    pings,
    priorities,
    window_updates,
    empty_data,
    padded_data,
    bomb,
    bombs,
]


class TestFloods:
    @pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
    @pytest.mark.parametrize("reads", [True, False], ids=["reading", "deaf"])
    async def test_hold_up_nobody(
        self, address: str, flood: Callable[[], bytes], *, reads: bool
    ) -> None:
        """While it goes on, others are served; whether or not its sender reads the answers."""
        async with RawConnection.open(address, reads=reads) as connection:
            flooding = asyncio.create_task(connection.send(flood()))
            took = await seconds_to_answer(address)
            await flooding
            again = await seconds_to_answer(address)

        assert max(took, again) < SOON


def even_stream() -> bytes:
    return headers(2, block(), *ENDED)


def data_on_an_idle_stream() -> bytes:
    return data(7, b"x")


def reset_of_an_idle_stream() -> bytes:
    return RstStreamFrame(7, error_code=8).serialize()


def too_large_a_frame() -> bytes:
    return b"\x7f\xff\xff\x00\x01\x00\x00\x00\x01" + b"x" * 100_000


def too_much_room() -> bytes:
    return WindowUpdateFrame(0, window_increment=2**31 - 1).serialize() * 2


def ping_of_the_wrong_size() -> bytes:
    return b"\x00\x00\x03\x06\x00\x00\x00\x00\x00abc"


def settings_of_the_wrong_size() -> bytes:
    return b"\x00\x00\x05\x04\x00\x00\x00\x00\x00abcde"


def something_between_headers() -> bytes:
    return headers(1, block()) + PingFrame(0, b"12345678").serialize()


def broken_hpack() -> bytes:
    return headers(1, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", *ENDED)


VIOLATIONS: list[Callable[[], bytes]] = [
    too_large_a_frame,
    ping_of_the_wrong_size,
    settings_of_the_wrong_size,
    something_between_headers,
]


class TestViolations:
    @pytest.mark.parametrize("violation", VIOLATIONS, ids=lambda violation: violation.__name__)
    async def test_end_the_connection(self, address: str, violation: Callable[[], bytes]) -> None:
        """What cannot be read on from costs its sender the connection."""
        async with RawConnection.open(address) as connection:
            await connection.send(violation())
            hung_up = await connection.hung_up()

        assert hung_up

    @pytest.mark.parametrize(
        "odd",
        [
            even_stream,
            data_on_an_idle_stream,
            reset_of_an_idle_stream,
            too_much_room,
            broken_hpack,
        ],
        ids=lambda odd: odd.__name__,
    )
    async def test_or_change_nothing(self, address: str, odd: Callable[[], bytes]) -> None:
        """What the transport puts up with has no effect on others."""
        async with RawConnection.open(address) as connection:
            await connection.send(odd())
            took = await seconds_to_answer(address)

        assert took < SOON


class TestStreamsThatDoNotEnd:
    async def test_half_a_message_takes_no_slot(self, address: str) -> None:
        """Five hundred calls whose body stops half-way; there are slots for 64."""
        begun, half = block(), framed(ASKED)[:-2]
        async with RawConnection.open(address) as connection:
            await connection.send(
                b"".join(
                    headers(stream, begun, "END_HEADERS") + data(stream, half)
                    for stream in range(1, 1_000, 2)
                )
            )
            took = await seconds_to_answer(address)

        assert took < SOON

    async def test_a_body_after_its_end(self, address: str) -> None:
        """More data on a stream that is closed on that side is none of the call's."""
        async with RawConnection.open(address) as connection:
            await connection.send(
                headers(1, block(), "END_HEADERS")
                + data(1, framed(ASKED), "END_STREAM")
                + data(1, framed(ASKED), "END_STREAM")
            )
            async with asyncio.timeout(PATIENCE):
                await connection.end_of(1)

        assert 1 in connection.ended or connection.goodbye is not None


class TestHeadersThatMakeNoCall:
    @pytest.mark.parametrize(
        "odd",
        [
            CALL[:2] + CALL[3:],
            tuple((name, "GET" if name == ":method" else value) for name, value in CALL),
            (*CALL[4:], *CALL[:4]),
            (*CALL, (":unknown", "x")),
            (*CALL, (":path", "/twice")),
            (*CALL, ("X-Upper", "case")),
            (*CALL, ("connection", "close")),
            (*CALL, ("x-nul", "a\0b")),
            (*CALL, ("x-line", "a\r\nb: c")),
            (*CALL, ("content-length", "-1")),
            (),
        ],
        ids=[
            "no path",
            "GET",
            "pseudo last",
            "unknown pseudo",
            "two paths",
            "upper",
            "connection",
            "NUL",
            "line feed",
            "length",
            "nothing",
        ],
    )
    async def test_get_no_answer_that_is_good(
        self, address: str, odd: tuple[tuple[str, str], ...]
    ) -> None:
        """The stream ends, or the connection; nothing waits."""
        async with RawConnection.open(address) as connection:
            await connection.send(
                headers(1, block(odd), "END_HEADERS") + data(1, framed(ASKED), "END_STREAM")
            )
            async with asyncio.timeout(PATIENCE):
                await connection.end_of(1)

        assert 1 in connection.ended or connection.closed.is_set()


class TestManyConnections:
    async def test_idle_ones_are_bounded_and_hold_up_nobody(self, address: str) -> None:
        """Two thousand that have said hello; whoever comes then is served."""
        host, _, port = address.rpartition(":")
        writers: list[asyncio.StreamWriter] = []
        hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize()
        try:
            for _ in range(2_000):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.write(hello)
                writers.append(writer)
            took = await seconds_to_answer(address)
        finally:
            for writer in writers:
                writer.transport.abort()

        assert took < SOON

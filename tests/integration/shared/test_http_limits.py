"""An HTTP server that no number of idle or slow connections keeps from answering."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from shared import http
from shared.http import HttpServer
from tests.integration.health.plain_http import ask

LIMIT = 5
LARGE = b"x" * 8_000_000
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Stream:
    """A response that says one word and then waits for its reader to leave."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()


@pytest.fixture
def stream() -> Stream:
    """Return what `/stream` answers with."""
    return Stream()


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch, stream: Stream) -> AsyncIterator[HttpServer]:
    """Serve three paths, to few at a time."""
    monkeypatch.setattr(http, "MAX_CONNECTIONS", LIMIT)

    async def answer(_: Request) -> Response:
        return PlainTextResponse("well")

    async def large(_: Request) -> Response:
        return Response(LARGE)

    routes = [Route("/", answer), Route("/large", large), Route("/stream", stream)]
    server = HttpServer("probe", Starlette(routes=routes), "127.0.0.1", 0)
    await server.start()
    yield server
    await server.close()


async def connect(server: HttpServer, sent: bytes = b"") -> Opened:
    """Open a connection and leave it there, seen by the server."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    if sent:
        writer.write(sent)
        await writer.drain()
    return reader, writer


async def is_over(reader: asyncio.StreamReader) -> bool:
    """Tell whether the server hung up."""
    try:
        return await asyncio.wait_for(reader.read(), 5) == b""
    except ConnectionError:
        return True


async def listening(server: HttpServer, sent: bytes = b"") -> Opened:
    """Open a stream, with more requests sent behind it."""
    opened = await connect(server, b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n" + sent)
    await opened[0].readuntil(b"begun\r\n")
    return opened


async def is_cut_off(opened: Opened, sent: bytes) -> bool:
    """Send without an end and tell whether the server hangs up."""
    reader, writer = opened
    hung_up = asyncio.create_task(is_over(reader))
    async with asyncio.timeout(10):
        while not hung_up.done() and not writer.is_closing():
            writer.write(sent)
            await asyncio.sleep(0)
        over = await hung_up
    writer.close()
    return over


class TestManyConnections:
    @pytest.mark.hostile
    @pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: half-a-requ"])
    async def test_keep_no_poller_out(self, server: HttpServer, sent: bytes) -> None:
        """The one that was quiet for longest goes; none is answered with a refusal."""
        held = [await connect(server, sent) for _ in range(LIMIT)]
        answers = [await ask(server.port, "/") for _ in range(LIMIT)]
        first_is_over = await is_over(held[0][0])
        for _, writer in held:
            writer.close()

        assert ([200] * LIMIT, True) == ([answer.status for answer in answers], first_is_over)

    async def test_do_not_cost_one_that_is_used(self, server: HttpServer) -> None:
        """A client that asked a moment ago is kept before those that never did."""
        held = [await connect(server) for _ in range(LIMIT - 1)]
        reader, writer = await connect(server)
        found = []
        async with asyncio.timeout(10):
            for _ in range(LIMIT):
                writer.write(REQUEST)
                found.append(await reader.readuntil(b"well"))
                held.append(await connect(server))
                await ask(server.port, "/")
        for _, each in [*held, (reader, writer)]:
            each.close()

        assert [True] * LIMIT == [each.startswith(b"HTTP/1.1 200") for each in found]

    async def test_of_a_burst_are_all_answered(
        self, server: HttpServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A new connection for each check, many at once, as several balancers do."""
        monkeypatch.setattr(http, "MAX_CONNECTIONS", 500)
        answers = await asyncio.gather(*(ask(server.port, "/") for _ in range(200)))

        assert {200} == {answer.status for answer in answers}

    @pytest.mark.hostile
    async def test_at_the_same_moment_are_as_few(self, server: HttpServer) -> None:
        """Each that comes has one go that stays: none of them twice."""
        connections = server._server.server_state.connections
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
        answer = await ask(server.port, "/")
        found = len(connections)
        for each in held:
            each.close()

        assert (200, True) == (answer.status, found <= LIMIT)


class TestASlowRequest:
    @pytest.mark.hostile
    async def test_is_not_waited_for_forever(
        self, server: HttpServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither a connection that says nothing nor one that trickles."""
        monkeypatch.setattr(http, "HEAD_TIMEOUT", 0.2)
        silent, silent_writer = await connect(server)
        trickling, writer = await connect(server, b"GET / HTTP/1.1\r\nX-Slow: ")
        hung_up = asyncio.create_task(is_over(trickling))
        async with asyncio.timeout(5):
            while not hung_up.done():
                writer.write(b"x")
                await asyncio.wait({hung_up}, timeout=0.05)
        over = [await hung_up, await is_over(silent)]
        silent_writer.close()
        writer.close()

        assert [True, True] == over

    @pytest.mark.hostile
    async def test_is_not_read_for_ever(self, server: HttpServer) -> None:
        """A head without an end is cut off before it fills the memory."""
        opened = await connect(server, b"GET / HTTP/1.1\r\n")

        assert await is_cut_off(opened, b"X-Long: " + b"x" * 1000 + b"\r\n")

    async def test_is_answered_when_it_comes_in_time(self, server: HttpServer) -> None:
        """In as many pieces as it likes, and the connection may be used again."""
        reader, writer = await connect(server)
        found = []
        async with asyncio.timeout(10):
            for _ in range(2):
                for piece in (b"GET / HT", b"TP/1.1\r\nHos", b"t: x\r\n", b"\r\n"):
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.01)
                found.append(await reader.readuntil(b"well"))
        writer.close()

        assert 2 == len(found)


class TestRequestsAhead:
    async def test_are_answered_in_turn(self, server: HttpServer) -> None:
        """A client that does not wait for answers gets them all."""
        reader, writer = await connect(server, REQUEST * http.MAX_AHEAD)
        async with asyncio.timeout(10):
            found = [await reader.readuntil(b"well") for _ in range(http.MAX_AHEAD)]
        writer.close()

        assert {b"HTTP/1.1 200 OK"} == {each.partition(b"\r\n")[0] for each in found}

    async def test_are_as_many_as_there_are(self, server: HttpServer) -> None:
        """What is bounded is what waits, not what one connection may ask in its life."""
        reader, writer = await connect(server)
        request = REQUEST.removesuffix(b"\r\n") + b"X: " + b"x" * 20_000 + b"\r\n\r\n"
        found = []
        async with asyncio.timeout(10):
            for _ in range(5):
                writer.write(request)
                found.append(await reader.readuntil(b"well"))
        writer.close()

        assert len(found) * len(request) > http.MAX_UNANSWERED

    @pytest.mark.hostile
    async def test_are_few(self, server: HttpServer) -> None:
        """Behind an answer that takes its time each would cost some memory."""
        reader, writer = await listening(server)
        writer.write(REQUEST * (http.MAX_AHEAD + 1))
        over = await is_over(reader)
        writer.close()

        assert over

    @pytest.mark.hostile
    async def test_are_not_read_for_ever(self, server: HttpServer) -> None:
        """A head without an end is no better behind an answer that takes its time."""
        opened = await listening(server, b"GET / HTTP/1.1\r\n")

        assert await is_cut_off(opened, b"X-Long: " + b"x" * 1000 + b"\r\n")

    @pytest.mark.hostile
    async def test_keep_no_stream_open(self, server: HttpServer, stream: Stream) -> None:
        """A stream ends with its connection, whatever was sent behind it."""
        _, writer = await listening(server, REQUEST)
        writer.close()
        await asyncio.wait_for(stream.left.wait(), 5)

        assert stream.left.is_set()


class TestAnAnswerThatIsNotTaken:
    @pytest.mark.hostile
    async def test_is_given_up(self, server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """And its connection with it."""
        monkeypatch.setattr(http, "TAKE_TIMEOUT", 0.2)
        connections = server._server.server_state.connections
        _, writer = await connect(server, b"GET /large HTTP/1.0\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        seen = False
        async with asyncio.timeout(10):
            while connections or not seen:
                seen = seen or bool(connections)
                await asyncio.sleep(0.005)
        writer.transport.abort()

        assert seen

    @pytest.mark.hostile
    async def test_keeps_no_poller_out(self, server: HttpServer) -> None:
        """Clients that ask again and again and read nothing are the first to go."""
        twice = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" * 2
        held = [await connect(server, twice) for _ in range(LIMIT)]
        for _, writer in held:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
        answers = [await ask(server.port, "/") for _ in range(LIMIT)]
        for _, writer in held:
            writer.transport.abort()

        assert [200] * LIMIT == [answer.status for answer in answers]

    async def test_comes_whole_to_one_that_is_slow(self, server: HttpServer) -> None:
        """It is cut for nobody who takes some of it now and then."""
        reader, writer = await connect(server, b"GET /large HTTP/1.0\r\n\r\n")
        taken = b""
        async with asyncio.timeout(20):
            while piece := await reader.read(500_000):
                taken += piece
                await asyncio.sleep(0.01)
        writer.close()

        assert taken.endswith(b"\r\n\r\n" + LARGE)


class TestWhatIsNoRequest:
    @pytest.mark.hostile
    @pytest.mark.parametrize(
        "sent",
        [
            b"\x16\x03\x01\x02\x00",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\n\r\n",
            b"GET http://x HTTP/1.1\r\n\r\n",
            b"CONNECT x:1 HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ],
    )
    async def test_is_refused(self, server: HttpServer, sent: bytes) -> None:
        """With 400, and the end of the connection: nothing behind it is taken for a request."""
        reader, writer = await connect(server, sent)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()

        assert (b"HTTP/1.1 400 ", 1) == (answer[:13], answer.count(b"HTTP/1.1 "))

    @pytest.mark.hostile
    async def test_fills_no_log(self, server: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
        """Anybody can send it, again and again; one line a minute says that somebody does."""
        with caplog.at_level(logging.WARNING, "uvicorn.error"):
            for _ in range(20):
                await ask(server.port, "/", headers={"Connection": "Upgrade", "Upgrade": "x"})
                await ask(server.port, "/\xff")

        assert len(caplog.records) <= 3

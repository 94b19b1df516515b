"""Every request has an id, a trace, a time and a line in the log."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from mainstay import Mainstay
from mainstay.middleware import WebRequest
from tests.integration.sdk_middleware.web_server import Failures, Serve

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


class TestTheRequestId:
    async def test_is_the_clients(self, serve: Serve) -> None:
        """It goes back, into the application and along with its calls."""
        async with serve() as client:
            answer = await client.get("/x", headers={"X-Request-Id": "from-outside"})

        told = answer.json()
        assert ["from-outside"] * 3 == [
            answer.headers["x-request-id"], told["request_id"], told["state_request_id"],
        ]  # fmt: skip

    @pytest.mark.parametrize("sent", ["", "a b", '"', "x" * 129, "é"])
    async def test_is_made_where_it_is_missing_or_unfit(self, serve: Serve, sent: str) -> None:
        """It has to fit into logs and headers."""
        async with serve() as client:
            answer = await client.get("/x", headers={b"x-request-id": sent.encode()})

        assert UUID7.fullmatch(answer.headers["x-request-id"])
        assert answer.headers["x-request-id"] == answer.json()["request_id"]

    async def test_is_with_every_answer(self, serve: Serve) -> None:
        """Of whatever kind."""
        headers = {"x-request-id": "r-1"}
        async with serve() as client:
            for _ in range(3):
                await client.get("/chat")
            answers = [await client.get(path, headers=headers) for path in ("/chat", "/fails")]

        assert [(429, "r-1"), (500, "r-1")] == [
            (answer.status_code, answer.headers["x-request-id"]) for answer in answers
        ]

    async def test_reaches_the_service(
        self, mainstay: Mainstay, serve: Serve, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An error that the service raises for the application has it."""

        async def plan(request: WebRequest) -> str:
            return "no such plan"

        async with serve(plan=plan) as client:
            answer = await client.get("/chat", headers={"x-request-id": "r-2"})

        assert (answer.status_code, answer.json()["request_id"]) == (400, "r-2")


class TestTheContext:
    async def test_has_the_trace_of_the_client(self, serve: Serve) -> None:
        """And nothing that is no trace."""
        sent = {"traceparent": TRACEPARENT, "tracestate": "a=b"}
        async with serve() as client:
            good = (await client.get("/x", headers=sent)).json()
            bad = (await client.get("/x", headers=sent | {"traceparent": "00-x"})).json()

        assert [(TRACEPARENT, "a=b"), (None, None)] == [
            (told["traceparent"], told["tracestate"]) for told in (good, bad)
        ]

    async def test_has_the_tenant_that_the_application_says(
        self, serve: Serve, mainstay: Mainstay
    ) -> None:
        """Whose limits are asked, too."""

        async def tenant(request: WebRequest) -> str | None:
            return request.headers.get("x-tenant")

        async with serve(tenant=tenant) as client:
            tenants = [
                (await client.get("/x", headers=headers)).json()["tenant"]
                for headers in ({"x-tenant": "globex"}, {})
            ]
        left = (await mainstay.ratelimit.peek("address:127.0.0.1", "/x")).remaining

        assert (["globex", None], 99) == (tenants, left)

    async def test_ends_with_the_request(self, serve: Serve) -> None:
        """The next one on the same connection has its own."""
        async with serve() as client:
            first = await client.get("/x", headers={"x-request-id": "r-1"})
            second = await client.get("/x")

        assert first.json()["request_id"] != second.json()["request_id"]


class TestTheTime:
    async def test_is_told_in_server_timing(self, serve: Serve) -> None:
        """In milliseconds: all of it, and what the rate limits took."""
        async with serve() as client:
            timing = (await client.get("/x")).headers["server-timing"]

        match = re.fullmatch(r"ratelimit;dur=([0-9.]+), total;dur=([0-9.]+)", timing)
        assert match is not None
        assert 0 < float(match[1]) <= float(match[2]) < 5_000


class TestStreams:
    async def test_arrive_as_they_are_sent(
        self, serve: Serve, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nothing is held back, and the request has finished when the stream has."""
        caplog.set_level(logging.INFO, "mainstay.web")
        arrived = asyncio.Event()

        async def parts() -> AsyncIterator[bytes]:
            yield b"first"
            await arrived.wait()
            yield b"second"

        def streaming() -> Starlette:
            async def stream(_: Request) -> StreamingResponse:
                return StreamingResponse(parts())

            return Starlette(routes=[Route("/stream", stream)])

        async with (
            asyncio.timeout(10),
            serve(streaming) as client,
            client.stream("GET", "/stream") as answer,
        ):
            chunks = answer.aiter_bytes()
            first = await anext(chunks)
            before = list(caplog.messages)
            arrived.set()
            rest = b"".join([chunk async for chunk in chunks])

        assert (b"first", b"second") == (first, rest)
        assert [0, 1] == [
            sum("/stream" in it for it in lines) for lines in (before, caplog.messages)
        ]
        assert "x-request-id" in answer.headers
        assert "ratelimit" in answer.headers


class TestTheLog:
    async def test_has_a_line_for_every_request(
        self, serve: Serve, caplog: pytest.LogCaptureFixture
    ) -> None:
        """With what is needed to find it again, and without the query, which may hold secrets."""
        caplog.set_level(logging.INFO, "mainstay.web")
        async with serve() as client:
            await client.get("/x?token=secret", headers={"x-request-id": "r-1"})
        (record,) = (record for record in caplog.records if record.name == "mainstay.web")

        assert re.fullmatch(
            r"request finished: GET /x -> 200 in [0-9.]+ ms request_id=r-1", record.getMessage()
        )
        assert ("GET", "/x", 200, "r-1") == (
            record.http_method, record.http_path, record.http_status, record.request_id,  # type: ignore[attr-defined]
        )  # fmt: skip

    async def test_says_why_a_request_was_refused(
        self, serve: Serve, caplog: pytest.LogCaptureFixture
    ) -> None:
        """By the reason of the error."""
        caplog.set_level(logging.INFO, "mainstay.web")
        async with serve() as client:
            for _ in range(4):
                await client.get("/chat")

        assert "GET /chat -> 429 RATE_LIMITED in " in caplog.messages[-1]

    @pytest.mark.hostile
    async def test_cannot_be_forged(self, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
        """A line break in a path stays in its line."""
        caplog.set_level(logging.INFO, "mainstay.web")
        async with serve() as client:
            await client.get("/x%0Arequest finished: GET /y -> 200")

        (line,) = (line for line in caplog.messages if "request finished" in line)
        assert line.startswith("request finished: GET /x%0Arequest%20finished")

    async def test_has_the_traceback_of_what_was_not_expected(
        self, serve: Serve, caplog: pytest.LogCaptureFixture
    ) -> None:
        """And warns of what failed."""
        caplog.set_level(logging.INFO, "mainstay.web")
        Failures.error = RuntimeError("secret text")
        async with serve() as client:
            await client.get("/fails")
        failed, finished = (it for it in caplog.records if it.name == "mainstay.web")

        assert failed.exc_info is not None
        assert (failed.exc_info[1], finished.levelno) == (Failures.error, logging.WARNING)

    async def test_of_who_left_is_no_alarm(
        self, serve: Serve, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Anybody can break off an upload; nothing of the application has failed."""
        caplog.set_level(logging.INFO, "mainstay.web")
        async with serve() as client:
            url = client.base_url
            reader, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(b"POST /takes HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n")
            writer.write(b"Expect: 100-continue\r\n\r\n")
            async with asyncio.timeout(10):
                await reader.readuntil(b"100 Continue")  # the application waits for the body
                writer.close()
                await writer.wait_closed()
                while not any("/takes" in line for line in caplog.messages):
                    await client.get("/livez")
        first, *more = (it for it in caplog.records if "/takes" in it.getMessage())

        assert first.getMessage().startswith(
            "request finished: POST /takes -> 499 ClientDisconnect"
        )
        assert (logging.INFO, None, []) == (first.levelno, first.exc_info, more)

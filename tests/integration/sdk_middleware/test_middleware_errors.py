"""Errors become answers that say what happened and nothing of how it is inside."""

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from types import ModuleType
from typing import Any

import httpx
import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport
from starlette.exceptions import HTTPException

from cli.ports import free_port
from mainstay import Mainstay
from mainstay.errors import MainstayError, NotFoundError, UnavailableError, error_types
from mainstay.middleware import WebRequest, client_address
from mainstay.middleware.gate import PAUSE, Gate
from tests.integration.sdk_middleware.web_server import (
    Failures,
    Serve,
    ServeLimits,
    fastapi_app,
    serve_with,
)
from tests.unit.sdk.example_errors import example


async def _failing(serve: Serve, error: Exception, **options: Any) -> httpx.Response:
    Failures.error = error
    async with serve(**options) as client:
        return await client.get("/fails", headers={"x-request-id": "r-1"})


async def _reached(mainstay: Mainstay) -> None:
    """Wait until the connection is there: a peek waits a little longer after every failure."""
    async with asyncio.timeout(15):
        while True:
            with suppress(UnavailableError):
                await mainstay.ratelimit.peek("address:unknown", "/chat")
                return


def _gate(mainstay: Mainstay, now: list[float], timeout: float = 5.0) -> Gate:
    return Gate(
        mainstay.ratelimit,
        subject=client_address,
        endpoint=lambda it: it.path,
        plan=None,
        exempt=(),
        on_unavailable="allow",
        timeout=timeout,
        clock=lambda: now[0],
    )


async def _took(gate: Gate, request: WebRequest, *, together: int) -> list[float]:
    """Return how long each of several requests at once had to wait for nothing."""

    async def one() -> float:
        began = time.monotonic()
        assert await gate.decide(request) is None
        return time.monotonic() - began

    return await asyncio.gather(*(one() for _ in range(together)))


@asynccontextmanager
async def _silence() -> AsyncIterator[str]:
    """Listen, accept, and say nothing."""
    enough, silences = asyncio.Event(), list[asyncio.Task[None] | None]()

    async def silence(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silences.append(asyncio.current_task())
        await enough.wait()
        writer.close()
        await writer.wait_closed()

    silent = await asyncio.start_server(silence, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    finally:
        enough.set()
        silent.close()
        await asyncio.gather(*filter(None, silences))


class TestErrorsOfTheTree:
    @pytest.mark.parametrize("kind", error_types(), ids=lambda kind: kind.__name__)
    async def test_have_their_status(self, serve: Serve, kind: type[MainstayError]) -> None:
        """With a sentence for people, a code for programs, and the id to ask for."""
        answer = await _failing(serve, example(kind, "secret text"))

        body = answer.json()
        assert (kind.http_status, "application/problem+json") == (
            answer.status_code, answer.headers["content-type"],
        )  # fmt: skip
        assert body == {
            "type": "about:blank",
            "title": kind.user_message,
            "status": kind.http_status,
            "code": "EXAMPLE_REASON",
            "request_id": "r-1",
            "retry_after": 2,
        }
        assert answer.headers["retry-after"] == "2"

    async def test_say_when_to_come_back_only_if_that_is_known(self, serve: Serve) -> None:
        """Most errors know nothing of it."""
        answer = await _failing(serve, example(NotFoundError, retry_after=None))

        assert "retry-after" not in answer.headers
        assert "retry_after" not in answer.json()

    @pytest.mark.parametrize("odd", [float("inf"), float("nan"), -1.0, 1e300])
    async def test_say_nothing_of_a_wait_that_is_none(self, serve: Serve, odd: float) -> None:
        """An application may have computed it from anything."""
        answer = await _failing(serve, example(NotFoundError, retry_after=odd))

        assert (404, False) == (answer.status_code, "retry-after" in answer.headers)

    async def test_of_an_enforced_limit_tell_that_limit(
        self, serve: Serve, mainstay: Mainstay
    ) -> None:
        """Not the one of the path, of which much is left."""
        await mainstay.ratelimit.enforce("user:ann", "enforced")
        with pytest.raises(MainstayError) as caught:
            await mainstay.ratelimit.enforce("user:ann", "enforced")
        answer = await _failing(serve, caught.value)

        assert answer.status_code == 429
        assert answer.headers["ratelimit-policy"] == '"enforced";q=1;w=3600'
        assert answer.headers.get_list("x-ratelimit-limit") == ["1"]
        assert answer.json()["violated-policies"] == ["enforced"]

    async def test_are_found_in_the_group_of_one_task(self, serve: Serve) -> None:
        """An application that calls several services at once gets its errors in groups."""
        group = ExceptionGroup("tasks", [ExceptionGroup("tasks", [example(NotFoundError)])])
        answer = await _failing(serve, group)

        assert answer.status_code == 404

    async def test_look_alike_in_fastapi(self, serve: Serve) -> None:
        """Whose own errors stay as they are."""
        answer = await _failing(serve, example(NotFoundError), make=fastapi_app)
        own = await _failing(serve, HTTPException(418, "teapot"), make=fastapi_app)

        assert (404, "EXAMPLE_REASON") == (answer.status_code, answer.json()["code"])
        assert (418, {"detail": "teapot"}) == (own.status_code, own.json())


class TestOtherErrors:
    async def test_are_a_500_without_their_text(self, serve: Serve) -> None:
        """Which may hold anything."""
        answer = await _failing(serve, RuntimeError("secret text"))

        assert (500, "INTERNAL") == (answer.status_code, answer.json()["code"])
        assert "secret" not in answer.text

    async def test_break_off_an_answer_that_has_begun(
        self, serve: Serve, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A client must not take half for the whole."""
        caplog.set_level(logging.INFO, "mainstay.web")
        Failures.error = RuntimeError("secret text")
        async with serve() as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get("/breaks-off")

        assert any("-> 200 RuntimeError in" in line for line in caplog.messages)


class TestRateLimitsThatAreAway:
    async def test_let_pass(self, caplog: pytest.LogCaptureFixture) -> None:
        """By default, and say so in the log once a second at most."""
        async with Mainstay(ratelimit="127.0.0.1:1") as mainstay, serve_with(mainstay)() as client:
            statuses = [(await client.get("/chat")).status_code for _ in range(5)]

        assert [200] * 5 == statuses
        warnings = [line for line in caplog.messages if "rate limits cannot be asked" in line]
        assert [True] == ["requests are let pass for 1 s" in line for line in warnings]

    async def test_refuse_where_the_application_wants_that(self) -> None:
        """With a 503 that says when to come back."""
        async with (
            Mainstay(ratelimit="127.0.0.1:1") as mainstay,
            serve_with(mainstay)(on_unavailable="deny") as client,
        ):
            answers = [await client.get("/chat") for _ in range(2)]

        assert [(503, "RATE_LIMITS_UNAVAILABLE", "1")] * 2 == [
            (answer.status_code, answer.json()["code"], answer.headers["retry-after"])
            for answer in answers
        ]

    async def test_hold_nobody_up(self) -> None:
        """Those that are there and silent cost one request the timeout, and the next nothing."""
        async with (
            _silence() as address,
            Mainstay(ratelimit=address, timeout=30) as mainstay,
            serve_with(mainstay)(limit_timeout=0.3) as client,
        ):
            began = time.monotonic()
            first = await client.get("/chat")
            middle = time.monotonic()
            second = await client.get("/chat")
            end = time.monotonic()

        assert [200, 200] == [first.status_code, second.status_code]
        assert 0.3 <= middle - began < 5
        assert end - middle < 0.25

    async def test_cost_one_request_of_many_the_wait(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """After a pause one finds out whether they are back; the others need not wait for it."""
        now = [0.0]
        request = WebRequest({"method": "GET", "path": "/chat", "headers": []})
        async with _silence() as address, Mainstay(ratelimit=address, timeout=30) as mainstay:
            gate = _gate(mainstay, now, timeout=0.3)
            on_their_way = await _took(gate, request, together=8)
            now[0] += PAUSE
            after_the_pause = await _took(gate, request, together=8)

        assert [True] * 8 == [took >= 0.3 for took in on_their_way]
        assert [False] * 7 + [True] == [took >= 0.3 for took in sorted(after_the_pause)]
        assert 2 == sum("rate limits cannot be asked" in line for line in caplog.messages)

    async def test_are_asked_again_after_a_pause(self, serve_limits: ServeLimits) -> None:
        """And not before."""
        now, port = [0.0], free_port()
        request = WebRequest({"method": "GET", "path": "/chat", "headers": []})
        async with Mainstay(ratelimit=f"127.0.0.1:{port}") as mainstay:
            gate = _gate(mainstay, now)
            assert await gate.decide(request) is None
            async with serve_limits(port):
                await _reached(mainstay)
                too_early = await gate.decide(request)
                now[0] += PAUSE
                decision = await gate.decide(request)
                others = await asyncio.gather(*(gate.decide(request) for _ in range(4)))

        assert too_early is None
        assert decision is not None
        assert decision.remaining == 2
        assert [False, False, True, True] == sorted(it is not None and it.allowed for it in others)
        assert None not in others


class TestSentry:
    @pytest.fixture
    def reports(self) -> Iterator[list[dict[str, Any]]]:
        """Initialize Sentry as applications do, and keep what would be sent."""
        kept: list[dict[str, Any]] = []

        class Keeping(Transport):
            def capture_envelope(self, envelope: Envelope) -> None:
                if (event := envelope.get_event()) is not None:
                    kept.append(dict(event))

        sentry_sdk.init(
            dsn="https://key@sentry.invalid/1",
            transport=Keeping,
            default_integrations=False,
            auto_enabling_integrations=False,
        )
        yield kept
        sentry_sdk.get_client().close()
        sentry_sdk.get_global_scope().set_client(None)

    async def test_hears_of_what_was_not_expected(
        self, serve: Serve, reports: list[dict[str, Any]]
    ) -> None:
        """With the request id as a tag."""
        await _failing(serve, RuntimeError("boom"))
        (event,) = reports

        assert event["exception"]["values"][0]["type"] == "RuntimeError"
        assert event["tags"] == {"request_id": "r-1"}

    async def test_hears_nothing_of_what_was(
        self, serve: Serve, reports: list[dict[str, Any]]
    ) -> None:
        """Errors with a name are part of the plan, as refusals are."""
        await _failing(serve, example(NotFoundError))
        async with serve() as client:
            for _ in range(4):
                await client.get("/chat")

        assert [] == reports

    @pytest.mark.parametrize("module", [None, ModuleType("sentry_sdk")], ids=["none", "old"])
    async def test_is_not_needed(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch, module: ModuleType | None
    ) -> None:
        """Nothing is missing where it is not installed, or is older than version 2."""
        monkeypatch.setitem(sys.modules, "sentry_sdk", module)
        answer = await _failing(serve, RuntimeError("boom"))

        assert (500, "INTERNAL") == (answer.status_code, answer.json()["code"])


class TestFunctionsOfTheApplication:
    async def test_that_fail_are_errors_like_others(self, serve: Serve) -> None:
        """The boundary stands around them, too."""

        def subject(request: WebRequest) -> str:
            raise example(NotFoundError)

        async with serve(subject=subject) as client:
            answer = await client.get("/chat", headers={"x-request-id": "r-1"})

        assert (404, "r-1") == (answer.status_code, answer.headers["x-request-id"])

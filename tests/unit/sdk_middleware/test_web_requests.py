"""What the middleware makes of a request before anybody is asked."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay import Mainstay
from mainstay.context import RequestContext, current
from mainstay.middleware import MainstayMiddleware, WebRequest, client_address
from mainstay.ratelimit.naming import endpoint_of, subject_of
from services.ratelimit.act import mistake_in


def _from(address: str | None) -> WebRequest:
    client = None if address is None else (address, 1234)
    return WebRequest({"method": "GET", "path": "/", "headers": [], "client": client})


class TestTheClientsAddress:
    @pytest.mark.parametrize(
        ("address", "subject"),
        [
            ("192.0.2.1", "address:192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "address:2001:db8:1:2::/64"),
            ("2001:db8:1:2::", "address:2001:db8:1:2::/64"),
            ("fe80::1%eth0", "address:fe80::/64"),
            ("::ffff:192.0.2.1", "address:192.0.2.1"),
            ("testclient", "address:testclient"),
            (None, "address:unknown"),
        ],
    )
    def test_is_one_subject_for_one_customer(self, address: str | None, subject: str) -> None:
        """Who has a /64 could else take another address for every request."""
        assert subject == client_address(_from(address))


class TestNames:
    @given(st.text(max_size=400))
    def test_are_fit_whatever_a_client_sends(self, text: str) -> None:
        """The service would refuse anything else, and the client would be past the limit."""
        assert (mistake_in(subject_of(text)), mistake_in(endpoint_of(text))) == (None, None)

    @given(st.text(max_size=400), st.text(max_size=400))
    def test_keep_subjects_apart(self, one: str, other: str) -> None:
        """No two have one name."""
        assert (one == other) == (subject_of(one) == subject_of(other))

    def test_cannot_be_taken_by_naming_their_digest(self) -> None:
        """Else whoever may choose his name could use up the limit of one whose name is unfit."""
        assert subject_of("a" * 300) != subject_of(subject_of("a" * 300))

    @pytest.mark.parametrize("text", ["user:42", "ü", "a" * 256, "with a blank"])
    def test_stay_as_they_are_where_they_are_fit(self, text: str) -> None:
        """Others have to find the same counter."""
        assert (text, text) == (subject_of(text), endpoint_of(text))

    def test_may_hold_halves_of_characters(self) -> None:
        """Which servers leave where bytes are no UTF-8."""
        assert "/?" == endpoint_of("/\udcff")
        assert subject_of("\udcff").startswith("sha256:")


class TestWebSockets:
    async def test_have_an_id_and_are_not_limited(self) -> None:
        """They pass, with the context that their calls need."""
        seen: list[tuple[RequestContext | None, Any]] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append((current(), scope["state"]["request_id"]))

        async def tenant(request: WebRequest) -> str:
            return f"tenant-of-{request.method}"

        async with Mainstay(ratelimit="127.0.0.1:1") as mainstay:
            middleware = MainstayMiddleware(
                app, mainstay=mainstay, tenant=tenant, on_unavailable="deny"
            )
            headers = [(b"x-request-id", b"r-1")]
            scope = {"type": "websocket", "path": "/ws", "headers": headers}
            await middleware(scope, _never, _never)

        expected = RequestContext(request_id="r-1", tenant="tenant-of-WEBSOCKET")
        assert [(expected, "r-1")] == seen

    async def test_leave_other_events_alone(self) -> None:
        """Such as the application's start and end."""
        seen = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append(scope)

        async with Mainstay(ratelimit="127.0.0.1:1") as mainstay:
            await MainstayMiddleware(app, mainstay=mainstay)({"type": "lifespan"}, _never, _never)

        assert [{"type": "lifespan"}] == seen


class TestCancellation:
    async def test_goes_on(self, caplog: pytest.LogCaptureFixture) -> None:
        """A server that ends a request ends it; there is a line all the same."""
        caplog.set_level("INFO", "mainstay.web")
        begun = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            begun.set()
            await asyncio.Event().wait()

        async with Mainstay(ratelimit="127.0.0.1:1") as mainstay:
            middleware = MainstayMiddleware(app, mainstay=mainstay, limit=False)
            scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
            task = asyncio.create_task(middleware(scope, _never, _never))
            await asyncio.wait_for(begun.wait(), 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        assert "GET / -> 499 in " in caplog.messages[-1]


async def _never(*_: object) -> Any:
    raise AssertionError("nothing is read or sent")

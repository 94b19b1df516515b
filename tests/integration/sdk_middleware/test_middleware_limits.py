"""Requests are limited by the real service, and every answer says how."""

import math

import pytest

from mainstay import Mainstay
from mainstay.middleware import WebRequest
from tests.integration.sdk_middleware.web_server import Serve, fastapi_app, starlette_app

DIALECTS = {
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "ratelimit-policy",
    "ratelimit",
}


def _user(request: WebRequest) -> str | None:
    return request.headers.get("x-user")


class TestALimit:
    @pytest.mark.parametrize("make", [starlette_app, fastapi_app])
    async def test_passes_until_it_is_used_up(self, serve: Serve, make: object) -> None:
        """In one line, with either framework."""
        async with serve(make) as client:
            statuses = [(await client.get("/chat")).status_code for _ in range(5)]

        assert [200, 200, 200, 429, 429] == statuses

    async def test_is_told_with_every_answer(self, serve: Serve) -> None:
        """In the service's own words, in both dialects."""
        async with serve() as client:
            answer = await client.get("/chat")

        told = answer.json()["headers"]
        assert set(told) == DIALECTS
        assert told == {name: answer.headers[name] for name in DIALECTS}
        assert (answer.headers["x-ratelimit-limit"], answer.headers["x-ratelimit-remaining"]) == (
            "3", "2",
        )  # fmt: skip
        assert answer.headers["ratelimit-policy"] == '"chat";q=3;w=3600'

    async def test_is_told_with_the_refusal(self, serve: Serve, mainstay: Mainstay) -> None:
        """As the service tells it to others who ask, and as problem JSON."""
        async with serve() as client:
            for _ in range(3):
                await client.get("/chat")
            refused = await client.get("/chat", headers={"x-request-id": "r-1"})
        decision = await mainstay.ratelimit.peek("address:127.0.0.1", "/chat")

        assert {*DIALECTS, "retry-after"} == set(decision.headers)
        same = DIALECTS - {"x-ratelimit-reset", "ratelimit"}  # which count the seconds down
        assert {name: decision.headers[name] for name in same} == {
            name: refused.headers[name] for name in same
        }
        wait = int(refused.headers["retry-after"])
        assert decision.retry_after is not None
        assert wait - math.ceil(decision.retry_after) in {0, 1}
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json() == {
            "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
            "title": "Too many requests. Please wait a moment.",
            "status": 429,
            "code": "RATE_LIMITED",
            "request_id": "r-1",
            "retry_after": wait,
            "violated-policies": ["chat"],
        }

    async def test_is_found_by_the_path(self, serve: Serve) -> None:
        """Without its query; one that is used up leaves the others alone."""
        async with serve() as client:
            for _ in range(4):
                await client.get("/chat?again")
            other = await client.get("/other")

        assert (other.status_code, other.json()["rule"]) == (200, "rest")

    async def test_that_is_none_has_no_headers(self, serve: Serve) -> None:
        """An unlimited rule lets pass and has nothing to tell."""
        async with serve() as client:
            answer = await client.get("/unlimited")

        assert answer.json()["rule"] == "unlimited"
        assert not DIALECTS & set(answer.headers)

    @pytest.mark.hostile
    @pytest.mark.parametrize("path", ["/chat/" + "a" * 3_000, "/chat%00%09%7F", "/%FF%FE"])
    async def test_holds_for_paths_of_all_kinds(self, serve: Serve, path: str) -> None:
        """The service would refuse them as names."""
        async with serve() as client:
            answer = await client.get(path)

        assert (answer.status_code, answer.json()["rule"]) == (200, "rest")

    async def test_says_what_the_application_said_itself_no_better(self, serve: Serve) -> None:
        """Its own headers stand."""

        def with_header() -> object:
            app = fastapi_app()

            @app.middleware("http")
            async def add(request: object, call_next: object) -> object:
                response = await call_next(request)  # type: ignore[operator]
                response.headers["x-ratelimit-limit"] = "own"
                return response

            return app

        async with serve(with_header) as client:
            answer = await client.get("/chat")

        assert answer.headers.get_list("x-ratelimit-limit") == ["own"]
        assert answer.headers["x-ratelimit-remaining"] == "2"


class TestTheSubject:
    async def test_is_who_the_application_says(self, serve: Serve) -> None:
        """One who has used the limit up takes nothing from others."""
        async with serve(subject=_user) as client:
            statuses = [
                (await client.get("/chat", headers={"x-user": user})).status_code
                for user in ("ann", "ann", "ann", "ann", "bob")
            ]

        assert [200, 200, 200, 429, 200] == statuses

    async def test_may_be_looked_up(self, serve: Serve, mainstay: Mainstay) -> None:
        """By a coroutine function; so may the endpoint and the plan."""

        async def subject(request: WebRequest) -> str:
            return f"user:{request.headers['x-user']}"

        async def endpoint(request: WebRequest) -> str:
            return "/chat"

        async def plan(request: WebRequest) -> str:
            return "pro"

        async with serve(subject=subject, endpoint=endpoint, plan=plan) as client:
            answer = await client.get("/elsewhere", headers={"x-user": "ann"})
        decision = await mainstay.ratelimit.peek("user:ann", "/chat", plan="pro")

        assert ("6", "5") == (
            answer.headers["x-ratelimit-limit"], answer.headers["x-ratelimit-remaining"],
        )  # fmt: skip
        assert decision.remaining == 5

    async def test_nobody_is_not_limited(self, serve: Serve) -> None:
        """Nothing is asked, nothing is told."""
        async with serve(subject=_user) as client:
            answers = [await client.get("/chat") for _ in range(4)]

        assert [200] * 4 == [answer.status_code for answer in answers]
        assert not DIALECTS & set(answers[-1].headers)

    @pytest.mark.hostile
    async def test_of_any_length_is_limited(self, serve: Serve) -> None:
        """Different ones stay apart."""
        async with serve(subject=_user) as client:
            statuses = [
                (await client.get("/chat", headers={"x-user": "a" * 1_000 + end})).status_code
                for end in "xxxxy"
            ]

        assert [200, 200, 200, 429, 200] == statuses


class TestExemptions:
    @pytest.mark.parametrize("path", ["/livez", "/metrics", "/static/a.css", "/static/"])
    async def test_are_paths_and_patterns(self, serve: Serve, path: str) -> None:
        """Probes are exempt unless the application says otherwise."""
        options = {"exempt": ["/static/*"]} if "static" in path else {}
        async with serve(**options) as client:
            answer = await client.get(path)

        assert answer.status_code == 200
        assert not DIALECTS & set(answer.headers)

    async def test_are_nothing_else(self, serve: Serve) -> None:
        """A path that begins like one is not one."""
        async with serve() as client:
            answer = await client.get("/livez/2")

        assert set(answer.headers) >= DIALECTS

    async def test_are_the_questions_of_browsers(self, serve: Serve) -> None:
        """Who asks before a request across origins; a plain OPTIONS is a request like others."""
        asks = {"access-control-request-method": "GET"}
        async with serve() as client:
            preflight = await client.request("OPTIONS", "/chat", headers=asks)
            plain = await client.request("OPTIONS", "/chat")

        assert [False, True] == ["ratelimit" in answer.headers for answer in (preflight, plain)]

    async def test_can_be_everything(self, serve: Serve) -> None:
        """An application that limits elsewhere."""
        async with serve(limit=False) as client:
            answers = [await client.get("/chat") for _ in range(4)]

        assert [200] * 4 == [answer.status_code for answer in answers]

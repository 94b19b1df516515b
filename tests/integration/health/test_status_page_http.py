"""The status page over HTTP: headers, methods, and streams that are bounded."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.integration.health.status_stand import DETAILS, StatusStand, status_stand
from tests.unit.health.status_samples import LOST

WAIT = 10.0


@pytest.fixture
async def stand() -> AsyncIterator[StatusStand]:
    """Provide a page whose heartbeat is hours away."""
    async with status_stand() as running:
        yield running


@pytest.fixture
async def client(stand: StatusStand) -> AsyncIterator[httpx.AsyncClient]:
    """Provide a client that compresses nothing unless it is told to."""
    headers = {"Accept-Encoding": "identity"}
    async with httpx.AsyncClient(base_url=stand.url, headers=headers) as opened:
        yield opened


@dataclass(slots=True)
class Stream:
    """A reader of server-sent events."""

    lines: AsyncIterator[str]
    retry: str = ""
    ids: list[str] = field(default_factory=list)

    async def event(self) -> dict[str, Any] | None:
        """Return the data of the next event, or None when the stream has ended."""
        async with asyncio.timeout(WAIT):
            async for line in self.lines:
                name, _, value = line.partition(": ")
                if name == "retry":
                    self.retry = value
                elif name == "id":
                    self.ids.append(value)
                elif name == "data":
                    found: dict[str, Any] = json.loads(value)
                    return found
        return None


@asynccontextmanager
async def reading(client: httpx.AsyncClient, path: str = "/events", **headers: str) -> Any:
    async with client.stream("GET", path, headers=headers, timeout=WAIT) as response:
        assert 200 == response.status_code
        yield Stream(response.aiter_lines())


class TestPage:
    async def test_strict_headers(self, client: httpx.AsyncClient) -> None:
        """Nothing may be loaded, framed, guessed, kept or told to others."""
        headers = (await client.get("/")).headers
        policy = headers["content-security-policy"].split("; ")

        assert "text/html; charset=utf-8" == headers["content-type"]
        assert ("nosniff", "no-referrer", "no-store") == (
            headers["x-content-type-options"],
            headers["referrer-policy"],
            headers["cache-control"],
        )
        assert {"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} < set(policy)
        assert "unsafe" not in headers["content-security-policy"]

    async def test_head_says_what_get_would_send(self, client: httpx.AsyncClient) -> None:
        """The same headers and no body."""
        head, get = await client.head("/"), await client.get("/")

        assert (200, b"", get.headers["content-length"]) == (
            head.status_code,
            head.content,
            head.headers["content-length"],
        )

    async def test_it_is_zipped_for_who_can_read_that(
        self, client: httpx.AsyncClient, stand: StatusStand
    ) -> None:
        """The same page in an eighth of the bytes."""
        async with client.stream("GET", "/", headers={"Accept-Encoding": "gzip"}) as response:
            raw = b"".join([part async for part in response.aiter_raw()])

        assert "gzip" == response.headers["content-encoding"]
        assert gzip.decompress(raw).startswith(b"<!doctype html>")

    async def test_details_are_for_who_may_see_them(self, client: httpx.AsyncClient) -> None:
        """The public sees no address of a replica."""
        public, private = await client.get("/"), await client.get("/", headers=DETAILS)

        assert ("192.0.2." in public.text, "192.0.2." in private.text) == (False, True)


class TestEvents:
    async def test_a_change_is_told_in_fragments(
        self, client: httpx.AsyncClient, stand: StatusStand
    ) -> None:
        """Whoever has the page is sent what the failure has changed, and under which revision."""
        async with reading(client) as stream:
            await stream.event()
            await stand.fail("database", LOST)
            event = await stream.event()

        assert event is not None
        assert "Degraded · Mainstay status" == event["title"]
        assert "degraded because of database" in event["fragments"]["overall"]
        assert "past-suite" not in event["fragments"]
        assert ("3000", 2) == (stream.retry, len(set(stream.ids)))

    async def test_who_comes_back_is_told_what_it_missed(
        self, client: httpx.AsyncClient, stand: StatusStand
    ) -> None:
        """The browser sends the id of the last event that it has."""
        async with reading(client) as stream:
            await stream.event()
        await stand.fail("database", LOST)
        async with reading(client, **{"last-event-id": stream.ids[-1]}) as again:
            event = await again.event()

        assert event is not None
        assert "overall" in event["fragments"]
        assert "past-suite" not in event["fragments"]

    async def test_the_public_stream_has_no_details(
        self, client: httpx.AsyncClient, stand: StatusStand
    ) -> None:
        """As the page: neither addresses nor request ids."""
        async with reading(client) as stream:
            public = await stream.event()
        async with reading(client, **DETAILS) as stream:
            private = await stream.event()

        assert ("192.0.2." in str(public), "192.0.2." in str(private)) == (False, True)

    async def test_details_end_with_the_right_to_them(
        self, client: httpx.AsyncClient, stand: StatusStand
    ) -> None:
        """A stream must not outlive a key that was revoked; others go on."""
        async with reading(client) as public, reading(client, **DETAILS) as private:
            await public.event()
            await private.event()
            stand.shows_details = False

            assert await private.event() is None
            await stand.fail("database", LOST)
            assert await public.event() is not None

    async def test_a_heartbeat_when_nothing_changes(self) -> None:
        """The page has to know that the silence is no broken line."""
        async with (
            status_stand(heartbeat=0.05) as stand,
            httpx.AsyncClient(base_url=stand.url) as client,
            reading(client) as stream,
        ):
            await stream.event()
            event = await stream.event()

        assert event is not None
        assert {} == event["fragments"]

    async def test_streams_are_bounded(self) -> None:
        """One more is refused and told when to come back; load balancers need connections too."""
        async with (
            status_stand(limit=1) as stand,
            httpx.AsyncClient(base_url=stand.url) as client,
            reading(client) as stream,
        ):
            await stream.event()
            refused = await client.get("/events")

        assert (503, "30") == (refused.status_code, refused.headers["retry-after"])

    async def test_who_leaves_makes_room(
        self, client: httpx.AsyncClient, stand: StatusStand
    ) -> None:
        """Also when nothing is sent that could fail."""
        async with reading(client) as stream:
            await stream.event()
            await stand.streams.until_open(1)
        await stand.streams.until_open(0)

        assert 0 == stand.streams.count

    async def test_a_drain_ends_every_stream(
        self, client: httpx.AsyncClient, stand: StatusStand
    ) -> None:
        """None holds up the shutdown; the browser comes back to another instance."""
        async with reading(client) as stream:
            await stream.event()
            await stand.changes.drain()

            assert await stream.event() is None

    async def test_head_opens_no_stream(
        self, client: httpx.AsyncClient, stand: StatusStand
    ) -> None:
        """It is answered and over."""
        answer = await client.head("/events")

        assert (200, 0) == (answer.status_code, stand.streams.count)

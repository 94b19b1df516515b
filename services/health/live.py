"""Tells open status pages of changes: server-sent events, a bounded number of streams.

A stream sends at once what the page lacks, then whenever a state changes, and every `HEARTBEAT`
seconds whatever else has changed (latencies, the time of the newest knowledge). Nothing queues up
for a slow reader: it is sent the latest when it has read the last.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from mainstay.errors import UnavailableError
from services.health.changes import Changes
from services.health.rollup import Report

HEARTBEAT = 15.0
MAX_STREAMS = 200
SEND_TIMEOUT = 30.0
"""Seconds after which a reader that takes nothing is given up, so that others get its place."""
RETRY_SECONDS = 3
RECHECK_INTERVAL = 2.0
"""Seconds between two looks whether a reader of details may still see them."""

News = Callable[[str], tuple[str, bytes]]
"""Returns the id of the current revision, and what is new since another one."""
MayStay = Callable[[], Awaitable[bool]]
"""Tells whether a reader may still see what a stream shows; the stream ends when not."""


class Streams:
    """Counts the open streams: each holds a connection, and load balancers need some too."""

    def __init__(
        self, changes: Changes, *, limit: int = MAX_STREAMS, heartbeat: float = HEARTBEAT
    ) -> None:
        self._changes = changes
        self._limit = limit
        self._heartbeat = heartbeat
        self.count = 0

    def respond(
        self,
        request: Request,
        news: News,
        headers: dict[str, str],
        *,
        may_stay: MayStay | None = None,
    ) -> Response:
        """Return the stream for a reader, or 503 when there are too many."""
        if self.count >= self._limit:
            return Response(
                f"{self._limit} pages are live already; reload this one instead.\n",
                status_code=503,
                headers={**headers, "Retry-After": "30"},
                media_type="text/plain",
            )
        since = request.headers.get("last-event-id", request.query_params.get("since", ""))
        return _EventStream(self, self._changes, news, since, self._heartbeat, headers, may_stay)


class _EventStream(Response):
    """A response that ends when the reader leaves or the service drains."""

    media_type = "text/event-stream"

    def __init__(
        self,
        streams: Streams,
        changes: Changes,
        news: News,
        since: str,
        heartbeat: float,
        headers: dict[str, str],
        may_stay: MayStay | None,
    ) -> None:
        super().__init__(headers={**headers, "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._streams = streams
        self._changes = changes
        self._news = news
        self._since = since
        self._heartbeat = heartbeat
        self._may_stay = may_stay

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await send(start)
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        self._streams.count += 1
        telling = asyncio.create_task(self._tell(send), name="status stream")
        leaving = asyncio.create_task(_until_gone(receive), name="status stream reader")
        refused = asyncio.create_task(self._until_refused(), name="status stream rights")
        tasks = (telling, leaving, refused)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._streams.count -= 1
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(TimeoutError):
            if not telling.cancelled():
                telling.result()
            elif not refused.cancelled():
                await self._send(send, b"", more=False)

    async def _until_refused(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_INTERVAL)
            if self._may_stay is not None and not await self._may_stay():
                return

    async def _tell(self, send: Send) -> None:
        await self._send(send, f"retry: {RETRY_SECONDS * 1000}\n\n".encode())
        # Whoever finds no place among the watchers comes back by itself.
        with suppress(UnavailableError):
            async with aclosing(self._changes.watch()) as reports:
                await self._follow(reports, send)
        await self._send(send, b"", more=False)

    async def _follow(self, reports: AsyncGenerator[Report, None], send: Send) -> None:
        upcoming = asyncio.ensure_future(anext(reports, None))
        try:
            while True:
                done, _ = await asyncio.wait({upcoming}, timeout=self._heartbeat)
                if done and upcoming.result() is None:
                    return
                await self._send_news(send)
                if done:
                    upcoming = asyncio.ensure_future(anext(reports, None))
        finally:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)

    async def _send_news(self, send: Send) -> None:
        self._since, news = self._news(self._since)
        await self._send(send, b"id: %b\nevent: page\ndata: %b\n\n" % (self._since.encode(), news))

    @staticmethod
    async def _send(send: Send, body: bytes, *, more: bool = True) -> None:
        async with asyncio.timeout(SEND_TIMEOUT):
            await send({"type": "http.response.body", "body": body, "more_body": more})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

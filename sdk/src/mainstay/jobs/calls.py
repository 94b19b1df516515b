"""What all calls to the jobs service have in common: the connection, and lists page by page."""

import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TypeVar

from mainstay.channel import Channel
from mainstay.jobs.v1 import job_service_pb2_grpc as pb_grpc

PAGE_SIZE = 200

T = TypeVar("T")


class Calls:
    """The connection that the methods of the client share."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stub = pb_grpc.JobServiceStub(channel.raw)
        self._jitter = random.Random()  # noqa: S311 - spreads reconnects, guards nothing


async def all_pages(
    fetch: Callable[[str], Awaitable[tuple[Sequence[T], str]]],
) -> AsyncGenerator[T, None]:
    """Yield what is on the pages of a list; `fetch` returns a page and the token of the next."""
    token = ""
    while True:
        page, token = await fetch(token)
        for item in page:
            yield item
        if not token:
            return

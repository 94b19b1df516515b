"""A client may be made while a module is imported, where no event loop runs yet."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
import uvloop

from mainstay import Mainstay
from mainstay.channel import Channel
from mainstay.errors import UnavailableError
from mainstay.jobs.v1 import job_service_pb2_grpc
from mainstay.jobs.v1.job_service_pb2 import WatchJobRequest

NOWHERE = "127.0.0.1:1"


def _run(make_loop: Callable[[], asyncio.AbstractEventLoop], work: Any) -> Any:
    loop = make_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
class TestAClientMadeOutsideOfALoop:
    def test_works_in_the_loop_that_runs_later(
        self, make_loop: Callable[[], asyncio.AbstractEventLoop]
    ) -> None:
        """Calls and streams get as far as the network."""
        mainstay, channel = Mainstay(cache=NOWHERE, ratelimit=NOWHERE), Channel(NOWHERE)
        jobs = job_service_pb2_grpc.JobServiceStub(channel.raw)

        async def watch() -> None:
            async for _ in channel.server_stream(jobs.WatchJob, WatchJobRequest(job_id="1")):
                pass

        async def ask() -> list[type]:
            calls = (
                mainstay.ratelimit.peek("user:42", "/chat"),
                mainstay.cache.get("video", "42"),
                watch(),
            )
            answers = await asyncio.gather(*calls, return_exceptions=True)
            await asyncio.gather(mainstay.close(), channel.close())
            return [type(answer) for answer in answers]

        assert [UnavailableError] * 3 == _run(make_loop, ask())

    def test_can_be_closed_without_a_call(
        self, make_loop: Callable[[], asyncio.AbstractEventLoop]
    ) -> None:
        """And is closed then."""
        mainstay = Mainstay(ratelimit=NOWHERE)

        async def close_and_ask() -> None:
            await mainstay.close()
            await mainstay.ratelimit.check("user:42", "/chat")

        with pytest.raises(grpc.aio.UsageError, match="closed"):
            _run(make_loop, close_and_ask())

"""A client may be made while a module is imported, where no event loop runs yet."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from mainstay import Mainstay
from mainstay.channel import Channel
from mainstay.errors import UnavailableError
from mainstay.jobs.v1 import job_service_pb2_grpc
from mainstay.jobs.v1.job_service_pb2 import WatchJobRequest

NOWHERE = "127.0.0.1:1"

Closable = tuple[Mainstay, Channel, Any]
Answers = list[Any]


def _run(make_loop: Callable[[], asyncio.AbstractEventLoop], work: Any) -> Any:
    loop = make_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


def _closable() -> Closable:
    channel = Channel(NOWHERE)
    jobs = job_service_pb2_grpc.JobServiceStub(channel.raw)
    return Mainstay(cache=NOWHERE, ratelimit=NOWHERE), channel, jobs


async def _asked_after_its_end(made: Closable) -> Answers:
    mainstay, channel, jobs = made
    await asyncio.gather(mainstay.close(), channel.close())

    async def watch(stub: Any) -> None:
        async for _ in channel.server_stream(stub.WatchJob, WatchJobRequest(job_id="1")):
            pass

    calls: list[Awaitable[Any]] = [
        mainstay.ratelimit.check("user:42", "/chat"),
        mainstay.cache.get("video", "42"),
        watch(jobs),
        watch(job_service_pb2_grpc.JobServiceStub(channel.raw)),
    ]
    return await asyncio.gather(*calls, return_exceptions=True)


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
        """And is closed then: calls and streams say so with what to do, wherever it was made."""
        outside = _closable()

        async def close_and_ask() -> Answers:
            return [*await _asked_after_its_end(outside), *await _asked_after_its_end(_closable())]

        answers = _run(make_loop, close_and_ask())

        assert [UnavailableError] * 8 == [type(answer) for answer in answers]
        assert all("was closed before the call; make another" in str(each) for each in answers)
        assert all(each.request_id for each in answers)

    def test_goes_on_in_the_next_loop(
        self, make_loop: Callable[[], asyncio.AbstractEventLoop]
    ) -> None:
        """Test clients of web frameworks run each request in a loop of its own."""
        mainstay = Mainstay(cache=NOWHERE, ratelimit=NOWHERE)

        async def ask() -> list[type]:
            calls = (mainstay.ratelimit.peek("user:42", "/chat"), mainstay.cache.get("video", "42"))
            return [type(answer) for answer in await asyncio.gather(*calls, return_exceptions=True)]

        answers = [_run(make_loop, ask()) for _ in range(3)]
        _run(make_loop, mainstay.close())

        assert [[UnavailableError] * 2] * 3 == answers

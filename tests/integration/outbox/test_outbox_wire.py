"""What a relay says on the wire, and what it makes of answers that are rare."""

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import grpc
import pytest

from mainstay.jobs.v1 import job_service_pb2 as pb
from mainstay.jobs.v1 import job_service_pb2_grpc as pb_grpc
from mainstay.outbox import Outbox
from tests.integration.outbox.relays import relay_once

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
Context = grpc.aio.ServicerContext[Any, Any]


class Hearing(pb_grpc.JobServiceServicer):
    """Accepts everything but events of a full queue, and keeps what it heard."""

    def __init__(self) -> None:
        self.address = ""
        self.calls: list[tuple[Any, dict[str, Any]]] = []

    async def SendEvents(
        self, request: pb.SendEventsRequest, context: Context
    ) -> pb.SendEventsResponse:
        """Accept events."""
        self._hear(request, context)
        if any(event.name == "full" for event in request.events):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")
        return pb.SendEventsResponse()

    async def Enqueue(self, request: pb.EnqueueRequest, context: Context) -> pb.EnqueueResponse:
        """Accept a job."""
        self._hear(request, context)
        return pb.EnqueueResponse()

    def _hear(self, request: Any, context: Context) -> None:
        self.calls.append((request, dict(context.invocation_metadata() or ())))


@pytest.fixture
async def hearing() -> AsyncIterator[Hearing]:
    """Serve on a free port."""
    service = Hearing()  # type: ignore[abstract]  # nobody calls the others
    server = grpc.aio.server()
    pb_grpc.add_JobServiceServicer_to_server(service, server)
    service.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield service
    await server.stop(None)


class TestEvent:
    async def test_is_said_as_it_was_written(
        self, own: asyncpg.Connection, outbox: Outbox, hearing: Hearing
    ) -> None:
        """With every digit, also of numbers that no float holds, and with its time and rank."""
        await own.execute(
            "SELECT mainstay_outbox.send_event('a', $1, 'key-1', 3, -7, '90 seconds')",
            '{"amount": 12345678901234567890.12345678901234567890}',
        )
        await relay_once(outbox, hearing.address)

        ((request, _headers),) = hearing.calls
        (event,) = request.events
        assert '{"amount": 12345678901234567890.12345678901234567890}' == event.json
        assert ("a", 3, "key-1") == (event.name, event.version, event.idempotency_key)
        assert (-7, 90) == (event.priority, event.delay.seconds)

    async def test_without_more_has_a_key_of_its_own(
        self, own: asyncpg.Connection, outbox: Outbox, hearing: Hearing
    ) -> None:
        """Nothing that was not given is said; two rows are two events."""
        for _ in range(2):
            await own.execute("SELECT mainstay_outbox.send_event('a', '{}')")
        await relay_once(outbox, hearing.address)

        ((request, headers),) = hearing.calls
        first, second = request.events
        assert not first.HasField("priority")
        assert not first.HasField("delay")
        assert first.idempotency_key.startswith("outbox/")
        assert first.idempotency_key != second.idempotency_key
        assert "acme" == headers["x-mainstay-tenant"]

    async def test_travels_in_the_name_of_its_request(
        self, own: asyncpg.Connection, outbox: Outbox, hearing: Hearing
    ) -> None:
        """Those of one request share a call, those of another have theirs."""
        for request_id in ("req-1", "req-2", "req-1"):
            await own.execute(
                "SELECT mainstay_outbox.send_event('a', '{}', tenant => 'other', "
                "request_id => $1, traceparent => $2)",
                request_id,
                TRACEPARENT,
            )
        await relay_once(outbox, hearing.address)

        said = {
            headers["x-request-id"]: (len(request.events), headers["x-mainstay-tenant"])
            for request, headers in hearing.calls
        }
        traces = {headers["traceparent"][3:35] for _request, headers in hearing.calls}
        assert {"req-1": (2, "other"), "req-2": (1, "other")} == said
        assert {TRACEPARENT[3:35]} == traces


class TestJob:
    async def test_is_one_call(
        self, own: asyncpg.Connection, outbox: Outbox, hearing: Hearing
    ) -> None:
        """For the function itself."""
        await own.execute(
            "SELECT mainstay_outbox.enqueue('ship', $1, 'key-1', 5, '1 minute', 'other', 'req-1')",
            json.dumps({"order": 1}),
        )
        done = await relay_once(outbox, hearing.address)

        ((request, headers),) = hearing.calls
        assert 1 == done.accepted
        assert ("ship", '{"order": 1}', "key-1") == (
            request.function,
            request.json,
            request.idempotency_key,
        )
        assert (5, 60) == (request.priority, request.delay.seconds)
        assert ("other", "req-1") == (headers["x-mainstay-tenant"], headers["x-request-id"])


class TestSize:
    async def test_of_a_batch_is_bounded(
        self, own: asyncpg.Connection, outbox: Outbox, hearing: Hearing
    ) -> None:
        """Payloads of the largest size go in as many batches as it takes, none beyond gRPC's."""
        for _ in range(7):
            await own.execute(
                "SELECT mainstay_outbox.send_event('a', jsonb_build_object('x', "
                "repeat('x', 1048576 - octet_length('{\"x\": \"\"}'))))"
            )
        taken = [(await relay_once(outbox, hearing.address)).accepted for _ in range(4)]

        assert [3, 3, 1, 0] == taken


class TestFullQueue:
    async def test_is_asked_again_later(
        self, own: asyncpg.Connection, outbox: Outbox, hearing: Hearing
    ) -> None:
        """Its events wait without end, and those of others do not; nothing is asked twice over."""
        for name in ("a", "full", "b"):
            await own.execute("SELECT mainstay_outbox.send_event($1, '{}')", name)
        await own.execute("UPDATE mainstay_outbox.messages SET attempts = 1000")
        done = await relay_once(outbox, hearing.address)
        (troubled,) = await outbox.troubled()

        assert (2, 1, 0) == (done.accepted, done.deferred, done.failed)
        assert ("full", 1001, None) == (troubled.name, troubled.attempts, troubled.fail_time)
        # All three, the first, the other two, and each of those.
        assert [3, 1, 2, 1, 1] == [len(request.events) for request, _headers in hearing.calls]

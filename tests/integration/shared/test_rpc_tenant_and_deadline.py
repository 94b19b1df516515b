"""Whose call it is and how long it may take, and what happens when nobody waits any more."""

import asyncio
import time

import grpc
import pytest

from mainstay.cache.v1 import cache_service_pb2 as cache_pb
from mainstay.channel import Channel
from mainstay.context import request
from mainstay.errors import DeadlineError, ValidationError
from mainstay.jobs.v1 import job_service_pb2 as job_pb
from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from tests.integration.shared.conftest import ReadLog
from tests.integration.shared.probe import Probe

PATIENCE = 5.0
TENANT_RULE = "1 to 64 letters, digits, dots, dashes and underscores"
HOLD = cache_pb.SetRequest(namespace="hold")


async def becomes(event: asyncio.Semaphore) -> None:
    """Wait for something that a servicer says."""
    async with asyncio.timeout(PATIENCE):
        await event.acquire()


class TestTenant:
    pytestmark = pytest.mark.asyncio(loop_scope="module")

    async def test_is_the_default_without_a_name(self, lasting_probe: Probe) -> None:
        """A call that names none is about `default`."""
        call = await lasting_probe.call()

        assert (call["tenant"], call["principal"]) == ("default", "anonymous")

    @pytest.mark.parametrize("name", ["acme", "A-1_b.c", "0", "x" * 64])
    async def test_is_the_one_named(self, lasting_probe: Probe, name: str) -> None:
        """Letters, digits, dots, dashes and underscores."""
        with request(tenant=name):
            call = await lasting_probe.call()

        assert name == call["tenant"]

    async def test_the_request_beats_the_channel(self, lasting_probe: Probe) -> None:
        """The channel's tenant stands in where the request names none."""
        address = lasting_probe.service.address
        async with Channel(address, tenant="of-channel") as channel:
            probe = Probe(lasting_probe.service, lasting_probe.acts, channel)
            without = (await probe.call())["tenant"]
            with request(tenant="of-request"):
                named = (await probe.call())["tenant"]

        assert (without, named) == ("of-channel", "of-request")

    @pytest.mark.parametrize(
        "name", ["*", "a b", "x" * 65, "-a", ".a", "a/b", "a'; DROP TABLE jobs; --", "{a}"]
    )
    async def test_a_wrong_name_is_refused(self, lasting_probe: Probe, name: str) -> None:
        """Before the servicer is asked, with the rule; `*` too where a method is about one."""
        lasting_probe.acts.seen.clear()
        with request(tenant=name), pytest.raises(ValidationError) as caught:
            await lasting_probe.get("call")

        assert (caught.value.fields, lasting_probe.acts.seen) == (
            {"x-mainstay-tenant": TENANT_RULE},
            [],
        )

    async def test_all_tenants_where_a_method_allows_it(self, lasting_probe: Probe) -> None:
        """`*` is a tenant for methods whose policy says so."""
        lasting_probe.acts.seen.clear()
        asked = cache_pb.DeleteRequest(namespace="call")
        with request(tenant="*"):
            await lasting_probe.channel.unary(lasting_probe.cache.Delete, asked)

        assert [call["tenant"] for call in lasting_probe.acts.seen] == ["*"]


class TestDeadline:
    async def test_a_call_without_gets_the_methods_default(self, probe: Probe) -> None:
        """A caller that sets none cannot hold a servicer for ever."""
        began = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await probe.cache.Set(HOLD)

        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert 0.1 <= time.monotonic() - began < 4.0
        assert "CacheService/Set did not end within the 0.1 s" in str(caught.value.details())

    async def test_a_longer_one_is_capped(self, probe: Probe) -> None:
        """The caller would wait a minute; the method may take 0.2 s."""
        began = time.monotonic()
        with pytest.raises(DeadlineError) as caught:
            await probe.channel.unary(probe.cache.Set, HOLD, timeout=60)

        assert 0.2 <= time.monotonic() - began < 4.0
        assert "within the 0.2 s" in caught.value.message

    async def test_a_shorter_one_is_the_callers(self, probe: Probe) -> None:
        """The caller gets its error, the servicer is cancelled and its log line says why."""
        with pytest.raises(DeadlineError):
            await probe.get("hold", timeout=0.1)
        await becomes(probe.acts.left)

        assert probe.acts.how == ["cancelled"]

    async def test_the_log_tells_a_deadline_from_a_caller_that_left(
        self, probe: Probe, log_lines: ReadLog
    ) -> None:
        """To grpcio both are cancellations."""
        with pytest.raises(DeadlineError):
            await probe.get("hold", timeout=0.1)
        await becomes(probe.acts.left)
        leaving = probe.cache.Get(cache_pb.GetRequest(namespace="hold"), timeout=10)
        await becomes(probe.acts.entered)
        await becomes(probe.acts.entered)
        leaving.cancel()
        await becomes(probe.acts.left)
        await probe.get("none")

        finished = [line for line in log_lines() if line["event"] == "call_finished"]
        assert [line["code"] for line in finished] == ["DEADLINE_EXCEEDED", "CANCELLED", "OK"]

    async def test_the_servicer_knows_what_is_left(self, probe: Probe) -> None:
        """The deadline of the call is the caller's or the method's."""
        asked = (await probe.call(timeout=3.0))["remaining"]
        given = (await probe.call(timeout=3_000.0))["remaining"]

        assert 2.0 < asked < 3.1
        assert 50.0 < given <= 60.0

    async def test_a_stream_has_one_too(self, probe: Probe) -> None:
        """A stream that is bounded by its caller ends with the same error."""
        asked = job_pb.WatchJobRequest(job_id="hold", after_revision=2)
        stream = probe.channel.server_stream(probe.jobs.WatchJob, asked, timeout=0.2)
        states = [await anext(stream), await anext(stream)]
        with pytest.raises(DeadlineError):
            await anext(stream)
        await becomes(probe.acts.left)

        assert (len(states), probe.acts.how) == (2, ["cancelled"])


class TestACallerThatLeaves:
    async def test_cancels_a_call(self, probe: Probe) -> None:
        """Nobody works for somebody who has gone."""
        call = asyncio.create_task(probe.get("hold"))
        await becomes(probe.acts.entered)
        call.cancel()
        await becomes(probe.acts.left)

        assert probe.acts.how == ["cancelled"]

    async def test_is_not_told_of_what_fails_then(self, probe: Probe, log_lines: ReadLog) -> None:
        """A clean-up that fails is one line of ours, and none of grpcio's."""
        call = asyncio.create_task(probe.get("hold-then-fail"))
        await becomes(probe.acts.entered)
        call.cancel()
        await becomes(probe.acts.left)
        await probe.get("none")

        loud = [line["event"] for line in log_lines() if line["level"] == "error"]
        assert loud == ["call_failed"]

    async def test_ends_a_stream(self, probe: Probe) -> None:
        """Leaving the loop and closing the iterator runs the generator's `finally`."""
        asked = job_pb.WatchJobRequest(job_id="hold", after_revision=1)
        states = probe.channel.server_stream(probe.jobs.WatchJob, asked)
        await anext(states)
        await becomes(probe.acts.entered)
        await states.aclose()
        await becomes(probe.acts.left)

        assert probe.acts.how == ["cancelled"]

    async def test_ends_a_session(self, probe: Probe) -> None:
        """So does cancelling a session, also while its servicer waits for a message."""
        call = probe.workers.Session()
        await call.write(worker_pb.SessionRequest(hello=worker_pb.Hello(worker="hold")))
        await becomes(probe.acts.entered)
        call.cancel()
        await becomes(probe.acts.left)

        assert probe.acts.how == ["cancelled"]

    async def test_a_lost_connection_is_a_caller_that_left(self, probe: Probe) -> None:
        """Closing the channel cancels what runs over it."""
        async with Channel(probe.service.address) as channel:
            other = Probe(probe.service, probe.acts, channel)
            call = asyncio.create_task(other.get("hold"))
            await becomes(probe.acts.entered)
        await becomes(probe.acts.left)
        await asyncio.gather(call, return_exceptions=True)

        assert probe.acts.how == ["cancelled"]

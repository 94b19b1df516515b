"""A caller that does not read what it asked for is cut off, and what it held is given back."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from mainstay.errors import UnavailableError
from mainstay.jobs.v1 import job_service_pb2 as job_pb
from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from tests.faults.http2_peer import Http2Peer, framed
from tests.integration.shared.conftest import ReadLog
from tests.integration.shared.probe import Probe, probe_service

PATIENCE = 0.3
ENDLESS = job_pb.WatchJobRequest(job_id="none", after_revision=10_000_000).SerializeToString()


@pytest.fixture
async def impatient(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Probe]:
    """Run a service with room for one stream, which waits 0.3 s for a reader."""
    monkeypatch.setattr("shared.rpc.exchange.WRITE_TIMEOUT", PATIENCE)
    monkeypatch.setattr("shared.rpc.exchange.STATUS_TIMEOUT", PATIENCE)
    monkeypatch.setattr("shared.service.MAX_STREAMS", 1)
    async with probe_service() as probe:
        yield probe


async def watch_one_when_there_is_room(probe: Probe) -> int:
    """Ask again while the service is full."""
    asked = job_pb.WatchJobRequest(job_id="none")
    while True:
        with suppress(UnavailableError):
            stream = probe.channel.server_stream(probe.jobs.WatchJob, asked)
            return len([state async for state in stream])


class TestASlowReader:
    async def test_is_cut_off(self, impatient: Probe, log_lines: ReadLog) -> None:
        """After the time a message may wait its stream ends, and the next caller gets the slot.

        The generator is closed in the task of its call, not some time later by the collector.
        """
        async with Http2Peer.connect(impatient.service.address, window=0) as stuck:
            await stuck.call("/mainstay.jobs.v1.JobService/WatchJob", framed(ENDLESS))
            async with asyncio.timeout(10):
                while not (ended := [line for line in log_lines() if line.get("reason")]):
                    await impatient.get("none", timeout=1)
                states = await watch_one_when_there_is_room(impatient)

        assert (ended[0]["code"], ended[0]["reason"]) == ("UNAVAILABLE", "SLOW_READER")
        assert states == 1
        assert impatient.acts.closed_properly == [True, True]

    async def test_a_reader_with_pauses_is_served(self, impatient: Probe) -> None:
        """Slowness alone is no fault: every message that is taken in time counts anew."""
        asked = job_pb.WatchJobRequest(job_id="none", after_revision=8_000)
        stream = impatient.channel.server_stream(impatient.jobs.WatchJob, asked, timeout=20)
        count = 0
        began = time.monotonic()
        async for _ in stream:
            count += 1
            if count % 2_000 == 0:
                await asyncio.sleep(PATIENCE / 2)

        assert count == 8_001
        assert time.monotonic() - began > PATIENCE

    async def test_a_worker_that_is_not_sent_anything_is_not_slow(self, impatient: Probe) -> None:
        """A session may be silent for as long as it likes."""
        call = impatient.workers.Session()
        await call.write(worker_pb.SessionRequest(hello=worker_pb.Hello(worker="none")))
        first = await call.read()
        await asyncio.sleep(PATIENCE * 2)
        await call.done_writing()
        last = await call.read()

        assert isinstance(first, worker_pb.SessionResponse)
        assert isinstance(last, worker_pb.SessionResponse)
        assert last.go_away.reason == "end of stream"

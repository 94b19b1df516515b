"""The probes that ask the jobs service: how long jobs wait, and whether there are workers."""

from contextlib import suppress
from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration

from mainstay.jobs.v1 import job_service_pb2 as pb
from services.health.ports import Probe, ProbeError
from services.health.probe_jobs import QueueProbe, WorkersProbe
from tests.integration.health.asking import answer, complaint
from tests.integration.health.targets import GrpcTarget
from tests.integration.jobs.conftest import jobs_service

LATE = (
    "A job that could start has waited for 61 s; 60 s are allowed. 1,200 are ready, for 3 workers."
)


def seconds(value: float) -> Duration:
    """Return a length of time for the wire."""
    length = Duration()
    length.FromTimedelta(timedelta(seconds=value))
    return length


class TestQueue:
    @pytest.mark.parametrize(
        ("oldest", "expected"),
        [(0, ""), (60, ""), (61, LATE)],
    )
    async def test_age(self, oldest: float, expected: str) -> None:
        """Beyond the bound the queue needs care, and people see whether workers are missing."""
        async with GrpcTarget() as jobs:
            jobs.depth = pb.GetDepthResponse(oldest_age=seconds(oldest), ready=1_200, workers=3)
            probe = QueueProbe([jobs.address], timeout=1, max_age=60)
            told = await answer(probe, "request-7")
            await probe.close()
            (metadata,) = jobs.depth_asked

        assert expected == told
        assert ("request-7", "*") == (metadata["x-request-id"], metadata["x-mainstay-tenant"])


class TestWorkers:
    @pytest.mark.parametrize(
        ("workers", "expected"),
        [(2, ""), (1, "1 workers are connected; there should be 2.")],
    )
    async def test_count(self, workers: int, expected: str) -> None:
        """Fewer than there should be."""
        async with GrpcTarget() as jobs:
            jobs.depth = pb.GetDepthResponse(workers=workers)
            probe = WorkersProbe([jobs.address], timeout=1, least=2)
            told = await answer(probe)
            await probe.close()

        assert expected == told


class TestMeasurement:
    @pytest.mark.parametrize("kind", ["queue", "workers"])
    async def test_an_old_one_says_nothing(self, kind: str) -> None:
        """A service that lost its database still answers, with what it measured before."""
        async with GrpcTarget() as jobs:
            jobs.depth = pb.GetDepthResponse(workers=9, age=seconds(76))
            probe: Probe = (
                QueueProbe([jobs.address], timeout=1, max_age=60)
                if kind == "queue"
                else WorkersProbe([jobs.address], timeout=1, least=1)
            )
            message = await complaint(probe)
            await probe.close()

        assert message == "Was last measured 76 s ago."

    async def test_another_replica_when_one_is_gone(self) -> None:
        """They all measure the same."""
        async with GrpcTarget() as gone, GrpcTarget() as jobs:
            probe = QueueProbe([gone.address, jobs.address], timeout=1, max_age=60)
            first = await answer(probe)
            await gone.stop()
            message = await complaint(probe)
            then = await answer(probe)
            await probe.close()

        assert (first, then) == ("", "")
        assert message == "Refused or closed the connection."


class TestService:
    async def test_the_real_one(self, postgres_url: str) -> None:
        """It lets the probe ask for all tenants."""
        service = jobs_service(postgres_url)
        async with service.running():
            probe = WorkersProbe([service.address], timeout=1, least=1)
            told = ""
            while not told:
                with suppress(ProbeError):  # right after the start nothing may have been measured
                    told = await answer(probe)
            await probe.close()

        assert told == "0 workers are connected; there should be 1."

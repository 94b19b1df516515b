"""The database goes away and comes back."""

import grpc
import pytest

from cli.embedded.postgres import PostgresServer
from mainstay.errors import DatabaseError
from mainstay.jobs.v1 import job_pb2
from tests.integration.jobs.conftest import jobs_service
from tests.integration.jobs.producer import producer
from tests.integration.jobs.raw_worker import raw_workers


class TestRestart:
    async def test_goes_on(self, private_postgres: PostgresServer) -> None:
        """While it is gone calls fail with a name; afterwards jobs go on where they were."""
        service = jobs_service(private_postgres.url, jobs_poll_interval=0.2)
        async with (
            service.running(),
            raw_workers() as workers,
            producer(service.address, "acme") as jobs,
        ):
            worker = await workers.connect(service.address)
            job_id = await jobs.start_job()
            assigned = await worker.take_one()
            await worker.step(assigned.token, "before")

            await private_postgres.stop()
            with pytest.raises(DatabaseError):
                await jobs.start_job()
            await worker.send(heartbeat={"tokens": [assigned.token]})
            code, _ = await worker.end()
            await private_postgres.start()

            again = await workers.connect(
                service.address, resume=worker.welcome.session, in_flight=[assigned.token]
            )
            await again.report(assigned.token, sequence=2, completed={"result_json": "1"})
            job = await jobs.get(job_id)
            fresh = await jobs.start_job()
            next_job = await again.take_one()

        assert grpc.StatusCode.UNAVAILABLE == code
        assert (job_pb2.JOB_STATE_SUCCEEDED, 1) == (job.state, job.attempt)
        assert fresh == next_job.job_id

"""Tenants: nobody sees, does or ends the jobs of another."""

import asyncpg
import pytest

from mainstay.errors import NotFoundError, ValidationError
from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as job_pb
from mainstay.jobs.v1 import worker_service_pb2 as pb
from shared.service import Service
from tests.integration.jobs.conftest import Produce
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import Workers, function


class TestReading:
    async def test_get(
        self, service: Service, jobs: Producer, produce: Produce, workers: Workers
    ) -> None:
        """Another tenant's job does not exist."""
        await workers.connect(service.address)
        job_id = await jobs.start_job()
        globex = await produce(service, "globex")

        with pytest.raises(NotFoundError) as caught:
            await globex.get(job_id)

        assert "JOB_NOT_FOUND" == caught.value.reason

    async def test_watch(
        self, service: Service, jobs: Producer, produce: Produce, workers: Workers
    ) -> None:
        """Nor can it be watched."""
        await workers.connect(service.address)
        job_id = await jobs.start_job()
        globex = await produce(service, "globex")

        with pytest.raises(Exception, match="does not exist in tenant globex"):
            await globex.watch(job_id).rest()


class TestWorking:
    async def test_own_jobs_only(
        self, service: Service, jobs: Producer, produce: Produce, workers: Workers
    ) -> None:
        """A worker gets the jobs of its tenant, in whichever order they came."""
        globex = await produce(service, "globex")
        ours = await workers.connect(service.address, tenant="acme")
        theirs = await workers.connect(service.address, tenant="globex")
        theirs_first = await globex.start_job()
        ours_second = await jobs.start_job()
        await ours.credit(5)
        await theirs.credit(5)

        taken = [(await ours.job()), (await theirs.job())]
        await ours.beat(taken[0].token)
        await theirs.beat(taken[1].token)

        assert [(ours_second, "acme"), (theirs_first, "globex")] == [
            (job.job_id, job.tenant) for job in taken
        ]
        assert (ours.frames("jobs"), theirs.frames("jobs")) == (0, 0)

    async def test_functions_apart(
        self, service: Service, jobs: Producer, produce: Produce, workers: Workers
    ) -> None:
        """A function of one tenant is not started by another's events."""
        await workers.connect(service.address, tenant="globex")

        (accepted,) = await jobs.send(
            job_pb.Event(name="email/send", json='{"to": ["a@example.com"], "template": "t"}')
        )

        assert list(accepted.job_ids) == []

    async def test_foreign_session(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A session cannot be resumed by another tenant, nor its jobs be reported on."""
        ours = await workers.connect(service.address, tenant="acme")
        job_id = await jobs.start_job()
        assigned = await ours.take_one()

        thief = await workers.connect(
            service.address,
            tenant="globex",
            resume=ours.welcome.session,
            in_flight=[assigned.token],
        )
        ack = await thief.complete(assigned.token)

        assert ours.welcome.session != thief.welcome.session
        assert [assigned.token] == list(thief.welcome.lost_tokens)
        assert pb.ACK_STATE_FENCED == ack.state
        assert await ours.beat(assigned.token) == []
        assert job_pb2.JOB_STATE_RUNNING == (await jobs.get(job_id)).state


class TestWorkerForAll:
    async def test_every_tenant(
        self, service: Service, jobs: Producer, produce: Produce, workers: Workers
    ) -> None:
        """A worker for all tenants declares functions for all and does everybody's jobs."""
        globex = await produce(service, "globex")
        worker = await workers.connect(service.address, tenant="*")
        started = {"acme": await jobs.start_job(), "globex": await globex.start_job()}

        taken = await worker.take(2)
        for job in taken:
            await worker.complete(job.token)

        assert started == {job.tenant: job.job_id for job in taken}
        assert job_pb2.JOB_STATE_SUCCEEDED == (await globex.get(started["globex"])).state

    async def test_one_job_for_both_declarations(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """A tenant's own declaration of a function goes before the one for all."""
        await workers.connect(service.address, function(max_attempts=7), tenant="*")
        await workers.connect(service.address, function(max_attempts=2), tenant="acme")

        job = await jobs.get(await jobs.start_job())

        assert 2 == job.max_attempts

    async def test_not_for_producers(self, service: Service, produce: Produce) -> None:
        """Events and jobs belong to one tenant: only workers can speak for all."""
        everybody = await produce(service, "*")

        with pytest.raises(ValidationError):
            await everybody.start_job()


class TestRowLevelSecurity:
    async def test_every_table(self, service: Service, database: asyncpg.Connection) -> None:
        """Every table has a policy that binds its owner as well; its partitions are read by it."""
        rows = await database.fetch(
            "SELECT c.relname, c.relrowsecurity AND (c.relforcerowsecurity OR c.relispartition)"
            " AND (c.relispartition OR EXISTS (SELECT FROM pg_policies AS p"
            "   WHERE p.schemaname = 'jobs' AND p.tablename = c.relname AND p.cmd = 'ALL'"
            "   AND p.qual LIKE '%tenant = current_setting%')) AS separated "
            "FROM pg_class AS c "
            "WHERE c.relnamespace = 'jobs'::regnamespace AND c.relkind IN ('r', 'p')"
        )

        assert {"events", "ready", "waits", "signals", "history", "history_default"} < {
            row["relname"] for row in rows
        }
        assert [] == [row["relname"] for row in rows if not row["separated"]]

    async def test_rows(
        self,
        service: Service,
        jobs: Producer,
        workers: Workers,
        database: asyncpg.Connection,
    ) -> None:
        """A transaction sees the rows of its tenant, and without a tenant none."""
        worker = await workers.connect(service.address)
        await jobs.start_job()
        await worker.complete((await worker.take_one()).token)
        job_id = await jobs.start_job()
        running = await worker.take_one()
        await worker.step(running.token, "probe")
        await worker.wait_for(running.token, "go", signal=pb.SignalWait(name="go"))
        await jobs.signal(job_id, "other")
        await jobs.start_job()

        rows = {
            "functions": 1,
            "sessions": 1,
            "jobs": 2,
            "ready": 1,
            "leases": 1,
            "steps": 1,
            "waits": 1,
            "signals": 1,
            "history": 1,
            "job_queue": 3,
        }
        seen = {}
        for tenant in ("acme", "globex", "*", ""):
            await database.execute("SELECT set_config('mainstay.tenant', $1, false)", tenant)
            seen[tenant] = {
                table: await database.fetchval(f"SELECT count(*) FROM jobs.{table}")
                for table in rows
            }

        none = dict.fromkeys(rows, 0)
        assert {"acme": rows, "globex": none, "*": rows, "": none} == seen

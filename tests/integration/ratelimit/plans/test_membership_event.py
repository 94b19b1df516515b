"""The event `membership/updated` of the real jobs service changes plans."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mainstay.channel import Channel
from mainstay.jobs import Job, JobClient, JobState
from services.ratelimit.membership_worker import EVENT, MembershipWorker
from services.ratelimit.policy import Policy
from tests.integration.ratelimit.plans.replica import ACME, OTHER, Replica, jobs_service

SECOND = 1.0


@asynccontextmanager
async def working(address: str, replica: Replica) -> AsyncIterator[MembershipWorker]:
    """Run the worker within the block, as the service does."""
    worker = MembershipWorker(address, replica.plans)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        await worker.drain()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def worker(jobs_address: str, here: Replica) -> AsyncIterator[MembershipWorker]:
    async with working(jobs_address, here) as worker:
        async with asyncio.timeout(10):
            await worker.ready()
        yield worker


@pytest.fixture
async def jobs(jobs_address: str, worker: MembershipWorker) -> AsyncIterator[JobClient]:
    """Send events as the tenant `acme`; the worker is there."""
    async with Channel(jobs_address, tenant=ACME) as channel:
        yield JobClient(channel)


async def update(jobs: JobClient, plan: str, *, status: str = "active", user: str = "42") -> str:
    """Send the event, and return the job that it started."""
    data = {"user_id": user, "plan": plan, "status": status}
    accepted = await jobs.send_event(EVENT, data)
    (job_id,) = accepted.job_ids
    return job_id


async def ended(jobs: JobClient, job_id: str) -> Job:
    """Return a job when it has ended."""
    return await jobs.wait_for_job(job_id, timeout=10)


class TestMembershipUpdated:
    async def test_is_effective_on_all_replicas_within_a_second(
        self, jobs: JobClient, here: Replica, there: Replica
    ) -> None:
        """From the call that sends the event to the check that has the plan."""
        loop = asyncio.get_running_loop()
        took = []
        for plan in ("basic", "pro", "enterprise"):
            began = loop.time()
            await update(jobs, plan)
            await asyncio.gather(*(each.until_plan("user:42", plan) for each in (here, there)))
            took.append(loop.time() - began)

        assert max(took) < SECOND

    async def test_that_was_cancelled_ends_the_plan(self, jobs: JobClient, here: Replica) -> None:
        """Whatever plan it names."""
        await ended(jobs, await update(jobs, "pro"))
        await ended(jobs, await update(jobs, "pro", status="cancelled"))

        assert "" == (await here.plans.get(ACME, "user:42")).assignment.plan

    async def test_that_is_overdue_keeps_the_plan(self, jobs: JobClient, here: Replica) -> None:
        """For whoever has not paid in time the membership goes on until it is cancelled."""
        await ended(jobs, await update(jobs, "pro", status="past_due"))

        assert "pro" == (await here.plans.get(ACME, "user:42")).assignment.plan

    async def test_is_of_the_tenant_that_sent_it(
        self, jobs_address: str, jobs: JobClient, here: Replica
    ) -> None:
        """One worker serves all tenants."""
        async with Channel(jobs_address, tenant=OTHER) as channel:
            others = JobClient(channel)
            await ended(others, await update(others, "pro"))

        assert "" == (await here.plans.get(ACME, "user:42")).assignment.plan
        assert "pro" == (await here.plans.get(OTHER, "user:42")).assignment.plan

    async def test_is_on_record_as_the_assigner(self, jobs: JobClient, here: Replica) -> None:
        """Nobody called."""
        job = await ended(jobs, await update(jobs, "pro"))
        assignment = (await here.plans.get(ACME, "user:42")).assignment

        assert {"subject": "user:42", "plan": "pro"} == job.result
        assert "event:membership/updated" == assignment.assigner

    async def test_to_a_plan_that_is_not_in_the_policy_is_given_up(
        self, jobs: JobClient, here: Replica, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Trying again does not help; the job says what is wrong."""
        rules = here.plans._policies.current.rules
        monkeypatch.setattr(here.plans._policies, "current", Policy(rules))
        job = await ended(jobs, await update(jobs, "pro"))

        assert (JobState.DEAD_LETTERED, 1) == (job.state, job.attempt)
        assert job.failure is not None
        assert "has no plan 'pro'" in job.failure.message

    async def test_is_taken_by_one_of_several_workers(
        self, jobs_address: str, jobs: JobClient, there: Replica
    ) -> None:
        """Every replica has one."""
        async with working(jobs_address, there) as second:
            await second.ready()
            ends = [await ended(jobs, await update(jobs, "pro", user=str(n))) for n in range(10)]

        assert {(JobState.SUCCEEDED, 1)} == {(job.state, job.attempt) for job in ends}


class TestWorker:
    async def test_connects_when_the_jobs_service_is_there(
        self, here: Replica, postgres_url: str
    ) -> None:
        """It does not matter who starts first."""
        async with jobs_service(postgres_url) as address:
            pass
        async with working(address, here) as worker:
            waiting = asyncio.create_task(worker.ready())
            await asyncio.sleep(0)
            early = waiting.done()
            async with jobs_service(postgres_url, port=int(address.rpartition(":")[2])):
                async with asyncio.timeout(10):
                    await waiting

        assert not early

"""Events that steps of jobs wait for."""

import json
from typing import Any

import asyncpg

from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb
from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from shared.service import Service
from tests.integration.jobs.conftest import Produce
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import RawWorker, Workers, function

MEMBER = {"user_id": "u-1", "plan": "pro", "status": "active"}


def member(**changes: Any) -> pb.Event:
    """Return an event about a membership."""
    return pb.Event(name="membership/updated", json=json.dumps(MEMBER | changes))


async def parked(
    jobs: Producer, worker: RawWorker, *matches: dict[str, Any] | None, key: str = "paid"
) -> str:
    """Bring a job to where it waits for an event, in a step for each match."""
    job_id = await jobs.start_job()
    token = (await worker.take_one()).token
    for number, match in enumerate(matches):
        event = worker_pb.EventWait(name="membership/updated")
        if match is not None:
            event.match_json = json.dumps(match)
        ack = await worker.wait_for(token, f"{key}-{number}", event=event)
        assert worker_pb.ACK_STATE_STORED == ack.state, ack
    await worker.suspend(token, *[f"{key}-{number}" for number in range(len(matches))])
    await jobs.reaches(job_id, job_pb2.JOB_STATE_WAITING)
    return job_id


def memo_of(assigned: worker_pb.AssignedJob) -> dict[str, Any]:
    """Return the kept results of a job by step."""
    return {memo.key: json.loads(memo.result_json) for memo in assigned.memo}


class TestWaits:
    async def test_woken(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """An event ends the wait for it; the job goes on at once, with the event as the result."""
        worker = await workers.connect(service.address)
        job_id = await parked(jobs, worker, None)

        (accepted,) = await jobs.send(member())

        assigned = await worker.take_one()
        result = {"event_id": accepted.event_id, "name": "membership/updated", "data": MEMBER}
        assert (job_id, 1) == (assigned.job_id, assigned.attempt)
        assert {"paid-0": result} == memo_of(assigned)

    async def test_match(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """Only an event that contains what the step asks for ends its wait."""
        worker = await workers.connect(service.address)
        await parked(jobs, worker, {"user_id": "u-2"})
        await jobs.send(member(), member(user_id="u-3"))
        assert 1 == await database.fetchval("SELECT count(*) FROM jobs.waits")

        await jobs.send(member(user_id="u-1"), member(user_id="u-2", plan="basic"))

        result = memo_of(await worker.take_one())["paid-0"]
        assert ("u-2", "basic") == (result["data"]["user_id"], result["data"]["plan"])

    async def test_arrays_are_wholes(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """Of objects the named members count, of an array all: a part of one does not fit."""
        worker = await workers.connect(service.address)
        match = {"variables": {"x": "1"}, "to": ["b@example.com"]}
        email = {"template": "t", "variables": {"x": "1", "y": "2"}}
        wanted = worker_pb.EventWait(name="email/send", match_json=json.dumps(match))
        job_id = await jobs.start_job()
        token = (await worker.take_one()).token
        await worker.wait_for(token, "sent", event=wanted)
        await worker.suspend(token, "sent")
        await jobs.reaches(job_id, job_pb2.JOB_STATE_WAITING)

        for to in (["a@example.com", "b@example.com"], ["b@example.com"]):
            await jobs.send(pb.Event(name="email/send", json=json.dumps(email | {"to": to})))

        result = memo_of(await worker.take_one())["sent"]
        assert ["b@example.com"] == result["data"]["to"]

    async def test_the_first_counts(
        self, service: Service, jobs: Producer, workers: Workers
    ) -> None:
        """Of several events that fit, the first ends the wait; each wait has its own."""
        worker = await workers.connect(service.address)
        await parked(jobs, worker, None, {"plan": "basic"})

        await jobs.send(member(plan="pro"), member(plan="basic"), member(plan="basic", user_id="z"))

        memo = memo_of(await worker.take_one())
        assert ["pro", "basic"] == [memo[f"paid-{n}"]["data"]["plan"] for n in range(2)]
        assert "u-1" == memo["paid-1"]["data"]["user_id"]

    async def test_many_jobs(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """One event may end the waits of many jobs, and start jobs of its own."""
        worker = await workers.connect(
            service.address, function(), function("welcome", "membership/updated")
        )
        waiting = {await parked(jobs, worker, None) for _ in range(3)}

        (accepted,) = await jobs.send(member())

        taken = {assigned.job_id for assigned in await worker.take(4)}
        assert waiting | set(accepted.job_ids) == taken

    async def test_another_tenant(
        self, service: Service, jobs: Producer, produce: Produce, workers: Workers
    ) -> None:
        """An event of another tenant means nothing."""
        worker = await workers.connect(service.address)
        job_id = await parked(jobs, worker, None)
        globex = await produce(service, "globex")

        await globex.send(member())

        assert job_pb2.JOB_STATE_WAITING == (await jobs.get(job_id)).state

    async def test_duplicate(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """An event that was accepted before the wait began does not end it when it is repeated."""
        worker = await workers.connect(service.address)
        event = member()
        event.idempotency_key = "k"
        await jobs.send(event)
        await parked(jobs, worker, None)

        (again,) = await jobs.send(event)

        assert again.duplicate
        assert 1 == await database.fetchval("SELECT count(*) FROM jobs.waits")

    async def test_strange_text(self, service: Service, jobs: Producer, workers: Workers) -> None:
        """A character that PostgreSQL cannot hold neither fails the call nor hides the event."""
        worker = await workers.connect(service.address)
        await parked(jobs, worker, {"plan": "pro"})

        await jobs.send(pb.Event(name="membership/updated", json=STRANGE))

        result = memo_of(await worker.take_one())["paid-0"]
        assert "a\0b" == result["data"]["user_id"]


STRANGE = json.dumps(MEMBER | {"user_id": "a\0b"})

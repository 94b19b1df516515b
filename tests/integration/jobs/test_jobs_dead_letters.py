"""Dead letters: listed, replayed and put away, one or many."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from mainstay.errors import ValidationError
from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb
from services.jobs.database import PLANNER
from services.jobs.job import JobId
from services.jobs.job_filter import JobFilter
from services.jobs.postgres_steering import PostgresSteering
from services.jobs.steering_ports import Chosen
from shared.postgres.pool import Postgres
from shared.rpc.call import Tenant
from shared.service import Service
from tests.integration.jobs.conftest import Produce
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import Workers, function

ACME = Tenant("acme")


@pytest.fixture
async def dead(service: Service, jobs: Producer, workers: Workers) -> list[str]:
    """Let four jobs die, of two functions and two kinds of failure; their ids, oldest first."""
    worker = await workers.connect(
        service.address, function("a", "email/send"), function("b", "video/upload.completed")
    )
    ids = []
    for number in range(4):
        data = pb.EnqueueRequest(function="ab"[number % 2], json="{}")
        ids.append((await jobs.call("Enqueue", data)).job_id)
        token = (await worker.take_one()).token
        await worker.step(token, "probe")
        await worker.fail(token, permanent=True, kind=("Timeout", "Teapot")[number // 2])
    return ids


async def listed(jobs: Producer, **request: Any) -> list[job_pb2.Job]:
    """Return one page of dead letters."""
    answer = await jobs.call("ListDeadLetters", pb.ListDeadLettersRequest(**request))
    return list(answer.jobs)


class TestList:
    async def test_newest_first(self, jobs: Producer, dead: list[str]) -> None:
        """They are listed by age, with why they died and without their steps."""
        found = await listed(jobs)

        assert dead[::-1] == [job.job_id for job in found]
        assert [("Teapot", 0), ("Teapot", 0), ("Timeout", 0), ("Timeout", 0)] == [
            (job.failure.kind, len(job.steps)) for job in found
        ]

    async def test_pages(self, jobs: Producer, dead: list[str]) -> None:
        """A page ends where the next begins."""
        request = pb.ListDeadLettersRequest(page_size=3)
        first = await jobs.call("ListDeadLetters", request)
        request.page_token = first.next_page_token
        second = await jobs.call("ListDeadLetters", request)

        assert dead[::-1] == [job.job_id for job in (*first.jobs, *second.jobs)]
        assert (3, "") == (len(first.jobs), second.next_page_token)

    async def test_filter(self, jobs: Producer, dead: list[str]) -> None:
        """A filter narrows them down; states do not matter."""
        running = [job_pb2.JOB_STATE_RUNNING]
        by = {
            "function": await listed(jobs, filter=pb.JobFilter(function="a", states=running)),
            "kind": await listed(jobs, filter=pb.JobFilter(failure_kind="Teapot")),
            "both": await listed(jobs, filter=pb.JobFilter(failure_kind="Teapot", function="b")),
            "request": await listed(jobs, filter=pb.JobFilter(request_id="another")),
        }

        assert {
            "function": [dead[2], dead[0]],
            "kind": [dead[3], dead[2]],
            "both": [dead[3]],
            "request": [],
        } == {name: [job.job_id for job in found] for name, found in by.items()}

    async def test_foreign(self, service: Service, produce: Produce, dead: list[str]) -> None:
        """Nobody sees another tenant's."""
        assert [] == await listed(await produce(service, "globex"))


class TestReplay:
    async def test_by_id(self, jobs: Producer, dead: list[str]) -> None:
        """Those that are named go on; what is no dead letter is left out."""
        await jobs.retry(dead[0])
        request = pb.ReplayDeadLettersRequest(job_ids=[dead[0], dead[2], str(UUID(int=7))])

        answer = await jobs.call("ReplayDeadLetters", request)

        assert ([dead[2]], False) == (list(answer.job_ids), answer.more)
        assert job_pb2.JOB_STATE_RETRYING == (await jobs.get(dead[2])).state
        assert [dead[3], dead[1]] == [job.job_id for job in await listed(jobs)]

    async def test_by_filter(
        self, service: Service, jobs: Producer, workers: Workers, dead: list[str]
    ) -> None:
        """Those that fit go on, and are run."""
        request = pb.ReplayDeadLettersRequest(filter=pb.JobFilter(failure_kind="Timeout"))

        answer = await jobs.call("ReplayDeadLetters", request)
        worker = await workers.connect(service.address, function("a", ""), function("b", ""))
        taken = await worker.take(2)

        assert (dead[:2], False) == (list(answer.job_ids), answer.more)
        assert set(dead[:2]) == {job.job_id for job in taken}
        assert [["probe"]] * 2 == [[memo.key for memo in job.memo] for job in taken]

    async def test_foreign(
        self, service: Service, jobs: Producer, produce: Produce, dead: list[str]
    ) -> None:
        """Nobody replays another tenant's, named or not."""
        stranger = await produce(service, "globex")
        for request in (
            pb.ReplayDeadLettersRequest(job_ids=dead),
            pb.ReplayDeadLettersRequest(filter=pb.JobFilter()),
        ):
            assert [] == list((await stranger.call("ReplayDeadLetters", request)).job_ids)

        assert 4 == len(await listed(jobs))


class TestDiscard:
    async def test_by_id(self, jobs: Producer, dead: list[str]) -> None:
        """What is put away is no dead letter any more, but stays readable with its steps."""
        request = pb.DiscardDeadLettersRequest(job_ids=dead[:1])

        answer = await jobs.call("DiscardDeadLetters", request)
        again = await jobs.call("DiscardDeadLetters", request)

        assert (dead[:1], []) == (list(answer.job_ids), list(again.job_ids))
        job = await jobs.get(dead[0])
        assert (job_pb2.JOB_STATE_DISCARDED, "Timeout", ["probe"]) == (
            job.state,
            job.failure.kind,
            [step.key for step in job.steps],
        )
        assert dead[:0:-1] == [job.job_id for job in await listed(jobs)]

    async def test_watched(self, jobs: Producer, dead: list[str]) -> None:
        """Whoever looks afterwards sees one more revision."""
        before = await jobs.get(dead[1])
        await jobs.call("DiscardDeadLetters", pb.DiscardDeadLettersRequest(filter=pb.JobFilter()))

        told = await jobs.watch(dead[1], after=before.revision).rest()

        assert [(job_pb2.JOB_STATE_DISCARDED, before.revision + 1)] == [
            (job.state, job.revision) for job in told
        ]

    async def test_foreign(
        self, service: Service, jobs: Producer, produce: Produce, dead: list[str]
    ) -> None:
        """Nobody puts another tenant's away."""
        stranger = await produce(service, "globex")
        for request in (
            pb.DiscardDeadLettersRequest(job_ids=dead),
            pb.DiscardDeadLettersRequest(filter=pb.JobFilter()),
        ):
            assert [] == list((await stranger.call("DiscardDeadLetters", request)).job_ids)

        assert 4 == len(await listed(jobs))


class TestRefused:
    async def test_neither_or_both(self, jobs: Producer) -> None:
        """One of ids and filter has to be there: nobody replays everything by mistake."""
        job_id = str(UUID(int=7))
        for request in (
            pb.ReplayDeadLettersRequest(),
            pb.ReplayDeadLettersRequest(job_ids=[job_id], filter=pb.JobFilter()),
            pb.ReplayDeadLettersRequest(job_ids=[job_id] * 1001),
            pb.ReplayDeadLettersRequest(job_ids=["1"]),
        ):
            with pytest.raises(ValidationError):
                await jobs.call("ReplayDeadLetters", request)


class TestStore:
    @pytest.fixture
    async def store(self, service: Service, postgres_url: str) -> Any:
        """Provide the store with bounds of the test's own."""
        postgres = Postgres(postgres_url, session_settings=PLANNER)
        await postgres.start()
        yield PostgresSteering(postgres)
        await postgres.close()

    async def test_more(self, store: PostgresSteering, dead: list[str]) -> None:
        """The oldest go first, and it is said whether more fit."""
        first = await store.revive(ACME, JobFilter(), limit=3)
        second = await store.revive(ACME, JobFilter(), limit=3)

        ids = [JobId(UUID(job_id)) for job_id in dead]
        assert Chosen(jobs=tuple(ids[:3]), more=True) == first
        assert Chosen(jobs=tuple(ids[3:]), more=False) == second

    async def test_at_once(
        self, store: PostgresSteering, dead: list[str], database: asyncpg.Connection
    ) -> None:
        """Several callers at once share them: each is replayed or put away once."""
        chosen = await asyncio.gather(
            *(store.revive(ACME, JobFilter(), limit=4) for _ in range(4)),
            *(store.discard(ACME, JobFilter(), limit=4) for _ in range(4)),
        )

        dealt_with = [job_id for each in chosen for job_id in each.jobs]
        assert sorted(map(UUID, dead)) == sorted(dealt_with)
        counts = "SELECT (SELECT count(*) FROM jobs.ready) + (SELECT count(*) FROM jobs.history)"
        assert 4 == await database.fetchval(counts)

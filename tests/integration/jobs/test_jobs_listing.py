"""Lists of jobs."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.errors import ValidationError
from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import job_service_pb2 as pb
from services.jobs.database import PLANNER
from services.jobs.job_filter import FIRST, JobFilter
from services.jobs.postgres_listing import MAX_WINDOWS, PostgresListing
from services.jobs.states import JobState
from shared.postgres.pool import Postgres
from shared.postgres.queries import load_queries
from shared.rpc.call import ALL_TENANTS, Tenant
from shared.service import Service
from tests.integration.jobs.conftest import Produce
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import Workers, function, seconds

ACME = Tenant("acme")
QUERIES = load_queries("services.jobs", "sql/listing.sql")
IDS = f"'acme', '{FIRST}', '{UUID(int=0)}'"
NULLS = "null, null, null, null"
# An enum of proto3 is open: a newer client may send a value that nobody knows here.
UNKNOWN_STATE = pb.JobFilter()
UNKNOWN_STATE.states.append(99)  # type: ignore[arg-type]
SUCCEEDED = job_pb2.JOB_STATE_SUCCEEDED


async def enqueue(jobs: Producer, function: str = "b", *, delay: float = 0) -> str:
    """Start a job and return its id."""
    request = pb.EnqueueRequest(function=function, json='{"a": 1}', delay=seconds(delay))
    return str((await jobs.call("Enqueue", request)).job_id)


async def listed(jobs: Producer, **fields: Any) -> list[str]:
    """Return the ids of the jobs that fit."""
    request = pb.ListJobsRequest(filter=pb.JobFilter(**fields))
    return [job.job_id for job in (await jobs.call("ListJobs", request)).jobs]


async def pages(jobs: Producer, size: int) -> AsyncIterator[list[job_pb2.Job]]:
    """Yield all pages."""
    request = pb.ListJobsRequest(page_size=size)
    while True:
        page = await jobs.call("ListJobs", request)
        yield list(page.jobs)
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


@pytest.fixture
async def mixed(service: Service, jobs: Producer, workers: Workers) -> list[str]:
    """Start nine jobs, oldest first: each third succeeds, each third dies, each third waits."""
    worker = await workers.connect(service.address, function("a", ""), function("b", ""))
    ids = []
    for number in range(9):
        waits = number % 3 == 2
        ids.append(await enqueue(jobs, "ab"[number % 2], delay=3600 if waits else 0))
        if not waits:
            token = (await worker.take_one()).token
            await worker.step(token, "probe")
        if number % 3 == 0:
            await worker.complete(token, '"fine"')
        elif number % 3 == 1:
            await worker.fail(token, permanent=True, kind="Teapot")
    return ids


class TestOrder:
    async def test_newest_first(self, jobs: Producer, mixed: list[str]) -> None:
        """Jobs that wait, ran and are over come in one order; what is large is left out."""
        found = list((await jobs.call("ListJobs", pb.ListJobsRequest())).jobs)

        assert mixed[::-1] == [job.job_id for job in found]
        assert {(0, "", "")} == {(len(j.steps), j.result_json, j.data_json) for j in found}

    async def test_same_as_one_by_one(self, jobs: Producer, mixed: list[str]) -> None:
        """But for that, a list says what a single look says."""
        for job in (await jobs.call("ListJobs", pb.ListJobsRequest())).jobs:
            whole = await jobs.get(job.job_id)
            del whole.steps[:]
            whole.ClearField("result_json")
            whole.ClearField("data_json")
            assert whole == job

    @pytest.mark.parametrize("size", [1, 2, 4, 9, 10])
    async def test_pages(self, jobs: Producer, mixed: list[str], size: int) -> None:
        """Pages of any size hold every job once."""
        found = [page async for page in pages(jobs, size)]

        assert mixed[::-1] == [job.job_id for page in found for job in page]
        assert all(len(page) == size for page in found[:-1])

    async def test_jobs_that_come_meanwhile(self, jobs: Producer, mixed: list[str]) -> None:
        """What comes or moves between two pages repeats nothing and hides nothing."""
        found = []
        async for page in pages(jobs, 2):
            found += [job.job_id for job in page]
            await enqueue(jobs)
            await jobs.call("DiscardDeadLetters", pb.DiscardDeadLettersRequest(job_ids=mixed[1:2]))

        assert mixed[::-1] == found


class TestFilter:
    async def test_each(self, jobs: Producer, mixed: list[str]) -> None:
        """Every part of a filter narrows the list down, and all of them together do."""
        event = (await jobs.get(mixed[4])).event_id
        moment = (await jobs.get(mixed[4])).create_time
        found = {
            "succeeded": await listed(jobs, states=[SUCCEEDED]),
            "dead": await listed(jobs, states=[job_pb2.JOB_STATE_DEAD_LETTERED]),
            "two states": await listed(jobs, states=[SUCCEEDED, job_pb2.JOB_STATE_QUEUED]),
            "none": await listed(jobs, states=[job_pb2.JOB_STATE_RUNNING]),
            "function": await listed(jobs, function="a"),
            "event": await listed(jobs, event_id=event),
            "request": await listed(jobs, request_id="call"),
            "other request": await listed(jobs, request_id="another"),
            "from": await listed(jobs, create_time_from=moment),
            "to": await listed(jobs, create_time_to=moment),
            "failure": await listed(jobs, failure_kind="Teapot"),
            "together": await listed(jobs, function="a", states=[SUCCEEDED], create_time_to=moment),
        }

        newest = mixed[::-1]
        assert {
            "succeeded": [mixed[6], mixed[3], mixed[0]],
            "dead": [mixed[7], mixed[4], mixed[1]],
            "two states": [mixed[i] for i in (8, 6, 5, 3, 2, 0)],
            "none": [],
            "function": [mixed[i] for i in (8, 6, 4, 2, 0)],
            "event": [mixed[4]],
            "request": newest,
            "other request": [],
            "from": newest[:5],
            "to": newest[5:],
            "failure": [mixed[7], mixed[4], mixed[1]],
            "together": [mixed[0]],
        } == found

    async def test_foreign(self, service: Service, produce: Produce, mixed: list[str]) -> None:
        """Nobody sees another tenant's jobs."""
        stranger = await produce(service, "globex")

        assert [] == await listed(stranger)
        assert [] == await listed(stranger, states=[SUCCEEDED])


class TestRefused:
    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"page_size": 501}, "page_size"),
            ({"page_token": "x"}, "page_token"),
            ({"page_token": "WyJ4Il0"}, "page_token"),
            ({"filter": pb.JobFilter(event_id="1")}, "filter.event_id"),
            ({"filter": pb.JobFilter(function="a\0")}, "filter.function"),
            ({"filter": UNKNOWN_STATE}, "filter.states"),
            (
                {"filter": pb.JobFilter(create_time_to=Timestamp(seconds=2**60))},
                "filter.create_time_to",
            ),
        ],
    )
    async def test_field(self, jobs: Producer, fields: dict[str, Any], field: str) -> None:
        """What cannot be is refused by its field, in both lists."""
        for method, request in (
            ("ListJobs", pb.ListJobsRequest(**fields)),
            ("ListDeadLetters", pb.ListDeadLettersRequest(**fields)),
        ):
            with pytest.raises(ValidationError) as caught:
                await jobs.call(method, request)
            assert [field] == list(caught.value.fields)


# A tenth of the jobs are dead letters; of the history, one in a thousand failed before.
FILL = """
WITH made AS (
    SELECT jobs.uuid_v7() AS job_id, number FROM generate_series(1, $1) AS number
),
live AS (
    INSERT INTO jobs.jobs (
        job_id, tenant, function, event_id, max_attempts, initial_backoff, max_backoff,
        request_id, traceparent, state, attempt, failure_kind, failure_message,
        failure_permanent, ready_time, end_time
    )
    SELECT job_id, $2, 'f', job_id, 3, '0', '0', 'r', '',
        CASE WHEN number % 10 = 0 THEN 'dead_lettered' ELSE 'queued' END,
        CASE WHEN number % 10 = 0 THEN 1 ELSE 0 END,
        CASE WHEN number % 10 = 0 THEN 'Teapot' END, CASE WHEN number % 10 = 0 THEN '' END,
        CASE WHEN number % 10 = 0 THEN false END,
        CASE WHEN number % 10 <> 0 THEN now() END, CASE WHEN number % 10 = 0 THEN now() END
    FROM made
    RETURNING job_id, state
),
dead AS (
    INSERT INTO jobs.dead_letters (job_id, tenant, function, failure_kind)
    SELECT job_id, $2, 'f', 'Teapot' FROM live WHERE state = 'dead_lettered'
)
INSERT INTO jobs.history (
    job_id, tenant, function, event_id, event_name, left_state, state, revision, attempt,
    max_attempts, crash_count, priority, key, version, epoch, schedule, result, failure_kind,
    failure_message, failure_permanent, request_id, traceparent, create_time, end_time
)
SELECT jobs.uuid_v7(), $2, 'f', job_id, '', 'running', 'succeeded', 3, 1,
    3, 0, 0, '', '', 1, '', '1', CASE WHEN number % 1000 = 0 THEN 'Rare' END,
    CASE WHEN number % 1000 = 0 THEN '' END, CASE WHEN number % 1000 = 0 THEN false END,
    'r', '', now(), now() + number % 3 * interval '1 day'
FROM made
"""


class TestManyJobs:
    ROWS = 10_000

    @pytest.fixture
    async def store(self, service: Service, postgres_url: str) -> AsyncIterator[Postgres]:
        """Fill the tables for several tenants and provide a pool of the service's kind."""
        postgres = Postgres(postgres_url, session_settings=PLANNER, command_timeout=60)
        await postgres.start()
        async with postgres.transaction(ALL_TENANTS) as connection:
            # The others' jobs are older and newer.
            for tenant in ("aaa", "zzz", ACME, "aaa", "zzz"):
                await connection.execute(FILL, self.ROWS, tenant)
        yield postgres
        await postgres.close()

    async def test_window(self, store: Postgres) -> None:
        """What is looked at for a page is bounded: one may be short, and none gets lost."""
        listing = PostgresListing(store, window=100)
        rare, below, short, found = JobFilter(failure_kind="Rare"), FIRST, 0, 0
        while True:
            page = await listing.list_jobs(ACME, rare, below=below, size=5)
            found += len(page.jobs)
            if page.next is None:
                break
            short += len(page.jobs) < 5
            assert page.next < below
            below = page.next

        assert self.ROWS // 1000 == found
        assert short > self.ROWS // (100 * MAX_WINDOWS) // 2

    async def test_states_of_one_table(self, store: Postgres) -> None:
        """Jobs that run are not looked for among those that are over."""
        listing = PostgresListing(store, window=self.ROWS)

        running = JobFilter(states=frozenset({JobState.RUNNING}))
        dead = JobFilter(states=frozenset({JobState.DEAD_LETTERED}))
        none = await listing.list_jobs(ACME, running, below=FIRST, size=5)
        all_dead = await listing.list_jobs(ACME, dead, below=FIRST, size=self.ROWS)

        assert ((), None) == (none.jobs, none.next)
        assert self.ROWS // 10 == len(all_dead.jobs)

    @pytest.mark.parametrize(
        ("query", "arguments"),
        [
            ("list_jobs", f"{IDS}, true, true, {NULLS}, null, 5000, 101, null, null"),
            ("last_listed", f"{IDS}, true, true, 100"),
            ("list_dead_letters", f"{IDS}, {NULLS}, null, 5000, 101, null"),
            ("last_listed_dead_letter", f"{IDS}, 100"),
        ],
    )
    async def test_plan(self, store: Postgres, query: str, arguments: str) -> None:
        """A page reads little more than it shows, by a plan that knows no arguments."""
        async with store.transaction(ACME) as connection:
            await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            await connection.execute(f"PREPARE page AS {QUERIES[query]}")
            document = await connection.fetchval(
                f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE page ({arguments})"
            )
            await connection.execute("DEALLOCATE page")

        assert rows_read(json.loads(document)[0]["Plan"]) < 500


def rows_read(plan: dict[str, Any]) -> int:
    """Return how many rows the scans of a plan have read."""
    mine = 0
    if "Relation Name" in plan:
        read = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        mine = int(read * plan["Actual Loops"])
    return mine + sum(rows_read(child) for child in plan.get("Plans", ()))

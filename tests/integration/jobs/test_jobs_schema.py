"""What the database itself refuses, and how it plans."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from importlib.resources import files
from itertools import product
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from mainstay.jobs.v1 import job_pb2
from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from services.jobs.database import MIGRATIONS, PLANNER
from services.jobs.states import TRANSITIONS, JobState
from shared.postgres.queries import load_queries
from shared.service import Service
from tests.integration.jobs.producer import Producer
from tests.integration.jobs.raw_worker import RawWorker, Workers

# Every statement there is, by file and name.
QUERIES = {
    f"{file.name} {name}": statement
    for file in (files("services.jobs") / "sql").iterdir()
    if file.is_file()
    for name, statement in load_queries("services.jobs", f"sql/{file.name}").items()
}

LEADING = """
SELECT c.relname AS index, a.attname AS leading
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_attribute AS a ON a.attrelid = i.indexrelid AND a.attnum = 1
"""

# A row that is right in every state, so that only the transition can be refused.
SET_STATE = """
UPDATE jobs.jobs
SET state = $1,
    attempt = CASE WHEN $1 = 'queued' THEN 0 ELSE 1 END,
    worker = CASE WHEN $1 = 'running' THEN 'w' END,
    result = CASE WHEN $1 = 'succeeded' THEN '1'::json END,
    failure_kind = 'E', failure_message = '', failure_permanent = false,
    ready_time = CASE WHEN $1 IN ('queued', 'retrying') THEN now() END,
    rollback_outcome = CASE WHEN $1 = 'rolling_back' THEN 'cancelled' END,
    end_time = CASE
        WHEN $1 IN ('succeeded', 'dead_lettered', 'cancelled', 'discarded') THEN now()
    END
"""
# A job of the history that left a state.
ARCHIVE = """
INSERT INTO jobs.history (
    job_id, tenant, function, event_id, event_name, left_state, state, revision, attempt,
    max_attempts, crash_count, priority, key, version, epoch, schedule, result, request_id,
    traceparent, create_time
) VALUES (
    jobs.uuid_v7(), 'acme', 'f', jobs.uuid_v7(), 'e', $1, $2, 1, 1,
    3, 0, 0, '', '', 1, '', CASE WHEN $2 = 'succeeded' THEN '1'::json END, 'r',
    '', now()
)
"""


# Of a job that waits for its first attempt.
IMPOSSIBLE = {
    "state = 'lost'": "state_is_known",
    "attempt = 4": "attempts_are_bounded",
    "attempt = 1": "queued_is_untried",
    "ready_time = NULL": "waiting_is_due",
    "worker = 'w'": "running_has_worker",
    "end_time = now()": "over_has_end",
    "result = '1'": "success_has_result",
    "failure_kind = 'E'": "failure_is_whole",
    "progress_fraction = 1.5": "progress_is_a_fraction",
    "rollback_outcome = 'queued'": "rollback_leads_to_an_end",
    "rollback_failure_kind = 'E'": "rollback_failure_is_whole",
    "cancel_time = now()": "cancel_is_whole",
    "parent_job_id = job_id": "child_names_its_step",
    "priority = 101": "priority_is_bounded",
}


class TestTransitions:
    @pytest.fixture
    async def job(self, service: Service, jobs: Producer, workers: Workers) -> str:
        """Start a job that nobody takes."""
        await workers.connect(service.address)
        return await jobs.start_job()

    async def test_every_pair(self, job: str, database: asyncpg.Connection) -> None:
        """The database lets a job go along the arrows of the service, and no other way."""
        allowed = set()
        for start, end in product(JobState, JobState):
            async with Undone(database):
                await database.execute("ALTER TABLE jobs.jobs DISABLE TRIGGER put_in_its_place")
                await database.execute("ALTER TABLE jobs.jobs DISABLE TRIGGER legal_transition")
                await database.execute(SET_STATE, start.value)
                await database.execute("ALTER TABLE jobs.jobs ENABLE TRIGGER legal_transition")
                if await self.succeeds(database, end):
                    allowed.add((start, end))

        arrows = {(start, end) for start, ends in TRANSITIONS.items() for end in ends}
        # To stay where it is, is no transition.
        assert arrows | {(state, state) for state in JobState} == allowed

    @staticmethod
    async def succeeds(database: asyncpg.Connection, end: JobState) -> bool:
        """Return whether the database lets the job go there."""
        try:
            await database.execute(SET_STATE, end.value)
        except asyncpg.CheckViolationError as error:
            # Refused by the trigger: a constraint would be named.
            return error.constraint_name is not None
        return True

    async def test_history(self, database: asyncpg.Connection) -> None:
        """The history takes jobs that are over, along the same arrows."""
        taken = set()
        for start, end in product(JobState, JobState):
            with suppress(asyncpg.CheckViolationError):
                await database.execute(ARCHIVE, start.value, end.value)
                taken.add((start, end))

        kept = {JobState.SUCCEEDED, JobState.CANCELLED, JobState.DISCARDED}
        arrows = {(start, end) for start, ends in TRANSITIONS.items() for end in ends & kept}
        assert arrows == taken

    async def test_constraints(self, job: str, database: asyncpg.Connection) -> None:
        """A row that cannot be true is refused, by the constraint that says why."""
        await database.execute("ALTER TABLE jobs.jobs DISABLE TRIGGER legal_transition")

        for change, constraint in IMPOSSIBLE.items():
            with pytest.raises(asyncpg.CheckViolationError) as caught:
                await database.execute(f"UPDATE jobs.jobs SET {change}")
            assert constraint == caught.value.constraint_name


class Undone:
    """A transaction whose changes do not stay."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._transaction = connection.transaction()

    async def __aenter__(self) -> None:
        await self._transaction.start()

    async def __aexit__(self, *_: object) -> None:
        await self._transaction.rollback()


class TestNewSchema:
    async def test_old_code_on_the_new_schema(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """A running replica goes on, on connections that it has, when tables get new columns."""
        worker = await workers.connect(service.address)
        await self.one_life(jobs, worker)
        tables = await database.fetch(
            "SELECT relname FROM pg_class "
            "WHERE relnamespace = 'jobs'::regnamespace AND relkind IN ('r', 'p') "
            # A partition has the columns of its table.
            "AND NOT relispartition"
        )
        for row in tables:
            await database.execute(f"ALTER TABLE jobs.{row['relname']} ADD COLUMN later text")

        job = await self.one_life(jobs, worker)

        assert job_pb2.JOB_STATE_SUCCEEDED == job.state
        assert ["probe"] == [step.key for step in job.steps]

    @staticmethod
    async def one_life(jobs: Producer, worker: RawWorker) -> job_pb2.Job:
        """Bring a job from its event to its end and read it on the way."""
        job_id = await jobs.start_job()
        await jobs.get(job_id)
        assigned = await worker.take_one()
        await worker.step(assigned.token, "probe")
        await worker.beat(assigned.token)
        await worker.complete(assigned.token)
        return await jobs.get(job_id)


class TestFinishedSteps:
    async def test_only_what_was_asked(
        self, service: Service, jobs: Producer, workers: Workers, database: asyncpg.Connection
    ) -> None:
        """However many steps a job has, a report reads only those it names."""
        worker = await workers.connect(service.address)
        job_id = UUID(await jobs.start_job())
        token = (await worker.take_one()).token
        answers = [await worker.step(token, key) for key in ("a", "b", "c", "b", "a\0")]

        rows = await database.fetch(QUERIES["turns.sql find_steps"], [job_id], ["b", "x"])

        stored, duplicate = worker_pb.ACK_STATE_STORED, worker_pb.ACK_STATE_DUPLICATE
        rejected = worker_pb.ACK_STATE_REJECTED
        assert [stored, stored, stored, duplicate, rejected] == [each.state for each in answers]
        assert [(job_id, "b")] == [(row["job_id"], row["key"]) for row in rows]


class TestIds:
    async def test_order(self, service: Service, database: asyncpg.Connection) -> None:
        """Ids of the database are UUIDs of version 7 in the order of their making."""
        ids = [await database.fetchval("SELECT jobs.uuid_v7()") for _ in range(20)]

        assert {7} == {made.version for made in ids}
        assert sorted(ids) == ids


class TestPlans:
    # Read whole on purpose: there are as many sessions as workers, as many leases as running jobs,
    # few functions, and `depth` and `queue_figures` count, for people.
    WHOLE = frozenset(
        {
            "queues.sql queue_figures",
            "queues.sql set_paused",
            "functions.sql count_running",
            "queues.sql depth",
            "rescue.sql lock_expired_sessions",
            "rescue.sql next_expiry",
        }
    )

    async def test_made_on_an_empty_database(self, postgres_url: str) -> None:
        """A plan that was made while tables were empty is good when they are full.

        Every connection that was there first keeps such plans: each scan must go down an index
        to the rows it wants.
        """
        await MIGRATIONS.apply(postgres_url)
        connection = await asyncpg.connect(postgres_url, server_settings=PLANNER)
        await connection.execute("SET mainstay.tenant = '*'")
        # The worst that statistics can say.
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("SET plan_cache_mode = force_generic_plan")

        aimless = {
            name: [scan async for scan in self.aimless_scans(connection, name)]
            for name in sorted(QUERIES.keys() - self.WHOLE)
        }

        await connection.close()
        found = [f"{name}: {scan}" for name, scans in aimless.items() for scan in scans]
        assert [] == found

    async def aimless_scans(self, connection: asyncpg.Connection, name: str) -> AsyncIterator[str]:
        """Yield what is read from end to end by the kept plan of a statement."""
        await connection.execute(f"PREPARE statement AS {QUERIES[name]}")
        numbers = re.findall(r"\$(\d+)", QUERIES[name])
        nothing = ["NULL"] * max(map(int, numbers), default=0)
        arguments = f"({', '.join(nothing)})" if nothing else ""
        document = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE statement{arguments}")
        await connection.execute("DEALLOCATE statement")
        leading = {row["index"]: row["leading"] for row in await connection.fetch(LEADING)}
        for scan in _aimless_scans(json.loads(document)[0]["Plan"], leading):
            yield scan


def _aimless_scans(plan: dict[str, Any], leading: dict[str, str]) -> Iterator[str]:
    """Yield the scans of a plan that read a table or an index from end to end.

    One that does not compare the column by which its index is sorted first is such a scan too.
    """
    kind, table = plan["Node Type"], plan.get("Relation Name")
    children = plan.get("Plans", ())
    # A Tid Scan goes to rows that were found before.
    if "Scan" in kind and kind != "Tid Scan" and table not in {None, "sessions"}:
        aims = (plan, *children) if kind == "Bitmap Heap Scan" else (plan,)
        if not any(
            re.search(rf"\b{leading[aim['Index Name']]}\b", aim["Index Cond"])
            for aim in aims
            if "Index Cond" in aim
        ):
            yield f"{kind} of {table}"
    for child in children:
        yield from _aimless_scans(child, leading)

"""What the database says of every job once a run is over."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

from mainstay.jobs import JobState
from tests.faults.jobs_suite.functions import BLOCKED
from tests.faults.jobs_suite.stage import Database

# To look is to read all records, those of blocked jobs too.
LOOK_SECONDS = 1.0
_LIVE = """
SELECT job_id::text, tenant, function, state, (data ->> 'n')::integer AS n, data::text AS data,
    epoch, attempt, crash_count, result::text AS result, failure_kind, parent_job_id::text
FROM jobs.jobs WHERE function <> 'blocked' AND function NOT LIKE 'mainstay/%'
"""
_OVER = _LIVE.replace("jobs.jobs", "jobs.history").replace(
    "parent_job_id::text", "parent_job_id::text, steps::text AS steps"
)
_STEPS = """
SELECT s.job_id::text, s.key, s.kind, s.result::text AS result, s.compensation, s.compensate_time
FROM jobs.steps AS s JOIN jobs.jobs AS j USING (job_id) ORDER BY s.job_id, s.number
"""
_LEFT = """
SELECT j.job_id::text, j.function, j.state, j.attempt, j.epoch, j.revision, j.ready_time,
    EXISTS (SELECT FROM jobs.ready AS r WHERE r.job_id = j.job_id) AS ready,
    EXISTS (SELECT FROM jobs.delayed AS d WHERE d.job_id = j.job_id) AS delayed,
    EXISTS (SELECT FROM jobs.leases AS l WHERE l.job_id = j.job_id) AS leased,
    (SELECT string_agg(w.kind || ' ' || w.key || ' ' || w.subject, ', ')
        FROM jobs.waits AS w WHERE w.job_id = j.job_id) AS waits
FROM jobs.jobs AS j
WHERE j.state <> 'dead_lettered' AND j.function <> 'blocked'
"""
_STRAYS = """
SELECT p.job_id::text, p.place FROM (
    SELECT job_id, 'ready' AS place FROM jobs.ready
    UNION ALL SELECT job_id, 'delayed' FROM jobs.delayed
    UNION ALL SELECT job_id, 'leases' FROM jobs.leases
    UNION ALL SELECT job_id, 'waits' FROM jobs.waits
) AS p LEFT JOIN jobs.jobs AS j USING (job_id)
-- A dead letter keeps what it waits for, for the case that it is tried again.
WHERE j.job_id IS NULL OR (j.state = 'dead_lettered' AND p.place <> 'waits')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredStep:
    """A step as it is stored; `undone` is when, as a number that only orders."""

    key: str
    kind: str
    result: Any
    compensation: int
    undone: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A job as it is stored; `data` is its payload as text."""

    job_id: str
    tenant: str
    function: str
    state: JobState
    n: int
    data: str
    epoch: int
    attempt: int
    crashes: int
    result: Any
    failure_kind: str
    parent: str
    steps: tuple[StoredStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Everything that is stored.

    Attributes:
        records: Jobs by id, except for blocked ones and those of the service's own maintenance.
        left: Jobs that are not over, in words.
        strays: Rows of the places of jobs without a job that could be there, in words.
        blocked: How many jobs are ready in the queue that is paused.

    """

    records: dict[str, Record] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    blocked: int = 0


async def all_over(database: Database, *, within: float) -> float:
    """Wait until no job is left to be done; return the seconds that took, `within` at most."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < within:
        if not await database.fetch(f"{_LEFT} LIMIT 1"):
            break
        await asyncio.sleep(LOOK_SECONDS)
    return passed


async def stored(database: Database) -> Stored:
    """Read everything."""
    steps: dict[str, list[StoredStep]] = {}
    for row in await database.fetch(_STEPS):
        undone = row["compensate_time"] and row["compensate_time"].isoformat()
        steps.setdefault(row["job_id"], []).append(
            StoredStep(
                key=row["key"],
                kind=row["kind"],
                result=json.loads(row["result"]),
                compensation=row["compensation"],
                undone=undone,
            )
        )
    records = {}
    for row in await database.fetch(_LIVE):
        records[row["job_id"]] = _record(row, steps.get(row["job_id"], []))
    for row in await database.fetch(_OVER):
        folded = json.loads(row["steps"] or "[]") or []
        records[row["job_id"]] = _record(row, map(_folded, folded))
    ((blocked,),) = await database.fetch(
        "SELECT count(*) FROM jobs.ready AS r JOIN jobs.jobs AS j USING (job_id) "
        "WHERE r.function = $1 AND j.state = 'queued'",
        BLOCKED,
    )
    left = [
        ", ".join(f"{key} {value}" for key, value in row.items())
        for row in await database.fetch(_LEFT)
    ]
    strays = [f"job {row['job_id']} in {row['place']}" for row in await database.fetch(_STRAYS)]
    return Stored(records=records, left=left, strays=strays, blocked=blocked)


def _folded(step: Any) -> StoredStep:
    return StoredStep(
        key=step["key"],
        kind=step["kind"],
        result=step["result"],
        compensation=step["compensation"],
        undone=step["compensate_time"],
    )


def _record(row: Any, steps: Any) -> Record:
    return Record(
        job_id=row["job_id"],
        tenant=row["tenant"],
        function=row["function"],
        state=JobState(row["state"]),
        n=row["n"],
        data=row["data"],
        epoch=row["epoch"],
        attempt=row["attempt"],
        crashes=row["crash_count"],
        result=json.loads(row["result"] or "null"),
        failure_kind=row["failure_kind"] or "",
        parent=row["parent_job_id"] or "",
        steps=tuple(steps),
    )

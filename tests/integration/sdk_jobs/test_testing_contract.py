"""What `mainstay.testing` says of a function is what the service says."""

import re
from dataclasses import dataclass
from typing import Any

import pytest

from mainstay.jobs import Failure, Job, JobClient, JobState, Progress, StepKind, Worker
from mainstay.testing import FunctionRun, run_function
from tests.integration.sdk_jobs.contract_functions import CASES, Case
from tests.integration.sdk_jobs.running_worker import running
from tests.integration.sdk_jobs.worker_under_test import PATIENCE

EVENT = "test/work"
JOB_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(/\d+)?")


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What both sides tell of a job, without ids and times."""

    state: JobState
    result: Any
    attempts: int
    failure: Failure | None
    rollback_failure: Failure | None
    progress: Progress | None
    steps: dict[str, tuple[StepKind, int, bool, Any]]


def without_ids(value: Any) -> Any:
    """Return a value without what differs in every run."""
    match value:
        case dict():
            return {key: without_ids(item) for key, item in value.items() if key != "event_id"}
        case list():
            return [without_ids(item) for item in value]
        case str():
            return JOB_ID.sub("ID", value)
        case Failure():
            return Failure(
                kind=value.kind, message=without_ids(value.message), permanent=value.permanent
            )
    return value


def of_service(job: Job) -> Ending:
    """Return what the service tells."""
    return Ending(
        state=job.state,
        result=without_ids(job.result),
        attempts=job.attempt,
        failure=without_ids(job.failure),
        rollback_failure=without_ids(job.rollback.failure) if job.rollback else None,
        progress=job.progress,
        steps={
            step.key: (
                step.kind,
                step.attempt,
                step.compensate_time is not None,
                without_ids(step.result),
            )
            for step in job.steps
        },
    )


def of_memory(run: FunctionRun) -> Ending:
    """Return what the run in memory tells."""
    return Ending(
        state=run.state,
        result=without_ids(run.result),
        attempts=run.attempts,
        failure=without_ids(run.failure),
        rollback_failure=without_ids(run.rollback_failure),
        progress=run.progress[-1] if run.progress else None,
        steps={
            step.key: (step.kind, step.attempt, step.undone, without_ids(step.result))
            for step in run.steps
        },
    )


async def on_service(case: Case, jobs: JobClient, address: str) -> Ending:
    """Run a function on a worker of the real service."""
    worker = Worker(address, name="worker-1", tenant="*")
    for function in case.functions(EVENT):
        worker.function(
            function.name,
            on=function.on,
            retries=function.retries,
            initial_backoff=function.initial_backoff,
        )(function.handler)
    async with running(worker):
        await worker.ready()
        (job_id,) = (await jobs.send_event(EVENT, case.data)).job_ids
        for signal in case.signals:
            await jobs.signal_job(job_id, signal.name, dict(signal.data))
        return of_service(await jobs.wait_for_job(job_id, timeout=PATIENCE))


async def in_memory(case: Case) -> Ending:
    """Run a function in memory."""
    function, *children = case.functions(EVENT)
    return of_memory(
        await run_function(
            function,
            case.data,
            signals=case.signals,
            children={child.name: child for child in children},
            event_name=EVENT,
            tenant="acme",
        )
    )


class TestRunInMemory:
    @pytest.mark.parametrize("case", CASES.values(), ids=CASES)
    async def test_ends_as_on_the_service(
        self, case: Case, jobs: JobClient, jobs_address: str
    ) -> None:
        """State, result, steps, failures, progress and what was undone."""
        assert await on_service(case, jobs, jobs_address) == await in_memory(case)

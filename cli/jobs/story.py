"""What `mainstay jobs show` and `explain` print: one job, with all that is known of it."""

from collections.abc import Iterator
from datetime import datetime

from rich.markup import escape
from rich.table import Table

from cli.console import facts, table
from cli.jobs.sentences import ago, brief, failure_words, line, standing, until, wait_words
from cli.wording import length, moment
from mainstay.jobs import Explanation, Job, JobState, Step

_SHOWN_OF_A_STEP = 80


def story(job: Job, now: datetime) -> Iterator[str | Table]:
    """Yield a job's facts, and its steps."""
    yield facts(_facts(job, now))
    if job.steps:
        yield ""
        yield _steps(job.steps, now)


def _facts(job: Job, now: datetime) -> Iterator[tuple[str, str]]:
    yield "job", job.job_id
    yield "function", f"{job.function} (version {job.version})" if job.version else job.function
    yield "state", standing(job, now)
    if job.state is not JobState.WAITING:
        for wait in job.waits:
            yield "waits", wait_words(wait, now)
    if job.cancellation is not None:
        undoing = ", undoing its steps" if job.cancellation.rollback else ""
        asked = f"asked for {ago(job.cancellation.request_time, now)}{undoing}"
        said = line(job.cancellation.reason)
        yield "cancellation", f"{asked}: {said}" if said else asked
    if job.failure is not None and job.state is not JobState.DEAD_LETTERED:
        yield "last failure", failure_words(job.failure)
    yield "started by", _origin(job)
    yield "accepted", f"{moment(job.create_time)}, {ago(job.create_time, now)}"
    if job.start_time is not None:
        yield "began", f"{moment(job.start_time)}, {length(job.start_time - job.create_time)} later"
    if job.end_time is not None:
        yield "ended", f"{moment(job.end_time)}, {ago(job.end_time, now)}{_took(job)}"
    if job.priority:
        yield "priority", f"{job.priority}"
    yield "request id", line(job.request_id)
    yield "data", brief(job.data)
    if job.progress is not None and job.progress.partial is not None:
        yield "so far", brief(job.progress.partial)
    if job.state is JobState.SUCCEEDED:
        yield "result", brief(job.result)


def _took(job: Job) -> str:
    if job.start_time is None or job.end_time is None:
        return ""
    return f", after {length(job.end_time - job.start_time)}"


def _origin(job: Job) -> str:
    if job.parent_job_id:
        return f"the job {job.parent_job_id}"
    by = f"event {job.event_name} {job.event_id}" if job.event_name else "a call"
    return f"{by} of the schedule {job.schedule}" if job.schedule else by


def _steps(steps: tuple[Step, ...], now: datetime) -> Table:
    made = table("step", "kind", "attempt", "finished", "result", right=("attempt",))
    for step in steps:
        made.add_row(
            escape(line(step.key)),
            step.kind.value,
            f"{step.attempt}",
            ago(step.end_time, now),
            escape(f"{_undone(step, now)}{brief(step.result, _SHOWN_OF_A_STEP)}"),
        )
    return made


def _undone(step: Step, now: datetime) -> str:
    return "" if step.compensate_time is None else f"undone {ago(step.compensate_time, now)}; was "


def explanation(found: Explanation, now: datetime) -> Iterator[str]:
    """Yield why a job is not running, a line for each thing that keeps it from that."""
    yield f"{found.job.job_id} ({found.job.function}): {standing(found.job, now)}"
    if len(found.hindrances) > 1:
        yield "what keeps it, the most binding first:"
        for hindrance in found.hindrances:
            end = "" if hindrance.end_time is None else f" (ends {until(hindrance.end_time, now)})"
            yield f"  {line(hindrance.message)}{end}"
    else:
        yield line(found.summary)
    if found.estimated_start_time is not None:
        yield f"likely to start {until(found.estimated_start_time, now)}"

"""What `mainstay jobs` prints for people in tables."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from rich.markup import escape
from rich.table import Table

from cli.console import table
from cli.jobs.sentences import ago, beginning, failure_words, line, state_words, until
from cli.wording import length
from mainstay.jobs import ConnectedWorker, EventSchema, Job, Queue, Schedule

_NONE = "-"
# Of what somebody's code said.
_SHOWN = 160
_LEAST = 0.1
_HUNDRED, _THOUSAND, _MILLION = 100, 1_000, 1_000_000


def jobs(found: Sequence[Job], now: datetime) -> Table:
    """Return jobs, the newest first."""
    made = table("job", "function", "state", "accepted", whole=("job",))
    for job in found:
        made.add_row(
            job.job_id,
            escape(job.function),
            escape(state_words(job)),
            ago(job.create_time, now),
        )
    return made


def dead_letters(found: Sequence[Job], now: datetime) -> Table:
    """Return dead letters, the newest first, with why they are."""
    made = table("job", "function", "died", "why", whole=("job",))
    for job in found:
        made.add_row(
            job.job_id,
            escape(job.function),
            ago(job.end_time or job.create_time, now),
            escape(beginning(failure_words(job.failure), _SHOWN)) if job.failure else _NONE,
        )
    return made


def schedules(found: Sequence[Schedule], now: datetime) -> Table:
    """Return schedules with what they start and when."""
    made = table("schedule", "cron", "starts", "last", "next")
    for each in found:
        zone = "" if each.time_zone in ("", "UTC") else f" ({each.time_zone})"
        made.add_row(
            escape(f"{each.name} (system)" if each.system else each.name),
            escape(f"{each.cron}{zone}"),
            escape(started(each)),
            _NONE if each.last_time is None else ago(each.last_time, now),
            "paused" if each.next_time is None else until(each.next_time, now),
        )
    return made


def started(schedule: Schedule) -> str:
    """Return what a schedule starts."""
    return f"event {schedule.event}" if schedule.event else f"function {schedule.function}"


def queues(found: Sequence[Queue]) -> Table:
    """Return queues with their depths, ages and rates."""
    figures = ("ready", "later", "run", "wait", "dead", "oldest", "in/s", "out/s", "workers")
    made = table("queue", *figures, right=figures)
    for each in found:
        made.add_row(
            escape(f"{each.name} (paused)" if each.paused else each.name),
            *map(_count, (each.ready, each.delayed, each.running, each.waiting)),
            _count(each.dead_letters),
            _NONE if each.oldest_age is None else _age(each.oldest_age),
            _rate(each.accepted_rate),
            _rate(each.ended_rate),
            _count(each.workers),
        )
    return made


def _count(number: int) -> str:
    """Return a number as wide as a column of nine may be."""
    if number < 10 * _THOUSAND:
        return f"{number:,}"
    if number < _MILLION:
        return f"{number // _THOUSAND}k"
    return f"{number / _MILLION:.1f}M"


def _rate(per_second: float) -> str:
    if not per_second:
        return "0"
    if per_second < _LEAST:
        return f"<{_LEAST}"
    return f"{per_second:.1f}" if per_second < _HUNDRED else _count(round(per_second))


def _age(span: timedelta) -> str:
    """Return a length in its greatest unit only."""
    return " ".join(length(span).split()[:2])


def workers(found: Sequence[ConnectedWorker], now: datetime) -> Table:
    """Return workers with what they do."""
    made = table(
        "worker", "tenant", "jobs", "connected", "lease ends", "functions", right=("jobs",)
    )
    for each in found:
        made.add_row(
            escape(line(each.name)),
            "all" if each.tenant == "*" else escape(each.tenant),
            f"{each.running:,}",
            ago(each.create_time, now),
            until(each.lease_expire_time, now),
            escape(", ".join(each.functions)),
        )
    return made


def schemas(found: Sequence[EventSchema]) -> Table:
    """Return contracts of events with the fields that they need."""
    made = table("event", "version", "from", "needs", right=("version",))
    for each in found:
        needed = each.schema.get("required", ())
        made.add_row(
            escape(each.name),
            f"{each.version}",
            "a file" if each.built_in else "a call",
            escape(line(", ".join(map(str, needed)))) or _NONE,
        )
    return made

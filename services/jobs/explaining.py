"""Why a job is not running, and what would have to happen for it to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from services.jobs.job import Job, StepKind
from services.jobs.states import JobState

MAX_COUNTED = 10_000
"""Jobs ahead of one are counted up to this."""


class HindranceKind(Enum):
    """What keeps a job from running."""

    OVER = auto()
    NOT_DUE = auto()
    WAITING = auto()
    PAUSED = auto()
    NO_WORKER = auto()
    OTHER_VERSION = auto()
    NO_CREDIT = auto()
    CAP = auto()
    KEY_CAP = auto()
    RATE = auto()
    TURN = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hindrance:
    """One thing that keeps a job from running; `end_time` when it ends by itself, if known."""

    kind: HindranceKind
    message: str
    end_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFacts:
    """What the store knows of the queue that a ready job waits in, and of its place there.

    Attributes:
        now: The database's clock.
        ready: Whether the job could start now.
        delayed: Whether it waits for its time.
        ahead: Jobs of its lane that go before it, counted up to a bound.
        workers: Connected workers that have its function.
        same_version: Those of them that have the version it is pinned to.
        pin: That version; empty for any.
        running: Jobs of its function that run, of all tenants.
        running_of_key: Those of its tenant and key.
        limit: How many may run; 0 for any number.
        key_limit: How many of one key may; 0 for any number.
        key: Its key.
        rate_endpoint: The budget it draws from; empty for none.
        rate_subject: Whose, as its function declares it.
        started_rate: Jobs of its queue that have left it in the last minute, per second.

    """

    now: datetime
    ready: bool
    delayed: bool
    ahead: int
    workers: int
    same_version: int
    pin: str
    running: int
    running_of_key: int
    limit: int
    key_limit: int
    key: str
    rate_endpoint: str
    rate_subject: str
    paused: bool
    started_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a job does not run; the most binding hindrance is first, and none when it does."""

    job: Job
    hindrances: tuple[Hindrance, ...]
    ahead: int
    estimated_start: datetime | None
    summary: str


def explain(
    job: Job, facts: QueueFacts | None, *, rate_denied_until: datetime | None
) -> Explanation:
    """Return what keeps a job from running; `facts` are None for one that is over.

    `rate_denied_until` is when this replica asks the rate limit service again, if that has refused.
    """
    hindrances = tuple(_hindrances(job, facts, rate_denied_until))
    return Explanation(
        job=job,
        hindrances=hindrances,
        ahead=facts.ahead if facts else 0,
        estimated_start=_estimate(facts, hindrances) if facts else None,
        summary=_summary(job, hindrances),
    )


def _hindrances(
    job: Job, facts: QueueFacts | None, rate_denied_until: datetime | None
) -> Sequence[Hindrance]:
    if job.state.is_over:
        return [Hindrance(kind=HindranceKind.OVER, message=f"it is over: {_end(job)}")]
    if job.worker or facts is None:
        return []
    if facts.delayed and job.ready_time is not None:
        return [
            Hindrance(
                kind=HindranceKind.NOT_DUE,
                message=f"it is not due before {_told(job.ready_time)}: {_why_delayed(job)}",
                end_time=job.ready_time,
            )
        ]
    if not facts.ready:
        return [_waiting(job)] if job.waits else []
    return _in_line(facts, rate_denied_until)


def _in_line(facts: QueueFacts, rate_denied_until: datetime | None) -> list[Hindrance]:
    found = []
    if facts.paused:
        found.append(Hindrance(kind=HindranceKind.PAUSED, message="its queue is paused; resume it"))
    if not facts.workers:
        found.append(
            Hindrance(
                kind=HindranceKind.NO_WORKER,
                message="no worker is connected that has its function; start one",
            )
        )
    elif facts.pin and not facts.same_version:
        found.append(
            Hindrance(
                kind=HindranceKind.OTHER_VERSION,
                message=f"it goes on with version {facts.pin} only, and no worker has that; start "
                "one, or cancel the job",
            )
        )
    if facts.limit and facts.running >= facts.limit:
        found.append(
            Hindrance(
                kind=HindranceKind.CAP,
                message=f"{facts.running} of its function run, and {facts.limit} may",
            )
        )
    if facts.key_limit and facts.running_of_key >= facts.key_limit:
        found.append(
            Hindrance(
                kind=HindranceKind.KEY_CAP,
                message=f"{facts.running_of_key} with its key {facts.key!r} run, and "
                f"{facts.key_limit} may",
            )
        )
    if facts.rate_endpoint and rate_denied_until is not None:
        found.append(
            Hindrance(
                kind=HindranceKind.RATE,
                message=f"the rate of {facts.rate_endpoint} is used up",
                end_time=rate_denied_until,
            )
        )
    if facts.ahead:
        found.append(Hindrance(kind=HindranceKind.TURN, message=_ahead(facts.ahead)))
    if not found:
        found.append(
            Hindrance(
                kind=HindranceKind.NO_CREDIT,
                message="every worker that has its function is busy, or is just taking it",
            )
        )
    return found


def _waiting(job: Job) -> Hindrance:
    due = [wait.due_time for wait in job.waits if wait.due_time is not None]
    return Hindrance(
        kind=HindranceKind.WAITING,
        message="; ".join(
            f"step {wait.key!r} {_WAITS[wait.kind]}{f' {wait.subject}' if wait.subject else ''}"
            for wait in job.waits
        ),
        end_time=min(due, default=None),
    )


_WAITS = {
    StepKind.SLEEP: "sleeps",
    StepKind.EVENT: "waits for the event",
    StepKind.SIGNAL: "waits for the signal",
    StepKind.INVOKE: "waits for the job",
    StepKind.RUN: "runs",
}


def _why_delayed(job: Job) -> str:
    if job.state is JobState.RETRYING and job.failure is not None:
        return f"attempt {job.attempt} failed with {job.failure.kind}"
    if job.state is JobState.ROLLING_BACK:
        return "undoing has failed and is tried again"
    return "it was delayed, debounced or spilled"


def _estimate(facts: QueueFacts, hindrances: Sequence[Hindrance]) -> datetime | None:
    if len(hindrances) == 1 and hindrances[0].end_time is not None:
        return hindrances[0].end_time
    moving = {HindranceKind.TURN, HindranceKind.CAP, HindranceKind.KEY_CAP, HindranceKind.NO_CREDIT}
    kinds = {hindrance.kind for hindrance in hindrances}
    if not kinds or not kinds <= moving or facts.started_rate <= 0 or facts.ahead >= MAX_COUNTED:
        return None
    return facts.now + timedelta(seconds=(facts.ahead + 1) / facts.started_rate)


def _summary(job: Job, hindrances: Sequence[Hindrance]) -> str:
    if not hindrances:
        if job.worker:
            return f"the job runs, at worker {job.worker}"
        return "nothing keeps the job from running: it is about to be taken"
    return "the job does not run: " + "; ".join(hindrance.message for hindrance in hindrances)


def _end(job: Job) -> str:
    return f"{job.state.value}{f' at {_told(job.end_time)}' if job.end_time else ''}"


def _told(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _ahead(jobs: int) -> str:
    if jobs == 1:
        return "1 job goes before it"
    return f"{jobs:,}{' or more' if jobs >= MAX_COUNTED else ''} jobs go before it"

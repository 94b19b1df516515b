"""A batch of reports settled against the leases that its session holds."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from services.jobs import endings
from services.jobs.endings import Ending, Lease
from services.jobs.job import JobId, Progress
from services.jobs.reports import (
    Ack,
    AckState,
    Completed,
    Failed,
    Released,
    Report,
    StepCompleted,
    mistake_in,
)
from services.jobs.token import Token

Random = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A turn that one of the session's own reports ended."""

    epoch: int
    sequence: int


@dataclass(slots=True, kw_only=True)
class Turn:
    """A lease while a batch is applied to it: what is to be written in the end."""

    lease: Lease
    last_sequence: int
    steps_bytes: int
    finished_keys: set[str]
    steps: list[StepCompleted] = field(default_factory=list)
    progress: Progress | None = None
    ending: Ending | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The answers to a batch, and the turns it changed."""

    acks: list[Ack]
    turns: list[Turn]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is stored of the jobs that a batch is about, locked.

    Attributes:
        leases: The session's.
        finished_keys: The steps that are stored already, of jobs for which steps are reported.
        closed: The turns of this session that have ended, of jobs without a lease.

    """

    leases: Collection[Lease]
    finished_keys: Mapping[JobId, set[str]]
    closed: Mapping[JobId, Closed]


def settle(reports: Iterable[Report], held: Held, random: Random) -> Settlement:
    """Apply reports in their order; `random` gives numbers from 0 to 1."""
    turns = {
        lease.job_id: Turn(
            lease=lease,
            last_sequence=lease.last_sequence,
            steps_bytes=lease.steps_bytes,
            finished_keys=set(held.finished_keys.get(lease.job_id, ())),
        )
        for lease in held.leases
    }
    acks = []
    for report in reports:
        state, message = _settle_one(report, turns, held.closed, random)
        acks.append(
            Ack(raw_token=report.raw_token, sequence=report.sequence, state=state, message=message)
        )
    changed = [turn for turn in turns.values() if turn.last_sequence != turn.lease.last_sequence]
    return Settlement(acks=acks, turns=changed)


def _settle_one(
    report: Report, turns: Mapping[JobId, Turn], closed: Mapping[JobId, Closed], random: Random
) -> tuple[AckState, str]:
    if report.token is None:
        return AckState.REJECTED, "token: not one that this service gave out"
    if report.sequence < 1:
        return AckState.REJECTED, "sequence: counts from 1"
    turn = turns.get(report.token.job_id)
    if turn is None or turn.lease.epoch != report.token.epoch:
        return _without_lease(report.token, report.sequence, closed), ""
    if report.sequence <= turn.last_sequence:
        return _repeated(turn, report)
    return _advance(turn, report, random)


def _without_lease(token: Token, sequence: int, closed: Mapping[JobId, Closed]) -> AckState:
    """Tell the repetition of a last report, whose answer was lost, from a late writer."""
    turn = closed.get(token.job_id)
    if turn is not None and turn.epoch == token.epoch and sequence <= turn.sequence:
        return AckState.DUPLICATE
    return AckState.FENCED


def _repeated(turn: Turn, report: Report) -> tuple[AckState, str]:
    """Answer as the first time, when the answer may have been lost.

    A rejected report was passed by later ones of the turn: it must not pass for stored now. What
    was wrong with it still is, since a job's steps only grow. Once the turn has ended, nobody
    waits for the difference.
    """
    if turn.ending is None and (mistake := _mistake(turn, report)):
        return AckState.REJECTED, mistake
    return AckState.DUPLICATE, ""


def _mistake(turn: Turn, report: Report) -> str:
    match report.news:
        case StepCompleted(key=key) if key in turn.finished_keys:
            # Whatever it says this time, the stored step stays.
            return ""
        case news:
            return mistake_in(news, steps_bytes=turn.steps_bytes)


def _advance(turn: Turn, report: Report, random: Random) -> tuple[AckState, str]:
    if turn.ending is not None:
        return AckState.FENCED, ""
    if mistake := _mistake(turn, report):
        # Its sequence stays free: the worker reports a failure in its place.
        return AckState.REJECTED, mistake
    match report.news:
        case StepCompleted(key=key) if key in turn.finished_keys:
            turn.last_sequence = report.sequence
            return AckState.DUPLICATE, ""
    _apply(turn, report, random)
    return AckState.STORED, ""


def _apply(turn: Turn, report: Report, random: Random) -> None:
    sequence = turn.last_sequence = report.sequence
    match report.news:
        case StepCompleted() as step:
            turn.finished_keys.add(step.key)
            turn.steps.append(step)
            turn.steps_bytes += step.size
        case Progress() as progress:
            turn.progress = progress
        case Completed(result=result):
            turn.ending = endings.succeeded(turn.lease, result, sequence=sequence)
        case Failed(failure=failure, retry_after=wait):
            turn.ending = endings.failed(
                turn.lease, failure, asked_wait=wait, random=random(), sequence=sequence
            )
        case Released():
            turn.ending = endings.released(turn.lease, sequence=sequence)
        case None:
            raise AssertionError("a report without news is a mistake and does not get here")

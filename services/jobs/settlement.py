"""A batch of reports settled against the leases that its session holds."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.jobs.endings import Ending, Lease, Success
from services.jobs.function import FunctionDefinition
from services.jobs.job import Compensation, JobId
from services.jobs.reports import Ack, AckState, Completed, Report, mistake_in
from services.jobs.token import Token
from services.jobs.turn import Turn

Random = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A turn that one of the session's own reports ended."""

    epoch: int
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The answers to a batch, the turns it changed, and those that ended without more ado."""

    acks: list[Ack]
    turns: list[Turn]
    successes: Sequence[Success] = ()

    @property
    def jobs(self) -> frozenset[JobId]:
        """Return the jobs with a new revision."""
        return frozenset(turn.lease.job_id for turn in self.turns).union(
            success.job_id for success in self.successes
        )

    @property
    def endings(self) -> list[Ending]:
        """Return how turns ended, but for the successes."""
        return [turn.ending for turn in self.turns if turn.ending is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is stored of the jobs that a batch is about, locked.

    Attributes:
        leases: The session's.
        finished: The finished steps among those that reports name.
        closed: The turns of this session that have ended, of jobs without a lease.
        waiting: The steps that wait, or have waited, among those that reports name.
        compensations: Steps that can be undone or were, of jobs that may be rolled back now.
        ancestors: The functions that led to a job, its own last, of jobs that invoke others.
        functions: Those that reports name, by tenant and name.

    """

    leases: Collection[Lease]
    finished: Mapping[JobId, set[str]]
    closed: Mapping[JobId, Closed]
    waiting: Mapping[JobId, set[str]] = field(default_factory=dict)
    compensations: Mapping[JobId, Mapping[str, Compensation]] = field(default_factory=dict)
    ancestors: Mapping[JobId, tuple[str, ...]] = field(default_factory=dict)
    functions: Mapping[str, Mapping[str, FunctionDefinition]] = field(default_factory=dict)

    def turn(self, lease: Lease) -> Turn:
        """Return a turn as it is before the batch."""
        job_id = lease.job_id
        return Turn(
            lease=lease,
            last_sequence=lease.last_sequence,
            steps_bytes=lease.steps_bytes,
            finished=set(self.finished.get(job_id, ())),
            waiting=set(self.waiting.get(job_id, ())),
            compensations=dict(self.compensations.get(job_id, {})),
            ancestors=self.ancestors.get(job_id, ()),
            functions=self.functions.get(lease.tenant, {}),
        )


def plain_ends(reports: Iterable[Report]) -> dict[JobId, Report]:
    """Return the reports that a function returned where nothing else is said of the job.

    They are most of what there is, and need nothing settled: whoever has the turn may end it.
    """
    found: dict[JobId, Report | None] = {}
    for report in reports:
        if report.token is None:
            continue
        job_id = report.token.job_id
        plain = (
            job_id not in found
            and isinstance(report.news, Completed)
            and report.sequence >= 1
            and not mistake_in(report.news, steps_bytes=0)
        )
        found[job_id] = report if plain else None
    return {job_id: report for job_id, report in found.items() if report is not None}


def joined(
    reports: Iterable[Report], successes: Mapping[JobId, Success], rest: Settlement
) -> Settlement:
    """Return the settlement of all reports: of plain ends and of the rest, in order."""
    others = iter(rest.acks)
    acks = [
        Ack(raw_token=report.raw_token, sequence=report.sequence, state=AckState.STORED)
        if report.token is not None and report.token.job_id in successes
        else next(others)
        for report in reports
    ]
    return Settlement(acks=acks, turns=rest.turns, successes=tuple(successes.values()))


def settle(reports: Iterable[Report], held: Held, random: Random) -> Settlement:
    """Apply reports in their order; `random` gives numbers from 0 to 1."""
    turns = {lease.job_id: held.turn(lease) for lease in held.leases}
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
    known = turn.ending is not None or turn.knows(report.news)
    if not known and (mistake := turn.mistake(report.news)):
        return AckState.REJECTED, mistake
    return AckState.DUPLICATE, ""


def _advance(turn: Turn, report: Report, random: Random) -> tuple[AckState, str]:
    if turn.ending is not None:
        return AckState.FENCED, ""
    if turn.knows(report.news):
        turn.last_sequence = report.sequence
        return AckState.DUPLICATE, ""
    if mistake := turn.mistake(report.news):
        # Its sequence stays free: the worker reports a failure in its place.
        return AckState.REJECTED, mistake
    turn.apply(report.news, report.sequence, random())
    return AckState.STORED, ""

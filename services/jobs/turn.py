"""A worker's turn at a job while reports are applied to it, one by one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from services.jobs import endings
from services.jobs.endings import Ending, Lease
from services.jobs.function import FunctionDefinition
from services.jobs.job import Compensation, Progress
from services.jobs.reports import (
    Completed,
    Failed,
    News,
    Released,
    StepCompensated,
    StepCompleted,
    Stopped,
    Suspended,
    WaitBegun,
    mistake_in,
)
from services.jobs.waiting import Invoke, mistake_in_lineage


@dataclass(slots=True, kw_only=True)
class Turn:
    """What is stored of a turn, and what is to be written in the end.

    Attributes:
        finished: Of the keys that reports name, those of finished steps.
        waiting: Of the keys that reports name, those of steps that wait, or have waited.
        compensations: Steps that can be undone or were, by key, where that may matter.
        ancestors: The functions that led to the job, its own last, where that may matter.
        functions: Those that the job's tenant can invoke, by name, of those that reports name.

    """

    lease: Lease
    last_sequence: int
    steps_bytes: int
    finished: set[str] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)
    compensations: dict[str, Compensation] = field(default_factory=dict)
    ancestors: tuple[str, ...] = ()
    functions: Mapping[str, FunctionDefinition] = field(default_factory=dict)
    steps: list[StepCompleted] = field(default_factory=list)
    waits: list[WaitBegun] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    progress: Progress | None = None
    ending: Ending | None = None

    @property
    def to_undo(self) -> int:
        """Return how many steps there are to undo."""
        return sum(each is Compensation.DECLARED for each in self.compensations.values())

    def knows(self, news: News | None) -> bool:
        """Return whether the step that is reported was reported before; what is stored stays."""
        match news:
            case StepCompleted(key=key):
                return key in self.finished and key not in self.waiting
            case WaitBegun(key=key):
                return key in self.finished or key in self.waiting
            case StepCompensated(key=key):
                return self.compensations.get(key) is Compensation.DONE
        return False

    def mistake(self, news: News | None) -> str:
        """Return why a report cannot be stored, or nothing."""
        if self.lease.rollback:
            if isinstance(news, StepCompleted | WaitBegun | Suspended):
                return "report: this turn is to undo steps and cannot go on with others"
        elif isinstance(news, StepCompensated):
            return "step_compensated: the job is not being rolled back"
        return mistake_in(news, steps_bytes=self.steps_bytes) or self._misplaced(news)

    def _misplaced(self, news: News | None) -> str:
        match news:
            case StepCompleted(key=key) if key in self.waiting:
                return f"step_completed.key: {key[:200]!r} is a step that waits; use another key"
            case WaitBegun(wait=Invoke(function=function)):
                return self._invocation_mistake(function)
            case Suspended(keys=keys):
                odd = [key for key in keys if key not in self.waiting and key not in self.finished]
                return f"suspended.keys: {odd[0][:200]!r} has not begun to wait" if odd else ""
            case StepCompensated(key=key) if key not in self.compensations:
                return f"step_compensated.key: {key[:200]!r} is not a step that can be undone"
        return ""

    def _invocation_mistake(self, function: str) -> str:
        if self.lease.cancelled:
            # Nobody would end what it started after those that it had invoked were ended.
            return "wait_begun.invoke: the job is to end and cannot start others"
        if function not in self.functions:
            return f"wait_begun.invoke.function: no worker has declared {function[:100]!r}"
        return mistake_in_lineage(function, self.ancestors)

    def apply(self, news: News | None, sequence: int, random: float) -> None:
        """Take in a report that is new and has no mistake; `random` is from 0 to 1."""
        self.last_sequence = sequence
        match news:
            case Completed(result=result):
                self.ending = self._completed(result, sequence, random)
            case StepCompleted() as step:
                self._finish(step)
            case Progress() as progress:
                self.progress = _folded(self.progress, progress)
            case WaitBegun() as begun:
                self.waiting.add(begun.key)
                self.waits.append(begun)
                self.steps_bytes += begun.size
            case StepCompensated(key=key):
                self.compensations[key] = Compensation.DONE
                self.undone.append(key)
                self.lease = replace(self.lease, rollback_attempt=0)
            case news:
                self.ending = self._stopped(news, sequence, random)

    def _finish(self, step: StepCompleted) -> None:
        self.finished.add(step.key)
        self.steps.append(step)
        self.steps_bytes += step.size
        if step.compensable:
            self.compensations[step.key] = Compensation.DECLARED

    def _completed(self, result: str, sequence: int, random: float) -> Ending:
        if self.lease.rollback:
            return endings.undone(self.lease, left=self.to_undo, random=random, sequence=sequence)
        return endings.succeeded(self.lease, result, sequence=sequence)

    def _stopped(self, news: News | None, sequence: int, random: float) -> Ending:
        lease = replace(self.lease, steps_bytes=self.steps_bytes)
        undoable = bool(self.to_undo)
        match news:
            case Failed(failure=failure, retry_after=wait):
                return endings.failed(
                    lease,
                    failure,
                    asked_wait=wait,
                    random=random,
                    undoable=undoable,
                    sequence=sequence,
                )
            case Suspended(keys=keys):
                woken = not self.finished.isdisjoint(keys)
                return endings.suspended(lease, woken=woken, undoable=undoable, sequence=sequence)
            case Stopped() | Released():
                return endings.released(lease, undoable=undoable, sequence=sequence)
        raise AssertionError(f"{news} is a mistake or no end and does not get here")


def _folded(before: Progress | None, news: Progress) -> Progress:
    """Return the newer progress; a partial result stays until there is another."""
    if before is None or news.partial is not None:
        return news
    return replace(news, partial=before.partial)

"""What a test brings to a run of a function, and what it gets to know of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mainstay.jobs.json_text import JsonValue
from mainstay.jobs.model import Event, Failure, JobState, Progress, StepKind


@dataclass(frozen=True, slots=True)
class Incoming:
    """An event or a signal that comes while the function runs.

    Attributes:
        name: The event's, or the signal's.
        data: What comes with it.
        after: When it comes, in seconds since the function was started; None for as soon as a step
            waits for it.

    """

    name: str
    data: Mapping[str, JsonValue] = field(default_factory=dict)
    after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRun:
    """A finished step: its result is what JSON has made of it. `attempt` is the one it ended in."""

    key: str
    result: Any
    attempt: int
    kind: StepKind
    undone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionRun:
    """How a function has run.

    Attributes:
        state: How it ended: SUCCEEDED or DEAD_LETTERED.
        result: What it returned, as JSON; None unless it succeeded.
        failure: Why the last attempt failed; None when none has.
        rollback_failure: Why undoing has failed for good; None when it has not.
        attempts: How many attempts have begun.
        turns: How often the function was called, also to go on and to undo.
        steps: What has finished, in order.
        progress: What it reported, in order.
        events: What it sent by steps.
        slept: How many seconds have passed, by the fake clock.

    """

    state: JobState
    result: Any
    failure: Failure | None
    rollback_failure: Failure | None
    attempts: int
    turns: int
    steps: tuple[StepRun, ...]
    progress: tuple[Progress, ...]
    events: tuple[Event, ...]
    slept: float

    @property
    def step_keys(self) -> tuple[str, ...]:
        """The keys of the steps, in order."""
        return tuple(step.key for step in self.steps)

    @property
    def undone(self) -> tuple[str, ...]:
        """The keys of the steps that were undone, the last one first."""
        return tuple(step.key for step in reversed(self.steps) if step.undone)

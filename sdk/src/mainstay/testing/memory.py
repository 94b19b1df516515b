"""A job as the service would keep it, in memory."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mainstay.jobs.assignment import MAX_PROGRESS_MESSAGE, wire_text
from mainstay.jobs.json_text import decode, encode
from mainstay.jobs.model import Progress, StepKind
from mainstay.jobs.v1 import worker_service_pb2 as pb
from mainstay.testing.clock import FakeClock
from mainstay.testing.record import Incoming, StepRun

DEFAULT_TIMEOUT = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """The end of a job that was invoked, at so many seconds of the clock."""

    ended_at: float
    result: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wait:
    """When, by the clock, a wait will have which result."""

    kind: StepKind
    attempt: int
    done_at: float
    result: Any = None


class MemoryJob:
    """Takes reports of a function as a worker passes them on, and knows when its waits are over.

    `compensable` are the keys of the steps that can be undone and have not been, in order.
    """

    def __init__(
        self,
        clock: FakeClock,
        began: float,
        *,
        events: Sequence[Incoming],
        signals: Sequence[Incoming],
        invoke: Callable[[str, pb.InvokeWait], Awaitable[Child]],
    ) -> None:
        self.memo: dict[str, str] = {}
        self.steps: dict[str, StepRun] = {}
        self.compensable: list[str] = []
        self.progresses: list[Progress] = []
        self.attempt = 0
        self.lost = False
        self.cancel_reason: str | None = None
        self._clock = clock
        self._began = began
        self._events = events
        self._signals = list(signals)
        self._invoke = invoke
        self._waits: dict[str, _Wait] = {}

    async def step_completed(self, key: str, result_json: str, *, compensable: bool) -> None:
        """Keep the step."""
        self.check()
        self._keep(key, result_json, StepKind.RUN, self.attempt)
        if compensable:
            self.compensable.append(key)

    async def wait_begun(self, wait: pb.WaitBegun) -> None:
        """Keep the wait, unless it is known, and find out what will come of it."""
        self.check()
        if wait.key in self._waits or wait.key in self.memo:
            return
        now = self._clock.passed
        result: Any = None
        match wait.WhichOneof("wait"):
            case "sleep":
                kind = StepKind.SLEEP
                done_at = now + wait.sleep.duration.ToTimedelta().total_seconds()
            case "event":
                kind = StepKind.EVENT
                done_at, result = self._event(wait.event, now)
            case "signal":
                kind = StepKind.SIGNAL
                done_at, result = self._signal(wait.signal, now)
            case _:
                kind = StepKind.INVOKE
                child = await self._invoke(wait.key, wait.invoke)
                done_at, result = child.ended_at, child.result
        self._waits[wait.key] = _Wait(
            kind=kind, attempt=self.attempt, done_at=done_at, result=result
        )

    async def step_compensated(self, key: str) -> None:
        """Note that the step was undone."""
        self.compensable.remove(key)
        self.steps[key] = replace(self.steps[key], undone=True)

    def check(self) -> None:
        """Raise CancelledError once the worker is lost."""
        if self.lost:
            raise asyncio.CancelledError("the worker is lost")

    def alive(self) -> None:
        """Raise as `check` does."""
        self.check()

    def progress(self, fraction: float, message: str, partial_json: str) -> None:
        """Keep the news, with the partial result that was last told."""
        self.check()
        partial = self.progresses[-1].partial if self.progresses else None
        if partial_json:
            partial = decode(partial_json)
        text = wire_text(message, MAX_PROGRESS_MESSAGE)
        self.progresses.append(Progress(fraction=fraction, message=text, partial=partial))

    def wake(self) -> None:
        """Let time pass until the first of the waits is over, and keep the results by then."""
        first = min(wait.done_at for wait in self._waits.values())
        self._clock.advance_to(first)
        over = [key for key, wait in self._waits.items() if wait.done_at <= self._clock.passed]
        for key in sorted(over, key=lambda key: self._waits[key].done_at):
            wait = self._waits.pop(key)
            self._keep(key, encode(wait.result), wait.kind, wait.attempt)

    def _keep(self, key: str, result_json: str, kind: StepKind, attempt: int) -> None:
        self.memo[key] = result_json
        self.steps[key] = StepRun(key=key, result=decode(result_json), attempt=attempt, kind=kind)

    def _event(self, wait: pb.EventWait, now: float) -> tuple[float, Any]:
        """Return when the first event from now on comes, and what the step gets."""
        pattern = decode(wait.match_json) if wait.match_json else {}
        coming = [
            (self._arrival(event, now), number, event)
            for number, event in enumerate(self._events, start=1)
            if event.name == wait.name
            and contains(event.data, pattern)
            and self._arrival(event, now) >= now
        ]
        limit = now + _seconds(wait)
        if coming and (first := min(coming, key=lambda each: each[:2]))[0] <= limit:
            at, number, event = first
            return at, {
                "event_id": f"incoming-{number}",
                "name": event.name,
                "data": event.data,
            }
        return limit, None

    def _signal(self, wait: pb.SignalWait, now: float) -> tuple[float, Any]:
        """Return when the first signal that nobody has taken comes, and what the step gets."""
        coming = [signal for signal in self._signals if signal.name == wait.name]
        limit = now + _seconds(wait)
        if coming:
            first = min(coming, key=lambda signal: self._arrival(signal, now))
            if (at := max(self._arrival(first, now), now)) <= limit:
                self._signals.remove(first)
                return at, {"data": first.data}
        return limit, None

    def _arrival(self, incoming: Incoming, now: float) -> float:
        return now if incoming.after is None else self._began + incoming.after


def contains(value: Any, pattern: Any) -> bool:
    """Tell whether a payload has all that is asked for: objects by members, the rest as a whole."""
    if isinstance(pattern, Mapping):
        return isinstance(value, Mapping) and all(
            key in value and contains(value[key], part) for key, part in pattern.items()
        )
    return bool(value == pattern)


def _seconds(wait: pb.EventWait | pb.SignalWait) -> float:
    if not wait.HasField("timeout"):
        return DEFAULT_TIMEOUT
    return wait.timeout.ToTimedelta().total_seconds()

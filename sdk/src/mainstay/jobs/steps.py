"""The steps of one attempt: code that runs once, and waits that keep no worker busy.

While a function waits by a step, and nothing else of it runs as a step, its job is taken off the
worker: the function gets `asyncio.CancelledError`, and is run again from its beginning, with the
stored results of its steps, when what it waits for has come. So what lies between steps is run
again and again: keep it free of effects, and let the cancellation pass.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from mainstay.jobs.assignment import AssignedJob
from mainstay.jobs.durations import Duration, in_seconds, to_wire
from mainstay.jobs.errors import NestedWaitError
from mainstay.jobs.json_text import JsonValue, decode, encode_payload
from mainstay.jobs.model import AcceptedEvent, StepKind
from mainstay.jobs.step_calls import StepCalls, running_step
from mainstay.jobs.step_runs import StepRuns
from mainstay.jobs.turn import Turn
from mainstay.jobs.v1 import worker_service_pb2 as pb
from mainstay.jobs.waits import (
    ReceivedEvent,
    ReceivedSignal,
    child_result,
    event_wait,
    received_event,
    received_signal,
    signal_wait,
)

# A sleep this short stays on its worker: to give the job away and take it up again costs more.
SHORT_SLEEP_SECONDS = 2.0
MAX_IDEMPOTENCY_KEY = 200


class EventSender(Protocol):
    """Sends events for functions, as `JobClient` does."""

    async def send_event(
        self,
        name: str,
        data: Mapping[str, JsonValue],
        *,
        version: int = 0,
        idempotency_key: str | None = None,
    ) -> AcceptedEvent:
        """Return once the event is accepted."""


class Steps(StepRuns):
    """Runs the steps of a job, or returns what they returned in an earlier attempt.

    Every step has a key, 1 to 200 characters, that is its own within the function. Waits may run
    side by side, by `asyncio.gather` for example, but not inside of a step that runs code.
    """

    def __init__(self, job: AssignedJob, turn: Turn, calls: StepCalls, events: EventSender) -> None:
        super().__init__(job, turn, calls)
        self._events = events

    async def sleep(self, key: str, duration: Duration) -> None:
        """Sleep for so many seconds, or a `timedelta`, up to 365 days; once in a job's life.

        The time runs from when the step was first reached, whatever becomes of workers. Up to 2 s
        are slept on the worker, and anew should that be lost.
        """
        seconds = max(in_seconds(duration), 0.0)
        # What is left of a long one may be short: it stays what it was when it began.
        if seconds <= SHORT_SLEEP_SECONDS and key not in self._job.kinds:
            await self.run(key, self._calls.clock.sleep, seconds)
        else:
            await self._wait(pb.WaitBegun(key=key, sleep=pb.SleepWait(duration=to_wire(seconds))))

    async def sleep_until(self, key: str, time: datetime) -> None:
        """Sleep until a time, which needs a time zone; not at all when it has passed.

        How long that is, is reckoned by the clock of the worker that first reaches the step.
        """
        if time.tzinfo is None:
            raise ValueError(f"step {key!r} is to sleep until {time}, which has no time zone")
        await self.sleep(key, time - self._calls.clock.now())

    async def wait_for_event(
        self,
        key: str,
        name: str,
        *,
        match: Mapping[str, JsonValue] | None = None,
        timeout: Duration | None = None,  # noqa: ASYNC109 - the service keeps the time
    ) -> ReceivedEvent | None:
        """Return the next event of that name, or None when none came within `timeout`.

        Only events that are accepted after the step was reached count, and of these only such
        whose payload contains `match`: objects by their members, everything else as a whole.
        The timeout is up to 365 days; None means 7 days.
        """
        return received_event(await self._wait(event_wait(key, name, match, timeout)))

    async def wait_for_signal(
        self,
        key: str,
        name: str,
        *,
        timeout: Duration | None = None,  # noqa: ASYNC109 - as above
    ) -> ReceivedSignal | None:
        """Return the signal of that name to this job, or None when none came within `timeout`.

        A signal that came before the step was reached counts. The timeout is up to 365 days; None
        means 7 days.
        """
        return received_signal(await self._wait(signal_wait(key, name, timeout)))

    async def invoke(
        self,
        key: str,
        function: str,
        data: object = None,
        *,
        priority: int | None = None,
    ) -> Any:
        """Start a job of another function and return its result once it has ended well.

        The function is meant by its registered name, and any worker may run it. `data` is its
        payload: a dict, a dataclass or a pydantic model, None for an empty one. `priority` is -100
        to 100; None leaves it to the function.

        Raises ChildFailedError when the job ended badly or was cancelled, and StepRejectedError
        for a function that nobody has declared, or that led to this job itself.
        """
        text = encode_payload({} if data is None else data, of=f"step {key!r}")
        wait = pb.InvokeWait(function=function, data_json=text, priority=priority)
        return child_result(function, await self._wait(pb.WaitBegun(key=key, invoke=wait)))

    async def send_event(
        self, key: str, name: str, data: Mapping[str, JsonValue], *, version: int = 0
    ) -> AcceptedEvent:
        """Send an event, once in a job's life, for the job's tenant and request.

        Its idempotency key is the job's id and the step's key, so that sending it again after a
        crash changes nothing. Raises what `JobClient.send_event` raises.
        """
        return await self.run(
            key,
            self._events.send_event,
            name,
            data,
            version=version,
            idempotency_key=_idempotency_key(self._job.job_id, key),
        )

    async def _wait(self, wait: pb.WaitBegun) -> Any:
        self._turn.check()
        if outer := running_step():
            raise NestedWaitError(
                f"step {wait.key!r} waits inside of step {outer!r}; wait between steps instead"
            )
        self._claim(wait.key, StepKind[str(wait.WhichOneof("wait")).upper()])
        text = await self._turn.recall(wait.key)
        if text is None:
            await self._turn.wait(wait)
        return decode(text)


def _idempotency_key(job_id: str, key: str) -> str:
    whole = f"{job_id}/{key}"
    if len(whole.encode()) <= MAX_IDEMPOTENCY_KEY:
        return whole
    return f"{job_id}/{hashlib.sha256(key.encode()).hexdigest()}"

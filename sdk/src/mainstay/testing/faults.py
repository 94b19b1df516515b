"""Steps that fail where a test wants them to, and workers that are lost there."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mainstay.jobs.step_calls import Call, StepCalls
from mainstay.jobs.step_threads import StepThreads
from mainstay.testing.clock import FakeClock


class WorkerLostError(Exception):
    """In `fail_at`: the worker dies after the step's function has run, before that is stored."""


class FaultyCalls(StepCalls):
    """Runs calls, and fails those that are to fail: each error of a step once, in order."""

    def __init__(
        self,
        threads: StepThreads,
        clock: FakeClock,
        faults: Mapping[str, Exception | Sequence[Exception]],
        on_lost: Callable[[], None],
    ) -> None:
        super().__init__(threads, clock, random.Random(0))  # noqa: S311 - the same in every run
        self._faults = {
            key: [fault] if isinstance(fault, Exception) else list(fault)
            for key, fault in faults.items()
        }
        self._on_lost = on_lost

    async def once(self, call: Call) -> Any:
        """Call the function, unless this time it is to fail."""
        faults = self._faults.get(call.key)
        fault = faults.pop(0) if faults else None
        if fault is not None and not isinstance(fault, WorkerLostError):
            raise fault
        result = await super().once(call)
        if fault is None:
            return result
        self._on_lost()
        raise asyncio.CancelledError("the worker is lost")

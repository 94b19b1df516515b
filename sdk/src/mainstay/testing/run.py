"""Runs a function in memory until its job is over."""

import re
from collections.abc import Mapping, Sequence
from contextlib import closing

from mainstay.errors import ConfigurationError
from mainstay.jobs.function import Function, Handler
from mainstay.jobs.json_text import decode, encode
from mainstay.jobs.step_threads import StepThreads
from mainstay.testing.clock import FakeClock
from mainstay.testing.job_run import JobRun, World
from mainstay.testing.record import FunctionRun, Incoming

THREADS = 16


async def run_function(
    function: Function | Handler,
    data: object = None,
    *,
    clock: FakeClock | None = None,
    events: Sequence[Incoming] = (),
    signals: Sequence[Incoming] = (),
    children: Mapping[str, Function | Handler] | None = None,
    fail_at: Mapping[str, Exception | Sequence[Exception]] | None = None,
    event_name: str = "",
    tenant: str = "test",
) -> FunctionRun:
    """Run a function in memory until its job is over, and return how that went.

    Args:
        function: A handler, or one of `Worker.functions` to have its options count, such as its
            `retries`. A bare handler has the defaults.
        data: The payload: a dict, a dataclass or a pydantic model; None for an empty one.
        clock: The time that passes; None for one of its own.
        events: What steps may wait for; each wait takes the first that comes after it began.
        signals: As above; each is taken once, also if it came before.
        children: The functions that may be invoked, by name. They run in memory too, beside the
            function, and may invoke each other.
        fail_at: By the keys of steps, what their functions raise instead of running: one error for
            the first call, or several for as many. WorkerLostError stands for a worker that dies
            once the function has run.
        event_name: The event that starts it.
        tenant: Whose job it is.

    Raises ConfigurationError for a function that cannot be, and for one that comes to no end.

    """
    clock = clock if clock is not None else FakeClock()
    data_json = encode({} if data is None else data)
    if not isinstance(decode(data_json), dict):
        raise ConfigurationError(f"a payload is a JSON object, and not {data_json[:50]}")
    with closing(StepThreads(THREADS)) as threads:
        world = World(
            events=events,
            began=clock.passed,
            children={name: _function_of(each, name) for name, each in (children or {}).items()},
            tenant=tenant,
            threads=threads,
        )
        run = JobRun(
            world,
            _function_of(function, getattr(function, "__name__", "")),
            clock,
            signals=signals,
            faults=fail_at or {},
            event_name=event_name,
        )
        return await run.to_end(data_json)


def _function_of(function: Function | Handler, name: str) -> Function:
    if isinstance(function, Function):
        return function
    known = re.sub(r"[^a-z0-9._/-]+", "-", name.lower()).strip("-")
    return Function(name=known[:100] or "function", handler=function)

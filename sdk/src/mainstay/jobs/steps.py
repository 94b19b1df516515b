"""The steps of one attempt: each runs once in the life of the job, whatever becomes of workers."""

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, overload

from mainstay.jobs.assignment import AssignedJob, Reporter
from mainstay.jobs.errors import StepKeyError
from mainstay.jobs.json_text import decode, encode_result
from mainstay.jobs.step_threads import StepThreads
from mainstay.jobs.tracing import step_span

log = logging.getLogger("mainstay.worker")

P = ParamSpec("P")
T = TypeVar("T")

MAX_KEY = 200


class Steps:
    """Runs the steps of a job, or returns what they returned in an earlier attempt."""

    def __init__(self, job: AssignedJob, reporter: Reporter, threads: StepThreads) -> None:
        self._job = job
        self._reporter = reporter
        self._threads = threads
        self._used: set[str] = set()

    @overload
    async def run(
        self, key: str, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    @overload
    async def run(
        self, key: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    async def run(
        self, key: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        """Run `function` as the step `key` and return its result, once that is stored durably.

        A step that has finished, in this attempt's past or on a worker that is gone, is not run
        again: its stored result is returned. A step that had begun and not finished is, so what it
        does to the outside should bear repeating; `job.id` and the key make a good idempotency key.

        `async def` functions are awaited; all others run in one of the worker's threads, of which
        there are as many as its concurrency. A thread cannot be cancelled: when the job is given
        up, the function runs on, until it returns or the process ends, and its result is dropped.

        The result is what JSON makes of it, the first time too: a tuple comes back as a list. What
        the function raises is raised here; the step counts as not run and may be tried again under
        its key.

        Raises StepKeyError when the key is empty, longer than 200 characters or stands for another
        step of this attempt; ResultError when JSON cannot hold the result or it is above 1 MiB;
        StepRejectedError when the service refuses it.
        """
        self._reporter.check()
        self._claim(key)
        if key in self._job.memo:
            return decode(self._job.memo[key])
        with step_span(key):
            text = await self._run(key, function, *args, **kwargs)
            await self._reporter.step_completed(key, text)
        log.info(
            "step stored: %s of %s request_id=%s",
            key,
            self._job.function,
            self._job.request_id,
            extra=self._job.log_fields() | {"step": key},
        )
        return decode(text)

    def _claim(self, key: str) -> None:
        if not 1 <= len(key) <= MAX_KEY:
            raise StepKeyError(f"step key {key[:50]!r}... is {len(key)} characters; use 1 to 200")
        if key in self._used:
            raise StepKeyError(
                f"step key {key!r} was used before in {self._job.function}; give each step its own,"
                " in a loop for example by its index"
            )
        self._used.add(key)

    async def _run(self, key: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
        try:
            result = await self._call(function, *args, **kwargs)
        except BaseException:
            # From here on, not later: a result that has been reported may have been stored.
            self._used.discard(key)
            raise
        return encode_result(result, of=f"step {key!r}")

    async def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if inspect.iscoroutinefunction(function):
            return await function(*args, **kwargs)
        result = await self._threads.run(function, *args, **kwargs)
        return await result if inspect.isawaitable(result) else result

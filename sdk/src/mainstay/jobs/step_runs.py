"""Steps that run code: each runs once in the life of the job, whatever becomes of workers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ParamSpec, TypeVar, overload

from mainstay.jobs.assignment import AssignedJob
from mainstay.jobs.durations import Duration, in_seconds
from mainstay.jobs.errors import NonRetryableError, ResultError, StepKeyError
from mainstay.jobs.json_text import decode, encode_result
from mainstay.jobs.model import StepKind
from mainstay.jobs.step_calls import Call, StepCalls, result_reader
from mainstay.jobs.tracing import step_span
from mainstay.jobs.turn import Turn, Undo
from mainstay.jobs.typed_json import MisfitError, Reader

log = logging.getLogger("mainstay.worker")

P = ParamSpec("P")
T = TypeVar("T")

MAX_KEY = 200


class StepRuns:
    """Runs the steps of a job, or returns what they returned in an earlier attempt."""

    def __init__(self, job: AssignedJob, turn: Turn, calls: StepCalls) -> None:
        self._job = job
        self._turn = turn
        self._calls = calls
        self._used: set[str] = set()

    @overload
    async def run(
        self,
        key: str,
        function: Callable[..., Awaitable[T]],
        /,
        *args: Any,
        compensate: Callable[[T], object],
        retries: int = 0,
        timeout: Duration | None = None,  # noqa: ASYNC109 - of each try, cancelled or in a thread
        **kwargs: Any,
    ) -> T: ...

    @overload
    async def run(
        self,
        key: str,
        function: Callable[..., T],
        /,
        *args: Any,
        compensate: Callable[[T], object],
        retries: int = 0,
        timeout: Duration | None = None,  # noqa: ASYNC109 - as above
        **kwargs: Any,
    ) -> T: ...

    @overload
    async def run(
        self,
        key: str,
        function: Callable[..., Awaitable[T]],
        /,
        *args: Any,
        retries: int,
        timeout: Duration | None = None,  # noqa: ASYNC109 - as above
        **kwargs: Any,
    ) -> T: ...

    @overload
    async def run(
        self,
        key: str,
        function: Callable[..., T],
        /,
        *args: Any,
        retries: int,
        timeout: Duration | None = None,  # noqa: ASYNC109 - as above
        **kwargs: Any,
    ) -> T: ...

    @overload
    async def run(
        self,
        key: str,
        function: Callable[..., Awaitable[T]],
        /,
        *args: Any,
        timeout: Duration,  # noqa: ASYNC109 - as above
        **kwargs: Any,
    ) -> T: ...

    @overload
    async def run(
        self,
        key: str,
        function: Callable[..., T],
        /,
        *args: Any,
        timeout: Duration,  # noqa: ASYNC109 - as above
        **kwargs: Any,
    ) -> T: ...

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

        The result is what JSON makes of it, the first time too: a tuple comes back as a list. A
        function that is annotated to return a dataclass or a pydantic model, or lists, dicts or
        tuples of these, gives back just that. What the function raises is raised here; the step
        counts as not run and may be tried again under its key.

        Args:
            key: Names the step, 1 to 200 characters, within the function.
            function: What runs. `args` and `kwargs` are its arguments, except for the three below,
                which are the step's; use `functools.partial` for a function that has such ones.
            compensate: Undoes the step, given its result, plain or `async def`. When the job has
                failed for good, or is cancelled with rollback, the function is run again with the
                stored results to collect these, and what has finished is undone in reverse. It may
                run more than once, so it should bear repeating.
            retries: How often the function is tried again, at once and on this worker, before its
                error is raised: after 0.5 s, doubling up to 30 s, with jitter, or after what a
                RetryAfterError asks for. A longer wait, and NonRetryableError, are raised at once.
            timeout: How long each try may take; beyond, TimeoutError. None means any time.

        Raises:
            StepKeyError: The key is empty, too long or stands for another step: of this attempt, or
                stored, of another kind.
            ResultError: JSON cannot hold the result, or it is above 1 MiB.
            StepRejectedError: The service refuses the result.

        """
        self._turn.check()
        self._claim(key)
        reader = result_reader(function)
        compensate = kwargs.pop("compensate", None)
        undo = None if compensate is None else self._undo(key, compensate, reader)
        call = Call(
            key=key,
            function=function,
            args=args,
            retries=kwargs.pop("retries", 0),
            timeout=_limit(kwargs.pop("timeout", None)),
            kwargs=kwargs,
        )
        text = await self._turn.recall(key, undo)
        if text is None:
            text = await self._run(call, typed=reader is not None, compensable=undo is not None)
        return _read(key, text, reader)

    @overload
    async def parallel(
        self,
        steps: Mapping[str, Callable[[], Awaitable[T]]],
        *,
        at_once: int = 10,
        compensate: Callable[[T], object] | None = None,
        retries: int = 0,
        timeout: Duration | None = None,  # noqa: ASYNC109 - as above
    ) -> dict[str, T]: ...

    @overload
    async def parallel(
        self,
        steps: Mapping[str, Callable[[], T]],
        *,
        at_once: int = 10,
        compensate: Callable[[T], object] | None = None,
        retries: int = 0,
        timeout: Duration | None = None,  # noqa: ASYNC109 - as above
    ) -> dict[str, T]: ...

    async def parallel(
        self,
        steps: Mapping[str, Callable[[], Any]],
        *,
        at_once: int = 10,
        compensate: Callable[[Any], object] | None = None,
        retries: int = 0,
        timeout: Duration | None = None,  # noqa: ASYNC109 - as above
    ) -> dict[str, Any]:
        """Run several steps, at most `at_once` of them at a time; return the results by key.

        Each is a step as by `run`, with the same options. When one fails, no further one begins;
        those that have begun are waited for, so that their results are kept, and then the error is
        raised: of several the first, a NonRetryableError before all others.

        Args:
            steps: What to run without arguments, by the key of its step; `functools.partial` binds
                them: `{f"chunk-{i}": partial(transcode, chunk) for i, chunk in enumerate(chunks)}`.
            at_once: How many may run at a time, at least 1.
            compensate: Undoes one of the steps, given its result.
            retries: How often each is tried again.
            timeout: How long each try of each may take.

        """
        if at_once < 1:
            raise ValueError(f"at_once is {at_once}; at least one step has to run at a time")
        results: dict[str, Any] = {}
        failures: list[Exception] = []
        room = asyncio.Semaphore(at_once)

        async def run(key: str, function: Callable[[], Any]) -> None:
            async with room:
                if failures:
                    return
                try:
                    results[key] = await self.run(
                        key, function, compensate=compensate, retries=retries, timeout=timeout
                    )
                except Exception as error:  # noqa: BLE001 - raised once the others are done
                    failures.append(error)

        async with asyncio.TaskGroup() as group:
            for key, function in steps.items():
                group.create_task(run(key, function), name=f"step {key}")
        if failures:
            raise _first(failures)
        self._turn.check()
        return {key: results[key] for key in steps}

    def _claim(self, key: str, kind: StepKind = StepKind.RUN) -> None:
        if not 1 <= len(key) <= MAX_KEY:
            raise StepKeyError(f"step key {key[:50]!r}... is {len(key)} characters; use 1 to 200")
        if key in self._used:
            raise StepKeyError(
                f"step key {key!r} was used before in {self._job.function}; give each step its own,"
                " in a loop for example by its index"
            )
        self._check_kind(key, kind)
        self._used.add(key)

    def _check_kind(self, key: str, kind: StepKind) -> None:
        """Refuse a stored result that belongs to another kind of step, as the code was then."""
        if key not in self._job.memo:
            return
        stored = self._job.kinds.get(key, StepKind.RUN)
        short_sleep = (stored, kind) == (StepKind.RUN, StepKind.SLEEP)
        if stored != kind and not short_sleep:
            raise StepKeyError(
                f"step key {key!r} of {self._job.function} is stored as one of kind {stored.value} "
                f"and now used for one of kind {kind.value}; give the changed step its own key"
            )

    def _undo(self, key: str, compensate: Callable[[Any], object], reader: Reader | None) -> Undo:
        async def undo(result_json: str) -> None:
            await self._calls.undo(key, compensate, _read(key, result_json, reader))

        return undo

    async def _run(self, call: Call, *, typed: bool, compensable: bool) -> str:
        await self._turn.begin(call.key)
        try:
            with step_span(call.key):
                result = await self._call(call)
                text = encode_result(result, of=f"step {call.key!r}", typed=typed)
                await self._turn.store(call.key, text, compensable=compensable)
        finally:
            self._turn.end(call.key)
        if log.isEnabledFor(logging.INFO):
            log.info(
                "step stored: %s of %s request_id=%s",
                call.key,
                self._job.function,
                self._job.request_id,
                extra=self._job.log_fields() | {"step": call.key},
            )
        return text

    async def _call(self, call: Call) -> Any:
        try:
            return await self._calls.run(call)
        except BaseException:
            # From here on, not later: a result that has been reported may have been stored.
            self._used.discard(call.key)
            raise


def _limit(duration: Duration | None) -> float | None:
    return None if duration is None else in_seconds(duration)


def _read(key: str, result_json: str, reader: Reader | None) -> Any:
    value = decode(result_json)
    if reader is None:
        return value
    try:
        return reader(value, "")
    except MisfitError as misfit:
        raise ResultError(
            f"the stored result of step {key!r} does not fit the type that its function returns: "
            f"{misfit}; give the step another key when its result changes"
        ) from misfit


def _first(failures: list[Exception]) -> Exception:
    """Return the error that says most about what should become of the job."""
    lasting = [error for error in failures if isinstance(error, NonRetryableError)]
    first = (lasting or failures)[0]
    for error in failures:
        if error is not first:
            first.add_note(f"another parallel step failed: {type(error).__name__}: {error}")
    return first

"""Calls what a step runs: in the event loop or in a thread, within its time, again if it fails."""

import asyncio
import functools
import inspect
import itertools
import logging
import random
import typing
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from mainstay.errors import MainstayError
from mainstay.jobs.clock import Clock
from mainstay.jobs.errors import NonRetryableError, RetryAfterError
from mainstay.jobs.step_threads import StepThreads
from mainstay.jobs.typed_json import Reader, holds_models, reader_of

log = logging.getLogger("mainstay.worker")

FIRST_PAUSE = 0.5
# Whoever has to wait longer than this leaves it to the next attempt of the job, which frees the
# worker meanwhile.
LONGEST_PAUSE = 30.0

_running_step: ContextVar[str] = ContextVar("mainstay_step", default="")


def running_step() -> str:
    """Return the key of the step that this code runs in; empty outside of steps."""
    return _running_step.get()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a step runs. It is tried again up to `retries` times, each within `timeout` seconds."""

    key: str
    function: Callable[..., Any]
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any]
    retries: int = 0
    timeout: float | None = None


class StepCalls:
    """Runs calls of one worker; what is no coroutine function runs in one of its `threads`."""

    def __init__(self, threads: StepThreads, clock: Clock, jitter: random.Random) -> None:
        self.clock = clock
        self._threads = threads
        self._jitter = jitter

    async def run(self, call: Call) -> Any:
        """Return what the function returns, the first time that it does."""
        for tried in itertools.count(1):
            try:
                return await self.once(call)
            except NonRetryableError:
                raise
            except Exception as error:
                pause = self._pause(error, tried)
                if tried > call.retries or pause > LONGEST_PAUSE:
                    raise
                _log_retry(call, tried, pause, error)
                await self.clock.sleep(pause)
        raise AssertionError("the last try returns or raises")

    async def undo(self, key: str, function: Callable[..., Any], result: Any) -> None:
        """Call what undoes a step, as a part of that step."""
        token = _running_step.set(key)
        try:
            await self._invoke(function, result)
        finally:
            _running_step.reset(token)

    async def _invoke(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what the function returns."""
        try:
            if inspect.iscoroutinefunction(function):
                return await function(*args, **kwargs)
            result = await self._threads.run(function, *args, **kwargs)
            return await result if inspect.isawaitable(result) else result
        except SystemExit as error:
            # In a task of its own it would end the worker, with all other jobs.
            raise RuntimeError(f"the function called sys.exit({error.code!r})") from error

    async def once(self, call: Call) -> Any:
        """Return what the function returns, within its time."""
        token = _running_step.set(call.key)
        try:
            if call.timeout is None:
                return await self._invoke(call.function, *call.args, **call.kwargs)
            return await self._within(call.timeout, call)
        finally:
            _running_step.reset(token)

    async def _within(self, seconds: float, call: Call) -> Any:
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await self._invoke(call.function, *call.args, **call.kwargs)
        except TimeoutError as error:
            if limit.expired():
                late = f"step {call.key!r} took longer than {seconds:g} s"
                raise TimeoutError(late) from error
            raise

    def _pause(self, error: Exception, tried: int) -> float:
        match error:
            case RetryAfterError(seconds=seconds):
                return seconds
            case MainstayError(retry_after=float(seconds)):
                return seconds
            case _:
                ceiling = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(tried - 1, 10))
                return ceiling * self._jitter.uniform(0.5, 1.0)


def result_reader(function: Callable[..., Any]) -> Reader | None:
    """Return what makes the result from JSON as the function's annotation says.

    None when that is what JSON makes of it anyhow, or when nothing can.
    """
    while isinstance(function, functools.partial):
        function = function.func
    kind = getattr(function, "__annotations__", {}).get("return")
    if isinstance(kind, str):
        try:
            kind = typing.get_type_hints(function).get("return")
        except (NameError, TypeError):
            return None
    if kind is None or not holds_models(kind):
        return None
    try:
        return reader_of(kind)
    except (NameError, TypeError):
        return None


def _log_retry(call: Call, tried: int, pause: float, error: Exception) -> None:
    log.warning(
        "step failed (%s: %s), to be tried again in %.1f s: %s, try %d of %d",
        type(error).__name__,
        error,
        pause,
        call.key,
        tried,
        call.retries + 1,
        extra={"step": call.key},
    )

"""The threads of a worker, in which the steps that block run."""

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeAlias

_Call: TypeAlias = tuple[Future[Any], Callable[[], Any]]


class StepThreads:
    """Runs plain functions in up to `limit` threads of its own; further ones wait for a thread.

    The event loop's executor would have fewer threads than a worker has jobs, and would hold up the
    end of the process until the last call returns. These are daemon threads: a thread cannot be
    cancelled, so a call whose step is given up runs on unheeded, until it returns or the process
    ends. Until then it occupies its thread. Belongs to one event loop.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what the function returns in a thread, as part of the current request."""
        call = functools.partial(contextvars.copy_context().run, function, *args, **kwargs)
        future: Future[Any] = Future()
        self._calls.put((future, call))
        self._start_thread_if_none_is_idle()
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Let every thread end after the call it is in."""
        for _ in range(self._started):
            self._calls.put(None)

    def _start_thread_if_none_is_idle(self) -> None:
        if self._idle.acquire(blocking=False) or self._started == self._limit:
            return
        self._started += 1
        name = f"mainstay step {self._started}"
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            _run(*call)
            del call  # what it holds must not live until the next one comes
            self._idle.release()


def _run(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return  # its step was given up while it waited for a thread
    try:
        result = call()
    except StopIteration as error:
        # No future can hold one: whoever awaits it would wait for ever (PEP 479 does the same).
        future.set_exception(_caused_by(error))
    except BaseException as error:  # noqa: BLE001 - whatever it raises is its step's to raise
        future.set_exception(error)
    else:
        future.set_result(result)


def _caused_by(error: StopIteration) -> RuntimeError:
    raised = RuntimeError("the function raised StopIteration; give `next` a default, or catch it")
    raised.__cause__ = error
    return raised

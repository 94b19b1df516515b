"""Waiting for work in the database no longer than a caller can."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from mainstay.errors import DatabaseError

RETRY_AFTER = 1.0

T = TypeVar("T")


class BoundedWork:
    """Runs work in tasks of their own: cancelling it may take as long as itself.

    asyncpg tells a server that it is no longer wanted, and waits for that too.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """Return what the work returns within so many seconds, or raise DatabaseError.

        After that it is not known whether the work was done.
        """
        task = asyncio.create_task(work, name="database work")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            await asyncio.wait({task}, timeout=seconds)
        finally:
            if not task.done():
                task.cancel()
                task.add_done_callback(_forget_outcome)
        if task.done():
            return task.result()
        raise DatabaseError(
            f"PostgreSQL did not answer within {seconds:g} s; retry with backoff",
            retry_after=RETRY_AFTER,
        )

    async def close(self, within: float) -> None:
        """Cancel what still runs, and wait for its end so many seconds at most."""
        running = set(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=within)


def _forget_outcome(task: "asyncio.Task[Any]") -> None:
    """Keep the loop from reporting an error that nobody waited for."""
    with suppress(asyncio.CancelledError):
        task.exception()

"""The event loop in which handlers run, as the session's threads see it."""

import asyncio
import contextvars
import time
from collections.abc import Callable
from typing import TypeVarTuple

Ts = TypeVarTuple("Ts")


class HandlersLoop:
    """Has things done in the handlers' loop, and knows for how long it has not turned.

    Belongs to the session's threads, except for `_asked_at`: they set it, the loop clears it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.gone = False
        self._loop = loop
        self._asked_at: float | None = None

    def call(self, function: Callable[[*Ts], object], *args: *Ts) -> None:
        """Call `function` in the loop, soon and in order, as part of no request at all."""
        # Jobs belong to the requests that caused them: whatever is current where the worker was
        # started (a request, a span) must not leak into them.
        empty = contextvars.Context()
        try:
            self._loop.call_soon_threadsafe(function, *args, context=empty)
        except RuntimeError:
            self.gone = True  # it was closed over its worker's head

    def stuck_for(self) -> float:
        """Return for how many seconds the loop has not turned, and ask it to show that it does.

        Asked at every heartbeat, so that it is noticed within one interval and never said of a loop
        that is only busy. It is not measured from the last sign before the question: what a loop
        did in between nobody knows.
        """
        now = time.monotonic()
        if (asked_at := self._asked_at) is not None:
            return now - asked_at
        self._asked_at = now
        self.call(self._turn)
        return 0.0

    def _turn(self) -> None:
        self._asked_at = None

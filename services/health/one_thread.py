"""Asks what can only be asked by waiting in a thread: a file, a volume, the system's resolver."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class OneThread(Generic[T]):
    """Runs one blocking question, in at most one thread at a time.

    A volume whose server is gone may hold a thread for ever. Whoever asks meanwhile waits for the
    answer that is out instead of starting another, and gives up without it. The threads are of no
    pool: what hangs takes none away from others, and holds up no exit.
    """

    def __init__(self, name: str, question: Callable[[], T]) -> None:
        self._name = name
        self._question = question
        self._out: asyncio.Future[T] | None = None

    async def ask(self) -> T:
        """Return the answer, or raise what the question raised; may be cancelled at any time."""
        if self._out is None or self._out.done():
            self._out = asyncio.get_running_loop().create_future()
            # Else an answer that nobody waits for any more would be complained about.
            self._out.add_done_callback(lambda done: done.cancelled() or done.exception())
            run = threading.Thread(
                target=self._run, args=(self._out,), name=self._name, daemon=True
            )
            run.start()
        return await asyncio.shield(self._out)

    def _run(self, out: "asyncio.Future[T]") -> None:
        try:
            answer = self._question()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the asker's
            _tell(out, partial(out.set_exception, error))
        else:
            _tell(out, partial(out.set_result, answer))


def _tell(out: "asyncio.Future[Any]", settle: Callable[[], None]) -> None:
    def settle_unless_done() -> None:
        if not out.done():
            settle()

    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        out.get_loop().call_soon_threadsafe(settle_unless_done)

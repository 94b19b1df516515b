"""Running until the process is told to stop."""

import asyncio
import signal
from collections.abc import Callable, Coroutine

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def run_until_signal(
    run: Callable[[], Coroutine[None, None, None]], stop: Callable[[], None]
) -> None:
    """Await `run()`; SIGTERM or SIGINT calls `stop`, a second one cancels it.

    Raises what `run` raises. Only the main thread hears signals: elsewhere it raises RuntimeError
    or ValueError, as the event loop does, and runs nothing.
    """
    loop = asyncio.get_running_loop()
    stopping = False
    running: asyncio.Task[None] | None = None

    def interrupted() -> None:
        nonlocal stopping
        if stopping and running is not None:
            running.cancel()
        stopping = True
        stop()

    heard = []
    try:
        # Before anything runs: where signals cannot be heard, nothing is left behind.
        for number in _SIGNALS:
            loop.add_signal_handler(number, interrupted)
            heard.append(number)
        running = asyncio.create_task(run())
        await asyncio.wait((running,))
    finally:
        for number in heard:
            loop.remove_signal_handler(number)
        if running is not None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    if not running.cancelled():
        running.result()

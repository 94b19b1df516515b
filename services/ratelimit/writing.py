"""Writes what gathers in the background to a database that may be away for long."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog

from mainstay.errors import MainstayError

LONGEST_BACKOFF = 60.0
CLEAN_EVERY = 3600.0
KEPT = timedelta(days=90)
DELETED_AT_ONCE = 5_000
FAREWELL = 2.0
"""Seconds that a service which stops gives to the last write."""

FAILURES = (MainstayError, asyncpg.PostgresError, OSError)
REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
"""What does not get better when it is tried again, and would hold up all that comes after."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FAR_AWAY = 2**57  # in the year 6537

log = structlog.get_logger()


async def write_again_and_again(
    write: Callable[[], Awaitable[None]],
    clean: Callable[[], Awaitable[int]],
    *,
    what: str,
    interval: float,
) -> None:
    """Write every `interval` seconds, less often while that fails, and delete what is old hourly.

    `clean` deletes at most `DELETED_AT_ONCE` rows and returns how many it was. Never returns.
    """
    loop = asyncio.get_running_loop()
    pause, next_clean = interval, loop.time()
    while True:
        try:
            await write()
            if loop.time() >= next_clean and await clean() < DELETED_AT_ONCE:
                next_clean = loop.time() + CLEAN_EVERY
            pause = interval
        except FAILURES as error:
            if pause == interval:
                log.warning("rows_not_written", what=what, error=str(error))
            pause = min(pause * 2, LONGEST_BACKOFF)
        await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311


def moment(microseconds: int) -> datetime:
    """Return a time given in microseconds since 1970, or the nearest that is of use."""
    return _EPOCH + timedelta(microseconds=max(0, min(microseconds, _FAR_AWAY)))


def microseconds_of(time: datetime) -> int:
    """Return microseconds since 1970, to the microsecond."""
    return (time - _EPOCH) // _MICROSECOND

"""Redis and PostgreSQL that run elsewhere: the suite does not start before they answer."""

import asyncio
import time
from collections.abc import Callable

from cli.connections import UNKNOWN_PLACE, Connection, given_stores
from cli.examination import Finding, examine
from cli.settings import SuiteSettings
from cli.suite import Announce, Started, SuiteError

LONGEST_WAIT = 10.0
ASK_AGAIN_AFTER = 0.2

Say = Callable[[str], None]


async def wait_for_given_stores(
    settings: SuiteSettings, announce: Announce, say: Say, *, longest_wait: float = LONGEST_WAIT
) -> None:
    """Wait until every store that has an address answers. Raises SuiteError naming the setting."""
    for store in given_stores(settings):
        begun = time.perf_counter()
        await _wait_for(store, say, longest_wait)
        announce(
            Started(
                name=store.name,
                address=store.address,
                details="not started here",
                milliseconds=(time.perf_counter() - begun) * 1000,
            )
        )


async def _wait_for(store: Connection, say: Say, longest_wait: float) -> None:
    deadline = time.monotonic() + longest_wait
    finding = await _ask(store, deadline)
    if finding.problem and not finding.permanent:
        say(f"waiting for {store.title} at {store.address}, at most {longest_wait:g} s")
    while finding.problem:
        if finding.permanent or time.monotonic() + ASK_AGAIN_AFTER > deadline:
            place = "" if store.address == UNKNOWN_PLACE else f" at {store.address}"
            raise SuiteError(f"no {store.title}{place}: {finding.problem}; {store.hint}")
        await asyncio.sleep(ASK_AGAIN_AFTER)
        finding = await _ask(store, deadline)


async def _ask(store: Connection, deadline: float) -> Finding:
    """Ask once; a silent server may take all the time that is left, and no more."""
    left = max(deadline - time.monotonic(), 0.0)
    try:
        async with asyncio.timeout(left):
            return (await examine([store]))[0]
    except TimeoutError:
        return Finding(connection=store, milliseconds=left * 1000, problem="no answer in time")

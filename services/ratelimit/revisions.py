"""What replicas keep copies of, and how they learn that it has changed.

A change raises a revision in PostgreSQL, in its own transaction. Every replica looks at the
revisions once a second, and that is the guarantee. A hint through Redis after the commit makes it
look at once, and nothing is lost when Redis or the hint is.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

import asyncpg
import structlog

from mainstay.errors import MainstayError, UnavailableError
from services.ratelimit.database import Database
from shared.postgres.pool import Connection
from shared.postgres.queries import load_queries
from shared.redis.client import Redis
from shared.redis.errors import RedisReplyError
from shared.redis.subscription import Subscription
from shared.rpc.call import ALL_TENANTS

CHANNEL = "mainstay:ratelimit:changed"
INTERVAL = 1.0
"""Seconds between two looks at the revisions."""
RETRY_SUBSCRIBING = 2.0
"""Seconds between two attempts to hear hints, while Redis was not reached once."""

POLICY = "policy"
OVERRIDES = "overrides"
PLANS = "plans"

Callback = Callable[[], Awaitable[None]]

_ALL = ("revisions", 0)
_QUERIES = load_queries("services.ratelimit", "sql/policies.sql")

log = structlog.get_logger()


async def bump(connection: Connection, name: str) -> int:
    """Raise a revision in the transaction of the change, and return it.

    Changes of one name are committed in the order of their revisions: who bumps waits for whoever
    has bumped before and not ended yet. Bump late.
    """
    revision: int = await connection.fetchval(_QUERIES["bump"], name)
    return revision


class Revisions:
    """Calls back when something has changed on whichever replica. Without a database never.

    A callback is called once at the beginning, and again until it has returned without an error:
    MainstayError and those of PostgreSQL are logged, and it is tried again a second later. It must
    not take long, since the others wait for it.
    """

    def __init__(
        self,
        database: Database,
        redis: Redis,
        redis_url: str,
        *,
        redis_timeout: float = 0.25,
        interval: float = INTERVAL,
    ) -> None:
        self._database = database
        self._redis = redis
        self._interval = interval
        self._callbacks: defaultdict[str, list[Callback]] = defaultdict(list)
        self._taken: dict[tuple[str, int], int] = {}
        self._hinted = asyncio.Event()
        self._looking = asyncio.Lock()
        self._failing: set[tuple[str, int]] = set()
        self._subscription = Subscription(
            redis_url,
            (CHANNEL,),
            on_message=lambda _channel, _payload: self._hinted.set(),
            on_gap=self._hinted.set,
            timeout=redis_timeout,
        )

    def on_change(self, name: str, callback: Callback) -> None:
        """Call back when the revision of a name was raised; before `run`."""
        self._callbacks[name].append(callback)

    async def announce(self, name: str) -> None:
        """Take a change over here and tell the other replicas of it, after its commit.

        Never fails: what is not heard now is seen within a second.
        """
        try:
            await self._redis.execute("PUBLISH", CHANNEL, name)
        except (UnavailableError, RedisReplyError) as error:
            log.debug("change_not_announced", changed=name, error=str(error))
        await self.run_once()

    def look_again(self, name: str) -> None:
        """Call back at the next look whatever the revision: what was taken over was given up."""
        for number, _ in enumerate(self._callbacks[name]):
            self._taken.pop((name, number), None)

    async def run_once(self) -> None:
        """Look at the revisions and call back for those that were raised."""
        if not self._database.present:
            return
        async with self._looking:
            with self._noting(*_ALL):
                revisions = await self._database.run(ALL_TENANTS, _read)
                for name in self._callbacks:
                    await self._call_back(name, revisions.get(name, 0))

    async def _call_back(self, name: str, revision: int) -> None:
        for number, callback in enumerate(self._callbacks[name]):
            # Not only a higher one: a database that was restored counts from an earlier one.
            if self._taken.get((name, number)) != revision:
                with self._noting(name, number):
                    await callback()
                    self._taken[name, number] = revision

    @contextmanager
    def _noting(self, name: str, number: int) -> Iterator[None]:
        """Let what failed be tried again at the next look, and log the first failure in a row."""
        try:
            yield
        except (MainstayError, asyncpg.PostgresError) as error:
            if (name, number) not in self._failing:
                log.warning("change_not_taken_over", changed=name, error=str(error))
            self._failing.add((name, number))
        else:
            self._failing.discard((name, number))

    async def run(self) -> None:
        """Follow the revisions; for a background task."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear(), name="ratelimit-revision-hints")
            tasks.create_task(self._follow(), name="ratelimit-revisions")

    async def _follow(self) -> None:
        while True:
            self._hinted.clear()
            await self.run_once()
            pause = self._interval * random.uniform(0.8, 1.0)  # noqa: S311
            try:
                async with asyncio.timeout(pause):
                    await self._hinted.wait()
            except TimeoutError:
                continue

    async def _hear(self) -> None:
        """Subscribe to the hints, whenever Redis comes; then it reconnects by itself."""
        try:
            while True:
                try:
                    await self._subscription.start()
                    break
                except MainstayError as error:
                    log.debug("hints_not_heard", error=error.message)
                    await asyncio.sleep(RETRY_SUBSCRIBING)
            await asyncio.Event().wait()
        finally:
            await self._subscription.close()


async def _read(connection: Connection) -> Mapping[str, int]:
    rows = await connection.fetch(_QUERIES["read_revisions"])
    return {row["name"]: row["revision"] for row in rows}

"""How every replica learns of new plans: from its own calls at once, from others' by PostgreSQL."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
import structlog

from mainstay.errors import MainstayError
from services.ratelimit.plan_cache import PlanCache
from services.ratelimit.plan_directory import CachedPlanDirectory
from services.ratelimit.plan_ports import PlanHistory, PlanKey

READ_AGAIN_SECONDS = 360.0
"""Longer than an entry lives in the cache, by its class `user_plan`."""

_READ_AGAIN_AT_MOST = 1_000
_PAGE = 1_000
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 2.0

log = structlog.get_logger()


class ReplicatedPlanNews:
    """The `PlanNews` of production.

    Whoever assigns a plan tells the cache service of it, but may die in between; so every replica
    that reads of a change tells it too, and one that starts those of the last minutes.

    Attributes:
        seen: The revision up to which changes were learnt; None before it has begun.

    """

    def __init__(
        self,
        history: PlanHistory,
        directory: CachedPlanDirectory,
        cache: PlanCache | None,
        announce: Callable[[], Awaitable[None]],
    ) -> None:
        self._history = history
        self._directory = directory
        self._cache = cache
        self._announce = announce
        self.seen: int | None = None
        self._due = asyncio.Event()

    async def learn(self, changes: Sequence[tuple[PlanKey, str]]) -> None:
        """Take over plans, and have the cache forget what it holds of them."""
        self._directory.learn(changes)
        if self._cache is not None and changes:
            await self._cache.forget([key for key, _ in changes])

    async def announce(self) -> None:
        """Tell other replicas to look."""
        await self._announce()

    async def hear(self) -> None:
        """Note that something has changed; `run` reads what, while others are called back."""
        self._due.set()

    async def catch_up(self) -> None:
        """Learn all that changed since the last time; raises DatabaseError.

        The first time it reads which tenants have assignments at all, after it has decided where to
        begin: a tenant that comes in between is in both.
        """
        last = await self._history.last_revision()
        # A database that was restored counts from an earlier revision.
        if self.seen is None or last < self.seen:
            recent = await self._history.recent_revision(
                last - _READ_AGAIN_AT_MOST, seconds=READ_AGAIN_SECONDS
            )
            self._directory.tenants = set(await self._history.assigned_tenants())
            self.seen = last if recent is None else recent - 1
        while changes := await self._history.changes_after(self.seen, at_most=_PAGE):
            await self.learn(
                [(PlanKey(change.tenant, change.subject), change.plan) for change in changes]
            )
            self.seen = changes[-1].revision
            log.debug("plan_changes_learnt", changes=len(changes))

    async def run(self) -> None:
        """Catch up at first and whenever something has changed; for a background task."""
        pause = _FIRST_PAUSE
        while True:
            self._due.clear()
            try:
                await self.catch_up()
            except (MainstayError, asyncpg.PostgresError) as error:
                log.debug("plan_changes_awaited", error=str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                pause = _FIRST_PAUSE
                await self._due.wait()

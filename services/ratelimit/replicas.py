"""Who shares the limits, and whether each of them has charged Redis with what it admitted alone.

Every replica beats in a sorted set in Redis and hears who else does. The count that was heard last
holds while Redis is away: nobody can tell then whether replicas come or go. A Redis that comes back
empty hears of all of them within one interval, so the most of the last few counts is believed.

What others admitted alone Redis does not know before they have paid, so a replica that finds it
again waits for all that it had heard of::

    cut off ──► back: whoever was heard of, itself among them, is put down as one that may owe
                  │   (in a second sorted set, with a time until which it is waited for)
                  ▼
                each crosses itself out when it owes nothing; while it owes it is waited for longer
                  ▼
                nobody is left ──► settled

A new replica waits too; one that was not cut off crosses itself out and goes on. All times are
Redis's. What a replica said before it was cut off may arrive after what others have written since:
it crosses out nothing but an entry that it had read.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import structlog

from mainstay.errors import UnavailableError
from services.ratelimit import degraded_metrics
from services.ratelimit.store_errors import FAILURES
from shared.redis.client import Redis, Script

INTERVAL = 2.0
"""Seconds between two beats."""
LOOK = 0.5
"""Seconds between two beats, at most, while not everybody has settled."""
ALIVE_MS = 7_000
"""How long a beat counts: three of them may be lost."""
LONGEST_MS = 10_000
"""How long a replica is waited for that may owe: one that died in the outage never comes."""

COUNTS = 3
"""How many counts are looked back at."""

KEY = "rl:~replicas"
OWING_KEY = "rl:{rl:~replicas}:owing"
_BEAT = Script.load("services.ratelimit", "lua/beat.lua")
_SERVER_TIME = ""
_OWES, _NOTHING_TO_SAY = "owes", ""

log = structlog.get_logger()


class Replicas:
    """Says that this replica lives and whether it owes, and knows the same of the others.

    `replica` is a name that no other process has or had; `owes` tells whether it still has to
    charge Redis with something. Until Redis was reached for the first time there are taken to be
    `expected`. `clock` replaces Redis's clock in tests of histories; it returns milliseconds since
    1970.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        replica: str,
        owes: Callable[[], bool],
        expected: int = 1,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._redis = redis
        self._replica = replica
        self._owes = owes
        self._expected = expected
        self._clock = clock
        # Only what was heard while all were settled: others may still be on their way back.
        self._heard: deque[frozenset[str]] = deque(maxlen=COUNTS)
        self._alive: frozenset[str] = frozenset()
        self._owing: dict[str, str] = {}
        self._losses = redis.losses
        self._waits = True

    @property
    def count(self) -> int:
        """Return how many replicas shared the limits when all were settled last, this one too."""
        if self._heard:
            return max(len(names) for names in self._heard)
        return max(len(self._alive | self._owing.keys()), self._expected)

    @property
    def settled(self) -> bool:
        """Return whether Redis knows of all that was admitted, as far as was heard here."""
        return self._losses == self._redis.losses and not self._waits

    @property
    def settling(self) -> bool:
        """Return whether Redis is there, but perhaps not charged with all yet."""
        return not self.settled and self._redis.connected

    async def beat(self) -> None:
        """Say how this replica is, and hear of all; raises UnavailableError while Redis is away."""
        before = self.count
        await self._say(_OWES if self._owes() else _NOTHING_TO_SAY)
        entry = self._owing.get(self._replica)
        # Where nobody was heard of yet, those that are expected may still have to come and pay.
        if entry and not self._owes() and (self._heard or len(self._alive) >= self._expected):
            await self._say(entry)
        if self.settled:
            self._heard.append(self._alive)
        if self.count != before:
            log.info("replicas_counted", replicas=self.count, before=before)
        degraded_metrics.replicas.set(self.count)

    async def run(self) -> None:
        """Beat again and again, and take leave at the end; for a background task."""
        try:
            while True:
                await self._try(self.beat)
                await self._pause()
        finally:
            await self._try(self._leave)

    async def _say(self, of_debts: str) -> None:
        losses = self._redis.losses
        waited_for = self._waited_for() if losses != self._losses else ()
        now = self._clock() if self._clock else _SERVER_TIME
        alive, owing = await self._redis.run_script(
            _BEAT,
            [KEY, OWING_KEY],
            [self._replica, ALIVE_MS, now, LONGEST_MS, of_debts, *waited_for],
        )
        if waited_for:
            self._losses = losses
        self._alive = frozenset(map(bytes.decode, alive))
        self._owing = dict(zip(*[map(bytes.decode, owing)] * 2, strict=True))
        self._waits = bool(self._owing) and (self._waits or bool(waited_for))

    def _waited_for(self) -> Sequence[str]:
        """Return who may owe; nobody yet while a part of a cluster is away."""
        if not self._redis.connected:
            return ()
        return sorted(frozenset({self._replica}).union(*self._heard))

    async def _pause(self) -> None:
        """Wait for the next beat, for a shorter time when not all are settled."""
        waited = 0.0
        while waited < INTERVAL:
            step = min(LOOK, INTERVAL) * random.uniform(0.5, 1.0)  # noqa: S311
            await asyncio.sleep(step)
            waited += step
            if not self.settled:
                return

    async def _leave(self) -> None:
        await self._redis.execute("ZREM", KEY, self._replica)
        if not self._owes():
            await self._redis.execute("ZREM", OWING_KEY, self._replica)

    @staticmethod
    async def _try(step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except FAILURES as error:
            # That Redis is away is said elsewhere; here it only means that the count is kept.
            level = log.debug if isinstance(error, UnavailableError) else log.warning
            level("beat_missed", error=str(error))

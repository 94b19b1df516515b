"""Recent checks in Redis: every replica adds what it has seen to one stream, second by second.

::

    rl:~traffic   a stream; an entry is a batch of one replica (see `traffic`), kept for 15 minutes
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

import structlog

from mainstay.errors import RateLimitStoreError, UnavailableError
from services.ratelimit.act import Act
from services.ratelimit.decision import Decision
from services.ratelimit.policy import SECOND
from services.ratelimit.policy_metrics import traffic_dropped
from services.ratelimit.ports import NowUs, PlanDirectory
from services.ratelimit.traffic import (
    RANKS,
    SLOT,
    Batch,
    RecordedCheck,
    Sample,
    decode,
    encode,
)
from shared.redis.client import Redis
from shared.redis.errors import RedisReplyError
from shared.rpc.call import Tenant

KEY = "rl:~traffic"
KEPT = 900 * SECOND
INTERVAL = 1.0
BATCH_SIZE = 500
"""Different checks that a replica records in a second: some kilobytes."""

_FIELD = b"batch"
# Five or six replicas fill that in 15 minutes; with more of them a preview looks back less far.
_MAX_BATCHES = 5_000
_READ_AT_ONCE = 20
# What is there is enough: the bound goes up slowly, since the lowest of 15 minutes counts.
_ROOM = 0.6
_RAISE = 1.25

log = structlog.get_logger()


class TrafficRecorder:
    """A `DecisionObserver`: keeps the checks of some subjects and writes them once a second.

    A check of a subject that is not recorded costs one hash; one that is, an entry of a dictionary
    with BATCH_SIZE of them at most. What cannot be written is dropped and counted.
    """

    def __init__(
        self, redis: Redis, directory: PlanDirectory, *, batch_size: int = BATCH_SIZE
    ) -> None:
        self._redis = redis
        self._directory = directory
        self._batch_size = batch_size
        self._sample = Sample(size=batch_size)

    def record(self, tenant: Tenant, act: Act, decision: Decision) -> None:
        """Take note of one act that was checked."""
        sample, subject = self._sample, act.subject
        if not sample.takes(tenant, subject):
            return
        plan = act.plan or decision.plan
        if not plan:
            # The rule knows no plans; that of the new policy may.
            assigned = self._directory.at_hand(tenant, subject)
            plan = "" if assigned is None else assigned.plan
        at = decision.decided_at
        sample.add(RecordedCheck(at - at % SLOT, tenant, subject, act.endpoint, plan, act.cost))

    async def run(self) -> None:
        """Write once a second; for a background task."""
        while True:
            await asyncio.sleep(INTERVAL)
            await self.run_once()

    async def run_once(self) -> None:
        """Write what was recorded since the last time."""
        sample, self._sample = self._sample, self._next()
        checks = sample.checks
        if not checks:
            return
        begin = min(check.at for check in checks)
        oldest = max(0, begin - KEPT) // 1_000
        data = encode(Batch(begin, sample.bound, checks))
        replies = await self._redis.execute_many(
            [
                ("XADD", KEY, "MINID", "~", oldest, "*", _FIELD, data),
                ("XTRIM", KEY, "MAXLEN", "~", _MAX_BATCHES),
                ("PEXPIRE", KEY, KEPT // 1_000),
            ]
        )
        if isinstance(replies[0], BaseException):
            traffic_dropped.inc(sum(checks.values()))
            log.debug("traffic_dropped", error=str(replies[0]))

    def _next(self) -> Sample:
        """Return an empty sample, which takes more subjects where there was room for them."""
        bound = self._sample.bound
        if len(self._sample.checks) < self._batch_size * _ROOM:
            bound = min(RANKS, int(bound * _RAISE) + 1)
        return Sample(size=self._batch_size, bound=bound)


class RedisTraffic:
    """The `Traffic` of production."""

    def __init__(self, redis: Redis, now_us: NowUs) -> None:
        self._redis = redis
        self._now_us = now_us

    async def batches(self, since: int) -> AsyncIterator[Batch]:
        """Yield what was written since a moment, in that order; raises RateLimitStoreError."""
        begin, end = f"{since // 1_000}-0", f"{self._now_us() // 1_000}"
        while True:
            entries = await self._read(begin, end)
            for _, fields in entries:
                batch = _batch(fields)
                if batch is not None:
                    yield batch
            if len(entries) < _READ_AT_ONCE:
                return
            begin = f"({entries[-1][0].decode()}"

    async def _read(self, begin: str, end: str) -> Sequence[tuple[bytes, Sequence[bytes]]]:
        try:
            found: Sequence[tuple[bytes, Sequence[bytes]]] = await self._redis.execute(
                "XRANGE", KEY, begin, end, "COUNT", _READ_AT_ONCE
            )
        except (UnavailableError, RedisReplyError) as error:
            raise RateLimitStoreError(
                f"the recorded traffic cannot be read ({error}); retry with backoff"
            ) from error
        return found


def _batch(fields: Sequence[bytes]) -> Batch | None:
    try:
        return decode(fields[1])
    except (IndexError, ValueError) as error:
        # Of another version, perhaps, during a rolling update.
        log.warning("traffic_unreadable", error=str(error))
        return None

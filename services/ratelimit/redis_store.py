"""Counters in Redis: one short string each, decided and consumed by one script in one round trip.

Time is Redis's own, so that replicas of this service with different clocks agree.
"""

from collections.abc import Callable

import structlog

from mainstay.errors import RateLimitStoreError, UnavailableError
from services.ratelimit.keys import counter_key
from services.ratelimit.ports import Charge
from services.ratelimit.window import Verdict, bucket_width
from shared.redis.client import Redis, Script
from shared.redis.link import RedisReplyError

_SCRIPT = Script.load("services.ratelimit", "lua/sliding_window.lua")
_SERVER_TIME = ""

log = structlog.get_logger()


class RedisCounterStore:
    """The `CounterStore` of production and of the tests: there is no other.

    `clock` replaces Redis's clock in tests of histories; it returns microseconds since 1970.
    """

    def __init__(self, redis: Redis, *, clock: Callable[[], int] | None = None) -> None:
        self._redis = redis
        self._clock = clock

    async def decide(self, charge: Charge, *, consume: bool) -> Verdict:
        limit = charge.limit
        key = counter_key(
            tenant=charge.tenant, rule=charge.rule, window=limit.window, subject=charge.subject
        )
        now = self._clock() if self._clock else _SERVER_TIME
        args = (now, int(consume), bucket_width(limit.window), limit.quota, charge.cost)
        try:
            reply = await self._redis.run_script(_SCRIPT, [key], args)
        except UnavailableError as error:
            raise _unusable(error.reason, retry_after=error.retry_after) from error
        except RedisReplyError as error:
            # Not the caller's fault and nothing that waiting heals: somebody must read this.
            log.error("counter_refused", rule=charge.rule, error=str(error))  # noqa: TRY400
            raise _unusable("REDIS_REPLY") from error
        return _verdict(*reply)


def _verdict(admitted: int, now: int, used: int, reset_at: int, retry_at: int) -> Verdict:
    return Verdict(
        admitted=admitted == 1,
        now=now,
        used=used,
        reset_at=reset_at,
        retry_at=retry_at if retry_at > 0 else None,
    )


def _unusable(cause: str, *, retry_after: float | None = None) -> RateLimitStoreError:
    return RateLimitStoreError(
        "the counters of the rate limits cannot be used; decide whether to let the request pass",
        metadata={"dependency": "redis", "cause": cause},
        retry_after=retry_after,
    )

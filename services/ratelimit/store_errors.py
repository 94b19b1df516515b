"""What a failure of Redis means to those who use the counters."""

import structlog

from mainstay.errors import RateLimitStoreError, UnavailableError
from shared.redis.errors import RedisReplyError

FAILURES = (UnavailableError, RedisReplyError)
"""What the Redis client raises."""

log = structlog.get_logger()


def store_error(error: UnavailableError | RedisReplyError) -> RateLimitStoreError:
    """Return the same failure in the rate limits' own words; raise it `from` the first."""
    if isinstance(error, UnavailableError):
        return _unusable(error.reason, retry_after=error.retry_after)
    # Not the caller's fault and nothing that waiting heals: somebody must read this.
    log.error("counter_refused", error=str(error))
    # The first word of a reply is its code, such as NOPERM; the rest may name what is internal.
    return _unusable(str(error).partition(" ")[0])


def _unusable(cause: str, *, retry_after: float | None = None) -> RateLimitStoreError:
    return RateLimitStoreError(
        "the counters of the rate limits cannot be reached; retry with backoff",
        metadata={"dependency": "redis", "cause": cause},
        retry_after=retry_after,
    )

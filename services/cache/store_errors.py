"""What a failure of Redis means to those who use the cache."""

from mainstay.errors import CacheError, UnavailableError
from shared.redis.link import RedisReplyError

FAILURES = (UnavailableError, RedisReplyError)
"""What the Redis client raises."""


def cache_error(error: UnavailableError | RedisReplyError) -> CacheError:
    """Return the same failure in the cache's own words; raise it `from` the first."""
    return _refused(error) if isinstance(error, RedisReplyError) else _gone(error)


def _gone(error: UnavailableError) -> CacheError:
    if error.reason == "REDIS_FULL":
        return CacheError(
            "the store behind the cache is full and evicts nothing; go on without caching, and "
            "give Redis more memory or lower the quotas of the cache policy",
            reason="CACHE_FULL",
            metadata={"dependency": "redis", "cause": error.reason},
        )
    return CacheError(
        "the store behind the cache does not answer; read from the source and go on",
        metadata={"dependency": "redis", "cause": error.reason},
        retry_after=error.retry_after,
    )


def _refused(error: RedisReplyError) -> CacheError:
    # The first word of a reply is its code, such as NOPERM; the rest may name what is internal.
    code = str(error).partition(" ")[0]
    return CacheError(
        f"the store behind the cache refused the command ({code}); read from the source and go on",
        metadata={"dependency": "redis", "cause": code},
    )

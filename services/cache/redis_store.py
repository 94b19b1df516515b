"""Entries in Redis: one framed string each, ended by Redis's own expiry.

Redis alone judges whether an entry has ended, so that a replica with a wrong clock can neither
stretch nor cut its life. Commands of concurrent calls leave in one pipeline (`shared.redis`).
"""

from collections.abc import Sequence
from typing import Any

from mainstay.errors import CacheError, UnavailableError
from services.cache.entry import ABSENT, UNREADABLE, Entry, Outcome
from services.cache.frame import decode, encode
from services.cache.keys import entry_key
from shared.redis.client import Redis
from shared.redis.link import RedisReplyError
from shared.rpc.call import Tenant


class RedisEntryStore:
    """The `EntryStore` of production and of the tests: there is no other."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def get(self, tenant: Tenant, namespace: str, key: str) -> Outcome:
        try:
            reply = await self._redis.execute("GET", entry_key(tenant, namespace, key))
        except (UnavailableError, RedisReplyError) as error:
            return _outcome(error)
        return _outcome(reply)

    async def get_many(
        self, tenant: Tenant, namespace: str, keys: Sequence[str]
    ) -> Sequence[Outcome]:
        # Not MGET: on a cluster the keys lie in different slots. Single GETs leave in one pipeline
        # all the same.
        gets = [("GET", entry_key(tenant, namespace, key)) for key in keys]
        try:
            return [_outcome(reply) for reply in await self._redis.execute_many(gets)]
        except UnavailableError as error:
            raise _cache_error(error) from error

    async def put(
        self, tenant: Tenant, namespace: str, key: str, entry: Entry, ttl_ms: int | None
    ) -> None:
        where, frame = entry_key(tenant, namespace, key), encode(entry)
        if ttl_ms is None:
            await self._execute("SET", where, frame)
        else:
            await self._execute("SET", where, frame, "PX", ttl_ms)

    async def remove(self, tenant: Tenant, namespace: str, key: str) -> bool:
        # UNLINK frees a large value beside the thread that answers everybody.
        return bool(await self._execute("UNLINK", entry_key(tenant, namespace, key)))

    async def _execute(self, *command: str | bytes | int) -> Any:
        try:
            return await self._redis.execute(*command)
        except (UnavailableError, RedisReplyError) as error:
            raise _cache_error(error) from error


def _outcome(reply: bytes | BaseException | None) -> Outcome:
    """Return what a GET has found; raises what it failed with, in the cache's own words."""
    match reply:
        case None:
            return ABSENT
        case bytes():
            return decode(reply) or UNREADABLE
        case RedisReplyError() if str(reply).startswith("WRONGTYPE"):
            return UNREADABLE
        case UnavailableError() | RedisReplyError():
            raise _cache_error(reply) from reply
        case _:
            raise reply


def _cache_error(error: UnavailableError | RedisReplyError) -> CacheError:
    return _refused(error) if isinstance(error, RedisReplyError) else _gone(error)


def _gone(error: UnavailableError) -> CacheError:
    if error.reason == "REDIS_FULL":
        return CacheError(
            "the store behind the cache is full and evicts nothing; go on without caching, and "
            "give Redis more memory or an eviction policy such as volatile-lru",
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

"""Looks at what lies under an entry's keys in Redis."""

from typing import Any

from services.cache.inspection import Found
from services.cache.keys import EntryName, entry_key, items_key, lease_key
from services.cache.store_errors import FAILURES, cache_error
from shared.redis.client import Redis
from shared.redis.link import RedisReplyError

_HELD = b"L"
_THROTTLED = b"!"


class RedisProbe:
    """The `EntryProbe` of production and of the tests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def look(self, name: EntryName) -> Found:
        where = entry_key(*name)
        lease, items = lease_key(where), items_key(where)
        replies = await self._redis.execute_many(
            (
                ("GET", where),
                ("GET", lease),
                ("PTTL", lease),
                # The kind is not known yet; one of the two fails.
                ("LLEN", items),
                ("SCARD", items),
            )
        )
        frame, held, left, *sizes = map(_known, replies)
        mark = held[:1] if isinstance(held, bytes) else b""
        return Found(
            frame=frame,
            foreign=isinstance(replies[0], RedisReplyError),
            items=sum(filter(None, sizes)),
            lease_left_ms=left if mark == _HELD and left and left > 0 else None,
            throttled=held[1:].decode("utf-8", "replace") if mark == _THROTTLED else "",
        )


def _known(reply: Any) -> Any:
    """Return a reply, or None for that of a key of another type; raises CacheError."""
    if isinstance(reply, RedisReplyError) and str(reply).startswith("WRONGTYPE"):
        return None
    if isinstance(reply, FAILURES):
        raise cache_error(reply) from reply
    if isinstance(reply, BaseException):
        raise reply
    return reply

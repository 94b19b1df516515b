"""What all calls to the cache have in common: the channel, when to repeat, whose copies to drop."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypedDict

from mainstay.cache.near import NearCache
from mainstay.cache.v1 import cache_service_pb2_grpc as pb_grpc
from mainstay.cache.watching import Invalidation
from mainstay.channel import Channel
from mainstay.context import current
from mainstay.errors import CacheError, MainstayError


class Repeatable(TypedDict):
    """How `Channel.unary` may repeat a call."""

    retry: bool
    unless: tuple[type[MainstayError], ...]


# When the store is gone, whoever uses a cache has a source to read instead, at once.
REPEATABLE: Repeatable = {"retry": True, "unless": (CacheError,)}
# But what is to become stale has to, or old values are served when the store is back.
UNTIL_DONE: Repeatable = {"retry": True, "unless": ()}
# What a repeat would do twice, or would find already done.
ONCE: Repeatable = {"retry": False, "unless": ()}


class Calls:
    """The connection that the methods of the client share."""

    def __init__(self, channel: Channel, near: NearCache | None) -> None:
        self._channel = channel
        self._stub = pb_grpc.CacheServiceStub(channel.raw)
        self._near = near

    def _tenant(self) -> str:
        """Return the tenant that a call made now belongs to, empty for the service's default."""
        context = current()
        return (context.tenant if context else None) or self._channel.tenant or ""

    def _replacing(self, namespace: str, keys: Iterable[str]) -> AbstractContextManager[None]:
        """Drop the near copies of entries that are about to change, and again when they have."""
        if self._near is None:
            return nullcontext()
        entries = tuple((namespace, key) for key in keys)
        return self._changing(self._near, Invalidation(entries=entries))

    def _making_stale(self, change: Invalidation) -> AbstractContextManager[None]:
        """Drop the near copies that are about to become stale, and again when they have."""
        return nullcontext() if self._near is None else self._changing(self._near, change)

    @contextmanager
    def _changing(self, near: NearCache, change: Invalidation) -> Iterator[None]:
        # Before, so that nobody here is served a value that is being replaced; after, because a
        # read that ran meanwhile may have brought the old one. Whether the call fails does not
        # matter: it may have arrived.
        tenant = self._tenant()
        near.apply(tenant, change)
        try:
            yield
        finally:
            near.apply(tenant, change)

"""The methods of the client that make entries stale, and the stream that tells of it."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any

from google.protobuf.struct_pb2 import Struct

from mainstay.cache import conversions
from mainstay.cache.calls import UNTIL_DONE, Calls
from mainstay.cache.results import Invalidated
from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.cache.watching import Invalidation, Watched, watched
from mainstay.errors import ValidationError

# A stream has a deadline as every call has; a month is as good as none.
_STREAM_SECONDS = 30 * 86_400.0


class Invalidations(Calls):
    """Makes entries stale for good, at the same cost whatever their number.

    Once a method has returned, no read through the service gives back a value that was written, or
    whose computation began, before the call. All of them are repeated on transient errors; when one
    raises, nothing was promised: try again until it succeeds.
    """

    async def invalidate_keys(self, namespace: str, keys: Iterable[str]) -> Invalidated:
        """Make 1 to 1,000 entries stale."""
        named = conversions.texts(keys, "keys")
        local = Invalidation(entries=tuple((namespace, key) for key in named))
        target = pb.KeysTarget(namespace=namespace, keys=named)
        return await self._invalidate(pb.InvalidateRequest(keys=target), local)

    async def invalidate_tags(self, tags: Iterable[str]) -> Invalidated:
        """Make all entries stale that have any of 1 to 100 tags, in every namespace."""
        named = conversions.texts(tags, "tags")
        local = Invalidation(tags=tuple(named))
        return await self._invalidate(pb.InvalidateRequest(tags=pb.TagsTarget(tags=named)), local)

    async def invalidate_prefix(self, namespace: str, prefix: str) -> Invalidated:
        """Make all entries of a namespace stale whose key begins so; `*` is no wildcard."""
        local = Invalidation(prefixes=((namespace, prefix),))
        target = pb.PrefixTarget(namespace=namespace, prefix=prefix)
        return await self._invalidate(pb.InvalidateRequest(prefix=target), local)

    async def invalidate_namespace(self, namespace: str) -> Invalidated:
        """Make all entries of a namespace stale."""
        local = Invalidation(namespaces=(namespace,))
        return await self._invalidate(pb.InvalidateRequest(namespace=namespace), local)

    async def invalidate_event(self, event: str, data: Mapping[str, Any]) -> Invalidated:
        """Make all entries stale that an event stands for, as the cache policy says.

        `data` fills the templates of the policy. Raises `NotFoundError`, reason `EVENT_UNKNOWN`,
        for a type that the policy does not map, and `ValidationError` for a part that is missing.
        """
        target = pb.EventTarget(type=event, data=_struct(data))
        return await self._invalidate(pb.InvalidateRequest(event=target), Invalidation())

    async def _invalidate(self, request: pb.InvalidateRequest, local: Invalidation) -> Invalidated:
        with self._making_stale(local):
            response = await self._channel.unary(self._stub.Invalidate, request, **UNTIL_DONE)
        done = Invalidated(sequence=response.sequence, tags=tuple(response.tags))
        if self._near is not None and done.tags:
            # Which tags an event stands for is known only now.
            self._near.apply(self._tenant(), Invalidation(tags=done.tags))
        return done

    async def watch_invalidations(
        self, *, epoch: str = "", sequence: int = 0
    ) -> AsyncGenerator[Watched, None]:
        """Yield what is invalidated from now on, for those who keep copies of their own.

        The first message says that the stream is `Started`; a `Heartbeat` comes at least every
        second. With the `epoch` and `sequence` of the last message of a stream before, it goes on
        there, or begins with a `Discontinuity`. A stream that breaks, or is silent for more than
        three seconds, is a discontinuity too. Raises `UnavailableError`, reason
        `TOO_MANY_WATCHERS`, when a service has all it can serve. Close the generator when done.
        """
        request = pb.WatchInvalidationsRequest(epoch=epoch, sequence=sequence)
        stream = self._channel.server_stream(
            self._stub.WatchInvalidations, request, timeout=_STREAM_SECONDS
        )
        async with aclosing(stream):
            async for message in stream:
                yield watched(message)


def _struct(data: Mapping[str, Any]) -> Struct:
    struct = Struct()
    try:
        struct.update(dict(data))
    except (TypeError, ValueError) as error:
        raise ValidationError(
            f"the data of the event cannot be sent as JSON: {error}",
            fields={"data": "strings, numbers, booleans, and lists and mappings of them"},
        ) from error
    return struct

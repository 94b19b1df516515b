"""The methods of the client for one entry and for batches of them."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from mainstay.cache import conversions
from mainstay.cache.calls import ONCE, REPEATABLE, UNTIL_DONE, Calls
from mainstay.cache.results import Item, Refused, Result, Touched, Written
from mainstay.cache.v1 import cache_service_pb2 as pb


class Entries(Calls):
    """Reads, writes, removes and touches entries."""

    async def get(self, namespace: str, key: str) -> Result:
        """Return the entry, or a `Miss` with its reason.

        Raises `PreconditionError`, reason `WRONG_KIND`, for a list or a set.
        """
        near = self._near
        if near is None:
            return await self._get(namespace, key)
        tenant = self._tenant()
        if (copy := near.get(tenant, namespace, key)) is not None:
            return copy
        with near.reading(tenant) as reading:
            found = await self._get(namespace, key)
            near.keep(reading, tenant, namespace, key, found)
        return found

    async def _get(self, namespace: str, key: str) -> Result:
        request = pb.GetRequest(namespace=namespace, key=key)
        response = await self._channel.unary(self._stub.Get, request, **REPEATABLE)
        return conversions.result(response)

    async def get_many(self, namespace: str, keys: Iterable[str]) -> dict[str, Result]:
        """Return a result for every key, in one round trip; at most 1,000 keys.

        Values of more than about 4 MiB together are refused with a `ValidationError`, reason
        `BATCH_TOO_LARGE`: ask for fewer keys at once. Near copies are not used.
        """
        asked = conversions.texts(keys, "keys")
        if not asked:
            return {}
        request = pb.BatchGetRequest(namespace=namespace, keys=asked)
        response = await self._channel.unary(self._stub.BatchGet, request, **REPEATABLE)
        return {answer.key: conversions.result(answer) for answer in response.results}

    async def set(
        self,
        namespace: str,
        key: str,
        value: bytes,
        *,
        ttl: timedelta | None = None,
        ttl_class: str | None = None,
        content_type: str = "",
        tags: Iterable[str] = (),
        if_absent: bool = False,
        if_present: bool = False,
        if_version: int | None = None,
    ) -> Written:
        """Write an entry over what stands there; the last write wins.

        It lives for `ttl` (1 ms to 366 days), or as long as the class of the cache policy says, or,
        with neither, as long as the policy's default class says. It can be invalidated by its
        `tags` (up to 16). Giving both a TTL and a class is refused.

        At most one condition may be given: write only when there is no entry, when there is one,
        or when it has this version. Raises `ConflictError`, reason `CONDITION_UNMET`, when it is
        not so; a write with a condition is not repeated on errors. Raises `CacheError` with the
        reason `CACHE_FULL` when the store takes no more, and `QuotaError` when the tenant has
        used up what it may hold: go on without caching.
        """
        when = conversions.condition(
            if_absent=if_absent, if_present=if_present, if_version=if_version
        )
        request = pb.SetRequest(
            namespace=namespace,
            key=key,
            value=value,
            content_type=content_type,
            tags=conversions.texts(tags, "tags"),
            **conversions.expiry(ttl, ttl_class),
            **when,
        )
        repeat = ONCE if when else REPEATABLE
        with self._replacing(namespace, [key]):
            response = await self._channel.unary(self._stub.Set, request, **repeat)
        return Written(version=response.version, expire_time=conversions.expire_time(response))

    async def set_many(self, namespace: str, items: Sequence[Item]) -> dict[str, Written | Refused]:
        """Write up to 1,000 entries, no key twice, and return what became of each.

        Each is written by itself: one that is refused does not keep the others from being written.
        """
        if not items:
            return {}
        request = pb.BatchSetRequest(namespace=namespace, items=map(_item, items))
        conditional = any(item.HasField("condition") for item in request.items)
        repeat = ONCE if conditional else REPEATABLE
        with self._replacing(namespace, [item.key for item in items]):
            response = await self._channel.unary(self._stub.BatchSet, request, **repeat)
        return {answer.key: _written(answer) for answer in response.results}

    async def delete(self, namespace: str, key: str) -> bool:
        """Remove an entry of any kind and return whether there was one.

        Who computes the entry meanwhile cannot store it. After a repeat on a transient error False
        may also mean that the first attempt removed it. When it raises the old value may still be
        served: try again until it succeeds.
        """
        request = pb.DeleteRequest(namespace=namespace, key=key)
        with self._replacing(namespace, [key]):
            response = await self._channel.unary(self._stub.Delete, request, **UNTIL_DONE)
        return response.existed

    async def delete_many(self, namespace: str, keys: Iterable[str]) -> dict[str, bool | Refused]:
        """Remove up to 1,000 entries and return for each whether there was one."""
        asked = conversions.texts(keys, "keys")
        if not asked:
            return {}
        request = pb.BatchDeleteRequest(namespace=namespace, keys=asked)
        with self._replacing(namespace, asked):
            response = await self._channel.unary(self._stub.BatchDelete, request, **UNTIL_DONE)
        return {answer.key: _deleted(answer) for answer in response.results}

    async def touch(
        self,
        namespace: str,
        key: str,
        *,
        ttl: timedelta | None = None,
        ttl_class: str | None = None,
    ) -> Touched:
        """Give an entry a new expiry, counted from now, and leave its value alone.

        Without `ttl` and `ttl_class` its own class decides, or the policy's default class.
        """
        request = pb.TouchRequest(
            namespace=namespace, key=key, **conversions.expiry(ttl, ttl_class)
        )
        with self._replacing(namespace, [key]):
            response = await self._channel.unary(self._stub.Touch, request, **REPEATABLE)
        return _touched(response)

    async def touch_many(
        self,
        namespace: str,
        keys: Iterable[str],
        *,
        ttl: timedelta | None = None,
        ttl_class: str | None = None,
    ) -> dict[str, Touched | Refused]:
        """Give up to 1,000 entries the same new expiry."""
        asked = conversions.texts(keys, "keys")
        if not asked:
            return {}
        request = pb.BatchTouchRequest(
            namespace=namespace, keys=asked, **conversions.expiry(ttl, ttl_class)
        )
        with self._replacing(namespace, asked):
            response = await self._channel.unary(self._stub.BatchTouch, request, **REPEATABLE)
        return {
            answer.key: (
                conversions.refused(answer.error)
                if answer.HasField("error")
                else _touched(answer.touched)
            )
            for answer in response.results
        }


def _item(item: Item) -> pb.BatchSetItem:
    return pb.BatchSetItem(
        key=item.key,
        value=item.value,
        content_type=item.content_type,
        tags=conversions.texts(item.tags, "tags"),
        **conversions.expiry(item.ttl, item.ttl_class),
        **conversions.condition(
            if_absent=item.if_absent, if_present=item.if_present, if_version=item.if_version
        ),
    )


def _written(answer: pb.BatchSetResult) -> Written | Refused:
    if answer.HasField("error"):
        return conversions.refused(answer.error)
    written = answer.written
    return Written(version=written.version, expire_time=conversions.expire_time(written))


def _deleted(answer: pb.BatchDeleteResult) -> bool | Refused:
    return conversions.refused(answer.error) if answer.HasField("error") else answer.existed


def _touched(response: pb.TouchResponse) -> Touched:
    return Touched(existed=response.existed, expire_time=conversions.expire_time(response))

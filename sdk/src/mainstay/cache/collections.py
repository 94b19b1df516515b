"""The methods of the client for counters, lists and sets."""

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import timedelta

from mainstay.cache import conversions
from mainstay.cache.calls import ONCE, REPEATABLE, Calls
from mainstay.cache.results import Added, Counter, ListPart, Pushed, Removed
from mainstay.cache.v1 import cache_service_pb2 as pb


class Collections(Calls):
    """Counts, and keeps lists and sets.

    Where something of another kind stands, every method raises `PreconditionError`, reason
    `WRONG_KIND`. Expiry and tags are set when a call creates the entry and not changed later.
    """

    async def increment(
        self,
        namespace: str,
        key: str,
        delta: int = 1,
        *,
        initial: int = 0,
        ttl: timedelta | None = None,
        ttl_class: str | None = None,
        tags: Iterable[str] = (),
    ) -> Counter:
        """Add to a counter, created with `initial` before adding, and return it.

        Never repeated on errors: when it raises, the count may or may not have changed. Beyond 64
        bits it raises `ValidationError`, reason `COUNTER_OVERFLOW`, and nothing changes.
        """
        request = pb.IncrementRequest(
            namespace=namespace,
            key=key,
            delta=delta,
            initial=initial,
            tags=conversions.texts(tags, "tags"),
            **conversions.expiry(ttl, ttl_class),
        )
        with self._replacing(namespace, [key]):
            response = await self._channel.unary(self._stub.Increment, request, **ONCE)
        return Counter(
            value=response.value,
            expire_time=conversions.expire_time(response),
            created=response.created,
        )

    async def push(
        self,
        namespace: str,
        key: str,
        items: Sequence[bytes],
        *,
        at_head: bool = False,
        max_length: int | None = None,
        ttl: timedelta | None = None,
        ttl_class: str | None = None,
        tags: Iterable[str] = (),
    ) -> Pushed:
        """Add 1 to 1,000 items to the tail of a list, or to its head, and return its length.

        At the head they stand in reverse, as if pushed one by one. What is beyond `max_length` (up
        to 10,000, the default) falls off the other end. Never repeated on errors: when it raises,
        the items may or may not have been added.
        """
        request = pb.PushToListRequest(
            namespace=namespace,
            key=key,
            items=items,
            end=pb.LIST_END_HEAD if at_head else pb.LIST_END_TAIL,
            max_length=max_length or 0,
            tags=conversions.texts(tags, "tags"),
            **conversions.expiry(ttl, ttl_class),
        )
        with self._replacing(namespace, [key]):
            response = await self._channel.unary(self._stub.PushToList, request, **ONCE)
        return Pushed(length=response.length, created=response.created)

    async def read_list(
        self, namespace: str, key: str, *, start: int = 0, count: int = 1_000
    ) -> ListPart:
        """Return up to `count` items (at most 1,000) from `start` on; no list is an empty one.

        `start` counts from 0 at the head; a negative one from the tail, -1 being the last item.
        """
        request = pb.ReadListRequest(namespace=namespace, key=key, start=start, count=count)
        response = await self._channel.unary(self._stub.ReadList, request, **REPEATABLE)
        return ListPart(items=tuple(response.items), length=response.length)

    async def trim(self, namespace: str, key: str, *, start: int = 0, count: int) -> int:
        """Keep up to `count` items from `start` on, drop the rest, and return what is left.

        None kept, the list is gone.
        """
        request = pb.TrimListRequest(namespace=namespace, key=key, start=start, count=count)
        with self._replacing(namespace, [key]):
            response = await self._channel.unary(self._stub.TrimList, request, **REPEATABLE)
        return response.length

    async def add_members(
        self,
        namespace: str,
        key: str,
        members: Iterable[bytes],
        *,
        ttl: timedelta | None = None,
        ttl_class: str | None = None,
        tags: Iterable[str] = (),
    ) -> Added:
        """Add 1 to 1,000 members to a set, which holds up to 10,000.

        Beyond those it raises `QuotaError` and nothing is added. After a repeat on a transient
        error `added` may be lower than what this call has added.
        """
        request = pb.AddToSetRequest(
            namespace=namespace,
            key=key,
            members=members,
            tags=conversions.texts(tags, "tags"),
            **conversions.expiry(ttl, ttl_class),
        )
        with self._replacing(namespace, [key]):
            response = await self._channel.unary(self._stub.AddToSet, request, **REPEATABLE)
        return Added(added=response.added, size=response.size, created=response.created)

    async def remove_members(self, namespace: str, key: str, members: Iterable[bytes]) -> Removed:
        """Remove 1 to 1,000 members from a set; the last one removes the set.

        After a repeat on a transient error `removed` may be lower than what this call has removed.
        """
        request = pb.RemoveFromSetRequest(namespace=namespace, key=key, members=members)
        with self._replacing(namespace, [key]):
            response = await self._channel.unary(self._stub.RemoveFromSet, request, **REPEATABLE)
        return Removed(removed=response.removed, size=response.size)

    async def members(
        self, namespace: str, key: str, *, page_size: int = 1_000
    ) -> AsyncIterator[bytes]:
        """Yield the members of a set in no order, read about `page_size` at a time.

        A member that is there all the while comes at least once; one may come twice while the set
        changes.
        """
        token = ""
        while True:
            request = pb.ListSetMembersRequest(
                namespace=namespace, key=key, page_size=page_size, page_token=token
            )
            page = await self._channel.unary(self._stub.ListSetMembers, request, **REPEATABLE)
            for member in page.members:
                yield member
            if not (token := page.next_page_token):
                return

    async def contains(
        self, namespace: str, key: str, members: Iterable[bytes]
    ) -> dict[bytes, bool]:
        """Return for each of 1 to 1,000 values whether it is a member of the set."""
        asked = list(members)
        request = pb.CheckSetMembersRequest(namespace=namespace, key=key, members=asked)
        response = await self._channel.unary(self._stub.CheckSetMembers, request, **REPEATABLE)
        return dict(zip(asked, response.contained, strict=True))

"""Counters, lists and sets: parse, call, format."""

from mainstay.cache.v1 import cache_service_pb2 as pb
from services.cache.counters import Counters
from services.cache.formatting import timestamp_or_unset
from services.cache.limits import MAX_ITEMS, MAX_LENGTH
from services.cache.lists import Lists
from services.cache.parsing import expiry, is_head
from services.cache.sets import Sets
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

METHODS = {
    "Increment": MethodPolicy(default_deadline=1.0, max_deadline=10.0),
    "PushToList": MethodPolicy(default_deadline=1.0, max_deadline=10.0, roomy=frozenset({"items"})),
    "ReadList": MethodPolicy(default_deadline=1.0, max_deadline=10.0),
    "TrimList": MethodPolicy(default_deadline=1.0, max_deadline=10.0),
    "AddToSet": MethodPolicy(default_deadline=1.0, max_deadline=10.0, roomy=frozenset({"members"})),
    "RemoveFromSet": MethodPolicy(
        default_deadline=1.0, max_deadline=10.0, roomy=frozenset({"members"})
    ),
    "ListSetMembers": MethodPolicy(default_deadline=1.0, max_deadline=10.0),
    "CheckSetMembers": MethodPolicy(
        default_deadline=1.0, max_deadline=10.0, roomy=frozenset({"members"})
    ),
}


class CollectionMethods:
    """The methods of counters, lists and sets."""

    counters: Counters
    lists: Lists
    sets: Sets

    async def Increment(
        self, request: pb.IncrementRequest, context: object
    ) -> pb.IncrementResponse:
        counter = await self.counters.increment(
            current_call().tenant,
            request.namespace,
            request.key,
            delta=request.delta if request.HasField("delta") else 1,
            initial=request.initial,
            expiry=expiry(request),
            tags=tuple(request.tags),
        )
        return pb.IncrementResponse(
            value=counter.value,
            expire_time=timestamp_or_unset(counter.expiry_ms),
            created=counter.created,
        )

    async def PushToList(
        self, request: pb.PushToListRequest, context: object
    ) -> pb.PushToListResponse:
        pushed = await self.lists.push(
            current_call().tenant,
            request.namespace,
            request.key,
            request.items,
            at_head=is_head(request.end),
            max_length=request.max_length or MAX_LENGTH,
            expiry=expiry(request),
            tags=tuple(request.tags),
        )
        return pb.PushToListResponse(length=pushed.length, created=pushed.created)

    async def ReadList(self, request: pb.ReadListRequest, context: object) -> pb.ReadListResponse:
        part = await self.lists.read(
            current_call().tenant,
            request.namespace,
            request.key,
            start=request.start,
            count=request.count or MAX_ITEMS,
        )
        return pb.ReadListResponse(items=part.items, length=part.length)

    async def TrimList(self, request: pb.TrimListRequest, context: object) -> pb.TrimListResponse:
        length = await self.lists.trim(
            current_call().tenant,
            request.namespace,
            request.key,
            start=request.start,
            count=request.count,
        )
        return pb.TrimListResponse(length=length)

    async def AddToSet(self, request: pb.AddToSetRequest, context: object) -> pb.AddToSetResponse:
        added = await self.sets.add(
            current_call().tenant,
            request.namespace,
            request.key,
            request.members,
            expiry=expiry(request),
            tags=tuple(request.tags),
        )
        return pb.AddToSetResponse(added=added.added, size=added.size, created=added.created)

    async def RemoveFromSet(
        self, request: pb.RemoveFromSetRequest, context: object
    ) -> pb.RemoveFromSetResponse:
        removed = await self.sets.remove(
            current_call().tenant, request.namespace, request.key, request.members
        )
        return pb.RemoveFromSetResponse(removed=removed.removed, size=removed.size)

    async def ListSetMembers(
        self, request: pb.ListSetMembersRequest, context: object
    ) -> pb.ListSetMembersResponse:
        page = await self.sets.page(
            current_call().tenant,
            request.namespace,
            request.key,
            size=request.page_size or MAX_ITEMS,
            token=request.page_token,
        )
        return pb.ListSetMembersResponse(
            members=page.members, next_page_token=page.next_token, size=page.size
        )

    async def CheckSetMembers(
        self, request: pb.CheckSetMembersRequest, context: object
    ) -> pb.CheckSetMembersResponse:
        contained = await self.sets.contains(
            current_call().tenant, request.namespace, request.key, request.members
        )
        return pb.CheckSetMembersResponse(contained=contained)

"""Invalidate and WatchInvalidations: parse, call, format."""

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import assert_never, cast

from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.errors import ValidationError
from services.cache.formatting import timestamp
from services.cache.history import Change, Head
from services.cache.invalidation import Invalidated, Invalidation
from services.cache.watcher import Discontinuity, Heartbeat, Message, Started, Told
from services.cache.watching import Watching
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

METHODS = {
    "Invalidate": MethodPolicy(default_deadline=2.0, max_deadline=10.0),
    "WatchInvalidations": MethodPolicy(default_deadline=math.inf, max_deadline=math.inf),
}


class InvalidationMethods:
    """The methods about what has become stale."""

    invalidation: Invalidation
    watching: Watching

    async def Invalidate(
        self, request: pb.InvalidateRequest, context: object
    ) -> pb.InvalidateResponse:
        done = await self._invalidate(request)
        return pb.InvalidateResponse(sequence=done.sequence, tags=done.tags)

    async def _invalidate(self, request: pb.InvalidateRequest) -> Invalidated:
        tenant, use_case = current_call().tenant, self.invalidation
        match request.WhichOneof("target"):
            case "keys":
                return await use_case.by_keys(tenant, request.keys.namespace, request.keys.keys)
            case "tags":
                return await use_case.by_tags(tenant, request.tags.tags)
            case "prefix":
                target = request.prefix
                return await use_case.by_prefix(tenant, target.namespace, target.prefix)
            case "namespace":
                return await use_case.by_namespace(tenant, request.namespace)
            case "event":
                # A Struct is a mapping whose values are Python's own, as far as they go.
                data = cast("Mapping[str, object]", request.event.data)
                return await use_case.by_event(tenant, request.event.type, data)
            case _:
                what = "is not set; give keys, tags, a prefix, a namespace or an event"
                raise ValidationError(f"target {what}", fields={"target": what})

    async def WatchInvalidations(
        self, request: pb.WatchInvalidationsRequest, context: object
    ) -> AsyncIterator[pb.WatchInvalidationsResponse]:
        resume = Head(request.epoch, request.sequence) if request.epoch else None
        messages = self.watching.watch(current_call().tenant, resume)
        async with aclosing(messages):
            async for message in messages:
                yield _watch_response(message)


def _watch_response(message: Message) -> pb.WatchInvalidationsResponse:
    response = pb.WatchInvalidationsResponse(
        epoch=message.head.epoch,
        sequence=message.head.sequence,
        previous_sequence=message.previous,
    )
    match message:
        case Started():
            response.started.SetInParent()
        case Told():
            response.invalidation.CopyFrom(_invalidation(message.change))
        case Discontinuity():
            response.discontinuity.cause = message.cause
        case Heartbeat():
            response.heartbeat.SetInParent()
        case _:
            assert_never(message)
    return response


def _invalidation(change: Change) -> pb.Invalidation:
    return pb.Invalidation(
        entries=(pb.EntryName(namespace=where, key=key) for where, key in change.entries),
        tags=change.tags,
        prefixes=(pb.PrefixTarget(namespace=where, prefix=p) for where, p in change.prefixes),
        # Of a crowd it is not said who they are: for copies that is the same as all.
        namespaces=(*change.namespaces, *change.crowds),
        everything=change.everything,
        invalidate_time=timestamp(change.time_ms),
    )

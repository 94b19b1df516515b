"""Get, Set, Delete, Touch and their batches: parse, call, format."""

from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.errors import MainstayError
from services.cache.cache import Cache, Item
from services.cache.copies import Copies
from services.cache.entry import Entry, Outcome
from services.cache.formatting import entry_message, miss_message, timestamp_or_unset
from services.cache.parsing import condition, expiry
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

METHODS = {
    "Get": MethodPolicy(default_deadline=1.0, max_deadline=10.0),
    "Set": MethodPolicy(default_deadline=1.0, max_deadline=10.0, roomy=frozenset({"value"})),
    "Delete": MethodPolicy(default_deadline=1.0, max_deadline=10.0),
    "Touch": MethodPolicy(default_deadline=1.0, max_deadline=10.0),
    "BatchGet": MethodPolicy(default_deadline=2.0, max_deadline=10.0),
    "BatchSet": MethodPolicy(
        default_deadline=2.0, max_deadline=10.0, roomy=frozenset({"items.value"})
    ),
    "BatchDelete": MethodPolicy(default_deadline=2.0, max_deadline=10.0),
    "BatchTouch": MethodPolicy(default_deadline=2.0, max_deadline=10.0),
}


class EntryMethods:
    """The methods of plain entries."""

    cache: Cache
    copies: Copies

    async def Get(self, request: pb.GetRequest, context: object) -> pb.GetResponse:
        outcome = await self.cache.get(current_call().tenant, request.namespace, request.key)
        if isinstance(outcome, Entry):
            return pb.GetResponse(hit=self._entry(outcome))
        return pb.GetResponse(miss=miss_message(outcome))

    def _keyed(self, key: str, outcome: Outcome) -> pb.KeyedResult:
        if isinstance(outcome, Entry):
            return pb.KeyedResult(key=key, hit=self._entry(outcome))
        return pb.KeyedResult(key=key, miss=miss_message(outcome))

    def _entry(self, entry: Entry) -> pb.Entry:
        return entry_message(entry, self.copies.max_age_ms(entry))

    async def Set(self, request: pb.SetRequest, context: object) -> pb.SetResponse:
        entry = await self.cache.set(current_call().tenant, request.namespace, _item(request))
        return _written(entry)

    async def Delete(self, request: pb.DeleteRequest, context: object) -> pb.DeleteResponse:
        tenant = current_call().tenant
        existed = await self.cache.delete(tenant, request.namespace, request.key)
        return pb.DeleteResponse(existed=existed)

    async def Touch(self, request: pb.TouchRequest, context: object) -> pb.TouchResponse:
        entry = await self.cache.touch(
            current_call().tenant, request.namespace, request.key, expiry(request)
        )
        return _touched(entry)

    async def BatchGet(self, request: pb.BatchGetRequest, context: object) -> pb.BatchGetResponse:
        tenant = current_call().tenant
        outcomes = await self.cache.get_many(tenant, request.namespace, request.keys)
        return pb.BatchGetResponse(results=map(self._keyed, request.keys, outcomes))

    async def BatchSet(self, request: pb.BatchSetRequest, context: object) -> pb.BatchSetResponse:
        items = [_item(item, f"items[{n}].") for n, item in enumerate(request.items)]
        outcomes = await self.cache.set_many(current_call().tenant, request.namespace, items)
        return pb.BatchSetResponse(results=map(_set_result, request.items, outcomes))

    async def BatchDelete(
        self, request: pb.BatchDeleteRequest, context: object
    ) -> pb.BatchDeleteResponse:
        tenant = current_call().tenant
        existed = await self.cache.delete_many(tenant, request.namespace, request.keys)
        return pb.BatchDeleteResponse(results=map(_delete_result, request.keys, existed))

    async def BatchTouch(
        self, request: pb.BatchTouchRequest, context: object
    ) -> pb.BatchTouchResponse:
        outcomes = await self.cache.touch_many(
            current_call().tenant, request.namespace, request.keys, expiry(request)
        )
        return pb.BatchTouchResponse(results=map(_touch_result, request.keys, outcomes))


def _item(request: pb.SetRequest | pb.BatchSetItem, within: str = "") -> Item:
    return Item(
        key=request.key,
        value=request.value,
        content_type=request.content_type,
        expiry=expiry(request),
        tags=tuple(request.tags),
        condition=condition(request, within),
    )


def _written(entry: Entry) -> pb.SetResponse:
    expire_time = timestamp_or_unset(entry.expiry_ms)
    return pb.SetResponse(version=entry.version, expire_time=expire_time)


def _touched(entry: Entry | None) -> pb.TouchResponse:
    if entry is None:
        return pb.TouchResponse(existed=False)
    return pb.TouchResponse(existed=True, expire_time=timestamp_or_unset(entry.expiry_ms))


def _set_result(item: pb.BatchSetItem, outcome: Entry | MainstayError) -> pb.BatchSetResult:
    if isinstance(outcome, Entry):
        return pb.BatchSetResult(key=item.key, written=_written(outcome))
    return pb.BatchSetResult(key=item.key, error=_error(outcome))


def _delete_result(key: str, existed: bool | MainstayError) -> pb.BatchDeleteResult:  # noqa: FBT001
    if isinstance(existed, MainstayError):
        return pb.BatchDeleteResult(key=key, error=_error(existed))
    return pb.BatchDeleteResult(key=key, existed=existed)


def _touch_result(key: str, outcome: Entry | MainstayError | None) -> pb.BatchTouchResult:
    if isinstance(outcome, MainstayError):
        return pb.BatchTouchResult(key=key, error=_error(outcome))
    return pb.BatchTouchResult(key=key, touched=_touched(outcome))


def _error(error: MainstayError) -> pb.BatchError:
    return pb.BatchError(code=error.code.value[0], reason=error.reason, message=error.message)

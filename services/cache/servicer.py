"""`mainstay.cache.v1.CacheService`: parse, call, format."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.cache.v1 import cache_service_pb2_grpc as pb_grpc
from services.cache.cache import Cache
from services.cache.entry import Entry, Miss, MissReason, Outcome
from services.cache.policy import Expiry, InClass, Lifetime
from shared.rpc.call import current_call
from shared.rpc.policy import MethodPolicy

METHODS = {
    "Get": MethodPolicy(default_deadline=1.0, max_deadline=10.0),
    "Set": MethodPolicy(default_deadline=1.0, max_deadline=10.0),
    "Delete": MethodPolicy(default_deadline=1.0, max_deadline=10.0),
    "BatchGet": MethodPolicy(default_deadline=2.0, max_deadline=10.0),
}

_REASONS = {
    MissReason.ABSENT: pb.MISS_REASON_ABSENT,
    MissReason.UNREADABLE: pb.MISS_REASON_UNREADABLE,
}


class CacheServicer(pb_grpc.CacheServiceServicer):
    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def Get(self, request: pb.GetRequest, context: object) -> pb.GetResponse:
        outcome = await self._cache.get(current_call().tenant, request.namespace, request.key)
        if isinstance(outcome, Entry):
            return pb.GetResponse(hit=_hit(outcome))
        return pb.GetResponse(miss=_miss(outcome))

    async def Set(self, request: pb.SetRequest, context: object) -> pb.SetResponse:
        entry = await self._cache.set(
            current_call().tenant,
            request.namespace,
            request.key,
            request.value,
            content_type=request.content_type,
            expiry=_expiry(request),
        )
        return pb.SetResponse(version=entry.version, expire_time=_expire_time(entry))

    async def Delete(self, request: pb.DeleteRequest, context: object) -> pb.DeleteResponse:
        tenant = current_call().tenant
        existed = await self._cache.delete(tenant, request.namespace, request.key)
        return pb.DeleteResponse(existed=existed)

    async def BatchGet(self, request: pb.BatchGetRequest, context: object) -> pb.BatchGetResponse:
        tenant = current_call().tenant
        outcomes = await self._cache.get_many(tenant, request.namespace, request.keys)
        return pb.BatchGetResponse(results=map(_keyed, request.keys, outcomes))


def _expiry(request: pb.SetRequest) -> Expiry:
    match request.WhichOneof("expiry"):
        case "ttl":
            return Lifetime(ttl_ms=_milliseconds(request.ttl))
        case "ttl_class":
            return InClass(name=request.ttl_class)
        case None:
            return None


def _keyed(key: str, outcome: Outcome) -> pb.KeyedResult:
    if isinstance(outcome, Entry):
        return pb.KeyedResult(key=key, hit=_hit(outcome))
    return pb.KeyedResult(key=key, miss=_miss(outcome))


def _hit(entry: Entry) -> pb.Entry:
    return pb.Entry(
        value=entry.value,
        content_type=entry.content_type,
        version=entry.version,
        create_time=_timestamp(entry.create_ms),
        expire_time=_expire_time(entry),
    )


def _miss(miss: Miss) -> pb.Miss:
    return pb.Miss(reason=_REASONS[miss.reason])


def _expire_time(entry: Entry) -> Timestamp | None:
    return None if entry.expiry_ms is None else _timestamp(entry.expiry_ms)


def _timestamp(ms: int) -> Timestamp:
    seconds, rest = divmod(ms, 1000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000_000)


def _milliseconds(duration: Duration) -> int:
    return duration.seconds * 1000 + duration.nanos // 1_000_000

"""The client of the cache service."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TypeAlias, TypedDict

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.cache.v1 import cache_service_pb2_grpc as pb_grpc
from mainstay.channel import Channel
from mainstay.errors import CacheError, MainstayError, ValidationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """An entry that was found.

    Attributes:
        value: The bytes as they were written.
        content_type: The media type given with the write, or empty.
        version: Changes with every write of the entry; compare only for equality.
        create_time: When the entry was written, in UTC.
        expire_time: When it ends, in UTC; None for an entry that never does.

    """

    value: bytes
    content_type: str
    version: int
    create_time: datetime
    expire_time: datetime | None


class MissReason(Enum):
    """Why there was no value."""

    ABSENT = "absent"
    """Never written, expired, deleted or evicted."""
    UNREADABLE = "unreadable"
    """What is stored cannot be read; the next `set` repairs it."""
    UNKNOWN = "unknown"
    """A reason that only a newer version of this package knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """No value was found. An answer, not an error: read from the source."""

    reason: MissReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a `set` has written; `expire_time` is None for an entry that never ends."""

    version: int
    expire_time: datetime | None


Result: TypeAlias = Hit | Miss

_REASONS = {
    pb.MISS_REASON_ABSENT: MissReason.ABSENT,
    pb.MISS_REASON_UNREADABLE: MissReason.UNREADABLE,
}


class _Repeatable(TypedDict):
    retry: bool
    unless: tuple[type[MainstayError], ...]


# Every call may be repeated. But when the store is gone, whoever reads a cache has a source to read
# instead, at once.
_REPEATABLE: _Repeatable = {"retry": True, "unless": (CacheError,)}


class CacheClient:
    """Reads and writes entries of the tenant that the current request or the channel names.

    A namespace is 1 to 64 of `a-z 0-9 . _ -`, a key 1 to 512 bytes of UTF-8 without control
    characters. Every method raises `ValidationError` naming the field that is wrong, and
    `CacheError` within a bounded time when the store behind the cache is gone: read from the
    source and go on. All of them are safe to repeat, and are repeated on transient errors.
    """

    def __init__(self, channel: Channel) -> None:
        """Use `channel`, which stays the caller's to close."""
        self._channel = channel
        self._stub = pb_grpc.CacheServiceStub(channel.raw)

    async def get(self, namespace: str, key: str) -> Result:
        """Return the entry, or a `Miss` with its reason."""
        request = pb.GetRequest(namespace=namespace, key=key)
        response = await self._channel.unary(self._stub.Get, request, **_REPEATABLE)
        return _result(response)

    async def get_many(self, namespace: str, keys: Sequence[str]) -> dict[str, Result]:
        """Return a result for every key, in one round trip; at most 1,000 keys.

        Values of more than about 4 MiB together are refused with a `ValidationError`, reason
        `BATCH_TOO_LARGE`: ask for fewer keys at once.
        """
        if not keys:
            return {}
        request = pb.BatchGetRequest(namespace=namespace, keys=keys)
        response = await self._channel.unary(self._stub.BatchGet, request, **_REPEATABLE)
        return {result.key: _result(result) for result in response.results}

    async def set(
        self,
        namespace: str,
        key: str,
        value: bytes,
        *,
        ttl: timedelta | None = None,
        ttl_class: str | None = None,
        content_type: str = "",
    ) -> Written:
        """Write an entry over what stands there; the last write wins.

        It lives for `ttl` (1 ms to 366 days), or as long as the class of the cache policy says, or,
        with neither, as long as the policy's default class says. Giving both is refused. Raises
        `CacheError` with the reason `CACHE_FULL` when the store takes no more.
        """
        if ttl is not None and ttl_class is not None:
            raise ValidationError(
                "ttl and ttl_class exclude each other; give one",
                fields={"ttl": "given together with ttl_class; give one"},
            )
        request = pb.SetRequest(
            namespace=namespace,
            key=key,
            value=value,
            content_type=content_type,
        )
        if ttl is not None:
            request.ttl.CopyFrom(_duration(ttl))
        if ttl_class is not None:
            request.ttl_class = ttl_class
        response = await self._channel.unary(self._stub.Set, request, **_REPEATABLE)
        return Written(version=response.version, expire_time=_expire_time(response))

    async def delete(self, namespace: str, key: str) -> bool:
        """Remove an entry and return whether there was one.

        After a repeat on a transient error False may also mean that the first attempt removed it.
        """
        request = pb.DeleteRequest(namespace=namespace, key=key)
        response = await self._channel.unary(self._stub.Delete, request, **_REPEATABLE)
        return response.existed


def _result(response: pb.GetResponse | pb.KeyedResult) -> Result:
    if not response.HasField("hit"):
        return Miss(reason=_REASONS.get(response.miss.reason, MissReason.UNKNOWN))
    entry = response.hit
    return Hit(
        value=entry.value,
        content_type=entry.content_type,
        version=entry.version,
        create_time=_utc(entry.create_time),
        expire_time=_expire_time(entry),
    )


def _expire_time(message: pb.Entry | pb.SetResponse) -> datetime | None:
    return _utc(message.expire_time) if message.HasField("expire_time") else None


def _utc(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(tzinfo=UTC)


def _duration(ttl: timedelta) -> Duration:
    # timedelta is days and seconds and microseconds, of which only the days may be negative.
    seconds = ttl.days * 86_400 + ttl.seconds
    return Duration(seconds=seconds, nanos=ttl.microseconds * 1000)

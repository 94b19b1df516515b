"""From the cache's nouns to protobuf."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.cache.v1 import cache_service_pb2 as pb
from services.cache.entry import Entry, Miss, MissReason

_REASONS = {
    MissReason.COLD: pb.MISS_REASON_COLD,
    MissReason.UNREADABLE: pb.MISS_REASON_UNREADABLE,
    MissReason.EXPIRED: pb.MISS_REASON_EXPIRED,
    MissReason.EVICTED: pb.MISS_REASON_EVICTED,
    MissReason.KEY: pb.MISS_REASON_INVALIDATED_BY_KEY,
    MissReason.TAG: pb.MISS_REASON_INVALIDATED_BY_TAG,
    MissReason.PREFIX: pb.MISS_REASON_INVALIDATED_BY_PREFIX,
    MissReason.NAMESPACE: pb.MISS_REASON_INVALIDATED_BY_NAMESPACE,
    MissReason.EVENT: pb.MISS_REASON_INVALIDATED_BY_EVENT,
    MissReason.LEASE_LOST: pb.MISS_REASON_LEASE_LOST,
    MissReason.NEGATIVE: pb.MISS_REASON_NEGATIVE,
    MissReason.STORE_UNAVAILABLE: pb.MISS_REASON_STORE_UNAVAILABLE,
}


def timestamp(ms: int) -> Timestamp:
    """Return a time given in milliseconds since 1970."""
    seconds, rest = divmod(ms, 1000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000_000)


def timestamp_or_unset(ms: int | None) -> Timestamp | None:
    """Return a time, or None, which leaves the field unset."""
    return None if ms is None else timestamp(ms)


def duration(ms: int) -> Duration:
    """Return a duration given in milliseconds, 0 or more."""
    seconds, rest = divmod(ms, 1000)
    return Duration(seconds=seconds, nanos=rest * 1_000_000)


def duration_or_unset(ms: int | None) -> Duration | None:
    """Return a duration, or None, which leaves the field unset."""
    return None if ms is None else duration(ms)


def entry_message(entry: Entry, near_max_age_ms: int | None) -> pb.Entry:
    """Return an entry as callers get it; `near_max_age_ms` is how long they may keep a copy."""
    message = pb.Entry(
        value=entry.value,
        version=entry.version,
        create_time=timestamp(entry.create_ms),
        sequence=entry.stamp,
    )
    # Assigning what is there costs less than passing what is not.
    if entry.content_type:
        message.content_type = entry.content_type
    if entry.ttl_class:
        message.ttl_class = entry.ttl_class
    if entry.expiry_ms is not None:
        message.expire_time.seconds = entry.expiry_ms // 1000
        message.expire_time.nanos = entry.expiry_ms % 1000 * 1_000_000
    if entry.soft_expiry_ms is not None:
        message.soft_expire_time.CopyFrom(timestamp(entry.soft_expiry_ms))
    if entry.tags:
        message.tags.extend(entry.tags)
    if near_max_age_ms is not None:
        message.near_max_age.CopyFrom(duration(near_max_age_ms))
    return message


def miss_message(miss: Miss) -> pb.Miss:
    """Return why there is nothing."""
    return pb.Miss(reason=miss_reason(miss.reason))


def miss_reason(reason: MissReason) -> pb.MissReason.ValueType:
    """Return the number of a reason."""
    return _REASONS[reason]

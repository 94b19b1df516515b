"""Between the messages on the wire and the values that callers see."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, TypedDict

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.cache.results import Hit, Miss, MissReason, Refused, Result
from mainstay.cache.v1 import cache_service_pb2 as pb
from mainstay.errors import CacheError, ValidationError
from mainstay.errors_wire import from_code

_REASONS = {
    getattr(pb, f"MISS_REASON_{reason.name}"): reason
    for reason in MissReason
    if reason is not MissReason.UNKNOWN
}


_Ending: TypeAlias = (
    pb.Entry
    | pb.SetResponse
    | pb.TouchResponse
    | pb.NotModified
    | pb.FillResponse
    | pb.IncrementResponse
)


class Expiry(TypedDict, total=False):
    """The fields of the oneof `expiry` that many requests have."""

    ttl: Duration
    ttl_class: str


class Condition(TypedDict, total=False):
    """The fields of the oneof `condition` of a write."""

    existence: pb.Existence.ValueType
    version: int


def expiry(ttl: timedelta | None, ttl_class: str | None) -> Expiry:
    """Return the expiry as fields of a request; refuses both at once."""
    if ttl is not None and ttl_class is not None:
        raise ValidationError(
            "ttl and ttl_class exclude each other; give one",
            fields={"ttl": "given together with ttl_class; give one"},
        )
    if ttl is not None:
        return {"ttl": duration(ttl)}
    return {} if ttl_class is None else {"ttl_class": ttl_class}


def condition(*, if_absent: bool, if_present: bool, if_version: int | None) -> Condition:
    """Return the condition as fields of a request; refuses more than one."""
    given = {
        "if_absent": if_absent,
        "if_present": if_present,
        "if_version": if_version is not None,
    }
    if sum(given.values()) > 1:
        names = " and ".join(name for name, is_given in given.items() if is_given)
        raise ValidationError(
            f"{names} exclude each other; give one",
            fields={"condition": f"{names} given together; give one"},
        )
    if if_version is not None:
        return {"version": if_version}
    if if_absent:
        return {"existence": pb.EXISTENCE_ABSENT}
    return {"existence": pb.EXISTENCE_PRESENT} if if_present else {}


def result(response: pb.GetResponse | pb.KeyedResult) -> Result:
    """Return a hit or a miss."""
    return hit(response.hit) if response.HasField("hit") else miss(response.miss)


def hit(entry: pb.Entry) -> Hit:
    """Return an entry."""
    return Hit(
        value=entry.value,
        content_type=entry.content_type,
        version=entry.version,
        create_time=utc(entry.create_time),
        expire_time=expire_time(entry),
        soft_expire_time=soft_expire_time(entry),
        tags=tuple(entry.tags),
        ttl_class=entry.ttl_class,
        sequence=entry.sequence,
        near_max_age=(entry.near_max_age.ToTimedelta() if entry.HasField("near_max_age") else None),
    )


def miss(absent: pb.Miss) -> Miss:
    """Return a miss; a reason of a newer service is UNKNOWN."""
    return Miss(reason=miss_reason(absent.reason))


def miss_reason(number: pb.MissReason.ValueType) -> MissReason:
    """Return the reason behind a number of the wire."""
    return _REASONS.get(number, MissReason.UNKNOWN)


def refused(error: pb.BatchError) -> Refused:
    """Return the error of one part of a batch as the class that the call alone would raise."""
    if error.reason.startswith("CACHE_"):
        return Refused(error=CacheError(error.message, reason=error.reason))
    return Refused(error=from_code(error.code, error.reason, error.message))


def expire_time(message: _Ending) -> datetime | None:
    """Return when something ends, or None when it never does."""
    return utc(message.expire_time) if message.HasField("expire_time") else None


def soft_expire_time(message: pb.Entry | pb.NotModified) -> datetime | None:
    """Return from when on something is stale, or None."""
    return utc(message.soft_expire_time) if message.HasField("soft_expire_time") else None


def utc(timestamp: Timestamp) -> datetime:
    """Return a moment as an aware datetime in UTC."""
    return timestamp.ToDatetime(tzinfo=UTC)


def duration(length: timedelta) -> Duration:
    """Return a length of time; one that is negative travels too, to be refused by name."""
    if not hasattr(length, "days"):  # who checks no types finds out here
        raise TypeError(f"{length!r} is no length of time; give a timedelta(seconds=...)")
    # timedelta is days and seconds and microseconds, of which only the days may be negative.
    seconds = length.days * 86_400 + length.seconds
    return Duration(seconds=seconds, nanos=length.microseconds * 1000)


def optional_duration(length: timedelta | None) -> Duration | None:
    """Return a length of time, or None where the service's default is meant."""
    return None if length is None else duration(length)


def texts(given: Iterable[str], name: str) -> list[str]:
    """Return strings as a list; refuses a bare string, which would be taken letter by letter."""
    if isinstance(given, str):
        raise ValidationError(
            f"{name} is one string; give a sequence of strings, such as [{given[:40]!r}]",
            fields={name: "a sequence of strings"},
        )
    return list(given)

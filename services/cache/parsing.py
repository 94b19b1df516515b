"""From protobuf to the cache's nouns.

What is wrong with them is found by the use cases, but for numbers that stand for no noun at all.
"""

from collections.abc import Container

from google.protobuf.duration_pb2 import Duration

from mainstay.cache.v1 import cache_service_pb2 as pb
from services.cache.checks import refuse
from services.cache.policy import Expiry, InClass, Lifetime
from services.cache.ports import Condition, Existence

HasExpiry = (
    pb.SetRequest
    | pb.BatchSetItem
    | pb.TouchRequest
    | pb.BatchTouchRequest
    | pb.FillRequest
    | pb.IncrementRequest
    | pb.PushToListRequest
    | pb.AddToSetRequest
)


def milliseconds(duration: Duration) -> int:
    """Return a duration in milliseconds; fractions of one are dropped."""
    return duration.seconds * 1000 + duration.nanos // 1_000_000


def expiry(message: HasExpiry) -> Expiry:
    """Return how long the writer wants the entry to live."""
    match message.WhichOneof("expiry"):
        case "ttl":
            return Lifetime(ttl_ms=milliseconds(message.ttl))
        case "ttl_class":
            return InClass(name=message.ttl_class)
        case _:
            return None


_EXISTENCES = {
    pb.EXISTENCE_UNSPECIFIED: None,
    pb.EXISTENCE_ABSENT: Existence.ABSENT,
    pb.EXISTENCE_PRESENT: Existence.PRESENT,
}
_ENDS = {pb.LIST_END_UNSPECIFIED: False, pb.LIST_END_HEAD: True, pb.LIST_END_TAIL: False}


def condition(message: pb.SetRequest | pb.BatchSetItem, within: str = "") -> Condition:
    """Return what the entry has to be like for the write to take place.

    `within` is where in the request the message stands.
    """
    match message.WhichOneof("condition"):
        case "version":
            return message.version
        case "existence":
            _check_known(f"{within}existence", message.existence, _EXISTENCES)
            return _EXISTENCES[message.existence]
        case _:
            return None


def is_head(end: pb.ListEnd.ValueType) -> bool:
    """Return whether items go to the head of a list; to the tail where nothing is said."""
    _check_known("end", end, _ENDS)
    return _ENDS[end]


def _check_known(field: str, number: int, known: Container[int]) -> None:
    # A later version may know it: what it means is not the same as nothing said.
    if number not in known:
        refuse({field: f"is {number}, which this version does not know; give one that it does"})

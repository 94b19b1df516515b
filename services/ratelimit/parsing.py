"""From protobuf to the nouns of the rate limits."""

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mainstay.errors import ValidationError
from mainstay.ratelimit.v1 import ratelimit_service_pb2 as pb
from services.ratelimit.act import Act
from services.ratelimit.audit import Actor
from services.ratelimit.checks import refuse
from shared.rpc.call import Call

MAX_TOGETHER = 16
MAX_BATCH = 1_000
_MAX_SECONDS = 200 * 366 * 86_400
_NANOS = 10**9
_MAX_MISTAKES = 10


def act(
    request: pb.Act | pb.CheckRequest | pb.PeekRequest | pb.EnforceRequest | pb.RefundRequest,
) -> Act:
    """Return one act; raises ValidationError with every field that is wrong."""
    return Act.of(
        request.subject,
        request.endpoint,
        request.plan,
        request.cost if request.HasField("cost") else 1,
    )


def acts_together(
    request: pb.CheckRequest | pb.PeekRequest | pb.EnforceRequest,
) -> tuple[Act, ...]:
    """Return the acts of which all or none go ahead."""
    if not request.also:
        return (act(request),)
    if len(request.also) >= MAX_TOGETHER:
        refuse({"also": f"holds {len(request.also)} acts; give at most {MAX_TOGETHER - 1}"})
    return (act(request), *each_act(request.also, "also"))


def batch(request: pb.CheckBatchRequest) -> list[Act]:
    """Return the acts of a batch."""
    if not 1 <= len(request.acts) <= MAX_BATCH:
        refuse({"acts": f"holds {len(request.acts)} acts; give 1 to {MAX_BATCH:,} at once"})
    return each_act(request.acts, "acts")


def each_act(messages: Sequence[pb.Act], field: str) -> list[Act]:
    """Return acts, or raise ValidationError that names each field of each wrong one."""
    acts: list[Act] = []
    faults: dict[str, str] = {}
    for number, message in enumerate(messages):
        try:
            acts.append(act(message))
        except ValidationError as error:
            faults.update({f"{field}[{number}].{name}": it for name, it in error.fields.items()})
            if len(faults) >= _MAX_MISTAKES:
                break
    refuse(faults)
    return acts


def microseconds(message: Duration | Timestamp, field: str) -> int:
    """Return a time or a length of time; raises ValidationError for what is none of use here."""
    if abs(message.seconds) >= _MAX_SECONDS or abs(message.nanos) >= _NANOS:
        refuse(
            {field: "is out of range; give at most two centuries, or a time between 1970 and 2170"}
        )
    return message.seconds * 1_000_000 + message.nanos // 1_000


def actor(call: Call) -> Actor:
    """Return who is to be named in the audit."""
    return Actor(call.principal, call.request_id)

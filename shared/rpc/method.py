"""What is the same for every call of a method."""

from dataclasses import dataclass
from typing import Protocol

from google.protobuf.message import Message

from shared.rpc.field_bounds import FieldBounds
from shared.rpc.gate import Audit
from shared.rpc.policy import MethodPolicy
from shared.telemetry.call_lines import MethodLines
from shared.telemetry.call_metrics import MethodTally


class Parse(Protocol):
    """Turns bytes into a message."""

    def __call__(self, raw: bytes, /) -> Message:
        """Raise DecodeError when the bytes are not one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What the pipeline knows of a method before the first call."""

    name: str
    policy: MethodPolicy
    scope: str
    lasting: bool
    parse: Parse
    bounds: FieldBounds
    traced: bool
    tally: MethodTally
    lines: MethodLines
    audit: Audit | None

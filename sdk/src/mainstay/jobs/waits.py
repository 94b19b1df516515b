"""What a step can wait for, as the wire has it, and what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mainstay.jobs.durations import Duration, in_seconds, to_wire
from mainstay.jobs.errors import ChildFailedError, ResultError
from mainstay.jobs.json_text import JsonValue, encode
from mainstay.jobs.v1 import worker_service_pb2 as pb

_SUCCEEDED = "succeeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedEvent:
    """An event that a step has waited for."""

    event_id: str
    name: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedSignal:
    """A signal that a step has waited for, and the data that came with it."""

    data: Any


def event_wait(
    key: str, name: str, match: Mapping[str, JsonValue] | None, limit: Duration | None
) -> pb.WaitBegun:
    """Return the wait for an event."""
    wait = pb.EventWait(name=name, match_json=encode(match) if match else "")
    if limit is not None:
        wait.timeout.CopyFrom(to_wire(in_seconds(limit)))
    return pb.WaitBegun(key=key, event=wait)


def signal_wait(key: str, name: str, limit: Duration | None) -> pb.WaitBegun:
    """Return the wait for a signal."""
    wait = pb.SignalWait(name=name)
    if limit is not None:
        wait.timeout.CopyFrom(to_wire(in_seconds(limit)))
    return pb.WaitBegun(key=key, signal=wait)


def received_event(result: Any) -> ReceivedEvent | None:
    """Return the result of a wait for an event."""
    if result is None:
        return None
    _refuse_too_large(result, f"the event {result['name']} ({result['event_id']})")
    return ReceivedEvent(event_id=result["event_id"], name=result["name"], data=result["data"])


def received_signal(result: Any) -> ReceivedSignal | None:
    """Return the result of a wait for a signal."""
    if result is None:
        return None
    _refuse_too_large(result, "the signal")
    return ReceivedSignal(data=result["data"])


def child_result(function: str, result: Mapping[str, Any]) -> Any:
    """Return what an invoked job returned, or raise ChildFailedError."""
    if result["state"] == _SUCCEEDED:
        _refuse_too_large(result, f"the result of job {result['job_id']} of {function}")
        return result["result"]
    failure = result.get("failure") or {}
    kind, reason = failure.get("kind", ""), failure.get("message", "")
    why = f" ({kind}: {reason})" if kind else ""
    raise ChildFailedError(
        f"job {result['job_id']} of {function} ended as {result['state']}{why}",
        job_id=result["job_id"],
        state=result["state"],
        kind=kind,
        reason=reason,
    )


def _refuse_too_large(result: Mapping[str, Any], what: str) -> None:
    """Raise ResultError for what had no room among the steps of the job."""
    if result.get("too_large"):
        raise ResultError(
            f"{what} has come, and what it carries has no room beside the other steps of the job; "
            "send where it is instead, or wait for less in one job"
        )

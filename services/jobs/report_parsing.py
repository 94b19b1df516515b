"""From what a worker reports to values."""

from collections.abc import Callable, Mapping
from typing import Any

from mainstay.jobs.v1 import worker_service_pb2 as worker_pb
from services.jobs import token as tokens
from services.jobs.job import Failure, Progress
from services.jobs.reports import (
    Completed,
    Failed,
    News,
    Released,
    Report,
    StepCompensated,
    StepCompleted,
    Stopped,
    Suspended,
    WaitBegun,
)
from services.jobs.waiting import DEFAULT_TIMEOUT, EventWait, Invoke, SignalWait, Sleep, Waited
from services.jobs.wire_times import seconds_of

MAX_PROGRESS_MESSAGE = 500
MAX_FAILURE_KIND = 200
MAX_FAILURE_MESSAGE = 2_000


def report_from(report: worker_pb.Report) -> Report:
    """Return a report."""
    return Report(
        raw_token=report.token,
        token=tokens.decode(report.token),
        sequence=min(report.sequence, 2**63 - 1),
        news=_news(report),
    )


def _news(report: worker_pb.Report) -> News | None:
    kind = report.WhichOneof("report")
    return _KINDS[kind](getattr(report, kind)) if kind else None


def _step(step: worker_pb.StepCompleted) -> StepCompleted:
    return StepCompleted(key=step.key, result=step.result_json, compensable=step.compensable)


def _wait(begun: worker_pb.WaitBegun) -> Waited | None:
    match begun.WhichOneof("wait"):
        case "sleep":
            return Sleep(duration=seconds_of(begun.sleep.duration))
        case "event":
            event = begun.event
            return EventWait(
                name=event.name, match=event.match_json or None, timeout=_timeout(event)
            )
        case "signal":
            return SignalWait(name=begun.signal.name, timeout=_timeout(begun.signal))
        case "invoke":
            invoke = begun.invoke
            priority = invoke.priority if invoke.HasField("priority") else None
            return Invoke(function=invoke.function, data=invoke.data_json, priority=priority)
        case _:
            return None


def _timeout(wait: Any) -> float:
    return seconds_of(wait.timeout) if wait.HasField("timeout") else DEFAULT_TIMEOUT


def _progress(progress: worker_pb.ProgressReported) -> Progress:
    return Progress(
        fraction=progress.fraction,
        message=_text(progress.message, MAX_PROGRESS_MESSAGE),
        partial=progress.partial_json or None,
    )


def _failed(failed: worker_pb.Failed) -> Failed:
    failure = Failure(
        kind=_text(failed.kind, MAX_FAILURE_KIND) or "Error",
        message=_text(failed.message, MAX_FAILURE_MESSAGE),
        permanent=failed.permanent,
    )
    asked = failed.HasField("retry_after")
    return Failed(failure=failure, retry_after=seconds_of(failed.retry_after) if asked else None)


def _text(text: str, longest: int) -> str:
    """Return text for people, cut and without the one character that the database refuses."""
    return text[:longest].replace("\0", "\N{REPLACEMENT CHARACTER}")


_KINDS: Mapping[str, Callable[[Any], News]] = {
    "completed": lambda completed: Completed(result=completed.result_json),
    "step_completed": _step,
    "progress": _progress,
    "failed": _failed,
    "wait_begun": lambda begun: WaitBegun(key=begun.key, wait=_wait(begun)),
    "suspended": lambda suspended: Suspended(keys=tuple(suspended.keys)),
    "step_compensated": lambda step: StepCompensated(key=step.key),
    "stopped": lambda _: Stopped(),
    "released": lambda _: Released(),
}

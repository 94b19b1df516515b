"""How a call ended, as the caller, the metrics and the log will see it."""

import asyncio
import time
import uuid
from dataclasses import dataclass

import grpc

from mainstay.errors import (
    CancelledError,
    ConfigurationError,
    DeadlineError,
    InternalError,
    MainstayError,
    UnavailableError,
)

CALLER_LEFT = "the caller went away"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A call that did not end well.

    Attributes:
        error: What the caller is told.
        cause: What was raised.
        unexpected: Whether nobody had a name for it, so that its text must stay here.

    """

    error: MainstayError
    cause: BaseException
    unexpected: bool

    @property
    def code(self) -> grpc.StatusCode:
        """Return the gRPC status."""
        return self.error.code


def failure_of(cause: BaseException, *, deadline: float, cancelled: bool) -> Failure:
    """Name what was raised.

    `deadline` is on the clock of `time.monotonic`. `cancelled` says whether the call was ended from
    outside; a CancelledError without that escaped from something the method awaited.
    """
    match cause:
        # A wrong policy or setting may quote its value, which callers have no business to see.
        case ConfigurationError():
            return _unexpected(cause)
        # One that has travelled is about a call that this service made. The caller's own time may
        # not be over: to it, something behind this service does not answer, and trying again helps.
        case DeadlineError() if cause.request_id and not _is_over(deadline):
            return Failure(error=_dependency_late(cause), cause=cause, unexpected=False)
        # A write to a caller that is gone, whose cancellation has not come yet.
        case CancelledError() if not cause.request_id and _is_over(deadline):
            return Failure(error=_late(), cause=cause, unexpected=False)
        case MainstayError():
            return Failure(error=cause, cause=cause, unexpected=False)
        case asyncio.CancelledError() if cancelled:
            # grpcio cancels the handler for both; only the clock tells them apart.
            error = _late() if _is_over(deadline) else CancelledError(CALLER_LEFT)
            return Failure(error=error, cause=cause, unexpected=False)
        case _:
            return _unexpected(cause)


def _is_over(deadline: float) -> bool:
    return time.monotonic() >= deadline - 0.001


def _late() -> MainstayError:
    return DeadlineError("the call's deadline passed")


def _dependency_late(cause: DeadlineError) -> UnavailableError:
    return UnavailableError(
        f"what this service depends on did not answer in time ({cause.message}); try again",
        reason="DEPENDENCY_TIMEOUT",
        metadata={"dependency": "service"} | cause.metadata,
    )


def _unexpected(cause: BaseException) -> Failure:
    error_id = uuid.uuid4().hex[:12]
    error = InternalError(
        f"internal error {error_id}; the service's log has the details under this id",
        metadata={"error_id": error_id},
    )
    return Failure(error=error, cause=cause, unexpected=True)

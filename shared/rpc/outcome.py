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
        case MainstayError():
            return Failure(error=cause, cause=cause, unexpected=False)
        case asyncio.CancelledError() if cancelled:
            # grpcio cancels the handler for both; only the clock tells them apart.
            expired = time.monotonic() >= deadline - 0.001
            error: MainstayError = (
                DeadlineError("the call's deadline passed")
                if expired
                else CancelledError(CALLER_LEFT)
            )
            return Failure(error=error, cause=cause, unexpected=False)
        case _:
            return _unexpected(cause)


def _unexpected(cause: BaseException) -> Failure:
    error_id = uuid.uuid4().hex[:12]
    error = InternalError(
        f"internal error {error_id}; the service's log has the details under this id",
        metadata={"error_id": error_id},
    )
    return Failure(error=error, cause=cause, unexpected=True)

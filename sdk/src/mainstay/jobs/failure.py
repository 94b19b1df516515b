"""What an exception means for the job."""

from mainstay.errors import MainstayError
from mainstay.jobs.assignment import Failed, wire_wait
from mainstay.jobs.errors import NonRetryableError, RetryAfterError


def failure_of(error: Exception | SystemExit) -> Failed:
    """Return how an exception that left a function ends the attempt."""
    match error:
        case NonRetryableError():
            permanent, retry_after = True, None
        case RetryAfterError():
            permanent, retry_after = False, error.seconds
        case MainstayError():
            # A service that was called named the time when it can be called again.
            permanent, retry_after = False, error.retry_after
        case _:
            permanent, retry_after = False, None
    return Failed(
        kind=type(error).__name__,
        message=str(error),
        permanent=permanent,
        retry_after=wire_wait(retry_after),
    )

"""What a function raises to steer its retries, and what the worker raises into a function.

::

    Exception
    ├── NonRetryableError       no retry can help: the job is dead-lettered at once
    │   ├── ResultError         a step or a function returned what JSON cannot hold, or too much
    │   ├── StepKeyError        a step's key is malformed, or stands for two steps
    │   └── StepRejectedError   the service did not accept a step's result
    └── RetryAfterError         try again, but not before so many seconds

Every other exception that leaves a function fails the attempt, and the job is tried again by the
backoff of its function until its attempts are used up.
"""


class NonRetryableError(Exception):
    """Raise it from a function when no retry can help, such as for a file that is no video."""


class ResultError(NonRetryableError):
    """A step or a function returned what JSON cannot hold, or more than the service keeps."""


class StepKeyError(NonRetryableError):
    """A step's key is malformed, or was used for two steps of one attempt."""


class StepRejectedError(NonRetryableError):
    """The service did not accept the result of a step; its message says why."""


class RetryAfterError(Exception):
    """Raise it from a function to be tried again after `seconds` instead of by its backoff."""

    def __init__(self, message: str, *, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds

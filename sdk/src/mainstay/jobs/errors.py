"""What a function raises to steer its retries, and what the worker raises into a function.

::

    Exception
    ├── NonRetryableError       no retry can help: the job is dead-lettered at once
    │   ├── PayloadError        the payload does not fit the type that the function asks for
    │   ├── ResultError         a step or a function returned what JSON cannot hold, or too much
    │   ├── StepKeyError        a step's key is malformed, or stands for two steps
    │   ├── StepRejectedError   the service did not accept a step
    │   ├── NestedWaitError     a step waits inside of another, or what undoes one has steps
    │   └── ChildFailedError    a job that was invoked did not end well
    ├── RetryAfterError         try again, but not before so many seconds
    └── StepNotRunError         raised in a function whose steps are being undone

Every other exception that leaves a function fails the attempt, and the job is tried again by the
backoff of its function until its attempts are used up.

A function that has to stop (its job was cancelled, is suspended or went to another worker) gets
`asyncio.CancelledError`. Let it pass: an attempt that goes on is refused every further step.
"""


class NonRetryableError(Exception):
    """Raise it from a function when no retry can help, such as for a file that is no video."""


class PayloadError(NonRetryableError):
    """The payload does not fit the type of the function's second parameter.

    `pointer` is the JSON pointer of the first value that does not, empty for the whole payload.
    """

    def __init__(self, message: str, *, pointer: str) -> None:
        super().__init__(message)
        self.pointer = pointer


class ResultError(NonRetryableError):
    """A step or a function returned what JSON cannot hold, or more than the service keeps."""


class StepKeyError(NonRetryableError):
    """A step's key is malformed, or stands for two steps: of one attempt, or of two kinds."""


class StepRejectedError(NonRetryableError):
    """The service did not accept a step's result or wait; its message says why."""


class NestedWaitError(NonRetryableError):
    """A step was to wait inside of another step, which would keep the worker busy meanwhile.

    Or it was to begin in what undoes a step, where nothing new is stored.
    """


class ChildFailedError(NonRetryableError):
    """A job that was invoked did not end well.

    Not retried when it leaves the function, because that job has ended: another attempt would meet
    the same end. Catch it to go on without.

    Attributes:
        job_id: The job that was invoked.
        state: How it ended, such as `dead_lettered` or `cancelled`.
        kind: The kind of its last error; empty for none.
        reason: What that error said; empty for none.

    """

    def __init__(
        self, message: str, *, job_id: str, state: str, kind: str = "", reason: str = ""
    ) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.state = state
        self.kind = kind
        self.reason = reason


class StepNotRunError(Exception):
    """Raised in a function whose steps are being undone, from a step that has no stored result."""


class RetryAfterError(Exception):
    """Raise it from a function to be tried again after `seconds` instead of by its backoff."""

    def __init__(self, message: str, *, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds

"""What the prober needs of the outside world."""

from typing import Protocol


class ProbeError(Exception):
    """A target did not answer well.

    Attributes:
        message: Why, in a sentence anybody may read: it names no address, user or secret.
        cause: The words of the system below, for the log.

    """

    def __init__(self, message: str, *, cause: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause


class Probe(Protocol):
    """Asks one target one cheap question.

    A probe keeps its connection only as long as it answers: after any failure, a timeout included,
    the next question goes over a new one. It neither retries nor breaks the circuit: both would
    hide the truth it is asked for.
    """

    async def ask(self, request_id: str) -> None:
        """Ask once; returns when the target answered well, raises ProbeError when it did not.

        The caller bounds the time by cancelling it.
        """

    async def close(self) -> None:
        """Give the connection back, if there is one; may be called at any time."""

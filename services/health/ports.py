"""What the prober needs of the outside world."""

from collections.abc import Sequence
from typing import Protocol

from services.health.history import History, Incident
from services.health.maintenance import Maintenance, Maintenances


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

    async def ask(self, request_id: str) -> str:
        """Ask once; raises ProbeError when the target did not answer, or not well.

        What is returned says what about it needs care, in a sentence anybody may read: such a
        target is degraded. Empty when all is well. The caller bounds the time by cancelling it.
        """
        ...

    async def close(self) -> None:
        """Give the connection back, if there is one; may be called at any time."""
        ...


class MaintenanceStore(Protocol):
    """Keeps what is out of service on purpose, for all replicas. Raises DatabaseError."""

    async def load(self) -> Maintenances:
        """Return those that have not ended."""
        ...

    async def put(self, maintenance: Maintenance) -> None:
        """Set one; it takes the place of the one that its target has."""
        ...

    async def delete(self, target: str) -> None:
        """End the one of a target, if there is one."""
        ...


class HistoryStore(Protocol):
    """Tells how targets were. Raises DatabaseError."""

    async def history(self, target: str) -> History:
        """Return the history of a target; of one that nothing is known of, an empty one."""
        ...

    async def incidents(
        self, target: str, *, limit: int, before: tuple[str, ...] | None = None
    ) -> Sequence[Incident]:
        """Return incidents of the last 90 days, the newest first; `suite` is a target like any.

        `before` is the cursor of the page before: (start time in ISO format, incident id).
        """
        ...

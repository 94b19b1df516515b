"""A probe that keeps its connection as long as it answers.

No address, user or password may reach a message of any probe: messages are public. The words of the
library below go along as the cause, which is only logged.
"""

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from services.health.ports import Probe

C = TypeVar("C")

LOST = "Refused or closed the connection."


class ConnectedProbe(Probe, ABC, Generic[C]):
    """A probe whose connection lives as long as it answers.

    What a dead peer, a failed-over address or a cut cable leaves behind looks like a connection for
    minutes; a new one after every failure finds the target again with the next probe.
    """

    def __init__(self) -> None:
        self._connection: C | None = None

    async def ask(self, request_id: str) -> str:
        """Ask over the kept connection, or over a new one."""
        try:
            if self._connection is None:
                self._connection = await self._connect()
            return await self._question(self._connection, request_id)
        except BaseException:  # cancellation too: its answer may still be on the way
            await self.close()
            raise

    async def close(self) -> None:
        """Drop the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._drop(connection)

    @abstractmethod
    async def _connect(self) -> C:
        """Return a new connection; raises ProbeError."""

    @abstractmethod
    async def _question(self, connection: C, request_id: str) -> str:
        """Ask, and return what needs care; raises ProbeError."""

    @abstractmethod
    async def _drop(self, connection: C) -> None:
        """Give the connection up without waiting for its peer."""


def answered(error: Exception) -> str:
    """Return the message for a target that is there and says no, by the kind of its error."""
    return f"Answered with {type(error).__name__}."

"""Asks a PostgreSQL whether it answers, takes writes, and how far its standbys are behind."""

from collections import deque
from collections.abc import Callable
from time import monotonic as monotonic_clock
from typing import Any

import asyncpg

from services.health.ports import ProbeError
from services.health.probe_connected import LOST, ConnectedProbe, answered
from shared.postgres.queries import load_queries

# The last two are how asyncpg meets a connection that died between two of its own steps.
_ERRORS = (
    asyncpg.PostgresError,
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_QUERIES = load_queries("services.health", "sql/probes.sql")
_STANDBY = "Is a standby: it takes no writes."
_REFUSALS = {"SELECT 2": _STANDBY, "SELECT 1": "Takes no writes: it is set to read only."}
_REMEMBERED = 1_000
"""Positions of the log that are remembered, one for each probe: half an hour of the default's."""


class PostgresProbe(ConnectedProbe["asyncpg.Connection[Any]"]):
    """Asks whether writes are taken; the request id goes along in a comment, for its log."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    async def _connect(self) -> "asyncpg.Connection[Any]":
        try:
            return await asyncpg.connect(
                self._url,
                server_settings={"application_name": "mainstay-health"},
                statement_cache_size=0,
            )
        except _ERRORS as error:
            raise _failure(error) from error

    async def _question(self, connection: "asyncpg.Connection[Any]", request_id: str) -> str:
        try:
            # As a simple query: one round trip, and nothing prepared that a pooler could lose. It
            # brings no rows; the answer is their number, in the status of the command.
            status = await connection.execute(f"{_QUERIES['writable']} /* {request_id} */")
        except _ERRORS as error:
            raise _failure(error) from error
        if status in _REFUSALS:
            raise ProbeError(_REFUSALS[status])
        return ""

    async def _drop(self, connection: "asyncpg.Connection[Any]") -> None:
        connection.terminate()


class ReplicationProbe(PostgresProbe):
    """Asks a primary for the standby that is furthest behind.

    What PostgreSQL itself measures comes with the standbys' answers and stands still when one
    replays nothing. So the position of the log is remembered with the time of each probe, and a
    standby is also as old as the first position that it has not reached.
    """

    def __init__(
        self, url: str, *, max_lag: float, monotonic: Callable[[], float] = monotonic_clock
    ) -> None:
        super().__init__(url)
        self._max_lag = max_lag
        self._monotonic = monotonic
        self._positions: deque[tuple[float, int]] = deque(maxlen=_REMEMBERED)

    async def _question(self, connection: "asyncpg.Connection[Any]", request_id: str) -> str:
        try:
            row = await connection.fetchrow(f"{_QUERIES['replication']} /* {request_id} */")
        except _ERRORS as error:
            raise _failure(error) from error
        assert row is not None, "an aggregate has one row"
        if row["position"] is None:
            raise ProbeError(_STANDBY)
        if not row["standbys"]:
            return "No standby is connected."
        if row["hidden"]:
            return "The lag cannot be seen: grant pg_monitor to the role of MAINSTAY_POSTGRES_URL."
        lag = max(row["lag"], self._behind(row["position"], row["replayed"]))
        if lag <= self._max_lag:
            return ""
        return f"A standby is {lag:.0f} s behind; {self._max_lag:g} s are allowed."

    def _behind(self, position: int, replayed: int) -> float:
        """Return how long ago the log first went beyond what every standby has replayed."""
        now = self._monotonic()
        positions = self._positions
        while positions and positions[0][1] <= replayed:
            positions.popleft()
        if position > replayed and (not positions or position > positions[-1][1]):
            positions.append((now, position))
        return now - positions[0][0] if positions else 0.0


def _failure(error: Exception) -> ProbeError:
    message = LOST
    if isinstance(error, asyncpg.ClientConfigurationError):
        message = "Cannot be asked: MAINSTAY_POSTGRES_URL is not valid."
    elif isinstance(error, asyncpg.PostgresError) and not isinstance(
        error, asyncpg.PostgresConnectionError
    ):
        message = answered(error)
    return ProbeError(message, cause=str(error))

"""How each kind of target is asked: the adapters behind `services.health.ports.Probe`.

No address, user or password may reach a message: messages are public. The words of the library
below go along as the cause, which is only logged.
"""

import math
from abc import ABC, abstractmethod
from itertools import cycle
from typing import Any, Generic, TypeVar

import asyncpg
import grpc
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    RedisError,
    ResponseError,
)

from mainstay.errors import ConfigurationError
from mainstay.grpc_health.v1 import health_pb2 as pb
from mainstay.grpc_health.v1 import health_pb2_grpc as pb_grpc
from services.health.ports import Probe, ProbeError
from shared.redis.seeds import seed_urls

C = TypeVar("C")

_LOST = "Refused or closed the connection."

# The last two are how asyncpg meets a connection that died between two of its own steps.
_POSTGRES_ERRORS = (
    asyncpg.PostgresError,
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class ConnectedProbe(Probe, ABC, Generic[C]):
    """A probe whose connection lives as long as it answers.

    What a dead peer, a failed-over address or a cut cable leaves behind looks like a connection for
    minutes; a new one after every failure finds the target again with the next probe.
    """

    def __init__(self) -> None:
        self._connection: C | None = None

    async def ask(self, request_id: str) -> None:
        """Ask over the kept connection, or over a new one."""
        try:
            if self._connection is None:
                self._connection = await self._connect()
            await self._question(self._connection, request_id)
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
    async def _question(self, connection: C, request_id: str) -> None:
        """Ask; raises ProbeError."""

    @abstractmethod
    async def _drop(self, connection: C) -> None:
        """Give the connection up without waiting for its peer."""


class GrpcProbe(ConnectedProbe[grpc.aio.Channel]):
    """Calls `grpc.health.v1.Health/Check` for the server as a whole.

    Not over the SDK's channel: a probe every two seconds would drown the traces of real calls.
    """

    def __init__(self, address: str, *, timeout: float) -> None:
        super().__init__()
        self._address = address
        self._timeout_ms = math.ceil(timeout * 1000)

    async def _connect(self) -> grpc.aio.Channel:
        options = (
            ("grpc.enable_retries", 0),
            # Else the new channel would inherit the old one's connection and its backoff.
            ("grpc.use_local_subchannel_pool", 1),
            # Closing a channel does not end its attempt to connect, and by default that one goes on
            # for 20 s: with a target that hangs, ten would be open at any time.
            ("grpc.min_reconnect_backoff_ms", self._timeout_ms),
            ("grpc.initial_reconnect_backoff_ms", self._timeout_ms),
        )
        return grpc.aio.insecure_channel(self._address, options=options)

    async def _question(self, connection: grpc.aio.Channel, request_id: str) -> None:
        stub = pb_grpc.HealthStub(connection)
        metadata = (("x-request-id", request_id),)
        try:
            response = await stub.Check(pb.HealthCheckRequest(), metadata=metadata)
        except grpc.aio.AioRpcError as exc:
            cause = exc.details() or ""
            if exc.code() is grpc.StatusCode.UNAVAILABLE:
                raise ProbeError(_LOST, cause=cause) from exc
            raise ProbeError(f"Answered with {exc.code().name}.", cause=cause) from exc
        if response.status != pb.HealthCheckResponse.SERVING:
            name = pb.HealthCheckResponse.ServingStatus.Name(response.status)
            raise ProbeError(f"Answered {name}: it is starting, draining or broken.")

    async def _drop(self, connection: grpc.aio.Channel) -> None:
        await connection.close()


class RedisProbe(ConnectedProbe[Any]):
    """Sends PING with the request id, which comes back: the answer is to this question.

    Of several nodes of a cluster the next is asked when one does not answer.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        try:
            nodes = [_pool(node) for node in seed_urls(url)]
            for node in nodes:
                node.make_connection()  # finds options it does not know
        except (TypeError, ValueError) as exc:
            # Without the reason, which quotes parts of the URL.
            raise ConfigurationError(
                "MAINSTAY_REDIS_URL is not a Redis URL; write redis://user:password@host:6379/0"
            ) from exc
        self._nodes = cycle(nodes)

    async def _connect(self) -> Any:
        # Beside the pool, which would reconnect behind our back.
        return next(self._nodes).make_connection()

    async def _question(self, connection: Any, request_id: str) -> None:
        try:
            await connection.connect()
            await connection.send_command("PING", request_id)
            echo = await connection.read_response()
        except (AuthenticationError, BusyLoadingError, ResponseError) as exc:
            raise ProbeError(_answered(exc), cause=str(exc)) from exc
        except (RedisError, OSError) as exc:
            raise ProbeError(_LOST, cause=str(exc)) from exc
        if echo != request_id.encode():
            raise ProbeError("Answered another question.")

    async def _drop(self, connection: Any) -> None:
        await connection.disconnect(nowait=True)


def _pool(url: str) -> Any:
    return ConnectionPool.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        # The prober bounds the time of the whole.
        socket_timeout=None,
        socket_connect_timeout=None,
        client_name="mainstay-health",
    )


class PostgresProbe(ConnectedProbe["asyncpg.Connection[Any]"]):
    """Runs SELECT 1, with the request id in a comment for the database's own log."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    async def _connect(self) -> "asyncpg.Connection[Any]":
        try:
            return await asyncpg.connect(
                self._url,
                server_settings={"application_name": "mainstay-health"},
            )
        except _POSTGRES_ERRORS as exc:
            raise _postgres_error(exc) from exc

    async def _question(self, connection: "asyncpg.Connection[Any]", request_id: str) -> None:
        try:
            # As a simple query: one round trip, and nothing prepared that a pooler could lose.
            await connection.execute(f"SELECT 1 /* {request_id} */")
        except _POSTGRES_ERRORS as exc:
            raise _postgres_error(exc) from exc

    async def _drop(self, connection: "asyncpg.Connection[Any]") -> None:
        connection.terminate()


def _postgres_error(error: Exception) -> ProbeError:
    message = _LOST
    if isinstance(error, asyncpg.ClientConfigurationError):
        message = "Cannot be asked: MAINSTAY_POSTGRES_URL is not valid."
    elif isinstance(error, asyncpg.PostgresError) and not isinstance(
        error, asyncpg.PostgresConnectionError
    ):
        message = _answered(error)
    return ProbeError(message, cause=str(error))


def _answered(error: Exception) -> str:
    return f"Answered with {type(error).__name__}."

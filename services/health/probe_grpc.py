"""Asks a replica of a service for its gRPC health."""

import math

import grpc

from mainstay.connector import Connector
from mainstay.credentials import NO_CREDENTIALS, Credentials
from mainstay.errors import ConfigurationError
from mainstay.errors_wire import DETAILS_KEY
from mainstay.grpc_health.v1 import health_pb2 as pb
from mainstay.grpc_health.v1 import health_pb2_grpc as pb_grpc
from mainstay.handshakes import tls_failure
from services.health.ports import ProbeError
from services.health.probe_connected import LOST, ConnectedProbe

UNTRUSTED = "Does not agree on TLS, or its certificate is not accepted."


def open_channel(address: str, credentials: Credentials, *, timeout: float) -> grpc.aio.Channel:
    """Return a channel that shares nothing with any other and gives up with the probe.

    Raises ProbeError where this service's own certificates cannot be read now. Not the SDK's: a
    probe every two seconds would drown the traces of real calls.
    """
    timeout_ms = math.ceil(timeout * 1000)
    options = (
        ("grpc.enable_retries", 0),
        # Else the new channel would inherit the old one's connection and its backoff.
        ("grpc.use_local_subchannel_pool", 1),
        # Closing a channel does not end its attempt to connect, and by default that one goes on for
        # 20 s: with a target that hangs, ten would be open at any time.
        ("grpc.min_reconnect_backoff_ms", timeout_ms),
        ("grpc.initial_reconnect_backoff_ms", timeout_ms),
    )
    try:
        return Connector(address, credentials, options=options).open()
    except ConfigurationError as error:
        raise ProbeError(
            "Cannot be asked: the certificates to ask with cannot be used.", cause=error.message
        ) from error


def metadata_of(request_id: str, credentials: Credentials) -> tuple[tuple[str, str], ...]:
    """Return the headers of a probe."""
    authorization = credentials.authorization()
    shown = (("authorization", authorization),) if authorization else ()
    return (("x-request-id", request_id), *shown)


def failure_of(error: grpc.aio.AioRpcError) -> ProbeError:
    """Return what a call that ended badly says of its target."""
    cause = error.details() or ""
    # What our services refuse carries details; what no server has answered does not.
    answered = DETAILS_KEY in {key for key, _ in error.trailing_metadata() or ()}
    if error.code() is grpc.StatusCode.UNAVAILABLE and not answered:
        return ProbeError(UNTRUSTED if tls_failure(cause) else LOST, cause=cause)
    return ProbeError(f"Answered with {error.code().name}.", cause=cause)


class GrpcProbe(ConnectedProbe[grpc.aio.Channel]):
    """Calls `grpc.health.v1.Health/Check` for the server as a whole."""

    def __init__(
        self, address: str, *, timeout: float, credentials: Credentials = NO_CREDENTIALS
    ) -> None:
        super().__init__()
        self._address = address
        self._timeout = timeout
        self._credentials = credentials

    async def _connect(self) -> grpc.aio.Channel:
        return open_channel(self._address, self._credentials, timeout=self._timeout)

    async def _question(self, connection: grpc.aio.Channel, request_id: str) -> str:
        stub = pb_grpc.HealthStub(connection)
        metadata = metadata_of(request_id, self._credentials)
        try:
            response = await stub.Check(pb.HealthCheckRequest(), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise failure_of(error) from error
        if response.status != pb.HealthCheckResponse.SERVING:
            name = pb.HealthCheckResponse.ServingStatus.Name(response.status)
            raise ProbeError(f"Answered {name}: it is starting, draining or broken.")
        return ""

    async def _drop(self, connection: grpc.aio.Channel) -> None:
        await connection.close()
